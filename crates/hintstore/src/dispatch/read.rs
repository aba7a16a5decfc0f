//! Makes pages: live hints in order, past what is dead, discarded or damaged.

use std::sync::Arc;

use hintstore_format::{
    Sequence, UnixMillis,
    frame::Header,
    journal::{End, Range},
};
use hintstore_reader::{self as reader, Block, FrameItem, Frames, Window};
use hintstore_storage::Result;

use super::{
    HOLES_MAX, Page,
    cursor::{Cursor, Found},
    progress::Progress,
};
use crate::{
    catalog::{Entry, Queue, Ranges},
    expiry::{Now, Verdict},
    store::Engine,
};

/// What reading found, before any of it is booked: where a map failed, it is read again.
struct Draft {
    page: reader::Page,
    room: u64,
    /// Read up to here.
    upto: Sequence,
    handed: Ranges,
    held: Ranges,
    expired: Ranges,
    damaged: Vec<Arc<Entry>>,
}

impl Draft {
    fn is_full(&self) -> bool {
        self.page.bytes() >= self.room
    }
}

impl Engine {
    /// The next page of a target: first what is to be handed out again, then what is new.
    pub(crate) fn read_page(self: &Arc<Self>, queue: &Arc<Queue>) -> Result<Option<Page>> {
        let mut progress = queue.progress.lock();
        progress.release_held(self.time.confirmations());
        let now = self.time.now(&*self.clock);
        let mut draft = self.new_draft(queue, &progress);
        self.read_again(queue, &mut progress, &mut draft, now)?;
        let fresh = progress.unended.ranges().len() < HOLES_MAX;
        if fresh && !draft.is_full() {
            draft = self.read_ahead(queue, &mut progress, draft, now)?;
        }
        self.book(queue, &mut progress, &draft);
        if draft.page.is_empty() {
            return Ok(None);
        }
        progress.in_flight += 1;
        Ok(Some(Page::new(draft.page, queue)))
    }

    fn new_draft(&self, queue: &Queue, progress: &Progress) -> Draft {
        Draft {
            page: reader::Page::new(queue.target),
            room: self.config.page_bytes.get(),
            upto: progress.frontier,
            handed: Ranges::default(),
            held: Ranges::default(),
            expired: Ranges::default(),
            damaged: Vec::new(),
        }
    }

    /// Reads on from the frontier. A failed map costs a second reading, without it.
    fn read_ahead(
        &self,
        queue: &Queue,
        progress: &mut Progress,
        mut draft: Draft,
        now: Now,
    ) -> Result<Draft> {
        let again = draft.page.len();
        loop {
            let mut cursor = std::mem::take(&mut progress.ahead);
            let read = self.read_on(queue, progress, &mut cursor, &mut draft, Sequence::MAX, now);
            if draft.page.faulted() {
                cursor.unmap();
            } else if read.is_err() {
                cursor.reset();
            }
            progress.ahead = cursor;
            if !draft.page.faulted() {
                // What was read before an error is handed out; the error comes again behind it.
                return if draft.page.is_empty() {
                    read.map(|()| draft)
                } else {
                    Ok(draft)
                };
            }
            if again > 0 {
                // What is handed out again was read through a map that failed since.
                progress.back.unmap();
            }
            let mut anew = self.new_draft(queue, progress);
            self.read_again(queue, progress, &mut anew, now)?;
            draft = anew;
        }
    }

    /// Reads what is to be handed out again, as far as there is room.
    fn read_again(
        &self,
        queue: &Queue,
        progress: &mut Progress,
        draft: &mut Draft,
        now: Now,
    ) -> Result<()> {
        let wanted = progress.again.clone();
        let mut cursor = std::mem::take(&mut progress.back);
        let frontier = draft.upto;
        for range in wanted.ranges() {
            if draft.is_full() {
                break;
            }
            draft.upto = range.first.before();
            let done = self.read_on(queue, progress, &mut cursor, draft, range.last, now);
            if let Err(error) = done {
                cursor.reset();
                progress.back = cursor;
                return Err(error);
            }
            let upto = if draft.is_full() {
                draft.upto
            } else {
                range.last
            };
            let read = Range {
                first: range.first,
                last: upto,
            };
            progress.again.remove(read);
            // What was handed out once and cannot be read any more was damaged since.
            let mut gone = Ranges::of(&[read]);
            for found in [&draft.handed, &draft.held, &draft.expired] {
                gone.subtract(found);
            }
            progress.end(queue, &gone, End::Damaged);
        }
        draft.upto = frontier;
        progress.back = cursor;
        Ok(())
    }

