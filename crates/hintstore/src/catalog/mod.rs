//! The catalog: target → its segments. The one place where writing and delivery meet.
//!
//! The writer tells it of segments, recovery fills it, delivery and sweep look things up. It does
//! no I/O, and its locks are held for moments only: the writer calls it while it holds a file.

mod queue;
mod ranges;
mod segment;

use std::{collections::VecDeque, sync::Arc};

use hintstore_env::{
    Waker,
    sync::{
        AtomicBool, AtomicUsize, Mutex,
        Ordering::{AcqRel, Acquire, Release},
        RwLock,
    },
};
use hintstore_format::{Sequence, TargetId, footer::Summary, journal::Range};
use hintstore_writer::{Budget, ByTarget, Segment, SegmentEvents};

use crate::observe::event;

pub(crate) use queue::{Moved, Queue};
pub(crate) use ranges::Ranges;
pub(crate) use segment::{Closed, NOT_TORN, SegmentEntry, State};

/// All targets of a store.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    queues: RwLock<ByTarget<Arc<Queue>>>,
    /// What the disk has room for.
    pub(crate) budget: Arc<Budget>,
    /// Wakes delivery.
    pub(crate) deliver: Waker,
    /// Targets that delivery is to look at, each once, in turn: what is not in here costs nothing.
    ready: Mutex<VecDeque<Arc<Queue>>>,
    /// Pages that delivery has out.
    pub(crate) pages_out: Arc<AtomicUsize>,
    /// Something happened since the last checkpoint: without it, a store of ten thousand targets
    /// that sleep costs nothing.
    touched: AtomicBool,
}

impl Catalog {
    pub(crate) fn get(&self, target: TargetId) -> Option<Arc<Queue>> {
        self.queues.read().get(&target).cloned()
    }

    pub(crate) fn get_or_add(&self, target: TargetId) -> Arc<Queue> {
        if let Some(queue) = self.get(target) {
            return queue;
        }
        let mut queues = self.queues.write();
        queues
            .entry(target)
            .or_insert_with(|| Arc::new(Queue::new(target)))
            .clone()
    }

    /// Has delivery look at a target.
    pub(crate) fn list_ready(&self, queue: &Arc<Queue>) {
        if queue.is_up() && !queue.listed.swap(true, AcqRel) {
            self.ready.lock().push_back(queue.clone());
        }
        self.deliver.wake();
    }

    /// Has delivery look at all targets.
    pub(crate) fn list_all(&self) {
        for queue in self.all() {
            self.list_ready(&queue);
        }
    }

    /// The next target to look at.
    pub(crate) fn next_ready(&self) -> Option<Arc<Queue>> {
        let queue = self.ready.lock().pop_front()?;
        // From here on, news lists it again.
        queue.listed.store(false, Release);
        Some(queue)
    }

    /// How many targets there are to look at.
    pub(crate) fn ready(&self) -> usize {
        self.ready.lock().len()
    }

    /// There may be something to checkpoint.
    pub(crate) fn touch(&self) {
        if !self.touched.load(Acquire) {
            self.touched.store(true, Release);
        }
    }

    /// Whether there may be something to checkpoint; it counts as done then.
    pub(crate) fn take_touched(&self) -> bool {
        self.touched.swap(false, AcqRel)
    }

    /// Forgets all targets, at the very end.
    pub(crate) fn clear(&self) {
        self.queues.write().clear();
        self.ready.lock().clear();
    }

    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        self.queues.read().values().cloned().collect()
    }
}

impl SegmentEvents for Catalog {
    fn opened(&self, segment: &Arc<Segment>) {
        self.get_or_add(segment.target())
            .insert(SegmentEntry::open(segment));
    }

    fn flushed(&self, target: TargetId) {
        self.touch();
        if let Some(queue) = self.get(target).filter(|queue| queue.is_up()) {
            self.list_ready(&queue);
        }
    }

    fn closed(&self, segment: &Arc<Segment>, summary: &Summary, sealed: bool) {
        event!(
            debug,
            target_id = %segment.target(),
            segment = %segment.id(),
            hints = summary.count,
            sealed,
            "segment closed"
        );
        let queue = self.get_or_add(segment.target());
        queue.insert(SegmentEntry::written(segment, summary, sealed));
        // All of it may be delivered already, and then its file goes.
        queue.closed_some.store(true, Release);
        self.touch();
    }

    fn dropped(&self, segment: &Arc<Segment>) {
        self.get_or_add(segment.target()).remove(segment.id());
    }

    fn replaced(
        &self,
        poisoned: &Arc<Segment>,
        by: Option<&Arc<Segment>>,
        from: Sequence,
        lost: &[Range],
    ) {
        let moved = by.map(|by| Moved {
            from: poisoned.id(),
            by: by.id(),
            range: Range {
                first: from,
                last: poisoned.last(),
            },
            lost: Ranges::of(lost),
        });
        event!(
            warn,
            target_id = %poisoned.target(),
            segment = %poisoned.id(),
            lost = lost.len(),
            "a sync failed; what was unsynced is in another segment"
        );
        let queue = self.get_or_add(poisoned.target());
        queue.replace(SegmentEntry::poisoned(poisoned, from), moved);
    }
}
