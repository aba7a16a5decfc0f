//! The end of a segment: the footer, built by reading headers and profile tables back.

use hintstore_env::{Op, Result, StorageError};
use hintstore_format::{
    block::{self, Header},
    footer::{Builder, Summary},
    layout::{SECTOR, align_up},
    profile,
};
use std::io;

use crate::{file, segment::Segment};

/// Adds up a segment from what is on disk.
pub(crate) fn read_back(segment: &Segment) -> Result<Builder> {
    let mut builder = Builder::new(&segment.descriptor);
    let mut at = segment.descriptor.length() as u64;
    while at < segment.written() {
        let (header, entries) = read_block(segment, at)?;
        builder.add(&header, &entries);
        at = header.end();
    }
    Ok(builder)
}

/// What is known of a segment that cannot be read back.
pub(crate) fn by_count(segment: &Segment) -> Summary {
    let mut summary = *Builder::new(&segment.descriptor).summary();
    summary.last = segment.last();
    summary.count = segment.count();
    summary
}

/// Reads what the footer needs of the block at `at`, or at the next sector.
fn read_block(segment: &Segment, at: u64) -> Result<(Header, Vec<profile::Entry>)> {
    for at in [at, align_up(at, SECTOR)] {
        let mut head = [0; block::HEADER];
        segment.file.read_at(&mut head, at)?;
        let Ok(header) = Header::decode(&head, segment.id(), at) else {
            continue;
        };
        let mut table = vec![0; header.table_length as usize];
        segment.file.read_at(&mut table, header.table_at())?;
        if let Ok(entries) = profile::decode_table(&table, segment.id(), at) {
            return Ok((header, entries));
        }
    }
    let text = format!("no block at {at}, where one was written");
    let error = io::Error::new(io::ErrorKind::InvalidData, text);
    Err(StorageError::new(Op::Read, &*segment.name, error))
}

/// Writes the footer, cuts the file behind it and syncs both.
pub(crate) fn write_footer(segment: &Segment, builder: Builder) -> Result<Summary> {
    // The blocks before are synced.
    let footer = file::footer(builder, segment.written());
    let length = footer.summary.file_length;
    // The footer may pass what was counted.
    segment.taken.grow_to(length);
    let written = file::write_footer(&*segment.file, &footer);
    // It may have been cut, and not synced.
    let info = segment.file.info();
    if info.is_ok_and(|info| info.length <= length) {
        segment.taken.cut_to(length);
    }
    written.map(|()| footer.summary)
}
