//! Every verb that changes something, stopped at every call that changes a file: by a kill, by a signal, by an
//! error of the disk, and by the power. A directory is as before or as planned, file by file; what is made is
//! whole, or says that it is not; and a second run ends what the first began.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    time::Duration,
};

use hintstore::{
    Clock as _, Config, Durability, Hint, HintStore, SystemClock, TargetId, UnixMillis,
};
use hintstore_cassandra::{FileWriter, encode_body, side_file_text};
use serde_json::Value;

use crate::{
    tool::{Folder, Run, hintctl},
    trace::{Replayed, can_trace, files, record, strace},
};

const HOUR: i64 = 3_600_000;

/// What a verb does to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Hints go from it, or come back to it; what goes is kept in another place.
    Changes,
    /// The same, and nothing is kept.
    Discards,
    /// What else is in it.
    Adds,
    /// It makes a directory or a file from it.
    Makes,
}

struct Case {
    does: Does,
    setup: fn(&Path),
    args: &'static [&'static str],
}

/// A file of Cassandra's: hints of these ages in hours, which expire after one day.
fn cassandra_file(folder: &Path, target: u8, number: i64, ages: &[i64]) {
    let now = SystemClock.wall().get();
    let time = now - 100 * HOUR + number;
    let name = format!("{}-{time}-2", TargetId::from_bytes([target; 16]));
    let file = fs::File::create_new(folder.join(format!("{name}.hints"))).unwrap();
    let mut writer = FileWriter::new(file, 2, time, [target; 16], None).unwrap();
    for (at, age) in ages.iter().enumerate() {
        // One update of one table, as far as anybody looks.
        let mut mutation = vec![1];
        mutation.extend([9; 16]);
        mutation.extend(format!("{target} {number} {at}").bytes());
        // More than a buffer holds: it is written while others are still read.
        mutation.resize(if number == 2 { 100_000 } else { 100 }, 0);
        let body = encode_body(now - age * HOUR, 24 * 3600, &mutation);
        writer.append(&body).unwrap();
    }
    let (_, crc) = writer.finish().unwrap();
    fs::write(folder.join(format!("{name}.crc32")), side_file_text(crc)).unwrap();
}

/// Files that go as a whole, in part, and not at all; of two nodes.
fn cassandra(root: &Path) {
    let folder = root.join("dir");
    fs::create_dir(&folder).unwrap();
    cassandra_file(&folder, 1, 1, &[90, 80]);
    cassandra_file(&folder, 1, 2, &[70, 60, 2, 1]);
    cassandra_file(&folder, 1, 3, &[1]);
    cassandra_file(&folder, 2, 1, &[50, 1]);
}

/// One file: all of it happens in one step.
fn one_file(root: &Path) {
    let folder = root.join("dir");
    fs::create_dir(&folder).unwrap();
    cassandra_file(&folder, 1, 2, &[70, 60, 2, 1]);
}

/// With what `expire` set aside.
fn with_aside(root: &Path) {
    cassandra(root);
    let run = hintctl(&words(
        &["expire", "DIR", "--apply", "--node-is-stopped"],
        root,
    ));
    assert_eq!(run.code, 0, "{}", run.err);
}

/// With what `expire` set aside in another place.
fn with_aside_elsewhere(root: &Path) {
    cassandra(root);
    let args = ["expire", "DIR", "--apply", STOPPED, "--aside", "ASIDE"];
    let run = hintctl(&words(&args, root));
    assert_eq!(run.code, 0, "{}", run.err);
}

/// One file is damaged in its middle.
fn damaged(root: &Path) {
    cassandra(root);
    let (name, mut bytes) = files(root)
        .into_iter()
        .rfind(|(name, bytes)| name.ends_with(".hints") && bytes.len() > 200)
        .unwrap();
    *bytes.get_mut(220).unwrap() ^= 1;
    fs::write(root.join(name), bytes).unwrap();
}

