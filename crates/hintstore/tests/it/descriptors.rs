//! Descriptors: many targets, few open files.

use hintstore::Level;
use hintstore_sim::{Crash, Fault, FaultOn};

use crate::world::{World, small_config};

#[test]
fn more_targets_than_descriptors_lose_nothing() {
    for seed in 0..6 {
        let mut config = small_config();
        config.descriptors_max = 5;
        let mut world = World::opened(config);
        for round in 0..4 {
            for to in 0..40 {
                let level = [Level::Durable, Level::Os, Level::Buffered][(to + round) % 3];
                assert!(world.append(to as u128, 300 * round, level));
            }
            world.runner.advance(std::time::Duration::from_millis(300));
            for to in 0..40 {
                world.deliver(to, |number| number % 5 == 0, |_| false);
            }
        }
        assert!(
            world.disk.open_files() <= 5 + 5,
            "{}",
            world.disk.open_files()
        );
        world.crash(Crash::Power { seed });
        world.open().unwrap();
        world.drain(40);
        world.assert_right();
    }
}

/// The sync before a file is closed fails: who appended is told as if it were its own.
#[test]
fn a_sync_that_fails_as_a_file_is_closed_is_not_forgotten() {
    for after in 0..30 {
        let mut config = small_config();
        config.descriptors_max = 3;
        let mut world = World::opened(config);
        world.disk.fail(Fault {
            on: FaultOn::Sync,
            after,
            times: 1,
            error: std::io::ErrorKind::Other,
            name: ".hints",
        });
        for to in 0..12 {
            world.append(to, 400, Level::Os);
        }
        for to in 0..12 {
            world.append(to, 400, Level::Durable);
        }
        world.crash(Crash::Power { seed: after });
        world.open().unwrap();
        world.drain(12);
        world.assert_right();
    }
}
