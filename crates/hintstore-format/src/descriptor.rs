//! A segment's first bytes: whose it is, what it is for, who may read it.

use crate::{
    DecodeError, DecodeKind, Incarnation, SegmentId, Sequence, StoreId, TargetId, UnixMillis,
    block::Codec,
    checksum,
    codec::{Get, Put},
    layout::{ALIGN, Field, SEGMENT_MAGIC, VERSION, align_up, descriptor as at},
};

/// What a segment is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Hints in the order in which they were accepted.
    #[default]
    Hints,
    /// Copies of hints that wait for a retry.
    Deferred,
    /// Copies of hints that their target rejected for good.
    DeadLetters,
}

impl Kind {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Hints => 0,
            Self::Deferred => 1,
            Self::DeadLetters => 2,
        }
    }

    pub(crate) fn from_code(code: u8, field: Field) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::Hints),
            1 => Ok(Self::Deferred),
            2 => Ok(Self::DeadLetters),
            _ => Err(DecodeError::field(field.offset, field.name, code.into())),
        }
    }
}

/// The descriptor of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The store the segment belongs to.
    pub store: StoreId,
    /// The opening of the store that wrote it.
    pub incarnation: Incarnation,
    /// The node its hints are for.
    pub target: TargetId,
    /// Its identity in the store.
    pub segment: SegmentId,
    /// When the file was made.
    pub created: UnixMillis,
    /// No hint in it has a lower sequence.
    pub first: Sequence,
    /// What it is for.
    pub kind: Kind,
    /// How its blocks may lie in it; each says so for itself.
    pub codec: Codec,
    /// Encryption of its blocks; 0 is none, the only one so far.
    pub cipher: u8,
    /// The segments it replaces, whose files may still lie there after a crash; at most 255.
    pub replaces: Vec<SegmentId>,
}

/// Feature bits this build understands: none so far.
const INCOMPAT_KNOWN: u32 = 0;
const RO_COMPAT_KNOWN: u32 = 0;

/// The bytes that every version of the format keeps: magic, version, length, checksum.
const PREFIX: usize = 16;

impl Descriptor {
    /// Length of the descriptor: a multiple of 64.
    pub fn length(&self) -> usize {
        align_up((at::SIZE + 8 * self.replaces.len()) as u64, ALIGN) as usize
    }

    /// The bytes of the descriptor.
    ///
    /// # Panics
    /// If it replaces more than 255 segments.
    pub fn encode(&self) -> Vec<u8> {
        assert!(
            self.replaces.len() <= 255,
            "a segment replaces at most 255 others"
        );
        let mut bytes = vec![0; at::SIZE];
        let mut put = Put(&mut bytes);
        put.bytes(at::MAGIC, SEGMENT_MAGIC);
        put.u16(at::VERSION, VERSION);
        put.u16(at::LENGTH, self.length() as u16);
        put.u8(at::CODEC, self.codec.code());
        put.u8(at::CIPHER, self.cipher);
        put.u8(at::KIND, self.kind.code());
        put.u8(at::REPLACES, self.replaces.len() as u8);
        put.bytes(at::STORE, self.store.as_bytes());
        put.bytes(at::TARGET, self.target.as_bytes());
        put.u64(at::SEGMENT, self.segment.get());
        put.i64(at::CREATED, self.created.get());
        put.u64(at::FIRST, self.first.get());
        put.u64(at::INCARNATION, self.incarnation.get());
        let mut more = crate::codec::Encoder(bytes);
        for segment in &self.replaces {
            more.u64(segment.get());
        }
        let mut bytes = more.0;
        bytes.resize(self.length(), 0);
        let crc = crc(&bytes);
        Put(&mut bytes).u32(at::CRC, crc);
        bytes
    }

