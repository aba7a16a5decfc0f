//! When a hint is dead: one rule, used by reader, sweep and tools.
//!
//! Deadline = created + min(`gc_grace` at write, `gc_grace` now, discard-after, the configured maximum).
//! A hint is dead when its deadline is not after the time asked about (`deadline <= now`), as in
//! Cassandra. Raising `gc_grace` never revives: the value at write stays in the minimum. Nothing
//! here looks at a file's mtime.

use std::time::Duration;

use crate::{Namespace, UnixMillis};

/// What the hint itself carries into the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// `gc_grace` of the hint's tables when it was written (the least of them).
    pub gc_grace: Duration,
    /// Discard-after, where the embedder set it.
    pub ttl: Option<Duration>,
}

/// What the store knows now: the other half of the rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// No hint lives longer than this.
    pub max_lifetime: Option<Duration>,
    /// `gc_grace` now, for namespaces where the embedder said it.
    pub gc_grace_now: Vec<(Namespace, Duration)>,
}

impl Policy {
    /// The deadline of a hint: from here on it is dead.
    pub fn deadline(
        &self,
        namespace: Namespace,
        created: UnixMillis,
        lifetime: Lifetime,
    ) -> UnixMillis {
        let now = self
            .gc_grace_now
            .iter()
            .find(|(of, _)| *of == namespace)
            .map(|(_, gc)| *gc);
        let shortest = [now, lifetime.ttl, self.max_lifetime]
            .into_iter()
            .flatten()
            .fold(lifetime.gc_grace, Duration::min);
        created.saturating_add(shortest)
    }

    /// The latest deadline that any hint can have which was created no later than `created` and
    /// carries no longer lifetime than `longest`: what lets a whole segment go by its footer.
    pub fn latest_deadline(
        &self,
        namespace: Namespace,
        created: UnixMillis,
        longest: Lifetime,
    ) -> UnixMillis {
        // The rule is monotone in all its inputs, so the maxima give the latest deadline.
        self.deadline(namespace, created, longest)
    }
}

/// The deadline by the hint alone, before any policy: what block headers and footers hold.
#[inline]
pub fn written_deadline(created: UnixMillis, lifetime: Lifetime) -> UnixMillis {
    let Lifetime { gc_grace, ttl } = lifetime;
    created.saturating_add(ttl.map_or(gc_grace, |ttl| ttl.min(gc_grace)))
}

/// Whether a deadline has come.
pub fn is_dead(deadline: UnixMillis, now: UnixMillis) -> bool {
    deadline <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const TABLE: Namespace = Namespace::from_u128(7);

    fn deadline(policy: &Policy, gc_grace: Duration, ttl: Option<Duration>) -> i64 {
        policy
            .deadline(TABLE, UnixMillis::new(1_000), Lifetime { gc_grace, ttl })
            .get()
    }

    #[test]
    fn the_shortest_lifetime_counts() {
        let policy = Policy {
            max_lifetime: Some(3 * DAY),
            gc_grace_now: vec![(TABLE, 2 * DAY), (Namespace::NONE, Duration::ZERO)],
        };
        assert_eq!(deadline(&policy, DAY, None), 1_000 + 86_400_000);
        assert_eq!(deadline(&policy, 9 * DAY, None), 1_000 + 2 * 86_400_000);
        assert_eq!(
            deadline(&policy, 9 * DAY, Some(Duration::from_millis(5))),
            1_005
        );
        let only_max = Policy {
            gc_grace_now: Vec::new(),
            ..policy
        };
        assert_eq!(deadline(&only_max, 9 * DAY, None), 1_000 + 3 * 86_400_000);
    }

    #[test]
    fn a_hint_is_dead_at_its_deadline_and_not_before() {
        let at = UnixMillis::new(5);
        assert!(is_dead(at, at));
        assert!(!is_dead(at, UnixMillis::new(4)));
    }

    #[test]
    fn endless_lifetimes_do_not_overflow() {
        let endless = Lifetime {
            gc_grace: Duration::MAX,
            ttl: None,
        };
        assert_eq!(
            written_deadline(UnixMillis::new(1), endless),
            UnixMillis::MAX
        );
    }
}
