//! Appends by 64 tasks on two workers: `submit`, beside a hand-written thread that takes what the tasks send
//! it and appends it in batches. A timer of 2 ms runs beside them, and says how late it was at most.
//!
//! `cargo run --release -p hintstore-benches --example tasks [SECONDS]`
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "what measures the engine stands outside of it"
)]

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use hintstore::{
    AppendResult, Clock as _, Config, Durability, Hint, HintStore, SystemClock, TargetId,
    UnixMillis,
};
use hintstore_benches::{Folder, Result};
use tokio::sync::oneshot;

const TASKS: u128 = 64;
const TARGETS: u128 = 3;
const ROUNDS: usize = 5;
const PAYLOAD: [u8; 200] = [7; 200];
const LIFE: Duration = Duration::from_hours(240);

type Asked = (TargetId, UnixMillis, oneshot::Sender<AppendResult>);

/// A thread that appends what it is sent, as much as there is at once.
fn batching(store: HintStore, level: Durability) -> mpsc::Sender<Asked> {
    let (into, out) = mpsc::channel::<Asked>();
    thread::spawn(move || {
        while let Ok(first) = out.recv() {
            let all: Vec<Asked> = std::iter::once(first).chain(out.try_iter()).collect();
            let hints: Vec<Hint<'_>> = all
                .iter()
                .map(|(to, created, _)| Hint::new(*to, *created, LIFE, &PAYLOAD))
                .collect();
            let outcomes = store.append_batch(&hints, level);
            for ((_, _, answer), outcome) in all.into_iter().zip(outcomes) {
                // A task that is gone wants no answer.
                let _gone = answer.send(outcome).is_err();
            }
        }
    });
    into
}

/// How late a timer of 2 ms was at most.
async fn timer(until: Instant) -> Duration {
    let mut latest = Duration::ZERO;
    while Instant::now() < until {
        let due = Instant::now() + Duration::from_millis(2);
        tokio::time::sleep_until(due.into()).await;
        latest = latest.max(Instant::now().saturating_duration_since(due));
    }
    latest
}

/// Hints a second, and how late the timer was.
fn round(level: Durability, by_thread: bool, time: Duration) -> Result<(f64, Duration)> {
    let folder = Folder::new("tasks")?;
    let store = HintStore::open(Config::new(folder.path()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let sender = by_thread.then(|| batching(store.clone(), level));
    let (count, latest) = runtime.block_on(async {
        let until = Instant::now() + time;
        let beside = tokio::spawn(timer(until));
        let mut tasks = Vec::new();
        for task in 0..TASKS {
            let (store, sender) = (store.clone(), sender.clone());
            tasks.push(tokio::spawn(async move {
                let to = TargetId::from_u128(1 + task % TARGETS);
                let mut count = 0_u64;
                while Instant::now() < until {
                    let created = SystemClock.wall();
                    let done = if let Some(sender) = &sender {
                        let (answer, answered) = oneshot::channel();
                        drop(sender.send((to, created, answer)));
                        answered.await.is_ok_and(|outcome| outcome.is_ok())
                    } else {
                        let hint = Hint::new(to, created, LIFE, &PAYLOAD);
                        match store.submit(hint, level) {
                            Ok(pending) => pending.await.is_ok(),
                            Err(_) => false,
                        }
                    };
                    count += u64::from(done);
                }
                count
            }));
        }
        let mut all = 0;
        for task in tasks {
            all += task.await.unwrap_or(0);
        }
        (all, beside.await.unwrap_or(Duration::MAX))
    });
    drop(sender);
    runtime.shutdown_timeout(Duration::from_secs(5));
    store.close()?;
    Ok((count as f64 / time.as_secs_f64(), latest))
}

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(2), |text| text.parse())?;
    let time = Duration::from_secs(seconds);
    for level in [Durability::Os, Durability::Durable] {
        let (mut ratios, mut lates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (by_thread, _) = round(level, true, time)?;
            let (ours, late) = round(level, false, time)?;
            ratios.push(ours / by_thread);
            lates.push(late);
        }
        ratios.sort_by(f64::total_cmp);
        lates.sort_unstable();
        println!(
            "{level:?}: {:.2} of the rate through a batching thread ({:.2} to {:.2}); a timer of 2 ms late by {:.1?} at most",
            ratios[ROUNDS / 2],
            ratios[0],
            ratios[ROUNDS - 1],
            lates[ROUNDS / 2],
        );
    }
    Ok(())
}
