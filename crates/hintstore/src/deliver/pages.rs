//! Makes pages: live hints in order, past what is dead, discarded or damaged.

use std::{sync::Arc, time::Duration};

use hintstore_env::{
    Boot, Result, event,
    sync::{Ordering::SeqCst, Signal},
};
use hintstore_format::{
    Sequence, TargetId, UnixMillis,
    frame::{Frame, Header},
    journal::{Cause, End, Loss, Losses, Range},
};
use hintstore_reader::{self as reader, Block, ByteView, FrameItem, Frames};
use hintstore_writer::SegmentEntry;

use super::{Answers, Page, defer::Defer, page::Times};
use crate::{
    expire::{Fences, Now, Verdict},
    loss,
    read::{CheckQueue, Cursor, CursorItem, was_synced},
    store_env::StoreEnv,
    target::{Backlog, Limits, Progress, Ranges, Target, time_of},
};

/// Pages that are read while a target's books are held; where these were all dead, others get at
/// them before it goes on.
const PAGES_AT_ONCE: u64 = 32;
/// However small a page may be, this much is read for it at once.
const ROOM_MIN: u64 = 64 << 10;
/// Pause between rounds, so that threads that wait for the books get the lock.
const PAUSE: Duration = Duration::from_micros(100);

/// What reading found, before any of it is booked: where a map failed, it is read again.
struct PageDraft {
    page: reader::Page,
    times: Times,
    room: u64,
    /// No more hints than this.
    hints_max: usize,
    /// Bytes that may still be read.
    left: u64,
    /// Read up to here.
    upto: Sequence,
    handed: Ranges,
    held: Ranges,
    expired: Ranges,
    fenced: Ranges,
    retracted: Ranges,
    /// What expired.
    losses: Losses,
    /// What was to be handed out again, and was looked for.
    sought: Ranges,
    damaged: Vec<Arc<SegmentEntry>>,
    /// Segments whose files somebody else removed or replaced.
    missing: Vec<Arc<SegmentEntry>>,
    /// How often the clock had been confirmed when it was asked.
    confirmations: u64,
}

impl PageDraft {
    fn new(page: reader::Page, limits: Limits, upto: Sequence) -> Self {
        let room = limits.bytes;
        Self {
            page,
            times: Times::default(),
            room: room.get(),
            hints_max: limits.hints,
            left: room.get().max(ROOM_MIN).saturating_mul(PAGES_AT_ONCE),
            upto,
            handed: Ranges::default(),
            held: Ranges::default(),
            expired: Ranges::default(),
            fenced: Ranges::default(),
            retracted: Ranges::default(),
            losses: Losses::default(),
            sought: Ranges::default(),
            damaged: Vec::new(),
            missing: Vec::new(),
            confirmations: 0,
        }
    }

    /// Whether it has as many hints as it may, or has read as much as it may.
    fn is_full(&self) -> bool {
        self.page.bytes() >= self.room || self.page.len() >= self.hints_max
    }

    /// A block was read to its end.
    fn passed(&mut self, block: &Block) {
        self.left = self.left.saturating_sub(block.header.length());
        if self.left == 0 {
            self.room = 0;
        }
    }
}

/// Reads pages.
#[derive(Debug)]
pub(crate) struct Pager {
    pub(super) env: Arc<StoreEnv>,
    fences: Arc<Fences>,
    check_queue: Arc<CheckQueue>,
    defer: Arc<Defer>,
    answers: Arc<Answers>,
}

/// What there is for a target.
#[derive(Debug)]
pub(crate) enum Found {
    Page(Page),
    /// Nothing before this.
    Resting(Boot),
    /// Nothing, until there is news.
    Nothing,
}

impl Pager {
    pub(crate) fn new(
        env: &Arc<StoreEnv>,
        fences: &Arc<Fences>,
        check_queue: &Arc<CheckQueue>,
        defer: &Arc<Defer>,
        answers: &Arc<Answers>,
    ) -> Self {
        Self {
            env: env.clone(),
            fences: fences.clone(),
            check_queue: check_queue.clone(),
            defer: defer.clone(),
            answers: answers.clone(),
        }
    }

    /// The next page of a target for a caller who pulls. Waits while hints that wait for a retry are moved
    /// out of the way.
    pub(crate) fn pull(&self, target: &Arc<Target>, asked: Limits) -> Result<Found> {
        if target.pace.lock().is_paused {
            return Ok(Found::Nothing);
        }
        self.defer.wait(target);
        self.next(target, asked)
    }

