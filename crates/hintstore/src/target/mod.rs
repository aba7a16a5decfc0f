//! One target, with one owner: what appending and delivery know of it, and where they meet.
//!
//! [`Target`] has the write path of a target and its backlog, which is the list of its segments with how
//! far delivery has come; [`Targets`] is the one registry. Nothing here does I/O.

mod ages;
mod backlog;
mod congestion;
mod pace;
mod progress;
mod ranges;
mod registry;

use std::{sync::Arc, time::Duration};

use hintstore_env::{
    Boot,
    sync::{
        AtomicBool, AtomicI64, AtomicU64, Mutex, OnceLock,
        Ordering::{AcqRel, Acquire, Release},
    },
};
use hintstore_format::{Sequence, TargetId, UnixMillis, journal::Ends};
use hintstore_writer::{Budget, Bytes, RefusalCounts, TargetWriter};

use crate::observe::Delays;

pub(crate) use ages::{Ages, UNWATCHED};
pub(crate) use backlog::Backlog;
pub use pace::{Limits, TargetState};
pub(crate) use pace::{Pace, time_of};
pub(crate) use progress::{EndedUnread, Progress};
pub(crate) use ranges::Ranges;
pub(crate) use registry::{FoundTarget, Targets};

/// How far moving the hints of a target that wait for a retry has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Deferral {
    /// Nothing is asked for.
    #[default]
    Idle,
    /// The step is to move them, or does.
    Asked,
    /// It did, and there is no room all the same: old hints are handed out until some are done.
    Failed,
}

/// One target.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: TargetId,
    /// Its write path, which also owns what its files take on the disk.
    pub(crate) writer: Arc<TargetWriter>,
    /// Its segments, and how far delivery has come in them.
    pub(crate) backlog: Arc<Backlog>,
    /// Deferred segments, each a backlog of its own, the oldest first. Their progress is taken after
    /// that of the target's own backlog.
    deferred: Mutex<Vec<Arc<Backlog>>>,
    /// Hints that were accepted before this process.
    found: u64,
    /// Hints that wait for their level.
    pub(crate) in_flight: AtomicU64,
    /// Hints that were refused since the store was opened, if any were.
    pub(crate) refused: OnceLock<Box<RefusalCounts>>,
    /// The last page was of a deferred segment: now it is the turn of what is new.
    pub(crate) deferred_had_its_turn: AtomicBool,
    /// How far moving hints that wait for a retry has come. Taken before any progress.
    pub(crate) deferral: Mutex<Deferral>,
    /// How fast it is delivered to. Nothing is taken under it.
    pub(crate) pace: Mutex<Pace>,
    /// When its hints were accepted.
    pub(crate) ages: Mutex<Ages>,
    /// What was to be accepted next when its end was last said: see [`Target::is_newly_drained`].
    drained_before: AtomicU64,
    /// How old the writes were that were delivered; nothing before the first.
    pub(crate) delays: Mutex<Option<Box<Delays>>>,
    /// When the oldest of them that has not ended was accepted, by the last look.
    oldest: AtomicI64,
    /// Nothing is handed out before what precedes it has ended.
    strict: AtomicBool,
}

impl Target {
    pub(crate) fn new(id: TargetId, writer: Arc<TargetWriter>, found: FoundTarget) -> Self {
        let target = Self {
            id,
            writer,
            backlog: Arc::new(found.backlog),
            deferred: Mutex::new(found.deferred),
            found: found.accepted,
            in_flight: AtomicU64::new(0),
            refused: OnceLock::new(),
            deferred_had_its_turn: AtomicBool::new(false),
            deferral: Mutex::default(),
            pace: Mutex::default(),
            ages: Mutex::new(found.ages),
            drained_before: AtomicU64::new(0),
            delays: Mutex::default(),
            oldest: AtomicI64::new(i64::MAX),
            strict: AtomicBool::new(false),
        };
        // One that begins without hints has nothing to come to the end of.
        target.is_newly_drained();
        target
    }

    /// Whether all that it had has ended, and that was not so at the last look, or there was more since.
    pub(crate) fn is_newly_drained(&self) -> bool {
        // First: what comes in between is pending, and its end is news of its own.
        let next = self.writer.next();
        let is_pending = self.is_pending_to(Sequence::MAX);
        !is_pending && self.drained_before.fetch_max(next.get(), AcqRel) < next.get()
    }

    /// Counts how old writes were that were delivered.
    pub(crate) fn add_delays(&self, delays: &Delays) {
        self.delays.lock().get_or_insert_default().join(delays);
    }

    /// Whether its hints that wait for a retry are to be moved, or are being moved.
    pub(crate) fn is_deferring(&self) -> bool {
        *self.deferral.lock() == Deferral::Asked
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict.load(Acquire)
    }

    pub(crate) fn set_strict(&self, strict: bool) {
        self.strict.store(strict, Release);
    }

    pub(crate) fn set_oldest(&self, accepted: Option<UnixMillis>) {
        let accepted = accepted.map_or(i64::MAX, UnixMillis::get);
        self.oldest.store(accepted, Release);
    }

