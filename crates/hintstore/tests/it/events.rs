//! What a subscriber sees, hints that are taken back, and what is counted of delivery.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use hintstore::{
    Concern, Durability, End, Event, Events, Hint, HintStore, Limits, Next, Order, Receipt,
    TargetState, Truncate, UnixMillis,
};
use hintstore_sim::Crash;

use crate::harness::{LONG, World, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

fn all(events: &Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next()).collect()
}

#[test]
fn who_subscribed_sees_states_drained_backlogs_and_losses_until_the_end() {
    let mut world = World::opened(small_config());
    let store = world.store().clone();
    let events = store.events();
    let (to, handle) = (target(0), store.target(target(0)));
    handle.up();
    handle.up();
    handle.pause();
    // The failure detector does not end what an operator began.
    handle.down();
    handle.up();
    handle.resume();
    handle.down();
    let state = |from, to_state| Event::State {
        target: to,
        from,
        to: to_state,
    };
    assert_eq!(
        all(&events),
        [
            state(TargetState::Unknown, TargetState::Up),
            state(TargetState::Up, TargetState::Paused),
            state(TargetState::Paused, TargetState::Up),
            state(TargetState::Up, TargetState::Down),
        ]
    );
    // The last answer drains it, once; what comes later drains it again.
    for _ in 0..2 {
        world.append_batch(3, 1, Durability::Os);
        world.deliver_all(0);
        world.runner.advance(3 * SECOND);
        assert_eq!(all(&events), [Event::Drained(to)]);
    }
    // Without an answer: what ends otherwise is seen within a checkpoint interval.
    world.append_batch(3, 1, Durability::Os);
    world.truncate(Truncate::default());
    world.runner.advance(3 * SECOND);
    let mut seen = all(&events);
    assert_eq!(seen.pop(), Some(Event::Drained(to)));
    let is_lost = |event: &Event| matches!(event, Event::Lost(loss) if loss.hints == 1);
    assert!(seen.len() == 3 && seen.iter().all(is_lost), "{seen:?}");
    let old = Hint::new(to, UnixMillis::new(0), SECOND, b"old");
    store.append(old, Durability::Os).unwrap_err();
    world.runner.advance(3 * SECOND);
    let events_now = all(&events);
    assert!(
        matches!(&events_now[..], [Event::Lost(loss)] if loss.target == Some(to)),
        "{events_now:?}"
    );
    assert!(!events.is_over());
    drop(world.store.take());
    store.close().unwrap();
    assert!(events.is_over());
    assert_eq!(events.wait_next(SECOND), None);
}

#[test]
fn a_backlog_that_was_found_drains_and_an_empty_one_does_not() {
    let mut world = World::opened(small_config());
    world.append_batch(3, 1, Durability::Durable);
    world.close_and_open();
    let events = world.store().events();
    world.store().target(target(1)).up();
    assert_eq!(all(&events).len(), 1);
    world.runner.advance(3 * SECOND);
    assert_eq!(all(&events), []);
    world.deliver_all(0);
    world.runner.advance(3 * SECOND);
    assert_eq!(all(&events), [Event::Drained(target(0))]);
}

