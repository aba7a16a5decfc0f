//! What a hint of Cassandra's writes, with a schema: as JSON, and as statements that people read.

mod cql;
mod json;
mod touched;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hintstore_cassandra::Schema;

pub(crate) use cql::{comment, statements};
pub(crate) use json::{gc_grace, updates};
pub(crate) use touched::{Touched, touched};

use crate::output::Output;

/// No more lines that are passed over are reported.
const PASSED_OVER_MAX: usize = 20;

/// The text of a file, and a remark on it: UTF-8, or UTF-16 as some shells write what they print, with
/// its mark or without. A byte that is no UTF-8 is taken for Latin-1, as in comments of old.
fn text(bytes: &[u8]) -> Result<(String, Option<String>), String> {
    let wide = |big: bool| {
        let units = bytes.chunks(2).map(|pair| match (pair, big) {
            ([high, low], true) | ([low, high], false) => u16::from(*high) << 8 | u16::from(*low),
            _ => u16::MAX,
        });
        let text: Result<String, _> = char::decode_utf16(units).collect();
        let text = text.map_err(|error| error.to_string())?;
        Ok((text, None))
    };
    match bytes.get(..2) {
        Some([0xff, 0xfe] | [1..=255, 0]) => return wide(false),
        Some([0xfe, 0xff] | [0, 1..=255]) => return wide(true),
        _ => {}
    }
    let padding = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let bytes = bytes.get(..bytes.len() - padding).unwrap_or_default();
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(format!("byte {at} is 0"));
    }
    let mut text = String::with_capacity(bytes.len());
    let mut first = None;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            first.get_or_insert(text.len());
            text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
        }
    }
    let remark = first.map(|at| format!("byte {at} is no UTF-8: such bytes are read as Latin-1"));
    Ok((text, remark))
}

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
    let bytes =
        std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let (text, remark) = text(&bytes)
        .map_err(|why| crate::exit::usage(format!("{}: it is no text: {why}", path.display())))?;
    if let Some(remark) = remark {
        output.remark(&format!("{}: {remark}", path.display()));
    }
    let schema = Schema::parse(&text)
        .map_err(|error| crate::exit::usage(format!("{}, {error}", path.display())))?;
    if schema.tables().next().is_none() && schema.without_id().is_empty() {
        return Err(crate::exit::usage(format!(
            "{}: it defines no table: take the schema with DESCRIBE SCHEMA WITH INTERNALS",
            path.display()
        )));
    }
    for one in schema.passed_over().iter().take(PASSED_OVER_MAX) {
        output.remark(&format!("{}, passed over: {one}", path.display()));
    }
    if let Some(more) = schema.passed_over().len().checked_sub(PASSED_OVER_MAX + 1) {
        let more = more + 1;
        output.remark(&format!("{}: {more} more are passed over", path.display()));
    }
    for name in schema.without_id() {
        output.remark(&format!(
            "{}: table {name} has no id, and no hint can be known to be for it: take the schema \
             with DESCRIBE SCHEMA WITH INTERNALS",
            path.display()
        ));
    }
    Ok(schema)
}
