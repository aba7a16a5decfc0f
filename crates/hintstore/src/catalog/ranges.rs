//! Sets of sequences as ranges.

use hintstore_format::{Sequence, journal::Range};

/// A set of sequences: ascending ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range>);

impl Ranges {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
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
        // The common case: one behind the last.
        if let Some(last) = self.0.last_mut()
            && last.last.plus(1) == sequence
        {
            last.last = sequence;
            return;
        }
        self.insert(Range {
            first: sequence,
            last: sequence,
        });
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
        self.0.splice(from..to.max(from), [joined]);
    }

    pub(crate) fn remove(&mut self, range: Range) {
        let from = self.0.partition_point(|known| known.last < range.first);
        let to = self.0.partition_point(|known| known.first <= range.last);
        let mut left = Vec::new();
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
        self.0.splice(from..to.max(from), left);
    }

    /// What is in both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        let mut both = self.clone();
        both.subtract(&rest);
        both
    }

    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for range in &other.0 {
            self.insert(*range);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for range in &other.0 {
            self.remove(*range);
        }
    }
}

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
