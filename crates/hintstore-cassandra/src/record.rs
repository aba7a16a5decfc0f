//! The records of a file, one behind the other.
//!
//! A record is a length, the checksum of the length, the body, and a checksum over length and
//! body. Nothing marks where a record begins, so behind a wrong length the next place is looked
//! for where length, its checksum and that of the body hold; a wrong body costs itself. A checksum
//! is verified before anything is made of the bytes it covers.

use std::io;

use byteorder::{BE, ByteOrder as _};

use crate::{
    blocks::{BadBlock, Block, Blocks, exact},
    codec::Codec,
    read_at::ReadAt,
};

/// What a walk over records meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record whose checksums are right. Its body is in [`Records::body`].
    Intact {
        /// Its number in the file, from 0.
        index: u64,
        /// Where it begins.
        position: u64,
    },
    /// A record whose body is damaged; the next one can be found.
    BadBody {
        /// Its number in the file, from 0.
        index: u64,
        /// Where it begins.
        position: u64,
        /// Length of the body.
        length: u64,
    },
    /// No record can begin here. The next one was looked for, and is the next item; or there is
    /// none, and this is the last.
    Gap {
        /// Where it begins.
        position: u64,
        /// Bytes up to the next record, or to the end.
        bytes: u64,
        /// A record was found behind it.
        found: bool,
    },
    /// The file ends inside a record: the last item.
    Torn {
        /// Where the record begins.
        position: u64,
        /// Bytes of it that are there.
        left: u64,
    },
    /// Nothing but zeros from here on: the last item.
    ZeroTail {
        /// Where they begin.
        position: u64,
        /// How many.
        left: u64,
    },
    /// A stretch of a compressed file that does not unpack. Its position is that in the file.
    BadBlock(BadBlock),
}

/// Walks the records of a file.
///
/// Positions are those in the file, or in a compressed one those in what it unpacks to, from 0.
#[derive(Debug)]
pub struct Records<R> {
    window: Window<R>,
    index: u64,
    body: std::ops::Range<usize>,
    /// What the record that was met last takes: it is in the window until the next is asked for.
    taken: usize,
    /// Bytes that may still be hashed to see whether a record begins somewhere.
    search: u64,
}

pub(crate) const HEAD: usize = 8;
const TAIL: usize = 4;

/// No record is longer. A node takes no mutation above half a commit log segment, 16 MiB as it is
/// delivered; a length beyond this was never written, whatever its checksum says.
pub(crate) const RECORD_MAX: u64 = 128 << 20;

/// How much is hashed in vain while records are searched for. Honest damage needs next to none of
/// it: a length and its checksum agree by chance once in 2³² places.
pub(crate) const SEARCH_MAX: u64 = 1 << 30;

/// The checksums of a byte in each of the four places of a length.
#[expect(
    clippy::indexing_slicing,
    reason = "in a constant, where it cannot fail at run time"
)]
const CRC: [[u32; 256]; 4] = {
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut place = 1;
    while place < 4 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[place - 1][byte];
            tables[place][byte] = crc >> 8 ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        place += 1;
    }
    tables
};

/// The checksum of a length as it is stored.
#[inline]
#[expect(clippy::indexing_slicing, reason = "a byte is an index of 256 places")]
fn crc_of_length(length: u32) -> u32 {
    let crc = !length.swap_bytes();
    let byte = |place: u32| (crc >> (8 * place) & 0xff) as usize;
    !(CRC[3][byte(0)] ^ CRC[2][byte(1)] ^ CRC[1][byte(2)] ^ CRC[0][byte(3)])
}

/// The length of the body, where a record may begin: 1 to what one may have, and its checksum.
#[inline]
pub(crate) fn length_of(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<HEAD>()?;
    let length = BE::read_u32(&head[..4]);
    let plausible = length != 0 && u64::from(length) <= RECORD_MAX;
    (plausible && crc_of_length(length) == BE::read_u32(&head[4..])).then_some(length as usize)
}

/// How many zeros `bytes` begins with.
fn zeros_at(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<64>();
    let whole = chunks.iter().take_while(|chunk| **chunk == [0; 64]).count() * 64;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole + rest.iter().take_while(|byte| **byte == 0).count()
}

