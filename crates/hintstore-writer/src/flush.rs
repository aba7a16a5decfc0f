//! From memory to the kernel: closed blocks go out in order, several in one write.

use std::sync::Arc;

use hintstore_env::{
    Boot, StorageError,
    sync::{
        MutexGuard,
        Ordering::{Release, SeqCst},
    },
};
use hintstore_format::{Sequence, UnixMillis};
use smallvec::SmallVec;

use crate::{
    Cap, Refusal,
    budget::for_block,
    disk_health::WaitError,
    file::Ready,
    segment::{Open, Segment},
    target::{Closed, TargetWriter},
};

/// One write hands at most this much to the kernel, a single larger hint apart.
pub(crate) const WRITE_MAX: u64 = 1 << 20;

/// Why closed blocks were not written.
enum NotDrained {
    /// This number of bytes would go beyond the window of unsynced ones.
    Window(u64),
    /// The disk did not take them; appenders get the error.
    Write,
}

/// A target's file and what goes into it; behind one lock, held by the thread that writes or rolls.
#[derive(Debug)]
pub(crate) struct FileState {
    pub(crate) open: Option<Open>,
    /// Segments with bytes that no sync covers yet, in order; the open one is the last.
    pub(crate) unsynced: SmallVec<[Arc<Segment>; 1]>,
    /// Blocks that were taken off the queue and are not written yet: a failed write leaves them.
    held: Vec<Closed>,
    pub(crate) last_created: UnixMillis,
    /// The last segment was filled, not rolled by age.
    busy: bool,
}

impl FileState {
    pub(crate) fn new(last_created: UnixMillis) -> Self {
        Self {
            open: None,
            unsynced: SmallVec::new(),
            held: Vec::new(),
            last_created,
            busy: false,
        }
    }

    /// Ends the open segment; it will be sealed in the background.
    pub(crate) fn roll(&mut self, target: &Arc<TargetWriter>, busy: bool) {
        if let Some(open) = self.open.take() {
            self.busy = busy;
            if busy {
                // Made before this one is sealed: see `WriteEnv::seal_listed`.
                target.env.want_one_more_spare();
            }
            target.env.hand_to_sealer(target, open.segment);
        }
    }
}

/// The lock of a target's file; letting go of it wakes who waits for it.
pub(crate) struct FileGuard<'a> {
    target: &'a TargetWriter,
    state: Option<MutexGuard<'a, FileState>>,
}

impl std::ops::Deref for FileGuard<'_> {
    type Target = FileState;

    fn deref(&self) -> &FileState {
        match &self.state {
            Some(state) => state,
            None => unreachable!("the lock is held until the guard is dropped"),
        }
    }
}

impl std::ops::DerefMut for FileGuard<'_> {
    fn deref_mut(&mut self) -> &mut FileState {
        match &mut self.state {
            Some(state) => state,
            None => unreachable!("the lock is held until the guard is dropped"),
        }
    }
}

impl Drop for FileGuard<'_> {
    fn drop(&mut self) {
        self.state = None;
        self.target.progress.raise();
    }
}

