//! `dump`: hints one a line, and bad regions where they lie.

use std::time::Duration;

use hintstore_cassandra::{DecodeError, Schema};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    args::{self, Dump, DumpFormat, Select, namespace_word},
    decode,
    exit::usage,
    input::{Finding, Flow, HintSource, HintView, Visitor, each},
    output::{Output, count, hex, time},
};

pub(crate) fn run(dump: &Dump, output: &mut Output) -> anyhow::Result<()> {
    if dump.format == DumpFormat::Cql && (dump.schema.is_none() || output.is_json()) {
        return Err(usage(
            "--format cql needs --schema, and is for people: without --json",
        ));
    }
    let schema = decode::schema(dump.schema.as_ref(), output)?;
    let (mut hints, mut bad, mut skipped) = (0, 0, 0);
    let mut left = dump.select.limit.unwrap_or(u64::MAX);
    each(&dump.paths, output, |input, output| {
        input.tell_misnamed(output)?;
        let bar = output.bar(input.hint_bytes());
        for file in input.hints() {
            let mut printer = Printer {
                output,
                file: &file.name,
                dump,
                schema: schema.as_ref(),
                hints: 0,
                bad: 0,
                skipped: 0,
                left,
            };
            let walked = bar.walk(input, file, &mut printer);
            hints += printer.hints;
            bad += printer.bad;
            skipped += printer.skipped;
            left = printer.left;
            super::verify::tell(walked, &file.name, output)?;
        }
        bar.finish();
        Ok(())
    })?;
    let end = format!("{}, {}", count(hints, "hint"), count(bad, "bad region"));
    output.text(&match dump.format {
        DumpFormat::Cql => decode::comment(&end),
        DumpFormat::Text => end,
    })?;
    output.sum("hints", hints);
    output.sum("bad", bad);
    if schema.is_some() {
        output.sum("skipped", skipped);
    }
    Ok(())
}

struct Printer<'a> {
    output: &'a mut Output,
    file: &'a str,
    dump: &'a Dump,
    schema: Option<&'a Schema>,
    hints: u64,
    bad: u64,
    /// Hints that the schema does not decode.
    skipped: u64,
    left: u64,
}

impl Printer<'_> {
    /// The statements of a hint, behind a comment that says which it is.
    fn statements(&mut self, hint: &HintView<'_>) -> anyhow::Result<()> {
        let line = text(hint, args::Value::Size);
        self.output.text(&decode::comment(&line))?;
        let (Some(schema), Some(mutation)) = (self.schema, hint.mutation()) else {
            return self.output.text("-- its payload is not Cassandra's");
        };
        match decode::statements(mutation, schema, hint.payload_version) {
            Ok(lines) => lines.iter().try_for_each(|line| self.output.text(line)),
            Err(error) => {
                self.skipped += 1;
                self.output
                    .text(&decode::comment(&format!("not decoded: {error}")))
            }
        }
    }
}

impl Visitor for Printer<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if self.left == 0 {
            return Ok(Flow::Stop);
        }
        if !selected(&self.dump.select, hint) {
            return Ok(Flow::Go);
        }
        self.hints += 1;
        self.left -= 1;
        if self.output.is_json() {
            let mut fields = fields(self.file, hint);
            add_value(&mut fields, self.dump.value, hint.payload);
            if let Some(schema) = self.schema {
                self.skipped += u64::from(!add_updates(&mut fields, hint, schema));
            }
            self.output.line("hint", fields)?;
        } else if self.dump.format == DumpFormat::Cql {
            self.statements(hint)?;
        } else {
            self.output.text(&text(hint, self.dump.value))?;
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.bad += u64::from(!bad.harmless);
        if self.dump.format == DumpFormat::Cql {
            let (word, at) = (if bad.harmless { "note" } else { "BAD" }, bad.position);
            self.output.found_bad(bad);
            let text = format!("{word}  {} at byte {at}: {}", self.file, bad.text);
            return self.output.text(&decode::comment(&text));
        }
        self.output.bad(self.file, bad)
    }
}

/// Whether a hint was asked for.
pub(crate) fn selected(select: &Select, hint: &HintView<'_>) -> bool {
    select.target.is_none_or(|only| only == hint.target)
        && select.namespace.is_none_or(|only| only == hint.namespace)
        && select
            .since
            .is_none_or(|since| hint.created_ms >= since.get())
        && select
            .until
            .is_none_or(|until| hint.created_ms < until.get())
}

/// Seconds, with what is below one behind the point.
pub(crate) fn seconds(millis: u64) -> Value {
    if millis.is_multiple_of(1000) {
        json!(millis / 1000)
    } else {
        json!(millis as f64 / 1000.0)
    }
}

