//! Makes acknowledgements durable, and retires segments that are done: one journal sync for all.
//!
//! In this order, and why: (1) what a checkpoint covers is synced, or a power cut could take hints
//! whose end is booked; (2) checkpoint and retire records go into the journal and are synced; (3)
//! files are unlinked. A crash before (2) repeats at most one interval; between (2) and (3) the
//! next open finds the retire record and unlinks.

use std::sync::Arc;

use hintstore_format::{
    Sequence, file_name,
    journal::{self, Ends, Record},
};
use hintstore_runtime::{Boot, Next, Step};
use hintstore_storage::Existing;

use crate::{
    Error, Result,
    catalog::{Entry, Queue},
    expiry::{Now, Verdict},
    journal::Journal,
    store::Engine,
};

/// A target's checkpoint, and its segments that are done, damaged or not.
type Settled = (journal::Checkpoint, Vec<(Arc<Entry>, bool)>);

/// Checkpoints once an interval, and sweeps at its own.
#[derive(Debug)]
pub(crate) struct Checkpoint(pub(crate) Arc<Engine>);

impl Step for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn step(&self, now: Boot) -> Next {
        // A failure is the journal's: it is tried again, from memory, with the next checkpoint.
        if self.0.sweep_due(now) {
            drop(self.0.sweep());
        }
        drop(self.0.checkpoint());
        Next::After(self.0.config.checkpoint_interval)
    }
}

impl Engine {
    /// Makes all that was acknowledged durable, and retires what is done.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let mut journal = self.journal.lock();
        let mut records = Vec::new();
        let mut retired = Vec::new();
        let mut cleaned = Vec::new();
        let mut failed = None;
        for queue in self.catalog.all() {
            let (record, done) = match self.settle(&queue) {
                Ok(Some(settled)) => settled,
                Ok(None) => continue,
                // Other targets are checkpointed all the same; the caller is told.
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            let target = queue.target;
            records.push(Record::Checkpoint(record));
            for (entry, damaged) in done {
                let (segment, ends) = (entry.id, Ends::default());
                records.push(Record::Retire {
                    target,
                    segment,
                    ends,
                    damaged,
                });
                retired.push((queue.clone(), entry));
            }
            cleaned.push(queue);
        }
        if let Some(record) = self.clock_record(&journal) {
            records.push(record);
        }
        if let Err(error) = journal.append(&records) {
            for queue in cleaned {
                queue.progress.lock().dirty = true;
            }
            return Err(error.into());
        }
        for (queue, entry) in retired {
            self.retire(&mut journal, &queue, &entry);
        }
        failed.map_or(Ok(()), Err)
    }

    /// What there is to checkpoint of a target, and which of its segments are done, damaged or
    /// not. Its state is clean then; it is made dirty again if the record does not become durable.
    fn settle(&self, queue: &Queue) -> Result<Option<Settled>> {
        let mut progress = queue.progress.lock();
        if !progress.dirty {
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
        let done = queue
            .segments()
            .into_iter()
            .filter(|entry| progress.is_done(entry))
            .map(|entry| (entry.clone(), progress.is_damaged(&entry)))
            .collect();
        let record = journal::Checkpoint {
            target: queue.target,
            up_to: progress.frontier,
            holes: progress.unended.ranges().to_vec(),
            ends: progress.ends,
        };
        Ok(Some((record, done)))
    }

    /// Removes a segment whose retire record is durable: set aside where it is damaged. A failure
    /// leaves the file to the next open, which knows the record.
    fn retire(&self, journal: &mut Journal, queue: &Queue, entry: &Entry) {
        let mut progress = queue.progress.lock();
        progress.ended_in.remove(&entry.id);
        let damaged = progress.is_damaged(entry);
        progress.damaged.remove(&entry.id);
        drop(progress);
        queue.remove(entry.id);
        let gone = if damaged {
            self.set_aside(&entry.name)
        } else {
            self.storage.unlink(&entry.name)
        };
        if gone.map_or_else(|error| error.is_missing(), |()| true) {
            journal.state.note_unlinked(entry.id);
        }
        let first = queue
            .segments()
            .first()
            .map_or(Sequence::MAX, |entry| entry.first);
        journal.state.forget_below(queue.target, first);
    }

    /// Moves a file out of the way, for an operator.
    fn set_aside(&self, name: &str) -> hintstore_storage::Result<()> {
        let to = format!("{}/{name}", file_name::ASIDE);
        self.storage.rename(name, &to, Existing::Keep)?;
        self.storage.sync_directory(file_name::ASIDE)?;
        self.storage.sync_directory("")
    }

    /// Drops segments in which every hint is dead, by their footers alone.
    pub(crate) fn sweep(&self) -> Result<()> {
        let now = self.time.now(&*self.clock);
        for queue in self.catalog.all() {
            for entry in queue.segments() {
                if self.is_dead(&entry, now)? {
                    self.drop_whole(&queue, &entry)?;
                }
            }
        }
        Ok(())
    }

    fn is_dead(&self, entry: &Entry, now: Now) -> Result<bool> {
        let Some(summary) = entry.closed().and_then(|closed| closed.sealed) else {
            return Ok(false);
        };
        let policy = &self.config.expiry;
        let quick = hintstore_sweep::latest_deadline(&summary, None, policy);
        if now.judge(quick) == Verdict::Dead {
            return Ok(true);
        }
        if policy.gc_grace_now.is_empty() {
            return Ok(false);
        }
        let file = self.storage.open(&entry.name, false)?;
        let footer = hintstore_reader::read_footer(&*file, &summary)?;
        let latest = hintstore_sweep::latest_deadline(&summary, footer.as_ref(), policy);
        Ok(now.judge(latest) == Verdict::Dead)
    }

    /// Ends all of a segment as expired. The retire record carries the count: until the next
    /// checkpoint of the target it is the only one that knows.
    fn drop_whole(&self, queue: &Queue, entry: &Entry) -> Result<()> {
        let mut journal = self.journal.lock();
        let mut progress = queue.progress.lock();
        if progress.in_flight > 0 {
            return Ok(());
        }
        progress.finish_passed(queue);
        let mut ends = Ends::default();
        ends.add(journal::End::Expired, progress.pending_in(entry));
        let damaged = progress.is_damaged(entry);
        let record = Record::Retire {
            target: queue.target,
            segment: entry.id,
            ends,
            damaged,
        };
        journal.append(&[record])?;
        progress.end_whole(queue, entry, journal::End::Expired);
        progress.ahead.reset();
        drop(progress);
        self.retire(&mut journal, queue, entry);
        Ok(())
    }
}
