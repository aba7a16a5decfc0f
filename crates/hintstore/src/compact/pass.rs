//! Rewrites what is worth it, group by group.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use hintstore_env::{
    StorageError, event, span,
    sync::{AtomicU64, Mutex, Ordering::SeqCst, Signal},
};
use hintstore_format::{Sequence, TargetId, journal::Range};

use super::{
    Compact, Compaction, CompactionTotals,
    choose::{Choice, Chosen, Key, Known},
    swap::{NotSwapped, Swap},
};
use crate::{
    Error, Result,
    deliver::Checkpoints,
    expire::{Fences, Sweep},
    store_env::StoreEnv,
    target::{Backlog, Ranges, Target, Targets},
};

/// Who has a compaction run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The store, at its interval.
    Itself,
    /// A caller.
    Call,
}

/// The pass over all segments.
#[derive(Debug)]
pub(crate) struct Pass {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
    checkpoints: Arc<Checkpoints>,
    sweep: Arc<Sweep>,
    fences: Arc<Fences>,
    /// One at a time: what one rewrites, another must not.
    running: Mutex<Known>,
    /// How often a running one was cancelled.
    cancelled: AtomicU64,
    totals: Mutex<CompactionTotals>,
    /// Raised to end a pause.
    wake: Signal,
}

/// A close waits for a pass no longer than this: a block that the disk does not answer for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a segment is rewritten whose hints end while that is done.
const DISCARD_TRIES: usize = 4;

/// Says that a pass has ended, behind its lock.
struct Ended<'a>(&'a Signal);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.raise();
    }
}

