//! The bytes of a file as Cassandra's own reader gets them, with what it does at their end.
//!
//! The plain reader ends where the file does. The one of compressed files trusts the lengths of
//! its blocks: it takes an empty block for the end, once; and where a header is cut it goes on with
//! what the header before has left in its buffer, without end if need be.

use std::io;

use byteorder::{BE, ByteOrder as _, LE};

use crate::{codec::Codec, lz4, read_at::ReadAt};

/// What is behind the bytes that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The end of the file.
    End,
    /// An empty block: an end that is none.
    Break,
    /// An exception.
    Failure,
}

/// The stream, and a window over it.
#[derive(Debug)]
pub(super) struct Stream<R> {
    file: R,
    length: u64,
    at: u64,
    blocks: Option<Blocks>,
    window: Vec<u8>,
    start: usize,
    /// Where the window begins, in what the file unpacks to.
    pub(super) position: u64,
    stop: Option<Stop>,
    /// How often the reader went past the end of the file.
    pub(super) past_end: u32,
}

/// What the reader of compressed files keeps from block to block.
#[derive(Debug)]
struct Blocks {
    codec: Codec,
    sizes: [u8; 8],
    packed: Vec<u8>,
    /// How long the buffer before the compressor would be.
    packed_room: usize,
    unpacked: Vec<u8>,
    /// How long the buffer behind it would be.
    room: usize,
    length: u64,
    any: bool,
}

/// How much of a plain file is read at once.
const PIECE: usize = 64 << 10;
/// What the reader's buffer holds before a block asks for more.
const BUFFER: usize = 4096;
/// What a JVM of 1500 MiB gives for one array, or less.
pub(super) const ALLOCATION_MAX: usize = 1 << 30;
/// And for the buffer of a block, which it makes 5 % larger than asked for.
const BLOCK_MAX: usize = 1_490_000_000;

impl<R: ReadAt> Stream<R> {
    pub(super) fn new(file: R, length: u64, at: u64, codec: Option<Codec>) -> Self {
        Self {
            file,
            length,
            at,
            blocks: codec.map(|codec| Blocks {
                codec,
                sizes: [0; 8],
                packed: Vec::new(),
                packed_room: 0,
                unpacked: Vec::new(),
                room: BUFFER,
                length,
                any: false,
            }),
            window: Vec::new(),
            start: 0,
            position: if codec.is_some() { 0 } else { at },
            stop: None,
            past_end: 0,
        }
    }

    /// Nothing was ever read of a compressed file: its reader cannot be closed.
    pub(super) fn fails_to_close(&self) -> bool {
        self.blocks.as_ref().is_some_and(|blocks| !blocks.any)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.window.get(self.start..).unwrap_or_default()
    }

    pub(super) fn is_end(&self) -> bool {
        let more = self.stop.is_none() && self.at != self.length;
        self.bytes().is_empty() && !more && self.stop.is_none_or(|stop| stop == Stop::End)
    }

    /// Makes `count` bytes available, if there are that number before a stop; gives how many there
    /// are.
    pub(super) fn fill(&mut self, count: usize) -> io::Result<usize> {
        if self.bytes().len() < count && self.start > 0 {
            self.window.drain(..self.start);
            self.start = 0;
        }
        while self.bytes().len() < count && self.stop.is_none() {
            self.stop = self.more()?;
        }
        Ok(self.bytes().len())
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        self.position += count as u64;
    }

    /// The reader wants more than there is: takes what there is, and gives what it runs into.
    pub(super) fn run_out(&mut self) -> Stop {
        self.consume(self.bytes().len());
        let stop = self.stop.unwrap_or(Stop::End);
        if stop == Stop::Break {
            self.stop = None;
        }
        stop
    }

    fn more(&mut self) -> io::Result<Option<Stop>> {
        if self.at == self.length {
            return Ok(Some(Stop::End));
        }
        let Some(blocks) = &mut self.blocks else {
            let filled = self.window.len();
            self.window.resize(filled + PIECE, 0);
            let into = self.window.get_mut(filled..).unwrap_or_default();
            let read = self.file.read_at(into, self.at)?;
            let read = read.min((self.length - self.at) as usize);
            self.window.truncate(filled + read);
            self.at += read as u64;
            return Ok((read == 0).then_some(Stop::End));
        };
        self.past_end += u32::from(self.at > self.length);
        let unpacked = blocks.next(&self.file, &mut self.at)?;
        Ok(match unpacked {
            None => Some(Stop::Failure),
            Some(0) => Some(Stop::Break),
            Some(length) => {
                let block = blocks.unpacked.get(..length).unwrap_or_default();
                self.window.extend_from_slice(block);
                None
            }
        })
    }
}

