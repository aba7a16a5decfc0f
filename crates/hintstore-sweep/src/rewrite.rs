//! Copies what is to be kept of some segments into one new one, in the order of their sequences.
//!
//! What is kept of a block is a block again, its frames with the checksums that they were accepted with; where
//! that is little, it is joined with what is kept of its neighbours. Each hint is checked before. Whatever cannot be read ends
//! the rewriting: damage is delivery's to deal with and to book.

use std::sync::Arc;

use hintstore_env::{Result, Storage};
use hintstore_format::{
    Namespace, Sequence,
    expiry::Lifetime,
    frame::{Body, Collapse, Frame, Header},
};
use hintstore_reader::{Block, FrameItem, Frames, Item, PreadSource, Walk};
use hintstore_writer::{SegmentCopy, SegmentEntry};

/// What decides over a hint.
#[derive(Clone, Copy, Debug)]
pub struct HintFacts<'a> {
    /// Its sequence.
    pub sequence: Sequence,
    /// Its namespace.
    pub namespace: Namespace,
    /// How long it lives, by what it says itself.
    pub lifetime: Lifetime,
    /// The hint itself.
    pub body: Body<'a>,
}

impl<'a> HintFacts<'a> {
    /// Its rivals, where it has some and may be delivered twice.
    pub fn rivals(&self) -> Option<Collapse<'a>> {
        self.body.collapse.filter(|_| self.body.idempotent)
    }
}

/// How a rewriting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rewritten {
    /// All of it was read, and what is to be kept was copied.
    Whole,
    /// The file of this source, by its place, is damaged or not there.
    Damaged(usize),
    /// The caller stopped it.
    Stopped,
}

/// Copies the hints of `sources` that `keep` wants into `copy`. `pace` is called with the bytes that each
/// block took to read and write, and stops it by `false`.
///
/// # Errors
/// The disk, or a cap on its space.
pub fn rewrite(
    storage: &dyn Storage,
    sources: &[Arc<SegmentEntry>],
    copy: &mut SegmentCopy,
    keep: impl FnMut(&HintFacts<'_>) -> bool,
    pace: impl FnMut(u64) -> bool,
) -> Result<Rewritten> {
    each_block(storage, sources, keep, pace, |block, frames, chosen| {
        copy_block(copy, block, frames, chosen)
    })
}

/// Shows the hints of `sources` to `look`, as [`rewrite`] does, and writes nothing.
///
/// # Errors
/// The disk.
pub fn survey(
    storage: &dyn Storage,
    sources: &[Arc<SegmentEntry>],
    mut look: impl FnMut(&HintFacts<'_>),
    pace: impl FnMut(u64) -> bool,
) -> Result<Rewritten> {
    let keep = |hint: &HintFacts<'_>| {
        look(hint);
        false
    };
    each_block(storage, sources, keep, pace, |_, _, _| Ok(0))
}

/// Goes through the blocks; `copied` is given the frames of each that are kept, and gives the bytes that it
/// wrote.
fn each_block(
    storage: &dyn Storage,
    sources: &[Arc<SegmentEntry>],
    mut keep: impl FnMut(&HintFacts<'_>) -> bool,
    mut pace: impl FnMut(u64) -> bool,
    mut copied: impl FnMut(&Block, &[u8], &[Chosen]) -> Result<u64>,
) -> Result<Rewritten> {
    for (place, source) in sources.iter().enumerate() {
        let Some(closed) = source.closed() else {
            return Ok(Rewritten::Damaged(place));
        };
        let file = match storage.open(&source.name, false) {
            Ok(file) if file.info()?.id() == closed.file => file,
            Err(error) if !error.is_missing() => return Err(error),
            // Delivery looks into it, and knows what to make of it.
            Ok(_) | Err(_) => return Ok(Rewritten::Damaged(place)),
        };
        let reader = Box::new(PreadSource::sequential(file));
        let mut walk = Walk::new(reader, source.id, closed.blocks_at, closed.end);
        let mut seen = 0;
        loop {
            let block = match walk.next_item()? {
                Some(Item::Block(block)) => block,
                Some(Item::Hole(_)) => return Ok(Rewritten::Damaged(place)),
                Some(Item::Footer(_)) | None => break,
            };
            let frames = walk.frames(&block)?;
            let Some((chosen, read)) = choose(&block, &frames, source.last(), &mut keep) else {
                return Ok(Rewritten::Damaged(place));
            };
            seen += read;
            let written = copied(&block, &frames, &chosen)?;
            if !pace(block.header.length() + written) {
                return Ok(Rewritten::Stopped);
            }
        }
        if seen != closed.count {
            return Ok(Rewritten::Damaged(place));
        }
    }
    Ok(Rewritten::Whole)
}

/// A frame that is to be kept.
type Chosen = (Sequence, usize, Header);

/// The frames of a block that are to be kept, and how many hints of the segment it has; nothing where one
/// of them cannot be read.
fn choose(
    block: &Block,
    frames: &[u8],
    last: Sequence,
    keep: &mut impl FnMut(&HintFacts<'_>) -> bool,
) -> Option<(Vec<Chosen>, u64)> {
    let entries = block.entries.as_deref()?;
    let mut chosen = Vec::new();
    let mut seen = 0;
    let mut counted = 0;
    for item in Frames::new(&block.header, frames) {
        let FrameItem::Intact {
            at,
            header,
            sequence,
        } = item
        else {
            return None;
        };
        seen += 1;
        if sequence > last {
            // It is in another segment.
            continue;
        }
        counted += 1;
        let profile = entries.get(usize::from(header.profile))?.profile;
        let base = block.header.start.base_created;
        let body = Frame::read_body(header, frames, at, base).ok()?.body;
        let facts = HintFacts {
            sequence,
            namespace: profile.namespace,
            lifetime: profile.lifetime(),
            body,
        };
        if keep(&facts) {
            chosen.push((sequence, at, header));
        }
    }
    (seen == u64::from(block.header.count)).then_some((chosen, counted))
}

/// Copies frames of a block; gives how many bytes that was.
fn copy_block(
    copy: &mut SegmentCopy,
    block: &Block,
    frames: &[u8],
    chosen: &[Chosen],
) -> Result<u64> {
    let header = &block.header;
    let entries = block.entries.as_deref().unwrap_or_default();
    let parts = chosen
        .iter()
        .map(|(_, at, frame)| frames.get(*at..frame.end(*at)).unwrap_or_default());
    let length: usize = parts.clone().map(<[u8]>::len).sum();
    if copy.is_block(length) {
        copy.add_frames(header, entries, parts)?;
        return Ok(length as u64);
    }
    for (sequence, at, frame) in chosen {
        let read = Frame::read_body(*frame, frames, *at, header.start.base_created);
        let known = read.ok().zip(entries.get(usize::from(frame.profile)));
        let Some((read, entry)) = known else {
            unreachable!("it was read when it was chosen");
        };
        copy.add(*sequence, header.start.accepted, entry.profile, &read.body)?;
    }
    Ok(length as u64)
}
