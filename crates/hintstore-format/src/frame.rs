//! One hint on disk: a fixed header, optional fields, the payload.
//!
//! The checksum covers payload, optional fields, fixed header and the block's salt, in that order:
//! the payload's part is computed once, before a place is reserved, also where one payload goes to
//! several targets.

use byteorder::ByteOrder as _;

use crate::{
    DecodeError, DecodeKind, Incarnation, MutationId, Sequence, StoreId, TargetId, UnixMillis,
    checksum,
    codec::Decoder,
    layout::{BODY_BYTES_MAX, LE, frame as at},
};

/// Length of a frame's fixed header.
pub const HEADER: usize = at::SIZE;

/// The bits of `flags`: one that describes the hint, the others name the optional fields, which
/// follow in this order.
pub mod flag {
    /// Delivering the hint twice is not the same as once (for example a counter increment).
    pub const NOT_IDEMPOTENT: u8 = 0x01;
    /// The creation time in full, where the delta does not fit: i64 ms.
    pub const CREATED: u8 = 0x02;
    /// The caller's mutation id: 16 bytes.
    pub const MUTATION_ID: u8 = 0x04;
    /// The routing token: i64.
    pub const TOKEN: u8 = 0x08;
    /// Where the hint comes from: store id, target, sequence, incarnation: 48 bytes.
    pub const ORIGIN: u8 = 0x10;
    /// Collapse version and key: u64, u16 length, key.
    pub const COLLAPSE: u8 = 0x20;
    /// Fields of a later version, to be skipped: u16 length, bytes.
    pub const EXTENSION: u8 = 0x40;
    /// Never set: a frame with it cannot be read.
    pub const UNKNOWN: u8 = 0x80;
}

/// What makes two hints rivals: only the newest matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collapse<'a> {
    /// Hints of one target and namespace with the same key are rivals; at most 65,535 bytes.
    pub key: &'a [u8],
    /// The greatest version wins.
    pub version: u64,
}

/// Where a re-addressed, salvaged or imported hint was first accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The store that accepted it.
    pub store: StoreId,
    /// The target it was for.
    pub target: TargetId,
    /// Its sequence there.
    pub sequence: Sequence,
    /// The opening of that store that accepted it.
    pub incarnation: Incarnation,
}

/// What a frame holds besides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// When the write was made: the caller's time.
    pub created: UnixMillis,
    /// Whether delivering it twice equals once.
    pub idempotent: bool,
    /// The caller's id of the mutation.
    pub mutation_id: Option<MutationId>,
    /// The routing token of the mutation's key.
    pub token: Option<i64>,
    /// Where the hint was first accepted, if not here.
    pub origin: Option<Origin>,
    /// Its rivals, where the embedder asked for newest-wins.
    pub collapse: Option<Collapse<'a>>,
    /// The mutation, opaque.
    pub payload: &'a [u8],
}

impl<'a> Body<'a> {
    /// A hint with nothing but a creation time and a payload.
    #[inline]
    pub fn new(created: UnixMillis, payload: &'a [u8]) -> Self {
        Self {
            created,
            idempotent: true,
            mutation_id: None,
            token: None,
            origin: None,
            collapse: None,
            payload,
        }
    }

    #[inline]
    fn flags(&self) -> u8 {
        let mut flags = 0;
        let mut set = |on: bool, bit| flags |= if on { bit } else { 0 };
        set(!self.idempotent, flag::NOT_IDEMPOTENT);
        set(self.mutation_id.is_some(), flag::MUTATION_ID);
        set(self.token.is_some(), flag::TOKEN);
        set(self.origin.is_some(), flag::ORIGIN);
        set(self.collapse.is_some(), flag::COLLAPSE);
        flags
    }

    #[inline]
    fn optional_length(&self) -> usize {
        let mut length = 0;
        let mut add = |on: bool, bytes| length += if on { bytes } else { 0 };
        add(self.mutation_id.is_some(), 16);
        add(self.token.is_some(), 8);
        add(self.origin.is_some(), 48);
        add(
            self.collapse.is_some(),
            10 + self.collapse.map_or(0, |c| c.key.len()),
        );
        length
    }

