//! Sets of sequences as ranges.

use hintstore_format::{Sequence, journal::Range};
use smallvec::SmallVec;

/// A set of sequences: ascending ranges that neither touch nor overlap. One range, which most are, takes no memory of
/// its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(SmallVec<[Range; 1]>);

impl Ranges {
    pub(crate) const fn new() -> Self {
        Self(SmallVec::new_const())
    }

    pub(crate) fn of(ranges: &[Range]) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert(*range);
        }
        set
    }

    pub(crate) fn ranges(&self) -> &[Range] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many sequences.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(length).sum()
    }

    /// How many sequences between two, both included.
    pub(crate) fn count_within(&self, first: Sequence, last: Sequence) -> u64 {
        let from = self.0.partition_point(|range| range.last < first);
        let clipped = |range: &Range| Range {
            first: range.first.max(first),
            last: range.last.min(last),
        };
        let behind = self.0.get(from..).unwrap_or_default().iter();
        let within = behind.take_while(|range| range.first <= last && first <= last);
        within.map(|range| length(&clipped(range))).sum()
    }

    pub(crate) fn contains(&self, sequence: Sequence) -> bool {
        self.first_behind(sequence.before())
            .is_some_and(|range| range.first <= sequence)
    }

    /// The first range with a sequence behind this one.
    pub(crate) fn first_behind(&self, after: Sequence) -> Option<Range> {
        let at = self.0.partition_point(|range| range.last <= after);
        self.0.get(at).copied()
    }

    #[inline]
    pub(crate) fn add(&mut self, sequence: Sequence) {
        let one = Range {
            first: sequence,
            last: sequence,
        };
        // The common cases: one behind the last, next to it or further on.
        match self.0.last_mut() {
            Some(last) if last.last.plus(1) == sequence => last.last = sequence,
            Some(last) if last.last >= sequence => self.insert(one),
            _ => self.0.push(one),
        }
    }

    pub(crate) fn insert(&mut self, range: Range) {
        let from = self
            .0
            .partition_point(|known| known.last.plus(1) < range.first);
        let to = self
            .0
            .partition_point(|known| known.first <= range.last.plus(1));
        let mut joined = range;
        for known in self.0.get(from..to).unwrap_or_default() {
            joined.first = joined.first.min(known.first);
            joined.last = joined.last.max(known.last);
        }
        self.replace(from, to, &[joined]);
    }

    pub(crate) fn remove(&mut self, range: Range) {
        let from = self.0.partition_point(|known| known.last < range.first);
        let to = self.0.partition_point(|known| known.first <= range.last);
        // What is left of the first and of the last of them.
        let mut left = SmallVec::<[Range; 2]>::new();
        for known in self.0.get(from..to).unwrap_or_default() {
            if known.first < range.first {
                left.push(Range {
                    first: known.first,
                    last: range.first.before(),
                });
            }
            if known.last > range.last {
                left.push(Range {
                    first: range.last.plus(1),
                    last: known.last,
                });
            }
        }
        self.replace(from, to, &left);
    }

    /// Puts others in the place of some ranges.
    fn replace(&mut self, from: usize, to: usize, others: &[Range]) {
        let to = to.max(from);
        let same = others.len().min(to - from);
        let (over, more) = others.split_at(same);
        if let Some(place) = self.0.get_mut(from..from + same) {
            place.copy_from_slice(over);
        }
        if more.is_empty() {
            self.0.drain(from + same..to);
        } else {
            self.0.insert_from_slice(from + same, more);
        }
    }

    /// What is in both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut both = SmallVec::new();
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
            let (first, last) = (a.first.max(b.first), a.last.min(b.last));
            if first <= last {
                both.push(Range { first, last });
            }
            if a.last < b.last {
                ours.next();
            } else {
                theirs.next();
            }
        }
        Self(both)
    }

    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn join(&mut self, other: &Self) {
        if other.0.len() < MERGE_FROM {
            return other.0.iter().for_each(|range| self.insert(*range));
        }
        let mut joined: SmallVec<[Range; 1]> =
            SmallVec::with_capacity(self.0.len() + other.0.len());
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let ours_is_next = match (ours.peek(), theirs.peek()) {
                (Some(a), Some(b)) => a.first <= b.first,
                (ours, _) => ours.is_some(),
            };
            let next = if ours_is_next {
                ours.next()
            } else {
                theirs.next()
            };
            let Some(next) = next else { break };
            match joined.last_mut() {
                Some(last) if next.first <= last.last.plus(1) => {
                    last.last = last.last.max(next.last);
                }
                _ => joined.push(*next),
            }
        }
        self.0 = joined;
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        if other.0.len() < MERGE_FROM {
            return other.0.iter().for_each(|range| self.remove(*range));
        }
        let mut left = SmallVec::with_capacity(self.0.len());
        let mut theirs = other.0.iter().peekable();
        for range in &self.0 {
            let mut first = range.first;
            while theirs.next_if(|gone| gone.last < first).is_some() {}
            while first <= range.last {
                let Some(gone) = theirs.peek().filter(|gone| gone.first <= range.last) else {
                    let last = range.last;
                    left.push(Range { first, last });
                    break;
                };
                if first < gone.first {
                    let last = gone.first.before();
                    left.push(Range { first, last });
                }
                first = gone.last.plus(1);
                // One that goes beyond this range may cover the next as well.
                theirs.next_if(|gone| gone.last <= range.last);
            }
        }
        self.0 = left;
    }
}

