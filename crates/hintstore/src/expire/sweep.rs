//! Drops segments in which every hint is dead, by their footers alone.

use std::{collections::BTreeMap, sync::Arc};

use hintstore_env::{span, sync::Mutex};
use hintstore_format::{SegmentId, StoreId, UnixMillis, expiry::Policy, journal::End};
use hintstore_reader::read_footer;
use hintstore_sweep::latest_deadline;
use hintstore_writer::SegmentEntry;

use super::{Now, Verdict};
use crate::{
    Result,
    deliver::{Checkpoints, WholeSegments},
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
    /// The latest deadlines of segments whose footers were read for the rules by namespace.
    latest: Mutex<BTreeMap<(StoreId, SegmentId), UnixMillis>>,
}

impl Sweep {
    pub(crate) fn new(
        env: &Arc<StoreEnv>,
        targets: &Arc<Targets>,
        checkpoints: &Arc<Checkpoints>,
        whole: &Arc<WholeSegments>,
    ) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
            checkpoints: checkpoints.clone(),
            whole: whole.clone(),
            latest: Mutex::default(),
        }
    }

    /// Forgets what was read by other rules than those of now.
    pub(crate) fn forget_rules(&self) {
        self.latest.lock().clear();
    }

    /// Drops segments in which every hint is dead, by their footers alone.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.env.check_open()?;
        span!("sweep");
        // What cannot be looked at now holds up nothing else.
        let mut failed = self.whole.end_missing().err();
        let now = self.env.now();
        let policy = Arc::clone(&*self.env.policy.get());
        let mut known = std::mem::take(&mut *self.latest.lock());
        let mut still_known = BTreeMap::new();
        for target in self.targets.all() {
            for backlog in target.backlogs() {
                for entry in backlog.segments.all() {
                    let id = (entry.store, entry.id);
                    match self.latest_deadline(&entry, known.remove(&id), now, &policy) {
                        Ok(Some(latest)) if now.judge(latest) == Verdict::Dead => {
                            self.whole.end(&backlog, &entry, End::Expired);
                        }
                        Ok(Some(latest)) => drop(still_known.insert(id, latest)),
                        Ok(None) => {}
                        // Others go all the same; the caller gets the error.
                        Err(error) => failed = Some(error),
                    }
                }
            }
        }
        // Rules are exchanged before this is cleared: under its lock, they are those of now.
        let mut latest = self.latest.lock();
        if Arc::ptr_eq(&policy, &*self.env.policy.get()) {
            *latest = still_known;
        }
        drop(latest);
        // Their files go when that is durable.
        self.checkpoints.checkpoint()?;
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
        let file = self.env.storage.open(&entry.name, false)?;
        let footer = read_footer(&*file, entry.id, sealed.footer_at..sealed.file_length)?;
        Ok(Some(latest_deadline(
            written,
            newest,
            footer.as_ref(),
            policy,
        )))
    }
}
