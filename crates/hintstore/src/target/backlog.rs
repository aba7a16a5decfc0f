//! Hints of a target that are stored, in order: their segments, and how far delivery has come in them.
//!
//! A target has one for what it accepts, and one for each of its deferred segments.

use std::sync::Arc;

use hintstore_env::{Boot, sync::Mutex};
use hintstore_format::{Sequence, UnixMillis};
use hintstore_writer::{SegmentEntry, Segments};

use super::Progress;

/// Stored hints in order.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) segments: Arc<Segments>,
    /// How far delivery has come. Held while hints are read; taken before the lock of `segments`.
    pub(crate) progress: Mutex<Progress>,
}

impl Backlog {
    /// The first of its stored hints that has not ended.
    pub(super) fn oldest_pending(&self) -> Option<Sequence> {
        self.oldest_by(&self.progress.lock())
    }

    /// Whether a segment is still its own: a deferred segment that was merged into another keeps its list, and its
    /// files are gone. Not by one who holds the progress.
    pub(crate) fn holds(&self, entry: &SegmentEntry) -> bool {
        !self.progress.lock().is_gone && self.segments.holds(entry.id)
    }

    /// When the first of what rests is handed out again, if that is later than now.
    pub(super) fn next_at(&self, now: Boot) -> Option<Boot> {
        let progress = self.progress.lock();
        let has_more = self.segments.last() > Some(progress.frontier);
        progress.next_at(has_more, now)
    }

    /// No hint in it dies before, by its segments that are not done.
    pub(super) fn next_expiry(&self, progress: &Progress) -> Option<UnixMillis> {
        let entries = self.segments.all().into_iter();
        let pending = entries.filter(|entry| !progress.is_done(entry));
        pending.filter_map(|entry| entry.earliest_deadline()).min()
    }

    /// What is in memory only is behind this.
    pub(super) fn stored_to(&self, progress: &Progress) -> Sequence {
        let listed = self.segments.last().unwrap_or_default();
        listed.max(progress.frontier).max(progress.left_to)
    }

    /// The same, by books that are held already.
    pub(super) fn oldest_by(&self, progress: &Progress) -> Option<Sequence> {
        let handed = progress.unended.ranges().first().map(|range| range.first);
        let behind = progress.frontier.plus(1);
        let is_pending = |entry: &SegmentEntry| {
            let may = entry.closed().is_none() || progress.pending_in(entry) > 0;
            may && entry.last() > progress.frontier
        };
        let stored = self.segments.find(is_pending);
        let stored = stored.map(|entry| entry.first.max(behind));
        handed.into_iter().chain(stored).min()
    }
}
