//! What can be seen from outside: the books, a snapshot, metrics.

mod concern;
mod ledger;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod snapshot;

pub use concern::{Concern, Urgency};
pub use ledger::{Ledger, TargetLedger};
pub use snapshot::{Health, Snapshot, TargetSnapshot};
