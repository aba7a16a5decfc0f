//! What waits for a background step: lists and queues of targets and segments, and who is woken.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use hintstore_env::{
    Boot, Next, Waker,
    sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering::SeqCst, Queue, Signal},
};
use hintstore_format::TargetId;

use crate::{WriterConfig, segment::Segment, steps, target::TargetWriter, write_env::WriteEnv};

/// Syncs that begin early are this far apart at least: where one finds all files in use, the next must
/// not follow at once.
const EARLY_APART: Duration = Duration::from_millis(5);

/// How long one that waits for the window of unsynced bytes leaves it to others before it syncs once
/// more itself.
const WINDOW_PAUSE: Duration = Duration::from_millis(50);

/// Complete slabs that wake the flusher: as many large ones as one write takes.
const WAKE_AT: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Memory is short: what is in it is flushed at once.
    pressure: AtomicBool,
    /// Targets with complete slabs, once a slab: the memory for slabs bounds it.
    ready: Queue<Arc<TargetWriter>>,
    /// Targets whose hints somebody wants to reach their level.
    committing: Queue<Arc<TargetWriter>>,
    /// How many steps commit: they are started when first needed.
    pub(crate) committers: Mutex<usize>,
    /// How many of them wait for the disk.
    pub(crate) syncing_turns: AtomicUsize,
    /// The store is closed: what is not where it was to come does not come there.
    pub(crate) commits_ended: AtomicBool,
    /// Targets that are to be synced side by side.
    syncing: Queue<Arc<TargetWriter>>,
    /// Ranges of files whose write-back is to begin.
    writeback: Queue<(Arc<Segment>, u64, u64)>,
    /// Segments that are full or old.
    sealing: Queue<(Arc<TargetWriter>, Arc<Segment>)>,
    /// Threads that seal right now; and the signal that one is done.
    sealers: AtomicU64,
    sealed: Signal,
    lists: Mutex<Lists>,
    pub(crate) wakers: Wakers,
}

/// Targets that a step looks at once an interval, and when. Behind one lock, which is taken once a
/// slab, not once a hint.
#[derive(Debug, Default)]
struct Lists {
    /// Have hints in memory.
    dirty: Vec<Arc<TargetWriter>>,
    flush_at: Option<Boot>,
    /// Have an open segment, which is to be looked at for its age at this time.
    aging: BTreeMap<(Boot, TargetId), Arc<TargetWriter>>,
    /// Have bytes in the kernel that no sync covers.
    unsynced: Vec<Arc<TargetWriter>>,
    sync_at: Option<Boot>,
    synced_at: Boot,
}

#[derive(Debug, Default)]
pub(crate) struct Wakers {
    pub(crate) flush: Waker,
    pub(crate) commit: Waker,
    pub(crate) commit_along: Waker,
    pub(crate) sync: Waker,
    pub(crate) sync_along: Waker,
    pub(crate) seal: Waker,
    pub(crate) prepare: Waker,
}

/// What a step took off a list and has not dealt with. Where the step panics, it is put back, that
/// at which it panicked last: the next run deals with all others first.
struct Taken<'a, T> {
    left: VecDeque<T>,
    put_back: &'a dyn Fn(T),
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        if !self.left.is_empty() {
            self.left.rotate_left(1);
        }
        self.left.drain(..).for_each(self.put_back);
    }
}

/// Deals with each of what was taken off a list.
pub(crate) fn each_taken<T>(
    taken: impl Into<VecDeque<T>>,
    put_back: &dyn Fn(T),
    mut each: impl FnMut(&T),
) {
    let mut taken = Taken {
        left: taken.into(),
        put_back,
    };
    while let Some(first) = taken.left.front() {
        each(first);
        taken.left.pop_front();
    }
}

/// Counts a thread that seals.
struct Sealing<'a>(&'a Work);

