//! Makes acknowledgements durable, and retires segments that are done: one journal sync for all.
//!
//! In this order, and why: (1) what a checkpoint covers is synced, or a power cut could take hints
//! whose end is booked; (2) checkpoints, which name the segments that are done, go into the journal and
//! are synced; (3) files are unlinked. A crash before (2) repeats at most one interval; between (2) and
//! (3) the next open finds the segments named and unlinks. Position, books and names are one record: of
//! two records a crash could keep one, and hints would count twice.

use std::{collections::BTreeMap, sync::Arc};

use hintstore_sweep::latest_deadline;

use super::{presence, progress::Progress};
use crate::{
    Error, Result,
    catalog::{Queue, SegmentEntry},
    expire::{Now, Verdict},
    journal::Journal,
    observe::{event, span},
    recover::aside,
    store::Engine,
};
use hintstore_env::{Boot, Next, Step, sync::Ordering::AcqRel};
use hintstore_format::{
    TargetId, UnixMillis,
    expiry::Policy,
    journal::{self, End, Ends, Loss, Range, Record},
};
use hintstore_reader::read_footer;

/// What there is to write of a target.
struct Settled {
    /// Rejected hints that were not kept.
    losses: Vec<Record>,
    checkpoint: journal::Checkpoint,
    /// Segments that are done, with the queue they are in, damaged or not.
    done: Vec<(Arc<Queue>, Arc<SegmentEntry>, bool)>,
}

/// Targets whose state counts as checkpointed: dirty again unless all of it came to its end, whether
/// an error or a panic was in the way.
struct Cleaned<'a> {
    queues: Vec<Arc<Queue>>,
    engine: &'a Engine,
}

impl Drop for Cleaned<'_> {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.progress.lock().dirty = true;
            self.engine.catalog.touch();
        }
    }
}

/// Checkpoints once an interval, and sweeps at its own.
#[derive(Debug)]
pub(crate) struct Checkpoint(pub(crate) Arc<Engine>);

impl Step for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn step(&self, now: Boot) -> Next {
        // Somebody checkpoints right now, or waits for the disk to do so.
        if self.0.journal.try_lock().is_none() {
            return Next::After(self.0.config().checkpoint_interval);
        }
        // A failure is the journal's: it is tried again, from memory, with the next checkpoint.
        if self.0.sweep_due(now) {
            self.0.recount_aside();
            drop(self.0.sweep());
        }
        let touched = self.0.catalog.take_touched();
        if touched && self.0.checkpoint().is_err() {
            self.0.catalog.touch();
        }
        self.0.refresh_admission(touched, now);
        Next::After(self.0.config().checkpoint_interval)
    }
}

impl Engine {
    /// Makes all that was acknowledged durable, and retires what is done.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.check_open()?;
        self.check_home()?;
        span!("checkpoint");
        let mut journal = self.journal.lock();
        let mut records = Vec::new();
        let mut retired = Vec::new();
        let mut cleaned = Cleaned {
            queues: Vec::new(),
            engine: self,
        };
        let mut failed = None;
        for queue in self.catalog.all() {
            // Before it is settled: a panic on the way must not leave it clean.
            cleaned.queues.push(queue.clone());
            let settled = match self.settle(&queue) {
                Ok(Some(settled)) => settled,
                Ok(None) => {
                    cleaned.queues.pop();
                    continue;
                }
                // Other targets are checkpointed all the same; the caller is told.
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            records.extend(settled.losses);
            records.push(Record::Checkpoint(settled.checkpoint));
            for (holder, entry, damaged) in settled.done {
                retired.push((queue.clone(), holder, entry, damaged));
            }
        }
        if let Some(record) = self.clock_record(&journal) {
            records.push(record);
        }
        event!(
            trace,
            targets = cleaned.queues.len(),
            retired = retired.len(),
            "checkpoint"
        );
        if let Err(error) = journal.append(&records) {
            event!(error, %error, "the journal cannot be written");
            // A full disk is a state of its own, and the journal has its reserve.
            self.writer.journal_is(!error.is_disk_full());
            return Err(error.into());
        }
        if !records.is_empty() {
            self.writer.journal_is(false);
        }
        for (queue, holder, entry, damaged) in retired {
            self.retire(&mut journal, &queue, &holder, &entry, damaged);
        }
        cleaned.queues.clear();
        failed.map_or(Ok(()), Err)
    }

