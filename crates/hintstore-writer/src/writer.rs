//! The write path composed: all targets, what they share, and the background steps.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasherDefault, Hasher},
    io,
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use hintstore_format::{
    SegmentId, Sequence, StoreId, TargetId, UnixMillis, block::Start, frame::Draft,
};
use hintstore_runtime::{
    Boot, Clock, Live, Next, Runner, Step, Waker,
    sync::{
        AtomicBool, AtomicU32, AtomicU64, Mutex,
        Ordering::{Acquire, Relaxed, SeqCst},
        Queue, RwLock, Signal,
    },
};
use hintstore_storage::{Storage, StorageError};

use crate::{
    AppendError, Budget, Hint, Level, Receipt, Refusal, Refusals, Segment, SegmentEvents, Usage,
    WriterConfig,
    config::Bytes,
    hint::RefusalCounts,
    pool::{CLASSES, Pool},
    spare::Spares,
    steps::{self, Flush, Prepare, Seal, Sync, SyncAlong},
    target::TargetWriter,
};

/// What the write path stands on.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The disk.
    pub storage: Arc<dyn Storage>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who runs the background steps.
    pub runner: Arc<dyn Runner>,
    /// Who is told of segments.
    pub events: Arc<dyn SegmentEvents>,
    /// What the disk has room for.
    pub budget: Arc<Budget>,
}

/// What is known of a target before its first append.
#[derive(Clone, Debug)]
pub struct TargetStart {
    /// No segment of the target has a later creation time in its name.
    pub last_created: UnixMillis,
    /// What its files take already.
    pub usage: Arc<Usage>,
    /// Whether its oldest undelivered hint is older than the hint window.
    pub past_window: bool,
}

/// Why a level was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The deadline came.
    Late,
    /// Neither the open segment nor a new one could be written.
    Write,
    /// A sync failed; what it left in doubt was moved.
    Sync,
}

/// Identifiers are random or counted; either way a multiplication spreads them.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The table takes its low bits; the product has mixed the high ones.
        self.0.rotate_left(26)
    }
}

/// So many complete slabs wake the flusher: as many large ones as one write takes.
const WAKE_AT: usize = 4;

/// A slow disk is given this long to make all of a target durable.
const SYNC_PATIENCE: Duration = Duration::from_secs(60);

type Targets = HashMap<TargetId, Arc<TargetWriter>, BuildHasherDefault<IdHasher>>;

/// What all targets of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) events: Arc<dyn SegmentEvents>,
    config: Live<WriterConfig>,
    /// A larger hint is refused: read for each hint, and so the one that is fixed.
    hint_bytes_max: Bytes,
    pub(crate) store: StoreId,
    pub(crate) epoch: u32,
    pub(crate) pool: Pool,
    pub(crate) budget: Arc<Budget>,
    in_flight: AtomicU64,
    refused: RefusalCounts,
    pub(crate) spares: Spares,
    targets: RwLock<Targets>,
    segments: AtomicU64,
    salt: AtomicU64,
    unsynced_bytes: AtomicU64,
    /// Raised when there are fewer of them.
    pub(crate) less_unsynced: Signal,
    closed: AtomicBool,
    /// New segments in a row that could not be written.
    failures: AtomicU64,
    /// New segments in a row that could not be synced.
    sync_failures: AtomicU32,
    /// The journal could not be written: what is appended cannot end.
    journal_failed: AtomicBool,
    failing: AtomicBool,
    failure: Mutex<Option<Refusal>>,
    pressure: AtomicBool,
    /// Targets with complete slabs, once a slab: the memory for slabs bounds it.
    ready: Queue<Arc<TargetWriter>>,
    /// Targets that are to be synced side by side.
    syncing: Queue<Arc<TargetWriter>>,
    /// Ranges of files whose write-back is to begin.
    writeback: Queue<(Arc<Segment>, u64, u64)>,
    /// Segments that are full or old.
    sealing: Queue<(Arc<TargetWriter>, Arc<Segment>)>,
    lists: Mutex<Lists>,
    wakers: Wakers,
}

