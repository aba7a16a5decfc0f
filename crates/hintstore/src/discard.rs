//! Discards hints on an operator's word: a journal record, then unlink.

use std::sync::Arc;

use hintstore_env::{
    event,
    sync::{Mutex, MutexGuard},
};
use hintstore_format::{
    Namespace, SegmentId, Sequence, TargetId, UnixMillis,
    journal::{Cause, Discard, End, Losses, Record},
};

use crate::{
    Error, Event, Result,
    deliver::{Checkpoints, WholeSegments},
    journal::Journal,
    loss,
    recover::each_hint,
    store_env::StoreEnv,
    target::{Backlog, Progress, Ranges, Target, Targets},
};

/// Which hints to discard. Every condition that is set must hold; with none, all are discarded.
/// Hints that are accepted after the call began are never touched. Those in pages that are out end
/// as discarded, whether or not their target has got them by now.
///
/// ```
/// # use hintstore::{Namespace, TargetId, Truncate};
/// # let (replica, users) = (TargetId::from_u128(1), Namespace::from_u128(2));
/// let what = Truncate::all().target(replica).namespace(users);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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

impl Truncate {
    /// All hints; each of the calls that follow takes some out.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only hints for this target.
    #[must_use]
    pub fn target(self, target: impl Into<Option<TargetId>>) -> Self {
        let target = target.into();
        Self { target, ..self }
    }

    /// Only hints of this namespace.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<Option<Namespace>>) -> Self {
        let namespace = namespace.into();
        Self { namespace, ..self }
    }

    /// Only hints created before.
    #[must_use]
    pub fn created_before(self, time: impl Into<Option<UnixMillis>>) -> Self {
        let created_before = time.into();
        Self {
            created_before,
            ..self
        }
    }

    /// Only hints up to this sequence.
    #[must_use]
    pub fn up_to(self, sequence: impl Into<Option<Sequence>>) -> Self {
        let up_to = sequence.into();
        Self { up_to, ..self }
    }
}

/// What was discarded of one target, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

/// What the conditions cover in one segment.
struct Match {
    segment: SegmentId,
    hints: u64,
    /// Those of them that were handed out before and came back.
    handed: Ranges,
}

/// What they cover of a target: in its own segments, then in each deferred one.
struct Plan {
    discarded: Discarded,
    matches: Vec<Vec<Match>>,
    /// What repair has to look at for it.
    losses: Losses,
}

/// Discards hints.
#[derive(Debug)]
pub(crate) struct Discarder {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
    journal: Arc<Mutex<Journal>>,
    checkpoints: Arc<Checkpoints>,
    whole: Arc<WholeSegments>,
}

