#![no_main]
//! Any bytes as a store file.

use libfuzzer_sys::fuzz_target;

use hintstore_format::store_file;

fuzz_target!(|data: &[u8]| {
    let _ = std::hint::black_box(store_file::decode(data));
});
