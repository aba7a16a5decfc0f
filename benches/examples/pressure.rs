//! Appends under pressure: a thousand active targets beside sixteen, and how long a call takes while
//! the disk gets 300 MB/s.
//!
//! `cargo run --release -p hintstore-benches --example pressure [SECONDS]`
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]
#![expect(
    clippy::disallowed_methods,
    reason = "what measures the engine stands outside of it"
)]
#![expect(clippy::cast_sign_loss, reason = "ranks and shares are positive")]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use hintstore::{Bytes, Clock as _, Config, Durability, Hint, HintStore, SystemClock, TargetId};
use hintstore_benches::{Folder, Result};

const THREADS: u64 = 4;
const GC_GRACE: Duration = Duration::from_hours(240);

/// Hints a second that four threads append to `targets` targets; the first get the most.
fn rate(targets: u64, seconds: u64) -> Result<f64> {
    let folder = Folder::new("crowd")?;
    let config = Config::new(folder.path()).with(|config| {
        config.disk.total = Some(Bytes::mib(64 << 10));
        config.disk.target = Some(Bytes::mib(64 << 10));
    });
    let store = HintStore::open(config)?;
    let (stop, appended) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (store, stop, appended) = (&store, &stop, &appended);
            scope.spawn(move || {
                let (payload, mut random) = ([7; 256], number + 1);
                let mut count = 0;
                while !stop.load(Relaxed) {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    // Zipf with exponent one, by its inverse: rank = targets^u.
                    let unit = (random >> 11) as f64 / (1u64 << 53) as f64;
                    let rank = (targets as f64).powf(unit) as u128;
                    let target = TargetId::from_u128(rank);
                    let hint = Hint::new(target, SystemClock.wall(), GC_GRACE, &payload);
                    count += u64::from(store.append(hint, Durability::Buffered).is_ok());
                }
                appended.fetch_add(count, Relaxed);
            });
        }
        thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Relaxed);
    });
    let rate = appended.load(Relaxed) as f64 / begun.elapsed().as_secs_f64();
    store.close()?;
    Ok(rate)
}

/// How long each of the calls took that hand over 300 MB/s, in order.
fn calls(seconds: u64) -> Result<Vec<Duration>> {
    const SIZE: usize = 1024;
    let folder = Folder::new("paced")?;
    let config = Config::new(folder.path()).with(|config| {
        config.disk.total = Some(Bytes::mib(64 << 10));
        config.disk.target = Some(Bytes::mib(64 << 10));
        config.sync_interval = Duration::from_secs(1);
    });
    let store = HintStore::open(config)?;
    let payload = [7; SIZE];
    let target = TargetId::from_u128(1);
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(seconds) {
        // A burst a millisecond: 300 KB.
        let due = Duration::from_millis(took.len() as u64 * SIZE as u64 / 300_000);
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            thread::sleep(early);
        }
        for _ in 0..300_000 / SIZE {
            let hint = Hint::new(target, SystemClock.wall(), GC_GRACE, &payload);
            let at = Instant::now();
            let taken = store.append(hint, Durability::Buffered);
            took.push(at.elapsed());
            taken.map_err(|error| error.to_string())?;
        }
    }
    store.close()?;
    took.sort_unstable();
    Ok(took)
}

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let mut ratios = Vec::new();
    for round in 0..5 {
        let (few, many) = if round % 2 == 0 {
            let few = rate(16, seconds)?;
            (few, rate(1000, seconds)?)
        } else {
            let many = rate(1000, seconds)?;
            (rate(16, seconds)?, many)
        };
        println!(
            "round {round}: 16 targets {few:.0}/s, 1,000 targets {many:.0}/s, ratio {:.2}",
            many / few
        );
        ratios.push(many / few);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "1,000 targets beside 16: median ratio {:.2}",
        ratios.get(2).copied().unwrap_or(f64::NAN)
    );
    let took = calls(seconds * 2)?;
    let at = |part: f64| {
        took.get((took.len() as f64 * part) as usize)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "an append at 300 MB/s, {} calls: p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        took.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        took.last().copied().unwrap_or_default()
    );
    Ok(())
}
