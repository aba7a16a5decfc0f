//! What can be seen from outside: the books, a snapshot, metrics.

mod concern;
mod delays;
mod event;
mod ledger;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod snapshot;

pub use concern::{Concern, Urgency};
pub use delays::Delays;
pub(crate) use event::Subscribers;
pub use event::{Event, Events};
pub use ledger::{Ledger, TargetLedger};
pub use snapshot::{Health, Snapshot, TargetSnapshot};
