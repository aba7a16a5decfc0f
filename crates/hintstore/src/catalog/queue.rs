//! One target: its segments in order, and how far delivery has come.

use std::sync::Arc;

use hintstore_env::{
    Boot,
    sync::{
        AtomicBool, AtomicI64, AtomicU64, Mutex, OnceLock,
        Ordering::{Acquire, Release, SeqCst},
    },
};
use hintstore_format::{SegmentId, Sequence, TargetId, UnixMillis, journal::Range};
use hintstore_writer::{RefusalCounts, TargetWriter, Usage};
use smallvec::SmallVec;

use super::{Ranges, SegmentEntry, State};
use crate::{deliver::Progress, expire::Ages, observe::TargetLedger};

/// Hints that a failed sync moved from one segment to another.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) from: SegmentId,
    pub(crate) by: SegmentId,
    pub(crate) range: Range,
    /// Those of them that could not be read back.
    pub(crate) lost: Ranges,
}

/// Most targets have one.
type Segments = SmallVec<[Arc<SegmentEntry>; 1]>;

/// One target.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) target: TargetId,
    /// In the order of their first sequences. Held for moments only.
    segments: Mutex<Segments>,
    /// Moves that the books do not know yet.
    moved: Mutex<Vec<Moved>>,
    /// How far delivery has come. Held while hints are read; taken before `segments`.
    pub(crate) progress: Mutex<Progress>,
    /// The write path of the target, once something was appended.
    pub(crate) writer: OnceLock<Arc<TargetWriter>>,
    /// Hints that were refused since the store was opened, if any were.
    pub(crate) refused: OnceLock<Box<RefusalCounts>>,
    /// What its files take on the disk.
    pub(crate) usage: Arc<Usage>,
    /// Hints that were accepted before this process.
    pub(crate) found: AtomicU64,
    /// Deferred segments of the target, each a queue of its own, the oldest first. Their progress
    /// is taken after this one's.
    deferred: Mutex<Vec<Arc<Queue>>>,
    /// The last page was of a deferred segment: now it is the turn of what is new.
    pub(crate) deferred_had_its_turn: AtomicBool,
    /// A segment was closed since the last checkpoint.
    pub(crate) closed_some: AtomicBool,
    /// When its hints were accepted.
    pub(crate) ages: Mutex<Ages>,
    /// When the oldest of them that has not ended was accepted, by the last look.
    oldest: AtomicI64,
    /// That is longer ago than the hint window.
    past_window: AtomicBool,
    up: AtomicBool,
    /// Delivery is to look at it.
    pub(crate) listed: AtomicBool,
    /// Nothing is handed out before what precedes it has ended.
    strict: AtomicBool,
}

impl Queue {
    pub(crate) fn new(target: TargetId) -> Self {
        Self {
            target,
            segments: Mutex::default(),
            moved: Mutex::default(),
            progress: Mutex::default(),
            writer: OnceLock::new(),
            refused: OnceLock::new(),
            usage: Arc::default(),
            found: AtomicU64::new(0),
            deferred: Mutex::default(),
            deferred_had_its_turn: AtomicBool::new(false),
            closed_some: AtomicBool::new(false),
            ages: Mutex::default(),
            oldest: AtomicI64::new(i64::MAX),
            past_window: AtomicBool::new(false),
            up: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            strict: AtomicBool::new(false),
        }
    }

    /// The queue of a deferred segment of this one.
    pub(crate) fn deferred_of(&self) -> Self {
        Self {
            usage: self.usage.clone(),
            strict: AtomicBool::new(self.is_strict()),
            ..Self::new(self.target)
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Acquire)
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict.load(Acquire)
    }

