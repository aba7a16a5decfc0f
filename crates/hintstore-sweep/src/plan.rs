//! Which segments of a target are worth to be rewritten: pure.
//!
//! Where at least half of a segment is dead, its rewriting gives back more than it writes. Small neighbours
//! become one file. Both kinds that follow one another are one group, and one new segment, so the order and
//! the keys of the hints stay as they are.

use hintstore_format::{Incarnation, StoreId};

/// What is known of a sealed segment that may be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The store and the opening that accepted its hints: segments of two are not merged, as their hints'
    /// keys tell them apart.
    pub key: (StoreId, Incarnation),
    /// Bytes of its file.
    pub bytes: u64,
    /// Hints in it.
    pub count: u64,
    /// Those of them that have ended or are dead.
    pub dead: u64,
    /// Its blocks may be compressed.
    pub is_packed: bool,
}

impl Candidate {
    fn dead_bytes(&self) -> u64 {
        let part = u128::from(self.bytes) * u128::from(self.dead.min(self.count))
            / u128::from(self.count.max(1));
        u64::try_from(part).unwrap_or(self.bytes)
    }

    fn live_bytes(&self) -> u64 {
        self.bytes - self.dead_bytes()
    }
}

/// What is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// No new segment is longer than about this.
    pub segment_bytes: u64,
    /// A segment is mostly dead from this share on, in percent of its hints.
    pub dead_percent: u64,
    /// It is left alone where less than this comes free.
    pub gain_min: u64,
    /// A segment is small where less than this of it lives.
    pub small_bytes: u64,
    /// Small neighbours are merged from this number on.
    pub merge_min: usize,
    /// What is not compressed is to be.
    pub compress: bool,
}

impl Rule {
    /// What the pass does by itself: half dead and at least 64 KiB to gain, or eight neighbours of at most
    /// a sixteenth of a segment each. Each byte that is written gives one back, or spares a file.
    pub fn worthwhile(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            dead_percent: 50,
            gain_min: 64 << 10,
            small_bytes: segment_bytes / 16,
            merge_min: 8,
            compress: false,
        }
    }

    /// All that gives anything back: an operator asked for it.
    pub fn anything(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            dead_percent: 0,
            gain_min: 1,
            small_bytes: segment_bytes,
            merge_min: 2,
            compress: false,
        }
    }

    /// The same, and what is not compressed is to be.
    #[must_use]
    pub fn compressing(self, compress: bool) -> Self {
        Self { compress, ..self }
    }

    fn is_to_be_packed(&self, candidate: &Candidate) -> bool {
        self.compress && !candidate.is_packed && candidate.live_bytes() >= PACK_BYTES_MIN
    }

    fn plain_bytes(&self, candidate: &Candidate) -> u64 {
        if self.is_to_be_packed(candidate) {
            candidate.live_bytes()
        } else {
            0
        }
    }

    fn is_mostly_dead(&self, candidate: &Candidate) -> bool {
        candidate.dead > 0
            && candidate.dead * 100 >= candidate.count * self.dead_percent
            && candidate.dead_bytes() >= self.gain_min
    }

    fn is_wanted(&self, candidate: &Candidate) -> bool {
        self.is_mostly_dead(candidate)
            || self.is_small(candidate)
            || self.is_to_be_packed(candidate)
    }

    fn is_small(&self, candidate: &Candidate) -> bool {
        candidate.live_bytes() < self.small_bytes
    }
}

/// Why segments are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Much of at least one of them is dead.
    Dead,
    /// They are small.
    Small,
    /// They are to be compressed.
    Plain,
    /// Hints in them were discarded.
    Discarded,
}

impl Reason {
    /// The word for it, as tools print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Small => "small",
            Self::Plain => "plain",
            Self::Discarded => "discarded",
        }
    }
}

/// Neighbours that are rewritten into one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The first of them, by its place among the candidates.
    pub first: usize,
    /// The last of them.
    pub last: usize,
    /// Why.
    pub reason: Reason,
    /// Bytes that come free, about.
    pub gain: u64,
    /// Bytes that are written, about: also the free space that it needs.
    pub cost: u64,
}

/// No segment names more that it replaces.
const SOURCES_MAX: usize = 255;

/// What is shorter is not worth to be compressed.
const PACK_BYTES_MIN: u64 = 64 << 10;

/// What a file takes besides its blocks.
const FILE_BYTES: u64 = 4096;

/// Chooses groups among the segments of a target, which come in order; `None` is one that is not to be
/// touched. The largest gain comes first.
pub fn plan(candidates: &[Option<Candidate>], rule: &Rule) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut run: Option<Run> = None;
    for (place, candidate) in candidates.iter().enumerate() {
        let wanted = candidate
            .as_ref()
            .filter(|candidate| rule.is_wanted(candidate));
        let Some(candidate) = wanted else {
            groups.extend(run.take().and_then(|run| run.group(rule)));
            continue;
        };
        match &mut run {
            Some(run) if run.takes(candidate, rule) => run.add(place, candidate, rule),
            _ => {
                groups.extend(run.take().and_then(|run| run.group(rule)));
                run = Some(Run::of(place, candidate, rule));
            }
        }
    }
    groups.extend(run.and_then(|run| run.group(rule)));
    groups.sort_by_key(|group| std::cmp::Reverse(group.gain));
    groups
}

