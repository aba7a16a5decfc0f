//! What an append promises, and what it refuses.

use std::{io, sync::Arc, thread, time::Duration};

use hintstore::{
    AppendError, Bytes, Cap, Clock as _, Config, Durability, Hint, HintStore, Refusal,
    Storage as _, SystemClock,
};
use hintstore_sim::{Crash, Fault, FaultOn};

use crate::harness::{LONG, START, World, small_config, target};

#[test]
fn a_hint_that_is_too_large_takes_no_sequence() {
    let mut world = World::opened(small_config());
    let payload = vec![1; 700 << 10];
    let hint = Hint::new(target(0), START, LONG, &payload);
    let limit = Bytes::kib(600);
    let refused = AppendError::Refused(Refusal::TooLarge { limit });
    assert_eq!(
        world.store().append(hint, Durability::Buffered),
        Err(refused)
    );
    assert!(world.append(0, 599 << 10, Durability::Durable));
    assert_eq!(world.store().ledger().accepted, 1);
    world.drain(1);
    world.assert_right();
}

#[test]
fn every_segment_of_a_busy_target_finds_its_file_prepared() {
    let mut config = small_config();
    config.segment_bytes = Bytes::mib(2);
    config.memory = Bytes::mib(4);
    config.unsynced_bytes_max = Bytes::mib(64);
    let mut world = World::opened(config);
    let files = |world: &World, is: fn(&str) -> bool| {
        let names = world.disk.names();
        let found = names.iter().filter(|name| is(name));
        found
            .map(|name| world.disk.info(name).unwrap().allocated)
            .collect::<Vec<_>>()
    };
    let spares = |world: &World| files(world, |name| name.starts_with("spare-"));
    for number in 0..16 {
        assert!(world.append(0, 590 << 10, Durability::Os));
        world.runner.run();
        // From the first quarter of the first segment on there is always one, and never many.
        // The write that fills a segment goes beyond it, and reserves nothing.
        assert_eq!(spares(&world), [3 << 20], "after hint {number}");
    }
    let segments = files(&world, |name| name.ends_with(".hints"));
    assert!(segments.len() >= 4, "{segments:?}");
    world.store.take().unwrap().close().unwrap();
    assert!(spares(&world).is_empty());
}

// P6
#[test]
fn small_segments_take_no_more_than_they_hold() {
    let mut config = small_config();
    config.segment_bytes = Bytes::kib(4);
    let mut world = World::opened(config);
    for _ in 0..40 {
        assert!(world.append(0, 5 << 10, Durability::Os));
        world.runner.run();
    }
    let used = world.store().snapshot().targets[0].bytes;
    assert!(used <= Bytes::kib(40 * 20), "{used} for 40 hints of 5 KiB");
}

// P1
#[test]
fn a_receipt_of_an_earlier_opening_is_in_doubt() {
    let mut world = World::opened(small_config());
    let payload = World::payload(1, 10);
    let hint = Hint::new(target(0), START, LONG, &payload);
    let receipt = world.store().append(hint, Durability::Buffered).unwrap();
    world.crash(Crash::Kill);
    world.open().unwrap();
    let answer = world.store().wait(receipt, Durability::Durable);
    assert_eq!(answer, Err(AppendError::InDoubt(receipt)));
}

// P1
#[test]
fn each_level_survives_what_it_says() {
    for (level, crash, survives) in [
        (Durability::Os, Crash::Kill, true),
        (Durability::Buffered, Crash::Kill, false),
        (Durability::Durable, Crash::Power { seed: 3 }, true),
    ] {
        let mut world = World::opened(small_config());
        assert!(world.append(0, 50, level));
        world.crash(crash);
        world.open().unwrap();
        let found = world.store().ledger().accepted;
        assert_eq!(found, u64::from(survives), "{level:?} {crash:?}");
    }
}

#[test]
fn a_full_disk_is_entered_and_left() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 100, Durability::Os));
    world.disk.set_capacity(Some(world.disk.used()));
    let mut refused = 0;
    for _ in 0..40 {
        refused += u32::from(!world.append(0, 500, Durability::Os));
    }
    assert!(refused > 0);
    assert_eq!(
        world.store().refusing(),
        Some(Refusal::Full { cap: Cap::Device })
    );
    // Delivery and checkpoints go on.
    assert!(world.deliver(0, |_| false, |_| false) > 0);
    world.checkpoint();
    world.disk.set_capacity(None);
    world.runner.advance(Duration::from_secs(1));
    assert_eq!(world.store().refusing(), None);
    assert!(world.append(0, 500, Durability::Durable));
    world.drain(1);
    world.assert_right();
}

#[test]
fn a_failed_write_ends_the_segment_and_loses_nothing() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 100, Durability::Durable));
    world.disk.fail(Fault {
        on: FaultOn::Write,
        after: 0,
        times: 1,
        error: io::ErrorKind::Other,
        name: ".hints",
    });
    assert!(world.append(0, 100, Durability::Durable));
    assert!(world.append(0, 100, Durability::Durable));
    world.crash(Crash::Power { seed: 9 });
    world.open().unwrap();
    world.drain(1);
    world.assert_right();
}

// P2
#[test]
fn many_threads_on_one_target_get_an_order() {
    let folder = std::env::temp_dir().join(format!("hintstore-threads-{}", std::process::id()));
    let store = Arc::new(HintStore::open(Config::new(&folder)).unwrap());
    let created = SystemClock.wall();
    let threads: Vec<_> = (0..4u8)
        .map(|thread| {
            let store = store.clone();
            thread::spawn(move || {
                let mut last = None;
                for number in 0..5000u32 {
                    let payload = format!("{thread} {number}");
                    let hint = Hint::new(target(0), created, LONG, payload.as_bytes());
                    let level = if number % 500 == 0 {
                        Durability::Durable
                    } else {
                        Durability::Buffered
                    };
                    let receipt = store.append(hint, level).unwrap();
                    assert!(last < Some(receipt.sequence));
                    last = Some(receipt.sequence);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    store.target(target(0)).sync().unwrap();
    let mut next = [0u32; 4];
    while let Some(page) = store.target(target(0)).page().unwrap() {
        for hint in page.hints() {
            let text = std::str::from_utf8(hint.body.payload).unwrap();
            let (thread, number) = text.split_once(' ').unwrap();
            let next = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(number.parse(), Ok(*next));
            *next += 1;
        }
        page.delivered().unwrap();
    }
    assert_eq!(next, [5000; 4]);
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}
