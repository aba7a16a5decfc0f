//! hintctl through its binary: on real files, damaged files, and wrong ones.
#![expect(clippy::unwrap_used, reason = "tests say what went wrong by panicking")]

mod bad_input;
mod bench;
mod cassandra;
mod cuts;
mod docs;
mod edit;
mod interop;
mod jobs;
mod kill;
mod looks;
mod matrix;
mod native;
mod node;
mod reports;
mod schema_text;
mod select;
mod tool;
mod trace;
mod transform;
