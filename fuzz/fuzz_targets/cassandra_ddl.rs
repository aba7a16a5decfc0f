#![no_main]
//! Any bytes as a schema in CQL or JSON.

#[path = "../any.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|data: &[u8]| any::ddl(data));
