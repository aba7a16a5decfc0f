//! Pages, answers, checkpoints, and delivery as submit and complete.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hintstore::{
    Bytes, Clock as _, Delivery, Durability, End, Error, Limits, Next, Order, Page, Sequence,
    TargetState, Truncate, Verdict,
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
    assert_eq!(world.deliver(0, |_| false, |_| false), 0, "it rests");
    world.runner.advance(SECOND);
    // Half of it first, then the rest.
    assert_eq!(world.deliver(0, |_| false, |_| false), 2);
    assert_eq!(world.deliver(0, |_| false, |_| false), 3);
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
    first
        .answer_each(|hint| {
            if retried.contains(&hint.key.sequence) {
                Verdict::Retry
            } else {
                Verdict::Delivered
            }
        })
        .unwrap();
    world.runner.advance(SECOND);
    for _ in 0..3 {
        let again = world.store().target(target(0)).page().unwrap().unwrap();
        assert_eq!(numbers(&again)[0], all[0]);
        again.retry();
        world.runner.advance(10 * SECOND);
    }
    while world.store().ledger().ended(End::Delivered) < all.len() as u64 {
        let again = world.store().target(target(0)).page().unwrap().unwrap();
        again.delivered().unwrap();
    }
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
    page.delivered().unwrap();
    for lives in [300, 200, 250] {
        world.append_living(0, 10, Durability::Os, lives * second);
    }
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
pub(crate) struct Slow(pub(crate) Mutex<Vec<Page>>);

impl Delivery for Slow {
    fn deliver(&self, page: Page) {
        self.0.lock().unwrap().push(page);
    }
}

/// Panics at the first page, and delivers all others.
#[derive(Debug, Default)]
struct Careless(Mutex<u64>);

