//! Deferred segments: which of them count, and what is missing of those that do.
//!
//! The copies that a checkpoint names are the only ones of their hints. One that no checkpoint names is
//! of a move that did not come to its end, and what it holds is elsewhere, unless the record that named
//! it was damaged, or the segments that it was merged from are gone. A checkpoint says how many hints of
//! each segment are pending: what is not there of these ends here.

use std::sync::Arc;

use hintstore_format::{
    TargetId,
    journal::{Deferred, End, Loss, Range, Record, Retired},
};
use hintstore_runtime::Clock;
use hintstore_storage::Storage;
use hintstore_writer::Budget;

use super::{OpenReport, Told, count, segments::FoundSegment};
use crate::{
    Result,
    catalog::{Entry, Queue, Ranges, State},
};

/// What the deferred segments of one target are recovered with.
pub(super) struct Recovery<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) clock: &'a dyn Clock,
    pub(super) queue: &'a Queue,
    pub(super) told: &'a mut Told,
    pub(super) report: &'a mut OpenReport,
}

impl Recovery<'_> {
    /// Takes in the segments that were found. `doubt`: the journal may have said more than can be read.
    pub(super) fn run(
        &mut self,
        found: Vec<FoundSegment>,
        doubt: bool,
        budget: &Budget,
    ) -> Result<()> {
        let target = self.target();
        let is_missing =
            |named: &Deferred| found.iter().all(|found| found.entry.id != named.segment);
        let checkpoint = self.told.of(target).present(target);
        let named = checkpoint.deferred.into_iter();
        let missing: Vec<Deferred> = named.filter(is_missing).collect();
        let mut adopted = 0;
        for found in found {
            let entry = found.entry;
            let named = self.told.of(target).deferred(entry.id).cloned();
            let named = if let Some(named) = named {
                named
            } else if let Some(named) = self.adopt(&entry, doubt, &missing)? {
                adopted += named.pending;
                named
            } else {
                // A crash came before the checkpoint that would have named it.
                self.storage.unlink(&entry.name)?;
                self.report.removed += 1;
                continue;
            };
            budget.add(&self.queue.usage, entry.allocated);
            self.take_in(entry, &named)?;
        }
        // Where the journal is whole, nothing else can have become of them.
        let end = if doubt { End::Lost } else { End::Damaged };
        for named in missing {
            // What was merged into another segment is there.
            let lost = named.pending.saturating_sub(adopted);
            adopted = adopted.saturating_sub(named.pending);
            let first = named.holes.first().map_or(named.up_to, |hole| hole.first);
            let last = named.up_to.max(first);
            self.lose(Range { first, last }, lost, end);
            if doubt {
                self.report.lost += lost;
            } else {
                self.report.damaged += lost;
            }
            self.restate(&named, None, None);
        }
        Ok(())
    }

    fn target(&self) -> TargetId {
        self.queue.target
    }

    /// Takes a segment that no checkpoint names for one that was named, where its hints are nowhere else.
    fn adopt(
        &mut self,
        entry: &Entry,
        doubt: bool,
        missing: &[Deferred],
    ) -> Result<Option<Deferred>> {
        if !doubt && missing.is_empty() {
            return Ok(None);
        }
        let orphans = self.orphans(entry, missing)?;
        if orphans.is_empty() {
            return Ok(None);
        }
        let named = Deferred {
            segment: entry.id,
            up_to: entry.last(),
            pending: orphans.count(),
            holes: orphans.ranges().to_vec(),
        };
        self.restate(&named, Some(named.clone()), None);
        Ok(Some(named))
    }

    /// Hints of a deferred segment that no checkpoint names which are nowhere else: the record that
    /// named it was damaged, and the segments that they came from are gone.
    fn orphans(&mut self, entry: &Entry, missing: &[Deferred]) -> Result<Ranges> {
        let target = self.target();
        let checkpoint = self.told.of(target).present(target);
        let mut holes = Ranges::of(&checkpoint.holes);
        for range in missing.iter().flat_map(|missing| &missing.holes) {
            holes.insert(*range);
        }
        let up_to = missing.iter().map(|missing| missing.up_to);
        let up_to = up_to.fold(checkpoint.up_to, std::cmp::min);
        let segments = self.queue.segments();
        let mut orphans = Ranges::default();
        count::each(self.storage, entry, |sequence, _, _| {
            let pending = sequence > up_to || holes.contains(sequence);
            let there = |entry: &Arc<Entry>| (entry.first..=entry.last()).contains(&sequence);
            if pending && !segments.iter().any(there) {
                orphans.add(sequence);
            }
        })?;
        Ok(orphans)
    }

    /// Adds a segment to its target.
    fn take_in(&mut self, mut entry: Entry, named: &Deferred) -> Result<()> {
        let child = self.queue.deferred_of();
        let mut progress = child.progress.lock();
        progress.resume(named.up_to, &named.holes);
        progress.resume_discards(&self.told.of(self.target()).discards);
        let mut left = count::pending(self.storage, &entry, &progress)?;
        // Of missing blocks nothing tells on which side of the position they were.
        left.count = left.count.min(named.pending);
        let missing = named.pending - left.count;
        if missing > 0 {
            if let State::Closed(closed) = &mut entry.state {
                closed.damaged = true;
            }
            let (first, last) = (entry.first, entry.last().max(entry.first));
            self.lose(Range { first, last }, missing, End::Damaged);
            self.report.damaged += missing;
            let stays = Deferred {
                pending: left.count,
                ..named.clone()
            };
            // With nothing left in it, it is only kept for an operator.
            let (stays, goes) = if left.count > 0 {
                (Some(stays), None)
            } else {
                (None, Some(entry.retired(true)))
            };
            self.restate(named, stays, goes);
        }
        let mut holes = Ranges::default();
        count::book(&entry, &left, &mut progress, &mut holes);
        progress.again = holes.clone();
        progress.unended = holes;
        drop(progress);
        child.recover(entry);
        self.queue.add_deferred(Arc::new(child));
        Ok(())
    }

    /// Tells that hints are gone.
    fn lose(&mut self, range: Range, count: u64, end: End) {
        if count > 0 {
            self.told.tell(Record::Loss(Loss {
                target: self.target(),
                range,
                count,
                end,
                at: self.clock.wall(),
            }));
        }
    }

    /// Has the checkpoint say this of a segment instead of what it said, and perhaps that it is done.
    fn restate(&mut self, named: &Deferred, stays: Option<Deferred>, goes: Option<Retired>) {
        let target = self.target();
        let mut checkpoint = self.told.of(target).present(target);
        checkpoint
            .deferred
            .retain(|known| known.segment != named.segment);
        checkpoint.deferred.extend(stays);
        checkpoint.retired.extend(goes);
        self.told.tell(Record::Checkpoint(checkpoint));
    }
}
