//! What an operator wants to know of a directory: what expires before it is delivered, what changed since
//! yesterday, what comes in.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::Stdio,
    time::Duration,
};

use hintstore::{Bytes, Config, Durability, Hint, HintStore, TargetId, UnixMillis};
use hintstore_cassandra::{FileWriter, encode_body, encode_record};
use serde_json::Value;

use crate::tool::{Folder, command, hintctl, testdata};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Two targets with hints of 1,000 bytes each: created one a second, dead after `gcgs`.
fn backlog(folder: &Path, gcgs: u64) {
    for target in [1_u8, 2] {
        let id = [target; 16];
        let name = format!("{}-1795754000000-2", TargetId::from_bytes(id));
        let path = folder.join(format!("{name}.hints"));
        let file = fs::File::create_new(&path).unwrap();
        let mut writer = FileWriter::new(file, 2, 1_795_754_000_000, id, None).unwrap();
        for number in 0..100 {
            // One update of one table, as far as anybody looks.
            let mut mutation = vec![1];
            mutation.extend([target; 16]);
            mutation.resize(1000, 0);
            let created = 1_795_754_000_000 + number * 1000;
            writer
                .append(&encode_body(created, gcgs, &mutation))
                .unwrap();
        }
        let (_, crc) = writer.finish().unwrap();
        let side = hintstore_cassandra::side_file_text(crc);
        fs::write(folder.join(format!("{name}.crc32")), side).unwrap();
    }
}

#[test]
fn a_forecast_says_what_expires_and_which_rate_is_enough() {
    let folder = Folder::new("forecast");
    backlog(&folder.0, 1000);
    let begin = "1795754000000";
    let forecast = |args: &[&str]| {
        let all = ["--json", "forecast", text(&folder.0), "--begin", begin];
        hintctl(&[&all, args].concat())
    };
    let last = |args: &[&str]| forecast(args).lines().pop().unwrap();
    // 200 kB at 10 kB a second.
    let slow = last(&["--rate", "10kB"]);
    assert_eq!(
        (&slow["drained_after_s"], &slow["lost_hints"]),
        (&20.into(), &0.into()),
        "{slow}"
    );
    // At 100 bytes a second each has a hint in 20 s, and its first is dead after 1,000: about 50 of each.
    let run = forecast(&["--rate", "100B"]);
    assert_eq!(run.code, 1);
    let lost = run.lines().pop().unwrap();
    let count = lost["lost_hints"].as_u64().unwrap();
    assert!((60..=110).contains(&count), "{lost}");
    let of_tables = run.of_kind("table");
    let by_table: u64 = of_tables
        .iter()
        .map(|one| one["lost_hints"].as_u64().unwrap())
        .sum();
    assert_eq!((by_table, of_tables.len()), (count, 2));
    let alone = last(&["--rate", "100B", "--per-target"]);
    assert_eq!(alone["drained_after_s"], 1000, "{alone}");
    // What is said to be enough is, and what is a tenth less is not.
    let needed = lost["needed_bytes_per_second"].as_u64().unwrap();
    assert_eq!(last(&["--rate", &format!("{needed}B")])["lost_hints"], 0);
    let less = format!("{}B", needed * 4 / 5);
    assert_ne!(last(&["--rate", &less])["lost_hints"], 0, "{needed}");
    // What had expired before it began takes no time.
    let late = [
        "--json",
        "forecast",
        text(&folder.0),
        "--rate",
        "10kB",
        "--begin",
        "2027-01-01",
    ];
    let late = hintctl(&late).lines().pop().unwrap();
    assert_eq!(
        (&late["hints"], &late["expired_hints"]),
        (&0.into(), &200.into()),
        "{late}"
    );
    for rate in ["0B", "fast", "none"] {
        assert_eq!(forecast(&["--rate", rate]).code, 2, "{rate}");
    }
}

