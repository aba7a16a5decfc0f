//! Pages, answers, checkpoints, and delivery as submit and complete.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hintstore::{
    Answer, Clock as _, Completion, Delivery, Durability, End, Error, Order, Page, Truncate,
};
use hintstore_sim::Crash;

use crate::harness::{World, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

// P9
#[test]
fn a_rejected_hint_becomes_a_dead_letter_and_blocks_nobody() {
    let mut world = World::opened(small_config());
    world.append_batch(20, 1, Durability::Os);
    while world.deliver(0, |_| false, |number| number == 7) > 0 {}
    let books = world.store().ledger();
    assert_eq!(
        (books.ended(End::Rejected), books.ended(End::Delivered)),
        (1, 19)
    );
    let aside = world
        .disk
        .names()
        .into_iter()
        .filter(|name| name.starts_with("aside/"));
    assert_eq!(aside.count(), 1);
    world.assert_right();
}

// P2
#[test]
fn what_was_checkpointed_is_not_sent_again_and_the_rest_is() {
    let mut world = World::opened(small_config());
    world.append_batch(20, 1, Durability::Durable);
    assert_eq!(world.deliver(0, |number| number == 5, |_| false), 20);
    world.checkpoint();
    world.crash(Crash::Power { seed: 5 });
    world.open().unwrap();
    assert_eq!(world.store().ledger().pending(), 1);
    assert_eq!(world.deliver(0, |_| false, |_| false), 1);
    world.drain(1);
    world.assert_right();
}

// P2
#[test]
fn a_page_that_is_dropped_comes_again() {
    let mut world = World::opened(small_config());
    world.append_batch(5, 1, Durability::Os);
    drop(world.store().target(target(0)).page().unwrap().unwrap());
    assert_eq!(world.deliver(0, |_| false, |_| false), 5);
    world.drain(1);
    world.assert_right();
}

#[test]
fn reading_goes_on_while_the_same_target_is_written() {
    let mut world = World::opened(small_config());
    for round in 0..50 {
        world.append_batch(7, 1, Durability::Os);
        assert!(world.deliver(0, |n| n % 10 == round % 10, |_| false) > 0);
    }
    world.drain(1);
    world.assert_right();
    assert_eq!(world.store().ledger().ended(End::Delivered), 350);
}

// P2
#[test]
fn a_strict_order_stops_at_the_first_retry() {
    let mut world = World::opened(small_config());
    world.append_batch(60, 1, Durability::Os);
    world.store().target(target(0)).set_order(Order::Strict);
    let numbers =
        |page: &Page| -> Vec<u64> { page.hints().map(|hint| hint.key.sequence.get()).collect() };
    let first = world.store().target(target(0)).page().unwrap().unwrap();
    // Nothing else while it is out.
    assert!(world.store().target(target(0)).page().unwrap().is_none());
    let all = numbers(&first);
    let retried: Vec<_> = first
        .hints()
        .map(|hint| hint.key.sequence)
        .take(3)
        .collect();
    let answer = retried.iter().fold(Answer::delivered(), |a, s| a.retry(*s));
    world.store().acknowledge(first, &answer).unwrap();
    for _ in 0..3 {
        let again = world.store().target(target(0)).page().unwrap().unwrap();
        assert_eq!(numbers(&again), all[..3]);
        let answer = Answer::retry_all();
        world.store().acknowledge(again, &answer).unwrap();
    }
    let again = world.store().target(target(0)).page().unwrap().unwrap();
    world
        .store()
        .acknowledge(again, &Answer::delivered())
        .unwrap();
    let next = world.store().target(target(0)).page().unwrap().unwrap();
    assert_eq!(numbers(&next)[0], all.last().unwrap() + 1);
}

#[test]
fn a_page_says_until_when_it_may_be_sent() {
    let mut world = World::opened(small_config());
    let second = Duration::from_secs(1);
    for lives in [300, 200, 250] {
        world.append_living(0, 10, Durability::Os, lives * second);
    }
    let page = world.store().target(target(0)).page().unwrap().unwrap();
    let earliest = crate::harness::START.saturating_add(200 * second);
    assert_eq!(page.earliest_deadline(), earliest);
    drop(page);
    world.runner.advance(220 * second);
    let page = world.store().target(target(0)).page().unwrap().unwrap();
    assert_eq!(page.len(), 2);
    assert!(page.earliest_deadline() >= earliest.saturating_add(50 * second));
}

#[test]
fn files_go_when_their_hints_have() {
    let mut world = World::opened(small_config());
    for _ in 0..60 {
        world.append(0, 900, Durability::Durable);
    }
    world.runner.advance(Duration::from_secs(2));
    let segments = |world: &World| {
        world
            .disk
            .names()
            .iter()
            .filter(|name| name.ends_with(".hints"))
            .count()
    };
    assert!(segments(&world) > 5);
    world.drain(1);
    assert_eq!(segments(&world), 1);
    world.close_and_open();
    world.drain(1);
    assert_eq!(segments(&world), 0);
    world.assert_right();
}

#[test]
fn truncation_spares_what_comes_after_it() {
    let mut world = World::opened(small_config());
    world.append_batch(30, 2, Durability::Durable);
    world.truncate(Truncate::all().target(target(0)));
    world.append_batch(4, 2, Durability::Durable);
    world.crash(Crash::Power { seed: 2 });
    world.open().unwrap();
    assert_eq!(world.store().ledger().ended(End::Discarded), 15);
    assert_eq!(world.store().ledger().pending(), 15 + 4);
    world.drain(2);
    world.assert_right();
}

/// Remembers pages instead of answering.
#[derive(Debug, Default)]
struct Slow(Mutex<Vec<(Page, Completion)>>);

impl Delivery for Slow {
    fn deliver(&self, page: Page, completion: Completion) {
        self.0.lock().unwrap().push((page, completion));
    }
}

/// Panics at the first page, and delivers all others.
#[derive(Debug, Default)]
struct Careless(Mutex<u64>);

impl Delivery for Careless {
    fn deliver(&self, page: Page, completion: Completion) {
        let first = std::mem::take(&mut *self.0.lock().unwrap()) > 0;
        assert!(!first, "a panic that the test wants");
        completion.complete(page, &Answer::delivered()).unwrap();
    }
}

// P10
#[test]
fn a_delivery_that_panics_has_its_page_again_and_ends_no_other() {
    let mut world = World::opened(small_config());
    let careless = Arc::new(Careless(Mutex::new(1)));
    world.store().deliver_by(careless).unwrap();
    world.append_batch(20, 2, Durability::Os);
    for to in [0, 1] {
        world.store().target(target(to)).up();
    }
    world.runner.run();
    assert_eq!(world.store().ledger().pending(), 10);
    world.runner.advance(Duration::from_secs(2));
    assert_eq!(world.store().ledger().pending(), 0);
}

// P9
#[test]
fn a_hung_target_holds_nobody_up() {
    let mut world = World::opened(small_config());
    let slow = Arc::new(Slow::default());
    world.store().deliver_by(slow.clone()).unwrap();
    world.append_batch(20, 2, Durability::Os);
    world.store().target(target(0)).up();
    world.runner.run();
    assert_eq!(slow.0.lock().unwrap().len(), 1);
    world.store().target(target(1)).up();
    world.runner.run();
    let mut pages = std::mem::take(&mut *slow.0.lock().unwrap());
    assert_eq!(pages.len(), 2);
    let (page, completion) = pages.pop().unwrap();
    assert_eq!(page.target(), target(1));
    completion.complete(page, &Answer::delivered()).unwrap();
    // The other one hangs, and its connection breaks: its hints come again.
    drop(pages);
    world.runner.advance(Duration::from_secs(2));
    world.store().target(target(0)).up();
    world.runner.run();
    let (page, completion) = slow.0.lock().unwrap().pop().unwrap();
    assert_eq!((page.target(), page.len()), (target(0), 10));
    completion.complete(page, &Answer::retry_all()).unwrap();
    world.store().target(target(0)).down();
    assert_eq!(world.store().ledger().ended(End::Delivered), 10);
    assert_eq!(world.store().ledger().pending(), 10);
}

// P10
#[test]
fn a_page_that_delivery_drops_comes_again_after_a_rest() {
    let mut world = World::opened(small_config());
    let slow = Arc::new(Slow::default());
    world.store().deliver_by(slow.clone()).unwrap();
    world.append_batch(5, 1, Durability::Os);
    world.store().target(target(0)).up();
    for _ in 0..3 {
        world.runner.run();
        let page = slow.0.lock().unwrap().pop();
        drop(page.unwrap());
        world.runner.run();
        assert!(slow.0.lock().unwrap().is_empty());
        world.runner.advance(world.config.retry_delay);
    }
    let (page, completion) = slow.0.lock().unwrap().pop().unwrap();
    completion.complete(page, &Answer::delivered()).unwrap();
    assert_eq!(world.store().ledger().ended(End::Delivered), 5);
}

#[test]
fn what_is_discarded_while_its_page_is_out_ends_once() {
    let mut world = World::opened(small_config());
    world.append_batch(20, 1, Durability::Durable);
    for answered in [false, true] {
        world.append_batch(20, 1, Durability::Durable);
        let page = world.store().target(target(0)).page().unwrap().unwrap();
        let done = world.store().truncate(&Truncate::default()).unwrap();
        assert!(done[0].hints >= 20, "{done:?}");
        if answered {
            let answer = Answer::delivered();
            world.store().acknowledge(page, &answer).unwrap();
        } else {
            drop(page);
        }
        assert!(world.store().target(target(0)).page().unwrap().is_none());
    }
    let books = world.store().ledger();
    assert_eq!((books.accepted, books.ended(End::Discarded)), (60, 60));
    assert_eq!(books.ends.total(), 60);
    world.close_and_open();
    assert_eq!(world.store().ledger().ends, books.ends);
}

#[test]
fn a_segment_that_is_sealed_after_its_delivery_goes_by_itself() {
    let mut world = World::opened(small_config());
    world.append_batch(5, 1, Durability::Durable);
    world.drain(1);
    let open = |world: &World| world.disk.names().iter().any(|n| n.ends_with(".hints"));
    assert!(open(&world));
    world.runner.advance(world.config.roll_age_max * 2);
    assert!(!open(&world));
}

#[test]
fn a_target_without_hints_is_empty_and_no_error() {
    let world = World::opened(small_config());
    let nobody = world.store().target(target(7));
    assert!(nobody.page().unwrap().is_none());
    nobody.sync().unwrap();
    nobody.down();
    assert_eq!(nobody.ledger().accepted, 0);
    let what = Truncate::all().target(target(7));
    assert_eq!(world.store().plan_truncate(&what).unwrap(), []);
    assert_eq!(world.store().truncate(&what).unwrap(), []);
    // None of it made anything.
    assert!(nobody.snapshot().is_none());
    assert_eq!(world.store().ledger().targets, []);
    nobody.up();
    assert!(nobody.snapshot().is_some_and(|target| target.is_up));
}

#[test]
fn a_shutdown_waits_for_pages_that_are_out_and_no_longer_than_it_may() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 50, Durability::Os));
    let page = world.store().target(target(0)).page().unwrap().unwrap();
    let begun = world.clock.boot();
    let done = world.store().shutdown(5 * SECOND).unwrap();
    assert_eq!(done.pages_out, 1);
    let took = world.clock.boot().since(begun);
    assert!(took >= 5 * SECOND && took < 10 * SECOND, "{took:?}");
    let late = world.store().acknowledge(page, &Answer::delivered());
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
    world.store = None;
    world.open().unwrap();
    assert_eq!(world.store().ledger().pending(), 1);
}
