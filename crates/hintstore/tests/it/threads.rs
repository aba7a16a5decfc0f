//! Stress on real threads, with the books asserted all the time: what runs one step at a time sees no
//! race. Each test is a case that lost or counted twice under some interleaving.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use hintstore::{
    Bytes, Clock as _, Compact, Config, Durability, Error, Hint, HintRef, HintStore, Namespace,
    Page, Sequence, SystemClock, TargetId, Truncate, UnixMillis, Verdict,
};

use crate::harness::{LONG, Scratch, target};

/// How long each case is put under stress, where `STRESS_SECONDS` says nothing else.
const STRESS: Duration = Duration::from_millis(1500);

fn stress_time() -> Duration {
    let seconds = std::env::var("STRESS_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().unwrap());
    seconds.map_or(STRESS, Duration::from_secs)
}

fn now() -> UnixMillis {
    SystemClock.wall()
}

fn hint(to: TargetId, payload: &[u8]) -> Hint<'_> {
    Hint::new(to, now(), LONG, payload)
}

/// Rolls, merges and retires all the time.
fn restless(scratch: &Scratch) -> Config {
    let mut config = Config::new(scratch.path("store"));
    config.segment_bytes = Bytes::kib(16);
    config.flush_interval = Duration::from_millis(1);
    config.page_bytes = Bytes::kib(2);
    config.checkpoint_holes_max = 2;
    config.retry_delay = Duration::ZERO;
    config.hint_window = None;
    config
}

/// Books that are right at every moment, also while others change them.
fn assert_balanced(store: &HintStore) {
    let books = store.ledger();
    assert_eq!(books.excess(), 0, "{books:?}");
    let lost = books.ends.get(hintstore::End::Damaged) + books.ends.get(hintstore::End::Lost);
    assert_eq!(
        lost, 0,
        "nothing was damaged and nothing crashed: {books:?}"
    );
}

/// Runs each job in a loop on a thread of its own, and looks at the books all the time.
fn stress(store: &HintStore, jobs: &[&(dyn Fn(&HintStore) + Sync)]) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        for job in jobs {
            scope.spawn(move || {
                while !stop.load(SeqCst) {
                    job(store);
                }
            });
        }
        // A failed look must end the others, or the scope waits without end.
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let begun = SystemClock.boot();
            while SystemClock.boot().since(begun) < stress_time() {
                assert_balanced(store);
                thread::park_timeout(Duration::from_millis(5));
            }
        }));
        stop.store(true, SeqCst);
        if let Err(panic) = looked {
            std::panic::resume_unwind(panic);
        }
    });
}

fn page_of(store: &HintStore, to: TargetId) -> Option<Page> {
    store.target(to).page().unwrap()
}

/// Delivers what is left, and holds the books against it, then and after opening again.
fn finish(store: HintStore, config: Config, targets: impl IntoIterator<Item = TargetId>) {
    let mut left = 0;
    let pending = store.ledger().pending();
    for to in targets {
        store.target(to).sync().unwrap();
        while let Some(page) = page_of(&store, to) {
            left += page.len() as u64;
            page.delivered().unwrap();
        }
    }
    assert_balanced(&store);
    let books = store.ledger();
    assert_eq!((left, books.pending()), (pending, 0), "{books:?}");
    assert_eq!(store.snapshot().health.step_panics, []);
    store.close().unwrap();
    let store = HintStore::open(config).unwrap();
    assert_eq!(store.ledger(), books);
}

// P8
#[test]
fn books_retire_race() {
    let scratch = Scratch::new("retire-race");
    let mut config = restless(&scratch);
    config.segment_bytes = Bytes::kib(4);
    config.page_bytes = Bytes::kib(1);
    let store = HintStore::open(config.clone()).unwrap();
    let to = target(0);
    let append = |store: &HintStore| {
        store.append(hint(to, &[7; 700]), Durability::Os).unwrap();
    };
    let deliver = |store: &HintStore| match page_of(store, to) {
        Some(page) => page.delivered().unwrap(),
        None => thread::yield_now(),
    };
    let checkpoint = |store: &HintStore| store.checkpoint().unwrap();
    stress(&store, &[&append, &deliver, &checkpoint]);
    finish(store, config, [to]);
}

