//! Tests of rules that no store needs: the stores are damaged, or changed, once they were read.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::assert_pending;
use crate::journal::Journal;
use crate::pending::{is_read, pending};
use crate::segment::{Segment, block_end};
use crate::store::{Store, file, golden, segments};

/// A segment of two blocks of 50 hints each, each of a profile table of three.
fn two_blocks() -> (Vec<u8>, Segment) {
    let bytes = segments(&golden("plain"))[6].clone();
    let segment = Segment::read(&bytes);
    assert_eq!(counts(&segment), [50, 50]);
    (bytes, segment)
}

fn counts(segment: &Segment) -> Vec<usize> {
    let blocks = segment.blocks.iter();
    blocks.map(|block| block.hints.len()).collect()
}

fn flipped(bytes: &[u8], at: usize) -> Segment {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    Segment::read(&bytes)
}

#[test]
fn a_flipped_bit_costs_one_frame_or_one_block() {
    let (bytes, whole) = two_blocks();
    let lines = |of: &Segment| -> BTreeMap<u64, Value> {
        of.hints()
            .map(|hint| (hint.sequence, hint.line.clone()))
            .collect()
    };
    let whole_lines = lines(&whole);
    let start = whole.blocks[0].offset;
    let end = block_end(&bytes, start);
    let frames = start + 128..end - 3 * 104 - 8;
    // Steps that meet every place of a frame, as frames have 75 or 76 bytes.
    for at in (start..end).step_by(13) {
        let damaged = flipped(&bytes, at);
        let left: &[usize] = if frames.contains(&at) {
            &[49, 50]
        } else {
            &[50]
        };
        assert_eq!(counts(&damaged), left, "{at}");
        assert_eq!(damaged.broken, 1, "{at}");
        for (sequence, line) in lines(&damaged) {
            assert_eq!(whole_lines[&sequence], line, "{at}");
        }
    }
}

#[test]
fn what_does_not_fit_into_the_file_is_broken() {
    let (bytes, whole) = two_blocks();
    let last = whole.blocks[1].offset;
    for length in last..block_end(&bytes, last) {
        assert_eq!(counts(&Segment::read(&bytes[..length])), [50], "{length}");
    }
}

#[test]
fn a_sealed_segment_is_read_behind_a_broken_block() {
    for bytes in segments(&golden("compressed")) {
        let damaged = flipped(&bytes, 192);
        assert!(damaged.blocks.is_empty() && damaged.footer.is_some());
        assert_eq!(damaged.broken, 1);
    }
}

#[test]
fn behind_a_broken_record_the_journal_goes_on() {
    let bytes = file(&golden("records/store.journal"));
    let whole = Journal::read(&bytes).records;
    for at in 64..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let Journal {
            records, is_whole, ..
        } = Journal::read(&damaged);
        if is_whole {
            assert_eq!(records, whole, "{at}: zeros behind a record");
        }
        assert!(records.len() >= whole.len() - 1, "{at}");
        assert!(records.iter().all(|record| whole.contains(record)), "{at}");
    }
}

#[test]
fn hints_that_a_failed_sync_moved_count_once() {
    let moved = |from: &mut Segment, to: &Segment| from.blocks.extend(to.blocks.clone());
    for rest in [17, 9] {
        let mut store = Store::read("plain");
        let next = store.segments[2].clone();
        moved(&mut store.segments[1], &next);
        store.segments[2].blocks.truncate(rest);
        assert_pending(&store, &store.expected, "moved");
    }
}

