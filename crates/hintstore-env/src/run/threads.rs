//! The runner of production: a thread a step.

use std::{fmt, io, thread, time::Duration};

use crate::{
    Boot, Clock, Next, Panics, Runner, Step, StepPanics, Waker,
    sync::{Arc, AtomicBool, Mutex, Ordering, Signal},
};

/// Runs each step on a thread of its own.
pub struct Threads {
    clock: Arc<dyn Clock>,
    stopping: Arc<AtomicBool>,
    running: Mutex<Vec<(Waker, thread::JoinHandle<()>)>>,
    panics: Arc<Panics>,
}

impl Threads {
    /// A runner without steps.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            stopping: Arc::default(),
            running: Mutex::default(),
            panics: Arc::default(),
        }
    }
}

impl Runner for Threads {
    fn start(&self, step: Arc<dyn Step>, waker: Waker, first: Next) -> io::Result<()> {
        let (clock, stopping, wakes) = (self.clock.clone(), self.stopping.clone(), waker.clone());
        let panics = self.panics.clone();
        // The system shows fifteen bytes of it.
        let thread_name = format!("hint {}", step.name());
        let run = move || {
            let mut seen = 0;
            let mut next = first;
            loop {
                let at_most = match next {
                    Next::After(duration) => Some(duration),
                    Next::WhenWoken => None,
                };
                wakes.signal().wait(seen, at_most);
                seen = wakes.signal().count();
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                next = panics.run(&*step, clock.boot()).unwrap_or_else(|| {
                    let again_at = clock.boot() + Panics::REST;
                    while !stopping.load(Ordering::SeqCst) && clock.boot() < again_at {
                        let left = again_at.since(clock.boot());
                        wakes.signal().wait(wakes.signal().count(), Some(left));
                    }
                    Next::After(Duration::ZERO)
                });
            }
        };
        // Who stops takes the list under this lock: what comes behind it would never end.
        let mut running = self.running.lock();
        if self.stopping.load(Ordering::SeqCst) {
            return Err(io::Error::other("the steps are being stopped"));
        }
        let thread = thread::Builder::new().name(thread_name).spawn(run)?;
        running.push((waker, thread));
        Ok(())
    }

    fn wait_until(
        &self,
        signal: &Signal,
        deadline: Option<Boot>,
        done: &mut dyn FnMut() -> bool,
    ) -> bool {
        loop {
            // Before looking: what is raised in between ends the wait at once.
            let seen = signal.count();
            if done() {
                return true;
            }
            let left = deadline.map(|deadline| deadline.since(self.clock.boot()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            signal.wait(seen, left);
        }
    }

    fn stop(&self) {
        let mut list = self.running.lock();
        self.stopping.store(true, Ordering::SeqCst);
        let running = std::mem::take(&mut *list);
        drop(list);
        for (waker, _) in &running {
            waker.wake();
        }
        let this = thread::current().id();
        // A step that drops the last handle of what it belongs to ends itself, after this.
        for (_, thread) in running.into_iter().filter(|(_, t)| t.thread().id() != this) {
            // Panics of steps are caught and counted where they run.
            drop(thread.join());
        }
    }

    fn panics(&self) -> Vec<StepPanics> {
        self.panics.list()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({})", self.running.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SystemClock, sync::AtomicU64};

    #[derive(Debug, Default)]
    struct Count {
        runs: AtomicU64,
        ran: Signal,
    }

    impl Step for Count {
        fn name(&self) -> &'static str {
            "count"
        }

        fn step(&self, _: Boot) -> Next {
            self.runs.fetch_add(1, Ordering::SeqCst);
            self.ran.raise();
            Next::WhenWoken
        }
    }

    #[test]
    fn a_step_runs_when_woken_and_a_wait_ends() {
        let clock = Arc::new(SystemClock);
        let threads = Threads::new(clock.clone());
        let (step, waker) = (Arc::new(Count::default()), Waker::default());
        threads
            .start(step.clone(), waker.clone(), Next::WhenWoken)
            .unwrap();
        waker.wake();
        let ran = |least| step.runs.load(Ordering::SeqCst) >= least;
        assert!(threads.wait_until(&step.ran, None, &mut || ran(1)));
        let soon = clock.boot() + Duration::from_millis(20);
        assert!(!threads.wait_until(&step.ran, Some(soon), &mut || ran(2)));
        threads.stop();
        waker.wake();
        assert!(!ran(2));
    }

    /// Panics the first time it runs.
    #[derive(Debug, Default)]
    struct PanicsOnce(Count);

    impl Step for PanicsOnce {
        fn name(&self) -> &'static str {
            "panics once"
        }

        fn step(&self, now: Boot) -> Next {
            assert!(self.0.step(now) == Next::WhenWoken && self.0.runs.load(Ordering::SeqCst) > 1);
            Next::WhenWoken
        }
    }

    #[test]
    fn a_step_that_panics_is_counted_and_runs_again() {
        let threads = Threads::new(Arc::new(SystemClock));
        let (step, waker) = (Arc::new(PanicsOnce::default()), Waker::default());
        threads
            .start(step.clone(), waker.clone(), Next::WhenWoken)
            .unwrap();
        waker.wake();
        let mut again = || step.0.runs.load(Ordering::SeqCst) >= 2;
        assert!(threads.wait_until(&step.0.ran, None, &mut again));
        let (step, count) = ("panics once", 1);
        assert_eq!(threads.panics(), [StepPanics { step, count }]);
    }
}