#[test]
fn truncate_deferred_race() {
    let scratch = Scratch::new("truncate-race");
    let config = restless(&scratch);
    let store = HintStore::open(config.clone()).unwrap();
    let to = target(0);
    // All up to here was discarded before now.
    let gone = AtomicU64::new(0);
    let turn = AtomicU64::new(0);
    let append_and_truncate = |store: &HintStore| {
        for _ in 0..100 {
            store.append(hint(to, &[7; 100]), Durability::Os).unwrap();
        }
        let what = Truncate::all().target(to);
        let done = store.truncate(&what).unwrap();
        gone.fetch_max(done[0].up_to.get(), SeqCst);
    };
    let deliver = |store: &HintStore| {
        let gone = gone.load(SeqCst);
        let Some(page) = page_of(store, to) else {
            return thread::yield_now();
        };
        page.answer_each(|hint| {
            let sequence = hint.key.sequence;
            assert!(sequence.get() > gone, "{sequence} was discarded before");
            if turn.fetch_add(1, SeqCst).is_multiple_of(2) {
                Verdict::Retry
            } else {
                Verdict::Delivered
            }
        })
        .unwrap();
    };
    stress(&store, &[&append_and_truncate, &deliver]);
    finish(store, config, [to]);
}

// P2
#[test]
fn two_callers() {
    /// The copies of what has ended are compared with each page: a target has no more hints.
    const HINTS: u64 = 1000;
    let scratch = Scratch::new("two-callers");
    let config = restless(&scratch);
    let store = HintStore::open(config.clone()).unwrap();
    let ended: Mutex<HashMap<TargetId, HashSet<Sequence>>> = Mutex::default();
    let ended = || ended.lock().unwrap_or_else(PoisonError::into_inner);
    let accepted = AtomicU64::new(0);
    let to = |number: u64| target(u128::from(number / HINTS));
    let append = |store: &HintStore| {
        let to = to(accepted.load(SeqCst));
        let books = store.ledger().targets;
        let of = books.iter().find(|books| books.target == to);
        if of.is_some_and(|books| books.pending() > HINTS / 4) {
            return thread::park_timeout(Duration::from_millis(1));
        }
        store.append(hint(to, &[7; 100]), Durability::Os).unwrap();
        accepted.fetch_add(1, SeqCst);
    };
    let turn = AtomicU64::new(0);
    let deliver = |store: &HintStore| {
        let turns = turn.fetch_add(1, SeqCst);
        // Now and then of the one before, for what is left there.
        let back = if turns.is_multiple_of(4) { HINTS } else { 0 };
        let to = to(accepted.load(SeqCst).saturating_sub(back));
        let before = ended().get(&to).cloned().unwrap_or_default();
        let Some(page) = page_of(store, to) else {
            return thread::yield_now();
        };
        let mut delivered = Vec::new();
        page.answer_each(|hint| {
            let sequence = hint.key.sequence;
            assert!(!before.contains(&sequence), "{sequence} was acknowledged");
            if turn.fetch_add(1, SeqCst).is_multiple_of(2) {
                return Verdict::Retry;
            }
            delivered.push(sequence);
            Verdict::Delivered
        })
        .unwrap();
        ended().entry(to).or_default().extend(delivered);
    };
    stress(&store, &[&append, &deliver, &deliver, &deliver, &deliver]);
    let targets = (0..=accepted.load(SeqCst) / HINTS).map(|number| target(number.into()));
    finish(store, config, targets);
}

