//! What people met, a test a case: other owners, other names, other clocks, running nodes, full disks.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use byteorder::{ByteOrder as _, LE};
use hintstore::raw::format::{DecodeError, DecodeKind, descriptor::Descriptor, store_file};
use hintstore_cassandra::{FileWriter, encode_body};

use crate::tool::{Folder, command, hintctl, json_lines, skipped, testdata};

/// `00112233-4455-6677-8899-aabbccddeeff`
const ID: [u8; 16] = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
];

fn is_root() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        skipped("only root can give files to others and mount");
    }
    root
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn renamed() {
    let folder = testdata("reports/renamed");
    let run = hintctl(&["--json", "verify", text(&folder.0)]);
    assert_eq!(run.code, 1);
    let delivered = "0d1cda69-8342-448d-b0e8-957b7975b1b1-1768435841312-2.hints";
    for file in run.of_kind("file") {
        let (status, back) = match file["file"].as_str().unwrap() {
            name if name == delivered => ("clean", serde_json::json!("all")),
            _ => ("failed", serde_json::json!([])),
        };
        let cassandra = &file["cassandra"];
        assert_eq!(cassandra["startup"], "loaded", "{file}");
        assert_eq!(cassandra["status"], status, "{file}");
        assert_eq!(cassandra["returned_by_verbatim_reader"], back, "{file}");
        assert_eq!(cassandra["recoverable"], file["hints"], "{file}");
    }
    // What is saved has the names that Cassandra opens.
    let out = folder.join("saved");
    let saved = hintctl(&["salvage", text(&folder.0), text(&out)]);
    assert_eq!(saved.code, 0, "{}", saved.err);
    let again = hintctl(&["--json", "verify", text(&out)]);
    assert_eq!(again.code, 0, "{}", again.out);
    assert_eq!(again.lines().last().unwrap()["hints"], 62);
}

#[test]
fn names_that_cassandra_passes_over() {
    let folder = testdata("reports/schema-text");
    let name = "00112233-4455-6677-8899-aabbccddeeff-1795754000000-2.hints";
    fs::copy(folder.join(name), folder.join("copy of it.hints")).unwrap();
    fs::remove_file(folder.join(name)).unwrap();
    let run = hintctl(&["--json", "verify", text(&folder.0)]);
    assert_eq!(run.code, 1);
    let file = run.of_kind("file").remove(0);
    let cassandra = &file["cassandra"];
    assert_eq!(cassandra["startup"], "not loaded, passed over for its name");
    assert_eq!(cassandra["recoverable"], 5);
}

/// Files that a name hides: `verify` looks into them, and no verb changes them.
#[test]
fn hint_files_under_other_names() {
    let folder = testdata("reports/schema-text");
    let name = "00112233-4455-6677-8899-aabbccddeeff-1795754000000-2.hints";
    let backup = folder.join("backup.hints.bak");
    fs::copy(folder.join(name), &backup).unwrap();
    let beside = hintctl(&["--json", "verify", text(&folder.0)]);
    assert_eq!(beside.code, 1);
    // Whatever is made of the directory is made without it, and that is said.
    let out = folder.join("out");
    for args in [
        &["dump", text(&folder.0)][..],
        &["salvage", text(&folder.0), text(&out)],
        &[
            "convert",
            text(&folder.0),
            "--to",
            "jsonl",
            text(&folder.join("out.jsonl")),
        ],
    ] {
        let run = hintctl(args);
        assert_eq!(run.code, 1, "{args:?}: {} {}", run.out, run.err);
        assert!(
            run.out.contains("backup.hints.bak"),
            "{args:?}: {}",
            run.out
        );
    }
    fs::remove_dir_all(&out).unwrap();
    assert!(beside.out.contains("in there too"), "{}", beside.out);
    let bytes = fs::read(folder.join(name)).unwrap();
    fs::remove_file(folder.join(name)).unwrap();
    fs::remove_file(&backup).unwrap();
    for other in ["backup.hints.bak", "BACKUP.HINTS", "backup.hint"] {
        fs::write(folder.join(other), &bytes).unwrap();
        let run = hintctl(&["--json", "verify", text(&folder.0)]);
        assert_eq!(run.code, 1, "{other}: {}", run.out);
        let file = run.of_kind("file").remove(0);
        let found = (&file["verdict"], &file["cassandra"]["recoverable"]);
        assert_eq!(found, (&"passed over".into(), &5.into()), "{file}");
        assert!(!run.err.contains("nothing was verified"), "{}", run.err);
        assert!(
            run.out.contains(&format!("rename it to {name}")),
            "{}",
            run.out
        );
        let run = hintctl(&["truncate", text(&folder.0), "--all", "--apply"]);
        assert!(folder.join(other).exists(), "{} {}", run.out, run.err);
        fs::remove_file(folder.join(other)).unwrap();
    }
}