    /// The next page of a target for the store itself: nothing rests, and no rate counts.
    pub(crate) fn pull_at_once(&self, target: &Arc<Target>) -> Result<Option<Page>> {
        self.defer.wait(target);
        if self.env.is_closing() {
            return Ok(None);
        }
        let limits = Limits {
            bytes: self.env.config().page_bytes,
            hints: usize::MAX,
        };
        self.next_page(target, limits, false)
    }

    /// The store is being closed: nobody waits for a page any more.
    pub(crate) fn let_go(&self) {
        self.defer.done.raise();
    }

    /// Whether hints of a target are to be moved out of the way first, or are being moved.
    pub(super) fn makes_room(&self, target: &Arc<Target>) -> bool {
        self.defer.ask(target)
    }

    /// The next page of a target, as far as its rests, its window, its credit and the rates let it.
    pub(crate) fn next(&self, target: &Arc<Target>, asked: Limits) -> Result<Found> {
        if self.env.is_closing() {
            return Ok(Found::Nothing);
        }
        let now = self.env.clock.boot();
        let config = Arc::clone(&*self.env.config());
        let deliver_at = *self.env.deliver_at.lock();
        if deliver_at > now {
            return Ok(Found::Resting(deliver_at));
        }
        let pace = target.pace.lock();
        if pace.from_epoch > self.env.topology_epoch.load(SeqCst) {
            return Ok(Found::Nothing);
        }
        let limits = match pace.limits(&config, now) {
            Ok(limits) => limits.and(asked),
            Err(until) => return Ok(Found::Resting(until)),
        };
        let is_spent = pace.has_no_credit();
        drop(pace);
        if is_spent {
            return Ok(Found::Nothing);
        }
        let Some(page) = self.next_page(target, limits, true)? else {
            let resting = target.retry_at(now);
            return Ok(resting.map_or(Found::Nothing, Found::Resting));
        };
        let (bytes, hints) = (page.bytes().get(), page.len());
        target.pace.lock().sent(&config, now, bytes, hints);
        if let Some(rate) = config.deliver_bytes_per_second {
            let mut deliver_at = self.env.deliver_at.lock();
            *deliver_at = (*deliver_at).max(now) + time_of(bytes, rate);
        }
        Ok(Found::Page(page))
    }

    /// The next page of a target: of deferred segments and of what is new by turns.
    fn next_page(
        &self,
        target: &Arc<Target>,
        limits: Limits,
        may_rest: bool,
    ) -> Result<Option<Page>> {
        if target.is_strict() {
            return self.next_in_order(target, limits, may_rest);
        }
        let new_first = target.deferred_had_its_turn.swap(false, SeqCst);
        if new_first
            && let Some(page) = self.read_page(target, &target.backlog, limits, may_rest)?
        {
            return Ok(Some(page));
        }
        for child in &target.deferred() {
            if let Some(page) = self.read_page(target, child, limits, may_rest)? {
                target.deferred_had_its_turn.store(true, SeqCst);
                return Ok(Some(page));
            }
        }
        if new_first {
            return Ok(None);
        }
        self.read_page(target, &target.backlog, limits, may_rest)
    }

    /// The next page of a target whose order is strict: nothing is handed out while something
    /// before it has not ended.
    fn next_in_order(
        &self,
        target: &Arc<Target>,
        limits: Limits,
        may_rest: bool,
    ) -> Result<Option<Page>> {
        if target.is_in_flight() {
            return Ok(None);
        }
        match target.deferred().first() {
            Some(child) => self.read_page(target, child, limits, may_rest),
            None => self.read_page(target, &target.backlog, limits, may_rest),
        }
    }

    /// The next page of a backlog: first what is to be handed out again, then what is new.
    fn read_page(
        &self,
        target: &Arc<Target>,
        backlog: &Arc<Backlog>,
        limits: Limits,
        may_rest: bool,
    ) -> Result<Option<Page>> {
        if may_rest && backlog.progress.lock().rest_until > self.env.clock.boot() {
            return Ok(None);
        }
        loop {
            let (page, is_all) = self.read_some(target, backlog, limits, may_rest)?;
            if page.is_some() || is_all {
                return Ok(page);
            }
            let until = self.env.clock.boot() + PAUSE;
            let nobody = Signal::new();
            self.env
                .runner
                .wait_until(&nobody, Some(until), &mut || false);
            if self.env.is_closing() {
                return Ok(None);
            }
        }
    }

