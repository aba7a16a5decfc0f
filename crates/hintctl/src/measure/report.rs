//! One report: hintstore, a naive log and the machine's limits in alternating rounds.
//!
//! Rates move with the machine by the hour, so each round measures all of them, one after the
//! other, and what counts is the ratio within a round: its median and its spread over the rounds.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use hintstore::{
    Clock as _, Config, Durability, Hint, HintStore, Scope, SystemClock, TargetId, install_guard,
};
use rustix::time::{ClockId, clock_gettime};

use super::{Naive, Payloads, Result, TARGET, append, naive_replay, open, replay, uncapped};

/// What was measured, round by round.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Bytes of payload, or of whatever it is, in a second.
    pub rates: Vec<f64>,
    /// Seconds of CPU for a second of time.
    pub cpu: Vec<f64>,
    /// What it is to be compared with: the place of that series in the report.
    pub beside: Option<usize>,
}

/// Bytes on the disk for a byte of payload.
#[derive(Clone, Debug)]
pub struct Space {
    /// Of what.
    pub name: String,
    /// The ratio.
    pub ratio: f64,
}

/// All that was measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rates, in the order in which a round takes them.
    pub series: Vec<Series>,
    /// Space.
    pub space: Vec<Space>,
    /// The greatest private memory seen behind an append, in KiB.
    pub memory_kib: u64,
}

/// The median, the least and the greatest of some numbers.
pub fn spread(numbers: &[f64]) -> (f64, f64, f64) {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    (
        at(sorted.len() / 2),
        at(0),
        at(sorted.len().saturating_sub(1)),
    )
}

impl Report {
    /// The ratios of a series to the one that it is beside, round by round.
    pub fn ratios(&self, series: &Series) -> Vec<f64> {
        let beside = series.beside.and_then(|at| self.series.get(at));
        let rates = beside.map_or(&[][..], |beside| &beside.rates);
        let pairs = series.rates.iter().zip(rates);
        pairs.map(|(ours, theirs)| ours / theirs).collect()
    }

    fn place(&mut self, name: &str, beside: Option<&str>) -> usize {
        let of = |name: &str| self.series.iter().position(|series| series.name == name);
        let beside = beside.and_then(of);
        of(name).unwrap_or_else(|| {
            self.series.push(Series {
                name: name.to_owned(),
                beside,
                ..Series::default()
            });
            self.series.len() - 1
        })
    }

    /// Runs and times something that moves `bytes` bytes.
    fn time(
        &mut self,
        name: &str,
        beside: Option<&str>,
        bytes: u64,
        run: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let cpu = cpu();
        #[expect(clippy::disallowed_methods, reason = "it is what measures time")]
        let begun = Instant::now();
        run()?;
        let took = begun.elapsed().as_secs_f64();
        let used = self::cpu().saturating_sub(cpu).as_secs_f64();
        let place = self.place(name, beside);
        if let Some(series) = self.series.get_mut(place) {
            series.rates.push(bytes as f64 / took);
            series.cpu.push(used / took);
        }
        Ok(())
    }

    fn space(&mut self, name: &str, on_disk: u64, payload: u64) {
        if self.space.iter().all(|space| space.name != name) {
            self.space.push(Space {
                name: name.to_owned(),
                ratio: on_disk as f64 / payload as f64,
            });
        }
    }
}