/// What a killed run left is named, and is no source.
#[test]
fn what_a_kill_left_is_named() {
    let folder = testdata("reports/schema-text");
    let name = "00112233-4455-6677-8899-aabbccddeeff-1795754000000-2.hints";
    let half = folder.join(&format!("{name}.tmp"));
    fs::copy(folder.join(name), &half).unwrap();
    let run = hintctl(&["verify", text(&folder.0)]);
    assert_eq!(run.code, 1);
    assert!(
        run.err.contains(".hints.tmp") || run.out.contains(".hints.tmp"),
        "{} {}",
        run.out,
        run.err
    );
    fs::remove_file(half).unwrap();
    fs::write(folder.join("hintctl.unfinished"), "").unwrap();
    let file = folder.join(name);
    let out = Folder::new("kill-left");
    let to = out.join("out");
    for args in [
        &["verify", text(&file)][..],
        &["dump", text(&file)],
        &["convert", text(&folder.0), "--to", "native", text(&to)],
        &["convert", text(&file), "--to", "cassandra:2", text(&to)],
        &["salvage", text(&folder.0), text(&to)],
        &["truncate", text(&folder.0), "--all", "--apply"],
        &["expire", text(&folder.0), "--apply"],
    ] {
        let run = hintctl(args);
        assert_eq!(run.code, 1, "{args:?}: {} {}", run.out, run.err);
        let said = format!("{}{}", run.out, run.err);
        assert!(said.contains("it is not whole"), "{args:?}: {said}");
        assert!(!to.exists() && file.exists());
    }
}

#[test]
fn compact_key_only() {
    let folder = testdata("reports/compact-key-only");
    let schema = folder.join("schema.cql");
    let args = ["--json", "dump", text(&folder.0), "--schema", text(&schema)];
    let run = hintctl(&args);
    assert_eq!(run.code, 0, "{}", run.err);
    let found = run.of_kind("hint");
    let mut expected = json_lines(&folder.join("cassandra-5.0.6-decoded.jsonl"));
    assert_eq!(expected.pop().unwrap()["summary"], true);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        for field in [
            "mutation_sha256",
            "updates",
            "body_bytes",
            "creation_time_ms",
        ] {
            assert_eq!(found[field], expected[field], "{found}");
        }
    }
    let verify = [
        "--json",
        "verify",
        text(&folder.0),
        "--schema",
        text(&schema),
    ];
    let verdict = hintctl(&verify).of_kind("file").remove(0);
    assert_eq!(verdict["cassandra"]["status"], "clean", "{verdict}");
    let cql = hintctl(&[&args[1..], &["--format", "cql"]].concat());
    let row =
        "INSERT INTO stress.keyonly (a, b) VALUES ('a', 'b') USING TIMESTAMP 1795754000000008;";
    assert!(cql.out.contains(row), "{} {}", cql.out, cql.err);
}

#[test]
fn zone_name() {
    let folder = testdata("reports/schema-text");
    let dump = |time: &str| hintctl(&["--json", "dump", text(&folder.0), "--until", time]);
    // The five hints were created at 2026-11-27T04:33:20Z, one at a time or all at once.
    for (time, hints) in [
        ("2026-11-27T05:33:19[Europe/Berlin]", 0),
        ("2026-11-27T05:33:21[Europe/Berlin]", 5),
        ("2026-11-26T23:33:19[America/New_York]", 0),
        ("2026-11-26T23:33:21[America/New_York]", 5),
        ("2026-11-27T05:33:21+01:00[Europe/Berlin]", 5),
        ("2026-11-27 04:33:19,123", 0),
    ] {
        let run = dump(time);
        assert_eq!(
            (run.code, run.of_kind("hint").len()),
            (0, hints),
            "{time}: {}",
            run.err
        );
    }
    for time in [
        "2026-11-27T04:33:21+05:00[Europe/Berlin]",
        "2026-11-27 04:33:21 UTC",
        "2026-11-27T04:33:21[Middle/Earth]",
    ] {
        assert_eq!(dump(time).code, 2, "{time}");
    }
}

