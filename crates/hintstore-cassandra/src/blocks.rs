//! The blocks of a compressed file, one behind the other: two lengths, and what the compressor gave.
//!
//! Neither length has a checksum, so what they say is believed only when the compressor agrees.
//! Behind a block that does not unpack, the next one that does is looked for byte by byte; the
//! filters of the codecs make that cheap.

use std::io;

use byteorder::{BE, ByteOrder as _};

use crate::{
    codec::{Codec, Compressor},
    read_at::ReadAt,
    record::{RECORD_MAX, SEARCH_MAX, length_of},
};

/// A stretch of a compressed file that gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadBlock {
    /// Where it begins, in the file.
    pub position: u64,
    /// How long it is.
    pub bytes: u64,
    /// What is wrong with it.
    pub text: String,
    /// The file ends in it, and what is there may well be the beginning of a block.
    pub torn: bool,
}

/// What comes next.
pub(crate) enum Block {
    /// Its bytes were added to the buffer.
    Unpacked,
    /// There is none where one should be, or only the beginning of one, which was added to the
    /// buffer; the next call goes on behind it.
    Bad(BadBlock),
    /// The end of the file.
    End,
}

/// Reads block after block.
#[derive(Debug)]
pub(crate) struct Blocks {
    at: u64,
    end: u64,
    compressor: Compressor,
    packed: Vec<u8>,
    /// Some block is empty, or its lengths are not what the compressor says.
    pub(crate) odd: bool,
    /// Bytes that may still be unpacked to see whether a block begins somewhere.
    search: u64,
}

/// No block gives more: one record that is as long as a record may be.
const UNPACKED_MAX: u64 = RECORD_MAX + 12;
const SIZES: u64 = 8;
/// How much of a block tells whether it may be one.
const LOOK_AT: usize = 16;

impl Blocks {
    pub(crate) fn new(codec: Codec, at: u64, end: u64) -> Self {
        Self {
            at,
            end,
            compressor: Compressor::new(codec),
            packed: Vec::new(),
            odd: false,
            search: SEARCH_MAX,
        }
    }

    /// Where the next block begins, in the file.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Unpacks the next block behind the first `filled` bytes of `buffer`.
    pub(crate) fn next<R: ReadAt>(
        &mut self,
        file: &R,
        buffer: &mut Vec<u8>,
        filled: &mut usize,
    ) -> io::Result<Block> {
        if self.at == self.end {
            return Ok(Block::End);
        }
        let begin = self.at;
        let why = match self.unpack(file, begin, buffer, *filled)? {
            Ok((unpacked, taken)) => {
                *filled += unpacked;
                self.at += SIZES + taken;
                return Ok(Block::Unpacked);
            }
            Err(why) => why,
        };
        if self.is_zero_tail(file, begin)? {
            self.at = self.end;
            return Ok(Block::Bad(BadBlock {
                position: begin,
                bytes: self.end - begin,
                text: "nothing but zeros".to_owned(),
                torn: true,
            }));
        }
        *filled += why.good;
        self.at = self.find(file, begin + 1, buffer, *filled)?;
        Ok(Block::Bad(BadBlock {
            position: begin,
            bytes: self.at - begin,
            torn: self.at == self.end && why.torn,
            text: why.text,
        }))
    }

