//! The write path composed: the calls that take hints, and the background steps.

use std::{fmt, io, sync::Arc, time::Duration};

use hintstore_env::{Boot, Next, Step, StorageError, Waker, sync::Ordering::SeqCst};
use hintstore_format::{
    Incarnation, Sequence, StoreId, TargetId, UnixMillis, descriptor::Kind, frame::Draft,
};

use crate::{
    AppendError, Gate, Gone, Hint, Level, Receipt, Refusal, Refusals, SegmentCopy, Usage,
    WriterConfig,
    call::Call,
    config::Bytes,
    steps::{Flush, Prepare, Seal, Sync, SyncAlong},
    target::{TargetStart, TargetWriter},
    write_env::{ByTarget, Parts, WriteEnv},
};

/// A slow disk is given this long to make all of a target durable, or of all targets where the store
/// is closed.
const SYNC_PATIENCE: Duration = Duration::from_secs(60);

/// The outcome of [`Writer::append_batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// A receipt for each hint of the accepted prefix, in order, with the level it reached.
    pub receipts: Vec<Receipt>,
    /// Why the hint behind the prefix was refused; it and those behind it are the caller's again.
    pub refused: Option<Refusal>,
}

/// The last receipt of each target of a call.
type Lasts = ByTarget<Receipt>;

/// The write path of a store.
#[derive(Clone)]
pub struct Writer {
    env: Arc<WriteEnv>,
}

impl Writer {
    /// A writer for this epoch of a store. Its background steps run from now on.
    pub fn start(
        parts: Parts,
        config: WriterConfig,
        store: StoreId,
        incarnation: Incarnation,
        epoch: u32,
    ) -> io::Result<Self> {
        let env = Arc::new(WriteEnv::new(parts, config, store, incarnation, epoch));
        let wakers = &env.work.wakers;
        let mut steps: Vec<(Arc<dyn Step>, &Waker)> = vec![
            (Arc::new(Flush(env.clone())), &wakers.flush),
            (Arc::new(Sync(env.clone())), &wakers.sync),
            (Arc::new(Seal(env.clone())), &wakers.seal),
            (Arc::new(Prepare(env.clone())), &wakers.prepare),
        ];
        for _ in 1..env.config().sync_threads.get() {
            steps.push((Arc::new(SyncAlong(env.clone())), &wakers.sync_along));
        }
        for (step, waker) in steps {
            env.runner.start(step, waker.clone(), Next::WhenWoken)?;
        }
        Ok(Self { env })
    }

    /// Exchanges the settings. Memory, threads and the largest hint stay as they were.
    pub fn configure(&self, config: WriterConfig) {
        self.env.config.set(config);
        // Other ages may count now.
        let now = self.env.clock.boot();
        for target in self.env.all_targets() {
            self.env.list_aging(&target, now);
        }
        self.env.work.shorten_timers(now, &self.env.config());
        let wakers = &self.env.work.wakers;
        for waker in [&wakers.flush, &wakers.sync, &wakers.seal] {
            waker.wake();
        }
    }

    /// The writer of a target; made where there is none, from what `start` knows.
    pub fn target(&self, id: TargetId, start: impl FnOnce() -> TargetStart) -> Arc<TargetWriter> {
        if let Some(target) = self.known(id) {
            return target;
        }
        let mut targets = self.env.targets.write();
        let make = || Arc::new(TargetWriter::new(&self.env, id, start()));
        targets.entry(id).or_insert_with(make).clone()
    }

    /// The writer of a target that has one.
    pub fn known(&self, id: TargetId) -> Option<Arc<TargetWriter>> {
        self.env.targets.read().get(&id).cloned()
    }

