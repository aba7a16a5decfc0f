//! One target's side of the write path: reserve a place, copy, leave; close a slab and bind the next.

use std::{collections::VecDeque, fmt, sync::Arc};

use hintstore_env::{
    Boot,
    sync::{
        AtomicBool, AtomicI64, AtomicU64, Mutex, MutexGuard, OnceLock,
        Ordering::{Acquire, Release, SeqCst},
        Signal,
    },
};
use hintstore_format::{
    Sequence, TargetId, UnixMillis,
    block::{self, Start},
    frame::Draft,
    journal::Range,
    profile::Profile,
};

use crate::{
    Cap, Refusal, Segments, Usage,
    budget::for_block,
    commit::Commits,
    flush::FileState,
    pool::{FRAME_MAX, NotWritten, Pool, SlabRef},
    write_env::WriteEnv,
};

/// A closed block that waits to be written.
#[derive(Debug)]
pub(crate) enum Closed {
    /// A slab.
    Slab {
        /// Which.
        slab: SlabRef,
        /// One behind its last sequence.
        next: Sequence,
        /// Its bytes so far.
        bytes: u64,
    },
    /// A hint that fits no slab.
    Oversized(Box<Oversized>),
}

/// A hint that fits no slab.
#[derive(Debug)]
pub(crate) struct Oversized {
    /// What was fixed when its sequence was taken.
    pub(crate) start: Start,
    /// Its profile.
    pub(crate) profile: Profile,
    /// The block up to its profile table.
    pub(crate) bytes: Vec<u8>,
}

impl Closed {
    pub(crate) fn next(&self) -> Sequence {
        match self {
            Self::Slab { next, .. } => *next,
            Self::Oversized(oversized) => oversized.start.first.plus(1),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Slab { bytes, .. } => *bytes,
            Self::Oversized(oversized) => oversized.bytes.len() as u64,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// The sequence that the next slab begins with.
    next: Sequence,
    /// The size class of the next slab: larger the faster the last ones filled.
    class: u8,
    /// When the present slab was bound.
    bound: Boot,
    pub(crate) queue: VecDeque<Closed>,
    /// Whether the target is on the list of those that have something to flush.
    pub(crate) listed: bool,
    /// The store is being closed: no hint gets a sequence any more.
    closed: bool,
}

/// What is known of a target before its first append.
#[derive(Clone, Debug)]
pub struct TargetStart {
    /// No segment of the target has a later creation time in its name.
    pub last_created: UnixMillis,
    /// What its files take already.
    pub usage: Arc<Usage>,
    /// Its segments.
    pub segments: Arc<Segments>,
    /// Whether its oldest undelivered hint is older than the hint window.
    pub past_window: bool,
}

/// The lead of a target's sync; letting go of it wakes those that wait for it.
pub(crate) struct Lead<'a> {
    target: &'a TargetWriter,
    held: Option<MutexGuard<'a, ()>>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.held = None;
        self.target.progress.raise();
    }
}

/// The writer of one target. All of its methods take `&self` and may be called from any thread.
pub struct TargetWriter {
    pub(crate) id: TargetId,
    pub(crate) env: Arc<WriteEnv>,
    /// What its files take on the disk.
    pub(crate) usage: Arc<Usage>,
    /// Its segments, as delivery sees them.
    pub(crate) segments: Arc<Segments>,
    /// It can be reached.
    pub(crate) up: AtomicBool,
    /// Delivery is to look at it.
    pub(crate) announced: AtomicBool,
    /// Its oldest undelivered hint is older than the hint window.
    past_window: AtomicBool,
    /// The present slab as one word; 0 is none.
    current: AtomicU64,
    pub(crate) inner: Mutex<Inner>,
    pub(crate) file: Mutex<FileState>,
    /// Somebody wanted the file flushed while it was taken.
    pub(crate) flush_wanted: AtomicBool,
    /// All sequences below are with the kernel.
    pub(crate) flushed: AtomicU64,
    /// All sequences below are durable.
    pub(crate) synced: AtomicU64,
    /// When the oldest hint that no sync covers was accepted; `UnixMillis::MAX` for none.
    pub(crate) unsynced_since: AtomicI64,
    /// Hints that a failed sync left in doubt and that could not be read back: none between the first
    /// and the last is called durable.
    pub(crate) doubt: Doubt,
    /// Raised when either grows, and when the file or the lead of a sync comes free.
    pub(crate) progress: Signal,
    /// What callers without a thread ask for, if any ever did.
    pub(crate) commits: OnceLock<Box<Commits>>,
    /// Held by the one caller that syncs for all.
    lead: Mutex<()>,
    /// Whether the target is on the list of those that have something to sync.
    pub(crate) sync_listed: AtomicBool,
}

