//! Seeded random operations, reopening and crashes among them, against the model in `world`.

use std::time::Duration;

use hintstore::{Durability, Truncate};
use hintstore_sim::{Broken, Crash, Random};

use crate::harness::{World, namespace, small_config, target};

pub(crate) const TARGETS: u128 = 3;

/// One random operation.
pub(crate) fn operate(world: &mut World, random: &mut Random) {
    let to = u128::from(random.below(TARGETS as u64));
    let level =
        [Durability::Buffered, Durability::Os, Durability::Durable][random.below(3) as usize];
    match random.below(28) {
        0..=8 => {
            let length = match random.below(20) {
                0 => 5_000,
                1 => 300_000,
                _ => random.below(300) as usize,
            };
            world.append(to, length, level);
        }
        9 => {
            world.append_living(to, 20, level, Duration::from_secs(1 + random.below(20)));
        }
        10..=11 => world.append_batch(1 + random.below(40), TARGETS, level),
        12..=15 => {
            let (retry, reject) = (random.below(12), random.below(29));
            // By turns: none, some, and every other hint is put off.
            let put_off = |n: u64| match retry {
                0..3 => n % 9 == retry,
                3..5 => n % 2 == retry % 2,
                _ => false,
            };
            world.deliver(to, put_off, |n| n % 29 == reject);
        }
        16 => world.drop_page(to),
        17..=18 => world.checkpoint(),
        19..=21 => world
            .runner
            .advance(Duration::from_millis(random.below(1500))),
        22 => drop(world.store().sweep()),
        23 => world.compact(),
        24 => {
            for _ in 0..random.below(30) {
                let lives = Duration::from_millis(500 + random.below(4000));
                world.append_living(to, 400, level, lives);
            }
        }
        26 => {
            let (of, which) = (1 + random.below(5), random.below(5));
            drop(world.discard(to, |number| number % of == which % of));
        }
        25 => world.compact_while_a_page_is_out(to, random.below(3)),
        _ => {
            if random.one_in(4) {
                let what = match random.below(3) {
                    0 => Truncate::all().target(target(to)),
                    1 => Truncate::all()
                        .target(target(to))
                        .namespace(namespace(u128::from(random.below(3)))),
                    _ => Truncate::default(),
                };
                world.truncate(what);
            }
        }
    }
}

fn run(seed: u64, broken: Option<Broken>, operations: u64) -> World {
    let mut random = Random::new(seed);
    let mut config = small_config();
    // Both readers, by turns.
    config.map = seed.is_multiple_of(2);
    config.compress_level = seed.is_multiple_of(3).then_some(1);
    let mut world = World::new(config);
    world.broken = broken;
    world.open().unwrap();
    for _ in 0..operations {
        operate(&mut world, &mut random);
        if random.one_in(40) {
            match random.below(3) {
                0 => {
                    world.close_and_open();
                    continue;
                }
                1 => world.crash(Crash::Kill),
                _ => world.crash(Crash::Power {
                    seed: random.bits(),
                }),
            }
            if let Err(error) = world.open() {
                world
                    .wrong
                    .push(format!("the store does not open: {error}"));
                return world;
            }
        }
        if !world.wrong.is_empty() {
            return world;
        }
    }
    world.drain(TARGETS);
    world
}

// P8
#[test]
fn random_operations_and_crashes_agree_with_the_model() {
    for seed in 0..150 {
        let world = run(seed, None, 150);
        assert!(world.wrong.is_empty(), "seed {seed}: {:#?}", world.wrong);
    }
}

/// The test of the test: an engine with a mistake in it is caught.
#[test]
fn broken_engines_are_caught() {
    for broken in [Broken::NoDataSync, Broken::NoDirectorySync] {
        let caught = (0..40).find(|seed| !run(*seed, Some(broken), 150).wrong.is_empty());
        assert!(caught.is_some(), "{broken:?} was not noticed");
    }
}
