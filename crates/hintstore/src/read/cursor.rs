//! A place in the order of one target: finds the next block that has hints behind a sequence.

use std::sync::Arc;

use hintstore_env::{File, Result, Storage};
use hintstore_format::{SegmentId, Sequence, block::Codec, layout::align_up};
use hintstore_reader::{Block, ByteView, Item, MapSource, PreadSource, Source, Walk, read_footer};
use hintstore_writer::{SegmentEntry, Segments, State};

use super::{
    pre_check::{CheckQueue, Checked, LEAST, PreCheck},
    presence,
};

/// Reads the segments of one target in order.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// In a box: most targets are not read.
    reading: Option<Box<Reading>>,
    /// It stands behind this sequence: what comes before it is found only from the start.
    behind: Sequence,
    /// Segments whose map failed: they are read by `pread`.
    unmapped: Vec<SegmentId>,
    /// A map failed since the last [`Cursor::take_fault`].
    faulted: bool,
    /// Nobody goes ahead of it.
    alone: bool,
}

/// What the disk cannot read is passed over in steps of a page.
const UNREADABLE: u64 = 4096;

#[derive(Debug)]
struct Reading {
    segment: SegmentId,
    file: Arc<dyn File>,
    walk: Walk,
    /// The file could not be read in large pieces: it is read in the smallest that will do.
    careful: bool,
    /// Checks before this reads, where the segment is mapped.
    ahead: Option<Arc<PreCheck>>,
    /// A block with frames that are still to be read, where they begin, and what is known of them.
    open: Option<(Block, ByteView, usize, Checked)>,
}

/// What a cursor finds.
#[derive(Debug)]
pub(crate) enum CursorItem {
    /// A block, its frames, and where to begin in them.
    Block {
        /// The segment it is of.
        entry: Arc<SegmentEntry>,
        block: Block,
        frames: ByteView,
        at: usize,
        /// What is known of its frames.
        checked: Checked,
    },
    /// A closed segment holds nothing more.
    Finished(Arc<SegmentEntry>),
    /// Somebody took the file of a segment away, or put another in its place.
    Missing(Arc<SegmentEntry>),
    /// Damage, in the closed or open segment.
    Damage(Arc<SegmentEntry>),
    /// Nothing more for now.
    Nothing,
}

impl Cursor {
    /// One that begins again often, and ends soon: nobody goes ahead of it.
    pub(crate) fn alone() -> Self {
        Self {
            alone: true,
            ..Self::default()
        }
    }