fn settings(root: &Path) -> Config {
    Config::new(root.join("dir")).with(|config| {
        config.take_expired = true;
        config.hint_window = None;
    })
}

/// Segments in which all is dead, some of it, and nothing; of two nodes.
fn native(root: &Path) {
    let now = SystemClock.wall().get();
    for (number, ages) in [&[90, 80][..], &[70, 2], &[1]].into_iter().enumerate() {
        // Each time it is closed, its segments are sealed.
        let store = HintStore::open(settings(root)).unwrap();
        for (at, age) in ages.iter().enumerate() {
            for target in [1, 2] {
                let payload = format!("{target} {number} {at}");
                let hint = Hint::new(
                    TargetId::from_u128(target),
                    UnixMillis::new(now - age * HOUR),
                    Duration::from_hours(24),
                    payload.as_bytes(),
                );
                store.append(hint, Durability::Durable).unwrap();
            }
        }
        store.close().unwrap();
    }
}

/// A store, and files of Cassandra's beside it.
fn both(root: &Path) {
    native(root);
    let folder = root.join("from");
    fs::create_dir(&folder).unwrap();
    cassandra_file(&folder, 3, 1, &[3, 2, 1]);
}

const STOPPED: &str = "--node-is-stopped";

const fn case(does: Does, setup: fn(&Path), args: &'static [&'static str]) -> Case {
    Case { does, setup, args }
}

const CASES: &[Case] = &[
    case(
        Does::Changes,
        one_file,
        &["expire", "DIR", "--apply", STOPPED],
    ),
    case(
        Does::Changes,
        cassandra,
        &["truncate", "DIR", "--older-than", "30h", "--apply", STOPPED],
    ),
    case(
        Does::Changes,
        cassandra,
        &[
            "truncate",
            "DIR",
            "--older-than",
            "30h",
            "--apply",
            STOPPED,
            "--aside",
            "ASIDE",
        ],
    ),
    case(
        Does::Discards,
        cassandra,
        &[
            "truncate",
            "DIR",
            "--older-than",
            "30h",
            "--apply",
            STOPPED,
            "--no-aside",
        ],
    ),
    case(
        Does::Changes,
        cassandra,
        &["compact", "DIR", "--apply", STOPPED],
    ),
    case(
        Does::Adds,
        with_aside,
        &["aside", "restore", "DIR", "--apply", STOPPED],
    ),
    case(
        Does::Adds,
        with_aside_elsewhere,
        &[
            "aside", "restore", "DIR", "--from", "ASIDE", "--apply", STOPPED,
        ],
    ),
    case(
        Does::Discards,
        with_aside,
        &["aside", "purge", "DIR", "--apply"],
    ),
    case(Does::Makes, damaged, &["salvage", "DIR", "OUT"]),
    case(
        Does::Makes,
        cassandra,
        &["convert", "DIR", "--to", "native", "OUT"],
    ),
    case(
        Does::Makes,
        native,
        &["convert", "DIR", "--to", "native", "OUT"],
    ),
    case(
        Does::Makes,
        cassandra,
        &["convert", "DIR", "--to", "cassandra:2", "OUT"],
    ),
    case(
        Does::Makes,
        cassandra,
        &[
            "convert",
            "DIR",
            "--to",
            "cassandra:2",
            "--split",
            "target",
            "OUT",
        ],
    ),
    case(
        Does::Makes,
        cassandra,
        &["convert", "DIR", "--to", "jsonl", "OUT.jsonl"],
    ),
    case(
        Does::Makes,
        cassandra,
        &["convert", "DIR", "--to", "parquet", "OUT.parquet"],
    ),
    case(
        Does::Adds,
        both,
        &["convert", "FROM", "--to", "native", "DIR", "--add"],
    ),
    case(
        Does::Discards,
        native,
        &["truncate", "DIR", "--older-than", "30h", "--apply"],
    ),
    case(
        Does::Discards,
        native,
        &["truncate", "DIR", "--since", "75h", "--apply"],
    ),
    case(Does::Discards, native, &["expire", "DIR", "--apply"]),
    case(Does::Discards, native, &["compact", "DIR", "--apply"]),
];

