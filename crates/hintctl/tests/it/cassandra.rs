//! Files that a real Cassandra wrote: every field as Cassandra reads it, every damage contained.

use std::{fs, path::Path};

use serde_json::Value;

use crate::tool::{Folder, folders, hintctl, json_lines, testdata};

fn hint_files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".hints"))
        .collect();
    names.sort();
    names
}

fn dump(path: &Path) -> Vec<Value> {
    hintctl(&["--json".as_ref(), "dump".as_ref(), path.as_os_str()]).of_kind("hint")
}

fn schema() -> std::ffi::OsString {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../../testdata/cassandra/schema.cql").into()
}

/// Compares as Cassandra's dump is to be compared: literals by value, as Java gives more digits of
/// a number than it needs; `canonical` is its own business.
fn compare(expected: &Value, found: &Value, place: &str) {
    match (expected, found) {
        (Value::Object(expected), found) => {
            for (name, expected) in expected {
                if name != "canonical" {
                    compare(expected, &found[name.as_str()], &format!("{place}/{name}"));
                }
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{place}");
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(expected, found, &format!("{place}/{index}"));
            }
        }
        (Value::String(expected), Value::String(found)) if expected != found => {
            let numbers = |text: &str| -> Vec<Result<f64, String>> {
                let is_number = |c: char| !(c.is_ascii_digit() || "+-.E".contains(c));
                let parts = text.split(is_number);
                parts
                    .map(|part| part.parse().map_err(|_not| part.to_owned()))
                    .collect()
            };
            assert_eq!(numbers(expected), numbers(found), "{place}");
        }
        _ => assert_eq!(expected, found, "{place}"),
    }
}

#[test]
fn every_record_is_dumped_as_cassandra_reads_it() {
    let mut sets = vec![
        "cassandra/multi-target".to_owned(),
        "cassandra/damaged/original".to_owned(),
        "cassandra/damaged/original-lz4".to_owned(),
    ];
    for kind in ["cassandra/all-types", "cassandra/compressed"] {
        sets.extend(folders(kind).iter().map(|set| format!("{kind}/{set}")));
    }
    let mut compared = 0;
    for set in sets {
        let folder = testdata(&set);
        let path = folder.0.as_os_str();
        let schema = schema();
        let run = hintctl(&[
            "--json".as_ref(),
            "dump".as_ref(),
            path,
            "--schema".as_ref(),
            &schema,
        ]);
        let found = run.of_kind("hint");
        let mut expected = json_lines(&folder.join("expected.jsonl"));
        expected.retain(|line| line["summary"].is_null());
        assert_eq!(found.len(), expected.len(), "{set}");
        for name in hint_files(&folder.0) {
            let of_file = |lines: &[Value]| -> Vec<Value> {
                let mut lines = lines.to_vec();
                lines.retain(|line| line["file"] == name.as_str());
                lines
            };
            for (found, mut expected) in of_file(&found).into_iter().zip(of_file(&expected)) {
                if set.ends_with("by-4.1") {
                    // Its literals are those of 4.1, which has no quotes around dates.
                    let updates = expected["updates"].as_array_mut().unwrap();
                    updates.clear();
                    expected.as_object_mut().unwrap().remove("updates");
                }
                compare(&expected, &found, &format!("{set} {}", found["index"]));
                compared += 1;
            }
        }
    }
    assert!(compared > 2500, "{compared}");
}