    /// When the oldest hint that has not ended was accepted, by the last look.
    pub(crate) fn oldest(&self) -> Option<UnixMillis> {
        let oldest = self.oldest.load(Acquire);
        (oldest != i64::MAX).then_some(UnixMillis::new(oldest))
    }

    /// The first of its hints that has not ended; `next` is the one that is not accepted yet.
    pub(crate) fn oldest_pending(&self, next: Sequence) -> Option<Sequence> {
        let backlogs = self.backlogs();
        let each = backlogs.iter().map(|backlog| backlog.oldest_pending());
        let stored = each.flatten().min();
        // In memory there may be more.
        let progress = self.backlog.progress.lock();
        let first = self.backlog.stored_to(&progress).plus(1);
        drop(progress);
        let first = first.max(Sequence::first_of(next.epoch()));
        stored.or_else(|| (first < next).then_some(first))
    }

    /// No hint of it dies before, by what the hints themselves say: of those in segments that are sealed, or written
    /// to now.
    pub(crate) fn next_expiry(&self) -> Option<UnixMillis> {
        let first = |of: Arc<Backlog>| of.next_expiry(&of.progress.lock());
        self.backlogs().into_iter().filter_map(first).min()
    }

    /// The same, as far as nobody holds its books: who moves hints holds them while the disk takes its time.
    pub(crate) fn next_expiry_if_free(&self) -> Option<UnixMillis> {
        let first = |of: Arc<Backlog>| of.next_expiry(&*of.progress.try_lock()?);
        self.backlogs().into_iter().filter_map(first).min()
    }

    /// The last of its hints that was accepted, or what is before the first.
    pub(crate) fn last_accepted(&self) -> Sequence {
        self.writer.next().before()
    }

    /// Whether a hint up to this one has not ended.
    pub(crate) fn is_pending_to(&self, up_to: Sequence) -> bool {
        let next = self.writer.next();
        // Under these books none moves from one backlog to another.
        let own = self.backlog.progress.lock();
        let in_memory = self.backlog.stored_to(&own).plus(1);
        let in_memory = in_memory.max(Sequence::first_of(next.epoch()));
        let in_memory = (in_memory < next).then_some(in_memory);
        let deferred = self.deferred();
        let theirs = deferred.iter().filter_map(|child| child.oldest_pending());
        let oldest = theirs.chain(self.backlog.oldest_by(&own)).chain(in_memory);
        oldest.min().is_some_and(|oldest| oldest <= up_to)
    }

    /// The backlogs of its deferred segments. The list changes only under the progress of the target's
    /// own: without it, look at [`Progress::is_gone`] of each.
    pub(crate) fn deferred(&self) -> Vec<Arc<Backlog>> {
        self.deferred.lock().clone()
    }

    /// The target's own backlog, and those of its deferred segments.
    pub(crate) fn backlogs(&self) -> Vec<Arc<Backlog>> {
        let mut all = vec![self.backlog.clone()];
        all.extend(self.deferred());
        all
    }

    pub(crate) fn add_deferred(&self, backlog: Backlog) {
        self.deferred.lock().push(Arc::new(backlog));
    }

    pub(crate) fn remove_deferred(&self, backlog: &Backlog) {
        let is_other = |known: &Arc<Backlog>| !std::ptr::eq(&raw const **known, backlog);
        self.deferred.lock().retain(is_other);
    }

    /// Pages of the target that are out, of deferred segments or others.
    pub(crate) fn pages_out(&self) -> usize {
        let out = |backlog: &Arc<Backlog>| backlog.progress.lock().in_flight;
        self.backlogs().iter().map(out).sum()
    }

    /// Whether pages of the target are out.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.pages_out() > 0
    }

    /// When the first of its hints that rest may be handed out again.
    pub(crate) fn retry_at(&self, now: Boot) -> Option<Boot> {
        let backlogs = self.backlogs();
        let each = backlogs.iter().filter_map(|backlog| backlog.next_at(now));
        each.min()
    }

    /// Ends all rests of its hints.
    pub(crate) fn end_rests(&self, rest_until: Boot) {
        for backlog in self.backlogs() {
            let mut progress = backlog.progress.lock();
            progress.release_later(Boot::new(Duration::MAX));
            progress.retry_at = progress.retry_at.min(rest_until);
            progress.rest_until = rest_until;
        }
    }

    /// The first sequence that any of its files may hold.
    pub(crate) fn first_held(&self) -> Sequence {
        let backlogs = self.backlogs();
        let firsts = backlogs
            .iter()
            .filter_map(|backlog| backlog.segments.first());
        firsts.min().unwrap_or(Sequence::MAX)
    }

    /// Hints accepted since the store was made, as far as they can be known.
    pub(crate) fn accepted(&self) -> u64 {
        self.found + self.writer.accepted()
    }

    /// How its hints ended.
    pub(crate) fn ends(&self) -> Ends {
        // Under the lock of its own progress, or a deferred segment that leaves now counts twice.
        let progress = self.backlog.progress.lock();
        let mut ends = progress.ends;
        for backlog in self.deferred() {
            ends.join(&backlog.progress.lock().ends);
        }
        ends
    }

    /// A file of it is gone.
    pub(crate) fn free(&self, budget: &Budget, bytes: Bytes) {
        budget.free(self.writer.usage(), bytes);
    }
}
