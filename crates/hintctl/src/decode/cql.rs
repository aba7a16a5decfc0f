//! Updates as CQL statements that a person can read.
//!
//! What CQL has no statement for is a comment: elements of lists by their ids, counters.

use std::fmt::Write as _;

use hintstore_cassandra::{
    Bound, Cell, Clustering, Column, CqlType, DecodeError, Deletion, Liveness, Schema, Table,
    Update, Visit, decode_mutation, identifier, key_parts, literal,
};

use super::json::{Path, parts};
use crate::output::hex;

/// The statements of a mutation, one a line.
pub(crate) fn statements(
    mutation: &[u8],
    schema: &Schema,
    messaging_version: u32,
) -> Result<Vec<String>, DecodeError> {
    let mut writer = Writer::default();
    decode_mutation(mutation, schema, messaging_version, &mut writer)?;
    Ok(writer.lines)
}

#[derive(Default)]
struct Writer<'a> {
    lines: Vec<String>,
    table: Option<&'a Table>,
    /// `ks.table`
    name: String,
    /// The columns of the partition key, each with its value.
    key: Vec<(String, String)>,
    /// The clustering columns of the row, each with its value.
    row: Vec<(String, String)>,
    liveness: Option<Liveness>,
    /// What the row sets, by when and for how long.
    sets: Vec<Set>,
    start: String,
}

/// What is set at once.
struct Set {
    timestamp: i64,
    ttl: i32,
    columns: Vec<(String, String)>,
    /// Assignments that an INSERT cannot have.
    others: Vec<String>,
}

/// A value as CQL; bytes where it has no literal.
fn value(cql_type: &CqlType, bytes: &[u8]) -> String {
    literal(cql_type, bytes).unwrap_or_else(|| {
        if bytes.is_empty() {
            "null".to_owned()
        } else {
            format!("0x{}", hex(bytes))
        }
    })
}

fn conditions(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, v)| format!("{name} = {v}"))
        .collect();
    pairs.join(" AND ")
}

fn using(timestamp: i64, ttl: i32) -> String {
    let mut text = format!("USING TIMESTAMP {timestamp}");
    if ttl != 0 {
        let _infallible = write!(text, " AND TTL {ttl}");
    }
    text
}

/// A comment, from which nothing can break out.
pub(crate) fn comment(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    let text: String = text.chars().map(escape).collect();
    format!("-- {text}")
}

impl Writer<'_> {
    fn place(&self) -> String {
        let mut pairs = self.key.clone();
        pairs.extend_from_slice(&self.row);
        conditions(&pairs)
    }

    fn delete(&mut self, what: &str, timestamp: i64, place: &str) {
        let (name, space) = (&self.name, if what.is_empty() { "" } else { " " });
        self.lines.push(format!(
            "DELETE {what}{space}FROM {name} USING TIMESTAMP {timestamp} WHERE {place};"
        ));
    }

    fn set_at(&mut self, timestamp: i64, ttl: i32) -> Option<&mut Set> {
        let found = self
            .sets
            .iter()
            .position(|set| (set.timestamp, set.ttl) == (timestamp, ttl));
        let index = found.unwrap_or_else(|| {
            self.sets.push(Set {
                timestamp,
                ttl,
                columns: Vec::new(),
                others: Vec::new(),
            });
            self.sets.len() - 1
        });
        self.sets.get_mut(index)
    }

    fn element(&mut self, cell: &Cell<'_>, path: &[u8]) {
        let name = identifier(&cell.column.name);
        let (of_path, of_value) = parts(&cell.column.cql_type, path);
        let (place, dead) = (self.place(), cell.is_tombstone());
        let new = value(of_value, cell.value);
        let assignment = match (&cell.column.cql_type, of_path) {
            (_, Path::Field(field)) => {
                let field = field.map_or_else(|| format!("0x{}", hex(path)), identifier);
                let new = if dead { "null" } else { &new };
                format!("{name}.{field} = {new}")
            }
            (CqlType::Set(_), Path::Element(of)) => {
                let sign = if dead { '-' } else { '+' };
                format!("{name} = {name} {sign} {{{}}}", value(of, path))
            }
            (CqlType::List(_), Path::Element(of)) => {
                let id = value(of, path);
                if dead {
                    self.lines.push(comment(&format!(
                        "{name}: the element {id} is deleted at {} WHERE {place}",
                        cell.timestamp
                    )));
                    return;
                }
                format!("{name} = {name} + [{new}] /* {id} */")
            }
            (_, Path::Element(of)) => {
                let at = format!("{name}[{}]", value(of, path));
                if dead {
                    return self.delete(&at, cell.timestamp, &place);
                }
                format!("{at} = {new}")
            }
        };
        if let Some(set) = self.set_at(cell.timestamp, if dead { 0 } else { cell.ttl }) {
            set.others.push(assignment);
        }
    }
}