#[test]
fn a_difference_is_what_came_went_and_is_elsewhere() {
    let (hints, work) = (testdata("cassandra/multi-target"), Folder::new("diff"));
    let before = text(&hints.0);
    let listing = work.join("listing.jsonl");
    fs::write(&listing, hintctl(&["--json", "dump", before]).out).unwrap();
    let now = work.join("now");
    let cleaned = hintctl(&["convert", before, "--to", "cassandra:2", text(&now)]);
    assert_eq!(cleaned.code, 0, "{}", cleaned.err);
    // Of one target all has gone, and there is a new one.
    let gone = "07186ba1-2d50-4e0b-b963-1e744db4795f";
    for entry in fs::read_dir(&now).unwrap() {
        let path = entry.unwrap().path();
        if text(&path).contains(gone) {
            fs::remove_file(path).unwrap();
        }
    }
    backlog(&now, 1000);
    let diff = |from: &str| {
        let run = hintctl(&["--json", "diff", from, text(&now)]);
        assert_eq!(run.code, 1, "{}", run.err);
        run
    };
    let run = diff(before);
    let summary = run.lines().pop().unwrap();
    assert_eq!(
        (&summary["came"], &summary["went"]),
        (&200.into(), &6.into()),
        "{summary}"
    );
    let kept = summary["same"].as_u64().unwrap() + summary["moved"].as_u64().unwrap();
    assert_eq!(kept, 264 - 6);
    let changes = run.of_kind("change");
    let went: Vec<&Value> = changes
        .iter()
        .filter(|one| one["change"] == "went")
        .collect();
    assert!(
        went.iter().all(|one| one["target"] == gone) && went.len() == 6,
        "{went:?}"
    );
    let moved = changes.iter().filter(|one| one["change"] == "moved");
    assert!(moved.clone().count() as u64 == summary["moved"].as_u64().unwrap());
    assert!(moved.into_iter().all(|one| one["file"] != one["from_file"]));
    // A saved listing is as good as the directory.
    assert_eq!(diff(text(&listing)).lines().pop().unwrap(), summary);
    let same = hintctl(&["--json", "diff", before, text(&listing)]);
    assert_eq!(same.code, 0, "{}", same.out);
    fs::write(work.join("cut"), &fs::read(&listing).unwrap()[..1000]).unwrap();
    let cut = hintctl(&["diff", text(&work.join("cut")), before]);
    assert!(
        cut.code == 2 && cut.err.contains("cut, line"),
        "{}",
        cut.err
    );
}

#[test]
fn a_live_directory_is_followed() {
    let folder = Folder::new("follow");
    let path = folder.join("01010101-0101-0101-0101-010101010101-1795754000000-2.hints");
    let file = fs::File::create_new(&path).unwrap();
    let writer = FileWriter::new(file, 2, 1_795_754_000_000, [1; 16], None).unwrap();
    writer.finish().unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let record = |number: i64| {
        let mut record = Vec::new();
        encode_record(
            &encode_body(1_795_754_000_000 + number, 1000, &[1; 100]),
            &mut record,
        );
        record
    };
    let mut append = |bytes: &[u8]| file.write_all(bytes).unwrap();
    append(&record(0));
    append(&record(1));
    let args = [
        "--json",
        "dump",
        "--follow",
        "--every",
        "20ms",
        "--limit",
        "6",
        text(&folder.0),
    ];
    let mut child = command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    for number in 0..5 {
        assert_eq!(next()["index"], number);
        // One that is half written is no damage, and is given when it is whole.
        let record = record(number + 2);
        let (first, rest) = record.split_at(30);
        if number >= 1 {
            append(first);
            std::thread::park_timeout(Duration::from_millis(60));
            append(rest);
        }
    }
    let sixth = next();
    assert_eq!(
        (&sixth["kind"], &sixth["index"]),
        (&"hint".into(), &5.into()),
        "{sixth}"
    );
    assert_eq!(next()["kind"], "summary");
    assert!(child.wait().unwrap().success());
    // A listing comes again and again, until it is stopped.
    let args = [
        "--json",
        "ls",
        "--follow",
        "--every",
        "20ms",
        text(&folder.0),
    ];
    let mut child = command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let rounds = lines
        .map(|line| line.unwrap())
        .filter(|line| line.contains("\"round\""));
    assert_eq!(rounds.take(3).count(), 3);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The space of a segment is reserved before it is written, and given back when it is sealed: its length says
/// nothing of what is in it.
#[test]
fn a_live_native_store_is_followed() {
    let folder = Folder::new("follow");
    let mut config = Config::new(folder.join("store"));
    config.segment_bytes = Bytes::kib(16);
    let store = HintStore::open(config).unwrap();
    let append = |number: u8| {
        let payload = [number; 4000];
        let created = UnixMillis::new(1_795_754_000_000 + i64::from(number));
        let hint = Hint::new(
            TargetId::from_u128(1),
            created,
            Duration::from_hours(100 * 366 * 24),
            &payload,
        );
        store.append(hint, Durability::Durable).unwrap();
    };
    append(0);
    let path = folder.join("store");
    let args = [
        "--json",
        "dump",
        "--follow",
        "--every",
        "10ms",
        "--limit",
        "20",
        text(&path),
    ];
    let mut child = command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut next = 0;
    for hint in lines.filter(|line| line["kind"] == "hint") {
        // Each once, in order, also where its segment was sealed since.
        let created = hint["creation_time_ms"].as_i64().unwrap();
        assert_eq!(created, 1_795_754_000_000 + i64::from(next), "{hint}");
        next += 1;
        if next < 20 {
            append(next);
        }
    }
    assert_eq!(next, 20);
    assert!(child.wait().unwrap().success());
}
