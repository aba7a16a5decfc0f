//! Hints from one form to another, saved from damage, taken out: nothing else changes.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::tool::{Folder, Run, hintctl, json_lines, skipped, testdata};

fn run(args: &[&dyn AsRef<OsStr>]) -> Run {
    let args: Vec<&OsStr> = args.iter().map(|arg| (*arg).as_ref()).collect();
    hintctl(&[&[OsStr::new("--json")], &args[..]].concat())
}

fn schema(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(name)
}

/// What a hint is, wherever it lies.
fn essence(hint: &Value) -> Value {
    let fields = ["target", "payload_sha256", "creation_time_ms", "gc_grace_s"];
    fields.map(|name| hint[name].clone()).to_vec().into()
}

fn essences(path: &dyn AsRef<OsStr>) -> Vec<Value> {
    let run = run(&[&"dump", path]);
    assert_eq!(run.code, 0, "{}", run.err);
    run.of_kind("hint").iter().map(essence).collect()
}

#[test]
fn every_form_keeps_payloads_times_and_order() {
    let from = testdata("cluster/5.0-v2-lz4-torn/hints");
    let expected = essences(&from.0);
    assert_eq!(expected.len(), 2302);
    let work = Folder::new("forms");
    let store = work.join("store");
    assert_eq!(
        run(&[&"convert", &from.0, &"--to", &"native", &store]).code,
        0
    );
    assert_eq!(essences(&store), expected);
    for form in ["cassandra:1", "cassandra:2:lz4", "cassandra:3:zstd"] {
        for source in [&from.0, &store] {
            let out = work.join(&format!("{form}-{}", source == &store));
            let run = run(&[&"convert", source, &"--to", &form, &out]);
            assert_eq!(run.code, 0, "{form}: {}", run.err);
            assert_eq!(essences(&out), expected, "{form}");
            let version = run.of_kind("written")[0]["file"]
                .as_str()
                .unwrap()
                .to_owned();
            let end = format!("-{}.hints", form.split(':').nth(1).unwrap());
            assert!(version.ends_with(&end), "{version}");
        }
    }
    let lines = work.join("hints.jsonl");
    assert_eq!(
        run(&[&"convert", &from.0, &"--to", &"jsonl", &lines]).code,
        0
    );
    let lines = json_lines(&lines);
    let (last, hints) = lines.split_last().unwrap();
    assert_eq!(
        (&last["kind"], &last["hints"]),
        (&"summary".into(), &2302.into())
    );
    assert_eq!(hints.iter().map(essence).collect::<Vec<_>>(), expected);
    assert!(hints[0]["payload"].as_str().unwrap().len() > 20);
}

#[test]
fn filters_split_and_a_target_can_be_given() {
    let from = testdata("cluster/5.0-v3/hints");
    let schema = schema("cluster/5.0-v3/schema.cql");
    let all = run(&[&"dump", &from.0, &"--schema", &schema]).of_kind("hint");
    let orders: Vec<Value> = all
        .iter()
        .filter(|hint| {
            let updates = hint["updates"].as_array();
            updates.is_some_and(|updates| updates.iter().any(|u| u["table"] == "orders"))
        })
        .map(essence)
        .collect();
    assert!(orders.len() > 500 && orders.len() < all.len());
    let work = Folder::new("filters");
    let (out, other) = (work.join("orders"), "11111111-2222-3333-4444-555555555555");
    let done = run(&[
        &"convert",
        &from.0,
        &"--to",
        &"cassandra:3",
        &out,
        &"--table",
        &"shop.orders",
        &"--schema",
        &schema,
        &"--retarget",
        &other,
    ]);
    assert_eq!(done.code, 0, "{}", done.err);
    let found = essences(&out);
    assert_eq!(found.len(), orders.len());
    for (found, expected) in found.iter().zip(&orders) {
        assert_eq!(found[0], other);
        for part in 1..4 {
            assert_eq!(found[part], expected[part]);
        }
    }
    // Names that are none, and tables without a schema to look them up in.
    for wrong in [
        &[
            "--table",
            "shop.nothing",
            "--schema",
            schema.to_str().unwrap(),
        ][..],
        &["--table", "shop.orders"],
        &["--to", "cassandra:4"],
        &["--to", "cassandra:2:brotli"],
    ] {
        let nowhere = work.join("nowhere");
        let mut args: Vec<&dyn AsRef<OsStr>> = vec![&"convert", &from.0, &nowhere];
        if wrong[0] != "--to" {
            args.extend([&"--to" as &dyn AsRef<OsStr>, &"cassandra:3"]);
        }
        args.extend(wrong.iter().map(|arg| arg as &dyn AsRef<OsStr>));
        assert_eq!(run(&args).code, 2, "{wrong:?}");
        assert!(!nowhere.exists());
    }
}

