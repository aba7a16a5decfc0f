//! The compaction and expiry pass, first step: which segments are dead as a whole.
//!
//! A segment past its latest deadline goes by its footer alone; nothing in it is read. The rule is
//! that of `hintstore_format::expiry`, applied to the maxima that the footer holds per namespace,
//! so that a lowered `gc_grace` counts and a raised one does not.

#![forbid(unsafe_code)]

use hintstore_format::{
    UnixMillis,
    expiry::{Policy, is_dead, written_deadline},
    footer::{Footer, Summary},
};

/// What can be said of a segment without reading its hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every hint in it is dead.
    Dead,
    /// Some hint in it may live; none of what the summary and footer know outlives this time.
    Alive {
        /// The latest deadline.
        until: UnixMillis,
    },
}

/// The latest deadline that any hint of a sealed segment can have, by what its summary says (the
/// latest deadline as `written`, when the `newest` hint was created); by its footer where that is
/// given, which knows namespaces.
pub fn latest_deadline(
    written: UnixMillis,
    newest: UnixMillis,
    footer: Option<&Footer>,
    policy: &Policy,
) -> UnixMillis {
    // What the hints say themselves, and the configured maximum: known from the summary.
    let by_summary = match policy.max_lifetime {
        Some(max) => written.min(newest.saturating_add(max)),
        None => written,
    };
    let Some(footer) = footer else {
        return by_summary;
    };
    let by_namespace = footer.namespaces.iter().map(|entry| {
        let (created, longest) = (entry.created.max, entry.longest());
        match entry.namespace {
            Some(namespace) => policy.latest_deadline(namespace, created, longest),
            // The one entry for many namespaces takes no namespace's present rule.
            None => written_deadline(created, longest),
        }
    });
    by_namespace
        .max()
        .map_or(by_summary, |latest| latest.min(by_summary))
}

/// Whether a sealed segment is dead as a whole at `now`.
pub fn verdict(
    summary: &Summary,
    footer: Option<&Footer>,
    policy: &Policy,
    now: UnixMillis,
) -> Verdict {
    let (written, newest) = (summary.deadlines.max, summary.hints_created.max);
    let until = latest_deadline(written, newest, footer, policy);
    if is_dead(until, now) {
        Verdict::Dead
    } else {
        Verdict::Alive { until }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hintstore_format::{
        Namespace, SegmentId, Sequence, StoreId, TargetId,
        block::{Header, Position, Start},
        descriptor::{Descriptor, Kind},
        expiry::Lifetime,
        footer::Builder,
        profile::{Entry, Profile, Span},
    };

    use super::*;

    fn footer(hints: &[(u128, i64, u64)]) -> Footer {
        let mut builder = Builder::new(&Descriptor {
            store: StoreId::from_u128(1),
            incarnation: hintstore_format::Incarnation::new(1),
            target: TargetId::from_u128(2),
            segment: SegmentId::new(3),
            created: UnixMillis::new(0),
            first: Sequence::new(1),
            kind: Kind::Hints,
            codec: 0,
            cipher: 0,
            replaces: Vec::new(),
        });
        for (number, (namespace, created, gc_grace)) in hints.iter().enumerate() {
            let created = UnixMillis::new(*created);
            let lifetime = Lifetime {
                gc_grace: Duration::from_millis(*gc_grace),
                ttl: None,
            };
            let profile = Profile::new(Namespace::from_u128(*namespace), 0, lifetime);
            let mut entry = Entry::new(profile);
            entry.add(created, 1, None);
            let header = Header {
                start: Start {
                    first: Sequence::new(number as u64 + 1),
                    salt: 0,
                    base_created: created,
                    accepted: created,
                },
                position: Position {
                    segment: SegmentId::new(3),
                    offset: 128 + number as u64 * 256,
                    synced_to: 0,
                },
                count: 1,
                last_index: 0,
                frames_length: 17,
                table_length: 0,
                created: Span::of(created),
                deadlines: Span::of(written_deadline(created, lifetime)),
            };
            builder.add(&header, &[entry]);
        }
        builder.build(4096)
    }

    fn until(footer: &Footer, policy: &Policy) -> i64 {
        let summary = &footer.summary;
        let (written, newest) = (summary.deadlines.max, summary.hints_created.max);
        latest_deadline(written, newest, Some(footer), policy).get()
    }

    #[test]
    fn the_longest_living_hint_counts() {
        let footer = footer(&[(1, 100, 50), (2, 10, 500)]);
        assert_eq!(until(&footer, &Policy::default()), 510);
        let at = |now| {
            verdict(
                &footer.summary,
                None,
                &Policy::default(),
                UnixMillis::new(now),
            )
        };
        assert_eq!(at(510), Verdict::Dead);
        assert_eq!(
            at(509),
            Verdict::Alive {
                until: UnixMillis::new(510)
            }
        );
    }

    #[test]
    fn a_lowered_gc_grace_counts_and_a_raised_one_does_not() {
        let footer = footer(&[(1, 100, 50), (2, 10, 500)]);
        let now = |namespace, millis| Policy {
            gc_grace_now: vec![(
                Namespace::from_u128(namespace),
                Duration::from_millis(millis),
            )],
            max_lifetime: None,
        };
        assert_eq!(until(&footer, &now(2, 20)), 150);
        assert_eq!(until(&footer, &now(2, 9999)), 510);
        let max = Policy {
            max_lifetime: Some(Duration::from_millis(5)),
            ..Policy::default()
        };
        assert_eq!(until(&footer, &max), 105);
    }
}
