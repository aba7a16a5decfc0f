//! Copies hints into a sealed segment of their own: dead letters, and hints that wait for a retry.
//!
//! The file counts for nothing until [`SegmentCopy::finish`] has returned: a crash before leaves
//! one that no checkpoint names, and that the next open removes.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use hintstore_env::{File, FileId, Op, Result, StorageError, is_there};
use hintstore_format::{
    Sequence, UnixMillis,
    block::{self, Position, Start},
    descriptor::{Descriptor, Kind},
    file_name,
    footer::{Builder, Summary},
    frame::{Body, Draft, Place},
    layout::{PROFILES_MAX, SECTOR, align_up},
    profile::{self, Profile},
};
use hintstore_writer::{Bytes, Usage};

use crate::{catalog::Queue, store::Engine};

/// A block of the copy is written when it is about this long.
const BLOCK_BYTES: usize = 256 << 10;

/// A segment that is being filled with copies, in the order of their sequences.
pub(crate) struct SegmentCopy<'a> {
    engine: &'a Engine,
    folder: &'static str,
    name: String,
    usage: Arc<Usage>,
    /// Bytes that count against the caps already.
    taken: u64,
    file: Arc<dyn File>,
    builder: Builder,
    descriptor: Descriptor,
    offset: u64,
    start: Start,
    profiles: Vec<Profile>,
    /// The block so far: its reserved header, and whole frames.
    bytes: Vec<u8>,
}

/// A segment of copies that is durable, its name with it.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) name: String,
    pub(crate) descriptor: Descriptor,
    pub(crate) summary: Summary,
    pub(crate) allocated: Bytes,
    pub(crate) file: FileId,
}

impl<'a> SegmentCopy<'a> {
    pub(crate) fn create(
        engine: &'a Engine,
        queue: &Queue,
        kind: Kind,
        first: Sequence,
    ) -> Result<Self> {
        let target = queue.target;
        let folder = match kind {
            Kind::DeadLetters => file_name::ASIDE,
            Kind::Deferred | Kind::Hints => "",
        };
        let mut created = engine.clock.wall();
        let (name, file) = loop {
            let name = file_name::segment(target, created);
            let name = match folder {
                "" => name,
                folder => format!("{folder}/{name}"),
            };
            match engine.storage.create(&name) {
                Ok(file) => break (name, file),
                Err(error) if error.is_taken() && created < UnixMillis::MAX => {
                    created = UnixMillis::new(created.get() + 1);
                }
                Err(error) => return Err(error),
            }
        };
        let descriptor = Descriptor {
            store: engine.store,
            incarnation: engine.incarnation,
            target,
            segment: engine.next_copy_id(),
            created,
            first,
            kind,
            codec: 0,
            cipher: 0,
            replaces: Vec::new(),
        };
        let mut copy = Self {
            engine,
            folder,
            name,
            usage: queue.usage.clone(),
            taken: 0,
            file,
            builder: Builder::new(&descriptor),
            offset: descriptor.length() as u64,
            start: Start {
                first,
                salt: 0,
                base_created: created,
                accepted: created,
            },
            descriptor,
            profiles: Vec::new(),
            bytes: Vec::new(),
        };
        let head = copy.descriptor.encode();
        let written = copy.take(copy.offset);
        match written.and_then(|()| copy.file.write_at(&[IoSlice::new(&head)], 0)) {
            Ok(()) => Ok(copy),
            Err(error) => {
                copy.give_up();
                Err(error)
            }
        }
    }