impl Delivery for Careless {
    fn deliver(&self, page: Page) {
        let first = std::mem::take(&mut *self.0.lock().unwrap()) > 0;
        assert!(!first, "a panic that the test wants");
        page.delivered().unwrap();
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
    let page = pages.pop().unwrap();
    assert_eq!(page.target(), target(1));
    page.delivered().unwrap();
    // The other one hangs, and its connection breaks: its hints come again.
    drop(pages);
    world.runner.advance(Duration::from_secs(2));
    world.store().target(target(0)).up();
    world.runner.run();
    let page = slow.0.lock().unwrap().pop().unwrap();
    // Half of them first: one may be what hangs it.
    assert_eq!((page.target(), page.len()), (target(0), 5));
    page.retry();
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
    // One by one: any of them may be what is wrong with the page.
    let next = || slow.0.lock().unwrap().pop();
    while let Some(page) = next() {
        page.delivered().unwrap();
        world.runner.run();
    }
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
        assert!(page.is_void(), "all of it was discarded");
        if answered {
            page.delivered().unwrap();
        } else {
            drop(page);
            world.runner.advance(SECOND);
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
    assert_eq!(nobody.ledger().accepted, 0);
    let what = Truncate::all().target(target(7));
    assert_eq!(world.store().plan_truncate(&what).unwrap(), []);
    assert_eq!(world.store().truncate(&what).unwrap(), []);
    // None of it made anything.
    assert!(nobody.snapshot().is_none());
    assert_eq!(world.store().ledger().targets, []);
    // What is said of it is remembered: its hints come later.
    nobody.down();
    assert_eq!(nobody.state(), TargetState::Down);
    nobody.up();
    assert_eq!(nobody.state(), TargetState::Up);
    assert!(nobody.snapshot().is_some());
    assert_eq!(world.store().plan_truncate(&what).unwrap(), []);
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
    let late = page.delivered();
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
    world.store = None;
    world.open().unwrap();
    assert_eq!(world.store().ledger().pending(), 1);
}

// P2, P9
#[test]
fn a_verdict_too_many_or_too_few_is_an_error_and_nothing_counts_as_delivered() {
    let mut world = World::opened(small_config());
    world.append_batch(5, 1, Durability::Os);
    for more in [-1, 1] {
        let page = world.store().target(target(0)).page().unwrap().unwrap();
        let verdicts = page.len().checked_add_signed(more).unwrap();
        let answer = page.answer(&vec![Verdict::Delivered; verdicts]);
        assert!(matches!(answer, Err(Error::Verdicts { .. })), "{answer:?}");
        world.runner.advance(SECOND);
    }
    assert_eq!(world.store().ledger().ended(End::Delivered), 0);
    world.drain(1);
    world.assert_right();
}

// P2
#[test]
fn a_page_is_booked_in_parts_while_the_rest_is_out() {
    let mut world = World::opened(small_config());
    world.append_batch(9, 1, Durability::Durable);
    let mut page = world.store().target(target(0)).page().unwrap().unwrap();
    let all: Vec<_> = page.hints().map(|hint| hint.key.sequence).collect();
    page.accept(4).unwrap();
    assert_eq!((page.len(), page.is_void()), (5, false));
    assert_eq!(page.hints().next().unwrap().key.sequence, all[4]);
    assert_eq!(world.store().ledger().ended(End::Delivered), 4);
    assert!(page.accept(6).is_err());
    world.store().checkpoint().unwrap();
    // The rest is lost with the process: what was booked is not sent again.
    drop(page);
    world.crash(Crash::Power { seed: 3 });
    world.open().unwrap();
    let mut page = world.store().target(target(0)).page().unwrap().unwrap();
    assert_eq!(page.hints().next().unwrap().key.sequence, all[4]);
    page.accept(1).unwrap();
    page.answer(&[
        Verdict::Delivered,
        Verdict::Retry,
        Verdict::Delivered,
        Verdict::Reject,
    ])
    .unwrap();
    let books = world.store().ledger();
    assert_eq!(
        (books.ended(End::Delivered), books.ended(End::Rejected)),
        (7, 1)
    );
    assert_eq!(books.pending(), 1);
}

// P10
#[test]
fn a_page_holds_no_more_than_the_receiver_has_room_for() {
    let mut world = World::opened(small_config());
    world.append_batch(20, 1, Durability::Os);
    let target = world.store().target(target(0));
    let limits = |hints, bytes| Limits {
        hints,
        bytes: Bytes::new(bytes),
    };
    let next = |limits| match target.next(limits).unwrap() {
        Next::Page(page) => page,
        other => panic!("{other:?}"),
    };
    let page = next(limits(3, u64::MAX));
    assert_eq!(page.len(), 3);
    page.delivered().unwrap();
    let page = next(limits(100, 1));
    assert_eq!(page.len(), 1, "one at least");
    page.delivered().unwrap();
    target.set_credit(Some(limits(5, u64::MAX)));
    let page = next(Limits::NONE);
    assert_eq!(page.len(), 5);
    page.delivered().unwrap();
    assert!(matches!(target.next(Limits::NONE).unwrap(), Next::Nothing));
    target.set_credit(None);
    assert_eq!(next(Limits::NONE).len(), 11);
}

// P9
#[test]
fn a_hint_that_hangs_its_target_holds_up_no_other() {
    let mut world = World::opened(small_config());
    world.append_batch(40, 1, Durability::Os);
    let handle = world.store().target(target(0));
    let mut poison = None;
    let (mut sent, mut rounds) = (0, 0);
    // The eighth makes each page fail that it is in.
    while world.store().ledger().pending() > 1 {
        rounds += 1;
        assert!(rounds < 200, "{:?}", world.store().ledger());
        match handle.next(Limits::NONE).unwrap() {
            Next::Page(page) => {
                let sequences: Vec<_> = page.hints().map(|hint| hint.key.sequence).collect();
                let poison = *poison.get_or_insert_with(|| sequences[7]);
                sent += sequences.len();
                if sequences.contains(&poison) {
                    drop(page);
                } else {
                    page.delivered().unwrap();
                }
            }
            Next::Resting(rest) => world.runner.advance(rest),
            other => panic!("{other:?}"),
        }
    }
    assert!(sent < 400, "{sent} were sent for 40");
    let poison = poison.unwrap();
    let step = |world: &mut World, is_down: bool| match handle.next(Limits::NONE).unwrap() {
        Next::Page(page) if !is_down && page.hints().all(|hint| hint.key.sequence != poison) => {
            page.delivered().unwrap();
        }
        Next::Page(page) => page.retry(),
        Next::Resting(rest) => world.runner.advance(rest),
        _ => world.runner.advance(SECOND),
    };
    // A target that is down has no poison, however often it is tried.
    for _ in 0..100 {
        step(&mut world, true);
    }
    assert_eq!(world.store().ledger().ended(End::Rejected), 0);
    // One that takes others has: in the end it is a dead letter.
    let mut rounds = 0;
    while world.store().ledger().ended(End::Rejected) == 0 {
        rounds += 1;
        assert!(rounds < 200, "{:?}", world.store().ledger());
        world.append_batch(1, 1, Durability::Os);
        for _ in 0..4 {
            step(&mut world, false);
        }
    }
    world.drain(1);
    assert_eq!(world.store().ledger().ended(End::Rejected), 1);
}

#[test]
fn hints_behind_one_that_hangs_its_target_have_their_turn() {
    let mut world = World::opened(small_config().with(|config| {
        config.retry_delay_max = 60 * SECOND;
    }));
    let picky = Arc::new(Picky::default());
    world.store().deliver_by(picky.clone()).unwrap();
    world.store().target(target(0)).up();
    world.append_batch(1, 1, Durability::Os);
    world.runner.advance(2 * SECOND);
    let first = picky.0.lock().unwrap().expect("it was sent");
    world.append_batch(20, 1, Durability::Os);
    world.runner.advance(120 * SECOND);
    assert_eq!(world.store().ledger().ended(End::Delivered), 20, "{first}");
}

/// Says nothing to a page with the first hint that it ever saw.
#[derive(Default)]
struct Picky(Mutex<Option<Sequence>>);

impl Delivery for Picky {
    fn deliver(&self, page: Page) {
        let mut all = page.hints().map(|hint| hint.key.sequence);
        let first = all.next().unwrap();
        let poison = *self.0.lock().unwrap().get_or_insert(first);
        if first == poison || all.any(|one| one == poison) {
            return;
        }
        page.delivered().unwrap();
    }
}

#[test]
fn what_was_booked_in_parts_is_no_failure() {
    let mut world = World::opened(small_config());
    world.append_batch(120, 1, Durability::Os);
    let handle = world.store().target(target(0));
    let next = || match handle.next(Limits::NONE).unwrap() {
        Next::Page(page) => page,
        other => panic!("{other:?}"),
    };
    let mut page = next();
    let all = page.len();
    page.accept(all).unwrap();
    drop(page);
    let mut page = next();
    page.accept(page.len()).unwrap();
    page.delivered().unwrap();
    let mut page = next();
    page.accept(page.len() - 1).unwrap();
    page.answer(&[Verdict::Retry]).unwrap();
    let state = handle.snapshot().unwrap();
    assert_eq!((state.failures, next().len() > 10), (0, true));
}

#[test]
fn a_target_is_paused_before_its_first_hint() {
    let mut world = World::opened(small_config());
    let handle = world.store().target(target(0));
    handle.pause();
    world.append_batch(3, 1, Durability::Os);
    assert!(matches!(handle.next(Limits::NONE).unwrap(), Next::Nothing));
    handle.up();
    assert!(handle.page().unwrap().is_none());
    handle.resume();
    assert!(handle.page().unwrap().is_some());
}

#[test]
fn what_the_target_does_not_know_comes_again_until_it_is_old() {
    let mut world = World::opened(small_config().with(|config| {
        config.unknown_namespace_age_max = 100 * SECOND;
    }));
    world.append_batch(3, 1, Durability::Os);
    let handle = world.store().target(target(0));
    let page = handle.page().unwrap().unwrap();
    page.answer_each(|_| Verdict::UnknownNamespace).unwrap();
    assert_eq!(world.store().ledger().pending(), 3);
    assert_eq!(handle.snapshot().unwrap().unknown_namespace, 3);
    world.runner.advance(101 * SECOND);
    while let Some(page) = handle.page().unwrap() {
        page.answer_each(|_| Verdict::UnknownNamespace).unwrap();
    }
    assert_eq!(world.store().ledger().ended(End::Rejected), 3);
}

#[test]
fn a_target_that_is_paused_or_ahead_of_its_time_gets_nothing() {
    let mut world = World::opened(small_config());
    let slow = Arc::new(Slow::default());
    world.store().deliver_by(slow.clone()).unwrap();
    let second = world.store().deliver_by(slow.clone());
    assert!(matches!(second, Err(Error::Delivering)), "{second:?}");
    world.append_batch(5, 1, Durability::Os);
    let handle = world.store().target(target(0));
    let taken = || slow.0.lock().unwrap().pop();
    handle.up_from(7);
    world.runner.advance(SECOND);
    assert!(taken().is_none(), "ownership has not moved");
    world.store().set_topology_epoch(7);
    world.runner.run();
    let page = taken().unwrap();
    handle.pause();
    assert_eq!(handle.state(), TargetState::Paused);
    page.retry();
    world.runner.advance(5 * SECOND);
    assert!(taken().is_none());
    assert!(handle.page().unwrap().is_none());
    handle.up();
    world.runner.advance(5 * SECOND);
    assert!(taken().is_none(), "an operator paused it");
    handle.resume();
    world.runner.run();
    let page = taken().unwrap();
    handle.down();
    assert!(page.is_void());
    handle.up();
    // Another may deliver when the first has stopped.
    assert_eq!(world.store().stop_delivery(SECOND).pages_out, 1);
    page.delivered().unwrap();
    assert_eq!(world.store().stop_delivery(SECOND).pages_out, 0);
    world.store().deliver_by(slow.clone()).unwrap();
    world.runner.advance(2 * SECOND);
    assert!(taken().is_some());
}

#[test]
fn who_waits_for_a_target_waits_for_what_it_had() {
    let mut world = World::opened(small_config());
    world.append_batch(5, 1, Durability::Os);
    let handle = world.store().target(target(0));
    assert!(!handle.converged(SECOND).unwrap());
    world.drain(1);
    world.append_batch(5, 1, Durability::Os);
    let Next::Page(page) = handle.wait_next(Limits::NONE, SECOND).unwrap() else {
        panic!("no page");
    };
    page.delivered().unwrap();
    assert!(handle.converged(SECOND).unwrap());
    let none = handle.wait_next(Limits::NONE, SECOND).unwrap();
    assert!(matches!(none, Next::Drained), "{none:?}");
}
