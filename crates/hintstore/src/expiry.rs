//! What time to judge by: a step of the clock is not believed until it is confirmed.
//!
//! The wall clock is compared with the time since boot. Where they part by more than five seconds
//! between two looks, either may be right: hints that are dead by one of them are held, neither
//! sent nor deleted, until an operator confirms the clock or fifteen minutes have passed since
//! boot. Suspend and downtime are no steps: boot time counts both.

use std::time::Duration;

use hintstore_format::{UnixMillis, expiry::is_dead};
use hintstore_runtime::{Boot, Clock, sync::Mutex};

/// What a clock may gain or lose between two looks.
const STEP: Duration = Duration::from_secs(5);
/// After this long a step confirms itself.
const CONFIRMED_AFTER: Duration = Duration::from_mins(15);

/// What becomes of a hint with some deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It lives.
    Live,
    /// It is dead.
    Dead,
    /// It is dead by one of two clocks: wait.
    Held,
    /// A fence says that it does not matter.
    Fenced,
}

/// The time to judge by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// The wall clock.
    pub(crate) wall: UnixMillis,
    /// What it would be without the step, while that is not confirmed.
    doubt: Option<UnixMillis>,
}

impl Now {
    /// What it is at least, by either clock.
    pub(crate) fn at_least(self) -> UnixMillis {
        self.doubt.map_or(self.wall, |other| other.min(self.wall))
    }

    pub(crate) fn judge(self, deadline: UnixMillis) -> Verdict {
        match self.doubt {
            None if is_dead(deadline, self.wall) => Verdict::Dead,
            Some(other) if is_dead(deadline, self.wall.max(other)) => Verdict::Held,
            _ => Verdict::Live,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Believed {
    wall: UnixMillis,
    boot: Boot,
    /// When the clock was first seen to have stepped.
    doubt_since: Option<Boot>,
    /// Counts the confirmations.
    confirmed: u64,
}

/// The clock that expiry judges by.
#[derive(Debug)]
pub(crate) struct TrustedClock {
    believed: Mutex<Believed>,
}

impl TrustedClock {
    /// Starts from the pair that was last confirmed in this boot, if there is one.
    pub(crate) fn new(clock: &dyn Clock, persisted: Option<(UnixMillis, Boot)>) -> Self {
        let (wall, boot) = persisted.unwrap_or((clock.wall(), clock.boot()));
        let believed = Believed {
            wall,
            boot,
            doubt_since: None,
            confirmed: 0,
        };
        Self {
            believed: Mutex::new(believed),
        }
    }

    /// Looks at the clock.
    pub(crate) fn now(&self, clock: &dyn Clock) -> Now {
        let mut believed = self.believed.lock();
        let (wall, boot) = (clock.wall(), clock.boot());
        let expected = believed.wall.saturating_add(boot.since(believed.boot));
        let apart = wall
            .saturating_since(expected)
            .max(expected.saturating_since(wall));
        if apart <= STEP {
            // Small differences are the clock being steered; they are taken over, so that they
            // never add up to a step.
            // A clock that stepped back to where it was is as good as confirmed.
            let confirmed = believed.confirmed + u64::from(believed.doubt_since.is_some());
            *believed = Believed {
                wall,
                boot,
                doubt_since: None,
                confirmed,
            };
            return Now { wall, doubt: None };
        }
        let since = *believed.doubt_since.get_or_insert(boot);
        if boot.since(since) >= CONFIRMED_AFTER {
            Self::believe(&mut believed, wall, boot);
            return Now { wall, doubt: None };
        }
        Now {
            wall,
            doubt: Some(expected),
        }
    }

    fn believe(believed: &mut Believed, wall: UnixMillis, boot: Boot) {
        let confirmed = believed.confirmed + 1;
        *believed = Believed {
            wall,
            boot,
            doubt_since: None,
            confirmed,
        };
    }

    /// An operator says that the clock is right.
    pub(crate) fn confirm(&self, clock: &dyn Clock) {
        Self::believe(&mut self.believed.lock(), clock.wall(), clock.boot());
    }

    /// Grows whenever a step was confirmed: what was held is to be judged anew.
    pub(crate) fn confirmations(&self) -> u64 {
        self.believed.lock().confirmed
    }

    /// The pair to persist; none while the clock is in doubt.
    pub(crate) fn confirmed(&self) -> Option<(UnixMillis, Boot)> {
        let believed = self.believed.lock();
        believed
            .doubt_since
            .is_none()
            .then_some((believed.wall, believed.boot))
    }
}
