//! One flush of one slab: a fixed header, whole frames, a profile table.
//!
//! The header's place is reserved when the slab is bound. Salt, first sequence, base creation time
//! and `accepted_ms` are fixed then; [`seal`] fills in the rest in one walk over the frame headers.

use crate::{
    DecodeError, DecodeKind, SegmentId, Sequence, UnixMillis, checksum,
    codec::{Get, Put},
    expiry,
    frame::{Frame, Header as FrameHeader, flag},
    layout::{ALIGN, BLOCK_MAGIC, BODY_BYTES_MAX, PROFILES_MAX, align_up, block as at},
    profile::{self, Entry, Profile, Span},
};

/// Length of a block's header.
pub const HEADER: usize = at::SIZE;

/// Frames that are longer together are not compressed: what a block claims bounds the memory of its reader.
pub const PACKED_BYTES_MAX: usize = 1 << 20;

/// What is fixed when a slab is bound to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The sequence of index 0.
    pub first: Sequence,
    /// Mixed into every frame's checksum.
    pub salt: u32,
    /// What creation times are relative to.
    pub base_created: UnixMillis,
    /// The store's clock: no hint of the block was accepted before.
    pub accepted: UnixMillis,
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The segment.
    pub segment: SegmentId,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// The end of the segment's synced prefix when the block was written.
    pub synced_to: u64,
}

/// How frames lie in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// As they are.
    #[default]
    Plain,
    /// As one frame of zstd for each block.
    Zstd,
}

impl Codec {
    /// Its code in a block or a descriptor.
    pub fn code(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Zstd => 1,
        }
    }

    /// The codec of this code, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Plain, Self::Zstd]
            .into_iter()
            .find(|codec| codec.code() == code)
    }

    /// The word for it, as tools print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Zstd => "zstd",
        }
    }
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What was fixed when the slab was bound.
    pub start: Start,
    /// Where the block lies.
    pub position: Position,
    /// How many frames it holds.
    pub count: u32,
    /// Index of its last frame.
    pub last_index: u16,
    /// Length of its frames, as they are when they are not compressed.
    pub frames_length: u32,
    /// Length of them in the file.
    pub stored_length: u32,
    /// How they lie there.
    pub codec: Codec,
    /// Length of its profile table.
    pub table_length: u32,
    /// Creation times of its hints.
    pub created: Span<UnixMillis>,
    /// Deadlines of its hints, by the hints alone.
    pub deadlines: Span<UnixMillis>,
}

impl Header {
    /// Offset of the first frame in the file.
    pub fn frames_at(&self) -> u64 {
        self.position.offset + HEADER as u64
    }

    /// Offset of the profile table in the file.
    pub fn table_at(&self) -> u64 {
        self.frames_at() + u64::from(self.stored_length)
    }

    /// Length of header, frames and table.
    pub fn length(&self) -> u64 {
        HEADER as u64 + u64::from(self.stored_length) + u64::from(self.table_length)
    }

    /// Where the block ends: the next begins here, or at the next sector.
    pub fn end(&self) -> u64 {
        align_up(self.position.offset + self.length(), ALIGN)
    }

    /// The sequence of the block's last frame.
    pub fn last(&self) -> Sequence {
        self.start.first.plus(self.last_index.into())
    }

    /// Writes the header.
    pub fn encode(&self, out: &mut [u8; HEADER]) {
        out.fill(0);
        let mut put = Put(out);
        put.bytes(at::MAGIC, BLOCK_MAGIC);
        put.u64(at::SEGMENT, self.position.segment.get());
        put.u64(at::OFFSET, self.position.offset);
        put.u64(at::FIRST, self.start.first.get());
        put.u32(at::SALT, self.start.salt);
        put.u32(at::COUNT, self.count);
        put.u32(at::FRAMES, self.frames_length);
        put.u32(at::STORED, self.stored_length);
        put.u8(at::CODEC, self.codec.code());
        put.u32(at::TABLE, self.table_length);
        put.u16(at::LAST_INDEX, self.last_index);
        put.i64(at::BASE_CREATED, self.start.base_created.get());
        put.i64(at::ACCEPTED, self.start.accepted.get());
        put.i64(at::MIN_CREATED, self.created.min.get());
        put.i64(at::MAX_CREATED, self.created.max.get());
        put.i64(at::EARLIEST, self.deadlines.min.get());
        put.i64(at::LATEST, self.deadlines.max.get());
        put.u64(at::SYNCED_TO, self.position.synced_to);
        let crc = crc(out, self.position.segment, self.position.offset);
        Put(out).u32(at::CRC, crc);
    }

