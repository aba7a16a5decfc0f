#![no_main]
//! Any bytes as the blocks of a compressed hint file of Cassandra.

#[path = "../any.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|data: &[u8]| any::blocks(data));
