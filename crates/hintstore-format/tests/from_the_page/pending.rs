//! Which hints are pending, by the segments of a store and its journal.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bytes::uuid;
use crate::frames::Hint;
use crate::journal::{DISCARD, Journal, list, number, signed};
use crate::segment::Segment;

/// The pending hints at a time, as `expected.jsonl` has them.
pub(crate) fn pending(segments: &[Segment], journal: &Journal, now: i64) -> Vec<Value> {
    let mut read: Vec<_> = segments
        .iter()
        .filter(|segment| segment.kind <= 1 && is_read(segment, segments, journal))
        .collect();
    read.sort_by_key(|segment| (&segment.target, segment.kind, segment.first_sequence));
    let elsewhere = counted_elsewhere(&read);
    let mut pending = Vec::new();
    for (place, segment) in read.iter().enumerate() {
        let is_open = is_open(journal, segment);
        let is_pending = |hint: &&Hint| {
            is_open(hint.sequence)
                && !elsewhere.contains(&(place, hint.sequence))
                && !has_ended(journal, &segment.target, hint, now)
        };
        let hints = segment.hints().filter(is_pending);
        pending.extend(hints.map(|hint| line(segment, hint)));
    }
    pending
}

pub(crate) fn is_read(segment: &Segment, segments: &[Segment], journal: &Journal) -> bool {
    let is_there = |id: &u64| {
        let mut segments = segments.iter();
        segments.any(|other| other.id == *id && !journal.is_retired(other))
    };
    let all_there = |other: &Segment| other.replaces.iter().all(is_there);
    let is_unfinished = !segment.replaces.is_empty() && all_there(segment);
    let replaces_it = |other: &Segment| {
        other.replaces.contains(&segment.id) && other.footer.is_some() && !all_there(other)
    };
    let is_replaced = segment.footer.is_some() && segments.iter().any(replaces_it);
    !journal.is_retired(segment) && !is_unfinished && !is_replaced
}

/// The hints that a failed sync left in two segments: places of segments in which they do not
/// count, with their sequences.
fn counted_elsewhere(read: &[&Segment]) -> BTreeSet<(usize, u64)> {
    let sequences =
        |of: &Segment| -> BTreeSet<u64> { of.hints().map(|hint| hint.sequence).collect() };
    let mut elsewhere = BTreeSet::new();
    for (place, pair) in read.windows(2).enumerate() {
        let [earlier, next] = [pair[0], pair[1]];
        if earlier.target != next.target || next.kind != 0 {
            continue;
        }
        let [of_earlier, of_next] = [earlier, next].map(sequences);
        let beyond = of_earlier.range(next.first_sequence..).copied();
        if of_next.last() >= of_earlier.last() {
            elsewhere.extend(beyond.map(|sequence| (place, sequence)));
        } else if has_no_gaps(&of_earlier) {
            elsewhere.extend(beyond.map(|sequence| (place + 1, sequence)));
        }
    }
    elsewhere
}

fn has_no_gaps(sequences: &BTreeSet<u64>) -> bool {
    let mut pairs = sequences.iter().zip(sequences.iter().skip(1));
    pairs.all(|(one, next)| one + 1 == *next)
}

/// Whether a hint of the segment is above the checkpoint's *up to*, or in one of its holes.
fn is_open(journal: &Journal, segment: &Segment) -> impl Fn(u64) -> bool {
    let checkpoint = journal.checkpoints().remove(segment.target.as_str());
    let says = if segment.kind == 0 {
        checkpoint.unwrap_or(json!({ "up_to": 0, "holes": [] }))
    } else {
        let deferred = checkpoint.map_or(json!([]), |mut says| says["deferred"].take());
        let named = list(&deferred)
            .iter()
            .find(|named| named["segment"] == segment.id);
        let nothing = json!({ "up_to": u64::MAX, "holes": [] });
        named.cloned().unwrap_or(nothing)
    };
    move |sequence| {
        let holds =
            |hole: &Value| (number(&hole["first"])..=number(&hole["last"])).contains(&sequence);
        sequence > number(&says["up_to"]) || list(&says["holes"]).iter().any(holds)
    }
}

fn has_ended(journal: &Journal, target: &str, hint: &Hint, now: i64) -> bool {
    let namespace = hint.profile.namespace.as_str();
    let fences = journal.fences();
    let fence = fences.get(namespace);
    let discards = |record: &Value| {
        record["target"] == target
            && hint.sequence <= number(&record["up_to"])
            && (record["namespace"].is_null() || record["namespace"] == namespace)
            && hint.created < signed(&record["before"])
    };
    fence.is_some_and(|before| hint.created < *before)
        || journal.of_type(DISCARD).any(discards)
        || hint.deadline() <= now
}

fn line(segment: &Segment, hint: &Hint) -> Value {
    let mut line = hint.line.clone();
    line["store"] = json!(uuid(&segment.store));
    line["target"] = json!(uuid(&segment.target));
    line["incarnation"] = json!(segment.incarnation.to_string());
    line
}