#[test]
fn retired_unfinished_and_replaced_segments_are_not_read() {
    let read = |store: &Store| -> Vec<bool> {
        let all = store.segments.iter();
        all.map(|of| is_read(of, &store.segments, &store.journal))
            .collect()
    };
    assert_eq!(
        read(&Store::read("crashed")),
        [true, false, false, true, true]
    );
    let mut store = Store::read("unfinished");
    assert_eq!(store.segments[2].replaces, [store.segments[1].id]);
    assert_eq!(read(&store), [true, true, false, true]);
    store.segments[2].replaces.push(1);
    assert_eq!(read(&store), [true, false, true, true], "one was removed");
    assert_pending(&store, &store.expected, "one was removed");
    let segment = &store.segments[0];
    let retire = |incarnation: u64| {
        (
            3,
            json!({
                "target": segment.target, "store": segment.store, "incarnation": incarnation,
                "segment": segment.id, "damaged": 0,
            }),
        )
    };
    let [other, own] = [segment.incarnation + 1, segment.incarnation].map(retire);
    store.journal.records.push(other);
    assert!(read(&store)[0], "another incarnation");
    store.journal.records.push(own);
    assert!(!read(&store)[0]);
    for sealed in [1, 2] {
        let footer = store.segments[sealed].footer.take();
        assert!(read(&store)[1], "only where both are sealed");
        store.segments[sealed].footer = footer;
    }
}

#[test]
fn dead_fenced_and_discarded_begin_where_the_page_says() {
    let mut store = Store::read("unfinished");
    let first = store.segments[0].hints().next().unwrap().clone();
    let target = store.segments[0].target.clone();
    let count = |store: &Store, now: i64| pending(&store.segments, &store.journal, now).len();
    let all = store.expected.len();
    let now = first.deadline() - 1;
    assert_eq!([count(&store, now), count(&store, now + 1)], [all, 0]);
    let mut with = |kind: usize, record: Value| {
        store.journal.records.push((kind, record));
        let counted = count(&store, now);
        store.journal.records.pop();
        counted
    };
    let namespace = &first.profile.namespace;
    let fence = |before: i64| json!({ "namespace": namespace, "before": before });
    assert_eq!(with(4, fence(first.created)), all);
    assert_eq!(with(4, fence(first.created + 1)), 0);
    let discard = |up_to: u64, before: i64| json!({ "target": target, "up_to": up_to, "namespace": null, "before": before });
    assert_eq!(with(6, discard(first.sequence, first.created + 1)), all - 1);
    assert_eq!(with(6, discard(first.sequence, first.created)), all);
}

#[test]
fn a_forgotten_target_has_nothing_but_retired_segments() {
    let mut store = Store::read("crashed");
    for target in ["02", "03"] {
        let target = format!("9a3556700000400080000000000000{target}");
        store.journal.records.push((5, json!({ "target": target })));
    }
    assert_pending(&store, &store.expected, "retired segments stay so");
    assert_eq!(store.journal.checkpoints().len(), 2);
    assert!(store.journal.losses().is_empty());
}

#[test]
fn receipts_are_settled_by_fences_and_later_repairs() {
    let read = || Journal::read(&file(&golden("records/store.journal")));
    let receipt = read().losses()[0].clone();
    let after = receipt["last_created"].as_i64().unwrap() + 1;
    let losses = |place: usize, namespace: Value, before: i64| {
        let mut journal = read();
        let repaired = json!({ "target": null, "namespace": namespace, "before": before });
        journal.records.insert(place, (10, repaired));
        journal.losses().len()
    };
    let (behind, ahead) = (9, 8);
    assert_eq!(losses(behind, Value::Null, after), 0);
    assert_eq!(losses(behind, Value::Null, after - 1), 1, "not after");
    assert_eq!(losses(ahead, Value::Null, after), 1, "not later");
    let fenced = |before: i64| {
        let mut store = Store::read("crashed");
        let namespace = store.journal.losses()[0]["namespace"].clone();
        let fence = json!({ "namespace": namespace, "before": before });
        store.journal.records.push((4, fence));
        store.journal.losses().len()
    };
    let last = Store::read("crashed").journal.losses()[0]["last_created"].clone();
    let last = last.as_i64().unwrap();
    assert_eq!([fenced(last), fenced(last + 1)], [1, 0]);
}
