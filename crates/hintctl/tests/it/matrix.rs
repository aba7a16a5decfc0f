//! Every verb on every kind of input: its exit code, no panic, something said where something is wrong, and a verb
//! that reads leaves every byte and every time as it was.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use hintstore::{Config, Durability, Hint, HintStore, TargetId, UnixMillis};

use hintstore_cassandra::FileWriter;

use crate::{
    tool::{Folder, command, hintctl, skipped, testdata},
    trace::{can_trace, strace},
};

/// Kinds of input, as columns of [`CODES`].
const INPUTS: [&str; 11] = [
    "native",
    "cassandra",
    "compressed",
    "damaged",
    "crashed",
    "live",
    "empty",
    "missing",
    "foreign",
    "newer",
    "file",
];

/// What each verb is called with, and its exit code for each of [`INPUTS`].
const CODES: &[(&[&str], [i32; 11])] = &[
    (&["ls", "IN"], [0, 0, 0, 1, 0, 0, 0, 3, 1, 6, 0]),
    (&["ls", "IN", "--files"], [0, 0, 0, 1, 0, 0, 0, 3, 1, 6, 0]),
    (
        &["ls", "IN", "--by", "table"],
        [0, 0, 0, 1, 1, 0, 0, 3, 1, 6, 0],
    ),
    (&["stat", "IN"], [0, 0, 0, 0, 0, 0, 0, 3, 1, 6, 0]),
    (
        &["stat", "IN", "--by", "hour"],
        [0, 0, 0, 1, 1, 0, 0, 3, 1, 6, 0],
    ),
    (
        &["dump", "IN", "--limit", "5"],
        [0, 0, 0, 0, 1, 0, 0, 3, 1, 6, 0],
    ),
    (&["verify", "IN"], [0, 0, 0, 1, 1, 0, 1, 3, 1, 6, 0]),
    (
        &["diff", "IN", "IN", "--brief"],
        [0, 0, 0, 1, 1, 0, 0, 3, 2, 6, 0],
    ),
    (
        &["forecast", "IN", "--rate", "1MiB", "--begin", "2026-11-28"],
        [0, 0, 0, 1, 1, 0, 0, 3, 1, 6, 0],
    ),
    (
        &["convert", "IN", "--to", "native", OUT],
        [0, 0, 0, 1, 1, 0, 2, 3, 2, 6, 0],
    ),
    (
        &["convert", "IN", "--to", "cassandra:3", OUT],
        [1, 0, 0, 1, 1, 1, 2, 3, 2, 6, 0],
    ),
    (
        &["convert", "IN", "--to", "jsonl", OUT],
        [0, 0, 0, 1, 1, 0, 2, 3, 2, 6, 0],
    ),
    (
        &["convert", "IN", "--to", "parquet", OUT],
        [0, 0, 0, 1, 1, 0, 2, 3, 2, 6, 0],
    ),
    (&["salvage", "IN", OUT], [2, 0, 0, 1, 2, 2, 2, 3, 2, 6, 0]),
    (
        &["replay", "IN", "--to", OUT],
        [0, 0, 0, 1, 1, 0, 0, 3, 1, 6, 0],
    ),
    (
        &["expire", "IN", "--as-of", "2026-11-28"],
        [0, 1, 1, 1, 0, 0, 0, 3, 2, 6, 2],
    ),
    (
        &["truncate", "IN", "--all"],
        [1, 1, 1, 1, 1, 1, 0, 3, 2, 6, 2],
    ),
    (&["compact", "IN"], [0, 1, 1, 1, 0, 0, 0, 3, 2, 6, 2]),
    (&["aside", "ls", "IN"], [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 2]),
    (
        &["sync-point", "create", "IN"],
        [0, 2, 2, 2, 0, 0, 2, 3, 2, 2, 2],
    ),
];

