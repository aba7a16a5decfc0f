//! Rewrites neighbouring segments of a target into one, which takes their place.
//!
//! What is pending is looked at under the books of the target, the copy is made without them, and the
//! exchange is under them again: hints that ended in between are counted as ended in the new segment, and
//! those that were found dead end now. From the exchange to the next checkpoint both the old files and the
//! new one are there; a crash in between leaves the old ones, with what the journal says of them.

use std::sync::Arc;

use hintstore_env::Result;
use hintstore_format::{
    Namespace, SegmentId, Sequence, StoreId, UnixMillis,
    expiry::Policy,
    frame::Collapse,
    journal::{Cause, Discard, End, Loss, Losses, Range},
};
use hintstore_sweep::{HintFacts, Newest, Rewritten, rewrite, survey};
use hintstore_writer::{Bytes, Copied, SegmentCopy, SegmentEntry};

use crate::{
    expire::{Fences, Now, Verdict},
    loss,
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
    /// Hints that are discarded by it.
    pub(super) discard: Option<&'a Ranges>,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Swapped {
    pub(super) after: Bytes,
    pub(super) expired: u64,
    pub(super) fenced: u64,
    pub(super) superseded: u64,
    pub(super) discarded: u64,
    /// What is there now, if anything is left.
    pub(super) by: Option<(StoreId, SegmentId)>,
}

/// What hints are judged by: as it was when the rewriting began.
struct Judge<'a> {
    fences: &'a Fences,
    policy: Arc<Policy>,
    now: Now,
    pending: Ranges,
    /// Hints up to here were handed out: these end in no other way than by their answer, or by time.
    frontier: Sequence,
    discards: Vec<Discard>,
    /// Where the newest write wins.
    last_write_wins: Vec<Namespace>,
    newest: Newest,
    discard: Option<&'a Ranges>,
}

/// What is to become of a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It has ended.
    Over,
    Expired,
    Fenced,
    Superseded,
    Discarded,
    Kept,
}

/// What was decided over the hints.
#[derive(Debug, Default)]
struct Sorted {
    kept: Ranges,
    expired: Ranges,
    fenced: Ranges,
    superseded: Ranges,
    discarded: Ranges,
    /// What expired or was discarded, and the last of it: most of it is like what came before.
    losses: Losses,
    last: Option<Loss>,
}

/// Why the segments are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSwapped {
    /// Their hints changed while they were rewritten.
    Changed,
    /// None of the hints is in them that were to be discarded.
    Nothing,
    /// It was cancelled.
    Stopped,
    /// The one at this place is damaged, or gone: delivery deals with it.
    Damaged(usize),
}

impl NotSwapped {
    fn of(ended: Rewritten) -> Self {
        match ended {
            Rewritten::Damaged(place) => Self::Damaged(place),
            _ => Self::Stopped,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Changed => "its hints changed while it was rewritten",
            Self::Nothing => "it has none of them",
            Self::Stopped => "cancelled",
            Self::Damaged(_) => "it is damaged or gone: delivery deals with it",
        }
    }
}

impl Judge<'_> {
    /// What becomes of a hint by itself.
    fn alone(&self, hint: &HintFacts<'_>) -> Fate {
        let (sequence, namespace, created) = (hint.sequence, hint.namespace, hint.body.created);
        let covers = |discard: &Discard| discard.covers(sequence, namespace, created);
        if !self.pending.contains(sequence) || self.discards.iter().any(covers) {
            Fate::Over
        } else if self.fences.covers(namespace, created) {
            Fate::Fenced
        } else if self.now.judge(self.deadline(hint)) == Verdict::Dead {
            Fate::Expired
        } else if self.discard.is_some_and(|of| of.contains(sequence)) {
            Fate::Discarded
        } else {
            Fate::Kept
        }
    }

    fn deadline(&self, hint: &HintFacts<'_>) -> UnixMillis {
        self.policy
            .deadline(hint.namespace, hint.body.created, hint.lifetime)
    }

    /// Its rivals, where it may have any: it was not handed out.
    fn rivals<'h>(&self, hint: &HintFacts<'h>) -> Option<Collapse<'h>> {
        let is_open = hint.sequence > self.frontier;
        let may = is_open && self.last_write_wins.contains(&hint.namespace);
        hint.rivals().filter(|_| may)
    }

    /// Notes a hint that may make others pointless.
    fn note(&mut self, hint: &HintFacts<'_>) {
        if let Some(rivals) = self.rivals(hint)
            && self.alone(hint) == Fate::Kept
        {
            let deadline = self.deadline(hint);
            self.newest.note(hint, rivals, deadline);
        }
    }

    fn fate(&self, hint: &HintFacts<'_>) -> Fate {
        let fate = self.alone(hint);
        let is_pointless = |rivals| {
            let deadline = self.deadline(hint);
            self.newest.supersedes(hint, rivals, deadline)
        };
        match fate {
            Fate::Kept if self.rivals(hint).is_some_and(is_pointless) => Fate::Superseded,
            fate => fate,
        }
    }
}

impl Sorted {
    fn ends_nothing(&self) -> bool {
        let ended = [&self.discarded, &self.expired, &self.fenced];
        ended.iter().all(|ranges| ranges.is_empty())
    }

    fn lose(&mut self, loss: Loss) {
        if !self.last.as_mut().is_some_and(|last| last.join_near(&loss)) {
            self.losses.extend(self.last.replace(loss));
        }
    }

