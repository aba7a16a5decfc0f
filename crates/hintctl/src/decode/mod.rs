//! What a hint of Cassandra's writes, with a schema: as JSON, and as statements that people read.

mod cql;
mod json;
mod touched;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hintstore_cassandra::Schema;

pub(crate) use cql::{comment, statements};
pub(crate) use json::{gc_grace, updates};
pub(crate) use touched::touched;

use crate::output::Output;

/// No schema is longer than this: what is, is another file.
const SCHEMA_MAX: u64 = 256 << 20;

/// Reads the schema that was asked for, if one was.
pub(crate) fn schema(path: Option<&PathBuf>, output: &Output) -> anyhow::Result<Option<Schema>> {
    path.map(|path| read(path, output)).transpose()
}

fn read(path: &Path, output: &Output) -> anyhow::Result<Schema> {
    let length = std::fs::metadata(path)
        .with_context(|| format!("{}: cannot be read", path.display()))?
        .len();
    if length > SCHEMA_MAX {
        anyhow::bail!("{}: {length} bytes are no schema", path.display());
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: cannot be read as a schema", path.display()))?;
    let schema = Schema::parse(&text)
        .map_err(|error| crate::exit::usage(format!("{}, {error}", path.display())))?;
    if schema.tables().next().is_none() && schema.without_id().is_empty() {
        return Err(crate::exit::usage(format!(
            "{}: it defines no table: take the schema with DESCRIBE SCHEMA WITH INTERNALS",
            path.display()
        )));
    }
    for name in schema.without_id() {
        output.remark(&format!(
            "{}: table {name} has no id, and no hint can be told to be for it: take the schema \
             with DESCRIBE SCHEMA WITH INTERNALS",
            path.display()
        ));
    }
    Ok(schema)
}
