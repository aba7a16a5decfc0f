//! The bytes of a mutation while it is decoded.

use byteorder::{BE, ByteOrder as _};

use crate::read_unsigned;

/// Why decoding stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The bytes end.
    End,
    /// A value reaches past the body of the hint.
    Past,
    /// No schema has the table.
    Table([u8; 16]),
    /// It is no mutation.
    Wrong(String),
}

pub(crate) type Decoded<T> = Result<T, Stop>;

pub(crate) fn wrong<T>(text: impl Into<String>) -> Decoded<T> {
    Err(Stop::Wrong(text.into()))
}

/// Bytes that are read from front to back.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the body ends. Numbers are read past it, as Cassandra does; values are not.
    limit: usize,
}

impl<'a> Input<'a> {
    /// A body of its own.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self::within(bytes, bytes.len())
    }

    /// A body of `limit` bytes, and what is behind it.
    pub(crate) fn within(bytes: &'a [u8], limit: usize) -> Self {
        let at = 0;
        Self { bytes, at, limit }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Decoded<u8> {
        let byte = *self.bytes.get(self.at).ok_or(Stop::End)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn primitive<const N: usize>(&mut self) -> Decoded<&'a [u8; N]> {
        let rest = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk());
        if rest.is_none() {
            self.at = self.bytes.len();
        }
        self.at += if rest.is_some() { N } else { 0 };
        rest.ok_or(Stop::End)
    }

    pub(crate) fn u16(&mut self) -> Decoded<u16> {
        self.primitive().map(|bytes: &[u8; 2]| BE::read_u16(bytes))
    }

    pub(crate) fn i64(&mut self) -> Decoded<i64> {
        self.primitive().map(|bytes: &[u8; 8]| BE::read_i64(bytes))
    }

    pub(crate) fn id(&mut self) -> Decoded<[u8; 16]> {
        self.primitive().copied()
    }

    /// An unsigned number of variable length, 64 bits.
    #[inline]
    pub(crate) fn vint(&mut self) -> Decoded<u64> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if let Some(first) = rest.first()
            && *first < 0x80
        {
            self.at += 1;
            return Ok(u64::from(*first));
        }
        let Some((value, length)) = read_unsigned(rest) else {
            self.at = self.bytes.len();
            return Err(Stop::End);
        };
        self.at += length;
        Ok(value)
    }

    /// The same, of 32 bits: sign-extended when it was written.
    #[inline]
    pub(crate) fn vint32(&mut self) -> Decoded<i32> {
        let value = self.vint()?.cast_signed();
        match i32::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => wrong("a number is out of range"),
        }
    }

    /// A length.
    #[inline]
    pub(crate) fn length(&mut self) -> Decoded<usize> {
        match usize::try_from(self.vint32()?) {
            Ok(length) => Ok(length),
            Err(_) => wrong("a length is negative"),
        }
    }

    /// Bytes of a value.
    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Decoded<&'a [u8]> {
        if self.at + length > self.limit {
            return Err(Stop::Past);
        }
        let bytes = self.bytes.get(self.at..self.at + length);
        self.at = if bytes.is_some() {
            self.at + length
        } else {
            self.bytes.len()
        };
        bytes.ok_or(Stop::End)
    }

    /// A length and that number of bytes.
    #[inline]
    pub(crate) fn sized(&mut self) -> Decoded<&'a [u8]> {
        match self.length()? {
            // Cassandra looks at no limit for nothing.
            0 => Ok(&[]),
            length => self.take(length),
        }
    }
}
