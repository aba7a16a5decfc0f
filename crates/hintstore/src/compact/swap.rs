//! Rewrites neighbouring segments of a target into one, which takes their place.
//!
//! What is pending is looked at under the books of the target, the copy is made without them, and the
//! exchange is under them again: hints that ended in between are counted as ended in the new segment, and
//! those that were found dead end now. From the exchange to the next checkpoint both the old files and the
//! new one are there; a crash in between leaves the old ones, with what the journal says of them.

use std::sync::Arc;

use hintstore_env::Result;
use hintstore_format::journal::{Discard, End, Range};
use hintstore_sweep::{HintFacts, Rewritten, rewrite};
use hintstore_writer::{Bytes, Copied, SegmentCopy, SegmentEntry};

use crate::{
    expire::{Fences, Verdict},
    store_env::StoreEnv,
    target::{Progress, Ranges, Target},
};

/// What is rewritten, and with what.
pub(super) struct Swap<'a> {
    pub(super) env: &'a StoreEnv,
    pub(super) fences: &'a Fences,
    pub(super) target: &'a Target,
    /// Neighbours of one opening, all sealed.
    pub(super) entries: &'a [Arc<SegmentEntry>],
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Swapped {
    pub(super) after: Bytes,
    pub(super) expired: u64,
    pub(super) fenced: u64,
}

/// What was decided over the hints.
#[derive(Debug, Default)]
struct Sorted {
    kept: Ranges,
    expired: Ranges,
    fenced: Ranges,
}

const CHANGED: &str = "its hints changed while it was rewritten";

impl Swap<'_> {
    /// Rewrites; says why not, where that is no failure.
    pub(super) fn run(
        &self,
        pace: impl FnMut(u64) -> bool,
    ) -> Result<std::result::Result<Swapped, &'static str>> {
        let backlog = &self.target.backlog;
        let progress = backlog.progress.lock();
        if !self.are_listed() {
            return Ok(Err(CHANGED));
        }
        let pending = self.pending(&progress);
        let discards = progress.exceptional.discards.clone();
        drop(progress);
        let (id, usage) = (self.target.id, self.target.writer.usage());
        let mut copy = self.env.writer.rewrite(id, usage, self.entries)?;
        let mut sorted = Sorted::default();
        let keep = |hint: &HintFacts| self.sort(hint, &pending, &discards, &mut sorted);
        let copied = match rewrite(&*self.env.storage, self.entries, &mut copy, keep, pace) {
            Ok(Rewritten::Whole) => finish(copy)?,
            Ok(Rewritten::Stopped) => {
                copy.give_up();
                return Ok(Err("stopped"));
            }
            Ok(_) => {
                copy.give_up();
                return Ok(Err("it is damaged or gone: delivery deals with it"));
            }
            Err(error) => {
                copy.give_up();
                return Err(error);
            }
        };
        match self.exchange(&sorted, copied, &discards) {
            Ok(swapped) => Ok(Ok(swapped)),
            Err(copied) => {
                if let Some(copied) = copied {
                    self.env.writer.give_up(usage, copied);
                }
                Ok(Err(CHANGED))
            }
        }
    }

    fn are_listed(&self) -> bool {
        let segments = &self.target.backlog.segments;
        self.entries.iter().all(|entry| segments.holds(entry.id))
    }

    /// What has not ended of where the segments are, handed out or not.
    fn pending(&self, progress: &Progress) -> Ranges {
        let mut pending = Ranges::default();
        let behind = progress.frontier.plus(1);
        for entry in self.entries {
            let (first, last) = (entry.first, entry.last());
            let within = Ranges::of(&[Range { first, last }]);
            pending.join(&progress.unended.and(&within));
            if behind <= last {
                pending.insert(Range {
                    first: behind.max(first),
                    last,
                });
            }
        }
        pending
    }

    /// Whether a hint is kept.
    fn sort(
        &self,
        hint: &HintFacts,
        pending: &Ranges,
        discards: &[Discard],
        sorted: &mut Sorted,
    ) -> bool {
        let (sequence, namespace, created) = (hint.sequence, hint.namespace, hint.created);
        let covers = |discard: &Discard| discard.covers(sequence, namespace, created);
        if !pending.contains(sequence) || discards.iter().any(covers) {
            return false;
        }
        let policy = self.env.policy.get();
        let deadline = policy.deadline(namespace, created, hint.lifetime);
        if self.fences.covers(namespace, created) {
            sorted.fenced.add(sequence);
            false
        } else if self.env.now().judge(deadline) == Verdict::Dead {
            sorted.expired.add(sequence);
            false
        } else {
            sorted.kept.add(sequence);
            true
        }
    }

    /// Puts the copy in the place of what it was made from, and books what ended; gives the copy back where
    /// that cannot be.
    fn exchange(
        &self,
        sorted: &Sorted,
        copied: Option<Copied>,
        discards: &[Discard],
    ) -> std::result::Result<Swapped, Option<Copied>> {
        let segments = &self.target.backlog.segments;
        let mut progress = self.target.backlog.progress.lock();
        progress.apply_moves(segments);
        let pending = self.pending(&progress);
        let still = |ranges: &Ranges| ranges.and(&pending);
        let (expired, fenced) = (still(&sorted.expired), still(&sorted.fenced));
        let kept = still(&sorted.kept).count();
        let known: u64 = self
            .entries
            .iter()
            .map(|entry| progress.pending_in(entry))
            .sum();
        // A truncation came in between, or something that was not seen.
        let is_changed = !self.are_listed()
            || progress.exceptional.discards != discards
            || known != kept + expired.count() + fenced.count();
        if is_changed {
            return Err(copied);
        }
        progress.end_unread(segments, &expired, End::Expired);
        progress.end_unread(segments, &fenced, End::Fenced);
        let ids: Vec<_> = self.entries.iter().map(|entry| entry.id).collect();
        for entry in self.entries {
            progress.ended_in.remove(&entry.id);
            progress.exceptional.leaving.push((entry.clone(), false));
        }
        let mut after = Bytes::new(0);
        let by = copied.map(|copied| SegmentEntry::copied(&copied));
        if let Some(by) = &by {
            after = by.allocated;
            progress.count_in(by.id, sorted.kept.count() - kept);
        }
        segments.exchange(&ids, by);
        progress.frontier_cursor.reset();
        progress.retry_cursor = None;
        progress.dirty = true;
        drop(progress);
        self.env.activity.touch();
        Ok(Swapped {
            after,
            expired: expired.count(),
            fenced: fenced.count(),
        })
    }
}

/// Makes a copy durable; nothing where nothing was kept.
fn finish(copy: SegmentCopy) -> Result<Option<Copied>> {
    if copy.is_empty() {
        copy.give_up();
        return Ok(None);
    }
    copy.finish().map(Some)
}
