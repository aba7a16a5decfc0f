//! A simulated disk, clock and target: for the tests of hintstore and of those who embed it.
//!
//! [`SimStorage`] is a disk that can lose its power at any operation, with every unsynced write
//! kept, dropped or torn; [`SimClock`] a clock that moves only by its own calls; [`Manual`] a runner that
//! runs background steps one at a time, so that a run is a function of its seed; [`SimTarget`] a
//! receiver that checks what it gets. [`Broken`] breaks a disk on purpose: a test that does not
//! notice it is no test.

#![forbid(unsafe_code)]

mod broken;
mod clock;
mod disk;
mod manual;
mod random;
mod storage;
mod target;

pub use broken::{Broken, BrokenStorage};
pub use clock::SimClock;
pub use disk::{Crash, Fault, FaultOn};
pub use manual::Manual;
pub use random::Random;
pub use storage::SimStorage;
pub use target::{Heard, SimTarget};
