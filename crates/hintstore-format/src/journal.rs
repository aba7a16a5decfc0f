//! The store's control records: one append-only file, so that one fsync covers all targets.
//!
//! Every record is whole in itself and absolute: a later one of the same kind and target replaces
//! an earlier one, so a reader may lose one record to damage and go on. The checksum is keyed by
//! the journal's generation and the record's offset: bytes that an older journal left in
//! preallocated space are never taken for records.

use crate::{
    DecodeError, DecodeKind, Incarnation, Namespace, SegmentId, Sequence, StoreId, TargetId,
    UnixMillis, checksum,
    codec::{Decoder, Encoder, Get, Put},
    layout::{
        JOURNAL_ALIGN, JOURNAL_MAGIC, VERSION, align_up, journal_head as head, journal_record as at,
    },
};

/// Length of a journal's head.
pub const HEAD: usize = head::SIZE;

/// No record is longer: 256 MiB. The longest there are name the hints of one target that are out or
/// wait for a retry, one by one, at 16 bytes each: 16 million of them.
pub const RECORD_BYTES_MAX: usize = 1 << 28;

/// No journal is longer: 1 GiB. A writer refuses what would not fit, and a reader looks no further.
pub const JOURNAL_BYTES_MAX: u64 = 1 << 30;

/// Whose journal it is, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The store.
    pub store: StoreId,
    /// The opening of the store that began it.
    pub incarnation: Incarnation,
    /// Counts the journals of the store: each rotation writes the next.
    pub generation: u64,
}

impl Head {
    /// The bytes of the head.
    pub fn encode(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let mut put = Put(&mut bytes);
        put.bytes(head::MAGIC, JOURNAL_MAGIC);
        put.u16(head::VERSION, VERSION);
        put.bytes(head::STORE, self.store.as_bytes());
        put.u64(head::GENERATION, self.generation);
        put.u64(head::INCARNATION, self.incarnation.get());
        let crc = head_crc(&bytes);
        Put(&mut bytes).u32(head::CRC, crc);
        bytes
    }

    /// Reads the head of a journal.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let get = Get::new(bytes, HEAD)?;
        if get.bytes(head::MAGIC) != JOURNAL_MAGIC {
            return Err(DecodeError::new(0, DecodeKind::Magic));
        }
        let computed = head_crc(bytes.get(..HEAD).unwrap_or_default());
        let stored = get.u32(head::CRC);
        if stored != computed {
            let kind = DecodeKind::Checksum { stored, computed };
            return Err(DecodeError::new(head::CRC.offset, kind));
        }
        let version = get.u16(head::VERSION);
        if version > VERSION {
            let kind = DecodeKind::Foreign { version, bits: 0 };
            return Err(DecodeError::new(head::VERSION.offset, kind));
        }
        Ok(Self {
            store: StoreId::from_bytes(get.id(head::STORE)),
            incarnation: Incarnation::new(get.u64(head::INCARNATION)),
            generation: get.u64(head::GENERATION),
        })
    }
}

fn head_crc(bytes: &[u8]) -> u32 {
    let (before, rest) = bytes.split_at(head::CRC.offset.min(bytes.len()));
    checksum::extend(
        checksum::crc(before),
        rest.get(head::CRC.size..).unwrap_or_default(),
    )
}

/// How a hint's life ends. Every accepted hint ends in exactly one of these ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum End {
    /// Its target acknowledged it.
    Delivered,
    /// Its deadline came.
    Expired,
    /// A fence says that it does not matter any more.
    Fenced,
    /// A newer hint of the same collapse key made it pointless.
    Superseded,
    /// Its target rejected it for good: it became a dead letter.
    Rejected,
    /// An operator discarded it.
    Discarded,
    /// Damage took it.
    Damaged,
    /// A crash took it, before it was synced.
    Lost,
}