/// Where output goes, of verbs that make something.
const OUT: &str = "OUT";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The settings of a store that writes nothing on its own while a test lasts: what changes, hintctl changed.
fn at_rest(directory: PathBuf) -> Config {
    let never = Duration::from_hours(24);
    Config::new(directory).with(|config| {
        config.checkpoint_interval = never;
        config.sweep_interval = never;
        config.compact_interval = None;
        config.roll_age = never;
    })
}

const HINT: &[u8] = b"a hint";

/// A hint that is alive on whatever day this runs.
fn append(store: &HintStore) {
    let created = UnixMillis::new(1_795_754_000_000);
    let life = Duration::from_hours(100 * 366 * 24);
    let hint = Hint::new(TargetId::from_u128(1), created, life, HINT);
    store.append(hint, Durability::Durable).unwrap();
}

/// What is left of a store whose machine stopped, and whose disk lost the first of two blocks.
fn crash(live: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    let files = fs::read_dir(live).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    for from in files.filter(|path| path.is_file()) {
        let mut bytes = fs::read(&from).unwrap();
        if from.extension().is_some_and(|of| of == "hints") {
            let payload = bytes.windows(HINT.len()).position(|of| of == HINT);
            *bytes.get_mut(payload.unwrap()).unwrap() ^= 1;
        }
        fs::write(to.join(from.file_name().unwrap()), bytes).unwrap();
    }
}

struct Inputs {
    folder: Folder,
    native: Folder,
    cassandra: Folder,
    compressed: Folder,
    damaged: Folder,
    live: HintStore,
}

impl Inputs {
    fn new() -> Self {
        let folder = Folder::new("matrix");
        let live = HintStore::open(at_rest(folder.join("live"))).unwrap();
        append(&live);
        append(&live);
        crash(&folder.join("live"), &folder.join("crashed"));
        fs::create_dir(folder.join("empty")).unwrap();
        let foreign = folder.join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("notes.txt"), "no hints").unwrap();
        let newer = folder.join("newer");
        fs::create_dir(&newer).unwrap();
        let name = "00112233-4455-6677-8899-aabbccddeeff-1795754000000-9.hints";
        let file = fs::File::create_new(newer.join(name)).unwrap();
        let writer = FileWriter::new(file, 9, 1_795_754_000_000, [1; 16], None).unwrap();
        writer.finish().unwrap();
        Self {
            folder,
            native: testdata("golden-1/plain"),
            cassandra: testdata("cluster/5.0-v3/hints"),
            compressed: testdata("cassandra/compressed/v2-lz4"),
            damaged: testdata("cassandra/damaged/plain-body-1"),
            live,
        }
    }

    fn path(&self, input: &str) -> PathBuf {
        match input {
            "native" => self.native.0.clone(),
            "cassandra" => self.cassandra.0.clone(),
            "compressed" => self.compressed.0.clone(),
            "damaged" => self.damaged.0.clone(),
            "file" => {
                let entries = fs::read_dir(&self.cassandra.0).unwrap();
                let mut paths = entries.map(|entry| entry.unwrap().path());
                paths
                    .find(|path| path.extension().is_some_and(|of| of == "hints"))
                    .unwrap()
            }
            other => self.folder.join(other),
        }
    }
}

/// All that is in a path, with the time at which it was written.
fn state(path: &Path) -> Vec<(PathBuf, Vec<u8>, i64)> {
    let Ok(metadata) = fs::metadata(path) else {
        return Vec::new();
    };
    let written = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
    if metadata.is_file() {
        return vec![(path.to_owned(), fs::read(path).unwrap(), written)];
    }
    let entries = fs::read_dir(path).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let below = paths.iter().flat_map(|path| state(path));
    [(path.to_owned(), Vec::new(), written)]
        .into_iter()
        .chain(below)
        .collect()
}

