//! Moves hints that wait for a retry out of the way of those behind them.
//!
//! A checkpoint names the hints below its position that have not ended, as ranges, and there is
//! room for so many. Where a target cannot take every second hint for an hour (it does not know a
//! table yet), these hints are copied into a *deferred* segment under their sequences, delivery
//! goes on behind them, and the segments that they came from can go. Deferred segments are queues
//! of their own below the target's; small ones are merged, so that there are never many.
//!
//! A copy counts when a checkpoint names its segment: that record also drops the hints from where
//! they were. A crash before it leaves a file that the next open removes; a crash after it leaves
//! files that were merged, which the record's retire records remove.

use std::{collections::VecDeque, sync::Arc};

use hintstore_env::{Result, sync::MutexGuard};
use hintstore_format::{
    Sequence,
    descriptor::Kind,
    frame::{Frame, Header, Origin},
    journal::{Discard, End, Range},
};
use hintstore_reader::{Block, ByteView, FrameItem, Frames};
use hintstore_writer::{Copied, SegmentCopy};

use super::{
    cursor::{Cursor, CursorItem},
    progress::Progress,
};
use crate::{
    catalog::{Queue, Ranges, SegmentEntry},
    store::Engine,
};

/// A target with so many deferred segments, all of them with pages out, waits for these.
const SEGMENTS_MAX: usize = 16;

/// What is copied out of one queue, and how far that has come.
struct Source<'a> {
    queue: &'a Queue,
    progress: MutexGuard<'a, Progress>,
    /// Everything that is pending in it is copied, and its segment goes.
    whole: bool,
    wanted: Ranges,
    copied: Ranges,
    cursor: Cursor,
    after: Sequence,
    open: Option<Opened>,
}

/// A block, and those of its hints that are still to be copied.
struct Opened {
    entry: Arc<SegmentEntry>,
    block: Block,
    frames: ByteView,
    places: VecDeque<(Sequence, usize, Header)>,
}

impl Engine {
    /// Makes room for new holes, where a target's checkpoint has as many as it may.
    pub(crate) fn make_room(&self, queue: &Queue) -> Result<()> {
        let progress = queue.progress.lock();
        let children = queue.deferred();
        let crowded = |progress: &Progress| {
            let holes = progress.unended.ranges().len();
            let waiting = !progress.again.is_empty() || !progress.exceptional.held.is_empty();
            holes >= self.config().checkpoint_holes_max && waiting
        };
        let any = children.iter().any(|child| crowded(&child.progress.lock()));
        if !crowded(&progress) && !any {
            return Ok(());
        }
        let mut sources = vec![Source::waiting(queue, progress)];
        let mut count: u64 = sources.iter().map(|source| source.wanted.count()).sum();
        let mut merging = true;
        let mut left = 0;
        for child in children.iter().rev() {
            let progress = child.progress.lock();
            let pending: u64 = child
                .segments()
                .iter()
                .map(|e| progress.pending_in(e))
                .sum();
            // Merging what is not much larger keeps their number logarithmic.
            merging &= progress.in_flight == 0 && pending <= 2 * count;
            if merging {
                count += pending;
                sources.push(Source::whole(child, progress));
                continue;
            }
            left += 1;
            if crowded(&progress) {
                let source = Source::waiting(child, progress);
                count += source.wanted.count();
                sources.push(source);
            }
        }
        if left >= SEGMENTS_MAX {
            return Ok(());
        }
        let copied = self.copy(queue, &mut sources)?;
        self.rearrange(queue, sources, copied);
        Ok(())
    }

