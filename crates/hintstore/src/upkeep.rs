//! What is done once an interval: checkpoint, sweep, a look at what admission depends on, and at what has drained.

use std::sync::Arc;

use hintstore_env::{
    Boot, Next, Step, Waker,
    sync::{AtomicU64, Mutex, Ordering::SeqCst},
};
use hintstore_format::UnixMillis;

use crate::{
    append::Admission,
    deliver::Checkpoints,
    discard::Discarder,
    expire::{HintWindow, Sweep},
    space::Space,
    store_env::StoreEnv,
    target::Targets,
    topology::{Members, end_orphans},
};

/// Looks at the time, at space and at hint windows, on which it depends who may append.
#[derive(Debug)]
pub(crate) struct AdmissionUpkeep {
    pub(crate) env: Arc<StoreEnv>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) space: Arc<Space>,
    pub(crate) window: HintWindow,
    /// Confirmations of the clock up to the last look.
    pub(crate) confirmations_seen: AtomicU64,
}

impl AdmissionUpkeep {
    /// Looks at the time, and where something happened at space and windows.
    pub(crate) fn refresh(&self, touched: bool, boot: Boot) {
        let now = self.env.now().at_least();
        // By this look or another.
        let confirmed = self.env.time.confirmations();
        if self.confirmations_seen.swap(confirmed, SeqCst) != confirmed {
            // What was held for the clock can go.
            self.targets.announce_all();
        }
        let take_all = self.env.config().take_expired;
        self.admission
            .set_now(if take_all { UnixMillis::MIN } else { now });
        if self.window.is_due(boot) || touched {
            // A device that does not tell its space now is asked again.
            drop(self.space.look());
            self.window.look();
        }
    }
}

/// Checkpoints once an interval, and sweeps at its own.
#[derive(Debug)]
pub(crate) struct Upkeep {
    env: Arc<StoreEnv>,
    checkpoints: Arc<Checkpoints>,
    sweep: Arc<Sweep>,
    space: Arc<Space>,
    admission: Arc<AdmissionUpkeep>,
    members: Arc<Members>,
    discarder: Arc<Discarder>,
    sweep_at: Mutex<Boot>,
    pub(crate) waker: Waker,
}

impl Upkeep {
    pub(crate) fn new(
        env: &Arc<StoreEnv>,
        checkpoints: &Arc<Checkpoints>,
        sweep: &Arc<Sweep>,
        space: &Arc<Space>,
        admission: &Arc<AdmissionUpkeep>,
        members: &Arc<Members>,
        discarder: &Arc<Discarder>,
    ) -> Self {
        Self {
            env: env.clone(),
            checkpoints: checkpoints.clone(),
            sweep: sweep.clone(),
            space: space.clone(),
            admission: admission.clone(),
            members: members.clone(),
            discarder: discarder.clone(),
            sweep_at: Mutex::new(env.clock.boot()),
            waker: Waker::default(),
        }
    }

    /// Does all of it at the next occasion, which is now: settings changed.
    pub(crate) fn hasten(&self) {
        *self.sweep_at.lock() = self.env.clock.boot();
        self.waker.wake();
    }

    fn is_sweep_due(&self, now: Boot) -> bool {
        let mut at = self.sweep_at.lock();
        let due = *at <= now;
        if due {
            *at = now + self.env.config().sweep_interval;
        }
        due
    }
}

impl Step for Upkeep {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn step(&self, now: Boot) -> Next {
        let interval = Next::After(self.env.config().checkpoint_interval);
        if self.checkpoints.is_busy() {
            return interval;
        }
        // A failure is the journal's: it is tried again, from memory, with the next checkpoint.
        let is_sweep_due = self.is_sweep_due(now);
        if is_sweep_due {
            self.space.recount_aside();
            drop(self.sweep.sweep());
        }
        let touched = self.env.activity.take_touched();
        if touched && self.checkpoints.checkpoint().is_err() {
            self.env.activity.touch();
        }
        self.admission.refresh(touched, now);
        if self.env.subscribers.any() {
            // Also of what ended otherwise than by an answer.
            for target in self.admission.targets.all() {
                self.env.say_if_drained(&target);
            }
        }
        if is_sweep_due {
            // Last: it reads what it discards. What cannot be discarded now is tried at the next sweep.
            drop(end_orphans(
                &self.env,
                &self.members,
                &self.admission.targets,
                &self.discarder,
            ));
        }
        Next::After(self.env.config().checkpoint_interval)
    }
}
