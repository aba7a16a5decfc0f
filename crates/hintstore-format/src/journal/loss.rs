//! Loss receipts: which hints ended undelivered, as far as a repair has to know.
//!
//! A receipt names the target and the namespace that lack hints, the range of tokens, and when the
//! writes were made. Their number is bounded: where there are too many, neighbours are joined. A joined one
//! says less, and never less than what is missing.

use std::collections::BTreeMap;

use super::{End, Repaired};
use crate::{Namespace, TargetId, UnixMillis, profile::Span};

/// Why hints ended undelivered, or were never accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Refused: the target was away for longer than the hint window.
    PastWindow,
    /// Refused: a cap on disk space was reached, or the device has no room.
    Full,
    /// Refused for another reason.
    Refused,
    /// Their deadline came.
    Expired,
    /// Their target rejected them, and there was no room to keep them as dead letters.
    Rejected,
    /// An operator discarded them.
    Discarded,
    /// Damage took them.
    Damaged,
    /// A crash took them before they were synced.
    Crash,
}

impl Cause {
    /// Every cause, in the order of the files.
    pub const ALL: &'static [Self] = &[
        Self::PastWindow,
        Self::Full,
        Self::Refused,
        Self::Expired,
        Self::Rejected,
        Self::Discarded,
        Self::Damaged,
        Self::Crash,
    ];

    /// The word for it, as tools and metrics print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::PastWindow => "past_window",
            Self::Full => "full",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Discarded => "discarded",
            Self::Damaged => "damaged",
            Self::Crash => "crash",
        }
    }

    /// The cause of hints that ended so; nothing where their target lacks nothing.
    pub fn of(end: End) -> Option<Self> {
        match end {
            End::Delivered | End::Fenced | End::Superseded => None,
            End::Expired => Some(Self::Expired),
            End::Rejected => Some(Self::Rejected),
            End::Discarded => Some(Self::Discarded),
            End::Damaged => Some(Self::Damaged),
            End::Lost => Some(Self::Crash),
        }
    }
}

/// A loss receipt: hints that ended undelivered, or were never accepted, and what a repair has to look at.
///
/// What is left out means *any*: a receipt never says less than what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The node that lacks them.
    pub target: Option<TargetId>,
    /// Their namespace.
    pub namespace: Option<Namespace>,
    /// Their routing tokens, where every one has one.
    pub tokens: Option<Span<i64>>,
    /// When the writes were made; from [`UnixMillis::MIN`] on where nobody knows.
    pub created: Span<UnixMillis>,
    /// At most this many hints.
    pub hints: u64,
    /// At most this many bytes of payload.
    pub bytes: u64,
    /// Why.
    pub cause: Cause,
    /// When that was noticed.
    pub noticed: Span<UnixMillis>,
}

impl Loss {
    /// Adds another of the same cause.
    fn join(&mut self, other: &Self) {
        if self.namespace != other.namespace {
            self.namespace = None;
        }
        self.tokens = Span::join_all(self.tokens, other.tokens);
        self.created.join(other.created);
        self.hints = self.hints.saturating_add(other.hints);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.noticed.join(other.noticed);
    }

    /// Adds another of the same target, cause and namespace whose writes are near; false where it is none.
    pub fn join_near(&mut self, other: &Self) -> bool {
        let is_same = self.cause == other.cause
            && self.namespace == other.namespace
            && self.target == other.target;
        let is_near = is_same && self.gap(other) <= NEAR_MILLIS;
        if is_near {
            self.join(other);
        }
        is_near
    }

    /// How far the writes of both lie apart, in ms: nothing where they overlap. One without a known
    /// begin is near only to its kind.
    fn gap(&self, other: &Self) -> u64 {
        let (a, b) = (self.created, other.created);
        if (a.min == UnixMillis::MIN) != (b.min == UnixMillis::MIN) {
            return u64::MAX;
        }
        let gap = a
            .min
            .max(b.min)
            .get()
            .saturating_sub(a.max.min(b.max).get());
        u64::try_from(gap).unwrap_or(0)
    }
}

/// A bounded set of loss receipts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    by_target: BTreeMap<Option<TargetId>, Vec<Loss>>,
    count: usize,
}

