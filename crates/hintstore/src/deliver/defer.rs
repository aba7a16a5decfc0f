//! Moves hints that wait for a retry out of the way of those behind them.
//!
//! A checkpoint names the hints below its position that have not ended, as ranges, and there is
//! room for a limited number. Where a target cannot take every second hint for an hour (it does not know a
//! table yet), these hints are copied into a *deferred* segment under their sequences, delivery
//! goes on behind them, and the segments that they came from can go. Deferred segments are backlogs
//! of their own below the target's; small ones are merged, so that there are never many.
//!
//! A copy counts when a checkpoint names its segment: that record also drops the hints from where
//! they were. A crash before it leaves a file that the next open removes; a crash after it leaves
//! files that were merged, which the record's retire records remove.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hintstore_env::{
    Boot, Next, Result, Step, Waker,
    sync::{Mutex, MutexGuard, Queue, Signal},
};
use hintstore_format::{
    Sequence,
    descriptor::Kind,
    frame::{Frame, Header, Origin},
    journal::{Discard, End, Range},
};
use hintstore_reader::{Block, ByteView, FrameItem, Frames};
use hintstore_writer::{Copied, SegmentCopy, SegmentEntry, Segments};

use crate::{
    read::{Cursor, CursorItem},
    store_env::StoreEnv,
    target::{Backlog, Deferral, Progress, Ranges, Target},
};

/// A target with this number of deferred segments, all of them with pages out, waits for these.
const SEGMENTS_MAX: usize = 16;

/// A page waits for room no longer than this: then it is read without.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is copied out of one backlog, and how far that has come.
struct Source<'a> {
    backlog: &'a Backlog,
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

/// Moves hints that wait for a retry, in the background: who reads a page does not write.
#[derive(Debug)]
pub(crate) struct Defer {
    env: Arc<StoreEnv>,
    asked: Queue<Arc<Target>>,
    pub(crate) waker: Waker,
    /// Raised when a target was dealt with, and when the store is being closed.
    pub(super) done: Signal,
}

/// A target that is dealt with; where that panics, too.
struct Dealt<'a> {
    defer: &'a Defer,
    target: &'a Arc<Target>,
    outcome: Deferral,
}

impl Drop for Dealt<'_> {
    fn drop(&mut self) {
        *self.target.deferral.lock() = self.outcome;
        self.defer.done.raise();
        self.target.writer.announce();
    }
}

impl Step for Defer {
    fn name(&self) -> &'static str {
        "defer"
    }

    fn step(&self, _: Boot) -> Next {
        while !self.env.is_closing()
            && let Some(target) = self.asked.pop()
        {
            let mut dealt = Dealt {
                defer: self,
                target: &target,
                outcome: Deferral::Failed,
            };
            // Where there is no space for it, no new hints are handed out until old ones are done.
            if self.make_room(&target).is_ok() && !self.is_crowded(&target) {
                dealt.outcome = Deferral::Idle;
            }
        }
        Next::WhenWoken
    }
}

impl Defer {
    pub(crate) fn new(env: &Arc<StoreEnv>) -> Self {
        Self {
            env: env.clone(),
            asked: Queue::default(),
            waker: Waker::default(),
            done: Signal::new(),
        }
    }

    /// Has room made for a target that needs it. True where that is to be waited for.
    pub(super) fn ask(&self, target: &Arc<Target>) -> bool {
        if target.is_strict() || self.env.is_closing() {
            return false;
        }
        let mut deferral = target.deferral.lock();
        match *deferral {
            Deferral::Asked => return true,
            Deferral::Failed => {
                *deferral = Deferral::Idle;
                return false;
            }
            Deferral::Idle => {}
        }
        if !self.is_crowded(target) {
            return false;
        }
        *deferral = Deferral::Asked;
        drop(deferral);
        self.asked.push(target.clone());
        self.waker.wake();
        true
    }