impl Blocks {
    /// Reads and unpacks a block; gives how long it is, or nothing for an exception.
    fn next<R: ReadAt>(&mut self, file: &R, at: &mut u64) -> io::Result<Option<usize>> {
        self.any = true;
        file.read_at(&mut self.sizes, *at)?;
        *at += 8;
        let size = |bytes: &[u8]| {
            // A negative one is an exception, as one that is too large is.
            let size = usize::try_from(BE::read_i32(bytes)).ok();
            size.filter(|size| *size <= BLOCK_MAX)
        };
        let (Some(size), Some(packed)) = (size(&self.sizes[..4]), size(&self.sizes[4..])) else {
            return Ok(None);
        };
        if packed > self.packed_room {
            self.packed_room = packed + packed / 20;
            self.packed.clear();
        }
        // Of a buffer that a length claims no more is made than the file can fill; the zeros that
        // would follow are no compressor's.
        let there = usize::try_from(self.length.saturating_sub(*at)).unwrap_or(usize::MAX);
        let made = packed
            .min(there.saturating_add(BUFFER))
            .max(self.packed.len());
        self.packed.resize(made, 0);
        let input = self.packed.get_mut(..packed.min(made)).unwrap_or_default();
        file.read_at(input, *at)?;
        *at += packed as u64;
        if size > self.room {
            self.room = size + size / 20;
            self.unpacked.clear();
        }
        let input = self.packed.get(..packed.min(made)).unwrap_or_default();
        let Some(needed) = needed(self.codec, input, size).filter(|needed| *needed <= self.room)
        else {
            return Ok(None);
        };
        if needed > self.unpacked.len() {
            self.unpacked.resize(needed, 0);
        }
        Ok(unpack(self.codec, input, &mut self.unpacked, size))
    }
}

/// How much a block gives at most; nothing where it is beyond all sense.
fn needed(codec: Codec, packed: &[u8], limit: usize) -> Option<usize> {
    /// Deflate gives no more for a byte.
    const DEFLATE_MAX: usize = 1032;
    let needed = match codec {
        Codec::Deflate => limit.min(packed.len().saturating_mul(DEFLATE_MAX)),
        Codec::Noop => packed.len(),
        Codec::Lz4 | Codec::Snappy | Codec::Zstd => {
            usize::try_from(codec.size_of(packed, limit as u64)).ok()?
        }
    };
    (needed <= 256 << 20).then_some(needed)
}

/// What Cassandra's compressors do, also with what none of them has made: how much is in `out`
/// afterwards, or nothing for an exception. `limit` is how much the block says there is.
fn unpack(codec: Codec, packed: &[u8], out: &mut [u8], limit: usize) -> Option<usize> {
    match codec {
        Codec::Lz4 => {
            let (size, block) = packed.split_first_chunk::<4>()?;
            let size = LE::read_u32(size) as usize;
            lz4::unpack(block, out.get_mut(..size)?).ok()?;
            (size <= limit).then_some(size)
        }
        Codec::Snappy => {
            let size = snap::raw::decompress_len(packed).ok()?;
            let mut decoder = snap::raw::Decoder::new();
            decoder.decompress(packed, out.get_mut(..size)?).ok()
        }
        Codec::Deflate => {
            if packed.is_empty() {
                return Some(0);
            }
            let mut inflate = flate2::Decompress::new(true);
            let into = out.get_mut(..limit.min(out.len()))?;
            let flush = flate2::FlushDecompress::None;
            inflate.decompress(packed, into, flush).ok()?;
            Some(inflate.total_out() as usize)
        }
        Codec::Zstd => {
            let mut zstd = zstd::bulk::Decompressor::new().ok()?;
            zstd.decompress_to_buffer(packed, out.get_mut(..limit)?)
                .ok()
        }
        Codec::Noop => {
            if packed.len() > limit {
                return None;
            }
            out.get_mut(..packed.len())?.copy_from_slice(packed);
            Some(packed.len())
        }
    }
}