impl<'a> Sealing<'a> {
    fn begin(work: &'a Work) -> Self {
        work.sealers.fetch_add(1, SeqCst);
        Self(work)
    }
}

impl Drop for Sealing<'_> {
    fn drop(&mut self) {
        self.0.sealers.fetch_sub(1, SeqCst);
        self.0.sealed.raise();
    }
}

impl Work {
    /// The intervals are others now: nothing waits longer than they say.
    pub(crate) fn shorten_timers(&self, now: Boot, config: &WriterConfig) {
        let mut lists = self.lists.lock();
        let (flush_at, sync_at) = (
            now + config.flush_interval / 2,
            now + config.sync_interval / 2,
        );
        lists.flush_at = lists.flush_at.map(|at| at.min(flush_at));
        lists.sync_at = lists.sync_at.map(|at| at.min(sync_at));
    }

    pub(crate) fn to_commit(&self) -> usize {
        self.committing.len()
    }

    /// Forgets all targets that wait.
    pub(crate) fn clear(&self) {
        while self.ready.pop().is_some()
            || self.syncing.pop().is_some()
            || self.committing.pop().is_some()
            || self.sealing.pop().is_some()
        {}
        *self.lists.lock() = Lists::default();
    }
}

impl WriteEnv {
    /// Memory is short.
    pub(crate) fn request_flush(&self) {
        self.work.pressure.store(true, SeqCst);
        self.work.wakers.flush.wake();
    }

    pub(crate) fn hand_to_flusher(&self, target: &Arc<TargetWriter>) {
        self.work.ready.push(target.clone());
        // One wake-up for several slabs, and one write; the flush interval bounds the wait.
        if self.work.ready.len() >= WAKE_AT {
            self.work.wakers.flush.wake();
        }
        target.progress.raise();
    }

    /// Leaves a target to the steps that commit.
    pub(crate) fn list_to_commit(&self, target: &Arc<TargetWriter>) {
        self.work.committing.push(target.clone());
    }

    pub(crate) fn next_to_commit(&self) -> Option<Arc<TargetWriter>> {
        self.work.committing.pop()
    }

    pub(crate) fn next_ready(&self) -> Option<Arc<TargetWriter>> {
        self.work.ready.pop()
    }

    pub(crate) fn list_dirty(&self, target: &Arc<TargetWriter>) {
        let mut lists = self.work.lists.lock();
        lists.dirty.push(target.clone());
        let first = lists.dirty.len() == 1;
        drop(lists);
        if first {
            self.work.wakers.flush.wake();
        }
    }

    pub(crate) fn take_dirty(&self) -> Vec<Arc<TargetWriter>> {
        std::mem::take(&mut self.work.lists.lock().dirty)
    }

    /// Whether slabs are to be flushed for their age, and those bound by when. Looked at twice an
    /// interval: what is half an interval old now would be too old next time.
    pub(crate) fn flush_due(&self, now: Boot) -> Option<Boot> {
        if self.work.pressure.swap(false, SeqCst) {
            return Some(now);
        }
        let half = self.config().flush_interval / 2;
        let mut lists = self.work.lists.lock();
        let due = lists.flush_at.is_some_and(|at| at <= now);
        if due {
            lists.flush_at = None;
        }
        due.then(|| Boot::new(now.get().saturating_sub(half)))
    }

    pub(crate) fn next_flush(&self, now: Boot) -> Next {
        let half = self.config().flush_interval / 2;
        let mut lists = self.work.lists.lock();
        if lists.dirty.is_empty() {
            return Next::WhenWoken;
        }
        let at = *lists.flush_at.get_or_insert(now + half);
        Next::After(at.since(now))
    }

    pub(crate) fn list_unsynced(&self, target: &Arc<TargetWriter>) {
        if target.sync_listed.swap(true, SeqCst) {
            return;
        }
        let mut lists = self.work.lists.lock();
        lists.unsynced.push(target.clone());
        let first = lists.unsynced.len() == 1;
        drop(lists);
        if first {
            self.work.wakers.sync.wake();
        }
    }

