//! Sync points: "everything accepted so far", as a token that can be asked later whether it was delivered.
//!
//! A token holds a position of each target and how many hints had ended undelivered by then, so that the
//! store keeps nothing for it: it survives restarts, and one that nobody asks for again costs nothing.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use hintstore_env::sync::Signal;
use hintstore_format::{
    Namespace, Sequence, StoreId, TargetId, checksum,
    journal::{End, Ends},
};

use hintstore_reader::read_footer;

use crate::{
    Error, Result,
    store_env::StoreEnv,
    target::{Target, Targets},
};

/// All that targets had been given up to a moment: see [`crate::HintStore::sync_point`]. Its text form is what
/// operators and other processes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPoint {
    store: StoreId,
    positions: Vec<Position>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    target: TargetId,
    /// Hints up to here.
    up_to: Sequence,
    /// Hints of the target that had ended undelivered by then.
    undelivered: u64,
}

/// What a sync point covers: see [`crate::HintStore::sync_point`].
///
/// ```
/// # use hintstore::{Namespace, SyncScope, TargetId};
/// # let (replica, users) = (TargetId::from_u128(1), Namespace::from_u128(2));
/// let scope = SyncScope::all().target(replica).namespace(users);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncScope {
    targets: Vec<TargetId>,
    namespaces: Vec<Namespace>,
}

impl SyncScope {
    /// All hints; each of the calls that follow takes some out.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only hints for this target, and for others that are named.
    #[must_use]
    pub fn target(mut self, target: TargetId) -> Self {
        self.targets.push(target);
        self
    }

    /// Only hints of this namespace, and of others that are named, and what comes before them: hints of a target
    /// are delivered in order. Hints that touch several namespaces are of each.
    #[must_use]
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.namespaces.push(namespace);
        self
    }
}

/// How far a sync point has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncState {
    /// Hints of these targets wait for delivery.
    InProgress {
        /// The targets.
        targets: Vec<TargetId>,
    },
    /// None waits, and none was lost: they were delivered or fenced, or another stands for them, which a
    /// newer write or a new target may still wait for.
    Reached,
    /// All have ended, and some were not delivered: these targets have to be repaired.
    ReachedWithLoss {
        /// Hints that expired, were rejected, discarded, damaged or lost since the sync point was made, those
        /// accepted later among them: at most this many.
        lost_at_most: u64,
        /// Their targets.
        targets: Vec<TargetId>,
    },
}

impl SyncState {
    /// Whether nothing is to be waited for any more.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::InProgress { .. })
    }
}

impl SyncPoint {
    /// One that was taken from files: a position of each target, and how its hints had ended.
    pub fn of_positions(
        store: StoreId,
        positions: impl IntoIterator<Item = (TargetId, Sequence, Ends)>,
    ) -> Self {
        let position = |(target, up_to, ends): (_, _, Ends)| Position {
            target,
            up_to,
            undelivered: undelivered(&ends),
        };
        Self::sorted(store, positions.into_iter().map(position).collect())
    }

    fn sorted(store: StoreId, mut positions: Vec<Position>) -> Self {
        positions.sort_unstable_by_key(|position| position.target);
        Self { store, positions }
    }

    /// The store that it is of.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// How far it has come, where `now` says of a target how its hints have ended, and whether any up to a
    /// sequence have not.
    pub fn judge(&self, mut now: impl FnMut(TargetId, Sequence) -> (Ends, bool)) -> SyncState {
        let (mut waiting, mut losing, mut lost) = (Vec::new(), Vec::new(), 0);
        for position in &self.positions {
            let (ends, is_pending) = now(position.target, position.up_to);
            let more = undelivered(&ends).saturating_sub(position.undelivered);
            if is_pending {
                waiting.push(position.target);
            } else if more > 0 {
                losing.push(position.target);
                lost += more;
            }
        }
        if !waiting.is_empty() {
            SyncState::InProgress { targets: waiting }
        } else if lost > 0 {
            SyncState::ReachedWithLoss {
                lost_at_most: lost,
                targets: losing,
            }
        } else {
            SyncState::Reached
        }
    }
}

/// Hints that ended and that their target has not got.
fn undelivered(ends: &Ends) -> u64 {
    let ways = [
        End::Expired,
        End::Rejected,
        End::Discarded,
        End::Damaged,
        End::Lost,
    ];
    ways.iter().map(|end| ends.get(*end)).sum()
}

const PREFIX: &str = "hintstore-sync-point-1:";

impl fmt::Display for SyncPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}:", self.store);
        for Position {
            target,
            up_to,
            undelivered,
        } in &self.positions
        {
            write!(text, "{target}/{}/{undelivered}:", up_to.get())?;
        }
        let crc = checksum::crc(text.as_bytes());
        write!(f, "{PREFIX}{text}{crc:08x}")
    }
}

