//! From block to block, past what is none.
//!
//! A block follows the one before at once, or at the next sector where a sync was begun in
//! between. Where neither holds, the walk searches on in steps of 64 bytes within the file's data:
//! valid blocks behind a hole are kept, the hole is reported.

use hintstore_env::Result;
use hintstore_format::{
    SegmentId,
    block::{self, Header},
    footer::Footer,
    layout::{ALIGN, BLOCK_MAGIC, FOOTER_MAGIC, SECTOR, align_up},
    profile::{self, Entry},
};

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

    /// The frames of a block.
    pub fn frames(&mut self, block: &Block) -> Result<ByteView> {
        self.source.at(
            block.header.frames_at(),
            block.header.frames_length as usize,
        )
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