/// A directory of Cassandra's with a node's owner and modes.
fn owned(name: &str) -> Folder {
    let folder = testdata(name);
    for file in names(&folder.0) {
        let path = folder.join(&file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        chown(&path, Some(12_345), Some(12_346)).unwrap();
    }
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o750)).unwrap();
    chown(&folder.0, Some(12_345), Some(12_346)).unwrap();
    folder
}

/// Runs a script: `$0` is the first of the paths, `$1` the tool, `$2` the second path.
fn bash(script: &str, paths: &[&Path]) -> std::process::Output {
    let (first, others) = paths.split_first().unwrap();
    Command::new("bash")
        .args(["-c", script])
        .arg(first)
        .arg(env!("CARGO_BIN_EXE_hintctl"))
        .args(others)
        .output()
        .unwrap()
}

fn check_owners(folder: &Path, mode: u32) {
    for name in names(folder) {
        let path = folder.join(&name);
        let about = fs::metadata(&path).unwrap();
        assert_eq!((about.uid(), about.gid()), (12_345, 12_346), "{name}");
        if about.is_file() {
            assert_eq!(about.mode() & 0o777, mode, "{name}");
        } else {
            check_owners(&path, mode);
        }
    }
}

#[test]
fn owner_and_mode() {
    if !is_root() {
        return;
    }
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/cassandra/schema.cql");
    for mask in ["022", "077"] {
        for verb in [
            format!(
                "truncate $0 --table lab.natives --schema {}",
                schema.display()
            ),
            "expire $0 --as-of 2027-01-01".to_owned(),
        ] {
            let folder = owned("cassandra/all-types/v2");
            let script = format!("umask {mask}; $1 {verb} --apply");
            let run = bash(&script, &[&folder.0]);
            assert!(run.status.success(), "{verb}: {run:?}");
            assert!(
                names(&folder.0)
                    .iter()
                    .any(|name| name.starts_with("hintctl-aside"))
            );
            check_owners(&folder.0, 0o640);
        }
    }
    // What is made beside belongs to whom the directory around it does.
    let folder = owned("reports/renamed");
    let out = folder.join("saved");
    assert_eq!(hintctl(&["salvage", text(&folder.0), text(&out)]).code, 0);
    check_owners(&out, 0o640);
    // And what is made elsewhere to whom the source does: a node is to read it.
    let elsewhere = Folder::new("owner-elsewhere");
    for to in ["cassandra:2", "native"] {
        let out = elsewhere.join(to);
        let script = format!("umask 077; $1 convert $0 --to {to} $2");
        let run = bash(&script, &[&folder.0, &out]);
        assert!(run.status.success(), "{to}: {run:?}");
        let about = fs::metadata(&out).unwrap();
        let found = (about.uid(), about.gid(), about.mode() & 0o777);
        assert_eq!(found, (12_345, 12_346, 0o750), "{to}");
        check_owners(&out, 0o640);
    }
}

/// The change is made before it is reported, and an error of the report says so.
#[test]
fn a_report_that_cannot_be_written_says_what_was_done() {
    let folder = testdata("reports/schema-text");
    let script = "$1 truncate $0 --all --apply --no-aside > /dev/full";
    let run = bash(script, &[&folder.0]);
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(3), "{said}");
    assert!(
        said.contains("before that, 5 hints went as asked"),
        "{said}"
    );
    assert!(!names(&folder.0).iter().any(|name| name.ends_with(".hints")));
}

