//! Opening: one at a time, from any state, with an answer.

use std::sync::Arc;

use hintstore::{Bytes, Clock as _, Delivery, Durability, Error, Page, Storage as _, Truncate};
use hintstore_format::{
    SegmentId, Sequence, StoreId, UnixMillis,
    block::{self, Position, Start},
    descriptor::{Descriptor, Kind},
    expiry::Lifetime,
    file_name,
    footer::{Builder, Footer},
    profile::Profile,
};
use hintstore_sim::Crash;

use crate::harness::{START, World, small_config, target};

fn segments(world: &World) -> Vec<String> {
    let mut names = world.disk.names();
    names.retain(|name| name.ends_with(".hints") && !name.contains('/'));
    names
}

fn write(world: &World, name: &str, bytes: &[u8]) {
    let file = world.disk.create(name).unwrap();
    file.write_at(&[std::io::IoSlice::new(bytes)], 0).unwrap();
    file.sync().unwrap();
    world.disk.sync_directory("").unwrap();
}

fn copy(world: &World, from: &str, to: &str) {
    let file = world.disk.open(from, false).unwrap();
    let mut bytes = vec![0; file.info().unwrap().length as usize];
    file.read_at(&mut bytes, 0).unwrap();
    write(world, to, &bytes);
}

fn rolled(hints: u64) -> World {
    let mut world = World::opened(small_config());
    for _ in 0..hints {
        assert!(world.append(0, 900, Durability::Durable));
    }
    world
}