/// Whether the checksum over the whole record holds; `record` is all of it.
#[inline]
fn holds(record: &[u8]) -> bool {
    let Some((covered, stored)) = record.split_last_chunk::<TAIL>() else {
        return false;
    };
    let (Some(length), Some(body)) = (covered.first_chunk::<4>(), covered.get(HEAD..)) else {
        return false;
    };
    // The checksum goes on where that of the length ended.
    let mut crc = crc32fast::Hasher::new_with_initial(crc_of_length(BE::read_u32(length)));
    crc.update(body);
    crc.finalize() == BE::read_u32(stored)
}

impl<R: ReadAt> Records<R> {
    /// A walk over the records of an uncompressed file: from `position`, the end of its
    /// descriptor, to `end`, its length. Both are what nothing in the file can change: a record is
    /// never taken to be longer than what is left.
    pub fn plain(file: R, position: u64, end: u64) -> Self {
        Self::new(file, position, Stored::Plain { at: position, end })
    }

    /// The same over a compressed file.
    pub fn compressed(file: R, codec: Codec, position: u64, end: u64) -> Self {
        Self::new(
            file,
            0,
            Stored::Blocks(Box::new(Blocks::new(codec, position, end))),
        )
    }

    fn new(file: R, position: u64, stored: Stored) -> Self {
        Self {
            window: Window {
                file,
                stored,
                buffer: Vec::new(),
                start: 0,
                filled: 0,
                position,
                damage: None,
            },
            index: 0,
            body: 0..0,
            taken: 0,
            search: SEARCH_MAX,
        }
    }

    /// The body of the record that was met last.
    #[inline]
    pub fn body(&self) -> &[u8] {
        self.window
            .buffer
            .get(self.body.clone())
            .unwrap_or_default()
    }

    /// The checksum over the record that was met last, as it is stored.
    pub(crate) fn crc(&self) -> u32 {
        let stored = self.window.buffer.get(self.body.end..);
        let stored = stored.and_then(|stored| stored.first_chunk::<TAIL>());
        stored.map_or(0, |stored| BE::read_u32(stored))
    }

    /// Whether Cassandra's own reader may see this file otherwise than this walk does, although
    /// every item so far was intact: nothing was read at all, or some block is empty or has lengths
    /// that are not true.
    pub fn is_odd(&self) -> bool {
        match &self.window.stored {
            Stored::Plain { .. } => false,
            Stored::Blocks(blocks) => blocks.odd || self.index == 0,
        }
    }

    /// What the file is read up to, in the file itself.
    pub fn file_position(&self) -> u64 {
        match &self.window.stored {
            Stored::Plain { .. } => self.window.position,
            Stored::Blocks(blocks) => blocks.at(),
        }
    }

    /// The next item; `None` at the end. An error is the disk's.
    #[inline]
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        self.window.consume(self.taken);
        self.taken = 0;
        let left = self.window.fill(HEAD)?;
        if let Some(length) = length_of(self.window.bytes()) {
            let whole = HEAD + length + TAIL;
            if left >= whole || self.window.fill(whole)? >= whole {
                return Ok(Some(self.record(length)));
            }
        }
        if left == 0 {
            return Ok(self.window.damage.take().map(Item::BadBlock));
        }
        self.gap().map(Some)
    }

    /// The record at the start of the window, which is there in full.
    #[inline]
    fn record(&mut self, length: usize) -> Item {
        let (index, position) = (self.index, self.window.position);
        self.index += 1;
        self.taken = HEAD + length + TAIL;
        let begin = self.window.start + HEAD;
        self.body = begin..begin + length;
        let record = self.window.bytes().get(..self.taken).unwrap_or_default();
        if holds(record) {
            Item::Intact { index, position }
        } else {
            Item::BadBody {
                index,
                position,
                length: length as u64,
            }
        }
    }

    /// No record begins at the start of the window: looks for the next one, within what hangs
    /// together.
    #[cold]
    fn gap(&mut self) -> io::Result<Item> {
        let position = self.window.position;
        let torn = self.window.fill(HEAD)? < HEAD || length_of(self.window.bytes()).is_some();
        let mut zeros = self.window.bytes().first() == Some(&0);
        let mut at = 1;
        loop {
            if at >= 64 << 10 {
                self.window.consume(at);
                at = 0;
            }
            let have = self.window.fill(at + HEAD)?;
            let bytes = self.window.bytes();
            if have < at + HEAD {
                // Too little for a record: the end, or that of what hangs together.
                zeros &= bytes.get(at..).unwrap_or_default().iter().all(|b| *b == 0);
                self.window.consume(have);
                if let Some(bad) = self.window.damage.take() {
                    // It is the beginning of a block that does not go on.
                    return Ok(Item::BadBlock(bad));
                }
                let left = self.window.position - position;
                return Ok(if zeros {
                    Item::ZeroTail { position, left }
                } else if torn {
                    Item::Torn { position, left }
                } else {
                    Item::Gap {
                        position,
                        bytes: left,
                        found: false,
                    }
                });
            }
            let here = bytes.get(at..).unwrap_or_default();
            zeros &= here.first() == Some(&0);
            if let Some(length) = length_of(here)
                && self.begins(at, length)?
            {
                // The next item is that record.
                self.window.consume(at);
                let bytes = self.window.position - position;
                return Ok(Item::Gap {
                    position,
                    bytes,
                    found: true,
                });
            }
            at += 1;
            // No record begins with more than three zeros.
            let run = zeros_at(self.window.bytes().get(at..).unwrap_or_default());
            at += run.saturating_sub(4);
        }
    }

    /// Whether a whole record begins `at` bytes behind the start of the window.
    fn begins(&mut self, at: usize, length: usize) -> io::Result<bool> {
        let whole = HEAD + length + TAIL;
        if length as u64 > self.search {
            return Ok(false);
        }
        if self.window.fill(at + whole)? < at + whole {
            return Ok(false);
        }
        let record = self.window.bytes().get(at..at + whole).unwrap_or_default();
        if holds(record) {
            return Ok(true);
        }
        self.search -= length as u64;
        Ok(false)
    }
}

