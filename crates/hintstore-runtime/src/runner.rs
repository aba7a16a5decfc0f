//! The seam between the engine's background steps and whoever runs them.

use std::{fmt, io, time::Duration};

use crate::{
    Boot,
    sync::{Arc, Signal},
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
}
