//! Hints into a directory of Cassandra's files, one open file a target, as a node writes them.
//!
//! A file appears under its name when it is whole and durable: a node that is started in between
//! finds no half of one.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, IoSlice, Write},
    path::Path,
    sync::Arc,
};

use hintstore::env::{Existing, File};
use hintstore::{OsStorage, Storage as _, TargetId};
use hintstore_cassandra::{
    Cell, Codec, DecodeError, Deletion, FileWriter, Liveness, Schema, Update, Visit,
    decode_mutation, encode_body, side_file, side_file_text,
};
use serde_json::json;

use super::Sink;
use crate::{
    input::{Finding, HintSource, HintView, What},
    interrupt::{Making, unless_stopped},
    output::{Output, bytes, count},
};

/// How long a file grows: `max_hints_file_size` as it is delivered.
pub(crate) const FILE_MAX: u64 = 128 << 20;

/// Files that are open at once; each holds what makes its next block.
const OPEN_MAX: usize = 64;

/// A directory of Cassandra's files that are being written.
pub(crate) struct Directory<'s> {
    storage: OsStorage,
    making: Making,
    version: i32,
    codec: Option<Codec>,
    schema: Option<&'s Schema>,
    open: BTreeMap<TargetId, Open>,
    /// The time in the name of the last file of each target.
    last_time: BTreeMap<TargetId, i64>,
    written: Vec<Written>,
}

struct Open {
    name: String,
    writer: FileWriter<BufWriter<Sequential>>,
    hints: u64,
}

struct Written {
    name: String,
    target: TargetId,
    hints: u64,
    bytes: u64,
}

/// A file written front to back.
pub(crate) struct Sequential {
    file: Arc<dyn File>,
    at: u64,
}

impl Sequential {
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self { file, at: 0 }
    }

    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        Ok(self.file.sync()?)
    }
}

impl Write for Sequential {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file
            .write_at(&[IoSlice::new(buffer)], self.at)
            // With the name of the file: the disk that is full is not that of the source.
            .map_err(|error| io::Error::new(error.source.kind(), error))?;
        self.at += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a file is called until it is whole.
fn unfinished(name: &str) -> String {
    format!("{name}.tmp")
}

/// What a file, and the one beside it, are called until they are whole.
pub(crate) fn unfinished_names(name: &str) -> [String; 2] {
    let side = side_file(name).unwrap_or_default();
    [unfinished(name), unfinished(&side)]
}

impl<'s> Directory<'s> {
    pub(crate) fn new(
        out: &Path,
        like: &OsStorage,
        version: i32,
        codec: Option<Codec>,
        schema: Option<&'s Schema>,
    ) -> anyhow::Result<Self> {
        let making = Making::begin(out, Some(like))?;
        let storage = OsStorage::new(out);
        Ok(Self {
            storage,
            making,
            version,
            codec,
            schema,
            open: BTreeMap::new(),
            last_time: BTreeMap::new(),
            written: Vec::new(),
        })
    }

    fn close(&mut self, target: TargetId) -> anyhow::Result<()> {
        let Some(open) = self.open.remove(&target) else {
            return Ok(());
        };
        let bytes = stage(&self.storage, &open.name, open.writer)?;
        self.written.push(Written {
            name: open.name,
            target,
            hints: open.hints,
            bytes,
        });
        Ok(())
    }

    fn file(&mut self, target: TargetId, created_ms: i64) -> anyhow::Result<&mut Open> {
        let full = |open: &Open| open.writer.written() >= FILE_MAX;
        if self.open.get(&target).is_some_and(full) {
            self.close(target)?;
        }
        if !self.open.contains_key(&target) {
            if self.open.len() >= OPEN_MAX
                && let Some(other) = self.open.keys().next().copied()
            {
                self.close(other)?;
            }
            // Times in names are digits, and order the files of a target.
            let last = self.last_time.get(&target).copied().unwrap_or(-1);
            let time = created_ms.max(last + 1);
            self.last_time.insert(target, time);
            let name = format!("{target}-{time}-{}.hints", self.version);
            let writer = FileWriter::new(
                begin(&self.storage, &name)?,
                self.version,
                time,
                *target.as_bytes(),
                self.codec,
            )?;
            let hints = 0;
            let open = Open {
                name,
                writer,
                hints,
            };
            self.open.insert(target, open);
        }
        self.open
            .get_mut(&target)
            .ok_or_else(|| anyhow::anyhow!("no file is open for {target}"))
    }

