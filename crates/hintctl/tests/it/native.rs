//! Native stores: what the tool prints of them, live, damaged and wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use byteorder::{ByteOrder as _, LE};
use hintstore::raw::format::{
    block, checksum, descriptor::Descriptor, footer, frame, layout::BLOCK_MAGIC,
};
use hintstore::{
    Bytes, Clock as _, Config, Durability, Hint, HintRef, HintStore, Namespace, SystemClock,
    TargetId, UnixMillis, Verdict,
};

use crate::tool::{Folder, Run, hintctl};

fn target(number: u128) -> TargetId {
    TargetId::from_u128(number)
}

fn append(store: &HintStore, to: u128, count: u64) {
    for number in 0..count {
        let payload = format!("hint {number}");
        let created = SystemClock.wall();
        let hint = Hint::new(
            target(to),
            created,
            Duration::from_hours(240),
            payload.as_bytes(),
        )
        .namespace(Namespace::from_u128(u128::from(number % 2)));
        store.append(hint, Durability::Os).unwrap();
    }
}

fn run(verb: &str, path: &Path, more: &[&str]) -> Run {
    let mut args = vec!["--json", verb, path.to_str().unwrap()];
    args.extend(more);
    hintctl(&args)
}

fn made(folder: &Folder) -> PathBuf {
    let path = folder.join("store");
    let store = HintStore::open(Config::new(&path)).unwrap();
    append(&store, 1, 100);
    append(&store, 2, 50);
    store.close().unwrap();
    path
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "hints"))
        .collect();
    found.sort();
    found
}