/// What was typed, with the paths in their places.
fn words(args: &[&str], root: &Path) -> Vec<String> {
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let word = |arg: &&str| match *arg {
        "DIR" => path("dir"),
        "FROM" => path("from"),
        aside if aside.starts_with("ASIDE") => path(&aside.to_lowercase()),
        out if out.starts_with("OUT") => path(&out.replace("OUT", "out")),
        other => other.to_owned(),
    };
    args.iter().map(word).collect()
}

type Hints = BTreeSet<String>;

/// The hints that are still to be delivered from a directory, by file.
fn hints(folder: &Path) -> BTreeMap<String, Hints> {
    let mut all: BTreeMap<String, Hints> = BTreeMap::new();
    if !folder.is_dir() {
        return all;
    }
    let run = hintctl(&["--json", "dump", "--recursive", folder.to_str().unwrap()]);
    for hint in run.of_kind("hint") {
        let field = |name: &str| hint.get(name).cloned().unwrap_or_default();
        if field("has_ended") != Value::Bool(true) {
            let of_file = all.entry(field("file").to_string().replace('"', ""));
            let what = format!(
                "{} {} {}",
                field("target"),
                field("creation_time_ms"),
                field("payload_sha256")
            );
            of_file.or_default().insert(what);
        }
    }
    all
}

fn union(of: &BTreeMap<String, Hints>) -> Hints {
    of.values().flatten().cloned().collect()
}

/// All hints that are anywhere: in their place or set aside.
fn anywhere(root: &Path) -> Hints {
    let names: BTreeSet<_> = files(root).into_keys().collect();
    let folders: BTreeSet<_> = names
        .iter()
        .filter_map(|name| Path::new(name).parent())
        .collect();
    folders
        .iter()
        .flat_map(|folder| union(&hints(&root.join(folder))))
        .collect()
}

/// What was there before, and what is to be there.
struct Expected {
    files: BTreeMap<String, Vec<u8>>,
    before: BTreeMap<String, Hints>,
    planned: BTreeMap<String, Hints>,
    /// Of what is made.
    made: Hints,
}

impl Case {
    /// Makes the place where it is tried.
    fn place(&self, expected: Option<&Expected>) -> Folder {
        let folder = Folder::new("cut");
        match expected {
            None => (self.setup)(&folder.0),
            Some(expected) => write(&folder.0, &expected.files),
        }
        folder
    }

    fn run(&self, root: &Path) -> Run {
        hintctl(&words(self.args, root))
    }

    /// What it makes.
    fn out(&self, root: &Path) -> std::path::PathBuf {
        let out = self.args.iter().find(|arg| arg.starts_with("OUT"));
        root.join(out.map_or_else(|| "out".to_owned(), |out| out.replace("OUT", "out")))
    }

    /// Hints of what it makes.
    fn made(&self, root: &Path) -> Hints {
        let out = self.out(root);
        let name = out.extension().map(|name| name.to_str().unwrap());
        match (name, out.is_file()) {
            (None, _) => union(&hints(&out)),
            // A whole file has all lines, and the end that readers look for.
            (Some("jsonl"), true) => fs::read_to_string(out)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect(),
            (_, true) => Hints::from([format!("{:?}", fs::read(out).unwrap())]),
            (_, false) => Hints::new(),
        }
    }

    fn expect(&self) -> Expected {
        let folder = self.place(None);
        let root = &folder.0;
        let (files, before) = (files(root), hints(&root.join("dir")));
        let run = self.run(root);
        assert!(run.code <= 1, "{:?}: {}", self.args, run.err);
        let (planned, made) = (hints(&root.join("dir")), self.made(root));
        assert_eq!(
            self.does == Does::Makes,
            !made.is_empty(),
            "{:?}",
            self.args
        );
        Expected {
            files,
            before,
            planned,
            made,
        }
    }