// P8
#[test]
fn everything_at_once_keeps_the_books() {
    let scratch = Scratch::new("everything");
    let mut config = restless(&scratch);
    config.descriptors_max = 8;
    config.dead_letter_bytes = Bytes::kib(64);
    let store = HintStore::open(config.clone()).unwrap();
    let targets: Vec<TargetId> = (0..3).map(target).collect();
    let turn = AtomicU64::new(0);
    let next = || turn.fetch_add(1, SeqCst);
    let append = |store: &HintStore| {
        let n = next();
        let level = [Durability::Buffered, Durability::Os, Durability::Durable][(n % 3) as usize];
        let payload = vec![n as u8; (n * 37 % 900) as usize];
        let lives = if n.is_multiple_of(9) {
            Duration::from_millis(n % 50)
        } else {
            LONG
        };
        let to = targets[(n / 3) as usize % targets.len()];
        let hint = Hint::new(to, now(), lives, &payload)
            .namespace(Namespace::from_u128(u128::from(n % 4)));
        // Refused where it is dead or fenced already.
        let _refused_or_not = store.append(hint, level);
    };
    let deliver = |store: &HintStore| {
        let n = next();
        let Some(page) = page_of(store, targets[n as usize % targets.len()]) else {
            return thread::yield_now();
        };
        let mut at = n;
        let verdict = |_: &HintRef<'_>| {
            at += 1;
            match at % 11 {
                0..4 => Verdict::Retry,
                4 => Verdict::Reject,
                _ => Verdict::Delivered,
            }
        };
        if n.is_multiple_of(13) {
            drop(page);
        } else {
            page.answer_each(verdict).unwrap();
        }
    };
    let operate = |store: &HintStore| {
        let n = next();
        match n % 7 {
            6 => {
                // Of the first opening of the store.
                let one = |number: u64| Sequence::new((1 << 40) + n * number % 5_000);
                let hints: Vec<_> = (0..50).map(|number| one(number)..=one(number)).collect();
                drop(
                    store
                        .discard(targets[n as usize % targets.len()], &hints)
                        .unwrap(),
                );
            }
            0 => store.sweep().unwrap(),
            5 => {
                // What changes while it is rewritten is left as it is.
                let done = store.compact(&Compact::everything()).unwrap();
                let changed = |why: &str| why.contains("changed") || why.contains("damaged");
                assert!(done.skipped.iter().all(|(_, why)| changed(why)), "{done:?}");
            }
            1 => store
                .fence(Namespace::from_u128(u128::from(n % 4)), now())
                .unwrap(),
            2 => store.checkpoint().unwrap(),
            3 => {
                let change = |config: &mut Config| {
                    config.page_bytes = Bytes::new(1024 + n % 4096);
                    config.descriptors_max = 4 + n as usize % 16;
                };
                store.reconfigure(change).unwrap();
            }
            _ => {
                let what = Truncate::all()
                    .target(targets[n as usize % targets.len()])
                    .namespace(
                        n.is_multiple_of(2)
                            .then_some(Namespace::from_u128(u128::from(n % 4))),
                    );
                drop(store.truncate(&what).unwrap());
            }
        }
        thread::park_timeout(Duration::from_millis(3));
    };
    stress(&store, &[&append, &append, &deliver, &deliver, &operate]);
    for to in &targets {
        store.target(*to).sync().unwrap();
        while let Some(page) = page_of(&store, *to) {
            page.delivered().unwrap();
        }
    }
    assert_balanced(&store);
    assert_eq!(store.snapshot().health.step_panics, []);
    let books = store.ledger();
    assert_eq!(books.pending(), 0, "{books:?}");
    store.close().unwrap();
    let again = HintStore::open(config).unwrap();
    assert_eq!(again.ledger(), books);
}

#[test]
fn panic_descriptors() {
    let scratch = Scratch::new("descriptors");
    let mut config = Config::new(scratch.path("store"));
    config.descriptors_max = 16;
    config.flush_interval = Duration::from_millis(2);
    config.sync_interval = Duration::from_millis(20);
    config.preallocate = false;
    let store = HintStore::open(config).unwrap();
    let turn = AtomicU64::new(0);
    let some = || target(u128::from(turn.fetch_add(7919, SeqCst) % 200));
    let append = |store: &HintStore| {
        store
            .append(hint(some(), &[7; 300]), Durability::Os)
            .unwrap();
    };
    let deliver = |store: &HintStore| {
        if let Some(page) = page_of(store, some()) {
            page.delivered().unwrap();
        }
    };
    stress(&store, &[&append, &append, &append, &deliver]);
    assert_eq!(store.snapshot().health.step_panics, []);
    store.close().unwrap();
}

#[test]
fn close_window() {
    let scratch = Scratch::new("close-window");
    for round in 0..3 {
        let mut config = Config::new(scratch.path(&format!("store-{round}")));
        config.unsynced_bytes_max = Bytes::kib(256);
        // However slow the disk is: a full window refuses nothing here.
        config.append_timeout = Duration::from_mins(1);
        let store = HintStore::open(config.clone()).unwrap();
        let accepted = AtomicU64::new(0);
        let append = |store: &HintStore| {
            let n = accepted.fetch_add(1, SeqCst);
            let hint = hint(target(u128::from(n * 31 % 8)), &[7; 4000]);
            store.append(hint, Durability::Buffered).unwrap();
        };
        let begun = SystemClock.boot();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while SystemClock.boot().since(begun) < Duration::from_millis(400) {
                        append(&store);
                    }
                });
            }
        });
        store.close().unwrap();
        let store = HintStore::open(config).unwrap();
        assert_eq!(store.ledger().pending(), accepted.load(SeqCst));
        assert_eq!(store.open_report().lost_at_most, None);
    }
    let _kept_until_here = Arc::new(scratch);
}