    /// Reads the header at the start of `bytes`, which lie at `offset` of `segment`.
    pub fn decode(bytes: &[u8], segment: SegmentId, offset: u64) -> Result<Self, DecodeError> {
        let get = Get::new(bytes, HEADER)?;
        if get.bytes(at::MAGIC) != BLOCK_MAGIC {
            return Err(DecodeError::new(0, DecodeKind::Magic));
        }
        let (stored, computed) = (get.u32(at::CRC), crc(bytes, segment, offset));
        if stored != computed {
            let kind = DecodeKind::Checksum { stored, computed };
            return Err(DecodeError::new(at::CRC.offset, kind));
        }
        // The checksum holds, so these can only be wrong by our own mistake or by malice; both
        // must not lead a reader out of bounds.
        let refuse = |field: crate::layout::Field, found: u64| {
            Err(DecodeError::field(field.offset, field.name, found))
        };
        let (frames, table) = (get.u32(at::FRAMES), get.u32(at::TABLE));
        if frames as usize > BODY_BYTES_MAX + 1024 {
            return refuse(at::FRAMES, frames.into());
        }
        if table as usize > profile::table_length(PROFILES_MAX) {
            return refuse(at::TABLE, table.into());
        }
        let (codec, cipher) = (get.u8(at::CODEC), get.u8(at::CIPHER));
        let Some(known) = Codec::from_code(codec).filter(|_| cipher == 0) else {
            return refuse(at::CODEC, codec.into());
        };
        let stored = get.u32(at::STORED);
        let is_packed =
            known != Codec::Plain && stored < frames && frames as usize <= PACKED_BYTES_MAX;
        if !is_packed && (known, stored) != (Codec::Plain, frames) {
            return refuse(at::STORED, stored.into());
        }
        let count = get.u32(at::COUNT);
        let last_index = get.u16(at::LAST_INDEX);
        if count == 0 || count > u32::from(last_index) + 1 {
            return refuse(at::COUNT, count.into());
        }
        let time = |field| UnixMillis::new(get.i64(field));
        Ok(Self {
            start: Start {
                first: Sequence::new(get.u64(at::FIRST)),
                salt: get.u32(at::SALT),
                base_created: time(at::BASE_CREATED),
                accepted: time(at::ACCEPTED),
            },
            position: Position {
                segment,
                offset,
                synced_to: get.u64(at::SYNCED_TO),
            },
            count,
            last_index,
            frames_length: frames,
            stored_length: stored,
            codec: known,
            table_length: table,
            created: Span {
                min: time(at::MIN_CREATED),
                max: time(at::MAX_CREATED),
            },
            deadlines: Span {
                min: time(at::EARLIEST),
                max: time(at::LATEST),
            },
        })
    }
}

fn crc(bytes: &[u8], segment: SegmentId, offset: u64) -> u32 {
    let covered = bytes.get(at::SEGMENT.offset..HEADER).unwrap_or_default();
    checksum::extend(checksum::place(segment, offset), covered)
}

/// Completes a block: `bytes` are the reserved header and whole frames that were written by
/// [`crate::frame::Draft`] with profiles out of `profiles`. Fills in the header and puts the
/// profile table, padded to the block's end, into `table`.
///
/// # Panics
/// If the frames are not what `Draft` wrote: what is in memory is trusted.
pub fn seal(
    start: Start,
    position: Position,
    profiles: &[Profile],
    bytes: &mut [u8],
    table: &mut Vec<u8>,
) -> Header {
    let Some((head, frames)) = bytes.split_first_chunk_mut::<HEADER>() else {
        unreachable!("a block begins with its header");
    };
    let mut entries: Vec<Entry> = profiles
        .iter()
        .map(|profile| Entry::new(*profile))
        .collect();
    let mut count = 0;
    let mut last_index = 0;
    let mut at = 0;
    while let Some(header) = FrameHeader::read(frames, at) {
        let plain = header.flags & !flag::NOT_IDEMPOTENT == 0;
        let (created, payload_bytes, token) = if plain {
            let delta = i64::from(header.created_delta);
            (
                start.base_created.get() + delta,
                u64::from(header.length),
                None,
            )
        } else {
            match Frame::read_checked(frames, at, start.base_created) {
                Ok(Frame { body, .. }) => {
                    (body.created.get(), body.payload.len() as u64, body.token)
                }
                Err(error) => unreachable!("a frame of our own cannot be read: {error}"),
            }
        };
        match entries.get_mut(usize::from(header.profile)) {
            Some(entry) => entry.add(UnixMillis::new(created), payload_bytes, token),
            None => unreachable!("a frame of our own names profile {}", header.profile),
        }
        count += 1;
        last_index = header.index;
        at = header.end(at);
    }
    assert!(
        at == frames.len() && count > 0,
        "frames of our own do not fill their block"
    );
    let header = assemble(start, position, &entries, count, last_index, frames.len());
    header.encode(head);
    table.clear();
    profile::encode_table(&entries, position.segment, position.offset, table);
    table.resize(
        table.len() + (header.end() - position.offset - header.length()) as usize,
        0,
    );
    header
}