    /// A page of what is next, and whether there is nothing behind it: of a backlog that is dead so
    /// much is passed that others need not wait for its end.
    fn read_some(
        &self,
        target: &Arc<Target>,
        backlog: &Arc<Backlog>,
        limits: Limits,
        may_rest: bool,
    ) -> Result<(Option<Page>, bool)> {
        let mut progress = backlog.progress.lock();
        if progress.is_gone {
            // It was listed before it was merged into another.
            return Ok((None, true));
        }
        // Taken before the time: a confirmation that comes later releases what is held by this one.
        let confirmations = self.env.time.confirmations();
        progress.release_held(confirmations);
        // Nothing rests where it must not, and in a strict order none is left alone.
        let is_all = !may_rest || target.is_strict();
        let by = if is_all {
            Boot::new(Duration::MAX)
        } else {
            self.env.clock.boot()
        };
        progress.release_suspects(by);
        progress.release_later(by);
        let now = self.env.now();
        let draft = loop {
            let page = self.env.spare_pages.take(target.id);
            let mut draft = PageDraft::new(page, limits, progress.frontier);
            draft.confirmations = confirmations;
            let read = self.fill(target, backlog, &mut progress, &mut draft, now, may_rest);
            // Through a map that failed, hints read as zeros, which looks like damage: nothing of
            // it is booked. Each round does without one map more, so this ends.
            let back_faulted = |back: &mut Box<Cursor>| back.take_fault();
            if progress.frontier_cursor.take_fault()
                | progress.retry_cursor.as_mut().is_some_and(back_faulted)
            {
                continue;
            }
            if let Err(error) = read {
                progress.frontier_cursor.reset();
                if let Some(back) = &mut progress.retry_cursor {
                    back.reset();
                }
                // What was read before is handed out; the error comes again behind it.
                if draft.page.is_empty() {
                    return Err(error);
                }
            }
            break draft;
        };
        self.book(backlog, &mut progress, &draft);
        event!(
            trace,
            target_id = %target.id,
            hints = draft.page.len(),
            bytes = draft.page.bytes(),
            "page"
        );
        if draft.page.is_empty() {
            self.env.spare_pages.give(draft.page);
            // What ended just now may have held up what is behind it.
            let ended = [&draft.expired, &draft.fenced, &draft.retracted];
            let any_ended = ended.iter().any(|ended| !ended.is_empty());
            let is_all = draft.left > 0 && !(target.is_strict() && any_ended);
            return Ok((None, is_all));
        }
        if self.env.is_closing() {
            // A shutdown counts the pages that are out under this lock: none comes behind that.
            progress.again.join(&draft.handed);
            return Ok((None, true));
        }
        progress.in_flight += 1;
        let page = Page::new(
            draft.page,
            draft.handed,
            draft.times,
            target,
            backlog,
            &self.env,
            &self.answers,
        );
        Ok((Some(page), false))
    }

    fn fill(
        &self,
        target: &Target,
        backlog: &Backlog,
        progress: &mut Progress,
        draft: &mut PageDraft,
        now: Now,
        may_rest: bool,
    ) -> Result<()> {
        // A hint that made a page of its own fail comes in one of its own again, and others have their turn.
        let suspects = if target.is_strict() {
            Ranges::default()
        } else {
            progress.suspects_due()
        };
        if !suspects.is_empty() {
            let turn = !progress.exceptional.suspect_had_its_turn;
            progress.exceptional.suspect_had_its_turn = turn;
            if turn {
                self.fill_with_suspect(backlog, progress, draft, now, &suspects)?;
                if !draft.page.is_empty() {
                    return Ok(());
                }
            }
        }
        let mut again = progress.again.clone();
        again.subtract(&suspects);
        let is_due = !may_rest || progress.retry_at <= self.env.clock.boot();
        if !again.is_empty() && is_due {
            self.fill_again(backlog, progress, draft, now, &again)?;
        }
        self.fill_new(target, backlog, progress, draft, now)?;
        if draft.page.is_empty() && !suspects.is_empty() {
            self.fill_with_suspect(backlog, progress, draft, now, &suspects)?;
        }
        Ok(())
    }

    fn fill_with_suspect(
        &self,
        backlog: &Backlog,
        progress: &mut Progress,
        draft: &mut PageDraft,
        now: Now,
        suspects: &Ranges,
    ) -> Result<()> {
        let hints_max = std::mem::replace(&mut draft.hints_max, 1);
        let filled = self.fill_again(backlog, progress, draft, now, suspects);
        if draft.page.is_empty() {
            draft.hints_max = hints_max;
        }
        filled
    }

    /// Reads what is to be handed out again.
    fn fill_again(
        &self,
        backlog: &Backlog,
        progress: &mut Progress,
        draft: &mut PageDraft,
        now: Now,
        again: &Ranges,
    ) -> Result<()> {
        let alone = || Box::new(Cursor::alone());
        let mut back = progress.retry_cursor.take().unwrap_or_else(alone);
        let read = self.read_again(backlog, progress, again, &mut back, draft, now);
        progress.retry_cursor = Some(back);
        read
    }

