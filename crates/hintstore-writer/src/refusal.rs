//! Why a hint is not accepted.

use std::fmt;

use hintstore_env::sync::{AtomicU64, Ordering::Relaxed};

use crate::{Bytes, Cap, Gone};

/// Why a hint was not accepted. No sequence was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is larger than hints may be here.
    TooLarge {
        /// The limit on payload and optional fields.
        limit: Bytes,
    },
    /// A cap on disk space was reached, or the device has no room.
    Full {
        /// Which cap.
        cap: Cap,
    },
    /// The target's oldest undelivered hint is older than the hint window.
    PastWindow,
    /// The slabs were in use until the deadline: the disk is slower than the callers.
    Busy,
    /// As many hints as may wait for their level: one more would only wait longer.
    Overloaded,
    /// Accepting hints was switched off: for all, for the target's group, or for the namespace.
    Disabled,
    /// The store may not be written: its file system is mounted read-only, or permissions say so.
    ReadOnly,
    /// The journal, or two new segments in a row, could not be written.
    StorageFailed,
    /// It is dead already.
    Expired,
    /// A fence says that it does not matter any more.
    Fenced,
    /// The store is closed.
    Closed,
    /// The target's sequences of this epoch are used up; opening the store again starts the next.
    EpochUsedUp,
    /// The directory, or a file that makes it this store, was taken away: what would be accepted could
    /// not be found again.
    Gone {
        /// What.
        what: Gone,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the hint is larger than {limit}"),
            Self::Full { cap: Cap::Total } => {
                f.write_str("the store is full: deliver or truncate hints, or raise disk.total")
            }
            Self::Full { cap: Cap::Target } => f.write_str(
                "the target has as many hints as it may: truncate them, or raise disk.target",
            ),
            Self::Full { cap: Cap::Device } => {
                f.write_str("the device is full, or below disk.free_floor: make room on it")
            }
            Self::PastWindow => f.write_str(
                "the target was away for longer than the hint window: repair it when it is back",
            ),
            Self::Busy => f.write_str("the store is busy: no slab came free before the deadline"),
            Self::Overloaded => f.write_str("too many hints wait for the disk: try again later"),
            Self::Disabled => f.write_str("accepting such hints is switched off"),
            Self::ReadOnly => f.write_str("the directory of the store cannot be written"),
            Self::StorageFailed => f.write_str("the store cannot write to its files"),
            Self::Expired => f.write_str("the hint is dead already"),
            Self::Fenced => f.write_str("the hint is older than a fence on its namespace"),
            Self::Closed => f.write_str("the store is closed"),
            Self::EpochUsedUp => f.write_str("the epoch is used up: open the store again"),
            Self::Gone { what } => write!(f, "{what}: put it back, and open the store again"),
        }
    }
}

/// One row for each reason: a reason without a word does not compile.
macro_rules! words {
    ($($reason:ident $word:literal)+) => {
        const WORDS: &[&str] = &[$($word),+];

        enum Index {
            $($reason),+
        }

        impl Refusal {
            /// The place of this reason among [`WORDS`].
            const fn index(self) -> usize {
                match self {
                    $(Self::$reason { .. } => Index::$reason as usize,)+
                }
            }
        }
    };
}

words! {
    TooLarge "too_large"
    Full "full"
    PastWindow "past_window"
    Busy "busy"
    Overloaded "overloaded"
    Disabled "disabled"
    ReadOnly "read_only"
    StorageFailed "storage_failed"
    Expired "expired"
    Fenced "fenced"
    Closed "closed"
    EpochUsedUp "epoch_used_up"
    Gone "gone"
}

impl Refusal {
    /// The word for it, as tools and metrics print it.
    pub fn word(self) -> &'static str {
        WORDS.get(self.index()).copied().unwrap_or_default()
    }
}

/// How many hints were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; WORDS.len()]);

impl Refusals {
    /// How many for this reason, whatever its details.
    pub fn get(&self, reason: Refusal) -> u64 {
        self.0.get(reason.index()).copied().unwrap_or(0)
    }

    /// All reasons, in words, and how many for each.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        WORDS.iter().copied().zip(self.0)
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Counts refusals, from any thread.
#[derive(Debug, Default)]
pub struct RefusalCounts([AtomicU64; WORDS.len()]);

impl RefusalCounts {
    /// Counts hints that were refused for this reason.
    pub fn add(&self, reason: Refusal, count: u64) {
        if let Some(counter) = self.0.get(reason.index()) {
            counter.fetch_add(count, Relaxed);
        }
    }

    /// What was counted.
    pub fn get(&self) -> Refusals {
        let mut refusals = Refusals::default();
        for (sum, counter) in refusals.0.iter_mut().zip(&self.0) {
            *sum = counter.load(Relaxed);
        }
        refusals
    }
}
