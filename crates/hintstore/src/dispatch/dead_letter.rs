//! Hints that their target rejected for good: copied aside, for an operator.

use std::io::IoSlice;

use hintstore_format::{
    UnixMillis,
    block::{self, Position, Start},
    descriptor::{Descriptor, Kind},
    file_name,
    footer::Builder,
    frame::{Draft, Origin},
    layout::{SECTOR, align_up},
    profile::{self, Profile},
};
use hintstore_reader::Page;
use hintstore_storage::{Result, StorageError};

use crate::{catalog::Ranges, store::Engine};

impl Engine {
    /// Copies rejected hints of a page into a segment of their own and makes it durable. Above
    /// the cap they are only counted.
    pub(crate) fn keep_dead_letters(&self, page: &Page, rejected: &Ranges) -> Result<()> {
        let used: u64 = match self.storage.list(file_name::ASIDE) {
            Ok(entries) => entries.iter().map(|entry| entry.info.allocated).sum(),
            Err(error) if error.is_missing() => 0,
            Err(error) => return Err(error),
        };
        if used >= self.config.dead_letter_bytes.get() {
            return Ok(());
        }
        let Some(first) = rejected.ranges().first().map(|range| range.first) else {
            return Ok(());
        };
        let mut created = self.clock.wall();
        let (name, file) = loop {
            let name = format!(
                "{}/{}",
                file_name::ASIDE,
                file_name::segment(page.target(), created)
            );
            match self.storage.create(&name) {
                Ok(file) => break (name, file),
                Err(error) if error.is_taken() => created = UnixMillis::new(created.get() + 1),
                Err(error) => return Err(error),
            }
        };
        let descriptor = Descriptor {
            store: self.store,
            target: page.target(),
            segment: self.aside_segment(),
            created,
            first,
            kind: Kind::DeadLetters,
            codec: 0,
            cipher: 0,
            replaces: Vec::new(),
        };
        let mut bytes = descriptor.encode();
        let mut builder = Builder::new(&descriptor);
        for hint in page
            .hints()
            .filter(|hint| rejected.count_within(hint.key.sequence, hint.key.sequence) > 0)
        {
            let start = Start {
                first: hint.key.sequence,
                salt: hint.key.sequence.get() as u32,
                base_created: hint.body.created,
                accepted: created,
            };
            let mut body = hint.body;
            let key = hint.key;
            body.origin.get_or_insert(Origin {
                store: key.store,
                target: key.target,
                sequence: key.sequence,
            });
            let mut lone = block::lone(&Draft::new(&body), start);
            let position = Position {
                segment: descriptor.segment,
                offset: bytes.len() as u64,
                synced_to: 0,
            };
            let profile = Profile::new(hint.namespace, hint.payload_version, hint.lifetime);
            let mut table = Vec::new();
            let header = block::seal(start, position, &[profile], &mut lone, &mut table);
            let entries = profile::decode_table(
                table
                    .get(..header.table_length as usize)
                    .unwrap_or_default(),
                descriptor.segment,
                position.offset,
            );
            builder.add(&header, &entries.unwrap_or_default());
            bytes.extend_from_slice(&lone);
            bytes.extend_from_slice(&table);
        }
        bytes.resize(align_up(bytes.len() as u64, SECTOR) as usize, 0);
        let footer = builder.build(bytes.len() as u64);
        bytes.extend_from_slice(&footer.encode());
        let written = file
            .write_at(&[IoSlice::new(&bytes)], 0)
            .and_then(|()| file.sync())
            .and_then(|()| self.storage.sync_directory(file_name::ASIDE));
        written.inspect_err(|_: &StorageError| drop(self.storage.unlink(&name)))
    }
}
