//! Files: the seam between the engine and the disk, and the operating system behind it.

mod error;
mod guard;
mod lease;
mod lock;
mod map;
mod os;
mod owner;
mod storage;

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
