//! TIME AND THREADS: the seams that let the same engine run on real threads and in a simulation.
//!
//! [`Clock`] tells wall and boot time. Every background job is a [`Step`]: a function of the
//! present that says when it wants to run next. A [`Runner`] runs the steps: [`Threads`] here, a
//! deterministic one in `hintstore-sim`. All waiting goes through [`Runner::wait_until`]. There is
//! no other thread, sleep or clock in the engine. [`sync`] has the primitives, in one place.

mod clock;
mod live;
mod runner;
pub mod sync;
mod threads;

pub use clock::{Boot, Clock, SystemClock};
pub use live::Live;
pub use runner::{Next, Panics, Runner, Step, StepPanics, Waker};
pub use threads::Threads;
