//! Whether the name of a closed hint file is still the name of that file.
//!
//! Cleaners remove files, and people put others in their places. Whatever has the name counts as the
//! file if it says that it is that segment, as a copy does; else nothing is read from it as a hint of
//! the segment, and it is never removed for it.

use hintstore_env::{File, Result, Storage};
use hintstore_reader::inspect;
use hintstore_writer::SegmentEntry;

/// Whether the file of a segment is there; an open one is the writer's business.
pub(crate) fn is_there(storage: &dyn Storage, entry: &SegmentEntry) -> Result<bool> {
    let Some(closed) = entry.closed() else {
        return Ok(true);
    };
    match storage.info(&entry.name) {
        Ok(info) if info.id() == closed.file => Ok(true),
        Ok(_) => is_of(&*storage.open(&entry.name, false)?, entry),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an open file is that of a closed segment, or a copy of it.
pub(crate) fn is_of(file: &dyn File, entry: &SegmentEntry) -> Result<bool> {
    let Some(closed) = entry.closed() else {
        return Ok(true);
    };
    if file.info()?.id() == closed.file {
        return Ok(true);
    }
    let found = inspect(file)?;
    // Where the descriptor is broken, the footer says whose the file is.
    let by_descriptor = found.descriptor.ok();
    let by_descriptor = by_descriptor.map(|of| (of.store, of.incarnation, of.segment));
    let by_summary = found.summary;
    let by_summary = by_summary.map(|of| (of.store, of.incarnation, of.segment));
    let is_its_own =
        by_descriptor.or(by_summary) == Some((entry.store, entry.incarnation, entry.id));
    Ok(is_its_own && found.info.length >= closed.end)
}
