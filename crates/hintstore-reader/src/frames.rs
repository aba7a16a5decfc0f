//! The frames of a block, past those that are broken.
//!
//! A frame whose checksum is wrong costs itself. Where its length still leads to a good frame, the
//! walk goes on there; else it searches byte by byte for a place where index and length are
//! plausible and the checksum holds, under a budget, so that hostile bytes cost no more than a few
//! passes over the block.

use hintstore_format::{Sequence, block::Header, frame};

/// What lies at a place in a block's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameItem {
    /// A frame whose checksum is right.
    Intact {
        /// Where it begins.
        at: usize,
        /// Its fixed header.
        header: frame::Header,
        /// Its place in the target's order.
        sequence: Sequence,
    },
    /// Bytes that are no intact frame.
    Bad {
        /// Where they begin.
        at: usize,
        /// How many.
        length: usize,
    },
}

/// Iterates over the frames of one block.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    header: &'a Header,
    bytes: &'a [u8],
    at: usize,
    /// Frames that begin before are known to be right.
    right_to: usize,
    /// No later frame has a lower index.
    index: u32,
    /// Bytes that the search may still checksum.
    budget: usize,
}

impl<'a> Frames<'a> {
    /// The frames of the block with this header.
    pub fn new(header: &'a Header, frames: &'a [u8]) -> Self {
        Self {
            header,
            bytes: frames,
            at: 0,
            right_to: 0,
            index: 0,
            budget: 4 * frames.len(),
        }
    }

    /// Goes on at a place that an earlier iteration over the same block gave.
    #[must_use]
    pub fn from(mut self, at: usize) -> Self {
        self.at = at;
        self
    }

    /// Takes an earlier iteration's word that the frames up to here are right: see
    /// [`Frames::right_prefix`].
    #[must_use]
    pub fn right_to(mut self, right_to: usize) -> Self {
        self.right_to = right_to;
        self
    }

    /// Where the first frame begins that is not right; the end, where all are.
    pub fn right_prefix(mut self) -> usize {
        let salt = self.header.start.salt;
        loop {
            if let Some(end) = frame::check_four(self.bytes, self.at, salt) {
                self.at = end;
            } else if let Ok((_, end)) = frame::check(self.bytes, self.at, salt) {
                self.at = end;
            } else {
                return self.at;
            }
        }
    }

    #[inline]
    fn intact(&mut self, at: usize) -> Option<FrameItem> {
        let salt = self.header.start.salt;
        if at >= self.right_to
            && let Some(end) = frame::check_four(self.bytes, at, salt)
        {
            self.right_to = end;
        }
        let header = if at < self.right_to {
            frame::Header::read(self.bytes, at)?
        } else {
            frame::check(self.bytes, at, salt).ok()?.0
        };
        self.index = u32::from(header.index) + 1;
        Some(FrameItem::Intact {
            at,
            header,
            sequence: self.header.start.first.plus(header.index.into()),
        })
    }

    fn plausible(&self, at: usize) -> Option<usize> {
        let header = frame::Header::read(self.bytes, at)?;
        let end = header.end(at);
        let index = u32::from(header.index);
        (end <= self.bytes.len()
            && header.flags & frame::flag::UNKNOWN == 0
            && (self.index..=self.header.last_index.into()).contains(&index))
        .then_some(end)
    }

    #[cold]
    /// Where the next intact frame begins, behind the broken one at `self.at`.
    fn resync(&mut self) -> usize {
        if let Some(end) = self.plausible(self.at)
            && self.follows(end)
        {
            return end;
        }
        let mut at = self.at + 1;
        while at < self.bytes.len() && self.budget > 0 {
            if self.plausible(at).is_some() && self.try_at(at) {
                return at;
            }
            at += 1;
        }
        self.bytes.len()
    }

    /// Whether a broken frame that claims to end here can be believed: the next one has the next
    /// index, or it was the last. A wrong length can lead to a good frame further on, past others.
    fn follows(&mut self, end: usize) -> bool {
        if end == self.bytes.len() {
            return self.index == self.header.last_index.into();
        }
        let next = frame::Header::read(self.bytes, end);
        next.is_some_and(|next| u32::from(next.index) == self.index + 1) && self.try_at(end)
    }

