//! Discards hints on an operator's word: a journal record, then unlink.

use std::sync::Arc;

use hintstore_format::{
    Namespace, Sequence, TargetId, UnixMillis,
    journal::{Discard, End, Range, Record},
};

use crate::{
    Error, Result,
    catalog::{Queue, Ranges},
    store::Engine,
};

/// Which hints to discard. Every condition that is set must hold; with none, all are discarded.
/// Hints that are accepted after the call began are never touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncate {
    /// Only hints for this target.
    pub target: Option<TargetId>,
    /// Only hints of this namespace. Hints that touch several are [`Namespace::MIXED`].
    pub namespace: Option<Namespace>,
    /// Only hints created before.
    pub created_before: Option<UnixMillis>,
    /// Only hints up to this sequence.
    pub up_to: Option<Sequence>,
}

/// What was discarded of one target, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// The target.
    pub target: TargetId,
    /// How many hints.
    pub hints: u64,
    /// The last sequence looked at.
    pub up_to: Sequence,
    /// Hints that touch several namespaces and were passed over for it.
    pub mixed: u64,
}

impl Engine {
    /// What a truncation would discard; changes nothing but that hints in memory are flushed.
    pub(crate) fn plan_truncate(&self, what: &Truncate) -> Result<Vec<Discarded>> {
        let queues = self.chosen(what)?;
        queues
            .iter()
            .map(|queue| self.plan_one(queue, what).map(|(plan, _)| plan))
            .collect()
    }

    /// Discards.
    pub(crate) fn truncate(&self, what: &Truncate) -> Result<Vec<Discarded>> {
        let queues = self.chosen(what)?;
        let mut done = Vec::new();
        for queue in queues {
            done.push(self.truncate_one(&queue, what)?);
        }
        // The files go with the next checkpoint, which is now.
        self.checkpoint()?;
        Ok(done)
    }

    fn chosen(&self, what: &Truncate) -> Result<Vec<Arc<Queue>>> {
        match what.target {
            Some(target) => Ok(vec![self.queue(target)?]),
            None => Ok(self.catalog.all()),
        }
    }

    fn truncate_one(&self, queue: &Queue, what: &Truncate) -> Result<Discarded> {
        let (plan, matching) = self.plan_one(queue, what)?;
        let mut journal = self.journal.lock();
        let mut progress = queue.progress.lock();
        if progress.in_flight > 0 {
            return Err(Error::InFlight(queue.target));
        }
        let discard = Discard {
            target: queue.target,
            up_to: plan.up_to,
            namespace: what.namespace,
            created_before: what.created_before,
            count: plan.hints,
        };
        journal.append(&[Record::Discard(discard)])?;
        progress.discards.push(discard);
        progress.end(queue, &matching, End::Discarded);
        progress.again.subtract(&matching);
        progress.held.subtract(&matching);
        if what.namespace.is_none() && what.created_before.is_none() {
            // Nothing at or below is left: delivery goes on behind it.
            progress.frontier = progress.frontier.max(plan.up_to);
            progress.ahead.reset();
        }
        progress.dirty = true;
        drop(progress);
        drop(journal);
        self.finish_ended(queue);
        Ok(plan)
    }

    /// Ends the open segment if all in it has ended, so that its file can go.
    fn finish_ended(&self, queue: &Queue) {
        if let Some(writer) = queue.writer.get() {
            self.writer.roll(writer);
        }
    }

    /// What of a target the conditions cover, as numbers and as sequences.
    fn plan_one(&self, queue: &Queue, what: &Truncate) -> Result<(Discarded, Ranges)> {
        // What is in memory has sequences already, and belongs to what is discarded.
        let mut last = Sequence::ZERO;
        if let Some(writer) = queue.writer.get() {
            let next = writer.next();
            if !self.writer.sync(writer) {
                return Err(Error::NotDurable);
            }
            last = next.before();
        }
        for entry in queue.segments() {
            if entry.closed().is_some() {
                last = last.max(entry.last());
            }
        }
        let up_to = what.up_to.map_or(last, |limit| limit.min(last));
        let mut plan = Discarded {
            target: queue.target,
            hints: 0,
            up_to,
            mixed: 0,
        };
        let mut matching = Ranges::default();
        let progress = queue.progress.lock();
        if progress.in_flight > 0 {
            return Err(Error::InFlight(queue.target));
        }
        for entry in queue.segments().iter().filter(|entry| entry.first <= up_to) {
            self.each_in(entry, |sequence, namespace, created| {
                let handed = progress.unended.count_within(sequence, sequence) > 0;
                let pending = sequence > progress.frontier || handed;
                let before = |discard: &Discard| discard.covers(sequence, namespace, created);
                if !pending || sequence > up_to || progress.discards.iter().any(before) {
                    return;
                }
                let in_time = what.created_before.is_none_or(|limit| created < limit);
                match what.namespace {
                    Some(only) if namespace != only => {
                        plan.mixed += u64::from(in_time && namespace == Namespace::MIXED);
                    }
                    _ if in_time => {
                        plan.hints += 1;
                        matching.insert(Range {
                            first: sequence,
                            last: sequence,
                        });
                    }
                    _ => {}
                }
            })?;
        }
        Ok((plan, matching))
    }
}
