//! Drops segments in which every hint is dead, by their footers alone.

use std::{collections::BTreeMap, sync::Arc};

use hintstore_env::{span, sync::Mutex};
use hintstore_format::{Namespace, SegmentId, StoreId, UnixMillis, expiry::Policy, journal::End};
use hintstore_reader::read_footer;
use hintstore_sweep::latest_deadline;
use hintstore_writer::SegmentEntry;

use super::{Fences, Now, Verdict, fences};
use crate::{
    Result,
    deliver::{Checkpoints, WholeSegments},
    journal::Journal,
    store_env::StoreEnv,
    target::Targets,
};

/// Sweeps.
#[derive(Debug)]
pub(crate) struct Sweep {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
    checkpoints: Arc<Checkpoints>,
    whole: Arc<WholeSegments>,
    fences: Arc<Fences>,
    journal: Arc<Mutex<Journal>>,
    /// The latest deadlines of segments whose footers were read for the rules by namespace, fences among
    /// them.
    latest: Mutex<Latest>,
}

/// What was read by the rules of now.
#[derive(Debug, Default)]
struct Latest {
    by_segment: BTreeMap<(StoreId, SegmentId), UnixMillis>,
    /// Counts the sets of rules.
    rules: u64,
}

/// What is known of a segment by the rules of now.
enum Outlook {
    /// Some hint of it may live, by its summary: nothing more has to be known.
    Alive,
    /// Nothing of it outlives this.
    Until(UnixMillis),
    /// All of it is fenced.
    Fenced,
}

impl Sweep {
    pub(crate) fn new(
        env: &Arc<StoreEnv>,
        targets: &Arc<Targets>,
        checkpoints: &Arc<Checkpoints>,
        whole: &Arc<WholeSegments>,
        fences: &Arc<Fences>,
        journal: &Arc<Mutex<Journal>>,
    ) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
            checkpoints: checkpoints.clone(),
            whole: whole.clone(),
            fences: fences.clone(),
            journal: journal.clone(),
            latest: Mutex::default(),
        }
    }

    /// Forgets what was read by other rules than those of now.
    pub(crate) fn forget_rules(&self) {
        let mut latest = self.latest.lock();
        latest.by_segment.clear();
        latest.rules += 1;
    }

    /// Drops segments in which every hint is dead, by their footers alone.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.env.check_open()?;
        span!("sweep");
        // What cannot be looked at now holds up nothing else.
        let mut failed = self.whole.end_missing().err();
        let now = self.env.now();
        let (mut known, rules) = {
            let mut latest = self.latest.lock();
            (std::mem::take(&mut latest.by_segment), latest.rules)
        };
        let policy = Arc::clone(&*self.env.policy.get());
        self.end_fences(&policy, now);
        let mut still_known = BTreeMap::new();
        for target in self.targets.all() {
            for backlog in target.backlogs() {
                for entry in backlog.segments.all() {
                    let id = (entry.store, entry.id);
                    match self.outlook(&entry, known.remove(&id), now, &policy) {
                        Ok(Outlook::Until(latest)) if now.judge(latest) == Verdict::Dead => {
                            self.whole.end(target.id, &backlog, &entry, End::Expired);
                        }
                        Ok(Outlook::Until(latest)) => drop(still_known.insert(id, latest)),
                        Ok(Outlook::Fenced) => {
                            self.whole.end(target.id, &backlog, &entry, End::Fenced);
                        }
                        Ok(Outlook::Alive) => {}
                        // It was done and removed since the list was read.
                        Err(_) if !backlog.holds(&entry) => {}
                        // Others go all the same; the caller gets the error.
                        Err(error) => failed = Some(error),
                    }
                }
            }
        }
        // Rules are exchanged before this is cleared: under its lock, they are those of now.
        let mut latest = self.latest.lock();
        if latest.rules == rules {
            latest.by_segment = still_known;
        }
        drop(latest);
        // Their files go when that is durable.
        self.checkpoints.checkpoint()?;
        failed.map_or(Ok(()), Err)
    }

    /// What becomes of a sealed segment. Where rules by namespace count, its footer is read, once under each
    /// set of rules.
    fn outlook(
        &self,
        entry: &SegmentEntry,
        known: Option<UnixMillis>,
        now: Now,
        policy: &Policy,
    ) -> Result<Outlook> {
        let Some(sealed) = entry.closed().and_then(|closed| closed.sealed) else {
            return Ok(Outlook::Alive);
        };
        let (written, newest) = (sealed.deadlines.max, sealed.newest);
        let quick = latest_deadline(written, newest, None, policy);
        if known.is_some() || now.judge(quick) == Verdict::Dead {
            return Ok(Outlook::Until(known.unwrap_or(quick)));
        }
        if policy.gc_grace_now.is_empty() && !self.fences.is_any() {
            return Ok(Outlook::Alive);
        }
        let file = self.env.storage.open(&entry.name, false)?;
        let footer = read_footer(&*file, entry.id, sealed.footer_at..sealed.file_length)?;
        if footer
            .as_ref()
            .is_some_and(|footer| self.fences.cover_all(footer))
        {
            return Ok(Outlook::Fenced);
        }
        let latest = latest_deadline(written, newest, footer.as_ref(), policy);
        Ok(Outlook::Until(latest))
    }

    /// A fence ends when every hint that it can cover is dead by its lifetime: late ones are refused as that.
    fn end_fences(&self, policy: &Policy, now: Now) {
        if !self.fences.is_any() {
            return;
        }
        let is_over = |namespace: Namespace, before: UnixMillis| {
            now.judge(fences::end(policy, namespace, before)) == Verdict::Dead
        };
        let mut journal = self.journal.lock();
        journal.state.forget_fences(is_over);
        self.fences.set(journal.state.fences());
    }
}