fn assemble(
    start: Start,
    position: Position,
    entries: &[Entry],
    count: u32,
    last_index: u16,
    frames_length: usize,
) -> Header {
    let mut created = Span {
        min: UnixMillis::MAX,
        max: UnixMillis::MIN,
    };
    let mut deadlines = created;
    for entry in entries.iter().filter(|entry| entry.count > 0) {
        created.join(entry.created);
        let lifetime = entry.profile.lifetime();
        deadlines.add(expiry::written_deadline(entry.created.min, lifetime));
        deadlines.add(expiry::written_deadline(entry.created.max, lifetime));
    }
    Header {
        start,
        position,
        count,
        last_index,
        frames_length: frames_length as u32,
        stored_length: frames_length as u32,
        codec: Codec::Plain,
        table_length: profile::table_length(entries.len()) as u32,
        created,
        deadlines,
    }
}

/// A whole block of one hint, in memory of its own: for hints that fit no slab.
///
/// The result is the block up to its profile table, ready for [`seal`].
pub fn oversized(draft: &crate::frame::Draft<'_>, start: Start) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + draft.length(start.base_created)];
    let place = crate::frame::Place {
        index: 0,
        profile: 0,
        salt: start.salt,
        base_created: start.base_created,
    };
    if let Some(frame) = bytes.get_mut(HEADER..) {
        draft.write(place, frame);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Namespace,
        expiry::Lifetime,
        frame::{Body, Draft},
    };

    const START: Start = Start {
        first: Sequence::new(100),
        salt: 7,
        base_created: UnixMillis::new(50),
        accepted: UnixMillis::new(60),
    };
    const POSITION: Position = Position {
        segment: SegmentId::new(9),
        offset: 128,
        synced_to: 128,
    };

    fn profile() -> Profile {
        let lifetime = Lifetime {
            gc_grace: Duration::from_millis(10),
            ttl: None,
        };
        Profile::new(Namespace::NONE, 1, lifetime)
    }

    fn block() -> (Header, Vec<u8>) {
        let body = Body {
            token: Some(3),
            ..Body::new(UnixMillis::new(55), b"payload")
        };
        let mut bytes = oversized(&Draft::new(&body), START);
        let mut table = Vec::new();
        let header = seal(START, POSITION, &[profile()], &mut bytes, &mut table);
        bytes.extend_from_slice(&table);
        (header, bytes)
    }

    #[test]
    fn a_block_reads_back() {
        let (header, bytes) = block();
        assert_eq!(bytes.len() as u64, header.end() - 128);
        let read = Header::decode(&bytes, SegmentId::new(9), 128).unwrap();
        assert_eq!(read, header);
        assert_eq!(read.deadlines, Span::of(UnixMillis::new(65)));
        let table = (read.table_at() - 128) as usize;
        let table = &bytes[table..table + read.table_length as usize];
        let entries = profile::decode_table(table, SegmentId::new(9), 128).unwrap();
        assert_eq!(entries[0].tokens, Some(Span::of(3)));
        let (frame, _) = Frame::read(&bytes, HEADER, 7, START.base_created).unwrap();
        assert_eq!(frame.body.payload, b"payload");
    }

    #[test]
    fn a_header_is_bound_to_its_place_and_every_bit_counts() {
        let (_, mut bytes) = block();
        assert!(Header::decode(&bytes, SegmentId::new(9), 192).is_err());
        assert!(Header::decode(&bytes, SegmentId::new(8), 128).is_err());
        for bit in 0..HEADER * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Header::decode(&bytes, SegmentId::new(9), 128).is_err(),
                "bit {bit}"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
