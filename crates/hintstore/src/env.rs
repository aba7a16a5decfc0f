//! What a store stands on: disk, time and threads, as traits that an embedder can implement.
//!
//! [`Storage`] is one store directory, [`Clock`] the time, [`Runner`] runs the background [`Step`]s. An
//! [`Environment`](crate::Environment) has one of each. The crate `hintstore-sim` has simulated ones.

pub use hintstore_env::{
    Boot, Clock, Entry, Existing, File, FileId, Info, Lacks, Lock, LockError, Mapping, Next, Op,
    OpenElsewhere, OsStorage, Panics, Presence, Result, Runner, Space, Step, StepPanics, Storage,
    StorageError, SystemClock, Threads, Waker, install_guard, sync::Signal,
};
