//! From block to block, past what is none.
//!
//! A block follows the one before at once, or at the next sector where a sync was begun in
//! between. Where neither holds, the walk searches on in steps of 64 bytes within the file's data:
//! valid blocks behind a hole are kept, the hole is reported.

use std::fmt;

use hintstore_env::Result;
use hintstore_format::{
    SegmentId,
    block::{self, Codec, Header},
    footer::Footer,
    layout::{ALIGN, BLOCK_MAGIC, FOOTER_MAGIC, SECTOR, align_up},
    profile::{self, Entry},
};

use zstd::bulk::Decompressor;

use crate::{ByteView, Source};

/// What the disk cannot read is passed over in steps of a page.
const UNREADABLE: u64 = 4096;

/// A block whose header is right.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its header.
    pub header: Header,
    /// Its profiles; `None` where the table is broken, and with it what its hints mean.
    pub entries: Option<Vec<Entry>>,
}

/// Bytes between blocks that are neither block nor padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where it begins.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// What a walk meets.
#[derive(Clone, Debug)]
pub enum Item {
    /// A block.
    Block(Block),
    /// Bytes that are none.
    Hole(Hole),
    /// The footer: the end.
    Footer(Box<Footer>),
}

/// A walk over the blocks of one segment.
#[derive(Debug)]
pub struct Walk {
    source: Box<dyn Source>,
    segment: SegmentId,
    at: u64,
    limit: u64,
    ended: bool,
    footer_budget: u64,
    unpacker: Unpacker,
}