    pub(crate) fn take_unsynced(&self) -> Vec<Arc<TargetWriter>> {
        let taken = std::mem::take(&mut self.work.lists.lock().unsynced);
        for target in &taken {
            target.sync_listed.store(false, SeqCst);
        }
        taken
    }

    pub(crate) fn sync_due(&self, now: Boot) -> bool {
        let mut lists = self.work.lists.lock();
        // Half a window is synced early, but never again and again where the disk refuses.
        let rested = now.since(lists.synced_at) >= EARLY_APART;
        let early = rested && self.sync_failures() == 0 && self.is_window_half_full();
        let due = early || lists.sync_at.is_some_and(|at| at <= now);
        if due {
            lists.sync_at = None;
            lists.synced_at = now;
        }
        due
    }

    fn is_window_half_full(&self) -> bool {
        self.unsynced_bytes() > self.config().unsynced_bytes_max.get() / 2
    }

    /// Has a sync begin where half of the window is full: a writer must not meet its end.
    pub(crate) fn sync_early(&self) {
        if self.is_window_half_full() {
            self.wake_sync();
        }
    }

    /// Waits until `more` bytes may be in the kernel unsynced besides. Syncs for it, too: the step that
    /// does so otherwise may be stopped, as in a close, and the window full of other targets' bytes. A
    /// sync that has begun cannot be broken off: `deadline` may be passed by one.
    pub(crate) fn make_window(&self, more: u64, deadline: Boot) -> bool {
        let mut has_window = || self.has_window(more);
        loop {
            // Also what a step took off the list and did not come to. Where the disk refuses to sync, it is
            // asked at the step's own pace.
            let listed = self.work.lists.lock().unsynced.clone();
            let taken = std::iter::from_fn(|| self.work.syncing.pop());
            let unsynced = taken.chain(listed).collect::<Vec<_>>();
            for target in unsynced.iter().filter(|_| self.sync_failures() == 0) {
                if has_window() {
                    return true;
                }
                if self.clock.boot() >= deadline {
                    return false;
                }
                self.sync_one(target);
            }
            let now = self.clock.boot();
            let until = deadline.min(now + WINDOW_PAUSE);
            let signal = &self.less_unsynced;
            if self.runner.wait_until(signal, Some(until), &mut has_window) {
                return true;
            }
            if now >= deadline {
                return false;
            }
        }
    }

    /// Hands to the kernel what was bound no later than `older_than`, of all targets that have
    /// something in memory.
    pub(crate) fn flush_older(&self, older_than: Boot) {
        let list = |target| self.list_dirty(&target);
        each_taken(self.take_dirty(), &list, |target| {
            target.close_older(older_than);
            target.try_flush();
            if !target.is_idle() {
                self.list_dirty(target);
            }
        });
    }

    pub(crate) fn next_sync(&self, now: Boot) -> Next {
        let mut lists = self.work.lists.lock();
        if lists.unsynced.is_empty() {
            return Next::WhenWoken;
        }
        // Half: a hint may wait that long in memory of the kernel before the clock starts.
        let half = self.config().sync_interval / 2;
        // A disk that goes on failing is asked less and less often.
        let patient = half * (1 << self.sync_failures().min(4));
        let at = *lists.sync_at.get_or_insert(now + patient);
        let next = Next::After(at.since(now));
        if self.sync_failures() == 0 && self.is_window_half_full() {
            return next.or_after(EARLY_APART);
        }
        next
    }

    /// Has targets synced side by side, in the background.
    pub(crate) fn ask_sync(&self, targets: impl IntoIterator<Item = Arc<TargetWriter>>) {
        for target in targets {
            self.work.syncing.push(target);
        }
        if self.work.syncing.len() > 1 {
            self.work.wakers.sync_along.wake();
        }
    }

