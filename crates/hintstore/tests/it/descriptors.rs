//! Descriptors: many targets, few open files.

use std::{path::Path, process::Command};

use hintstore::{Clock as _, Config, Durability, Hint, HintStore, SystemClock};
use hintstore_sim::{Crash, Fault, FaultOn};

use crate::harness::{LONG, Scratch, World, small_config, target};

#[test]
fn more_targets_than_descriptors_lose_nothing() {
    for seed in 0..6 {
        let mut config = small_config();
        config.descriptors_max = 5;
        let mut world = World::opened(config);
        for round in 0..4 {
            for to in 0..40 {
                let level =
                    [Durability::Durable, Durability::Os, Durability::Buffered][(to + round) % 3];
                assert!(world.append(to as u128, 300 * round, level));
            }
            world.runner.advance(std::time::Duration::from_millis(300));
            for to in 0..40 {
                world.deliver(to, |number| number % 5 == 0, |_| false);
            }
        }
        assert!(
            world.disk.open_files() <= 5 + 5,
            "{}",
            world.disk.open_files()
        );
        world.crash(Crash::Power { seed });
        world.open().unwrap();
        world.drain(40);
        world.assert_right();
    }
}

/// The sync before a file is closed fails: the appender gets an error as if it were its own.
#[test]
fn a_sync_that_fails_as_a_file_is_closed_is_not_forgotten() {
    for after in 0..30 {
        let mut config = small_config();
        config.descriptors_max = 3;
        let mut world = World::opened(config);
        world.disk.fail(Fault {
            on: FaultOn::Sync,
            after,
            times: 1,
            error: std::io::ErrorKind::Other,
            name: ".hints",
        });
        for to in 0..12 {
            world.append(to, 400, Durability::Os);
        }
        for to in 0..12 {
            world.append(to, 400, Durability::Durable);
        }
        world.crash(Crash::Power { seed: after });
        world.open().unwrap();
        world.drain(12);
        world.assert_right();
    }
}

/// Descriptors that a process may have in the test below, and how many targets it has.
const LIMIT: u32 = 48;
const TARGETS: u128 = 120;

// P6
#[test]
fn a_process_with_few_descriptors() {
    let scratch = Scratch::new("few-descriptors");
    // In a process of its own, whose limit cannot be raised.
    let script = format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"");
    let done = Command::new("bash")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args([
            "descriptors::with_few_descriptors",
            "--exact",
            "--nocapture",
        ])
        .env("HINTSTORE_FEW_DESCRIPTORS", scratch.path(""))
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn with_few_descriptors() {
    let Some(folder) = std::env::var_os("HINTSTORE_FEW_DESCRIPTORS") else {
        // It is the other test that runs this.
        return;
    };
    let config = Config::new(Path::new(&folder).join("hints"));
    let store = HintStore::open(config.clone()).unwrap();
    let append = |level| {
        for to in 0..TARGETS {
            let hint = Hint::new(target(to), SystemClock.wall(), LONG, b"a");
            store.append(hint, level).unwrap();
        }
    };
    append(Durability::Durable);
    // The embedder takes what is left: whatever the engine opens meets EMFILE, and it has to close one
    // of its own.
    let mut taken = Vec::new();
    while let Ok(pipe) = std::io::pipe() {
        taken.push(pipe);
    }
    append(Durability::Durable);
    for to in (0..TARGETS).map(target) {
        let page = store.target(to).page().unwrap().unwrap();
        assert_eq!(page.len(), 2);
        page.delivered().unwrap();
    }
    append(Durability::Os);
    drop(taken);
    store.close().unwrap();
    let store = HintStore::open(config).unwrap();
    assert!(store.open_report().is_healthy(), "{}", store.open_report());
    let books = store.ledger();
    let all = 3 * TARGETS as u64;
    assert_eq!((books.accepted, books.pending()), (all, all / 3));
}