#[test]
fn a_subscriber_that_does_not_read_knows_how_much_it_missed() {
    let world = World::opened(small_config());
    let (behind, gone) = (world.store().events(), world.store().events());
    drop(gone);
    let handle = world.store().target(target(0));
    for _ in 0..600 {
        handle.up();
        handle.down();
    }
    let events = all(&behind);
    assert_eq!(events.len(), 1025);
    assert_eq!(events.last(), Some(&Event::Missed(176)));
    handle.up();
    assert_eq!(all(&behind).len(), 1);
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_task_sees_the_events_and_the_end() {
    let mut world = World::opened(small_config());
    let mut events = pin!(world.store().events());
    let waker = Waker::from(Arc::new(Nobody));
    let mut context = Context::from_waker(&waker);
    assert!(events.poll_next_event(&mut context).is_pending());
    world.store().target(target(0)).up();
    let event = events.poll_next_event(&mut context);
    assert!(matches!(event, Poll::Ready(Some(Event::State { .. }))));
    world.store.take().unwrap().close().unwrap();
    assert_eq!(events.poll_next_event(&mut context), Poll::Ready(None));
}

fn keep(store: &HintStore, payload: &[u8]) -> Receipt {
    let now = UnixMillis::new(1_800_000_000_000);
    let hint = Hint::new(target(0), now, LONG, payload);
    store.append(hint, Durability::Os).unwrap()
}

/// Delivers all that is there, and gives its payloads.
fn payloads(world: &World) -> Vec<Vec<u8>> {
    let (target, mut all) = (world.store().target(target(0)), Vec::new());
    loop {
        match target.next(Limits::NONE).unwrap() {
            Next::Page(page) => {
                all.extend(page.hints().map(|hint| hint.body.payload.to_vec()));
                page.delivered().unwrap();
            }
            Next::Drained => return all,
            _ => world.runner.advance(SECOND),
        }
    }
}

// P8
#[test]
fn a_hint_that_is_taken_back_is_not_delivered_and_ends_as_superseded() {
    let mut world = World::opened(small_config());
    let store = world.store().clone();
    let receipts: Vec<Receipt> = (0..6).map(|n| keep(&store, &[n])).collect();
    // Before it is handed out.
    assert!(store.retract(&receipts[1]) && store.retract(&receipts[4]));
    assert_eq!(store.ledger().pending(), 6);
    // While it is out: it is not sent again.
    let page = store.target(target(0)).page().unwrap().unwrap();
    let sent = page.hints().map(|hint| hint.body.payload[0]);
    assert_eq!(sent.collect::<Vec<_>>(), [0, 2, 3, 5]);
    assert!(store.retract(&receipts[3]));
    page.retry();
    world.runner.advance(2 * SECOND);
    assert_eq!(payloads(&world), [[0], [2], [5]]);
    let books = store.ledger();
    assert_eq!(books.pending(), 0);
    assert_eq!(books.ended(End::Superseded), 3);
    assert_eq!(books.ended(End::Delivered), 3);
    assert_eq!(store.losses(), []);
    // What has ended, or was never accepted, cannot be taken back.
    assert!(!store.retract(&receipts[0]) && !store.retract(&receipts[1]));
    let mut unknown = receipts[0];
    unknown.target = target(9);
    assert!(!store.retract(&unknown));
    let mut later = receipts[5];
    later.sequence = later.sequence.plus(1);
    assert!(!store.retract(&later));
    drop(store);
    world.store.take().unwrap().close().unwrap();
    world.open().unwrap();
    assert_eq!(world.store().ledger().ended(End::Superseded), 3);
}

// P1
#[test]
fn a_crash_before_its_turn_brings_back_what_was_taken_back() {
    let mut world = World::opened(small_config());
    let receipt = keep(world.store(), b"late");
    assert!(world.store().retract(&receipt));
    world.store().checkpoint().unwrap();
    world.crash(Crash::Kill);
    world.open().unwrap();
    assert_eq!(payloads(&world), [b"late"]);
    assert_eq!(world.store().ledger().excess(), 0);
}

// P8
#[test]
fn what_was_taken_back_is_not_moved_out_of_the_way_for_others() {
    let world = World::opened(small_config());
    let store = world.store();
    let receipts: Vec<Receipt> = (0..40).map(|n| keep(store, &[n])).collect();
    let page = store.target(target(0)).page().unwrap().unwrap();
    // Each second one comes again: more holes than a checkpoint may have.
    let mut place = 0;
    page.answer_each(|_| {
        place += 1;
        if place % 2 == 0 {
            hintstore::Verdict::Delivered
        } else {
            hintstore::Verdict::Retry
        }
    })
    .unwrap();
    assert!(store.retract(&receipts[0]) && store.retract(&receipts[2]));
    keep(store, &[40]);
    world.runner.advance(5 * SECOND);
    let mut left = payloads(&world);
    left.sort();
    let again = (0..40).filter(|n| n % 2 == 0 && *n > 2).chain([40]);
    let again: Vec<Vec<u8>> = again.map(|n| vec![n]).collect();
    assert_eq!(left, again);
    assert_eq!(store.ledger().ended(End::Superseded), 2);
    assert_eq!((store.ledger().pending(), store.ledger().excess()), (0, 0));
}

#[test]
fn the_age_of_what_is_delivered_is_counted() {
    let mut world = World::opened(small_config());
    let delays = |world: &World| world.store().target(target(0)).snapshot().unwrap().delays;
    world.append_batch(3, 1, Durability::Os);
    world.runner.advance(30 * SECOND);
    world.append_batch(2, 1, Durability::Os);
    assert_eq!(delays(&world).total(), 0);
    let mut page = world.store().target(target(0)).page().unwrap().unwrap();
    page.accept(4).unwrap();
    page.retry();
    let counts = delays(&world);
    assert_eq!(counts.counts()[..3], [1, 0, 3]);
    assert_eq!(counts.sum(), 90 * SECOND);
    world.runner.advance(Duration::from_mins(5));
    world.deliver_all(0);
    let counts = delays(&world);
    assert_eq!(counts.counts()[..4], [1, 0, 3, 1]);
    assert_eq!(counts.total(), 5);
}

#[test]
fn a_target_that_comes_and_goes_is_one_concern() {
    let mut world = World::opened(small_config());
    world.append_batch(3, 1, Durability::Os);
    let handle = world.store().target(target(0));
    for _ in 0..3 {
        handle.up();
        for _ in 0..6 {
            // It takes nothing.
            drop(handle.page().unwrap());
            world.runner.advance(10 * SECOND);
        }
        let concerns = world.store().snapshot().concerns();
        assert!(!concerns.contains(&Concern::Flaps(target(0))));
        handle.down();
    }
    handle.up();
    let concerns = world.store().snapshot().concerns();
    assert_eq!(concerns, [Concern::Flaps(target(0))]);
    assert_eq!(handle.snapshot().unwrap().came_up, 4);
    world.runner.advance(Duration::from_mins(10));
    let concerns = world.store().snapshot().concerns();
    assert!(!concerns.contains(&Concern::Flaps(target(0))));
}

// P2
#[test]
fn in_a_strict_order_what_was_taken_back_holds_up_nothing() {
    let world = World::opened(small_config());
    let store = world.store();
    let receipts: Vec<Receipt> = (0..3).map(|n| keep(store, &[n])).collect();
    let handle = store.target(target(0));
    handle.set_order(Order::Strict);
    let one = Limits {
        hints: 1,
        ..Limits::NONE
    };
    let Next::Page(page) = handle.next(one).unwrap() else {
        unreachable!("there are three");
    };
    page.retry();
    assert!(store.retract(&receipts[0]));
    world.runner.advance(2 * SECOND);
    let next = handle.next(one).unwrap();
    assert!(
        matches!(&next, Next::Page(page) if page.len() == 1),
        "{next:?}"
    );
}
