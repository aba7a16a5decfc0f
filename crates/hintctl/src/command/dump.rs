//! `dump`: hints one a line, and bad regions where they lie.

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

/// The fields of a hint's line, without its value. For Cassandra's files the names and meanings
/// are those of its own dump of a file.
pub(crate) fn fields(file: &str, hint: &HintView<'_>) -> Value {
    let hash = hex(&Sha256::digest(hint.payload));
    match &hint.from {
        HintSource::Cassandra {
            body_bytes,
            hint: of,
        } => json!({
            "file": file,
            "index": hint.index,
            "position": hint.position,
            "body_bytes": body_bytes,
            "creation_time_ms": hint.created_ms,
            "gcgs_s": of.gcgs_s,
            "expires_at_ms": hint.expires_at_ms(),
            "mutation_sha256": hash,
            "target": hint.target.to_string(),
            "namespace": namespace_word(hint.namespace),
            "update_count": of.updates,
            "table_id": hintstore::Namespace::from_bytes(of.table_id).to_string(),
            "partition_key_hex": of.first_update().map(|first| hex(first.key)),
            "min_timestamp": of.first_update().and_then(|first| first.min_timestamp).map(|t| t.to_string()),
        }),
        HintSource::Native {
            sequence,
            incarnation,
            body,
            ..
        } => {
            let lifetime = hint.lifetime;
            let millis = |duration: std::time::Duration| {
                json!(hintstore::raw::format::profile::millis(duration))
            };
            let mut fields = json!({
                "file": file,
                "index": hint.index,
                "position": hint.position,
                "target": hint.target.to_string(),
                "sequence": sequence.to_string(),
                "incarnation": incarnation.to_string(),
                "namespace": namespace_word(hint.namespace),
                "payload_version": hint.payload_version,
                "payload_bytes": hint.payload.len(),
                "created_ms": hint.created_ms,
                "gc_grace_ms": millis(lifetime.gc_grace),
                "discard_after_ms": lifetime.ttl.map(millis),
                "expires_at_ms": hint.expires_at_ms(),
                "idempotent": body.idempotent,
                "payload_sha256": hash,
            });
            let mut add = |name: &str, value: Value| {
                if let Value::Object(map) = &mut fields {
                    map.insert(name.to_owned(), value);
                }
            };
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
            fields
        }
    }
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
