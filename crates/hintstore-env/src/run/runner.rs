//! The seam between the engine's background steps and what runs them.

use std::{
    collections::BTreeMap,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use crate::{
    Boot,
    sync::{Arc, Mutex, Signal},
};

/// When a step wants to run again, apart from being woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After this long.
    After(Duration),
    /// Only when woken.
    WhenWoken,
}

impl Next {
    /// This, or after `duration`, whichever comes first.
    #[must_use]
    pub fn or_after(self, duration: Duration) -> Self {
        match self {
            Self::After(sooner) => Self::After(sooner.min(duration)),
            Self::WhenWoken => Self::After(duration),
        }
    }
}

/// One background job, cut into runs that each end soon.
pub trait Step: Send + Sync + fmt::Debug {
    /// What it does, in one word.
    fn name(&self) -> &'static str;

    /// Does what is due now, and says when it wants to run next.
    fn step(&self, now: Boot) -> Next;
}

/// Wakes a step before its time.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<Signal>);

impl Waker {
    /// Has the step run soon. Waking it again before it runs changes nothing.
    pub fn wake(&self) {
        self.0.raise();
    }

    /// What the runner waits on.
    pub fn signal(&self) -> &Signal {
        &self.0
    }
}

/// How often a step has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepPanics {
    /// The name of the step.
    pub step: &'static str,
    /// How many of its runs ended in a panic.
    pub count: u64,
}

/// Runs steps on behalf of a [`Runner`], and counts those that panic.
///
/// A step that is gone would leave its work undone for the life of the process, and nothing would
/// say so. Each step keeps what it was about to do on its lists when it unwinds, and every critical
/// section leaves its data whole, so the next run goes on with it.
#[derive(Debug, Default)]
pub struct Panics(Mutex<BTreeMap<&'static str, u64>>);

impl Panics {
    /// A step that panicked runs again after this long, and not before, even where it is woken: one
    /// that panics each time must not keep a processor busy.
    pub const REST: Duration = Duration::from_secs(1);

    /// Runs a step. `None` where it panicked: it is counted, and is to run again after
    /// [`Panics::REST`].
    pub fn run(&self, step: &dyn Step, now: Boot) -> Option<Next> {
        let next = catch_unwind(AssertUnwindSafe(|| step.step(now))).ok();
        if next.is_none() {
            *self.0.lock().entry(step.name()).or_default() += 1;
        }
        next
    }

    /// Steps that have panicked, by name.
    pub fn list(&self) -> Vec<StepPanics> {
        let panics = self.0.lock();
        let listed = panics
            .iter()
            .map(|(&step, &count)| StepPanics { step, count });
        listed.collect()
    }
}

/// Runs steps, and waits for conditions that they bring about.
pub trait Runner: Send + Sync + fmt::Debug {
    /// Runs a step from now on, first when it is woken or `first` has passed. `waker` wakes it.
    /// Fails where the system gives no thread.
    fn start(&self, step: Arc<dyn Step>, waker: Waker, first: Next) -> io::Result<()>;

    /// Waits until `done` or `deadline` (a time since boot), looking again whenever `signal` is
    /// raised. True where it was done. Never called from a step.
    fn wait_until(
        &self,
        signal: &Signal,
        deadline: Option<Boot>,
        done: &mut dyn FnMut() -> bool,
    ) -> bool;

    /// Ends all steps; each ends the run it is in, and none runs again.
    fn stop(&self);

    /// Steps that have panicked: an implementation that runs each through [`Panics`] tells them, and
    /// loses none in silence.
    fn panics(&self) -> Vec<StepPanics> {
        Vec::new()
    }
}
