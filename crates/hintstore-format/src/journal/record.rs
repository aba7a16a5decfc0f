//! The records: what each says, and its body in bytes.

use super::{Cause, End, Ends, Loss, record_crc};
use crate::{
    DecodeError, Incarnation, Namespace, SegmentId, Sequence, StoreId, TargetId, UnixMillis,
    codec::{Decoder, Encoder, Put},
    layout::{JOURNAL_ALIGN, align_up, journal_record as at},
    profile::Span,
};

/// A range of sequences, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: Sequence,
    /// The last.
    pub last: Sequence,
}

/// How far a target has acknowledged, how its hints ended, and which of its segments are done: one
/// record, so that a crash cannot part position, books and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The target.
    pub target: TargetId,
    /// Every hint up to here has ended, except the holes.
    pub up_to: Sequence,
    /// Hints below `up_to` that have not ended; ascending.
    pub holes: Vec<Range>,
    /// How the hints ended, all of them since the store was made.
    pub ends: Ends,
    /// Segments that hold copies of hints below `up_to` that wait for a retry. One that no
    /// checkpoint names does not count.
    pub deferred: Vec<Deferred>,
    /// Segments whose hints have all ended: their files may go.
    pub retired: Vec<Retired>,
}

/// A segment whose hints have all ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The store that wrote it: numbers of segments are each store's own.
    pub store: StoreId,
    /// The opening of that store.
    pub incarnation: Incarnation,
    /// The segment.
    pub segment: SegmentId,
    /// Damage was met in it: the file is to be set aside, not unlinked.
    pub damaged: bool,
}

/// How far a deferred segment has been delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// The segment.
    pub segment: SegmentId,
    /// Every hint in it up to here has ended, except the holes.
    pub up_to: Sequence,
    /// How many of its hints have not ended: copies have gaps in their sequences, so that nothing else
    /// tells how many are missing where its file is damaged.
    pub pending: u64,
    /// Hints in it below `up_to` that have not ended; ascending.
    pub holes: Vec<Range>,
}

/// A control record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// The windows in force: the bound on what a crash can take, in bytes.
    Windows {
        /// Accepted, not yet handed to the kernel.
        unflushed_bytes: u64,
        /// Handed to the kernel, not yet synced.
        unsynced_bytes: u64,
    },
    /// How far a target has acknowledged.
    Checkpoint(Checkpoint),
    /// A segment whose hints have all ended, in a journal that was written again: the checkpoint that
    /// said so was replaced.
    Retire {
        /// The target.
        target: TargetId,
        /// The segment.
        retired: Retired,
    },
    /// Nothing of this namespace that is older matters.
    Fence {
        /// The namespace.
        namespace: Namespace,
        /// Hints created before are dead.
        before: UnixMillis,
    },
    /// Nothing that earlier records say of this target counts.
    Forgotten {
        /// The target.
        target: TargetId,
    },
    /// An operator discarded hints: readers honour it while a segment holds such hints.
    Discard(Discard),
    /// The clock was confirmed.
    ClockConfirmed {
        /// Wall time.
        wall: UnixMillis,
        /// Time since boot, in ms.
        boot_ms: u64,
        /// Which boot.
        boot: [u8; 16],
    },
    /// Opening found hints missing.
    Missing(MissingHints),
    /// A loss receipt: these add up.
    Loss(Loss),
    /// Receipts are settled.
    Repaired(Repaired),
}

/// Hints that opening found missing: the books count them as ended by this record, until the next
/// checkpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingHints {
    /// The target.
    pub target: TargetId,
    /// Where they would have been.
    pub range: Range,
    /// How many.
    pub count: u64,
    /// How they ended.
    pub end: End,
    /// When it was noticed.
    pub at: UnixMillis,
}

/// Writes that were repaired: receipts of these are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Only what this target lacked.
    pub target: Option<TargetId>,
    /// Only what it lacked of this namespace.
    pub namespace: Option<Namespace>,
    /// Only writes that were made before.
    pub before: UnixMillis,
}