/// From this number of ranges on, two sets are merged in one pass: putting them in one by one would move what
/// is behind each.
const MERGE_FROM: usize = 8;

fn length(range: &Range) -> u64 {
    range.last.get() - range.first.get() + 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn range(first: u64, last: u64) -> Range {
        Range {
            first: Sequence::new(first),
            last: Sequence::new(last),
        }
    }

    #[test]
    fn sets_are_joined_and_subtracted_as_sets() {
        let mut random = 11u64;
        let mut draw = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % below
        };
        let flat = |ranges: &Ranges| -> BTreeSet<u64> {
            let each = ranges.0.iter();
            each.flat_map(|r| r.first.get()..=r.last.get()).collect()
        };
        for _ in 0..3000 {
            let mut make = || {
                let mut ranges = Ranges::default();
                for _ in 0..draw(25) {
                    let first = 1 + draw(90);
                    ranges.insert(range(first, first + draw(4)));
                }
                ranges
            };
            let (one, two) = (make(), make());
            let (a, b) = (flat(&one), flat(&two));
            let (mut joined, mut left) = (one.clone(), one.clone());
            joined.join(&two);
            left.subtract(&two);
            assert_eq!(flat(&joined), &a | &b);
            assert_eq!(flat(&left), &a - &b);
            assert_eq!(flat(&one.and(&two)), &a & &b);
            for set in [&joined, &left, &one.and(&two)] {
                assert!(set.0.windows(2).all(|w| w[0].last.plus(1) < w[1].first));
            }
        }
    }

    #[test]
    fn a_set_of_ranges_is_a_set() {
        let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
        let mut random = 7u64;
        for _ in 0..5000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let first = 1 + (random >> 33) % 60;
            let last = first + (random >> 45) % 9;
            if random >> 63 == 0 {
                ranges.insert(range(first, last));
                set.extend(first..=last);
            } else {
                ranges.remove(range(first, last));
                set.retain(|value| !(first..=last).contains(value));
            }
            let flat: Vec<u64> = ranges
                .0
                .iter()
                .flat_map(|r| r.first.get()..=r.last.get())
                .collect();
            assert_eq!(flat, set.iter().copied().collect::<Vec<_>>());
            assert!(ranges.0.windows(2).all(|w| w[0].last.plus(1) < w[1].first));
            let within = set.range(10..=20).count() as u64;
            assert_eq!(
                ranges.count_within(Sequence::new(10), Sequence::new(20)),
                within
            );
        }
    }
}