impl<'a> Visit<'a> for Writer<'a> {
    fn update(&mut self, update: &Update<'a>) {
        let table = update.table;
        self.table = Some(table);
        self.name = format!(
            "{}.{}",
            identifier(&table.keyspace),
            identifier(&table.name)
        );
        let parts = key_parts(table, update.key).unwrap_or_default();
        let columns = table.partition_key.iter().zip(parts);
        self.key = columns
            .map(|(column, part)| (identifier(&column.name), value(&column.cql_type, part)))
            .collect();
        if let Some(deletion) = update.deletion {
            let place = conditions(&self.key);
            self.delete("", deletion.marked_for_delete_at, &place);
        }
    }

    fn static_row(&mut self) {
        self.row.clear();
        self.liveness = None;
    }

    fn row(&mut self, clustering: Clustering<'_, 'a>) {
        self.liveness = None;
        let columns = clustering.table.clustering.iter().zip(clustering.values);
        self.row = columns
            .map(|(column, part)| {
                let part = part.map_or("null".to_owned(), |part| value(&column.cql_type, part));
                (identifier(&column.name), part)
            })
            .collect();
    }

    fn liveness(&mut self, liveness: &Liveness) {
        if !liveness.is_none() {
            self.liveness = Some(*liveness);
            self.set_at(liveness.timestamp, liveness.ttl);
        }
    }

    fn row_deletion(&mut self, deletion: Deletion, _: bool) {
        let place = self.place();
        self.delete("", deletion.marked_for_delete_at, &place);
    }

    fn complex_deletion(&mut self, column: &'a Column, deletion: Deletion) {
        let (name, place) = (identifier(&column.name), self.place());
        self.delete(&name, deletion.marked_for_delete_at, &place);
    }

    fn cell(&mut self, cell: &Cell<'a>) {
        if let Some(path) = cell.path {
            return self.element(cell, path);
        }
        let name = identifier(&cell.column.name);
        let place = self.place();
        if cell.is_tombstone() {
            return self.delete(&name, cell.timestamp, &place);
        }
        let new = value(&cell.column.cql_type, cell.value);
        if cell.column.is_counter {
            let (table, at) = (&self.name, cell.timestamp);
            let text = format!(
                "{table}: the counter {name} is {new} at {at} WHERE {place}: CQL cannot write it"
            );
            return self.lines.push(comment(&text));
        }
        if let Some(set) = self.set_at(cell.timestamp, cell.ttl) {
            set.columns.push((name, new));
        }
    }

    fn row_end(&mut self) {
        for set in std::mem::take(&mut self.sets) {
            let when = using(set.timestamp, set.ttl);
            let is_insert = self
                .liveness
                .is_some_and(|live| (live.timestamp, live.ttl) == (set.timestamp, set.ttl));
            if is_insert {
                let mut pairs = self.key.clone();
                pairs.extend_from_slice(&self.row);
                pairs.extend_from_slice(&set.columns);
                let (names, values): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
                self.lines.push(format!(
                    "INSERT INTO {} ({}) VALUES ({}) {when};",
                    self.name,
                    names.join(", "),
                    values.join(", ")
                ));
            }
            let mut assignments = set.others;
            if !is_insert {
                let columns = set.columns.iter().map(|(name, v)| format!("{name} = {v}"));
                assignments.splice(0..0, columns);
            }
            if !assignments.is_empty() {
                self.lines.push(format!(
                    "UPDATE {} {when} SET {} WHERE {};",
                    self.name,
                    assignments.join(", "),
                    self.place()
                ));
            }
        }
    }

    fn bound(&mut self, bound: &Bound<'_, 'a>) {
        let clustering = bound.clustering;
        let columns = clustering.table.clustering.iter().zip(clustering.values);
        let (names, values): (Vec<String>, Vec<String>) = columns
            .map(|(column, part)| {
                let part = part.map_or("null".to_owned(), |part| value(&column.cql_type, part));
                (identifier(&column.name), part)
            })
            .unzip();
        let sign = match (bound.is_start, bound.inclusive) {
            (true, true) => ">=",
            (true, false) => ">",
            (false, true) => "<=",
            (false, false) => "<",
        };
        let text = if names.is_empty() {
            String::new()
        } else {
            format!(" AND ({}) {sign} ({})", names.join(", "), values.join(", "))
        };
        if bound.is_start {
            self.start = text;
            return;
        }
        let place = format!("{}{}{text}", conditions(&self.key), self.start);
        self.delete("", bound.deletion.marked_for_delete_at, &place);
    }

    fn update_end(&mut self) {}
}