    /// Tries the block at `at`; gives how much it gave, and how much of the file it took behind
    /// its lengths.
    fn unpack<R: ReadAt>(
        &mut self,
        file: &R,
        at: u64,
        buffer: &mut Vec<u8>,
        filled: usize,
    ) -> io::Result<Result<(usize, u64), Why>> {
        let left = self.end - at;
        if left < SIZES {
            let text = format!("the file ends inside the lengths of a block: {left} bytes");
            return Ok(Err(Why::new(text, true)));
        }
        let mut sizes = [0; SIZES as usize];
        exact(file, &mut sizes, at)?;
        let said = u64::from(BE::read_u32(&sizes[..4]));
        let packed = u64::from(BE::read_u32(&sizes[4..]));
        let there = packed.min(left - SIZES);
        if packed > UNPACKED_MAX {
            let text = format!("no block has {packed} bytes");
            return Ok(Err(Why::new(text, false)));
        }
        // Of the two lengths that say how much a block gives, that of the compressor is right.
        let mut head = [0; LOOK_AT];
        let head = head.get_mut(..there.min(LOOK_AT as u64) as usize);
        let head = head.unwrap_or_default();
        exact(file, head, at + SIZES)?;
        let codec = self.compressor.codec();
        let size = codec.size_of(head, said);
        let is_empty_copy = codec == Codec::Noop && (said, packed) == (0, 0);
        if !(plausible(codec, size, packed) || is_empty_copy)
            || self.is_zero_tail_of(file, at, said)?
        {
            let text = format!("no block unpacks from {packed} to {size} bytes");
            return Ok(Err(Why::new(text, false)));
        }
        // No codec packs into much more than there was: a length that says so is not followed.
        let most = size.saturating_add(size / 6).saturating_add(512);
        self.packed.resize(there.min(most) as usize, 0);
        exact(file, &mut self.packed, at + SIZES)?;
        // Of a block that is cut off, what is there gives no more than it can.
        let size = size.min(codec.most_of(there)) as usize;
        if there == packed && !codec.may_begin(&self.packed, size) {
            let text = "what follows the lengths of the block is none".to_owned();
            return Ok(Err(Why::new(text, there < packed)));
        }
        if buffer.len() < filled + size {
            buffer.resize(filled + size, 0);
        }
        let Some(out) = buffer.get_mut(filled..filled + size) else {
            return Ok(Ok((0, 0)));
        };
        Ok(match self.compressor.unpack(&self.packed, out) {
            Ok((_, good)) if codec == Codec::Noop && there < packed => Err(Why {
                text: "the file ends inside the block".to_owned(),
                torn: true,
                good,
            }),
            Ok((taken, given)) => {
                self.odd |= given == 0 || given as u64 != said || taken as u64 != packed;
                Ok((given, taken as u64))
            }
            Err(error) => Err(Why {
                text: format!("the block does not unpack: {error}"),
                torn: there < packed,
                good: self.compressor.prefix(&self.packed, out),
            }),
        })
    }

    /// An empty block that is only zeros may be the end of a file that space was reserved for.
    fn is_zero_tail_of<R: ReadAt>(&self, file: &R, at: u64, said: u64) -> io::Result<bool> {
        Ok(said == 0 && self.is_zero_tail(file, at)?)
    }

    /// Whether nothing but zeros is left.
    fn is_zero_tail<R: ReadAt>(&self, file: &R, from: u64) -> io::Result<bool> {
        let mut piece = [0; 4096];
        let mut at = from;
        while at < self.end {
            let part = piece.get_mut(..(self.end - at).min(4096) as usize);
            let part = part.unwrap_or_default();
            exact(file, part, at)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += part.len() as u64;
        }
        Ok(true)
    }

    /// The next place from `from` on where a block unpacks, and begins with a record or is empty;
    /// the end, if there is none.
    fn find<R: ReadAt>(
        &mut self,
        file: &R,
        from: u64,
        buffer: &mut Vec<u8>,
        filled: usize,
    ) -> io::Result<u64> {
        let mut piece = vec![0; 64 << 10];
        let mut at = from;
        while self.end.saturating_sub(at) > SIZES {
            let read = file.read_at(&mut piece, at)?.min((self.end - at) as usize);
            let head = piece.get(..read).unwrap_or_default();
            for (offset, sizes) in head.windows(SIZES as usize).enumerate() {
                let size = u64::from(BE::read_u32(sizes));
                let packed = u64::from(BE::read_u32(sizes.get(4..).unwrap_or_default()));
                let here = at + offset as u64;
                if !plausible(self.compressor.codec(), size, packed)
                    || packed > self.end - here - SIZES
                {
                    continue;
                }
                let after = head.get(offset + SIZES as usize..).unwrap_or_default();
                if after.len() < LOOK_AT && here + SIZES + (after.len() as u64) < self.end {
                    // The next piece has more of it.
                    break;
                }
                let codec = self.compressor.codec();
                if codec != Codec::Noop && !codec.may_begin(after, size as usize) {
                    continue;
                }
                if packed > self.search {
                    continue;
                }
                let unpacked = self.unpack(file, here, buffer, filled)?;
                let Ok((unpacked, _)) = unpacked else {
                    self.search -= packed;
                    continue;
                };
                let block = buffer.get(filled..filled + unpacked).unwrap_or_default();
                if block.is_empty() || length_of(block).is_some() {
                    return Ok(here);
                }
            }
            // The next piece begins with what was too near the end of this one.
            at += (read as u64)
                .saturating_sub(SIZES + LOOK_AT as u64 - 1)
                .max(1);
        }
        Ok(self.end)
    }
}

