//! What is dead: the clock that may be trusted, fences, the hint window, the sweep.

mod clock;
mod fences;
mod sweep;
mod window;

pub(crate) use clock::{Known, Now, TrustedClock, Verdict};
pub(crate) use fences::{Fences, end as fence_end};
pub(crate) use sweep::Sweep;
pub(crate) use window::HintWindow;
