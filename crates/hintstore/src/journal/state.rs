//! What the journal says, reduced to what it would be written again from.

use std::collections::{BTreeMap, BTreeSet};

use hintstore_format::{
    Incarnation, Namespace, SegmentId, Sequence, StoreId, TargetId, UnixMillis,
    journal::{
        Checkpoint, Discard, End, Ends, Loss, Losses, MissingHints, Record, Repaired, Retired,
    },
};

use hintstore_writer::Bytes;

use crate::AtRisk;

/// Which segment, of all that any opening of any store wrote.
pub(crate) type RetiredKey = (StoreId, Incarnation, SegmentId);

fn key(retired: &Retired) -> RetiredKey {
    (retired.store, retired.incarnation, retired.segment)
}

/// What the journal says of one target.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetRecords {
    pub(crate) checkpoint: Option<Checkpoint>,
    /// What ended since, by records that are no checkpoints.
    pub(crate) since: Ends,
    /// What an operator discarded before the checkpoint.
    pub(crate) discards: Vec<Discard>,
    /// And since: the checkpoint counts such hints as pending.
    pub(crate) discards_since: Vec<Discard>,
    /// What opening found missing in files that may still be there: it is not counted again.
    pub(crate) missing: Vec<MissingHints>,
}

/// What the journal says.
#[derive(Clone, Debug, Default)]
pub(crate) struct JournalState {
    pub(crate) targets: BTreeMap<TargetId, TargetRecords>,
    /// Retired segments whose files may still be there, and whether they are to be set aside.
    pub(crate) retired: BTreeMap<RetiredKey, (TargetId, bool)>,
    unlinked: BTreeSet<RetiredKey>,
    windows: Option<AtRisk>,
    /// Wall time, ms since boot, boot id.
    pub(crate) clock: Option<(UnixMillis, u64, [u8; 16])>,
    fences: BTreeMap<Namespace, UnixMillis>,
    /// Loss receipts.
    pub(crate) losses: Losses,
    others: Vec<Record>,
}

impl TargetRecords {
    /// How the target's hints ended, in all.
    pub(crate) fn ends(&self) -> Ends {
        let mut ends = self.since;
        if let Some(checkpoint) = &self.checkpoint {
            ends.join(&checkpoint.ends);
        }
        ends
    }

    /// All of the target's hints up to here were discarded, whatever they are.
    pub(crate) fn discarded_to(&self) -> Sequence {
        let all = self.all_discards().into_iter();
        let all = all.filter(Discard::is_all);
        all.map(|discard| discard.up_to).max().unwrap_or_default()
    }

    /// All that an operator discarded.
    pub(crate) fn all_discards(&self) -> Vec<Discard> {
        [self.discards.as_slice(), &self.discards_since].concat()
    }

    /// The last checkpoint, with what ended since.
    pub(crate) fn present(&self, target: TargetId) -> Checkpoint {
        let checkpoint = self.checkpoint.clone();
        let checkpoint = checkpoint.unwrap_or(Checkpoint {
            target,
            up_to: Sequence::ZERO,
            holes: Vec::new(),
            ends: Ends::default(),
            deferred: Vec::new(),
            retired: Vec::new(),
        });
        Checkpoint {
            ends: self.ends(),
            ..checkpoint
        }
    }
}

