//! Hints added up: how many, how large, how old, what has expired or soon will.

use std::collections::{BTreeMap, BTreeSet};

use hintstore::{Namespace, raw::format::footer::Summary};
use hintstore_cassandra::Schema;
use serde_json::{Value, json};

use crate::{
    args::{By, namespace_word},
    decode,
    input::HintView,
    output::{Columns, Of, age, bytes},
};

/// What expires within this time does so soon.
pub(crate) const SOON_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// What some hints add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) hints: u64,
    /// Known only where each hint was looked at.
    updates: u64,
    /// Of payload.
    pub(crate) bytes: u64,
    pub(crate) oldest_ms: Option<i64>,
    pub(crate) newest_ms: Option<i64>,
    pub(crate) first_expiry_ms: Option<i64>,
    pub(crate) last_expiry_ms: Option<i64>,
    /// Hints that are dead.
    pub(crate) expired: u64,
    /// Hints that will be within a day.
    pub(crate) soon: u64,
}

/// Takes a value in, where there is one.
fn widen(place: &mut Option<i64>, value: Option<i64>, choose: fn(i64, i64) -> i64) {
    *place = match (*place, value) {
        (Some(known), Some(value)) => Some(choose(known, value)),
        (known, value) => known.or(value),
    };
}

impl Tally {
    /// Takes in a hint, and how many updates it has.
    pub(crate) fn add(&mut self, hint: &HintView<'_>, updates: u64, now: i64) {
        let expiry = hint.expires_at_ms();
        self.append(&Self {
            hints: 1,
            updates,
            bytes: hint.payload.len() as u64,
            oldest_ms: Some(hint.created_ms),
            newest_ms: Some(hint.created_ms),
            first_expiry_ms: Some(expiry),
            last_expiry_ms: Some(expiry),
            expired: u64::from(expiry <= now),
            soon: u64::from(expiry > now && expiry <= now.saturating_add(SOON_MILLIS)),
        });
    }

    /// What a segment adds up to by its summary; nothing where some of its hints expire within a day, or have
    /// expired, and others not.
    pub(crate) fn of_summary(summary: &Summary, now: i64) -> Option<Self> {
        if summary.count == 0 {
            return Some(Self::default());
        }
        let (first, last) = (summary.deadlines.min.get(), summary.deadlines.max.get());
        let all_if = |is: bool| if is { summary.count } else { 0 };
        let (is_dead, is_alive) = (last <= now, first > now.saturating_add(SOON_MILLIS));
        let is_soon = first > now && last <= now.saturating_add(SOON_MILLIS);
        (is_dead || is_alive || is_soon).then(|| Self {
            hints: summary.count,
            updates: 0,
            bytes: summary.payload_bytes,
            oldest_ms: Some(summary.hints_created.min.get()),
            newest_ms: Some(summary.hints_created.max.get()),
            first_expiry_ms: Some(first),
            last_expiry_ms: Some(last),
            expired: all_if(is_dead),
            soon: all_if(is_soon),
        })
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.hints += other.hints;
        self.updates += other.updates;
        self.bytes += other.bytes;
        self.expired += other.expired;
        self.soon += other.soon;
        widen(&mut self.oldest_ms, other.oldest_ms, i64::min);
        widen(&mut self.newest_ms, other.newest_ms, i64::max);
        widen(&mut self.first_expiry_ms, other.first_expiry_ms, i64::min);
        widen(&mut self.last_expiry_ms, other.last_expiry_ms, i64::max);
    }

    /// Its fields, behind others.
    pub(crate) fn json(&self, fields: Value) -> Value {
        let mut fields = fields;
        let own = json!({
            "hints": self.hints,
            "payload_bytes": self.bytes,
            "oldest_creation_time_ms": self.oldest_ms,
            "newest_creation_time_ms": self.newest_ms,
            "first_expires_at_ms": self.first_expiry_ms,
            "last_expires_at_ms": self.last_expiry_ms,
            "expired_hints": self.expired,
            "expiring_hints": self.soon,
        });
        if let (Value::Object(fields), Value::Object(own)) = (&mut fields, own) {
            fields.extend(own);
        }
        fields
    }

    /// Ages, what has expired, and when the next does.
    pub(crate) fn ages(&self, now: i64) -> [String; 4] {
        let when = |millis: Option<i64>| millis.map(|at| age(at, now)).unwrap_or_default();
        [
            when(self.oldest_ms),
            when(self.newest_ms),
            some(self.expired),
            some(self.soon),
        ]
    }
}

