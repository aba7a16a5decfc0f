//! Deferred segments: which of them count, and what is missing of those that do.
//!
//! The copies that a checkpoint names are the only ones of their hints. One that no checkpoint names is
//! of a move that did not come to its end, and what it holds is elsewhere, unless the record that named
//! it was damaged. A checkpoint says how many hints of each are pending: what is not there of these, or
//! the whole file, was damaged or removed, and ends as damaged here.

use std::sync::Arc;

use hintstore_format::{
    TargetId,
    journal::{Checkpoint, Deferred, End, Loss, Range, Record},
};
use hintstore_runtime::Clock;
use hintstore_storage::Storage;
use hintstore_writer::Budget;

use super::{OpenReport, Told, count, segments::FoundSegment};
use crate::{
    Result,
    catalog::{Catalog, Entry, Queue, Ranges, State},
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
    /// Takes in the segments that were found; `doubt` where the journal may have told of more.
    pub(super) fn run(
        &mut self,
        found: Vec<FoundSegment>,
        doubt: bool,
        budget: &Budget,
    ) -> Result<()> {
        let since = self.told.of(self.queue.target).since;
        let mut discarded = since.get(End::Discarded);
        for found in found {
            let entry = found.entry;
            let Some(named) = self.named(&entry, doubt)? else {
                // A crash came before the checkpoint that would have named it.
                self.storage.unlink(&entry.name)?;
                self.report.removed += 1;
                continue;
            };
            budget.add(&self.queue.usage, entry.allocated);
            self.take_in(entry, named, &mut discarded)?;
        }
        Ok(())
    }

    /// What the checkpoint says of a segment; adds it where its hints are nowhere else.
    fn named(&mut self, entry: &Entry, doubt: bool) -> Result<Option<Deferred>> {
        let target = self.queue.target;
        if let Some(named) = self.told.of(target).deferred(entry.id) {
            return Ok(Some(named.clone()));
        }
        let orphans = if doubt {
            self.orphans(entry)?
        } else {
            Ranges::default()
        };
        if orphans.is_empty() {
            return Ok(None);
        }
        let named = Deferred {
            segment: entry.id,
            up_to: entry.last(),
            pending: orphans.count(),
            holes: orphans.ranges().to_vec(),
        };
        let mut checkpoint = self.told.of(target).present(target);
        checkpoint.deferred.push(named.clone());
        self.told.tell(Record::Checkpoint(checkpoint));
        Ok(Some(named))
    }

    /// Hints of a deferred segment that no checkpoint names which are nowhere else: the record that
    /// named it was damaged, and the segments that they came from are gone.
    fn orphans(&mut self, entry: &Entry) -> Result<Ranges> {
        let checkpoint = self.told.of(self.queue.target).present(self.queue.target);
        let holes = Ranges::of(&checkpoint.holes);
        let segments = self.queue.segments();
        let mut orphans = Ranges::default();
        count::each(self.storage, entry, |sequence, _, _| {
            let pending = sequence > checkpoint.up_to || holes.contains(sequence);
            let there = |entry: &Arc<Entry>| (entry.first..=entry.last()).contains(&sequence);
            if pending && !segments.iter().any(there) {
                orphans.add(sequence);
            }
        })?;
        Ok(orphans)
    }

    /// Adds a segment to its target. `discarded` hints may have ended since the checkpoint, in any
    /// segment: they are not missing.
    fn take_in(&mut self, mut entry: Entry, named: Deferred, discarded: &mut u64) -> Result<()> {
        let child = self.queue.deferred_of();
        let mut progress = child.progress.lock();
        progress.resume(named.up_to, &named.holes);
        progress.resume_discards(&self.told.of(self.queue.target).discards);
        let mut left = count::pending(self.storage, &entry, &progress)?;
        // Of missing blocks nothing tells on which side of the position they were.
        left.count = left.count.min(named.pending);
        let gone = named.pending - left.count;
        let missing = gone.saturating_sub(*discarded);
        *discarded = discarded.saturating_sub(gone);
        if missing > 0 {
            if let State::Closed(closed) = &mut entry.state {
                closed.damaged = true;
            }
            let range = Range {
                first: entry.first,
                last: entry.last().max(entry.first),
            };
            let target = self.queue.target;
            let checkpoint = self.told.of(target).present(target);
            let left = Deferred {
                pending: left.count,
                ..named
            };
            lose(self.told, checkpoint, left, range, missing, self.clock);
            self.report.damaged += missing;
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
}

/// Ends the hints of segments that a checkpoint names and that are not there. Only for a journal that
/// can be read to its end: what is missing of it may have said that they were done.
pub(super) fn end_missing(
    catalog: &Catalog,
    told: &mut Told,
    clock: &dyn Clock,
    report: &mut OpenReport,
) {
    let targets: Vec<TargetId> = told.state.targets.keys().copied().collect();
    for target in targets {
        let children = catalog.get(target).map(|queue| queue.deferred());
        let children = children.unwrap_or_default();
        let there = |named: &Deferred| {
            let is = |entry: &Arc<Entry>| entry.id == named.segment;
            children.iter().any(|child| child.segments().iter().any(is))
        };
        let checkpoint = told.of(target).present(target);
        for named in &checkpoint.deferred {
            if there(named) || named.pending == 0 {
                continue;
            }
            let first = named.holes.first().map_or(named.up_to, |hole| hole.first);
            let range = Range {
                first,
                last: named.up_to.max(first),
            };
            let (missing, checkpoint) = (named.pending, told.of(target).present(target));
            let left = Deferred {
                pending: 0,
                ..named.clone()
            };
            lose(told, checkpoint, left, range, missing, clock);
            report.damaged += missing;
        }
    }
}

/// Tells that hints of a segment are gone, and what is left of it.
fn lose(
    told: &mut Told,
    mut checkpoint: Checkpoint,
    left: Deferred,
    range: Range,
    count: u64,
    clock: &dyn Clock,
) {
    let target = checkpoint.target;
    checkpoint
        .deferred
        .retain(|known| known.segment != left.segment);
    if left.pending > 0 {
        checkpoint.deferred.push(left);
    }
    told.tell(Record::Checkpoint(checkpoint));
    told.tell(Record::Loss(Loss {
        target,
        range,
        count,
        end: End::Damaged,
        at: clock.wall(),
    }));
}
