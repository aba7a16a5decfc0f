//! A hint storage engine for replicated stores.
//!
//! A replicated store takes a write while one replica is down. The node that coordinates the write
//! keeps a *hint* for that replica and hands it over when the replica is back. This crate is that
//! part: it keeps hints durably, one open file per target, and replays them in order.
//!
//! ```
//! use std::time::Duration;
//! use hintstore::{Config, Hint, HintStore, Durability, Namespace, TargetId, UnixMillis};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("hintstore-doc-{}", std::process::id()));
//! let store = HintStore::open(Config::new(&directory))?;
//!
//! // A write for a replica that is down: its mutation, when it was made, how long it matters.
//! let replica = TargetId::from_u128(0x9a35_5670);
//! let users = Namespace::from_u128(1);
//! let now = UnixMillis::new(1_800_000_000_000);
//! # let now = hintstore::Clock::wall(&hintstore::SystemClock);
//! let gc_grace = Duration::from_secs(864_000);
//! let hint = Hint::new(replica, now, gc_grace, b"put k v").namespace(users);
//! let receipt = store.append(hint, Durability::Durable)?;
//! assert_eq!(receipt.durability, Durability::Durable);
//!
//! // The replica is back: take a page of hints, deliver them, say what became of them.
//! while let Some(page) = store.target(replica).page()? {
//!     for hint in page.hints() {
//!         println!("{}: {} bytes", hint.key.sequence, hint.body.payload.len());
//!     }
//!     page.delivered()?;
//! }
//! let books = store.ledger();
//! assert_eq!((books.accepted, books.pending()), (1, 0));
//! store.close()?;
//! # std::fs::remove_dir_all(directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! The promises behind these calls are numbered P1 to P10 in `docs/architecture.md`.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct Embedding;

mod append;
mod compact;
mod config;
mod deliver;
mod discard;
pub mod env;
mod error;
mod expire;
mod handle;
pub mod inspect;
mod journal;
mod loss;
mod observe;
mod open;
pub mod raw;
mod read;
mod recover;
mod space;
mod store;
mod store_env;
mod sync_point;
mod target;
#[cfg(feature = "tokio")]
pub mod tokio;
mod topology;
mod upkeep;

pub use append::{AppendError, AppendResult, Durability, Hint, Pending, Receipt, Scope};
pub use compact::{Compact, Compacted, Compaction, CompactionTotals, Reason as CompactReason};
pub use config::{Config, ConfigError, Environment, Setting};
pub use deliver::{Delivery, Page, Verdict};
pub use error::{Error, Result};
pub use hintstore_env::{
    Boot, Clock, Lacks, OsStorage, Runner, StepPanics, Storage, StorageError, SystemClock, Threads,
    install_guard,
};
pub use hintstore_format::{
    DecodeError, DecodeKind, Incarnation, MutationId, Namespace, Sequence, StoreId, TargetId,
    UnixMillis,
    expiry::Lifetime,
    frame::{Body, Collapse, Origin},
    journal::{Cause, End, Ends, Loss, Repaired},
    profile::Span,
};
pub use hintstore_reader::{Faulted, HintRef, Hints, Key};
pub use hintstore_writer::{Bytes, Cap, Gone, Refusal, Refusals};
#[cfg(feature = "prometheus")]
pub use observe::prometheus;
pub use observe::{
    Concern, Delays, Event, Events, Health, Ledger, Snapshot, TargetLedger, TargetSnapshot, Urgency,
};
pub use recover::{AtRisk, Foreign, OpenReport};

pub use discard::{Discarded, Truncate};
pub use handle::{Next, Order, TargetHandle};
pub use space::{Caps, DiskConfig};
pub use store::{HintStore, Shutdown, WeakHintStore};
pub use sync_point::{ParseSyncPointError, SyncPoint, SyncScope, SyncState};
pub use target::{Limits, TargetState};
pub use topology::{Departure, Orphan, Readdressed};
