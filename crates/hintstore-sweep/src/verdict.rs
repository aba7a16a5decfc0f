//! Which segments are dead as a whole, and how much of one is dead.
//!
//! A segment past its latest deadline goes by its footer alone; nothing in it is read. The rule is
//! that of `hintstore_format::expiry`, applied to the maxima that the footer holds per namespace,
//! so that a lowered `gc_grace` counts and a raised one does not.

use std::{ops::Range, sync::Arc, time::Duration};

use hintstore_env::{File, Result};
use hintstore_format::{
    Namespace, SegmentId, UnixMillis,
    expiry::{Lifetime, Policy, is_dead, written_deadline},
    footer::{Footer, Summary},
    profile::{Profile, Span},
};
use hintstore_reader::{Item, PreadSource, Walk};

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

/// How many hints of a sealed segment are dead or fenced at `now`, as its footer tells: an estimate. Of a
/// part of the index whose deadlines begin before `now` and end behind it, they count as spread evenly.
pub fn dead_hints(
    footer: &Footer,
    policy: &Policy,
    fence: impl Fn(Namespace) -> Option<UnixMillis>,
    now: UnixMillis,
) -> u64 {
    let by_index: u64 = footer
        .index
        .iter()
        .map(|part| passed_of(part.count, part.deadlines, now))
        .sum();
    let by_namespace = footer.namespaces.iter().map(|entry| {
        let (count, created, longest) = (entry.count, entry.created, entry.longest());
        if let Some(namespace) = entry.namespace {
            return dead_of(count, namespace, created, longest, policy, &fence, now);
        }
        let deadlines = Span {
            min: written_deadline(created.min, longest),
            max: written_deadline(created.max, longest),
        };
        passed_of(count, deadlines, now)
    });
    by_index.max(by_namespace.sum())
}

/// The same, by the profile tables of its blocks: nearly exact, and a read of each block's head and table.
/// For segments in which long and short lifetimes are mixed: there a footer tells little.
///
/// # Errors
/// The disk.
pub fn dead_hints_by_blocks(
    file: Arc<dyn File>,
    segment: SegmentId,
    blocks: Range<u64>,
    policy: &Policy,
    fence: impl Fn(Namespace) -> Option<UnixMillis>,
    now: UnixMillis,
) -> Result<u64> {
    let source = Box::new(PreadSource::hopping(file));
    let mut walk = Walk::new(source, segment, blocks.start, blocks.end);
    let mut dead = 0;
    while let Some(item) = walk.next_item()? {
        let Item::Block(block) = item else { continue };
        for entry in block.entries.iter().flatten() {
            let Profile { namespace, .. } = entry.profile;
            let (count, created) = (entry.count, entry.created);
            let lifetime = entry.profile.lifetime();
            dead += dead_of(count, namespace, created, lifetime, policy, &fence, now);
        }
    }
    Ok(dead)
}

/// How many of `count` hints with one lifetime are dead or fenced.
fn dead_of(
    count: u64,
    namespace: Namespace,
    created: Span<UnixMillis>,
    lifetime: Lifetime,
    policy: &Policy,
    fence: &impl Fn(Namespace) -> Option<UnixMillis>,
    now: UnixMillis,
) -> u64 {
    let deadlines = Span {
        min: policy.latest_deadline(namespace, created.min, lifetime),
        max: policy.latest_deadline(namespace, created.max, lifetime),
    };
    let dead = passed_of(count, deadlines, now);
    let fenced = fence(namespace).map_or(0, |before| {
        // Created before the fence: a hint of that very moment is not.
        let created = Span {
            min: created.min.saturating_add(MOMENT),
            max: created.max.saturating_add(MOMENT),
        };
        passed_of(count, created, before)
    });
    dead.max(fenced)
}

const MOMENT: Duration = Duration::from_millis(1);

/// How many of `count` times are not after `now`, where they are spread evenly over a span.
fn passed_of(count: u64, times: Span<UnixMillis>, now: UnixMillis) -> u64 {
    let (min, max, now) = (times.min.get(), times.max.get(), now.get());
    if max <= now {
        return count;
    }
    if min > now {
        return 0;
    }
    let (passed, all) = (now.abs_diff(min), max.abs_diff(min));
    let part = u128::from(count) * u128::from(passed) / u128::from(all.max(1));
    u64::try_from(part).unwrap_or(count)
}

#[cfg(test)]
mod tests {
    use hintstore_format::{
        Sequence, StoreId, TargetId,
        block::{Header, Position, Start},
        descriptor::{Descriptor, Kind},
        footer::Builder,
        profile::Entry,
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
            codec: hintstore_format::block::Codec::Plain,
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
                stored_length: 17,
                codec: hintstore_format::block::Codec::Plain,
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

    #[test]
    fn the_dead_are_counted_by_index_and_by_namespace() {
        let footer = footer(&[(1, 100, 50), (2, 10, 500), (1, 300, 50)]);
        let none = |_| None;
        let at = |policy: &Policy, now| dead_hints(&footer, policy, none, UnixMillis::new(now));
        let plain = Policy::default();
        assert_eq!(at(&plain, 149), 0);
        assert_eq!(at(&plain, 350), 2, "all of one namespace");
        assert_eq!(at(&plain, 510), 3);
        let lowered = Policy {
            gc_grace_now: vec![(Namespace::from_u128(2), Duration::from_millis(5))],
            max_lifetime: None,
        };
        assert_eq!(at(&lowered, 100), 1);
        let fence = |of| (of == Namespace::from_u128(2)).then_some(UnixMillis::new(11));
        assert_eq!(dead_hints(&footer, &plain, fence, UnixMillis::new(0)), 1);
        let before = |of| (of == Namespace::from_u128(2)).then_some(UnixMillis::new(10));
        assert_eq!(dead_hints(&footer, &plain, before, UnixMillis::new(0)), 0);
    }
}
