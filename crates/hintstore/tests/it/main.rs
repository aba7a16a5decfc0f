//! The engine as its callers see it, mostly on a simulated disk.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests say what went wrong by panicking"
)]

mod cuts;
mod model;
mod sync_failure;
mod world;