impl End {
    /// Every way to end, in the order of the files.
    pub const ALL: &'static [Self] = &[
        Self::Delivered,
        Self::Expired,
        Self::Fenced,
        Self::Superseded,
        Self::Rejected,
        Self::Discarded,
        Self::Damaged,
        Self::Lost,
    ];

    /// The word for it, as tools and metrics print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Expired => "expired",
            Self::Fenced => "fenced",
            Self::Superseded => "superseded",
            Self::Rejected => "rejected",
            Self::Discarded => "discarded",
            Self::Damaged => "damaged",
            Self::Lost => "lost",
        }
    }
}

/// How many hints ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends([u64; End::ALL.len()]);

impl Ends {
    /// The count of one end.
    pub fn get(&self, end: End) -> u64 {
        self.0.get(end as usize).copied().unwrap_or(0)
    }

    /// Adds to the count of one end.
    pub fn add(&mut self, end: End, count: u64) {
        if let Some(place) = self.0.get_mut(end as usize) {
            *place += count;
        }
    }

    /// Adds all counts of another.
    pub fn join(&mut self, other: &Self) {
        for end in End::ALL.iter().copied() {
            self.add(end, other.get(end));
        }
    }

    /// The sum over all ends.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

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
    /// The state of a target, as the embedder said it.
    TargetState {
        /// The target.
        target: TargetId,
        /// 0 active, 1 gone.
        state: u8,
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
    /// Hints are gone that nobody delivered.
    Loss(Loss),
}

/// Hints that are gone and that nobody delivered: what a repair has to make good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The target.
    pub target: TargetId,
    /// Where they would have been.
    pub range: Range,
    /// At most this many.
    pub count: u64,
    /// How. For [`End::Rejected`]: there was no room to keep them as dead letters, and the
    /// checkpoint counts them.
    pub end: End,
    /// When it was noticed.
    pub at: UnixMillis,
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
            Self::TargetState { .. } => 5,
            Self::Discard(_) => 7,
            Self::ClockConfirmed { .. } => 8,
            Self::Loss(_) => 9,
        }
    }

    /// Whether one who does not know this type must refuse the store: where passing it over would
    /// deliver dead hints or lose the position.
    fn flags(&self) -> u16 {
        match self {
            Self::Windows { .. } | Self::Loss(_) => 0,
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
            Self::TargetState { target, state } => {
                out.bytes(target.as_bytes()).u8(*state);
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
            Self::Loss(loss) => {
                out.bytes(loss.target.as_bytes())
                    .u64(loss.range.first.get())
                    .u64(loss.range.last.get());
                out.u64(loss.count).u8(loss.end as u8).i64(loss.at.get());
            }
        }
    }

    fn decode_body(code: u16, bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
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
            5 => Self::TargetState {
                target: TargetId::from_bytes(from.id()?),
                state: from.u8()?,
            },
            7 => {
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
            8 => Self::ClockConfirmed {
                wall: UnixMillis::new(from.i64()?),
                boot_ms: from.u64()?,
                boot: from.id()?,
            },
            9 => Self::Loss(Loss {
                target: TargetId::from_bytes(from.id()?),
                range: Range {
                    first: Sequence::new(from.u64()?),
                    last: Sequence::new(from.u64()?),
                },
                count: from.u64()?,
                end: decode_end(&mut from)?,
                at: UnixMillis::new(from.i64()?),
            }),
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

fn decode_end(from: &mut Decoder<'_>) -> Result<End, DecodeError> {
    let at = from.offset();
    let code = from.u8()?;
    let known = End::ALL.get(usize::from(code)).copied();
    known.ok_or(DecodeError::field(at, "end", code.into()))
}

fn record_crc(record: &[u8], generation: u64, offset: u64) -> u32 {
    let place = checksum::place(SegmentId::new(generation), offset);
    let (length, rest) = record.split_at(at::CRC.offset.min(record.len()));
    let crc = checksum::extend(place, length);
    checksum::extend(crc, rest.get(at::CRC.size..).unwrap_or_default())
}

/// What a walk over a journal meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record(Record),
    /// A whole record of a type this build does not know.
    Unknown {
        /// Its type.
        code: u16,
        /// Whether its writer said that a program that does not know it must not write to the store.
        refuse: bool,
    },
    /// Bytes between records that are none: a torn write, or damage.
    Bad {
        /// Where they begin.
        offset: u64,
        /// How many bytes.
        bytes: u64,
    },
}

/// Walks the bytes of a journal, from its head on. Behind bytes that are no record the walk
/// searches on in steps of 8: what comes later is absolute, and counts.
#[derive(Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    generation: u64,
    at: usize,
    end: usize,
    /// Bytes that the search for the next record may still checksum.
    budget: usize,
}

impl<'a> Walk<'a> {
    /// A walk over the whole image of a journal of this generation.
    pub fn new(bytes: &'a [u8], generation: u64) -> Self {
        Self {
            bytes,
            generation,
            at: HEAD,
            end: HEAD,
            budget: (1 << 20) + 16 * bytes.len(),
        }
    }

    /// Where the last whole record ended: the next may be appended here, or later.
    pub fn end(&self) -> u64 {
        self.end as u64
    }

    fn item_at(&self, offset: usize) -> Option<(Item, usize)> {
        let rest = self.bytes.get(offset..)?;
        let get = Get::new(rest, at::SIZE).ok()?;
        let (code, length) = (get.u16(at::TYPE), get.u32(at::LENGTH) as usize);
        if code == 0 || length > RECORD_BYTES_MAX {
            return None;
        }
        let record = rest.get(..at::SIZE + length)?;
        if get.u32(at::CRC) != record_crc(record, self.generation, offset as u64) {
            return None;
        }
        let body = record.get(at::SIZE..)?;
        let refuse = get.u16(at::FLAGS) & FLAG_REFUSE_UNKNOWN != 0;
        // A record whose checksum holds and whose body does not decode was written by a later
        // version of its type: unknown, by its own flags.
        let item = match Record::decode_body(code, body) {
            Ok(Some(record)) => Item::Record(record),
            Ok(None) | Err(_) => Item::Unknown { code, refuse },
        };
        let end = align_up((offset + record.len()) as u64, JOURNAL_ALIGN) as usize;
        Some((item, end))
    }
}

impl Iterator for Walk<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if let Some((item, end)) = self.item_at(self.at) {
            (self.at, self.end) = (end, end);
            return Some(item);
        }
        let from = self.at;
        let left = self.bytes.get(from..)?;
        if left.iter().all(|byte| *byte == 0) {
            self.at = self.bytes.len();
            return None;
        }
        let step = JOURNAL_ALIGN as usize;
        let mut at = from + step;
        while at < self.bytes.len() && self.budget > 0 && self.item_at(at).is_none() {
            // Bytes that claim to be long records cost as much as they claim.
            let claimed = self
                .bytes
                .get(at..)
                .and_then(|rest| Get::new(rest, at::SIZE).ok());
            let claimed = claimed.map_or(0, |get| get.u32(at::LENGTH) as usize);
            if claimed <= RECORD_BYTES_MAX.min(self.bytes.len() - at) {
                self.budget = self.budget.saturating_sub(claimed);
            }
            at += step;
        }
        self.at = if self.budget > 0 {
            at.min(self.bytes.len())
        } else {
            self.bytes.len()
        };
        Some(Item::Bad {
            offset: from as u64,
            bytes: (self.at - from) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record> {
        let target = TargetId::from_u128(1);
        let range = |first, last| Range {
            first: Sequence::new(first),
            last: Sequence::new(last),
        };
        let retired = Retired {
            store: StoreId::from_u128(1),
            incarnation: Incarnation::new(5),
            segment: SegmentId::new(3),
            damaged: true,
        };
        let mut ends = Ends::default();
        for (count, end) in End::ALL.iter().copied().enumerate() {
            ends.add(end, count as u64 + 1);
        }
        vec![
            Record::Windows {
                unflushed_bytes: 1,
                unsynced_bytes: 2,
            },
            Record::Checkpoint(Checkpoint {
                target,
                up_to: Sequence::new(9),
                holes: vec![range(1, 2), range(4, 4)],
                ends,
                deferred: vec![Deferred {
                    segment: SegmentId::new(11),
                    up_to: Sequence::new(8),
                    pending: 3,
                    holes: vec![range(7, 7)],
                }],
                retired: vec![retired, retired],
            }),
            Record::Retire { target, retired },
            Record::Fence {
                namespace: Namespace::from_u128(4),
                before: UnixMillis::new(5),
            },
            Record::TargetState { target, state: 1 },
            Record::Discard(Discard {
                target,
                up_to: Sequence::new(7),
                namespace: Some(Namespace::from_u128(4)),
                created_before: None,
                count: 8,
            }),
            Record::Discard(Discard {
                target,
                up_to: Sequence::MAX,
                namespace: None,
                created_before: Some(UnixMillis::new(3)),
                count: 8,
            }),
            Record::ClockConfirmed {
                wall: UnixMillis::new(1),
                boot_ms: 2,
                boot: [3; 16],
            },
            Record::Loss(Loss {
                target,
                range: range(1, 5),
                count: 5,
                end: End::Lost,
                at: UnixMillis::new(6),
            }),
        ]
    }

    fn image(records: &[Record]) -> Vec<u8> {
        let head = Head {
            store: StoreId::from_u128(1),
            incarnation: Incarnation::new(5),
            generation: 4,
        };
        let mut bytes = head.encode().to_vec();
        for record in records {
            record.encode(4, 0, &mut bytes);
        }
        bytes
    }

    #[test]
    fn records_read_back() {
        let bytes = image(&samples());
        assert_eq!(Head::decode(&bytes).unwrap().generation, 4);
        let items: Vec<Item> = Walk::new(&bytes, 4).collect();
        assert_eq!(
            items,
            samples().into_iter().map(Item::Record).collect::<Vec<_>>()
        );
    }

    #[test]
    fn records_of_another_generation_or_place_are_none() {
        let bytes = image(&samples());
        let items: Vec<Item> = Walk::new(&bytes, 5).collect();
        assert!(matches!(items[..], [Item::Bad { .. }]), "{items:?}");
        let mut moved = bytes[..HEAD].to_vec();
        moved.extend_from_slice(&[0; 8]);
        moved.extend_from_slice(&bytes[HEAD..]);
        assert!(Walk::new(&moved, 4).all(|item| matches!(item, Item::Bad { .. })));
    }

    #[test]
    fn any_flipped_bit_costs_one_record_and_any_cut_the_rest() {
        let records = samples();
        let good = image(&records);
        for bit in HEAD * 8..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = Walk::new(&bytes, 4)
                .filter(|item| matches!(item, Item::Record(_)))
                .count();
            // Padding belongs to no record.
            assert!(read >= records.len() - 1, "bit {bit}: {read}");
        }
        for cut in HEAD..good.len() {
            let mut walk = Walk::new(&good[..cut], 4);
            let read = walk
                .by_ref()
                .filter(|item| matches!(item, Item::Record(_)))
                .count();
            assert!(
                read <= records.len() && walk.end() <= cut as u64 + 7,
                "cut {cut}"
            );
        }
    }

    #[test]
    fn an_unknown_record_says_whether_it_may_be_passed_over() {
        for refuse in [false, true] {
            let mut bytes = image(&samples()[..1]);
            Put(&mut bytes[HEAD..]).u16(at::TYPE, 999);
            Put(&mut bytes[HEAD..]).u16(at::FLAGS, refuse.into());
            let end = HEAD + at::SIZE + 16;
            let crc = record_crc(&bytes[HEAD..end], 4, HEAD as u64);
            Put(&mut bytes[HEAD..]).u32(at::CRC, crc);
            let items: Vec<Item> = Walk::new(&bytes, 4).collect();
            assert_eq!(items, [Item::Unknown { code: 999, refuse }]);
        }
    }

    #[test]
    fn preallocated_zeros_end_the_walk() {
        let mut bytes = image(&samples()[..2]);
        let end = bytes.len();
        bytes.resize(end + 4096, 0);
        let mut walk = Walk::new(&bytes, 4);
        assert_eq!(walk.by_ref().count(), 2);
        assert_eq!(walk.end(), end as u64);
    }
}
