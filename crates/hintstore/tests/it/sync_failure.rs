//! A sync that fails: the file is never synced or written again, and nothing is lost by it.

use std::{io, time::Duration};

use hintstore::Level;
use hintstore_sim::{Broken, Crash, Fault, FaultOn, Random};

use crate::world::{World, small_config};

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
        let level = [Level::Buffered, Level::Os, Level::Durable][random.below(3) as usize];
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

#[test]
fn a_durable_append_survives_one_failed_sync() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 10, Level::Os));
    fail_sync(&world, 0, 1, ".hints");
    assert!(world.append(0, 10, Level::Durable));
    world.crash(Crash::Power { seed: 1 });
    world.open().unwrap();
    world.drain(1);
    world.assert_right();
    assert_eq!(world.store().ledger().accepted, 2);
}