/// More closed blocks than this, and the appender that closes another one helps to write them. Not
/// sooner: a flusher that was woken may come later than six slabs fill, and then there would be one
/// thread where there can be two.
const FLUSH_ABOVE: usize = 16;
/// More than this, and it waits for the writer.
const WAIT_ABOVE: usize = 24;
/// One target may hold a quarter of the memory in blocks that wait for the disk; then it waits.
const MEMORY_SHARE: u64 = 4;
/// An epoch ends this many sequences before its 40 bits do.
const EPOCH_MARGIN: u64 = 1 << 24;

/// What [`TargetWriter::turn_over`] found.
enum Turned {
    /// There is a slab to try.
    Again,
    /// All memory is in use.
    NoMemory,
    /// A cap on disk space is reached.
    Full(Cap),
    /// The disk is behind; there is a slab to try all the same.
    Crowded,
    /// The epoch is used up.
    UsedUp,
    /// The store is being closed.
    Closed,
}

impl TargetWriter {
    pub(crate) fn new(env: &Arc<WriteEnv>, id: TargetId, start: TargetStart) -> Self {
        let first = Sequence::first_of(env.epoch);
        Self {
            id,
            env: env.clone(),
            usage: start.usage,
            segments: start.segments,
            up: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            past_window: AtomicBool::new(start.past_window),
            current: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                next: first,
                class: 0,
                bound: Boot::default(),
                queue: VecDeque::new(),
                listed: false,
                closed: env.is_closed(),
            }),
            file: Mutex::new(FileState::new(start.last_created)),
            flush_wanted: AtomicBool::new(false),
            flushed: AtomicU64::new(first.get()),
            synced: AtomicU64::new(first.get()),
            unsynced_since: AtomicI64::new(i64::MAX),
            doubt: Doubt::default(),
            progress: Signal::new(),
            commits: OnceLock::new(),
            lead: Mutex::new(()),
            sync_listed: AtomicBool::new(false),
        }
    }

    /// The lead of its sync, unless another has it.
    pub(crate) fn try_lead(&self) -> Option<Lead<'_>> {
        let held = Some(self.lead.try_lock()?);
        Some(Lead { target: self, held })
    }

    /// The node that its hints are for.
    pub fn id(&self) -> TargetId {
        self.id
    }

    /// One behind the last sequence that was given out.
    pub fn next(&self) -> Sequence {
        let inner = self.inner.lock();
        let open = SlabRef::unpack(self.current.load(Acquire)).and_then(|slab_ref| {
            let slab = self.env.pool.slab(slab_ref);
            let filled = slab.buffer.filled(slab_ref.generation)?;
            Some(slab.start().first.plus(filled.count.into()))
        });
        open.unwrap_or(inner.next)
    }

    /// Says whether its oldest undelivered hint is older than the hint window: then it takes none.
    pub fn set_past_window(&self, past: bool) {
        self.past_window.store(past, Release);
    }

    /// Whether it takes none because its oldest undelivered hint is older than the hint window.
    pub fn is_past_window(&self) -> bool {
        self.past_window.load(Acquire)
    }

    /// What its files take on the disk.
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Its segments.
    pub fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Whether it may take a hint now.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub fn may_take(&self) -> Result<(), Refusal> {
        if self.past_window.load(Acquire) {
            return Err(Refusal::PastWindow);
        }
        match self.env.budget.full(&self.usage) {
            Some(cap) => Err(Refusal::Full { cap }),
            None => Ok(()),
        }
    }

    /// When the oldest hint that is in memory was accepted, and the oldest that no sync covers;
    /// [`UnixMillis::MAX`] for none.
    pub fn windows_since(&self) -> [UnixMillis; 2] {
        let inner = self.inner.lock();
        let accepted = |slab: SlabRef| self.env.pool.slab(slab).start().accepted;
        let front = inner.queue.front().map(|closed| match closed {
            Closed::Slab { slab, .. } => accepted(*slab),
            Closed::Oversized(oversized) => oversized.start.accepted,
        });
        let open = || SlabRef::unpack(self.current.load(Acquire)).map(accepted);
        let unflushed = front.or_else(open).unwrap_or(UnixMillis::MAX);
        [unflushed, UnixMillis::new(self.unsynced_since.load(SeqCst))]
    }

    /// How many hints the target accepted in this epoch.
    pub fn accepted(&self) -> u64 {
        self.next().get() - Sequence::first_of(self.env.epoch).get()
    }

    /// All sequences below are with the kernel.
    pub fn flushed(&self) -> Sequence {
        Sequence::new(self.flushed.load(Acquire))
    }

    /// All sequences below are durable.
    pub fn synced(&self) -> Sequence {
        Sequence::new(self.synced.load(Acquire))
    }

    /// Whether there is a slab to try.
    #[inline]
    pub fn has_slab(&self) -> bool {
        self.current.load(Acquire) != 0
    }

    /// Takes a hint into the present slab, where there is one with room.
    #[inline]
    pub fn append_open(self: &Arc<Self>, draft: &Draft<'_>, profile: &Profile) -> Option<Sequence> {
        let slab_ref = SlabRef::unpack(self.current.load(Acquire))?;
        let slab = self.env.pool.slab(slab_ref);
        let (sequence, last_out) = slab.write(slab_ref.generation, draft, profile).ok()?;
        if last_out {
            self.env.hand_to_flusher(self);
        }
        Some(sequence)
    }

    /// Takes a hint into memory and gives it its sequence. `deadline` is asked where it has to wait for
    /// memory.
    ///
    /// # Errors
    /// Why not; no sequence was taken.
    pub fn append(
        self: &Arc<Self>,
        draft: &Draft<'_>,
        profile: Profile,
        deadline: impl FnOnce() -> Boot,
    ) -> Result<Sequence, Refusal> {
        // The longest it can get: a slab may need the creation time in full.
        let longest = draft
            .length(UnixMillis::MIN)
            .max(draft.length(UnixMillis::MAX));
        if longest > FRAME_MAX {
            return self.append_oversized(draft, profile, deadline());
        }
        let mut deadline = Some(deadline);
        let mut until = None;
        loop {
            let word = self.current.load(Acquire);
            if let Some(slab_ref) = SlabRef::unpack(word) {
                let slab = self.env.pool.slab(slab_ref);
                match slab.write(slab_ref.generation, draft, &profile) {
                    Ok((sequence, last_out)) => {
                        if last_out {
                            self.env.hand_to_flusher(self);
                        }
                        return Ok(sequence);
                    }
                    Err(NotWritten::Moved) if self.current.load(Acquire) != word => continue,
                    Err(NotWritten::Moved | NotWritten::NoRoom) => {}
                }
            }
            self.env.may_append()?;
            self.may_take()?;
            match self.turn_over(word, draft.created(), longest) {
                Turned::Again => {}
                Turned::Full(cap) => return Err(Refusal::Full { cap }),
                Turned::NoMemory => {
                    until = until.or_else(|| deadline.take().map(|deadline| deadline()));
                    let until = until.unwrap_or_default();
                    // What came free may have gone to others each time.
                    if self.env.clock.boot() >= until {
                        return Err(Refusal::Busy);
                    }
                    self.env.wait_for_memory(self, longest as u64, until)?;
                }
                Turned::Crowded => {
                    // Running further ahead of the kernel only takes slabs that are in no cache.
                    until = until.or_else(|| deadline.take().map(|deadline| deadline()));
                    let soon = self.env.clock.boot() + self.env.config().flush_interval;
                    drop(self.wait_file(until.map_or(soon, |until| until.min(soon))));
                    self.try_flush();
                }
                Turned::UsedUp => return Err(Refusal::EpochUsedUp),
                Turned::Closed => return Err(Refusal::Closed),
            }
        }
    }

    /// Closes the slab that the caller saw, and binds the next.
    #[cold]
    fn turn_over(self: &Arc<Self>, seen: u64, created: UnixMillis, frame: usize) -> Turned {
        let mut inner = self.inner.lock();
        if self.current.load(Acquire) != seen {
            return Turned::Again;
        }
        let now = self.env.clock.boot();
        if SlabRef::unpack(seen).is_some() {
            // It filled up. If that took less than a flush interval, the next is larger.
            if now.since(inner.bound) < self.env.config().flush_interval && inner.class < 3 {
                inner.class += 1;
            }
            self.close_in(&mut inner);
        }
        if inner.closed {
            return Turned::Closed;
        }
        if self.used_up(&inner) {
            return Turned::UsedUp;
        }
        if self.holds_its_share(&inner) {
            return Turned::NoMemory;
        }
        let start = self.env.start(inner.next, created);
        let least = Pool::class_for(frame);
        let slab = loop {
            let class = inner.class.max(least);
            let Some(slab) = self.env.pool.acquire(class, least, start) else {
                return Turned::NoMemory;
            };
            let Err(cap) = self.env.budget.reserve(&self.usage, slab.on_disk()) else {
                break slab;
            };
            self.give_back(slab);
            if self.env.spares.can_give_way(cap) {
                drop(inner);
                self.env.spares.discard(&self.env);
                return Turned::Again;
            }
            // Near a cap a smaller one may do.
            let Some(smaller) = slab.smaller_class().filter(|smaller| *smaller >= least) else {
                self.env.budget.refuse(&self.usage, cap);
                return Turned::Full(cap);
            };
            inner.class = smaller;
        };
        inner.bound = now;
        self.current.store(slab.pack(), Release);
        let list = !std::mem::replace(&mut inner.listed, true);
        let (crowded, full) = (
            inner.queue.len() > FLUSH_ABOVE,
            inner.queue.len() > WAIT_ABOVE,
        );
        drop(inner);
        if list {
            self.env.list_dirty(self);
        }
        if full {
            return Turned::Crowded;
        }
        if crowded {
            self.try_flush();
        }
        Turned::Again
    }

    /// Waits until a hint is with the kernel, and all before it. False where the deadline came, or the
    /// disk refused.
    pub fn reach_kernel(self: &Arc<Self>, sequence: Sequence, deadline: Boot) -> bool {
        self.flush_to(sequence, deadline).is_ok()
    }

    /// Waits until a hint is durable, whatever became of those before it. False where the deadline came,
    /// or the disk refused.
    pub fn reach_disk(self: &Arc<Self>, sequence: Sequence, deadline: Boot) -> bool {
        self.sync_to(sequence, deadline).is_ok() && !self.is_in_doubt(sequence)
    }

    /// Whether a failed sync left a hint in doubt that could not be read back: no later sync makes it
    /// durable.
    pub fn is_in_doubt(&self, sequence: Sequence) -> bool {
        self.doubt.holds(sequence)
    }

    /// Whether so much of the memory is in its closed blocks that the rest is for others.
    fn holds_its_share(&self, inner: &Inner) -> bool {
        let held: u64 = inner.queue.iter().map(Closed::bytes).sum();
        held > self.env.config().memory.get() / MEMORY_SHARE
    }

    /// Whether it may take more memory, if there is any.
    pub(crate) fn may_grow(&self) -> bool {
        !self.holds_its_share(&self.inner.lock())
    }

    /// Gives out no more sequences. Those that were given out are known from now on.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        self.close_in(&mut inner);
    }

    /// Puts a slab back that was bound for nothing.
    fn give_back(&self, slab_ref: SlabRef) {
        let slab = self.env.pool.slab(slab_ref);
        slab.buffer.close(slab_ref.generation);
        if let Some(exclusive) = slab.buffer.collect(slab_ref.generation) {
            exclusive.release();
            self.env.pool.release(slab_ref);
        }
    }

    fn used_up(&self, inner: &Inner) -> bool {
        let count = inner.next.get() - Sequence::first_of(self.env.epoch).get();
        count > (1 << Sequence::COUNT_BITS) - EPOCH_MARGIN
    }

    /// Closes the present slab, if there is one; its last hint's sequence is then known.
    fn close_in(self: &Arc<Self>, inner: &mut Inner) {
        let Some(slab_ref) = SlabRef::unpack(self.current.swap(0, SeqCst)) else {
            return;
        };
        let slab = self.env.pool.slab(slab_ref);
        let Some(filled) = slab.buffer.close(slab_ref.generation) else {
            return;
        };
        if filled.count == 0 {
            self.env.budget.unreserve(&self.usage, slab_ref.on_disk());
            if let Some(exclusive) = slab.buffer.collect(slab_ref.generation) {
                exclusive.release();
                self.env.pool.release(slab_ref);
            }
            return;
        }
        inner.next = slab.start().first.plus(filled.count.into());
        let bytes = filled.bytes.into();
        inner.queue.push_back(Closed::Slab {
            slab: slab_ref,
            next: inner.next,
            bytes,
        });
        if slab.buffer.is_complete() {
            self.env.hand_to_flusher(self);
        }
    }

    /// Closes the present slab if it holds hints at or below `upto`.
    pub(crate) fn close_upto(self: &Arc<Self>, upto: Sequence) {
        let mut inner = self.inner.lock();
        if let Some(slab_ref) = SlabRef::unpack(self.current.load(Acquire))
            && self.env.pool.slab(slab_ref).start().first <= upto
        {
            self.close_in(&mut inner);
        }
    }

    /// Closes the present slab if it was bound no later than `bound_by`.
    pub(crate) fn close_older(self: &Arc<Self>, bound_by: Boot) {
        let mut inner = self.inner.lock();
        let Some(slab_ref) = SlabRef::unpack(self.current.load(Acquire)) else {
            return;
        };
        if inner.bound > bound_by {
            return;
        }
        // It did not fill within the interval. If it is nearly empty, a smaller one will do.
        let filled = self
            .env
            .pool
            .slab(slab_ref)
            .buffer
            .filled(slab_ref.generation);
        let quarter = crate::pool::CLASSES
            .get(usize::from(inner.class))
            .map_or(0, |c| c / 4);
        if filled.is_some_and(|filled| (filled.bytes as usize) < quarter) {
            inner.class = inner.class.saturating_sub(1);
        }
        self.close_in(&mut inner);
    }

    /// Whether the target has nothing in memory; it then comes off the list.
    pub(crate) fn is_idle(&self) -> bool {
        let mut inner = self.inner.lock();
        // What a failed write left behind is below `next` and not flushed.
        let idle = self.current.load(Acquire) == 0 && self.flushed() >= inner.next;
        if idle {
            inner.listed = false;
            // A target that sleeps keeps no memory but its own.
            inner.queue = VecDeque::new();
        }
        idle
    }

    fn append_oversized(
        self: &Arc<Self>,
        draft: &Draft<'_>,
        profile: Profile,
        deadline: Boot,
    ) -> Result<Sequence, Refusal> {
        self.env.may_append()?;
        self.may_take()?;
        let mut start = self.env.start(Sequence::ZERO, draft.created());
        let length = (block::HEADER + draft.length(start.base_created)) as u64;
        let on_disk = for_block(length);
        while let Err(cap) = self.env.budget.reserve(&self.usage, on_disk) {
            if !self.env.spares.can_give_way(cap) {
                self.env.budget.refuse(&self.usage, cap);
                return Err(Refusal::Full { cap });
            }
            self.env.spares.discard(&self.env);
        }
        while !self.env.pool.take(length) {
            if let Err(refusal) = self.env.wait_for_memory(self, length, deadline) {
                self.env.budget.unreserve(&self.usage, on_disk);
                return Err(refusal);
            }
        }
        let bytes = block::oversized(draft, start);
        let mut inner = self.inner.lock();
        self.close_in(&mut inner);
        let refusal = if inner.closed {
            Some(Refusal::Closed)
        } else {
            self.used_up(&inner).then_some(Refusal::EpochUsedUp)
        };
        if let Some(refusal) = refusal {
            drop(inner);
            self.env.pool.give(length);
            self.env.budget.unreserve(&self.usage, on_disk);
            return Err(refusal);
        }
        start.first = inner.next;
        inner.next = inner.next.plus(1);
        inner.queue.push_back(Closed::Oversized(Box::new(Oversized {
            start,
            profile,
            bytes,
        })));
        let list = !std::mem::replace(&mut inner.listed, true);
        drop(inner);
        if list {
            self.env.list_dirty(self);
        }
        self.env.hand_to_flusher(self);
        Ok(start.first)
    }
}

impl fmt::Debug for TargetWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetWriter({})", self.id)
    }
}

/// Sequences that no later sync makes durable, as one range.
#[derive(Debug)]
pub(crate) struct Doubt {
    first: AtomicU64,
    last: AtomicU64,
}

impl Default for Doubt {
    fn default() -> Self {
        Self {
            first: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
        }
    }
}

impl Doubt {
    pub(crate) fn add(&self, range: Range) {
        self.first.fetch_min(range.first.get(), SeqCst);
        self.last.fetch_max(range.last.get(), SeqCst);
    }

    /// Whether a hint is among them.
    pub(crate) fn holds(&self, sequence: Sequence) -> bool {
        (self.first.load(SeqCst)..=self.last.load(SeqCst)).contains(&sequence.get())
    }
}