impl Discarder {
    pub(crate) fn new(
        env: &Arc<StoreEnv>,
        targets: &Arc<Targets>,
        journal: &Arc<Mutex<Journal>>,
        checkpoints: &Arc<Checkpoints>,
        whole: &Arc<WholeSegments>,
    ) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
            journal: journal.clone(),
            checkpoints: checkpoints.clone(),
            whole: whole.clone(),
        }
    }

    /// What a truncation would discard; changes nothing but that hints in memory are flushed. Those
    /// that the disk has no room for are not counted.
    pub(crate) fn plan(&self, what: &Truncate) -> Result<Vec<Discarded>> {
        let plan = |(target, next): (Arc<Target>, Sequence)| {
            // The deed makes room for it first; a plan does not.
            drop(self.make_readable(&target));
            let own = target.backlog.progress.lock();
            let backlogs = target.backlogs();
            let progresses = lock_all(own, &backlogs);
            let plan = self.plan_one(target.id, &backlogs, &progresses, what, next)?;
            Ok(plan.discarded)
        };
        self.chosen(what)?.into_iter().map(plan).collect()
    }

    /// Discards.
    pub(crate) fn truncate(&self, what: &Truncate) -> Result<Vec<Discarded>> {
        self.env.check_home()?;
        // Files that somebody took away cannot be looked into. Where that cannot be known now, the look
        // into them says why.
        drop(self.whole.end_missing());
        let mut done = Vec::new();
        let mut in_memory = Vec::new();
        for (target, next) in self.chosen(what)? {
            let readable = self.make_readable(&target);
            done.push(self.truncate_one(&target, what, next)?);
            if readable.is_err() {
                in_memory.push((done.len() - 1, target, next));
            }
        }
        // Files go when they are closed: now, not soon.
        self.env.writer.seal_rolled();
        // The files go with the next checkpoint, which is now.
        self.checkpoints.checkpoint()?;
        if in_memory.is_empty() {
            return Ok(done);
        }
        // On a full disk there may be room now for what was in memory, which belongs to it.
        for (at, target, next) in in_memory {
            self.make_readable(&target)?;
            let more = self.truncate_one(&target, what, next)?;
            if let Some(done) = done.get_mut(at) {
                *done = Discarded {
                    hints: done.hints + more.hints,
                    ..more
                };
            }
        }
        self.checkpoints.checkpoint()?;
        Ok(done)
    }

    /// The targets, each with the sequence of the first hint that is accepted after the call began.
    fn chosen(&self, what: &Truncate) -> Result<Vec<(Arc<Target>, Sequence)>> {
        self.env.check_open()?;
        let targets = match what.target {
            Some(id) => self.targets.get(id).into_iter().collect(),
            None => self.targets.all(),
        };
        let with_next = |target: Arc<Target>| {
            let next = target.writer.next();
            (target, next)
        };
        let had_any = |target: &Arc<Target>| target.accepted() > 0;
        Ok(targets.into_iter().filter(had_any).map(with_next).collect())
    }

    fn truncate_one(&self, target: &Target, what: &Truncate, next: Sequence) -> Result<Discarded> {
        let mut journal = self.journal.lock();
        // Held from the look to the deed: what is discarded is not delivered in between, and no deferred
        // segment is merged into another, which would know nothing of the discard.
        let own = target.backlog.progress.lock();
        let backlogs = target.backlogs();
        let mut progresses = lock_all(own, &backlogs);
        let plan = self.plan_one(target.id, &backlogs, &progresses, what, next)?;
        let Plan {
            discarded,
            matches,
            losses,
        } = plan;
        let discard = Discard {
            target: target.id,
            up_to: discarded.up_to,
            namespace: what.namespace,
            created_before: what.created_before,
            count: discarded.hints,
        };
        journal.append_losses(&losses)?;
        for loss in losses.iter() {
            self.env.subscribers.send(Event::Lost(*loss));
        }
        journal.append_or_forget(Record::Discard(discard))?;
        for (progress, matches) in progresses.iter_mut().zip(matches) {
            progress.exceptional.discards.push(discard);
            for found in matches {
                progress.ends.add(End::Discarded, found.hints);
                progress.count_in(found.segment, found.hints);
                let Progress {
                    unended,
                    again,
                    exceptional,
                    ..
                } = &mut **progress;
                for ranges in [unended, again, &mut exceptional.held] {
                    ranges.subtract(&found.handed);
                }
            }
            if discard.is_all() {
                // Nothing at or below is left: delivery goes on behind it.
                progress.frontier = progress.frontier.max(discarded.up_to);
                progress.frontier_cursor.reset();
            }
            progress.dirty = true;
        }
        drop(progresses);
        drop(journal);
        event!(
            info,
            target_id = %discarded.target,
            hints = discarded.hints,
            "discarded"
        );
        self.env.activity.touch();
        // Where all in the open segment has ended its file can go.
        self.env.writer.roll(&target.writer);
        Ok(discarded)
    }

    /// What is in memory has sequences already, and belongs to what is discarded.
    fn make_readable(&self, target: &Target) -> Result<()> {
        if self.env.writer.sync(&target.writer) {
            Ok(())
        } else {
            Err(Error::NotDurable)
        }
    }

    /// What of a target the conditions cover.
    fn plan_one(
        &self,
        target: TargetId,
        backlogs: &[Arc<Backlog>],
        progresses: &[MutexGuard<'_, Progress>],
        what: &Truncate,
        next: Sequence,
    ) -> Result<Plan> {
        // All epochs before this one are below; what was accepted since the call began is not.
        let segments = backlogs.iter().flat_map(|backlog| backlog.segments.all());
        let lasts = segments.map(|entry| entry.last().min(next.before()));
        let last = lasts.max().unwrap_or(Sequence::ZERO);
        let up_to = what.up_to.map_or(last, |limit| limit.min(last));
        let mut discarded = Discarded {
            target,
            hints: 0,
            up_to,
            mixed: 0,
        };
        let (mut matches, mut losses) = (Vec::new(), Losses::default());
        let now = self.env.clock.wall();
        for (backlog, progress) in backlogs.iter().zip(progresses) {
            let mut found = Vec::new();
            let entries = backlog.segments.all();
            for entry in entries.iter().filter(|entry| entry.first <= up_to) {
                let mut here = Match {
                    segment: entry.id,
                    hints: 0,
                    handed: Ranges::default(),
                };
                each_hint(&*self.env.storage, entry, |sequence, namespace, body| {
                    let created = body.created;
                    let handed = progress.unended.contains(sequence);
                    let pending = sequence > progress.frontier || handed;
                    let before = |discard: &Discard| discard.covers(sequence, namespace, created);
                    if !pending
                        || sequence > up_to
                        || progress.exceptional.discards.iter().any(before)
                    {
                        return;
                    }
                    let in_time = what.created_before.is_none_or(|limit| created < limit);
                    match what.namespace {
                        Some(only) if namespace != only => {
                            let mixed = in_time && namespace == Namespace::MIXED;
                            discarded.mixed += u64::from(mixed);
                        }
                        _ if in_time => {
                            here.hints += 1;
                            let cause = Cause::Discarded;
                            losses.add(loss::of_hint(target, namespace, body, cause, now));
                            if handed {
                                here.handed.add(sequence);
                            }
                        }
                        _ => {}
                    }
                })?;
                discarded.hints += here.hints;
                found.push(here);
            }
            matches.push(found);
        }
        Ok(Plan {
            discarded,
            matches,
            losses,
        })
    }
}

/// The progress of a target, which is held already, and of its deferred segments: `backlogs` behind the
/// first. They were listed under the target's progress, or some of them may be gone.
fn lock_all<'a>(
    own: MutexGuard<'a, Progress>,
    backlogs: &'a [Arc<Backlog>],
) -> Vec<MutexGuard<'a, Progress>> {
    let deferred = backlogs.iter().skip(1).map(|child| child.progress.lock());
    std::iter::once(own).chain(deferred).collect()
}
