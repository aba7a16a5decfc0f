//! Which partitions a mutation touches.

use hintstore_cassandra::{
    Bound, Cell, Clustering, Column, DecodeError, Deletion, Liveness, Schema, Table, Update, Visit,
    decode_mutation,
};

/// A partition that a mutation writes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touched<'a> {
    pub(crate) table: &'a Table,
    /// The partition key.
    pub(crate) key: &'a [u8],
    /// The latest time that something in it was written at, in µs since 1970.
    pub(crate) newest_us: Option<i64>,
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
        self.found.push(Touched {
            table: update.table,
            key: update.key,
            newest_us: update
                .deletion
                .map(|deletion| deletion.marked_for_delete_at),
        });
    }
    fn static_row(&mut self) {}
    fn row(&mut self, _: Clustering<'_, 'a>) {}
    fn liveness(&mut self, liveness: &Liveness) {
        self.written(liveness.timestamp);
    }
    fn row_deletion(&mut self, deletion: Deletion, _: bool) {
        self.written(deletion.marked_for_delete_at);
    }
    fn complex_deletion(&mut self, _: &'a Column, deletion: Deletion) {
        self.written(deletion.marked_for_delete_at);
    }
    fn cell(&mut self, cell: &Cell<'a>) {
        self.written(cell.timestamp);
    }
    fn row_end(&mut self) {}
    fn bound(&mut self, bound: &Bound<'_, 'a>) {
        self.written(bound.deletion.marked_for_delete_at);
    }
    fn update_end(&mut self) {}
}
