//! Updates as CQL statements that a person can read.
//!
//! What CQL has no statement for is a comment: elements of lists by their ids, counters.

use std::fmt::Write as _;

use hintstore_cassandra::{
    Bound, Cell, Clustering, Column, CqlType, DecodeError, Deletion, Liveness, Schema, Table,
    Update, Visit, decode_mutation, identifier, key_parts, literal_as_read,
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
    key: Vec<(String, Term)>,
    /// The clustering columns of the row, each with its value.
    row: Vec<(String, Term)>,
    liveness: Option<Liveness>,
    /// What the row sets, by when and for how long.
    sets: Vec<Set>,
    start: Option<Term>,
}

/// What is set at once.
struct Set {
    timestamp: i64,
    ttl: i32,
    columns: Vec<(String, Term)>,
    /// Assignments that an INSERT cannot have.
    others: Vec<Term>,
    /// Whether it says only that the row is there, as the hidden column of a compact table does.
    is_row: bool,
}

/// A part of a statement, and whether CQL reads it back as what it stands for.
#[derive(Clone)]
struct Term {
    text: String,
    is_cql: bool,
}

impl Term {
    fn cql(text: String) -> Self {
        Self { text, is_cql: true }
    }
}

/// A value as CQL; bytes where it has no literal.
fn value(cql_type: &CqlType, bytes: &[u8]) -> Term {
    if let Some(text) = literal_as_read(cql_type, bytes) {
        return Term::cql(text);
    }
    Term {
        text: format!("0x{}", hex(bytes)),
        is_cql: false,
    }
}

/// The clustering columns, each with its value. A row of a compact table may have none for its last
/// columns, which CQL cannot say.
fn clustering_terms<'c>(
    clustering: Clustering<'c, 'c>,
) -> impl Iterator<Item = (String, Term)> + use<'c> {
    let columns = clustering.table.clustering.iter().zip(clustering.values);
    columns.map(|(column, part)| {
        let none = Term {
            text: "null".to_owned(),
            is_cql: false,
        };
        let part = part.map_or(none, |part| value(&column.cql_type, part));
        (identifier(&column.name), part)
    })
}

/// The parts, with `join` between each two.
fn joined(parts: impl IntoIterator<Item = Term>, join: &str) -> Term {
    let mut is_cql = true;
    let texts = parts.into_iter().map(|part| {
        is_cql &= part.is_cql;
        part.text
    });
    let texts: Vec<String> = texts.collect();
    Term {
        text: texts.join(join),
        is_cql,
    }
}

fn equal(pairs: &[(String, Term)], join: &str) -> Term {
    let pairs = pairs.iter().map(|(name, value)| Term {
        text: format!("{name} = {}", value.text),
        is_cql: value.is_cql,
    });
    joined(pairs, join)
}