#[test]
fn who_waits_for_a_page_is_let_go_by_a_close() {
    let scratch = Scratch::new("let-go");
    let mut config = restless(&scratch);
    config.checkpoint_holes_max = 1;
    for _ in 0..20 {
        let store = HintStore::open(config.clone()).unwrap();
        let to = target(0);
        for _ in 0..50 {
            store.append(hint(to, &[7; 100]), Durability::Os).unwrap();
        }
        let begun = SystemClock.boot();
        thread::scope(|scope| {
            scope.spawn(|| {
                while let Ok(Some(page)) = store.target(to).page() {
                    let mut turn = 0;
                    drop(page.answer_each(|_| {
                        turn += 1;
                        match turn % 2 {
                            0 => Verdict::Delivered,
                            _ => Verdict::Retry,
                        }
                    }));
                }
            });
            thread::park_timeout(Duration::from_millis(5));
            store.clone().close().unwrap();
        });
        assert!(SystemClock.boot().since(begun) < Duration::from_secs(30));
    }
}

#[test]
fn a_shutdown_takes_what_comes_back_in_time() {
    let scratch = Scratch::new("shutdown");
    let store = HintStore::open(Config::new(scratch.path("store"))).unwrap();
    let to = target(0);
    for _ in 0..10 {
        store.append(hint(to, &[7; 100]), Durability::Os).unwrap();
    }
    let page = store.target(to).page().unwrap().unwrap();
    thread::scope(|scope| {
        let shutdown = scope.spawn(|| store.shutdown(Duration::from_secs(20)).unwrap());
        while store.refusing() != Some(hintstore::Refusal::Closed) {
            thread::yield_now();
        }
        // No further page, and what is out can be answered.
        assert!(store.target(to).page().is_ok_and(|page| page.is_none()));
        page.delivered().unwrap();
        assert_eq!(shutdown.join().unwrap().pages_out, 0);
    });
    drop(store);
    let store = HintStore::open(Config::new(scratch.path("store"))).unwrap();
    assert_eq!(store.ledger().pending(), 0);
}

/// Answers at once, and takes its time before it returns.
#[derive(Clone, Default)]
struct Slow {
    has_begun: Arc<AtomicBool>,
    has_ended: Arc<AtomicBool>,
}

impl hintstore::Delivery for Slow {
    fn deliver(&self, page: Page) {
        page.delivered().unwrap();
        self.has_begun.store(true, SeqCst);
        thread::park_timeout(Duration::from_millis(300));
        self.has_ended.store(true, SeqCst);
    }
}

/// Not even one that was about to send a page.
#[test]
fn a_stopped_delivery_is_called_no_more() {
    let scratch = Scratch::new("stopped");
    let store = HintStore::open(Config::new(scratch.path("store"))).unwrap();
    let to = target(1);
    store.append(hint(to, b"one"), Durability::Os).unwrap();
    let slow = Slow::default();
    store.deliver_by(Arc::new(slow.clone())).unwrap();
    store.target(to).up();
    while !slow.has_begun.load(SeqCst) {
        thread::yield_now();
    }
    assert_eq!(store.stop_delivery(Duration::ZERO).pages_out, 1);
    assert_eq!(store.stop_delivery(Duration::from_mins(1)).pages_out, 0);
    assert!(slow.has_ended.load(SeqCst));
}

#[test]
fn a_weak_handle_keeps_nothing_open() {
    let scratch = Scratch::new("weak");
    let config = Config::new(scratch.path("store"));
    let store = HintStore::open(config.clone()).unwrap();
    let weak = store.downgrade();
    assert!(weak.upgrade().is_some());
    drop(store);
    assert!(weak.upgrade().is_none());
    // The directory is free again.
    HintStore::open(config).unwrap().close().unwrap();
}

