//! The journal: its records, and what they say.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bytes::{
    Fields, Id, crc, id_at, is_zero, key, length_at, round_up, u16_at, u32_at, u64_at,
};
use crate::segment::Segment;

/// The bodies of records, by type, as the table on the page has them.
const BODIES: [&str; 11] = [
    "",
    "unflushed:u64 unsynced:u64",
    "target:id up_to:u64 holes:holes ends:ends deferred:deferred retired:retired",
    "target:id store:id incarnation:u64 segment:u64 damaged:u8",
    "namespace:id before:i64",
    "target:id",
    "target:id up_to:u64 namespace:named before:i64 count:u64",
    "wall:i64 since_boot:u64 boot:id",
    "target:id first:u64 last:u64 count:u64 end:u8 at:i64",
    "cause:u8 target:named namespace:named tokens:tokens first_created:i64 last_created:i64 \
     hints:u64 bytes:u64 first_notice:i64 last_notice:i64",
    "target:named namespace:named before:i64",
];
const HOLE: &str = "first:u64 last:u64";
const DEFERRED: &str = "segment:u64 up_to:u64 pending:u64 holes:holes";
const RETIRED: &str = "store:id incarnation:u64 segment:u64 damaged:u8";

const CHECKPOINT: usize = 2;
const RETIRE: usize = 3;
const FENCE: usize = 4;
const FORGOTTEN: usize = 5;
pub(crate) const DISCARD: usize = 6;
const MISSING: usize = 8;
const RECEIPT: usize = 9;
const REPAIRED: usize = 10;

pub(crate) const ENDS: [&str; 8] = [
    "delivered",
    "expired",
    "fenced",
    "superseded",
    "rejected",
    "discarded",
    "damaged",
    "lost",
];

pub(crate) struct Journal {
    pub(crate) store: Id,
    /// Each with its type.
    pub(crate) records: Vec<(usize, Value)>,
    /// Whether all that is no record is zeros.
    pub(crate) is_whole: bool,
}

impl Journal {
    pub(crate) fn read(bytes: &[u8]) -> Journal {
        assert!(bytes.starts_with(b"hintjrn\n"), "magic");
        assert_eq!(u16_at(bytes, 8), 1, "version");
        let covered: [&[u8]; 2] = [&bytes[..12], &bytes[16..64]];
        assert_eq!(u32_at(bytes, 12), crc(&covered), "journal head");
        let mut journal = Journal {
            store: id_at(bytes, 16),
            records: Vec::new(),
            is_whole: true,
        };
        let generation = u64_at(bytes, 32);
        let mut at = 64;
        while at < bytes.len() {
            let next = if let Some(record) = record_at(bytes, at, generation) {
                let kind = u16_at(record, 8);
                let body = decode(kind, &record[16..]);
                journal.records.push((kind, body));
                at + round_up(record.len(), 8)
            } else {
                let skipped = &bytes[at..bytes.len().min(at + 8)];
                journal.is_whole &= is_zero(skipped);
                at + 8
            };
            at = next;
        }
        journal
    }

    /// The records of a type, with their places, except those that a *forgotten* comes behind.
    fn placed(&self, of: usize) -> impl Iterator<Item = (usize, &Value)> {
        let is_forgotten = |place: usize, record: &Value| {
            let later = self.records[place..].iter();
            later
                .filter(|(kind, _)| *kind == FORGOTTEN)
                .any(|(_, later)| later["target"] == record["target"])
        };
        let placed = self.records.iter().enumerate();
        placed
            .filter(move |(_, (kind, _))| *kind == of)
            .map(|(place, (_, record))| (place, record))
            .filter(move |(place, record)| !is_forgotten(*place, record))
    }

    pub(crate) fn of_type(&self, of: usize) -> impl Iterator<Item = &Value> {
        self.placed(of).map(|(_, record)| record)
    }

    /// The last checkpoint of each target, with the missing hints that it does not count.
    pub(crate) fn checkpoints(&self) -> BTreeMap<&str, Value> {
        let mut checkpoints = BTreeMap::new();
        for (place, record) in self.placed(CHECKPOINT) {
            let mut record = record.clone();
            for (later, missing) in self.placed(MISSING) {
                if later > place && missing["target"] == record["target"] {
                    let end = &mut record["ends"][ENDS[number(&missing["end"]) as usize]];
                    *end = json!(number(end) + number(&missing["count"]));
                }
            }
            let target = &self.records[place].1["target"];
            checkpoints.insert(text(target), record);
        }
        checkpoints
    }

