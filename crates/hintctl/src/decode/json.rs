//! Updates as JSON: names and values as Cassandra's own dump of a hint has them.

use hintstore_cassandra::{
    Bound, Cell, Clustering, Column, CqlType, DecodeError, Deletion, Liveness, Native, Schema,
    Update, Visit, decode_mutation, key_parts, literal, token,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::output::hex;

/// The updates of a mutation.
pub(crate) fn updates(
    mutation: &[u8],
    schema: &Schema,
    messaging_version: u32,
) -> Result<Vec<Value>, DecodeError> {
    let mut builder = Builder::default();
    decode_mutation(mutation, schema, messaging_version, &mut builder)?;
    Ok(builder.updates)
}

/// The least `gc_grace_seconds` of the tables of these updates: what a node that gets the hint
/// judges it by, besides its own.
pub(crate) fn gc_grace(updates: &[Value], schema: &Schema) -> u64 {
    let seconds = updates.iter().filter_map(|update| {
        let id: hintstore::Namespace = update["table_id"].as_str()?.parse().ok()?;
        Some(u64::from(schema.table(id.as_bytes())?.gc_grace_s))
    });
    seconds.min().unwrap_or(u64::MAX)
}

/// Longer values are given by length and hash alone.
const SHOWN_MAX: usize = 1024;

#[derive(Default)]
struct Builder {
    updates: Vec<Value>,
    update: Map<String, Value>,
    rows: Vec<Value>,
    ranges: Vec<Value>,
    row: Map<String, Value>,
    cells: Vec<Value>,
    complex: Vec<Value>,
    is_static: bool,
    start: Value,
}

fn deletion_fields(deletion: Deletion) -> Map<String, Value> {
    let mut fields = Map::new();
    let at = deletion.marked_for_delete_at;
    fields.insert("marked_for_delete_at".to_owned(), json!(at));
    let time = deletion.local_deletion_time;
    fields.insert("local_deletion_time".to_owned(), json!(time));
    fields
}

fn shown(cql_type: &CqlType, value: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    if value.len() > SHOWN_MAX {
        fields.insert("bytes".to_owned(), json!(value.len()));
        let hash = hex(&Sha256::digest(value));
        fields.insert("sha256".to_owned(), json!(hash));
    } else {
        fields.insert("value".to_owned(), json!(literal(cql_type, value)));
        fields.insert("hex".to_owned(), json!(hex(value)));
    }
    fields
}

fn clustering_value(clustering: Clustering<'_, '_>) -> Value {
    let columns = clustering.table.clustering.iter().zip(clustering.values);
    let fields = columns.map(|(column, value)| {
        let value = value.map_or(Value::Null, |value| shown(&column.cql_type, value).into());
        (column.name.clone(), value)
    });
    Value::Object(fields.collect())
}

impl<'a> Visit<'a> for Builder {
    fn update(&mut self, update: &Update<'a>) {
        let table = update.table;
        let parts = key_parts(table, update.key).unwrap_or_default();
        let columns = table.partition_key.iter().zip(parts);
        let key: Map<String, Value> = columns
            .map(|(column, part)| (column.name.clone(), shown(&column.cql_type, part).into()))
            .collect();
        let Value::Object(fields) = json!({
            "keyspace": table.keyspace,
            "table": table.name,
            "table_id": hintstore::Namespace::from_bytes(table.id).to_string(),
            "partition_key": key,
            "partition_key_hex": hex(update.key),
            "token": token(update.key).to_string(),
        }) else {
            return;
        };
        self.update = fields;
        if let Some(deletion) = update.deletion {
            let fields = deletion_fields(deletion).into();
            self.update.insert("partition_deletion".to_owned(), fields);
        }
    }

    fn static_row(&mut self) {
        self.is_static = true;
        self.row = Map::new();
    }

    fn row(&mut self, clustering: Clustering<'_, 'a>) {
        self.is_static = false;
        self.row = Map::new();
        let value = clustering_value(clustering);
        self.row.insert("clustering".to_owned(), value);
    }

    fn liveness(&mut self, liveness: &Liveness) {
        if liveness.is_none() {
            return;
        }
        self.row
            .insert("timestamp".to_owned(), json!(liveness.timestamp));
        if liveness.ttl != 0 {
            self.row.insert("ttl".to_owned(), json!(liveness.ttl));
            let time = json!(liveness.local_deletion_time);
            self.row.insert("local_deletion_time".to_owned(), time);
        }
    }

    fn row_deletion(&mut self, deletion: Deletion, shadowable: bool) {
        let mut fields = deletion_fields(deletion);
        if shadowable {
            fields.insert("shadowable".to_owned(), json!(true));
        }
        self.row.insert("row_deletion".to_owned(), fields.into());
    }

    fn complex_deletion(&mut self, column: &'a Column, deletion: Deletion) {
        let mut fields = deletion_fields(deletion);
        fields.insert("column".to_owned(), json!(column.name));
        self.complex.push(fields.into());
    }

    fn cell(&mut self, cell: &Cell<'a>) {
        let column = cell.column;
        let mut fields = Map::new();
        let mut add = |name: &str, value: Value| {
            fields.insert(name.to_owned(), value);
        };
        add("column", json!(column.name));
        let mut cql_type = &column.cql_type;
        if let Some(path) = cell.path {
            add("path_hex", json!(hex(path)));
            let (of_path, of_value) = parts(cql_type, path);
            cql_type = of_value;
            match of_path {
                Path::Field(name) => add("field", json!(name)),
                Path::Element(path_type) => add("path", json!(literal(path_type, path))),
            }
        }
        add("timestamp", json!(cell.timestamp));
        if cell.ttl != 0 {
            add("ttl", json!(cell.ttl));
        }
        if cell.ttl != 0 || cell.is_tombstone() {
            add("local_deletion_time", json!(cell.local_deletion_time));
        }
        if cell.is_tombstone() {
            add("tombstone", json!(true));
        } else {
            fields.extend(shown(cql_type, cell.value));
        }
        self.cells.push(fields.into());
    }

    fn row_end(&mut self) {
        let mut row = std::mem::take(&mut self.row);
        let (cells, complex) = (
            std::mem::take(&mut self.cells),
            std::mem::take(&mut self.complex),
        );
        let fields = usize::from(!self.is_static);
        if row.len() == fields && cells.is_empty() && complex.is_empty() {
            // A row with nothing in it is none.
            return;
        }
        if !complex.is_empty() {
            row.insert("complex_deletions".to_owned(), complex.into());
        }
        row.insert("cells".to_owned(), cells.into());
        if self.is_static {
            self.update.insert("static_row".to_owned(), row.into());
        } else {
            self.rows.push(row.into());
        }
    }

    fn bound(&mut self, bound: &Bound<'_, 'a>) {
        let value = json!({
            "clustering": clustering_value(bound.clustering),
            "inclusive": bound.inclusive,
        });
        if bound.is_start {
            self.start = value;
            return;
        }
        let mut fields = deletion_fields(bound.deletion);
        fields.insert("start".to_owned(), std::mem::take(&mut self.start));
        fields.insert("end".to_owned(), value);
        self.ranges.push(fields.into());
    }

    fn update_end(&mut self) {
        let mut update = std::mem::take(&mut self.update);
        let rows = std::mem::take(&mut self.rows);
        update.insert("rows".to_owned(), rows.into());
        let ranges = std::mem::take(&mut self.ranges);
        if !ranges.is_empty() {
            update.insert("range_tombstones".to_owned(), ranges.into());
        }
        self.updates.push(update.into());
    }
}

/// What the path of a cell is.
pub(super) enum Path<'a> {
    /// A field of a type of the user's.
    Field(Option<&'a str>),
    /// A value of this type.
    Element(&'a CqlType),
}

/// What a cell in a column of several has: its path, and the type of its value.
pub(super) fn parts<'a>(cql_type: &'a CqlType, path: &[u8]) -> (Path<'a>, &'a CqlType) {
    const TIMEUUID: &CqlType = &CqlType::Native(Native::Timeuuid);
    const EMPTY: &CqlType = &CqlType::Native(Native::Empty);
    match cql_type {
        CqlType::List(element) => (Path::Element(TIMEUUID), element),
        CqlType::Set(element) => (Path::Element(element), EMPTY),
        CqlType::Map(key, value) => (Path::Element(key), value),
        CqlType::Udt { fields, .. } => {
            let number = match path {
                [high, low] => usize::from(*high) << 8 | usize::from(*low),
                _ => usize::MAX,
            };
            let field = fields.get(number);
            let name = Path::Field(field.map(|(name, _)| name.as_str()));
            (name, field.map_or(EMPTY, |(_, of)| of))
        }
        other => (Path::Element(EMPTY), other),
    }
}