fn plausible(codec: Codec, size: u64, packed: u64) -> bool {
    // No codec needs more for nothing than a few bytes.
    let most = if size == 0 { 32 } else { UNPACKED_MAX };
    (1..=most).contains(&packed) && size <= UNPACKED_MAX && size <= codec.most_of(packed)
}

struct Why {
    text: String,
    torn: bool,
    /// How much came before it.
    good: usize,
}

impl Why {
    fn new(text: String, torn: bool) -> Self {
        let good = 0;
        Self { text, torn, good }
    }
}

/// Fills `buffer` with what lies at `at`.
pub(crate) fn exact<R: ReadAt>(file: &R, buffer: &mut [u8], at: u64) -> io::Result<()> {
    if file.read_at(buffer, at)? == buffer.len() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the file became shorter while it was read",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::{Blocked, encode_record};

    fn unpack(codec: Codec, bytes: &[u8]) -> (Vec<u8>, Vec<BadBlock>) {
        let mut blocks = Blocks::new(codec, 0, bytes.len() as u64);
        let (mut buffer, mut filled, mut bad) = (Vec::new(), 0, Vec::new());
        loop {
            match blocks.next(&bytes, &mut buffer, &mut filled).unwrap() {
                Block::Unpacked => {}
                Block::Bad(one) => bad.push(one),
                Block::End => break,
            }
        }
        buffer.truncate(filled);
        (buffer, bad)
    }

    /// Three blocks of one record each.
    fn file(codec: Codec) -> (Vec<u8>, Vec<u8>, Vec<usize>) {
        let (mut packed, mut plain, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for text in ["first first first first", "second second second", "third"] {
            let mut record = Vec::new();
            encode_record(text.as_bytes(), &mut record);
            packed.extend(Blocked::new(codec).block(&record).unwrap());
            plain.extend(record);
            ends.push(packed.len());
        }
        (packed, plain, ends)
    }

    #[test]
    fn a_flipped_bit_costs_its_block() {
        for codec in Codec::all() {
            let (packed, plain, ends) = file(codec);
            assert_eq!(unpack(codec, &packed), (plain.clone(), vec![]));
            for bit in 0..packed.len() * 8 {
                let mut bytes = packed.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let (found, _) = unpack(codec, &bytes);
                let hit = ends.iter().filter(|end| **end <= bit / 8).count();
                let intact = ["first first first first", "second second second", "third"];
                for (number, text) in intact.iter().enumerate() {
                    let there = found
                        .windows(text.len())
                        .any(|part| part == text.as_bytes());
                    assert!(
                        there || number == hit,
                        "{codec:?} bit {bit}: {text} is lost"
                    );
                }
            }
        }
    }

    #[test]
    fn hostile_lengths_cost_nothing() {
        let mut bytes = vec![0xff; 64];
        bytes[..8].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 8]);
        for codec in [Codec::Lz4, Codec::Snappy, Codec::Deflate, Codec::Zstd] {
            let (found, bad) = unpack(codec, &bytes);
            assert_eq!((found.len(), bad.len()), (0, 1), "{codec:?}");
        }
    }
}