    /// Has room made for a target that needs it, and waits for that.
    pub(super) fn wait(&self, target: &Arc<Target>) {
        if !self.ask(target) {
            return;
        }
        let deadline = self.env.clock.boot() + PATIENCE;
        let runner = &self.env.runner;
        let is_done = || *target.deferral.lock() != Deferral::Asked || self.env.is_closing();
        runner.wait_until(&self.done, Some(deadline), &mut || is_done());
        let mut deferral = target.deferral.lock();
        if *deferral == Deferral::Failed {
            *deferral = Deferral::Idle;
        }
    }

    /// Whether a checkpoint has as many holes as it may, and some of them wait for a retry.
    fn is_full(&self, progress: &Progress) -> bool {
        let holes = progress.unended.ranges().len();
        let rare = &progress.exceptional;
        let waiting = !progress.again.is_empty() || !rare.held.is_empty() || !rare.later.is_empty();
        holes >= self.env.config().checkpoint_holes_max && waiting
    }

    fn is_crowded(&self, target: &Target) -> bool {
        let progress = target.backlog.progress.lock();
        let children = target.deferred();
        let full = |child: &Arc<Backlog>| self.is_full(&child.progress.lock());
        self.is_full(&progress) || children.iter().any(full)
    }

    /// Makes room for new holes, where a target's checkpoint has as many as it may.
    fn make_room(&self, target: &Target) -> Result<()> {
        let progress = target.backlog.progress.lock();
        let children = target.deferred();
        let any = |child: &Arc<Backlog>| self.is_full(&child.progress.lock());
        if !self.is_full(&progress) && !children.iter().any(any) {
            return Ok(());
        }
        let mut progress = progress;
        // In another segment nobody would know that they were retracted.
        progress.end_retracted(&target.backlog.segments);
        let mut sources = vec![Source::waiting(&target.backlog, progress)];
        let mut count: u64 = sources.iter().map(|source| source.wanted.count()).sum();
        let mut merging = true;
        let mut left = 0;
        for child in children.iter().rev() {
            let progress = child.progress.lock();
            let segments = child.segments.all();
            let pending: u64 = segments.iter().map(|e| progress.pending_in(e)).sum();
            // Merging what is not much larger keeps their number logarithmic.
            merging &= progress.in_flight == 0 && pending <= 2 * count;
            if merging {
                count += pending;
                sources.push(Source::whole(child, progress));
                continue;
            }
            left += 1;
            if self.is_full(&progress) {
                let source = Source::waiting(child, progress);
                count += source.wanted.count();
                sources.push(source);
            }
        }
        if left >= SEGMENTS_MAX {
            return Ok(());
        }
        let copied = self.copy(target, &mut sources)?;
        self.rearrange(target, sources, copied);
        Ok(())
    }