    /// Takes the space that a file of this length needs, under the caps.
    fn take(&mut self, length: u64) -> Result<()> {
        let more = length.next_multiple_of(4096).saturating_sub(self.taken);
        let budget = &self.engine.catalog.budget;
        if budget.take_copy(&self.usage, Bytes::new(more)).is_err() {
            let error = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StorageError::new(Op::Write, self.name.clone(), error));
        }
        self.taken += more;
        Ok(())
    }

    /// Adds a hint, behind those that were added before.
    pub(crate) fn add(
        &mut self,
        sequence: Sequence,
        accepted: UnixMillis,
        profile: Profile,
        body: &Body<'_>,
    ) -> Result<()> {
        let draft = Draft::new(body);
        if self.is_full(sequence, &profile, draft.length(self.start.base_created)) {
            self.end_block()?;
        }
        if self.bytes.is_empty() {
            self.bytes.resize(block::HEADER, 0);
            self.start = Start {
                first: sequence,
                salt: (sequence.get() ^ self.offset << 16) as u32,
                base_created: body.created,
                accepted,
            };
        }
        let known = self.profiles.iter().position(|known| *known == profile);
        let index = known.unwrap_or(self.profiles.len());
        if known.is_none() {
            self.profiles.push(profile);
        }
        let from = self.bytes.len();
        self.bytes
            .resize(from + draft.length(self.start.base_created), 0);
        let place = Place {
            index: (sequence.get() - self.start.first.get()) as u16,
            profile: index as u8,
            salt: self.start.salt,
            base_created: self.start.base_created,
        };
        if let Some(frame) = self.bytes.get_mut(from..) {
            draft.write(place, frame);
        }
        Ok(())
    }

    /// Whether the present block, if there is one, cannot take such a frame.
    fn is_full(&self, sequence: Sequence, profile: &Profile, length: usize) -> bool {
        let far = sequence.get() - self.start.first.get() > u16::MAX.into();
        let long = self.bytes.len() + length > BLOCK_BYTES;
        let many = self.profiles.len() == PROFILES_MAX && !self.profiles.contains(profile);
        !self.bytes.is_empty() && (far || long || many)
    }

    fn end_block(&mut self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let position = Position {
            segment: self.descriptor.segment,
            offset: self.offset,
            synced_to: 0,
        };
        let mut table = Vec::new();
        let header = block::seal(
            self.start,
            position,
            &self.profiles,
            &mut self.bytes,
            &mut table,
        );
        let entries = table
            .get(..header.table_length as usize)
            .unwrap_or_default();
        let entries = profile::decode_table(entries, position.segment, position.offset);
        self.builder.add(&header, &entries.unwrap_or_default());
        self.take(header.end())?;
        let parts = [IoSlice::new(&self.bytes), IoSlice::new(&table)];
        self.file.write_at(&parts, self.offset)?;
        self.offset = header.end();
        self.bytes.clear();
        self.profiles.clear();
        Ok(())
    }

    /// Makes it durable.
    pub(crate) fn finish(mut self) -> Result<Copied> {
        let sealed = self.seal();
        match sealed.and_then(|summary| Ok((summary, self.file.info()?))) {
            Ok((summary, info)) => Ok(Copied {
                file: info.id(),
                allocated: Bytes::new(self.taken),
                name: self.name,
                descriptor: self.descriptor,
                summary,
            }),
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    fn seal(&mut self) -> Result<Summary> {
        self.end_block()?;
        let footer = self.builder.clone().build(align_up(self.offset, SECTOR));
        let bytes = footer.encode();
        self.take(footer.summary.file_length)?;
        self.file
            .write_at(&[IoSlice::new(&bytes)], footer.summary.footer_at)?;
        self.file.set_length(footer.summary.file_length)?;
        self.file.sync()?;
        self.engine.storage.sync_directory(self.folder)?;
        if !is_there(&*self.engine.storage, &self.name, &*self.file)? {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(StorageError::new(Op::Sync, self.name.clone(), error));
        }
        Ok(footer.summary)
    }

    /// Removes the file; one that stays behind is removed at the next open.
    pub(crate) fn give_up(self) {
        let budget = &self.engine.catalog.budget;
        budget.free(&self.usage, Bytes::new(self.taken));
        drop(self.engine.storage.unlink(&self.name));
    }
}