    /// Reads on from the frontier.
    fn fill_new(
        &self,
        target: &Target,
        backlog: &Backlog,
        progress: &mut Progress,
        draft: &mut PageDraft,
        now: Now,
    ) -> Result<()> {
        let holes = progress.unended.ranges().len();
        let stop = target.is_strict() && holes > 0;
        if stop || holes >= self.env.config().checkpoint_holes_max || draft.is_full() {
            return Ok(());
        }
        let mut ahead = std::mem::take(&mut progress.frontier_cursor);
        let read = self.read_on(backlog, progress, &mut ahead, draft, Sequence::MAX, now);
        progress.frontier_cursor = ahead;
        read
    }

    /// Reads what is to be handed out again, as far as there is room.
    fn read_again(
        &self,
        backlog: &Backlog,
        progress: &Progress,
        again: &Ranges,
        cursor: &mut Cursor,
        draft: &mut PageDraft,
        now: Now,
    ) -> Result<()> {
        let frontier = draft.upto;
        let mut read = Ok(());
        for range in again.ranges() {
            if draft.is_full() || read.is_err() {
                break;
            }
            draft.upto = range.first.before();
            read = self.read_on(backlog, progress, cursor, draft, range.last, now);
            let whole = read.is_ok() && !draft.is_full();
            let last = if whole { range.last } else { draft.upto };
            if last >= range.first {
                draft.sought.insert(Range {
                    first: range.first,
                    last,
                });
            }
        }
        draft.upto = frontier;
        read
    }

