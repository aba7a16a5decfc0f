//! Hints that wait for a retry get out of the way, and are not forgotten.

use std::time::Duration;

use hintstore::{Bytes, Cause, Durability, End, Hint, Truncate, Verdict};
use hintstore_env::Clock as _;
use hintstore_sim::Crash;

use crate::harness::{LONG, World, namespace, small_config, target};

fn hint_files(world: &World) -> usize {
    let names = world.disk.names();
    names.iter().filter(|name| name.ends_with(".hints")).count()
}

/// A thousand hints. The target cannot take every second; all others are delivered.
pub(crate) fn stubborn() -> World {
    let mut world = World::opened(small_config());
    for _ in 0..25 {
        world.append_batch(40, 1, Durability::Durable);
    }
    for _ in 0..400 {
        world.deliver(0, |number| number % 2 == 0, |_| false);
    }
    // Full segments are sealed, and what is done of them goes.
    world.runner.advance(Duration::from_secs(2));
    world.checkpoint();
    let books = world.store().ledger();
    assert_eq!((books.pending(), books.ended(End::Delivered)), (500, 500));
    world
}

// P9
#[test]
fn a_target_that_refuses_every_second_hint_gets_all_others() {
    let mut world = stubborn();
    world.close_and_open();
    // What is left is in few files: those that it came from are gone.
    world.checkpoint();
    assert!(hint_files(&world) <= 16, "{}", hint_files(&world));
    assert_eq!(world.store().ledger().pending(), 500);
    // The target learns of the table.
    world.drain(1);
    world.assert_right();
    world.close_and_open();
    assert_eq!(hint_files(&world), 0);
    let books = world.store().ledger();
    assert_eq!((books.accepted, books.ended(End::Delivered)), (1000, 1000));
}

#[test]
fn the_power_may_go_while_hints_are_deferred() {
    for seed in 0..8 {
        let mut world = stubborn();
        world.deliver(0, |number| number % 6 == 0, |_| false);
        world.crash(Crash::Power { seed });
        world.open().unwrap();
        let books = world.store().ledger();
        assert_eq!(
            (books.accepted, books.pending()),
            (1000, 500),
            "seed {seed}"
        );
        world.deliver(0, |number| number % 4 == 0, |_| false);
        world.checkpoint();
        world.crash(Crash::Kill);
        world.open().unwrap();
        world.drain(1);
        world.assert_right();
        assert_eq!(world.store().ledger().accepted, 1000);
    }
}

#[test]
fn a_journal_that_is_damaged_forgets_no_deferred_hint() {
    let mut world = stubborn();
    world.crash(Crash::Kill);
    world.disk.damage("store.journal", |bytes| {
        // All records but the head.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for byte in bytes.iter_mut().take(end).skip(64).step_by(16) {
            *byte ^= 1;
        }
    });
    world.open().unwrap();
    assert!(!world.store().open_report().is_healthy());
    assert!(world.store().ledger().pending() >= 500);
    // Some come twice, none is lost.
    for attempt in world.attempts.values_mut() {
        attempt.fate = crate::harness::Fate::Pending;
    }
    world.drain(1);
    world.assert_right();
}

#[test]
fn deferred_hints_expire_and_are_discarded_like_others() {
    let mut world = stubborn();
    let plan = Truncate::all().namespace(namespace(1));
    let found = world.store().plan_truncate(&plan).unwrap();
    world.truncate(plan);
    let books = world.store().ledger();
    assert_eq!(books.ended(End::Discarded), found[0].hints);
    assert!((100..300).contains(&found[0].hints), "{found:?}");
    world.crash(Crash::Power { seed: 1 });
    world.open().unwrap();
    assert_eq!(world.store().ledger().pending(), 500 - found[0].hints);
    world.runner.advance(LONG + Duration::from_secs(1));
    world.store().sweep().unwrap();
    let books = world.store().ledger();
    assert_eq!((books.pending(), books.ended(End::Delivered)), (0, 500));
    world.checkpoint();
    assert_eq!(hint_files(&world), 0);
}

#[test]
fn dead_letters_beyond_their_cap_leave_a_loss_in_the_journal() {
    let mut config = small_config();
    config.dead_letter_bytes = Bytes::kib(4);
    config.segment_bytes = Bytes::mib(4);
    let world = World::opened(config);
    let payload = [7; 300];
    for _ in 0..1000 {
        let hint = Hint::new(target(0), world.clock.wall(), LONG, &payload);
        world.store().append(hint, Durability::Durable).unwrap();
    }
    while let Some(page) = world.store().target(target(0)).page().unwrap() {
        page.answer_each(|_| Verdict::Reject).unwrap();
        world.store().checkpoint().unwrap();
    }
    let journal = hintstore::inspect::read_journal(&world.disk).unwrap();
    let lost: u64 = journal.losses.iter().map(|loss| loss.hints).sum();
    // However many checkpoints said so of some.
    assert_eq!(journal.losses.len(), 1);
    assert_eq!(journal.losses[0].cause, Cause::Rejected);
    assert!((900..1000).contains(&lost), "{lost}");
    assert_eq!(world.store().ledger().ended(End::Rejected), 1000);
}

#[test]
fn a_target_at_its_cap_is_drained_past_hints_that_wait() {
    let mut config = small_config();
    config.disk.total = Some(Bytes::mib(8));
    config.disk.target = Some(Bytes::kib(512));
    let mut world = World::opened(config);
    let mut count = 0;
    while world.append(0, 900, Durability::Os) {
        count += 1;
    }
    assert!(count > 250, "{count}");
    world.runner.advance(Duration::from_secs(2));
    for _ in 0..2000 {
        world.deliver(0, |number| number % 2 == 0, |_| false);
        world.runner.advance(Duration::from_millis(10));
        let used = world.store().snapshot().targets[0].bytes;
        assert!(used <= Bytes::kib(512), "{used:?}");
    }
    let pending = world.store().ledger().pending();
    assert!(pending <= count / 2 + 1, "{pending} of {count}");
    // There is room again.
    world.runner.advance(Duration::from_secs(2));
    assert!(world.append(0, 900, Durability::Os));
    world.drain(1);
    world.assert_right();
}