    /// Whether a frame of it can be written at all; the limits are those of the length fields.
    #[inline]
    pub fn fits(&self) -> bool {
        self.collapse
            .is_none_or(|c| u16::try_from(c.key.len()).is_ok())
            && self.optional_length() + 8 + self.payload.len() <= BODY_BYTES_MAX
    }
}

/// A hint made ready to be written: its payload is checksummed, its place is still open.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    body: &'a Body<'a>,
    payload_crc: u32,
    flags: u8,
    optional_length: usize,
}

/// Where a frame goes: all that a reservation decides.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Sequence less the block's first sequence.
    pub index: u16,
    /// The hint's profile in the block's table.
    pub profile: u8,
    /// The block's salt.
    pub salt: u32,
    /// The block's base creation time.
    pub base_created: UnixMillis,
}

fn delta(created: UnixMillis, base: UnixMillis) -> Option<i32> {
    created
        .get()
        .checked_sub(base.get())
        .and_then(|delta| i32::try_from(delta).ok())
}

impl<'a> Draft<'a> {
    /// Checksums the payload: the one pass over it outside any lock.
    #[inline]
    pub fn new(body: &'a Body<'a>) -> Self {
        Self {
            body,
            payload_crc: checksum::crc(body.payload),
            flags: body.flags(),
            optional_length: body.optional_length(),
        }
    }

    /// When the write was made.
    pub fn created(&self) -> UnixMillis {
        self.body.created
    }

    /// Length of the frame in a block with this base creation time.
    #[inline]
    pub fn length(&self, base_created: UnixMillis) -> usize {
        let full = if delta(self.body.created, base_created).is_none() {
            8
        } else {
            0
        };
        HEADER + full + self.optional_length + self.body.payload.len()
    }

    /// Writes the frame; `out` is exactly [`Draft::length`] long.
    #[inline]
    pub fn write(&self, place: Place, out: &mut [u8]) {
        let delta = delta(self.body.created, place.base_created);
        let created = if delta.is_none() { flag::CREATED } else { 0 };
        let flags = self.flags | created;
        let Some((header, rest)) = out.split_at_mut_checked(HEADER) else {
            unreachable!("the reservation is as long as the frame");
        };
        let optional = rest.len() - self.body.payload.len();
        let (optional, payload) = rest.split_at_mut(optional);
        payload.copy_from_slice(self.body.payload);
        let mut crc = self.payload_crc;
        if !optional.is_empty() {
            self.write_optional(delta.is_none(), optional);
            crc = checksum::extend(crc, optional);
        }
        let length = (optional.len() + payload.len()) as u32;
        let words = [
            length,
            u32::from(place.index) | u32::from(flags) << 16 | u32::from(place.profile) << 24,
            delta.unwrap_or(0).cast_unsigned(),
        ];
        let crc = finish(crc, words, place.salt);
        header.copy_from_slice(&join([words[0], crc, words[1], words[2]]));
    }

    #[cold]
    fn write_optional(&self, full_created: bool, out: &mut [u8]) {
        let mut encoder = crate::codec::Encoder(Vec::with_capacity(out.len()));
        let body = self.body;
        if full_created {
            encoder.i64(body.created.get());
        }
        if let Some(id) = body.mutation_id {
            encoder.bytes(id.as_bytes());
        }
        if let Some(token) = body.token {
            encoder.i64(token);
        }
        if let Some(origin) = body.origin {
            encoder
                .bytes(origin.store.as_bytes())
                .bytes(origin.target.as_bytes());
            encoder
                .u64(origin.sequence.get())
                .u64(origin.incarnation.get());
        }
        if let Some(collapse) = body.collapse {
            let mut length = [0; 2];
            LE::write_u16(&mut length, collapse.key.len() as u16);
            encoder
                .u64(collapse.version)
                .bytes(&length)
                .bytes(collapse.key);
        }
        out.copy_from_slice(&encoder.0);
    }
}