    /// Syncs what was asked for, until others have taken the rest.
    pub(crate) fn sync_asked(&self) {
        while let Some(target) = self.work.syncing.pop() {
            let list = |target| self.list_unsynced(&target);
            each_taken([target], &list, |target| self.sync_one(target));
        }
    }

    fn sync_one(&self, target: &Arc<TargetWriter>) {
        let Some(_lead) = target.try_lead() else {
            // Somebody syncs it right now; there may be more by the time they are done.
            return self.list_unsynced(target);
        };
        let Some(mut file) = target.try_file() else {
            return self.list_unsynced(target);
        };
        let plan = target.plan(&mut file);
        drop(file);
        target.sync_in_background(&plan);
    }

    pub(crate) fn wake_sync(&self) {
        self.work.wakers.sync.wake();
    }

    pub(crate) fn ask_writeback(&self, segment: &Arc<Segment>, from: u64, to: u64) {
        self.work.writeback.push((segment.clone(), from, to));
        self.work.wakers.sync.wake();
    }

    pub(crate) fn start_writeback(&self) {
        while let Some((segment, from, to)) = self.work.writeback.pop() {
            if !segment.poisoned() {
                // A hint to the kernel; the sync that follows is what counts.
                drop(segment.file.start_writeback(from, to - from));
            }
        }
    }

    pub(crate) fn hand_to_sealer(&self, target: &Arc<TargetWriter>, segment: Arc<Segment>) {
        self.list_for_sealing(target, segment);
        self.work.wakers.seal.wake();
    }

    /// Has a segment sealed when that is next looked at.
    pub(crate) fn list_for_sealing(&self, target: &Arc<TargetWriter>, segment: Arc<Segment>) {
        self.work.sealing.push((target.clone(), segment));
    }

    /// Seals what was listed, each once: where that fails, its successor is listed again, and this
    /// is true.
    pub(crate) fn seal_listed(&self) -> bool {
        // Before one is taken off the list: a waiting thread finds each either listed or counted.
        let sealing = Sealing::begin(&self.work);
        // First: reserving space waits for a sync that others began, and a writer that finds no spare file
        // reserves it while appends wait.
        self.spares.prepare(self);
        for _ in 0..self.work.sealing.len() {
            let Some(listed) = self.work.sealing.pop() else {
                break;
            };
            let list = |listed| self.work.sealing.push(listed);
            each_taken([listed], &list, |(target, segment)| {
                steps::seal(target, segment);
            });
        }
        drop(sealing);
        !self.work.sealing.is_empty()
    }

    /// Seals what was listed, and waits for others who do.
    pub(crate) fn seal_all(&self, deadline: Boot) {
        self.seal_listed();
        let mut done = || self.work.sealers.load(SeqCst) == 0;
        self.runner
            .wait_until(&self.work.sealed, Some(deadline), &mut done);
    }

    /// Has the age of a target's open segment looked at.
    pub(crate) fn list_aging(&self, target: &Arc<TargetWriter>, at: Boot) {
        let mut lists = self.work.lists.lock();
        lists.aging.insert((at, target.id), target.clone());
        let is_first = lists.aging.keys().next() == Some(&(at, target.id));
        drop(lists);
        if is_first {
            self.work.wakers.seal.wake();
        }
    }

    /// Targets whose open segment is to be looked at by now.
    pub(crate) fn take_aged(&self, now: Boot) -> Vec<Arc<TargetWriter>> {
        let mut lists = self.work.lists.lock();
        let mut aged = Vec::new();
        while let Some(first) = lists
            .aging
            .first_entry()
            .filter(|first| first.key().0 <= now)
        {
            aged.push(first.remove());
        }
        aged
    }

    pub(crate) fn next_aged(&self) -> Option<Boot> {
        self.work
            .lists
            .lock()
            .aging
            .keys()
            .next()
            .map(|(at, _)| *at)
    }
}