    /// The latest fence of each namespace.
    pub(crate) fn fences(&self) -> BTreeMap<&str, i64> {
        let mut fences = BTreeMap::new();
        for record in self.of_type(FENCE) {
            let fence = fences.entry(text(&record["namespace"])).or_insert(i64::MIN);
            *fence = signed(&record["before"]).max(*fence);
        }
        fences
    }

    /// The loss receipts that are not settled.
    pub(crate) fn losses(&self) -> Vec<&Value> {
        let fences = self.fences();
        let is_settled = |place: usize, receipt: &Value| {
            let last = signed(&receipt["last_created"]);
            let fence = receipt["namespace"].as_str().and_then(|of| fences.get(of));
            let covers = |record: &Value| {
                let fits = |name: &str| record[name].is_null() || record[name] == receipt[name];
                fits("target") && fits("namespace") && last < signed(&record["before"])
            };
            let mut repaired = self.placed(REPAIRED);
            fence.is_some_and(|before| last < *before)
                || repaired.any(|(later, record)| later > place && covers(record))
        };
        self.placed(RECEIPT)
            .filter(|(place, receipt)| !is_settled(*place, receipt))
            .map(|(_, receipt)| receipt)
            .collect()
    }

    /// Whether any record says so, forgotten ones as well.
    pub(crate) fn is_retired(&self, segment: &Segment) -> bool {
        let names = |record: &Value| {
            record["store"] == segment.store.as_str()
                && record["incarnation"] == segment.incarnation
                && record["segment"] == segment.id
        };
        self.records.iter().any(|(kind, record)| match *kind {
            CHECKPOINT => list(&record["retired"]).iter().any(names),
            RETIRE => names(record),
            _ => false,
        })
    }
}

fn record_at(bytes: &[u8], at: usize, generation: u64) -> Option<&[u8]> {
    let head = bytes.get(at..at + 16)?;
    let record = bytes.get(at..at + 16 + length_at(head, 0))?;
    let covered: [&[u8]; 3] = [&key(generation, at), &record[..4], &record[8..]];
    (u32_at(head, 4) == crc(&covered)).then_some(record)
}

/// The fields of a record; of one of an unknown type there are none.
fn decode(kind: usize, body: &[u8]) -> Value {
    let Some(names) = BODIES.get(kind) else {
        return Value::Null;
    };
    let mut fields = Fields::new(body);
    let record = object(&mut fields, names);
    assert!(fields.rest().is_empty(), "type {kind}: longer than known");
    record
}

/// Fields by names and types, as `BODIES` has them.
fn object(fields: &mut Fields, names: &str) -> Value {
    let names = names.split_whitespace();
    names
        .map(|field| field.split_once(':').unwrap())
        .map(|(name, kind)| (name.to_string(), value(fields, kind)))
        .collect()
}

fn value(fields: &mut Fields, kind: &str) -> Value {
    match kind {
        "u8" => json!(fields.number(1)),
        "u64" => json!(fields.number(8)),
        "i64" => json!(fields.i64()),
        "id" => json!(fields.id()),
        "named" => named(fields, "id:id")["id"].take(),
        "tokens" => named(fields, "least:i64 greatest:i64"),
        "ends" => ENDS
            .iter()
            .map(|end| (end.to_string(), json!(fields.number(8))))
            .collect(),
        "holes" => array(fields, HOLE),
        "deferred" => array(fields, DEFERRED),
        "retired" => array(fields, RETIRED),
        _ => unreachable!("{kind}"),
    }
}

/// What is named, or null for any.
fn named(fields: &mut Fields, names: &str) -> Value {
    let is_named = fields.number(1) == 1;
    let value = object(fields, names);
    if is_named { value } else { Value::Null }
}

fn array(fields: &mut Fields, names: &str) -> Value {
    let count = fields.number(4);
    (0..count).map(|_| object(fields, names)).collect()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

pub(crate) fn signed(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}
