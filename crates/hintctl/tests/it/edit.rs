//! Hints as JSON Lines and back: nothing is lost on the way, and what is edited is as it was edited.

use std::{fs, path::Path};

use serde_json::Value;

use crate::tool::{Folder, hintctl, testdata};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn convert(from: &Path, to: &str, out: &Path) -> crate::tool::Run {
    hintctl(&["--json", "convert", text(from), "--to", to, text(out)])
}

/// The files of a folder, by their names.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn cassandras_files_are_the_same_by_way_of_json_lines() {
    for (name, form) in [
        ("cluster/5.0-v3/hints", "cassandra:3"),
        ("cassandra/all-types/v2", "cassandra:2:lz4"),
        ("cassandra/multi-target", "cassandra:1"),
    ] {
        let (hints, work) = (testdata(name), Folder::new("edit"));
        let (lines, direct, back) = (work.join("all.jsonl"), work.join("a"), work.join("b"));
        assert!(convert(&hints.0, "jsonl", &lines).code <= 1, "{name}");
        let expected = convert(&hints.0, form, &direct);
        let run = convert(&lines, form, &back);
        assert_eq!(run.code, 0, "{name}: {}", run.err);
        assert_eq!(
            run.lines().last().unwrap()["hints"],
            expected.lines().last().unwrap()["hints"]
        );
        assert!(
            !files(&direct).is_empty() && files(&direct) == files(&back),
            "{name}"
        );
    }
}

type Change<'a> = &'a dyn Fn(&mut Value);

/// What a hint says of itself, without what its store gives it.
fn content(line: &Value) -> Value {
    let mut line = line.clone();
    for of_store in [
        "file",
        "index",
        "position",
        "store",
        "sequence",
        "incarnation",
    ] {
        line.as_object_mut().unwrap().remove(of_store);
    }
    line
}

#[test]
fn native_hints_are_the_same_by_way_of_json_lines() {
    for name in ["golden-1/plain", "golden-1/compressed", "golden-1/ends"] {
        let (hints, work) = (testdata(name), Folder::new("edit"));
        let (lines, direct, back) = (work.join("all.jsonl"), work.join("a"), work.join("b"));
        assert!(convert(&hints.0, "jsonl", &lines).code <= 1, "{name}");
        assert!(convert(&hints.0, "native", &direct).code <= 1, "{name}");
        assert_eq!(convert(&lines, "native", &back).code, 0, "{name}");
        let dump = |folder: &Path| {
            let run = hintctl(&["--json", "dump", text(folder), "--value", "hex"]);
            run.of_kind("hint").iter().map(content).collect::<Vec<_>>()
        };
        let expected = dump(&direct);
        assert!(!expected.is_empty() && expected == dump(&back), "{name}");
    }
}

/// Lines of several stores, or twice the same: each is a hint.
#[test]
fn each_line_is_a_hint() {
    let (hints, work) = (testdata("golden-1/plain"), Folder::new("edit"));
    let (lines, twice, back) = (
        work.join("all.jsonl"),
        work.join("twice.jsonl"),
        work.join("b"),
    );
    let once = convert(&hints.0, "jsonl", &lines).lines().pop().unwrap();
    let all = fs::read_to_string(&lines).unwrap();
    fs::write(&twice, format!("{all}{all}")).unwrap();
    let run = convert(&twice, "native", &back);
    assert_eq!(run.code, 0, "{}", run.err);
    let hints = once["hints"].as_u64().unwrap();
    assert!(hints > 0);
    assert_eq!(run.lines().pop().unwrap()["hints"], 2 * hints);
}

#[test]
fn lines_may_be_edited_and_what_is_wrong_in_them_is_named() {
    let (hints, work) = (testdata("cassandra/all-types/v2"), Folder::new("edit"));
    let (lines, back) = (work.join("all.jsonl"), work.join("back"));
    convert(&hints.0, "jsonl", &lines);
    let all = fs::read_to_string(&lines).unwrap();
    let first: Value = serde_json::from_str(all.lines().next().unwrap()).unwrap();
    let edit = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut line = first.clone();
        change(&mut line);
        let rest: Vec<&str> = all.lines().skip(1).collect();
        let path = work.join(name);
        fs::write(&path, format!("{line}\n{}\n", rest.join("\n"))).unwrap();
        path
    };
    let other = "00000000-0000-0000-0000-000000000001";
    let payload = first["payload"].as_str().unwrap().to_owned();
    let edited = edit("edited.jsonl", &|line| {
        line["target"] = other.into();
        line["payload"] = format!("{payload}00").into();
    });
    let run = convert(&edited, "cassandra:2", &back);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("written: 1 payload\""), "{}", run.out);
    let dump = hintctl(&[
        "--json",
        "dump",
        text(&back),
        "--target",
        other,
        "--value",
        "hex",
    ]);
    let hint = dump.of_kind("hint").remove(0);
    assert_eq!(hint["payload"], format!("{payload}00"));
    assert_eq!(hint["creation_time_ms"], first["creation_time_ms"]);
    // What is no hint is refused, and nothing is made.
    let cases: [(&str, &str, Change<'_>); 5] = [
        ("a", "payload is not in hex", &|line| {
            line["payload"] = "0xz".into();
        }),
        ("b", "target", &|line| line["target"] = "somebody".into()),
        ("c", "missing field `creation_time_ms`", &|line| {
            line.as_object_mut().unwrap().remove("creation_time_ms");
        }),
        ("d", "no payload", &|line| {
            line.as_object_mut().unwrap().remove("payload");
        }),
        ("e", "gcgs_s", &|line| {
            line.as_object_mut().unwrap().remove("gcgs_s");
        }),
    ];
    for (name, why, change) in cases {
        let path = edit(name, change);
        let out = work.join(&format!("{name}.out"));
        let run = convert(&path, "cassandra:2", &out);
        assert_eq!(run.code, 2, "{name}: {}", run.err);
        assert!(
            run.err.contains("line 1") && run.err.contains(why),
            "{name}: {}",
            run.err
        );
        assert!(!out.exists(), "{name}");
    }
    // One that was cut off says so.
    let cut = work.join("cut");
    let short: Vec<&str> = all.lines().take(3).collect();
    fs::write(&cut, short.join("\n")).unwrap();
    let run = convert(&cut, "cassandra:2", &work.join("cut.out"));
    assert_eq!(run.code, 1, "{}", run.out);
    assert!(run.out.contains("may lack hints"), "{}", run.out);
}
