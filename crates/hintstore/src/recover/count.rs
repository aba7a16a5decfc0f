//! How many hints of a segment are still to be delivered.

use hintstore_env::{Result, Storage};
use hintstore_format::{
    Namespace, Sequence,
    frame::{Body, Frame},
    journal::{Discard, Range},
};
use hintstore_reader::{FrameItem, Frames, Item, PreadSource, Walk};
use hintstore_writer::{SegmentEntry, State};

use crate::target::{Progress, Ranges};

/// What is still to be delivered of a segment.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// How many hints.
    pub(super) count: u64,
    /// Those of them that the last checkpoint named as holes.
    pub(super) holes: Ranges,
}

/// What becomes of broken hints in blocks with gaps, where nothing tells their sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// They count as pending: delivery finds them missing, and books them.
    Pending,
    /// They are booked apart: a checkpoint says how many there were.
    Apart,
}

/// Hints of a closed segment that are behind the frontier or in its holes, and were not discarded.
/// Broken ones among them count: delivery finds them missing, and books them.
pub(super) fn pending(
    storage: &dyn Storage,
    entry: &SegmentEntry,
    progress: &Progress,
    broken: Broken,
) -> Result<Pending> {
    let Some(closed) = entry.closed().filter(|closed| closed.count > 0) else {
        return Ok(Pending::default());
    };
    let (first, last) = (entry.first, closed.last);
    let within = Ranges::of(&[Range { first, last }]);
    let holes = progress.unended.and(&within);
    let span = last.get().saturating_sub(first.get()) + 1;
    let is_discarded = |discard: &Discard| !discard.is_all() && discard.up_to >= first;
    let discards = progress.exceptional.discards.iter().any(is_discarded);
    if span == closed.count && !discards {
        // No gaps: sequences can be counted without reading.
        let from = first.max(progress.frontier.plus(1));
        let behind = (last.get() + 1).saturating_sub(from.get());
        let count = behind + holes.count();
        return Ok(Pending { count, holes });
    }
    // Gaps were there when it was written, as in a deferred or a compacted segment, or were reported as
    // losses. Where all of it is on one side of the position, they make no difference.
    if !discards && progress.frontier < first {
        let count = closed.count;
        return Ok(Pending { count, holes });
    }
    if !discards && last <= progress.frontier && holes.is_empty() {
        return Ok(Pending::default());
    }
    let mut pending = Pending::default();
    let mut seen = 0;
    let mut missing = Vec::new();
    let mut call = |found: Found<'_>| match found {
        Found::Hint(sequence, hint) => {
            seen += 1;
            let is_hole = holes.contains(sequence);
            let covers = |discard: &Discard| match hint {
                Some((namespace, body)) => discard.covers(sequence, namespace, body.created),
                None => false,
            };
            let is_open = sequence > progress.frontier || is_hole;
            if is_open && !progress.exceptional.discards.iter().any(covers) {
                pending.count += 1;
                if is_hole {
                    pending.holes.add(sequence);
                }
            }
        }
        Found::Missing(range, count) => {
            seen += count;
            missing.push((range, count));
        }
    };
    each_expected(storage, entry, &mut call)?;
    if broken == Broken::Apart {
        missing.clear();
    }
    // Whole blocks are missing of those that its footer counts.
    let unseen = closed.count.saturating_sub(seen);
    missing.push((Range { first, last }, unseen));
    for (range, count) in missing {
        // Which of a block are missing nobody knows: holes that were not found first, which delivery looks for
        // and books; then those behind the position.
        let mut lost = holes.and(&Ranges::of(&[range]));
        lost.subtract(&pending.holes);
        let mut left = count;
        for hole in lost.ranges() {
            let length = left.min(hole.last.get() - hole.first.get() + 1);
            if length > 0 {
                let last = Sequence::new(hole.first.get() + length - 1);
                pending.holes.insert(Range { last, ..*hole });
                pending.count += length;
                left -= length;
            }
        }
        if range.last > progress.frontier {
            pending.count += left;
        }
    }
    Ok(pending)
}

/// Notes what is left of a segment, and collects its holes; gives how many hints that is.
pub(super) fn book(
    entry: &SegmentEntry,
    left: &Pending,
    progress: &mut Progress,
    holes: &mut Ranges,
) -> u64 {
    let all = entry.closed().map_or(0, |closed| closed.count);
    progress.count_in(entry.id, all.saturating_sub(left.count));
    holes.join(&left.holes);
    left.count
}

/// Calls back for each intact hint of a segment.
pub(crate) fn each(
    storage: &dyn Storage,
    entry: &SegmentEntry,
    mut call: impl FnMut(Sequence, Namespace, &Body<'_>),
) -> Result<()> {
    each_expected(storage, entry, &mut |found| {
        if let Found::Hint(sequence, Some((namespace, body))) = found {
            call(sequence, namespace, body);
        }
    })
}

/// What block headers tell of.
enum Found<'a> {
    /// A hint, with what is known of it: nothing of a broken one.
    Hint(Sequence, Option<(Namespace, &'a Body<'a>)>),
    /// Broken hints of a block with gaps, somewhere in it, and how many.
    Missing(Range, u64),
}

/// Calls back for each hint of a segment that its block headers tell of, in order except broken ones.
fn each_expected(
    storage: &dyn Storage,
    entry: &SegmentEntry,
    call: &mut dyn FnMut(Found<'_>),
) -> Result<()> {
    let (file, start, end) = match &entry.state {
        State::Closed(closed) => (
            storage.open(&entry.name, false)?,
            closed.blocks_at,
            closed.end,
        ),
        State::Open(segment) => (
            segment.file.clone(),
            segment.descriptor.length() as u64,
            segment.written(),
        ),
    };
    let source = Box::new(PreadSource::sequential(file));
    let mut walk = Walk::new(source, entry.id, start, end);
    let counts = entry.first..=entry.last();
    while let Some(item) = walk.next_readable() {
        let Item::Block(block) = item else { continue };
        let header = &block.header;
        let all = Range {
            first: header.start.first,
            last: header.last(),
        };
        let is_dense = u64::from(header.count) == all.last.get() - all.first.get() + 1;
        let mut broken = Ranges::default();
        if is_dense {
            broken.insert(all);
        }
        let mut read = 0;
        // What the disk cannot read is found missing when delivery has passed it.
        let frames = walk.frames(&block).ok();
        if let (Some(entries), Some(frames)) = (&block.entries, &frames) {
            let mut intact = Ranges::default();
            for item in Frames::new(header, frames) {
                let FrameItem::Intact {
                    at,
                    header: frame,
                    sequence,
                } = item
                else {
                    continue;
                };
                let body = Frame::read_body(frame, frames, at, header.start.base_created);
                let known = entries.get(usize::from(frame.profile)).zip(body.ok());
                if let Some((profile, frame)) = known
                    && counts.contains(&sequence)
                {
                    let namespace = profile.profile.namespace;
                    call(Found::Hint(sequence, Some((namespace, &frame.body))));
                    intact.add(sequence);
                }
            }
            read = intact.count();
            broken.subtract(&intact);
        }
        if !is_dense && counts.contains(&all.last) {
            let missing = u64::from(header.count).saturating_sub(read);
            call(Found::Missing(all, missing));
        }
        for range in broken.ranges() {
            for sequence in range.first.get()..=range.last.get() {
                let sequence = Sequence::new(sequence);
                if counts.contains(&sequence) {
                    call(Found::Hint(sequence, None));
                }
            }
        }
    }
    Ok(())
}
