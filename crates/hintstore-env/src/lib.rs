//! THE WORLD: disk, time and threads, as seams that let the same engine run on an operating system and in
//! a simulation.
//!
//! [`Storage`] is one store directory, [`File`] one file in it: the operating system in production
//! ([`OsStorage`]), a simulated disk in tests. [`Clock`] tells wall and boot time. Every background job is
//! a [`Step`], a function of the present that says when it is to run next; a [`Runner`] runs the steps,
//! [`Threads`] here. All waiting goes through [`Runner::wait_until`]: there is no other thread, sleep or
//! clock in the engine. [`sync`] has the primitives, [`SharedBuffer`] is a buffer that many threads fill at
//! once. Nothing here knows a hint. Beside the checksum this is the only crate with `unsafe`.

mod disk;
mod live;
mod run;
mod shared_buffer;
pub mod sync;
mod time;
mod trace;

pub use disk::{
    Entry, Existing, File, FileId, Info, Lacks, Lock, LockError, Mapping, Op, OpenElsewhere,
    OsStorage, Presence, Result, Space, Storage, StorageError, copy_owner, guard_installed,
    install_guard, is_there,
};
pub use live::Live;
pub use run::{Next, Panics, Runner, Step, StepPanics, Threads, Waker};
pub use shared_buffer::{Exclusive, Filled, Refused, Reservation, SharedBuffer};
pub use time::{Boot, Clock, SystemClock};
#[cfg(feature = "tracing")]
#[doc(hidden)]
pub use tracing;