/// What version 3 alone can hold is not written into older files.
#[test]
fn nothing_is_written_that_the_version_does_not_have() {
    let from = testdata("cassandra/all-types/v3");
    let work = Folder::new("older");
    let blind = run(&[
        &"convert",
        &from.0,
        &"--to",
        &"cassandra:2",
        &work.join("blind"),
    ]);
    // One refusal, before anything is made, that says what to do.
    let error = blind.of_kind("summary")[0]["error"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!((blind.code, blind.of_kind("bad").len()), (2, 0));
    assert!(
        error.contains("--schema") && error.contains("cassandra:3"),
        "{error}"
    );
    assert!(!work.join("blind").exists());
    let schema = schema("cassandra/schema.cql");
    let out = work.join("out");
    let seeing = run(&[
        &"convert",
        &from.0,
        &"--to",
        &"cassandra:2",
        &out,
        &"--schema",
        &schema,
    ]);
    let refused = seeing.of_kind("bad");
    assert_eq!(seeing.code, 1);
    assert!(
        !refused.is_empty() && refused.len() < 200,
        "{}",
        refused.len()
    );
    assert!(refused[0]["text"].as_str().unwrap().contains("past 2038"));
    assert_eq!(essences(&out).len() + refused.len(), 402);
}

// P4
#[test]
fn salvage_saves_all_that_is_intact() {
    let original = essences(&testdata("cassandra/damaged/original").0);
    for (case, saved) in [
        ("plain-length-first", 23),
        ("plain-length-crc", 23),
        ("plain-body-2", 23),
        ("plain-header-crc1", 24),
        ("plain-json-broken", 24),
        ("plain-zero-hole", 23),
        ("plain-garbage-64", 24),
        ("lz4-header-parameters", 24),
        ("lz4-block-data", 23),
        ("lz4-block-inner-length", 23),
        ("lz4-cut-in-block", 22),
        ("lz4-zeros-100", 24),
    ] {
        let from = testdata(&format!("cassandra/damaged/{case}"));
        let work = Folder::new("salvage");
        let out = work.join("out");
        let done = run(&[&"salvage", &from.0, &out]);
        assert_eq!(
            done.of_kind("summary")[0]["hints"],
            saved,
            "{case} {}",
            done.out
        );
        assert!(!done.of_kind("bad").is_empty(), "{case}");
        let verified = run(&[&"verify", &out]);
        let file = verified.of_kind("file").pop().unwrap();
        assert_eq!(
            (verified.code, &file["cassandra"]["status"]),
            (0, &"clean".into())
        );
        if case.starts_with("plain") {
            let found = essences(&out);
            let mut expected = original.iter();
            assert!(
                found.iter().all(|hint| expected.any(|one| one == hint)),
                "{case}"
            );
        }
    }
    // A name that says nothing, and a descriptor that cannot be believed.
    let from = testdata("cassandra/damaged/plain-header-host-id");
    let name = fs::read_dir(&from.0)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = name
        .into_iter()
        .find(|path| path.extension().unwrap() == "hints")
        .unwrap();
    let odd = from.join("odd.hints");
    fs::copy(&path, &odd).unwrap();
    let work = Folder::new("salvage");
    let done = run(&[&"salvage", &odd, &work.join("out")]);
    assert_eq!(done.code, 1);
    assert!(done.out.contains("--as-target"), "{}", done.out);
}

#[test]
fn hints_are_taken_out_of_a_nodes_directory_and_kept_aside() {
    let folder = testdata("cassandra/multi-target");
    let schema = schema("cassandra/schema.cql");
    let before = essences(&folder.0);
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let names: Vec<String> = fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with("2.hints"))
        .collect();
    let bytes: Vec<Vec<u8>> = names.iter().map(|name| read(name)).collect();
    let table: [&dyn AsRef<OsStr>; 6] = [
        &"truncate",
        &folder.0,
        &"--table",
        &"lab.natives",
        &"--schema",
        &schema,
    ];
    let plan = run(&table);
    let hints = plan.of_kind("summary")[0]["hints"].as_u64().unwrap();
    assert_eq!(plan.code, 1);
    assert!(hints > 5, "{hints}");
    assert_eq!(
        names.iter().map(|name| read(name)).collect::<Vec<_>>(),
        bytes
    );

    // A node that is at work on the files is left alone.
    let open = fs::OpenOptions::new()
        .read(true)
        .open(folder.join(&names[0]))
        .unwrap();
    let apply = [&table[..], &[&"--apply"]].concat();
    let locked = run(&apply);
    assert_eq!(locked.code, 4, "{}", locked.err);
    drop(open);

    let done = run(&apply);
    assert_eq!(done.code, 0, "{}", done.err);
    let after = essences(&folder.0);
    assert_eq!(after.len() as u64 + hints, before.len() as u64);
    let mut all = before.iter();
    assert!(after.iter().all(|hint| all.any(|one| one == hint)));
    assert_eq!(run(&[&"verify", &folder.0]).code, 0);
    assert_eq!(run(&table).of_kind("summary")[0]["hints"], 0);
    let aside = done.of_kind("summary")[0]["aside"]
        .as_str()
        .unwrap()
        .to_owned();
    for discarded in done.of_kind("discard") {
        let name = discarded["file"].as_str().unwrap();
        if discarded["hints"].as_u64().unwrap() > 0 {
            let index = names.iter().position(|one| one == name).unwrap();
            assert_eq!(read(&format!("{aside}/{name}")), bytes[index]);
        }
    }

    // All of them are dead in a hundred years: the files go.
    let done = run(&[&"expire", &folder.0, &"--as-of", &"2126-01-01", &"--apply"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(essences(&folder.0).len(), 0);
    let again = run(&[&"expire", &folder.0]);
    assert_eq!(
        (again.code, &again.of_kind("summary")[0]["hints"]),
        (0, &0.into())
    );
}

#[test]
fn a_native_store_says_what_is_dead() {
    let from = testdata("cluster/4.1-v2/hints");
    let work = Folder::new("expire");
    let store = work.join("store");
    assert_eq!(
        run(&[&"convert", &from.0, &"--to", &"native", &store]).code,
        0
    );
    let plan = run(&[&"expire", &store, &"--as-of", &"1795380790900"]);
    let summary = plan.of_kind("summary").pop().unwrap();
    assert_eq!(
        (plan.code, &summary["hints"], &summary["kept"]),
        (1, &43.into(), &4354.into())
    );
    let apply = run(&[&"expire", &store, &"--apply"]);
    assert_eq!(apply.code, 0, "{}", apply.err);
    let both = run(&[&"expire", &store, &"--apply", &"--as-of", &"2027-01-01"]);
    assert_eq!(both.code, 0, "{}", both.err);
    let dead = |run: &Run| run.of_kind("summary")[0]["hints"].as_u64().unwrap();
    // By now some are dead; by then all.
    assert!(dead(&apply) >= 43);
    assert_eq!(dead(&apply) + dead(&both), 4397);
    let left = run(&[&"ls", &store]);
    assert_eq!(left.of_kind("summary")[0]["hints"], 0);
}

/// A virtual environment of Python's with `DuckDB` in it; where there is none to be had, that is
/// reported, and is an error for CI.
fn duckdb() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("duckdb");
    let python = home.join("bin/python");
    let works = |python: &Path| {
        let check = Command::new(python).args(["-c", "import duckdb"]).output();
        check.is_ok_and(|output| output.status.success())
    };
    if !works(&python) {
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(&home)
            .output();
        if made.is_ok_and(|output| output.status.success()) {
            let pip = ["-m", "pip", "install", "-q", "duckdb>=1.1,<3"];
            drop(Command::new(&python).args(pip).output());
        }
    }
    if works(&python) {
        return Some(python);
    }
    skipped("duckdb cannot be installed with pip, so nothing queries the Parquet file");
    None
}

#[test]
fn duckdb_queries_what_is_written_as_parquet() {
    let Some(python) = duckdb() else { return };
    let from = testdata("cluster/5.0-v3/hints");
    let schema = schema("cluster/5.0-v3/schema.cql");
    let work = Folder::new("parquet");
    let file = work.join("hints.parquet");
    let done = run(&[
        &"convert",
        &from.0,
        &"--to",
        &"parquet",
        &file,
        &"--schema",
        &schema,
    ]);
    assert_eq!(done.code, 0, "{}", done.err);
    let query = |sql: &str| -> String {
        let script = format!(
            "import duckdb\nfor row in duckdb.sql(\"\"\"{sql}\"\"\").fetchall(): print(*row)"
        );
        let output = Command::new(&python)
            .args(["-c", &script])
            .current_dir(&work.0)
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{err}");
        String::from_utf8(output.stdout).unwrap()
    };
    // What dump writes as rows is the same hints.
    for format in ["parquet", "csv"] {
        let dumped = Command::new(env!("CARGO_BIN_EXE_hintctl"))
            .args(["dump", from.0.to_str().unwrap(), "--format", format])
            .output()
            .unwrap();
        let rows = work.join(&format!("rows.{format}"));
        fs::write(&rows, dumped.stdout).unwrap();
        let sums = query(&format!(
            "SELECT count(*), sum(payload_bytes), min(creation_time_ms), count(partition_key_hex), \
             count(sequence), max(gc_grace_s)::BIGINT FROM 'rows.{format}'"
        ));
        assert_eq!(
            sums, "4380 867183 1795379576912 4380 0 864000\n",
            "{format}"
        );
    }
    // The query of docs/cassandra.md.
    let tables = query(
        "SELECT keyspace_name, table_name, count(DISTINCT (file, position)) AS hints, \
         sum(mutation_bytes) AS bytes FROM 'hints.parquet' GROUP BY ALL ORDER BY hints DESC LIMIT 2",
    );
    assert_eq!(
        tables,
        "shop readings 2326 421894\nshop users 1008 250265\n"
    );
    let hints = run(&[&"dump", &from.0, &"--schema", &schema]).of_kind("hint");
    let first = &hints[0]["updates"][0];
    let found = query(
        "SELECT target, position, table_id, partition_key_hex, token, epoch_ms(created_at), \
         epoch_ms(expires_at), gc_grace_s, body_bytes FROM 'hints.parquet' WHERE hint_index = 0",
    );
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let expected: Vec<String> = [
        &hints[0]["target"],
        &hints[0]["position"],
        &first["table_id"],
        &first["partition_key_hex"],
        &first["token"],
        &hints[0]["creation_time_ms"],
        &hints[0]["expires_at_ms"],
        &hints[0]["gcgs_s"],
        &hints[0]["body_bytes"],
    ]
    .into_iter()
    .map(text)
    .collect();
    assert_eq!(found.trim(), expected.join(" "));
}

#[test]
fn what_expire_took_can_be_put_back() {
    let copy = testdata("cluster/5.0-v3/hints");
    let hints = copy.0.clone();
    let content = |path: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let mut all: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect();
        all.sort();
        all
    };
    let before = content(&hints);
    let expired = run(&[&"expire", &hints, &"--as-of", &"2036-01-01", &"--apply"]);
    assert_eq!(expired.code, 0, "{}", expired.err);
    assert_ne!(content(&hints), before);
    let listed = run(&[&"aside", &"ls", &hints]);
    assert!(!listed.of_kind("aside").is_empty(), "{}", listed.out);
    let plan = run(&[&"aside", &"restore", &hints]);
    assert_eq!(plan.code, 1);
    let undone = run(&[
        &"aside",
        &"restore",
        &hints,
        &"--apply",
        &"--node-is-stopped",
    ]);
    assert_eq!(undone.code, 0, "{}", undone.err);
    assert_eq!(content(&hints), before);
    assert_eq!(run(&[&"aside", &"ls", &hints]).of_kind("aside").len(), 0);
    let wrong = run(&[&"aside", &"retry", &hints]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
}

#[test]
fn files_of_cassandra_are_merged_without_what_is_dead() {
    let work = Folder::new("merge");
    let store = work.join("store");
    let from = testdata("cluster/5.0-v3/hints");
    assert_eq!(
        run(&[&"convert", &from.0, &"--to", &"native", &store]).code,
        0
    );
    let hints = work.join("hints");
    // Three runs make three files, each under the name of its first hint.
    let all = run(&[&"dump", &store]).of_kind("hint");
    let time = |at: usize| all[at]["creation_time_ms"].to_string();
    let (first, second) = (time(1000), time(3000));
    fs::create_dir_all(&hints).unwrap();
    for (part, between) in [
        ["--until", &first, "--since", "2000-01-01"],
        ["--since", &first, "--until", &second],
        ["--since", &second, "--until", "now"],
    ]
    .iter()
    .enumerate()
    {
        let out = work.join(&format!("part-{part}"));
        let mut args: Vec<&dyn AsRef<OsStr>> =
            vec![&"convert", &store, &"--to", &"cassandra:3:lz4", &out];
        args.extend(between.iter().map(|word| word as &dyn AsRef<OsStr>));
        let converted = run(&args);
        assert_eq!(converted.code, 0, "{}", converted.err);
        for entry in fs::read_dir(&out).unwrap() {
            let name = entry.unwrap().file_name();
            fs::copy(out.join(&name), hints.join(&name)).unwrap();
        }
    }
    let list = |path: &Path| {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".hints"))
            .collect();
        names.sort();
        names
    };
    // What Cassandra does not open under its name is not merged, and nothing is merged under its name.
    let files = list(&hints);
    assert_eq!(files.len(), 3, "{files:?}");
    let misnamed = hints.join("00-a-copy.hints");
    fs::copy(hints.join(&files[0]), &misnamed).unwrap();
    let plan = run(&[&"compact", &hints]);
    assert!(!plan.out.contains("00-a-copy"), "{}", plan.out);
    assert!(
        plan.err.contains("00-a-copy.hints stays as it is"),
        "{}",
        plan.err
    );
    fs::remove_file(misnamed).unwrap();
    let before = essences(&hints);
    let plan = run(&[&"compact", &hints]);
    assert_eq!(plan.code, 1, "{}", plan.err);
    assert_eq!(
        (list(&hints), essences(&hints).len()),
        (files.clone(), before.len())
    );
    let (dead, alive) = {
        let group = &plan.of_kind("compact")[0];
        (
            group["expired"].as_u64().unwrap(),
            group["alive"].as_u64().unwrap(),
        )
    };
    assert_eq!((dead + alive) as usize, before.len());
    let done = run(&[&"compact", &hints, &"--apply", &"--node-is-stopped"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let left = list(&hints);
    assert_eq!(left.len(), usize::from(alive > 0), "{left:?}");
    if alive > 0 {
        assert_eq!(left[0], files[0], "under the name of the first");
        assert_eq!(essences(&hints).len() as u64, alive);
        assert_eq!(run(&[&"verify", &hints]).code, 0);
    }
    // Twice is once, and there is a way back.
    assert_eq!(run(&[&"compact", &hints]).of_kind("compact").len(), 0);
    let undone = run(&[
        &"aside",
        &"restore",
        &hints,
        &"--apply",
        &"--node-is-stopped",
    ]);
    assert_eq!(undone.code, 0, "{}", undone.err);
    assert_eq!((list(&hints), essences(&hints)), (files, before));
    assert_eq!(run(&[&"compact", &hints, &"--compress"]).code, 2);
}

#[test]
fn hints_of_each_table_go_to_a_place_of_their_own() {
    let (hints, work) = (testdata("cluster/5.0-v3/hints"), Folder::new("split"));
    let schema = schema("cluster/5.0-v3/schema.cql");
    let groups = run(&[&"ls", &hints.0, &"--by", &"table", &"--schema", &schema]);
    let groups: BTreeMap<String, u64> = groups
        .of_kind("group")
        .iter()
        .map(|line| {
            let name = line["group"].as_str().unwrap().to_owned();
            (name, line["hints"].as_u64().unwrap())
        })
        .collect();
    for (form, extension) in [
        ("cassandra:3", ""),
        ("native", ""),
        ("jsonl", ".jsonl"),
        ("parquet", ".parquet"),
    ] {
        let out = work.join(&form.replace(':', "-"));
        let args: [&dyn AsRef<OsStr>; 9] = [
            &"convert",
            &hints.0,
            &"--to",
            &form,
            &out,
            &"--split",
            &"table",
            &"--schema",
            &schema,
        ];
        let made = run(&args);
        assert_eq!(made.code, 0, "{}", made.err);
        let places = made.of_kind("place");
        let all: u64 = places.iter().map(|of| of["hints"].as_u64().unwrap()).sum();
        assert_eq!(all, 4380);
        for place in &places {
            let group = place["group"].as_str().unwrap();
            let path = out.join(format!("{group}{extension}"));
            assert_eq!(place["out"], path.to_str().unwrap());
            // What writes to several tables is counted for each by `ls`, and lies among the mixed.
            let hints = place["hints"].as_u64().unwrap();
            let listed = groups.get(group).copied();
            assert!(
                listed.map_or(group == "mixed", |all| hints <= all),
                "{place}"
            );
            if extension.is_empty() {
                let listed = run(&[&"ls", &path]);
                let summary = listed.of_kind("summary").pop().unwrap();
                assert_eq!(summary["hints"], place["hints"], "{group}");
            } else {
                assert!(path.is_file(), "{group}");
            }
        }
        assert_eq!(run(&args).code, 2, "it is there already");
    }
}

/// A file that its node left open has no checksum beside it, and has none again behind `aside restore`.
#[test]
fn what_is_restored_is_as_it_was() {
    let hints = testdata("cluster/5.0-v3/hints");
    let side = fs::read_dir(&hints.0)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|of| of == "crc32"));
    fs::remove_file(side.unwrap()).unwrap();
    let state = || run(&[&"verify", &hints.0]).of_kind("file")[0]["verdict"].clone();
    let before = (state(), essences(&hints.0));
    let stopped = "--node-is-stopped";
    // A part of them, on whatever day this runs.
    let as_of = "2026-11-28";
    let expired = run(&[
        &"expire", &hints.0, &"--apply", &stopped, &"--as-of", &as_of,
    ]);
    assert_eq!(expired.code, 0, "{}", expired.err);
    let restored = run(&[&"aside", &"restore", &hints.0, &"--apply", &stopped]);
    assert_eq!(restored.code, 0, "{}", restored.err);
    assert_eq!((state(), essences(&hints.0)), before);
    // What was there is kept in turn, and comes back by its folder.
    let kept = run(&[&"aside", &"ls", &hints.0]).of_kind("aside");
    let folder = kept[0]["folder"].as_str().unwrap();
    assert!(kept.len() == 2 && folder.contains("replaced"), "{kept:?}");
    let again = [
        &"aside" as &dyn AsRef<OsStr>,
        &"restore",
        &hints.0,
        &"--apply",
        &stopped,
    ];
    assert_eq!(run(&again).of_kind("aside").len(), 0);
    let redone = run(&[&again[..], &[&"--folder", &folder]].concat());
    assert_eq!(redone.code, 0, "{}", redone.err);
    assert!(essences(&hints.0).len() < before.1.len());
}

