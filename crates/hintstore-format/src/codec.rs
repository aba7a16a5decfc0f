//! Fixed-offset reads and writes, and a bounded cursor: the only places that touch single bytes.

use byteorder::ByteOrder as _;

use crate::{
    DecodeError,
    layout::{Field, LE},
};

/// Writes fields at the offsets that `layout` gives. The buffer is sized by the same table, so a
/// field outside it is our own mistake and asserts.
pub(crate) struct Put<'a>(pub(crate) &'a mut [u8]);

impl Put<'_> {
    fn at(&mut self, field: Field) -> &mut [u8] {
        match self.0.get_mut(field.offset..field.offset + field.size) {
            Some(place) => place,
            None => unreachable!("{} lies outside its structure", field.name),
        }
    }

    pub(crate) fn bytes(&mut self, field: Field, value: &[u8]) {
        self.at(field).copy_from_slice(value);
    }

    pub(crate) fn u8(&mut self, field: Field, value: u8) {
        self.at(field).fill(value);
    }

    pub(crate) fn u16(&mut self, field: Field, value: u16) {
        LE::write_u16(self.at(field), value);
    }

    pub(crate) fn u32(&mut self, field: Field, value: u32) {
        LE::write_u32(self.at(field), value);
    }

    pub(crate) fn u64(&mut self, field: Field, value: u64) {
        LE::write_u64(self.at(field), value);
    }

    pub(crate) fn i64(&mut self, field: Field, value: i64) {
        LE::write_i64(self.at(field), value);
    }
}

/// Reads fields of a structure whose length was checked once, by [`Get::new`].
#[derive(Clone, Copy)]
pub(crate) struct Get<'a>(&'a [u8]);

impl<'a> Get<'a> {
    pub(crate) fn new(bytes: &'a [u8], size: usize) -> Result<Self, DecodeError> {
        match bytes.get(..size) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(DecodeError::short(size, bytes.len())),
        }
    }

    pub(crate) fn bytes(self, field: Field) -> &'a [u8] {
        match self.0.get(field.offset..field.offset + field.size) {
            Some(bytes) => bytes,
            None => unreachable!("{} lies outside its structure", field.name),
        }
    }

    pub(crate) fn id(self, field: Field) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(self.bytes(field));
        id
    }

    pub(crate) fn u8(self, field: Field) -> u8 {
        self.bytes(field).first().copied().unwrap_or(0)
    }

    pub(crate) fn u16(self, field: Field) -> u16 {
        LE::read_u16(self.bytes(field))
    }

    pub(crate) fn u32(self, field: Field) -> u32 {
        LE::read_u32(self.bytes(field))
    }

    pub(crate) fn u64(self, field: Field) -> u64 {
        LE::read_u64(self.bytes(field))
    }

    pub(crate) fn i64(self, field: Field) -> i64 {
        LE::read_i64(self.bytes(field))
    }
}

/// Appends values one after the other: for structures of variable length.
#[derive(Default)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        let mut raw = [0; 4];
        LE::write_u32(&mut raw, value);
        self.bytes(&raw)
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        let mut raw = [0; 8];
        LE::write_u64(&mut raw, value);
        self.bytes(&raw)
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        let mut raw = [0; 8];
        LE::write_i64(&mut raw, value);
        self.bytes(&raw)
    }
}

/// Takes values one after the other, never past the end.
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, size: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.saturating_add(size);
        let taken = self
            .bytes
            .get(self.at..end)
            .ok_or(DecodeError::short(end, self.bytes.len()))?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn id(&mut self) -> Result<[u8; 16], DecodeError> {
        let mut id = [0; 16];
        id.copy_from_slice(self.take(16)?);
        Ok(id)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?.first().copied().unwrap_or(0))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take(2).map(LE::read_u16)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take(4).map(LE::read_u32)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take(8).map(LE::read_u64)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.take(8).map(LE::read_i64)
    }

    /// A count of items of `size` bytes each, refused where the bytes cannot hold that number: what
    /// may be allocated is bounded by what is there.
    pub(crate) fn count(&mut self, name: &'static str, size: usize) -> Result<usize, DecodeError> {
        let at = self.at;
        let count = self.u32()? as usize;
        if count > self.left() / size {
            return Err(DecodeError::field(at, name, count as u64));
        }
        Ok(count)
    }
}
