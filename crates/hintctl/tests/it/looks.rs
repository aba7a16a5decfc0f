//! What is to be looked at: bytes field by field, a page, a picture.

use std::{fs, path::Path, time::Duration};

use hintstore::{Clock as _, Config, Durability, Hint, HintStore, SystemClock, TargetId};
use hintstore_cassandra::{FileWriter, encode_body};

use crate::tool::{Folder, command, hintctl, testdata};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Each byte of a plain file is in one field, in order.
#[test]
fn a_layout_leaves_no_byte_out() {
    let folder = Folder::new("layout");
    let path = folder.join("01010101-0101-0101-0101-010101010101-1795754000000-2.hints");
    let file = fs::File::create_new(&path).unwrap();
    let mut writer = FileWriter::new(file, 2, 1_795_754_000_000, [1; 16], None).unwrap();
    for number in 0..3 {
        // One update: table, key of two bytes, and what is opaque here.
        let mutation = [&[1][..], &[7; 16], &[2, 0xab, 0xcd], &[0; 40]].concat();
        writer
            .append(&encode_body(1_795_754_000_000 + number, 864_000, &mutation))
            .unwrap();
    }
    writer.finish().unwrap();
    let run = hintctl(&["--json", "dump", text(&path), "--layout"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let bytes = fs::read(&path).unwrap();
    let mut at = 0;
    for field in run.of_kind("field") {
        let (offset, length) = (
            field["offset"].as_u64().unwrap(),
            field["bytes"].as_u64().unwrap(),
        );
        assert_eq!(offset, at, "{field}");
        let here = &bytes[offset as usize..(offset + length) as usize];
        let hex: String = here
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat();
        assert_eq!(field["hex"], hex, "{field}");
        at += length;
    }
    assert_eq!(at, bytes.len() as u64);
    let shown = hintctl(&["dump", text(&path), "--layout", "--limit", "1"]).out;
    for words in [
        "partition key",
        "abcd",
        "864000 s",
        "01010101-0101",
        "2026-11-27 04:33:20.000",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(
        shown.contains("record 0") && !shown.contains("record 1"),
        "{shown}"
    );
}

#[test]
fn a_layout_shows_blocks_and_footers_and_packed_records() {
    let native = testdata("golden-1/plain");
    let run = hintctl(&[
        "--json",
        "dump",
        text(&native.0),
        "--layout",
        "--limit",
        "1",
    ]);
    assert_eq!(run.code, 0, "{}", run.err);
    let fields = run.of_kind("field");
    let has = |structure: &str, name: &str| {
        fields
            .iter()
            .any(|of| of["structure"] == structure && of["field"] == name)
    };
    assert!(has("Descriptor", "store_id") && has("Block header", "first_sequence"));
    assert!(has("Frame header", "index"));
    // A new store that was closed: its segments are sealed.
    let (hints, out) = (testdata("cluster/5.0-v3/hints"), Folder::new("layout"));
    let store = out.join("store");
    hintctl(&["convert", text(&hints.0), "--to", "native", text(&store)]);
    let run = hintctl(&["--json", "dump", text(&store), "--layout", "--limit", "1"]);
    let fields = run.of_kind("field");
    let footer = fields
        .iter()
        .find(|of| of["structure"] == "Footer summary" && of["field"] == "count");
    assert_eq!(footer.unwrap()["value"], "4380");
    for (name, code) in [
        ("golden-1/compressed", 0),
        ("cassandra/compressed/v2-lz4", 0),
        ("cassandra/damaged/plain-body-1", 0),
        ("cassandra/damaged/plain-header-crc1", 1),
        ("golden-1/crashed", 0),
    ] {
        let data = testdata(name);
        let run = hintctl(&["dump", text(&data.0), "--layout", "--limit", "2"]);
        assert!(!run.err.contains("panicked"), "{name}: {}", run.err);
        assert_eq!(run.code.min(1), code, "{name}: {}", run.err);
    }
}

#[test]
fn a_page_shows_the_hints_and_nothing_acts_in_it() {
    let (hints, damaged) = (
        testdata("cassandra/multi-target"),
        testdata("cassandra/damaged/plain-body-1"),
    );
    let out = Folder::new("page");
    let odd = out.join("<script>alert(1)");
    std::os::unix::fs::symlink(&damaged.0, &odd).unwrap();
    let page = out.join("page.html");
    let args = [
        "stat",
        text(&hints.0),
        text(&odd),
        "--html",
        text(&page),
        "--as-of",
        "2026-01-15",
    ];
    let run = hintctl(&args);
    assert_eq!(run.code, 1, "{} {}", run.out, run.err);
    let html = fs::read_to_string(&page).unwrap();
    assert!(
        !html.contains("<script") && html.contains("&lt;script&gt;"),
        "{html}"
    );
    for words in [
        "287 hints",
        "checksum is wrong",
        "class=\"bad\"",
        "expired",
        "within a day",
        "prefers-color-scheme",
    ] {
        assert!(html.contains(words), "{words}: {html}");
    }
    assert!(
        !html.contains("http")
            || html.matches("http").count() == html.matches("http://www.w3.org/2000/svg").count()
    );
    // What is there stays.
    assert_eq!(hintctl(&args).code, 2);
    assert_eq!(fs::read_to_string(&page).unwrap(), html);
}

#[test]
fn a_measurement_is_drawn() {
    let folder = Folder::new("plot");
    let plot = folder.join("plot.svg");
    let run = hintctl(&[
        "bench",
        text(&folder.0),
        "--rounds",
        "1",
        "--size",
        "1",
        "--plot",
        text(&plot),
    ]);
    assert_eq!(run.code, 0, "{}", run.err);
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
        "{svg}"
    );
    assert!(
        svg.contains("class=\"limit\"") && svg.contains('×') && !svg.contains("NaN"),
        "{svg}"
    );
}

#[test]
fn a_store_that_is_open_says_by_whom() {
    let folder = Folder::new("open");
    let path = folder.join("store");
    let store = HintStore::open(Config::new(&path)).unwrap();
    let now = SystemClock.wall();
    let hint = Hint::new(TargetId::from_u128(1), now, Duration::from_hours(1), b"a");
    store.append(hint, Durability::Os).unwrap();
    let path = path.to_str().unwrap();
    let live = hintctl(&["--json", "ls", path]);
    let line = live.of_kind("store").pop().unwrap();
    let own = format!("pid {}", std::process::id());
    assert_eq!(line["open_by"], own.as_str());
    let text = hintctl(&["ls", path]).out;
    store.close().unwrap();
    assert!(hintctl(&["--json", "ls", path]).of_kind("store").is_empty());
    assert!(text.contains(&format!("by {own}")), "{text}");
}

#[test]
fn a_difference_fits_a_narrow_terminal_and_names_its_file() {
    let (hints, none) = (
        testdata("cassandra/damaged/plain-body-1"),
        Folder::new("none"),
    );
    fs::create_dir(none.join("empty")).unwrap();
    let diff = |width: &str| {
        let run = command(&["diff", text(&hints.0), text(&none.join("empty"))])
            .env("HINTCTL_WIDTH", width)
            .output()
            .unwrap();
        String::from_utf8(run.stdout).unwrap()
    };
    let (narrow, wide) = (diff("80"), diff("400"));
    let line = |text: &str| {
        text.lines()
            .find(|line| line.starts_with('-'))
            .unwrap()
            .to_owned()
    };
    let (narrow, wide) = (line(&narrow), line(&wide));
    assert!(narrow.chars().count() <= 80, "{narrow}");
    // The time is whole, and so is the end of the name of the file.
    assert!(narrow.starts_with(wide.get(..25).unwrap()), "{narrow}");
    assert!(narrow.contains('…') && narrow.ends_with("ints"), "{narrow}");
    assert!(wide.ends_with(".hints") && !wide.contains('…'), "{wide}");
}
