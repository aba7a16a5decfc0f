//! Which hints of a native store are still to be delivered, as far as files tell.

use std::collections::{BTreeMap, BTreeSet};

use hintstore::{
    Sequence, TargetId, UnixMillis,
    inspect::{JournalView, SegmentId},
};

use hintstore::raw::format::{descriptor::Kind, footer::Summary};

use super::{HintSource, HintView, Input};
use crate::output::Output;

/// What the journal says, and what was met so far.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    journal: JournalView,
    retired: BTreeSet<SegmentId>,
    /// The last sequence of each target: what a failed sync left in two files counts once.
    last: BTreeMap<TargetId, Sequence>,
}

impl Pending {
    /// Of a whole native store; of anything else, all is pending.
    pub(crate) fn of(input: &Input, output: &mut Output) -> anyhow::Result<Self> {
        Ok(Self::new(if input.is_directory {
            input.journal(output)?
        } else {
            input.quiet_journal()
        }))
    }

    pub(crate) fn new(journal: JournalView) -> Self {
        Self {
            retired: journal.retired.iter().copied().collect(),
            journal,
            last: BTreeMap::new(),
        }
    }

    /// Whether all of a segment is to be delivered, as far as that can be said without a look at each hint.
    /// Segments of a target are asked for in order.
    pub(crate) fn has_all_of(&mut self, summary: &Summary) -> bool {
        let view = self.journal.target(summary.target);
        let last = self.last.entry(summary.target).or_default();
        let has_all = summary.kind == Kind::Hints
            && !self.retired.contains(&summary.segment)
            && self.journal.fences.is_empty()
            && view.is_none_or(|view| view.discards.is_empty() && summary.first > view.up_to)
            && summary.first > *last;
        if has_all {
            *last = summary.last;
        }
        has_all
    }

    /// Whether a hint is to be delivered. Hints of a target are asked for in order.
    pub(crate) fn has(&mut self, hint: &HintView<'_>) -> bool {
        let HintSource::Native {
            segment,
            kind,
            sequence,
            ..
        } = hint.from
        else {
            return true;
        };
        if self.retired.contains(&segment) {
            // All of it has ended, or is in another segment: a crash came before it was removed.
            return false;
        }
        if kind == Kind::Hints {
            let last = self.last.entry(hint.target).or_default();
            if sequence <= *last {
                return false;
            }
            *last = sequence;
        }
        let created = UnixMillis::new(hint.created_ms);
        let mut fences = self.journal.fences.iter();
        if fences.any(|(of, before)| *of == hint.namespace && created < *before) {
            return false;
        }
        self.journal.target(hint.target).is_none_or(|view| {
            let mut discards = view.discards.iter();
            view.is_pending(segment, kind, sequence)
                && !discards.any(|d| d.covers(sequence, hint.namespace, created))
        })
    }
}
