#![no_main]
//! Any bytes as a hint file of Cassandra.

use libfuzzer_sys::fuzz_target;

use hintstore_cassandra::{Descriptor, HintBody, Records};

fuzz_target!(|data: &[u8]| {
    let start = Descriptor::decode(data).map_or(0, |descriptor| descriptor.length);
    let rest = &data[start.min(data.len())..];
    let mut records = Records::new(rest, start as u64, data.len() as u64);
    while let Ok(Some(_)) = records.next_item() {
        let _ = std::hint::black_box(HintBody::decode(records.body()).map(|body| body.expires_at_ms()));
    }
});