    fn read_on(
        &self,
        queue: &Queue,
        progress: &Progress,
        cursor: &mut Cursor,
        draft: &mut Draft,
        last: Sequence,
        now: Now,
    ) -> Result<()> {
        while !draft.is_full() && draft.upto < last {
            match cursor.next(&*self.storage, queue, draft.upto, self.config.map)? {
                Found::Block {
                    entry,
                    block,
                    frames,
                    at,
                } => {
                    if block.header.start.first > last {
                        cursor.leave(block, frames, at);
                        break;
                    }
                    let stop =
                        self.read_block(progress, draft, &entry, &block, &frames, at, last, now);
                    cursor.pass(draft.upto);
                    if let Some(at) = stop {
                        cursor.leave(block, frames, at);
                    }
                }
                Found::Finished(entry) => draft.upto = draft.upto.max(entry.last()),
                Found::Damage(entry) => draft.damaged.push(entry),
                Found::Nothing => break,
            }
        }
        Ok(())
    }

    /// Reads the frames of one block; gives the place to go on, where the page was full before
    /// its end.
    #[expect(
        clippy::too_many_arguments,
        reason = "the inner loop of replay, kept in one piece"
    )]
    fn read_block(
        &self,
        progress: &Progress,
        draft: &mut Draft,
        entry: &Arc<Entry>,
        block: &Block,
        frames: &Window,
        from: usize,
        last: Sequence,
        now: Now,
    ) -> Option<usize> {
        let entries = block.entries.as_deref().unwrap_or_default();
        let header = &block.header;
        // Where the whole block lives by its header, no hint of it needs to be judged.
        let earliest = match self.config.expiry.max_lifetime {
            Some(max) => header
                .deadlines
                .min
                .min(header.created.min.saturating_add(max)),
            None => header.deadlines.min,
        };
        let no_rule = self.config.expiry.gc_grace_now.is_empty();
        let all_live = no_rule && now.judge(earliest) == Verdict::Live;
        let simple = all_live && progress.discards.is_empty();
        let mut added = false;
        for item in Frames::new(header, frames).from(from) {
            let FrameItem::Intact {
                at,
                length,
                sequence,
                profile,
            } = item
            else {
                // Below what was known synced nothing is torn.
                if entry
                    .closed()
                    .is_none_or(|closed| header.end() <= closed.synced_to)
                {
                    draft.damaged.push(entry.clone());
                }
                continue;
            };
            if sequence <= draft.upto {
                continue;
            }
            if sequence > last {
                // Nothing up to `last` is left.
                draft.upto = last;
                return Some(at);
            }
            if draft.is_full() {
                return Some(at);
            }
            let verdict = if simple {
                Some(Verdict::Live)
            } else {
                self.judge(progress, block, frames, at, sequence, now)
            };
            draft.upto = sequence;
            match verdict {
                Some(Verdict::Live) if entries.get(usize::from(profile)).is_some() => {
                    if !added {
                        draft
                            .page
                            .add_block(entry.store, block.clone(), frames.clone());
                        added = true;
                    }
                    draft.page.add(sequence, at, length, profile);
                    draft.handed.add(sequence);
                }
                Some(Verdict::Live) => draft.damaged.push(entry.clone()),
                Some(Verdict::Dead) => draft.expired.add(sequence),
                Some(Verdict::Held) => draft.held.add(sequence),
                // Discarded: it was booked when the operator said so.
                None => {}
            }
        }
        draft.upto = draft.upto.max(header.last().min(last));
        None
    }

    /// Whether a hint lives; `None` where it was discarded.
    fn judge(
        &self,
        progress: &Progress,
        block: &Block,
        frames: &Window,
        at: usize,
        sequence: Sequence,
        now: Now,
    ) -> Option<Verdict> {
        let (namespace, created, deadline) = self.times(block, frames, at)?;
        let discarded = progress
            .discards
            .iter()
            .any(|discard| discard.covers(sequence, namespace, created));
        (!discarded).then(|| now.judge(deadline))
    }

    /// Namespace, creation time and deadline of an intact frame.
    pub(crate) fn times(
        &self,
        block: &Block,
        frames: &[u8],
        at: usize,
    ) -> Option<(hintstore_format::Namespace, UnixMillis, UnixMillis)> {
        let profile = usize::from(Header::read(frames, at)?.profile);
        let profile = block.entries.as_ref()?.get(profile)?.profile;
        let base = block.header.start.base_created;
        let frame = hintstore_format::frame::Frame::read_checked(frames, at, base).ok()?;
        let created = frame.body.created;
        let deadline = self
            .config
            .expiry
            .deadline(profile.namespace, created, profile.lifetime());
        Some((profile.namespace, created, deadline))
    }

    /// Books what was read.
    fn book(&self, queue: &Queue, progress: &mut Progress, draft: &Draft) {
        let moved = draft.upto > progress.frontier;
        progress.frontier = progress.frontier.max(draft.upto);
        progress.unended.join(&draft.handed);
        if !draft.held.is_empty() {
            progress.unended.join(&draft.held);
            progress.held.join(&draft.held);
            progress.held_at = self.time.confirmations();
        }
        progress.end(queue, &draft.expired, End::Expired);
        for entry in &draft.damaged {
            progress.damaged.insert(entry.id);
        }
        progress.finish_passed(queue);
        progress.dirty |= moved;
    }
}