/// Neighbours so far.
struct Run {
    key: (StoreId, Incarnation),
    first: usize,
    last: usize,
    live: u64,
    dead: u64,
    is_dead: bool,
    /// Bytes that are to be compressed.
    plain: u64,
}

impl Run {
    fn of(place: usize, candidate: &Candidate, rule: &Rule) -> Self {
        Self {
            key: candidate.key,
            first: place,
            last: place,
            live: candidate.live_bytes(),
            dead: candidate.dead_bytes(),
            is_dead: rule.is_mostly_dead(candidate),
            plain: rule.plain_bytes(candidate),
        }
    }

    fn takes(&self, candidate: &Candidate, rule: &Rule) -> bool {
        self.key == candidate.key
            && self.live + candidate.live_bytes() <= rule.segment_bytes
            && self.last - self.first + 1 < SOURCES_MAX
    }

    fn add(&mut self, place: usize, candidate: &Candidate, rule: &Rule) {
        self.last = place;
        self.live += candidate.live_bytes();
        self.dead += candidate.dead_bytes();
        self.is_dead |= rule.is_mostly_dead(candidate);
        self.plain += rule.plain_bytes(candidate);
    }

    fn group(self, rule: &Rule) -> Option<Group> {
        let files = self.last - self.first + 1;
        let worth = self.is_dead || self.plain > 0 || files >= rule.merge_min;
        worth.then(|| Group {
            first: self.first,
            last: self.last,
            reason: if self.is_dead {
                Reason::Dead
            } else if self.plain > 0 {
                Reason::Plain
            } else {
                Reason::Small
            },
            // How much compression gives nobody knows before: half is usual.
            gain: self.dead + self.plain / 2 + (files as u64 - 1) * FILE_BYTES,
            cost: self.live,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        segment_bytes: 1 << 20,
        dead_percent: 50,
        gain_min: 64 << 10,
        small_bytes: 64 << 10,
        merge_min: 4,
        compress: false,
    };

    #[expect(clippy::unnecessary_wraps, reason = "as the plan takes them")]
    fn candidate(kib: u64, dead_percent: u64) -> Option<Candidate> {
        Some(Candidate {
            key: (StoreId::from_u128(1), Incarnation::new(1)),
            bytes: kib << 10,
            count: 100,
            dead: dead_percent,
            is_packed: false,
        })
    }

    fn places(candidates: &[Option<Candidate>]) -> Vec<(usize, usize, Reason)> {
        let groups = plan(candidates, &RULE);
        groups
            .iter()
            .map(|group| (group.first, group.last, group.reason))
            .collect()
    }

    #[test]
    fn half_dead_is_worth_it_and_less_is_not() {
        assert_eq!(places(&[candidate(1000, 49)]), []);
        assert_eq!(places(&[candidate(1000, 50)]), [(0, 0, Reason::Dead)]);
        // Nothing to gain: a file this small is written again for nothing.
        assert_eq!(places(&[candidate(100, 60)]), []);
    }

    #[test]
    fn the_largest_gain_comes_first() {
        let candidates = [candidate(400, 90), candidate(1000, 0), candidate(1000, 90)];
        assert_eq!(
            places(&candidates),
            [(2, 2, Reason::Dead), (0, 0, Reason::Dead)]
        );
    }

    #[test]
    fn small_neighbours_are_merged_from_a_number_on() {
        let small = candidate(20, 0);
        assert_eq!(places(&[small; 3]), []);
        assert_eq!(places(&[small; 4]), [(0, 3, Reason::Small)]);
        let apart = [small, small, None, small, small];
        assert_eq!(places(&apart), [], "what is not to be touched parts them");
    }

    #[test]
    fn neighbours_of_a_dead_one_go_along_and_those_of_another_opening_do_not() {
        let small = candidate(20, 0);
        let other = small.map(|small| Candidate {
            key: (StoreId::from_u128(1), Incarnation::new(2)),
            ..small
        });
        let candidates = [small, candidate(1000, 90), small, other];
        assert_eq!(places(&candidates), [(0, 2, Reason::Dead)]);
    }

    #[test]
    fn no_group_is_longer_than_a_segment_or_names_too_many() {
        let dead = candidate(1000, 60);
        let groups = plan(&[dead; 5], &RULE);
        assert!(groups.iter().all(|group| group.cost <= RULE.segment_bytes));
        assert_eq!(groups.len(), 3);
        let tiny = candidate(1, 0);
        let groups = plan(&vec![tiny; 600], &RULE);
        let longest = groups
            .iter()
            .map(|group| group.last - group.first + 1)
            .max();
        assert_eq!(longest, Some(SOURCES_MAX));
    }

    #[test]
    fn what_is_not_compressed_is_to_be_once() {
        let rule = RULE.compressing(true);
        let packed = candidate(1000, 0).map(|plain| Candidate {
            is_packed: true,
            ..plain
        });
        let groups = plan(&[candidate(1000, 0), packed, candidate(60, 0)], &rule);
        let of: Vec<_> = groups
            .iter()
            .map(|group| (group.first, group.last, group.reason))
            .collect();
        assert_eq!(of, [(0, 0, Reason::Plain)]);
    }

    #[test]
    fn an_operator_gets_all_that_gives_anything_back() {
        let rule = Rule::anything(1 << 20);
        assert_eq!(plan(&[candidate(1000, 0)], &rule), []);
        assert_eq!(plan(&[candidate(100, 1)], &rule).len(), 1);
        assert_eq!(plan(&[candidate(100, 0); 2], &rule).len(), 1);
    }
}
