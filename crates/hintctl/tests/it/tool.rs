//! Running the tool, and folders to run it in.

use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::Value;

/// A temporary folder, removed when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("hintctl-test-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What a run printed, and its exit code.
pub(crate) struct Run {
    /// What was asked: lines of JSON are checked against what the docs say of it.
    pub(crate) verb: String,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// The lines of JSON, checked: each with `v` and `kind`, the last a summary.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines: Vec<Value> = self
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            lines
                .iter()
                .all(|line| line["v"] == 1 && line["kind"].is_string())
        );
        assert_eq!(lines.last().unwrap()["kind"], "summary", "{}", self.out);
        for line in &lines {
            check(&self.verb, line);
        }
        lines
    }

    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Value> {
        self.lines()
            .into_iter()
            .filter(|line| line["kind"] == kind)
            .collect()
    }
}

pub(crate) fn hintctl<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Run {
    let output = command(args).output().unwrap();
    let words = args
        .iter()
        .map(|arg| arg.as_ref().to_str().unwrap_or_default());
    run(verb(words), &output)
}

pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hintctl"));
    command.args(args);
    command
}

const VERBS: [&str; 20] = [
    "ls",
    "list",
    "stat",
    "info",
    "dump",
    "cat",
    "verify",
    "salvage",
    "expire",
    "compact",
    "aside",
    "sync-point",
    "truncate",
    "convert",
    "replay",
    "ctl",
    "bench",
    "quickstart",
    "diff",
    "forecast",
];

/// The verb in what was typed.
pub(crate) fn verb<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut words = words.into_iter();
    words
        .find(|word| VERBS.contains(word))
        .unwrap_or_default()
        .to_owned()
}

/// The schema in the docs, by verb.
fn schemas() -> &'static HashMap<String, jsonschema::Validator> {
    static SCHEMAS: OnceLock<HashMap<String, jsonschema::Validator>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/hintctl-json.md");
        let docs = fs::read_to_string(docs).unwrap();
        let (_, schema) = docs.split_once("```json\n").unwrap();
        let (schema, _) = schema.split_once("\n```").unwrap();
        let schema: Value = serde_json::from_str(schema).unwrap();
        let verbs = schema.get("$defs").unwrap().as_object().unwrap().keys();
        let of = |verb: &String| {
            let mut schema = schema.clone();
            let of_verb = format!("#/$defs/{verb}").into();
            schema
                .as_object_mut()
                .unwrap()
                .insert("$ref".to_owned(), of_verb);
            (verb.clone(), jsonschema::validator_for(&schema).unwrap())
        };
        verbs.map(of).collect()
    })
}

/// Whether a line is as the docs say.
fn check(verb: &str, line: &Value) {
    let verb = match verb {
        "list" => "ls",
        "info" => "stat",
        "cat" => "dump",
        // A word that is no verb.
        "" => return,
        verb => verb,
    };
    let schema = schemas().get(verb);
    let schema = schema
        .ok_or_else(|| format!("the docs have no {verb}"))
        .unwrap();
    let wrong: Vec<String> = schema
        .iter_errors(line)
        .map(|error| error.to_string())
        .collect();
    assert!(wrong.is_empty(), "{verb}: {line}: {wrong:?}");
}

fn run(verb: String, output: &Output) -> Run {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run {
        verb,
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// A folder of the test data; where it holds compressed files, a copy with all unpacked.
pub(crate) fn testdata(name: &str) -> Folder {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(name);
    let folder = Folder::new("data");
    for entry in fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !path.is_file() {
            continue;
        }
        match name.strip_suffix(".zst") {
            Some(name) => {
                let bytes = fs::read(&path).unwrap();
                let bytes = zstd::bulk::decompress(&bytes, 16 << 20).unwrap();
                fs::write(folder.join(name), bytes).unwrap();
            }
            None => drop(fs::copy(&path, folder.join(name)).unwrap()),
        }
    }
    folder
}

/// A file of the test data as JSON Lines.
pub(crate) fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn folders(name: &str) -> Vec<String> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(name);
    let mut names: Vec<String> = fs::read_dir(from)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Says that a check is skipped, past the capture of tests; where `CI` is set that is an error.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    std::io::stderr()
        .write_all(format!("skipped: {why}\n").as_bytes())
        .unwrap();
}
