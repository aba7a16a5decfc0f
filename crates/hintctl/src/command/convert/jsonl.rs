//! Hints as JSON Lines, with their payloads in hex: for whatever reads JSON.

use std::{
    io::{BufWriter, Write as _},
    path::Path,
};

use hintstore_cassandra::Schema;
use serde_json::{Value, json};

use super::{NewFile, Sink};
use crate::{
    args,
    command::dump::{add_updates, add_value, fields},
    input::{Finding, HintView},
    output::{Output, json_line},
};

/// A file of JSON Lines that is being written.
pub(super) struct Lines<'s> {
    new: NewFile,
    out: BufWriter<std::fs::File>,
    schema: Option<&'s Schema>,
    hints: u64,
}

impl<'s> Lines<'s> {
    pub(super) fn create(out: &Path, schema: Option<&'s Schema>) -> anyhow::Result<Self> {
        let (new, file) = NewFile::create(out)?;
        Ok(Self {
            new,
            out: BufWriter::new(file),
            schema,
            hints: 0,
        })
    }

    pub(super) fn line(&mut self, kind: &str, fields: Value) -> anyhow::Result<()> {
        writeln!(self.out, "{}", json_line(kind, fields))?;
        Ok(())
    }
}

impl Sink for Lines<'_> {
    fn put(&mut self, file: &str, hint: &HintView<'_>) -> anyhow::Result<Result<(), Finding>> {
        let mut line = fields(file, hint);
        add_value(&mut line, args::Value::Hex, hint.payload);
        if let Some(schema) = self.schema {
            add_updates(&mut line, hint, schema);
        }
        self.line("hint", line)?;
        self.hints += 1;
        Ok(Ok(()))
    }

    fn finish(mut self: Box<Self>, output: &mut Output) -> anyhow::Result<()> {
        let (hints, complete) = (self.hints, output.is_complete());
        self.line("summary", json!({ "hints": hints, "complete": complete }))?;
        self.out.flush()?;
        self.new.finish(self.out.get_ref())
    }
}
