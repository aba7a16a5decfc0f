//! Synchronisation primitives: one place, so that a model checker can stand in for them.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, PoisonError},
    task,
    time::Duration,
};

pub use std::sync::{
    Arc, MutexGuard, OnceLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// What the lock-free buffer is made of: atomics, or those of a model checker.
pub(crate) mod model {
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
    #[cfg(not(loom))]
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
}

/// A mutex that goes on after a panic of its holder: each of our critical sections leaves its data
/// whole at every step.
#[derive(Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A mutex around a value.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Waits for the mutex. Only for critical sections that themselves never wait.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mutex, if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A reader-writer lock that goes on after a panic of its holder.
#[derive(Default, Debug)]
pub struct RwLock<T>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// A lock around a value.
    pub const fn new(value: T) -> Self {
        Self(std::sync::RwLock::new(value))
    }

    /// Shared access.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exclusive access.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What some threads leave for others, first in, first out. It never waits: who takes is woken by
/// a [`crate::Waker`], and who leaves is held up by what bounds the things that are left.
pub struct Queue<T> {
    into: crossbeam_channel::Sender<T>,
    out: crossbeam_channel::Receiver<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let (into, out) = crossbeam_channel::unbounded();
        Self { into, out }
    }
}

impl<T> Queue<T> {
    /// Leaves one.
    pub fn push(&self, item: T) {
        // Both ends live as long as the queue: this cannot fail.
        drop(self.into.send(item));
    }

    /// Takes the first, if there is one.
    pub fn pop(&self) -> Option<T> {
        self.out.try_recv().ok()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({})", self.len())
    }
}

/// An event that others wait for: a count that only grows.
#[derive(Default, Debug)]
pub struct Signal {
    raised: Mutex<Raised>,
    grown: Condvar,
}

#[derive(Default, Debug)]
struct Raised {
    count: u64,
    /// Nobody is called where nobody waits: that would be a system call.
    waiting: usize,
    /// Tasks that are woken the next time.
    tasks: Vec<task::Waker>,
}

impl Signal {
    /// A signal that was never raised.
    pub const fn new() -> Self {
        Self {
            raised: Mutex::new(Raised {
                count: 0,
                waiting: 0,
                tasks: Vec::new(),
            }),
            grown: Condvar::new(),
        }
    }

    /// How often it was raised.
    pub fn count(&self) -> u64 {
        self.raised.lock().count
    }

    /// Raises it and wakes all who wait.
    pub fn raise(&self) {
        let mut raised = self.raised.lock();
        raised.count += 1;
        let any = raised.waiting > 0;
        let tasks = mem::take(&mut raised.tasks);
        drop(raised);
        if any {
            self.grown.notify_all();
        }
        for task in tasks {
            // What a waker does is its executor's business: the others are woken all the same.
            let _panicked = catch_unwind(AssertUnwindSafe(|| task.wake())).is_err();
        }
    }

    /// Has a task woken when it is raised next. The task looks at what it waits for behind this call.
    pub fn wake_once(&self, waker: &task::Waker) {
        // Before the lock: it is not our code.
        let waker = waker.clone();
        let tasks = &mut self.raised.lock().tasks;
        if !tasks.iter().any(|known| known.will_wake(&waker)) {
            tasks.push(waker);
        }
    }

    /// Waits until it was raised more often than `seen`, or for `at_most`. Only for runners:
    /// everybody else waits through [`crate::Runner::wait_until`].
    pub fn wait(&self, seen: u64, at_most: Option<Duration>) {
        let unraised = |raised: &mut Raised| raised.count == seen;
        let mut raised = self.raised.lock();
        raised.waiting += 1;
        let mut raised = match at_most {
            None => self
                .grown
                .wait_while(raised, unraised)
                .unwrap_or_else(PoisonError::into_inner),
            Some(at_most) => {
                self.grown
                    .wait_timeout_while(raised, at_most, unraised)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        raised.waiting -= 1;
    }
}