    /// Copies from all sources at once, in the order of the sequences.
    fn copy(&self, queue: &Queue, sources: &mut [Source<'_>]) -> Result<Option<Copied>> {
        let mut copy: Option<SegmentCopy> = None;
        let copied = loop {
            match self.copy_next(queue, sources, &mut copy) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        match (copied, copy) {
            (Ok(()), Some(copy)) => copy.finish().map(Some),
            (Ok(()), None) => Ok(None),
            (Err(error), copy) => {
                if let Some(copy) = copy {
                    copy.give_up();
                }
                Err(error)
            }
        }
    }

    fn copy_next(
        &self,
        queue: &Queue,
        sources: &mut [Source<'_>],
        copy: &mut Option<SegmentCopy>,
    ) -> Result<bool> {
        let mut next: Option<(Sequence, &mut Source<'_>)> = None;
        for source in sources {
            if let Some(sequence) = source.peek(self)?
                && next.as_ref().is_none_or(|(first, _)| sequence < *first)
            {
                next = Some((sequence, source));
            }
        }
        let Some((sequence, source)) = next else {
            return Ok(false);
        };
        let Some(open) = &mut source.open else {
            return Ok(false);
        };
        let Some((_, at, header)) = open.places.pop_front() else {
            return Ok(false);
        };
        let start = open.block.header.start;
        let entries = open.block.entries.as_deref().unwrap_or_default();
        let frame = Frame::read_body(header, &open.frames, at, start.base_created);
        let Some((frame, entry)) = frame.ok().zip(entries.get(usize::from(header.profile))) else {
            return Ok(true);
        };
        let mut body = frame.body;
        let discarded =
            |discard: &Discard| discard.covers(sequence, entry.profile.namespace, body.created);
        if source.progress.exceptional.discards.iter().any(discarded) {
            return Ok(true);
        }
        if (open.entry.store, open.entry.incarnation) != (self.store, self.incarnation) {
            // The file names this opening from now on; the hint keeps the key that it was sent with.
            body.origin.get_or_insert(Origin {
                store: open.entry.store,
                target: queue.target,
                sequence,
                incarnation: open.entry.incarnation,
            });
        }
        if copy.is_none() {
            let (target, usage) = (queue.target, &queue.usage);
            *copy = Some(self.writer.copy(target, usage, Kind::Deferred, sequence)?);
        }
        let Some(copy) = copy else { return Ok(false) };
        copy.add(sequence, start.accepted, entry.profile, &body)?;
        source.copied.add(sequence);
        Ok(true)
    }

    /// Books the move. What was to be copied and could not be read was damaged.
    fn rearrange(&self, queue: &Queue, mut sources: Vec<Source<'_>>, copied: Option<Copied>) {
        let Some((parent, children)) = sources.split_first_mut() else {
            return;
        };
        for child in children.iter_mut().filter(|child| child.whole) {
            let progress = &mut child.progress;
            for entry in child.queue.segments() {
                let gone = progress
                    .pending_in(&entry)
                    .saturating_sub(child.copied.count());
                progress.ends.add(End::Damaged, gone);
                progress.count_in(entry.id, gone + child.copied.count());
                let damaged = gone > 0 || progress.is_damaged(&entry);
                parent.progress.exceptional.leaving.push((entry, damaged));
            }
            parent
                .progress
                .ends
                .join(&std::mem::take(&mut progress.ends));
            progress.is_gone = true;
            queue.remove_deferred(child.queue);
        }
        let discards = parent.progress.exceptional.discards.clone();
        for source in sources.iter_mut().filter(|source| !source.whole) {
            let progress = &mut source.progress;
            progress.again.subtract(&source.wanted);
            if let Some(rare) = progress.exceptional.get_mut() {
                rare.held.subtract(&source.wanted);
            }
            let mut gone = source.wanted.clone();
            gone.subtract(&source.copied);
            progress.end(source.queue, &gone, End::Damaged);
            progress.move_out(source.queue, &source.copied);
        }
        if let Some(copied) = copied {
            let child = queue.deferred_of();
            {
                let mut progress = child.progress.lock();
                progress.frontier = copied.summary.first.before();
                progress.set_discards(&discards);
                progress.rest_until = self.clock.boot() + self.config().retry_delay;
            }
            child.recover(SegmentEntry::copied(&copied));
            queue.add_deferred(Arc::new(child));
        }
        self.catalog.touch();
    }
}

impl<'a> Source<'a> {
    /// What waits to be handed out again.
    fn waiting(queue: &'a Queue, progress: MutexGuard<'a, Progress>) -> Self {
        let mut wanted = progress.again.clone();
        wanted.join(&progress.exceptional.held);
        Self::new(queue, progress, wanted, false)
    }

    /// All that has not ended.
    fn whole(queue: &'a Queue, progress: MutexGuard<'a, Progress>) -> Self {
        let mut wanted = progress.unended.clone();
        let first = progress.frontier.plus(1);
        for entry in queue.segments() {
            let last = entry.last();
            if last >= first {
                wanted.insert(Range { first, last });
            }
        }
        Self::new(queue, progress, wanted, true)
    }

    fn new(
        queue: &'a Queue,
        progress: MutexGuard<'a, Progress>,
        wanted: Ranges,
        whole: bool,
    ) -> Self {
        Self {
            queue,
            progress,
            whole,
            wanted,
            copied: Ranges::default(),
            cursor: Cursor::default(),
            after: Sequence::ZERO,
            open: None,
        }
    }

    /// The sequence of the next hint to copy.
    fn peek(&mut self, engine: &Engine) -> Result<Option<Sequence>> {
        loop {
            let open = self.open.as_ref().and_then(|open| open.places.front());
            if let Some((sequence, ..)) = open {
                return Ok(Some(*sequence));
            }
            let Some(range) = self.wanted.first_behind(self.after) else {
                return Ok(None);
            };
            self.after = self.after.max(range.first.before());
            // Not mapped: a fault would be taken for damage.
            let found = self
                .cursor
                .next(&*engine.storage, self.queue, self.after, None)?;
            match found {
                CursorItem::Block {
                    entry,
                    block,
                    frames,
                    ..
                } => {
                    let wanted = |item| match item {
                        FrameItem::Intact {
                            at,
                            header,
                            sequence,
                        } if sequence > self.after && self.wanted.contains(sequence) => {
                            Some((sequence, at, header))
                        }
                        _ => None,
                    };
                    let places = Frames::new(&block.header, &frames)
                        .filter_map(wanted)
                        .collect();
                    self.after = self.after.max(block.header.last());
                    self.cursor.pass(self.after);
                    self.open = Some(Opened {
                        entry,
                        block,
                        frames,
                        places,
                    });
                }
                CursorItem::Finished(entry) | CursorItem::Missing(entry) => {
                    self.after = self.after.max(entry.last());
                }
                CursorItem::Damage(_) => {}
                CursorItem::Nothing => return Ok(None),
            }
        }
    }
}
