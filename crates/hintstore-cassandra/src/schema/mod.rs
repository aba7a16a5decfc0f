//! What a mutation does not say of itself: tables, columns, types.

mod build;
mod cql_type;
mod ddl;
mod dump;
mod token;

use std::{collections::HashMap, fmt};

pub use cql_type::{CqlType, Native};

/// The tables of a cluster, by their ids.
///
/// ```
/// use hintstore_cassandra::Schema;
///
/// let schema = Schema::parse(
///     "CREATE TABLE shop.carts (id timeuuid PRIMARY KEY, items map<text, int>)
///      WITH ID = d43518a0-e6b3-11f1-bda0-935e785412f1 AND gc_grace_seconds = 0;",
/// )?;
/// assert_eq!(schema.tables().next().unwrap().name, "carts");
///
/// let error = Schema::parse("CREATE TABLE shop.carts (id map<text>);").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "line 1: a statement is not understood: expected `,`, found `>`"
/// );
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Schema {
    tables: HashMap<[u8; 16], Table>,
    without_id: Vec<String>,
    passed_over: Vec<SchemaError>,
}

/// A table, or a materialized view.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub name: String,
    /// Its id: what a mutation names it by.
    pub id: [u8; 16],
    /// Its `gc_grace_seconds`, in s.
    pub gc_grace_s: u32,
    /// The columns of the partition key, in order.
    pub partition_key: Vec<Column>,
    /// The clustering columns, in order.
    pub clustering: Vec<Column>,
    columns: HashMap<Vec<u8>, Column>,
    dropped: HashMap<Vec<u8>, Dropped>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is of.
    pub kind: Kind,
    /// Its type.
    pub cql_type: CqlType,
    /// It has a cell for each element.
    pub is_multicell: bool,
    /// It is a counter.
    pub is_counter: bool,
}

/// What a column is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The partition key.
    PartitionKey,
    /// The clustering.
    Clustering,
    /// The partition: one value for all rows.
    Static,
    /// A row.
    Regular,
}

/// A column that is no more.
#[derive(Clone, Debug)]
pub(crate) struct Dropped {
    pub(crate) column: Column,
    /// What was written up to then is gone, in µs since 1970.
    pub(crate) time_us: i64,
}

/// Why a text is no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// The line it is on, from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

impl std::error::Error for SchemaError {}

impl Schema {
    /// Reads a schema: definitions in CQL, as `DESCRIBE SCHEMA WITH INTERNALS` prints them, or a
    /// dump of `system_schema` in JSON. What is not understood costs no more than the clause, the
    /// statement or the table that it is in: see [`Schema::passed_over`].
    ///
    /// # Errors
    /// Why nothing was read, where it defines no table that can be understood.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let is_json = text
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with('{');
        let defs = if is_json {
            dump::parse(text)?
        } else {
            ddl::parse(text)
        };
        let schema = defs.build();
        match schema.passed_over.first() {
            Some(error) if schema.tables.is_empty() && schema.without_id.is_empty() => {
                Err(error.clone())
            }
            _ => Ok(schema),
        }
    }

    /// The table of an id.
    pub fn table(&self, id: &[u8; 16]) -> Option<&Table> {
        self.tables.get(id)
    }

    /// All tables, in no order.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    /// Lines, clauses, statements and tables that were not understood, and passed over.
    pub fn passed_over(&self) -> &[SchemaError] {
        &self.passed_over
    }

    /// Names of tables whose definition has no id: no hint can be known to be for them.
    pub fn without_id(&self) -> &[String] {
        &self.without_id
    }
}

impl Table {
    /// A column that is no key, by its name; also one that is no more.
    #[inline]
    pub(crate) fn column(&self, name: &[u8]) -> Option<&Column> {
        let is = self.columns.get(name);
        is.or_else(|| self.dropped.get(name).map(|dropped| &dropped.column))
    }

    /// Up to when what a column holds is gone, in µs since 1970.
    pub(crate) fn dropped_at(&self, name: &[u8]) -> Option<i64> {
        self.dropped.get(name).map(|dropped| dropped.time_us)
    }

    /// Whether some column is no more.
    pub(crate) fn has_dropped(&self) -> bool {
        !self.dropped.is_empty()
    }
}
