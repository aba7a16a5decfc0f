//! Discarding single hints: these go, and nothing else changes.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use hintstore::{Bytes, CompactReason, Durability, End, Hint, Sequence};
use hintstore_env::{Boot, Next, Runner as _, Step, Waker};

use crate::{
    compact::{at_any_step, config, cut_while},
    harness::{LONG, START, World, target},
};

const SECOND: Duration = Duration::from_secs(1);

/// Sealed segments, an open one, and hints that are in memory only.
fn mixed(hints: u64) -> World {
    let mut world = World::opened(config());
    for _ in 0..hints {
        world.append(0, 900, Durability::Durable);
    }
    for _ in 0..20 {
        world.append(0, 900, Durability::Buffered);
    }
    world
}

// P3, P8
#[test]
fn single_hints_are_discarded_and_the_others_keep_their_keys() {
    let mut world = mixed(280);
    let done = world.discard(0, |number| number % 3 == 0).unwrap();
    let discarded: u64 = done.compacted.iter().map(|of| of.discarded).sum();
    assert_eq!((discarded, done.skipped.len()), (100, 0), "{done:?}");
    assert!(
        done.compacted
            .iter()
            .all(|of| of.reason == CompactReason::Discarded)
    );
    assert_eq!(world.store().ledger().ended(End::Discarded), 100);
    // Again: none is there.
    let again = world.discard(0, |number| number % 3 == 0).unwrap();
    assert_eq!(again, hintstore::Compaction::default());
    world.close_and_open();
    let books = world.store().ledger();
    assert_eq!((books.accepted, books.pending()), (300, 200));
    let all = world.store().losses();
    assert_eq!(all.iter().map(|loss| loss.hints).sum::<u64>(), 100);
    world.drain(1);
    world.assert_right();
}

// P8
#[test]
fn hints_that_are_discarded_while_their_page_is_out_end_once() {
    for answer in 0..3 {
        let mut world = mixed(100);
        let page = world.store().target(target(0)).page().unwrap().unwrap();
        let handed = page.len() as u64;
        let done = world.store().discard(target(0), &ALL).unwrap();
        assert!(done.skipped.is_empty() && handed > 0, "{done:?}");
        match answer {
            0 => drop(page.delivered()),
            1 => page.retry(),
            _ => drop(page),
        }
        world.checkpoint();
        let books = world.store().ledger();
        assert_eq!((books.accepted, books.pending()), (120, 0), "{books:?}");
        assert_eq!(books.ended(End::Discarded), 120);
        assert!(world.store().target(target(0)).page().unwrap().is_none());
    }
}

// P4
#[test]
fn what_cannot_be_rewritten_keeps_its_hints_and_is_named() {
    let mut world = mixed(280);
    world.runner.advance(2 * SECOND);
    let mut names = world.disk.names();
    names.retain(|name| name.ends_with(".hints"));
    names.sort();
    world.disk.damage(&names[1], |bytes| bytes[1000] ^= 1);
    let done = world.discard(0, |number| number % 2 == 0).unwrap();
    assert_eq!(done.skipped.len(), 1, "{done:?}");
    assert_eq!(done.skipped[0].0, names[1]);
    while world.deliver(0, |_| false, |_| false) > 0 {}
    world.checkpoint();
    assert_eq!(world.store().ledger().pending(), 0);
    assert!(world.wrong.is_empty(), "{:?}", world.wrong);
}

/// Appends a hint, or cancels, at the first pause of what runs.
#[derive(Debug)]
struct InBetween(hintstore::HintStore, bool);

impl Step for InBetween {
    fn name(&self) -> &'static str {
        "in between"
    }

    fn step(&self, _: Boot) -> Next {
        if self.1 {
            self.0.cancel_compaction();
        } else {
            let hint = Hint::new(target(0), START, LONG, b"late");
            self.0.append(hint, Durability::Buffered).unwrap();
        }
        Next::WhenWoken
    }
}

/// A store that rewrites so slowly that something comes in between.
fn slow(cancels: bool) -> World {
    let mut world = World::opened(config().with(|config| {
        config.compact_bytes_per_second = Some(Bytes::kib(1));
    }));
    for _ in 0..300 {
        world.append(0, 900, Durability::Durable);
    }
    let step = Arc::new(InBetween(world.store().clone(), cancels));
    let begin = Next::After(5 * SECOND);
    world.runner.start(step, Waker::default(), begin).unwrap();
    world
}

const ALL: [RangeInclusive<Sequence>; 1] = [Sequence::ZERO..=Sequence::new(u64::MAX)];

// P8
#[test]
fn what_is_accepted_while_others_are_discarded_stays() {
    let world = slow(false);
    let done = world.store().discard(target(0), &ALL).unwrap();
    assert!(done.skipped.is_empty() && !done.is_cancelled, "{done:?}");
    let books = world.store().ledger();
    assert_eq!((books.accepted, books.pending()), (301, 1), "{books:?}");
    assert_eq!(books.ended(End::Discarded), 300);
    // It was no compaction.
    assert_eq!(world.store().snapshot().compaction.runs, 0);
}

#[test]
fn a_discard_that_is_cancelled_names_what_it_did_not_come_to() {
    let world = slow(true);
    let done = world.store().discard(target(0), &ALL).unwrap();
    assert!(done.is_cancelled);
    let pending = world.store().ledger().pending();
    assert!(pending > 100 && done.skipped.len() > 1, "{done:?}");
    let again = world.store().discard(target(0), &ALL).unwrap();
    assert!(again.skipped.is_empty());
    assert_eq!(world.store().ledger().pending(), 0);
}

/// Cuts the power at one operation of a discard.
fn cut_discard(at: u64, seed: u64) -> Option<Vec<String>> {
    let mut world = World::opened(config());
    for _ in 0..200 {
        world.append(0, 900, Durability::Durable);
    }
    world.runner.advance(2 * SECOND);
    world.deliver(0, |number| number % 30 == 0, |_| false);
    world.checkpoint();
    cut_while(world, at, seed, |world| {
        drop(world.discard(0, |number| number % 5 == 0));
    })
}

// P1
#[test]
fn the_power_may_go_at_any_step_of_a_discard() {
    at_any_step(23, cut_discard);
}