/// The heads of [`Tally::ages`].
pub(crate) const AGES: [&str; 4] = ["OLDEST", "NEWEST", "EXPIRED", "IN 24H"];

/// A number, or nothing for none.
fn some(number: u64) -> String {
    if number == 0 {
        String::new()
    } else {
        number.to_string()
    }
}

/// Hints added up by something.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    by: By,
    schema: Option<&'a Schema>,
    now: i64,
    tallies: BTreeMap<String, Tally>,
}

/// The columns of [`Groups::json`].
pub(crate) const GROUP_COLUMNS: Columns = &[
    ("by", Of::Text),
    ("group", Of::Text),
    ("hints", Of::Int),
    ("updates", Of::Int),
    ("payload_bytes", Of::Int),
    ("oldest_creation_time_ms", Of::Int),
    ("newest_creation_time_ms", Of::Int),
    ("first_expires_at_ms", Of::Int),
    ("last_expires_at_ms", Of::Int),
    ("expired_hints", Of::Int),
    ("expiring_hints", Of::Int),
];

impl<'a> Groups<'a> {
    pub(crate) fn new(by: By, schema: Option<&'a Schema>, now: i64) -> Self {
        Self {
            by,
            schema,
            now,
            tallies: BTreeMap::new(),
        }
    }

    pub(crate) fn by(&self) -> By {
        self.by
    }

    /// Takes in a hint that lies in `file`.
    pub(crate) fn add(&mut self, file: &str, hint: &HintView<'_>) {
        let updates = hint.updates().unwrap_or(1);
        match self.by {
            By::Target => self.put(hint.target.to_string(), hint, updates),
            By::File => self.put(file.to_owned(), hint, updates),
            By::Hour => {
                let hour = 60 * 60 * 1000;
                let begin = hint.created_ms.div_euclid(hour).saturating_mul(hour);
                let time = jiff::Timestamp::from_millisecond(begin);
                let name = time.map_or_else(
                    |_| "unknown".to_owned(),
                    |time| time.strftime("%Y-%m-%dT%H:00Z").to_string(),
                );
                self.put(name, hint, updates);
            }
            By::Table => self.add_tables(hint, updates),
        }
    }

    fn add_tables(&mut self, hint: &HintView<'_>, updates: u64) {
        let decoded = match (self.schema, hint.mutation()) {
            (Some(schema), Some(mutation)) if updates > 1 => {
                decode::touched(mutation, schema, hint.payload_version).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        if decoded.is_empty() {
            let name = self.table(hint.namespace);
            return self.put(name, hint, updates);
        }
        let ids: Vec<Namespace> = decoded
            .iter()
            .map(|one| Namespace::from_bytes(one.table.id))
            .collect();
        for id in ids.iter().copied().collect::<BTreeSet<_>>() {
            let updates = ids.iter().filter(|other| **other == id).count() as u64;
            self.put(self.table(id), hint, updates);
        }
    }

    /// The name of a table, or its id.
    fn table(&self, id: Namespace) -> String {
        table_name(self.schema, id)
    }

    fn put(&mut self, group: String, hint: &HintView<'_>, updates: u64) {
        let now = self.now;
        self.tallies
            .entry(group)
            .or_default()
            .add(hint, updates, now);
    }

    /// The groups as JSON, in order.
    pub(crate) fn json(&self) -> impl Iterator<Item = Value> + '_ {
        self.tallies.iter().map(|(name, tally)| {
            let (by, updates) = (self.by.word(), tally.updates);
            let fields = json!({ "by": by, "group": name, "updates": updates });
            tally.json(fields)
        })
    }

    /// The groups as a table: those of the most bytes first, hours in order.
    pub(crate) fn table_of(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let mut head = vec![self.by.head(), "HINTS", "UPDATES", "PAYLOAD"];
        head.extend(AGES);
        let mut groups: Vec<_> = self.tallies.iter().collect();
        if self.by != By::Hour {
            groups.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.bytes));
        }
        let rows = groups.into_iter().map(|(name, tally)| {
            let mut row = vec![
                name.clone(),
                tally.hints.to_string(),
                tally.updates.to_string(),
                bytes(tally.bytes),
            ];
            row.extend(tally.ages(self.now));
            row
        });
        (head, rows.collect())
    }
}

/// The name of a table where a schema has it, or its id.
pub(crate) fn table_name(schema: Option<&Schema>, id: Namespace) -> String {
    match schema.and_then(|schema| schema.table(id.as_bytes())) {
        Some(table) => format!("{}.{}", table.keyspace, table.name),
        None => namespace_word(id),
    }
}
