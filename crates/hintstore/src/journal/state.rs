//! What the journal says, reduced: what it would be written anew from.

use std::collections::{BTreeMap, BTreeSet};

use hintstore_format::{
    Namespace, SegmentId, Sequence, TargetId, UnixMillis,
    journal::{Checkpoint, Discard, Ends, Record},
};

/// What the journal says of one target.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetRecords {
    pub(crate) checkpoint: Option<Checkpoint>,
    /// What ended since, by records that are no checkpoints.
    pub(crate) since: Ends,
    pub(crate) discards: Vec<Discard>,
    pub(crate) losses: Vec<Record>,
    state: Option<u8>,
}

/// What the journal says.
#[derive(Clone, Debug, Default)]
pub(crate) struct JournalState {
    pub(crate) targets: BTreeMap<TargetId, TargetRecords>,
    /// Retired segments whose files may still be there, and whether they are to be set aside.
    pub(crate) retired: BTreeMap<SegmentId, (TargetId, bool)>,
    unlinked: BTreeSet<SegmentId>,
    pub(crate) windows: Option<Record>,
    /// Wall time, ms since boot, boot id.
    pub(crate) clock: Option<(UnixMillis, u64, [u8; 16])>,
    fences: BTreeMap<Namespace, UnixMillis>,
    others: Vec<Record>,
}

impl TargetRecords {
    /// How the target's hints ended, all told.
    pub(crate) fn ends(&self) -> Ends {
        let mut ends = self.since;
        if let Some(checkpoint) = &self.checkpoint {
            ends.join(&checkpoint.ends);
        }
        ends
    }

    /// The last checkpoint, with what ended since.
    pub(crate) fn present(&self, target: TargetId) -> Checkpoint {
        let checkpoint = self.checkpoint.clone();
        let checkpoint = checkpoint.unwrap_or(Checkpoint {
            target,
            up_to: Sequence::ZERO,
            holes: Vec::new(),
            ends: Ends::default(),
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
            Record::Windows { .. } => self.windows = Some(record.clone()),
            Record::Checkpoint(checkpoint) => {
                let target = self.targets.entry(checkpoint.target).or_default();
                target.since = Ends::default();
                target.checkpoint = Some(checkpoint.clone());
            }
            Record::Retire {
                target,
                segment,
                ends,
                damaged,
            } => {
                // Written anew, it does not count again.
                if self.retired.insert(*segment, (*target, *damaged)).is_none() {
                    self.targets.entry(*target).or_default().since.join(ends);
                }
            }
            Record::Discard(discard) => {
                let target = self.targets.entry(discard.target).or_default();
                target
                    .since
                    .add(hintstore_format::journal::End::Discarded, discard.count);
                target.discards.push(*discard);
            }
            Record::Loss {
                target, count, end, ..
            } => {
                let target = self.targets.entry(*target).or_default();
                target.since.add(*end, *count);
                target.losses.push(record.clone());
            }
            Record::TargetState { target, state } => {
                self.targets.entry(*target).or_default().state = Some(*state);
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
            }
            other => self.others.push(other.clone()),
        }
    }

    /// The file of a retired segment was unlinked; the directory is not synced yet.
    pub(crate) fn note_unlinked(&mut self, segment: SegmentId) {
        self.unlinked.insert(segment);
    }

    pub(crate) fn forget_unlinked(&mut self) {
        for segment in std::mem::take(&mut self.unlinked) {
            self.retired.remove(&segment);
        }
    }

    /// Forgets discards and losses of a target below what it still holds.
    pub(crate) fn forget_below(&mut self, target: TargetId, first: Sequence) {
        if let Some(records) = self.targets.get_mut(&target) {
            records.discards.retain(|discard| discard.up_to >= first);
            records
                .losses
                .retain(|loss| matches!(loss, Record::Loss { range, .. } if range.last >= first));
        }
    }

    /// The records that say the same. Ends are told by the checkpoints alone, which come last.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.windows.iter().cloned().collect();
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
        records.extend(self.others.iter().cloned());
        for (segment, (target, damaged)) in &self.retired {
            let (target, segment, damaged) = (*target, *segment, *damaged);
            records.push(Record::Retire {
                target,
                segment,
                ends: Ends::default(),
                damaged,
            });
        }
        for (target, known) in &self.targets {
            records.extend(known.discards.iter().copied().map(Record::Discard));
            records.extend(known.losses.iter().cloned());
            if let Some(state) = known.state {
                records.push(Record::TargetState {
                    target: *target,
                    state,
                });
            }
            records.push(Record::Checkpoint(known.present(*target)));
        }
        records
    }
}
