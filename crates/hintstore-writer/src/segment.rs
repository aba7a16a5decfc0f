//! The segment of a target that hints are written to now.

use std::{sync::Arc, time::Duration};

use hintstore_env::{
    Boot, Existing, File, FileId, Result, Storage, is_there,
    sync::{
        AtomicBool, AtomicI64, AtomicU64, Mutex,
        Ordering::{Acquire, Release, SeqCst},
    },
};
use hintstore_format::{
    Namespace, SegmentId, Sequence, TargetId, UnixMillis,
    descriptor::{Descriptor, Kind},
    footer,
    layout::{ALIGN, SECTOR},
};

use crate::{
    Bytes, SegmentEntry, TargetWriter,
    budget::{Taken, on_disk},
    file::{self, Ready, SegmentFile},
    write_env::WriteEnv,
};

/// A segment, as writer, delivery and readers share it.
#[derive(Debug)]
pub struct Segment {
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Its file name in the store directory.
    pub name: Arc<str>,
    /// The open file.
    pub file: Arc<dyn File>,
    /// What tells it from another of its name.
    pub file_id: FileId,
    written: AtomicU64,
    synced_to: AtomicU64,
    last: AtomicU64,
    count: AtomicU64,
    payload_bytes: AtomicU64,
    earliest_deadline: AtomicI64,
    poisoned: AtomicBool,
    gone: AtomicBool,
    entry_synced: AtomicBool,
    syncing: Mutex<()>,
    pub(crate) taken: Taken,
}

impl Segment {
    /// The node its hints are for.
    pub fn target(&self) -> TargetId {
        self.descriptor.target
    }

    /// Its identity.
    pub fn id(&self) -> SegmentId {
        self.descriptor.segment
    }

    /// The end of the blocks that were handed to the kernel: readers go no further.
    pub fn written(&self) -> u64 {
        self.written.load(Acquire)
    }

    /// The end of its synced prefix.
    pub fn synced_to(&self) -> u64 {
        self.synced_to.load(Acquire)
    }

    /// The last sequence handed to the kernel; below the descriptor's first where there is none.
    pub fn last(&self) -> Sequence {
        Sequence::new(self.last.load(Acquire))
    }

    /// How many hints were handed to the kernel.
    pub fn count(&self) -> u64 {
        self.count.load(Acquire)
    }

    /// No hint in it dies before, by what the hints themselves say.
    pub fn earliest_deadline(&self) -> Option<UnixMillis> {
        let earliest = self.earliest_deadline.load(Acquire);
        (earliest != i64::MAX).then_some(UnixMillis::new(earliest))
    }

    /// Bytes that its file takes on the disk.
    pub fn allocated(&self) -> Bytes {
        Bytes::new(self.taken.get())
    }

    /// Whether a sync of it failed: it is never synced or written again.
    pub fn poisoned(&self) -> bool {
        self.poisoned.load(Acquire)
    }

    /// Whether its name was found to be no more, or another file's: all that it holds is lost when it
    /// is closed.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    /// Syncs what was written up to `written`; gives how many bytes that made durable. `None`
    /// where a sync failed, now or ever: the kernel marks its pages clean, so that a later sync
    /// says yes and proves nothing; and where the name is not that of the file any more. One at a time:
    /// of two at once, one could fail for both.
    pub(crate) fn sync(&self, written: u64, storage: &dyn Storage) -> Option<u64> {
        let _one_at_a_time = self.syncing.lock();
        if self.poisoned() {
            return None;
        }
        if self.file.sync().is_err() {
            self.poisoned.store(true, SeqCst);
            return None;
        }
        match is_there(storage, &self.name, &*self.file) {
            Ok(true) => {}
            // Where nobody can tell, it is not called durable either.
            found => {
                self.gone.store(found.is_ok(), SeqCst);
                self.poisoned.store(true, SeqCst);
                return None;
            }
        }
        let before = self.synced_to.fetch_max(written, SeqCst);
        Some(written.saturating_sub(before))
    }

    /// Makes the segment's name durable, once.
    pub(crate) fn sync_entry(&self, env: &WriteEnv) -> Result<()> {
        if !self.entry_synced.load(SeqCst) {
            env.storage.sync_directory("")?;
            self.entry_synced.store(true, SeqCst);
        }
        Ok(())
    }
}

/// The segment of a target that is open for writing.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) segment: Arc<Segment>,
    pub(crate) opened: Boot,
    blocks: SegmentFile,
    /// Space is reserved up to here.
    allocated: u64,
    /// A sync was begun since the last write: the next block starts a sector.
    pub(crate) synced: bool,
    writeback_from: u64,
    /// An upper bound on the namespaces in it; and the last that was seen.
    namespaces: usize,
    namespace: Option<Namespace>,
}

/// An open segment grows by this much ahead at least, and at most.
const AHEAD: std::ops::RangeInclusive<u64> = 1 << 20..=8 << 20;
/// Below this a segment is a trickle, and nothing is reserved for it.
const TRICKLE: u64 = 256 << 10;
/// Write-back is asked for whenever so much is new.
const WRITEBACK: u64 = 8 << 20;