impl Repaired {
    /// Whether all that a receipt tells of was repaired.
    pub fn covers(&self, loss: &Loss) -> bool {
        (self.target.is_none() || self.target == loss.target)
            && (self.namespace.is_none() || self.namespace == loss.namespace)
            && loss.created.max < self.before
    }
}

/// What an operator discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// The target.
    pub target: TargetId,
    /// Hints up to here; later ones are not touched.
    pub up_to: Sequence,
    /// Only hints of this namespace.
    pub namespace: Option<Namespace>,
    /// Only hints created before.
    pub created_before: Option<UnixMillis>,
    /// How many hints it ended when it was made.
    pub count: u64,
}

impl Discard {
    /// Whether it covers every hint up to its sequence.
    pub fn is_all(&self) -> bool {
        self.namespace.is_none() && self.created_before.is_none()
    }

    /// Whether the discard covers a hint.
    pub fn covers(&self, sequence: Sequence, namespace: Namespace, created: UnixMillis) -> bool {
        sequence <= self.up_to
            && self.namespace.is_none_or(|only| only == namespace)
            && self.created_before.is_none_or(|before| created < before)
    }
}

/// A reader that does not know the record's type must not open the store for writing.
pub const FLAG_REFUSE_UNKNOWN: u16 = 1;

impl Record {
    fn code(&self) -> u16 {
        match self {
            Self::Windows { .. } => 1,
            Self::Checkpoint(_) => 2,
            Self::Retire { .. } => 3,
            Self::Fence { .. } => 4,
            Self::Forgotten { .. } => 5,
            Self::Discard(_) => 6,
            Self::ClockConfirmed { .. } => 7,
            Self::Missing(_) => 8,
            Self::Loss(_) => 9,
            Self::Repaired(_) => 10,
        }
    }

    /// Whether one who does not know this type must refuse the store: where passing it over would
    /// deliver dead hints or lose the position.
    fn flags(&self) -> u16 {
        match self {
            Self::Windows { .. } | Self::Missing(_) | Self::Loss(_) | Self::Repaired(_) => 0,
            _ => FLAG_REFUSE_UNKNOWN,
        }
    }

    /// Appends the record to the image of a journal of this generation; `out` is that image from
    /// offset `base` on.
    pub fn encode(&self, generation: u64, base: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let offset = base + start as u64;
        out.resize(start + at::SIZE, 0);
        let mut body = Encoder(std::mem::take(out));
        self.encode_body(&mut body);
        *out = body.0;
        let length = out.len() - start - at::SIZE;
        let record = out.get_mut(start..).unwrap_or_default();
        let mut put = Put(record);
        put.u32(at::LENGTH, length as u32);
        put.u16(at::TYPE, self.code());
        put.u16(at::FLAGS, self.flags());
        let crc = record_crc(record, generation, offset);
        Put(record).u32(at::CRC, crc);
        out.resize(
            align_up(out.len() as u64 + base, JOURNAL_ALIGN) as usize - base as usize,
            0,
        );
    }