    fn add(&mut self, sequence: Sequence, fate: Fate) {
        match fate {
            Fate::Over => {}
            Fate::Expired => self.expired.add(sequence),
            Fate::Fenced => self.fenced.add(sequence),
            Fate::Superseded => self.superseded.add(sequence),
            Fate::Discarded => self.discarded.add(sequence),
            Fate::Kept => self.kept.add(sequence),
        }
    }
}

impl Swap<'_> {
    /// Rewrites; says why not, where that is no failure.
    pub(super) fn run(
        &self,
        mut pace: impl FnMut(u64) -> bool,
    ) -> Result<std::result::Result<Swapped, NotSwapped>> {
        let Some(mut judge) = self.judge() else {
            return Ok(Err(NotSwapped::Changed));
        };
        let storage = &*self.env.storage;
        if !judge.last_write_wins.is_empty() {
            match survey(storage, self.entries, |hint| judge.note(hint), &mut pace)? {
                Rewritten::Whole => {}
                ended => return Ok(Err(NotSwapped::of(ended))),
            }
        }
        let (id, usage) = (self.target.id, self.target.writer.usage());
        let level = self.env.config().compress_level;
        let level = level.and_then(|level| i32::try_from(level).ok());
        let mut copy = self.env.writer.rewrite(id, usage, self.entries, level)?;
        let mut sorted = Sorted::default();
        let noticed = self.env.clock.wall();
        let keep = |hint: &HintFacts<'_>| {
            let fate = judge.fate(hint);
            sorted.add(hint.sequence, fate);
            let cause = match fate {
                Fate::Expired => Some(Cause::Expired),
                Fate::Discarded => Some(Cause::Discarded),
                _ => None,
            };
            if let Some(cause) = cause {
                let loss = loss::of_hint(id, hint.namespace, &hint.body, cause, noticed);
                sorted.lose(loss);
            }
            fate == Fate::Kept
        };
        let copied = match rewrite(storage, self.entries, &mut copy, keep, &mut pace) {
            Ok(Rewritten::Whole) if self.discard.is_some() && sorted.ends_nothing() => {
                copy.give_up();
                return Ok(Err(NotSwapped::Nothing));
            }
            Ok(Rewritten::Whole) if pace(0) => finish(copy)?,
            Ok(ended) => {
                copy.give_up();
                return Ok(Err(NotSwapped::of(ended)));
            }
            Err(error) => {
                copy.give_up();
                return Err(error);
            }
        };
        match self.exchange(&sorted, copied, &judge.discards) {
            Ok(swapped) => Ok(Ok(swapped)),
            Err(copied) => {
                if let Some(copied) = copied {
                    self.env.writer.give_up(usage, copied);
                }
                Ok(Err(NotSwapped::Changed))
            }
        }
    }

    /// What to judge by; nothing where the segments are not there any more.
    fn judge(&self) -> Option<Judge<'_>> {
        let progress = self.target.backlog.progress.lock();
        if !self.are_listed() {
            return None;
        }
        Some(Judge {
            fences: self.fences,
            policy: Arc::clone(&*self.env.policy.get()),
            now: self.env.now(),
            pending: self.pending(&progress),
            frontier: progress.frontier,
            discards: progress.exceptional.discards.clone(),
            last_write_wins: self.env.config().last_write_wins.clone(),
            newest: Newest::default(),
            discard: self.discard,
        })
    }

    fn are_listed(&self) -> bool {
        let segments = &self.target.backlog.segments;
        self.entries.iter().all(|entry| segments.holds(entry.id))
    }

    /// What has not ended of where the segments are, handed out or not.
    fn pending(&self, progress: &Progress) -> Ranges {
        let mut pending = Ranges::default();
        for entry in self.entries {
            let (first, last) = (entry.first, entry.last());
            pending.join(&progress.pending_of(&Ranges::of(&[Range { first, last }])));
        }
        pending
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
        let discarded = still(&sorted.discarded);
        let superseded = &sorted.superseded;
        let kept = still(&sorted.kept).count();
        let known: u64 = self
            .entries
            .iter()
            .map(|entry| progress.pending_in(entry))
            .sum();
        // A truncation came in between, or something that was not seen; or what was to go as superseded was
        // handed out.
        let is_changed = !self.are_listed()
            || progress.exceptional.discards != discards
            || superseded
                .ranges()
                .first()
                .is_some_and(|range| range.first <= progress.frontier)
            || known
                != kept + expired.count() + fenced.count() + superseded.count() + discarded.count();
        if is_changed {
            return Err(copied);
        }
        progress.end_unread(segments, &expired, End::Expired);
        let losses = sorted.losses.iter().copied();
        self.env.new_losses.add(losses.chain(sorted.last));
        progress.end_unread(segments, &fenced, End::Fenced);
        progress.end_unread(segments, superseded, End::Superseded);
        progress.end_unread(segments, &discarded, End::Discarded);
        let ids: Vec<_> = self.entries.iter().map(|entry| entry.id).collect();
        for entry in self.entries {
            progress.ended_in.remove(&entry.id);
            // Delivery may have met damage since it was chosen.
            let damaged = progress.is_damaged(entry);
            progress.leave(entry, damaged);
        }
        let mut after = Bytes::new(0);
        let by = copied.map(|copied| SegmentEntry::copied(&copied));
        let mut key = None;
        if let Some(by) = &by {
            after = by.allocated;
            key = Some((by.store, by.id));
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
            superseded: superseded.count(),
            discarded: discarded.count(),
            by: key,
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