/// Targets that a step looks at once an interval, and when. Behind one lock, which is taken once a
/// slab, not once a hint.
#[derive(Debug, Default)]
struct Lists {
    /// Have hints in memory.
    dirty: Vec<Arc<TargetWriter>>,
    flush_at: Option<Boot>,
    /// Have an open segment, which is to be looked at for its age at this time.
    aging: BTreeMap<(Boot, TargetId), Arc<TargetWriter>>,
    /// Have bytes in the kernel that no sync covers.
    unsynced: Vec<Arc<TargetWriter>>,
    sync_at: Option<Boot>,
    synced_at: Boot,
}

#[derive(Debug, Default)]
struct Wakers {
    flush: Waker,
    sync: Waker,
    sync_along: Waker,
    seal: Waker,
    prepare: Waker,
}

impl Shared {
    pub(crate) fn next_segment(&self) -> SegmentId {
        let count = self.segments.fetch_add(1, SeqCst);
        SegmentId::new(u64::from(self.epoch) << Sequence::COUNT_BITS | count)
    }

    /// What is fixed for a slab that begins with this sequence and this hint's time.
    pub(crate) fn start(&self, first: Sequence, created: UnixMillis) -> Start {
        let salt = self.salt.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        let salt = (salt ^ salt >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Start {
            first,
            salt: (salt >> 32) as u32,
            base_created: created,
            accepted: self.clock.wall(),
        }
    }

    /// The settings as they are now.
    pub(crate) fn config(&self) -> impl Deref<Target = Arc<WriterConfig>> {
        self.config.get()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub(crate) fn may_append(&self) -> Result<(), Refusal> {
        if self.closed.load(Acquire) {
            return Err(Refusal::Closed);
        }
        if self.failing.load(Acquire) {
            return self.failure.lock().map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// A new segment could not be written. The first time that may be the segment; the second
    /// time in a row it is the disk, and appends are refused until a write succeeds.
    pub(crate) fn write_failed(&self, error: &StorageError) {
        if error.is_disk_full() {
            self.budget.device_is_full();
        } else if self.failures.fetch_add(1, SeqCst) > 0 {
            self.refuse(error.into());
        }
        // Who waits for memory is to hear of it.
        self.pool.freed.raise();
    }

    pub(crate) fn write_succeeded(&self) {
        if self.failures.swap(0, SeqCst) > 0 {
            self.take_hope();
        }
    }

    /// A segment of which nothing was durable yet could not be synced: as for a failed write, the
    /// second in a row is the disk.
    pub(crate) fn sync_failed_anew(&self) {
        if self.sync_failures.fetch_add(1, SeqCst) > 0 {
            self.refuse(Refusal::StorageFailed);
        }
    }

    pub(crate) fn sync_succeeded(&self) {
        if self.sync_failures.load(Relaxed) > 0 && self.sync_failures.swap(0, SeqCst) > 0 {
            self.take_hope();
        }
    }

    /// Takes appends again, unless something else fails.
    fn take_hope(&self) {
        let journal = self.journal_failed.load(SeqCst);
        if !journal && self.failures.load(SeqCst) == 0 && self.sync_failures.load(SeqCst) == 0 {
            *self.failure.lock() = None;
            self.failing.store(false, SeqCst);
        }
    }

    /// Whether the journal could be written: where it cannot, what is appended cannot end.
    pub(crate) fn journal_is(&self, failed: bool) {
        if failed {
            self.journal_failed.store(true, SeqCst);
            self.refuse(Refusal::StorageFailed);
        } else if self.journal_failed.swap(false, SeqCst) {
            self.take_hope();
        }
    }

    fn refuse(&self, why: Refusal) {
        *self.failure.lock() = Some(why);
        self.failing.store(true, SeqCst);
    }

    /// Waits for memory; what is in the way is flushed first.
    pub(crate) fn wait_for_memory(
        &self,
        target: &Arc<TargetWriter>,
        frame: u64,
        deadline: Boot,
    ) -> Result<(), Refusal> {
        target.help();
        // What will be asked for: a slab of the class that the frame needs.
        let class = usize::from(Pool::class_for(
            usize::try_from(frame).unwrap_or(usize::MAX / 2),
        ));
        let bytes = frame.max(CLASSES.get(class).map_or(0, |size| *size as u64));
        self.pressure.store(true, SeqCst);
        self.wakers.flush.wake();
        let mut room = || {
            let over = self.failing.load(Acquire) || self.closed.load(Acquire);
            over || (self.pool.has_room(bytes) && target.may_grow())
        };
        let waited = self
            .runner
            .wait_until(&self.pool.freed, Some(deadline), &mut room);
        self.may_append()?;
        if waited { Ok(()) } else { Err(Refusal::Busy) }
    }

    pub(crate) fn hand_to_flusher(&self, target: &Arc<TargetWriter>) {
        self.ready.push(target.clone());
        // One wake-up for several slabs, and one write; the flush interval bounds the wait.
        if self.ready.len() >= WAKE_AT {
            self.wakers.flush.wake();
        }
        target.progress.raise();
    }

    pub(crate) fn next_ready(&self) -> Option<Arc<TargetWriter>> {
        self.ready.pop()
    }

    pub(crate) fn list_dirty(&self, target: &Arc<TargetWriter>) {
        let mut lists = self.lists.lock();
        lists.dirty.push(target.clone());
        let first = lists.dirty.len() == 1;
        drop(lists);
        if first {
            self.wakers.flush.wake();
        }
    }

    pub(crate) fn take_dirty(&self) -> Vec<Arc<TargetWriter>> {
        std::mem::take(&mut self.lists.lock().dirty)
    }

    /// Whether slabs are to be flushed for their age, and those bound by when. Looked at twice an
    /// interval: what is half an interval old now would be too old next time.
    pub(crate) fn flush_due(&self, now: Boot) -> Option<Boot> {
        if self.pressure.swap(false, SeqCst) {
            return Some(now);
        }
        let half = self.config().flush_interval / 2;
        let mut lists = self.lists.lock();
        let due = lists.flush_at.is_some_and(|at| at <= now);
        if due {
            lists.flush_at = None;
        }
        due.then(|| Boot::new(now.get().saturating_sub(half)))
    }

    pub(crate) fn next_flush(&self, now: Boot) -> Next {
        let half = self.config().flush_interval / 2;
        let mut lists = self.lists.lock();
        if lists.dirty.is_empty() {
            return Next::WhenWoken;
        }
        let at = *lists.flush_at.get_or_insert(now + half);
        Next::After(at.since(now))
    }

    pub(crate) fn list_unsynced(&self, target: &Arc<TargetWriter>) {
        if target.sync_listed.swap(true, SeqCst) {
            return;
        }
        let mut lists = self.lists.lock();
        lists.unsynced.push(target.clone());
        let first = lists.unsynced.len() == 1;
        drop(lists);
        if first {
            self.wakers.sync.wake();
        }
    }

    pub(crate) fn take_unsynced(&self) -> Vec<Arc<TargetWriter>> {
        let taken = std::mem::take(&mut self.lists.lock().unsynced);
        for target in &taken {
            target.sync_listed.store(false, SeqCst);
        }
        taken
    }

    pub(crate) fn sync_due(&self, now: Boot) -> bool {
        let mut lists = self.lists.lock();
        // Half a window is synced early, but never again and again where the disk refuses.
        let rested = now.since(lists.synced_at) >= self.config().sync_interval / 16;
        let over = self.unsynced_bytes() > self.config().unsynced_bytes_max.get() / 2;
        let due = (over && rested) || lists.sync_at.is_some_and(|at| at <= now);
        if due {
            lists.sync_at = None;
            lists.synced_at = now;
        }
        due
    }

    pub(crate) fn next_sync(&self, now: Boot) -> Next {
        let mut lists = self.lists.lock();
        if lists.unsynced.is_empty() {
            return Next::WhenWoken;
        }
        // Half: a hint may wait that long in memory of the kernel before the clock starts.
        let half = self.config().sync_interval / 2;
        // A disk that goes on failing is asked less and less often.
        let patient = half * (1 << self.sync_failures.load(Relaxed).min(4));
        let at = *lists.sync_at.get_or_insert(now + patient);
        Next::After(at.since(now))
    }

    /// Has targets synced side by side, in the background.
    pub(crate) fn ask_sync(&self, targets: impl IntoIterator<Item = Arc<TargetWriter>>) {
        for target in targets {
            self.syncing.push(target);
        }
        if self.syncing.len() > 1 {
            self.wakers.sync_along.wake();
        }
    }

    /// Syncs what was asked for, until others have taken the rest.
    pub(crate) fn sync_asked(&self) {
        while let Some(target) = self.syncing.pop() {
            let Some(_lead) = target.lead.try_lock() else {
                // Somebody syncs it right now; there may be more by the time they are done.
                self.list_unsynced(&target);
                continue;
            };
            let Some(mut file) = target.try_file() else {
                self.list_unsynced(&target);
                continue;
            };
            let plan = target.plan(&mut file);
            drop(file);
            target.sync_in_background(&plan);
        }
    }

    pub(crate) fn wake_sync(&self) {
        self.wakers.sync.wake();
    }

    pub(crate) fn ask_writeback(&self, segment: &Arc<Segment>, from: u64, to: u64) {
        self.writeback.push((segment.clone(), from, to));
        self.wakers.sync.wake();
    }

    pub(crate) fn start_writeback(&self) {
        while let Some((segment, from, to)) = self.writeback.pop() {
            if !segment.poisoned() {
                // A hint to the kernel; the sync that follows is what counts.
                drop(segment.file.start_writeback(from, to - from));
            }
        }
    }

    pub(crate) fn hand_to_sealer(&self, target: &Arc<TargetWriter>, segment: Arc<Segment>) {
        self.list_for_sealing(target, segment);
        self.wakers.seal.wake();
    }

    /// Has a segment sealed when that is next looked at.
    pub(crate) fn list_for_sealing(&self, target: &Arc<TargetWriter>, segment: Arc<Segment>) {
        self.sealing.push((target.clone(), segment));
    }

    /// Seals what was listed, each once: where that fails, its successor is listed anew, and this
    /// is true.
    pub(crate) fn seal_listed(&self) -> bool {
        for _ in 0..self.sealing.len() {
            let Some((target, segment)) = self.sealing.pop() else {
                break;
            };
            steps::seal(&target, &segment);
        }
        !self.sealing.is_empty()
    }

    /// Has the age of a target's open segment looked at.
    pub(crate) fn list_aging(&self, target: &Arc<TargetWriter>, at: Boot) {
        let mut lists = self.lists.lock();
        lists.aging.insert((at, target.id), target.clone());
        let is_first = lists.aging.keys().next() == Some(&(at, target.id));
        drop(lists);
        if is_first {
            self.wakers.seal.wake();
        }
    }

    /// Targets whose open segment is to be looked at by now.
    pub(crate) fn take_aged(&self, now: Boot) -> Vec<Arc<TargetWriter>> {
        let mut lists = self.lists.lock();
        let mut aged = Vec::new();
        while let Some(first) = lists
            .aging
            .first_entry()
            .filter(|first| first.key().0 <= now)
        {
            aged.push(first.remove());
        }
        aged
    }

    pub(crate) fn next_aged(&self) -> Option<Boot> {
        self.lists.lock().aging.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn want_spare(&self) {
        if !self.spares.wanted.swap(true, SeqCst) {
            self.wakers.prepare.wake();
        }
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes.load(SeqCst)
    }

    /// Whether so many bytes more may be in the kernel unsynced. A write that is larger than the
    /// window has it for itself.
    pub(crate) fn has_window(&self, more: u64) -> bool {
        let unsynced = self.unsynced_bytes();
        unsynced == 0 || unsynced + more <= self.config().unsynced_bytes_max.get()
    }

    pub(crate) fn add_unsynced(&self, bytes: u64) {
        self.unsynced_bytes.fetch_add(bytes, SeqCst);
    }

    pub(crate) fn sub_unsynced(&self, bytes: u64) {
        self.unsynced_bytes.fetch_sub(bytes, SeqCst);
        self.less_unsynced.raise();
    }

    pub(crate) fn all_targets(&self) -> Vec<Arc<TargetWriter>> {
        self.targets.read().values().cloned().collect()
    }
}

/// The outcome of [`Writer::append_batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// A receipt for each hint of the accepted prefix, in order, with the level it reached.
    pub receipts: Vec<Receipt>,
    /// Why the hint behind the prefix was refused; it and those behind it are the caller's again.
    pub refused: Option<Refusal>,
}

/// The last receipt of each target of a call.
type Lasts = HashMap<TargetId, Receipt, BuildHasherDefault<IdHasher>>;

/// The hints of one call that wait for their level; they are counted until it returns.
#[derive(Default)]
struct InFlight(Option<(Arc<Shared>, Vec<Arc<TargetWriter>>)>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let Some((shared, targets)) = self.0.take() else {
            return;
        };
        shared.in_flight.fetch_sub(targets.len() as u64, SeqCst);
        for target in targets {
            target.in_flight.fetch_sub(1, SeqCst);
        }
    }
}

/// The write path of a store.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    /// A writer for this epoch of a store. Its background steps run from now on.
    pub fn start(
        parts: Parts,
        config: WriterConfig,
        store: StoreId,
        epoch: u32,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            pool: Pool::new(config.memory.get()),
            salt: AtomicU64::new(parts.clock.entropy()),
            storage: parts.storage,
            clock: parts.clock,
            runner: parts.runner,
            events: parts.events,
            budget: parts.budget,
            in_flight: AtomicU64::new(0),
            refused: RefusalCounts::default(),
            hint_bytes_max: config.hint_bytes_max,
            config: Live::new(config),
            store,
            epoch,
            spares: Spares::default(),
            targets: RwLock::default(),
            segments: AtomicU64::new(0),
            unsynced_bytes: AtomicU64::new(0),
            less_unsynced: Signal::new(),
            closed: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            sync_failures: AtomicU32::new(0),
            journal_failed: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            failure: Mutex::new(None),
            pressure: AtomicBool::new(false),
            ready: Queue::default(),
            syncing: Queue::default(),
            writeback: Queue::default(),
            sealing: Queue::default(),
            lists: Mutex::default(),
            wakers: Wakers::default(),
        });
        let wakers = &shared.wakers;
        let mut steps: Vec<(Arc<dyn Step>, &Waker)> = vec![
            (Arc::new(Flush(shared.clone())), &wakers.flush),
            (Arc::new(Sync(shared.clone())), &wakers.sync),
            (Arc::new(Seal(shared.clone())), &wakers.seal),
            (Arc::new(Prepare(shared.clone())), &wakers.prepare),
        ];
        for _ in 1..shared.config().sync_threads.get() {
            steps.push((Arc::new(SyncAlong(shared.clone())), &wakers.sync_along));
        }
        for (step, waker) in steps {
            shared.runner.start(step, waker.clone(), Next::WhenWoken)?;
        }
        Ok(Self { shared })
    }