/// The words of a case, with its paths in their places.
fn words(args: &[&str], input: &Path, out: &Path) -> Vec<String> {
    let word = |arg: &&str| match *arg {
        "IN" => text(input).to_owned(),
        OUT => text(out).to_owned(),
        other => other.to_owned(),
    };
    args.iter().map(word).collect()
}

#[test]
fn every_verb_on_every_kind_of_input() {
    let (inputs, out) = (Inputs::new(), Folder::new("matrix-out"));
    let mut wrong = Vec::new();
    for (number, (args, codes)) in CODES.iter().enumerate() {
        for (input, expected) in INPUTS.iter().zip(codes) {
            let path = inputs.path(input);
            let before = state(&path);
            for json in [false, true] {
                let to = out.join(&format!("{number}-{input}-{json}"));
                let mut words = words(args, &path, &to);
                if json {
                    words.insert(0, "--json".to_owned());
                }
                let run = hintctl(&words);
                let said = format!("{}{}", run.out, run.err);
                assert!(!said.contains("panicked"), "{words:?}: {said}");
                assert!(run.code == 0 || !said.is_empty(), "{words:?} says nothing");
                if run.code != *expected {
                    wrong.push(format!(
                        "{args:?} {input} json={json}: {} {said:.300}",
                        run.code
                    ));
                }
                if json {
                    run.lines();
                }
                assert!(state(&path) == before, "{words:?} changed something");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop(inputs.live);
}

/// A full standard output, and one that nobody reads: no panic, and nothing is blamed on the hints.
#[test]
fn every_verb_where_its_output_goes_nowhere() {
    let (inputs, out) = (Inputs::new(), Folder::new("matrix-out"));
    let path = inputs.path("cassandra");
    for (number, (args, codes)) in CODES.iter().enumerate() {
        for format in ["text", "jsonl"] {
            let to = out.join(&format!("{number}-{format}"));
            let mut all = words(args, &path, &to);
            all.extend(["--format".to_owned(), format.to_owned()]);
            let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
            let run = command(&all)
                .stdout(full)
                .stderr(Stdio::piped())
                .output()
                .unwrap();
            let err = String::from_utf8_lossy(&run.stderr);
            // What prints nothing does not meet it, and what is refused is refused for that.
            let is_silent = format == "text" && args[0] == "replay" || codes[1] == 2;
            let expected = if is_silent { codes[1] } else { 3 };
            assert_eq!(run.status.code(), Some(expected), "{all:?}: {err}");
            assert!(
                is_silent || err.contains("standard output"),
                "{all:?}: {err}"
            );
            // Its reader has gone before it says anything.
            let to = out.join(&format!("{number}-{format}-closed"));
            let mut all = words(args, &path, &to);
            all.extend(["--format".to_owned(), format.to_owned()]);
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let run = command(&all)
                .stdout(writer)
                .stderr(Stdio::piped())
                .output()
                .unwrap();
            let err = String::from_utf8_lossy(&run.stderr);
            let code = run.status.code().unwrap();
            assert!(
                [codes[1], 3].contains(&code) && !err.contains("panicked"),
                "{all:?}: {code} {err}"
            );
            // Remarks that nobody hears are no reason to stop either.
            let to = out.join(&format!("{number}-{format}-deaf"));
            let mut all = words(args, &path, &to);
            all.extend(["--format".to_owned(), format.to_owned()]);
            let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
            let run = command(&all)
                .stdout(Stdio::null())
                .stderr(full)
                .output()
                .unwrap();
            assert_eq!(run.status.code(), Some(codes[1]), "{all:?}");
        }
    }
}

/// SIGINT in the middle of each verb, wherever that is: it ends by it or had ended, leaves its input as it was, and
/// nothing that looks whole.
#[test]
fn every_verb_that_is_interrupted() {
    if !can_trace() {
        return;
    }
    let (inputs, out) = (Inputs::new(), Folder::new("matrix-out"));
    let mut stopped = 0;
    for input in ["cassandra", "native"] {
        let column = INPUTS.iter().position(|of| *of == input).unwrap();
        let path = inputs.path(input);
        let before = state(&path);
        for (number, (args, codes)) in CODES.iter().enumerate() {
            // The loader has read twice before.
            for at in [3, 5, 9] {
                let to = out.join(&format!("{input}-{number}-{at}"));
                let words = words(args, &path, &to);
                let inject = format!("inject=pread64:signal=INT:when={at}");
                let options = ["-e", "trace=pread64", "-e", &inject];
                let log = out.join("log");
                let run = strace(&options, &log, &words).output().unwrap();
                let err = String::from_utf8_lossy(&run.stderr);
                let is_stopped = run.status.code() == Some(130);
                let is_done = run.status.code() == Some(codes[column]);
                assert!(is_stopped || is_done, "{words:?}: {} {err}", run.status);
                assert!(!err.contains("panicked"), "{words:?}: {err}");
                assert!(state(&path) == before, "{words:?} changed something");
                stopped += usize::from(is_stopped);
                if is_stopped {
                    assert!(err.contains("stopped by SIGINT"), "{words:?}: {err}");
                    assert!(!to.exists(), "{words:?} left something");
                }
            }
        }
    }
    assert!(stopped > 40, "only {stopped} runs were stopped");
}

/// As another user, who may not read them; and on a mount that takes no writes.
#[test]
fn every_verb_where_it_may_not() {
    if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        skipped("only root can become another user, and mount");
        return;
    }
    let hints = testdata("cluster/5.0-v3/hints");
    let out = Folder::new("matrix-out");
    for entry in fs::read_dir(&hints.0).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    // Where it was built another user may not look.
    let tool = out.join("hintctl");
    fs::copy(env!("CARGO_BIN_EXE_hintctl"), &tool).unwrap();
    let as_nobody = |args: &[String]| {
        let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let all = [&user[..], &[text(&tool)]].concat();
        Command::new("setpriv").args(all).args(args).output()
    };
    if as_nobody(&["--version".to_owned()]).is_ok_and(|run| run.status.success()) {
        for (args, codes) in CODES {
            // Names are said by the directory, and what is no store is refused by them.
            if args[0] == "aside" || codes[1] == 2 {
                continue;
            }
            let run = as_nobody(&words(args, &hints.0, &out.join("none"))).unwrap();
            let err = String::from_utf8_lossy(&run.stderr);
            assert_eq!(run.status.code(), Some(3), "{args:?}: {err}");
            assert!(err.contains("ermission denied"), "{args:?}: {err}");
        }
    } else {
        skipped("another user cannot run the tool here, or there is no setpriv");
    }
    let mounted = out.join("mounted");
    fs::create_dir(&mounted).unwrap();
    let mount = |args: &[&str]| {
        Command::new("mount")
            .args(args)
            .status()
            .is_ok_and(|of| of.success())
    };
    if !mount(&["--bind", text(&hints.0), text(&mounted)]) {
        skipped("nothing can be mounted here");
        return;
    }
    let is_read_only = mount(&["-o", "remount,bind,ro", text(&mounted)]);
    let mut wrong = Vec::new();
    for (number, (args, codes)) in CODES.iter().enumerate() {
        let run = hintctl(&words(args, &mounted, &out.join(&format!("ro-{number}"))));
        if run.code != codes[1] {
            wrong.push(format!("{args:?}: {} {}", run.code, run.err));
        }
    }
    let apply = hintctl(&[
        "truncate",
        text(&mounted),
        "--all",
        "--apply",
        "--node-is-stopped",
    ]);
    assert!(
        Command::new("umount")
            .arg(&mounted)
            .status()
            .unwrap()
            .success()
    );
    assert!(is_read_only && wrong.is_empty(), "{wrong:?}");
    assert!(
        apply.code == 3 && apply.err.contains("nothing was changed"),
        "{}",
        apply.err
    );
}
