//! Appending: admission → target → slab → level.
//!
//! A call goes down only. [`Admission`] says who may append; `call` takes each hint of one call into its
//! target's write path; [`Appender`] brings what was taken to its level.

mod admission;
mod call;
mod hint;
mod outcome;

use std::sync::Arc;

use hintstore_env::{
    Boot,
    sync::{AtomicU64, Ordering::SeqCst},
};
use hintstore_format::{TargetId, frame::Draft};
use hintstore_writer::{ByTarget, Refusal, RefusalCounts, TargetWriter};

use crate::{store_env::StoreEnv, target::Targets};
use call::Call;

pub use admission::Scope;
pub use hint::Hint;
pub use outcome::{AppendError, Batch, Level, Receipt};

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
            refused: RefusalCounts::default(),
        }
    }

    /// Takes a hint, and returns when it has reached `level`, at the latest at `deadline`.
    #[inline]
    pub(crate) fn append<'a>(
        &self,
        hint: Hint<'a>,
        level: Level,
        deadline: Option<Boot>,
    ) -> Result<Receipt, AppendError<'a>> {
        // Most appends wait for nothing: the clock is read when one has to.
        let mut call = Call::new(self, level, deadline);
        let receipt = match call.accept(&hint, || Draft::new(&hint.body)) {
            Ok(sequence) => Receipt::buffered(hint.target, sequence),
            Err(reason) => return Err(AppendError::Refused { hint, reason }),
        };
        if level == Level::Buffered {
            return Ok(receipt);
        }
        let deadline = self.env.writer.deadline(deadline);
        self.reach(receipt, level, deadline)
    }

    /// Takes hints in order until one is refused, then brings all that were taken to `level`.
    pub(crate) fn append_batch(&self, hints: &[Hint<'_>], level: Level) -> Batch {
        let deadline = self.env.writer.deadline(None);
        let mut batch = Batch {
            receipts: Vec::with_capacity(hints.len()),
            refused: None,
        };
        let mut call = Call::new(self, level, Some(deadline));
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
        self.set_levels(batch.receipts.iter_mut(), &lasts);
        batch
    }

    /// Takes one hint for several targets: its payload is checksummed once. The result of each
    /// target is in its place.
    pub(crate) fn append_for(
        &self,
        hint: &Hint<'_>,
        targets: &[TargetId],
        level: Level,
    ) -> Vec<Result<Receipt, Refusal>> {
        let deadline = self.env.writer.deadline(None);
        let mut call = Call::new(self, level, Some(deadline));
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
        self.set_levels(results.iter_mut().flatten(), &lasts);
        results
    }

    /// Waits until a hint that was accepted has reached `level`.
    pub(crate) fn wait(
        &self,
        receipt: Receipt,
        level: Level,
    ) -> Result<Receipt, AppendError<'static>> {
        self.reach(receipt, level, self.env.writer.deadline(None))
    }

    fn writer(&self, target: TargetId) -> Option<Arc<TargetWriter>> {
        Some(self.targets.get(target)?.writer.clone())
    }

    fn reach(
        &self,
        receipt: Receipt,
        level: Level,
        deadline: Boot,
    ) -> Result<Receipt, AppendError<'static>> {
        let is_reached = self
            .writer(receipt.target)
            .is_some_and(|writer| match level {
                Level::Buffered => true,
                Level::Os => writer.reach_kernel(receipt.sequence, deadline),
                Level::Durable => writer.reach_disk(receipt.sequence, deadline),
            });
        if is_reached {
            Ok(Receipt { level, ..receipt })
        } else {
            Err(AppendError::InDoubt(receipt))
        }
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
            if let Ok(reached) = self.reach(*last, level, deadline) {
                *last = reached;
            }
        }
    }

    /// Has several targets synced at once. Each is waited for afterwards, in whatever order.
    fn sync_side_by_side<'a>(&self, lasts: impl Iterator<Item = &'a Receipt>, deadline: Boot) {
        let known = lasts.filter_map(|last| Some((self.writer(last.target)?, last.sequence)));
        let flushed = known.filter_map(|(writer, sequence)| {
            writer.reach_kernel(sequence, deadline).then_some(writer)
        });
        self.env.writer.ask_sync(flushed);
    }

    /// Says of each receipt what it reached, where the last of its target reached some level: not all
    /// before that one need have been saved where a sync failed.
    fn set_levels<'a>(&self, receipts: impl Iterator<Item = &'a mut Receipt>, lasts: &Lasts) {
        for receipt in receipts {
            let Some(last) = lasts.get(&receipt.target) else {
                continue;
            };
            let is_lost = |writer: Arc<TargetWriter>| writer.is_in_doubt(receipt.sequence);
            receipt.level = last.level;
            if last.level == Level::Durable && self.writer(receipt.target).is_some_and(is_lost) {
                receipt.level = Level::Buffered;
            }
        }
    }

    /// How many hints wait for their level.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(SeqCst)
    }
}
