//! Appends 10 GiB to 100 targets, replays all of it, and prints the greatest private memory seen.
//!
//! `cargo run --release -p hintstore-benches --example memory [GiB]`
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

use hintstore::{
    Clock as _, Config, Durability, Hint, HintStore, SystemClock, TargetId, install_guard,
};
use hintstore_benches::{Folder, Payloads, Result, uncapped};

const TARGETS: u64 = 100;

/// Private bytes of this process: what it alone holds, mapped files left out.
fn private_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let of = |line: &str| {
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
    };
    text.lines()
        .filter(|line| line.starts_with("Anonymous:"))
        .filter_map(of)
        .sum()
}

fn main() -> Result<()> {
    let gib: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(10), |text| text.parse())?;
    install_guard()?;
    let folder = Folder::new("memory")?;
    let (stop, most) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                most.fetch_max(private_kib(), SeqCst);
                thread::park_timeout(Duration::from_millis(20));
            }
        });
        let done = run(&folder, gib, &most);
        stop.store(true, SeqCst);
        done
    })
}

fn run(folder: &Folder, gib: u64, most: &AtomicU64) -> Result<()> {
    let payloads = Payloads::new(1024);
    let before = private_kib();
    let store = HintStore::open(Config::new(folder.path()).with(uncapped))?;
    let count = gib << 20;
    for number in 0..count {
        let target = TargetId::from_u128((number % TARGETS).into());
        let payload = payloads.get(number as usize);
        let hint = Hint::new(
            target,
            SystemClock.wall(),
            Duration::from_secs(864_000),
            payload,
        );
        store
            .append(hint, Durability::Buffered)
            .map_err(|error| error.to_string())?;
    }
    println!(
        "appended {gib} GiB to {TARGETS} targets: at most {} KiB more",
        peak(most, before)
    );
    store.close()?;
    let store = HintStore::open(Config::new(folder.path()))?;
    let mut replayed = 0;
    for target in 0..TARGETS {
        let target = TargetId::from_u128(target.into());
        while let Some(page) = store.target(target).page()? {
            replayed += page.hints().count() as u64;
            page.delivered()?;
        }
    }
    println!(
        "replayed {replayed} of {count} hints: at most {} KiB more",
        peak(most, before)
    );
    store.close()?;
    Ok(())
}

fn peak(most: &AtomicU64, before: u64) -> u64 {
    most.load(SeqCst).saturating_sub(before)
}
