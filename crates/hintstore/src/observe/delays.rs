//! How old the writes were that a target got by hints.

use std::time::Duration;

use hintstore_format::{UnixMillis, profile::Span};

/// How old the writes were that were delivered, counted since the store was opened: what a hint costs its target
/// in freshness. See [`crate::TargetSnapshot::delays`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    counts: [u64; Self::BOUNDS.len() + 1],
    seconds: u64,
}

impl Delays {
    /// The upper bounds of the buckets; one more has what is older.
    pub const BOUNDS: [Duration; 10] = [
        Duration::from_secs(1),
        Duration::from_secs(10),
        Duration::from_mins(1),
        Duration::from_mins(10),
        Duration::from_hours(1),
        Duration::from_hours(3),
        Duration::from_hours(12),
        Duration::from_hours(24),
        Duration::from_hours(72),
        Duration::from_hours(240),
    ];

    /// Hints in each bucket: those that are older than the bound before it, and not than its own.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Hints in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their ages together: of hints of a block in one bucket the middle counts.
    pub fn sum(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn bucket(age: Duration) -> usize {
        Self::BOUNDS.partition_point(|bound| *bound < age)
    }

    pub(crate) fn add(&mut self, age: Duration, hints: u64) {
        if let Some(count) = self.counts.get_mut(Self::bucket(age)) {
            *count += hints;
        }
        let seconds = age.as_secs().saturating_mul(hints);
        self.seconds = self.seconds.saturating_add(seconds);
    }

    /// Whether all that was created in this span is in one bucket.
    pub(crate) fn is_one_bucket(created: Span<UnixMillis>, now: UnixMillis) -> bool {
        let bucket = |created| Self::bucket(now.saturating_since(created));
        bucket(created.min) == bucket(created.max)
    }

    /// Adds what another counted.
    pub(crate) fn join(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.seconds = self.seconds.saturating_add(other.seconds);
    }
}
