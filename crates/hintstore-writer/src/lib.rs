//! The write path of a store: slab → flush → sync → roll → seal.
//!
//! In the order of the data flow: `budget` has the caps on disk space; `pool` has the slabs; `target`
//! reserves a place and copies a hint into it; `flush` hands full slabs to the kernel; `segment` is the
//! open hint file of a target; `sync` makes it durable, for many callers at once, and moves what a failed
//! sync left in doubt; `seal` ends a file with its footer; `spare` prepares the next. `file` is how any hint
//! file is written, and `copy` fills one with copies. `write_env` is what all targets share, `work` what
//! waits for a background step, `disk_health` what the disk refuses, `home` whether the directory is still
//! the store's. [`Writer`] composes them and owns their background steps. Others learn what happened from
//! [`Segments`], the list of a target, and [`Activity`]: nothing here calls them.

#![forbid(unsafe_code)]

mod activity;
mod budget;
mod commit;
mod config;
mod copy;
mod disk_health;
mod entry;
mod file;
mod flush;
mod home;
mod pool;
mod refusal;
mod seal;
mod segment;
mod segments;
mod spare;
mod steps;
mod sync;
mod target;
mod work;
mod write_env;
mod writer;

pub use activity::Activity;
pub use budget::{Budget, Cap, Usage};
pub use config::{Bytes, WriterConfig};
pub use copy::{Copied, SegmentCopy};
pub use entry::{Closed, NOT_TORN, Sealed, SegmentEntry, State};
pub use file::{cut, seal_found};
pub use home::{Gone, Home};
pub use pool::FRAME_MAX;
pub use refusal::{Refusal, RefusalCounts, Refusals};
pub use segment::Segment;
pub use segments::{Moved, Segments};
pub use target::{TargetStart, TargetWriter};
pub use write_env::{ByTarget, IdHasher, Parts};
pub use writer::Writer;
