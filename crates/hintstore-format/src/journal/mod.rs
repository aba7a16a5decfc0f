//! The store's control records: one append-only file, so that one fsync covers all targets.
//!
//! Every record is whole in itself, and all but loss receipts, which add up, are absolute: a later one of
//! the same kind and target replaces an earlier one, so a reader may lose one record to damage and go on. The checksum is keyed by
//! the journal's generation and the record's offset: bytes that an older journal left in
//! preallocated space are never taken for records.

mod ends;
mod loss;
mod record;

use crate::{
    DecodeError, DecodeKind, Incarnation, SegmentId, StoreId, checksum,
    codec::{Get, Put},
    layout::{
        JOURNAL_ALIGN, JOURNAL_MAGIC, VERSION, align_up, journal_head as head, journal_record as at,
    },
};

pub use ends::{End, Ends};
pub use loss::{Cause, Loss, Losses};
pub use record::{
    Checkpoint, Deferred, Discard, FLAG_REFUSE_UNKNOWN, MissingHints, Range, Record, Repaired,
    Retired,
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
        if version != VERSION {
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
    use crate::{Namespace, Sequence, TargetId, UnixMillis, profile::Span};

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
            Record::Forgotten { target },
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
            Record::Missing(MissingHints {
                target,
                range: range(1, 5),
                count: 5,
                end: End::Lost,
                at: UnixMillis::new(6),
            }),
            Record::Loss(Loss {
                target: Some(target),
                namespace: None,
                tokens: Some(Span { min: -3, max: 4 }),
                created: Span {
                    min: UnixMillis::MIN,
                    max: UnixMillis::new(5),
                },
                hints: 6,
                bytes: 7,
                cause: Cause::Crash,
                noticed: Span::of(UnixMillis::new(8)),
            }),
            Record::Repaired(Repaired {
                target: None,
                namespace: Some(Namespace::from_u128(4)),
                before: UnixMillis::new(9),
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