impl Pass {
    pub(crate) fn new(
        env: &Arc<StoreEnv>,
        targets: &Arc<Targets>,
        checkpoints: &Arc<Checkpoints>,
        sweep: &Arc<Sweep>,
        fences: &Arc<Fences>,
    ) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
            checkpoints: checkpoints.clone(),
            sweep: sweep.clone(),
            fences: fences.clone(),
            running: Mutex::default(),
            cancelled: AtomicU64::new(0),
            totals: Mutex::default(),
            wake: Signal::new(),
        }
    }

    pub(super) fn interval(&self) -> Option<Duration> {
        self.env.config().compact_interval
    }

    /// What was done since the store was opened.
    pub(crate) fn totals(&self) -> CompactionTotals {
        self.totals.lock().clone()
    }

    /// Ends a pass that runs, behind the block that it is at.
    pub(crate) fn cancel(&self) {
        self.cancelled.fetch_add(1, SeqCst);
        self.wake.raise();
    }

    /// Ends a pass that runs, and waits for its end: a close has begun, so that none begins behind it.
    pub(crate) fn stop(&self) {
        self.cancel();
        let deadline = self.env.clock.boot() + PATIENCE;
        let is_idle = || self.running.try_lock().is_some();
        self.env
            .runner
            .wait_until(&self.wake, Some(deadline), &mut || is_idle());
    }

    /// What a run would do. Changes nothing.
    pub(crate) fn plan(&self, what: &Compact) -> Result<Compaction> {
        self.env.check_open()?;
        let _ended = Ended(&self.wake);
        // What one that runs rewrites is gone when it is done.
        let _not_now = self.running.lock();
        let targets = self.targets(what);
        Ok(self.choice(what, &|_| true, |choice| choice.plan(backlogs(&targets))))
    }

    /// Drops what is dead as a whole, then rewrites what is worth it.
    pub(crate) fn run(&self, what: &Compact, by: By) -> Result<Compaction> {
        span!("compact");
        let _ended = Ended(&self.wake);
        let mut known = match by {
            By::Call => self.running.lock(),
            // A step does not wait for a call: where one thread runs both, it would wait for itself.
            By::Itself => match self.running.try_lock() {
                Some(known) => known,
                None => return Ok(Compaction::default()),
            },
        };
        self.env.check_open()?;
        if self.env.is_closing() {
            return Err(Error::Closed);
        }
        if by == By::Call {
            *known = Known::default();
        }
        let started = self.cancelled.load(SeqCst);
        // It needs no space and gives some back. Its checkpoint also ends what a run before could not.
        self.sweep.sweep()?;
        let mut done = Compaction::default();
        let targets = self.targets(what);
        let pace = |bytes| self.pace(bytes, started);
        let choose = |choice: Choice<'_>| choice.choose(backlogs(&targets), &mut known, &mut done);
        let next = self.choice(what, &pace, choose).into();
        self.rewrite(next, None, started, &mut known, &mut done)?;
        self.totals.lock().add(&done);
        Ok(done)
    }

    /// Discards hints of a target: those segments are rewritten that have any.
    pub(crate) fn discard(&self, id: TargetId, hints: &Ranges) -> Result<Compaction> {
        span!("discard");
        let _ended = Ended(&self.wake);
        let mut known = self.running.lock();
        self.env.check_open()?;
        if self.env.is_closing() {
            return Err(Error::Closed);
        }
        let Some(target) = self.targets.get(id) else {
            return Ok(Compaction::default());
        };
        // What is accepted from now on is not meant, whatever the ranges say.
        let accepted = Range {
            first: Sequence::ZERO,
            last: target.writer.next().before(),
        };
        let hints = &hints.and(&Ranges::of(&[accepted]));
        // What is in memory or in the open segment comes into one that is sealed.
        if !self.env.writer.sync(&target.writer) {
            return Err(Error::NotDurable);
        }
        self.env.writer.roll(&target.writer);
        self.env.writer.seal_rolled();
        let started = self.cancelled.load(SeqCst);
        let mut done = Compaction::default();
        let mut discard = ToDiscard {
            hints,
            settled: BTreeSet::new(),
        };
        for _ in 0..DISCARD_TRIES {
            done.skipped.clear();
            done.has_failed = false;
            let next = having(&target, &discard, &mut done);
            self.rewrite(next, Some(&mut discard), started, &mut known, &mut done)?;
            let is_changed = |(_, why): &(_, String)| *why == NotSwapped::Changed.word();
            if done.is_cancelled || !done.skipped.iter().any(is_changed) {
                break;
            }
        }
        // Whatever has any of them now is named: what was not come to, and where a hint went that came back.
        let why = if done.is_cancelled {
            NotSwapped::Stopped
        } else {
            NotSwapped::Changed
        };
        let mut left = Compaction::default();
        for chosen in having(&target, &discard, &mut left) {
            left.skipped.extend(chosen.skipped(why.word()));
        }
        let known: BTreeSet<String> = done.skipped.iter().map(|(name, _)| name.clone()).collect();
        left.skipped.retain(|(name, _)| !known.contains(name));
        done.skipped.extend(left.skipped);
        Ok(done)
    }

    /// Rewrites one group after the other.
    fn rewrite(
        &self,
        mut next: VecDeque<Chosen>,
        mut discard: Option<&mut ToDiscard<'_>>,
        started: u64,
        known: &mut Known,
        done: &mut Compaction,
    ) -> Result<()> {
        while let Some(chosen) = next.pop_front() {
            if self.is_cancelled(started) {
                done.is_cancelled = true;
                break;
            }
            let Some(target) = self.targets.get(chosen.target) else {
                continue;
            };
            let swap = Swap {
                env: &self.env,
                fences: &self.fences,
                target: &target,
                entries: &chosen.entries,
                discard: discard.as_deref().map(|of| of.hints),
            };
            match swap.run(|bytes| self.pace(bytes, started)) {
                Ok(Ok(swapped)) => {
                    event!(
                        info,
                        target_id = %target.id,
                        files = chosen.entries.len(),
                        before = %chosen.size(),
                        after = %swapped.after,
                        "compacted"
                    );
                    done.compacted
                        .push(chosen.compacted(swapped.after, &swapped));
                    // An estimate that was wrong is not made again.
                    let is_vain = discard.is_none() && swapped.after >= chosen.size();
                    known.failed.extend(swapped.by.filter(|_| is_vain));
                    if let Some(discard) = &mut discard {
                        discard.settled.extend(swapped.by);
                    }
                    // What was replaced goes now; the next group must not find it there.
                    self.checkpoints.checkpoint()?;
                }
                Ok(Err(NotSwapped::Damaged(place))) => {
                    // It holds up no other.
                    for part in chosen.without(place).into_iter().rev() {
                        next.push_front(part);
                    }
                    if let Some((name, key)) = chosen.one(place) {
                        known.failed.insert(key);
                        let why = NotSwapped::Damaged(place).word();
                        done.skipped.push((name, why.to_owned()));
                    }
                }
                Ok(Err(NotSwapped::Stopped)) => {
                    done.is_cancelled = true;
                    done.skipped
                        .extend(chosen.skipped(NotSwapped::Stopped.word()));
                    break;
                }
                Ok(Err(NotSwapped::Nothing)) => {
                    if let Some(discard) = &mut discard {
                        discard.settled.extend(chosen.keys());
                    }
                }
                // What changed is worth another try.
                Ok(Err(why)) => done.skipped.extend(chosen.skipped(why.word())),
                // One after the other they need less space, and each gives some back for the next.
                Err(error) if error.is_disk_full() && chosen.entries.len() > 1 => {
                    let singles = chosen.singles();
                    if singles.is_empty() {
                        done.fail(&chosen, &error);
                    }
                    for single in singles.into_iter().rev() {
                        next.push_front(single);
                    }
                }
                // Others may go all the same.
                Err(error) => done.fail(&chosen, &error),
            }
        }
        Ok(())
    }

    fn targets(&self, what: &Compact) -> Vec<Arc<Target>> {
        match what.target {
            Some(id) => self.targets.get(id).into_iter().collect(),
            None => self.targets.all(),
        }
    }

    /// Has segments chosen by the settings and the time of now.
    fn choice<R>(
        &self,
        what: &Compact,
        pace: &dyn Fn(u64) -> bool,
        choose: impl FnOnce(Choice<'_>) -> R,
    ) -> R {
        let config = Arc::clone(&*self.env.config());
        choose(Choice {
            storage: &*self.env.storage,
            policy: &self.env.policy.get(),
            fences: &self.fences,
            now: self.env.now(),
            rule: what.rule(&config),
            last_write_wins: &config.last_write_wins,
            pace,
        })
    }

    fn is_cancelled(&self, started: u64) -> bool {
        self.cancelled.load(SeqCst) != started || self.env.is_closing()
    }

    /// Takes the time that these bytes may take. False where the run is to end.
    fn pace(&self, bytes: u64, started: u64) -> bool {
        if let Some(rate) = self.env.config().compact_bytes_per_second {
            let pause = Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
            let until = self.env.clock.boot() + pause;
            let is_over = || self.is_cancelled(started);
            self.env
                .runner
                .wait_until(&self.wake, Some(until), &mut || is_over());
        }
        !self.is_cancelled(started)
    }
}

