#![no_main]
//! Any bytes as the records of a plain hint file of Cassandra.

#[path = "../any.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|data: &[u8]| any::records(data));