#[test]
fn a_native_store_of_another_user_stays_theirs() {
    if !is_root() {
        return;
    }
    let hints = testdata("reports/schema-text");
    let folder = Folder::new("native-owner");
    let store = folder.join("store");
    let made = hintctl(&["convert", text(&hints.0), "--to", "native", text(&store)]);
    assert_eq!(made.code, 0, "{}", made.err);
    for name in names(&store) {
        chown(store.join(&name), Some(12_345), Some(12_346)).unwrap();
    }
    chown(&store, Some(12_345), Some(12_346)).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o750)).unwrap();
    let run = hintctl(&["truncate", text(&store), "--all", "--apply"]);
    assert_eq!(run.code, 0, "{}", run.err);
    for name in names(&store) {
        let about = fs::metadata(store.join(&name)).unwrap();
        assert_eq!((about.uid(), about.gid()), (12_345, 12_346), "{name}");
    }
}

#[test]
fn node_in_container() {
    let folder = testdata("reports/schema-text");
    let file = folder.join("00112233-4455-6677-8899-aabbccddeeff-1795754000000-2.hints");
    let before = fs::read(&file).unwrap();
    let args = [
        "expire",
        text(&folder.0),
        "--as-of",
        "2027-12-01",
        "--apply",
    ];
    // A process that holds the file open for writing is a node; its path may be another one.
    let elsewhere = Folder::new("elsewhere");
    let link = elsewhere.join("the same file");
    fs::hard_link(&file, &link).unwrap();
    let node = OpenOptions::new().append(true).open(&link).unwrap();
    let run = hintctl(&args);
    assert_eq!(run.code, 4, "{} {}", run.out, run.err);
    assert_eq!(fs::read(&file).unwrap(), before);
    drop(node);
    fs::remove_file(&link).unwrap();
    let run = hintctl(&args);
    assert_eq!(run.code, 0, "{} {}", run.out, run.err);
    assert!(!file.exists());
}

#[test]
fn disk_full() {
    let folder = testdata("cassandra/all-types/v2");
    on_tmpfs("full", |on| full(&folder.0, on));
}

fn full(from: &Path, on: &Path) {
    for name in names(from) {
        fs::copy(from.join(&name), on.join(&name)).unwrap();
    }
    let ballast = OpenOptions::new()
        .create(true)
        .append(true)
        .open(on.join("ballast"));
    let mut ballast = ballast.unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}
    drop(ballast);
    let before = names(on);
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/cassandra/schema.cql");
    // What is made there ends with an error that names the place, not the source, and leaves nothing.
    let out = on.join("out");
    for args in [
        &["salvage", text(from), text(&out)][..],
        &["convert", text(from), "--to", "cassandra:2", text(&out)],
        &["convert", text(from), "--to", "jsonl", text(&out)],
    ] {
        let run = hintctl(args);
        assert_eq!(run.code, 3, "{args:?}: {} {}", run.out, run.err);
        let place = text(on);
        assert!(
            run.err.contains(place) && !run.err.contains("-2.hints: "),
            "{args:?}: {}",
            run.err
        );
        assert_eq!(names(on), before, "{args:?}");
    }
    // A file that keeps some of its hints is rewritten, for which there is no room.
    let table = [
        "truncate",
        text(on),
        "--table",
        "lab.natives",
        "--schema",
        text(&schema),
        "--apply",
    ];
    let run = hintctl(&table);
    assert_ne!(run.code, 0, "{}", run.out);
    assert_eq!(names(on), before, "{}", run.err);
    // Set aside on the same disk, nothing comes free, which is said; elsewhere, or not kept, it does.
    let plan = hintctl(&["truncate", text(on), "--all"]);
    assert!(plan.out.contains("free"), "{}", plan.out);
    let aside = Folder::new("aside");
    let run = hintctl(&[
        "truncate",
        text(on),
        "--all",
        "--apply",
        "--aside",
        text(&aside.0),
    ]);
    assert_eq!(run.code, 0, "{} {}", run.out, run.err);
    assert_eq!(names(on), ["ballast", "expected.jsonl"]);
    assert!(run.out.contains("came free"), "{}", run.out);
    assert!(!names(&aside.0).is_empty());
}

/// A directory of small files for seven targets, with three hints each.
fn many(files: u16) -> Folder {
    let folder = Folder::new("many");
    for number in 0..files {
        let (target, time) = (
            u8::try_from(number % 7).unwrap(),
            1_795_754_000_000 - i64::from(number) * 280_000,
        );
        let mut id = ID;
        id[15] = target;
        let mut file = FileWriter::new(Vec::new(), 2, time, id, None).unwrap();
        for later in 0..3 {
            let body = encode_body(time + later, 864_000, &[7; 100]);
            file.append(&body).unwrap();
        }
        let (bytes, _) = file.finish().unwrap();
        let name = format!("00112233-4455-6677-8899-aabbccddee{target:02x}-{time}-2.hints");
        fs::write(folder.join(&name), bytes).unwrap();
    }
    folder
}

