//! Damage is contained, counted and kept: a flipped bit anywhere costs little, and nothing hangs.

use hintstore::{End, Level};
use hintstore_sim::Random;

use crate::world::{World, small_config};

fn filled() -> World {
    let mut world = World::opened(small_config());
    for _ in 0..12 {
        world.append_batch(10, 1, Level::Durable);
    }
    let store = world.store.take().unwrap();
    store.close().unwrap();
    world
}

fn segments(world: &World) -> Vec<String> {
    let all = world.disk.names().into_iter();
    all.filter(|name| name.ends_with(".hints") && !name.contains('/'))
        .collect()
}

#[test]
fn a_flipped_bit_costs_one_hint_or_one_block_and_is_counted() {
    let mut random = Random::new(1);
    for _ in 0..150 {
        let mut world = filled();
        let names = segments(&world);
        let name = random.pick(&names).unwrap().clone();
        let bit = random.bits() as usize;
        world.disk.damage(&name, |bytes| {
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        });
        world.open().unwrap();
        while world.deliver(0, |_| false, |_| false) > 0 {}
        world.checkpoint();
        world.assert_right();
        let books = world.store().ledger();
        assert_eq!(books.pending(), 0, "{name} bit {bit}");
        // A block of these runs holds ten hints.
        let damaged = books.ended(End::Damaged) + books.ended(End::Lost);
        assert!(damaged <= 10, "{name} bit {bit}: {books:?}");
        assert_eq!(books.accepted, 120, "{name} bit {bit}: {books:?}");
        let missing = world
            .attempts
            .values()
            .filter(|attempt| !attempt.acknowledged)
            .count();
        assert_eq!(missing as u64, damaged, "{name} bit {bit}");
        let aside = world
            .disk
            .names()
            .iter()
            .filter(|name| name.contains("aside/"))
            .count();
        assert!(
            damaged == 0 || aside == 1,
            "{name} bit {bit}: {:?}",
            world.disk.names()
        );
    }
}

#[test]
fn a_journal_that_is_lost_repeats_and_loses_nothing() {
    let mut world = filled();
    world.disk.damage("store.journal", |bytes| bytes[20] ^= 1);
    world.open().unwrap();
    assert!(world.store().open_report().journal_unreadable);
    world.drain(1);
    world.assert_right();
}

#[test]
fn any_bytes_open() {
    let mut random = Random::new(7);
    for _ in 0..60 {
        let mut world = filled();
        for name in world.disk.names() {
            if random.one_in(2) {
                let (from, length) = (random.below(4000) as usize, random.below(2000) as usize);
                let garbage: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
                world.disk.damage(&name, |bytes| {
                    let from = from.min(bytes.len());
                    let to = (from + length).min(bytes.len());
                    bytes[from..to].copy_from_slice(&garbage[..to - from]);
                });
            }
        }
        world.open().unwrap();
        while world.deliver(0, |_| false, |_| false) > 0 {}
        world.checkpoint();
        world.assert_right();
        assert_eq!(world.store().ledger().pending(), 0);
    }
}
