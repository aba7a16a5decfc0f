//! From definitions, wherever they are from, to tables.

use std::collections::HashMap;

use super::{
    Column, Dropped, Kind, Schema, SchemaError, Table,
    cql_type::{CqlType, Native, Written},
    ddl::Types,
};

/// Definitions that were read.
#[derive(Debug, Default)]
pub(crate) struct Defs {
    pub(crate) types: Types,
    pub(crate) tables: Vec<TableDef>,
    /// Lines and clauses that were not understood.
    pub(crate) passed_over: Vec<SchemaError>,
}

/// A table as it was defined.
#[derive(Debug)]
pub(crate) struct TableDef {
    pub(crate) keyspace: String,
    pub(crate) name: String,
    pub(crate) id: Option<[u8; 16]>,
    pub(crate) gc_grace_s: Option<u32>,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) dropped: Vec<(ColumnDef, i64)>,
    pub(crate) compact: bool,
    line: usize,
}

/// A column as it was defined.
#[derive(Clone, Debug)]
pub(crate) struct ColumnDef {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) position: usize,
    pub(crate) written: Written,
}

/// What a table has when nothing is said.
const GC_GRACE_S: u32 = 864_000;

impl TableDef {
    pub(crate) fn new(keyspace: String, name: String, line: usize) -> Self {
        Self {
            keyspace,
            name,
            id: None,
            gc_grace_s: None,
            columns: Vec::new(),
            dropped: Vec::new(),
            compact: false,
            line,
        }
    }

    pub(crate) fn wrong(&self, text: &str) -> SchemaError {
        SchemaError {
            line: self.line,
            text: format!("table {}.{}: {text}", self.keyspace, self.name),
        }
    }

    /// Says which columns are the keys.
    pub(crate) fn set_keys(
        &mut self,
        keys: &[String],
        clustering: &[String],
    ) -> Result<(), SchemaError> {
        if keys.is_empty() {
            return Err(self.wrong("it has no primary key"));
        }
        for (names, kind) in [(keys, Kind::PartitionKey), (clustering, Kind::Clustering)] {
            for (position, name) in names.iter().enumerate() {
                let column = self.columns.iter_mut().find(|column| column.name == *name);
                match column {
                    Some(column) => (column.kind, column.position) = (kind, position),
                    None => return Err(self.wrong(&format!("its key {name} is no column"))),
                }
            }
        }
        Ok(())
    }

    /// Drops columns; gives the name of one that there is not.
    pub(crate) fn drop_columns(&mut self, names: &[String], time: i64) -> Option<String> {
        for name in names {
            match self.columns.iter().position(|column| column.name == *name) {
                Some(index) => self.dropped.push((self.columns.remove(index), time)),
                None => return Some(name.clone()),
            }
        }
        None
    }
}

impl Defs {
    /// Looks up the types, and makes a schema of it.
    pub(crate) fn build(self) -> Schema {
        let mut schema = Schema {
            passed_over: self.passed_over,
            ..Schema::default()
        };
        for def in self.tables {
            match table(&def, &self.types) {
                Ok(Some(table)) => drop(schema.tables.insert(table.id, table)),
                Ok(None) => schema
                    .without_id
                    .push(format!("{}.{}", def.keyspace, def.name)),
                Err(error) => schema.passed_over.push(error),
            }
        }
        schema
    }
}

