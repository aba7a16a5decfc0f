//! Appending: admission → target → slab → level.
//!
//! A call goes down only. [`Admission`] says who may append; `call` takes each hint of one call into its
//! target's write path; [`Appender`] brings what was taken to its level.

mod admission;
mod call;
mod hint;
mod outcome;
mod pending;

use std::{sync::Arc, time::Duration};

use hintstore_env::{
    Boot,
    sync::{AtomicU64, Ordering::SeqCst, Signal},
};
use hintstore_format::{TargetId, frame::Draft};
use hintstore_writer::{ByTarget, Refusal, RefusalCounts, TargetWriter};

use crate::{store::Store, store_env::StoreEnv, target::Targets};
use call::Call;

pub use admission::Scope;
pub use hint::Hint;
pub use outcome::{AppendError, AppendResult, Durability, Receipt};
pub use pending::Pending;

pub(crate) use admission::Admission;

/// The last receipt of each target of a call.
type Lasts = ByTarget<Receipt>;

/// Takes hints.
#[derive(Debug)]
pub(crate) struct Appender {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
    admission: Arc<Admission>,
    /// Hints that wait for their level.
    pub(crate) in_flight: AtomicU64,
    /// Calls that wait for one of these to have its level; they look again when `places` is raised.
    seekers: AtomicU64,
    places: Signal,
    /// Hints that were refused since the store was opened.
    pub(crate) refused: RefusalCounts,
}

