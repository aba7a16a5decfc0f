//! FILES: the seam between the engine and the disk.
//!
//! [`Storage`] is one store directory, [`File`] one file in it. The operating system is behind
//! them in production ([`OsStorage`]), a simulated disk in tests. [`Mapping`] is a read-only map
//! whose faults do not end the process ([`install_guard`]), [`SharedBuffer`] a buffer that many
//! threads fill at once. Nothing here knows a hint. Beside the checksum this is
//! the only crate with `unsafe`.

mod buffer;
mod error;
mod guard;
mod lease;
mod lock;
mod map;
mod os;
mod owner;
mod storage;

pub use buffer::{Exclusive, Filled, Refused, Reservation, SharedBuffer};
pub use error::{Op, StorageError};
pub use guard::{guard_installed, install_guard};
pub use lease::OpenElsewhere;
pub use lock::{Lock, LockError};
pub use map::Mapping;
pub use os::OsStorage;
pub use owner::copy_owner;
pub use storage::{
    Entry, Existing, File, FileId, Info, Lacks, Presence, Result, Space, Storage, is_there,
};
