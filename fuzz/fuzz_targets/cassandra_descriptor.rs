#![no_main]
//! Any bytes as the header of a hint file of Cassandra, and a whole file.

#[path = "../any.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|data: &[u8]| any::descriptor(data));