impl Compaction {
    fn fail(&mut self, chosen: &Chosen, error: &StorageError) {
        self.skipped.extend(chosen.skipped(&whole(error)));
        self.has_failed = true;
    }
}

/// What an error says, with what the system says of it.
fn whole(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", whole(source)),
        None => error.to_string(),
    }
}

/// Hints that are to be discarded.
struct ToDiscard<'a> {
    hints: &'a Ranges,
    /// Segments that have none of them, as is known by now.
    settled: BTreeSet<Key>,
}

/// The segments of a target that may have any of these hints, not ended yet. What cannot be rewritten is skipped.
fn having(target: &Target, discard: &ToDiscard<'_>, done: &mut Compaction) -> VecDeque<Chosen> {
    let mut chosen = VecDeque::new();
    for (place, backlog) in target.backlogs().iter().enumerate() {
        let progress = backlog.progress.lock();
        let mut is_behind_cut = false;
        for entry in backlog.segments.all() {
            let closed = entry.closed();
            let is_cut = closed.is_some_and(|closed| closed.is_cut_short);
            let is_whole = !is_cut && !is_behind_cut && !progress.is_damaged(&entry);
            let is_sealed = closed.is_some_and(|closed| closed.sealed.is_some());
            is_behind_cut = is_cut;
            let (first, last) = (entry.first, entry.last());
            let here = discard.hints.and(&Ranges::of(&[Range { first, last }]));
            let has_any = !progress.pending_of(&here).is_empty();
            let is_settled = discard.settled.contains(&(entry.store, entry.id));
            if progress.is_gone || progress.is_done(&entry) || is_settled || !has_any {
                continue;
            }
            let why = if place > 0 {
                "its hints wait for a retry in a segment of their own"
            } else if !is_whole {
                // As where compaction chooses: the one that has what a failed sync moved keeps all of it.
                "it is damaged, or a failed sync cut it short: delivery deals with it"
            } else if !is_sealed {
                "it could not be sealed"
            } else {
                chosen.push_back(Chosen::to_discard(target.id, entry));
                continue;
            };
            done.skipped.push((entry.name.to_string(), why.to_owned()));
        }
    }
    chosen
}

fn backlogs(targets: &[Arc<Target>]) -> impl Iterator<Item = (TargetId, &Backlog)> {
    targets.iter().map(|target| (target.id, &*target.backlog))
}
