//! What tools need that only look: the journal of a store that may be open elsewhere.

use hintstore_env::{Clock, Storage};
use hintstore_format::{Namespace, Sequence, TargetId, UnixMillis, journal::Ends};

use crate::{Compact, Compaction, Config, Result, journal, recover};

pub use hintstore_format::{
    SegmentId,
    descriptor::Kind,
    journal::{Deferred, Discard, Loss, Range},
};
pub use recover::{PlannedFile, RecoveryAction, RecoveryCase, RecoveryPlan};

/// What the journal says of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetView {
    /// The target.
    pub target: TargetId,
    /// Every hint up to here has ended, except the holes.
    pub up_to: Sequence,
    /// Hints below that have not ended.
    pub holes: Vec<Range>,
    /// How its hints ended.
    pub ends: Ends,
    /// Segments with copies of hints that wait for a retry, and how far each was delivered.
    pub deferred: Vec<Deferred>,
    /// What an operator discarded, as long as segments may hold it.
    pub discards: Vec<Discard>,
}

impl TargetView {
    /// Whether a hint in a segment is to be delivered, as far as the journal knows.
    pub fn is_pending(&self, segment: SegmentId, kind: Kind, sequence: Sequence) -> bool {
        let (up_to, holes) = match kind {
            Kind::Hints => (self.up_to, &self.holes),
            Kind::Deferred => {
                let mut named = self.deferred.iter();
                match named.find(|deferred| deferred.segment == segment) {
                    Some(deferred) => (deferred.up_to, &deferred.holes),
                    // Not named yet, or no more: its hints are elsewhere.
                    None => return false,
                }
            }
            Kind::DeadLetters => return false,
        };
        let hole = |range: &Range| (range.first..=range.last).contains(&sequence);
        sequence > up_to || holes.iter().any(hole)
    }
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalView {
    /// Its targets, in order of their ids.
    pub targets: Vec<TargetView>,
    /// Fences: what a namespace has that was created before the time does not matter.
    pub fences: Vec<(Namespace, UnixMillis)>,
    /// Loss receipts: what repair has to look at. Those of an open store since its last checkpoint are not here.
    pub losses: Vec<Loss>,
    /// Segments that are done, and whose files may still be there.
    pub retired: Vec<SegmentId>,
    /// Bytes before its last record that are no record.
    pub bad_bytes: u64,
    /// Where the first of them lie.
    pub bad_at: u64,
    /// Behind its last record, from here on, are bytes that are none: one that a crash cut off, that
    /// is being written, or that was damaged.
    pub torn_at: Option<u64>,
    /// Why the journal could not be read, if it could not.
    pub unreadable: Option<String>,
    /// It is of another version, or holds a record that must not be passed over.
    pub is_other_version: bool,
    /// There is none.
    pub is_missing: bool,
}

impl JournalView {
    /// What the journal says of a target.
    pub fn target(&self, target: TargetId) -> Option<&TargetView> {
        let place = self
            .targets
            .binary_search_by_key(&target, |view| view.target);
        self.targets.get(place.ok()?)
    }
}

/// Reads the journal of a store directory. Takes no lock and changes nothing; where there is no
/// journal, nothing is known.
///
/// # Errors
/// [`crate::Error::Storage`] where the file is there and cannot be read.
pub fn read_journal(storage: &dyn Storage) -> Result<JournalView> {
    let found = journal::read(storage)?;
    let targets = found.state.targets.iter().map(|(target, records)| {
        let present = records.present(*target);
        TargetView {
            target: *target,
            up_to: present.up_to,
            holes: present.holes,
            ends: present.ends,
            deferred: present.deferred,
            discards: records.all_discards(),
        }
    });
    Ok(JournalView {
        targets: targets.collect(),
        fences: found.state.fences().collect(),
        losses: found.state.losses.iter().copied().collect(),
        retired: found.state.retired.keys().map(|(.., id)| *id).collect(),
        bad_bytes: found.bad_bytes,
        bad_at: found.bad_at,
        torn_at: found.torn_at,
        is_other_version: found.refused.is_some()
            || found.unreadable.is_some_and(|e| e.is_foreign()),
        is_missing: found.is_missing,
        unreadable: match (found.unreadable, found.refused) {
            (Some(error), _) => Some(error.to_string()),
            (None, Some(code)) => Some(format!("a record of type {code}, of a newer version")),
            (None, None) => None,
        },
    })
}

/// What opening a store would do: the table of cases in `docs/recovery.md`, without doing any of it. Takes
/// no lock. Of a store that is open elsewhere, it says what a crash right now would lead to.
///
/// # Errors
/// [`crate::Error::OtherVersion`] and [`crate::Error::UnknownRecord`], as opening would;
/// [`crate::Error::Storage`] where the directory cannot be read.
pub fn plan_recovery(storage: &dyn Storage, clock: &dyn Clock) -> Result<RecoveryPlan> {
    recover::plan(storage, clock)
}

/// What a compaction would do, right after opening: as [`crate::HintStore::plan_compact`], without opening.
/// Takes no lock and changes nothing. Segments that a crash left open are not among them.
///
/// # Errors
/// As those of [`plan_recovery`].
pub fn plan_compact(
    storage: &dyn Storage,
    clock: &dyn Clock,
    config: &Config,
    what: &Compact,
) -> Result<Compaction> {
    recover::plan_compact(storage, clock, config, what)
}