/// Four words as bytes, in one store: what reads them at once need not wait for four.
#[inline]
fn join(words: [u32; 4]) -> [u8; 16] {
    let [a, b, c, d] = words.map(u128::from);
    let mut bytes = [0; 16];
    LE::write_u128(&mut bytes, a | b << 32 | c << 64 | d << 96);
    bytes
}

/// What ends a checksum: the fixed header (its own field left out) and the salt.
#[inline]
fn tail([length, packed, delta]: [u32; 3], salt: u32) -> [u64; 2] {
    let [length, packed, delta, salt] = [length, packed, delta, salt].map(u64::from);
    [length | packed << 32, delta | salt << 32]
}

#[inline]
fn finish(crc: u32, words: [u32; 3], salt: u32) -> u32 {
    let [length, packed, delta] = words;
    checksum::extend(crc, &join([length, packed, delta, salt]))
}

/// The fixed header of a frame, as it stands: nothing of it is verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of optional fields and payload.
    pub length: u32,
    /// The stored checksum.
    pub crc: u32,
    /// Sequence less the block's first sequence.
    pub index: u16,
    /// See [`flag`].
    pub flags: u8,
    /// The profile's place in the block's table.
    pub profile: u8,
    /// Creation time less the block's base creation time, in ms.
    pub created_delta: i32,
}

impl Header {
    /// Reads the header at `at`, where the bytes reach that far.
    #[inline]
    pub fn read(frames: &[u8], at: usize) -> Option<Self> {
        let raw: &[u8; HEADER] = frames.get(at..)?.first_chunk()?;
        let mut words = [0; 4];
        LE::read_u32_into(raw, &mut words);
        let [length, crc, packed, delta] = words;
        Some(Self {
            length,
            crc,
            index: packed as u16,
            flags: (packed >> 16) as u8,
            profile: (packed >> 24) as u8,
            created_delta: delta.cast_signed(),
        })
    }

    /// Where the frame that begins at `at` ends.
    pub fn end(&self, at: usize) -> usize {
        at.saturating_add(HEADER)
            .saturating_add(self.length as usize)
    }

    fn words(&self) -> [u32; 3] {
        let packed =
            u32::from(self.index) | u32::from(self.flags) << 16 | u32::from(self.profile) << 24;
        [self.length, packed, self.created_delta.cast_unsigned()]
    }
}

/// A frame whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its fixed header.
    pub header: Header,
    /// What it holds.
    pub body: Body<'a>,
}

/// Whether the frame at `at` is whole and right, and where it ends. Reads no optional field but
/// what it needs to find the payload.
#[inline]
pub fn check(frames: &[u8], at: usize, salt: u32) -> Result<(Header, usize), DecodeError> {
    let header = Header::read(frames, at).ok_or(DecodeError::short(at + HEADER, frames.len()))?;
    let end = header.end(at);
    let body = frames
        .get(at + HEADER..end)
        .ok_or(DecodeError::short(end, frames.len()))?;
    let crc = if header.flags & !flag::NOT_IDEMPOTENT == 0 {
        checksum::crc(body)
    } else {
        let (optional, payload) = split(header.flags, body)?;
        checksum::extend(checksum::crc(payload), optional)
    };
    let computed = finish(crc, header.words(), salt);
    if computed != header.crc {
        let kind = DecodeKind::Checksum {
            stored: header.crc,
            computed,
        };
        return Err(DecodeError::new(at, kind));
    }
    Ok((header, end))
}

/// Frames up to this length are checked four at once.
const SIDE_BY_SIDE: u32 = 512;

/// Where the four frames from `at` on end, if they are right, short and without optional fields: the
/// usual case, in little more time than one takes.
#[inline]
pub fn check_four(frames: &[u8], at: usize, salt: u32) -> Option<usize> {
    let (a, first, at) = short(frames, at)?;
    let (b, second, at) = short(frames, at)?;
    let (c, third, at) = short(frames, at)?;
    let (d, fourth, end) = short(frames, at)?;
    let headers = [a, b, c, d];
    let tails = headers.map(|header| tail(header.words(), salt));
    let crcs = hintstore_checksum::four([first, second, third, fourth], tails);
    (crcs == headers.map(|header| header.crc)).then_some(end)
}