#[test]
fn a_store_that_is_dropped_leaves_nothing_in_memory() {
    let mut world = World::new(small_config());
    let before = Arc::strong_count(&world.clock);
    for drop_only in [false, true] {
        world.open().unwrap();
        world.append_batch(40, 3, Durability::Buffered);
        world.append_batch(40, 3, Durability::Durable);
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

// P5
#[test]
fn a_second_opener_learns_who_has_it() {
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

// P8
#[test]
fn durable_books_are_exact_across_a_crash() {
    for seed in 0..30 {
        let mut world = World::opened(small_config());
        for _ in 0..5 {
            world.append_batch(20, 2, Durability::Durable);
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
fn many_segments_are_looked_at_side_by_side_and_none_is_missed() {
    let mut config = small_config();
    config.memory = Bytes::mib(4);
    let mut world = World::opened(config);
    for to in 0..600 {
        assert!(world.append(to, 50, Durability::Durable));
    }
    let mut torn = segments(&world);
    torn.truncate(3);
    world.crash(Crash::Kill);
    for name in &torn {
        let file = world.disk.open(name, true).unwrap();
        file.write_at(&[std::io::IoSlice::new(&[7; 300])], 0)
            .unwrap();
    }
    world.open().unwrap();
    let report = world.store().open_report();
    assert_eq!((report.walked, report.sealed), (597, 0));
    torn.sort();
    let mut aside = report.set_aside.clone();
    aside.sort();
    assert_eq!(aside, torn);
    world.close_and_open();
    let report = world.store().open_report();
    assert_eq!((report.walked, report.sealed), (0, 597));
    assert_eq!(world.store().snapshot().targets.len(), 597);
}

// P5
#[test]
fn opening_twice_after_a_crash_is_opening_once() {
    let mut world = World::opened(small_config());
    world.append_batch(50, 3, Durability::Os);
    world.crash(Crash::Kill);
    world.open().unwrap();
    let once = world.store().ledger();
    world.crash(Crash::Kill);
    world.open().unwrap();
    assert_eq!(world.store().ledger(), once);
    world.drain(3);
    world.assert_right();
}

#[test]
fn a_file_that_a_power_cut_left_as_zeros_goes() {
    let mut world = rolled(3);
    let name = file_name::segment(target(0), START.saturating_add(LATER));
    world.crash(Crash::Kill);
    write(&world, &name, &vec![0; 1 << 20]);
    world.open().unwrap();
    assert!(world.store().open_report().is_healthy());
    assert!(!segments(&world).contains(&name));
    // One byte that is not zero, wherever it is, is for an operator to see.
    world.crash(Crash::Kill);
    let mut bytes = vec![0; 1 << 20];
    bytes[700_000] = 1;
    write(&world, &name, &bytes);
    world.open().unwrap();
    assert_eq!(world.store().open_report().set_aside, [name]);
    world.drain(1);
    world.assert_right();
}

const LATER: std::time::Duration = std::time::Duration::from_secs(7);

#[test]
fn a_segment_that_cannot_be_read_is_set_aside_and_the_others_go_on() {
    let mut world = rolled(60);
    let name = segments(&world)[2].clone();
    world.crash(Crash::Kill);
    world.disk.fail_reads(&name, 0, u64::MAX);
    world.open().unwrap();
    let report = world.store().open_report().clone();
    assert_eq!(report.unreadable.len(), 1);
    assert_eq!(report.set_aside, std::slice::from_ref(&name));
    assert!(report.to_string().contains(&name), "{report}");
    assert!(world.disk.names().contains(&format!("aside/{name}")));
    let left = world.store().ledger().pending();
    assert!((40..60).contains(&left), "{left}");
    while world.deliver(0, |_| false, |_| false) > 0 {}
    assert_eq!(world.store().ledger().pending(), 0);
}

#[test]
fn a_store_file_that_is_lost_costs_no_sequence_twice() {
    let mut world = rolled(20);
    while world.deliver(0, |_| false, |_| false) > 0 {}
    // The segments are gone: only the journal remembers their epoch.
    world.close_and_open();
    world.drain(1);
    let before = (world.store().id(), world.store().ledger());
    world.crash(Crash::Kill);
    assert!(segments(&world).is_empty());
    world.disk.unlink("STORE").unwrap();
    world.open().unwrap();
    assert_ne!(world.store().id(), before.0);
    assert_eq!(world.store().ledger().ends, before.1.ends);
    // Were its sequences those of before, delivery would pass it.
    assert!(world.append(0, 50, Durability::Durable));
    world.drain(1);
    world.assert_right();
}

#[test]
fn a_journal_that_was_taken_away_or_is_anothers_is_reported() {
    let mut other = World::new(small_config());
    // Another store has another identity.
    other.clock.entropy();
    other.open().unwrap();
    other.append_batch(4, 1, Durability::Durable);
    while other.deliver(0, |_| false, |_| false) > 0 {}
    other.checkpoint();
    let file = other.disk.open("store.journal", false).unwrap();
    let mut theirs = vec![0; file.info().unwrap().length as usize];
    file.read_at(&mut theirs, 0).unwrap();
    for anothers in [false, true] {
        let mut world = rolled(4);
        world.crash(Crash::Kill);
        world.disk.unlink("store.journal").unwrap();
        if anothers {
            write(&world, "store.journal", &theirs);
        }
        world.open().unwrap();
        let report = world.store().open_report();
        assert!(report.journal_unreadable && !report.is_healthy());
        assert_eq!(world.store().ledger().pending(), 4);
        world.drain(1);
        world.assert_right();
    }
}

#[test]
fn a_copy_of_a_segment_is_none_of_ours() {
    let mut world = rolled(20);
    let name = segments(&world)[0].clone();
    world.crash(Crash::Kill);
    let later = file_name::segment(target(0), START.saturating_add(LATER));
    copy(&world, &name, &later);
    let dead_letters = file_name::segment(target(1), START.saturating_add(LATER));
    copy(&world, &name, &dead_letters);
    world.open().unwrap();
    let report = world.store().open_report();
    let mut foreign: Vec<_> = report.foreign.iter().map(|f| f.name.clone()).collect();
    foreign.sort();
    assert_eq!(foreign, [later, dead_letters]);
    assert_eq!(world.store().ledger().accepted, 20);
    world.drain(1);
    world.assert_right();
}

/// A segment of the store, with one hint, sealed; its footer may lie.
fn forged(store: StoreId, first: Sequence, claim: impl FnOnce(&mut Footer)) -> Vec<u8> {
    let descriptor = Descriptor {
        store,
        incarnation: hintstore::Incarnation::new(1),
        target: target(0),
        segment: SegmentId::new(first.get()),
        created: START.saturating_add(LATER),
        first,
        kind: Kind::Hints,
        codec: block::Codec::Plain,
        cipher: 0,
        replaces: Vec::new(),
    };
    let mut bytes = descriptor.encode();
    let start = Start {
        first,
        salt: 1,
        base_created: START,
        accepted: START,
    };
    let body = hintstore::Body::new(START, b"1 x");
    let draft = hintstore_format::frame::Draft::new(&body);
    let mut frames = block::oversized(&draft, start);
    let position = Position {
        segment: descriptor.segment,
        offset: bytes.len() as u64,
        synced_to: 0,
    };
    let lifetime = Lifetime {
        gc_grace: LATER,
        ttl: None,
    };
    let profile = Profile::new(hintstore::Namespace::NONE, 0, lifetime);
    let mut table = Vec::new();
    let header = block::seal(start, position, &[profile], &mut frames, &mut table);
    let entries = hintstore_format::profile::decode_table(
        &table[..header.table_length as usize],
        position.segment,
        position.offset,
    );
    let mut builder = Builder::new(&descriptor);
    builder.add(&header, &entries.unwrap());
    bytes.extend_from_slice(&frames);
    bytes.extend_from_slice(&table);
    let at = bytes.len().next_multiple_of(512);
    bytes.resize(at, 0);
    let mut footer = builder.build(at as u64);
    claim(&mut footer);
    bytes.extend(footer.encode());
    bytes
}

#[test]
fn a_segment_of_a_later_epoch_is_none_of_ours() {
    let mut world = rolled(3);
    let store = world.store().id();
    world.crash(Crash::Kill);
    let name = file_name::segment(target(0), START.saturating_add(LATER));
    let bytes = forged(store, Sequence::first_of(Sequence::EPOCH_MAX), |_| {});
    write(&world, &name, &bytes);
    world.open().unwrap();
    let report = world.store().open_report();
    assert_eq!(report.foreign.len(), 1, "{report:?}");
    assert!(report.foreign[0].why.contains("epoch"));
    world.close_and_open();
    world.drain(1);
    world.assert_right();
}

#[test]
fn a_footer_that_claims_what_cannot_be_ends_no_hint() {
    let mut world = rolled(3);
    let store = world.store().id();
    world.crash(Crash::Kill);
    let name = file_name::segment(target(0), START.saturating_add(LATER));
    // It claims all sequences up to the end of the epoch.
    let bytes = forged(store, Sequence::first_of(1).plus(1), |footer| {
        footer.summary.count = u64::MAX / 2;
        footer.summary.last = Sequence::first_of(2).before();
    });
    write(&world, &name, &bytes);
    world.open().unwrap();
    assert_eq!(world.store().open_report().set_aside, [name]);
    assert_eq!(world.store().ledger().accepted, 3);
    world.drain(1);
    world.assert_right();
}

#[test]
fn the_journal_does_not_grow_with_the_openings() {
    let mut world = rolled(40);
    let length = |world: &World| {
        let file = world.disk.open("store.journal", false).unwrap();
        let mut bytes = vec![0; file.info().unwrap().length as usize];
        file.read_at(&mut bytes, 0).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).unwrap()
    };
    let mut lengths = Vec::new();
    for _ in 0..8 {
        for _ in 0..20 {
            world.append(0, 900, Durability::Durable);
        }
        world.drain(1);
        world.close_and_open();
        lengths.push(length(&world));
    }
    assert!(lengths[7] < lengths[1] + 64, "{lengths:?}");
    world.assert_right();
}

#[test]
fn a_crash_tells_what_it_can_have_cost_and_a_close_that_it_cost_nothing() {
    let mut world = rolled(3);
    assert_eq!(world.store().open_report().lost_at_most, None);
    world.crash(Crash::Power { seed: 1 });
    world.open().unwrap();
    let lost = world.store().open_report().lost_at_most.unwrap();
    assert_eq!(lost.unflushed, world.config.memory);
    assert_eq!(lost.unsynced, world.config.unsynced_bytes_max);
    world.close_and_open();
    assert_eq!(world.store().open_report().lost_at_most, None);
    // A window that was widened since is the one that counts.
    world.config.unsynced_bytes_max = Bytes::mib(7);
    world
        .store()
        .reconfigure(|config| *config = world.config.clone())
        .unwrap();
    world.crash(Crash::Power { seed: 1 });
    world.open().unwrap();
    let lost = world.store().open_report().lost_at_most.unwrap();
    assert_eq!(lost.unsynced, Bytes::mib(7));
}

#[test]
fn a_closed_store_does_nothing_more() {
    let mut world = rolled(3);
    let store = world.store.take().unwrap();
    let page = store.target(target(0)).page().unwrap().unwrap();
    let left = store.clone();
    store.close().unwrap();
    world.open().unwrap();
    let closed = |result: hintstore::Result<()>| assert!(matches!(result, Err(Error::Closed)));
    closed(left.checkpoint());
    closed(left.sweep());
    closed(left.target(target(0)).page().map(drop));
    closed(left.truncate(&Truncate::default()).map(drop));
    closed(page.delivered());
    closed(left.fence(hintstore::Namespace::NONE, UnixMillis::new(0)));
    closed(left.reconfigure(|config| *config = world.config.clone()));
    closed(left.deliver_by(Arc::new(Nobody)));
    drop(left);
    world.drain(1);
    world.assert_right();
}

/// Is never asked.
#[derive(Debug)]
struct Nobody;

impl Delivery for Nobody {
    fn deliver(&self, _: Page) {
        unreachable!("the store is closed");
    }
}
