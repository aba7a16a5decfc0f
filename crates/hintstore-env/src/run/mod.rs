//! Background jobs: steps, and the threads that run them.

mod runner;
mod threads;

pub use runner::{Next, Panics, Runner, Step, StepPanics, Waker};
pub use threads::Threads;
