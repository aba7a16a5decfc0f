//! Sync points: whether everything up to a moment was delivered.

use std::time::Duration;

use hintstore::{Durability, Error, Hint, StoreId, SyncPoint, SyncScope, SyncState, Truncate};
use hintstore_env::Clock as _;
use hintstore_sim::Crash;

use crate::harness::{LONG, World, namespace, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

fn state(world: &World, point: &SyncPoint) -> SyncState {
    world.store().sync_state(point).unwrap()
}

fn waits_for(targets: &[u128]) -> SyncState {
    SyncState::InProgress {
        targets: targets.iter().copied().map(target).collect(),
    }
}

#[test]
fn it_is_reached_when_all_before_it_was_delivered_and_what_came_later_does_not_matter() {
    let mut world = World::opened(small_config());
    for to in 0..3 {
        for _ in 0..20 {
            world.append(to, 100, Durability::Buffered);
        }
    }
    let all = world.store().sync_point(&SyncScope::all()).unwrap();
    let one = world
        .store()
        .sync_point(&SyncScope::all().target(target(1)).target(target(9)))
        .unwrap();
    assert_eq!(state(&world, &all), waits_for(&[0, 1, 2]));
    for to in 0..3 {
        for _ in 0..20 {
            world.append(to, 100, Durability::Os);
        }
    }
    world.runner.advance(2 * SECOND);
    while state(&world, &one) != SyncState::Reached {
        assert!(world.deliver(1, |_| false, |_| false) > 0);
    }
    assert!(
        world.store().ledger().pending() > 60,
        "what came later is still there"
    );
    assert_eq!(state(&world, &all), waits_for(&[0, 2]));
    world.drain(3);
    assert_eq!(state(&world, &all), SyncState::Reached);
    world.assert_right();
}

#[test]
fn one_of_a_namespace_waits_for_no_more_than_its_last_hint() {
    let mut world = World::opened(small_config());
    let append = |world: &World, to: u128, of: u128| {
        let hint = Hint::new(target(to), world.clock.wall(), LONG, &[1; 100]);
        let hint = hint.namespace(namespace(of));
        world.store().append(hint, Durability::Os).unwrap();
    };
    for number in 0..60 {
        append(&world, 0, u128::from(number > 20) + 1);
        append(&world, 1, 2);
    }
    world.close_and_open();
    let of = |of: u128| SyncScope::all().namespace(namespace(of));
    let early = world.store().sync_point(&of(1)).unwrap();
    let late = world.store().sync_point(&of(2)).unwrap();
    let none = world.store().sync_point(&of(3)).unwrap();
    assert_eq!(state(&world, &none), SyncState::Reached);
    assert_eq!(state(&world, &early), waits_for(&[0]));
    assert_eq!(state(&world, &late), waits_for(&[0, 1]));
    while state(&world, &early) != SyncState::Reached {
        let page = world.store().target(target(0)).page().unwrap().unwrap();
        page.delivered().unwrap();
    }
    assert_eq!(state(&world, &late), waits_for(&[0, 1]));
    // What is not sealed may be of any.
    append(&world, 1, 2);
    let open = world.store().sync_point(&of(1)).unwrap();
    assert_eq!(state(&world, &open), waits_for(&[1]));
}

#[test]
fn it_survives_a_power_cut_as_text() {
    let mut world = World::opened(small_config());
    world.append(0, 100, Durability::Buffered);
    let text = world
        .store()
        .sync_point(&SyncScope::all())
        .unwrap()
        .to_string();
    world.crash(Crash::Power { seed: 3 });
    world.open().unwrap();
    let point: SyncPoint = text.parse().unwrap();
    assert_eq!(
        state(&world, &point),
        waits_for(&[0]),
        "its hints were made durable"
    );
    world.drain(1);
    assert_eq!(state(&world, &point), SyncState::Reached);
    world.close_and_open();
    assert_eq!(state(&world, &point), SyncState::Reached);
    // A changed text is none, and one of another store is not answered.
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let changed = String::from_utf8(bytes).unwrap();
        assert!(changed.parse::<SyncPoint>().is_err(), "{changed}");
    }
    let cut: String = text.chars().take(text.len() - 9).collect();
    assert!(cut.parse::<SyncPoint>().is_err());
    let other = SyncPoint::of_positions(StoreId::from_u128(9), []);
    assert!(matches!(
        world.store().sync_state(&other),
        Err(Error::OtherStore)
    ));
}

#[test]
fn what_waits_for_a_retry_or_lies_in_a_deferred_segment_is_waited_for() {
    let mut world = World::opened(small_config());
    for _ in 0..60 {
        world.append(0, 100, Durability::Os);
    }
    world.runner.advance(SECOND);
    let point = world.store().sync_point(&SyncScope::all()).unwrap();
    // Every second hint is put off, until they were moved out of the way.
    for _ in 0..40 {
        world.deliver(0, |number| number % 2 == 0, |_| false);
        world.runner.advance(Duration::from_millis(200));
    }
    assert_eq!(state(&world, &point), waits_for(&[0]));
    world.drain(1);
    assert_eq!(state(&world, &point), SyncState::Reached);
}

// P8
#[test]
fn what_ended_undelivered_is_a_loss() {
    let mut world = World::opened(small_config());
    for _ in 0..9 {
        world.append(0, 100, Durability::Os);
        world.append_living(1, 100, Durability::Os, 5 * SECOND);
    }
    world.runner.advance(SECOND);
    let point = world.store().sync_point(&SyncScope::all()).unwrap();
    world.truncate(Truncate::all().target(target(0)).namespace(namespace(0)));
    world.deliver(0, |_| false, |_| false);
    assert_eq!(state(&world, &point), waits_for(&[1]));
    world.runner.advance(10 * SECOND);
    world.deliver(1, |_| false, |_| false);
    let (discarded, expired) = (3, 9);
    let lost = SyncState::ReachedWithLoss {
        lost_at_most: discarded + expired,
        targets: vec![target(0), target(1)],
    };
    assert_eq!(state(&world, &point), lost);
    world.close_and_open();
    assert_eq!(state(&world, &point), lost);
    let later = world.store().sync_point(&SyncScope::all()).unwrap();
    assert_eq!(state(&world, &later), SyncState::Reached);
}

#[test]
fn what_was_discarded_of_a_target_that_is_down_is_not_waited_for() {
    let mut world = World::opened(small_config());
    for _ in 0..9 {
        world.append(0, 100, Durability::Os);
    }
    let point = world.store().sync_point(&SyncScope::all()).unwrap();
    for of in 0..3 {
        world.truncate(Truncate::all().target(target(0)).namespace(namespace(of)));
    }
    world.runner.advance(2 * SECOND);
    assert!(state(&world, &point).is_over());
}

#[test]
fn a_wait_ends_with_the_delivery_or_in_time() {
    let mut world = World::opened(small_config());
    world.append(0, 100, Durability::Os);
    let point = world.store().sync_point(&SyncScope::all()).unwrap();
    let wait = |world: &World| world.store().wait_sync_point(&point, 5 * SECOND).unwrap();
    assert_eq!(wait(&world), waits_for(&[0]));
    world.deliver(0, |_| false, |_| false);
    assert_eq!(wait(&world), SyncState::Reached);
}