#[test]
fn threads_have_the_names_of_their_steps() {
    let scratch = Scratch::new("names");
    let _store = HintStore::open(Config::new(scratch.path("store"))).unwrap();
    let names = || -> HashSet<String> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
            Some(name.ok()?.trim().to_owned())
        };
        tasks.filter_map(name).collect()
    };
    for step in ["flush", "sync", "seal", "checkpoint", "defer", "compact"] {
        let name = format!("hint {step}");
        // A thread gives itself its name when it first runs.
        let mut tries = 0;
        while !names().contains(&name) {
            tries += 1;
            assert!(tries < 1000, "{name}: {:?}", names());
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_close_answers_twice_the_same() {
    let scratch = Scratch::new("own-store");
    let one = HintStore::open(Config::new(scratch.path("one"))).unwrap();
    let two = HintStore::open(Config::new(scratch.path("two"))).unwrap();
    let to = target(0);
    one.append(hint(to, b"a"), Durability::Os).unwrap();
    let page = one.target(to).page().unwrap().unwrap();
    page.delivered().unwrap();
    let again = one.clone();
    one.close().unwrap();
    again.close().unwrap();
    let (first, second) = (two.clone(), two);
    let answers = thread::scope(|scope| {
        let first = scope.spawn(|| first.close());
        let second = scope.spawn(|| second.close());
        [first.join().unwrap(), second.join().unwrap()]
    });
    let is_right = |answer: &Result<(), Error>| matches!(answer, Ok(()) | Err(Error::Closing));
    assert!(answers.iter().all(is_right), "{answers:?}");
    assert!(answers.iter().any(Result::is_ok), "{answers:?}");
}

/// A runner of an embedder's own, from what the crate makes public.
#[derive(Debug, Default)]
struct OwnRunner {
    stopping: Arc<AtomicBool>,
    running: Mutex<Vec<(hintstore::env::Waker, thread::JoinHandle<()>)>>,
}

impl hintstore::env::Runner for OwnRunner {
    fn start(
        &self,
        step: Arc<dyn hintstore::env::Step>,
        waker: hintstore::env::Waker,
        first: hintstore::env::Next,
    ) -> std::io::Result<()> {
        let (stopping, woken) = (self.stopping.clone(), waker.clone());
        let thread = thread::Builder::new().spawn(move || {
            let (mut seen, mut next) = (0, first);
            while !stopping.load(SeqCst) {
                let at_most = match next {
                    hintstore::env::Next::After(duration) => Some(duration),
                    hintstore::env::Next::WhenWoken => None,
                };
                woken.signal().wait(seen, at_most);
                seen = woken.signal().count();
                next = step.step(SystemClock.boot());
            }
        })?;
        let mut running = self.running.lock().unwrap();
        running.push((waker, thread));
        Ok(())
    }

    fn wait_until(
        &self,
        signal: &hintstore::env::Signal,
        deadline: Option<hintstore::Boot>,
        done: &mut dyn FnMut() -> bool,
    ) -> bool {
        loop {
            let seen = signal.count();
            if done() {
                return true;
            }
            let left = deadline.map(|deadline| deadline.since(SystemClock.boot()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            signal.wait(seen, left);
        }
    }

    fn stop(&self) {
        self.stopping.store(true, SeqCst);
        for (waker, thread) in self.running.lock().unwrap().drain(..) {
            waker.wake();
            thread.join().unwrap();
        }
    }

    fn panics(&self) -> Vec<hintstore::env::StepPanics> {
        Vec::new()
    }
}

#[test]
fn an_embedder_can_bring_a_runner_of_its_own() {
    let scratch = Scratch::new("own-runner");
    let config = Config::new(scratch.path("store"));
    let storage = Arc::new(hintstore::OsStorage::new(&config.directory));
    let runner = Arc::new(OwnRunner::default());
    let environment = hintstore::Environment::new(storage, Arc::new(SystemClock), runner);
    let store = HintStore::open_in(environment, config).unwrap();
    store
        .append(hint(target(0), b"a"), Durability::Durable)
        .unwrap();
    let page = store.target(target(0)).page().unwrap().unwrap();
    page.delivered().unwrap();
    store.close().unwrap();
}

// P6
#[test]
fn an_append_with_a_timeout_of_its_own_waits_for_a_place() {
    let scratch = Scratch::new("places");
    let config = Config::new(scratch.path("store")).with(|config| {
        config.in_flight_target_max = 2;
    });
    let store = HintStore::open(config).unwrap();
    let taken = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let hint = hint(target(0), b"a hint");
                    let timeout = Duration::from_secs(60);
                    store
                        .append_within(hint, Durability::Durable, timeout)
                        .unwrap();
                    taken.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert_eq!(taken.load(SeqCst), 320);
    let snapshot = store.snapshot();
    assert_eq!((snapshot.refused.total(), snapshot.in_flight), (0, 0));
    assert_balanced(&store);
}
