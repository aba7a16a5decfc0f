//! How fast targets are delivered to: rests, rates, windows, and who comes first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use hintstore::{
    Bytes, Clock as _, Delivery, Durability, End, Limits, Next, Page, TargetId, Verdict,
};

use crate::delivery::Slow;
use crate::harness::{World, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

/// Takes whatever comes, and counts it.
#[derive(Default)]
struct Quick(Mutex<BTreeMap<TargetId, usize>>);

impl Delivery for Quick {
    fn deliver(&self, page: Page) {
        *self.0.lock().unwrap().entry(page.target()).or_default() += page.len();
        page.delivered().unwrap();
    }
}

// P9
#[test]
fn a_rate_for_all_is_shared_by_turns() {
    let mut world = World::opened(small_config().with(|config| {
        config.deliver_bytes_per_second = Some(Bytes::kib(4));
    }));
    for _ in 0..200 {
        for to in 0..3 {
            world.append(to, 400, Durability::Os);
        }
    }
    let quick = Arc::new(Quick::default());
    world.store().deliver_by(quick.clone()).unwrap();
    for to in 0..3 {
        world.store().target(target(to)).up();
    }
    world.runner.advance(20 * SECOND);
    let taken = quick.0.lock().unwrap().clone();
    let (least, most) = (taken.values().min().unwrap(), taken.values().max().unwrap());
    assert!(taken.len() == 3 && *most < least * 3, "{taken:?}");
    // A slip of the rate is over when the setting is.
    let change = |config: &mut hintstore::Config| config.deliver_bytes_per_second = None;
    world.store().reconfigure(change).unwrap();
    world.runner.advance(5 * SECOND);
    assert_eq!(world.store().ledger().pending(), 0);
}

// P10
#[test]
fn what_rests_is_not_pulled_and_its_rest_grows_until_something_is_taken() {
    let mut world = World::opened(small_config().with(|config| {
        config.retry_delay_max = 60 * SECOND;
    }));
    world.append_batch(6, 1, Durability::Os);
    let handle = world.store().target(target(0));
    let mut rests = Vec::new();
    for _ in 0..7 {
        let page = handle.page().unwrap().unwrap();
        page.answer_each(|_| Verdict::Retry).unwrap();
        let Next::Resting(rest) = handle.next(Limits::NONE).unwrap() else {
            panic!("it does not rest");
        };
        rests.push(rest);
        world.runner.advance(rest);
    }
    for (times, rest) in (0..).zip(&rests) {
        let whole = SECOND * 2_u32.pow(times);
        let whole = whole.min(60 * SECOND);
        assert!(*rest <= whole && *rest >= whole / 2, "{rests:?}");
    }
    assert_eq!(handle.snapshot().unwrap().failures, 7);
    // Half of it each time, down to one.
    let page = handle.page().unwrap().unwrap();
    assert_eq!(page.len(), 1);
    page.delivered().unwrap();
    assert_eq!(handle.snapshot().unwrap().failures, 0);
    let page = handle.page().unwrap().unwrap();
    assert_eq!(page.len(), 2);
    page.retry();
    // What a rest was for is over when the target is up.
    assert!(matches!(
        handle.next(Limits::NONE).unwrap(),
        Next::Resting(_)
    ));
    handle.down();
    handle.up();
    let Next::Page(page) = handle.next(Limits::NONE).unwrap() else {
        panic!("it still rests");
    };
    page.delivered().unwrap();
    world.drain(1);
    assert!(matches!(handle.next(Limits::NONE).unwrap(), Next::Drained));
}

// P10
#[test]
fn rates_are_kept_from_the_next_page_on() {
    let mut world = World::opened(small_config());
    for _ in 0..100 {
        world.append(0, 900, Durability::Os);
        world.append(1, 900, Durability::Os);
    }
    let one = world.store().target(target(0));
    one.set_rate(Some(Bytes::kib(10)));
    let drain = |world: &World, within: Duration| {
        let begun = world.clock.boot();
        let mut bytes = [0, 0];
        while world.clock.boot().since(begun) < within {
            for to in [0, 1] {
                let handle = world.store().target(target(to));
                if let Next::Page(page) = handle.next(Limits::NONE).unwrap() {
                    bytes[to as usize] += page.bytes().get();
                    page.delivered().unwrap();
                }
            }
            world.runner.advance(Duration::from_millis(10));
        }
        bytes
    };
    let [slow, fast] = drain(&world, 2 * SECOND);
    assert!(slow <= (20 << 10) + 3 * 1024 && slow > 16 << 10, "{slow}");
    assert!(fast > 90_000, "{fast}");
    // All together, from now on.
    one.set_rate(None);
    let all = Some(Bytes::kib(5));
    let change = |config: &mut hintstore::Config| config.deliver_bytes_per_second = all;
    world.store().reconfigure(change).unwrap();
    let [slow, _] = drain(&world, 4 * SECOND);
    assert!(slow <= (20 << 10) + 3 * 1024 && slow > 14 << 10, "{slow}");
}

// P10
#[test]
fn a_slow_answer_halves_the_next_page_and_quick_ones_make_it_larger() {
    let mut world = World::opened(small_config().with(|config| {
        config.page_bytes = Bytes::kib(256);
        config.segment_bytes = Bytes::mib(4);
        config.memory = Bytes::mib(4);
    }));
    for _ in 0..1500 {
        world.append(0, 900, Durability::Os);
    }
    let handle = world.store().target(target(0));
    let take = |world: &World, took: Duration| {
        let page = handle.page().unwrap().unwrap();
        let bytes = page.bytes().get();
        world.runner.advance(took);
        page.delivered().unwrap();
        bytes
    };
    let first = take(&world, 2 * SECOND);
    let second = take(&world, 2 * SECOND);
    assert!(second < first * 6 / 10, "{first} {second}");
    let third = take(&world, Duration::from_millis(5));
    assert!(third < second * 6 / 10, "{second} {third}");
    let fourth = take(&world, Duration::from_millis(5));
    assert!(fourth > third, "{third} {fourth}");
}

// P10
#[test]
fn hints_in_the_background_go_as_often_as_answers_are_in_time() {
    let mut world = World::opened(small_config().with(|config| config.give_way = true));
    // Half a minute begins, and two seconds of it are quiet.
    world.runner.advance(3 * SECOND);
    world.append_batch(20_000, 1, Durability::Os);
    let slow = Arc::new(Slow::default());
    world.store().deliver_by(slow.clone()).unwrap();
    world.store().set_members([target(0)]);
    world.store().target(target(0)).up();
    let deliver_for = |seconds: u32, takes: Duration| {
        let before = world.store().ledger().ended(End::Delivered);
        let until = world.clock.boot() + seconds * SECOND;
        while world.clock.boot() < until {
            world.runner.advance(takes);
            if let Some(page) = slow.0.lock().unwrap().pop() {
                page.delivered().unwrap();
            }
            world.runner.run();
        }
        world.store().ledger().ended(End::Delivered) - before
    };
    let millisecond = Duration::from_millis(1);
    let at_first = deliver_for(1, millisecond);
    assert!((50..300).contains(&at_first), "{at_first} in a second");
    deliver_for(9, millisecond);
    let grown = deliver_for(1, millisecond);
    assert!(
        grown > 3 * at_first,
        "{grown} in a second, {at_first} at first"
    );
    // It gets slow while nothing says that it would be without hints.
    deliver_for(3, 20 * millisecond);
    let cut = deliver_for(1, 20 * millisecond);
    assert!(cut < grown / 2, "{cut} in a second, {grown} before");
    let snapshot = world.store().target(target(0)).snapshot().unwrap();
    assert!(
        snapshot.hint_interval.unwrap() > millisecond,
        "{snapshot:?}"
    );
    // Who pulls sets the pace.
    let _still_out = world.store().stop_delivery(Duration::ZERO);
    let pulled = world.deliver(0, |_| false, |_| false);
    assert!(pulled > 1, "{pulled} hints in a page");
}

#[test]
fn what_is_to_wait_for_an_hour_waits_for_an_hour() {
    let mut world = World::opened(small_config());
    world.append_batch(1, 1, Durability::Os);
    let handle = world.store().target(target(0));
    let hour = Duration::from_hours(1);
    let page = handle.page().unwrap().unwrap();
    page.answer(&[Verdict::RetryAfter(hour)]).unwrap();
    world.append_batch(3, 1, Durability::Os);
    world.runner.advance(2 * SECOND);
    while let Some(page) = handle.page().unwrap() {
        page.answer_each(|_| Verdict::Retry).unwrap();
    }
    world.runner.advance(100 * SECOND);
    while let Some(page) = handle.page().unwrap() {
        page.delivered().unwrap();
    }
    assert_eq!(
        world.store().ledger().pending(),
        1,
        "others do not wait for it"
    );
    world.runner.advance(hour);
    assert!(handle.page().unwrap().is_some());
}

// P9
#[test]
fn under_a_rate_for_all_what_expires_first_goes_first() {
    let mut world = World::opened(small_config().with(|config| {
        config.deliver_bytes_per_second = Some(Bytes::kib(4));
    }));
    let hours = |to: u128| Duration::from_hours([9, 2, 5][to as usize]);
    for _ in 0..40 {
        for to in 0..3 {
            world.append_living(to, 400, Durability::Os, hours(to));
        }
    }
    let quick = Arc::new(Quick::default());
    world.store().deliver_by(quick.clone()).unwrap();
    for to in 0..3 {
        world.store().target(target(to)).up();
    }
    world.runner.advance(2 * SECOND);
    let left = |world: &World| {
        let pending = |to| world.store().target(target(to)).ledger().pending();
        [0, 1, 2].map(pending)
    };
    let [nine, two, five] = left(&world);
    assert!(nine == 40 && five == 40 && two < 40, "{nine} {two} {five}");
    while left(&world)[2] == 40 {
        world.runner.advance(SECOND);
    }
    // A page at most of the one that is next was out before the first was through.
    assert!(left(&world)[1] <= 5, "{:?}", left(&world));
    while left(&world)[2] > 5 {
        assert_eq!(left(&world)[0], 40);
        world.runner.advance(SECOND);
    }
    world.runner.advance(Duration::from_mins(1));
    assert_eq!(left(&world), [0, 0, 0]);
}

#[test]
fn others_do_not_wait_for_a_hint_that_is_to_wait_for_an_hour() {
    let hour = Duration::from_hours(1);
    let mut world = World::opened(small_config());
    world.append_batch(12, 1, Durability::Os);
    let handle = world.store().target(target(0));
    let page = handle.page().unwrap().unwrap();
    let mut place = 0;
    page.answer_each(|_| {
        place += 1;
        match place {
            // Ten times are more than are remembered: some wait for longer.
            3.. => Verdict::RetryAfter(hour + place * SECOND),
            2 => Verdict::Retry,
            _ => Verdict::Delivered,
        }
    })
    .unwrap();
    assert!(matches!(handle.next(Limits::NONE).unwrap(), Next::Resting(rest) if rest == SECOND));
    world.runner.advance(SECOND);
    assert_eq!(world.deliver(0, |_| false, |_| false), 1);
    world.append_batch(1, 1, Durability::Os);
    assert_eq!(world.deliver(0, |_| false, |_| false), 1);
    let left = hour + 2 * SECOND;
    let rests = |next: &Next| matches!(next, Next::Resting(rest) if *rest >= left && *rest < left + SECOND * 4);
    let next = handle.next(Limits::NONE).unwrap();
    assert!(rests(&next), "{next:?}");
    world.runner.advance(hour + SECOND);
    assert_eq!(world.deliver(0, |_| false, |_| false), 0);
    world.runner.advance(12 * SECOND);
    assert_eq!(world.deliver(0, |_| false, |_| false), 10);
    assert_eq!(world.store().ledger().pending(), 0);
}

#[test]
fn a_hint_that_is_to_wait_waits_also_where_it_is_moved_out_of_the_way() {
    let mut world = World::opened(small_config());
    world.append_batch(40, 1, Durability::Os);
    let handle = world.store().target(target(0));
    let page = handle.page().unwrap().unwrap();
    let (mut place, all) = (0, page.len() as u64);
    page.answer_each(|_| {
        place += 1;
        if place % 2 == 0 {
            Verdict::Delivered
        } else {
            Verdict::RetryAfter(Duration::from_hours(1))
        }
    })
    .unwrap();
    world.append_batch(5, 1, Durability::Os);
    world.runner.advance(5 * SECOND);
    while world.deliver(0, |_| false, |_| false) > 0 {}
    assert_eq!(
        world.store().ledger().pending(),
        all.div_ceil(2),
        "they wait"
    );
    world.runner.advance(Duration::from_hours(1));
    while world.deliver(0, |_| false, |_| false) > 0 {}
    assert_eq!(world.store().ledger().pending(), 0);
}
