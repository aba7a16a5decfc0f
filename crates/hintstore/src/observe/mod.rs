//! What can be seen from outside: the books, a snapshot, metrics.

mod ledger;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod snapshot;

pub use ledger::{Ledger, TargetLedger};
pub use snapshot::{Health, Snapshot, TargetSnapshot};