    fn encode_body(&self, out: &mut Encoder) {
        match self {
            Self::Windows {
                unflushed_bytes,
                unsynced_bytes,
            } => {
                out.u64(*unflushed_bytes).u64(*unsynced_bytes);
            }
            Self::Checkpoint(checkpoint) => {
                out.bytes(checkpoint.target.as_bytes())
                    .u64(checkpoint.up_to.get());
                encode_ranges(&checkpoint.holes, out);
                encode_ends(&checkpoint.ends, out);
                out.u32(checkpoint.deferred.len() as u32);
                for deferred in &checkpoint.deferred {
                    out.u64(deferred.segment.get())
                        .u64(deferred.up_to.get())
                        .u64(deferred.pending);
                    encode_ranges(&deferred.holes, out);
                }
                out.u32(checkpoint.retired.len() as u32);
                for retired in &checkpoint.retired {
                    encode_retired(retired, out);
                }
            }
            Self::Retire { target, retired } => {
                out.bytes(target.as_bytes());
                encode_retired(retired, out);
            }
            Self::Fence { namespace, before } => {
                out.bytes(namespace.as_bytes()).i64(before.get());
            }
            Self::Forgotten { target } => {
                out.bytes(target.as_bytes());
            }
            Self::Discard(discard) => {
                out.bytes(discard.target.as_bytes())
                    .u64(discard.up_to.get());
                out.u8(discard.namespace.is_some().into());
                out.bytes(discard.namespace.unwrap_or(Namespace::NONE).as_bytes());
                out.i64(discard.created_before.unwrap_or(UnixMillis::MAX).get());
                out.u64(discard.count);
            }
            Self::ClockConfirmed {
                wall,
                boot_ms,
                boot,
            } => {
                out.i64(wall.get()).u64(*boot_ms).bytes(boot);
            }
            Self::Missing(missing) => {
                out.bytes(missing.target.as_bytes())
                    .u64(missing.range.first.get())
                    .u64(missing.range.last.get())
                    .u64(missing.count)
                    .u8(missing.end as u8)
                    .i64(missing.at.get());
            }
            Self::Loss(loss) => {
                out.u8(loss.cause as u8);
                encode_only(loss.target, loss.namespace, out);
                let tokens = loss.tokens.unwrap_or(Span { min: 0, max: 0 });
                out.u8(loss.tokens.is_some().into());
                out.i64(tokens.min).i64(tokens.max);
                encode_span(loss.created, out);
                out.u64(loss.hints).u64(loss.bytes);
                encode_span(loss.noticed, out);
            }
            Self::Repaired(repaired) => {
                encode_only(repaired.target, repaired.namespace, out);
                out.i64(repaired.before.get());
            }
        }
    }

    pub(super) fn decode_body(code: u16, bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut from = Decoder::new(bytes);
        let record = match code {
            1 => Self::Windows {
                unflushed_bytes: from.u64()?,
                unsynced_bytes: from.u64()?,
            },
            2 => Self::Checkpoint(Checkpoint {
                target: TargetId::from_bytes(from.id()?),
                up_to: Sequence::new(from.u64()?),
                holes: decode_ranges(&mut from)?,
                ends: decode_ends(&mut from)?,
                deferred: decode_deferred(&mut from)?,
                retired: {
                    let count = from.count("retired segments", RETIRED)?;
                    let retired = (0..count).map(|_| decode_retired(&mut from));
                    retired.collect::<Result<_, _>>()?
                },
            }),
            3 => Self::Retire {
                target: TargetId::from_bytes(from.id()?),
                retired: decode_retired(&mut from)?,
            },
            4 => Self::Fence {
                namespace: Namespace::from_bytes(from.id()?),
                before: UnixMillis::new(from.i64()?),
            },
            5 => Self::Forgotten {
                target: TargetId::from_bytes(from.id()?),
            },
            6 => {
                let target = TargetId::from_bytes(from.id()?);
                let up_to = Sequence::new(from.u64()?);
                let named = from.u8()? != 0;
                let namespace = Namespace::from_bytes(from.id()?);
                let before = UnixMillis::new(from.i64()?);
                Self::Discard(Discard {
                    target,
                    up_to,
                    namespace: named.then_some(namespace),
                    created_before: (before != UnixMillis::MAX).then_some(before),
                    count: from.u64()?,
                })
            }
            7 => Self::ClockConfirmed {
                wall: UnixMillis::new(from.i64()?),
                boot_ms: from.u64()?,
                boot: from.id()?,
            },
            8 => Self::Missing(MissingHints {
                target: TargetId::from_bytes(from.id()?),
                range: Range {
                    first: Sequence::new(from.u64()?),
                    last: Sequence::new(from.u64()?),
                },
                count: from.u64()?,
                end: decode_one(End::ALL, "end", &mut from)?,
                at: UnixMillis::new(from.i64()?),
            }),
            9 => {
                let cause = decode_one(Cause::ALL, "cause", &mut from)?;
                let (target, namespace) = decode_only(&mut from)?;
                let has_tokens = from.u8()? != 0;
                let (min, max) = (from.i64()?, from.i64()?);
                Self::Loss(Loss {
                    target,
                    namespace,
                    tokens: has_tokens.then_some(Span { min, max }),
                    created: decode_span(&mut from)?,
                    hints: from.u64()?,
                    bytes: from.u64()?,
                    cause,
                    noticed: decode_span(&mut from)?,
                })
            }
            10 => {
                let (target, namespace) = decode_only(&mut from)?;
                Self::Repaired(Repaired {
                    target,
                    namespace,
                    before: UnixMillis::new(from.i64()?),
                })
            }
            _ => return Ok(None),
        };
        Ok(Some(record))
    }
}

