//! Copies of hints in a sealed segment of their own: dead letters, hints that wait for a retry, and what
//! compaction keeps of other segments.
//!
//! The file counts for nothing until [`SegmentCopy::finish`] has returned and a checkpoint says so: a crash
//! before leaves one that no checkpoint names, or one beside all that it is to replace, and the next open
//! removes it.

use std::{fmt, io, sync::Arc};

use hintstore_env::{File, FileId, Op, Result, StorageError, is_there};
use hintstore_format::{
    Incarnation, SegmentId, Sequence, StoreId, TargetId, UnixMillis,
    block::{self, Codec, Start},
    descriptor::{Descriptor, Kind},
    file_name,
    footer::{Builder, Summary},
    frame::{Body, Draft, Place},
    layout::PROFILES_MAX,
    profile::{self, Entry, Profile},
};
use zstd::bulk::Compressor;

use crate::{
    Bytes, SegmentEntry, Usage,
    budget::on_disk,
    file::{self, Ready, SegmentFile},
    write_env::WriteEnv,
};

/// A block of the copy is written when it is about this long.
const BLOCK_BYTES: usize = 256 << 10;

/// What is shorter is joined with its neighbours: header and profile table take a fiftieth of it.
const BLOCK_BYTES_MIN: usize = 16 << 10;

/// The usual length where blocks are compressed: a flipped bit costs one of these, and one hint is read by
/// decompressing no more.
const PACKED_BLOCK_BYTES: usize = 64 << 10;

/// The disk is asked to write as much as this at once, before the copy is synced.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// A segment that is being filled with copies, in the order of their sequences.
#[derive(Debug)]
pub struct SegmentCopy {
    env: Arc<WriteEnv>,
    folder: &'static str,
    name: String,
    usage: Arc<Usage>,
    /// Bytes that count against the caps already.
    taken: u64,
    file: Arc<dyn File>,
    blocks: SegmentFile,
    builder: Builder,
    descriptor: Descriptor,
    start: Start,
    profiles: Vec<Profile>,
    /// The block so far: its reserved header, and whole frames.
    bytes: Vec<u8>,
    packer: Option<Packer>,
    /// The disk was asked to write what is before.
    handed_to: u64,
}

/// Compresses blocks.
struct Packer(Compressor<'static>);

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

/// A segment of copies that is durable, its name with it.
#[derive(Debug)]
pub struct Copied {
    /// Its file name in the store directory.
    pub name: String,
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// What its footer says.
    pub summary: Summary,
    /// Bytes that its file takes on the disk.
    pub allocated: Bytes,
    /// What tells the file from another of its name.
    pub file: FileId,
}

/// What a segment of copies is for.
pub(crate) struct Purpose {
    pub(crate) kind: Kind,
    /// Its place in the order of the target's segments.
    pub(crate) first: Sequence,
    /// The store and the opening that its hints were accepted by: part of their keys.
    pub(crate) store: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) replaces: Vec<SegmentId>,
    /// The level of zstd, where blocks are to be compressed.
    pub(crate) compress: Option<i32>,
}

impl Purpose {
    /// Copies that a checkpoint will name, or that lie aside.
    pub(crate) fn of_kind(env: &WriteEnv, kind: Kind, first: Sequence) -> Self {
        Self {
            kind,
            first,
            store: env.store,
            incarnation: env.incarnation,
            replaces: Vec::new(),
            compress: None,
        }
    }

    /// What is to replace these segments, which are neighbours of one store and opening.
    pub(crate) fn in_place_of(
        first: &SegmentEntry,
        sources: &[Arc<SegmentEntry>],
        compress: Option<i32>,
    ) -> Self {
        Self {
            kind: Kind::Hints,
            first: first.first,
            store: first.store,
            incarnation: first.incarnation,
            replaces: sources.iter().map(|source| source.id).collect(),
            compress,
        }
    }
}

impl SegmentCopy {
    pub(crate) fn create(
        env: &Arc<WriteEnv>,
        target: TargetId,
        usage: &Arc<Usage>,
        purpose: Purpose,
    ) -> Result<Self> {
        let packer = purpose.compress.map(Compressor::new).transpose();
        let packer = packer.map_err(|error| StorageError::new(Op::Create, String::new(), error))?;
        let folder = match purpose.kind {
            Kind::DeadLetters => file_name::ASIDE,
            Kind::Deferred | Kind::Hints => "",
        };
        let make = |name: &str| env.storage.create(name);
        let created = file::create(folder, target, env.clock.wall(), make)?;
        let descriptor = Descriptor {
            store: purpose.store,
            incarnation: purpose.incarnation,
            target,
            segment: env.next_copy(),
            created: created.at,
            first: purpose.first,
            kind: purpose.kind,
            codec: match &packer {
                Some(_) => Codec::Zstd,
                None => Codec::Plain,
            },
            cipher: 0,
            replaces: purpose.replaces,
        };
        let mut taken = 0;
        let begun = take(
            env,
            usage,
            &created.name,
            &mut taken,
            descriptor.length() as u64,
        );
        let begun = begun.and_then(|()| SegmentFile::begin(created.file.clone(), &descriptor));
        let give_up = |_: &_| remove(env, usage, &created.name, taken);
        let blocks = begun.inspect_err(give_up)?;
        Ok(Self {
            env: env.clone(),
            folder,
            name: created.name,
            usage: usage.clone(),
            taken,
            file: created.file,
            blocks,
            builder: Builder::new(&descriptor),
            start: Start {
                first: descriptor.first,
                salt: 0,
                base_created: descriptor.created,
                accepted: descriptor.created,
            },
            descriptor,
            profiles: Vec::new(),
            bytes: Vec::new(),
            packer: packer.map(Packer),
            handed_to: 0,
        })
    }

