//! Little-endian integers, ids and checksums.

use std::fmt::Write as _;

/// An id of 16 bytes, as 32 hex digits.
pub(crate) type Id = String;

fn le(bytes: &[u8]) -> u64 {
    let from_the_top = bytes.iter().rev();
    from_the_top.fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> usize {
    le(&bytes[at..at + 2]) as usize
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    le(&bytes[at..at + 4]) as u32
}

/// A length or count of 32 bits.
pub(crate) fn length_at(bytes: &[u8], at: usize) -> usize {
    u32_at(bytes, at) as usize
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    le(&bytes[at..at + 8])
}

pub(crate) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    u64_at(bytes, at) as i64
}

pub(crate) fn id_at(bytes: &[u8], at: usize) -> Id {
    hex(&bytes[at..at + 16])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// An id as UUIDs are printed.
pub(crate) fn uuid(id: &str) -> String {
    let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
    parts.join("-")
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

pub(crate) fn round_up(at: usize, step: usize) -> usize {
    at.div_ceil(step) * step
}

/// CRC-32C of the parts, one behind the other.
pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let append = |crc, part: &&[u8]| crc32c::crc32c_append(crc, part);
    parts.iter().fold(0, append)
}

/// What a checksum "keyed by segment and offset" covers before all else.
pub(crate) fn key(segment: u64, offset: usize) -> [u8; 16] {
    let values = [segment, offset as u64];
    std::array::from_fn(|place| (values[place / 8] >> (8 * (place % 8))) as u8)
}

/// Fields one behind the other.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Fields { rest: bytes }
    }

    pub(crate) fn take(&mut self, size: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(size);
        self.rest = rest;
        taken
    }

    pub(crate) fn number(&mut self, size: usize) -> u64 {
        le(self.take(size))
    }

    pub(crate) fn i64(&mut self) -> i64 {
        self.number(8) as i64
    }

    pub(crate) fn id(&mut self) -> Id {
        hex(self.take(16))
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
