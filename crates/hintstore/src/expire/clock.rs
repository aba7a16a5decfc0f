//! What time to judge by: a step of the clock is not believed until it is confirmed.
//!
//! The wall clock is compared with the time since boot. Where they part by more than five seconds
//! between two looks, either may be right: hints that are dead by one of them are held, neither
//! sent nor deleted, until an operator confirms the clock or fifteen minutes have passed by the time
//! since boot. Suspend is no step: boot time counts it.
//!
//! After a boot of the machine there is nothing to compare with: a clock without a battery may be days
//! off until a time server has set it. So a new boot begins in doubt. Dead is then only what is dead by
//! the last time that was confirmed before as well, until the kernel says that the clock is
//! synchronised, an operator does, or the machine has been up for fifteen minutes.

use std::time::Duration;

use hintstore_env::{Boot, Clock, sync::Mutex};
use hintstore_format::{UnixMillis, expiry::is_dead};

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
    /// A time that is believed as it is.
    pub(crate) fn of(wall: UnixMillis) -> Self {
        Self { wall, doubt: None }
    }

    /// What it is at least, by either clock.
    pub(crate) fn at_least(self) -> UnixMillis {
        self.doubt.map_or(self.wall, |other| other.min(self.wall))
    }

    pub(crate) fn judge(self, deadline: UnixMillis) -> Verdict {
        match self.doubt {
            None if is_dead(deadline, self.wall) => Verdict::Dead,
            // Whichever of the two is right.
            Some(other) if is_dead(deadline, self.wall.min(other)) => Verdict::Dead,
            Some(other) if is_dead(deadline, self.wall.max(other)) => Verdict::Held,
            _ => Verdict::Live,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Believed {
    wall: UnixMillis,
    boot: Boot,
    /// When the clock was first seen to have stepped; or that of the boot, where nothing was confirmed
    /// since.
    doubt_since: Option<Boot>,
    /// Nothing was confirmed since the machine was booted: the kernel may.
    is_new_boot: bool,
    /// Counts the confirmations.
    confirmed: u64,
}

/// What is known of the time when a store is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known {
    /// Nothing.
    Nothing,
    /// The pair that was last confirmed in this boot of the machine.
    ThisBoot(UnixMillis, Boot),
    /// It was no earlier than this at some time before this boot.
    EarlierBoot(UnixMillis),
}

/// The clock that expiry judges by.
#[derive(Debug)]
pub(crate) struct TrustedClock {
    believed: Mutex<Believed>,
}

impl TrustedClock {
    /// Starts from what was last confirmed.
    pub(crate) fn new(clock: &dyn Clock, known: Known) -> Self {
        let (wall, boot, is_new_boot) = match known {
            Known::Nothing => (clock.wall(), clock.boot(), true),
            Known::ThisBoot(wall, boot) => (wall, boot, false),
            Known::EarlierBoot(wall) => (wall, clock.boot(), true),
        };
        let believed = Believed {
            wall,
            boot,
            doubt_since: is_new_boot.then_some(Boot::default()),
            is_new_boot,
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
        if apart <= STEP && !believed.is_new_boot {
            // Small differences are the clock being steered; they are taken over, so that they
            // never add up to a step.
            // A clock that stepped back to where it was is as good as confirmed.
            let confirmed = believed.confirmed + u64::from(believed.doubt_since.is_some());
            *believed = Believed {
                wall,
                boot,
                doubt_since: None,
                is_new_boot: false,
                confirmed,
            };
            return Now { wall, doubt: None };
        }
        let since = *believed.doubt_since.get_or_insert(boot);
        let by_kernel = believed.is_new_boot && clock.is_synchronised();
        if by_kernel || boot.since(since) >= CONFIRMED_AFTER {
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
            is_new_boot: false,
            confirmed,
        };
    }

    /// An operator says that the clock is right.
    pub(crate) fn confirm(&self, clock: &dyn Clock) {
        Self::believe(&mut self.believed.lock(), clock.wall(), clock.boot());
    }

    /// Grows whenever a step was confirmed: what was held is to be judged again.
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
