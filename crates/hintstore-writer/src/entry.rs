//! What is kept of a segment in memory: no more than its summary.

use std::sync::Arc;

use crate::{Bytes, Copied, Segment};
use hintstore_env::FileId;
use hintstore_format::{
    Incarnation, SegmentId, Sequence, StoreId, UnixMillis, block::Codec, footer::Summary,
    journal::Retired, profile::Span,
};

/// A segment of a target.
#[derive(Clone, Debug)]
pub struct SegmentEntry {
    /// Its identity.
    pub id: SegmentId,
    /// The store that accepted its hints: another than this after a restore.
    pub store: StoreId,
    /// And the opening of it.
    pub incarnation: Incarnation,
    /// Its file name in the store directory.
    pub name: Arc<str>,
    /// The sequence of its first hint; its place in the order.
    pub first: Sequence,
    /// Bytes that a closed segment takes on the disk.
    pub allocated: Bytes,
    /// How far it has come.
    pub state: State,
}

/// How far a segment has come.
#[derive(Clone, Debug)]
pub enum State {
    /// It is written to: what is behind its `written` is nobody's yet.
    Open(Arc<Segment>),
    /// Nothing more will be written to it. In a box: a target with one open segment has no need
    /// of the room.
    Closed(Box<Closed>),
}

/// `synced_to` of a segment that no crash met: what is missing in it was damaged.
pub const NOT_TORN: u64 = u64::MAX;

/// A segment that is done with.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// The sequence of the last hint that counts: those behind it are in another segment.
    pub last: Sequence,
    /// Hints up to `last`.
    pub count: u64,
    /// Where its blocks end.
    pub end: u64,
    /// Below this, what is missing was damaged; above it, it may have been lost at a crash.
    pub synced_to: u64,
    /// What its footer says, where it has one.
    pub sealed: Option<Sealed>,
    /// Where the file begins with the descriptor, its length.
    pub blocks_at: u64,
    /// The file has more, which a failed sync moved to the next segment. That one is to stay as it is until
    /// this one is gone: opening tells by their sequences where each hint counts.
    pub is_cut_short: bool,
    /// Damage is known: to be set aside, not unlinked.
    pub damaged: bool,
    /// How its blocks may lie in it.
    pub codec: Codec,
    /// The file that it is in.
    pub file: FileId,
}

/// What is kept of a summary: there may be a hundred thousand.
#[derive(Clone, Copy, Debug)]
pub struct Sealed {
    /// Where the footer begins.
    pub footer_at: u64,
    /// Where it ends, and the file.
    pub file_length: u64,
    /// The first and the last deadline of its hints, by what they say themselves.
    pub deadlines: Span<UnixMillis>,
    /// When its newest hint was created.
    pub newest: UnixMillis,
}

impl From<&Summary> for Sealed {
    fn from(summary: &Summary) -> Self {
        Self {
            footer_at: summary.footer_at,
            file_length: summary.file_length,
            deadlines: summary.deadlines,
            newest: summary.hints_created.max,
        }
    }
}

impl SegmentEntry {
    pub(crate) fn open(segment: &Arc<Segment>) -> Self {
        Self::with(segment, State::Open(segment.clone()))
    }

    fn with(segment: &Segment, state: State) -> Self {
        Self {
            id: segment.id(),
            store: segment.descriptor.store,
            incarnation: segment.descriptor.incarnation,
            name: segment.name.clone(),
            first: segment.descriptor.first,
            allocated: segment.allocated(),
            state,
        }
    }

    /// A segment that this process wrote to its end.
    pub(crate) fn written(segment: &Segment, summary: &Summary, sealed: bool) -> Self {
        let closed = Closed {
            last: summary.last,
            count: summary.count,
            end: segment.written(),
            synced_to: NOT_TORN,
            sealed: sealed.then_some(summary.into()),
            blocks_at: segment.descriptor.length() as u64,
            is_cut_short: false,
            damaged: false,
            codec: Codec::Plain,
            file: segment.file_id,
        };
        Self::with(segment, State::Closed(Box::new(closed)))
    }

    /// A segment whose sync failed: only what is before `from` counts.
    pub(crate) fn poisoned(segment: &Segment, from: Sequence) -> Self {
        let last = segment.last().min(from.before());
        let first = segment.descriptor.first;
        let closed = Closed {
            last,
            // What one process wrote into one segment has no gaps.
            count: last.plus(1).get().saturating_sub(first.get()),
            end: segment.written(),
            synced_to: NOT_TORN,
            sealed: None,
            blocks_at: segment.descriptor.length() as u64,
            is_cut_short: true,
            damaged: false,
            codec: Codec::Plain,
            file: segment.file_id,
        };
        Self::with(segment, State::Closed(Box::new(closed)))
    }

    /// A segment of copies.
    pub fn copied(copied: &Copied) -> Self {
        let summary = copied.summary;
        let closed = Closed {
            last: summary.last,
            count: summary.count,
            end: summary.footer_at,
            synced_to: summary.footer_at,
            sealed: Some((&summary).into()),
            blocks_at: copied.descriptor.length() as u64,
            is_cut_short: false,
            damaged: false,
            codec: copied.descriptor.codec,
            file: copied.file,
        };
        Self {
            id: summary.segment,
            store: summary.store,
            incarnation: summary.incarnation,
            name: copied.name.as_str().into(),
            first: summary.first,
            allocated: copied.allocated,
            state: State::Closed(Box::new(closed)),
        }
    }

    /// The last sequence that can be read of it now; below `first` where there is none.
    pub fn last(&self) -> Sequence {
        match &self.state {
            State::Open(segment) => segment.last(),
            State::Closed(closed) => closed.last,
        }
    }

    /// No hint in it dies before, by what the hints themselves say: as far as that is known, which
    /// it is not for a segment that a crash or a failed sync left without a footer.
    pub fn earliest_deadline(&self) -> Option<UnixMillis> {
        match &self.state {
            State::Open(segment) => segment.earliest_deadline(),
            State::Closed(closed) => closed.sealed.map(|sealed| sealed.deadlines.min),
        }
    }

    /// Says that all of its hints have ended.
    pub fn retired(&self, damaged: bool) -> Retired {
        Retired {
            store: self.store,
            incarnation: self.incarnation,
            segment: self.id,
            damaged,
        }
    }

    /// What is known of it where nothing more will be written to it.
    pub fn closed(&self) -> Option<&Closed> {
        match &self.state {
            State::Open(_) => None,
            State::Closed(closed) => Some(closed),
        }
    }
}
