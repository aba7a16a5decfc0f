//! `dump`: hints one a line, and bad regions where they lie.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use hintstore::{Storage as _, TargetId, UnixMillis};
use hintstore_cassandra::{DecodeError, Schema};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tally::table_name;
use crate::{
    args::{self, Dump, namespace_word},
    decode,
    exit::usage,
    filter::Filter,
    input::{
        FileKind, Finding, Flow, Found, HintSource, HintView, Input, Pending, Visitor, each,
        each_again,
    },
    output::{Columns, Of, Output, age, bytes, count, hex, time_ms},
};

/// The columns of a hint's line that hints of every kind have, and some of one kind.
pub(crate) const COLUMNS: Columns = &[
    ("file", Of::Text),
    ("index", Of::Int),
    ("position", Of::Int),
    ("target", Of::Text),
    ("namespace", Of::Text),
    ("table", Of::Text),
    ("key", Of::Text),
    ("change", Of::Text),
    ("creation_time_ms", Of::Int),
    ("gc_grace_s", Of::Float),
    ("expires_at_ms", Of::Int),
    ("payload_version", Of::Int),
    ("payload_bytes", Of::Int),
    ("payload_sha256", Of::Text),
    ("update_count", Of::Int),
    ("partition_key_hex", Of::Text),
    ("sequence", Of::Text),
    ("incarnation", Of::Text),
    ("idempotent", Of::Bool),
    ("has_ended", Of::Bool),
    ("payload", Of::Text),
];

pub(crate) fn run(dump: &Dump, output: &mut Output) -> anyhow::Result<()> {
    if output.is_cql() && dump.which.schema.is_none() {
        return Err(usage("--format cql needs --schema"));
    }
    let which = &dump.which;
    let schema = decode::schema(which.schema.as_ref(), output)?;
    let filter = Filter::new(which, schema.as_ref())?.unlimited();
    dump.follow.check(&dump.sources, output.format())?;
    output.rows("hint", COLUMNS)?;
    let (mut hints, mut bad, mut skipped) = (0, 0, 0);
    let mut left = dump.which.limit.unwrap_or(u64::MAX);
    let (mut seen, mut headed) = (Seen::default(), None);
    let mut walk = |is_again: bool, output: &mut Output| {
        let look = |input: &Input, output: &mut Output| {
            if !is_again {
                input.tell_misnamed(output)?;
            }
            let bar = output.bar(input.hint_bytes());
            let mut pending = Pending::new(input.quiet_journal());
            for file in input.hints() {
                let path = input.storage.path(&file.name);
                let Some(before) = seen.grown(&path, file) else {
                    continue;
                };
                let mut printer = Printer {
                    pending: &mut pending,
                    output,
                    file: &file.name,
                    dump,
                    filter: &filter,
                    schema: schema.as_ref(),
                    headed: &mut headed,
                    before,
                    walked: 0,
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
                let hints = printer.walked;
                seen.walked(path, file, hints);
                super::verify::tell(walked, &file.name, output)?;
            }
            bar.finish();
            Ok(())
        };
        if is_again {
            each_again(&dump.sources, &filter, output, look)?;
        } else {
            each(&dump.sources, &filter, output, look)?;
        }
        anyhow::Ok(left > 0)
    };
    let mut goes_on = walk(false, output)?;
    while goes_on && dump.follow.follow {
        output.flush()?;
        dump.follow.wait();
        goes_on = walk(true, output)?;
    }
    filter.tell_unsure(output);
    let end = format!("{}, {}", count(hints, "hint"), count(bad, "bad region"));
    output.text(&if output.is_cql() {
        decode::comment(&end)
    } else {
        end
    })?;
    output.sum("hints", hints);
    output.sum("bad", bad);
    if schema.is_some() {
        output.sum("skipped", skipped);
    }
    Ok(())
}

/// How far files were printed, while they grow.
#[derive(Default)]
struct Seen(BTreeMap<PathBuf, Before>);

/// What a file was when it was walked last.
#[derive(Clone, Copy, Default)]
struct Before {
    inode: u64,
    length: u64,
    hints: u64,
}

impl Seen {
    /// How far a file was walked, where there may be more in it since. The length of a segment says nothing: its
    /// space is reserved before it is written.
    fn grown(&self, path: &Path, file: &Found) -> Option<Before> {
        match self.0.get(path) {
            Some(before) if before.inode == file.info.inode => {
                let may_grow = file.what == FileKind::Native || before.length != file.info.length;
                may_grow.then_some(*before)
            }
            // Another file has the name now.
            _ => Some(Before::default()),
        }
    }

    fn walked(&mut self, path: PathBuf, file: &Found, hints: u64) {
        let before = Before {
            inode: file.info.inode,
            length: file.info.length,
            hints,
        };
        self.0.insert(path, before);
    }
}

struct Printer<'a> {
    pending: &'a mut Pending,
    output: &'a mut Output,
    file: &'a str,
    dump: &'a Dump,
    filter: &'a Filter<'a>,
    schema: Option<&'a Schema>,
    /// The file and the target that were named last.
    headed: &'a mut Option<(Option<String>, String, TargetId)>,
    /// What was printed of the file already.
    before: Before,
    walked: u64,
    hints: u64,
    bad: u64,
    /// Hints that the schema does not decode.
    skipped: u64,
    left: u64,
}