/// How the stream of records is stored.
#[derive(Debug)]
enum Stored {
    Plain { at: u64, end: u64 },
    Blocks(Box<Blocks>),
}

/// A window over the stream of records: `buffer[start..filled]`, which begins at `position`.
#[derive(Debug)]
struct Window<R> {
    file: R,
    stored: Stored,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    position: u64,
    /// The stream is broken at the end of the window, until this is taken.
    damage: Option<BadBlock>,
}

/// How much of a plain file is read at once.
const PIECE: usize = 256 << 10;

impl<R: ReadAt> Window<R> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.filled).unwrap_or_default()
    }

    #[inline]
    fn consume(&mut self, count: usize) {
        self.start += count;
        self.position += count as u64;
    }

    /// Makes `count` bytes available, if there are that number before the end or the next break; gives
    /// how many there are.
    #[inline]
    fn fill(&mut self, count: usize) -> io::Result<usize> {
        let have = self.filled - self.start;
        if have >= count {
            return Ok(have);
        }
        self.fill_slowly(count)
    }

    fn fill_slowly(&mut self, count: usize) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
        }
        while self.filled < count && self.damage.is_none() && self.more(count)? {}
        // What one long record needed is given back.
        if self.filled < PIECE && self.buffer.len() > 16 * PIECE && count <= PIECE {
            self.buffer.truncate(4 * PIECE);
            self.buffer.shrink_to_fit();
        }
        Ok(self.filled)
    }

    /// Reads on; false at the end.
    fn more(&mut self, count: usize) -> io::Result<bool> {
        match &mut self.stored {
            Stored::Plain { at, end } => {
                let missing = count - self.filled;
                let want = (missing.max(PIECE) as u64).min(*end - *at) as usize;
                if self.buffer.len() < self.filled + want {
                    self.buffer.resize(self.filled + want, 0);
                }
                let into = self.buffer.get_mut(self.filled..self.filled + want);
                exact(&self.file, into.unwrap_or_default(), *at)?;
                *at += want as u64;
                self.filled += want;
                Ok(want > 0)
            }
            Stored::Blocks(blocks) => {
                match blocks.next(&self.file, &mut self.buffer, &mut self.filled)? {
                    Block::Unpacked => Ok(true),
                    Block::End => Ok(false),
                    Block::Bad(bad) => {
                        self.damage = Some(bad);
                        Ok(false)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::{Blocked, encode_record};

    fn record(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_record(body, &mut bytes);
        bytes
    }

    fn items(mut records: Records<&[u8]>) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(item) = records.next_item().unwrap() {
            items.push(item);
        }
        items
    }

    fn walk(bytes: &[u8]) -> Vec<Item> {
        let file = [&[7; 42], bytes].concat();
        items(Records::plain(&file, 42, file.len() as u64))
    }

    fn intact(items: &[Item]) -> usize {
        items
            .iter()
            .filter(|item| matches!(item, Item::Intact { .. }))
            .count()
    }

    #[test]
    fn the_checksum_of_a_length_is_that_of_its_bytes() {
        for length in [0, 1, 61, 0x0102_0304, u32::MAX] {
            let mut bytes = [0; 4];
            BE::write_u32(&mut bytes, length);
            assert_eq!(crc_of_length(length), crc32fast::hash(&bytes));
        }
        assert_eq!(crc_of_length(61), 0x792c_930d);
    }

    #[test]
    fn records_and_tails_are_distinguished() {
        let two = [record(b"one"), record(b"three")].concat();
        let first = Item::Intact {
            index: 0,
            position: 42,
        };
        let second = Item::Intact {
            index: 1,
            position: 57,
        };
        assert_eq!(walk(&two), [first.clone(), second.clone()]);
        for zeros in [1, 3, 8, 5000, 300_000] {
            let bytes = [&two[..], &vec![0; zeros]].concat();
            let tail = Item::ZeroTail {
                position: 74,
                left: zeros as u64,
            };
            assert_eq!(walk(&bytes), [first.clone(), second.clone(), tail]);
        }
        let garbage = [&two[..], &[0; 100], &[1]].concat();
        let gap = Item::Gap {
            position: 74,
            bytes: 101,
            found: false,
        };
        assert_eq!(walk(&garbage)[2], gap);
        assert_eq!(
            walk(&[&two[..], &[7; 3]].concat())[2],
            Item::Torn {
                position: 74,
                left: 3
            }
        );
        // The first bytes of a length are zeros, and so the tail may be.
        for cut in 19..two.len() {
            let items = walk(&two[..cut]);
            assert_eq!(items[0], first);
            assert!(
                matches!(items[1], Item::Torn { position: 57, .. }),
                "{cut}: {items:?}"
            );
        }
    }

    #[test]
    fn a_flipped_bit_costs_its_record_only() {
        let all = [record(b"one"), record(b"three"), record(b"five")].concat();
        for bit in 0..all.len() * 8 {
            let mut bytes = all.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let items = walk(&bytes);
            assert_eq!(intact(&items), 2, "bit {bit}: {items:?}");
        }
    }

    #[test]
    fn what_lies_between_records_is_skipped() {
        for hole in [1, 600, 70_000, 200_000] {
            for byte in [0, 0xff, 5] {
                let bytes = [record(b"one"), vec![byte; hole], record(b"two")].concat();
                let items = walk(&bytes);
                assert_eq!(intact(&items), 2, "{hole} of {byte}");
                let gap = Item::Gap {
                    position: 57,
                    bytes: hole as u64,
                    found: true,
                };
                assert_eq!(items[1], gap);
            }
        }
    }

    #[test]
    fn hostile_lengths_allocate_nothing() {
        for length in [u32::MAX >> 1, u32::MAX, 1 << 31, 100 << 20] {
            let mut bytes = [0; 8];
            BE::write_u32(&mut bytes[..4], length);
            let crc = crc32fast::hash(&bytes[..4]);
            BE::write_u32(&mut bytes[4..], crc);
            let bytes = [&bytes[..], &record(b"behind")].concat();
            let items = walk(&bytes);
            assert_eq!((items.len(), intact(&items)), (2, 1), "{items:?}");
        }
    }

    #[test]
    fn records_go_on_over_blocks_and_past_empty_ones() {
        for codec in Codec::all() {
            let all = [record(b"one"), record(b"three"), record(&[9; 5000])].concat();
            let mut file = Vec::new();
            for part in [&all[..10], &[], &all[10..32], &all[32..]] {
                file.extend(Blocked::new(codec).block(part).unwrap());
            }
            let walked = Records::compressed(&file[..], codec, 0, file.len() as u64);
            assert_eq!(intact(&items(walked)), 3, "{codec:?}");
            let cut = &file[..file.len() - 3];
            let found = items(Records::compressed(cut, codec, 0, cut.len() as u64));
            // What is cut off a Deflate stream here is only its checksum.
            let expected = if codec == Codec::Deflate { 3 } else { 2 };
            assert_eq!(intact(&found), expected, "{codec:?} {found:?}");
            assert!(matches!(found.last(), Some(Item::BadBlock(bad)) if bad.torn));
        }
    }
}
