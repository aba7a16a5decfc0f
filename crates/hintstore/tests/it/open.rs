//! Opening: one at a time, from any state, with an answer.

use std::sync::Arc;

use hintstore::{Error, Level};
use hintstore_sim::Crash;

use crate::world::{World, small_config};

#[test]
fn a_store_that_is_dropped_leaves_nothing_in_memory() {
    let mut world = World::new(small_config());
    let before = Arc::strong_count(&world.clock);
    for drop_only in [false, true] {
        world.open().unwrap();
        world.append_batch(40, 3, Level::Buffered);
        world.append_batch(40, 3, Level::Durable);
        world.deliver(0, |number| number % 2 == 0, |_| false);
        if drop_only {
            world.disk.cut_at(0);
            world.store = None;
        } else {
            world.store.take().unwrap().close().unwrap();
        }
        // The world and its runner.
        assert_eq!(Arc::strong_count(&world.clock), before);
    }
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let mut world = World::opened(small_config());
    let first = world.store.take().unwrap();
    match world.open() {
        Err(Error::Locked { owner, .. }) => {
            assert_eq!(owner, format!("pid {}", std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    first.close().unwrap();
    world.open().unwrap();
}

#[test]
fn durable_books_are_exact_across_a_crash() {
    for seed in 0..30 {
        let mut world = World::opened(small_config());
        for _ in 0..5 {
            world.append_batch(20, 2, Level::Durable);
            world.deliver(0, |_| false, |_| false);
        }
        world.checkpoint();
        let before = world.store().ledger();
        world.crash(Crash::Power { seed });
        world.open().unwrap();
        assert_eq!(world.store().ledger(), before, "seed {seed}");
    }
}

#[test]
fn foreign_files_are_listed_and_left_alone() {
    use hintstore::Storage as _;
    let mut world = World::new(small_config());
    let cassandra = "9a355670-9212-4932-96bd-55417aa90974-1795380788969-2.hints";
    world.disk.create(cassandra).unwrap();
    world.open().unwrap();
    let report = world.store().open_report();
    assert_eq!(report.foreign.len(), 1);
    assert_eq!(report.foreign[0].name, cassandra);
    assert!(report.is_healthy());
    assert!(world.disk.names().contains(&cassandra.to_owned()));
}

#[test]
fn opening_twice_after_a_crash_is_opening_once() {
    let mut world = World::opened(small_config());
    world.append_batch(50, 3, Level::Os);
    world.crash(Crash::Kill);
    world.open().unwrap();
    let once = world.store().ledger();
    world.crash(Crash::Kill);
    world.open().unwrap();
    assert_eq!(world.store().ledger(), once);
    world.drain(3);
    world.assert_right();
}