fn conditions(pairs: &[(String, Term)]) -> Term {
    equal(pairs, " AND ")
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
    /// Adds a statement; a comment where CQL would read something else. It takes no time before
    /// all others, which Cassandra uses for "none".
    fn say(&mut self, text: String, timestamp: i64, is_cql: bool) {
        self.lines.push(if is_cql && timestamp != i64::MIN {
            text
        } else {
            comment(&format!("CQL cannot say this: {text}"))
        });
    }

    fn place(&self) -> Term {
        let mut pairs = self.key.clone();
        pairs.extend_from_slice(&self.row);
        conditions(&pairs)
    }

    fn delete(&mut self, what: &Term, timestamp: i64, place: &Term) {
        let (name, space) = (&self.name, if what.text.is_empty() { "" } else { " " });
        let text = format!(
            "DELETE {}{space}FROM {name} USING TIMESTAMP {timestamp} WHERE {};",
            what.text, place.text
        );
        self.say(text, timestamp, what.is_cql && place.is_cql);
    }

    fn delete_all(&mut self, timestamp: i64, place: &Term) {
        self.delete(&Term::cql(String::new()), timestamp, place);
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
                is_row: false,
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
        let (text, is_cql) = match (&cell.column.cql_type, of_path) {
            (_, Path::Field(Some(field))) => {
                let (new, is_cql) = if dead {
                    ("null", true)
                } else {
                    (new.text.as_str(), new.is_cql)
                };
                (format!("{name}.{} = {new}", identifier(field)), is_cql)
            }
            (_, Path::Field(None)) => (format!("{name}.0x{} = {}", hex(path), new.text), false),
            (CqlType::Set(_), Path::Element(of)) => {
                let (sign, element) = (if dead { '-' } else { '+' }, value(of, path));
                let text = format!("{name} = {name} {sign} {{{}}}", element.text);
                (text, element.is_cql)
            }
            (CqlType::List(_), Path::Element(of)) => {
                let id = value(of, path).text;
                if dead {
                    self.lines.push(comment(&format!(
                        "{name}: the element {id} is deleted at {} WHERE {}",
                        cell.timestamp, place.text
                    )));
                    return;
                }
                let text = format!("{name} = {name} + [{}] /* {id} */", new.text);
                (text, new.is_cql)
            }
            (_, Path::Element(of)) => {
                let at = value(of, path);
                let (text, is_cql) = (format!("{name}[{}]", at.text), at.is_cql);
                if dead {
                    let at = Term { text, is_cql };
                    return self.delete(&at, cell.timestamp, &place);
                }
                (format!("{text} = {}", new.text), is_cql && new.is_cql)
            }
        };
        let assignment = Term { text, is_cql };
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
            self.delete_all(deletion.marked_for_delete_at, &place);
        }
    }

    fn static_row(&mut self) {
        self.row.clear();
        self.liveness = None;
    }

    fn row(&mut self, clustering: Clustering<'_, 'a>) {
        self.liveness = None;
        self.row = clustering_terms(clustering).collect();
    }

    fn liveness(&mut self, liveness: &Liveness) {
        if !liveness.is_none() {
            self.liveness = Some(*liveness);
            self.set_at(liveness.timestamp, liveness.ttl);
        }
    }

    fn row_deletion(&mut self, deletion: Deletion, _: bool) {
        let place = self.place();
        self.delete_all(deletion.marked_for_delete_at, &place);
    }

    fn complex_deletion(&mut self, column: &'a Column, deletion: Deletion) {
        let (name, place) = (identifier(&column.name), self.place());
        let name = Term::cql(name);
        self.delete(&name, deletion.marked_for_delete_at, &place);
    }

    fn cell(&mut self, cell: &Cell<'a>) {
        if let Some(path) = cell.path {
            return self.element(cell, path);
        }
        let place = self.place();
        // A compact table of nothing but its key says with this column that the row is there.
        if cell.column.cql_type.is_empty() {
            if cell.is_tombstone() {
                self.delete_all(cell.timestamp, &place);
            } else if let Some(set) = self.set_at(cell.timestamp, cell.ttl) {
                set.is_row = true;
            }
            return;
        }
        let name = identifier(&cell.column.name);
        if cell.is_tombstone() {
            return self.delete(&Term::cql(name), cell.timestamp, &place);
        }
        let new = value(&cell.column.cql_type, cell.value);
        if cell.column.is_counter {
            let (table, at) = (&self.name, cell.timestamp);
            let text = format!(
                "{table}: the counter {name} is {} at {at} WHERE {}: CQL cannot write it",
                new.text, place.text
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
            let is_insert = set.is_row
                || self
                    .liveness
                    .is_some_and(|live| (live.timestamp, live.ttl) == (set.timestamp, set.ttl));
            let mut assignments = Vec::new();
            if is_insert {
                let mut pairs = self.key.clone();
                pairs.extend_from_slice(&self.row);
                pairs.extend_from_slice(&set.columns);
                let (names, values): (Vec<String>, Vec<Term>) = pairs.into_iter().unzip();
                let values = joined(values, ", ");
                let text = format!(
                    "INSERT INTO {} ({}) VALUES ({}) {when};",
                    self.name,
                    names.join(", "),
                    values.text
                );
                self.say(text, set.timestamp, values.is_cql);
            } else if !set.columns.is_empty() {
                assignments.push(equal(&set.columns, ", "));
            }
            assignments.extend(set.others);
            if !assignments.is_empty() {
                let (sets, place) = (joined(assignments, ", "), self.place());
                let text = format!(
                    "UPDATE {} {when} SET {} WHERE {};",
                    self.name, sets.text, place.text
                );
                self.say(text, set.timestamp, sets.is_cql && place.is_cql);
            }
        }
    }

    fn bound(&mut self, bound: &Bound<'_, 'a>) {
        let clustering = bound.clustering;
        let (names, values): (Vec<String>, Vec<Term>) = clustering_terms(clustering).unzip();
        let sign = match (bound.is_start, bound.inclusive) {
            (true, true) => ">=",
            (true, false) => ">",
            (false, true) => "<=",
            (false, false) => "<",
        };
        let edge = (!names.is_empty()).then(|| {
            let values = joined(values, ", ");
            Term {
                text: format!("({}) {sign} ({})", names.join(", "), values.text),
                is_cql: values.is_cql,
            }
        });
        if bound.is_start {
            self.start = edge;
            return;
        }
        let parts = [Some(conditions(&self.key)), self.start.take(), edge];
        let place = joined(parts.into_iter().flatten(), " AND ");
        self.delete_all(bound.deletion.marked_for_delete_at, &place);
    }

    fn update_end(&mut self) {}
}
