//! CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected, initial value and final xor all ones).
//!
//! The check value of the ASCII digits `123456789` is 0xE3069283; a test pins it. Cassandra's own
//! files use the other CRC-32, which lives in `hintstore-cassandra`.

use byteorder::ByteOrder as _;

use crate::{SegmentId, layout::LE};

/// The checksum of `bytes`.
#[inline]
pub fn crc(bytes: &[u8]) -> u32 {
    extend(0, bytes)
}

/// The checksum of what `crc` covers, followed by `bytes`.
#[inline]
pub fn extend(crc: u32, bytes: &[u8]) -> u32 {
    hintstore_checksum::append(crc, bytes)
}

/// The start value for a structure that must lie in this segment at this offset: bytes that are
/// stale, misplaced or copied from another file then fail their checksum.
pub fn place(segment: SegmentId, offset: u64) -> u32 {
    let mut key = [0; 16];
    let (id, at) = key.split_at_mut(8);
    LE::write_u64(id, segment.get());
    LE::write_u64(at, offset);
    crc(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_is_pinned() {
        assert_eq!(crc(b"123456789"), 0xE306_9283);
        assert_eq!(extend(crc(b"1234"), b"56789"), 0xE306_9283);
    }

    #[test]
    fn a_place_depends_on_segment_and_offset() {
        let here = place(SegmentId::new(1), 512);
        assert_ne!(here, place(SegmentId::new(2), 512));
        assert_ne!(here, place(SegmentId::new(1), 1024));
    }
}
