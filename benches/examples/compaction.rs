//! Compaction beside what bounds it: how fast a store is reclaimed that is mostly dead, how fast compressed
//! segments are replayed, how long an append takes meantime, and what expired segments cost.
//!
//! `cargo run --release -p hintstore-benches --example compaction [MIB]`
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]
#![expect(
    clippy::disallowed_methods,
    reason = "what measures the engine stands outside of it"
)]
#![expect(clippy::cast_sign_loss, reason = "ranks and shares are positive")]

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use hintstore::{
    Bytes, Clock as _, Compact, Config, Durability, End, Hint, HintStore, OsStorage, Storage as _,
    SystemClock, TargetId, UnixMillis,
    raw::reader::{FrameItem, Frames, Item, PreadSource, Walk, inspect},
};
use hintstore_benches::{Folder, Payloads, Result};

const SIZE: usize = 1024;
const MIB: f64 = 1_048_576.0;
const GC_GRACE: Duration = Duration::from_hours(240);
const TARGET: TargetId = TargetId::from_u128(1);

fn config(folder: &Folder) -> Config {
    Config::new(folder.path()).with(|config| {
        config.disk.total = Some(Bytes::mib(64 << 10));
        config.disk.target = Some(Bytes::mib(64 << 10));
        config.hint_window = None;
        config.take_expired = true;
        config.compact_interval = None;
        config.compact_bytes_per_second = None;
    })
}

/// Fills a store in which this share of the hints is dead, hint by hint; gives the bytes a second that it took.
fn fill(folder: &Folder, mib: u64, dead: u64, payload: impl Fn(u64) -> Vec<u8>) -> Result<f64> {
    let store = HintStore::open(config(folder))?;
    let count = mib << 10;
    let begun = Instant::now();
    for number in 0..count {
        let payload = payload(number);
        let is_dead = number * 7 % 10 < dead;
        let created = UnixMillis::new(if is_dead { 1 } else { SystemClock.wall().get() });
        let hint = Hint::new(TARGET, created, GC_GRACE, &payload);
        store.append(hint, Durability::Buffered)?;
    }
    store.target(TARGET).sync()?;
    let rate = (count as usize * SIZE) as f64 / begun.elapsed().as_secs_f64();
    store.close()?;
    Ok(rate)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".hints") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Bytes a second of a bare walk: every block read, every hint's checksum looked at, one thread.
fn walk(folder: &Path) -> Result<f64> {
    let storage = OsStorage::new(folder);
    let (mut bytes, mut hints) = (0, 0u64);
    let begun = Instant::now();
    for name in names(folder)? {
        let file = storage.open(&name, false)?;
        let found = inspect(&*file)?;
        let descriptor = found.descriptor.map_err(|error| error.to_string())?;
        let source = Box::new(PreadSource::sequential(file));
        let (at, end) = (descriptor.length() as u64, found.info.length);
        let mut walk = Walk::new(source, descriptor.segment, at, end);
        while let Some(item) = walk.next_item()? {
            let Item::Block(block) = item else { continue };
            let frames = walk.frames(&block)?;
            let intact = |item: &FrameItem| matches!(item, FrameItem::Intact { .. });
            hints += Frames::new(&block.header, &frames).filter(intact).count() as u64;
            bytes += u64::from(block.header.frames_length);
        }
    }
    if hints == 0 {
        return Err("nothing to walk".into());
    }
    Ok(bytes as f64 / begun.elapsed().as_secs_f64())
}

/// How fast a store is reclaimed, as a part of what reading it and writing what lives of it allow.
fn reclaim(mib: u64, dead: u64) -> Result<f64> {
    let folder = Folder::new("reclaim")?;
    let payloads = Payloads::new(SIZE);
    let append = fill(&folder, mib, dead, |number| {
        payloads.get(number as usize).to_vec()
    })?;
    let walked = walk(folder.path())?;
    let store = HintStore::open(config(&folder))?;
    let begun = Instant::now();
    let done = store.compact(&Compact::everything())?;
    let took = begun.elapsed().as_secs_f64();
    let rate = (mib << 20) as f64 / took;
    let live = (10 - dead) as f64 / 10.0;
    let bound = 1.0 / (1.0 / walked + live / append);
    println!(
        "{dead}0 % dead: {} came free at {:.0} MiB/s; walk {:.0}, append {:.0}, bound {:.0} MiB/s: {:.0} %",
        done.freed(),
        rate / MIB,
        walked / MIB,
        append / MIB,
        bound / MIB,
        100.0 * rate / bound
    );
    store.close()?;
    Ok(rate / bound)
}

