#![no_main]
//! Any bytes as a mutation of Cassandra.

#[path = "../any.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|data: &[u8]| any::mutation(data));