    /// Why a mutation of this messaging version cannot be in these files.
    fn refusal(&self, hint: &HintView<'_>) -> Option<Finding> {
        let refuse = |what, text: String| {
            Some(Finding {
                position: hint.position,
                ..Finding::whole(what, text)
            })
        };
        let Some(mutation) = hint.mutation() else {
            return refuse(
                What::Payload,
                "its payload is no mutation of Cassandra's: left out".to_owned(),
            );
        };
        if hint.payload_version < 13 || self.version >= 3 {
            return None;
        }
        // Nearly all mutations are the same bytes in every version. What is not is found by
        // decoding.
        let Some(schema) = self.schema else {
            return refuse(
                What::Downgrade,
                format!(
                    "written by version 3, it may hold what version {} has not: add --schema, so \
                     that it can be looked at; left out",
                    self.version
                ),
            );
        };
        let mut old = Old(None);
        match decode_mutation(mutation, schema, hint.payload_version, &mut old) {
            Ok(()) => refuse(What::Downgrade, format!("{}; left out", old.0?)),
            Err(DecodeError::UnknownTable(_)) => refuse(
                What::Downgrade,
                "its table is not in the schema, and so it cannot be looked at; left out"
                    .to_owned(),
            ),
            Err(error) => refuse(What::Downgrade, format!("{error}; left out")),
        }
    }
}

/// Writes what is left of a file, makes it durable, and gives it its name; then the one beside it.
pub(crate) fn publish(
    storage: &OsStorage,
    name: &str,
    writer: FileWriter<BufWriter<Sequential>>,
    existing: Existing,
) -> anyhow::Result<u64> {
    // All that needs space comes before anything is changed.
    let bytes = stage(storage, name, writer)?;
    if existing == Existing::Replace {
        storage.copy_owner(name, storage, &unfinished(name))?;
        if let Some(side) = side_file(name) {
            // One that is not there yet is as the file that it is beside.
            let like = storage.info(&side).map_or(name, |_| &side);
            storage.copy_owner(like, storage, &unfinished(&side))?;
        }
    }
    commit(storage, name, existing)?;
    Ok(bytes)
}

/// Writes what is left of a file and makes it durable, with the checksum that is to lie beside it; both
/// still have no names of their own.
pub(crate) fn stage(
    storage: &OsStorage,
    name: &str,
    writer: FileWriter<BufWriter<Sequential>>,
) -> anyhow::Result<u64> {
    let (out, crc) = writer.finish()?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync()?;
    if let Some(side) = side_file(name) {
        unlink_if_there(storage, &unfinished(&side))?;
        let beside = unless_stopped(|| storage.create(&unfinished(&side)))?;
        beside.write_at(&[IoSlice::new(side_file_text(crc).as_bytes())], 0)?;
        beside.sync()?;
    }
    Ok(file.at)
}

/// Gives a file that was staged its name, and the one beside it.
pub(crate) fn commit(storage: &OsStorage, name: &str, existing: Existing) -> anyhow::Result<()> {
    let side = side_file(name);
    // A checksum must never lie beside a file that it is not of: without one a file counts as open.
    let old = side.as_ref().map(|side| checksum_text(storage, side));
    let rename = || {
        if let Some(side) = &side {
            unlink_if_there(storage, side)?;
            storage.sync_directory("")?;
        }
        Ok(storage.rename(&unfinished(name), name, existing)?)
    };
    if let Err(error) = rename() {
        // The file stays, and keeps its checksum.
        let back = match (&side, old.filter(|old| !old.is_empty())) {
            (Some(side), Some(old)) => put_back(storage, name, side, &old),
            _ => Ok(()),
        };
        return Err(match back {
            Ok(()) => error,
            Err(also) => error.context(format!("its checksum is gone: {also:#}")),
        });
    }
    storage.sync_directory("")?;
    if let Some(side) = side {
        storage.rename(&unfinished(&side), &side, Existing::Replace)?;
        storage.sync_directory("")?;
    }
    Ok(())
}

/// What a checksum's file says: nothing where none is there, or where it cannot be read. What is longer than this is
/// none.
fn checksum_text(storage: &OsStorage, name: &str) -> Vec<u8> {
    let mut text = vec![0; 64];
    let file = storage.open(name, false);
    let length = file.and_then(|file| file.read_at(&mut text, 0));
    text.truncate(length.unwrap_or(0));
    text
}

/// Puts back a checksum that was taken away, where the file beside it stays.
fn put_back(storage: &OsStorage, name: &str, side: &str, text: &[u8]) -> anyhow::Result<()> {
    let file = match storage.create(side) {
        // It was not taken away.
        Err(error) if error.is_taken() => return Ok(()),
        file => file?,
    };
    storage.copy_owner(name, storage, side)?;
    file.write_at(&[IoSlice::new(text)], 0)?;
    Ok(file.sync()?)
}

/// Begins a file that `publish` ends.
pub(crate) fn begin(storage: &OsStorage, name: &str) -> anyhow::Result<BufWriter<Sequential>> {
    // What a run that was cut off has left.
    unlink_if_there(storage, &unfinished(name))?;
    let file = unless_stopped(|| storage.create(&unfinished(name)))?;
    Ok(BufWriter::new(Sequential::new(file)))
}

/// Gives a file that `begin` began the owner, group, mode and access list of another: before anything is in it that
/// others may not read.
pub(crate) fn own(
    from: &OsStorage,
    like: &str,
    storage: &OsStorage,
    name: &str,
) -> anyhow::Result<()> {
    Ok(from.copy_owner(like, storage, &unfinished(name))?)
}

/// Gives up a file that `begin` began.
pub(crate) fn abandon(storage: &OsStorage, name: &str) -> anyhow::Result<()> {
    if let Some(side) = side_file(name) {
        unlink_if_there(storage, &unfinished(&side))?;
    }
    unlink_if_there(storage, &unfinished(name))
}

fn unlink_if_there(storage: &OsStorage, name: &str) -> anyhow::Result<()> {
    match storage.unlink(name) {
        Err(error) if !error.is_missing() => Err(error.into()),
        _ => Ok(()),
    }
}

impl Sink for Directory<'_> {
    fn put(&mut self, _: &str, hint: &HintView<'_>) -> anyhow::Result<Result<(), Finding>> {
        if let Some(bad) = self.refusal(hint) {
            return Ok(Err(bad));
        }
        // Cassandra knows one lifetime: the shorter one.
        let lifetime = hint.lifetime;
        let lives = lifetime
            .ttl
            .map_or(lifetime.gc_grace, |ttl| ttl.min(lifetime.gc_grace));
        let gcgs = match &hint.from {
            HintSource::Cassandra { hint, .. } => hint.gcgs_s,
            HintSource::Native { .. } => lives.as_secs().min(i32::MAX.unsigned_abs().into()),
        };
        let body = encode_body(hint.created_ms, gcgs, hint.payload);
        let open = self.file(hint.target, hint.created_ms)?;
        open.writer.append(&body)?;
        open.hints += 1;
        Ok(Ok(()))
    }

