//! Makes acknowledgements durable, and retires segments that are done: one journal sync for all.
//!
//! In this order, and why: (1) what a checkpoint covers is synced, or a power cut could take hints
//! whose end is booked; (2) checkpoints, which name the segments that are done, go into the journal and
//! are synced; (3) files are unlinked. A crash before (2) repeats at most one interval; between (2) and
//! (3) the next open finds the segments named and unlinks. Position, books and names are one record: of
//! two records a crash could keep one, and hints would count twice.

use std::sync::Arc;

use hintstore_env::{event, span, sync::Mutex};
use hintstore_format::{
    TargetId,
    journal::{self, Ends, Record},
};
use hintstore_writer::SegmentEntry;

use crate::{
    Error, Result,
    journal::Journal,
    loss::Unread,
    read::presence,
    recover::aside,
    space::Space,
    store_env::StoreEnv,
    target::{Backlog, Progress, Target, Targets},
};

/// The clock is persisted again when this many milliseconds have passed.
const CLOCK_MILLIS: u64 = 60_000;

/// What there is to write of a target.
struct Settled {
    checkpoint: journal::Checkpoint,
    /// Segments that are done, with the backlog they are in, damaged or not.
    done: Vec<(Arc<Backlog>, Arc<SegmentEntry>, bool)>,
}

/// Targets whose state counts as checkpointed: dirty again unless all of it came to its end, whether
/// an error or a panic was in the way.
struct Cleaned<'a> {
    targets: Vec<Arc<Target>>,
    env: &'a StoreEnv,
}

impl Drop for Cleaned<'_> {
    fn drop(&mut self) {
        for target in &self.targets {
            target.backlog.progress.lock().dirty = true;
            self.env.activity.touch();
        }
    }
}

/// Checkpoints.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
    /// Taken before any target's progress.
    journal: Arc<Mutex<Journal>>,
    space: Arc<Space>,
}