    fn read_on(
        &self,
        backlog: &Backlog,
        progress: &Progress,
        cursor: &mut Cursor,
        draft: &mut PageDraft,
        last: Sequence,
        now: Now,
    ) -> Result<()> {
        while !draft.is_full() && draft.upto < last {
            let check_queue = self.env.config().map.then_some(&*self.check_queue);
            match cursor.next(
                &*self.env.storage,
                &backlog.segments,
                draft.upto,
                check_queue,
            )? {
                CursorItem::Block {
                    entry,
                    block,
                    frames,
                    at,
                    checked,
                } => {
                    if block.header.start.first > last {
                        cursor.leave(block, frames, at, checked);
                        break;
                    }
                    let right_to = checked.right_to(self.env.clock.boot());
                    let items = Frames::new(&block.header, &frames)
                        .from(at)
                        .right_to(right_to);
                    let stop =
                        self.read_block(progress, draft, &entry, &block, &frames, items, last, now);
                    cursor.pass(draft.upto);
                    match stop {
                        Some(at) => cursor.leave(block, frames, at, checked),
                        None => draft.passed(&block),
                    }
                }
                CursorItem::Missing(entry) => {
                    draft.upto = draft.upto.max(entry.last());
                    draft.missing.push(entry);
                }
                CursorItem::Finished(entry) => draft.upto = draft.upto.max(entry.last()),
                CursorItem::Damage(entry) => draft.damaged.push(entry),
                CursorItem::Nothing => break,
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
        draft: &mut PageDraft,
        entry: &Arc<SegmentEntry>,
        block: &Block,
        frames: &ByteView,
        items: Frames<'_>,
        last: Sequence,
        now: Now,
    ) -> Option<usize> {
        let entries = block.entries.as_deref().unwrap_or_default();
        let header = &block.header;
        // Where the whole block lives by its header, no hint of it needs to be judged.
        let earliest = match self.env.policy.get().max_lifetime {
            Some(max) => header
                .deadlines
                .min
                .min(header.created.min.saturating_add(max)),
            None => header.deadlines.min,
        };
        let no_rule = self.env.policy.get().gc_grace_now.is_empty();
        let all_live = no_rule && now.judge(earliest) == Verdict::Live;
        let rare = &progress.exceptional;
        let any_ended = !rare.discards.is_empty() || !rare.retracted.is_empty();
        let simple = all_live && !any_ended && !self.fences.is_any();
        let was_synced = was_synced(entry, header.end());
        let mut added = false;
        for item in items {
            let FrameItem::Intact {
                at,
                header: frame,
                sequence,
            } = item
            else {
                if was_synced {
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
            let judged = if simple {
                Some((Verdict::Live, earliest))
            } else {
                self.judge(progress, block, frames, at, sequence, now)
            };
            draft.upto = sequence;
            match judged {
                Some(_) if !simple && rare.retracted.contains(sequence) => {
                    draft.retracted.add(sequence);
                }
                Some((Verdict::Live, deadline))
                    if entries.get(usize::from(frame.profile)).is_some() =>
                {
                    if !added {
                        draft.page.add_block(
                            entry.store,
                            entry.incarnation,
                            block.clone(),
                            frames.clone(),
                        );
                        let created = draft.times.created.get_or_insert(header.created);
                        created.join(header.created);
                        added = true;
                    }
                    draft.page.add(sequence, at, frame);
                    let earliest = &mut draft.times.earliest;
                    *earliest = deadline.min(*earliest);
                    draft.handed.add(sequence);
                }
                // The table is broken.
                Some((Verdict::Live, _)) if was_synced => draft.damaged.push(entry.clone()),
                Some((Verdict::Dead, _)) => {
                    draft.expired.add(sequence);
                    let target = draft.page.target();
                    draft.losses.extend(expired(target, block, frames, at, now));
                }
                Some((Verdict::Held, _)) => draft.held.add(sequence),
                Some((Verdict::Fenced, _)) => draft.fenced.add(sequence),
                // Torn, or discarded: that was booked when the operator said so.
                Some((Verdict::Live, _)) | None => {}
            }
        }
        draft.upto = draft.upto.max(header.last().min(last));
        None
    }

    /// Whether a hint lives, and until when; `None` where it was discarded.
    fn judge(
        &self,
        progress: &Progress,
        block: &Block,
        frames: &ByteView,
        at: usize,
        sequence: Sequence,
        now: Now,
    ) -> Option<(Verdict, UnixMillis)> {
        let (namespace, created, deadline) = self.times(block, frames, at)?;
        let discarded = progress
            .exceptional
            .discards
            .iter()
            .any(|discard| discard.covers(sequence, namespace, created));
        if discarded {
            return None;
        }
        if self.fences.covers(namespace, created) {
            return Some((Verdict::Fenced, deadline));
        }
        Some((now.judge(deadline), deadline))
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
        let frame = Frame::read_checked(frames, at, base).ok()?;
        let created = frame.body.created;
        let deadline =
            self.env
                .policy
                .get()
                .deadline(profile.namespace, created, profile.lifetime());
        Some((profile.namespace, created, deadline))
    }

    /// Books what was read.
    fn book(&self, backlog: &Backlog, progress: &mut Progress, draft: &PageDraft) {
        progress.apply_moves(&backlog.segments);
        let moved = draft.upto > progress.frontier;
        progress.frontier = progress.frontier.max(draft.upto);
        progress.unended.join(&draft.handed);
        if !draft.held.is_empty() {
            progress.unended.join(&draft.held);
            progress.exceptional.held.join(&draft.held);
            progress.exceptional.held_at = draft.confirmations;
        }
        progress.again.subtract(&draft.sought);
        if progress.again.is_empty() {
            // Its map goes with it.
            progress.retry_cursor = None;
        }
        // What was handed out once and cannot be read any more was damaged since.
        let mut gone = draft.sought.clone();
        for found in [
            &draft.handed,
            &draft.held,
            &draft.expired,
            &draft.fenced,
            &draft.retracted,
        ] {
            gone.subtract(found);
        }
        progress.end_gone(&backlog.segments, &gone);
        progress.end(&backlog.segments, &draft.expired, End::Expired);
        self.env.new_losses.add(draft.losses.iter().copied());
        progress.end(&backlog.segments, &draft.fenced, End::Fenced);
        progress.end(&backlog.segments, &draft.retracted, End::Superseded);
        progress.forget_retracted();
        for entry in &draft.damaged {
            progress.exceptional.damaged.insert(entry.id);
        }
        for entry in &draft.missing {
            if progress.exceptional.damaged.insert(entry.id) {
                event!(error, file = %entry.name, "somebody removed or replaced a hint file");
                self.env.home.note_files_gone(1);
            }
        }
        progress.finish_passed(&backlog.segments);
        progress.dirty |= moved;
        self.env.activity.touch();
    }
}

/// The receipt of a hint that expired.
fn expired(target: TargetId, block: &Block, frames: &[u8], at: usize, now: Now) -> Option<Loss> {
    let header = Header::read(frames, at)?;
    let profile = block.entries.as_ref()?.get(usize::from(header.profile))?;
    let base = block.header.start.base_created;
    let frame = Frame::read_body(header, frames, at, base).ok()?;
    let namespace = profile.profile.namespace;
    let cause = Cause::Expired;
    Some(loss::of_hint(
        target,
        namespace,
        &frame.body,
        cause,
        now.at_least(),
    ))
}