    /// What is there after it was stopped.
    fn check(&self, root: &Path, expected: &Expected, when: &str) {
        let when = format!("{:?}, {when}", self.args);
        let now = hints(&root.join("dir"));
        let (all, before, planned) = (
            union(&now),
            union(&expected.before),
            union(&expected.planned),
        );
        let (less, more) = match self.does {
            Does::Adds => (&before, &planned),
            _ => (&planned, &before),
        };
        assert!(less.is_subset(&all), "{when}: hints are missing");
        assert!(
            all.is_subset(more),
            "{when}: there are hints that nobody meant"
        );
        let is_cassandras = |name: &String| name.starts_with("dir/") && name.ends_with("-2.hints");
        if expected.files.keys().any(is_cassandras) && self.does != Does::Makes {
            for (file, hints) in &now {
                let is = |of: &BTreeMap<String, Hints>| of.get(file) == Some(hints);
                assert!(
                    is(&expected.before) || is(&expected.planned),
                    "{when}: {file} is neither"
                );
            }
        }
        if self.does == Does::Changes {
            assert!(
                before.is_subset(&anywhere(root)),
                "{when}: something is kept nowhere"
            );
        }
        if self.does == Does::Makes {
            let now = files(&root.join("dir"));
            let source = expected
                .files
                .iter()
                .filter_map(|(name, bytes)| Some((name.strip_prefix("dir/")?, bytes)));
            let is_same = source
                .clone()
                .all(|(name, bytes)| now.get(name) == Some(bytes));
            assert!(is_same, "{when}: its source has changed");
            let out = self.out(root);
            let made = self.made(root);
            if out.is_dir() && made != expected.made {
                let path = out.to_str().unwrap();
                let is_empty = files(&out).is_empty();
                let verified = hintctl(&["verify", path]);
                let is_said = verified.code == 1 && verified.out.contains("it is not whole");
                assert!(is_empty || is_said, "{when}: {}", verified.out);
                fs::remove_dir_all(out).unwrap();
            } else if out.exists() {
                assert!(made == expected.made, "{when}: what was made is not whole");
                return;
            }
        }
        // What was cut off is done by doing it again; only what was added in part comes twice.
        if self.args.contains(&"--add") {
            return;
        }
        // What was kept the first time stays: the second run needs another place.
        let again: Vec<&str> = self
            .args
            .iter()
            .map(|arg| match *arg {
                "ASIDE" if self.does == Does::Changes => "ASIDE-2",
                arg => arg,
            })
            .collect();
        let run = hintctl(&words(&again, root));
        assert!(run.code <= 1, "{when}, again: {} {}", run.code, run.err);
        assert!(
            union(&hints(&root.join("dir"))) == planned,
            "{when}: not done by doing it again"
        );
        assert!(
            self.made(root) == expected.made,
            "{when}: not made by doing it again"
        );
    }
}

