//! The store file: identity and epoch, in two slots written in turn.
//!
//! A crash while one slot is written leaves the other; the greater generation counts. The inode is
//! that of the file itself: where it differs, the directory was copied or restored, and the store
//! draws a new identity rather than write sequences that another copy has used.

use crate::{
    DecodeError, DecodeKind, Sequence, StoreId, checksum,
    codec::{Get, Put},
    layout::{STORE_MAGIC, STORE_SLOT_BYTES, VERSION, store_slot as at},
};

/// One slot of the store file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The identity of the store.
    pub store: StoreId,
    /// The epoch of the sequences that are given out; 24 bits.
    pub epoch: u32,
    /// Counts the writes of slots.
    pub generation: u64,
    /// The inode of the store file.
    pub inode: u64,
}

impl Slot {
    /// Where this slot is to be written: the one that the generation before did not use.
    pub fn offset(&self) -> u64 {
        (self.generation % 2) * STORE_SLOT_BYTES as u64
    }

    /// The bytes of the slot, without the padding to 4 KiB.
    pub fn encode(&self) -> [u8; at::SIZE] {
        let mut bytes = [0; at::SIZE];
        let mut put = Put(&mut bytes);
        put.bytes(at::MAGIC, STORE_MAGIC);
        put.u16(at::VERSION, VERSION);
        put.u32(at::EPOCH, self.epoch);
        put.bytes(at::STORE, self.store.as_bytes());
        put.u64(at::GENERATION, self.generation);
        put.u64(at::INODE, self.inode);
        let crc = crc(&bytes);
        Put(&mut bytes).u32(at::CRC, crc);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let get = Get::new(bytes, at::SIZE)?;
        if get.bytes(at::MAGIC) != STORE_MAGIC {
            return Err(DecodeError::new(0, DecodeKind::Magic));
        }
        let whole = bytes.get(..at::SIZE).unwrap_or_default();
        let (stored, computed) = (get.u32(at::CRC), crc(whole));
        if stored != computed {
            let kind = DecodeKind::Checksum { stored, computed };
            return Err(DecodeError::new(at::CRC.offset, kind));
        }
        let (version, bits) = (
            get.u16(at::VERSION),
            get.u32(at::INCOMPAT) | get.u32(at::RO_COMPAT),
        );
        if version != VERSION || bits != 0 {
            let kind = DecodeKind::Foreign { version, bits };
            return Err(DecodeError::new(at::VERSION.offset, kind));
        }
        let epoch = get.u32(at::EPOCH);
        if epoch > Sequence::EPOCH_MAX {
            let field = at::EPOCH;
            return Err(DecodeError::field(field.offset, field.name, epoch.into()));
        }
        Ok(Self {
            store: StoreId::from_bytes(get.id(at::STORE)),
            epoch,
            generation: get.u64(at::GENERATION),
            inode: get.u64(at::INODE),
        })
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let (before, rest) = bytes.split_at(at::CRC.offset.min(bytes.len()));
    checksum::extend(
        checksum::crc(before),
        rest.get(at::CRC.size..).unwrap_or_default(),
    )
}

/// Both slots in the bytes of a store file.
pub fn slots(bytes: &[u8]) -> [Result<Slot, DecodeError>; 2] {
    let second = bytes.get(STORE_SLOT_BYTES..).unwrap_or_default();
    [bytes, second].map(Slot::decode)
}

/// The slot that counts in the bytes of a store file: the valid one of the greater generation.
/// A slot of a newer format is never passed over for an older one.
pub fn decode(bytes: &[u8]) -> Result<Slot, DecodeError> {
    let [first, second] = slots(bytes);
    match (first, second) {
        (Err(error), _) | (_, Err(error)) if error.is_foreign() => Err(error),
        (Ok(a), Ok(b)) => Ok(if a.generation > b.generation { a } else { b }),
        (Ok(slot), Err(_)) | (Err(_), Ok(slot)) => Ok(slot),
        (Err(error), Err(_)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(generation: u64) -> Slot {
        Slot {
            store: StoreId::from_u128(1),
            epoch: 2,
            generation,
            inode: 3,
        }
    }

    fn file(slots: &[Slot]) -> Vec<u8> {
        let mut bytes = vec![0; 2 * STORE_SLOT_BYTES];
        for slot in slots {
            let at = slot.offset() as usize;
            bytes[at..at + at::SIZE].copy_from_slice(&slot.encode());
        }
        bytes
    }

    #[test]
    fn the_greater_generation_counts() {
        assert_eq!(decode(&file(&[slot(4), slot(5)])), Ok(slot(5)));
        assert_eq!(decode(&file(&[slot(6), slot(5)])), Ok(slot(6)));
        assert_eq!(decode(&file(&[slot(6)])), Ok(slot(6)));
    }

    #[test]
    fn a_damaged_slot_leaves_the_other_and_two_leave_none() {
        let good = file(&[slot(4), slot(5)]);
        for bit in 0..at::SIZE * 8 {
            let mut bytes = good.clone();
            bytes[STORE_SLOT_BYTES + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), Ok(slot(4)), "bit {bit}");
            bytes[100] ^= 1;
            assert!(decode(&bytes).is_err());
        }
        assert!(decode(&[]).is_err());
    }

    #[test]
    fn a_newer_format_is_refused_even_beside_an_older_slot() {
        let mut bytes = file(&[slot(4), slot(5)]);
        let at = STORE_SLOT_BYTES;
        bytes[at + at::VERSION.offset] = 9;
        let crc = crc(&bytes[at..at + at::SIZE]);
        Put(&mut bytes[at..at + at::SIZE]).u32(at::CRC, crc);
        assert!(decode(&bytes).unwrap_err().is_foreign());
    }
}