/// Writes of one cause and namespace that are no further apart have one receipt: an hour.
const NEAR_MILLIS: u64 = 3_600_000;

impl Losses {
    /// Receipts of one target: at most this many.
    pub const OF_TARGET_MAX: usize = 32;

    /// Receipts in all: at most this many, and one of any target for each cause. They take a quarter of the
    /// space that a journal reserves.
    pub const MAX: usize = 2048;

    /// Adds a receipt: to one of the same cause and namespace whose writes are near, or as one of its own.
    pub fn add(&mut self, mut loss: Loss) {
        if loss.hints == 0 {
            return;
        }
        let known = self.by_target.entry(loss.target).or_default();
        if known.iter_mut().any(|near| near.join_near(&loss)) {
            return;
        }
        known.push(loss);
        self.count += 1;
        if known.len() > Self::OF_TARGET_MAX {
            join_nearest(known);
            self.count -= 1;
        }
        if self.count > Self::MAX {
            self.coarsen(&mut loss);
        }
    }

    /// Joins those of each cause of each target; where that is not enough, what was added last counts as
    /// of any target.
    fn coarsen(&mut self, last: &mut Loss) {
        for losses in self.by_target.values_mut() {
            while join_nearest(losses) {
                self.count -= 1;
            }
        }
        let is_last = |of: &Loss| of.cause == last.cause;
        if self.count <= Self::MAX || last.target.is_none() {
            return;
        }
        let known = self.by_target.entry(last.target).or_default();
        if let Some(place) = known.iter().position(is_last) {
            *last = known.remove(place);
            self.count -= 1;
        }
        if known.is_empty() {
            self.by_target.remove(&last.target);
        }
        last.target = None;
        let any = self.by_target.entry(None).or_default();
        if let Some(of) = any.iter_mut().find(|of| of.cause == last.cause) {
            of.join(last);
        } else {
            any.push(*last);
            self.count += 1;
        }
    }

    /// Takes out what was repaired.
    pub fn settle(&mut self, repaired: &Repaired) {
        let count = &mut self.count;
        self.by_target.retain(|_, losses| {
            *count -= losses.len();
            losses.retain(|loss| !repaired.covers(loss));
            *count += losses.len();
            !losses.is_empty()
        });
    }

    /// Takes out all of one target.
    pub fn forget(&mut self, target: TargetId) {
        let gone = self.by_target.remove(&Some(target));
        self.count -= gone.map_or(0, |losses| losses.len());
    }

