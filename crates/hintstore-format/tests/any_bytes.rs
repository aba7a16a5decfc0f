//! No decoder panics, hangs or allocates without bound, whatever it is given.

use hintstore_format::{
    SegmentId, UnixMillis,
    block::Header,
    descriptor::Descriptor,
    footer::{Footer, Summary},
    frame::{self, Frame},
    journal::{Head, Walk},
    layout, profile, store_file,
};

/// Only whether it comes back matters.
fn used<T>(value: T) {
    drop(std::hint::black_box(value));
}

fn decode_all(bytes: &[u8]) {
    let segment = SegmentId::new(7);
    used(Descriptor::decode(bytes));
    used(Header::decode(bytes, segment, 128).map(|header| (header.end(), header.last())));
    used(profile::decode_table(bytes, segment, 128));
    used(Footer::decode(bytes, segment, 4096));
    used(Summary::decode(bytes, bytes.len() as u64));
    used(Head::decode(bytes));
    used(store_file::decode(bytes));
    let mut walk = Walk::new(bytes, 4);
    walk.by_ref().for_each(drop);
    for at in 0..bytes.len().min(64) {
        used(frame::check(bytes, at, 1));
        used(Frame::read_checked(bytes, at, UnixMillis::MAX));
    }
}

#[test]
fn random_bytes_behind_every_magic() {
    let mut state = 42u64;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963);
        state >> 33
    };
    let magics: [&[u8]; 7] = [
        b"",
        layout::SEGMENT_MAGIC,
        layout::JOURNAL_MAGIC,
        layout::STORE_MAGIC,
        layout::BLOCK_MAGIC,
        layout::FOOTER_MAGIC,
        layout::SUMMARY_MAGIC,
    ];
    for _ in 0..3000 {
        let mut bytes = magics[next() as usize % magics.len()].to_vec();
        let length = next() % 600;
        // Few distinct values, so that counts and lengths are often plausible.
        bytes.extend((0..length).map(|_| [0, 1, 4, 0xff, next() as u8][next() as usize % 5]));
        decode_all(&bytes);
    }
}
