//! Deferred segments: which of them count, and what is missing of those that do.
//!
//! The copies that a checkpoint names are the only ones of their hints. One that no checkpoint names is
//! of a move that did not come to its end, and what it holds is elsewhere, unless the record that named
//! it was damaged, or the segments that it was merged from are gone. A checkpoint says how many hints of
//! each segment are pending: what is not there of these ends here.

use std::sync::Arc;

use hintstore_env::{Clock, Storage, sync::Mutex};
use hintstore_format::{
    TargetId,
    journal::{Cause, Deferred, Discard, End, MissingHints, Range, Record, Retired},
};
use hintstore_writer::{Budget, SegmentEntry, Segments, State};

use super::{
    JournalDraft, OpenReport,
    cases::{DeferredCase, DeferredFacts, deferred_case_of},
    count,
    scan::FoundSegment,
};
use crate::{
    Result, loss,
    target::{Backlog, FoundTarget, Progress, Ranges},
};

/// What the deferred segments of one target are recovered with.
pub(super) struct Recovery<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) clock: &'a dyn Clock,
    pub(super) target: TargetId,
    pub(super) found: &'a mut FoundTarget,
    pub(super) draft: &'a mut JournalDraft,
    pub(super) report: &'a mut OpenReport,
    /// Segments that are to be removed.
    pub(super) unneeded: &'a mut Vec<Arc<str>>,
}

/// Whether a segment has fewer hints than sequences: then it has to be read to know which.
fn has_gaps(entry: &SegmentEntry) -> bool {
    entry.closed().is_some_and(|closed| {
        let span = closed.last.plus(1).get().saturating_sub(entry.first.get());
        closed.count < span
    })
}

/// What the checkpoint is to say instead, where it is to say something else.
#[derive(Default)]
struct Changes {
    deferred: Vec<Deferred>,
    retired: Vec<Retired>,
    losses: Vec<(Range, u64, End)>,
    adopted: u64,
}

