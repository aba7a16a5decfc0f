#![no_main]
//! Any bytes as a block header and as a profile table.

use libfuzzer_sys::fuzz_target;

use hintstore_format::{SegmentId, block::Header, profile};

fuzz_target!(|data: &[u8]| {
    let segment = SegmentId::new(7);
    let _ = std::hint::black_box(Header::decode(data, segment, 128).map(|header| (header.end(), header.last())));
    let _ = std::hint::black_box(profile::decode_table(data, segment, 128));
});