#[inline]
fn short(frames: &[u8], at: usize) -> Option<(Header, &[u8], usize)> {
    let header = Header::read(frames, at)?;
    let end = header.end(at);
    let usual = header.flags & !flag::NOT_IDEMPOTENT == 0 && header.length <= SIDE_BY_SIDE;
    if !usual {
        return None;
    }
    Some((header, frames.get(at + HEADER..end)?, end))
}

/// Splits a frame's body into optional fields and payload.
#[cold]
fn split(flags: u8, body: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let mut decoder = Decoder::new(body);
    skip_optional(flags, &mut decoder)?;
    let at = decoder.offset();
    body.split_at_checked(at)
        .ok_or(DecodeError::short(at, body.len()))
}

fn skip_optional(flags: u8, decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
    if flags & flag::UNKNOWN != 0 {
        return Err(DecodeError::field(
            at::FLAGS.offset,
            at::FLAGS.name,
            u64::from(flags),
        ));
    }
    for (bit, size) in [
        (flag::CREATED, 8),
        (flag::MUTATION_ID, 16),
        (flag::TOKEN, 8),
        (flag::ORIGIN, 48),
    ] {
        if flags & bit != 0 {
            decoder.take(size)?;
        }
    }
    if flags & flag::COLLAPSE != 0 {
        decoder.u64()?;
        let key = decoder.u16()?;
        decoder.take(key.into())?;
    }
    if flags & flag::EXTENSION != 0 {
        let length = decoder.u16()?;
        decoder.take(length.into())?;
    }
    Ok(())
}

impl<'a> Frame<'a> {
    /// Reads and verifies the frame at `at`; returns it and where it ends.
    pub fn read(
        frames: &'a [u8],
        at: usize,
        salt: u32,
        base_created: UnixMillis,
    ) -> Result<(Self, usize), DecodeError> {
        let (header, end) = check(frames, at, salt)?;
        let frame = Self::read_checked(frames, at, base_created)?;
        debug_assert_eq!(frame.header, header);
        Ok((frame, end))
    }

    /// Reads a frame whose checksum was found right before.
    #[inline]
    pub fn read_checked(
        frames: &'a [u8],
        at: usize,
        base_created: UnixMillis,
    ) -> Result<Self, DecodeError> {
        let header =
            Header::read(frames, at).ok_or(DecodeError::short(at + HEADER, frames.len()))?;
        Self::read_body(header, frames, at, base_created)
    }

    /// As [`Frame::read_checked`], of a frame whose header was kept: where the body has no optional
    /// fields, none of its bytes is looked at.
    #[inline]
    pub fn read_body(
        header: Header,
        frames: &'a [u8],
        at: usize,
        base_created: UnixMillis,
    ) -> Result<Self, DecodeError> {
        let end = header.end(at);
        let bytes = frames
            .get(at + HEADER..end)
            .ok_or(DecodeError::short(end, frames.len()))?;
        let flags = header.flags;
        let has = |bit| flags & bit != 0;
        let mut body = Body {
            created: UnixMillis::new(
                base_created
                    .get()
                    .saturating_add(i64::from(header.created_delta)),
            ),
            idempotent: !has(flag::NOT_IDEMPOTENT),
            ..Body::new(base_created, bytes)
        };
        if flags & !flag::NOT_IDEMPOTENT != 0 {
            body = Self::read_optional(flags, bytes, body)?;
        }
        Ok(Self { header, body })
    }

