#![no_main]
//! Any bytes as a journal: the walk ends, within the bytes.

use libfuzzer_sys::fuzz_target;

use hintstore_format::journal::{Head, Walk};

fuzz_target!(|data: &[u8]| {
    let _ = std::hint::black_box(Head::decode(data));
    let mut walk = Walk::new(data, 4);
    walk.by_ref().for_each(drop);
    assert!(walk.end() <= data.len() as u64 + 64);
});
