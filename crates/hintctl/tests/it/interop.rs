//! What hintctl writes is read by Cassandra's own classes, hint by hint: every version and codec,
//! from Cassandra's files and from a native store, and what salvage saved.
//!
//! Needs Maven and a JDK of 17 or later. Where they are not there it says so aloud, and fails
//! where `CI` is set.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::tool::{Folder, folders, hintctl, skipped, testdata};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether a program runs; where it does not, that is told, and is an error for CI.
fn is_there(program: &str) -> bool {
    let runs = Command::new(program).arg("-version").output();
    let there = runs.is_ok_and(|output| output.status.success());
    if !there {
        skipped(&format!(
            "{program} cannot be run, so Cassandra's own classes read nothing"
        ));
    }
    there
}

/// Builds the reader; gives its class path.
fn build() -> String {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-cassandra");
    let classpath = out.join("classpath");
    let output = Command::new("mvn")
        .args(["-q", "-B", "-Dstyle.color=never"])
        .arg(format!("-Dout={}", out.display()))
        .arg(format!("-Dmdep.outputFile={}", classpath.display()))
        .args(["compile", "dependency:build-classpath"])
        .current_dir(root().join("interop/cassandra"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "mvn: {said}");
    let dependencies = fs::read_to_string(classpath).unwrap();
    format!("{}:{}", out.join("classes").display(), dependencies.trim())
}

/// What Cassandra reads: the lines that it prints.
fn cassandra(files: &[PathBuf]) -> Vec<String> {
    let scratch = Folder::new("interop");
    let mut command = Command::new("java");
    let options = fs::read_to_string(root().join("interop/cassandra/jvm.options")).unwrap();
    command
        .args(options.split_whitespace())
        .arg("-XX:TieredStopAtLevel=1")
        .arg(format!("-Dinterop.scratch={}", scratch.0.display()));
    command
        .args(["-cp", &build()])
        .args(["org.apache.cassandra.hints.Interop", "read"])
        .arg(root().join("testdata/cassandra/schema.cql"))
        .args(files);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "java: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn convert(from: &Path, to: &str, out: &Path) {
    let args = [
        "convert".as_ref(),
        from.as_os_str(),
        "--to".as_ref(),
        to.as_ref(),
        out.as_os_str(),
    ];
    let run = hintctl(&args);
    assert_eq!(run.code, 0, "{to}: {} {}", run.out, run.err);
}

/// The hints of a file or directory, as Cassandra's reader prints them.
fn hints(path: &Path) -> Vec<String> {
    let run = hintctl(&["--json".as_ref(), "dump".as_ref(), path.as_os_str()]);
    let line = |hint: Value| {
        let field = |name| hint.get(name).map(Value::to_string).unwrap();
        let hash = field("mutation_sha256");
        let (created, grace) = (field("creation_time_ms"), field("gcgs_s"));
        format!("hint {} {created} {grace}", hash.trim_matches('"'))
    };
    run.of_kind("hint").into_iter().map(line).collect()
}

fn hint_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "hints"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn cassandra_reads_what_hintctl_writes() {
    if !is_there("java") || !is_there("mvn") {
        return;
    }
    let work = Folder::new("written");
    // Each file that is written, and what its hints must be.
    let mut written: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for version in ["1", "2", "3"] {
        let from = testdata(&format!("cassandra/all-types/v{version}"));
        let expected = hints(&from.0);
        assert_eq!(expected.len(), 402);
        for codec in ["", ":lz4", ":snappy", ":deflate", ":zstd", ":noop"] {
            let out = work.join(&format!("{version}{codec}"));
            convert(&from.0, &format!("cassandra:{version}{codec}"), &out);
            let file = hint_files(&out).pop().unwrap();
            written.push((file, expected.clone()));
        }
        // There and back again.
        let (store, out) = (
            work.join(&format!("store{version}")),
            work.join(&format!("back{version}")),
        );
        convert(&from.0, "native", &store);
        convert(&store, &format!("cassandra:{version}:zstd"), &out);
        written.push((hint_files(&out).pop().unwrap(), expected));
    }
    for case in folders("cassandra/damaged") {
        let from = testdata(&format!("cassandra/damaged/{case}"));
        let out = work.join(&case);
        let args = ["salvage".as_ref(), from.0.as_os_str(), out.as_os_str()];
        let run = hintctl(&args);
        assert!(run.code <= 1 || run.code == 6, "{case}: {}", run.err);
        // Bodies that decode to nothing are saved, as they are intact: Cassandra fails on them.
        let decodes = !["plain-slack-in-body", "plain-bad-mutation"].contains(&case.as_str());
        for file in hint_files(&out).into_iter().filter(|_| decodes) {
            let expected = hints(&file);
            written.push((file, expected));
        }
    }
    let files: Vec<PathBuf> = written.iter().map(|(file, _)| file.clone()).collect();
    let mut lines = cassandra(&files).into_iter();
    for (file, expected) in written {
        let found: Vec<String> = lines.by_ref().take(expected.len()).collect();
        assert!(found == expected, "{}: other hints", file.display());
        let end = lines.next().unwrap();
        let empty = expected.is_empty() && end.starts_with("file failed 0 0 ");
        let clean = end.starts_with(&format!("file clean {} ", expected.len()));
        assert!(clean || empty, "{end}");
    }
    assert_eq!(lines.next(), None);
}
