//! Ten thousand targets: what they cost while nothing happens, what they take of memory, and how
//! long it takes to open their sealed segments, beside a bare open, pread and close of each.
//!
//! `cargo run --release -p hintstore-benches --example targets [TARGETS] [IDLE_SECONDS]`
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]
#![expect(
    clippy::disallowed_methods,
    reason = "what measures the engine stands outside of it"
)]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use hintstore::{
    Bytes, Clock as _, Config, Delivery, Durability, Hint, HintStore, Page, SystemClock, TargetId,
};
use hintstore_benches::{Folder, Result};

/// A line of a file under /proc/self, as a number.
fn proc(file: &str, line: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let of = text.lines().find_map(|text| text.strip_prefix(line));
    let number = of.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// User and system time of this process, in ticks of a hundredth of a second.
fn cpu() -> u64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let tick = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    };
    tick(11) + tick(12)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or(f64::NAN, Duration::as_secs_f64)
}

/// Notes when each target has its first hint, and leaves it at that.
struct Note(Arc<Mutex<Vec<Instant>>>);

impl Delivery for Note {
    fn deliver(&self, page: Page) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Instant::now());
        drop(seen);
        page.retry();
    }
}

/// All come up at once, in the order of their ids: how long the first hint of each takes.
fn come_up(store: &HintStore, targets: u64) -> Result<()> {
    let seen = Arc::<Mutex<Vec<Instant>>>::default();
    store.deliver_by(Arc::new(Note(seen.clone())))?;
    let mut said = Vec::new();
    for target in 0..targets {
        said.push(Instant::now());
        store.target(TargetId::from_u128(target.into())).up();
    }
    let count = || seen.lock().unwrap_or_else(PoisonError::into_inner).len();
    while count() < said.len() {
        thread::sleep(Duration::from_millis(1));
    }
    store.stop_delivery(Duration::from_secs(60));
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let took = said.iter().zip(&*seen).map(|(said, seen)| *seen - *said);
    let mut took: Vec<Duration> = took.collect();
    took.sort_unstable();
    println!(
        "{targets} targets come up at once: the first hint of one comes after {:.3} s, of the last to get one after {:.3} s",
        took.get(took.len() / 2)
            .map_or(f64::NAN, Duration::as_secs_f64),
        took.last().map_or(f64::NAN, Duration::as_secs_f64),
    );
    Ok(())
}

fn main() -> Result<()> {
    let number = |at, default| {
        std::env::args()
            .nth(at)
            .map_or(Ok(default), |text| text.parse())
    };
    let (targets, idle) = (number(1, 10_000)?, number(2, 60)?);
    let folder = Folder::new("targets")?;
    // Little memory for slabs, so that what is measured is what is beside them.
    let config = || {
        Config::new(folder.path()).with(|config| {
            config.memory = Bytes::mib(1);
            config.hint_bytes_max = Bytes::kib(64);
            config.start_jitter = Duration::ZERO;
        })
    };
    let store = HintStore::open(config())?;
    let anonymous = || proc("smaps_rollup", "Anonymous:");
    let before = anonymous();
    for target in 0..targets {
        let payload = [7; 200];
        let life = Duration::from_secs(864_000);
        let id = TargetId::from_u128(target.into());
        let hint = Hint::new(id, SystemClock.wall(), life, &payload);
        store
            .append(hint, Durability::Buffered)
            .map_err(|error| error.to_string())?;
    }
    for target in 0..targets {
        store.target(TargetId::from_u128(target.into())).sync()?;
    }
    thread::sleep(Duration::from_secs(3));
    println!(
        "{targets} targets with an open segment each: {} bytes of memory for each, {} files open",
        (anonymous().saturating_sub(before) << 10) / targets,
        fs::read_dir("/proc/self/fd")?.count(),
    );
    let idle_for = |seconds| {
        let (used, reads) = (cpu(), proc("io", "syscr: "));
        thread::sleep(Duration::from_secs(seconds));
        let used = cpu() - used;
        (used, proc("io", "syscr: ") - reads)
    };
    // Reading these figures takes some reads itself.
    let (_, own) = idle_for(0);
    let (used, reads) = idle_for(idle);
    println!(
        "idle for {idle} s: {used} ticks of 10 ms, {} reads",
        reads - own
    );
    come_up(&store, targets)?;
    store.close()?;

    let names: Vec<_> = fs::read_dir(folder.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "hints"))
        .collect();
    let mut bare = Vec::new();
    let mut whole = Vec::new();
    let mut memory = 0;
    for _ in 0..5 {
        let begun = Instant::now();
        for name in &names {
            let file = File::open(name)?;
            let mut bytes = [0; 4096];
            let _read = file.read_at(&mut bytes, 0)?;
        }
        bare.push(begun.elapsed());
        let before = anonymous();
        let begun = Instant::now();
        let store = HintStore::open(config())?;
        whole.push(begun.elapsed());
        memory = (anonymous().saturating_sub(before) << 10) / targets;
        store.close()?;
    }
    let ratio = median(whole) / median(bare);
    println!(
        "opening {} sealed segments: {ratio:.1} times a bare open, pread and close of each; \
         {memory} bytes of memory for each target and its segment",
        names.len()
    );
    Ok(())
}
