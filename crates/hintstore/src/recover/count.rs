//! How many hints of a segment are still to be delivered.

use hintstore_format::Sequence;
use hintstore_reader::{FrameItem, Frames, Item, PreadSource, Walk};
use hintstore_storage::{Result, Storage};

use crate::{
    catalog::{Entry, State},
    dispatch::Progress,
};

/// Hints of a closed segment that are behind the frontier or in its holes, and were not discarded.
pub(super) fn pending(storage: &dyn Storage, entry: &Entry, progress: &Progress) -> Result<u64> {
    let Some(closed) = entry.closed() else {
        return Ok(0);
    };
    if closed.count == 0 {
        return Ok(0);
    }
    let span = closed.last.get().saturating_sub(entry.first.get()) + 1;
    let discards = progress
        .rare
        .discards
        .iter()
        .any(|discard| discard.up_to >= entry.first);
    if span == closed.count && !discards {
        // No gaps: sequences can be counted without reading.
        let from = entry.first.max(progress.frontier.plus(1));
        let behind = (closed.last.get() + 1).saturating_sub(from.get());
        let holes = progress
            .unended
            .count_within(entry.first, closed.last.min(progress.frontier));
        return Ok(behind + holes);
    }
    let mut count = 0;
    each(storage, entry, |sequence, namespace, created| {
        let handed = progress.unended.count_within(sequence, sequence) > 0;
        let open = sequence > progress.frontier || handed;
        let discarded = progress
            .rare
            .discards
            .iter()
            .any(|d| d.covers(sequence, namespace, created));
        count += u64::from(open && !discarded);
    })?;
    // Blocks that cannot be read, and frames that are broken, are found missing at the end.
    Ok(count)
}

/// Calls back for each intact hint of a segment.
pub(crate) fn each(
    storage: &dyn Storage,
    entry: &Entry,
    mut call: impl FnMut(Sequence, hintstore_format::Namespace, hintstore_format::UnixMillis),
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
    while let Some(item) = walk.next_readable() {
        let Item::Block(block) = item else { continue };
        let Some(entries) = &block.entries else {
            continue;
        };
        // What the disk cannot read is found missing when delivery has passed it.
        let Ok(frames) = walk.frames(&block) else {
            continue;
        };
        for item in Frames::new(&block.header, &frames) {
            let FrameItem::Intact {
                at,
                header,
                sequence,
            } = item
            else {
                continue;
            };
            let base = block.header.start.base_created;
            let frame = hintstore_format::frame::Frame::read_body(header, &frames, at, base);
            let known = entries.get(usize::from(header.profile)).zip(frame.ok());
            if let Some((entry_profile, frame)) = known
                && (entry.first..=entry.last()).contains(&sequence)
            {
                call(
                    sequence,
                    entry_profile.profile.namespace,
                    frame.body.created,
                );
            }
        }
    }
    Ok(())
}