impl TargetWriter {
    pub(crate) fn try_file(&self) -> Option<FileGuard<'_>> {
        let state = self.file.try_lock()?;
        Some(FileGuard {
            target: self,
            state: Some(state),
        })
    }

    /// The file, unless others keep it until the deadline.
    pub(crate) fn wait_file(&self, deadline: Boot) -> Option<FileGuard<'_>> {
        let mut guard = self.try_file();
        if guard.is_none() {
            self.env
                .runner
                .wait_until(&self.progress, Some(deadline), &mut || {
                    guard = self.try_file();
                    guard.is_some()
                });
        }
        guard
    }

    /// Writes what is complete, unless somebody else does: then they will take this along.
    pub(crate) fn try_flush(self: &Arc<Self>) {
        self.flush_wanted.store(true, SeqCst);
        while self.flush_wanted.load(SeqCst) {
            let Some(mut file) = self.try_file() else {
                return;
            };
            self.flush_wanted.store(false, SeqCst);
            if self.drain(&mut file).is_err() {
                return;
            }
        }
    }

    /// Waits until a sequence is with the kernel.
    pub(crate) fn flush_to(
        self: &Arc<Self>,
        sequence: Sequence,
        deadline: Boot,
    ) -> Result<(), WaitError> {
        loop {
            if self.flushed() > sequence {
                return Ok(());
            }
            self.close_upto(sequence);
            let drained = match self.wait_file(deadline) {
                Some(mut file) => self.drain(&mut file),
                None => return Err(WaitError::Late),
            };
            if self.flushed() > sequence {
                return Ok(());
            }
            match drained {
                Ok(()) => {}
                Err(NotDrained::Write) => return Err(WaitError::Write),
                Err(NotDrained::Window(more)) => {
                    if !self.env.make_window(more, deadline) {
                        return Err(WaitError::Late);
                    }
                    continue;
                }
            }
            // Others are still copying into the slab: the last of them hands it over.
            let flushed = || self.flushed() > sequence || self.front_is_complete();
            let mut done = flushed;
            if !self
                .env
                .runner
                .wait_until(&self.progress, Some(deadline), &mut done)
            {
                return Err(WaitError::Late);
            }
        }
    }

    fn front_is_complete(&self) -> bool {
        let inner = self.inner.lock();
        inner
            .queue
            .front()
            .is_some_and(|closed| self.is_complete(closed))
    }

    fn is_complete(&self, closed: &Closed) -> bool {
        match closed {
            Closed::Slab { slab, .. } => self.env.pool.slab(*slab).buffer.is_complete(),
            Closed::Oversized(_) => true,
        }
    }

    /// Writes closed blocks, in order, as long as the first is complete.
    fn drain(self: &Arc<Self>, file: &mut FileState) -> Result<(), NotDrained> {
        loop {
            self.take_batch(file);
            if file.held.is_empty() {
                return Ok(());
            }
            self.keep_window(file)?;
            self.write_held(file).map_err(|_told| NotDrained::Write)?;
        }
    }

    fn take_batch(&self, file: &mut FileState) {
        let mut bytes: u64 = file.held.iter().map(Closed::bytes).sum();
        let mut inner = self.inner.lock();
        while let Some(closed) = inner.queue.front() {
            let fits = file.held.is_empty() || bytes + closed.bytes() <= WRITE_MAX;
            if !fits || !self.is_complete(closed) {
                break;
            }
            bytes += closed.bytes();
            file.held.extend(inner.queue.pop_front());
        }
    }

    /// Keeps the window of unsynced bytes: what would go beyond it waits for a sync, of this target
    /// or of others. Where none comes, it stays in memory: the window is what a power cut may cost
    /// at most, whatever the disk does.
    fn keep_window(self: &Arc<Self>, file: &mut FileState) -> Result<(), NotDrained> {
        let more: u64 = file.held.iter().map(Closed::bytes).sum();
        if self.env.has_window(more) {
            return Ok(());
        }
        let synced = self.sync_locked(file);
        if synced.is_err() {
            self.env.list_unsynced(self);
        }
        self.env.wake_sync();
        match synced {
            _ if self.env.has_window(more) => Ok(()),
            Err(WaitError::Write) => Err(NotDrained::Write),
            _ => Err(NotDrained::Window(more)),
        }
    }

    /// Writes the held blocks, into a new segment where the open one is full or fails.
    fn write_held(self: &Arc<Self>, file: &mut FileState) -> Result<(), StorageError> {
        let full = |open: &Open| open.segment.written() >= self.env.config().segment_bytes.get();
        if file.open.as_ref().is_some_and(full) {
            file.roll(self, true);
        }
        if file
            .open
            .as_ref()
            .is_some_and(|open| open.segment.poisoned())
        {
            // The thread that saw its sync fail has not moved its hints yet, and nothing newer may come
            // before them. It is never written again.
            file.open = None;
        }
        match self.try_write(file) {
            Ok(()) => {}
            Err(_) if file.open.is_some() => {
                // Behind a failed write nothing is written: the segment ends at its last good
                // block, and what failed goes first into the next.
                file.roll(self, false);
                self.try_write(file)
                    .inspect_err(|error| self.env.write_failed(error))?;
            }
            Err(error) => {
                self.env.write_failed(&error);
                return Err(error);
            }
        }
        self.env.write_succeeded();
        let next = file.held.last().map(Closed::next);
        let accepted = file.held.iter().map(|closed| match closed {
            Closed::Slab { slab, .. } => self.env.pool.slab(*slab).start().accepted,
            Closed::Oversized(oversized) => oversized.start.accepted,
        });
        if let Some(accepted) = accepted.min() {
            self.unsynced_since.fetch_min(accepted.get(), SeqCst);
        }
        for closed in std::mem::take(&mut file.held) {
            match closed {
                Closed::Slab { slab, .. } => {
                    if let Some(full) = self.env.pool.slab(slab).buffer.collect(slab.generation) {
                        full.release();
                    }
                    self.env.pool.release(slab);
                    self.env.budget.unreserve(&self.usage, slab.on_disk());
                }
                Closed::Oversized(oversized) => {
                    let length = oversized.bytes.len() as u64;
                    self.env.pool.give(length);
                    self.env.budget.unreserve(&self.usage, for_block(length));
                }
            }
        }
        if let Some(next) = next {
            self.flushed.store(next.get(), Release);
        }
        self.progress.raise();
        self.env.list_unsynced(self);
        self.env.sync_early();
        self.env.activity.touch();
        if self.is_up() {
            self.announce();
        }
        Ok(())
    }

    fn try_write(self: &Arc<Self>, file: &mut FileState) -> Result<(), StorageError> {
        let env = &self.env;
        if file.open.is_none() {
            let first = self.flushed();
            let created = &mut file.last_created;
            let open = Open::create(self, first, created, file.busy)?;
            file.unsynced.push(open.segment.clone());
            // Its descriptor is unsynced already.
            env.list_unsynced(self);
            let config = env.config();
            let aged = config.roll_age.min(config.roll_age_max);
            env.list_aging(self, open.opened + aged);
            file.open = Some(open);
        }
        let Some(open) = &mut file.open else {
            return Ok(());
        };
        let before = open.segment.written();
        let mut slabs = Vec::with_capacity(file.held.len());
        let mut large = Vec::new();
        // Slabs are taken for ourselves one by one; dropped without `release` they are closed
        // again, so a failed write leaves them as they were.
        for closed in &mut file.held {
            match closed {
                Closed::Slab { slab, .. } => {
                    let of = env.pool.slab(*slab);
                    if let Some(exclusive) = of.buffer.collect(slab.generation) {
                        slabs.push((of.start(), of.profiles(), exclusive));
                    }
                }
                Closed::Oversized(oversized) => large.push(oversized),
            }
        }
        let from_slabs = slabs.iter_mut().map(|(start, profiles, exclusive)| Ready {
            start: *start,
            profiles: std::mem::take(profiles),
            bytes: &mut *exclusive,
        });
        let from_large = large.into_iter().map(|oversized| Ready {
            start: oversized.start,
            profiles: vec![oversized.profile],
            bytes: oversized.bytes.as_mut_slice(),
        });
        let mut blocks: Vec<Ready<'_>> = from_slabs.chain(from_large).collect();
        blocks.sort_by_key(|block| block.start.first);
        open.write(env, &mut blocks)?;
        env.add_unsynced(open.segment.written() - before);
        Ok(())
    }
}

impl From<&StorageError> for Refusal {
    fn from(error: &StorageError) -> Self {
        if error.is_disk_full() {
            Self::Full { cap: Cap::Device }
        } else if error.is_read_only() {
            Self::ReadOnly
        } else {
            Self::StorageFailed
        }
    }
}
