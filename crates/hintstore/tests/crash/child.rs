//! The process that is stopped: threads that do everything at once, and say so.

use std::{
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

use hintstore::{
    Bytes, Clock as _, Compact, Config, Durability, Hint, HintStore, Namespace, SystemClock,
    TargetId, Truncate, UnixMillis, Verdict,
};
use hintstore_sim::Random;

use crate::word::{Accepted, Word};

pub(crate) const TARGETS: u8 = 3;
pub(crate) const NAMESPACES: u8 = 4;

/// Longer than a run takes, and short enough that some die while it does.
const LONG: Duration = Duration::from_hours(240);

pub(crate) fn target(number: u8) -> TargetId {
    TargetId::from_u128(u128::from(number) + 1)
}

pub(crate) fn namespace(number: u8) -> Namespace {
    Namespace::from_u128(u128::from(number) + 1)
}

/// A payload that says which hint it is of, and that is checked in full.
pub(crate) fn payload(number: u64) -> Vec<u8> {
    let mut text = format!("{number} ").into_bytes();
    let length = text.len() + (number % 900) as usize;
    text.resize(length, number as u8);
    text
}

/// The number of a payload.
pub(crate) fn number_of(payload: &[u8]) -> u64 {
    let digits: Vec<u8> = payload
        .iter()
        .copied()
        .take_while(u8::is_ascii_digit)
        .collect();
    String::from_utf8(digits).unwrap().parse().unwrap()
}

/// Rolls, merges, retires and syncs all the time.
pub(crate) fn config(directory: &Path) -> Config {
    let mut config = Config::new(directory);
    config.segment_bytes = Bytes::kib(64);
    config.flush_interval = Duration::from_millis(1);
    config.sync_interval = Duration::from_millis(10);
    config.page_bytes = Bytes::kib(4);
    config.checkpoint_holes_max = 4;
    config.retry_delay = Duration::ZERO;
    config.descriptors_max = 16;
    config.dead_letter_bytes = Bytes::kib(64);
    config.hint_window = None;
    config
}

/// One write, so that a line is said or not.
fn say(word: &Word) {
    let line = format!("{word}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}

pub(crate) fn run(directory: &Path, seed: u64) {
    hintstore::install_guard().unwrap();
    // A power cut ends it too: an open that fails then is none that is waited for.
    let Ok(store) = HintStore::open(config(directory)) else {
        return park();
    };
    println!("ready");
    let random = |number| Random::new(seed ^ number);
    // Numbers that no other run has.
    let numbers = AtomicU64::new((seed & u64::from(u32::MAX)) << 20);
    thread::scope(|scope| {
        let (store, numbers) = (&store, &numbers);
        for number in 0..2 {
            scope.spawn(move || append(store, numbers, random(number)));
            scope.spawn(move || deliver(store, random(10 + number)));
        }
        scope.spawn(move || operate(store, random(20)));
    });
}

/// Waits to be killed.
fn park() {
    loop {
        thread::park();
    }
}

fn append(store: &HintStore, numbers: &AtomicU64, mut random: Random) {
    loop {
        let number = numbers.fetch_add(1, SeqCst);
        let (to, of) = (
            random.below(TARGETS.into()),
            random.below(NAMESPACES.into()),
        );
        let lives = if random.one_in(8) {
            Duration::from_millis(random.below(400))
        } else {
            LONG
        };
        let level = match random.below(4) {
            0 => Durability::Buffered,
            1 | 2 => Durability::Os,
            _ => Durability::Durable,
        };
        let (created, payload) = (SystemClock.wall(), payload(number));
        let hint =
            Hint::new(target(to as u8), created, lives, &payload).namespace(namespace(of as u8));
        match store.append(hint, level) {
            Ok(receipt) => say(&Word::Accepted(Accepted {
                number,
                target: to as u8,
                namespace: of as u8,
                created: created.get(),
                deadline: created.get() + i64::try_from(lives.as_millis()).unwrap(),
                sequence: receipt.sequence.get(),
                level: receipt.durability,
            })),
            // Dead, fenced, or the disk is gone.
            Err(_) => thread::park_timeout(Duration::from_millis(1)),
        }
    }
}

fn deliver(store: &HintStore, mut random: Random) {
    loop {
        let page = store
            .target(target(random.below(TARGETS.into()) as u8))
            .page();
        let Ok(Some(page)) = page else {
            thread::park_timeout(Duration::from_millis(1));
            continue;
        };
        let (mut ends, mut retries, mut rejects) = (Vec::new(), Vec::new(), Vec::new());
        let read = page.with(|page| {
            for hint in page.hints() {
                let (sequence, number) = (hint.key.sequence, number_of(hint.body.payload));
                match random.below(10) {
                    0..4 => retries.push(sequence),
                    4 => {
                        rejects.push(sequence);
                        ends.push(number);
                    }
                    _ => ends.push(number),
                }
            }
        });
        if read.is_err() || random.one_in(10) {
            // Not all of it was there, or the receiver went away.
            continue;
        }
        for number in ends {
            say(&Word::Ends(number));
        }
        let _gone = page.answer_each(|hint| match hint.key.sequence {
            one if retries.contains(&one) => Verdict::Retry,
            one if rejects.contains(&one) => Verdict::Reject,
            _ => Verdict::Delivered,
        });
    }
}

fn operate(store: &HintStore, mut random: Random) {
    loop {
        let (to, of) = (
            random.below(TARGETS.into()) as u8,
            random.below(NAMESPACES.into()) as u8,
        );
        match random.below(12) {
            0 => {
                let before = UnixMillis::new(SystemClock.wall().get() - 100);
                let word = |done| Word::Fence {
                    namespace: of,
                    before: before.get(),
                    done,
                };
                say(&word(false));
                if store.fence(namespace(of), before).is_ok() {
                    say(&word(true));
                }
            }
            1 => {
                let only = random.one_in(2).then_some(of);
                let what = Truncate::all()
                    .target(target(to))
                    .namespace(only.map(namespace));
                say(&Word::Truncate {
                    target: to,
                    namespace: only,
                });
                if let Ok(done) = store.truncate(&what) {
                    let up_to = done.iter().map(|done| done.up_to.get()).max();
                    say(&Word::Truncated {
                        target: to,
                        namespace: only,
                        up_to: up_to.unwrap_or(0),
                    });
                }
            }
            2 => drop(store.sweep()),
            3 => drop(store.compact(&Compact::everything())),
            4 | 5 => drop(store.checkpoint()),
            6 | 7 => {
                let word = |done| Word::Sync { target: to, done };
                say(&word(false));
                if store.target(target(to)).sync().is_ok() {
                    say(&word(true));
                }
            }
            _ => {
                let mut config = store.config();
                config.page_bytes = Bytes::new(1024 + random.below(8192));
                config.descriptors_max = 4 + random.below(16) as usize;
                drop(store.reconfigure(|now| *now = config));
            }
        }
        thread::park_timeout(Duration::from_millis(random.below(6)));
    }
}
