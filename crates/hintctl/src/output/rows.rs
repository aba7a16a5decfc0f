//! Rows for programs that take tables: CSV and Parquet, with the same names and units as the JSON lines.

use std::{io::Write, sync::Arc};

use parquet::{
    basic::{Compression, LogicalType, Repetition, Type as Physical},
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::Type,
};
use serde_json::Value;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Bool,
    Int,
    Float,
    Text,
}

/// The columns of the rows of a verb, in order.
pub(crate) type Columns = &'static [(&'static str, Of)];

/// Rows that are written at once.
const GROUP: usize = 16 << 10;

/// No more than about these bytes are held before they are.
const GROUP_BYTES: usize = 16 << 20;

/// Rows on their way out.
pub(super) enum Rows<W: Write + Send> {
    Csv(Box<csv::Writer<W>>, Columns),
    Parquet {
        writer: Box<SerializedFileWriter<W>>,
        columns: Columns,
        pending: Vec<Value>,
        pending_bytes: usize,
    },
}

impl<W: Write + Send> Rows<W> {
    pub(super) fn csv(out: W, columns: Columns) -> anyhow::Result<Self> {
        let mut writer = csv::Writer::from_writer(out);
        let names = columns.iter().map(|(name, _)| name);
        writer.write_record(names).map_err(of_csv)?;
        Ok(Self::Csv(Box::new(writer), columns))
    }

    pub(super) fn parquet(out: W, columns: Columns) -> anyhow::Result<Self> {
        let fields = columns.iter().map(|(name, of)| {
            let (physical, logical) = match of {
                Of::Bool => (Physical::BOOLEAN, None),
                Of::Int => (Physical::INT64, None),
                Of::Float => (Physical::DOUBLE, None),
                Of::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            };
            let field = Type::primitive_type_builder(name, physical)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical);
            field.build().map(Arc::new)
        });
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("rows")
            .with_fields(fields)
            .build()?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let writer =
            SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties.build()))?;
        Ok(Self::Parquet {
            writer: Box::new(writer),
            columns,
            pending: Vec::new(),
            pending_bytes: 0,
        })
    }

    pub(super) fn put(&mut self, row: Value) -> anyhow::Result<()> {
        match self {
            Self::Csv(writer, columns) => {
                let cells = columns
                    .iter()
                    .map(|(name, _)| row.get(name).and_then(text).unwrap_or_default());
                writer.write_record(cells).map_err(of_csv)
            }
            Self::Parquet {
                pending,
                pending_bytes,
                ..
            } => {
                // About what its values take.
                *pending_bytes += row.to_string().len();
                pending.push(row);
                if pending.len() >= GROUP || *pending_bytes >= GROUP_BYTES {
                    self.group()?;
                }
                Ok(())
            }
        }
    }

    /// Has out what can be seen before the end.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Csv(writer, _) => Ok(writer.flush()?),
            Self::Parquet { .. } => Ok(()),
        }
    }

    fn group(&mut self) -> anyhow::Result<()> {
        let Self::Parquet {
            writer,
            columns,
            pending,
            pending_bytes,
        } = self
        else {
            return Ok(());
        };
        if pending.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(pending);
        *pending_bytes = 0;
        let mut group = writer.next_row_group()?;
        for (name, of) in *columns {
            let cells = rows.iter().map(|row| row.get(name));
            match of {
                Of::Bool => {
                    write_column::<BoolType, _>(&mut group, cells.map(|cell| cell?.as_bool()))?;
                }
                Of::Float => {
                    write_column::<DoubleType, _>(&mut group, cells.map(|cell| cell?.as_f64()))?;
                }
                Of::Int => {
                    write_column::<Int64Type, _>(&mut group, cells.map(|cell| cell?.as_i64()))?;
                }
                Of::Text => {
                    let bytes = |cell: Option<&Value>| {
                        cell.and_then(text)
                            .map(|text| ByteArray::from(text.into_bytes()))
                    };
                    write_column::<ByteArrayType, _>(&mut group, cells.map(bytes))?;
                }
            }
        }
        group.close()?;
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.group()?;
        match self {
            Self::Csv(mut writer, _) => Ok(writer.flush()?),
            Self::Parquet { writer, .. } => Ok(writer.into_inner()?.flush()?),
        }
    }
}

/// An error of the system as itself: a reader that has gone is known by its kind.
fn of_csv(error: csv::Error) -> anyhow::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => anyhow::anyhow!("{other:?}"),
    }
}

/// What a cell is as text: nothing for none; what has parts, as JSON.
fn text(cell: &Value) -> Option<String> {
    match cell {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Writes the next column of a group. Where it may be null, levels say which values are there.
pub(crate) fn write_column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: impl Iterator<Item = Option<T::T>>,
) -> anyhow::Result<()> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for value in column {
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    let Some(mut writer) = group.next_column()? else {
        anyhow::bail!("Parquet has fewer columns than there are fields");
    };
    let typed = writer.typed::<T>();
    let optional = typed.get_descriptor().max_def_level() > 0;
    typed.write_batch(&values, optional.then_some(&levels), None)?;
    Ok(writer.close()?)
}