impl Appender {
    pub(crate) fn new(
        env: &Arc<StoreEnv>,
        targets: &Arc<Targets>,
        admission: &Arc<Admission>,
    ) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
            admission: admission.clone(),
            in_flight: AtomicU64::new(0),
            seekers: AtomicU64::new(0),
            places: Signal::new(),
            refused: RefusalCounts::default(),
        }
    }

    /// Takes a hint, and returns when it has reached `level`, or after `timeout`.
    #[inline]
    pub(crate) fn append(
        &self,
        hint: Hint<'_>,
        level: Durability,
        timeout: Option<Duration>,
    ) -> AppendResult {
        // Most appends wait for nothing: the clock is read when one has to.
        let deadline = timeout.map(|timeout| self.env.clock.boot() + timeout);
        let mut call = Call::new(self, level, deadline);
        if timeout.is_some() {
            call = call.patient();
        }
        let sequence = call.accept(&hint, || Draft::new(&hint.body))?;
        let receipt = Receipt::buffered(hint.target, sequence);
        if level == Durability::Buffered {
            return Ok(receipt);
        }
        let deadline = self.env.writer.deadline(deadline);
        self.reach(receipt, level, deadline)
    }

    /// Takes a hint, and has it brought to `level` in the background. Waits for nothing.
    pub(crate) fn submit(
        store: &Arc<Store>,
        hint: Hint<'_>,
        level: Durability,
    ) -> Result<Pending, Refusal> {
        let appender = &store.appender;
        let now = appender.env.clock.boot();
        let mut call = Call::new(appender, level, Some(now));
        let sequence = call.accept(&hint, || Draft::new(&hint.body))?;
        let receipt = Receipt::buffered(hint.target, sequence);
        let target = call.keep_place();
        let pending = Pending::new(store, target.clone(), receipt, level);
        if let Some(target) = target {
            target.writer.request_commit(level == Durability::Durable);
        }
        Ok(pending)
    }

    /// One hint waits for its level no more.
    fn leave_place(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
        if self.seekers.load(SeqCst) > 0 {
            self.places.raise();
        }
    }

    /// Takes hints in order, then brings all that were taken to `level`.
    pub(crate) fn append_batch(&self, hints: &[Hint<'_>], level: Durability) -> Vec<AppendResult> {
        let deadline = self.env.writer.deadline(None);
        let call = Call::new(self, level, Some(deadline));
        self.take_batch(call, hints, level, deadline)
    }

    /// The same, of hints that are in the store already: those that are refused are not lost.
    pub(crate) fn append_copies(&self, hints: &[Hint<'_>], level: Durability) -> Vec<AppendResult> {
        let deadline = self.env.writer.deadline(None);
        let call = Call::new(self, level, Some(deadline)).copying();
        self.take_batch(call, hints, level, deadline)
    }

    fn take_batch(
        &self,
        mut call: Call<'_>,
        hints: &[Hint<'_>],
        level: Durability,
        deadline: Boot,
    ) -> Vec<AppendResult> {
        let take = |hint: &Hint<'_>| {
            let sequence = call.accept(hint, || Draft::new(&hint.body))?;
            Ok(Receipt::buffered(hint.target, sequence))
        };
        let taken = hints.iter().map(take).collect();
        self.reach_all(taken, level, deadline)
    }

    /// Takes one hint for several targets: its payload is checksummed once.
    pub(crate) fn append_for(
        &self,
        hint: &Hint<'_>,
        targets: &[TargetId],
        level: Durability,
    ) -> Vec<AppendResult> {
        let deadline = self.env.writer.deadline(None);
        let mut call = Call::new(self, level, Some(deadline));
        let mut draft = None;
        let take = |target: &TargetId| {
            let addressed = Hint {
                target: *target,
                ..*hint
            };
            let sequence = call.accept(&addressed, || {
                *draft.get_or_insert_with(|| Draft::new(&hint.body))
            })?;
            Ok(Receipt::buffered(*target, sequence))
        };
        let taken = targets.iter().map(take).collect();
        self.reach_all(taken, level, deadline)
    }

    /// Waits until a hint that was accepted has reached `level`.
    pub(crate) fn wait(
        &self,
        receipt: Receipt,
        level: Durability,
        timeout: Option<Duration>,
    ) -> AppendResult {
        let deadline = timeout.map(|timeout| self.env.clock.boot() + timeout);
        self.reach(receipt, level, self.env.writer.deadline(deadline))
    }

    fn writer(&self, target: TargetId) -> Option<Arc<TargetWriter>> {
        Some(self.targets.get(target)?.writer.clone())
    }

    fn reach(&self, receipt: Receipt, level: Durability, deadline: Boot) -> AppendResult {
        // Of an earlier opening nobody knows what it had reached.
        let is_known = receipt.sequence.epoch() == self.env.epoch;
        let writer = self.writer(receipt.target).filter(|_| is_known);
        let is_reached = writer.is_some_and(|writer| match level {
            Durability::Buffered => true,
            Durability::Os => writer.reach_kernel(receipt.sequence, deadline),
            Durability::Durable => writer.reach_disk(receipt.sequence, deadline),
        });
        if is_reached {
            let durability = level;
            Ok(Receipt {
                durability,
                ..receipt
            })
        } else {
            Err(AppendError::InDoubt(receipt))
        }
    }

    /// Brings what was taken to `level`: of each target the last hint, behind which all are as safe as
    /// it, except those that a failed sync left in doubt.
    fn reach_all(
        &self,
        taken: Vec<AppendResult>,
        level: Durability,
        deadline: Boot,
    ) -> Vec<AppendResult> {
        if level == Durability::Buffered {
            return taken;
        }
        let receipts = taken.iter().filter_map(|taken| taken.as_ref().ok());
        let lasts: Lasts = receipts.map(|receipt| (receipt.target, *receipt)).collect();
        if level == Durability::Durable && lasts.len() > 1 {
            self.sync_side_by_side(lasts.values(), deadline);
        }
        let reach = |(target, last): (TargetId, Receipt)| {
            let reached = self.reach(last, level, deadline).is_ok();
            (target, reached)
        };
        let reached: ByTarget<bool> = lasts.into_iter().map(reach).collect();
        let outcome = |taken: AppendResult| {
            let receipt = taken?;
            let is_lost = |writer: Arc<TargetWriter>| writer.is_in_doubt(receipt.sequence);
            let is_reached = reached.get(&receipt.target).is_some_and(|reached| *reached)
                && !(level == Durability::Durable
                    && self.writer(receipt.target).is_some_and(is_lost));
            if !is_reached {
                return Err(AppendError::InDoubt(receipt));
            }
            Ok(Receipt {
                durability: level,
                ..receipt
            })
        };
        taken.into_iter().map(outcome).collect()
    }

    /// Has several targets synced at once. Each is waited for afterwards, in whatever order.
    fn sync_side_by_side<'a>(&self, lasts: impl Iterator<Item = &'a Receipt>, deadline: Boot) {
        let known = lasts.filter_map(|last| Some((self.writer(last.target)?, last.sequence)));
        let flushed = known.filter_map(|(writer, sequence)| {
            writer.reach_kernel(sequence, deadline).then_some(writer)
        });
        self.env.writer.ask_sync(flushed);
    }

    /// How many hints wait for their level.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(SeqCst)
    }
}
