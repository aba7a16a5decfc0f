#![no_main]
//! Any bytes as a footer and as a summary.

use libfuzzer_sys::fuzz_target;

use hintstore_format::{
    SegmentId,
    footer::{Footer, Summary},
};

fuzz_target!(|data: &[u8]| {
    let _ = std::hint::black_box(Footer::claimed_length(data));
    let _ = std::hint::black_box(Footer::decode(data, SegmentId::new(7), 4096));
    let _ = std::hint::black_box(Summary::decode(data, data.len() as u64));
});