    /// Goes on behind `after`. Cheap only where calls come in order. Sealed segments are mapped
    /// where there is a queue whose steps check them before.
    pub(crate) fn next(
        &mut self,
        storage: &dyn Storage,
        segments: &Segments,
        after: Sequence,
        check_queue: Option<&CheckQueue>,
    ) -> Result<CursorItem> {
        let Some(entry) = segments.after(after) else {
            return Ok(CursorItem::Nothing);
        };
        if after < self.behind {
            self.reset();
        }
        self.behind = after;
        let same = |reading: &Reading| reading.segment == entry.id;
        if !self.reading.as_deref().is_some_and(same) {
            self.reset();
            let map = check_queue.is_some() && !self.unmapped.contains(&entry.id);
            match Reading::start(storage, &entry, after, map) {
                Ok(Some(reading)) => self.reading = Some(Box::new(reading)),
                // Somebody took the file away: there is nothing to wait for.
                Ok(None) => return Ok(CursorItem::Missing(entry)),
                Err(error) if error.is_missing() => return Ok(CursorItem::Missing(entry)),
                Err(error) => return Err(error),
            }
        }
        let Some(reading) = &mut self.reading else {
            return Ok(CursorItem::Nothing);
        };
        if let Some((block, frames, at, checked)) = reading.open.take()
            && block.header.last() > after
        {
            return Ok(CursorItem::Block {
                entry,
                block,
                frames,
                at,
                checked,
            });
        }
        reading.walk.extend(end(&entry));
        loop {
            match reading.walk.next_item() {
                Err(_) => {
                    let from = reading.walk.offset();
                    let behind = align_up(from + 1, UNREADABLE);
                    if reading.pass_unreadable(&entry, from, behind) {
                        return Ok(CursorItem::Damage(entry));
                    }
                }
                Ok(Some(Item::Block(block))) if block.header.start.first > entry.last() => {}
                Ok(Some(Item::Block(block))) if block.header.last() <= after => {}
                // Above what was known synced a crash may have torn it, and what is missing was lost.
                Ok(Some(Item::Block(Block {
                    entries: None,
                    header,
                }))) => {
                    if was_synced(&entry, header.end()) {
                        return Ok(CursorItem::Damage(entry));
                    }
                }
                Ok(Some(Item::Hole(hole))) => {
                    if was_synced(&entry, hole.offset + 1) {
                        return Ok(CursorItem::Damage(entry));
                    }
                }
                Ok(Some(Item::Block(block))) => {
                    if let Ok(frames) = reading.walk.frames(&block) {
                        let check_queue = check_queue.filter(|_| !self.alone);
                        let ahead = reading.ahead.as_ref().zip(check_queue);
                        let checked = ahead.map(|(ahead, by)| ahead.reach(&block.header, by));
                        return Ok(CursorItem::Block {
                            entry,
                            block,
                            frames,
                            at: 0,
                            checked: checked.unwrap_or_default(),
                        });
                    }
                    let (from, behind) = (block.header.position.offset, block.header.end());
                    if reading.pass_unreadable(&entry, from, behind) {
                        return Ok(CursorItem::Damage(entry));
                    }
                }
                Ok(Some(Item::Footer(_)) | None) => {
                    return Ok(match &entry.state {
                        // More was written since the list was read.
                        State::Open(_) => CursorItem::Nothing,
                        State::Closed(_) => {
                            self.reset();
                            CursorItem::Finished(entry)
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
    pub(crate) fn leave(&mut self, block: Block, frames: ByteView, at: usize, checked: Checked) {
        if let Some(reading) = &mut self.reading {
            reading.open = Some((block, frames, at, checked));
        }
    }

    /// Begins again at the next call.
    pub(crate) fn reset(&mut self) {
        if let Some(reading) = self.reading.take()
            && reading.walk.faulted()
        {
            self.unmapped.push(reading.segment);
            self.faulted = true;
        }
    }

    /// Whether a map failed since the last call: then nothing that was read since may be booked,
    /// and reading it again does without that map.
    pub(crate) fn take_fault(&mut self) -> bool {
        if self
            .reading
            .as_ref()
            .is_some_and(|reading| reading.walk.faulted())
        {
            self.reset();
        }
        std::mem::take(&mut self.faulted)
    }
}

/// Whether all up to this place is known to have been synced: nothing of it is torn.
pub(crate) fn was_synced(entry: &SegmentEntry, end: u64) -> bool {
    entry.closed().is_none_or(|closed| end <= closed.synced_to)
}

/// Where the blocks of a segment end now.
fn end(entry: &SegmentEntry) -> u64 {
    match &entry.state {
        State::Open(segment) => segment.written(),
        State::Closed(closed) => closed.end,
    }
}

impl Reading {
    /// Opens a segment; nothing where another file has its name.
    fn start(
        storage: &dyn Storage,
        entry: &SegmentEntry,
        after: Sequence,
        map: bool,
    ) -> Result<Option<Self>> {
        let (file, at, mapped) = match &entry.state {
            State::Open(segment) => (
                segment.file.clone(),
                segment.descriptor.length() as u64,
                None,
            ),
            State::Closed(closed) => {
                let file = storage.open(&entry.name, false)?;
                if !presence::is_of(&*file, entry)? {
                    return Ok(None);
                }
                let mut at = closed.blocks_at;
                // Without the index the walk begins at the first block.
                if let Some(sealed) = closed.sealed.filter(|_| after >= entry.first)
                    && let Ok(Some(footer)) =
                        read_footer(&*file, entry.id, sealed.footer_at..sealed.file_length)
                {
                    // The last entry that begins no later: blocks before it are all behind us.
                    let begun = footer.index.iter().take_while(|i| i.first <= after.plus(1));
                    at = begun.last().map_or(at, |index| index.offset);
                }
                let mapped = closed
                    .sealed
                    .filter(|_| map)
                    .and_then(|sealed| MapSource::new(&*file, sealed.file_length).ok());
                (file, at, mapped)
            }
        };
        let long = end(entry).saturating_sub(at) >= LEAST;
        let ahead = mapped
            .as_ref()
            .filter(|_| {
                long && entry
                    .closed()
                    .is_some_and(|closed| closed.codec == Codec::Plain)
            })
            .map(|source| Arc::new(PreCheck::new(source.clone(), entry.id, at, end(entry))));
        let source: Box<dyn Source> = match mapped {
            Some(source) => Box::new(source),
            None => Box::new(PreadSource::sequential(file.clone())),
        };
        let walk = Walk::new(source, entry.id, at, end(entry));
        Ok(Some(Self {
            segment: entry.id,
            file,
            walk,
            careful: false,
            ahead,
            open: None,
        }))
    }

    /// Deals with a place that the disk could not read: first by reading smaller pieces, which
    /// may leave the bad sector out, once more from `from`; then by going on at `behind`. True
    /// where it went on, and something is lost.
    fn pass_unreadable(&mut self, entry: &SegmentEntry, from: u64, behind: u64) -> bool {
        if self.careful {
            self.walk.skip_to(behind);
            return true;
        }
        self.careful = true;
        self.ahead = None;
        let source = Box::new(PreadSource::hopping(self.file.clone()));
        self.walk = Walk::new(source, entry.id, from, end(entry));
        false
    }
}