    /// All of them, those of one target together.
    pub fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.by_target.values().flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Extend<Loss> for Losses {
    fn extend<T: IntoIterator<Item = Loss>>(&mut self, losses: T) {
        losses.into_iter().for_each(|loss| self.add(loss));
    }
}

/// Joins the two of one cause that lie nearest; those of one namespace first. False where no two are of one
/// cause.
fn join_nearest(losses: &mut Vec<Loss>) -> bool {
    let pairs = (0..losses.len()).flat_map(|a| (a + 1..losses.len()).map(move |b| (a, b)));
    let cost = |&(a, b): &(usize, usize)| {
        let (a, b) = (losses.get(a)?, losses.get(b)?);
        let is_same = a.cause == b.cause;
        is_same.then(|| (a.namespace != b.namespace, a.gap(b)))
    };
    let nearest = pairs.filter_map(|pair| Some((cost(&pair)?, pair))).min();
    let Some((_, (a, b))) = nearest else {
        return false;
    };
    let joined = losses.remove(b);
    if let Some(into) = losses.get_mut(a) {
        into.join(&joined);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: TargetId = TargetId::from_u128(1);
    const HOUR: i64 = NEAR_MILLIS.cast_signed();

    fn loss(namespace: u128, created: i64, token: i64, cause: Cause) -> Loss {
        Loss {
            target: Some(TARGET),
            namespace: Some(Namespace::from_u128(namespace)),
            tokens: Some(Span::of(token)),
            created: Span::of(UnixMillis::new(created)),
            hints: 1,
            bytes: 10,
            cause,
            noticed: Span::of(UnixMillis::new(created + 5)),
        }
    }

    fn covers(receipt: &Loss, one: &Loss) -> bool {
        let is_within = |span: Span<_>, one: Span<_>| span.min <= one.min && one.max <= span.max;
        receipt.cause == one.cause
            && (receipt.target.is_none() || receipt.target == one.target)
            && (receipt.namespace.is_none() || receipt.namespace == one.namespace)
            && receipt.tokens.is_none_or(|all| {
                one.tokens
                    .is_some_and(|one| all.min <= one.min && one.max <= all.max)
            })
            && is_within(receipt.created, one.created)
            && is_within(receipt.noticed, one.noticed)
    }

    #[test]
    fn near_writes_of_one_cause_and_namespace_have_one_receipt() {
        let mut losses = Losses::default();
        losses.add(loss(1, 0, 5, Cause::Full));
        losses.add(loss(1, HOUR, -5, Cause::Full));
        losses.add(loss(2, 0, 0, Cause::Full));
        losses.add(loss(1, 0, 0, Cause::Expired));
        losses.add(loss(1, 3 * HOUR, 0, Cause::Full));
        let all: Vec<_> = losses.iter().collect();
        assert_eq!(all.len(), 4);
        assert_eq!((all[0].hints, all[0].bytes), (2, 20));
        assert_eq!(all[0].tokens, Some(Span { min: -5, max: 5 }));
        assert_eq!(all[0].created.max, UnixMillis::new(HOUR));
    }

    #[test]
    fn a_receipt_says_less_with_time_and_never_less_than_what_is_missing() {
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut losses = Losses::default();
        let mut all = Vec::new();
        for _ in 0..2_000 {
            let cause = Cause::ALL[random(8) as usize];
            let created = random(1_000).cast_signed() * HOUR;
            let one = loss(random(20).into(), created, random(100).cast_signed(), cause);
            all.push(one);
            losses.add(one);
            assert!(losses.iter().count() <= Losses::OF_TARGET_MAX);
        }
        for one in &all {
            assert!(losses.iter().any(|receipt| covers(receipt, one)), "{one:?}");
        }
        let hints: u64 = losses.iter().map(|receipt| receipt.hints).sum();
        assert_eq!(hints, 2_000);
    }

    #[test]
    fn receipts_of_too_many_targets_are_of_any() {
        let mut losses = Losses::default();
        let mut all = Vec::new();
        for target in 0..Losses::MAX as u128 + 100 {
            for (namespace, cause) in [(1, Cause::Full), (2, Cause::Full), (1, Cause::Crash)] {
                let one = Loss {
                    target: Some(TargetId::from_u128(target)),
                    ..loss(namespace, 0, 0, cause)
                };
                all.push(one);
                losses.add(one);
                assert_eq!(losses.count, losses.iter().count());
                assert!(losses.count <= Losses::MAX + Cause::ALL.len());
            }
        }
        for one in &all {
            assert!(losses.iter().any(|receipt| covers(receipt, one)), "{one:?}");
        }
        let hints: u64 = losses.iter().map(|receipt| receipt.hints).sum();
        assert_eq!(hints, all.len() as u64);
        let of_any = losses.iter().filter(|loss| loss.target.is_none());
        assert_eq!(of_any.count(), 2);
    }

    #[test]
    fn what_was_repaired_goes_and_what_may_not_have_been_stays() {
        let mut losses = Losses::default();
        losses.add(loss(1, 10, 0, Cause::Full));
        losses.add(loss(2, 10, 0, Cause::Full));
        losses.add(loss(1, 20 * HOUR, 0, Cause::Full));
        losses.add(Loss {
            namespace: None,
            ..loss(1, 10, 0, Cause::Crash)
        });
        losses.settle(&Repaired {
            target: Some(TARGET),
            namespace: Some(Namespace::from_u128(1)),
            before: UnixMillis::new(20 * HOUR),
        });
        // Of any namespace, another one may still lack something.
        assert_eq!(losses.iter().count(), 3);
        losses.settle(&Repaired {
            target: None,
            namespace: None,
            before: UnixMillis::MAX,
        });
        assert!(losses.is_empty());
    }
}