#[test]
fn directories_of_a_real_cluster_agree_with_their_sets() {
    for set in folders("cluster") {
        let truth = testdata(&format!("cluster/{set}"));
        let truth: Value =
            serde_json::from_slice(&fs::read(truth.join("set.json")).unwrap()).unwrap();
        let folder = testdata(&format!("cluster/{set}/hints"));
        let path = folder.0.as_os_str();
        let listed = hintctl(&["--json".as_ref(), "ls".as_ref(), path]);
        let verified = hintctl(&["--json".as_ref(), "verify".as_ref(), path]);
        for expected in truth["files"].as_array().unwrap() {
            let line = |run: &crate::tool::Run| -> Value {
                run.of_kind("file")
                    .into_iter()
                    .find(|l| l["file"] == expected["file"])
                    .unwrap()
            };
            let (listed, found) = (line(&listed), line(&verified));
            assert_eq!(listed["bytes"], expected["bytes"]);
            assert_eq!(listed["hints"], expected["hints"], "{set}");
            assert_eq!(
                listed["oldest_creation_time_ms"],
                expected["oldest_created"]
            );
            assert_eq!(
                listed["newest_creation_time_ms"],
                expected["newest_created"]
            );
            let open = expected["crc32_file"].is_null();
            assert_eq!(listed["state"], if open { "open" } else { "closed" });
            assert_eq!(found["verdict"], "clean", "{set}");
            assert_eq!(found["hints"], expected["hints"], "{set}");
            assert_eq!(verified.code, 0, "{set}: {}", verified.err);
        }
    }
}

/// What Cassandra would do is what Cassandra did; what can be recovered is what is intact.
#[test]
fn verdicts_on_damaged_files_are_cassandras() {
    let cases = folders("cassandra/damaged");
    assert!(cases.len() > 60);
    let schema = schema();
    for case in cases {
        let folder = testdata(&format!("cassandra/damaged/{case}"));
        let file = folder.join(&hint_files(&folder.0).pop().unwrap());
        let args = ["--json".as_ref(), "verify".as_ref(), file.as_os_str()];
        let run = hintctl(&[&args[..], &["--schema".as_ref(), &schema]].concat());
        let found = run.of_kind("file").pop().unwrap();
        let cassandra = &found["cassandra"];
        if case.starts_with("original") {
            assert_eq!(
                (run.code, &cassandra["status"]),
                (0, &"clean".into()),
                "{case}"
            );
            continue;
        }
        let verdict = fs::read(folder.join("verdict.json")).unwrap();
        let verdict: Value = serde_json::from_slice(&verdict).unwrap();
        assert_eq!(cassandra["status"], verdict["status"], "{case}");
        let startup = |value: &Value| {
            let text = value["startup"].as_str().unwrap();
            text.split(", problem").next().unwrap().to_owned()
        };
        assert_eq!(startup(cassandra), startup(&verdict), "{case}");
        for reader in ["returned_by_decoding_reader", "returned_by_verbatim_reader"] {
            let list = verdict[reader].as_array().unwrap();
            let expected: Vec<i64> = list.iter().map(|n| n.as_i64().unwrap()).collect();
            let found = numbers(cassandra, reader);
            assert_eq!(found.len(), expected.len(), "{case} {reader}");
            // The truth has numbers in the original, -1 for what that does not have.
            for (found, expected) in found.iter().zip(&expected) {
                let same = found == expected || *expected == -1 || case.contains("duplicate");
                assert!(same, "{case} {reader}: {found} {expected}");
            }
        }
        let intact = found["hints"].as_u64().unwrap();
        let recoverable = cassandra["recoverable"].as_u64().unwrap();
        assert!(recoverable >= intact, "{case}");
        if case.contains("-header-") || case.contains("-json-") {
            let expected = if case.contains("truncated") { 0 } else { 24 };
            assert_eq!(recoverable, expected, "{case}");
        }
        let header = [
            "-header-",
            "version",
            "compressor",
            "json-array",
            "json-broken",
            "json-empty",
        ];
        if header.iter().any(|word| case.contains(word)) {
            let expected = if case.contains("-version-") { 6 } else { 1 };
            assert_eq!((run.code, intact), (expected, 0), "{case}");
        } else if !cassandra["endless"].as_bool().unwrap() {
            let given = numbers(cassandra, "returned_by_verbatim_reader");
            assert!(intact >= given.len() as u64, "{case}");
        }
    }
}

