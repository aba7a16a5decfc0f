//! What broke in others, and must not here: each test is named after the report that it comes from. More of
//! these are among the tests of the part that they are about.

use std::time::Duration;

use hintstore::{Bytes, Compact, Departure, Durability, End, Hint, SyncScope, SyncState};
use hintstore_env::Clock as _;
use hintstore_sim::Crash;

use crate::harness::{LONG, START, World, namespace, small_config, target};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

fn config() -> hintstore::Config {
    small_config().with(|config| {
        config.segment_bytes = Bytes::kib(128);
        config.preallocate = false;
        config.compact_interval = None;
        config.roll_age = SECOND;
        config.roll_bytes_min = Bytes::new(1);
    })
}

/// A hand-off that waited for a restart overwrote newer data.
// P3
#[test]
fn riak_kv_847_a_hint_that_waited_for_a_restart_is_still_dead() {
    let mut world = World::opened(config());
    world.append_living(0, 100, Durability::Durable, HOUR);
    world.crash(Crash::Power { seed: 3 });
    world.clock.advance(2 * HOUR);
    world.open().unwrap();
    world.store().confirm_clock();
    assert_eq!(world.deliver(0, |_| false, |_| false), 0);
    assert_eq!(world.store().ledger().ended(End::Expired), 1);
}

/// Age was counted from when the hint was handed over, not from the write: deleted data came back.
// P3
#[test]
fn cassandra_20014_age_counts_from_the_write() {
    let mut world = World::opened(config());
    world.runner.advance(HOUR);
    // The write is nearly as old as it may be when its hint comes.
    let hint = Hint::new(target(0), START, HOUR + 10 * SECOND, b"an old write");
    world.store().append(hint, Durability::Os).unwrap();
    world.runner.advance(20 * SECOND);
    assert_eq!(world.deliver(0, |_| false, |_| false), 0);
    assert_eq!(world.store().ledger().ended(End::Expired), 1);
}

/// Data that a repair had brought up to date was judged by the wrong test, and deletes came undone.
// P3
#[test]
fn scylla_23712_what_was_repaired_is_over_whatever_gc_grace_says() {
    let mut world = World::opened(config());
    for _ in 0..9 {
        world.append_living(0, 100, Durability::Durable, LONG);
    }
    world.runner.advance(5 * SECOND);
    let repaired_to = world.clock.wall();
    for of in 0..3 {
        world.store().fence(namespace(of), repaired_to).unwrap();
    }
    assert_eq!(world.deliver(0, |_| false, |_| false), 0);
    assert_eq!(world.store().ledger().ended(End::Fenced), 9);
}

/// Counter updates that went another way were applied twice.
#[test]
fn scylla_5833_what_counts_is_neither_given_to_others_nor_collapsed() {
    let world = World::opened(config().with(|config| config.last_write_wins = vec![namespace(0)]));
    for version in 0..20 {
        let hint = Hint::new(target(0), START, LONG, b"add one")
            .namespace(namespace(0))
            .collapse(b"counter", version)
            .not_idempotent();
        world.store().append(hint, Durability::Durable).unwrap();
    }
    world.runner.advance(5 * SECOND);
    world.store().compact(&Compact::everything()).unwrap();
    let moved = world.store().readdress(target(0), &[target(1)]).unwrap();
    assert_eq!((moved.moved, moved.stayed), (0, 20));
    assert_eq!(world.store().ledger().ended(End::Superseded), 0);
}

/// One file that was damaged kept all others from being compacted, and the disk filled up.
// P4
#[test]
fn prometheus_18552_one_bad_file_holds_up_no_other() {
    let mut world = World::opened(config());
    for _ in 0..600 {
        world.append_living(0, 900, Durability::Durable, 10 * SECOND);
        world.append_living(0, 30, Durability::Durable, LONG);
    }
    world.runner.advance(30 * SECOND);
    let mut names = world.disk.names();
    names.retain(|name| name.ends_with(".hints"));
    names.sort();
    assert!(names.len() > 3, "{names:?}");
    world.disk.damage(&names[0], |bytes| bytes[3000] ^= 1);
    let done = world.store().compact(&Compact::everything()).unwrap();
    let skipped: Vec<&String> = done.skipped.iter().map(|(name, _)| name).collect();
    assert_eq!(skipped, [&names[0]], "{done:?}");
    let left = world.disk.names();
    assert!(left.contains(&names[0]));
    assert!(
        !names.iter().skip(1).any(|name| left.contains(name)),
        "{left:?}"
    );
}

/// The clean-up of a node that left removed a file while it was transferred, and the decommission died.
// P9
#[test]
fn cassandra_21217_a_cleanup_spares_what_is_being_delivered() {
    for forget in [true, false] {
        let mut world = World::opened(config());
        for _ in 0..50 {
            world.append_living(0, 900, Durability::Durable, 20 * SECOND);
        }
        world.runner.advance(5 * SECOND);
        let page = world.store().target(target(0)).page().unwrap().unwrap();
        let before: Vec<Vec<u8>> = page
            .hints()
            .map(|hint| hint.body.payload.to_vec())
            .collect();
        if forget {
            world
                .store()
                .forget(target(0), Departure::Decommissioned)
                .unwrap();
        } else {
            world.runner.advance(60 * SECOND);
            world.store().sweep().unwrap();
            world.store().compact(&Compact::everything()).unwrap();
        }
        let read = page.with(|page| {
            let hints = page.hints();
            hints
                .map(|hint| hint.body.payload.to_vec())
                .collect::<Vec<_>>()
        });
        assert_eq!(
            read.unwrap(),
            before,
            "its bytes are there until it is answered"
        );
        page.delivered().unwrap();
        let books = world.store().ledger();
        assert_eq!((books.accepted, books.pending()), (50, 0), "{books:?}");
        assert_eq!(books.ended(End::Delivered), 0, "they ended before");
    }
}

/// A write that came late made the file of a node again that had just been removed, and nobody saw it.
#[test]
fn cassandra_13740_a_late_hint_for_a_target_that_left_is_seen() {
    let mut world = World::opened(config());
    world.append(0, 100, Durability::Durable);
    world.append(1, 100, Durability::Durable);
    world.store().set_members([target(0)]);
    world
        .store()
        .forget(target(1), Departure::Decommissioned)
        .unwrap();
    assert_eq!(world.store().orphans(), []);
    assert!(world.append(1, 100, Durability::Durable));
    let orphans = world.store().orphans();
    assert_eq!(orphans.len(), 1);
    assert_eq!((orphans[0].target, orphans[0].pending), (target(1), 1));
}

/// The first sync points waited for nodes that were up only.
#[test]
fn scylla_8102_a_sync_point_waits_for_targets_that_are_down() {
    let mut world = World::opened(config());
    world.append(0, 100, Durability::Durable);
    world.store().target(target(0)).down();
    let point = world.store().sync_point(&SyncScope::all()).unwrap();
    world.runner.advance(HOUR);
    let waits = SyncState::InProgress {
        targets: vec![target(0)],
    };
    assert_eq!(world.store().sync_state(&point).unwrap(), waits);
}