    /// Copies from all sources at once, in the order of the sequences.
    fn copy(&self, target: &Target, sources: &mut [Source<'_>]) -> Result<Option<Copied>> {
        let mut copy: Option<SegmentCopy> = None;
        let copied = loop {
            match self.copy_next(target, sources, &mut copy) {
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
        target: &Target,
        sources: &mut [Source<'_>],
        copy: &mut Option<SegmentCopy>,
    ) -> Result<bool> {
        let mut next: Option<(Sequence, &mut Source<'_>)> = None;
        for source in sources {
            if let Some(sequence) = source.peek(&self.env)?
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
        if (open.entry.store, open.entry.incarnation) != (self.env.store, self.env.incarnation) {
            // The file names this opening from now on; the hint keeps the key that it was sent with.
            body.origin.get_or_insert(Origin {
                store: open.entry.store,
                target: target.id,
                sequence,
                incarnation: open.entry.incarnation,
            });
        }
        if copy.is_none() {
            let (id, usage) = (target.id, target.writer.usage());
            let begun = self.env.writer.copy(id, usage, Kind::Deferred, sequence)?;
            *copy = Some(begun);
        }
        let Some(copy) = copy else { return Ok(false) };
        copy.add(sequence, start.accepted, entry.profile, &body)?;
        source.copied.add(sequence);
        Ok(true)
    }

    /// Books the move. What was to be copied and could not be read was damaged.
    fn rearrange(&self, target: &Target, mut sources: Vec<Source<'_>>, copied: Option<Copied>) {
        let Some((parent, children)) = sources.split_first_mut() else {
            return;
        };
        for child in children.iter_mut().filter(|child| child.whole) {
            let progress = &mut child.progress;
            for entry in child.backlog.segments.all() {
                let gone = progress
                    .pending_in(&entry)
                    .saturating_sub(child.copied.count());
                progress.ends.add(End::Damaged, gone);
                progress.count_in(entry.id, gone + child.copied.count());
                let damaged = gone > 0 || progress.is_damaged(&entry);
                parent.progress.exceptional.leaving.push((entry, damaged));
                // It is listed no more.
                parent.progress.note_unread(None, gone, End::Damaged);
            }
            if let Some(rare) = progress.exceptional.get_mut() {
                for ended in std::mem::take(&mut rare.unread) {
                    parent.progress.note_unread(None, ended.count, ended.end);
                }
            }
            parent
                .progress
                .ends
                .join(&std::mem::take(&mut progress.ends));
            progress.is_gone = true;
            target.remove_deferred(child.backlog);
        }
        let discards = parent.progress.exceptional.discards.clone();
        // In one segment all wait for what is to wait longest.
        let mut rest_until = self.env.clock.boot() + self.env.config().retry_delay;
        for source in &sources {
            let rests = source.progress.exceptional.later.iter().map(|(at, _)| *at);
            let own = source.whole.then_some(source.progress.rest_until);
            rest_until = rests.chain(own).fold(rest_until, Boot::max);
        }
        for source in sources.iter_mut().filter(|source| !source.whole) {
            let progress = &mut source.progress;
            progress.again.subtract(&source.wanted);
            if let Some(rare) = progress.exceptional.get_mut() {
                rare.held.subtract(&source.wanted);
                rare.later.clear();
            }
            let mut gone = source.wanted.clone();
            gone.subtract(&source.copied);
            progress.end_gone(&source.backlog.segments, &gone);
            progress.move_out(&source.backlog.segments, &source.copied);
        }
        if let Some(copied) = copied {
            let mut progress = Progress::default();
            progress.frontier = copied.summary.first.before();
            progress.set_discards(&discards);
            progress.rest_until = rest_until;
            target.add_deferred(Backlog {
                segments: Arc::new(Segments::of(SegmentEntry::copied(&copied))),
                progress: Mutex::new(progress),
            });
        }
        self.env.activity.touch();
    }
}

impl<'a> Source<'a> {
    /// What waits to be handed out again.
    fn waiting(backlog: &'a Backlog, progress: MutexGuard<'a, Progress>) -> Self {
        let mut wanted = progress.again.clone();
        wanted.join(&progress.exceptional.held);
        wanted.join(&progress.all_later());
        Self::new(backlog, progress, wanted, false)
    }

    /// All that has not ended.
    fn whole(backlog: &'a Backlog, progress: MutexGuard<'a, Progress>) -> Self {
        let mut wanted = progress.unended.clone();
        let first = progress.frontier.plus(1);
        for entry in backlog.segments.all() {
            let last = entry.last();
            if last >= first {
                wanted.insert(Range { first, last });
            }
        }
        Self::new(backlog, progress, wanted, true)
    }

    fn new(
        backlog: &'a Backlog,
        progress: MutexGuard<'a, Progress>,
        wanted: Ranges,
        whole: bool,
    ) -> Self {
        Self {
            backlog,
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
    fn peek(&mut self, env: &StoreEnv) -> Result<Option<Sequence>> {
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
            let found =
                self.cursor
                    .next(&*env.storage, &self.backlog.segments, self.after, None)?;
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
