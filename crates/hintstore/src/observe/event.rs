//! What happens in a store, as it happens, for those who subscribed.
//!
//! Parts of the store say it here and go on. A subscriber that does not read loses events, never memory or
//! time of others; it gets to know how many. Nothing here is durable: the books and the loss receipts are.

#[cfg(feature = "tokio")]
use std::pin::Pin;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use hintstore_env::{
    Clock, Runner,
    sync::{AtomicBool, Mutex, Ordering::SeqCst, Signal},
};
use hintstore_format::{TargetId, journal::Loss};

use crate::target::TargetState;

/// Events that a subscriber may be behind.
const BEHIND_MAX: usize = 1024;

/// What happened in a store: see [`crate::HintStore::events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Somebody said of a target what it had not been before. Of two threads that say so at once, the later word may
    /// come first: ask [`crate::TargetHandle::state`].
    State {
        /// The target.
        target: TargetId,
        /// What was known of it.
        from: TargetState,
        /// What is known now.
        to: TargetState,
    },
    /// All that a target had has ended, within a checkpoint interval. Not seen where new hints come in that time.
    Drained(TargetId),
    /// Hints ended undelivered, or were refused: what has to be repaired. Comes with the checkpoint, or with the call that
    /// discarded them, and once again where a crash took a checkpoint.
    Lost(Loss),
    /// The subscriber was too far behind, and did not get this many.
    Missed(u64),
}

/// A queue of one subscriber.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Raised with each event, and at the end.
    news: Signal,
    /// The store is closed: nothing comes any more.
    is_over: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    missed: u64,
}

/// Those who subscribed.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    queues: Mutex<Vec<Weak<Queue>>>,
    any: AtomicBool,
    is_over: AtomicBool,
}

impl Subscribers {
    /// Whether anybody wants to know.
    pub(crate) fn any(&self) -> bool {
        self.any.load(SeqCst)
    }

    pub(crate) fn send(&self, event: Event) {
        if !self.any() || self.is_over.load(SeqCst) {
            return;
        }
        let mut queues = self.queues.lock();
        queues.retain(|queue| queue.strong_count() > 0);
        self.any.store(!queues.is_empty(), SeqCst);
        let those: Vec<Arc<Queue>> = queues.iter().filter_map(Weak::upgrade).collect();
        for queue in &those {
            let mut waiting = queue.waiting.lock();
            // In order: behind one that was missed nothing comes before that is known.
            if waiting.missed > 0 || waiting.events.len() >= BEHIND_MAX {
                waiting.missed += 1;
            } else {
                waiting.events.push_back(event);
            }
        }
        drop(queues);
        // A waker may do whatever it likes, also subscribe.
        for queue in those {
            queue.news.raise();
        }
    }

    /// Nothing happens any more.
    pub(crate) fn end(&self) {
        let queues = self.queues.lock();
        self.is_over.store(true, SeqCst);
        let those: Vec<Arc<Queue>> = queues.iter().filter_map(Weak::upgrade).collect();
        drop(queues);
        for queue in &those {
            queue.is_over.store(true, SeqCst);
            queue.news.raise();
        }
    }

    pub(crate) fn subscribe(&self, runner: &Arc<dyn Runner>, clock: &Arc<dyn Clock>) -> Events {
        let queue = Arc::<Queue>::default();
        let mut queues = self.queues.lock();
        if self.is_over.load(SeqCst) {
            queue.is_over.store(true, SeqCst);
        }
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&queue));
        self.any.store(true, SeqCst);
        drop(queues);
        let (runner, clock) = (runner.clone(), clock.clone());
        Events {
            queue,
            runner,
            clock,
        }
    }
}

/// What happens in a store from the subscription on: see [`crate::HintStore::events`]. It does not keep the store
/// open. A subscriber that is a thousand events behind misses some, and gets [`Event::Missed`].
///
/// With the feature `tokio` it is a `Stream`.
pub struct Events {
    queue: Arc<Queue>,
    runner: Arc<dyn Runner>,
    clock: Arc<dyn Clock>,
}

impl Events {
    /// The next event, if there is one. Does not block.
    pub fn try_next(&self) -> Option<Event> {
        let mut waiting = self.queue.waiting.lock();
        let event = waiting.events.pop_front();
        event.or_else(|| {
            let missed = std::mem::take(&mut waiting.missed);
            (missed > 0).then_some(Event::Missed(missed))
        })
    }

    /// Whether nothing more comes: the store was closed. Does not block.
    pub fn is_over(&self) -> bool {
        // First: what was sent before the end is still there.
        let is_over = self.queue.is_over.load(SeqCst);
        let waiting = self.queue.waiting.lock();
        is_over && waiting.events.is_empty() && waiting.missed == 0
    }

    /// The next event; `None` where none comes within this time, or the store was closed.
    ///
    /// # Blocking
    /// For `within` at most.
    pub fn wait_next(&self, within: Duration) -> Option<Event> {
        let deadline = Some(self.clock.boot() + within);
        let mut event = None;
        let mut done = || {
            event = self.try_next();
            event.is_some() || self.is_over()
        };
        self.runner
            .wait_until(&self.queue.news, deadline, &mut done);
        event
    }

    /// The next event, for tasks; `None` where the store was closed. The task is woken when there is one. Does not
    /// block.
    pub fn poll_next_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        // Before looking: what comes in between wakes it.
        self.queue.news.wake_once(context.waker());
        match self.try_next() {
            Some(event) => Poll::Ready(Some(event)),
            None if self.is_over() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

#[cfg(feature = "tokio")]
impl futures_core::Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll_next_event(context)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.queue.waiting.lock();
        write!(f, "Events({} waiting)", waiting.events.len())
    }
}
