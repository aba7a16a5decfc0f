//! Targets that leave the cluster: their hints end, or go to others; and targets that nobody names any more.
//!
//! Here both paths meet: hints are read as delivery reads them, and accepted again as appends are.

use std::{collections::BTreeSet, sync::Arc};

use hintstore_env::{
    event,
    sync::{Mutex, MutexGuard},
};
use hintstore_format::{
    Sequence, TargetId, UnixMillis,
    frame::Origin,
    journal::{End, Record},
};
use hintstore_reader::HintRef;
use hintstore_writer::{Bytes, Refusal};

use crate::{
    AppendError, Discarded, Durability, Hint, Result, Truncate,
    deliver::{Answer, Page},
    discard::Discarder,
    store::Store,
    store_env::StoreEnv,
    target::{Target, Targets},
};

/// Why a target's hints matter no more: see [`crate::HintStore::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departure {
    /// Others have all that it is to have: it handed its data over.
    HandedOver,
    /// It was built again from other replicas, and has what the hints would bring.
    Rebuilt,
    /// It left and does not come back.
    Decommissioned,
}

/// A target with hints that is not among the members: see [`crate::HintStore::set_members`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orphan {
    /// The target.
    pub target: TargetId,
    /// Hints that wait for it.
    pub pending: u64,
    /// Disk space of its files.
    pub bytes: Bytes,
    /// When its oldest hint was accepted, to within a 64th of the hint window.
    pub oldest: Option<UnixMillis>,
}

/// What [`crate::HintStore::readdress`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readdressed {
    /// Hints that went to all of the new targets.
    pub moved: u64,
    /// Hints that stay: they may not be delivered twice, or one of the targets took them not.
    pub stayed: u64,
    /// Why a target did not take a hint, if one did not.
    pub refused: Option<Refusal>,
}

/// Whose hints are of any use, where the embedder says so.
#[derive(Debug, Default)]
pub(crate) struct Members(Mutex<Option<BTreeSet<TargetId>>>);

impl Members {
    pub(crate) fn set(&self, members: impl IntoIterator<Item = TargetId>) {
        *self.0.lock() = Some(members.into_iter().collect());
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<TargetId>>> {
        self.0.lock()
    }
}

/// The state of a target that nothing is kept about any more.
pub(crate) const FORGOTTEN: u8 = 1;

/// Ends all hints of a target, and forgets it where nothing of it is left.
pub(crate) fn forget(store: &Store, id: TargetId, why: Departure) -> Result<Option<Discarded>> {
    let discarded = store.discarder.truncate(&Truncate::all().target(id))?;
    event!(info, target_id = %id, ?why, "a target is forgotten");
    if let Some(target) = store.targets.get(id) {
        let mut journal = store.journal.lock();
        // Hints that came since the call began are kept, and the target with them.
        let progress = target.backlog.progress.lock();
        let is_empty = target.backlog.segments.all().is_empty() && target.deferred().is_empty();
        if is_empty && !progress.dirty && why != Departure::Rebuilt {
            let state = FORGOTTEN;
            journal.append_or_forget(Record::TargetState { target: id, state })?;
        }
    }
    Ok(discarded.into_iter().next())
}

/// Targets with hints that are not among the members; none where nobody said who is.
pub(crate) fn orphans(members: &Members, targets: &Targets) -> Vec<Orphan> {
    let members = members.lock();
    let Some(members) = &*members else {
        return Vec::new();
    };
    let targets = targets.all();
    let mut orphans: Vec<Orphan> = targets
        .iter()
        .filter(|target| !members.contains(&target.id))
        .map(orphan)
        .filter(|orphan| orphan.pending > 0)
        .collect();
    orphans.sort_by_key(|orphan| orphan.target);
    orphans
}

/// Discards the hints of orphans whose oldest is older than the settings allow.
pub(crate) fn end_orphans(
    env: &StoreEnv,
    members: &Members,
    targets: &Targets,
    discarder: &Discarder,
) -> Result<()> {
    let Some(age_max) = env.config().orphan_age_max else {
        return Ok(());
    };
    let now = env.now().at_least();
    for orphan in orphans(members, targets) {
        let is_old = |oldest: UnixMillis| now.saturating_since(oldest) > age_max;
        if orphan.oldest.is_some_and(is_old) {
            event!(warn, target_id = %orphan.target, "discards the hints of an orphan");
            discarder.truncate(&Truncate::all().target(orphan.target))?;
        }
    }
    Ok(())
}

fn orphan(target: &Arc<Target>) -> Orphan {
    let ended = target.ends();
    Orphan {
        target: target.id,
        pending: target.accepted().saturating_sub(ended.total()),
        bytes: target.writer.usage().bytes(),
        oldest: target.oldest(),
    }
}

/// Gives the hints of a target to others, page by page.
pub(crate) fn readdress(store: &Store, from: TargetId, to: &[TargetId]) -> Result<Readdressed> {
    let mut done = Readdressed::default();
    let Some(target) = store.targets.get(from) else {
        return Ok(done);
    };
    let to: Vec<TargetId> = to.iter().copied().filter(|id| *id != from).collect();
    // What is in memory is read as well.
    store.env.writer.sync(&target.writer);
    while !to.is_empty()
        && let Some(page) = store.pager.pull(&target)?
    {
        let (answer, moved, refused) = hand_over(store, &page, &to);
        done.refused = refused.or(done.refused);
        if page.faulted() {
            // Some of it may be zeros: the page comes again, read without the map.
            continue;
        }
        store.answers.end(page, &answer, End::Superseded)?;
        done.moved += moved;
        if moved == 0 {
            break;
        }
    }
    store.checkpoints.checkpoint()?;
    done.stayed = orphan(&target).pending;
    Ok(done)
}

/// Appends the hints of a page to each of the targets, durably; says which of them stay where they are, and
/// how many do not.
fn hand_over(store: &Store, page: &Page, to: &[TargetId]) -> (Answer, u64, Option<Refusal>) {
    let may_move = |hint: &HintRef<'_>| hint.body.idempotent;
    let mut hints: Vec<Hint<'_>> = Vec::with_capacity(page.len() * to.len());
    for hint in page.hints().filter(may_move) {
        let key = hint.key;
        let mut body = hint.body;
        body.origin.get_or_insert(Origin {
            store: key.store,
            target: key.target,
            sequence: key.sequence,
            incarnation: key.incarnation,
        });
        for target in to {
            let gc_grace = hint.lifetime.gc_grace;
            let mut copy = Hint::new(*target, body.created, gc_grace, body.payload)
                .namespace(hint.namespace)
                .payload_version(hint.payload_version);
            copy.lifetime = hint.lifetime;
            copy.body = body;
            hints.push(copy);
        }
    }
    let outcomes = store.appender.append_batch(&hints, Durability::Durable);
    let mut outcomes = outcomes.chunks(to.len());
    let (mut stay, mut moved, mut refused) = (Vec::<Sequence>::new(), 0, None);
    for hint in page.hints() {
        let taken = may_move(&hint)
            && outcomes.next().is_some_and(|outcomes| {
                let mut errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
                refused = errors.find_map(AppendError::refusal).or(refused);
                outcomes.iter().all(std::result::Result::is_ok)
            });
        if taken {
            moved += 1;
        } else {
            stay.push(hint.key.sequence);
        }
    }
    let answer = stay.into_iter().fold(Answer::delivered(), Answer::retry);
    (answer, moved, refused)
}