/// Behind a damaged length or block everything is found again.
#[test]
fn what_is_intact_behind_damage_is_found() {
    for (case, lost) in [
        ("plain-length-first", 1),
        ("plain-length-middle", 1),
        ("plain-length-crc", 1),
        ("plain-zero-length-record", 0),
        ("plain-negative-length", 0),
        ("plain-huge-length", 0),
        ("plain-body-1", 1),
        ("lz4-block-uncompressed-size", 0),
        ("lz4-garbage-3", 0),
    ] {
        let folder = testdata(&format!("cassandra/damaged/{case}"));
        let found = dump(&folder.0);
        assert_eq!(found.len(), 24 - lost, "{case}");
    }
}

#[test]
fn a_nodes_directory_becomes_a_native_store() {
    let folder = testdata("cassandra/multi-target");
    let out = Folder::new("store");
    let store = out.join("store");
    let (from, to) = (folder.0.as_os_str(), store.as_os_str());
    let run = hintctl(&[
        "--json".as_ref(),
        "convert".as_ref(),
        from,
        "--to".as_ref(),
        "native".as_ref(),
        to,
    ]);
    // One is empty; two have a tail; one has no business here.
    assert_eq!(
        (run.code, run.of_kind("bad").len()),
        (0, 3),
        "{} {}",
        run.out,
        run.err
    );
    let expected = dump(&folder.0);
    let native = dump(&store);
    assert_eq!(native.len(), expected.len());
    // Both come by target and in order within it.
    for (native, expected) in native.iter().zip(&expected) {
        // One vocabulary: the fields of both have the same names and units.
        for name in [
            "payload_sha256",
            "payload_bytes",
            "gc_grace_s",
            "payload_version",
        ] {
            assert_eq!(native[name], expected[name], "{name}");
        }
        assert_eq!(native["payload_sha256"], expected["mutation_sha256"]);
        assert_eq!(native["creation_time_ms"], expected["creation_time_ms"]);
        assert_eq!(native["gc_grace_s"], expected["gcgs_s"]);
        assert_eq!(native["expires_at_ms"], expected["expires_at_ms"]);
        assert_eq!(native["target"], expected["target"]);
        assert!(native["discard_after_s"].is_null());
        let namespace = match expected["update_count"].as_u64().unwrap() {
            1 => expected["table_id"].clone(),
            _ => Value::from("ffffffff-ffff-ffff-ffff-ffffffffffff"),
        };
        assert_eq!(native["namespace"], namespace);
    }
    let verified = hintctl(&["--json".as_ref(), "verify".as_ref(), to]);
    assert_eq!(verified.code, 0, "{}", verified.out);
    // Something else is in the way: nothing is written.
    let run = hintctl(&[
        "convert".as_ref(),
        from,
        "--to".as_ref(),
        "native".as_ref(),
        folder.0.as_os_str(),
    ]);
    assert_eq!(run.code, 2, "{}", run.err);
}

#[test]
fn replay_honours_expiry_at_the_time_asked_for() {
    let folder = testdata("cluster/4.1-v2/hints");
    let path = folder.0.as_os_str();
    let at = |time: &str| {
        let run = hintctl(&[
            "--json".as_ref(),
            "replay".as_ref(),
            path,
            "--to".as_ref(),
            "stdout".as_ref(),
            "--as-of".as_ref(),
            time.as_ref(),
        ]);
        assert_eq!(run.code, 0, "{}", run.err);
        run.of_kind("summary").pop().unwrap()
    };
    let then = at("1795380790900");
    assert_eq!(
        (&then["replayed"], &then["expired"]),
        (&4354.into(), &43.into())
    );
    let later = at("2030-01-01T00:00:00Z");
    assert_eq!(
        (&later["replayed"], &later["expired"]),
        (&0.into(), &4397.into())
    );
}

/// What `verify` says that a reader of Cassandra's gives, number by number.
fn numbers(cassandra: &Value, reader: &str) -> Vec<i64> {
    if cassandra[reader] == "all" {
        return (0..cassandra["recoverable"].as_i64().unwrap()).collect();
    }
    let ranges = cassandra[reader].as_array().unwrap().iter();
    ranges
        .flat_map(|range| range[0].as_i64().unwrap()..=range[1].as_i64().unwrap())
        .collect()
}