    fn try_at(&mut self, at: usize) -> bool {
        let Some(end) = self.plausible(at) else {
            return false;
        };
        self.budget = self.budget.saturating_sub(end - at);
        frame::check(self.bytes, at, self.header.start.salt).is_ok()
    }
}

impl Iterator for Frames<'_> {
    type Item = FrameItem;

    #[inline]
    fn next(&mut self) -> Option<FrameItem> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let at = self.at;
        if let Some(item) = self.intact(at) {
            if let FrameItem::Intact { header, .. } = item {
                self.at = header.end(at);
            }
            return Some(item);
        }
        let next = self.resync();
        self.at = next;
        Some(FrameItem::Bad {
            at,
            length: next - at,
        })
    }
}

#[cfg(test)]
mod tests {
    use hintstore_format::{
        SegmentId, UnixMillis,
        block::{self, Position, Start},
        expiry::Lifetime,
        frame::{Body, Draft, Place},
        profile::Profile,
    };

    use super::*;

    fn block(payloads: &[&[u8]]) -> (Header, Vec<u8>) {
        let start = Start {
            first: Sequence::new(1000),
            salt: 99,
            base_created: UnixMillis::new(0),
            accepted: UnixMillis::new(0),
        };
        let mut bytes = vec![0; block::HEADER];
        for (index, payload) in payloads.iter().enumerate() {
            let body = Body::new(UnixMillis::new(0), payload);
            let draft = Draft::new(&body);
            let from = bytes.len();
            bytes.resize(from + draft.length(start.base_created), 0);
            let place = Place {
                index: index as u16,
                profile: 0,
                salt: start.salt,
                base_created: start.base_created,
            };
            draft.write(place, &mut bytes[from..]);
        }
        let profile = Profile::new(
            hintstore_format::Namespace::NONE,
            0,
            Lifetime {
                gc_grace: std::time::Duration::ZERO,
                ttl: None,
            },
        );
        let position = Position {
            segment: SegmentId::new(1),
            offset: 128,
            synced_to: 0,
        };
        let header = block::seal(start, position, &[profile], &mut bytes, &mut Vec::new());
        (header, bytes.split_off(block::HEADER))
    }

    fn sequences(header: &Header, frames: &[u8]) -> Vec<u64> {
        Frames::new(header, frames)
            .filter_map(|item| match item {
                FrameItem::Intact { sequence, .. } => Some(sequence.get()),
                FrameItem::Bad { .. } => None,
            })
            .collect()
    }

    #[test]
    fn frames_come_in_order() {
        let (header, frames) = block(&[b"one", b"", b"three"]);
        assert_eq!(sequences(&header, &frames), [1000, 1001, 1002]);
    }

    #[test]
    fn any_flipped_bit_costs_one_hint() {
        let payloads: Vec<Vec<u8>> = (0..6u8).map(|n| vec![n; 5 + usize::from(n)]).collect();
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let (header, good) = block(&payloads);
        for bit in 0..good.len() * 8 {
            let mut frames = good.clone();
            frames[bit / 8] ^= 1 << (bit % 8);
            let found = sequences(&header, &frames);
            assert_eq!(found.len(), 5, "bit {bit}: {found:?}");
            let covered: usize = Frames::new(&header, &frames)
                .map(|item| match item {
                    FrameItem::Intact { header, .. } => header.end(0),
                    FrameItem::Bad { length, .. } => length,
                })
                .sum();
            assert_eq!(covered, frames.len());
        }
    }

    #[test]
    fn hostile_bytes_end_soon() {
        // Every byte looks like the start of a long frame with a plausible index.
        let (mut header, _) = block(&[b"x"]);
        let frames = vec![0; 200_000];
        header.frames_length = frames.len() as u32;
        header.last_index = u16::MAX;
        let items: Vec<_> = Frames::new(&header, &frames).collect();
        assert_eq!(
            items,
            [FrameItem::Bad {
                at: 0,
                length: 200_000
            }]
        );
    }
}
