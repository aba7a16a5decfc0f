//! A segment: its descriptor, and the blocks and the footer that are found behind it.

use crate::bytes::{
    Id, crc, i64_at, id_at, is_zero, key, length_at, round_up, u16_at, u32_at, u64_at,
};
use crate::footer::Footer;
use crate::frames::{Hint, hints};

/// Blocks and footers start at multiples of it.
pub(crate) const STEP: usize = 64;
pub(crate) const SECTOR: usize = 512;
const COMPRESSED_AT_MOST: usize = 1 << 20;

#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) codec: u8,
    pub(crate) kind: u8,
    pub(crate) replaces: Vec<u64>,
    pub(crate) store: Id,
    pub(crate) target: Id,
    pub(crate) id: u64,
    pub(crate) created: i64,
    pub(crate) first_sequence: u64,
    pub(crate) incarnation: u64,
    pub(crate) blocks: Vec<Block>,
    pub(crate) footer: Option<Footer>,
    /// Places where something is broken.
    pub(crate) broken: usize,
}

#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) offset: usize,
    pub(crate) header: Vec<u8>,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) hints: Vec<Hint>,
}

#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) bytes: Vec<u8>,
    pub(crate) namespace: Id,
    pub(crate) payload_version: u32,
    pub(crate) gc_grace: u64,
    pub(crate) ttl: u64,
}

impl Segment {
    pub(crate) fn read(bytes: &[u8]) -> Segment {
        let mut segment = descriptor(bytes);
        let mut at = u16_at(bytes, 10);
        while let Some(offset) = next_offset(bytes, segment.id, at) {
            segment.broken += usize::from(!is_zero(&bytes[at..offset]));
            segment.footer = Footer::read(bytes, offset, segment.id);
            if segment.footer.is_some() {
                return segment;
            }
            at = block_end(bytes, offset);
            match block(bytes, offset, segment.id) {
                Some(block) => {
                    segment.broken += length_at(&block.header, 36) - block.hints.len();
                    segment.blocks.push(block);
                }
                None => segment.broken += 1,
            }
        }
        let behind = bytes.get(at..).unwrap_or_default();
        segment.broken += usize::from(!is_zero(behind));
        segment
    }

    pub(crate) fn hints(&self) -> impl Iterator<Item = &Hint> {
        self.blocks.iter().flat_map(|block| &block.hints)
    }

    pub(crate) fn last_sequence(&self) -> Option<u64> {
        self.hints().last().map(|hint| hint.sequence)
    }
}

fn descriptor(bytes: &[u8]) -> Segment {
    assert!(bytes.starts_with(b"hintseg\n"), "magic");
    let length = u16_at(bytes, 10);
    let covered: [&[u8]; 2] = [&bytes[..12], &bytes[16..length]];
    assert_eq!(u32_at(bytes, 12), crc(&covered), "descriptor");
    let (version, incompat) = (u16_at(bytes, 8), u32_at(bytes, 24));
    assert_eq!((version, incompat), (1, 0), "version, features");
    let [codec, cipher, kind, replaces] = [28, 29, 30, 31].map(|at| bytes[at]);
    assert!(codec <= 1 && cipher == 0 && kind <= 2, "fields");
    let ids_end = 128 + 8 * usize::from(replaces);
    assert!(length.is_multiple_of(STEP) && length >= ids_end, "length");
    assert!(is_zero(&bytes[96..128]) && is_zero(&bytes[ids_end..length]));
    Segment {
        codec,
        kind,
        replaces: (128..ids_end)
            .step_by(8)
            .map(|at| u64_at(bytes, at))
            .collect(),
        store: id_at(bytes, 32),
        target: id_at(bytes, 48),
        id: u64_at(bytes, 64),
        created: i64_at(bytes, 72),
        first_sequence: u64_at(bytes, 80),
        incarnation: u64_at(bytes, 88),
        blocks: Vec::new(),
        footer: None,
        broken: 0,
    }
}

/// Where the next block or footer is: here, at the next sector, or at the next step with either.
fn next_offset(bytes: &[u8], segment: u64, at: usize) -> Option<usize> {
    let here = round_up(at, STEP);
    let near = [here, round_up(at, SECTOR)];
    let further = (here..bytes.len()).step_by(STEP);
    near.into_iter().chain(further).find(|offset| {
        is_block_header(bytes, *offset, segment) || Footer::read(bytes, *offset, segment).is_some()
    })
}

fn is_block_header(bytes: &[u8], offset: usize, segment: u64) -> bool {
    bytes.get(offset..offset + 128).is_some_and(|header| {
        let covered: [&[u8]; 2] = [&key(segment, offset), &header[8..]];
        header.starts_with(b"HBlk") && u32_at(header, 4) == crc(&covered)
    })
}

/// The end of what a header speaks of, before the zeros to the next step.
pub(crate) fn block_end(bytes: &[u8], offset: usize) -> usize {
    offset + 128 + length_at(bytes, offset + 44) + length_at(bytes, offset + 48)
}

/// `None` where the block is passed over: it does not fit, or its table or compression is broken.
fn block(bytes: &[u8], offset: usize, segment: u64) -> Option<Block> {
    let block = bytes.get(offset..block_end(bytes, offset))?;
    let (header, rest) = block.split_at(128);
    assert_eq!(u64_at(header, 8), segment, "segment_id");
    assert_eq!(u64_at(header, 16), offset as u64, "offset");
    let (stored, table) = rest.split_at(length_at(header, 44));
    let profiles = profiles(table, &key(segment, offset))?;
    let frames = frames(header, stored)?;
    Some(Block {
        offset,
        header: header.to_vec(),
        hints: hints(header, &frames, &profiles),
        profiles,
    })
}

/// The frames, decompressed.
fn frames(header: &[u8], stored: &[u8]) -> Option<Vec<u8>> {
    let length = length_at(header, 40);
    let frames = match (header[54], header[55]) {
        (0, 0) => stored.to_vec(),
        (1, 0) if length <= COMPRESSED_AT_MOST => zstd::bulk::decompress(stored, length).ok()?,
        _ => return None,
    };
    (frames.len() == length).then_some(frames)
}

fn profiles(table: &[u8], key: &[u8]) -> Option<Vec<Profile>> {
    let (profiles, end) = table.split_at(table.len().checked_sub(8)?);
    let valid = u32_at(end, 0) == crc(&[key, profiles, &end[4..]])
        && length_at(end, 4) * 104 == profiles.len();
    valid.then(|| profiles.chunks(104).map(profile).collect())
}

fn profile(bytes: &[u8]) -> Profile {
    Profile {
        bytes: bytes.to_vec(),
        namespace: id_at(bytes, 0),
        payload_version: u32_at(bytes, 16),
        gc_grace: u64_at(bytes, 24),
        ttl: u64_at(bytes, 32),
    }
}