/// The fields of a hint's line, without its value: the same names and units for hints of every kind. Those
/// of Cassandra's files have the names of its own dump besides, since other tools compare these.
pub(crate) fn fields(file: &str, hint: &HintView<'_>) -> Value {
    let hash = hex(&Sha256::digest(hint.payload));
    let lifetime = hint.lifetime;
    let in_seconds =
        |duration: Duration| seconds(hintstore::raw::format::profile::millis(duration));
    let mut fields = json!({
        "file": file,
        "index": hint.index,
        "position": hint.position,
        "target": hint.target.to_string(),
        "namespace": namespace_word(hint.namespace),
        "creation_time_ms": hint.created_ms,
        "gc_grace_s": in_seconds(lifetime.gc_grace),
        "expires_at_ms": hint.expires_at_ms(),
        "payload_version": hint.payload_version,
        "payload_bytes": hint.payload.len(),
        "payload_sha256": hash,
    });
    let mut add = |name: &str, value: Value| {
        if let Value::Object(map) = &mut fields {
            map.insert(name.to_owned(), value);
        }
    };
    match &hint.from {
        HintSource::Cassandra {
            body_bytes,
            hint: of,
        } => {
            let table = hintstore::Namespace::from_bytes(of.table_id);
            let first = of.first_update();
            let oldest = first.and_then(|first| first.min_timestamp);
            add("body_bytes", json!(body_bytes));
            add("gcgs_s", json!(of.gcgs_s));
            add("mutation_sha256", json!(hash));
            add("update_count", json!(of.updates));
            add("table_id", json!(table.to_string()));
            add(
                "partition_key_hex",
                json!(first.map(|first| hex(first.key))),
            );
            add("min_timestamp", json!(oldest.map(|t| t.to_string())));
        }
        HintSource::Native {
            sequence,
            incarnation,
            body,
            ..
        } => {
            add("sequence", json!(sequence.to_string()));
            add("incarnation", json!(incarnation.to_string()));
            add("discard_after_s", json!(lifetime.ttl.map(in_seconds)));
            add("idempotent", json!(body.idempotent));
            if let Some(id) = body.mutation_id {
                add("mutation_id", json!(id.to_string()));
            }
            if let Some(token) = body.token {
                add("token", json!(token.to_string()));
            }
            if let Some(collapse) = body.collapse {
                add("collapse_key", json!(hex(collapse.key)));
                add("collapse_version", json!(collapse.version.to_string()));
            }
            if let Some(origin) = body.origin {
                add(
                    "origin",
                    json!({
                        "store": origin.store.to_string(),
                        "target": origin.target.to_string(),
                        "sequence": origin.sequence.to_string(),
                        "incarnation": origin.incarnation.to_string(),
                    }),
                );
            }
        }
    }
    fields
}

/// Adds the payload, as far as it was asked for.
pub(crate) fn add_value(fields: &mut Value, how: args::Value, payload: &[u8]) {
    let value = match how {
        args::Value::Size => return,
        args::Value::Hex => hex(payload),
        args::Value::Utf8 => String::from_utf8_lossy(payload).into_owned(),
    };
    if let Value::Object(map) = fields {
        map.insert("payload".to_owned(), json!(value));
    }
}

/// Adds what a hint of Cassandra's writes; gives whether it could be decoded.
pub(crate) fn add_updates(fields: &mut Value, hint: &HintView<'_>, schema: &Schema) -> bool {
    let (Value::Object(fields), Some(mutation)) = (fields, hint.mutation()) else {
        return false;
    };
    let why = match decode::updates(mutation, schema, hint.payload_version) {
        Ok(updates) => {
            let of_tables = decode::gc_grace(&updates, schema);
            let ttl = hint.lifetime.gc_grace.as_secs().min(of_tables);
            fields.insert("receiver_ttl_s".to_owned(), json!(ttl));
            fields.insert("updates".to_owned(), updates.into());
            return true;
        }
        Err(DecodeError::UnknownTable(id)) => {
            let id = hintstore::Namespace::from_bytes(id).to_string();
            fields.insert("table_id".to_owned(), json!(id));
            "unknown table".to_owned()
        }
        Err(wrong @ DecodeError::Wrong { .. }) => wrong.to_string(),
    };
    fields.insert("skipped".to_owned(), json!(why));
    false
}

fn text(hint: &HintView<'_>, value: args::Value) -> String {
    let place = match &hint.from {
        HintSource::Cassandra { .. } => format!("#{}", hint.index),
        HintSource::Native { sequence, .. } => sequence.to_string(),
    };
    let value = match value {
        args::Value::Size => String::new(),
        args::Value::Hex => format!("  {}", hex(hint.payload)),
        args::Value::Utf8 => format!("  {}", String::from_utf8_lossy(hint.payload)),
    };
    format!(
        "{place}  at {}  for {}  of {}  created {}  dead from {}  {} bytes{value}",
        hint.position,
        hint.target,
        namespace_word(hint.namespace),
        time(hint.created_ms),
        time(hint.expires_at_ms()),
        hint.payload.len(),
    )
}
