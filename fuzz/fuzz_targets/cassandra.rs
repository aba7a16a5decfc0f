#![no_main]
//! Any bytes as a hint file of Cassandra.

use libfuzzer_sys::fuzz_target;

use hintstore_cassandra::{Codec, Descriptor, HintBody, Records, Storage, judge};

fuzz_target!(|data: &[u8]| {
    let (start, storage) = Descriptor::decode(data)
        .map_or((0, Storage::Plain), |one| (one.length.min(data.len()) as u64, one.storage));
    let end = data.len() as u64;
    let mut records = match storage {
        Storage::Compressed(_, Some(codec)) => Records::compressed(data, codec, start, end),
        Storage::Compressed(..) => Records::compressed(data, Codec::Lz4, start, end),
        _ => Records::plain(data, start, end),
    };
    while let Ok(Some(_)) = records.next_item() {
        let body = HintBody::decode(records.body());
        let _ = std::hint::black_box(body.map(|body| (body.expires_at_ms(), body.first_update())));
    }
    let _ = std::hint::black_box(judge(data, end, None));
});
