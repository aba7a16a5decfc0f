//! Hints of a target that are stored, in order: their segments, and how far delivery has come in them.
//!
//! A target has one for what it accepts, and one for each of its deferred segments.

use std::sync::Arc;

use hintstore_env::sync::Mutex;
use hintstore_format::Sequence;
use hintstore_writer::Segments;

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
        let progress = self.progress.lock();
        let handed = progress.unended.ranges().first().map(|range| range.first);
        let behind = progress.frontier.plus(1);
        let stored = self.segments.after(progress.frontier);
        let stored = stored.map(|entry| entry.first.max(behind));
        handed.into_iter().chain(stored).min()
    }
}