/// Decompresses blocks; made when the first one comes.
#[derive(Default)]
struct Unpacker(Option<Decompressor<'static>>);

impl Unpacker {
    /// The frames of a block; none where what is stored is damaged. The header bounds their length.
    fn unpack(&mut self, stored: &[u8], length: u32) -> Vec<u8> {
        let unpacker = match self.0.take() {
            Some(unpacker) => unpacker,
            None => match Decompressor::new() {
                Ok(unpacker) => unpacker,
                Err(_) => return Vec::new(),
            },
        };
        let unpacked = self.0.insert(unpacker).decompress(stored, length as usize);
        let whole = unpacked
            .ok()
            .filter(|frames| frames.len() == length as usize);
        whole.unwrap_or_default()
    }
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Walk {
    /// A walk from `at`, where a block begins or began, to `limit`.
    pub fn new(mut source: Box<dyn Source>, segment: SegmentId, at: u64, limit: u64) -> Self {
        source.limit(limit);
        Self {
            source,
            segment,
            at,
            limit,
            ended: false,
            footer_budget: limit.saturating_mul(4).max(1 << 20),
            unpacker: Unpacker::default(),
        }
    }

    /// Where the walk stands: the end of what it met.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// Whether anything was read through a map that failed: then holes may be none, and broken
    /// frames whole.
    pub fn faulted(&self) -> bool {
        self.source.faulted()
    }

    /// Passes over what cannot be read: goes on at `at`, if that is further.
    pub fn skip_to(&mut self, at: u64) {
        self.at = self.at.max(at);
    }

    /// Lets the walk go further, in a segment that grew.
    pub fn extend(&mut self, limit: u64) {
        if limit > self.limit {
            self.limit = limit;
            self.source.limit(limit);
            self.ended = false;
        }
    }

    /// The next item; `None` at the end. An error is the disk's.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        if self.ended || self.at >= self.limit {
            return Ok(None);
        }
        for at in [self.at, align_up(self.at, SECTOR)] {
            if let Some(item) = self.item_at(at)? {
                return Ok(Some(item));
            }
        }
        let from = self.at;
        let Some(found) = self.search(align_up(from + 1, ALIGN))? else {
            self.ended = true;
            self.at = self.limit;
            return Ok(None);
        };
        self.at = found;
        self.ended = found >= self.limit;
        Ok(Some(Item::Hole(Hole {
            offset: from,
            length: found - from,
        })))
    }

    /// The next item, past what the disk cannot read: that is reported as a hole.
    pub fn next_readable(&mut self) -> Option<Item> {
        self.next_item().unwrap_or_else(|_| {
            let offset = self.at;
            self.skip_to(align_up(offset + 1, UNREADABLE));
            let length = self.at - offset;
            Some(Item::Hole(Hole { offset, length }))
        })
    }

    /// The frames of a block. Of a compressed one that is damaged there are none.
    pub fn frames(&mut self, block: &Block) -> Result<ByteView> {
        let Header {
            stored_length,
            frames_length,
            codec,
            ..
        } = block.header;
        let stored = self
            .source
            .at(block.header.frames_at(), stored_length as usize)?;
        match codec {
            Codec::Zstd => {
                let frames = self.unpacker.unpack(&stored, frames_length);
                Ok(ByteView::of_heap(frames))
            }
            _ => Ok(stored),
        }
    }

    fn item_at(&mut self, at: u64) -> Result<Option<Item>> {
        let head = self.source.at(at, block::HEADER)?;
        match head.first_chunk() {
            Some(magic) if magic == BLOCK_MAGIC => {
                let Ok(header) = Header::decode(&head, self.segment, at) else {
                    return Ok(None);
                };
                if at + header.length() > self.limit {
                    // Cut short: its frames are not all there.
                    return Ok(None);
                }
                let table = self
                    .source
                    .at(header.table_at(), header.table_length as usize)?;
                // A broken table leaves the block countable: its header says how many are lost.
                let entries = profile::decode_table(&table, self.segment, at).ok();
                self.at = header.end();
                Ok(Some(Item::Block(Block { header, entries })))
            }
            Some(magic) if magic == FOOTER_MAGIC => {
                let Some(length) = Footer::claimed_length(&head, at) else {
                    return Ok(None);
                };
                // Hostile bytes can claim many footers; each costs as much as it claims.
                if at.saturating_add(length) > self.limit || length > self.footer_budget {
                    return Ok(None);
                }
                self.footer_budget -= length;
                let bytes = self.source.at(at, length as usize)?;
                let Ok(footer) = Footer::decode(&bytes, self.segment, at) else {
                    return Ok(None);
                };
                self.at = at + length;
                self.ended = true;
                Ok(Some(Item::Footer(Box::new(footer))))
            }
            _ => Ok(None),
        }
    }

    /// Searches for the next block or footer from `from` on. Gives its place, or the limit where
    /// there is none; `None` where only zeros are left.
    fn search(&mut self, from: u64) -> Result<Option<u64>> {
        const PIECE: usize = 256 << 10;
        let mut any = !self.is_zero(self.at, from.min(self.limit))?;
        let mut at = from;
        while at < self.limit {
            let Some((start, end)) = self.source.next_data(at)? else {
                break;
            };
            at = at.max(start & !(ALIGN - 1));
            let end = end.min(self.limit);
            while at < end {
                let piece = self.source.at(at, PIECE.min((end - at) as usize))?;
                if piece.is_empty() {
                    break;
                }
                for (number, line) in piece.chunks(ALIGN as usize).enumerate() {
                    let here = at + number as u64 * ALIGN;
                    let magic = line.first_chunk::<4>();
                    if magic.is_some_and(|magic| magic == BLOCK_MAGIC || magic == FOOTER_MAGIC) {
                        let (was_at, was_ended) = (self.at, self.ended);
                        if self.item_at(here)?.is_some() {
                            (self.at, self.ended) = (was_at, was_ended);
                            return Ok(Some(here));
                        }
                    }
                    any = any || line.iter().any(|byte| *byte != 0);
                }
                at += align_up(piece.len() as u64, ALIGN);
            }
            at = at.max(align_up(end, ALIGN));
        }
        Ok(any.then_some(self.limit))
    }

    fn is_zero(&mut self, from: u64, to: u64) -> Result<bool> {
        let length = to.saturating_sub(from).min(1 << 20) as usize;
        Ok(self.source.at(from, length)?.iter().all(|byte| *byte == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PreadSource,
        testing::{SEGMENT, SegmentBytes},
    };

    /// What a walk meets: `b` a block with its place, `h` a hole with its place and length, `f` the footer.
    fn met(segment: &SegmentBytes) -> Vec<(char, u64, u64)> {
        let (file, length) = segment.file();
        let source = Box::new(PreadSource::hopping(file));
        let mut walk = Walk::new(source, SEGMENT, segment.blocks_at(), length);
        let mut met = Vec::new();
        while let Some(item) = walk.next_readable() {
            met.push(match item {
                Item::Block(Block { header, .. }) => ('b', header.position.offset, header.length()),
                Item::Hole(hole) => ('h', hole.offset, hole.length),
                Item::Footer(footer) => ('f', footer.summary.footer_at, 0),
            });
        }
        met
    }

    fn three_blocks() -> (SegmentBytes, [u64; 4]) {
        let mut segment = SegmentBytes::new();
        let first = segment.block(&[b"one", b"two"], 0);
        let second = segment.block(&[b"three"], 0);
        let third = segment.block(&[b"four", b"five"], 0);
        let end = segment.end();
        (segment, [first, second, third, end])
    }

    #[test]
    fn blocks_follow_one_another_to_the_footer() {
        let (mut segment, [first, second, third, _]) = three_blocks();
        segment.seal();
        let kinds: Vec<(char, u64)> = met(&segment).iter().map(|met| (met.0, met.1)).collect();
        let footer = kinds.last().map_or(0, |met| met.1);
        assert_eq!(
            kinds,
            [('b', first), ('b', second), ('b', third), ('f', footer)]
        );
    }

    #[test]
    fn a_block_may_begin_at_the_next_sector() {
        let mut segment = SegmentBytes::new();
        let first = segment.block(&[b"one"], 0);
        segment.pad_to_sector();
        let second = segment.block(&[b"two"], 0);
        assert_eq!(second % SECTOR, 0);
        let places: Vec<(char, u64)> = met(&segment).iter().map(|met| (met.0, met.1)).collect();
        assert_eq!(
            places,
            [('b', first), ('b', second)],
            "the padding is no hole"
        );
    }

    #[test]
    fn a_block_whose_header_is_broken_is_a_hole_up_to_the_next_block() {
        let (mut segment, [first, second, third, _]) = three_blocks();
        segment.bytes[second as usize + 20] ^= 1;
        let met = met(&segment);
        let places: Vec<(char, u64)> = met.iter().map(|met| (met.0, met.1)).collect();
        assert_eq!(places, [('b', first), ('h', second), ('b', third)]);
        assert_eq!(met[1].2, third - second);
    }

    #[test]
    fn a_block_that_is_cut_short_is_a_hole_and_zeros_are_none() {
        let (mut segment, [first, second, third, _]) = three_blocks();
        let length = met(&segment)[2].2;
        segment.bytes.truncate((third + length) as usize - 1);
        let cut = ('h', third, length - 1);
        let places = met(&segment);
        assert_eq!(places.len(), 3);
        assert_eq!((places[0].1, places[1].1, places[2]), (first, second, cut));

        segment.bytes.truncate(third as usize);
        segment.bytes.resize(third as usize + 10_000, 0);
        assert_eq!(met(&segment).len(), 2, "preallocated zeros are the end");
    }

    #[test]
    fn bytes_of_another_place_are_no_block() {
        let (mut segment, [_, second, third, end]) = three_blocks();
        // What a file system that mixes blocks up would leave.
        let copy = segment.bytes[second as usize..third as usize].to_vec();
        segment.bytes.extend_from_slice(&copy);
        let last = met(&segment).pop();
        assert_eq!(last, Some(('h', end, copy.len() as u64)));
    }

    #[test]
    fn a_walk_goes_on_in_a_segment_that_grew() {
        let (segment, [first, second, third, end]) = three_blocks();
        let (file, _) = segment.file();
        let source = Box::new(PreadSource::hopping(file));
        let mut walk = Walk::new(source, SEGMENT, first, second);
        assert!(matches!(walk.next_item(), Ok(Some(Item::Block(_)))));
        assert!(matches!(walk.next_item(), Ok(None)));
        assert_eq!(walk.offset(), second);
        walk.extend(end);
        assert!(matches!(walk.next_item(), Ok(Some(Item::Block(_)))));
        assert_eq!(walk.offset(), third);
    }
}
