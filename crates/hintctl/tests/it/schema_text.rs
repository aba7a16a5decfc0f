//! Schema text as people have it: what is not understood costs itself.

use std::fs;

use crate::{
    reports::{names, text},
    tool::{hintctl, testdata},
};

#[test]
fn schema_text() {
    let folder = testdata("reports/schema-text");
    let hints = folder.join("00112233-4455-6677-8899-aabbccddeeff-1795754000000-2.hints");
    for name in names(&folder.0) {
        let Some(case) = name.strip_suffix(".cql") else {
            continue;
        };
        let schema = folder.join(&name);
        let run = hintctl(&["--json", "dump", text(&hints), "--schema", text(&schema)]);
        if case == "empty" {
            assert_eq!(run.code, 2);
            assert!(run.err.contains("defines no table"), "{}", run.err);
            continue;
        }
        // Without ids tables cannot be distinguished, which is reported.
        let decoded = run
            .of_kind("hint")
            .iter()
            .filter(|hint| hint["updates"].is_array())
            .count();
        let expected = if case == "nointern" { 0 } else { 5 };
        assert_eq!(
            (run.code, decoded),
            (0, expected),
            "{case}: {} {}",
            run.out,
            run.err
        );
        let strays = ["transcript", "warn2", "warnline"].contains(&case);
        assert_eq!(
            run.err.contains("passed over: line 1"),
            strays,
            "{case}: {}",
            run.err
        );
        if case == "nointern" {
            assert!(run.err.contains("ks.t has no id"), "{}", run.err);
        }
    }
}

/// What people put around a definition costs itself.
#[test]
fn schema_text_of_other_kinds() {
    let folder = testdata("reports/schema-text");
    let hints = folder.join("00112233-4455-6677-8899-aabbccddeeff-1795754000000-2.hints");
    let whole = fs::read_to_string(folder.join("snapshot.cql")).unwrap();
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let of = |before: &str| format!("{before}\n{whole}").into_bytes();
    let behind = |text: &str| format!("{whole}\n{text}").into_bytes();
    let begins = whole.trim_start();
    let replaced = |from: &str, to: &str| whole.replacen(from, to, 1).into_bytes();
    let was = whole
        .replace("c text", "was text")
        .replace("(k, c)", "(k, was)");
    let cases: [(&str, Vec<u8>, Option<&str>); 23] = [
        (
            "a table of a type that is not there",
            of(
                "CREATE TABLE a.b (c int PRIMARY KEY, d nowhere) WITH ID = 00000000-0000-0000-0000-000000000001;",
            ),
            Some("there is no type a.nowhere"),
        ),
        (
            "a statement of a later version",
            of("CREATE TABLE a.b (c int PRIMARY KEY, d map<int>);"),
            Some("line 1: a statement is not understood"),
        ),
        (
            "a table without a key",
            behind("CREATE TABLE a.b (c int);"),
            Some("it has no primary key"),
        ),
        (
            "words behind a semicolon",
            of("USE shop; Elapsed: it's 3 ms"),
            Some("no statement: Elapsed"),
        ),
        (
            "a sentence that begins like a statement",
            of("Create the customers table like so:"),
            None,
        ),
        (
            "a sentence with an apostrophe",
            of("Alter it to the customer's liking, and"),
            Some("quotes has no end"),
        ),
        (
            "an open comment",
            behind("/* the end"),
            Some("a comment has no end"),
        ),
        (
            "an open string",
            behind("INSERT INTO a.b (c) VALUES ('"),
            Some("quotes has no end"),
        ),
        (
            "a comment in Latin-1",
            [b"-- caf\xe9\n", whole.as_bytes()].concat(),
            Some("byte 6 is no UTF-8"),
        ),
        ("UTF-16 without its mark", wide(&whole), None),
        ("an index", behind("CREATE INDEX ON a.b (c);"), None),
        (
            "a constraint of a column",
            of("CREATE TABLE a.b (c int PRIMARY KEY CHECK c > 0);"),
            Some("what is said of column c is passed over"),
        ),
        (
            "a comment that begins like a definition",
            replaced(
                "WITH ID",
                "WITH comment = 'made by\ncreate table ks.t (k text) ;\n' AND ID",
            ),
            None,
        ),
        (
            "a comment with an id and more",
            replaced(
                "AND bloom",
                "AND comment = 'Ids:\ncreate with x and id = d0a1a2a3-a4a5-b1b2-b3b4-c0c1c2c3c4c5' AND bloom",
            ),
            None,
        ),
        (
            "a definition without its semicolon",
            of(
                "CREATE TABLE a.b (c int PRIMARY KEY) WITH ID = b0a1a2a3-a4a5-b1b2-b3b4-c0c1c2c3c4c5 AND gc_grace_seconds = 8",
            ),
            None,
        ),
        (
            "the prompt of a user",
            format!("cassandra@cqlsh:ks> {begins}").into_bytes(),
            None,
        ),
        (
            "prompts within a statement",
            format!("cqlsh> {}", begins.replace("\n\t", "\n   ... \t")).into_bytes(),
            None,
        ),
        (
            "one end of a line that is not two",
            whole.replace('\n', "\r").into_bytes(),
            None,
        ),
        (
            "two files, each with its mark",
            of("\u{feff}USE ks;\n\u{feff}"),
            None,
        ),
        (
            "a word of the shell",
            format!("exit; {begins}").into_bytes(),
            Some("no statement: exit"),
        ),
        (
            "a renamed column",
            format!(
                "{}ALTER TABLE ks.t RENAME was TO c;",
                was.replace("(c ASC)", "(was ASC)")
            )
            .into_bytes(),
            None,
        ),
        (
            "an end of nothing",
            format!("{whole}\0\0").into_bytes(),
            None,
        ),
        (
            "an alteration of what is not there",
            behind("ALTER TABLE a.b DROP c;"),
            None,
        ),
    ];
    for (case, text_of, remark) in cases {
        let schema = folder.join("case.cql");
        fs::write(&schema, text_of).unwrap();
        let run = hintctl(&["--json", "dump", text(&hints), "--schema", text(&schema)]);
        let hints = run.of_kind("hint");
        let decoded = hints.iter().filter(|hint| hint["updates"].is_array());
        assert_eq!((run.code, decoded.count()), (0, 5), "{case}: {}", run.err);
        match remark {
            Some(remark) => assert!(run.err.contains(remark), "{case}: {}", run.err),
            None => assert_eq!(run.err, "", "{case}"),
        }
    }
    let bytes = folder.join("bytes.cql");
    fs::copy(&hints, &bytes).unwrap();
    let run = hintctl(&["dump", text(&hints), "--schema", text(&bytes)]);
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("it is no text"), "{}", run.err);
}

