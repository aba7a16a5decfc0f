//! The books: every hint accepted ends exactly once, and the sums agree at every moment.

use hintstore_format::{
    TargetId,
    journal::{End, Ends},
};

use crate::target::{Target, Targets};

/// The books of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetLedger {
    /// The target.
    pub target: TargetId,
    /// Its hints since the store was made.
    pub accepted: u64,
    /// How those ended that did.
    pub ends: Ends,
}

impl TargetLedger {
    pub(crate) fn of(target: &Target) -> Self {
        // First the ends: a hint that ends in between was accepted before.
        let ends = target.ends();
        Self {
            target: target.id,
            accepted: target.accepted(),
            ends,
        }
    }

    /// Of a target that never had a hint.
    pub(crate) fn empty(target: TargetId) -> Self {
        Self {
            target,
            accepted: 0,
            ends: Ends::default(),
        }
    }

    /// Hints that have not ended.
    pub fn pending(&self) -> u64 {
        debug_assert!(self.excess() == 0, "more ends than hints: {self:?}");
        self.accepted.saturating_sub(self.ends.total())
    }

    /// By how many ends the books say more than hints were accepted. Zero at every moment: anything
    /// else is a mistake in the engine.
    pub fn excess(&self) -> u64 {
        self.ends.total().saturating_sub(self.accepted)
    }
}

/// The books of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Hints since the store was made.
    pub accepted: u64,
    /// How those ended that did.
    pub ends: Ends,
    /// The same by target, in order of their ids.
    pub targets: Vec<TargetLedger>,
}

impl Ledger {
    pub(crate) fn of(mut targets: Vec<TargetLedger>) -> Self {
        targets.sort_by_key(|books| books.target);
        let mut ledger = Self {
            targets,
            ..Self::default()
        };
        for books in &ledger.targets {
            ledger.accepted += books.accepted;
            ledger.ends.join(&books.ends);
        }
        ledger
    }

    /// The books of all targets.
    pub(crate) fn of_all(targets: &Targets) -> Self {
        let targets = targets.all();
        Self::of(
            targets
                .iter()
                .map(|target| TargetLedger::of(target))
                .collect(),
        )
    }

    /// Hints that have not ended.
    pub fn pending(&self) -> u64 {
        self.targets.iter().map(TargetLedger::pending).sum()
    }

    /// The sum of [`TargetLedger::excess`]: zero at every moment.
    pub fn excess(&self) -> u64 {
        self.targets.iter().map(TargetLedger::excess).sum()
    }

    /// How many hints ended in this way.
    pub fn ended(&self, end: End) -> u64 {
        self.ends.get(end)
    }
}
