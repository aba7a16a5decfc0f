//! The write path: append → slab → flush → sync → roll → seal.
//!
//! In the order of the data flow: [`Hint`] is what a caller hands over; `call` checks it; `budget`
//! has the caps on disk space; `pool` has the slabs; `target` reserves a place and copies the hint
//! into it; `flush` hands full slabs to the kernel;
//! `segment` is the open hint file of a target; `sync` makes it durable, for many callers at once,
//! and moves what a failed sync left in doubt; `seal` ends a file with its footer; `spare` prepares
//! the next; `shared` is what all targets share, `work` what waits for a background step, `trouble`
//! what the disk refuses, `home` whether the directory is still the store's. [`Writer`] composes them and owns their background steps. The reader is told of
//! segments through [`SegmentEvents`] and never called.

#![forbid(unsafe_code)]

mod budget;
mod call;
mod config;
mod copy;
mod disk_health;
mod file;
mod flush;
mod hint;
mod home;
mod pool;
mod seal;
mod segment;
mod spare;
mod steps;
mod sync;
mod target;
mod work;
mod write_env;
mod writer;

pub use budget::{Budget, Cap, Usage};
pub use call::Gate;
pub use config::{Bytes, WriterConfig};
pub use copy::{Copied, SegmentCopy};
pub use file::{cut, seal_found};
pub use hint::{AppendError, Hint, Level, Receipt, Refusal, RefusalCounts, Refusals};
pub use home::{Gone, Home};
pub use segment::{Segment, SegmentEvents};
pub use target::{TargetStart, TargetWriter};
pub use write_env::{ByTarget, IdHasher, Parts};
pub use writer::{Batch, Writer};