    /// Reads the descriptor at the start of `bytes`. Checked in this order: magic, length,
    /// checksum, version and features, fields. So a newer version is distinguished from damage.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let get = Get::new(bytes, PREFIX)?;
        if get.bytes(at::MAGIC) != SEGMENT_MAGIC {
            return Err(DecodeError::new(0, DecodeKind::Magic));
        }
        let length = usize::from(get.u16(at::LENGTH));
        if length < PREFIX {
            return Err(DecodeError::field(
                at::LENGTH.offset,
                at::LENGTH.name,
                length as u64,
            ));
        }
        let whole = bytes
            .get(..length)
            .ok_or(DecodeError::short(length, bytes.len()))?;
        let (stored, computed) = (get.u32(at::CRC), crc(whole));
        if stored != computed {
            let kind = DecodeKind::Checksum { stored, computed };
            return Err(DecodeError::new(at::CRC.offset, kind));
        }
        let version = get.u16(at::VERSION);
        let foreign =
            |bits| DecodeError::new(at::VERSION.offset, DecodeKind::Foreign { version, bits });
        if version != VERSION {
            return Err(foreign(0));
        }
        let get = Get::new(whole, at::SIZE)?;
        let unknown =
            get.u32(at::INCOMPAT) & !INCOMPAT_KNOWN | get.u32(at::RO_COMPAT) & !RO_COMPAT_KNOWN;
        let (codec, cipher) = (get.u8(at::CODEC), get.u8(at::CIPHER));
        let known = Codec::from_code(codec).filter(|_| unknown == 0 && cipher == 0);
        let Some(known) = known else {
            return Err(foreign(unknown));
        };
        let count = usize::from(get.u8(at::REPLACES));
        let list = whole
            .get(at::SIZE..at::SIZE + 8 * count)
            .ok_or(DecodeError::field(
                at::REPLACES.offset,
                at::REPLACES.name,
                count as u64,
            ))?;
        let mut list = crate::codec::Decoder::new(list);
        let mut replaces = Vec::with_capacity(count);
        while list.left() > 0 {
            replaces.push(SegmentId::new(list.u64()?));
        }
        Ok(Self {
            store: StoreId::from_bytes(get.id(at::STORE)),
            incarnation: Incarnation::new(get.u64(at::INCARNATION)),
            target: TargetId::from_bytes(get.id(at::TARGET)),
            segment: SegmentId::new(get.u64(at::SEGMENT)),
            created: UnixMillis::new(get.i64(at::CREATED)),
            first: Sequence::new(get.u64(at::FIRST)),
            kind: Kind::from_code(get.u8(at::KIND), at::KIND)?,
            codec: known,
            cipher,
            replaces,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(replaces: usize) -> Descriptor {
        Descriptor {
            store: StoreId::from_u128(1),
            incarnation: Incarnation::new(6),
            target: TargetId::from_u128(2),
            segment: SegmentId::new(3),
            created: UnixMillis::new(-4),
            first: Sequence::new(5),
            kind: Kind::Deferred,
            codec: Codec::Plain,
            cipher: 0,
            replaces: (0..replaces as u64).map(SegmentId::new).collect(),
        }
    }

    #[test]
    fn descriptors_read_back() {
        for replaces in [0, 1, 8, 255] {
            let bytes = descriptor(replaces).encode();
            assert_eq!(bytes.len() % 64, 0);
            assert_eq!(Descriptor::decode(&bytes), Ok(descriptor(replaces)));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let mut bytes = descriptor(2).encode();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Descriptor::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert!(Descriptor::decode(&bytes[..cut]).is_err(), "cut {cut}");
        }
    }

    #[test]
    fn another_version_is_foreign_and_not_damage() {
        for field in [
            at::VERSION,
            at::INCOMPAT,
            at::RO_COMPAT,
            at::CODEC,
            at::CIPHER,
        ] {
            let mut bytes = descriptor(0).encode();
            bytes[field.offset] = 9;
            let crc = crc(&bytes);
            Put(&mut bytes).u32(at::CRC, crc);
            let error = Descriptor::decode(&bytes).unwrap_err();
            assert!(error.is_foreign(), "{}: {error}", field.name);
            assert!(!error.is_older(), "{error}");
        }
        let mut bytes = descriptor(0).encode();
        Put(&mut bytes).u16(at::VERSION, 0);
        let crc = crc(&bytes);
        Put(&mut bytes).u32(at::CRC, crc);
        let error = Descriptor::decode(&bytes).unwrap_err();
        assert!(error.is_foreign() && error.is_older(), "{error}");
    }
}
