//! Damage is contained, counted and kept: a flipped bit anywhere costs little, and nothing hangs.

use hintstore::{Bytes, Durability, End};
use hintstore_env::Storage as _;
use hintstore_sim::Random;

use crate::harness::{World, small_config};

fn filled() -> World {
    let mut world = World::opened(small_config());
    for _ in 0..12 {
        world.append_batch(10, 1, Durability::Durable);
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

// P4
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

// P4
#[test]
fn damage_that_is_found_ahead_of_the_reader_costs_the_same() {
    let mut random = Random::new(3);
    // With the step that goes ahead of the reader, and without.
    for ahead in [true, true, true, false] {
        let mut config = small_config();
        config.memory = Bytes::mib(8);
        config.segment_bytes = Bytes::mib(4);
        config.unsynced_bytes_max = Bytes::mib(16);
        config.page_bytes = Bytes::kib(100);
        let mut world = World::opened(config);
        for _ in 0..2500 {
            assert!(world.append(0, 1000, Durability::Buffered));
        }
        world.store.take().unwrap().close().unwrap();
        let name = segments(&world).remove(0);
        let bits = [0, 1, 2].map(|_| 128 + random.below(2_000_000) as usize);
        world.disk.damage(&name, |bytes| {
            for at in bits {
                bytes[at] ^= 1;
            }
        });
        world.open().unwrap();
        while world.deliver(0, |_| false, |_| false) > 0 {
            if ahead {
                world.runner.run();
            }
        }
        world.checkpoint();
        world.assert_right();
        let books = world.store().ledger();
        assert_eq!((books.accepted, books.pending()), (2500, 0));
        let damaged = books.ended(End::Damaged);
        assert!((1..=3).contains(&damaged), "{bits:?}: {books:?}");
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

// P5
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

// P4
#[test]
fn a_sector_that_cannot_be_read_costs_what_is_on_it() {
    for sector in 1..12 {
        let mut world = filled();
        world.config.map = false;
        world.open().unwrap();
        let names = segments(&world);
        let name = names.first().unwrap();
        world
            .disk
            .fail_reads(name, sector * 512, sector * 512 + 512);
        while world.deliver(0, |_| false, |_| false) > 0 {}
        world.checkpoint();
        world.assert_right();
        let books = world.store().ledger();
        assert_eq!(books.pending(), 0, "sector {sector}");
        let damaged = books.ended(End::Damaged);
        let missing = world
            .attempts
            .values()
            .filter(|attempt| !attempt.acknowledged)
            .count();
        assert_eq!(missing as u64, damaged, "sector {sector}");
        // A page of 4 KiB is passed over at most, and the blocks that it touches.
        assert!((1..=60).contains(&damaged), "sector {sector}: {books:?}");
        assert!(world.disk.names().contains(&format!("aside/{name}")));
    }
}

#[test]
fn a_segment_that_somebody_removed_is_counted_and_holds_up_nothing() {
    let mut world = filled();
    world.open().unwrap();
    let names = segments(&world);
    world.disk.unlink(names.first().unwrap()).unwrap();
    while world.deliver(0, |_| false, |_| false) > 0 {}
    world.append(0, 3, Durability::Os);
    assert_eq!(world.deliver(0, |_| false, |_| false), 1);
    world.checkpoint();
    let books = world.store().ledger();
    assert!(books.ended(End::Damaged) > 0);
    assert_eq!(books.pending(), 0);
}

/// On a real disk: the guard turns the fault into zeros, and the engine reads again without a map.
#[test]
fn a_segment_that_is_cut_short_under_its_map_ends_nothing() {
    use std::{fs, time::Duration};

    use hintstore::{Bytes, Clock as _, Config, Hint, HintStore, SystemClock};

    hintstore::install_guard().unwrap();
    let folder = std::env::temp_dir().join(format!("hintstore-cut-{}", std::process::id()));
    let target = crate::harness::target(0);
    let mut config = Config::new(&folder);
    config.page_bytes = Bytes::kib(16);
    // Otherwise what is cut would be a file of one block.
    config.flush_interval = Duration::from_millis(2);
    let store = HintStore::open(config.clone()).unwrap();
    for number in 0..4000u32 {
        let payload = [number as u8; 200];
        let hint = Hint::new(target, SystemClock.wall(), crate::harness::LONG, &payload);
        let level = if number % 100 == 0 {
            Durability::Os
        } else {
            Durability::Buffered
        };
        store.append(hint, level).unwrap();
    }
    store.close().unwrap();
    let store = HintStore::open(config).unwrap();
    let page = store.target(target).page().unwrap().unwrap();
    let mut delivered = page.len() as u64;
    page.delivered().unwrap();
    let mut files = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let segment = files
        .find(|path| path.extension().is_some_and(|end| end == "hints"))
        .unwrap();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    while let Some(page) = store.target(target).page().unwrap() {
        delivered += page.len() as u64;
        assert!(page.hints().all(|hint| hint.body.payload.len() == 200));
        page.delivered().unwrap();
    }
    let books = store.ledger();
    assert_eq!(
        (books.pending(), books.ended(End::Delivered)),
        (0, delivered)
    );
    assert_eq!(books.ended(End::Damaged), 4000 - delivered);
    assert!((500..3500).contains(&delivered), "{delivered}");
    drop(store);
    fs::remove_dir_all(folder).unwrap();
}
