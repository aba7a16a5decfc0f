//! The engine as its callers see it, mostly on a simulated disk.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests say what went wrong by panicking"
)]

#[cfg(feature = "prometheus")]
mod alerts;
mod append;
mod books;
mod bounds;
mod compact;
mod cuts;
mod damage;
mod defer;
mod delivery;
mod descriptors;
mod discard;
mod events;
mod expiry;
mod full_disk;
mod golden;
mod harness;
mod incidents;
mod losses;
mod model;
mod mount;
mod observability;
mod open;
mod pace;
mod schedules;
mod settings;
mod sync_failure;
mod sync_point;
mod tasks;
mod threads;
mod topology;
mod trouble;
