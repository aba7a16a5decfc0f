//! The engine as its callers see it, mostly on a simulated disk.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests say what went wrong by panicking"
)]

mod cuts;
mod model;
mod sync_failure;
mod world;
