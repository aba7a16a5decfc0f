//! Targets that leave the cluster: their hints end, or go to others; and targets that nobody names any more.
//!
//! Here both paths meet: hints are read as delivery reads them, and accepted again as appends are.

use std::{collections::BTreeSet, sync::Arc};

use hintstore_env::{
    event,
    sync::{Mutex, MutexGuard},
};
use hintstore_format::{
    MutationId, Namespace, Sequence, TargetId, UnixMillis,
    expiry::Lifetime,
    frame::Origin,
    journal::{End, Record, Repaired},
};
use hintstore_reader::HintRef;
use hintstore_writer::{Bytes, Refusal};

use crate::{
    AppendError, Discarded, Durability, Hint, Result, Truncate,
    deliver::{Page, Verdict},
    discard::Discarder,
    store::Store,
    store_env::StoreEnv,
    target::{Target, TargetState, Targets},
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
    /// Gives how many they are.
    pub(crate) fn set(&self, members: impl IntoIterator<Item = TargetId>) -> usize {
        let members: BTreeSet<TargetId> = members.into_iter().collect();
        let count = members.len();
        *self.0.lock() = Some(members);
        count
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<TargetId>>> {
        self.0.lock()
    }
}

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
            journal.append_or_forget(Record::Forgotten { target: id })?;
        }
    }
    // What it lacks matters no more than what it had.
    store.settle(Repaired {
        target: Some(id),
        namespace: None,
        before: UnixMillis::MAX,
    })?;
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
    let is_old = |oldest: UnixMillis| now.saturating_since(oldest) > age_max;
    let mut failed = None;
    for orphan in orphans(members, targets) {
        let Some(target) = targets
            .get(orphan.target)
            .filter(|_| orphan.oldest.is_some_and(is_old))
        else {
            continue;
        };
        // What it is given as a member again is behind this.
        let up_to = {
            let members = members.lock();
            let is_member = |members: &BTreeSet<TargetId>| members.contains(&target.id);
            if members.as_ref().is_none_or(is_member) {
                continue;
            }
            target.writer.next().before()
        };
        event!(warn, target_id = %target.id, "discards the hints of an orphan");
        let all = Truncate::all().target(target.id).up_to(up_to);
        // Others go all the same; the caller gets the error.
        failed = discarder.truncate(&all).err().or(failed);
    }
    failed.map_or(Ok(()), Err)
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

/// Pages of hints that all stay, which are held back so that those behind them come.
const HELD_MAX: usize = 64;

/// Gives the hints of a target to others, page by page: those that it had when the call began.
pub(crate) fn readdress(store: &Store, from: TargetId, to: &[TargetId]) -> Result<Readdressed> {
    let mut done = Readdressed::default();
    let Some(target) = store.targets.get(from) else {
        return Ok(done);
    };
    let to: BTreeSet<TargetId> = to.iter().copied().filter(|id| *id != from).collect();
    let to: Vec<TargetId> = to.into_iter().collect();
    let mut pace = target.pace.lock();
    let was = pace.visible_state();
    pace.state = TargetState::Leaving;
    let state = pace.visible_state();
    target.writer.set_up(false);
    drop(pace);
    store.env.say_state(from, was, state);
    let until = target.writer.next();
    // What is in memory is read as well.
    store.env.writer.sync(&target.writer);
    let (mut stays, mut held) = (BTreeSet::new(), Vec::new());
    while !to.is_empty()
        && held.len() < HELD_MAX
        && let Some(page) = store.pager.pull_at_once(&target)?
    {
        if page.hints().all(|hint| hint.key.sequence >= until) {
            break;
        }
        let hints = Owned::of(&page);
        if page.faulted() {
            // Some of it may be zeros: the page comes again, read without the map.
            page.give_back();
            continue;
        }
        let (moved, refused) = hand_over(store, &hints, &to, &mut stays);
        done.refused = refused.or(done.refused);
        if moved == 0 {
            held.push(page);
            continue;
        }
        let verdict = |hint: &Owned| {
            if stays.contains(&hint.sequence) {
                Verdict::Retry
            } else {
                Verdict::Delivered
            }
        };
        let verdicts: Vec<Verdict> = hints.iter().map(verdict).collect();
        page.answer_as(&verdicts, End::Superseded)?;
        done.moved += moved;
    }
    held.into_iter().for_each(Page::give_back);
    store.checkpoints.checkpoint()?;
    done.stayed = orphan(&target).pending;
    Ok(done)
}

/// A hint in memory of its own: what is mapped may turn out to be zeros while it is appended.
struct Owned {
    sequence: Sequence,
    namespace: Namespace,
    payload_version: u32,
    lifetime: Lifetime,
    created: UnixMillis,
    idempotent: bool,
    mutation_id: Option<MutationId>,
    token: Option<i64>,
    origin: Origin,
    collapse: Option<(Vec<u8>, u64)>,
    payload: Vec<u8>,
}

impl Owned {
    fn of(page: &Page) -> Vec<Self> {
        let own = |hint: HintRef<'_>| {
            let (key, body) = (hint.key, hint.body);
            Self {
                sequence: key.sequence,
                namespace: hint.namespace,
                payload_version: hint.payload_version,
                lifetime: hint.lifetime,
                created: body.created,
                idempotent: body.idempotent,
                mutation_id: body.mutation_id,
                token: body.token,
                origin: body.origin.unwrap_or(Origin {
                    store: key.store,
                    target: key.target,
                    sequence: key.sequence,
                    incarnation: key.incarnation,
                }),
                collapse: body.collapse.map(|of| (of.key.to_vec(), of.version)),
                payload: body.payload.to_vec(),
            }
        };
        page.hints().map(own).collect()
    }

    fn for_target(&self, target: TargetId) -> Hint<'_> {
        let gc_grace = self.lifetime.gc_grace;
        let mut hint = Hint::new(target, self.created, gc_grace, &self.payload)
            .namespace(self.namespace)
            .payload_version(self.payload_version)
            .origin(self.origin);
        hint.lifetime = self.lifetime;
        hint.body.mutation_id = self.mutation_id;
        hint.body.token = self.token;
        if let Some((key, version)) = &self.collapse {
            hint = hint.collapse(key, *version);
        }
        hint
    }
}

/// Appends hints to each of the targets, durably; adds to `stays` those that are not there as a whole, and
/// gives how many are. What is in `stays` already is not tried again.
fn hand_over(
    store: &Store,
    hints: &[Owned],
    to: &[TargetId],
    stays: &mut BTreeSet<Sequence>,
) -> (u64, Option<Refusal>) {
    let may = |hint: &&Owned| hint.idempotent && !stays.contains(&hint.sequence);
    let tried: Vec<&Owned> = hints.iter().filter(may).collect();
    let each = tried
        .iter()
        .flat_map(|hint| to.iter().map(|to| hint.for_target(*to)));
    let batch: Vec<Hint<'_>> = each.collect();
    let outcomes = store.appender.append_copies(&batch, Durability::Durable);
    let (mut taken, mut refused) = (BTreeSet::new(), None);
    for (hint, outcomes) in tried.iter().zip(outcomes.chunks(to.len())) {
        let mut errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        refused = errors.find_map(AppendError::refusal).or(refused);
        if outcomes.iter().all(std::result::Result::is_ok) {
            taken.insert(hint.sequence);
        }
    }
    let left = hints.iter().map(|hint| hint.sequence);
    stays.extend(left.filter(|sequence| !taken.contains(sequence)));
    (taken.len() as u64, refused)
}