impl Checkpoints {
    pub(crate) fn new(
        env: &Arc<StoreEnv>,
        targets: &Arc<Targets>,
        journal: &Arc<Mutex<Journal>>,
        space: &Arc<Space>,
    ) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
            journal: journal.clone(),
            space: space.clone(),
        }
    }

    /// Whether somebody checkpoints right now, or waits for the disk to do so.
    pub(crate) fn is_busy(&self) -> bool {
        self.journal.try_lock().is_none()
    }

    /// Makes all that was acknowledged durable, and retires what is done.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.env.check_open()?;
        self.env.check_home()?;
        span!("checkpoint");
        let mut journal = self.journal.lock();
        let mut records = Vec::new();
        let mut retired = Vec::new();
        let mut cleaned = Cleaned {
            targets: Vec::new(),
            env: &self.env,
        };
        let mut failed = None;
        for target in self.targets.all() {
            // Before it is settled: a panic on the way must not leave it clean.
            cleaned.targets.push(target.clone());
            let settled = match self.settle(&target) {
                Ok(Some(settled)) => settled,
                Ok(None) => {
                    cleaned.targets.pop();
                    continue;
                }
                // Other targets are checkpointed all the same; the caller gets the error.
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            records.push(Record::Checkpoint(settled.checkpoint));
            for (backlog, entry, damaged) in settled.done {
                retired.push((target.clone(), backlog, entry, damaged));
            }
        }
        if let Some(record) = self.clock_record(&journal) {
            records.push(record);
        }
        // Taken behind the ends that they tell of.
        let losses = self.env.take_losses();
        event!(
            trace,
            targets = cleaned.targets.len(),
            retired = retired.len(),
            "checkpoint"
        );
        let written = journal
            .append_losses(&losses)
            .and_then(|()| journal.append(&records));
        if let Err(error) = written {
            event!(error, %error, "the journal cannot be written");
            // A full disk is a state of its own, and the journal has its reserve.
            self.env.writer.journal_is(!error.is_disk_full());
            return Err(error.into());
        }
        if !records.is_empty() {
            self.env.writer.journal_is(false);
        }
        for (target, backlog, entry, damaged) in retired {
            self.retire(&mut journal, &target, &backlog, &entry, damaged);
        }
        cleaned.targets.clear();
        failed.map_or(Ok(()), Err)
    }

    /// What there is to checkpoint of a target, and which of its segments are done, damaged or
    /// not. Its state is clean then; it is made dirty again if the record does not become durable.
    fn settle(&self, target: &Target) -> Result<Option<Settled>> {
        let own = &target.backlog;
        let mut progress = own.progress.lock();
        let children = target.deferred();
        let closed_some = own.segments.take_closed();
        let theirs = |child: &Arc<Backlog>| child.progress.lock().dirty;
        if !closed_some && !progress.dirty && !children.iter().any(theirs) {
            return Ok(None);
        }
        let frontier = progress.frontier;
        if frontier.epoch() == self.env.epoch
            && target.writer.synced() <= frontier
            && !self.env.writer.sync(&target.writer)
        {
            return Err(Error::NotDurable);
        }
        progress.finish_passed(&own.segments);
        progress.dirty = false;
        let is_done = |entry: &Arc<SegmentEntry>| progress.is_done(entry);
        let with_damage = |entry: Arc<SegmentEntry>| {
            let damaged = progress.is_damaged(&entry);
            (own.clone(), entry, damaged)
        };
        let entries = own.segments.all().into_iter();
        let mut done: Vec<_> = entries.filter(is_done).map(with_damage).collect();
        let mut deferred = Vec::new();
        let mut ends = Ends::default();
        for child in children {
            let mut theirs = child.progress.lock();
            theirs.finish_passed(&child.segments);
            theirs.dirty = false;
            self.note_unread(target.id, &child, &mut theirs);
            let entry = child.segments.all().into_iter().next();
            match entry {
                Some(entry) if !theirs.is_done(&entry) => {
                    deferred.push(journal::Deferred {
                        segment: entry.id,
                        up_to: theirs.frontier,
                        pending: theirs.pending_in(&entry),
                        holes: theirs.unended.ranges().to_vec(),
                    });
                    ends.join(&theirs.ends);
                }
                entry => {
                    // From here on its books are those of the target.
                    progress.ends.join(&std::mem::take(&mut theirs.ends));
                    theirs.is_gone = true;
                    target.remove_deferred(&child);
                    let leaves = |entry: Arc<SegmentEntry>| {
                        let damaged = theirs.is_damaged(&entry);
                        (entry, damaged)
                    };
                    if let Some(entry) = entry {
                        progress.exceptional.leaving.push(leaves(entry));
                    }
                }
            }
        }
        // They stay listed until their records are durable.
        for (entry, damaged) in &progress.exceptional.leaving {
            done.push((own.clone(), entry.clone(), *damaged));
        }
        self.note_unread(target.id, own, &mut progress);
        ends.join(&progress.ends);
        let checkpoint = journal::Checkpoint {
            target: target.id,
            up_to: progress.frontier,
            holes: progress.unended.ranges().to_vec(),
            ends,
            deferred,
            retired: done
                .iter()
                .map(|(_, entry, damaged)| entry.retired(*damaged))
                .collect(),
        };
        Ok(Some(Settled { checkpoint, done }))
    }

    /// Tells of hints that ended unread.
    fn note_unread(&self, target: TargetId, backlog: &Backlog, progress: &mut Progress) {
        let Some(rare) = progress.exceptional.get_mut() else {
            return;
        };
        let unread = Unread {
            storage: &*self.env.storage,
            clock: &*self.env.clock,
            target,
        };
        for ended in &rare.unread {
            let losses = unread.of_ended(&backlog.segments, ended);
            self.env.new_losses.add(losses.iter().copied());
        }
        // Behind the look into the files: one that panics is made again.
        rare.unread.clear();
    }

    /// Removes a segment whose retire record is durable: set aside where it is damaged. A failure
    /// leaves the file to the next open, which knows the record.
    fn retire(
        &self,
        journal: &mut Journal,
        target: &Target,
        backlog: &Backlog,
        entry: &SegmentEntry,
        damaged: bool,
    ) {
        let mut progress = backlog.progress.lock();
        // Both under one lock: a reader that finds the segment listed, and nothing of it ended, would
        // take all of it for damaged.
        backlog.segments.remove(entry.id);
        progress.ended_in.remove(&entry.id);
        if let Some(rare) = progress.exceptional.get_mut() {
            rare.damaged.remove(&entry.id);
            rare.leaving.retain(|(left, _)| left.id != entry.id);
        }
        drop(progress);
        let gone = match presence::is_there(&*self.env.storage, entry) {
            // Another file has its name by now, or none. What was damaged may come back, and is set aside
            // then: that is not forgotten.
            Ok(false) => Ok(!damaged),
            Err(error) => Err(error),
            Ok(true) if damaged => {
                self.space.add_aside(entry.allocated);
                aside(&*self.env.storage, &entry.name).map(|()| true)
            }
            Ok(true) => self.env.storage.unlink(&entry.name).map(|()| true),
        };
        target.free(&self.env.budget, entry.allocated);
        if gone.unwrap_or_else(|error| error.is_missing()) {
            journal.state.note_unlinked(&entry.retired(damaged));
        }
        journal.state.forget_below(target.id, target.first_held());
    }

    /// The clock, where it is confirmed and was last persisted a while ago.
    fn clock_record(&self, journal: &Journal) -> Option<Record> {
        let (wall, boot) = self.env.time.confirmed()?;
        let last = journal
            .state
            .clock
            .map_or(i64::MIN, |(wall, ..)| wall.get());
        let old = wall.get().abs_diff(last) >= CLOCK_MILLIS;
        let boot_ms = u64::try_from(boot.get().as_millis()).unwrap_or(u64::MAX);
        old.then(|| Record::ClockConfirmed {
            wall,
            boot_ms,
            boot: self.env.clock.boot_id(),
        })
    }
}
