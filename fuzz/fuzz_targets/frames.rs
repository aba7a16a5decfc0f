#![no_main]
//! Any bytes as the frames of a block: the walk covers them all, and ends.

use libfuzzer_sys::fuzz_target;

use hintstore_format::{
    SegmentId, Sequence, UnixMillis,
    block::{Header, Position, Start},
    frame::Frame,
    profile::Span,
};
use hintstore_reader::{FrameItem, Frames};

fuzz_target!(|data: &[u8]| {
    let zero = UnixMillis::new(0);
    let header = Header {
        start: Start {
            first: Sequence::new(1),
            salt: 0,
            base_created: zero,
            accepted: zero,
        },
        position: Position {
            segment: SegmentId::new(1),
            offset: 128,
            synced_to: 0,
        },
        count: 1,
        last_index: u16::MAX,
        frames_length: data.len() as u32,
        table_length: 0,
        created: Span::of(zero),
        deadlines: Span::of(zero),
    };
    let mut covered = 0;
    for item in Frames::new(&header, data) {
        covered += match item {
            FrameItem::Intact { at, header, .. } => {
                let frame = Frame::read_checked(data, at, zero);
                assert!(frame.is_ok(), "a checked frame reads");
                header.end(0)
            }
            FrameItem::Bad { length, .. } => length,
        };
    }
    assert_eq!(covered, data.len());
});