impl Recovery<'_> {
    /// Takes in the segments that were found. `doubt`: the journal may have said more than can be read.
    pub(super) fn run(
        &mut self,
        found: Vec<FoundSegment>,
        doubt: bool,
        budget: &Budget,
    ) -> Result<()> {
        let known = self.draft.of(self.target);
        let mut checkpoint = known.present(self.target);
        let since = known.discards_since.iter().map(|discard| discard.count);
        let since: u64 = since.sum();
        let is_missing =
            |named: &&Deferred| found.iter().all(|found| found.entry.id != named.segment);
        let missing: Vec<Deferred> = checkpoint
            .deferred
            .iter()
            .filter(is_missing)
            .cloned()
            .collect();
        let mut changes = Changes::default();
        for found in found {
            let entry = found.entry;
            let mut named = checkpoint.deferred.iter();
            let named = named.find(|named| named.segment == entry.id).cloned();
            let in_doubt = doubt || !missing.is_empty();
            let orphans = if named.is_none() && in_doubt {
                self.orphans(&entry, &missing)?
            } else {
                Ranges::default()
            };
            let case = deferred_case_of(DeferredFacts {
                is_named: named.is_some(),
                in_doubt,
                has_orphans: !orphans.is_empty(),
            });
            let named = match (case, named) {
                (DeferredCase::Named, Some(named)) => named,
                (DeferredCase::Adopted, _) => {
                    changes.adopted += orphans.count();
                    Deferred {
                        segment: entry.id,
                        up_to: entry.last(),
                        pending: orphans.count(),
                        holes: orphans.ranges().to_vec(),
                    }
                }
                (DeferredCase::Named | DeferredCase::Unnamed, _) => {
                    self.unneeded.push(entry.name);
                    self.report.removed += 1;
                    continue;
                }
            };
            budget.add(&self.found.usage, entry.allocated);
            self.take_in(entry, named, &mut changes)?;
        }
        if changes.losses.is_empty() && changes.adopted == 0 && missing.is_empty() {
            return Ok(());
        }
        // Where the journal is whole, nothing else can have become of them.
        let end = if doubt { End::Lost } else { End::Damaged };
        // What was merged into another segment is there, and nobody knows what was discarded of it.
        let mut elsewhere = changes.adopted + since;
        for named in &missing {
            let lost = named.pending.saturating_sub(elsewhere);
            elsewhere = elsewhere.saturating_sub(named.pending);
            let first = named.holes.first().map_or(named.up_to, |hole| hole.first);
            let last = named.up_to.max(first);
            changes.losses.push((Range { first, last }, lost, end));
        }
        for (range, count, end) in changes.losses {
            self.lose(range, count, end);
        }
        checkpoint.ends = self.draft.of(self.target).ends();
        checkpoint.deferred = changes.deferred;
        checkpoint.retired = changes.retired;
        self.draft.add(Record::Checkpoint(checkpoint));
        Ok(())
    }

    /// Hints of a deferred segment that no checkpoint names which are nowhere else: the record that
    /// named it was damaged, or the segments that they came from are gone. None that was discarded.
    fn orphans(&mut self, entry: &SegmentEntry, missing: &[Deferred]) -> Result<Ranges> {
        let known = self.draft.of(self.target);
        let (checkpoint, discards) = (known.present(self.target), known.all_discards());
        let mut holes = Ranges::of(&checkpoint.holes);
        for range in missing.iter().flat_map(|missing| &missing.holes) {
            holes.insert(*range);
        }
        let up_to = missing.iter().map(|missing| missing.up_to);
        let up_to = up_to.fold(checkpoint.up_to, std::cmp::min);
        let segments = self.found.backlog.segments.all();
        let mut orphans = Ranges::default();
        count::each(self.storage, entry, |sequence, namespace, body| {
            let created = body.created;
            let is_discarded = |discard: &Discard| discard.covers(sequence, namespace, created);
            let pending = sequence > up_to || holes.contains(sequence);
            let there = |entry: &Arc<SegmentEntry>| {
                let is_within = (entry.first..=entry.last()).contains(&sequence);
                is_within && !has_gaps(entry)
            };
            if pending && !discards.iter().any(is_discarded) && !segments.iter().any(there) {
                orphans.add(sequence);
            }
        })?;
        // What a compacted segment spans need not be in it.
        for entry in segments.iter().filter(|entry| has_gaps(entry)) {
            if orphans.count_within(entry.first, entry.last()) > 0 {
                count::each(self.storage, entry, |sequence, _, _| {
                    let (first, last) = (sequence, sequence);
                    orphans.remove(Range { first, last });
                })?;
            }
        }
        Ok(orphans)
    }

    /// Adds a segment to its target.
    fn take_in(
        &mut self,
        mut entry: SegmentEntry,
        named: Deferred,
        changes: &mut Changes,
    ) -> Result<()> {
        let known = self.draft.of(self.target);
        let (then, all) = (known.discards.clone(), known.all_discards());
        let mut progress = Progress::default();
        // What is there of what the checkpoint counts: what was discarded since is among it.
        let mut counted = Progress::default();
        counted.resume(named.up_to, &named.holes);
        counted.resume_discards(&then);
        let there = count::pending(self.storage, &entry, &counted, count::Broken::Apart)?.count;
        let missing = named.pending.saturating_sub(there);
        progress.resume(named.up_to, &named.holes);
        progress.resume_discards(&all);
        let mut left = count::pending(self.storage, &entry, &progress, count::Broken::Apart)?;
        // Of missing blocks nothing tells on which side of the position they were.
        left.count = left.count.min(named.pending - missing);
        if missing > 0 {
            if let State::Closed(closed) = &mut entry.state {
                closed.damaged = true;
            }
            let (first, last) = (entry.first, entry.last().max(entry.first));
            let range = Range { first, last };
            changes.losses.push((range, missing, End::Damaged));
        }
        if left.count > 0 || missing == 0 {
            let pending = left.count;
            changes.deferred.push(Deferred { pending, ..named });
        } else {
            // With nothing left in it, it is only kept for an operator.
            changes.retired.push(entry.retired(true));
        }
        let mut holes = Ranges::default();
        count::book(&entry, &left, &mut progress, &mut holes);
        progress.again = holes.clone();
        progress.unended = holes;
        self.found.deferred.push(Arc::new(Backlog {
            segments: Arc::new(Segments::of(entry)),
            progress: Mutex::new(progress),
        }));
        Ok(())
    }

    /// Tells that hints are gone.
    fn lose(&mut self, range: Range, count: u64, end: End) {
        if count == 0 {
            return;
        }
        if end == End::Damaged {
            self.report.damaged += count;
        } else {
            self.report.lost += count;
        }
        let (target, at) = (self.target, self.clock.wall());
        self.draft.add(Record::Missing(MissingHints {
            target,
            range,
            count,
            end,
            at,
        }));
        if let Some(cause) = Cause::of(end) {
            let loss = loss::of_unknown(Some(target), count, u64::MAX, cause, at);
            self.draft.add(Record::Loss(loss));
        }
    }
}