#[test]
fn many_small_files() {
    let folder = many(700);
    let run = hintctl(&["--json", "ls", text(&folder.0)]);
    assert_eq!(run.code, 0, "{}", run.err);
    let targets = run.of_kind("target");
    assert_eq!(targets.len(), 7);
    assert!(
        targets.iter().all(|target| target["hints"] == 300),
        "{targets:?}"
    );
    let store = folder.join("store");
    let run = hintctl(&["convert", text(&folder.0), "--to", "native", text(&store)]);
    assert_eq!(run.code, 0, "{}", run.err);
    let run = hintctl(&["--json", "verify", text(&store)]);
    assert_eq!(run.lines().last().unwrap()["hints"], 2100, "{}", run.out);
}

/// Stops a run when something is there, and gives its code and what it said.
fn stopped(args: &[&str], signal: &str, is_time: impl Fn() -> bool) -> (Option<i32>, String) {
    let mut child = command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Some minutes at most.
    for _ in 0..100_000 {
        if is_time() || child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(sent.success());
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let said: Vec<String> = said.map_while(Result::ok).collect();
    (child.wait().unwrap().code(), said.join("\n"))
}

/// A hint file that takes a while to be converted.
fn large(folder: &Folder) -> PathBuf {
    let name = "00112233-4455-6677-8899-aabbccddeeff-1795754000000-2.hints";
    let path = folder.join("large");
    fs::create_dir(&path).unwrap();
    let file = fs::File::create(path.join(name)).unwrap();
    let mut file = FileWriter::new(file, 2, 1_795_754_000_000, ID, None).unwrap();
    let mutation: Vec<u8> = (0..=255).cycle().take(4 << 10).collect();
    for number in 0..20_000 {
        let body = encode_body(1_795_754_000_000 + number, 864_000, &mutation);
        file.append(&body).unwrap();
    }
    file.finish().unwrap();
    path
}

#[test]
fn nothing_interrupted_looks_whole() {
    let folder = Folder::new("interrupted");
    let store = large(&folder);
    for (signal, expected) in [("-TERM", Some(143)), ("-INT", Some(130)), ("-KILL", None)] {
        let out = folder.join(&format!("out{signal}"));
        let args = [
            "convert",
            text(&store),
            "--to",
            "cassandra:2:zstd",
            text(&out),
        ];
        let mark = out.join("hintctl.unfinished");
        let (code, said) = stopped(&args, signal, || mark.exists());
        assert_eq!(code, expected, "{said}");
        if expected.is_some() {
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(!out.exists(), "{:?}", names(&out));
        } else {
            let run = hintctl(&["--json", "verify", text(&out)]);
            assert_ne!(run.code, 0, "{}", run.out);
            assert!(!names(&out).iter().any(|name| name.ends_with(".hints")));
        }
    }
}

#[test]
fn a_full_standard_output_is_not_blamed_on_the_file() {
    let folder = testdata("cassandra/all-types/v2");
    for verb in ["dump", "verify", "stat"] {
        let output = command(&[verb, text(&folder.0)])
            .stdout(OpenOptions::new().write(true).open("/dev/full").unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("standard output"), "{verb}: {said}");
        assert!(!said.contains(".hints"), "{verb}: {said}");
        assert_ne!(output.status.code(), Some(0));
    }
}

#[test]
fn a_clause_of_many_words_costs_itself() {
    let folder = testdata("reports/schema-text");
    let schema = folder.join("clauses");
    let table = "CREATE TABLE ks.t (k text, c text, v text, PRIMARY KEY (k, c)) WITH \
                 speculative_retry = 99 PERCENTILE AND foo = bar(1) AND \
                 ID = a0a1a2a3-a4a5-b1b2-b3b4-c0c1c2c3c4c5 AND x = 3 days AND gc_grace_seconds = 5;";
    fs::write(&schema, table).unwrap();
    let hints = folder.join("00112233-4455-6677-8899-aabbccddeeff-1795754000000-2.hints");
    let run = hintctl(&["--json", "dump", text(&hints), "--schema", text(&schema)]);
    let found = run.of_kind("hint");
    assert_eq!((run.code, found.len()), (0, 5), "{}", run.err);
    assert!(
        found.iter().all(|hint| hint["receiver_ttl_s"] == 5),
        "{}",
        run.out
    );
    assert_eq!(
        run.err.matches("is not understood").count(),
        3,
        "{}",
        run.err
    );
}

#[test]
fn output_that_nobody_reads_leaves_all_or_nothing() {
    // More lines than wait in memory for the pipe.
    let folder = many(2000);
    for (verb, more) in [
        ("salvage", [].as_slice()),
        ("convert", &["--to", "cassandra:2"]),
    ] {
        let out = folder.join(verb);
        let args = ["--json", verb, text(&folder.0)];
        let mut child = command(&[&args, more, &[text(&out)]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let run = child.wait_with_output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(3), "{verb}: {said}");
        assert!(!out.exists(), "{verb}: {:?}", names(&out));
        assert!(said.contains("is removed"), "{verb}: {said}");
    }
}

#[test]
fn paths_without_hints_are_not_clean() {
    let folder = Folder::new("nothing");
    let paths = ["a.txt", "b.txt"].map(|name| folder.join(name));
    for path in &paths {
        fs::write(path, "no hints").unwrap();
    }
    let run = hintctl(&[
        "verify",
        text(paths.first().unwrap()),
        text(paths.last().unwrap()),
    ]);
    assert_eq!(run.code, 2, "{} {}", run.out, run.err);
}

/// The node starts while the tool reads: its file is left alone.
#[test]
fn a_node_that_starts_later_is_noticed() {
    let folder = Folder::new("later");
    let path = large(&folder);
    let name = names(&path).pop().unwrap();
    let before = fs::metadata(path.join(&name)).unwrap();
    // Half of them go: the file is read, and written again, which takes a while.
    let child = command(&[
        "truncate",
        text(&path),
        "--older-than",
        "1795754010000",
        "--apply",
    ])
    .stdout(Stdio::null())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    std::thread::park_timeout(Duration::from_millis(20));
    let node = OpenOptions::new()
        .append(true)
        .open(path.join(&name))
        .unwrap();
    let run = child.wait_with_output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(4), "{said}");
    assert_eq!(names(&path), std::slice::from_ref(&name));
    let after = fs::metadata(path.join(&name)).unwrap();
    assert_eq!((after.ino(), after.len()), (before.ino(), before.len()));
    drop(node);
}

/// Runs a test in a file system of its own, where one can be mounted.
fn on_tmpfs(name: &str, test: impl FnOnce(&Path) + std::panic::UnwindSafe) {
    if !is_root() {
        return;
    }
    let mount = Folder::new(name);
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs", text(&mount.0)])
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skipped("tmpfs cannot be mounted");
    }
    let result = std::panic::catch_unwind(|| test(&mount.0));
    let unmounted = Command::new("umount").arg(&mount.0).status().unwrap();
    assert!(unmounted.success());
    result.unwrap();
}

