//! What hintctl writes is read by Cassandra's own classes, hint by hint: every version and codec,
//! from Cassandra's files and from a native store, and what salvage saved.
//!
//! Needs Maven and a JDK of 17 or later. Where they are not there it says so aloud, and fails
//! where `CI` is set.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

use crate::tool::{Folder, folders, hintctl, skipped, testdata};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether a program runs; where it does not, that is reported, and is an error for CI.
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

/// Builds the reader, once for all tests: two Mavens in one folder undo each other's work. Gives its
/// class path.
fn build() -> &'static str {
    static CLASSPATH: OnceLock<String> = OnceLock::new();
    CLASSPATH.get_or_init(rebuild)
}

fn rebuild() -> String {
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

/// What Cassandra prints of these files.
fn cassandra(mode: &str, schema: &Path, files: &[PathBuf]) -> Vec<String> {
    let scratch = Folder::new("interop");
    let mut command = Command::new("java");
    let options = fs::read_to_string(root().join("interop/cassandra/jvm.options")).unwrap();
    command
        .args(options.split_whitespace())
        .arg("-XX:TieredStopAtLevel=1")
        .arg(format!("-Dinterop.scratch={}", scratch.0.display()));
    command
        .args(["-cp", build()])
        .args(["org.apache.cassandra.hints.Interop", mode])
        .arg(schema)
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
    let schema = root().join("testdata/cassandra/schema.cql");
    let mut lines = cassandra("read", &schema, &files).into_iter();
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

/// The bytes of a value, or how many they are.
fn bytes_of(value: &Value) -> String {
    let hex = value.get("hex").and_then(Value::as_str);
    hex.map_or_else(|| format!("{} bytes", field(value, "bytes")), str::to_owned)
}

fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// The live cells of a hint, as Cassandra prints those of a statement, without ids in lists.
fn live_cells(hint: &Value) -> Vec<String> {
    let of = |value: &Value, name: &str| field(value, name).as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for update in of(hint, "updates") {
        let text = |name: &str| field(&update, name).as_str().unwrap().to_owned();
        let place = format!(
            "{}.{} {}",
            text("keyspace"),
            text("table"),
            text("partition_key_hex")
        );
        let mut rows = of(&update, "rows");
        rows.extend(update.get("static_row").cloned());
        for cell in rows.iter().flat_map(|row| of(row, "cells")) {
            if field(&cell, "tombstone") != true {
                let column = field(&cell, "column").as_str().unwrap();
                lines.push(format!("{place} {column} {}", bytes_of(&cell)));
            }
        }
    }
    lines
}

#[test]
fn cassandra_reads_each_literal_as_the_value_that_it_stands_for() {
    if !is_there("java") || !is_there("mvn") {
        return;
    }
    let work = Folder::new("literals");
    let (all_types, times) = (
        testdata("cassandra/all-types/v3"),
        testdata("reports/timestamp-literals"),
    );
    let dates = times.join("dates");
    fs::create_dir(&dates).unwrap();
    let date_file = "00112233-4455-6677-8899-aabbccddeeff-1795754000000-2.hints";
    fs::copy(times.join("dates.hints"), dates.join(date_file)).unwrap();
    fs::remove_file(times.join("dates.hints")).unwrap();
    for schema in [times.join("schema.cql"), times.join("dates-schema.cql")] {
        let keyspace = "CREATE KEYSPACE ks WITH replication = \
                        {'class': 'SimpleStrategy', 'replication_factor': 1};\n";
        let tables = fs::read_to_string(&schema).unwrap();
        fs::write(&schema, format!("{keyspace}{tables}")).unwrap();
    }
    for (folder, schema, statements) in [
        (
            &all_types.0,
            root().join("testdata/cassandra/schema.cql"),
            1083,
        ),
        (&times.0, times.join("schema.cql"), 16),
        (&dates, times.join("dates-schema.cql"), 6),
    ] {
        let args = [
            "dump".as_ref(),
            folder.as_os_str(),
            "--schema".as_ref(),
            schema.as_os_str(),
        ];
        let json = hintctl(&[&["--json".as_ref()], args.as_slice()].concat());
        let text = hintctl(&[args.as_slice(), &["--format".as_ref(), "cql".as_ref()]].concat());
        // A line is a statement, whatever is in its texts.
        let said = text.out.lines().filter(|line| !line.starts_with("-- "));
        let said: Vec<&str> = said.collect();
        assert_eq!(said.len(), statements, "{}", text.out);
        let unsaid = text.out.matches("-- CQL cannot say this").count();
        let file = work.join("statements");
        fs::write(&file, said.join("\n")).unwrap();
        let lines = cassandra("statements", &schema, &[file]);
        let mut read: Vec<&str> = lines.iter().map(String::as_str).collect();
        let hints = json.of_kind("hint");
        let mut cells: Vec<String> = hints.iter().flat_map(live_cells).collect();
        cells.sort();
        read.sort_unstable();
        assert!(cells.len() >= statements / 2);
        if unsaid == 0 {
            assert!(cells == read, "{cells:#?}\n{read:#?}");
        } else {
            // What Cassandra takes no time for is in no statement.
            assert_eq!((unsaid, cells.len() - read.len()), (1, 1), "{}", text.out);
            assert!(
                read.iter()
                    .all(|line| cells.iter().any(|cell| cell == line))
            );
        }
    }
}
