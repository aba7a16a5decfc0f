//! Wrong files, wrong places, wrong words: reported, with the right code, and nothing lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use byteorder::{BE, ByteOrder as _};
use hintstore::{Clock as _, Verdict};
use hintstore::{Config, Durability, Hint, HintStore, Namespace, SystemClock, TargetId};

use crate::tool::{Folder, Run, command, hintctl, testdata};

fn json(verb: &str, path: &Path, more: &[&str]) -> Run {
    let mut args = vec!["--json", verb, path.to_str().unwrap()];
    args.extend(more);
    hintctl(&args)
}

/// A closed store with hints for one target.
fn store(folder: &Folder, hints: u64) -> PathBuf {
    let path = folder.join("store");
    let store = HintStore::open(Config::new(&path)).unwrap();
    for number in 0..hints {
        let payload = format!("hint {number}");
        let namespace = match number % 2 {
            0 => Namespace::from_u128(7),
            _ => Namespace::MIXED,
        };
        let life = Duration::from_hours(240);
        let hint = Hint::new(
            TargetId::from_u128(1),
            SystemClock.wall(),
            life,
            payload.as_bytes(),
        );
        store
            .append(hint.namespace(namespace), Durability::Os)
            .unwrap();
    }
    store.close().unwrap();
    path
}

fn segment(store: &Path) -> PathBuf {
    let mut files = fs::read_dir(store)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|end| end == "hints"))
        .unwrap()
}

fn verdict(run: &Run) -> String {
    let file = run.of_kind("file").remove(0);
    let verdict = file.get("verdict").and_then(serde_json::Value::as_str);
    verdict.unwrap().to_owned()
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let folder = Folder::new("pipe");
    let path = store(&folder, 20_000);
    let mut child = command(&["--json", "dump", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(done.stderr.is_empty(), "{done:?}");
}

#[test]
fn replay_and_convert_write_to_new_places_only() {
    let folder = Folder::new("places");
    let path = store(&folder, 10);
    let out = folder.join("out");
    let to = ["--to", out.to_str().unwrap()];
    assert_eq!(json("replay", &path, &to).code, 0);
    let file = out.join(format!("{}.jsonl", TargetId::from_u128(1)));
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().all(|line| line["v"] == 1));
    assert_eq!((lines.len(), &lines[0]["kind"]), (11, &"hint".into()));
    assert_eq!(lines[10]["kind"], "summary");
    assert_eq!(lines[10]["hints"], 10);
    assert_eq!(json("replay", &path, &to).code, 2);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    for nowhere in [path.to_str().unwrap(), ""] {
        assert_eq!(json("replay", &path, &["--to", nowhere]).code, 2);
    }
    let hints = testdata("cluster/5.0-v3/hints");
    let made = folder.join("made");
    let to = ["--to", "native", made.to_str().unwrap()];
    let first = json("convert", &hints.0, &to);
    assert_eq!(first.code, 0, "{}", first.err);
    let count = first.of_kind("summary")[0]["hints"].as_u64().unwrap();
    assert_eq!(json("convert", &hints.0, &to).code, 2);
    let again = json(
        "convert",
        &hints.0,
        &["--to", "native", made.to_str().unwrap(), "--add"],
    );
    assert_eq!(again.code, 0, "{}", again.err);
    let dumped = json("dump", &made, &[]).of_kind("summary");
    assert_eq!(dumped[0]["hints"], 2 * count);
}

#[test]
fn a_damaged_or_missing_store_file_or_journal_is_found() {
    let folder = Folder::new("control");
    let path = store(&folder, 10);
    assert_eq!(json("verify", &path, &[]).code, 0);
    for (name, what) in [("STORE", "store"), ("store.journal", "journal")] {
        let file = path.join(name);
        let good = fs::read(&file).unwrap();
        fs::write(&file, vec![7; good.len()]).unwrap();
        let run = json("verify", &path, &[]);
        assert_eq!(
            (run.code, &run.of_kind("bad")[0]["what"]),
            (1, &what.into())
        );
        fs::remove_file(&file).unwrap();
        let run = json("verify", &path, &[]);
        assert_eq!(
            (run.code, &run.of_kind("bad")[0]["what"]),
            (1, &what.into()),
            "{name}"
        );
        fs::write(&file, good).unwrap();
    }
    // Other verbs depend on the journal, and say so.
    fs::remove_file(path.join("store.journal")).unwrap();
    for (verb, more) in [("ls", &[][..]), ("replay", &["--to", "stdout"])] {
        assert_eq!(json(verb, &path, more).code, 1, "{verb}");
    }
}

#[test]
fn a_hint_keeps_the_key_that_its_target_may_know() {
    let folder = Folder::new("keys");
    let first = store(&folder, 3);
    let id = HintStore::open(Config::new(&first)).unwrap().id();
    let dumped = json("dump", &first, &[]).of_kind("hint");
    let mut from = first;
    for name in ["second", "third"] {
        let to = folder.join(name);
        let run = json("convert", &from, &["--to", "native", to.to_str().unwrap()]);
        assert_eq!(run.code, 0, "{}", run.err);
        let copies = json("dump", &to, &[]).of_kind("hint");
        assert_eq!(copies.len(), 3);
        for (copy, hint) in copies.iter().zip(&dumped) {
            assert_eq!(copy["origin"]["store"], id.to_string());
            assert_eq!(copy["origin"]["sequence"], hint["sequence"]);
        }
        from = to;
    }
}

#[test]
fn no_hints_are_no_quickstart() {
    let folder = Folder::new("empty");
    let run = hintctl(&[
        "quickstart".as_ref(),
        "--golden".as_ref(),
        folder.0.as_os_str(),
    ]);
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("no hint of Cassandra's"), "{}", run.err);
}