    /// Takes a hint, and returns when it has reached `level`, at the latest at `deadline`.
    #[inline]
    pub fn append<'a>(
        &self,
        hint: Hint<'a>,
        level: Level,
        deadline: Option<Boot>,
        gate: &impl Gate,
    ) -> Result<Receipt, AppendError<'a>> {
        // Most appends wait for nothing: the clock is read when one has to.
        let mut call = Call::new(&self.env, gate, level, deadline);
        let receipt = match call.accept(&hint, || Draft::new(&hint.body)) {
            Ok(sequence) => Receipt::buffered(hint.target, sequence),
            Err(reason) => return Err(AppendError::Refused { hint, reason }),
        };
        if level == Level::Buffered {
            return Ok(receipt);
        }
        let deadline = self.env.deadline(deadline);
        Self::reach(&gate.writer_of(hint.target), receipt, level, deadline)
    }

    /// Takes hints in order until one is refused, then brings all that were taken to `level`.
    pub fn append_batch(
        &self,
        hints: &[Hint<'_>],
        level: Level,
        deadline: Option<Boot>,
        gate: &impl Gate,
    ) -> Batch {
        let deadline = self.env.deadline(deadline);
        let mut batch = Batch {
            receipts: Vec::with_capacity(hints.len()),
            refused: None,
        };
        let mut call = Call::new(&self.env, gate, level, Some(deadline));
        // The last receipt of each target: what is before it in its order is as safe as it.
        let mut lasts = Lasts::default();
        for hint in hints {
            match call.accept(hint, || Draft::new(&hint.body)) {
                Ok(sequence) => {
                    let receipt = Receipt::buffered(hint.target, sequence);
                    batch.receipts.push(receipt);
                    lasts.insert(hint.target, receipt);
                }
                Err(reason) => {
                    batch.refused = Some(reason);
                    break;
                }
            }
        }
        self.reach_all(&mut lasts, level, deadline);
        for receipt in &mut batch.receipts {
            if let Some(last) = lasts.get(&receipt.target) {
                receipt.level = self.level_of(receipt, last.level);
            }
        }
        batch
    }

    /// Takes one hint for several targets: its payload is checksummed once. The result of each
    /// target is in its place.
    pub fn append_for(
        &self,
        hint: &Hint<'_>,
        targets: &[TargetId],
        level: Level,
        deadline: Option<Boot>,
        gate: &impl Gate,
    ) -> Vec<Result<Receipt, Refusal>> {
        let deadline = self.env.deadline(deadline);
        let mut call = Call::new(&self.env, gate, level, Some(deadline));
        let mut draft = None;
        let mut lasts = Lasts::default();
        let mut results: Vec<Result<Receipt, Refusal>> = Vec::with_capacity(targets.len());
        for id in targets {
            let addressed = Hint {
                target: *id,
                ..*hint
            };
            let taken = call.accept(&addressed, || {
                *draft.get_or_insert_with(|| Draft::new(&hint.body))
            });
            let receipt = taken.map(|sequence| Receipt::buffered(*id, sequence));
            if let Ok(receipt) = receipt {
                lasts.insert(*id, receipt);
            }
            results.push(receipt);
        }
        self.reach_all(&mut lasts, level, deadline);
        for receipt in results.iter_mut().flatten() {
            if let Some(last) = lasts.get(&receipt.target) {
                receipt.level = self.level_of(receipt, last.level);
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
        Self::reach(&target, receipt, level, self.env.deadline(deadline))
    }

    /// What a hint has reached, where the last of its batch has reached `level`: not all before that one
    /// need have been saved where a sync failed.
    fn level_of(&self, receipt: &Receipt, level: Level) -> Level {
        let lost = |target: Arc<TargetWriter>| target.doubt.holds(receipt.sequence);
        if level == Level::Durable && self.known(receipt.target).is_some_and(lost) {
            return Level::Buffered;
        }
        level
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

    /// Looks whether the directory is still the store's own; where it is not, appends are refused from
    /// now on.
    pub fn check_home(&self) -> Result<(), Gone> {
        self.env.check_home()
    }

    /// Says whether the journal, which is not the writer's, could be written: appends are refused as
    /// [`Refusal::StorageFailed`] while it cannot.
    pub fn journal_is(&self, failed: bool) {
        self.env.journal_is(failed);
    }

    /// How many hints were refused, by reason, since the store was opened.
    pub fn refused(&self) -> Refusals {
        self.env.refused.get()
    }

    /// Hints that wait for their level.
    pub fn in_flight(&self) -> u64 {
        self.env.in_flight.load(SeqCst)
    }

    /// Has several targets synced at once. Each is waited for afterwards, in whatever order.
    fn sync_side_by_side<'a>(&self, lasts: impl Iterator<Item = &'a Receipt>, deadline: Boot) {
        let known = lasts.filter_map(|last| Some((self.known(last.target)?, last.sequence)));
        let flushed = known.filter_map(|(target, sequence)| {
            target.flush_to(sequence, deadline).ok().map(|()| target)
        });
        self.env.ask_sync(flushed);
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
            Level::Durable => target.sync_one(receipt.sequence, deadline),
        };
        match done {
            Ok(()) => Ok(Receipt { level, ..receipt }),
            Err(_) => Err(AppendError::InDoubt(receipt)),
        }
    }

    /// Begins a segment of copies of a target's hints, the first of which is `first`. Its space counts
    /// as the target's.
    ///
    /// # Errors
    /// The disk, or a cap on its space, has no room for it.
    pub fn copy(
        &self,
        target: TargetId,
        usage: &Arc<Usage>,
        kind: Kind,
        first: Sequence,
    ) -> Result<SegmentCopy, StorageError> {
        SegmentCopy::create(&self.env, target, usage, kind, first)
    }

    /// Makes all that a target accepted durable.
    pub fn sync(&self, target: &Arc<TargetWriter>) -> bool {
        self.sync_by(target, self.patience())
    }

    fn patience(&self) -> Boot {
        let patience = self.env.config().append_timeout.max(SYNC_PATIENCE);
        self.env.deadline(Some(self.env.clock.boot() + patience))
    }

    fn sync_by(&self, target: &Arc<TargetWriter>, deadline: Boot) -> bool {
        let next = target.next();
        let last = next.before();
        next.get() == Sequence::first_of(self.env.epoch).get()
            || target.sync_to(last, deadline).is_ok()
    }

    /// Ends the open segment of a target, so that it can be retired.
    pub fn roll(&self, target: &Arc<TargetWriter>) {
        let deadline = self.env.deadline(None);
        if let Some(mut file) = target.wait_file(deadline) {
            file.roll(target, false);
        }
    }

    /// Seals what was rolled, as far as the disk has room; the rest is closed without footers.
    pub fn seal_rolled(&self) {
        self.env.seal_all(self.env.deadline(None));
    }

    /// Memory in slabs, and bytes in the kernel that no sync covers.
    pub fn windows(&self) -> (Bytes, Bytes) {
        let env = &self.env;
        (
            Bytes::new(env.pool.used()),
            Bytes::new(env.unsynced_bytes()),
        )
    }

    /// When the oldest hint that is in memory was accepted, and the oldest that no sync covers.
    pub fn windows_since(&self) -> [Option<UnixMillis>; 2] {
        let mut oldest = [UnixMillis::MAX; 2];
        for target in self.env.all_targets() {
            for (oldest, since) in oldest.iter_mut().zip(target.windows_since()) {
                *oldest = since.min(*oldest);
            }
        }
        oldest.map(|since| (since < UnixMillis::MAX).then_some(since))
    }

    /// Whether appends are refused for the disk's sake, and why.
    pub fn trouble(&self) -> Option<Refusal> {
        let full = || self.env.budget.all_full();
        let trouble = self.env.may_append().err();
        trouble.or_else(|| full().map(|cap| Refusal::Full { cap }))
    }

    /// Refuses further appends, then makes everything durable and seals all segments. Returns
    /// false where something could not be made durable.
    pub fn close(&self) -> bool {
        self.env.closed.store(true, SeqCst);
        self.env.pool.freed.raise();
        let mut all = true;
        // One for all that a close does, checkpoints included: behind it, each of a thousand targets is
        // still tried, and none waited for.
        let deadline = self.patience();
        let _first = self.env.closing_by.set(deadline);
        // One that is made from now on is made closed.
        for target in self.env.all_targets() {
            target.close();
            all &= self.sync_by(&target, deadline);
            self.roll(&target);
        }
        self.seal_rolled();
        self.env.spares.discard(&self.env);
        all
    }

    /// Forgets all targets, after [`Writer::close`]: they hold what they share alive.
    pub fn forget(&self) {
        let env = &self.env;
        env.targets.write().clear();
        env.work.clear();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer(epoch {})", self.env.epoch)
    }
}