/// A name without a keyspace is never taken for one of a keyspace that is not in use any more.
#[test]
fn a_table_is_in_the_keyspace_that_is_in_use() {
    let folder = testdata("reports/schema-text");
    let table = "(k text, c text, v text, gone int, PRIMARY KEY (k, c)) WITH ID = a0a1a2a3-a4a5-b1b2-b3b4-c0c1c2c3c4c5;";
    for (case, of) in [
        (
            format!(
                "USE a; CREATE TABLE x (y int PRIMARY KEY); USE b /* second */; CREATE TABLE t {table}"
            ),
            "b.t",
        ),
        (
            format!("cqlsh> USE a;\nu@cqlsh:a> USE b;\nu@cqlsh:b> CREATE TABLE t {table}"),
            "b.t",
        ),
        (
            format!(
                "USE a;\nUse the one that is yours instead\nCREATE TABLE t {table}\nUSE b;CREATE TABLE u (y int PRIMARY KEY) WITH ID = b0a1a2a3-a4a5-b1b2-b3b4-c0c1c2c3c4c5;"
            ),
            "",
        ),
    ] {
        let schema = folder.join("case.cql");
        fs::write(&schema, &case).unwrap();
        for name in ["a.t", "b.t"] {
            let run = hintctl(&[
                "truncate",
                text(&folder.0),
                "--table",
                name,
                "--schema",
                text(&schema),
            ]);
            let expected = if name == of { 1 } else { 2 };
            assert_eq!(
                run.code, expected,
                "{name} of {case}: {} {}",
                run.out, run.err
            );
        }
    }
}