/// A table; `None` if it has no id, and no hint can be known to be for it.
fn table(def: &TableDef, types: &Types) -> Result<Option<Table>, SchemaError> {
    let Some(id) = def.id else {
        return Ok(None);
    };
    let column = |one: &ColumnDef| -> Result<Column, SchemaError> {
        let mut parts = 0;
        let cql_type = resolve(&one.written, &def.keyspace, types, 0, &mut parts)
            .map_err(|text| def.wrong(&format!("column {}: {text}", one.name)))?;
        Ok(Column {
            name: one.name.clone(),
            kind: one.kind,
            is_multicell: one.kind != Kind::PartitionKey
                && one.kind != Kind::Clustering
                && one.written.is_multicell(),
            is_counter: cql_type == CqlType::Native(Native::Counter),
            cql_type,
        })
    };
    let mut keys = Vec::new();
    let mut clustering = Vec::new();
    let mut columns = HashMap::new();
    for one in &def.columns {
        let made = column(one)?;
        match one.kind {
            Kind::PartitionKey => keys.push((one.position, made)),
            Kind::Clustering => clustering.push((one.position, made)),
            Kind::Static | Kind::Regular => {
                columns.insert(one.name.clone().into_bytes(), made);
            }
        }
    }
    keys.sort_by_key(|(position, _)| *position);
    clustering.sort_by_key(|(position, _)| *position);
    let mut dropped = HashMap::new();
    for (one, time_us) in &def.dropped {
        let time_us = *time_us;
        let column = column(one)?;
        dropped.insert(one.name.clone().into_bytes(), Dropped { column, time_us });
    }
    if def.compact && columns.is_empty() && !clustering.is_empty() {
        // A compact table of nothing but its key keeps each row as one cell that nobody sees.
        let value = Column {
            name: HIDDEN_VALUE.to_owned(),
            kind: Kind::Regular,
            cql_type: CqlType::Custom(EMPTY_TYPE.to_owned()),
            is_multicell: false,
            is_counter: false,
        };
        columns.insert(HIDDEN_VALUE.as_bytes().to_vec(), value);
    }
    let in_order = |columns: Vec<(usize, Column)>| columns.into_iter().map(|(_, c)| c).collect();
    Ok(Some(Table {
        keyspace: def.keyspace.clone(),
        name: def.name.clone(),
        id,
        gc_grace_s: def.gc_grace_s.unwrap_or(GC_GRACE_S),
        partition_key: in_order(keys),
        clustering: in_order(clustering),
        columns,
        dropped,
    }))
}

/// The column of a compact table that has none, and its type.
pub(crate) const HIDDEN_VALUE: &str = "value";
pub(crate) const EMPTY_TYPE: &str = "org.apache.cassandra.db.marshal.EmptyType";

/// No type is made of more: a definition that names itself would never end.
const PARTS_MAX: usize = 10_000;
const DEPTH_MAX: usize = 128;

fn resolve(
    written: &Written,
    keyspace: &str,
    types: &Types,
    depth: usize,
    parts: &mut usize,
) -> Result<CqlType, String> {
    *parts += 1;
    if *parts > PARTS_MAX || depth > DEPTH_MAX {
        return Err("its type is made of too many, or of itself".to_owned());
    }
    let mut boxed =
        |inner: &Written| resolve(inner, keyspace, types, depth + 1, parts).map(Box::new);
    Ok(match written {
        Written::Native(native) => CqlType::Native(*native),
        Written::List(element) => CqlType::List(boxed(element)?),
        Written::Set(element) => CqlType::Set(boxed(element)?),
        Written::Map(key, value) => CqlType::Map(boxed(key)?, boxed(value)?),
        Written::Vector(element, count) => CqlType::Vector(boxed(element)?, *count),
        Written::Frozen(inner) => *boxed(inner)?,
        Written::Custom(class) => CqlType::Custom(class.clone()),
        Written::Tuple(parts) => {
            let parts: Result<Vec<_>, _> = parts.iter().map(|part| Ok(*boxed(part)?)).collect();
            CqlType::Tuple(parts.map_err(|error: String| error)?)
        }
        Written::User(of, name) => {
            let of = of.as_deref().unwrap_or(keyspace);
            let Some(fields) = types.get(&(of.to_owned(), name.clone())) else {
                return Err(format!("there is no type {of}.{name}"));
            };
            let fields: Result<Vec<_>, String> = fields
                .iter()
                .map(|(field, written)| Ok((field.clone(), *boxed(written)?)))
                .collect();
            CqlType::Udt {
                name: name.clone(),
                fields: fields?,
            }
        }
    })
}

/// The bytes of a UUID.
pub(crate) fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| *byte != b'-')
        .map(|byte| (byte as char).to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let mut id = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    }
    Some(id)
}
