//! What decoding a mutation calls back.

use crate::schema::{Column, Table};

/// An update of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The table.
    pub table: &'a Table,
    /// The partition key: the value of one column, or the composite of several.
    pub key: &'a [u8],
    /// The deletion of the whole partition.
    pub deletion: Option<Deletion>,
}

/// A deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// What was written up to then is deleted, in µs since 1970.
    pub marked_for_delete_at: i64,
    /// When it was made, in s since 1970; 4294967294 where Cassandra cannot read back what it
    /// wrote.
    pub local_deletion_time: i64,
}

/// What keeps a row alive that has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// When it was written, in µs since 1970; the least number where it was not.
    pub timestamp: i64,
    /// For how long it lives, in s; 0 for no end.
    pub ttl: i32,
    /// When it dies, in s since 1970; the greatest number for never.
    pub local_deletion_time: i64,
}

impl Liveness {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.timestamp == i64::MIN
    }
}

/// A cell.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// Its column.
    pub column: &'a Column,
    /// Its place in a column of several cells: the id of a list's element, the element of a set,
    /// the key of a map, the number of a field.
    pub path: Option<&'a [u8]>,
    /// When it was written, in µs since 1970.
    pub timestamp: i64,
    /// For how long it lives, in s; 0 for no end.
    pub ttl: i32,
    /// When it dies or was deleted, in s since 1970; the greatest number for neither.
    pub local_deletion_time: i64,
    /// Its value; nothing in a tombstone.
    pub value: &'a [u8],
}

impl Cell<'_> {
    /// Whether it deletes.
    pub fn is_tombstone(&self) -> bool {
        self.local_deletion_time != i64::MAX && self.ttl == 0
    }
}

/// Where a row or a bound lies in its partition.
#[derive(Clone, Copy, Debug)]
pub struct Clustering<'v, 'a> {
    /// The table, whose clustering columns these are.
    pub table: &'a Table,
    /// The values, in order; a bound may have fewer than there are columns.
    pub values: &'v [Option<&'a [u8]>],
}

/// The start or the end of a range that is deleted.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'v, 'a> {
    /// Where it is; without values it is the end of the partition.
    pub clustering: Clustering<'v, 'a>,
    /// It is the start of a range.
    pub is_start: bool,
    /// The range has what is exactly here.
    pub inclusive: bool,
    /// What it deletes.
    pub deletion: Deletion,
}

/// What decoding a mutation calls back, in the order of the bytes.
pub trait Visit<'a> {
    /// An update begins.
    fn update(&mut self, update: &Update<'a>);
    /// The static row begins.
    fn static_row(&mut self);
    /// A row begins.
    fn row(&mut self, clustering: Clustering<'_, 'a>);
    /// What keeps the row alive, if anything.
    fn liveness(&mut self, liveness: &Liveness);
    /// The row is deleted.
    fn row_deletion(&mut self, deletion: Deletion, shadowable: bool);
    /// All that a column of several cells had is deleted.
    fn complex_deletion(&mut self, column: &'a Column, deletion: Deletion);
    /// A cell.
    fn cell(&mut self, cell: &Cell<'a>);
    /// The row ends.
    fn row_end(&mut self);
    /// A range of rows is deleted from here, or up to here.
    fn bound(&mut self, bound: &Bound<'_, 'a>);
    /// The update ends.
    fn update_end(&mut self);
}

/// Decodes only.
#[derive(Clone, Copy, Debug)]
pub struct Ignore;

impl<'a> Visit<'a> for Ignore {
    fn update(&mut self, _: &Update<'a>) {}
    fn static_row(&mut self) {}
    fn row(&mut self, _: Clustering<'_, 'a>) {}
    fn liveness(&mut self, _: &Liveness) {}
    fn row_deletion(&mut self, _: Deletion, _: bool) {}
    fn complex_deletion(&mut self, _: &'a Column, _: Deletion) {}
    fn cell(&mut self, _: &Cell<'a>) {}
    fn row_end(&mut self) {}
    fn bound(&mut self, _: &Bound<'_, 'a>) {}
    fn update_end(&mut self) {}
}