impl Printer<'_> {
    /// Whose hints follow, where it is another file or target.
    fn heading(&mut self, target: TargetId) -> anyhow::Result<()> {
        let source = self.output.source();
        let headed = self
            .headed
            .replace((source.clone(), self.file.to_owned(), target));
        if headed == *self.headed {
            return Ok(());
        }
        if headed.is_none_or(|(headed, ..)| headed != source) {
            self.output.source_heading()?;
        }
        let text = format!("{}  for {target}", self.file);
        if self.output.is_cql() {
            return self.output.text(&decode::comment(&text));
        }
        self.output.heading(&text)
    }

    /// The statements of a hint, behind a comment that says which it is.
    fn statements(&mut self, hint: &HintView<'_>) -> anyhow::Result<()> {
        let now = self.dump.as_of.now();
        let (place, what) = text(hint, args::Value::Size, now, self.schema);
        let line = format!("{place}  {what}");
        self.heading(hint.target)?;
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
        self.walked += 1;
        let is_pending = self.pending.has(hint);
        if self.walked <= self.before.hints || !self.filter.has(hint) {
            return Ok(Flow::Go);
        }
        self.hints += 1;
        self.left -= 1;
        if !self.output.is_text() {
            let mut fields = fields(self.file, hint);
            add_ended(&mut fields, hint, !is_pending);
            add_value(&mut fields, self.dump.value, hint.payload);
            if let Some(schema) = self.schema {
                self.skipped += u64::from(!add_updates(&mut fields, hint, schema));
            }
            self.output.line("hint", fields)?;
        } else if self.output.is_cql() {
            self.statements(hint)?;
        } else {
            let now = self.dump.as_of.now();
            let (place, mut what) = text(hint, self.dump.value, now, self.schema);
            if !is_pending {
                what.push_str("  (ended)");
            }
            self.heading(hint.target)?;
            match self.dump.value {
                args::Value::Size => self.output.one_or_two(&place, &what)?,
                _ => self.output.text(&format!("{place}  {what}"))?,
            }
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        // A tail that is not whole is being written.
        if self.dump.follow.follow && (bad.harmless || bad.position < self.before.length) {
            return Ok(());
        }
        self.bad += u64::from(!bad.harmless);
        if self.output.is_cql() {
            let (word, at) = (if bad.harmless { "note" } else { "BAD" }, bad.position);
            self.output.found_bad(bad);
            let text = format!("{word}  {} at byte {at}: {}", self.file, bad.text);
            return self.output.text(&decode::comment(&text));
        }
        self.output.bad(self.file, bad)
    }
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
            store,
            sequence,
            incarnation,
            body,
            ..
        } => {
            add("store", json!(store.to_string()));
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

/// Adds whether a hint of a native store was delivered or discarded.
fn add_ended(fields: &mut Value, hint: &HintView<'_>, has_ended: bool) {
    if let (Value::Object(map), HintSource::Native { .. }) = (fields, &hint.from) {
        map.insert("has_ended".to_owned(), json!(has_ended));
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
            if let Ok(touched) = decode::touched(mutation, schema, hint.payload_version)
                && let Some(first) = touched.first()
            {
                let table = format!("{}.{}", first.table.keyspace, first.table.name);
                fields.insert("table".to_owned(), json!(table));
                fields.insert("key".to_owned(), json!(first.key_text()));
                fields.insert("change".to_owned(), json!(first.change.to_string()));
            }
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

/// A hint on a line: its place, its time, its size, when it expires; and what it writes where, which may be long.
fn text(
    hint: &HintView<'_>,
    value: args::Value,
    now: UnixMillis,
    schema: Option<&Schema>,
) -> (String, String) {
    let place = match &hint.from {
        HintSource::Cassandra { .. } => format!("#{}", hint.index),
        HintSource::Native { sequence, .. } => sequence.to_string(),
    };
    let value = match value {
        args::Value::Size => String::new(),
        args::Value::Hex => format!("  {}", hex(hint.payload)),
        args::Value::Utf8 => format!("  {}", String::from_utf8_lossy(hint.payload)),
    };
    let (expiry, now) = (hint.expires_at_ms(), now.get());
    let expires = if expiry > now { "expires" } else { "expired" };
    let expires = format!("{expires} {}", age(expiry, now));
    let first = format!(
        "{place:<5} {}  {:>9}  {expires:<16}",
        time_ms(hint.created_ms),
        bytes(hint.payload.len() as u64),
    );
    (first, what(hint, schema) + &value)
}

/// What a hint writes: table, key and kind of change, as far as that is known.
fn what(hint: &HintView<'_>, schema: Option<&Schema>) -> String {
    let decoded = match (schema, hint.mutation()) {
        (Some(schema), Some(mutation)) => {
            decode::touched(mutation, schema, hint.payload_version).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    if let [first, rest @ ..] = &decoded[..] {
        let more = match rest.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        return format!(
            "{}.{}  {}  {}{more}",
            first.table.keyspace,
            first.table.name,
            first.key_text(),
            first.change
        );
    }
    let key = match (hint.first_update(), &hint.from) {
        (Some(first), _) => Some(hex(first.key)),
        (None, HintSource::Native { body, .. }) => body.collapse.map(|of| hex(of.key)),
        (None, HintSource::Cassandra { .. }) => None,
    };
    let key = key.map(|key| format!("  0x{key}")).unwrap_or_default();
    let updates = match hint.updates() {
        Some(updates @ 2..) => format!("  {updates} updates"),
        _ => String::new(),
    };
    format!("{}{key}{updates}", table_name(schema, hint.namespace))
}