impl Open {
    /// Makes a segment for hints of a target from `first` on. `busy` where the one before was
    /// filled: then a prepared file is taken, if there is one.
    pub(crate) fn create(
        of: &TargetWriter,
        first: Sequence,
        last_created: &mut UnixMillis,
        busy: bool,
    ) -> Result<Self> {
        let (env, target, usage) = (&of.env, of.id, &of.usage);
        let mut spare = if busy {
            env.spares.take(env, usage)
        } else {
            None
        };
        let allocated = spare.as_ref().map_or(0, |spare| spare.allocated);
        let taken = Taken::new(&env.budget, usage, allocated);
        let next = last_created.saturating_add(Duration::from_millis(1));
        let made = file::create("", target, env.clock.wall().max(next), |name| {
            if let Some(ready) = &spare {
                match env.storage.rename(&ready.name, name, Existing::Keep) {
                    Ok(()) => return Ok((ready.file.clone(), ready.allocated)),
                    Err(error) if error.is_taken() => return Err(error),
                    // The spare is gone or cannot be renamed: do without.
                    Err(_) => {
                        taken.cut_to(0);
                        spare = None;
                    }
                }
            }
            env.storage.create(name).map(|file| (file, 0))
        })?;
        let (created, name, (file, allocated)) = (made.at, made.name, made.file);
        *last_created = created;
        let descriptor = Descriptor {
            store: env.store,
            incarnation: env.incarnation,
            target,
            segment: env.next_segment(),
            created,
            first,
            kind: Kind::Hints,
            codec: hintstore_format::block::Codec::Plain,
            cipher: 0,
            replaces: Vec::new(),
        };
        let begun = SegmentFile::begin(file.clone(), &descriptor);
        let begun = begun.and_then(|blocks| Ok((blocks, file.info()?)));
        let (blocks, info) = begun.inspect_err(|_| {
            // Nothing of it counts yet; a name that stays behind is removed at the next open.
            drop(env.storage.unlink(&name));
            taken.cut_to(0);
        })?;
        let end = blocks.end();
        let segment = Arc::new(Segment {
            descriptor,
            name: name.into(),
            file,
            file_id: info.id(),
            written: AtomicU64::new(end),
            synced_to: AtomicU64::new(0),
            last: AtomicU64::new(first.before().get()),
            count: AtomicU64::new(0),
            payload_bytes: AtomicU64::new(0),
            earliest_deadline: AtomicI64::new(i64::MAX),
            poisoned: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            entry_synced: AtomicBool::new(false),
            syncing: Mutex::new(()),
            taken,
        });
        segment.taken.grow_to(end + footer::longest(end, 0));
        env.add_unsynced(end);
        of.segments.put(SegmentEntry::open(&segment));
        let opened = env.clock.boot();
        Ok(Self {
            segment,
            opened,
            blocks,
            allocated,
            synced: false,
            writeback_from: 0,
            namespaces: 0,
            namespace: None,
        })
    }

    /// Writes blocks, one behind the other, in one call to the kernel. On an error the segment
    /// ends where it ended before.
    pub(crate) fn write(&mut self, env: &WriteEnv, blocks: &mut [Ready<'_>]) -> Result<()> {
        let align = if self.synced { SECTOR } else { ALIGN };
        let namespaces = blocks.iter().flat_map(|block| &block.profiles);
        for namespace in namespaces.map(|profile| profile.namespace) {
            if self.namespace.replace(namespace) != Some(namespace) {
                self.namespaces += 1;
            }
        }
        let placed = self.blocks.place(blocks, align, self.segment.synced_to());
        let end = placed.end();
        let mut count = 0;
        let mut payload_bytes = 0;
        let mut last = self.segment.last();
        let mut earliest = UnixMillis::MAX;
        for header in placed.headers() {
            count += u64::from(header.count);
            payload_bytes += u64::from(header.frames_length)
                - u64::from(header.count) * hintstore_format::frame::HEADER as u64;
            last = last.max(header.last());
            earliest = earliest.min(header.deadlines.min);
        }
        self.reserve_ahead(env, end);
        self.blocks.append(&placed)?;
        self.segment.taken.grow_to(self.length_at(end));
        self.synced = false;
        self.segment
            .earliest_deadline
            .fetch_min(earliest.get(), Release);
        self.segment.last.store(last.get(), Release);
        self.segment.count.fetch_add(count, Release);
        self.segment.payload_bytes.fetch_add(payload_bytes, Release);
        self.segment.written.store(end, Release);
        if end - self.writeback_from >= WRITEBACK {
            env.ask_writeback(&self.segment, self.writeback_from, end);
            self.writeback_from = end;
        }
        Ok(())
    }

    /// The file's length at most, were it sealed behind blocks that end here.
    fn length_at(&self, end: u64) -> u64 {
        end + footer::longest(end, self.namespaces)
    }

    /// Reserves space by the rate that the segment has shown: nothing for a trickle, then from 1
    /// to 8 MiB ahead. A full disk is not an error here: the write itself finds out.
    fn reserve_ahead(&mut self, env: &WriteEnv, end: u64) {
        let limit = env.config().segment_bytes.get();
        // Nothing comes behind the write that fills it.
        let ahead = end > self.allocated && (TRICKLE..limit).contains(&end);
        if !env.config().preallocate || !ahead {
            return;
        }
        let ahead = end
            .clamp(*AHEAD.start(), *AHEAD.end())
            .min(limit.saturating_sub(end));
        let to = on_disk(end + ahead);
        let (taken, from) = (&self.segment.taken, self.blocks.end());
        if taken.take_ahead(to) {
            if self.segment.file.allocate(from, to - from).is_ok() {
                self.allocated = to;
            } else {
                taken.cut_to(self.length_at(end));
            }
        }
        if end > limit / 4 {
            env.want_spare();
        }
    }
}