#[test]
fn damage_in_the_store_file_and_the_journal_is_reported_by_place() {
    let folder = Folder::new("places-of-control");
    let path = store(&folder, 10);
    HintStore::open(Config::new(&path))
        .unwrap()
        .close()
        .unwrap();
    let reported = |name: &str, at: usize, code: i32| {
        let file = path.join(name);
        let good = fs::read(&file).unwrap();
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        let run = json("verify", &path, &[]);
        fs::write(&file, good).unwrap();
        assert_eq!(run.code, code, "{name} {at}: {}", run.out);
        let bad = run.of_kind("bad").remove(0);
        (bad["what"].clone(), bad["position"].clone())
    };
    // The other slot counts.
    for slot in [0, 4096] {
        assert_eq!(
            reported("STORE", slot + 20, 0),
            ("slot".into(), slot.into())
        );
    }
    let journal = fs::read(path.join("store.journal")).unwrap();
    let end = journal.iter().rposition(|byte| *byte != 0).unwrap();
    assert_eq!(
        reported("store.journal", 70, 1),
        ("journal".into(), 64.into())
    );
    let (what, position) = reported("store.journal", end, 0);
    assert_eq!(what, "torn");
    assert!(
        (65..end as u64).contains(&position.as_u64().unwrap()),
        "{position}"
    );
}

#[test]
fn the_end_of_a_sealed_segment_is_checked() {
    let folder = Folder::new("footer");
    let path = store(&folder, 50);
    let file = segment(&path);
    let good = fs::read(&file).unwrap();
    // One bit of the summary, at the very end.
    let mut bytes = good.clone();
    let at = bytes.len() - 60;
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let run = json("verify", &path, &[]);
    assert_eq!(
        (run.code, verdict(&run)),
        (1, "damaged".to_owned()),
        "{}",
        run.out
    );
    assert_eq!(run.of_kind("file")[0]["hints"], 50);
    // Zeros behind the footer are what a crash leaves; anything else is not.
    for (tail, code) in [(0, 0), (9, 1)] {
        fs::write(&file, [&good[..], &[tail; 5000]].concat()).unwrap();
        let run = json("verify", &path, &[]);
        assert_eq!(run.code, code, "{}", run.out);
        assert_eq!(run.of_kind("bad")[0]["what"], "tail");
    }
    // Cut off in the middle it looks like one that is written.
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    let run = json("verify", &path, &[]);
    let notes = run.of_kind("bad");
    assert!(
        notes.iter().any(|note| note["what"] == "open"),
        "{}",
        run.out
    );
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let folder = Folder::new("fifo");
    let path = store(&folder, 5);
    let linked = folder.join("store-link.hints");
    std::os::unix::fs::symlink(segment(&path), &linked).unwrap();
    let fifo = path.join("9a355670-9212-4932-96bd-55417aa90974-1795380788969-2.hints");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    std::os::unix::fs::symlink("/nowhere", path.join("link.hints")).unwrap();
    for verb in ["ls", "verify", "dump", "stat"] {
        let run = json(verb, &path, &[]);
        assert_eq!(run.code, 0, "{verb}: {}", run.err);
    }
    let foreign = json("ls", &path, &[]).of_kind("file");
    assert_eq!(
        foreign
            .iter()
            .filter(|file| file["state"] == "foreign")
            .count(),
        2
    );
    assert_eq!(json("dump", &fifo, &[]).code, 2);
    assert_eq!(json("dump", &linked, &[]).of_kind("hint").len(), 5);
}

