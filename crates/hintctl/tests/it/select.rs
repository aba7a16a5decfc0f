//! Which hints are meant: the same words on every verb, and wherever hints come from.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use hintstore::{Clock as _, SystemClock};
use serde_json::Value;

use crate::tool::{Folder, Run, command, hintctl, testdata, verb};

const V3: &str = "cluster/5.0-v3/hints";

fn schema() -> String {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/cluster/5.0-v3/schema.cql");
    path.to_str().unwrap().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn count(run: &Run) -> u64 {
    assert_eq!(run.code, 0, "{} {}", run.out, run.err);
    run.lines().last().unwrap()["hints"].as_u64().unwrap()
}

/// The hints that a filter leaves, and what they write to, counted by hand.
#[test]
fn a_filter_means_the_same_on_every_verb() {
    let hints = testdata(V3);
    let (schema, work) = (schema(), Folder::new("select"));
    let path = text(&hints.0);
    let all = hintctl(&["--json", "dump", path, "--schema", &schema]).of_kind("hint");
    let writes_to = |hint: &Value, table: &str, key: Option<&str>| {
        let updates = hint["updates"].as_array().unwrap().iter();
        let mut meant = updates.filter(|update| {
            let name = format!(
                "{}.{}",
                update["keyspace"].as_str().unwrap(),
                update["table"].as_str().unwrap()
            );
            name.starts_with(table) && key.is_none_or(|key| update["partition_key_hex"] == key)
        });
        meant.next().is_some()
    };
    let by_hand = |is_meant: &dyn Fn(&Value) -> bool| {
        all.iter()
            .filter(|hint| hint["updates"].is_array() && is_meant(hint))
            .count() as u64
    };
    let orders = by_hand(&|hint| writes_to(hint, "shop.orders", None));
    let audit = by_hand(&|hint| writes_to(hint, "audit.", None));
    let embedding = by_hand(&|hint| writes_to(hint, "shop.embeddings", Some("000001e2")));
    let sensor = "000a73656e736f722d3034330000048000512b00";
    let sensor = by_hand(&|hint| writes_to(hint, "shop.readings", Some(sensor)));
    let middle = all[2000]["creation_time_ms"].as_i64().unwrap();
    let since = by_hand(&|hint| hint["creation_time_ms"].as_i64().unwrap() >= middle);
    let middle = middle.to_string();
    // Two thirds of them write to two tables: each is counted.
    assert!(
        orders > 660 && audit == 85 && embedding > 0 && sensor > 1,
        "{orders} {audit}"
    );
    let cases: &[(&[&str], u64)] = &[
        (&["--table", "shop.orders"], orders),
        (&["--table", "orders", "--keyspace", "shop"], orders),
        (
            &["--namespace", "d3146660-e6b3-11f1-bda0-935e785412f1"],
            orders,
        ),
        (&["--keyspace", "audit"], audit),
        (&["--keyspace", "\"audit\""], audit),
        (&["--table", "shop.\"orders\""], orders),
        (
            &["--keyspace", "audit", "--keyspace", "shop"],
            all.len() as u64 - 4,
        ),
        (&["--table", "shop.embeddings", "--key", "482"], embedding),
        (
            &["--table", "shop.embeddings", "--key", "0x000001e2"],
            embedding,
        ),
        (
            &["--table", "readings", "--key", "sensor-043:2026-11-22"],
            sensor,
        ),
        (&["--since", &middle], since),
        (&["--until", &middle], all.len() as u64 - since),
        (&["--older-than", &middle], all.len() as u64 - since),
        (&["--since", "36500d", "--until", "now"], all.len() as u64),
        (&["--target", "00000000-0000-0000-0000-000000000001"], 0),
    ];
    for (number, (filter, expected)) in cases.iter().enumerate() {
        let with = |args: &[&str]| {
            let args = [&["--json"], args, filter, &["--schema", &schema]].concat();
            hintctl(&args)
        };
        for args in [
            &["ls", path][..],
            &["stat", "--by", "hour", path],
            &["dump", path],
        ] {
            assert_eq!(count(&with(args)), *expected, "{args:?} {filter:?}");
        }
        let replay = with(&["replay", path, "--to", "stdout", "--as-of", "1795379582300"]);
        let summary = replay.lines().pop().unwrap();
        let given = summary["replayed"].as_u64().unwrap() + summary["expired"].as_u64().unwrap();
        assert_eq!(given, *expected, "{filter:?}: {summary}");
        let verify = with(&["verify", path]);
        let asked = verify.of_kind("file");
        let asked = asked
            .first()
            .map_or(0, |file| file["asked"].as_u64().unwrap());
        assert_eq!(asked, *expected, "{filter:?}: {}", verify.out);
        if *expected == 0 {
            continue;
        }
        let out = work.join(&format!("{number}.jsonl"));
        assert_eq!(
            count(&with(&["convert", path, "--to", "jsonl", text(&out)])),
            *expected
        );
        let out = work.join(&format!("{number}.saved"));
        assert_eq!(count(&with(&["salvage", path, text(&out)])), *expected);
        let plan = with(&["truncate", path]);
        let plan = plan.lines().pop().unwrap();
        // What else writes to other tables is left alone.
        let meant = plan["hints"].as_u64().unwrap() + plan["mixed"].as_u64().unwrap();
        assert_eq!(meant, *expected, "{filter:?}: {plan}");
        let dead = with(&["expire", path, "--as-of", "2150-01-01"])
            .lines()
            .pop()
            .unwrap();
        assert_eq!(dead["hints"], *expected, "{filter:?}: {dead}");
    }
}

#[test]
fn what_is_no_key_or_table_is_refused() {
    let hints = testdata(V3);
    let (schema, path) = (schema(), text(&hints.0));
    for (filter, why) in [
        (&["--key", "482"][..], "needs --schema"),
        (&["--key", "0x12z4"], "not in hex"),
        (&["--keyspace", "shop"], "--schema"),
        (&["--table", "shop.orders"], "--schema"),
        (
            &["--table", "nothing", "--schema", &schema],
            "no table nothing",
        ),
        (
            &["--keyspace", "nothing", "--schema", &schema],
            "no keyspace nothing",
        ),
        (
            &[
                "--table",
                "shop.embeddings",
                "--key",
                "a",
                "--schema",
                &schema,
            ],
            "of type int",
        ),
        (
            &["--table", "readings", "--key", "a", "--schema", &schema],
            "2 parts",
        ),
        (&["--since", "two hours"], "expected a time"),
        (&["--follow", "--format", "parquet"], "csv or jsonl"),
        (&["--limit", "1", "--format", "cql"], "needs --schema"),
        (
            &["--table", "mixed", "--key", "0x00"],
            "not with --keyspace or --key",
        ),
        (
            &[
                "--table",
                "mixed",
                "--keyspace",
                "shop",
                "--schema",
                &schema,
            ],
            "not with --keyspace",
        ),
        (&["--from-seq", "5"], "no sequence"),
        (
            &[
                "--keyspace",
                "audit",
                "--table",
                "d3146660-e6b3-11f1-bda0-935e785412f1",
                "--schema",
                &schema,
            ],
            "no table of the keyspace",
        ),
    ] {
        let run = hintctl(&[&["dump", path], filter].concat());
        assert_eq!(run.code, 2, "{filter:?}: {} {}", run.out, run.err);
        assert!(run.err.contains(why), "{filter:?}: {}", run.err);
    }
    // Without a schema only the first of several tables is known: a hint may be meant or not.
    let decoded = hintctl(&["--json", "dump", path, "--schema", &schema]).of_kind("hint");
    let mut updates = decoded.iter().filter_map(|hint| hint["updates"].as_array());
    let second = updates.find_map(|updates| updates.get(1)).unwrap();
    let run = hintctl(&[
        "dump",
        path,
        "--table",
        second["table_id"].as_str().unwrap(),
    ]);
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(run.err.contains("add --schema"), "{}", run.err);
}

#[test]
fn hints_come_by_lists_by_search_and_by_standard_input() {
    let (hints, work) = (testdata(V3), Folder::new("sources"));
    let file = fs::read_dir(&hints.0)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let file = file
        .into_iter()
        .find(|path| path.extension().unwrap() == "hints")
        .unwrap();
    let below = work.join("a/b/hints");
    fs::create_dir_all(&below).unwrap();
    fs::copy(&file, below.join(file.file_name().unwrap())).unwrap();
    std::os::unix::fs::symlink(&work.0, work.join("a/loop")).unwrap();
    // What was set aside is no backlog.
    let aside = below.join("hintctl-aside-1795754000000");
    fs::create_dir(&aside).unwrap();
    fs::copy(&file, aside.join(file.file_name().unwrap())).unwrap();
    let found = hintctl(&["--json", "ls", "--recursive", text(&work.0)]);
    assert_eq!(count(&found), 4380);
    assert_eq!(found.lines().pop().unwrap()["aside_files"], 1);
    let missing = text(&work.join("missing")).to_owned();
    let found = hintctl(&["--json", "ls", "--recursive", &missing, text(&work.0)]);
    assert_eq!(
        (found.code, &found.lines().pop().unwrap()["hints"]),
        (3, &4380.into())
    );
    assert_eq!(hintctl(&["ls", "--recursive", &missing]).code, 3);
    // Files of one name in two directories have their paths.
    for verb in ["verify", "stat", "dump"] {
        let both = [verb, text(&hints.0), text(&below)];
        let texts = hintctl(&both).out;
        let is_head = |path: &Path| texts.lines().any(|line| line == text(path));
        assert!(is_head(&hints.0) && is_head(&below), "{texts:.400}");
        let lines = hintctl(&[&["--json"], &both[..]].concat()).lines();
        let files = lines.iter().filter(|line| line["file"].is_string());
        let paths: BTreeSet<_> = files.map(|line| line["path"].to_string()).collect();
        assert_eq!(paths.len(), 2, "{verb}: {paths:?}");
    }
    let list = work.join("list");
    fs::write(
        &list,
        format!("{}\r\n \n{}\n", file.display(), below.display()),
    )
    .unwrap();
    assert_eq!(
        count(&hintctl(&["--json", "ls", "--files-from", text(&list)])),
        8760
    );
    let piped = |args: &[&str], input: &[u8]| {
        let mut child = command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        Run {
            verb: verb(args.iter().copied()),
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    };
    let bytes = fs::read(&file).unwrap();
    assert_eq!(count(&piped(&["--json", "dump", "-"], &bytes)), 4380);
    assert_eq!(count(&piped(&["--json", "verify", "-"], &bytes)), 4380);
    let paths = fs::read(&list).unwrap();
    assert_eq!(
        count(&piped(&["--json", "ls", "--files-from", "-"], &paths)),
        8760
    );
    for (args, input) in [
        (&["ls", "-", "-"][..], &bytes[..]),
        (&["ls", "-", "--files-from", "-"], &paths),
        (&["ls", "--files-from", "-"], b""),
        (&["dump", "-"], b"no hint file"),
    ] {
        let run = piped(args, input);
        assert_eq!(run.code, 2, "{args:?}: {}", run.err);
    }
    let endless = hintctl(&["ls", "--files-from", "/dev/zero"]);
    assert_eq!(endless.code, 2, "{}", endless.err);
    let none = hintctl(&["ls", "--recursive", text(&work.join("a/loop"))]);
    assert_eq!(
        none.code, 0,
        "a link that is named is followed: {}",
        none.err
    );
}

/// What is named twice, by whatever name, counts once.
#[test]
fn a_directory_is_looked_at_once() {
    let hints = testdata(V3);
    let path = text(&hints.0);
    let file = fs::read_dir(&hints.0)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let file = file
        .into_iter()
        .find(|path| path.extension().unwrap() == "hints")
        .unwrap();
    let slash = format!("{path}/");
    assert_eq!(
        count(&hintctl(&["--json", "ls", path, &slash, text(&file), path])),
        4380
    );
}

/// What the journal says of a segment holds also where that is named alone.
#[test]
fn one_segment_of_a_store_is_as_far_as_its_journal_says() {
    let store = testdata("golden-1/plain");
    let name = "9a355670-0000-4000-8000-000000000003-1800000000000-n1.hints";
    let all = hintctl(&["--json", "ls", text(&store.0)]).of_kind("file");
    let of_store = all.iter().find(|file| file["file"] == name).unwrap();
    let alone = hintctl(&["--json", "ls", text(&store.join(name))]).of_kind("file");
    assert_eq!(alone[0]["hints"], of_store["hints"]);
    assert!(
        alone[0]["ended_hints"].as_u64().unwrap() > 0,
        "{}",
        alone[0]
    );
    // A listing says which have ended, so that a comparison finds no difference.
    let listing = store.join("listing.jsonl");
    fs::write(&listing, hintctl(&["--json", "dump", text(&store.0)]).out).unwrap();
    let diff = hintctl(&["--json", "diff", text(&listing), text(&store.0)]);
    assert_eq!(diff.code, 0, "{}", diff.out);
}

#[test]
fn nothing_goes_that_was_not_asked_for() {
    let (schema, damaged) = (schema(), testdata("cassandra/damaged/plain-body-1"));
    let all = ["--all", "--apply", "--node-is-stopped", "--no-aside"];
    let run = hintctl(&[&["truncate", text(&damaged.0)], &all[..]].concat());
    assert!(
        run.code == 2 && run.err.contains("is damaged"),
        "{} {}",
        run.out,
        run.err
    );
    let truncate = |filter: &[&str]| {
        let hints = testdata(V3);
        let path = text(&hints.0).to_owned();
        let args = ["--json", "truncate", &path, "--schema", &schema];
        let plan = hintctl(&[&args, filter].concat()).lines().pop().unwrap();
        let done = hintctl(&[&args, filter, &["--apply", "--node-is-stopped"]].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        let left = count(&hintctl(&["--json", "ls", &path]));
        assert_eq!(plan["hints"].as_u64().unwrap(), 4380 - left, "{filter:?}");
        4380 - left
    };
    // Those that write to two tables go where both are meant.
    let orders = truncate(&["--table", "shop.orders"]);
    let last = truncate(&["--table", "shop.last_order"]);
    let both = truncate(&["--table", "shop.orders", "--table", "shop.last_order"]);
    assert_eq!((orders, last, both), (660, 0, 792));
    assert_eq!(truncate(&["--table", "shop.orders", "--limit", "7"]), 7);
}

/// What is left of a directory, whatever its form; not what is dead: in a native store that goes with what else goes
/// of its segment.
fn left(path: &str) -> Vec<String> {
    let now = SystemClock.wall().get();
    let dump = hintctl(&["--json", "dump", path]);
    let hints = dump.of_kind("hint").into_iter();
    let pending = hints.filter(|hint| {
        let is_alive = hint["expires_at_ms"].as_i64().unwrap() > now;
        is_alive && hint["has_ended"] != Value::Bool(true)
    });
    let mut left: Vec<String> = pending
        .map(|hint| {
            let field = |name: &str| hint.get(name).unwrap().to_string();
            format!("{} {}", field("creation_time_ms"), field("payload_sha256"))
        })
        .collect();
    left.sort();
    left
}

/// The hints of some test data in another form. Those that were alive when this was written live as long as a hint
/// can, and what becomes of them does not depend on the day.
fn lasting(name: &str, form: &str) -> Folder {
    let (from, folder) = (testdata(name), Folder::new("lasting"));
    let (lines, to) = (folder.join("hints.jsonl"), folder.join("hints"));
    let convert = |from: &Path, form: &str, to: &Path| {
        let run = hintctl(&["convert", text(from), "--to", form, text(to)]);
        assert_eq!(run.code, 0, "{}", run.err);
    };
    convert(&from.0, "jsonl", &lines);
    let hints = fs::read_to_string(&lines).unwrap();
    let hints = hints.lines().map(|line| {
        let mut hint: Value = serde_json::from_str(line).unwrap();
        let expires = hint.get("expires_at_ms").and_then(Value::as_i64);
        let is_alive = expires > Some(1_795_824_000_000);
        if is_alive && let Some(fields) = hint.as_object_mut() {
            fields.remove("expires_at_ms");
            fields.remove("discard_after_s");
            // Cassandra's hints have both.
            for name in ["gc_grace_s", "gcgs_s"] {
                fields.entry(name).and_modify(|of| *of = i32::MAX.into());
            }
        }
        hint.to_string()
    });
    fs::write(&lines, hints.collect::<Vec<_>>().join("\n")).unwrap();
    convert(&lines, form, &to);
    folder
}

/// A native store that a directory of Cassandra's was converted to loses the same hints by the same words.
#[test]
fn the_same_goes_from_a_native_store() {
    let (schema, work) = (schema(), Folder::new("select-native"));
    let folders = [lasting(V3, "cassandra:3"), lasting(V3, "native")];
    let [cassandra, native] = folders.each_ref().map(|folder| folder.join("hints"));
    let all = hintctl(&["--json", "dump", text(&native)]).of_kind("hint");
    let middle = all[2000]["creation_time_ms"].as_i64().unwrap().to_string();
    let copy = |from: &Path, to: &str| {
        let to = work.join(to);
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        text(&to).to_owned()
    };
    let key = ["--table", "readings", "--key", "sensor-043:2026-11-22"];
    let cases: [&[&str]; 8] = [
        &["truncate", "--table", "shop.orders"],
        &[
            "truncate",
            "--table",
            "shop.orders",
            "--table",
            "shop.last_order",
        ],
        &["truncate", key[0], key[1], key[2], key[3]],
        &["truncate", "--since", &middle],
        &["truncate", "--keyspace", "shop", "--limit", "100"],
        &["truncate", "--older-than", &middle],
        &["expire", "--keyspace", "audit", "--as-of", "2150-01-01"],
        &["expire", "--as-of", "2150-01-01", "--limit", "9"],
    ];
    let alive = left(text(&native));
    for (number, case) in cases.iter().enumerate() {
        let paths = [
            copy(&cassandra, &format!("{number}-c")),
            copy(&native, &format!("{number}-n")),
        ];
        let both = paths.map(|path| {
            let args = [&["--json"], *case, &["--schema", &schema, &path]].concat();
            let plan = hintctl(&args);
            let summary = plan.lines().pop().unwrap();
            let planned = summary["hints"].as_u64();
            assert_eq!(left(&path), alive, "a plan changes nothing");
            let apply = hintctl(&[&args[..], &["--apply", "--node-is-stopped"]].concat());
            assert_eq!(apply.code, plan.code.min(0), "{case:?}: {}", apply.err);
            (planned, left(&path))
        });
        assert!(both[0] == both[1], "{case:?}: other hints are left");
        assert!(both[0].0 > Some(0) && !both[0].1.is_empty(), "{case:?}");
    }
    // By sequence, which Cassandra's have not.
    let path = copy(&native, "by-sequence");
    let target = all[0]["target"].as_str().unwrap();
    let (from, to) = (&all[10]["sequence"], &all[19]["sequence"]);
    let run = hintctl(&[
        "--json",
        "truncate",
        &path,
        "--target",
        target,
        "--from-seq",
        from.as_str().unwrap(),
        "--to-seq",
        to.as_str().unwrap(),
        "--apply",
    ]);
    assert_eq!((run.code, count(&run)), (0, 10), "{}", run.err);
    // One of them was dead by now.
    assert!((alive.len() - 10..alive.len() - 5).contains(&left(&path).len()));
    let losses = hintctl(&["--json", "aside", "ls", &path]);
    assert!(losses.lines().pop().unwrap()["lost_at_most"].as_u64() >= Some(10));
}

/// What a segment that is damaged holds of it stays, and is said so of.
#[test]
fn what_cannot_be_rewritten_of_a_native_store_stays() {
    let folder = lasting("golden-1/plain", "native");
    let store = folder.join("hints");
    let path = text(&store);
    let all = hintctl(&["--json", "dump", path]).of_kind("hint");
    let file = all.last().unwrap()["file"].as_str().unwrap();
    let at = all.last().unwrap()["position"].as_u64().unwrap() as usize;
    let mut bytes = fs::read(store.join(file)).unwrap();
    bytes[at + 40] ^= 1;
    fs::write(store.join(file), bytes).unwrap();
    // All of them, and no record in a journal says so.
    let args = ["--json", "truncate", path, "--limit", "100000"];
    let plan = hintctl(&args).lines().pop().unwrap();
    let done = hintctl(&[&args[..], &["--apply"]].concat());
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(!done.of_kind("skipped").is_empty(), "{}", done.out);
    let gone = done.lines().pop().unwrap()["hints"].as_u64().unwrap();
    // The plan knows.
    let (planned, stays) = (plan["hints"].as_u64(), plan["stays"].as_u64());
    assert_eq!(
        (Some(gone), Some(left(path).len() as u64)),
        (planned, stays)
    );
    assert!(gone > 0 && stays > Some(0), "{plan}");
    let lines = done.of_kind("discard").into_iter();
    let said: u64 = lines.map(|line| line["hints"].as_u64().unwrap()).sum();
    assert_eq!(said, gone);
}

#[test]
fn a_plan_names_what_else_goes_and_a_command_that_means_the_same_later() {
    let (hints, work, schema) = (testdata(V3), Folder::new("plan"), schema());
    let store = work.join("it's a $tore");
    let path = text(&store);
    count(&hintctl(&[
        "--json",
        "convert",
        text(&hints.0),
        "--to",
        "native",
        path,
    ]));
    let one = [
        "--table",
        "shop.embeddings",
        "--key",
        "482",
        "--schema",
        &schema,
    ];
    let plan = hintctl(&[&["--json", "truncate", path], &one[..]].concat());
    let plan = plan.lines().pop().unwrap();
    assert_eq!(plan["hints"], 1);
    let also = plan["also_dead"].as_u64().unwrap();
    assert!(also >= 827, "{plan}");
    // What is typed next is taken by a shell as it was typed; a time is what it was.
    let run = hintctl(&["truncate", path, "--older-than", "1h", "--limit", "3"]);
    let next = run.out.lines().last().unwrap().to_owned();
    let next = next.strip_prefix("  next: hintctl ").unwrap();
    assert!(!next.contains("1h") && next.ends_with(" --apply"), "{next}");
    let typed = format!("{} {next}", env!("CARGO_BIN_EXE_hintctl"));
    let done = Command::new("sh").args(["-c", &typed]).output().unwrap();
    assert!(done.status.success(), "{typed}: {done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("3 hints discarded"));
    // What was judged by the clock is judged by the same time.
    let plan = hintctl(&["expire", text(&hints.0)]);
    let (judged, next) = (plan.err, plan.out.lines().last().unwrap().to_owned());
    let (_, at) = next.split_once(" --as-of ").unwrap();
    let at = at.strip_suffix(" --apply").unwrap();
    let again = hintctl(&["expire", text(&hints.0), "--as-of", at]);
    assert_eq!(
        (again.err, again.out.lines().last()),
        (judged, Some(&*next))
    );
    // Who names a place for what goes means to have it back.
    let aside = hintctl(&["truncate", path, "--all", "--apply", "--aside", "x"]);
    assert!(
        aside.code == 2 && aside.err.contains("copy the store"),
        "{}",
        aside.err
    );
}

/// A limit is one of what goes, not of what is left alone.
#[test]
fn a_limit_counts_what_goes() {
    let (hints, schema) = (testdata(V3), schema());
    let path = text(&hints.0);
    let args = [
        "--json",
        "truncate",
        path,
        "--table",
        "shop.orders",
        "--schema",
        &schema,
        "--limit",
        "50",
    ];
    let apply = ["--apply", "--node-is-stopped", "--no-aside"];
    let mut gone = Vec::new();
    loop {
        let run = hintctl(&[&args[..], &apply].concat());
        match count(&run) {
            0 => break,
            hints => gone.push(hints),
        }
    }
    assert_eq!(gone.iter().sum::<u64>(), 660);
    assert!(
        gone.iter().rev().skip(1).all(|hints| *hints == 50),
        "{gone:?}"
    );
}

/// What opening the store sets aside is not discarded, and the plan says so: it can be brought back.
#[test]
fn what_is_set_aside_by_opening_is_not_said_to_be_discarded() {
    let folder = lasting("golden-1/plain", "native");
    let copy = folder.join("hints");
    let path = text(&copy);
    let before = left(path).len() as u64;
    let mut files = fs::read_dir(&copy)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let segment = files.find(|path| path.extension().is_some_and(|of| of == "hints"));
    let segment = segment.unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    *bytes.get_mut(10).unwrap() ^= 1;
    fs::write(&segment, bytes).unwrap();
    let args = ["--json", "truncate", path, "--all"];
    let plan = hintctl(&args);
    let summary = plan.lines().pop().unwrap();
    let (hints, stays) = (
        summary["hints"].as_u64().unwrap(),
        summary["stays"].as_u64().unwrap(),
    );
    assert!(
        plan.code == 1 && stays > 0 && hints + stays == before,
        "{summary}"
    );
    assert!(plan.err.contains("aside retry"), "{}", plan.err);
    let done = hintctl(&[&args[..], &["--apply"]].concat());
    let summary = done.lines().pop().unwrap();
    assert_eq!(
        (done.code, &summary["hints"], &summary["stays"]),
        (1, &hints.into(), &stays.into())
    );
    let retried = hintctl(&["--json", "aside", "retry", path, "--apply"]);
    assert!(retried.code <= 1, "{}", retried.err);
    assert_eq!(left(path).len() as u64, stays);
}
