//! A sync that fails: the file is never synced or written again, and nothing is lost by it.

use std::{io, time::Duration};

use hintstore::{Bytes, Durability, End};
use hintstore_env::Clock as _;
use hintstore_sim::{Broken, Crash, Fault, FaultOn, Random};

use crate::harness::{World, small_config};

fn fail_sync(world: &World, after: u64, times: u64, name: &'static str) {
    world.disk.fail(Fault {
        on: FaultOn::Sync,
        after,
        times,
        error: io::ErrorKind::Other,
        name,
    });
}

/// Appends while syncs fail now and then, cuts the power, and looks for what was acknowledged.
fn run(seed: u64, broken: Option<Broken>) -> World {
    let mut random = Random::new(seed);
    let mut world = World::new(small_config());
    world.broken = broken;
    world.open().unwrap();
    for _ in 0..30 {
        let level =
            [Durability::Buffered, Durability::Os, Durability::Durable][random.below(3) as usize];
        if random.one_in(5) {
            let name = if random.one_in(3) {
                "journal"
            } else {
                ".hints"
            };
            fail_sync(&world, random.below(3), 1 + random.below(2), name);
        }
        if random.one_in(12) {
            let on = [FaultOn::Write, FaultOn::Create][random.below(2) as usize];
            let (after, times) = (random.below(3), 1 + random.below(3));
            let error = io::ErrorKind::Other;
            world.disk.fail(Fault {
                on,
                after,
                times,
                error,
                name: ".hints",
            });
        }
        world.append(
            u128::from(random.below(2)),
            random.below(900) as usize,
            level,
        );
        if random.one_in(6) {
            world.deliver(u128::from(random.below(2)), |n| n % 7 == 0, |_| false);
        }
        if random.one_in(6) {
            world.runner.advance(Duration::from_millis(700));
        }
        if random.one_in(9) {
            world.checkpoint();
        }
    }
    world.disk.heal();
    // What was moved around is counted once.
    for to in 0..2 {
        drop(world.store().target(crate::harness::target(to)).sync());
    }
    let windows = world.store().snapshot().windows;
    if windows.unsynced.get() > 0 {
        world.wrong.push(format!("{windows:?} after a sync of all"));
    }
    let crash = if random.one_in(3) {
        Crash::Kill
    } else {
        Crash::Power { seed }
    };
    world.crash(crash);
    world.open().unwrap();
    world.drain(2);
    world
}

// P1
#[test]
fn a_failed_sync_loses_nothing_that_was_acknowledged() {
    for seed in 0..300 {
        let world = run(seed, None);
        assert!(world.wrong.is_empty(), "seed {seed}: {:#?}", world.wrong);
    }
}

/// The test of the test.
#[test]
fn an_engine_that_tries_a_failed_sync_again_is_caught() {
    let caught = (0..300).any(|seed| !run(seed, Some(Broken::RetriedSync)).wrong.is_empty());
    assert!(caught, "the retried sync was not noticed");
}

// P1
#[test]
fn a_durable_append_survives_one_failed_sync() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 10, Durability::Os));
    fail_sync(&world, 0, 1, ".hints");
    assert!(world.append(0, 10, Durability::Durable));
    world.crash(Crash::Power { seed: 1 });
    world.open().unwrap();
    world.drain(1);
    world.assert_right();
    assert_eq!(world.store().ledger().accepted, 2);
}