#[test]
fn one_path_that_is_not_there_hides_no_other() {
    let folder = Folder::new("paths");
    let path = store(&folder, 5);
    for verb in ["ls", "verify", "dump", "stat"] {
        let run = json(
            verb,
            Path::new("/nowhere/at/all"),
            &[path.to_str().unwrap()],
        );
        assert_eq!(run.code, 3, "{verb}");
        assert!(run.err.contains("/nowhere/at/all"), "{verb}: {}", run.err);
        assert!(run.lines().len() > 1, "{verb}");
        assert_eq!(run.of_kind("summary")[0]["complete"], false);
    }
    // Nothing looked at is not clean, unless that is meant.
    fs::create_dir(folder.join("empty")).unwrap();
    let empty = json("verify", &folder.join("empty"), &[]);
    assert_eq!(empty.code, 1);
    assert!(empty.err.contains("no hint files in"), "{}", empty.err);
    let meant = json("verify", &folder.join("empty"), &["--allow-empty"]);
    assert_eq!(meant.code, 0);
    fs::create_dir_all(folder.join("cassandra/hints")).unwrap();
    let above = json("verify", &folder.join("cassandra"), &[]);
    assert_eq!(above.code, 1);
    assert!(above.err.contains("cassandra/hints?"), "{}", above.err);
    for verb in [&["expire"][..], &["truncate", "--all"]] {
        let mut args = verb.to_vec();
        let empty = folder.join("empty");
        args.insert(1, empty.to_str().unwrap());
        let plan = hintctl(&args);
        assert_eq!(
            (plan.code, plan.out.contains("0 hints would be discarded")),
            (0, true)
        );
        let above = folder.join("cassandra");
        args[1] = above.to_str().unwrap();
        assert_eq!(hintctl(&args).code, 2, "{verb:?}");
    }
    fs::write(folder.join("empty/notes"), "x").unwrap();
    assert_eq!(json("verify", &folder.join("empty"), &[]).code, 1);
}

#[test]
fn a_hint_file_of_cassandra_that_was_cut_or_lies_is_damaged() {
    let hints = testdata("cluster/5.0-v3/hints");
    let mut files: Vec<PathBuf> = fs::read_dir(&hints.0)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "hints"))
        .filter(|path| path.with_extension("crc32").exists())
        .collect();
    files.sort();
    let file = &files[0];
    let good = fs::read(file).unwrap();
    fs::write(file, &good[..good.len() - 20]).unwrap();
    for verb in ["verify", "ls", "dump", "stat"] {
        let run = json(verb, file, &[]);
        // `stat` shows what the file says of itself, and reads no records.
        assert_eq!(run.code, i32::from(verb != "stat"), "{verb}: {}", run.out);
    }
    // Without the checksum beside it, its node may have been stopped in the middle.
    fs::remove_file(file.with_extension("crc32")).unwrap();
    assert_eq!(json("verify", file, &[]).code, 0);
    // A length that no node writes, with the right checksum.
    let at = json("dump", file, &[]).of_kind("hint")[1]["position"]
        .as_u64()
        .unwrap() as usize;
    let mut bytes = good.clone();
    BE::write_u32(&mut bytes[at..], 0x7000_0000);
    let crc = crc32fast::hash(&bytes[at..at + 4]);
    BE::write_u32(&mut bytes[at + 4..], crc);
    fs::write(file, &bytes).unwrap();
    let run = json("verify", file, &[]);
    assert_eq!(
        (run.code, &run.of_kind("bad")[0]["what"]),
        (1, &"length".into())
    );
    // A name that claims another target is noted.
    let named = file.with_file_name("00000000-0000-4000-8000-000000000001-1-2.hints");
    fs::write(&named, &good).unwrap();
    let run = json("verify", &named, &[]);
    assert_eq!(
        (run.code, &run.of_kind("bad")[0]["what"]),
        (1, &"name".into())
    );
}