#[test]
fn what_a_fence_covers_is_left_out_of_what_is_added() {
    let (hints, work) = (testdata("cluster/5.0-v3/hints"), Folder::new("fenced"));
    let store = work.join("store");
    assert_eq!(
        run(&[&"convert", &hints.0, &"--to", &"native", &store]).code,
        0
    );
    let table = "d279fb20-e6b3-11f1-bda0-935e785412f1";
    let schema = schema("cluster/5.0-v3/schema.cql");
    let fence = run(&[
        &"truncate",
        &store,
        &"--schema",
        &schema,
        &"--fence",
        &"--table",
        &table,
        &"--apply",
    ]);
    assert_eq!(fence.code, 0, "{}", fence.err);
    let listed = run(&[&"ls", &store]).of_kind("fence").pop().unwrap();
    let fenced = (&listed["namespace"], listed["before_ms"].as_i64());
    assert_eq!((fenced.0, fenced.1 > Some(0)), (&table.into(), true));
    let added = run(&[&"convert", &hints.0, &"--to", &"native", &store, &"--add"]);
    let summary = added.of_kind("summary").pop().unwrap();
    assert_eq!(
        (added.code, &summary["bad"], &summary["hints"]),
        (1, &1008.into(), &3372.into()),
        "{}",
        added.err
    );
}