impl JournalState {
    /// Takes in a record: a later one replaces an earlier one of its kind.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Windows {
                unflushed_bytes,
                unsynced_bytes,
            } => {
                self.windows = Some(AtRisk {
                    unflushed: Bytes::new(*unflushed_bytes),
                    unsynced: Bytes::new(*unsynced_bytes),
                });
            }
            Record::Checkpoint(checkpoint) => {
                for retired in &checkpoint.retired {
                    self.retire(checkpoint.target, retired);
                }
                let target = self.targets.entry(checkpoint.target).or_default();
                target.since = Ends::default();
                target.discards.append(&mut target.discards_since);
                target.checkpoint = Some(Checkpoint {
                    retired: Vec::new(),
                    ..checkpoint.clone()
                });
            }
            Record::Retire { target, retired } => self.retire(*target, retired),
            Record::Discard(discard) => {
                let target = self.targets.entry(discard.target).or_default();
                target.since.add(End::Discarded, discard.count);
                target.discards_since.push(*discard);
            }
            Record::Missing(missing) => {
                let target = self.targets.entry(missing.target).or_default();
                target.since.add(missing.end, missing.count);
                target.missing.push(*missing);
            }
            // What does not matter need not be repaired.
            Record::Loss(loss) if self.is_fenced(loss) => {}
            Record::Loss(loss) => self.losses.add(*loss),
            Record::Repaired(repaired) => self.losses.settle(repaired),
            Record::Forgotten { target } => {
                self.targets.remove(target);
                self.losses.forget(*target);
            }
            Record::ClockConfirmed {
                wall,
                boot_ms,
                boot,
            } => {
                self.clock = Some((*wall, *boot_ms, *boot));
            }
            Record::Fence { namespace, before } => {
                let fence = self.fences.entry(*namespace).or_insert(*before);
                *fence = (*fence).max(*before);
                self.losses.settle(&Repaired {
                    target: None,
                    namespace: Some(*namespace),
                    before: *before,
                });
            }
            other => self.others.push(other.clone()),
        }
    }

    fn is_fenced(&self, loss: &Loss) -> bool {
        let fence = loss.namespace.and_then(|of| self.fences.get(&of));
        fence.is_some_and(|before| loss.created.max < *before)
    }

    fn retire(&mut self, target: TargetId, retired: &Retired) {
        self.retired.insert(key(retired), (target, retired.damaged));
    }

    /// The file of a retired segment was unlinked; the directory is not synced yet.
    pub(crate) fn note_unlinked(&mut self, retired: &Retired) {
        self.unlinked.insert(key(retired));
    }

    /// So were those of all that was retired.
    pub(crate) fn note_all_unlinked(&mut self) {
        self.unlinked.extend(self.retired.keys());
    }

    /// What the process that wrote it could lose.
    pub(crate) fn windows(&self) -> Option<AtRisk> {
        self.windows
    }

    pub(crate) fn forget_unlinked(&mut self) {
        for segment in std::mem::take(&mut self.unlinked) {
            self.retired.remove(&segment);
        }
    }

    /// What is older than these matters no more.
    pub(crate) fn fences(&self) -> impl Iterator<Item = (Namespace, UnixMillis)> + '_ {
        self.fences
            .iter()
            .map(|(namespace, before)| (*namespace, *before))
    }

    /// Forgets fences for which `is_over`; they are not written again.
    pub(crate) fn forget_fences(&mut self, is_over: impl Fn(Namespace, UnixMillis) -> bool) {
        self.fences
            .retain(|namespace, before| !is_over(*namespace, *before));
    }

    /// Forgets discards of a target, and what was missing, below what it still holds.
    pub(crate) fn forget_below(&mut self, target: TargetId, first: Sequence) {
        if let Some(records) = self.targets.get_mut(&target) {
            let may_hold = |discard: &Discard| discard.up_to >= first;
            records.discards.retain(may_hold);
            records.discards_since.retain(may_hold);
            records
                .missing
                .retain(|missing| missing.range.last >= first);
        }
    }

    /// The records that say the same. Only the checkpoints, which come last, say how hints ended.
    pub(crate) fn records(&self) -> Vec<Record> {
        let windows = self.windows.map(|windows| Record::Windows {
            unflushed_bytes: windows.unflushed.get(),
            unsynced_bytes: windows.unsynced.get(),
        });
        let mut records: Vec<Record> = windows.into_iter().collect();
        records.extend(
            self.clock
                .map(|(wall, boot_ms, boot)| Record::ClockConfirmed {
                    wall,
                    boot_ms,
                    boot,
                }),
        );
        let fence = |(namespace, before): (&Namespace, &UnixMillis)| Record::Fence {
            namespace: *namespace,
            before: *before,
        };
        records.extend(self.fences.iter().map(fence));
        records.extend(self.losses.iter().copied().map(Record::Loss));
        records.extend(self.others.iter().cloned());
        for (target, known) in &self.targets {
            records.extend(known.discards.iter().copied().map(Record::Discard));
            records.extend(known.missing.iter().copied().map(Record::Missing));
            // What was discarded since stays behind it: its deferred segments count such hints.
            let mut checkpoint = known.present(*target);
            let since = known.discards_since.iter().map(|discard| discard.count);
            checkpoint.ends = without(&checkpoint.ends, End::Discarded, since.sum());
            records.push(Record::Checkpoint(checkpoint));
            records.extend(known.discards_since.iter().copied().map(Record::Discard));
        }
        // The checkpoints tell of their ends.
        for (&(store, incarnation, segment), &(target, damaged)) in &self.retired {
            let retired = Retired {
                store,
                incarnation,
                segment,
                damaged,
            };
            records.push(Record::Retire { target, retired });
        }
        records
    }
}