// P7
#[test]
fn a_read_only_mount() {
    let hints = testdata("reports/schema-text");
    on_tmpfs("read-only", |on| {
        let (store, theirs) = (on.join("store"), on.join("hints"));
        let made = hintctl(&["convert", text(&hints.0), "--to", "native", text(&store)]);
        assert_eq!(made.code, 0, "{}", made.err);
        fs::create_dir(&theirs).unwrap();
        for name in names(&hints.0) {
            fs::copy(hints.join(&name), theirs.join(&name)).unwrap();
        }
        let remounted = Command::new("mount")
            .args(["-o", "remount,ro", text(on)])
            .status();
        assert!(remounted.unwrap().success());
        for directory in [&store, &theirs] {
            let before = names(directory);
            for verb in ["ls", "stat", "verify", "dump"] {
                let run = hintctl(&[verb, text(directory)]);
                assert_eq!(run.code, 0, "{verb}: {} {}", run.out, run.err);
            }
            let plan = hintctl(&["truncate", text(directory), "--all"]);
            assert_eq!(plan.code, 1, "{} {}", plan.out, plan.err);
            assert!(plan.err.contains("--apply would fail"), "{}", plan.err);
            let deed = hintctl(&["truncate", text(directory), "--all", "--apply"]);
            assert_eq!(deed.code, 3, "{} {}", deed.out, deed.err);
            assert!(deed.err.contains("Read-only"), "{}", deed.err);
            assert_eq!(names(directory), before);
        }
    });
}

