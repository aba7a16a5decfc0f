//! All targets of an open store, in one table.

use std::{sync::Arc, time::Duration};

use hintstore_env::sync::{RwLock, RwLockReadGuard};
use hintstore_format::{Sequence, TargetId, UnixMillis};
use hintstore_writer::{ByTarget, TargetStart, TargetWriter, Usage, Writer};

use super::{Ages, Backlog, Target};

/// What opening found of a target.
#[derive(Debug, Default)]
pub(crate) struct FoundTarget {
    pub(crate) backlog: Backlog,
    pub(crate) deferred: Vec<Arc<Backlog>>,
    /// What its files take.
    pub(crate) usage: Arc<Usage>,
    pub(crate) ages: Ages,
    /// Hints that were accepted before this process.
    pub(crate) accepted: u64,
    /// No segment of it has a later creation time in its name.
    pub(crate) last_created: Option<UnixMillis>,
}

impl FoundTarget {
    /// The first sequence that any of its files may hold.
    pub(crate) fn first_held(&self) -> Sequence {
        let own = self.backlog.segments.first();
        let deferred = self.deferred.iter();
        let firsts = deferred.filter_map(|backlog| backlog.segments.first());
        firsts.chain(own).min().unwrap_or(Sequence::MAX)
    }
}

/// All targets of a store.
#[derive(Debug)]
pub(crate) struct Targets {
    writer: Writer,
    by_id: RwLock<ByTarget<Arc<Target>>>,
}

impl Targets {
    pub(crate) fn new(
        writer: Writer,
        found: impl IntoIterator<Item = (TargetId, FoundTarget)>,
        now: UnixMillis,
    ) -> Self {
        let make = |(id, found)| (id, make(&writer, id, found, now));
        Self {
            by_id: RwLock::new(found.into_iter().map(make).collect()),
            writer,
        }
    }

    /// The table, for as long as nothing waits: others add a target only behind it.
    #[inline]
    pub(crate) fn table(&self) -> RwLockReadGuard<'_, ByTarget<Arc<Target>>> {
        self.by_id.read()
    }

    pub(crate) fn get(&self, id: TargetId) -> Option<Arc<Target>> {
        self.table().get(&id).cloned()
    }

    /// The target; made at `now` where there is none.
    pub(crate) fn get_or_add(&self, id: TargetId, now: UnixMillis) -> Arc<Target> {
        if let Some(target) = self.get(id) {
            return target;
        }
        let mut table = self.by_id.write();
        let make = || make(&self.writer, id, FoundTarget::default(), now);
        table.entry(id).or_insert_with(make).clone()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Target>> {
        self.table().values().cloned().collect()
    }

    /// The write paths of all.
    pub(crate) fn writers(&self) -> Vec<Arc<TargetWriter>> {
        let table = self.table();
        table.values().map(|target| target.writer.clone()).collect()
    }

    /// Has delivery look at all targets.
    pub(crate) fn announce_all(&self) {
        for target in self.all() {
            target.writer.announce();
        }
    }
}

fn make(writer: &Writer, id: TargetId, mut found: FoundTarget, now: UnixMillis) -> Arc<Target> {
    let start = TargetStart {
        last_created: found.last_created.unwrap_or(UnixMillis::MIN),
        usage: found.usage.clone(),
        segments: found.backlog.segments.clone(),
        past_window: false,
    };
    let writer = writer.target(id, start);
    // Its next hint comes later.
    found.ages.note(writer.next(), now, Duration::ZERO);
    Arc::new(Target::new(id, writer, found))
}
