//! Hints as Parquet: one row an update, so that the hints of a whole fleet can be queried.
//!
//! Without a schema a hint is one row: its first update, by table id and key.

use std::{path::Path, sync::Arc};

use hintstore::Namespace;
use hintstore_cassandra::{Schema, key_parts, literal, token};
use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use super::{NewFile, Sink};
use crate::{
    decode::touched,
    input::{Finding, HintSource, HintView},
    output::{Output, hex, write_column},
};

/// The columns, in the order of [`Row`].
const COLUMNS: &str = "
message hint_updates {
  required binary target (STRING);
  required binary file (STRING);
  required int64 position;
  required int64 hint_index;
  required int64 update_index;
  required int64 update_count;
  optional binary keyspace_name (STRING);
  optional binary table_name (STRING);
  optional binary table_id (STRING);
  optional binary partition_key (STRING);
  optional binary partition_key_hex (STRING);
  optional int64 token;
  required int64 created_at (TIMESTAMP(MILLIS, true));
  required int64 expires_at (TIMESTAMP(MILLIS, true));
  optional int64 written_at (TIMESTAMP(MICROS, true));
  required int64 gc_grace_s;
  required int64 body_bytes;
  required int64 mutation_bytes;
}";

/// Rows that are written at once.
const GROUP: usize = 64 << 10;

struct Row {
    text: [Option<String>; 7],
    number: [Option<i64>; 11],
}

/// Which field of a row a column is.
#[derive(Clone, Copy)]
enum Field {
    Text(usize),
    Number(usize),
}

const FIELDS: [Field; 18] = [
    Field::Text(0),
    Field::Text(1),
    Field::Number(0),
    Field::Number(1),
    Field::Number(2),
    Field::Number(3),
    Field::Text(2),
    Field::Text(3),
    Field::Text(4),
    Field::Text(5),
    Field::Text(6),
    Field::Number(4),
    Field::Number(5),
    Field::Number(6),
    Field::Number(7),
    Field::Number(8),
    Field::Number(9),
    Field::Number(10),
];

/// A Parquet file that is being written.
pub(super) struct Rows<'s> {
    new: NewFile,
    writer: SerializedFileWriter<std::fs::File>,
    schema: Option<&'s Schema>,
    pending: Vec<Row>,
}

impl<'s> Rows<'s> {
    pub(super) fn create(out: &Path, schema: Option<&'s Schema>) -> anyhow::Result<Self> {
        let columns = Arc::new(parse_message_type(COLUMNS)?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let properties = Arc::new(properties.build());
        let (new, file) = NewFile::create(out)?;
        Ok(Self {
            new,
            writer: SerializedFileWriter::new(file, columns, properties)?,
            schema,
            pending: Vec::new(),
        })
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let rows = std::mem::take(&mut self.pending);
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for field in FIELDS {
            match field {
                Field::Text(at) => {
                    let bytes = |text: &String| ByteArray::from(text.as_bytes().to_vec());
                    let column = rows.iter().map(|row| row.text.get(at)?.as_ref().map(bytes));
                    write_column::<ByteArrayType, _>(&mut group, column)?;
                }
                Field::Number(at) => {
                    let column = rows.iter().map(|row| *row.number.get(at)?);
                    write_column::<Int64Type, _>(&mut group, column)?;
                }
            }
        }
        group.close()?;
        Ok(())
    }

    fn push(&mut self, row: Row) -> anyhow::Result<()> {
        self.pending.push(row);
        if self.pending.len() >= GROUP {
            self.flush()?;
        }
        Ok(())
    }
}

fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

impl Sink for Rows<'_> {
    fn put(&mut self, file: &str, hint: &HintView<'_>) -> anyhow::Result<Result<(), Finding>> {
        let (body_bytes, updates, first) = match &hint.from {
            HintSource::Cassandra { body_bytes, hint } => {
                let id = Namespace::from_bytes(hint.table_id).to_string();
                let key = hint.first_update().map(|first| first.key);
                (*body_bytes, hint.updates, (Some(id), key))
            }
            HintSource::Native { .. } => {
                let id = hint.namespace.to_string();
                let known = hint.namespace != Namespace::MIXED;
                (hint.payload.len() as u64, 1, (known.then_some(id), None))
            }
        };
        let row = |index: usize, count: u64, of: [Option<String>; 5], token, written| Row {
            text: {
                let [keyspace, table, id, key, key_hex] = of;
                let target = Some(hint.target.to_string());
                [
                    target,
                    Some(file.to_owned()),
                    keyspace,
                    table,
                    id,
                    key,
                    key_hex,
                ]
            },
            number: [
                Some(number(hint.position)),
                Some(number(hint.index)),
                Some(number(index)),
                Some(number(count)),
                token,
                Some(hint.created_ms),
                Some(hint.expires_at_ms()),
                written,
                Some(number(hint.lifetime.gc_grace.as_secs())),
                Some(number(body_bytes)),
                Some(number(hint.payload.len())),
            ],
        };
        let decoded = match (self.schema, hint.mutation()) {
            (Some(schema), Some(mutation)) => {
                touched(mutation, schema, hint.payload_version).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let mut rows = Vec::new();
        for (index, one) in decoded.iter().enumerate() {
            let parts = key_parts(one.table, one.key).unwrap_or_default();
            let columns = one.table.partition_key.iter().zip(parts);
            let key: Vec<String> = columns
                .map(|(column, part)| literal(&column.cql_type, part).unwrap_or_default())
                .collect();
            let of = [
                Some(one.table.keyspace.clone()),
                Some(one.table.name.clone()),
                Some(Namespace::from_bytes(one.table.id).to_string()),
                Some(key.join(", ")),
                Some(hex(one.key)),
            ];
            let count = decoded.len() as u64;
            rows.push(row(index, count, of, Some(token(one.key)), one.newest_us));
        }
        if rows.is_empty() {
            let (id, key) = first;
            let of = [None, None, id, None, key.map(hex)];
            rows.push(row(0, updates, of, key.map(token), None));
        }
        rows.into_iter().try_for_each(|row| self.push(row))?;
        Ok(Ok(()))
    }

    fn finish(mut self: Box<Self>, _: &mut Output) -> anyhow::Result<()> {
        self.flush()?;
        let file = self.writer.into_inner()?;
        self.new.finish(&file)
    }
}
