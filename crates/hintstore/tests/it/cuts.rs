//! The power goes at every single operation on the disk: of append, roll, seal, checkpoint, retire,
//! truncate, and of recovery itself.

use hintstore_sim::{Broken, Crash, Random, SimStorage};

use crate::{
    harness::{World, small_config},
    model::{TARGETS, operate},
};

const OPERATIONS: u64 = 45;

/// Runs the script of a seed until it ends or the power is cut.
fn script(world: &mut World, seed: u64) {
    let mut random = Random::new(seed);
    if world.open().is_err() {
        return;
    }
    for _ in 0..OPERATIONS {
        if world.disk.is_cut() {
            return;
        }
        operate(world, &mut random);
    }
}

/// How many operations on the disk the script of a seed makes.
fn length(seed: u64) -> u64 {
    let mut world = World::new(small_config());
    script(&mut world, seed);
    world.assert_right();
    world.disk.operations()
}

/// Cuts the power at one operation, and once more while the store recovers.
fn cut(seed: u64, at: u64, broken: Option<Broken>) -> World {
    let mut random = Random::new(seed ^ at << 32);
    let disk = SimStorage::new();
    disk.cut_at(at);
    let mut world = World::on(disk, small_config());
    world.broken = broken;
    script(&mut world, seed);
    world.crash(Crash::Power {
        seed: random.bits(),
    });
    world.disk.cut_at(random.below(40));
    if world.open().is_ok() && random.one_in(2) {
        world.deliver(0, |_| false, |_| false);
        world.checkpoint();
    }
    world.crash(Crash::Power {
        seed: random.bits(),
    });
    match world.open() {
        Ok(()) => world.drain(TARGETS),
        Err(error) => world
            .wrong
            .push(format!("the store does not open: {error:?}")),
    }
    world
}

fn sweep(seed: u64, stride: u64, broken: Option<Broken>) -> Option<(u64, Vec<String>)> {
    (0..length(seed)).step_by(stride as usize).find_map(|at| {
        let world = cut(seed, at, broken);
        (!world.wrong.is_empty()).then_some((at, world.wrong))
    })
}

// P1
#[test]
fn nothing_durable_is_lost_wherever_the_power_goes() {
    for seed in 0..6 {
        let wrong = sweep(seed, 1, None);
        assert_eq!(wrong, None, "seed {seed}");
    }
}

/// The test of the test.
#[test]
fn broken_engines_lose_something_somewhere() {
    for broken in [
        Broken::NoDataSync,
        Broken::NoDirectorySync,
        Broken::CheckpointBeforeData,
    ] {
        let caught = (0..12).any(|seed| sweep(seed, 3, Some(broken)).is_some());
        assert!(caught, "{broken:?} was not noticed");
    }
}
