//! The hint window: a target whose oldest undelivered hint waits for too long takes no more.
//!
//! A target that is away for longer than the window needs a repair anyway, and what is stored for
//! it until then only takes the space of others. Counted is from when the store accepted a hint:
//! an old one that was imported closes nothing. The window opens when what was old is delivered,
//! expired or discarded, not when the target shows up: one that flaps does not get a new window
//! each time.

use std::{sync::Arc, time::Duration};

use hintstore_env::{Boot, sync::Mutex};
use hintstore_format::UnixMillis;

use crate::{
    store_env::StoreEnv,
    target::{Target, Targets, UNWATCHED},
};

/// Samples are this part of the window apart: how exact it is.
const EXACT: u32 = 64;

/// Closes and opens the hint windows of targets.
#[derive(Debug)]
pub(crate) struct HintWindow {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
    look_at: Mutex<Boot>,
}

impl HintWindow {
    pub(crate) fn new(env: &Arc<StoreEnv>, targets: &Arc<Targets>) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
            look_at: Mutex::new(env.clock.boot()),
        }
    }

    /// Has it look at the next occasion, as when settings changed.
    pub(crate) fn look_soon(&self) {
        *self.look_at.lock() = self.env.clock.boot();
    }

    /// Whether it is time to look, with nothing else to do: every five minutes, or as exactly as the
    /// window is to be kept.
    pub(crate) fn is_due(&self, now: Boot) -> bool {
        let mut at = self.look_at.lock();
        let due = *at <= now;
        if due {
            let window = self.env.config().hint_window;
            let exact = window.map_or(Duration::MAX, |window| window / EXACT);
            *at = now + exact.clamp(Duration::from_secs(1), Duration::from_mins(5));
        }
        due
    }

    /// Looks at all targets.
    pub(crate) fn look(&self) {
        let now = self.env.now().at_least();
        for target in self.targets.all() {
            self.look_at_one(&target, now);
        }
    }

    fn look_at_one(&self, target: &Target, now: UnixMillis) {
        let next = target.writer.next();
        let oldest = target.oldest_pending(next);
        let mut ages = target.ages.lock();
        // Without a window the ages are only to be seen.
        let window = self.env.config().hint_window;
        let apart = window.unwrap_or(UNWATCHED) / EXACT;
        ages.forget_before(oldest.unwrap_or(next));
        ages.note(next, now, apart);
        let accepted = oldest.and_then(|oldest| ages.of(oldest));
        drop(ages);
        target.set_oldest(accepted);
        let past = |accepted| window.is_some_and(|window| now.saturating_since(accepted) > window);
        target.writer.set_past_window(accepted.is_some_and(past));
    }
}