/// Processor time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn private_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn on_disk(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|end| end == "hints") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Measures in a new folder in `directory`, which is removed at the end. Each of `rounds` rounds moves a
/// few times `bytes`. Calls `tell` with what is done next.
pub fn measure(
    directory: &Path,
    rounds: usize,
    bytes: u64,
    mut tell: impl FnMut(usize, &str),
) -> Result<Report> {
    install_guard()?;
    let folder = directory.join(format!("hintstore-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut report = Report::default();
    let mut done = Ok(());
    for round in 0..rounds {
        done = one_round(&mut report, &folder, bytes, |what| tell(round, what));
        if done.is_err() {
            break;
        }
    }
    std::fs::remove_dir_all(&folder)?;
    done.map(|()| report)
}

fn one_round(
    report: &mut Report,
    folder: &Path,
    bytes: u64,
    mut tell: impl FnMut(&str),
) -> Result<()> {
    tell("the machine");
    limits(report, folder, bytes)?;
    for length in [256, 1024] {
        tell(&format!("append and replay of {length} B"));
        plain(report, folder, length, bytes)?;
    }
    tell("durable");
    durable(report, folder)
}

fn limits(report: &mut Report, folder: &Path, bytes: u64) -> Result<()> {
    let piece = vec![7_u8; 1 << 20];
    let mut copy = vec![0_u8; 1 << 20];
    let pieces = bytes >> 20;
    report.time("copy in memory", None, bytes, || {
        for _ in 0..pieces {
            copy.copy_from_slice(std::hint::black_box(&piece));
            std::hint::black_box(&copy);
        }
        Ok(())
    })?;
    report.time("CRC-32C", None, bytes, || {
        for _ in 0..pieces {
            std::hint::black_box(crc32c::crc32c(std::hint::black_box(&piece)));
        }
        Ok(())
    })?;
    let path = folder.join("limit");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true);
    let file = file.open(&path)?;
    report.time("write of 1 MiB pieces", None, bytes, || {
        for at in 0..pieces {
            file.write_all_at(&piece, at << 20)?;
        }
        Ok(())
    })?;
    report.time("fdatasync of these", None, bytes, || Ok(file.sync_data()?))?;
    report.time("write and fdatasync of 4 KiB, 100 times", None, 100, || {
        for at in 0..100 {
            let small = piece.get(..4096).unwrap_or_default();
            file.write_all_at(small, at * 4096)?;
            file.sync_data()?;
        }
        Ok(())
    })?;
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(())
}

fn plain(report: &mut Report, folder: &Path, length: usize, bytes: u64) -> Result<()> {
    let payloads = Payloads::new(length);
    let count = bytes as usize / length;
    let name = |verb: &str, of: &str| format!("{verb} {length} B, {of}");
    let path = folder.join("naive");
    let log = Naive::create(&path)?;
    let naive = name("append", "naive");
    report.time(&naive, None, bytes, || {
        for number in 0..count {
            log.append(payloads.get(number))?;
        }
        log.flush()
    })?;
    let directory = folder.join("store");
    let store = open(&directory)?;
    let ours = name("append", "hintstore");
    report.time(&ours, Some(&naive), bytes, || {
        append(&store, &payloads, count)
    })?;
    report.memory_kib = report.memory_kib.max(private_kib());
    store.disable(Scope::All);
    let refused = name("append", "refused");
    report.time(&refused, Some(&ours), bytes, || {
        let created = SystemClock.wall();
        for number in 0..count {
            let life = Duration::from_secs(864_000);
            let hint = Hint::new(TARGET, created, life, payloads.get(number));
            if store.append(hint, Durability::Buffered).is_ok() {
                return Err("it was taken".into());
            }
        }
        Ok(())
    })?;
    store.close()?;
    report.space(&format!("{length} B, in bulk"), on_disk(&directory)?, bytes);
    let naive = name("replay", "naive");
    let all = |found: usize| {
        let whole = found == count;
        whole
            .then_some(())
            .ok_or_else(|| format!("{found} of {count}").into())
    };
    report.time(&naive, None, bytes, || all(naive_replay(&path)?))?;
    let store = open(&directory)?;
    let ours = name("replay", "hintstore");
    report.time(&ours, Some(&naive), bytes, || all(replay(&store)?))?;
    store.close()?;
    std::fs::remove_file(&path)?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// What is durable when the call returns: in batches for several targets, and one by one.
fn durable(report: &mut Report, folder: &Path) -> Result<()> {
    let payloads = Payloads::new(256);
    let directory = folder.join("durable");
    let config = Config::new(&directory).with(uncapped);
    let store = HintStore::open(config)?;
    let hint = |target: u128, number: usize| {
        let life = Duration::from_secs(864_000);
        let target = TargetId::from_u128(target);
        Hint::new(target, SystemClock.wall(), life, payloads.get(number))
    };
    let batches = 100;
    let bytes = batches * 128 * 256;
    report.time("Durable, 256 B, batches of 128", None, bytes, || {
        for batch in 0..batches {
            let hints: Vec<_> = (0..128)
                .map(|n| hint(u128::from(batch % 4) + 10, n))
                .collect();
            let taken = store.append_batch(&hints, Durability::Durable);
            if taken.iter().any(std::result::Result::is_err) {
                return Err("a batch was not durable".into());
            }
        }
        Ok(())
    })?;
    let beside = "write and fdatasync of 4 KiB, 100 times";
    report.time("Durable, one by one, 100 times", Some(beside), 100, || {
        for number in 0..100 {
            let done = store.append(hint(1, number), Durability::Durable);
            done.map_err(|error| error.to_string())?;
        }
        Ok(())
    })?;
    store.close()?;
    let mut lone = 0;
    for entry in std::fs::read_dir(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(&TARGET.to_string()) {
            lone += entry.metadata()?.len();
        }
    }
    report.space("256 B, one by one at Durable", lone, 100 * 256);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
