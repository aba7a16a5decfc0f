//! Brings targets to the kernel and to the disk for callers who do not wait on a thread: they are woken.
//!
//! All that a target has when its turn comes goes in one write and one sync; what is submitted while
//! that goes on goes in the next.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use hintstore_env::{
    Boot, Next, Step,
    sync::{
        AtomicU32, AtomicU64, Mutex,
        Ordering::{AcqRel, Acquire, SeqCst},
    },
};
use hintstore_format::Sequence;

use crate::{target::TargetWriter, work::Work, write_env::WriteEnv};

const KERNEL: u32 = 1;
const DISK: u32 = 2;

/// What is asked for of a target, and how that went.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// How far its hints are to be brought; 0 where nobody asks.
    wanted: AtomicU32,
    /// Of what is below, nothing more is tried by itself.
    failed_to: AtomicU64,
    /// Those who wait, in the order of their hints.
    waiting: Mutex<Vec<Waiting>>,
}

/// A task that waits for its hint.
#[derive(Debug)]
struct Waiting {
    sequence: Sequence,
    to_disk: bool,
    waker: task::Waker,
}

impl TargetWriter {
    fn commits(&self) -> &Commits {
        self.commits.get_or_init(Box::default)
    }

    /// Has all that the target has so far brought to the kernel, or to the disk, in the background.
    pub fn request_commit(self: &Arc<Self>, to_disk: bool) {
        let wanted = if to_disk { DISK } else { KERNEL };
        if self.commits().wanted.fetch_max(wanted, AcqRel) == 0 {
            self.env.list_to_commit(self);
            let work = &self.env.work;
            if !start(&self.env) {
                // The system has no thread for it: then this one waits. What it says of a next run is not needed:
                // each who asks runs it.
                let _ = Commit(self.env.clone()).step(self.env.clock.boot());
                return;
            }
            work.wakers.commit.wake();
            if work.syncing_turns.load(SeqCst) > 0 {
                // The first may be the one that waits for the disk.
                work.wakers.commit_along.wake();
            }
        }
    }

    /// Whether a hint is with the kernel, or durable; false where that failed. `waker` is woken when there is
    /// news.
    pub fn poll_commit(
        &self,
        sequence: Sequence,
        to_disk: bool,
        waker: &task::Waker,
    ) -> Poll<bool> {
        if let Some(answer) = self.look(sequence, to_disk) {
            return Poll::Ready(answer);
        }
        // Before the lock: it is not our code.
        let waker = waker.clone();
        let waiting = Waiting {
            sequence,
            to_disk,
            waker,
        };
        let mut all = self.commits().waiting.lock();
        let is_last = all.last().is_none_or(|last| last.sequence < sequence);
        let at = if is_last {
            Err(all.len())
        } else {
            all.binary_search_by_key(&sequence, |of| of.sequence)
        };
        let before = match at {
            Ok(at) => all.get_mut(at).map(|known| mem::replace(known, waiting)),
            Err(at) => {
                all.insert(at, waiting);
                None
            }
        };
        drop(all);
        drop(before);
        // Again: a turn that ended in between does not wake it.
        self.look(sequence, to_disk)
            .map_or(Poll::Pending, Poll::Ready)
    }

    fn look(&self, sequence: Sequence, to_disk: bool) -> Option<bool> {
        // Before the other look: what failed may have come there before.
        let failed_to = self.commits().failed_to.load(Acquire);
        let is_over = self.env.work.commits_ended.load(SeqCst);
        let has_failed = is_over || failed_to > sequence.get();
        let is_reached = if to_disk {
            self.synced() > sequence
        } else {
            self.flushed() > sequence
        };
        if is_reached {
            return Some(!(to_disk && self.is_in_doubt(sequence)));
        }
        has_failed.then_some(false)
    }

    /// Wakes who waits without a thread.
    pub(crate) fn end_commits(&self) {
        if self.commits.get().is_some() {
            self.wake_committed();
        }
    }

    /// Wakes those whose hints have come to their level, or will not.
    fn wake_committed(&self) {
        let mut all = self.commits().waiting.lock();
        let has_come = |of: &mut Waiting| self.look(of.sequence, of.to_disk).is_some();
        let woken: Vec<Waiting> = all.extract_if(.., has_come).collect();
        drop(all);
        for of in woken {
            // What a waker does is its executor's business: the others are woken all the same.
            let _panicked = catch_unwind(AssertUnwindSafe(|| of.waker.wake())).is_err();
        }
    }

    fn commit(self: &Arc<Self>) {
        let commits = self.commits();
        // Before the look at what there is: who asks from now on gets a turn of its own.
        let to_disk = commits.wanted.swap(0, AcqRel) == DISK;
        let mut turn = Turn {
            target: self,
            commits,
            last: self.next().before(),
            has_come: false,
        };
        let deadline = self.env.deadline(None);
        let _waiting = to_disk.then(|| Syncing::begin(&self.env.work));
        let is_flushed = self.flush_to(turn.last, deadline).is_ok();
        turn.has_come = is_flushed && !to_disk;
        if to_disk && is_flushed {
            // Some may wait for no more than that.
            self.wake_committed();
            turn.has_come = self.sync_to(turn.last, deadline).is_ok();
        }
    }
}

/// Starts the steps that commit, as many as sync side by side; false where none can be started.
fn start(env: &Arc<WriteEnv>) -> bool {
    let mut committers = env.work.committers.lock();
    while *committers < env.config().sync_threads.get() {
        let step = Commit(env.clone());
        // One is enough for writes; several syncs wait for the disk side by side.
        let wakers = &env.work.wakers;
        let waker = if *committers == 0 {
            wakers.commit.clone()
        } else {
            wakers.commit_along.clone()
        };
        let started = env.runner.start(Arc::new(step), waker, Next::WhenWoken);
        if started.is_err() {
            break;
        }
        *committers += 1;
    }
    *committers > 0
}

/// A turn that waits for the disk: others do not wait for it.
struct Syncing<'a>(&'a Work);

impl<'a> Syncing<'a> {
    fn begin(work: &'a Work) -> Self {
        // Before the look: who asks from now on sees it.
        work.syncing_turns.fetch_add(1, SeqCst);
        if work.to_commit() > 0 {
            work.wakers.commit_along.wake();
        }
        Self(work)
    }
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        self.0.syncing_turns.fetch_sub(1, SeqCst);
    }
}

/// One turn. Also where it panics, who waits for it hears that it failed.
struct Turn<'a> {
    target: &'a TargetWriter,
    commits: &'a Commits,
    last: Sequence,
    has_come: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.has_come {
            let behind = self.last.get().saturating_add(1);
            self.commits.failed_to.fetch_max(behind, AcqRel);
        }
        self.target.wake_committed();
    }
}

/// Gives targets their turns, side by side with others of its kind.
#[derive(Debug)]
pub(crate) struct Commit(pub(crate) Arc<WriteEnv>);

impl Step for Commit {
    fn name(&self) -> &'static str {
        "commit"
    }

    fn step(&self, _: Boot) -> Next {
        // No more than there are now: who submits all the time must not keep it from being stopped.
        for _ in 0..self.0.work.to_commit() {
            let Some(target) = self.0.next_to_commit() else {
                break;
            };
            target.commit();
        }
        if self.0.work.to_commit() > 0 {
            return Next::After(Duration::ZERO);
        }
        Next::WhenWoken
    }
}