/// How fast a compressed store is replayed, as a part of a bare walk that decompresses it.
fn compressed(mib: u64) -> Result<f64> {
    let folder = Folder::new("compressed")?;
    // A quarter of it is noise.
    let noise = Payloads::new(SIZE / 4);
    let payload = |number: u64| {
        let mut payload = noise.get(number as usize).to_vec();
        payload.resize(SIZE, b'a' + (number % 7) as u8);
        payload
    };
    fill(&folder, mib, 0, payload)?;
    let packing = config(&folder).with(|config| config.compress_level = Some(3));
    let store = HintStore::open(packing)?;
    let done = store.compact(&Compact::everything())?;
    store.close()?;
    let walked = walk(folder.path())?;
    let store = HintStore::open(config(&folder))?;
    let begun = Instant::now();
    let mut bytes = 0;
    while let Some(page) = store.target(TARGET).page()? {
        bytes += page.bytes().get();
        page.delivered()?;
    }
    let replayed = bytes as f64 / begun.elapsed().as_secs_f64();
    println!(
        "compressed: {} came free; replay {:.0} MiB/s, bare decompression with checksums {:.0}: {:.0} %",
        done.freed(),
        replayed / MIB,
        walked / MIB,
        100.0 * replayed / walked
    );
    store.close()?;
    Ok(replayed / walked)
}

/// The 99th percentile of an append at 20 MB/s, while compaction runs at its budget, and without it.
fn latency(mib: u64) -> Result<f64> {
    let folder = Folder::new("latency")?;
    let payloads = Payloads::new(SIZE);
    fill(&folder, mib, 9, |number| {
        payloads.get(number as usize).to_vec()
    })?;
    let paced =
        config(&folder).with(|config| config.compact_bytes_per_second = Some(Bytes::mib(32)));
    let store = HintStore::open(paced)?;
    let measure = |done: &AtomicBool, least: Duration| {
        let (begun, mut took) = (Instant::now(), Vec::new());
        while !done.load(Relaxed) || begun.elapsed() < least {
            let due = Duration::from_micros(took.len() as u64 * 50);
            if let Some(early) = due.checked_sub(begun.elapsed()) {
                thread::sleep(early);
            }
            let number = took.len();
            let hint = Hint::new(
                TargetId::from_u128(2),
                SystemClock.wall(),
                GC_GRACE,
                payloads.get(number),
            );
            let at = Instant::now();
            let _taken = store.append(hint, Durability::Os);
            took.push(at.elapsed());
        }
        took.sort_unstable();
        let place = (took.len() as f64 * 0.99) as usize;
        took.get(place).copied().unwrap_or_default()
    };
    let done = AtomicBool::new(true);
    let without = measure(&done, Duration::from_secs(4));
    done.store(false, Relaxed);
    let with = thread::scope(|scope| -> Result<Duration> {
        let (store, done) = (&store, &done);
        let compaction = scope.spawn(move || {
            let compacted = store.compact(&Compact::everything().target(TARGET));
            done.store(true, Relaxed);
            compacted
        });
        let with = measure(done, Duration::ZERO);
        let compacted = match compaction.join() {
            Ok(compacted) => compacted?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        println!("compaction at 32 MiB/s: {} came free", compacted.freed());
        Ok(with)
    })?;
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    println!("append p99 {with:?} with it, {without:?} without: {ratio:.2}");
    store.close()?;
    Ok(ratio)
}

/// What this process has read so far by calls, as the kernel counts it.
fn bytes_read() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    Ok(line.unwrap_or("0").parse()?)
}

/// Bytes that are read to end ten thousand segments in which all is dead.
fn expired() -> Result<u64> {
    const TARGETS: u64 = 10_000;
    let folder = Folder::new("expired")?;
    let store = HintStore::open(config(&folder))?;
    let payload = [7; SIZE];
    for number in 0..TARGETS {
        let target = TargetId::from_u128(u128::from(number) + 1);
        let hint = Hint::new(target, UnixMillis::new(1), GC_GRACE, &payload);
        store.append(hint, Durability::Buffered)?;
    }
    store.close()?;
    let store = HintStore::open(config(&folder))?;
    let before = bytes_read()?;
    store.sweep()?;
    let read = bytes_read()? - before;
    let ended = store.ledger().ended(End::Expired);
    println!(
        "{ended} hints in {TARGETS} segments expired, {} files left: {read} bytes read, {} a segment",
        names(folder.path())?.len(),
        read / TARGETS
    );
    store.close()?;
    Ok(read)
}

fn main() -> Result<()> {
    let mib = std::env::args()
        .nth(1)
        .map_or(Ok(512), |text| text.parse())?;
    for dead in [9, 5] {
        let mut ratios = Vec::new();
        for _ in 0..3 {
            ratios.push(reclaim(mib, dead)?);
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "{dead}0 % dead: median {:.2} of the bound",
            ratios.get(1).copied().unwrap_or(0.0)
        );
    }
    compressed(mib)?;
    latency(mib.min(512))?;
    expired()?;
    Ok(())
}