    fn finish(mut self: Box<Self>, output: &mut Output) -> anyhow::Result<()> {
        while let Some(target) = self.open.keys().next().copied() {
            self.close(target)?;
        }
        for one in &self.written {
            commit(&self.storage, &one.name, Existing::Keep)?;
        }
        self.making.finish()?;
        for one in &self.written {
            output.line(
                "written",
                json!({
                    "file": one.name,
                    "target": one.target.to_string(),
                    "hints": one.hints,
                    "bytes": one.bytes,
                }),
            )?;
            output.text(&format!(
                "{}: {}, {}",
                one.name,
                count(one.hints, "hint"),
                bytes(one.bytes)
            ))?;
        }
        Ok(())
    }
}

/// What a mutation holds that versions 1 and 2 have not: times past 2038.
struct Old(Option<String>);

impl Old {
    fn time(&mut self, seconds: i64) {
        if seconds > i64::from(i32::MAX) && seconds != i64::MAX {
            self.0.get_or_insert_with(|| {
                format!("it holds a time past 2038 ({seconds} s), which only version 3 has")
            });
        }
    }
}

impl<'a> Visit<'a> for Old {
    fn update(&mut self, update: &Update<'a>) {
        if let Some(deletion) = update.deletion {
            self.time(deletion.local_deletion_time);
        }
    }
    fn static_row(&mut self) {}
    fn row(&mut self, _: hintstore_cassandra::Clustering<'_, 'a>) {}
    fn liveness(&mut self, liveness: &Liveness) {
        self.time(liveness.local_deletion_time);
    }
    fn row_deletion(&mut self, deletion: Deletion, _: bool) {
        self.time(deletion.local_deletion_time);
    }
    fn complex_deletion(&mut self, _: &'a hintstore_cassandra::Column, deletion: Deletion) {
        self.time(deletion.local_deletion_time);
    }
    fn cell(&mut self, cell: &Cell<'a>) {
        self.time(cell.local_deletion_time);
    }
    fn row_end(&mut self) {}
    fn bound(&mut self, bound: &hintstore_cassandra::Bound<'_, 'a>) {
        self.time(bound.deletion.local_deletion_time);
    }
    fn update_end(&mut self) {}
}
