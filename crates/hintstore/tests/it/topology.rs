//! Targets that leave: their hints end, or go to others, and nothing is lost or kept in silence.

use std::{collections::BTreeSet, time::Duration};

use hintstore::{
    Bytes, Departure, Durability, End, Hint, Refusal, StoreId, TargetId, inspect::read_journal,
};
use hintstore_sim::{Crash, Random};

use crate::harness::{LONG, START, World, namespace, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

fn pending(world: &World, to: u128) -> u64 {
    world.store().target(target(to)).ledger().pending()
}

/// What a target gets: each hint's key by its origin, and its payload.
fn receive(world: &mut World, to: u128) -> Vec<((StoreId, TargetId, u64), Vec<u8>)> {
    let mut got = Vec::new();
    while let Ok(Some(page)) = world.store().target(target(to)).page() {
        for hint in page.hints() {
            let origin = hint.body.origin.unwrap();
            let key = (origin.store, origin.target, origin.sequence.get());
            got.push((key, hint.body.payload.to_vec()));
        }
        page.delivered().unwrap();
    }
    got
}

#[test]
fn a_target_that_does_not_come_back_is_forgotten_with_all_that_is_known_of_it() {
    let mut world = World::opened(small_config());
    for to in 0..3 {
        for _ in 0..20 {
            world.append(to, 400, Durability::Durable);
        }
    }
    let ended = world
        .store()
        .forget(target(1), Departure::Decommissioned)
        .unwrap();
    assert_eq!(ended.unwrap().hints, 20);
    assert_eq!(
        world
            .store()
            .forget(target(7), Departure::HandedOver)
            .unwrap(),
        None
    );
    let rebuilt = world.store().forget(target(2), Departure::Rebuilt).unwrap();
    assert_eq!(rebuilt.unwrap().hints, 20);
    assert_eq!((pending(&world, 1), pending(&world, 2)), (0, 0));
    world.runner.advance(5 * SECOND);
    world.crash(Crash::Power { seed: 3 });
    world.open().unwrap();
    let known: Vec<TargetId> = read_journal(&world.disk)
        .unwrap()
        .targets
        .iter()
        .map(|view| view.target)
        .collect();
    assert_eq!(
        known,
        [target(0), target(2)],
        "nothing is kept of the one that left"
    );
    // Its id comes back all the same, with hints of its own.
    assert!(world.append(1, 100, Durability::Durable));
    assert_eq!(pending(&world, 1), 1);
    assert_eq!(pending(&world, 0), 20);
}

// P2, P8
#[test]
fn hints_go_to_others_with_their_keys_and_what_they_live_for() {
    let mut world = World::opened(small_config());
    let created = START;
    for number in 0..60u64 {
        let payload = World::payload(number, 100);
        let hint = Hint::new(target(0), created, LONG, &payload).namespace(namespace(2));
        world.store().append(hint, Durability::Buffered).unwrap();
    }
    // Some are done, and two are out for a retry.
    let page = world.store().target(target(0)).page().unwrap();
    assert!(page.is_none(), "they are in memory");
    world.runner.advance(SECOND);
    let first = world.store().target(target(0)).page().unwrap().unwrap();
    let done = first.len() as u64;
    first.delivered().unwrap();
    let moved = world
        .store()
        .readdress(target(0), &[target(1), target(2), target(0)])
        .unwrap();
    assert_eq!(
        (moved.moved, moved.stayed, moved.refused),
        (60 - done, 0, None)
    );
    let books = world.store().target(target(0)).ledger();
    assert_eq!(
        (books.pending(), books.ends.get(End::Superseded)),
        (0, 60 - done)
    );
    world.crash(Crash::Power { seed: 4 });
    world.open().unwrap();
    let (one, other) = (receive(&mut world, 1), receive(&mut world, 2));
    assert_eq!(one, other);
    let numbers: Vec<u64> = one
        .iter()
        .map(|((_, of, sequence), _)| {
            assert_eq!(*of, target(0));
            sequence & 0xff
        })
        .collect();
    assert_eq!(
        numbers,
        (done..60).collect::<Vec<_>>(),
        "in order, under their old sequences"
    );
    assert_eq!(receive(&mut world, 0), []);
}

#[test]
fn hints_that_may_not_be_delivered_twice_stay_and_so_do_those_that_nobody_takes() {
    let world = World::opened(small_config());
    for number in 0..10u64 {
        let payload = World::payload(number, 100);
        let hint = Hint::new(target(0), START, LONG, &payload);
        let hint = if number == 4 {
            hint.not_idempotent()
        } else {
            hint
        };
        world.store().append(hint, Durability::Os).unwrap();
    }
    let moved = world.store().readdress(target(0), &[target(1)]).unwrap();
    assert_eq!((moved.moved, moved.stayed), (9, 1));
    world
        .store()
        .disable(hintstore::Scope::Namespace(namespace(0)));
    let hint = Hint::new(target(0), START, LONG, b"x").namespace(namespace(0));
    assert!(world.store().append(hint, Durability::Os).is_err());
    world.store().disable(hintstore::Scope::All);
    let moved = world.store().readdress(target(0), &[target(1)]).unwrap();
    assert_eq!((moved.moved, moved.stayed), (0, 1));
    world.store().enable(hintstore::Scope::All);
    let moved = world.store().readdress(target(1), &[target(2)]).unwrap();
    assert_eq!((moved.moved, moved.stayed), (9, 0));
    assert_ne!(moved.refused, Some(Refusal::Disabled));
}

// P1
#[test]
fn the_power_may_go_while_hints_go_to_others() {
    let mut random = Random::new(23);
    for at in (0..200).step_by(3) {
        let mut world = World::opened(small_config());
        for _ in 0..40 {
            world.append(0, 200, Durability::Durable);
        }
        world.disk.cut_at(world.disk.operations() + at);
        let moved = world.store().readdress(target(0), &[target(1)]);
        let whole = moved.is_ok() && !world.disk.is_cut();
        world.crash(Crash::Power {
            seed: random.bits(),
        });
        world.open().unwrap();
        let mut heard = BTreeSet::new();
        for to in [0, 1] {
            while let Ok(Some(page)) = world.store().target(target(to)).page() {
                for hint in page.hints() {
                    let origin = hint.body.origin.map(|origin| origin.sequence);
                    heard.insert(origin.unwrap_or(hint.key.sequence));
                }
                page.delivered().unwrap();
            }
        }
        assert_eq!(heard.len(), 40, "operation {at}");
        if whole {
            return;
        }
    }
    panic!("it was never done");
}

#[test]
fn the_power_may_go_while_a_namespace_is_fenced_and_a_target_forgotten() {
    let mut at = 0;
    let mut done = (0, 0);
    loop {
        let mut world = World::opened(small_config());
        for to in [0, 1] {
            for _ in 0..12 {
                world.append(to, 300, Durability::Durable);
            }
        }
        world.losses_settled = true;
        world.disk.cut_at(world.disk.operations() + at);
        let before = START.saturating_add(SECOND);
        let fenced = world.store().fence(namespace(1), before).is_ok();
        let why = Departure::Decommissioned;
        let forgotten = world.store().forget(target(0), why).is_ok();
        let is_over = !world.disk.is_cut();
        world.crash(Crash::Power { seed: at });
        world.open().unwrap();
        if forgotten {
            assert_eq!(pending(&world, 0), 0, "cut at {at}");
        }
        while let Some(page) = world.store().target(target(1)).page().unwrap() {
            let fences = page.hints().filter(|hint| hint.namespace == namespace(1));
            assert!(!fenced || fences.count() == 0, "cut at {at}");
            page.delivered().unwrap();
        }
        // A fence that did not return may count or not; nothing else is gone.
        let books = world.store().target(target(1)).ledger();
        assert_eq!((books.accepted, books.pending()), (12, 0), "cut at {at}");
        let undelivered = books.ends.total() - books.ends.get(End::Delivered);
        assert_eq!(undelivered, books.ends.get(End::Fenced), "cut at {at}");
        done = (done.0 + u64::from(fenced), done.1 + u64::from(forgotten));
        if is_over {
            break;
        }
        at += 1;
    }
    assert!(at > 5 && done.0 > done.1 && done.1 > 0, "{at} {done:?}");
}

// P6
#[test]
fn orphans_are_reported_and_end_when_the_settings_say_so() {
    let mut world = World::opened(small_config().with(|config| config.sweep_interval = SECOND));
    for to in 0..3 {
        world.append(to, 100, Durability::Os);
    }
    assert_eq!(world.store().orphans(), [], "nobody said who is a member");
    world.store().set_members([target(0), target(2), target(9)]);
    world.runner.advance(600 * SECOND);
    let orphans = world.store().orphans();
    assert_eq!(orphans.len(), 1);
    assert_eq!((orphans[0].target, orphans[0].pending), (target(1), 1));
    assert!(orphans[0].bytes > Bytes::new(0) && orphans[0].oldest.is_some());
    let change = |config: &mut hintstore::Config| {
        config.orphan_age_max = Some(Duration::from_hours(1));
    };
    world.store().reconfigure(change).unwrap();
    world.runner.advance(600 * SECOND);
    assert_eq!(world.store().orphans().len(), 1, "not yet");
    world.runner.advance(Duration::from_hours(2));
    assert_eq!(world.store().orphans(), []);
    let books = world.store().ledger();
    assert_eq!((books.ended(End::Discarded), books.pending()), (1, 2));
}

// P2
#[test]
fn hints_that_stay_hold_up_none_behind_them_and_none_goes_twice() {
    let mut world = World::opened(small_config());
    // More than a page of hints that may not be delivered twice, then others, of two kinds.
    for number in 0..40u64 {
        let payload = World::payload(number, 200);
        let hint = Hint::new(target(0), START, LONG, &payload).not_idempotent();
        world.store().append(hint, Durability::Os).unwrap();
    }
    for number in 40..80u64 {
        let payload = World::payload(number, 200);
        let of = namespace(u128::from(number % 2));
        let hint = Hint::new(target(0), START, LONG, &payload).namespace(of);
        world.store().append(hint, Durability::Os).unwrap();
    }
    // One of the two new targets takes hints of one namespace only, and both are named twice.
    world.store().target(target(2)).set_group("full");
    world.store().disable(hintstore::Scope::Group("full"));
    let to = [target(1), target(2), target(1), target(2)];
    let moved = world.store().readdress(target(0), &to).unwrap();
    assert_eq!((moved.moved, moved.stayed), (0, 80));
    assert_eq!(moved.refused, Some(Refusal::Disabled));
    // The one that took them has each once, however often it was tried in one call.
    assert_eq!(receive(&mut world, 1).len(), 40);
    world.store().enable(hintstore::Scope::Group("full"));
    world
        .store()
        .disable(hintstore::Scope::Namespace(namespace(1)));
    let moved = world.store().readdress(target(0), &to).unwrap();
    assert_eq!((moved.moved, moved.stayed), (20, 60));
    world
        .store()
        .enable(hintstore::Scope::Namespace(namespace(1)));
    let moved = world.store().readdress(target(0), &to).unwrap();
    assert_eq!((moved.moved, moved.stayed), (20, 40));
    assert_eq!(receive(&mut world, 2).len(), 40);
    assert_eq!(pending(&world, 0), 40);
}
