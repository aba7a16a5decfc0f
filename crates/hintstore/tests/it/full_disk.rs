//! A disk that is really full: a small tmpfs, and ext4 in a file.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use hintstore::{
    Bytes, Cap, Clock as _, Config, Durability, Hint, HintStore, Refusal, SystemClock, TargetId,
};

use crate::mount::{self, Mounted};

const TARGETS: u128 = 3;

fn target(number: u128) -> TargetId {
    TargetId::from_u128(number + 1)
}

/// Appends from several threads until each was refused for space some times; gives the numbers that
/// were acknowledged.
fn fill(store: &HintStore, numbers: &AtomicU64) -> BTreeSet<u64> {
    let all = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for to in 0..TARGETS {
            let all = &all;
            scope.spawn(move || {
                let (mut refused, mut accepted) = (0, false);
                while refused < 50 {
                    let number = numbers.fetch_add(1, SeqCst);
                    let mut payload = number.to_string().into_bytes();
                    payload.resize(5000, b' ');
                    let life = Duration::from_hours(240);
                    let hint = Hint::new(target(to), SystemClock.wall(), life, &payload);
                    if let Ok(receipt) = store.append(hint, Durability::Durable) {
                        assert_eq!(receipt.durability, Durability::Durable);
                        all.lock().unwrap().insert(number);
                        accepted = true;
                        continue;
                    }
                    refused += 1;
                    if !accepted {
                        // What was just left may be entered once more: for a moment.
                        thread::park_timeout(Duration::from_millis(100));
                    }
                }
            });
        }
    });
    all.into_inner().unwrap()
}

fn drain(store: &HintStore) -> BTreeSet<u64> {
    let mut heard = BTreeSet::new();
    for to in 0..TARGETS {
        while let Some(page) = store.target(target(to)).page().unwrap() {
            for hint in page.hints() {
                let text = std::str::from_utf8(hint.body.payload).unwrap();
                heard.insert(text.trim().parse().unwrap());
            }
            page.delivered().unwrap();
        }
    }
    store.checkpoint().unwrap();
    heard
}

fn full(directory: &Path, floor: u64) {
    let config = || {
        Config::new(directory).with(|config| {
            config.disk.total = Some(Bytes::new(u64::MAX));
            config.disk.target = Some(Bytes::new(u64::MAX));
            config.disk.free_floor = Some(Bytes::new(floor));
            config.segment_bytes = Bytes::kib(512);
            config.append_timeout = Duration::from_millis(200);
        })
    };
    let numbers = AtomicU64::new(0);
    let mut store = HintStore::open(config()).unwrap();
    for round in 0..3 {
        let acknowledged = fill(&store, &numbers);
        assert!(!acknowledged.is_empty(), "round {round}");
        let device = Refusal::Full { cap: Cap::Device };
        let snapshot = store.snapshot();
        assert!(
            snapshot.refused.get(device) > 0,
            "round {round}: {:?}",
            snapshot.refused
        );
        // Opening needs no space either.
        if round == 1 {
            drop(store.close());
            store = HintStore::open(config()).unwrap();
        }
        let heard = drain(&store);
        let lost: Vec<_> = acknowledged.difference(&heard).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        // It is left again, by itself, within a moment of the last segment's end.
        let emptied = (0..100).any(|_| {
            store.target(target(0)).sync().unwrap();
            store.checkpoint().unwrap();
            let left = store.refusing().is_none();
            if !left {
                thread::park_timeout(Duration::from_millis(100));
            }
            left
        });
        assert!(emptied, "round {round}: {:?}", store.snapshot());
    }
    store.close().unwrap();
}

fn on(kind: &str) {
    match Mounted::new(kind, "full", if kind == "tmpfs" { 16 } else { 32 }) {
        Ok(mounted) => {
            full(&mounted.at.join("to-the-brim"), 0);
            fs::remove_dir_all(mounted.at.join("to-the-brim")).unwrap();
            full(&mounted.at.join("floor"), 2 << 20);
        }
        Err(why) => mount::skipped(kind, &why),
    }
}

#[test]
fn a_small_tmpfs_fills_up_under_load_and_is_left_again() {
    on("tmpfs");
}

#[test]
fn a_small_ext4_fills_up_under_load_and_is_left_again() {
    on("ext4");
}