    /// Takes the space that a file of this length needs, under the caps.
    fn take(&mut self, length: u64) -> Result<()> {
        take(&self.env, &self.usage, &self.name, &mut self.taken, length)
    }

    /// Adds a hint, behind those that were added before.
    ///
    /// # Errors
    /// The disk, or a cap on its space, does not take the block before.
    pub fn add(
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
                salt: (sequence.get() ^ self.blocks.end() << 16) as u32,
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

    /// Adds frames of a block as they are, behind what was added before: they keep their checksums. They are
    /// known to be intact.
    ///
    /// # Errors
    /// The disk, or a cap on its space, does not take it.
    pub fn add_frames<'f>(
        &mut self,
        header: &block::Header,
        entries: &[Entry],
        frames: impl IntoIterator<Item = &'f [u8]>,
    ) -> Result<()> {
        self.end_block()?;
        self.start = header.start;
        self.profiles = entries.iter().map(|entry| entry.profile).collect();
        self.bytes.resize(block::HEADER, 0);
        for frames in frames {
            self.bytes.extend_from_slice(frames);
        }
        self.end_block()
    }

    fn block_bytes(&self) -> usize {
        match self.packer {
            Some(_) => PACKED_BLOCK_BYTES,
            None => BLOCK_BYTES,
        }
    }

    /// Whether frames of one block that are this long together are best a block of their own.
    pub fn is_block(&self, length: usize) -> bool {
        let usual = self.block_bytes();
        (BLOCK_BYTES_MIN..=usual + usual / 4).contains(&length)
    }

    /// Whether no hint was added.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.builder.summary().count == 0
    }

    /// Whether the present block, if there is one, cannot take such a frame.
    fn is_full(&self, sequence: Sequence, profile: &Profile, length: usize) -> bool {
        let far = sequence.get() - self.start.first.get() > u16::MAX.into();
        let long = self.bytes.len() + length > self.block_bytes();
        let many = self.profiles.len() == PROFILES_MAX && !self.profiles.contains(profile);
        !self.bytes.is_empty() && (far || long || many)
    }

    fn end_block(&mut self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut ready = [Ready {
            start: self.start,
            profiles: std::mem::take(&mut self.profiles),
            bytes: &mut bytes,
        }];
        let mut placed = self.blocks.place(&mut ready, 1, 0);
        if let Some(Packer(packer)) = &mut self.packer {
            placed.compress(packer);
        }
        self.take(placed.end())?;
        for (header, table) in placed.tables() {
            let offset = header.position.offset;
            let entries = profile::decode_table(table, self.descriptor.segment, offset);
            self.builder.add(header, &entries.unwrap_or_default());
        }
        self.blocks.append(&placed)?;
        let end = placed.end();
        if end - self.handed_to >= WRITEBACK_BYTES {
            // The disk works while the next blocks are made. Whether it does is no matter of success.
            drop(
                self.file
                    .start_writeback(self.handed_to, end - self.handed_to),
            );
            self.handed_to = end;
        }
        bytes.clear();
        self.bytes = bytes;
        Ok(())
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// The disk, or a cap on its space, does not take it: the file is removed.
    pub fn finish(mut self) -> Result<Copied> {
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
        let end = self.blocks.end();
        let footer = file::footer(self.builder.clone(), end);
        if !self.descriptor.replaces.is_empty() {
            // A footer says that what is before it is whole, the list of what is replaced among it. A power
            // cut could keep the footer alone.
            self.file.sync()?;
        }
        self.take(footer.summary.file_length)?;
        file::write_footer(&*self.file, &footer)?;
        self.env.storage.sync_directory(self.folder)?;
        if !is_there(&*self.env.storage, &self.name, &*self.file)? {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(StorageError::new(Op::Sync, self.name.clone(), error));
        }
        Ok(footer.summary)
    }

    /// Removes the file; one that stays behind is removed at the next open.
    pub fn give_up(self) {
        remove(&self.env, &self.usage, &self.name, self.taken);
    }
}

fn take(env: &WriteEnv, usage: &Usage, name: &str, taken: &mut u64, length: u64) -> Result<()> {
    let more = on_disk(length).saturating_sub(*taken);
    if env.budget.take_copy(usage, Bytes::new(more)).is_err() {
        let error = io::Error::from(io::ErrorKind::StorageFull);
        return Err(StorageError::new(Op::Write, name.to_owned(), error));
    }
    *taken += more;
    Ok(())
}

impl Copied {
    /// Removes the file, which is not wanted after all; one that stays behind is removed at the next open.
    pub(crate) fn give_up(self, env: &WriteEnv, usage: &Usage) {
        remove(env, usage, &self.name, self.allocated.get());
    }
}

fn remove(env: &WriteEnv, usage: &Usage, name: &str, taken: u64) {
    env.budget.free(usage, Bytes::new(taken));
    drop(env.storage.unlink(name));
}