/// The page cache itself has lost some of what the failed sync left behind: a page of one block, a
/// whole block, the first, the last.
#[test]
fn what_cannot_be_read_back_is_damaged_and_the_rest_is_kept() {
    for (from, to) in [
        (300, 310),
        (700, 2300),
        (4096, 4097),
        (5000, 90_000),
        (0, 90_000),
    ] {
        let mut world = World::opened(small_config());
        world.config.segment_bytes = Bytes::mib(1);
        world.close_and_open();
        for _ in 0..12 {
            assert!(world.append(0, 600, Durability::Os));
        }
        let name = world
            .disk
            .names()
            .into_iter()
            .find(|n| n.ends_with(".hints"));
        world.disk.fail_reads(&name.unwrap(), from, to);
        fail_sync(&world, 0, 1, ".hints");
        // Where its own place cannot be read either, it gets no receipt.
        let saved = world.append(0, 600, Durability::Durable);
        assert_eq!(saved, to < 90_000, "{from}..{to}");
        world.disk.heal();
        let books = world.store().ledger();
        assert_eq!(books.accepted, 13);
        for attempt in world.attempts.values_mut() {
            attempt.level = None;
        }
        world.drain(1);
        world.assert_right();
        let books = world.store().ledger();
        let gone = books.ended(End::Damaged) + books.ended(End::Lost);
        assert_eq!(
            books.ended(End::Delivered) + gone,
            13,
            "{from}..{to}: {books:?}"
        );
        assert!(books.ended(End::Delivered) > 0, "{from}..{to}: {books:?}");
    }
}

#[test]
fn a_move_that_cannot_be_written_is_tried_again_and_then_appends_go_on() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 10, Durability::Os));
    fail_sync(&world, 0, 1, ".hints");
    world.disk.fail(Fault {
        on: FaultOn::Create,
        after: 0,
        times: 3,
        error: io::ErrorKind::Other,
        name: ".hints",
    });
    for _ in 0..4 {
        world.append(0, 10, Durability::Durable);
        world.runner.advance(Duration::from_secs(2));
    }
    assert_eq!(world.store().refusing(), None);
    assert!(world.append(0, 10, Durability::Durable));
    world.crash(Crash::Power { seed: 5 });
    world.open().unwrap();
    world.drain(1);
    world.assert_right();
}

// P6
#[test]
fn the_window_of_unsynced_bytes_is_kept_whatever_the_disk_does() {
    let mut world = World::opened(small_config());
    fail_sync(&world, 3, u64::MAX, ".hints");
    let mut refused = 0;
    for _ in 0..900 {
        refused += u32::from(!world.append(0, 2000, Durability::Buffered));
        world.append(1, 100, Durability::Buffered);
        world.runner.advance(Duration::from_millis(50));
        let windows = world.store().snapshot().windows;
        let max = world.config.unsynced_bytes_max;
        assert!(windows.unsynced <= max, "{windows:?}");
    }
    assert!(refused > 0);
    world.disk.heal();
    world.runner.advance(Duration::from_secs(10));
    assert!(world.append(0, 10, Durability::Durable));
    assert_eq!(world.store().refusing(), None);
    world.drain(2);
    world.assert_right();
}

/// A hint that a failed sync left behind and that cannot be read back is never called durable.
#[test]
fn a_hint_that_could_not_be_moved_gets_no_receipt() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 600, Durability::Os));
    let name = world
        .disk
        .names()
        .into_iter()
        .find(|name| name.ends_with(".hints"));
    // All that is above what was synced, the hint of this append among it.
    world.disk.fail_reads(&name.unwrap(), 0, 90_000);
    fail_sync(&world, 0, 1, ".hints");
    assert!(!world.append(0, 600, Durability::Durable), "it is nowhere");
    world.disk.heal();
    assert!(world.append(0, 600, Durability::Durable));
}

#[test]
fn a_close_on_a_disk_that_refuses_to_sync_has_one_deadline_for_all() {
    let mut config = small_config();
    config.unsynced_bytes_max = Bytes::kib(8);
    let mut world = World::opened(config);
    for to in 0..6 {
        assert!(world.append(to, 900, Durability::Os));
    }
    fail_sync(&world, 0, u64::MAX, ".hints");
    for to in 0..6 {
        // The window is full then: what comes now waits for it.
        for _ in 0..3 {
            world.append(to, 900, Durability::Buffered);
        }
        // Delivered from memory of the kernel: a checkpoint has it synced first.
        world.deliver(to, |_| true, |_| false);
    }
    let began = world.clock.boot();
    let store = world.store.take().unwrap();
    assert!(store.close().is_err());
    let took = world.clock.boot().since(began);
    assert!(took < Duration::from_secs(65), "{took:?}");
}