fn encode_ranges(ranges: &[Range], out: &mut Encoder) {
    out.u32(ranges.len() as u32);
    for range in ranges {
        out.u64(range.first.get()).u64(range.last.get());
    }
}

fn decode_ranges(from: &mut Decoder<'_>) -> Result<Vec<Range>, DecodeError> {
    let count = from.count("ranges", 16)?;
    let mut ranges = Vec::with_capacity(count);
    for _ in 0..count {
        let (first, last) = (Sequence::new(from.u64()?), Sequence::new(from.u64()?));
        if last < first || last == Sequence::MAX {
            return Err(DecodeError::field(0, "ranges", last.get()));
        }
        ranges.push(Range { first, last });
    }
    Ok(ranges)
}

fn decode_deferred(from: &mut Decoder<'_>) -> Result<Vec<Deferred>, DecodeError> {
    let count = from.count("deferred segments", 28)?;
    let mut deferred = Vec::with_capacity(count);
    for _ in 0..count {
        deferred.push(Deferred {
            segment: SegmentId::new(from.u64()?),
            up_to: Sequence::new(from.u64()?),
            pending: from.u64()?,
            holes: decode_ranges(from)?,
        });
    }
    Ok(deferred)
}

/// Length of a retired segment.
const RETIRED: usize = 33;

fn encode_retired(retired: &Retired, out: &mut Encoder) {
    out.bytes(retired.store.as_bytes())
        .u64(retired.incarnation.get())
        .u64(retired.segment.get())
        .u8(retired.damaged.into());
}

fn decode_retired(from: &mut Decoder<'_>) -> Result<Retired, DecodeError> {
    Ok(Retired {
        store: StoreId::from_bytes(from.id()?),
        incarnation: Incarnation::new(from.u64()?),
        segment: SegmentId::new(from.u64()?),
        damaged: from.u8()? != 0,
    })
}

fn encode_ends(ends: &Ends, out: &mut Encoder) {
    for end in End::ALL.iter().copied() {
        out.u64(ends.get(end));
    }
}

fn decode_ends(from: &mut Decoder<'_>) -> Result<Ends, DecodeError> {
    let mut ends = Ends::default();
    for end in End::ALL.iter().copied() {
        ends.add(end, from.u64()?);
    }
    Ok(ends)
}

fn decode_one<T: Copy>(
    all: &[T],
    name: &'static str,
    from: &mut Decoder<'_>,
) -> Result<T, DecodeError> {
    let at = from.offset();
    let code = from.u8()?;
    let known = all.get(usize::from(code)).copied();
    known.ok_or(DecodeError::field(at, name, code.into()))
}

/// A target and a namespace, where they are given.
fn encode_only(target: Option<TargetId>, namespace: Option<Namespace>, out: &mut Encoder) {
    out.u8(target.is_some().into());
    out.bytes(target.unwrap_or(TargetId::from_u128(0)).as_bytes());
    out.u8(namespace.is_some().into());
    out.bytes(namespace.unwrap_or(Namespace::NONE).as_bytes());
}

fn decode_only(
    from: &mut Decoder<'_>,
) -> Result<(Option<TargetId>, Option<Namespace>), DecodeError> {
    let has_target = from.u8()? != 0;
    let target = TargetId::from_bytes(from.id()?);
    let has_namespace = from.u8()? != 0;
    let namespace = Namespace::from_bytes(from.id()?);
    Ok((
        has_target.then_some(target),
        has_namespace.then_some(namespace),
    ))
}

fn encode_span(span: Span<UnixMillis>, out: &mut Encoder) {
    out.i64(span.min.get()).i64(span.max.get());
}

fn decode_span(from: &mut Decoder<'_>) -> Result<Span<UnixMillis>, DecodeError> {
    Ok(Span {
        min: UnixMillis::new(from.i64()?),
        max: UnixMillis::new(from.i64()?),
    })
}
