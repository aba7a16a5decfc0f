//! The records of an uncompressed file, one behind the other.
//!
//! A record is a length, the checksum of the length, the body, and a checksum over length and
//! body. Nothing marks where a record begins, so behind a wrong length the walk ends; a wrong body
//! costs itself. A checksum is verified before anything is made of the bytes it covers.

use std::io::{self, Read};

use byteorder::{BE, ByteOrder as _};

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
    /// A length whose checksum is wrong, or that cannot be one. Nothing behind it can be found by
    /// following lengths; this is the last item.
    BadLength {
        /// Where it is.
        position: u64,
        /// Bytes from there to the end of the file.
        left: u64,
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
}

/// Walks the records of a file.
#[derive(Debug)]
pub struct Records<R> {
    from: R,
    position: u64,
    end: u64,
    index: u64,
    body: Vec<u8>,
    ended: bool,
}

const HEAD: u64 = 8;

/// No record is longer. A node takes no mutation above half a commit log segment, 16 MiB as it is
/// delivered; a length beyond this was never written, whatever its checksum says.
const RECORD_MAX: u64 = 128 << 20;

impl<R: Read> Records<R> {
    /// A walk over what `from` gives: the bytes of a file from `position`, the end of its
    /// descriptor, to `end`, its length. Both are what nothing in the file can change: a record is
    /// never taken to be longer than what is left.
    pub fn new(from: R, position: u64, end: u64) -> Self {
        Self {
            from,
            position,
            end,
            index: 0,
            body: Vec::new(),
            ended: false,
        }
    }

    /// The body of the record that was met last.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The next item; `None` at the end. An error is the disk's.
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        let left = self.end.saturating_sub(self.position);
        if self.ended || left == 0 {
            return Ok(None);
        }
        if left < HEAD {
            return self.tail(&[], left).map(Some);
        }
        let mut head = [0; HEAD as usize];
        self.from.read_exact(&mut head)?;
        let (raw_length, stored) = (&head[..4], BE::read_u32(&head[4..]));
        let length = BE::read_i32(raw_length);
        if length == 0 && stored == 0 {
            return self.tail(&head, left).map(Some);
        }
        let position = self.position;
        let length = u64::try_from(length).ok().filter(|length| *length > 0);
        let plausible = length.filter(|length| *length <= RECORD_MAX);
        let Some(length) = plausible.filter(|_| crc32fast::hash(raw_length) == stored) else {
            self.ended = true;
            return Ok(Some(Item::BadLength { position, left }));
        };
        if HEAD + length + 4 > left {
            self.ended = true;
            return Ok(Some(Item::Torn { position, left }));
        }
        self.body.resize(length as usize, 0);
        self.from.read_exact(&mut self.body)?;
        let mut end = [0; 4];
        self.from.read_exact(&mut end)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(raw_length);
        crc.update(&self.body);
        let index = self.index;
        self.index += 1;
        self.position += HEAD + length + 4;
        Ok(Some(if crc.finalize() == BE::read_u32(&end) {
            Item::Intact { index, position }
        } else {
            Item::BadBody {
                index,
                position,
                length,
            }
        }))
    }

    /// What begins with too few bytes for a record, or with a length of zero: the end, if all of
    /// it is zeros.
    fn tail(&mut self, head: &[u8], left: u64) -> io::Result<Item> {
        self.ended = true;
        let position = self.position;
        let mut piece = [0; 4096];
        let mut unread = left - head.len() as u64;
        while unread > 0 {
            let part = piece
                .get_mut(..unread.min(4096) as usize)
                .unwrap_or_default();
            self.from.read_exact(part)?;
            unread -= part.len() as u64;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(if head.is_empty() {
                    Item::Torn { position, left }
                } else {
                    Item::BadLength { position, left }
                });
            }
        }
        Ok(Item::ZeroTail { position, left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        BE::write_u32(&mut bytes, body.len() as u32);
        let mut crc = [0; 4];
        BE::write_u32(&mut crc, crc32fast::hash(&bytes));
        let whole = [&bytes[..], body].concat();
        let mut end = [0; 4];
        BE::write_u32(&mut end, crc32fast::hash(&whole));
        [&bytes[..], &crc, body, &end].concat()
    }

    fn walk(bytes: &[u8]) -> Vec<Item> {
        let mut records = Records::new(bytes, 42, 42 + bytes.len() as u64);
        let mut items = Vec::new();
        while let Some(item) = records.next_item().unwrap() {
            items.push(item);
        }
        items
    }

    fn intact(items: &[Item]) -> usize {
        items
            .iter()
            .filter(|item| matches!(item, Item::Intact { .. }))
            .count()
    }

    #[test]
    fn records_and_tails_are_told_apart() {
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
        for zeros in [1, 3, 8, 5000] {
            let bytes = [&two[..], &vec![0; zeros]].concat();
            let tail = Item::ZeroTail {
                position: 74,
                left: zeros as u64,
            };
            assert_eq!(walk(&bytes), [first.clone(), second.clone(), tail]);
        }
        let garbage = [&two[..], &[0; 100], &[1]].concat();
        assert_eq!(
            walk(&garbage)[2],
            Item::BadLength {
                position: 74,
                left: 101
            }
        );
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
    fn a_flipped_bit_costs_a_record_or_what_is_behind_its_length() {
        let all = [record(b"one"), record(b"three"), record(b"five")].concat();
        for bit in 0..all.len() * 8 {
            let mut bytes = all.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let items = walk(&bytes);
            let lost = 3 - intact(&items);
            assert!((1..=3).contains(&lost), "bit {bit}: {items:?}");
            let in_body = matches!(bit / 8 % 15, 8..15) && bit / 8 < 15;
            assert!(!in_body || lost == 1, "bit {bit}: {items:?}");
        }
    }

    #[test]
    fn hostile_lengths_allocate_nothing() {
        for length in [i32::MAX, -1, i32::MIN] {
            let mut bytes = [0; 8];
            BE::write_i32(&mut bytes[..4], length);
            let crc = crc32fast::hash(&bytes[..4]);
            BE::write_u32(&mut bytes[4..], crc);
            let items = walk(&bytes);
            assert!(matches!(items[..], [Item::BadLength { .. }]), "{items:?}");
        }
    }
}