    pub(crate) fn set_strict(&self, strict: bool) {
        self.strict.store(strict, Release);
        for child in self.deferred() {
            child.set_strict(strict);
        }
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Release);
    }

    pub(crate) fn is_past_window(&self) -> bool {
        self.past_window.load(Acquire)
    }

    pub(crate) fn set_past_window(&self, past: bool) {
        self.past_window.store(past, Release);
        if let Some(writer) = self.writer.get() {
            writer.set_past_window(past);
        }
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

    /// The sequence that its next hint gets, in this epoch.
    pub(crate) fn next(&self, epoch: u32) -> Sequence {
        let first = Sequence::first_of(epoch);
        self.writer.get().map_or(first, |writer| writer.next())
    }

    /// The first of its hints that has not ended; `next` is the one that is not accepted yet.
    pub(crate) fn oldest_pending(&self, next: Sequence) -> Option<Sequence> {
        let of = |queue: &Self| {
            let progress = queue.progress.lock();
            let handed = progress.unended.ranges().first().map(|range| range.first);
            let behind = progress.frontier.plus(1);
            let stored = queue.segment_after(progress.frontier);
            let stored = stored.map(|entry| entry.first.max(behind));
            handed.into_iter().chain(stored).min()
        };
        let stored = self.deferred().iter().filter_map(|child| of(child)).min();
        let stored = of(self).into_iter().chain(stored).min();
        // In memory there may be more.
        let first = self.progress.lock().frontier.plus(1);
        let first = first.max(Sequence::first_of(next.epoch()));
        stored.or_else(|| (first < next).then_some(first))
    }

    /// Adds a segment, or puts what is known of it now in its place. One that was retired in
    /// between does not come back.
    pub(crate) fn insert(&self, entry: SegmentEntry) {
        let mut segments = self.segments.lock();
        let known = segments.iter_mut().find(|known| known.id == entry.id);
        match (known, &entry.state) {
            (Some(known), _) => *known = Arc::new(entry),
            (None, State::Open(_)) => Self::place(&mut segments, entry),
            (None, State::Closed(_)) => {}
        }
    }

    /// Puts what is left of a segment in its place, and notes what was moved out of it.
    pub(crate) fn replace(&self, entry: SegmentEntry, moved: Option<Moved>) {
        let mut moves = self.moved.lock();
        self.insert(entry);
        moves.extend(moved);
    }

    /// Moves that the books do not know yet.
    pub(crate) fn take_moved(&self) -> Vec<Moved> {
        std::mem::take(&mut self.moved.lock())
    }

    /// Adds a segment that was found at open.
    pub(crate) fn recover(&self, entry: SegmentEntry) {
        Self::place(&mut self.segments.lock(), entry);
    }

    /// The queues of its deferred segments. The list changes only under the target's progress: without
    /// it, look at [`Progress::is_gone`] of each.
    pub(crate) fn deferred(&self) -> Vec<Arc<Self>> {
        self.deferred.lock().clone()
    }

    /// The target's own queue, and those of its deferred segments.
    pub(crate) fn with_deferred(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut all = vec![self.clone()];
        all.extend(self.deferred());
        all
    }

    pub(crate) fn add_deferred(&self, child: Arc<Self>) {
        self.deferred.lock().push(child);
    }

    pub(crate) fn remove_deferred(&self, child: &Self) {
        self.deferred
            .lock()
            .retain(|known| !std::ptr::eq(&raw const **known, child));
    }

    /// Whether pages of the target are out, of deferred segments or others.
    pub(crate) fn is_in_flight(&self) -> bool {
        let out = |queue: &Self| queue.progress.lock().in_flight > 0;
        out(self) || self.deferred().iter().any(|child| out(child))
    }

    /// When the first of its hints that rest may be handed out again.
    pub(crate) fn retry_at(&self, now: Boot) -> Option<Boot> {
        let own = self.progress.lock();
        let own = (!own.again.is_empty()).then_some(own.retry_at);
        let deferred = self.deferred();
        let theirs = deferred.iter().map(|child| {
            let progress = child.progress.lock();
            progress.rest_until.max(progress.retry_at)
        });
        theirs.chain(own).filter(|at| *at > now).min()
    }

    /// The first sequence that any of its files may hold.
    pub(crate) fn first_held(&self) -> Sequence {
        let first = |queue: &Self| queue.segments.lock().first().map(|entry| entry.first);
        let deferred = self.deferred();
        let firsts = deferred
            .iter()
            .map(|child| first(child))
            .chain([first(self)]);
        firsts.flatten().min().unwrap_or(Sequence::MAX)
    }

    fn place(segments: &mut Segments, entry: SegmentEntry) {
        let at =
            segments.partition_point(|known| (known.first, known.id) < (entry.first, entry.id));
        segments.insert(at, Arc::new(entry));
    }

    pub(crate) fn remove(&self, id: SegmentId) {
        self.segments.lock().retain(|entry| entry.id != id);
    }

    /// All segments, in order.
    pub(crate) fn segments(&self) -> Vec<Arc<SegmentEntry>> {
        self.segments.lock().to_vec()
    }

    /// Segments that may hold sequences from `first` to `last`, in order: there may be thousands of
    /// others.
    pub(crate) fn segments_within(
        &self,
        first: Sequence,
        last: Sequence,
    ) -> Vec<Arc<SegmentEntry>> {
        let segments = self.segments.lock();
        segments
            .iter()
            .take_while(|entry| entry.first <= last)
            .filter(|entry| entry.last() >= first)
            .cloned()
            .collect()
    }

    /// The first segment that has hints behind `sequence`.
    pub(crate) fn segment_after(&self, sequence: Sequence) -> Option<Arc<SegmentEntry>> {
        let segments = self.segments.lock();
        segments
            .iter()
            .find(|entry| entry.last() > sequence)
            .cloned()
    }

    /// Hints accepted since the store was made, as far as they can be known.
    pub(crate) fn accepted(&self) -> u64 {
        let here = self.writer.get().map_or(0, |writer| writer.accepted());
        self.found.load(SeqCst) + here
    }

    pub(crate) fn ledger(&self) -> TargetLedger {
        // First the ends: a hint that ends in between was accepted before.
        let progress = self.progress.lock();
        let mut ends = progress.ends;
        for child in self.deferred() {
            ends.join(&child.progress.lock().ends);
        }
        drop(progress);
        TargetLedger {
            target: self.target,
            accepted: self.accepted(),
            ends,
        }
    }
}