fn write(root: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// On the simulated disk: behind each call the power goes, and what was not synced is lost or torn.
#[test]
fn the_power_may_go_at_any_call_of_a_verb() {
    if !can_trace() {
        return;
    }
    let logs = Folder::new("cut-logs");
    for case in CASES {
        let expected = case.expect();
        let folder = case.place(Some(&expected));
        let (code, calls) = record(&folder.0, &logs.join("log"), &words(case.args, &folder.0));
        assert!(
            code <= Some(1) && calls.len() > 3,
            "{:?}: {calls:?}",
            case.args
        );
        let mut replayed = Replayed::new(&expected.files);
        for (at, call) in calls.iter().enumerate() {
            replayed.replay(&call.deed);
            for seed in 0..2 {
                let cut = Folder::new("cut-power");
                replayed.cut(seed * 1000 + at as u64, &cut.0);
                let when = format!(
                    "the power goes after call {at}, a {} (seed {seed})",
                    call.name
                );
                case.check(&cut.0, &expected, &when);
            }
        }
    }
}

/// How a real run is stopped at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Kill,
    Interrupt,
    Error(&'static str),
}

impl Stop {
    fn option(self, call: &str, number: usize) -> String {
        let what = match self {
            Self::Kill => "signal=KILL".to_owned(),
            Self::Interrupt => "signal=INT".to_owned(),
            Self::Error(error) => format!("error={error}"),
        };
        format!("inject={call}:{what}:when={number}")
    }
}

fn stopped_everywhere(stop: Stop) {
    if !can_trace() {
        return;
    }
    let logs = Folder::new("cut-logs");
    let log = logs.join("log");
    for case in CASES {
        let expected = case.expect();
        let folder = case.place(Some(&expected));
        let (_, calls) = record(&folder.0, &log, &words(case.args, &folder.0));
        let at: BTreeSet<_> = calls.iter().map(|call| (&call.name, call.number)).collect();
        let mut stopped = 0;
        for (call, number) in at {
            if call.starts_with("open") && stop == Stop::Kill {
                // As before the next one.
                continue;
            }
            let folder = case.place(Some(&expected));
            let root = &folder.0;
            let options = [
                "-e",
                &format!("trace={call}"),
                "-e",
                &stop.option(call, number),
            ];
            let run = strace(&options, &log, &words(case.args, root))
                .output()
                .unwrap();
            let err = String::from_utf8_lossy(&run.stderr);
            let when = format!("{stop:?} at {call} {number}: {err}");
            assert!(!err.contains("panicked"), "{when}");
            let left: Vec<String> = files(root)
                .into_keys()
                .filter(|name| name.ends_with(".tmp") && !name.ends_with("journal.tmp"))
                .collect();
            match stop {
                Stop::Kill => stopped += usize::from(run.status.signal() == Some(9)),
                Stop::Interrupt => {
                    // It may have ended before it knew, or died before it listened.
                    let code = run.status.code();
                    let is_early = run.status.signal() == Some(2);
                    assert!(
                        is_early || [Some(130), Some(0), Some(1)].contains(&code),
                        "{code:?}, {when}"
                    );
                    assert!(
                        code != Some(130) || err.contains("stopped by SIGINT"),
                        "{when}"
                    );
                    assert!(left.is_empty(), "{when}: {left:?}");
                    stopped += usize::from(code == Some(130));
                }
                Stop::Error(_) => {
                    // What is no harm is passed over: a name that could not be removed, a file that is not so large.
                    let code = run.status.code();
                    assert!(
                        [Some(0), Some(1), Some(3)].contains(&code),
                        "{code:?}, {when}"
                    );
                    assert!(code != Some(3) || !err.is_empty(), "{when}");
                    if err.contains("nothing was changed") {
                        let now = files(root);
                        assert!(now == expected.files, "{:?}, {when}", now.keys());
                    }
                    // With 1 it says what stays.
                    if code == Some(0) {
                        let now = union(&hints(&root.join("dir")));
                        let is_done =
                            now == union(&expected.planned) && case.made(root) == expected.made;
                        assert!(is_done, "{code:?} and not done, {when}");
                    }
                    stopped += usize::from(code == Some(3));
                }
            }
            case.check(root, &expected, &when);
        }
        assert!(stopped > 0, "{stop:?} never stopped {:?}", case.args);
    }
}

#[test]
fn a_kill_may_come_at_any_call_of_a_verb() {
    stopped_everywhere(Stop::Kill);
}

#[test]
fn an_interrupt_may_come_at_any_call_of_a_verb() {
    stopped_everywhere(Stop::Interrupt);
}

#[test]
fn any_call_of_a_verb_may_fail() {
    stopped_everywhere(Stop::Error("EIO"));
}

#[test]
fn the_disk_may_be_full_at_any_call_of_a_verb() {
    stopped_everywhere(Stop::Error("ENOSPC"));
}
