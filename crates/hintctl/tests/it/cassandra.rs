//! Files that a real Cassandra wrote: every field as Cassandra reads it, every damage contained.

use std::{fs, path::Path};

use serde_json::Value;

use crate::tool::{Folder, folders, hintctl, json_lines, testdata};

/// A target whose files in `multi-target` are compressed: refused, file by file.
const COMPRESSED: &str = "b64e547e-e919-42e6-8cea-8f6e05242045";

const FIELDS: [&str; 7] = [
    "index",
    "position",
    "body_bytes",
    "creation_time_ms",
    "gcgs_s",
    "expires_at_ms",
    "mutation_sha256",
];

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

#[test]
fn every_record_is_dumped_as_cassandra_reads_it() {
    let mut sets: Vec<String> = folders("cassandra/all-types")
        .iter()
        .map(|v| format!("cassandra/all-types/{v}"))
        .collect();
    sets.extend([
        "cassandra/multi-target".to_owned(),
        "cassandra/damaged/original".to_owned(),
    ]);
    let mut compared = 0;
    for set in sets {
        let folder = testdata(&set);
        let mut expected = json_lines(&folder.join("expected.jsonl"));
        expected.retain(|line| !line["file"].as_str().unwrap().starts_with(COMPRESSED));
        let found = dump(&folder.0);
        assert_eq!(found.len(), expected.len(), "{set}");
        for name in hint_files(&folder.0) {
            let of_file = |lines: &[Value]| -> Vec<Value> {
                lines
                    .iter()
                    .filter(|line| line["file"] == name.as_str())
                    .cloned()
                    .collect()
            };
            for (found, expected) in of_file(&found).iter().zip(of_file(&expected)) {
                for field in FIELDS {
                    assert_eq!(found[field], expected[field], "{set} {name} {field}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 1500, "{compared}");
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
            if expected["parameters"].get("compression").is_some() {
                assert_eq!(listed["state"], "compressed", "{set}");
                assert_eq!(found["hints"], 0);
                assert_eq!(verified.code, 1, "{set}");
                continue;
            }
            assert_eq!(listed["hints"], expected["hints"], "{set}");
            assert_eq!(listed["oldest_created_ms"], expected["oldest_created"]);
            assert_eq!(listed["newest_created_ms"], expected["newest_created"]);
            let open = expected["crc32_file"].is_null();
            assert_eq!(listed["state"], if open { "open" } else { "closed" });
            assert_eq!(found["verdict"], "clean", "{set}");
            assert_eq!(found["hints"], expected["hints"], "{set}");
            assert_eq!(verified.code, 0, "{set}: {}", verified.err);
        }
    }
}

/// What is behind a wrong length cannot be found yet; all before it, and all else, is.
#[test]
fn damage_is_contained_and_told() {
    let cases = folders("cassandra/damaged");
    assert!(cases.len() > 60);
    for case in cases {
        let folder = testdata(&format!("cassandra/damaged/{case}"));
        let name = hint_files(&folder.0).pop().unwrap();
        let file = folder.join(&name);
        let run = hintctl(&["--json".as_ref(), "verify".as_ref(), file.as_os_str()]);
        let version = case.contains("version");
        assert!(
            (0..=1).contains(&run.code) || (version && run.code == 6),
            "{case}: {} {}",
            run.code,
            run.err
        );
        let expected = if case.contains("-version-") { 6 } else { 1 };
        if case.contains("lz4") {
            assert_eq!(run.code, expected, "{case}");
            continue;
        }
        if case.starts_with("original") {
            assert_eq!(run.code, 0, "{case}");
            continue;
        }
        let verdict: Value =
            serde_json::from_slice(&fs::read(folder.join("verdict.json")).unwrap()).unwrap();
        let returned = verdict["returned_by_verbatim_reader"]
            .as_array()
            .unwrap()
            .len();
        let found = dump(&file);
        // Cassandra returns hints of files that it does not load.
        let refused = ["json", "plain-header", "version", "compressor"];
        if refused.iter().any(|word| case.contains(word)) && !case.contains("unknown-key") {
            assert_eq!((run.code, found.len()), (expected, 0), "{case}");
        } else {
            assert_eq!(found.len(), returned, "{case}");
        }
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
    // Three files are compressed.
    assert_eq!(
        (run.code, run.of_kind("bad").len()),
        (1, 6),
        "{} {}",
        run.out,
        run.err
    );
    let expected = dump(&folder.0);
    let native = dump(&store);
    assert_eq!(native.len(), expected.len());
    // Both come by target and in order within it.
    for (native, expected) in native.iter().zip(&expected) {
        assert_eq!(native["payload_sha256"], expected["mutation_sha256"]);
        assert_eq!(native["created_ms"], expected["creation_time_ms"]);
        assert_eq!(
            native["gc_grace_ms"],
            expected["gcgs_s"].as_u64().unwrap() * 1000
        );
        assert_eq!(native["expires_at_ms"], expected["expires_at_ms"]);
        assert_eq!(native["target"], expected["target"]);
        assert!(native["discard_after_ms"].is_null());
        let namespace = match expected["updates"].as_u64().unwrap() {
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
