//! The hint window: a target whose oldest undelivered hint waits for too long takes no more.
//!
//! A target that is away for longer than the window needs a repair anyway, and what is stored for
//! it until then only takes the space of others. Counted is from when the store accepted a hint:
//! an old one that was imported closes nothing. The window opens when what was old is delivered,
//! expired or discarded, not when the target shows up: one that flaps does not get a new window
//! each time.
//!
//! When a hint was accepted is not kept for each. A target has samples instead: from such a
//! sequence on, no hint was accepted before such a time.

use std::{sync::Arc, time::Duration};

use hintstore_env::Boot;
use hintstore_format::{Sequence, UnixMillis};

use crate::{catalog::Queue, store::Engine};

/// Samples are this part of the window apart: how exact it is.
const EXACT: u32 = 64;

/// How exact the ages are where no window is kept: as of a window of a day.
const UNWATCHED: Duration = Duration::from_hours(24);

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
            // What a sample that goes told of counts from the one before: a little older.
            let mut keep = false;
            self.0.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// When a hint was accepted, at the earliest.
    fn of(&self, sequence: Sequence) -> Option<UnixMillis> {
        let behind = self.0.partition_point(|(first, _)| *first <= sequence);
        let (_, at) = self.0.get(behind.checked_sub(1)?)?;
        Some(*at)
    }

    /// Forgets what tells of sequences before this one alone.
    fn forget_before(&mut self, sequence: Sequence) {
        let behind = self.0.partition_point(|(first, _)| *first <= sequence);
        self.0.drain(..behind.saturating_sub(1));
    }
}

impl Engine {
    /// Whether it is time to look at space and windows, with nothing else to do: every five minutes, or
    /// as exactly as the window is to be kept.
    pub(crate) fn is_refresh_due(&self, now: Boot) -> bool {
        let mut at = self.refresh_at.lock();
        let due = *at <= now;
        if due {
            let exact = self
                .config()
                .hint_window
                .map_or(Duration::MAX, |w| w / EXACT);
            *at = now + exact.clamp(Duration::from_secs(1), Duration::from_mins(5));
        }
        due
    }

    /// Closes and opens the windows of all targets.
    pub(crate) fn look_at_windows(&self) {
        let now = self.time.now(&*self.clock).at_least();
        for queue in self.catalog.all() {
            self.look_at_window(&queue, now);
        }
    }

    fn look_at_window(&self, queue: &Arc<Queue>, now: UnixMillis) {
        let next = queue.next(self.epoch);
        let oldest = queue.oldest_pending(next);
        let mut ages = queue.ages.lock();
        // Without a window the ages are only to be seen.
        let window = self.config().hint_window.unwrap_or(UNWATCHED);
        let apart = window / EXACT;
        ages.forget_before(oldest.unwrap_or(next));
        ages.note(next, now, apart);
        let accepted = oldest.and_then(|oldest| ages.of(oldest));
        drop(ages);
        queue.set_oldest(accepted);
        let past = |accepted| {
            let age = now.saturating_since(accepted);
            self.config().hint_window.is_some_and(|window| age > window)
        };
        queue.set_past_window(accepted.is_some_and(past));
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