    #[cold]
    fn read_optional(
        flags: u8,
        bytes: &'a [u8],
        mut body: Body<'a>,
    ) -> Result<Body<'a>, DecodeError> {
        let (_, payload) = split(flags, bytes)?;
        let has = |bit| flags & bit != 0;
        let mut decoder = Decoder::new(bytes);
        if has(flag::CREATED) {
            body.created = UnixMillis::new(decoder.i64()?);
        }
        if has(flag::MUTATION_ID) {
            body.mutation_id = Some(MutationId::from_bytes(decoder.id()?));
        }
        if has(flag::TOKEN) {
            body.token = Some(decoder.i64()?);
        }
        if has(flag::ORIGIN) {
            body.origin = Some(Origin {
                store: StoreId::from_bytes(decoder.id()?),
                target: TargetId::from_bytes(decoder.id()?),
                sequence: Sequence::new(decoder.u64()?),
                incarnation: Incarnation::new(decoder.u64()?),
            });
        }
        if has(flag::COLLAPSE) {
            let version = decoder.u64()?;
            let length = decoder.u16()?;
            body.collapse = Some(Collapse {
                key: decoder.take(length.into())?,
                version,
            });
        }
        body.payload = payload;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: UnixMillis = UnixMillis::new(1_000_000);
    const PLACE: Place = Place {
        index: 7,
        profile: 3,
        salt: 0xdead_beef,
        base_created: BASE,
    };

    fn full(created: i64, payload: &[u8]) -> Body<'_> {
        Body {
            created: UnixMillis::new(created),
            idempotent: false,
            mutation_id: Some(MutationId::from_u128(42)),
            token: Some(-5),
            origin: Some(Origin {
                store: StoreId::from_u128(1),
                target: TargetId::from_u128(2),
                sequence: Sequence::new(3),
                incarnation: Incarnation::new(4),
            }),
            collapse: Some(Collapse {
                key: b"key",
                version: 9,
            }),
            payload,
        }
    }

    fn write(body: Body<'_>) -> Vec<u8> {
        let draft = Draft::new(&body);
        let mut bytes = vec![0; draft.length(BASE)];
        draft.write(PLACE, &mut bytes);
        bytes
    }

    #[test]
    fn frames_read_back() {
        for body in [
            Body::new(UnixMillis::new(1_000_005), b"payload"),
            Body::new(UnixMillis::new(999_995), b""),
            full(1_000_005, b"payload"),
            full(i64::MIN, b""),
            full(i64::MAX, &[7; 5000]),
        ] {
            let bytes = write(body);
            let (frame, end) = Frame::read(&bytes, 0, PLACE.salt, BASE).unwrap();
            assert_eq!(end, bytes.len());
            assert_eq!(frame.body, body);
            assert_eq!((frame.header.index, frame.header.profile), (7, 3));
        }
    }

    #[test]
    fn a_plain_hint_costs_sixteen_bytes() {
        assert_eq!(write(Body::new(BASE, &[1; 100])).len(), 116);
    }

    #[test]
    fn every_flipped_bit_every_cut_and_another_salt_is_seen() {
        let mut bytes = write(full(1_000_005, b"payload"));
        assert!(check(&bytes, 0, 1).is_err());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bytes, 0, PLACE.salt).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert!(check(&bytes[..cut], 0, PLACE.salt).is_err(), "cut {cut}");
        }
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let body = [&[3, 0][..], b"newpayload"].concat();
        let header = Header {
            length: body.len() as u32,
            crc: 0,
            index: 0,
            flags: flag::EXTENSION,
            profile: 0,
            created_delta: 0,
        };
        let crc = checksum::extend(checksum::crc(b"payload"), &body[..5]);
        let crc = finish(crc, header.words(), 1);
        let mut bytes = vec![0; HEADER];
        let [length, packed, delta] = header.words();
        LE::write_u32_into(&[length, crc, packed, delta], &mut bytes);
        bytes.extend_from_slice(&body);
        let (frame, _) = Frame::read(&bytes, 0, 1, BASE).unwrap();
        assert_eq!(frame.body.payload, b"payload");
    }

    #[test]
    fn limits_are_those_of_the_length_fields() {
        let key = vec![0; 65_536];
        let body = Body {
            collapse: Some(Collapse {
                key: &key,
                version: 0,
            }),
            ..Body::new(BASE, b"")
        };
        assert!(!body.fits());
        assert!(Body::new(BASE, b"").fits());
    }
}