    /// Exchanges the settings. Memory, threads and the largest hint stay as they were.
    pub fn configure(&self, config: WriterConfig) {
        self.shared.config.set(config);
        // Other ages may count now.
        let now = self.shared.clock.boot();
        for target in self.shared.all_targets() {
            self.shared.list_aging(&target, now);
        }
        let wakers = &self.shared.wakers;
        for waker in [&wakers.flush, &wakers.sync, &wakers.seal] {
            waker.wake();
        }
    }

    /// The writer of a target; made where there is none, from what `start` knows.
    pub fn target(&self, id: TargetId, start: impl FnOnce() -> TargetStart) -> Arc<TargetWriter> {
        if let Some(target) = self.known(id) {
            return target;
        }
        let mut targets = self.shared.targets.write();
        let make = || Arc::new(TargetWriter::new(&self.shared, id, start()));
        targets.entry(id).or_insert_with(make).clone()
    }

    /// The writer of a target that has one.
    pub fn known(&self, id: TargetId) -> Option<Arc<TargetWriter>> {
        self.shared.targets.read().get(&id).cloned()
    }

    /// Takes a hint, and returns when it has reached `level`, at the latest at `deadline`.
    ///
    /// `admit` may refuse it first; `target` finds, or makes, the writer of a hint's target.
    pub fn append<'a>(
        &self,
        hint: Hint<'a>,
        level: Level,
        deadline: Option<Boot>,
        admit: impl Fn(&Hint<'_>) -> Result<(), Refusal>,
        target: impl Fn(TargetId) -> Arc<TargetWriter>,
    ) -> Result<Receipt, AppendError<'a>> {
        let draft = Draft::new(&hint.body);
        let mut waiting = InFlight::default();
        // Most appends wait for nothing: the clock is read when one has to.
        let taken = self
            .wait_for_level(&hint, level, &target, &mut waiting)
            .and_then(|()| self.take(&hint, &draft, deadline, &admit, &target));
        let sequence = match taken {
            Ok(sequence) => sequence,
            Err(reason) => {
                self.count_refusal(hint.target, reason);
                return Err(AppendError::Refused { hint, reason });
            }
        };
        let receipt = Receipt {
            target: hint.target,
            sequence,
            level: Level::Buffered,
        };
        if level == Level::Buffered {
            return Ok(receipt);
        }
        let deadline = self.deadline(deadline);
        Self::reach(&target(hint.target), receipt, level, deadline)
    }

    /// Takes hints in order until one is refused, then brings all that were taken to `level`.
    ///
    /// `admit` and `target` as for [`Writer::append`].
    pub fn append_batch(
        &self,
        hints: &[Hint<'_>],
        level: Level,
        deadline: Option<Boot>,
        admit: impl Fn(&Hint<'_>) -> Result<(), Refusal>,
        target: impl Fn(TargetId) -> Arc<TargetWriter>,
    ) -> Batch {
        let deadline = self.deadline(deadline);
        let mut batch = Batch {
            receipts: Vec::with_capacity(hints.len()),
            refused: None,
        };
        let mut waiting = InFlight::default();
        // The last receipt of each target: what is before it in its order is as safe as it.
        let mut lasts = Lasts::default();
        for hint in hints {
            let draft = Draft::new(&hint.body);
            let taken = self
                .wait_for_level(hint, level, &target, &mut waiting)
                .and_then(|()| self.take(hint, &draft, Some(deadline), &admit, &target));
            match taken {
                Ok(sequence) => {
                    let receipt = Receipt {
                        target: hint.target,
                        sequence,
                        level: Level::Buffered,
                    };
                    batch.receipts.push(receipt);
                    lasts.insert(hint.target, receipt);
                }
                Err(reason) => {
                    self.count_refusal(hint.target, reason);
                    batch.refused = Some(reason);
                    break;
                }
            }
        }
        self.reach_all(&mut lasts, level, deadline);
        for receipt in &mut batch.receipts {
            if let Some(last) = lasts.get(&receipt.target) {
                receipt.level = last.level;
            }
        }
        batch
    }

    /// Takes one hint for several targets: its payload is checksummed once. The result of each
    /// target is in its place. `admit` and `target` as for [`Writer::append`].
    pub fn append_for(
        &self,
        hint: &Hint<'_>,
        targets: &[TargetId],
        level: Level,
        deadline: Option<Boot>,
        admit: impl Fn(&Hint<'_>) -> Result<(), Refusal>,
        target: impl Fn(TargetId) -> Arc<TargetWriter>,
    ) -> Vec<Result<Receipt, Refusal>> {
        let deadline = self.deadline(deadline);
        let draft = Draft::new(&hint.body);
        let mut waiting = InFlight::default();
        let mut lasts = Lasts::default();
        let mut results: Vec<Result<Receipt, Refusal>> = Vec::with_capacity(targets.len());
        for id in targets {
            let hint = Hint {
                target: *id,
                ..*hint
            };
            let taken = self
                .wait_for_level(&hint, level, &target, &mut waiting)
                .and_then(|()| self.take(&hint, &draft, Some(deadline), &admit, &target));
            let receipt = taken.map(|sequence| Receipt {
                target: *id,
                sequence,
                level: Level::Buffered,
            });
            match receipt {
                Ok(receipt) => drop(lasts.insert(*id, receipt)),
                Err(reason) => self.count_refusal(*id, reason),
            }
            results.push(receipt);
        }
        self.reach_all(&mut lasts, level, deadline);
        for receipt in results.iter_mut().flatten() {
            if let Some(last) = lasts.get(&receipt.target) {
                receipt.level = last.level;
            }
        }
        results
    }

    /// Waits until a hint that was accepted has reached `level`.
    pub fn wait(
        &self,
        receipt: Receipt,
        level: Level,
        deadline: Option<Boot>,
    ) -> Result<Receipt, AppendError<'static>> {
        let Some(target) = self.known(receipt.target) else {
            return Err(AppendError::InDoubt(receipt));
        };
        Self::reach(&target, receipt, level, self.deadline(deadline))
    }

    /// Brings the last hint of each of several targets to `level`.
    fn reach_all(&self, lasts: &mut Lasts, level: Level, deadline: Boot) {
        if level == Level::Buffered {
            return;
        }
        if level == Level::Durable && lasts.len() > 1 {
            self.sync_side_by_side(lasts.values(), deadline);
        }
        for last in lasts.values_mut() {
            if let Some(target) = self.known(last.target)
                && let Ok(reached) = Self::reach(&target, *last, level, deadline)
            {
                *last = reached;
            }
        }
    }

    /// Counts a hint that will wait for its level, unless too many do. A call always gets its
    /// first hint, or a large batch could never come through.
    fn wait_for_level(
        &self,
        hint: &Hint<'_>,
        level: Level,
        target: impl Fn(TargetId) -> Arc<TargetWriter>,
        waiting: &mut InFlight,
    ) -> Result<(), Refusal> {
        if level == Level::Buffered {
            return Ok(());
        }
        let shared = &self.shared;
        let of = target(hint.target);
        let here = of.in_flight.fetch_add(1, SeqCst);
        let all = shared.in_flight.fetch_add(1, SeqCst);
        let own = waiting
            .0
            .as_ref()
            .map_or(0, |(_, targets)| targets.len() as u64);
        let (_, targets) = waiting
            .0
            .get_or_insert_with(|| (shared.clone(), Vec::new()));
        targets.push(of);
        let config = shared.config();
        if here.saturating_sub(own) >= config.in_flight_target_max
            || all.saturating_sub(own) >= config.in_flight_max
        {
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }

    /// Says whether the journal, which is not the writer's, could be written: appends are refused as
    /// [`Refusal::StorageFailed`] while it cannot.
    pub fn journal_is(&self, failed: bool) {
        self.shared.journal_is(failed);
    }

    fn count_refusal(&self, target: TargetId, reason: Refusal) {
        self.shared.refused.add(reason, 1);
        if let Some(target) = self.known(target) {
            target.refused.add(reason, 1);
        }
    }

    /// How many hints were refused, by reason, since the store was opened.
    pub fn refused(&self) -> Refusals {
        self.shared.refused.get()
    }

    /// Hints that wait for their level.
    pub fn in_flight(&self) -> u64 {
        self.shared.in_flight.load(SeqCst)
    }

    /// Has several targets synced at once. Each is waited for afterwards, in whatever order.
    fn sync_side_by_side<'a>(&self, lasts: impl Iterator<Item = &'a Receipt>, deadline: Boot) {
        let known = lasts.filter_map(|last| Some((self.known(last.target)?, last.sequence)));
        let flushed = known.filter_map(|(target, sequence)| {
            target.flush_to(sequence, deadline).ok().map(|()| target)
        });
        self.shared.ask_sync(flushed);
    }

    fn deadline(&self, given: Option<Boot>) -> Boot {
        given.unwrap_or_else(|| self.shared.clock.boot() + self.shared.config().append_timeout)
    }

    #[inline]
    fn take(
        &self,
        hint: &Hint<'_>,
        draft: &Draft<'_>,
        deadline: Option<Boot>,
        admit: impl Fn(&Hint<'_>) -> Result<(), Refusal>,
        target: impl Fn(TargetId) -> Arc<TargetWriter>,
    ) -> Result<Sequence, Refusal> {
        let limit = self.shared.hint_bytes_max;
        let body = &hint.body;
        let key = body.collapse.map_or(0, |collapse| collapse.key.len());
        if (body.payload.len() + key) as u64 > limit.get() {
            return Err(Refusal::TooLarge { limit });
        }
        if !draft.fits() {
            return Err(Refusal::TooLarge {
                limit: Bytes::new(u16::MAX.into()),
            });
        }
        // Before anything is reserved; a slab that is open already takes the hint all the same.
        self.shared.may_append()?;
        admit(hint)?;
        let profile = hint.profile();
        // The usual case, a slab with room, counts no references and knows no deadline.
        let targets = self.shared.targets.read();
        let open = targets.get(&hint.target);
        let taken = open.and_then(|target| target.append_open(draft, &profile));
        drop(targets);
        match taken {
            Some(sequence) => Ok(sequence),
            None => target(hint.target).append(draft, profile, || self.deadline(deadline)),
        }
    }

    fn reach(
        target: &Arc<TargetWriter>,
        receipt: Receipt,
        level: Level,
        deadline: Boot,
    ) -> Result<Receipt, AppendError<'static>> {
        let done = match level {
            Level::Buffered => Ok(()),
            Level::Os => target.flush_to(receipt.sequence, deadline),
            Level::Durable => target.sync_to(receipt.sequence, deadline),
        };
        match done {
            Ok(()) => Ok(Receipt { level, ..receipt }),
            Err(_) => Err(AppendError::InDoubt(receipt)),
        }
    }

    /// Makes all that a target accepted durable.
    pub fn sync(&self, target: &Arc<TargetWriter>) -> bool {
        let patience = self.shared.config().append_timeout.max(SYNC_PATIENCE);
        let deadline = self.shared.clock.boot() + patience;
        let next = target.next();
        let last = next.before();
        next.get() == Sequence::first_of(self.shared.epoch).get()
            || target.sync_to(last, deadline).is_ok()
    }

    /// Ends the open segment of a target, so that it can be retired.
    pub fn roll(&self, target: &Arc<TargetWriter>) {
        let deadline = self.deadline(None);
        if let Some(mut file) = target.wait_file(deadline) {
            file.roll(target, false);
        }
    }

    /// Memory in slabs, and bytes in the kernel that no sync covers.
    pub fn windows(&self) -> (Bytes, Bytes) {
        let shared = &self.shared;
        (
            Bytes::new(shared.pool.used()),
            Bytes::new(shared.unsynced_bytes()),
        )
    }

    /// When the oldest hint that is in memory was accepted, and the oldest that no sync covers.
    pub fn windows_since(&self) -> [Option<UnixMillis>; 2] {
        let mut oldest = [UnixMillis::MAX; 2];
        for target in self.shared.all_targets() {
            for (oldest, since) in oldest.iter_mut().zip(target.windows_since()) {
                *oldest = since.min(*oldest);
            }
        }
        oldest.map(|since| (since < UnixMillis::MAX).then_some(since))
    }

    /// Whether appends are refused for the disk's sake, and why.
    pub fn trouble(&self) -> Option<Refusal> {
        let full = || self.shared.budget.all_full();
        let trouble = self.shared.may_append().err();
        trouble.or_else(|| full().map(|cap| Refusal::Full { cap }))
    }

    /// Refuses further appends, then makes everything durable and seals all segments. Returns
    /// false where something could not be made durable.
    pub fn close(&self) -> bool {
        self.shared.closed.store(true, SeqCst);
        self.shared.pool.freed.raise();
        let mut all = true;
        // One that is made from now on is made closed.
        for target in self.shared.all_targets() {
            target.close();
            all &= self.sync(&target);
            self.roll(&target);
        }
        self.shared.seal_listed();
        self.shared.spares.discard(&self.shared);
        all
    }

    /// Forgets all targets, after [`Writer::close`]: they hold what they share alive.
    pub fn forget(&self) {
        let shared = &self.shared;
        shared.targets.write().clear();
        while shared.ready.pop().is_some()
            || shared.syncing.pop().is_some()
            || shared.sealing.pop().is_some()
        {}
        *shared.lists.lock() = Lists::default();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer(epoch {})", self.shared.epoch)
    }
}