/// All there is in a directory, and when it was last written.
fn bytes_of(path: &Path) -> Vec<(PathBuf, std::time::SystemTime, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let written = entry.metadata().unwrap().modified().unwrap();
            (entry.path(), written, fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

// P7
#[test]
fn a_live_store_is_read_without_its_lock() {
    let folder = Folder::new("live");
    let path = folder.join("store");
    let store = HintStore::open(Config::new(&path)).unwrap();
    append(&store, 1, 100);
    for (verb, more) in [
        ("ls", &[][..]),
        ("stat", &[]),
        ("verify", &[]),
        ("dump", &[]),
    ] {
        let run = run(verb, &path, more);
        assert_eq!(run.code, 0, "{verb}: {} {}", run.out, run.err);
    }
    assert_eq!(run("dump", &path, &[]).of_kind("hint").len(), 100);
    assert_eq!(run("ls", &path, &[]).of_kind("file")[0]["state"], "open");
    let page = store.target(target(1)).page().unwrap().unwrap();
    assert_eq!(page.len(), 100);
    page.delivered().unwrap();
    store.checkpoint().unwrap();
    let replayed = run("replay", &path, &["--to", "stdout"]);
    assert_eq!(replayed.of_kind("summary")[0]["replayed"], 0);
    append(&store, 1, 20);
    let plan = run("truncate", &path, &["--all"]);
    assert_eq!(plan.code, 1, "{}", plan.err);
    assert_eq!(plan.of_kind("summary")[0]["hints"], 20);
    let locked = run("truncate", &path, &["--all", "--apply"]);
    assert_eq!(locked.code, 4);
    assert!(
        locked.err.contains(&format!("pid {}", std::process::id())),
        "{}",
        locked.err
    );
}

#[test]
fn truncate_plans_first_and_acts_with_apply() {
    let folder = Folder::new("truncate");
    let path = made(&folder);
    let only = target(1).to_string();
    let before = bytes_of(&path);
    let plan = run("truncate", &path, &["--target", &only]);
    assert_eq!(plan.code, 1);
    assert_eq!(bytes_of(&path), before, "a plan changes nothing");
    assert_eq!(plan.of_kind("summary")[0]["hints"], 100);
    assert_eq!(run("dump", &path, &[]).of_kind("hint").len(), 150);
    let namespace = Namespace::from_u128(0).to_string();
    let done = run(
        "truncate",
        &path,
        &["--target", &only, "--namespace", &namespace, "--apply"],
    );
    assert_eq!(
        (done.code, &done.of_kind("summary")[0]["hints"]),
        (0, &50.into())
    );
    // The file still holds them; nobody is given them.
    let replayed = run("replay", &path, &["--to", "stdout"]).of_kind("summary");
    assert_eq!(replayed[0]["replayed"], 100);
    let done = run("truncate", &path, &["--all", "--apply"]);
    assert_eq!(
        (done.code, &done.of_kind("summary")[0]["hints"]),
        (0, &100.into())
    );
    assert_eq!(segments(&path).len(), 0);
    assert_eq!(run("truncate", &path, &[]).code, 2);
    assert_eq!(run("truncate", &folder.0, &["--all"]).code, 2);
}

#[test]
fn damage_is_found_and_reported_by_place() {
    let folder = Folder::new("damage");
    let path = made(&folder);
    let file = segments(&path).remove(0);
    let good = fs::read(&file).unwrap();
    let mut damaged = good.clone();
    let at = good.windows(7).position(|w| w == b"hint 77").unwrap();
    damaged[at] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let verified = run("verify", &path, &[]);
    assert_eq!(verified.code, 1);
    let bad = verified.of_kind("bad");
    assert_eq!(bad.len(), 1, "{bad:?}");
    let (position, length) = (
        bad[0]["position"].as_u64().unwrap(),
        bad[0]["bytes"].as_u64().unwrap(),
    );
    assert!(
        (position..position + length).contains(&(at as u64)),
        "{at} in {bad:?}"
    );
    let dumped = run("dump", &file, &[]);
    assert_eq!((dumped.code, dumped.of_kind("hint").len()), (1, 99));
    // A lone copy under any name, and cut short: no damage, a torn tail.
    let copy = folder.join("copy");
    fs::write(&copy, &good[..good.len() / 2]).unwrap();
    assert_eq!(run("verify", &copy, &[]).code, 0);
    fs::write(&copy, b"hintseg\nbut nothing else").unwrap();
    assert_eq!(run("verify", &copy, &[]).code, 1);
}

#[test]
fn what_was_synced_is_never_taken_for_torn() {
    let folder = Folder::new("synced");
    let path = folder.join("store");
    let store = HintStore::open(Config::new(&path)).unwrap();
    for word in ["first", "second", "third"] {
        let hint = Hint::new(
            target(1),
            SystemClock.wall(),
            Duration::from_hours(240),
            word.as_bytes(),
        );
        store.append(hint, Durability::Durable).unwrap();
    }
    let live = fs::read(segments(&path).remove(0)).unwrap();
    // The third block says that the first is synced; nothing says that of the third. Sixty
    // bytes before its payload is a block's header.
    let copy = folder.join("copy");
    for (word, before, code) in [
        ("first", 0, 1),
        ("first", 60, 1),
        ("third", 0, 0),
        ("third", 60, 0),
    ] {
        let mut damaged = live.clone();
        let found = live.windows(word.len()).position(|w| w == word.as_bytes());
        damaged[found.unwrap() - before] ^= 1;
        fs::write(&copy, &damaged).unwrap();
        let verified = run("verify", &copy, &[]);
        assert_eq!(verified.code, code, "{word} {before}: {}", verified.out);
        assert!(!verified.of_kind("bad").is_empty());
    }
}

#[test]
fn an_intact_frame_without_a_profile_is_reported() {
    let folder = Folder::new("profile");
    let path = made(&folder);
    let file = segments(&path).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let segment = Descriptor::decode(&bytes).unwrap().segment;
    let payload = bytes.windows(7).position(|w| w == b"hint 77").unwrap();
    let frame = payload - frame::HEADER;
    let mut blocks = bytes[..frame].windows(4);
    let at = blocks.rposition(|w| w == BLOCK_MAGIC).unwrap();
    let block = block::Header::decode(&bytes[at..], segment, at as u64).unwrap();
    // Length, checksum, then index, flags and profile, and the creation time.
    bytes[frame + 11] = 200;
    let mut tail = [
        &bytes[frame..frame + 4],
        &bytes[frame + 8..payload],
        &[0; 4],
    ]
    .concat();
    LE::write_u32(&mut tail[12..], block.start.salt);
    let crc = checksum::extend(checksum::crc(b"hint 77"), &tail);
    LE::write_u32(&mut bytes[frame + 4..], crc);
    fs::write(&file, &bytes).unwrap();
    let verified = run("verify", &path, &[]);
    assert_eq!(verified.code, 1);
    let bad = verified.of_kind("bad");
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(bad[0]["position"], frame as u64);
    assert!(
        bad[0]["text"].as_str().unwrap().contains("profile 200"),
        "{bad:?}"
    );
}

#[test]
fn many_paths_may_hold_other_files() {
    let folder = Folder::new("many");
    let path = made(&folder);
    let mut args = vec!["--json".into(), "verify".into()];
    args.extend(bytes_of(&path).into_iter().map(|(path, ..)| path));
    let verified = hintctl(&args);
    assert_eq!(verified.code, 0, "{}", verified.err);
    assert_eq!(verified.of_kind("file").len(), 2);
    assert!(verified.err.contains("passed over"), "{}", verified.err);
}

#[test]
fn wrong_input_gets_an_error_with_a_remedy() {
    let folder = Folder::new("wrong");
    assert_eq!(hintctl(&["nonsense"]).code, 2);
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "no hints").unwrap();
    let expired = run("expire", &other, &["--apply"]);
    assert_eq!(expired.code, 2, "{}", expired.err);
    assert_eq!(hintctl(&["--help"]).code, 0);
    let missing = hintctl(&["ls", "/nowhere/at/all"]);
    assert_eq!(missing.code, 3);
    assert!(missing.err.contains("/nowhere/at/all"), "{}", missing.err);
    let empty = hintctl(&["--json".as_ref(), "ls".as_ref(), folder.0.as_os_str()]);
    assert_eq!((empty.code, empty.lines().len()), (0, 1));
    fs::write(folder.join("notes.txt"), "x").unwrap();
    let foreign = run("ls", &folder.0, &[]).of_kind("file");
    assert_eq!(foreign[0]["state"], "foreign");
    let named = run("dump", &folder.join("notes.txt"), &[]);
    assert_eq!(named.code, 2, "{}", named.err);
    let convert = run("convert", &folder.0, &["--to", "native", "/tmp/never-made"]);
    assert_eq!(convert.code, 2);
}

#[test]
fn renamed_segments_are_replayed_in_order() {
    let folder = Folder::new("renamed");
    let path = made(&folder);
    let store = HintStore::open(Config::new(&path)).unwrap();
    append(&store, 1, 10);
    store.close().unwrap();
    let oldest = segments(&path).remove(0);
    fs::copy(&oldest, path.join("zzz.hints")).unwrap();
    fs::remove_file(&oldest).unwrap();

    let replayed = run("replay", &path, &["--to", "stdout"]);
    assert_eq!(replayed.code, 0, "{}", replayed.err);
    let sequences: Vec<u64> = replayed
        .of_kind("hint")
        .iter()
        .filter(|hint| hint["target"] == target(1).to_string())
        .map(|hint| hint["sequence"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(sequences.len(), 110);
    assert!(sequences.is_sorted());
}

// P7
#[test]
fn verify_says_what_opening_would_do_and_does_nothing() {
    let folder = Folder::new("dry-run");
    let path = made(&folder);
    let sealed = segments(&path);
    // As a crash leaves one: without its footer, zeros behind it.
    let bytes = fs::read(&sealed[0]).unwrap();
    let tail = bytes.last_chunk::<{ footer::SUMMARY }>().unwrap();
    let summary = footer::Summary::decode(tail, bytes.len() as u64).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&sealed[0]).unwrap();
    file.set_len(summary.footer_at).unwrap();
    file.set_len(1 << 20).unwrap();
    let stem = sealed[0].file_name().unwrap().to_str().unwrap();
    fs::copy(&sealed[1], path.join(format!("copy of {stem}"))).unwrap();
    fs::write(path.join("spare-7.tmp"), [0; 4096]).unwrap();
    let before = crate::reports::names(&path);
    let planned = run("verify", &path, &[]).of_kind("opening");
    let case = |name: &str| {
        let mut of = planned.iter().filter(|line| line["file"] == name);
        let line = of.next().unwrap();
        let word = |field: &str| line[field].as_str().unwrap().to_owned();
        (word("case"), word("action"))
    };
    let is = |case: &str, action: &str| (case.to_owned(), action.to_owned());
    assert_eq!(case("spare-7.tmp"), is("spare", "remove"));
    assert_eq!(case("STORE"), is("control", "keep"));
    assert_eq!(case(stem), is("not sealed", "seal"));
    assert_eq!(
        case(&format!("copy of {stem}")),
        is("other name", "leave alone")
    );
    let text = hintctl(&["verify", path.to_str().unwrap()]);
    let line = format!("opening it would seal {stem}: not sealed");
    assert!(text.out.contains(&line), "{}", text.out);
    assert_eq!(crate::reports::names(&path), before);
    assert_eq!(fs::metadata(&sealed[0]).unwrap().len(), 1 << 20);
    // And that is what opening does.
    let store = HintStore::open(Config::new(&path)).unwrap();
    assert_eq!(store.ledger().pending(), 150);
    assert!(!path.join("spare-7.tmp").exists());
    assert!(fs::metadata(&sealed[0]).unwrap().len() < 1 << 20);
    assert_eq!(store.open_report().walked, 1);
}

#[test]
fn compact_plans_first_and_keeps_every_hint_with_its_key() {
    let folder = Folder::new("compact");
    let path = folder.join("store");
    let small = Config::new(&path).with(|config| config.segment_bytes = Bytes::kib(4));
    let store = HintStore::open(small).unwrap();
    append(&store, 1, 400);
    append(&store, 2, 5);
    store.close().unwrap();
    let hints = |path: &Path| {
        let replayed = run("replay", path, &["--to", "stdout"]).of_kind("hint");
        let key = |hint: &serde_json::Value| {
            ["target", "sequence", "incarnation", "payload_sha256"].map(|name| hint[name].clone())
        };
        replayed.iter().map(key).collect::<Vec<_>>()
    };
    let (before, files) = (hints(&path), segments(&path).len());
    assert_eq!(before.len(), 405);
    assert!(files > 4, "{files}");
    let state = bytes_of(&path);
    let plan = run("compact", &path, &[]);
    assert_eq!(
        (plan.code, bytes_of(&path)),
        (1, state),
        "a plan changes nothing"
    );
    let planned = plan.of_kind("compact");
    assert_eq!(
        planned.len(),
        1,
        "one target has several files: {}",
        plan.out
    );
    assert_eq!(planned[0]["reason"], "small");
    let only = run("compact", &path, &["--target", &target(2).to_string()]);
    assert_eq!((only.code, only.of_kind("compact").len()), (0, 0));
    let done = run("compact", &path, &["--apply"]);
    assert_eq!(done.code, 0, "{} {}", done.out, done.err);
    assert_eq!(segments(&path).len(), 2, "one a target");
    assert_eq!(hints(&path), before);
    assert_eq!(run("verify", &path, &[]).code, 0);
    let again = run("compact", &path, &[]);
    assert_eq!((again.code, again.of_kind("compact").len()), (0, 0));
    let store = HintStore::open(Config::new(&path)).unwrap();
    append(&store, 1, 4000);
    store.close().unwrap();
    let before = hints(&path);
    let packed = run("compact", &path, &["--compress", "--apply"]);
    assert_eq!(
        (packed.code, packed.of_kind("compact").len()),
        (0, 1),
        "{}",
        packed.err
    );
    assert_eq!(hints(&path), before);
    assert_eq!(run("verify", &path, &[]).code, 0);
    let stat = run("stat", &path, &[]).of_kind("file");
    assert!(stat.iter().any(|file| file["codec"] == "zstd"), "{stat:?}");
    assert_eq!(run("compact", &path, &["--compress=20"]).code, 2);
    let wrong = run("compact", &folder.0, &[]);
    assert_eq!(wrong.code, 2);
}

#[test]
fn a_fence_takes_what_is_there_and_refuses_what_comes() {
    let folder = Folder::new("fence");
    let path = made(&folder);
    let of = Namespace::from_u128(0);
    let args = ["--namespace", &of.to_string(), "--fence"];
    let before = bytes_of(&path);
    let plan = run("truncate", &path, &args);
    assert_eq!((plan.code, bytes_of(&path)), (1, before));
    assert_eq!(plan.of_kind("summary")[0]["hints"], 75);
    let done = run("truncate", &path, &[&args[..], &["--apply"]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("refused"), "{}", done.err);
    let replayed = run("replay", &path, &["--to", "stdout"]).of_kind("summary");
    assert_eq!(replayed[0]["replayed"], 75);
    let store = HintStore::open(Config::new(&path)).unwrap();
    let created = UnixMillis::new(SystemClock.wall().get() - 60_000);
    let late = Hint::new(target(1), created, Duration::from_hours(1), b"late").namespace(of);
    let refused = store.append(late, Durability::Os).unwrap_err();
    assert_eq!(refused.refusal(), Some(hintstore::Refusal::Fenced));
    store.close().unwrap();
    let wrong = run("truncate", &path, &["--fence"]);
    assert_eq!(wrong.code, 2);
}

#[test]
fn compact_collapses_where_it_is_said_that_the_newest_wins() {
    let folder = Folder::new("collapse");
    let path = folder.join("store");
    let store = HintStore::open(Config::new(&path)).unwrap();
    let of = Namespace::from_u128(3);
    for version in 0..100 {
        let key = [(version % 10) as u8];
        let hint = Hint::new(
            target(1),
            SystemClock.wall(),
            Duration::from_hours(1),
            b"a write",
        )
        .namespace(of)
        .collapse(&key, version);
        store.append(hint, Durability::Os).unwrap();
    }
    store.close().unwrap();
    let nothing = run("compact", &path, &["--apply"]);
    assert_eq!((nothing.code, nothing.of_kind("compact").len()), (0, 0));
    let args = ["--collapse", &of.to_string()];
    assert_eq!(run("compact", &path, &args).code, 1);
    let done = run("compact", &path, &[&args[..], &["--apply"]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(done.of_kind("compact")[0]["superseded"], 90);
    let left = run("replay", &path, &["--to", "stdout"]).of_kind("hint");
    let versions: Vec<&str> = left
        .iter()
        .map(|hint| hint["collapse_version"].as_str().unwrap())
        .collect();
    assert_eq!(versions.len(), 10);
    assert!(
        versions
            .iter()
            .all(|version| version.len() == 2 && version.starts_with('9'))
    );
}

#[test]
fn a_sync_point_is_waited_for_by_files_alone() {
    let folder = Folder::new("sync-point");
    let path = made(&folder);
    let created = run("sync-point", Path::new("create"), &[path.to_str().unwrap()]);
    assert_eq!(created.code, 0, "{}", created.err);
    let token = created.of_kind("sync_point")[0]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    // Of a namespace that no file has there is nothing to wait for.
    let of = |namespace: u128| {
        let namespace = Namespace::from_u128(namespace).to_string();
        let args = [path.to_str().unwrap(), "--namespace", &namespace];
        let created = run("sync-point", Path::new("create"), &args);
        created.of_kind("summary")[0]["targets"].clone()
    };
    assert_eq!((of(1), of(77)), (2.into(), 0.into()));
    let wait = |within: &str| {
        let args = [path.to_str().unwrap(), &token, "--within", within];
        run("sync-point", Path::new("wait"), &args)
    };
    let before = bytes_of(&path);
    let waiting = wait("0s");
    assert_eq!(waiting.code, 1, "{} {}", waiting.out, waiting.err);
    assert_eq!(waiting.of_kind("summary")[0]["state"], "in_progress");
    assert_eq!(bytes_of(&path), before, "it only reads");
    let store = HintStore::open(Config::new(&path)).unwrap();
    for to in [1, 2] {
        while let Some(page) = store.target(target(to)).page().unwrap() {
            page.delivered().unwrap();
        }
    }
    store.checkpoint().unwrap();
    // Of what comes later it knows nothing.
    append(&store, 1, 10);
    let reached = wait("10s");
    assert_eq!(reached.code, 0, "{} {}", reached.out, reached.err);
    assert_eq!(reached.of_kind("summary")[0]["state"], "reached");
    // Of what cannot be read nobody knows what waits.
    let files = bytes_of(&path).into_iter().map(|(file, ..)| file);
    let mut segments = files.filter(|file| file.extension().is_some_and(|of| of == "hints"));
    let segment = path.join(segments.next().unwrap());
    let mut bytes = fs::read(&segment).unwrap();
    bytes.truncate(3000);
    bytes[8..].fill(1);
    fs::write(&segment, bytes).unwrap();
    let damaged = wait("0s");
    assert_eq!(damaged.code, 1, "{}", damaged.out);
    assert!(damaged.err.contains("hintctl verify"), "{}", damaged.err);
    let token = token.replace('1', "2");
    let wrong = run(
        "sync-point",
        Path::new("wait"),
        &[path.to_str().unwrap(), &token],
    );
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("checksum"), "{}", wrong.err);
}

#[test]
fn loss_receipts_are_listed_exported_and_settled() {
    let folder = Folder::new("losses");
    let path = made(&folder);
    let aside = |args: &[&str]| {
        let (verb, more) = args.split_first().unwrap();
        let args = [&[path.to_str().unwrap()], more].concat();
        run("aside", Path::new(verb), &args)
    };
    let id = target(1).to_string();
    let truncated = run("truncate", &path, &["--target", &id, "--apply"]);
    assert_eq!(truncated.code, 0, "{}", truncated.err);
    let listed = aside(&["ls"]);
    let losses = listed.of_kind("loss");
    assert!(!losses.is_empty(), "{}", listed.out);
    let hints = losses
        .iter()
        .map(|loss| loss["hints_at_most"].as_u64().unwrap());
    assert_eq!(
        hints.sum::<u64>(),
        truncated.of_kind("summary")[0]["hints"].as_u64().unwrap()
    );
    for loss in &losses {
        assert_eq!(
            (&loss["cause"], &loss["target"]),
            (&"discarded".into(), &id.clone().into())
        );
    }
    assert_eq!(
        run("ls", &path, &[]).of_kind("summary")[0]["losses"],
        losses.len()
    );
    let out = folder.0.join("lost.jsonl");
    let exported = aside(&["export", out.to_str().unwrap()]);
    assert_eq!(exported.code, 0, "{}", exported.err);
    let text = fs::read_to_string(&out).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_losses: Vec<serde_json::Value> = lines
        .iter()
        .filter(|line| line["kind"] == "loss")
        .cloned()
        .collect();
    assert_eq!(of_losses, losses);
    assert_eq!(lines.last().unwrap()["kind"], "summary");
    // Repaired before the writes were made, they were not.
    let early = aside(&["purge", "--losses", "--older-than", "2020-01-01", "--apply"]);
    assert_eq!(
        (early.code, early.of_kind("loss").len()),
        (0, 0),
        "{}",
        early.err
    );
    let plan = aside(&["purge", "--losses", "--target", &id]);
    assert_eq!((plan.code, plan.of_kind("loss").len()), (1, losses.len()));
    let done = aside(&["purge", "--losses", "--target", &id, "--apply"]);
    assert_eq!((done.code, done.of_kind("loss").len()), (0, losses.len()));
    assert!(aside(&["ls"]).of_kind("loss").is_empty());
}

#[test]
fn dead_letters_and_damaged_files_are_listed_and_dealt_with() {
    let folder = Folder::new("aside-verbs");
    let path = made(&folder);
    let aside = |args: &[&str]| {
        let (verb, more) = args.split_first().unwrap();
        let args = [&[path.to_str().unwrap()], more].concat();
        run("aside", Path::new(verb), &args)
    };
    assert_eq!(aside(&["ls"]).of_kind("aside").len(), 0);
    let store = HintStore::open(Config::new(&path)).unwrap();
    let page = store.target(target(1)).page().unwrap().unwrap();
    let mut seen = 0;
    let reject_some = |_: &HintRef<'_>| {
        seen += 1;
        if seen <= 7 {
            Verdict::Reject
        } else {
            Verdict::Delivered
        }
    };
    page.answer_each(reject_some).unwrap();
    let busy = aside(&["purge", "--apply"]);
    assert_eq!(busy.code, 4, "{}", busy.err);
    store.close().unwrap();
    // A file that opening cannot place is set aside.
    let broken = path.join("00000000-0000-0000-0000-000000000009-1795800000000-n1.hints");
    fs::write(&broken, [7; 5000]).unwrap();
    HintStore::open(Config::new(&path))
        .unwrap()
        .close()
        .unwrap();
    let listed = aside(&["ls"]);
    let kinds: Vec<_> = listed
        .of_kind("aside")
        .iter()
        .map(|file| file["what"].clone())
        .collect();
    assert_eq!(kinds.len(), 2, "{}", listed.out);
    assert!(kinds.contains(&"dead letters".into()));
    let before = bytes_of(&path);
    for plan in ["retry", "purge"] {
        assert_eq!(aside(&[plan]).code, 1, "{plan}");
        assert_eq!(aside(&[plan, "--file", "none"]).code, 2, "{plan}");
        assert_eq!(aside(&[plan, "--folder", "none"]).code, 2, "{plan}");
        assert_eq!(
            aside(&[plan, "--older-than", "2020-01-01"]).code,
            0,
            "{plan}"
        );
    }
    assert_eq!(
        aside(&["restore"]).code,
        2,
        "opening would take it for delivered"
    );
    assert_eq!(bytes_of(&path), before, "a plan changes nothing");
    // One of the letters is damaged: the others go, and their file stays.
    let letters = fs::read_dir(path.join("aside"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let letters: Vec<PathBuf> = letters
        .filter(|path| *path != path.with_file_name(broken.file_name().unwrap()))
        .collect();
    let whole = fs::read(&letters[0]).unwrap();
    let mut bytes = whole.clone();
    bytes[128 + block::HEADER + 20] ^= 1;
    fs::write(&letters[0], &bytes).unwrap();
    let retried = aside(&["retry", "--apply"]);
    let summary = retried.of_kind("summary");
    assert_eq!(
        (&summary[0]["hints"], &summary[0]["files_left"]),
        (&6.into(), &1.into()),
        "{}",
        retried.err
    );
    fs::write(&letters[0], &whole).unwrap();
    let retried = aside(&["retry", "--apply"]);
    assert_eq!(
        (retried.code, &retried.of_kind("summary")[0]["hints"]),
        (0, &7.into()),
        "{}",
        retried.err
    );
    let replayed = run("replay", &path, &["--to", "stdout"]);
    // 50 of the other target, and those that were rejected.
    assert_eq!(replayed.of_kind("summary")[0]["replayed"], 63);
    assert_eq!(aside(&["purge", "--apply"]).code, 0);
    assert_eq!(aside(&["ls"]).of_kind("aside").len(), 0);
}
