//! What can be seen from outside: the books, a snapshot, metrics, traces.

mod ledger;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod snapshot;
mod trace;

pub use ledger::{Ledger, TargetLedger};
pub use snapshot::{Health, Snapshot, TargetSnapshot};

pub(crate) use trace::{event, span};