/// Books in which `count` fewer hints ended in one way.
fn without(ends: &Ends, end: End, count: u64) -> Ends {
    let mut left = Ends::default();
    for other in End::ALL.iter().copied() {
        let gone = if other == end { count } else { 0 };
        left.add(other, ends.get(other).saturating_sub(gone));
    }
    left
}

#[cfg(test)]
mod tests {
    use hintstore_format::{
        journal::{Cause, Range},
        profile::Span,
    };

    use super::*;

    const TARGET: TargetId = TargetId::from_u128(7);
    const TABLE: Namespace = Namespace::from_u128(3);

    fn checkpoint(up_to: u64, delivered: u64, retired: &[u64]) -> Record {
        let mut ends = Ends::default();
        ends.add(End::Delivered, delivered);
        Record::Checkpoint(Checkpoint {
            target: TARGET,
            up_to: Sequence::new(up_to),
            holes: Vec::new(),
            ends,
            deferred: Vec::new(),
            retired: retired.iter().copied().map(retired_segment).collect(),
        })
    }

    fn retired_segment(segment: u64) -> Retired {
        Retired {
            store: StoreId::from_u128(1),
            incarnation: Incarnation::new(1),
            segment: SegmentId::new(segment),
            damaged: false,
        }
    }

    fn discard(up_to: u64, count: u64) -> Record {
        Record::Discard(Discard {
            target: TARGET,
            up_to: Sequence::new(up_to),
            namespace: None,
            created_before: None,
            count,
        })
    }

    fn missing(first: u64, end: End) -> Record {
        Record::Missing(MissingHints {
            target: TARGET,
            range: Range {
                first: Sequence::new(first),
                last: Sequence::new(first),
            },
            count: 1,
            end,
            at: UnixMillis::new(5),
        })
    }

    fn loss(namespace: Option<Namespace>, created: i64) -> Record {
        Record::Loss(Loss {
            target: Some(TARGET),
            namespace,
            tokens: None,
            created: Span::of(UnixMillis::new(created)),
            hints: 1,
            bytes: 2,
            cause: Cause::Damaged,
            noticed: Span::of(UnixMillis::new(7)),
        })
    }

    fn state(records: &[Record]) -> JournalState {
        let mut state = JournalState::default();
        for record in records {
            state.apply(record);
        }
        state
    }

