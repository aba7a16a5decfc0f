//! Appends that wait on no thread: futures that the store wakes.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use hintstore::{
    AppendError, AppendResult, Bytes, Clock as _, Config, Durability, End, Hint, HintStore,
    Pending, Refusal, SystemClock,
};
use hintstore_sim::{Crash, Fault, FaultOn};

use crate::harness::{LONG, Scratch, World, small_config, target};

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll(pending: &mut Pending, count: &Arc<Count>) -> Poll<AppendResult> {
    let waker = Waker::from(count.clone());
    Pin::new(pending).poll(&mut Context::from_waker(&waker))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread; gives up after a minute.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let begun = SystemClock.boot();
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let left = Duration::from_mins(1).saturating_sub(SystemClock.boot().since(begun));
        assert!(!left.is_zero(), "nobody woke it");
        thread::park_timeout(left);
    }
}

fn submit(world: &World, payload: &[u8], level: Durability) -> Result<Pending, Refusal> {
    let hint = Hint::new(target(0), world.clock.wall(), LONG, payload);
    world.store().submit(hint, level)
}

// P1
#[test]
fn what_is_submitted_reaches_its_level_in_one_turn_and_wakes_who_waits() {
    let mut world = World::opened(small_config());
    for (level, crash) in [
        (Durability::Os, Crash::Kill),
        (Durability::Durable, Crash::Power { seed: 7 }),
    ] {
        let count = Arc::new(Count::default());
        let mut all: Vec<Pending> = (0..10)
            .map(|_| submit(&world, b"later", level).unwrap())
            .collect();
        for pending in &mut all {
            assert_eq!(pending.receipt().durability, Durability::Buffered);
            assert!(poll(pending, &count).is_pending());
        }
        assert_eq!(world.store().snapshot().in_flight, 10);
        let operations = world.disk.operations();
        world.runner.run();
        assert!(count.0.load(SeqCst) > 0);
        for mut pending in all {
            let Poll::Ready(Ok(receipt)) = poll(&mut pending, &count) else {
                panic!("{pending:?}");
            };
            assert_eq!(receipt.durability, level);
        }
        // One write and one sync for all, and a file for the first.
        let operations = world.disk.operations() - operations;
        assert!(operations < 15, "{operations} operations");
        assert_eq!(world.store().snapshot().in_flight, 0);
        world.crash(crash);
        world.open().unwrap();
        assert_eq!(world.store().ledger().pending(), 10);
        let target = world.store().target(target(0));
        while let Some(page) = target.page().unwrap() {
            page.delivered().unwrap();
        }
        world.store().checkpoint().unwrap();
    }
}

// P1
#[test]
fn a_future_that_is_dropped_loses_nothing() {
    let world = World::opened(small_config());
    let count = Arc::new(Count::default());
    let mut pending = submit(&world, b"dropped", Durability::Durable).unwrap();
    assert!(poll(&mut pending, &count).is_pending());
    drop(pending);
    assert_eq!(world.store().snapshot().in_flight, 0);
    world.runner.run();
    assert_eq!(world.store().ledger().pending(), 1);
    let page = world.store().target(target(0)).page().unwrap().unwrap();
    page.delivered().unwrap();
    assert_eq!(world.store().ledger().ended(End::Delivered), 1);
}

// P1
#[test]
fn what_the_disk_does_not_take_is_in_doubt_and_can_be_submitted_again() {
    for on in [FaultOn::Write, FaultOn::Sync, FaultOn::Create] {
        let world = World::opened(small_config());
        world.disk.fail(Fault {
            on,
            after: 0,
            times: 1000,
            error: io::ErrorKind::Other,
            name: ".hints",
        });
        let count = Arc::new(Count::default());
        let mut pending = submit(&world, b"refused", Durability::Durable).unwrap();
        world.runner.run();
        let answer = poll(&mut pending, &count);
        let Poll::Ready(Err(AppendError::InDoubt(receipt))) = answer else {
            panic!("{on:?}: {answer:?}");
        };
        // Asked again, it says the same.
        let again = poll(&mut pending, &count);
        assert!(matches!(again, Poll::Ready(Err(AppendError::InDoubt(_)))));
        world.disk.heal();
        world.runner.advance(Duration::from_secs(30));
        let waited = world.store().wait(receipt, Durability::Durable);
        assert_eq!(waited.unwrap().durability, Durability::Durable);
        let mut pending = submit(&world, b"taken", Durability::Durable).unwrap();
        world.runner.run();
        assert!(matches!(poll(&mut pending, &count), Poll::Ready(Ok(_))));
    }
}

// P3
#[test]
fn as_many_futures_as_may_wait_and_the_next_is_refused() {
    let config = small_config().with(|config| config.in_flight_target_max = 2);
    let world = World::opened(config);
    let first = submit(&world, b"1", Durability::Os).unwrap();
    let second = submit(&world, b"2", Durability::Os).unwrap();
    let third = submit(&world, b"3", Durability::Os);
    assert!(matches!(third, Err(Refusal::Overloaded)), "{third:?}");
    // Buffered waits for nothing.
    let count = Arc::new(Count::default());
    let mut buffered = submit(&world, b"4", Durability::Buffered).unwrap();
    assert!(matches!(poll(&mut buffered, &count), Poll::Ready(Ok(_))));
    drop(first);
    let third = submit(&world, b"3", Durability::Os).unwrap();
    let receipt = third.wait(Duration::from_secs(1)).unwrap();
    assert_eq!(receipt.durability, Durability::Os);
    drop(second);
    assert_eq!(world.store().snapshot().in_flight, 0);
}

// P1
#[test]
fn a_close_answers_all_who_wait() {
    let mut world = World::opened(small_config());
    let count = Arc::new(Count::default());
    let mut pending = submit(&world, b"closed", Durability::Durable).unwrap();
    assert!(poll(&mut pending, &count).is_pending());
    world.store.take().unwrap().close().unwrap();
    assert!(count.0.load(SeqCst) > 0);
    assert!(matches!(poll(&mut pending, &count), Poll::Ready(Ok(_))));
}

// P1
#[test]
fn tasks_on_many_threads_are_all_woken() {
    const TASKS: u64 = 16;
    let scratch = Scratch::new("tasks");
    let mut config = Config::new(scratch.path("store"));
    config.segment_bytes = Bytes::kib(64);
    let store = HintStore::open(config).unwrap();
    let submitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for task in 0..TASKS {
            let (store, submitted) = (&store, &submitted);
            scope.spawn(move || {
                let begun = SystemClock.boot();
                let mut turn = task;
                while SystemClock.boot().since(begun) < Duration::from_secs(1) {
                    turn += 1;
                    let level = if turn.is_multiple_of(3) {
                        Durability::Os
                    } else {
                        Durability::Durable
                    };
                    let to = target(u128::from(turn % 3));
                    let hint = Hint::new(to, SystemClock.wall(), LONG, b"a task's");
                    let pending = store.submit(hint, level).unwrap();
                    submitted.fetch_add(1, SeqCst);
                    if turn.is_multiple_of(7) {
                        drop(pending);
                        continue;
                    }
                    assert!(block_on(pending).unwrap().durability >= level);
                }
            });
        }
    });
    let books = store.ledger();
    assert_eq!(books.pending(), submitted.load(SeqCst), "{books:?}");
    assert_eq!(store.snapshot().in_flight, 0);
    store.close().unwrap();
}
