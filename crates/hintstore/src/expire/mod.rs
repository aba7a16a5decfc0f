//! What is dead: the clock that may be trusted, and the hint window.

mod clock;
mod window;

pub(crate) use clock::{Known, Now, TrustedClock, Verdict};
pub(crate) use window::Ages;