    /// What there is to checkpoint of a target, and which of its segments are done, damaged or
    /// not. Its state is clean then; it is made dirty again if the record does not become durable.
    fn settle(&self, queue: &Arc<Queue>) -> Result<Option<Settled>> {
        let mut progress = queue.progress.lock();
        let children = queue.deferred();
        let closed_some = queue.closed_some.swap(false, AcqRel);
        let theirs = |child: &Arc<Queue>| child.progress.lock().dirty;
        if !closed_some && !progress.dirty && !children.iter().any(theirs) {
            return Ok(None);
        }
        if let Some(writer) = queue.writer.get()
            && progress.frontier.epoch() == self.epoch
            && writer.synced() <= progress.frontier
            && !self.writer.sync(writer)
        {
            return Err(Error::NotDurable);
        }
        progress.finish_passed(queue);
        progress.dirty = false;
        let is_done = |entry: &Arc<SegmentEntry>| progress.is_done(entry);
        let mut done: Vec<_> = queue
            .segments()
            .into_iter()
            .filter(is_done)
            .map(|entry| (queue.clone(), entry.clone(), progress.is_damaged(&entry)))
            .collect();
        let mut losses = Vec::new();
        let mut deferred = Vec::new();
        let mut ends = Ends::default();
        for child in children {
            let mut theirs = child.progress.lock();
            theirs.finish_passed(&child);
            theirs.dirty = false;
            losses.extend(self.loss_of_unkept(queue.target, &mut theirs));
            let entry = child.segments().into_iter().next();
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
                    queue.remove_deferred(&child);
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
            done.push((queue.clone(), entry.clone(), *damaged));
        }
        losses.extend(self.loss_of_unkept(queue.target, &mut progress));
        ends.join(&progress.ends);
        let checkpoint = journal::Checkpoint {
            target: queue.target,
            up_to: progress.frontier,
            holes: progress.unended.ranges().to_vec(),
            ends,
            deferred,
            retired: done
                .iter()
                .map(|(_, entry, damaged)| entry.retired(*damaged))
                .collect(),
        };
        Ok(Some(Settled {
            losses,
            checkpoint,
            done,
        }))
    }

    /// Tells of rejected hints for which there was no room among the dead letters.
    fn loss_of_unkept(&self, target: TargetId, progress: &mut Progress) -> Option<Record> {
        let unkept = progress.exceptional.get_mut()?.unkept.take();
        let (first, last) = (unkept.ranges().first()?, unkept.ranges().last()?);
        Some(Record::Loss(Loss {
            target,
            range: Range {
                first: first.first,
                last: last.last,
            },
            count: unkept.count(),
            end: End::Rejected,
            at: self.clock.wall(),
        }))
    }

    /// Removes a segment whose retire record is durable: set aside where it is damaged. A failure
    /// leaves the file to the next open, which knows the record.
    fn retire(
        &self,
        journal: &mut Journal,
        queue: &Queue,
        holder: &Queue,
        entry: &SegmentEntry,
        damaged: bool,
    ) {
        let mut progress = holder.progress.lock();
        // Both under one lock: who finds the segment listed, and nothing of it ended, would take all of
        // it for damaged.
        holder.remove(entry.id);
        progress.ended_in.remove(&entry.id);
        if let Some(rare) = progress.exceptional.get_mut() {
            rare.damaged.remove(&entry.id);
            rare.leaving.retain(|(left, _)| left.id != entry.id);
        }
        drop(progress);
        let gone = match presence::is_there(&*self.storage, entry) {
            // Another file has its name by now, or none. What was damaged may come back, and is set aside
            // then: that is not forgotten.
            Ok(false) => Ok(!damaged),
            Err(error) => Err(error),
            Ok(true) if damaged => {
                self.add_aside(entry.allocated);
                aside(&*self.storage, &entry.name).map(|()| true)
            }
            Ok(true) => self.storage.unlink(&entry.name).map(|()| true),
        };
        self.catalog.budget.free(&queue.usage, entry.allocated);
        if gone.unwrap_or_else(|error| error.is_missing()) {
            journal.state.note_unlinked(&entry.retired(damaged));
        }
        journal.state.forget_below(queue.target, queue.first_held());
    }

