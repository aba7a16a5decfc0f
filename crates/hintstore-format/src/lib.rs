//! BYTES: how hints, segments, journals and the store file look on disk.
//!
//! Every decoder takes `&[u8]`, does no I/O, never panics and allocates no more than its input
//! justifies; every encoder writes into memory the caller gives. Nothing here knows a file, a
//! thread or a clock, and nothing here is `unsafe`.
//!
//! In the order in which the bytes come into being: [`frame`] (one hint), [`profile`] (what the
//! hints of a block share), [`block`] (one flush), [`descriptor`] and [`footer`] (the two ends of
//! a segment), [`journal`] (control records), [`store_file`] (identity and epoch).
//! [`layout`] holds every offset; `docs/format.md` shows the same tables, and a test compares them.
//! [`expiry`] is the one rule that says when a hint is dead.

#![forbid(unsafe_code)]

pub mod block;
pub mod checksum;
mod codec;
pub mod descriptor;
mod error;
pub mod expiry;
pub mod file_name;
pub mod footer;
pub mod frame;
mod id;
pub mod journal;
pub mod layout;
pub mod profile;
pub mod store_file;
mod time;

pub use error::{DecodeError, DecodeKind};
pub use id::{
    Incarnation, MutationId, Namespace, ParseIdError, SegmentId, Sequence, StoreId, TargetId,
};
pub use time::UnixMillis;
