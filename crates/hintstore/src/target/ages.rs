//! When hints of a target were accepted, as exactly as the hint window is kept.
//!
//! This is not kept for each hint. A target has samples instead: from such a sequence on, no hint was
//! accepted before such a time.

use std::time::Duration;

use hintstore_format::{Sequence, UnixMillis};

/// How exact the ages are where no window is kept: as of a window of a day.
pub(crate) const UNWATCHED: Duration = Duration::from_hours(24);

/// A target has no more samples; beyond, every second one goes.
const SAMPLES_MAX: usize = 1024;

/// From which sequence on hints were accepted at what time or later, in order.
#[derive(Debug, Default)]
pub(crate) struct Ages(Vec<(Sequence, UnixMillis)>);

impl Ages {
    /// From `first` on, hints were accepted at `at` or later.
    pub(crate) fn note(&mut self, first: Sequence, at: UnixMillis, apart: Duration) {
        match self.0.last_mut() {
            // The same hint is next: it comes later still.
            Some(last) if last.0 == first => last.1 = last.1.max(at),
            Some(last) if at.saturating_since(last.1) < apart => {}
            _ => {
                if self.0.is_empty() {
                    // Most targets have no second one.
                    self.0.reserve_exact(1);
                }
                self.0.push((first, at));
            }
        }
        if self.0.len() > SAMPLES_MAX {
            // What a sample that goes stood for counts from the one before: a little older.
            let mut keep = false;
            self.0.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// When a hint was accepted, at the earliest.
    pub(crate) fn of(&self, sequence: Sequence) -> Option<UnixMillis> {
        let behind = self.0.partition_point(|(first, _)| *first <= sequence);
        let (_, at) = self.0.get(behind.checked_sub(1)?)?;
        Some(*at)
    }

    /// Forgets what tells of sequences before this one alone.
    pub(crate) fn forget_before(&mut self, sequence: Sequence) {
        let behind = self.0.partition_point(|(first, _)| *first <= sequence);
        self.0.drain(..behind.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_tell_the_earliest_time() {
        let mut ages = Ages::default();
        let sequence = Sequence::new;
        let at = UnixMillis::new;
        let apart = Duration::from_millis(10);
        ages.note(sequence(5), at(100), apart);
        ages.note(sequence(5), at(103), apart);
        ages.note(sequence(9), at(105), apart);
        ages.note(sequence(12), at(120), apart);
        assert_eq!(ages.of(sequence(4)), None);
        assert_eq!(ages.of(sequence(5)), Some(at(103)));
        assert_eq!(ages.of(sequence(11)), Some(at(103)));
        assert_eq!(ages.of(sequence(12)), Some(at(120)));
        ages.forget_before(sequence(11));
        assert_eq!(ages.of(sequence(11)), Some(at(103)));
        ages.forget_before(sequence(13));
        assert_eq!(ages.of(sequence(11)), None);
        assert_eq!(ages.of(sequence(13)), Some(at(120)));
    }
}