/// A text is no sync point: it was changed, cut short, or is of a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseSyncPointError;

impl fmt::Display for ParseSyncPointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a sync point, or not all of one: it begins with {PREFIX} and ends with a checksum"
        )
    }
}

impl std::error::Error for ParseSyncPointError {}

impl FromStr for SyncPoint {
    type Err = ParseSyncPointError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let parse = || -> Option<Self> {
            let text = text.trim().strip_prefix(PREFIX)?;
            let (body, crc) = text.split_at_checked(text.len().checked_sub(8)?)?;
            if u32::from_str_radix(crc, 16).ok()? != checksum::crc(body.as_bytes()) {
                return None;
            }
            let mut parts = body.strip_suffix(':')?.split(':');
            let store = parts.next()?.parse().ok()?;
            let position = |part: &str| {
                let mut fields = part.split('/');
                let position = Position {
                    target: fields.next()?.parse().ok()?,
                    up_to: Sequence::new(fields.next()?.parse().ok()?),
                    undelivered: fields.next()?.parse().ok()?,
                };
                fields.next().is_none().then_some(position)
            };
            let positions = parts.map(position).collect::<Option<Vec<_>>>()?;
            Some(Self { store, positions })
        };
        parse().ok_or(ParseSyncPointError)
    }
}

/// Makes and asks sync points of an open store.
#[derive(Debug)]
pub(crate) struct SyncPoints {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
}

/// A sync point that is waited for is looked at this often.
const LOOK: Duration = Duration::from_millis(50);

impl SyncPoints {
    pub(crate) fn new(env: &Arc<StoreEnv>, targets: &Arc<Targets>) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
        }
    }

    pub(crate) fn make(&self, scope: &SyncScope) -> Result<SyncPoint> {
        self.env.check_open()?;
        let mut targets = self.targets.all();
        if !scope.targets.is_empty() {
            targets.retain(|target| scope.targets.contains(&target.id));
        }
        let position = |target: Arc<Target>| {
            // Before the position: what ends in between is counted for it.
            let undelivered = undelivered(&target.ends());
            let up_to = target.writer.next().before();
            if !self.env.writer.sync(&target.writer) {
                return Err(Error::NotDurable);
            }
            let up_to = if scope.namespaces.is_empty() {
                Some(up_to)
            } else {
                let last = self.last_of(&target, &scope.namespaces)?;
                last.map(|last| last.min(up_to))
            };
            let target = target.id;
            Ok(up_to.map(|up_to| Position {
                target,
                up_to,
                undelivered,
            }))
        };
        let positions = targets.into_iter().map(position);
        let positions: Result<Vec<_>> = positions.filter_map(Result::transpose).collect();
        Ok(SyncPoint::sorted(self.env.store, positions?))
    }

    /// The last sequence of a target that a hint of these namespaces may have; none where its files have none.
    fn last_of(&self, target: &Target, namespaces: &[Namespace]) -> Result<Option<Sequence>> {
        let mut last = None;
        for backlog in target.backlogs() {
            for entry in backlog.segments.all() {
                let sealed = entry.closed().and_then(|closed| closed.sealed);
                let footer = match sealed {
                    Some(sealed) => {
                        let file = self.env.storage.open(&entry.name, false);
                        let at = sealed.footer_at..sealed.file_length;
                        match file.and_then(|file| read_footer(&*file, entry.id, at)) {
                            // It was done and removed since the list was read.
                            Err(_) if !backlog.segments.holds(entry.id) => continue,
                            footer => footer?,
                        }
                    }
                    None => None,
                };
                let here = match footer {
                    Some(footer) => footer.last_of(namespaces),
                    // Nothing tells.
                    None => Some(entry.last()),
                };
                last = last.max(here);
            }
        }
        Ok(last)
    }

    pub(crate) fn state(&self, point: &SyncPoint) -> Result<SyncState> {
        self.env.check_open()?;
        if point.store != self.env.store {
            return Err(Error::OtherStore);
        }
        Ok(point.judge(|target, up_to| match self.targets.get(target) {
            Some(target) => {
                let is_pending = target.is_pending_to(up_to);
                (target.ends(), is_pending)
            }
            None => (Ends::default(), false),
        }))
    }

    pub(crate) fn wait(&self, point: &SyncPoint, within: Duration) -> Result<SyncState> {
        let deadline = self.env.clock.boot() + within;
        let nobody = Signal::new();
        loop {
            let state = self.state(point)?;
            let now = self.env.clock.boot();
            if state.is_over() || now >= deadline || self.env.is_closing() {
                return Ok(state);
            }
            let until = deadline.min(now + LOOK);
            self.env
                .runner
                .wait_until(&nobody, Some(until), &mut || false);
        }
    }
}
