//! What happened in the write path that others are to look at: new hints for delivery, and anything for
//! the next checkpoint.
//!
//! The writer says it here and goes on; delivery and the checkpoint look when it suits them. What
//! nothing happened to costs them nothing: a store has ten thousand targets that sleep.

use std::collections::VecDeque;

use hintstore_env::{
    Waker,
    sync::{
        AtomicBool, Mutex,
        Ordering::{AcqRel, Acquire, Release},
    },
};
use hintstore_format::TargetId;

use crate::TargetWriter;

/// What happened since others last looked.
#[derive(Debug, Default)]
pub struct Activity {
    /// Wakes delivery.
    pub delivery: Waker,
    /// Targets that delivery is to look at, each once, in turn.
    ready: Mutex<VecDeque<TargetId>>,
    /// Something happened since the last checkpoint.
    touched: AtomicBool,
}

impl Activity {
    /// There may be something to checkpoint.
    pub fn touch(&self) {
        if !self.touched.load(Acquire) {
            self.touched.store(true, Release);
        }
    }

    /// Whether there may be something to checkpoint; it counts as done then.
    pub fn take_touched(&self) -> bool {
        self.touched.swap(false, AcqRel)
    }

    /// The next target to look at. From here on, news lists it again: see [`TargetWriter::unlist`].
    pub fn next_ready(&self) -> Option<TargetId> {
        self.ready.lock().pop_front()
    }
}

impl TargetWriter {
    /// Whether the target can be reached.
    pub fn is_up(&self) -> bool {
        self.up.load(Acquire)
    }

    /// Says whether the target can be reached: only then there is news of it for delivery.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Release);
    }

    /// Has delivery look at the target.
    pub fn announce(&self) {
        let activity = &self.env.activity;
        if self.is_up() && !self.announced.swap(true, AcqRel) {
            activity.ready.lock().push_back(self.id);
        }
        activity.delivery.wake();
    }

    /// Delivery looks at the target now.
    pub fn unlist(&self) {
        self.announced.store(false, Release);
    }
}
