//! Which partitions a mutation touches.

use std::fmt;

use hintstore_cassandra::{
    Bound, Cell, Clustering, Column, DecodeError, Deletion, Liveness, Schema, Table, Update, Visit,
    decode_mutation, key_parts, literal,
};

use crate::output::count;

/// A partition that a mutation writes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touched<'a> {
    pub(crate) change: Change,
    pub(crate) table: &'a Table,
    /// The partition key.
    pub(crate) key: &'a [u8],
    /// The latest time that something in it was written at, in µs since 1970.
    pub(crate) newest_us: Option<i64>,
}

impl Touched<'_> {
    /// The key as it is typed: the values of its parts, joined by `:`.
    pub(crate) fn key_text(&self) -> String {
        let parts = key_parts(self.table, self.key).unwrap_or_default();
        let columns = self.table.partition_key.iter().zip(parts);
        let values: Vec<String> = columns
            .map(|(column, part)| {
                let text = literal(&column.cql_type, part).unwrap_or_default();
                match text
                    .strip_prefix('\'')
                    .and_then(|text| text.strip_suffix('\''))
                {
                    Some(text) => text.replace("''", "'"),
                    None => text,
                }
            })
            .collect();
        values.join(":")
    }
}

/// What an update does, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    deletes_partition: bool,
    rows: u64,
    cells: u64,
    deleted_rows: u64,
    deleted_cells: u64,
    deleted_ranges: u64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = self
            .deletes_partition
            .then(|| "deletes the partition".to_owned());
        let some = |number: u64, verb: &str, of: &str| {
            (number > 0).then(|| format!("{verb} {}", count(number, of)))
        };
        let parts = [
            partition,
            some(self.deleted_ranges, "deletes", "range"),
            some(self.deleted_rows, "deletes", "row"),
            some(self.deleted_cells, "deletes", "cell"),
            some(self.cells, "writes", "cell"),
            some(self.rows, "in", "row"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

/// The partitions that a mutation writes to, in order.
pub(crate) fn touched<'a>(
    mutation: &'a [u8],
    schema: &'a Schema,
    messaging_version: u32,
) -> Result<Vec<Touched<'a>>, DecodeError> {
    let mut visit = All::default();
    decode_mutation(mutation, schema, messaging_version, &mut visit)?;
    Ok(visit.found)
}

#[derive(Default)]
struct All<'a> {
    found: Vec<Touched<'a>>,
}

impl All<'_> {
    fn counted(&mut self, count: impl FnOnce(&mut Change)) {
        if let Some(touched) = self.found.last_mut() {
            count(&mut touched.change);
        }
    }

    fn written(&mut self, time: i64) {
        if let Some(touched) = self.found.last_mut()
            && time != i64::MIN
        {
            touched.newest_us = touched.newest_us.max(Some(time));
        }
    }
}

impl<'a> Visit<'a> for All<'a> {
    fn update(&mut self, update: &Update<'a>) {
        let change = Change {
            deletes_partition: update.deletion.is_some(),
            ..Change::default()
        };
        self.found.push(Touched {
            change,
            table: update.table,
            key: update.key,
            newest_us: update
                .deletion
                .map(|deletion| deletion.marked_for_delete_at),
        });
    }
    fn static_row(&mut self) {}
    fn row(&mut self, _: Clustering<'_, 'a>) {
        self.counted(|change| change.rows += 1);
    }
    fn liveness(&mut self, liveness: &Liveness) {
        self.written(liveness.timestamp);
    }
    fn row_deletion(&mut self, deletion: Deletion, _: bool) {
        self.counted(|change| {
            change.deleted_rows += 1;
            change.rows = change.rows.saturating_sub(1);
        });
        self.written(deletion.marked_for_delete_at);
    }
    fn complex_deletion(&mut self, _: &'a Column, deletion: Deletion) {
        self.counted(|change| change.deleted_cells += 1);
        self.written(deletion.marked_for_delete_at);
    }
    fn cell(&mut self, cell: &Cell<'a>) {
        let is_dead = cell.is_tombstone();
        self.counted(|change| {
            change.deleted_cells += u64::from(is_dead);
            change.cells += u64::from(!is_dead);
        });
        self.written(cell.timestamp);
    }
    fn row_end(&mut self) {}
    fn bound(&mut self, bound: &Bound<'_, 'a>) {
        self.counted(|change| change.deleted_ranges += u64::from(bound.is_start));
        self.written(bound.deletion.marked_for_delete_at);
    }
    fn update_end(&mut self) {}
}
