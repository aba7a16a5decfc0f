//! A runner that runs background steps one at a time, on the caller's thread.

use std::{fmt, io, sync::Arc, time::Duration};

use hintstore_env::{
    Boot, Clock as _, Next, Panics, Runner, Step, StepPanics, Waker,
    sync::{Mutex, Signal},
};

use crate::SimClock;

struct Slot {
    /// `None` while it runs.
    step: Option<Arc<dyn Step>>,
    waker: Waker,
    seen: u64,
    due: Option<Boot>,
    /// It panicked, and rests until then.
    rests_until: Option<Boot>,
}

/// Runs steps when [`Manual::run`] or [`Manual::advance`] is called, and while somebody waits:
/// then virtual time moves to where the next step is due.
pub struct Manual {
    clock: Arc<SimClock>,
    slots: Mutex<Vec<Slot>>,
    panics: Panics,
}

/// More runs than this without time moving, and the steps keep waking each other.
const RUNS_MAX: usize = 100_000;

impl Manual {
    /// A runner without steps.
    pub fn new(clock: Arc<SimClock>) -> Self {
        Self {
            clock,
            slots: Mutex::default(),
            panics: Panics::default(),
        }
    }

    /// Runs what is woken or due now.
    pub fn run(&self) {
        for _ in 0..RUNS_MAX {
            if !self.run_one() {
                return;
            }
        }
        unreachable!("the steps keep waking each other");
    }

    /// Lets time pass, running steps when they are due.
    pub fn advance(&self, by: Duration) {
        let until = self.clock.boot() + by;
        loop {
            self.run();
            let now = self.clock.boot();
            let next = self.next_due().filter(|due| *due < until).unwrap_or(until);
            self.clock.advance(next.since(now));
            if next >= until {
                return self.run();
            }
        }
    }

    /// When the next step is due that is not woken before.
    pub fn next_due(&self) -> Option<Boot> {
        self.slots
            .lock()
            .iter()
            .filter(|slot| slot.step.is_some())
            .filter_map(|s| s.due)
            .min()
    }

    /// Runs one step that is woken or due; false where there is none.
    fn run_one(&self) -> bool {
        let now = self.clock.boot();
        let mut slots = self.slots.lock();
        let ready = |slot: &Slot| {
            let woken = slot.waker.signal().count() != slot.seen;
            let rests = slot.rests_until.is_some_and(|until| until > now);
            slot.step.is_some() && !rests && (woken || slot.due.is_some_and(|due| due <= now))
        };
        let Some(at) = slots.iter().position(ready) else {
            return false;
        };
        let Some(slot) = slots.get_mut(at) else {
            return false;
        };
        slot.seen = slot.waker.signal().count();
        let Some(step) = slot.step.take() else {
            return false;
        };
        drop(slots);
        let next = self.panics.run(&*step, now);
        // It may have been stopped since.
        if let Some(slot) = self.slots.lock().get_mut(at) {
            slot.step = Some(step);
            slot.rests_until = next.is_none().then(|| now + Panics::REST);
            slot.due = match next.unwrap_or(Next::After(Panics::REST)) {
                Next::After(duration) => Some(now + duration.max(Duration::from_micros(1))),
                Next::WhenWoken => None,
            };
        }
        true
    }
}

impl Runner for Manual {
    fn start(&self, step: Arc<dyn Step>, waker: Waker, first: Next) -> io::Result<()> {
        let due = match first {
            Next::After(duration) => Some(self.clock.boot() + duration),
            Next::WhenWoken => None,
        };
        self.slots.lock().push(Slot {
            step: Some(step),
            waker,
            seen: 0,
            due,
            rests_until: None,
        });
        Ok(())
    }

    fn wait_until(
        &self,
        _: &Signal,
        deadline: Option<Boot>,
        done: &mut dyn FnMut() -> bool,
    ) -> bool {
        for _ in 0..RUNS_MAX {
            if done() {
                return true;
            }
            if self.run_one() {
                continue;
            }
            let now = self.clock.boot();
            let Some(next) = self.next_due().into_iter().chain(deadline).min() else {
                return false;
            };
            if deadline.is_some_and(|deadline| deadline <= now) {
                return false;
            }
            self.clock.advance(next.since(now));
        }
        done()
    }

    fn stop(&self) {
        self.slots.lock().clear();
    }

    fn panics(&self) -> Vec<StepPanics> {
        self.panics.list()
    }
}

impl fmt::Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manual({} steps)", self.slots.lock().len())
    }
}
