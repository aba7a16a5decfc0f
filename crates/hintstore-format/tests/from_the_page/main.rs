//! A reader written from `docs/format.md` alone, to show that the page is enough: it shares no
//! code with the crate, and knows of the stores in `testdata/golden-1` only what the page says.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::cast_possible_wrap,
    elided_lifetimes_in_paths,
    clippy::indexing_slicing,
    reason = "tests say what went wrong by panicking"
)]

mod agree;
mod bytes;
mod damage;
mod footer;
mod frames;
mod journal;
mod pending;
mod segment;
mod store;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use bytes::uuid;
use journal::{DISCARD, ENDS, Journal, list, number};
use pending::pending;
use segment::Segment;
use store::{Store, file, golden, segments};

const STORES: [&str; 5] = ["plain", "compressed", "ends", "crashed", "unfinished"];
const UNDAMAGED: [&str; 4] = ["plain", "compressed", "ends", "unfinished"];

const CAUSES: [&str; 8] = [
    "past window",
    "full",
    "refused",
    "expired",
    "rejected",
    "discarded",
    "damaged",
    "crash",
];

/// That these hints, and each of them once, are the pending ones of a store.
fn assert_pending(store: &Store, expected: &[Value], what: &str) {
    let now = store.state["as_of_ms"].as_i64().unwrap();
    let key = |line: &Value| (line["target"].to_string(), line["sequence"].to_string());
    let found = pending(&store.segments, &store.journal, now);
    let count = found.len();
    let by_key = |line: Value| (key(&line), line);
    let found: BTreeMap<_, _> = found.into_iter().map(by_key).collect();
    assert_eq!(found.len(), count, "{what}: each of them once");
    for line in expected {
        assert_eq!(found.get(&key(line)), Some(line), "{what}");
    }
    assert_eq!(count, expected.len(), "{what}");
}

#[test]
fn the_pending_hints_are_the_expected() {
    for name in STORES {
        let store = Store::read(name);
        assert_pending(&store, &store.expected, name);
    }
}

#[test]
fn every_checksum_holds_and_footers_agree_with_their_blocks() {
    let sealed = UNDAMAGED.map(|name| {
        let dir = golden(name);
        let files = [segments(&dir), segments(&dir.join("aside"))].concat();
        let read = files.iter().map(|bytes| (bytes, Segment::read(bytes)));
        read.filter(|(bytes, segment)| {
            agree::check(bytes, segment);
            segment.footer.is_some()
        })
        .count()
    });
    assert_eq!(sealed, [0, 3, 11, 4], "sealed segments");
}

#[test]
fn identities_and_journals_agree() {
    for name in STORES {
        let Store {
            identity,
            segments,
            journal,
            ..
        } = Store::read(name);
        assert!(journal.is_whole, "{name}: records, and zeros to the end");
        assert_eq!(journal.store, identity.store, "{name}");
        assert!(segments.iter().all(|of| of.store == identity.store));
        let epochs = segments.iter().map(|of| of.first_sequence >> 40);
        assert!(epochs.max() <= Some(identity.epoch), "{name}");
    }
}

#[test]
fn the_journal_of_records_has_one_of_each_type() {
    let journal = Journal::read(&file(&golden("records/store.journal")));
    assert!(journal.is_whole, "records, and zeros to the end");
    let target = "9a355670000040008000000000000001";
    let other = "9a355670000040008000000000000002";
    let store = "00000000000000000000000000000001";
    let namespace = "10000000000040008000000000000004";
    let time = 1_800_000_000_000_i64;
    let ends: Value = ENDS
        .iter()
        .map(ToString::to_string)
        .zip((1..).map(Value::from))
        .collect();
    let hole = |first: u64, last: u64| json!({ "first": first, "last": last });
    let records = [
        json!({ "unflushed": 1, "unsynced": 2 }),
        json!({
            "target": target, "up_to": 9, "holes": [hole(1, 2), hole(4, 4)], "ends": ends,
            "deferred": [{ "segment": 11, "up_to": 8, "pending": 3, "holes": [hole(7, 7)] }],
            "retired": [{ "store": store, "incarnation": 5, "segment": 3, "damaged": 1 }],
        }),
        json!({
            "target": target, "store": store, "incarnation": 5, "segment": 3, "damaged": 1,
        }),
        json!({ "namespace": namespace, "before": 5 }),
        json!({ "target": other }),
        json!({
            "target": target, "up_to": 7, "namespace": namespace, "before": i64::MAX, "count": 8,
        }),
        json!({ "wall": time, "since_boot": 2, "boot": "03".repeat(16) }),
        json!({ "target": target, "first": 1, "last": 5, "count": 5, "end": 7, "at": time }),
        json!({
            "cause": 6, "target": target, "namespace": null,
            "tokens": { "least": -3, "greatest": 4 },
            "first_created": time, "last_created": time, "hints": 6, "bytes": 7,
            "first_notice": time, "last_notice": time,
        }),
        json!({ "target": null, "namespace": namespace, "before": time }),
    ];
    assert_eq!(journal.records, (1..).zip(records).collect::<Vec<_>>());
    let lost = &journal.checkpoints()[target]["ends"]["lost"];
    assert_eq!(*lost, 8 + 5, "with those that were found missing");
    assert_eq!(journal.losses().len(), 1);
}

fn target_json(journal: &Journal, target: &str, checkpoint: &Value) -> Value {
    let of_target = |record: &&Value| record["target"] == target;
    json!({
        "target": uuid(target),
        "up_to": checkpoint["up_to"].to_string(),
        "holes": list(&checkpoint["holes"]).len(),
        "deferred": list(&checkpoint["deferred"]).len(),
        "discards": journal.of_type(DISCARD).filter(of_target).count(),
        "ends": checkpoint["ends"],
    })
}

fn loss_json(loss: &Value) -> Value {
    json!({
        "cause": CAUSES[number(&loss["cause"]) as usize],
        "hints": loss["hints"],
        "namespace": loss["namespace"],
        "target": loss["target"].as_str().map(uuid),
    })
}

#[test]
fn the_state_is_what_the_journal_says() {
    for name in STORES {
        let Store { journal, state, .. } = Store::read(name);
        let targets = journal.checkpoints();
        let targets = targets
            .iter()
            .map(|(target, says)| target_json(&journal, target, says));
        assert_eq!(state["targets"], targets.collect::<Value>(), "{name}");
        let losses = journal.losses().into_iter().map(loss_json);
        assert_eq!(state["losses"], losses.collect::<Value>(), "{name}");
        let fence = |(namespace, before)| json!({ "namespace": namespace, "before_ms": before });
        let fences = journal.fences().into_iter().map(fence);
        assert_eq!(state["fences"], fences.collect::<Value>(), "{name}");
    }
}