/// Makes a structure one of a later version, whole otherwise.
fn of_later_version(bytes: &mut [u8], decode: impl Fn(&[u8]) -> Option<DecodeError>) {
    LE::write_u16(bytes.get_mut(8..10).unwrap(), 9);
    let Some(DecodeKind::Checksum { computed, .. }) = decode(bytes).map(|error| error.kind) else {
        unreachable!("the checksum is of the version, too");
    };
    LE::write_u32(bytes.get_mut(12..16).unwrap(), computed);
}

#[test]
fn a_later_version_is_said_in_every_verb() {
    let hints = testdata("reports/schema-text");
    let folder = Folder::new("later");
    // A file of Cassandra's hints version 4.
    let theirs = folder.join("theirs");
    fs::create_dir(&theirs).unwrap();
    let file =
        fs::File::create(theirs.join("00112233-4455-6677-8899-aabbccddeeff-1795754000000-4.hints"));
    let file = FileWriter::new(file.unwrap(), 4, 1_795_754_000_000, ID, None).unwrap();
    file.finish().unwrap();
    // A native segment, and a native store.
    let made = |name: &str| {
        let store = folder.join(name);
        let made = hintctl(&["convert", text(&hints.0), "--to", "native", text(&store)]);
        assert_eq!(made.code, 0, "{}", made.err);
        store
    };
    let (segment, store) = (made("segment"), made("store"));
    let name = names(&segment)
        .into_iter()
        .find(|name| name.ends_with(".hints"));
    let name = segment.join(name.unwrap());
    let mut bytes = fs::read(&name).unwrap();
    of_later_version(&mut bytes, |bytes| Descriptor::decode(bytes).err());
    fs::write(name, bytes).unwrap();
    let mut bytes = fs::read(store.join("STORE")).unwrap();
    for slot in bytes.chunks_mut(4096) {
        if slot.iter().any(|byte| *byte != 0) {
            of_later_version(slot, |slot| store_file::slots(slot)[0].err());
        }
    }
    fs::write(store.join("STORE"), bytes).unwrap();
    let out = folder.join("out");
    for directory in [&theirs, &segment, &store] {
        let before = names(directory);
        let path = text(directory);
        for args in [
            &["ls", path][..],
            &["stat", path],
            &["verify", path],
            &["dump", path],
            &["replay", path, "--to", "stdout"],
            &["convert", path, "--to", "native", text(&out)],
            &["truncate", path, "--all"],
            &["truncate", path, "--all", "--apply"],
            &["expire", path],
            &["expire", path, "--apply"],
        ] {
            let run = hintctl(args);
            let said = format!("{} {}", run.out, run.err);
            assert_eq!(run.code, 6, "{args:?}: {said}");
            assert!(said.contains("version"), "{args:?}: {said}");
            assert!(!said.contains("damaged file"), "{args:?}: {said}");
            drop(fs::remove_dir_all(&out));
        }
        assert_eq!(names(directory), before);
    }
}

#[test]
fn what_a_stopped_quickstart_or_bench_made_is_removed() {
    for args in [
        &["quickstart", "--hints", "50000000"][..],
        &["bench", "", "--rounds", "200"],
    ] {
        let folder = Folder::new("stopped");
        let args: Vec<&str> = args
            .iter()
            .map(|arg| if arg.is_empty() { text(&folder.0) } else { arg })
            .collect();
        let mut child = command(&args)
            .env("TMPDIR", &folder.0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        for _ in 0..100_000 {
            if !names(&folder.0).is_empty() || child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert!(!names(&folder.0).is_empty(), "{args:?} made nothing");
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        let said = child.wait_with_output().unwrap();
        let words = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(143), "{args:?}: {words}");
        assert_eq!(words.lines().count(), 1, "{args:?}: {words}");
        assert_eq!(names(&folder.0), [] as [String; 0], "{args:?}: {words}");
    }
}