    #[test]
    fn what_is_written_again_says_the_same() {
        let before = state(&[
            Record::Windows {
                unflushed_bytes: 1,
                unsynced_bytes: 2,
            },
            Record::Fence {
                namespace: TABLE,
                before: UnixMillis::new(9),
            },
            discard(3, 2),
            checkpoint(5, 4, &[1]),
            discard(8, 3),
            missing(6, End::Damaged),
            loss(None, 3),
            loss(Some(TABLE), 9),
            Record::ClockConfirmed {
                wall: UnixMillis::new(1),
                boot_ms: 2,
                boot: [3; 16],
            },
        ]);
        let again = state(&before.records());
        let (one, other) = (&before.targets[&TARGET], &again.targets[&TARGET]);
        assert_eq!(one.ends(), other.ends());
        assert_eq!(one.all_discards(), other.all_discards());
        assert_eq!(one.discards_since, other.discards_since);
        assert_eq!(one.missing, other.missing);
        assert_eq!(before.losses, again.losses);
        assert_eq!(before.losses.iter().count(), 2);
        assert_eq!(before.retired, again.retired);
        assert_eq!(before.windows(), again.windows());
        assert_eq!(before.clock, again.clock);
        assert_eq!(before.records(), again.records());
    }

    #[test]
    fn a_checkpoint_takes_over_what_ended_since_the_one_before() {
        let mut state = state(&[checkpoint(5, 4, &[]), discard(8, 3), missing(9, End::Lost)]);
        let target = |state: &JournalState| state.targets[&TARGET].clone();
        assert_eq!(target(&state).ends().get(End::Discarded), 3);
        assert_eq!(target(&state).ends().get(End::Lost), 1);
        assert_eq!(target(&state).discarded_to(), Sequence::new(8));
        // Checkpoints are absolute: this one counts what it counts.
        state.apply(&checkpoint(8, 4, &[]));
        assert_eq!(target(&state).ends().get(End::Discarded), 0);
        assert!(target(&state).discards_since.is_empty());
        assert_eq!(target(&state).discards.len(), 1);
    }

    #[test]
    fn a_retired_segment_is_named_until_its_unlink_is_durable() {
        let mut state = state(&[checkpoint(5, 4, &[1, 2])]);
        assert_eq!(state.retired.len(), 2);
        state.note_unlinked(&retired_segment(1));
        assert_eq!(state.retired.len(), 2, "the directory is not synced yet");
        state.forget_unlinked();
        assert_eq!(state.retired.len(), 1);
        state.note_all_unlinked();
        state.forget_unlinked();
        assert!(state.retired.is_empty());
    }

    #[test]
    fn a_fence_never_goes_back() {
        let fence = |before| Record::Fence {
            namespace: TABLE,
            before: UnixMillis::new(before),
        };
        let state = state(&[fence(9), fence(4)]);
        assert_eq!(
            state.fences().collect::<Vec<_>>(),
            [(TABLE, UnixMillis::new(9))]
        );
    }

    #[test]
    fn what_no_file_can_hold_any_more_is_forgotten_and_receipts_are_not() {
        let mut state = state(&[discard(10, 1), missing(10, End::Damaged), loss(None, 3)]);
        state.forget_below(TARGET, Sequence::new(10));
        assert_eq!(
            state.targets[&TARGET].missing.len(),
            1,
            "a file may hold it"
        );
        assert_eq!(state.targets[&TARGET].all_discards().len(), 1);
        state.forget_below(TARGET, Sequence::new(11));
        assert!(state.targets[&TARGET].missing.is_empty());
        assert!(state.targets[&TARGET].all_discards().is_empty());
        assert_eq!(state.losses.iter().count(), 1);
    }

    #[test]
    fn receipts_are_settled_by_repair_by_a_fence_and_by_forgetting_the_target() {
        let settle = |record: Record| {
            let losses = [loss(Some(TABLE), 3), loss(None, 3), loss(Some(TABLE), 9)];
            let mut state = state(&losses);
            state.apply(&record);
            state.losses.iter().map(|loss| loss.hints).sum::<u64>()
        };
        let before = UnixMillis::new(10);
        let (target, namespace) = (Some(TARGET), None);
        let repaired = Repaired {
            target,
            namespace,
            before,
        };
        assert_eq!(settle(Record::Repaired(repaired)), 0);
        let namespace = TABLE;
        let fence = Record::Fence { namespace, before };
        assert_eq!(settle(fence), 1, "of another namespace, maybe");
        assert_eq!(settle(Record::Forgotten { target: TARGET }), 0);
    }
}
