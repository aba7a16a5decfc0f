//! Compaction: rewrites segments that are mostly dead, and merges small ones.
//!
//! `choose` goes by footers and books (the rules are `hintstore-sweep`'s); [`Pass`] takes one group of segments
//! after another: a new segment is written and synced, takes their place in the list, and the next
//! checkpoint retires them. `swap` is that exchange. Order and keys of the hints stay as they are, and
//! delivery goes on all the while.

mod choose;
mod pass;
mod swap;

use std::{sync::Arc, time::Duration};

use hintstore_env::{Boot, Next, Step, Waker};
use hintstore_format::TargetId;
use hintstore_writer::Bytes;

pub(crate) use choose::Choice;
pub use hintstore_sweep::Reason;
pub(crate) use pass::{By, Pass};

/// What a compaction does: see [`crate::HintStore::compact`].
///
/// ```
/// # use hintstore::{Compact, TargetId};
/// # let replica = TargetId::from_u128(1);
/// let what = Compact::everything().target(replica);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compact {
    /// Only segments of this target.
    pub target: Option<TargetId>,
    /// Whatever gives anything back is rewritten, not only what is worth it.
    pub is_everything: bool,
}

impl Compact {
    /// What the store does by itself: segments that are half dead, where at least 64 KiB comes free, and eight
    /// or more small neighbours.
    pub fn worthwhile() -> Self {
        Self {
            target: None,
            is_everything: false,
        }
    }

    /// Whatever gives anything back: segments with anything dead in them, and neighbours that fit into one.
    pub fn everything() -> Self {
        Self {
            is_everything: true,
            ..Self::worthwhile()
        }
    }

    /// Only segments of this target.
    #[must_use]
    pub fn target(self, target: impl Into<Option<TargetId>>) -> Self {
        let target = target.into();
        Self { target, ..self }
    }
}

/// What became, or would become, of neighbouring segments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// The target that they are of.
    pub target: TargetId,
    /// The names of their files, in order.
    pub files: Vec<String>,
    /// Why they are rewritten.
    pub reason: Reason,
    /// Bytes that their files took.
    pub before: Bytes,
    /// Bytes that what is left of them takes; in a plan an estimate.
    pub after: Bytes,
    /// Hints that ended as expired by it: they were dead. None in a plan.
    pub expired: u64,
    /// Hints that ended as fenced by it. None in a plan.
    pub fenced: u64,
    /// Hints that ended as superseded by it: a newer one of the same key is delivered. None in a plan.
    pub superseded: u64,
    /// Hints that ended as discarded by it, by [`crate::HintStore::discard`].
    pub discarded: u64,
}

/// What a compaction did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// What was rewritten, the largest gain first.
    pub compacted: Vec<Compacted>,
    /// Files that were left as they are, and why.
    pub skipped: Vec<(String, String)>,
    /// The disk failed, or has no room: that is why for some of them.
    pub has_failed: bool,
    /// It ended before all was done: it was cancelled, or the store is being closed.
    pub is_cancelled: bool,
}

impl Compaction {
    /// Bytes that came free, or would.
    pub fn freed(&self) -> Bytes {
        let each = self.compacted.iter();
        let gain = |of: &Compacted| of.before.get().saturating_sub(of.after.get());
        Bytes::new(each.map(gain).sum())
    }
}

/// What compactions did since the store was opened, by themselves and by calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionTotals {
    /// Runs that came to their end.
    pub runs: u64,
    /// Files that were rewritten.
    pub files: u64,
    /// Bytes that came free.
    pub freed: Bytes,
    /// The files that the last run left as they are, and why.
    pub skipped: Vec<(String, String)>,
}

impl CompactionTotals {
    fn add(&mut self, run: &Compaction) {
        self.runs += 1;
        let files = run.compacted.iter().map(|of| of.files.len() as u64);
        self.files += files.sum::<u64>();
        self.freed = Bytes::new(self.freed.get() + run.freed().get());
        self.skipped.clone_from(&run.skipped);
    }
}

/// Compacts at its own interval.
#[derive(Debug)]
pub(crate) struct CompactStep {
    pub(crate) pass: Arc<Pass>,
    pub(crate) waker: Waker,
}

/// What is looked at where compaction is switched off: settings may have changed.
const IDLE: Duration = Duration::from_mins(1);

impl Step for CompactStep {
    fn name(&self) -> &'static str {
        "compact"
    }

    fn step(&self, _: Boot) -> Next {
        let interval = self.pass.interval();
        if interval.is_some() {
            // What failed is tried again at the next occasion.
            drop(self.pass.run(&Compact::worthwhile(), By::Itself));
        }
        Next::After(self.pass.interval().unwrap_or(IDLE))
    }
}
