//! A place in the order of one target: finds the next block that has hints behind a sequence.

use std::sync::Arc;

use hintstore_format::{SegmentId, Sequence};
use hintstore_reader::{Block, Item, MapSource, PreadSource, Source, Walk, Window, read_footer};
use hintstore_storage::{Result, Storage};

use crate::catalog::{Entry, Queue, State};

/// Reads the segments of one target in order.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    reading: Option<Reading>,
    /// It stands behind this sequence: what comes before it is found only by beginning anew.
    behind: Sequence,
    /// A map failed: the rest of that segment is read by `pread`.
    unmapped: Option<SegmentId>,
}

#[derive(Debug)]
struct Reading {
    segment: SegmentId,
    walk: Walk,
    /// A block of which some frames are still to be read, and where.
    open: Option<(Block, Window, usize)>,
}

/// What a cursor finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// A block, its frames, and where to begin in them.
    Block {
        /// The segment it is of.
        entry: Arc<Entry>,
        block: Block,
        frames: Window,
        at: usize,
    },
    /// A closed segment holds nothing more.
    Finished(Arc<Entry>),
    /// Damage, in the closed or open segment.
    Damage(Arc<Entry>),
    /// Nothing more for now.
    Nothing,
}

impl Cursor {
    /// Goes on behind `after`. Cheap only where calls come in order.
    pub(crate) fn next(
        &mut self,
        storage: &dyn Storage,
        queue: &Queue,
        after: Sequence,
        map: bool,
    ) -> Result<Found> {
        let Some(entry) = queue.segment_after(after) else {
            return Ok(Found::Nothing);
        };
        if after < self.behind {
            self.reading = None;
        }
        self.behind = after;
        let same = |reading: &Reading| reading.segment == entry.id;
        if !self.reading.as_ref().is_some_and(same) {
            let map = map && self.unmapped != Some(entry.id);
            self.reading = Some(Reading::start(storage, &entry, after, map)?);
        }
        let Some(reading) = &mut self.reading else {
            return Ok(Found::Nothing);
        };
        if let Some((block, frames, at)) = reading.open.take()
            && block.header.last() > after
        {
            return Ok(Found::Block {
                entry,
                block,
                frames,
                at,
            });
        }
        reading.walk.extend(end(&entry));
        loop {
            match reading.walk.next_item()? {
                Some(Item::Block(block)) if block.header.start.first > entry.last() => {}
                Some(Item::Block(block)) if block.header.last() <= after => {}
                Some(Item::Block(Block { entries: None, .. }) | Item::Hole(_)) => {
                    return Ok(Found::Damage(entry));
                }
                Some(Item::Block(block)) => {
                    let frames = reading.walk.frames(&block)?;
                    return Ok(Found::Block {
                        entry,
                        block,
                        frames,
                        at: 0,
                    });
                }
                Some(Item::Footer(_)) | None => {
                    return Ok(match &entry.state {
                        // More was written since the catalog was asked.
                        State::Open(_) => Found::Nothing,
                        State::Closed(_) => {
                            self.reading = None;
                            Found::Finished(entry)
                        }
                    });
                }
            }
        }
    }

    /// What is up to this sequence was read.
    pub(crate) fn pass(&mut self, upto: Sequence) {
        self.behind = self.behind.max(upto);
    }

    /// Leaves a block with frames unread; the next call goes on there.
    pub(crate) fn leave(&mut self, block: Block, frames: Window, at: usize) {
        if let Some(reading) = &mut self.reading {
            reading.open = Some((block, frames, at));
        }
    }

    /// Begins anew at the next call.
    pub(crate) fn reset(&mut self) {
        self.reading = None;
    }

    /// A map of the present segment failed: it is read by `pread` from now on.
    pub(crate) fn unmap(&mut self) {
        self.unmapped = self.reading.take().map(|reading| reading.segment);
    }
}

/// Where the blocks of a segment end now.
fn end(entry: &Entry) -> u64 {
    match &entry.state {
        State::Open(segment) => segment.written(),
        State::Closed(closed) => closed.end,
    }
}

impl Reading {
    fn start(storage: &dyn Storage, entry: &Entry, after: Sequence, map: bool) -> Result<Self> {
        let (source, at): (Box<dyn Source>, u64) = match &entry.state {
            State::Open(segment) => (
                Box::new(PreadSource::sequential(segment.file.clone())),
                segment.descriptor.length() as u64,
            ),
            State::Closed(closed) => {
                let file = storage.open(&entry.name, false)?;
                let mut at = closed.blocks_at;
                if let Some(summary) = closed.sealed.filter(|_| after >= entry.first)
                    && let Some(footer) = read_footer(&*file, &summary)?
                {
                    // The last entry that begins no later: blocks before it are all behind us.
                    let begun = footer.index.iter().take_while(|i| i.first <= after.plus(1));
                    at = begun.last().map_or(at, |index| index.offset);
                }
                let mapped = closed
                    .sealed
                    .filter(|_| map)
                    .and_then(|summary| MapSource::new(&*file, summary.file_length).ok());
                let source: Box<dyn Source> = match mapped {
                    Some(source) => Box::new(source),
                    None => Box::new(PreadSource::sequential(file)),
                };
                (source, at)
            }
        };
        let walk = Walk::new(source, entry.id, at, end(entry));
        Ok(Self {
            segment: entry.id,
            walk,
            open: None,
        })
    }
}
