//! Why bytes were not accepted: where, what was expected, what was found.

use std::fmt;

use crate::layout::VERSION;

/// A decoder's refusal: the offset is relative to the bytes it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Bytes from the start of the decoded slice.
    pub offset: u64,
    /// What was wrong there.
    pub kind: DecodeKind,
}

/// What a decoder found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeKind {
    /// The bytes end before the structure does.
    Short {
        /// Bytes the structure needs.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The magic bytes are not those of this structure.
    Magic,
    /// The stored checksum and the computed one differ.
    Checksum {
        /// The checksum in the bytes.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A version, or an incompatible feature bit, that this build does not read.
    Foreign {
        /// The version in the bytes.
        version: u16,
        /// The unknown incompatible feature bits.
        bits: u32,
    },
    /// A field has a value it can never have.
    Field {
        /// The field's name in `layout`.
        name: &'static str,
        /// The value found.
        found: u64,
    },
}

impl DecodeError {
    pub(crate) fn new(offset: usize, kind: DecodeKind) -> Self {
        Self {
            offset: offset as u64,
            kind,
        }
    }

    pub(crate) fn short(needed: usize, found: usize) -> Self {
        Self::new(
            found,
            DecodeKind::Short {
                needed: needed as u64,
                found: found as u64,
            },
        )
    }

    pub(crate) fn field(offset: usize, name: &'static str, found: u64) -> Self {
        Self::new(offset, DecodeKind::Field { name, found })
    }

    /// Written by another version: to be listed and left alone, not treated as damage.
    pub fn is_foreign(&self) -> bool {
        matches!(self.kind, DecodeKind::Foreign { .. })
    }

    /// Written before the format was final.
    pub fn is_older(&self) -> bool {
        matches!(self.kind, DecodeKind::Foreign { version, .. } if version < VERSION)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: ", self.offset)?;
        match self.kind {
            DecodeKind::Short { needed, found } => {
                write!(f, "needs {needed} bytes, {found} are there")
            }
            DecodeKind::Magic => write!(f, "the magic bytes are missing"),
            DecodeKind::Checksum { stored, computed } => {
                write!(f, "checksum {stored:08x} stored, {computed:08x} computed")
            }
            DecodeKind::Foreign { version, .. } if version < VERSION => write!(
                f,
                "version {version}, from before the format was final: deliver its hints with the build \
                 that wrote it, or convert them there to JSON Lines"
            ),
            DecodeKind::Foreign { version, bits: 0 } => {
                write!(f, "version {version}, which is newer: use a newer build")
            }
            DecodeKind::Foreign { bits, .. } => {
                write!(
                    f,
                    "feature bits {bits:#x}, which are newer: use a newer build"
                )
            }
            DecodeKind::Field { name, found } => write!(f, "{name} cannot be {found}"),
        }
    }
}

impl std::error::Error for DecodeError {}