    /// Ends the hints of closed segments whose files somebody else removed, as damaged: nothing else
    /// would tell of them before delivery comes there, and after this process nothing at all.
    pub(crate) fn end_missing(&self) -> Result<()> {
        self.check_home()?;
        // First the segments: what is made from now on is no business of this.
        let mut holders = Vec::new();
        for queue in self.catalog.all() {
            for holder in queue.with_deferred() {
                let closed = |entry: &Arc<SegmentEntry>| entry.closed().is_some();
                let entries: Vec<_> = holder.segments().into_iter().filter(closed).collect();
                holders.push((holder, entries));
            }
        }
        let mut failed = None;
        for (holder, entries) in holders {
            for entry in entries {
                match presence::is_there(&*self.storage, &entry) {
                    Ok(true) => {}
                    Ok(false) => {
                        if self.end_all(&holder, &entry, End::Damaged) {
                            event!(error, file = %entry.name, "somebody removed or replaced a hint file");
                            self.home.note_files_gone(1);
                        }
                    }
                    // Others are looked at all the same; the caller is told.
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Drops segments in which every hint is dead, by their footers alone.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.check_open()?;
        span!("sweep");
        // What cannot be looked at now holds up nothing else.
        let mut failed = self.end_missing().err();
        let now = self.time.now(&*self.clock);
        let config = self.config();
        let mut known = std::mem::take(&mut *self.latest.lock());
        let mut still_known = BTreeMap::new();
        for queue in self.catalog.all() {
            for holder in queue.with_deferred() {
                for entry in holder.segments() {
                    let id = (entry.store, entry.id);
                    match self.latest_deadline(&entry, known.remove(&id), now, &config.expiry) {
                        Ok(Some(latest)) if now.judge(latest) == Verdict::Dead => {
                            self.end_all(&holder, &entry, End::Expired);
                        }
                        Ok(Some(latest)) => drop(still_known.insert(id, latest)),
                        Ok(None) => {}
                        // Others go all the same; the caller is told.
                        Err(error) => failed = Some(error),
                    }
                }
            }
        }
        // Rules are exchanged before this is cleared: under its lock, they are those of now.
        let mut latest = self.latest.lock();
        if Arc::ptr_eq(&config, &self.config()) {
            *latest = still_known;
        }
        drop(latest);
        // Their files go when that is durable.
        self.checkpoint()?;
        failed.map_or(Ok(()), Err)
    }

    /// No hint of a sealed segment lives longer. Where rules by namespace count, its footer is read,
    /// once under each set of rules; `None` where it is enough to know the summary, and it lives.
    fn latest_deadline(
        &self,
        entry: &SegmentEntry,
        known: Option<UnixMillis>,
        now: Now,
        policy: &Policy,
    ) -> Result<Option<UnixMillis>> {
        let Some(sealed) = entry.closed().and_then(|closed| closed.sealed) else {
            return Ok(None);
        };
        let (written, newest) = (sealed.deadlines.max, sealed.newest);
        let quick = latest_deadline(written, newest, None, policy);
        if known.is_some() || now.judge(quick) == Verdict::Dead {
            return Ok(known.or(Some(quick)));
        }
        if policy.gc_grace_now.is_empty() {
            return Ok(None);
        }
        let file = self.storage.open(&entry.name, false)?;
        let footer = read_footer(&*file, entry.id, sealed.footer_at..sealed.file_length)?;
        Ok(Some(latest_deadline(
            written,
            newest,
            footer.as_ref(),
            policy,
        )))
    }

    /// Ends all of a segment in one way. False where it is listed no more.
    fn end_all(&self, holder: &Queue, entry: &Arc<SegmentEntry>, end: End) -> bool {
        let mut progress = holder.progress.lock();
        let is_listed = || holder.segments().iter().any(|known| known.id == entry.id);
        if progress.is_gone || !is_listed() {
            // It was done in the meantime, or is in another deferred segment.
            return false;
        }
        progress.finish_passed(holder);
        progress.end_whole(holder, entry, end);
        if end == End::Damaged {
            // Whoever took the file away may bring it back: then it is kept for an operator.
            progress.exceptional.damaged.insert(entry.id);
        }
        progress.frontier_cursor.reset();
        let damaged = progress.is_damaged(entry);
        if !progress.is_done(entry) {
            // There are living hints before it: the order of delivery goes on without it.
            progress.exceptional.leaving.push((entry.clone(), damaged));
            holder.remove(entry.id);
        }
        self.catalog.touch();
        true
    }
}
