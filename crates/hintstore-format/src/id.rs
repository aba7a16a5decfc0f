//! Identifiers: each is a type of its own, so that the compiler keeps them apart.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use byteorder::ByteOrder as _;

use crate::layout::LE;

/// Text that is no identifier: expected are 32 hex digits, with or without the dashes of a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not an identifier: expected a UUID, for example 9a355670-9212-4932-96bd-55417aa90974",
        )
    }
}

impl std::error::Error for ParseIdError {}

fn parse(text: &str) -> Result<[u8; 16], ParseIdError> {
    let bytes = text.as_bytes();
    let dashed = bytes.len() == 36;
    if !dashed && bytes.len() != 32 {
        return Err(ParseIdError);
    }
    let mut digits = bytes.iter().enumerate().filter_map(|(at, &byte)| {
        let dash = dashed && matches!(at, 8 | 13 | 18 | 23);
        match (dash, byte) {
            (true, b'-') => None,
            (true, _) => Some(Err(ParseIdError)),
            (false, _) => Some(
                char::from(byte)
                    .to_digit(16)
                    .map(|d| d as u8)
                    .ok_or(ParseIdError),
            ),
        }
    });
    let mut id = [0; 16];
    for byte in &mut id {
        let mut digit = || digits.next().unwrap_or(Err(ParseIdError));
        *byte = digit()? << 4 | digit()?;
    }
    Ok(id)
}

fn print(id: [u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, byte) in id.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl Hash for $name {
            #[inline]
            fn hash<H: Hasher>(&self, state: &mut H) {
                let [first, second] = self.words();
                state.write_u64(first);
                state.write_u64(second);
            }
        }

        impl $name {
            /// The identifier with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The identifier whose text form reads as this number in hex.
            pub const fn from_u128(value: u128) -> Self {
                let mut bytes = [0; 16];
                let mut at = 0;
                while at < 16 {
                    #[expect(clippy::indexing_slicing, reason = "const; the loop bounds it")]
                    {
                        bytes[at] = (value >> (120 - 8 * at)) as u8;
                    }
                    at += 1;
                }
                Self(bytes)
            }

            /// The number whose hex digits are the text form.
            pub const fn as_u128(&self) -> u128 {
                let (mut value, mut at) = (0, 0);
                while at < 16 {
                    #[expect(clippy::indexing_slicing, reason = "const; the loop bounds it")]
                    {
                        value = value << 8 | self.0[at] as u128;
                    }
                    at += 1;
                }
                value
            }

            /// The identifier as two numbers, for hashing and for comparing in one step.
            #[inline]
            pub fn words(&self) -> [u64; 2] {
                let (first, second) = self.0.split_at(8);
                [LE::read_u64(first), LE::read_u64(second)]
            }

            /// The bytes of the identifier, in the order of its text form.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                print(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                print(self.0, f)
            }
        }

        impl From<u128> for $name {
            fn from(value: u128) -> Self {
                Self::from_u128(value)
            }
        }

        impl From<$name> for u128 {
            fn from(id: $name) -> Self {
                id.as_u128()
            }
        }

        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl From<$name> for [u8; 16] {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        #[cfg(feature = "uuid")]
        impl From<uuid::Uuid> for $name {
            fn from(id: uuid::Uuid) -> Self {
                Self(id.into_bytes())
            }
        }

        #[cfg(feature = "uuid")]
        impl From<$name> for uuid::Uuid {
            fn from(id: $name) -> Self {
                Self::from_bytes(id.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse(text).map(Self)
            }
        }
    };
}

id! {
    /// The node that hints are for: an identity that outlives addresses (Cassandra's host id).
    TargetId
}
id! {
    /// The identity of one store directory, drawn when it is made.
    StoreId
}
id! {
    /// The caller's own id of a mutation; two holders of one hint share it.
    MutationId
}
id! {
    /// The table or keyspace a hint belongs to (Cassandra's table id).
    Namespace
}

impl Namespace {
    /// No namespace was named.
    pub const NONE: Self = Self([0; 16]);
    /// The hint touches several: verbs and fences by namespace count it and never touch it.
    pub const MIXED: Self = Self([0xff; 16]);
}

/// One opening of a store for writing: 64 bits, drawn again each time. Two copies of a volume are the
/// same store and count the same epochs and sequences; what they accept apart differs in this.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The incarnation with this number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number of the incarnation.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One segment of one store; never used twice, not even after its file is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(u64);

impl SegmentId {
    /// The segment with this number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number of the segment.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A hint's place in the order of its target: epoch (24 bits), then a count (40 bits).
///
/// Never used twice; gaps between epochs are normal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

impl Sequence {
    /// Before every sequence that a hint can have.
    pub const ZERO: Self = Self(0);
    /// After every sequence that a hint can have.
    pub const MAX: Self = Self(u64::MAX);
    /// Bits that count within an epoch.
    pub const COUNT_BITS: u32 = 40;
    /// Greatest epoch.
    pub const EPOCH_MAX: u32 = (1 << 24) - 1;

    /// The sequence with this number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The first sequence of an epoch. Epoch 0 is never used, so every sequence is above `ZERO`.
    pub const fn first_of(epoch: u32) -> Self {
        Self((epoch as u64) << Self::COUNT_BITS)
    }

    /// The number of the sequence.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The epoch in which the hint was accepted.
    pub const fn epoch(self) -> u32 {
        (self.0 >> Self::COUNT_BITS) as u32
    }

    /// The sequence `count` further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// The sequence just before.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_printed() {
        let text = "9a355670-9212-4932-96bd-55417aa90974";
        let id: TargetId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.replace('-', "").parse(), Ok(id));
        assert_eq!(
            TargetId::from_u128(0x9a35_5670_9212_4932_96bd_5541_7aa9_0974),
            id
        );
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in [
            "",
            "9a355670",
            "9a355670-9212-4932-96bd-55417aa9097g",
            "9a3556709-212-4932-96bd-55417aa90974",
            "-a3556709212-4932-96bd-55417aa909740",
        ] {
            assert_eq!(text.parse::<TargetId>(), Err(ParseIdError), "{text}");
        }
    }

    #[test]
    fn sequences_of_a_later_epoch_are_greater() {
        let last = Sequence::first_of(1).plus((1 << Sequence::COUNT_BITS) - 1);
        assert!(last < Sequence::first_of(2));
        assert_eq!(last.epoch(), 1);
        assert_eq!(
            Sequence::first_of(Sequence::EPOCH_MAX).epoch(),
            Sequence::EPOCH_MAX
        );
    }
}
