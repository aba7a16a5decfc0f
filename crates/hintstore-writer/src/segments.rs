//! The segments of one target in order: the writer adds and closes them, delivery reads along.
//!
//! It is a list and nothing else: no I/O, and its lock is held for moments only. The writer changes it
//! while it holds the target's file, so the changes of one target come in order.

use std::sync::Arc;

use hintstore_env::sync::{AtomicBool, Mutex, Ordering::AcqRel};
use hintstore_format::{SegmentId, Sequence, journal::Range};
use smallvec::SmallVec;

use crate::{SegmentEntry, entry::State};

/// Hints that a failed sync moved from one segment to another.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The segment whose sync failed.
    pub from: SegmentId,
    /// The one that they are in now.
    pub by: SegmentId,
    /// All that was above the synced prefix.
    pub range: Range,
    /// Those of them that could not be read back, in order.
    pub lost: Vec<Range>,
}

/// Most targets have one.
type List = SmallVec<[Arc<SegmentEntry>; 1]>;

/// The segments of a target, in the order of their first sequences.
#[derive(Debug, Default)]
pub struct Segments {
    list: Mutex<List>,
    /// Moves that the books do not know yet.
    moved: Mutex<Vec<Moved>>,
    /// One was closed since the last checkpoint.
    closed_some: AtomicBool,
}

impl Segments {
    /// A list with one segment, such as one of copies.
    pub fn of(entry: SegmentEntry) -> Self {
        let segments = Self::default();
        segments.add(entry);
        segments
    }

    /// Adds a segment that was not written here.
    pub fn add(&self, entry: SegmentEntry) {
        Self::place(&mut self.list.lock(), entry);
    }

    /// Adds an open segment, or puts what is known of a segment now in its place. One that was retired
    /// in between does not come back.
    pub(crate) fn put(&self, entry: SegmentEntry) {
        let mut list = self.list.lock();
        let known = list.iter_mut().find(|known| known.id == entry.id);
        match (known, &entry.state) {
            (Some(known), _) => *known = Arc::new(entry),
            (None, State::Open(_)) => Self::place(&mut list, entry),
            (None, State::Closed(_)) => {}
        }
    }

    /// Nothing more will be written to a segment.
    pub(crate) fn close(&self, entry: SegmentEntry) {
        self.put(entry);
        // All of it may be delivered already, and then its file goes.
        self.note_closed();
    }

    /// Puts what is left of a segment in its place, and notes what was moved out of it.
    pub(crate) fn replace(&self, entry: SegmentEntry, moved: Option<Moved>) {
        let mut moves = self.moved.lock();
        self.put(entry);
        moves.extend(moved);
    }

    fn note_closed(&self) {
        self.closed_some
            .store(true, hintstore_env::sync::Ordering::Release);
    }

    /// Whether one was closed since the last call.
    pub fn take_closed(&self) -> bool {
        self.closed_some.swap(false, AcqRel)
    }

    /// Moves that the books do not know yet.
    pub fn take_moved(&self) -> Vec<Moved> {
        std::mem::take(&mut self.moved.lock())
    }

    fn place(list: &mut List, entry: SegmentEntry) {
        let at = list.partition_point(|known| (known.first, known.id) < (entry.first, entry.id));
        list.insert(at, Arc::new(entry));
    }

    /// Takes a segment off the list.
    pub fn remove(&self, id: SegmentId) {
        self.list.lock().retain(|entry| entry.id != id);
    }

    /// Takes segments off the list and puts another in their place, at once.
    pub fn exchange(&self, gone: &[SegmentId], by: Option<SegmentEntry>) {
        let mut list = self.list.lock();
        list.retain(|entry| !gone.contains(&entry.id));
        if let Some(by) = by {
            Self::place(&mut list, by);
        }
    }

    /// All segments, in order.
    pub fn all(&self) -> Vec<Arc<SegmentEntry>> {
        self.list.lock().to_vec()
    }

    /// Whether a segment is on the list.
    pub fn holds(&self, id: SegmentId) -> bool {
        self.list.lock().iter().any(|known| known.id == id)
    }

    /// The first sequence that any of its files may hold.
    pub fn first(&self) -> Option<Sequence> {
        self.list.lock().first().map(|entry| entry.first)
    }

    /// The last sequence that can be read of any of them now.
    pub fn last(&self) -> Option<Sequence> {
        self.list.lock().iter().map(|entry| entry.last()).max()
    }

    /// Segments that may hold sequences from `first` to `last`, in order: there may be thousands of
    /// others.
    pub fn within(&self, first: Sequence, last: Sequence) -> Vec<Arc<SegmentEntry>> {
        let mut within = Vec::new();
        self.each_within(first, last, |entry| within.push(entry.clone()));
        within
    }

    /// Looks at the segments that may hold any sequence of a range, while the list is held.
    pub fn each_within(
        &self,
        first: Sequence,
        last: Sequence,
        look: impl FnMut(&Arc<SegmentEntry>),
    ) {
        let list = self.list.lock();
        let begun = list.iter().take_while(|entry| entry.first <= last);
        begun.filter(|entry| entry.last() >= first).for_each(look);
    }

    /// The first segment that this is true for.
    pub fn find(&self, is_it: impl Fn(&SegmentEntry) -> bool) -> Option<Arc<SegmentEntry>> {
        let list = self.list.lock();
        list.iter().find(|entry| is_it(entry)).cloned()
    }

    /// The first segment that has hints behind `sequence`.
    pub fn after(&self, sequence: Sequence) -> Option<Arc<SegmentEntry>> {
        let list = self.list.lock();
        list.iter().find(|entry| entry.last() > sequence).cloned()
    }
}