#[test]
fn plan_and_deed_agree_on_a_target_that_has_nothing() {
    let folder = Folder::new("nobody");
    let path = store(&folder, 5);
    let nobody = TargetId::from_u128(99).to_string();
    for more in [
        &["--target", &nobody][..],
        &["--target", &nobody, "--apply"],
    ] {
        let run = json("truncate", &path, more);
        assert_eq!(run.code, 0, "{}", run.err);
        assert!(run.err.contains("no hints for"), "{}", run.err);
    }
}

#[test]
fn what_is_set_aside_is_counted() {
    let folder = Folder::new("aside");
    let path = store(&folder, 5);
    let open = HintStore::open(Config::new(&path)).unwrap();
    let page = open.target(TargetId::from_u128(1)).page().unwrap().unwrap();
    let first = page.hints().next().unwrap().key.sequence;
    page.answer_each(|hint| {
        if hint.key.sequence == first {
            Verdict::Reject
        } else {
            Verdict::Delivered
        }
    })
    .unwrap();
    open.close().unwrap();
    for verb in ["ls", "verify"] {
        let run = json(verb, &path, &[]);
        assert_eq!(run.of_kind("aside").len(), 1, "{verb}: {}", run.out);
        assert_eq!(run.of_kind("summary")[0]["aside_files"], 1);
    }
    assert_eq!(
        json("dump", &path.join("aside"), &[]).of_kind("hint").len(),
        1
    );
}

#[test]
fn namespaces_and_times_are_words_that_people_use() {
    let folder = Folder::new("words");
    let path = store(&folder, 10);
    let mixed = json("dump", &path, &["--namespace", "mixed"]).of_kind("hint");
    assert_eq!((mixed.len(), &mixed[0]["namespace"]), (5, &"mixed".into()));
    let until = |time: &str| json("dump", &path, &["--until", time]);
    for (time, hints) in [
        ("2026-01-01", 0),
        ("2026-01-01T00:00:00Z", 0),
        ("1767225600000", 0),
        ("9999-12-31T23:59:59Z", 10),
        ("9999-12-31", 10),
    ] {
        let run = until(time);
        assert_eq!((run.code, run.of_kind("hint").len()), (0, hints), "{time}");
    }
    // Seconds where ms are expected, and nonsense.
    for time in [
        "1767225600",
        "-5",
        "someday",
        "2026-13-01",
        "99999999999999999",
    ] {
        let run = until(time);
        assert_eq!(run.code, 2, "{time}");
        assert_eq!(run.lines().len(), 1, "{time}: {}", run.out);
    }
    let hints = testdata("cluster/5.0-v3/hints");
    let line = &json("dump", &hints.0, &[]).of_kind("hint")[0];
    assert_eq!(line["namespace"], line["table_id"]);
}

#[test]
fn a_name_cannot_drive_the_terminal() {
    let folder = Folder::new("escape");
    let path = store(&folder, 5);
    fs::write(path.join("a\u{1b}[31mred.hints"), "x").unwrap();
    let run = hintctl(&["ls", path.to_str().unwrap()]);
    assert!(!run.out.contains('\u{1b}'), "{:?}", run.out);
    assert!(run.out.contains("\\u{1b}[31mred"), "{}", run.out);
}

/// Opening such a store begins a new journal: nothing that was asked for is worth that.
#[test]
fn nothing_is_done_to_a_store_whose_journal_cannot_be_read() {
    let folder = Folder::new("journal");
    let path = store(&folder, 5);
    let journal = path.join("store.journal");
    let mut bytes = fs::read(&journal).unwrap();
    *bytes.get_mut(0).unwrap() ^= 1;
    fs::write(&journal, &bytes).unwrap();
    for (verb, more) in [
        ("truncate", &["--all", "--apply"][..]),
        ("expire", &["--apply"]),
        ("compact", &["--apply"]),
    ] {
        let run = json(verb, &path, more);
        assert_eq!(run.code, 1, "{verb}: {}", run.err);
        assert!(
            run.err.contains("move the file away"),
            "{verb}: {}",
            run.err
        );
        assert_eq!(fs::read(&journal).unwrap(), bytes);
    }
}
