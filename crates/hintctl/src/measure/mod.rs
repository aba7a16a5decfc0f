//! What the benches compare: hintstore, and a naive log that does the same.
//!
//! Naive is a file a target, written through an 8 KiB `BufWriter` behind a mutex as length,
//! CRC-32C and payload, and replayed through a map with every checksum verified. Figures move
//! with the machine by the hour; only ratios within one run say anything.

pub mod report;

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write as _},
    path::Path,
    sync::Mutex,
    time::Duration,
};

use hintstore::{
    Clock as _, Config, Durability, Hint, HintStore, OsStorage, Receipt, Storage as _, SystemClock,
    TargetId,
};

/// What went wrong in a bench.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Payloads that do not compress, cut out of one pool.
#[derive(Debug)]
pub struct Payloads {
    pool: Vec<u8>,
    length: usize,
}

impl Payloads {
    /// Payloads of this length.
    pub fn new(length: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        Self {
            pool: (0..4 << 20).map(next).collect(),
            length,
        }
    }

    /// The payload of this number.
    pub fn get(&self, number: usize) -> &[u8] {
        let from = number * 64 % (self.pool.len() - self.length);
        self.pool.get(from..from + self.length).unwrap_or_default()
    }
}

/// A naive append.
#[derive(Debug)]
pub struct Naive(Mutex<BufWriter<File>>);

impl Naive {
    /// A new file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Self(Mutex::new(BufWriter::new(file))))
    }

    /// Appends one.
    pub fn append(&self, payload: &[u8]) -> Result<()> {
        let crc = crc32c::crc32c(payload);
        let mut head = (payload.len() as u64).rotate_left(32);
        head |= u64::from(crc);
        let mut raw = [0; 8];
        for (at, byte) in raw.iter_mut().enumerate() {
            *byte = (head >> (56 - 8 * at)) as u8;
        }
        let mut file = self.0.lock().map_err(|_poisoned| "poisoned")?;
        file.write_all(&raw)?;
        file.write_all(payload)?;
        Ok(())
    }

    /// Hands all to the kernel.
    pub fn flush(&self) -> Result<()> {
        self.0.lock().map_err(|_poisoned| "poisoned")?.flush()?;
        Ok(())
    }
}

/// A naive replay; gives how many there were.
pub fn naive_replay(path: &Path) -> Result<usize> {
    hintstore::install_guard()?;
    let (folder, name) = (path.parent(), path.file_name());
    let (folder, name) = folder.zip(name).ok_or("no file")?;
    let file = OsStorage::new(folder).open(&name.to_string_lossy(), false)?;
    let map = file.map(file.info()?.length)?;
    let (mut rest, mut count) = (&map[..], 0);
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let word = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0u32, |word, byte| word << 8 | u32::from(*byte))
        };
        let (length, crc) = head.split_at(4);
        let payload = after.get(..word(length) as usize).ok_or("cut short")?;
        if crc32c::crc32c(payload) != word(crc) {
            return Err("a wrong checksum".into());
        }
        std::hint::black_box(payload);
        count += 1;
        rest = after.get(payload.len()..).unwrap_or_default();
    }
    Ok(count)
}

/// The target of all benches with one.
pub const TARGET: TargetId = TargetId::from_u128(1);

/// A store for benches: nothing waits for a sync unless it asks for one.
pub fn open(directory: &Path) -> Result<HintStore> {
    hintstore::install_guard()?;
    let mut config = Config::new(directory);
    config.unsynced_bytes_max = hintstore::Bytes::mib(4096);
    config.sync_interval = Duration::from_secs(3600);
    config.checkpoint_interval = Duration::from_secs(3600);
    uncapped(&mut config);
    Ok(HintStore::open(config)?)
}

/// What is measured is not how much of this machine's disk hints may take.
pub fn uncapped(config: &mut Config) {
    config.disk.total = Some(hintstore::Bytes::new(u64::MAX));
    config.disk.target = Some(hintstore::Bytes::new(u64::MAX));
}

/// Appends `count` payloads, and waits until they are with the kernel.
pub fn append(store: &HintStore, payloads: &Payloads, count: usize) -> Result<()> {
    let created = SystemClock.wall();
    let gc_grace = Duration::from_secs(864_000);
    let mut last: Option<Receipt> = None;
    for number in 0..count {
        let hint = Hint::new(TARGET, created, gc_grace, payloads.get(number));
        let receipt = store
            .append(hint, Durability::Buffered)
            .map_err(|error| error.to_string())?;
        last = Some(receipt);
    }
    if let Some(last) = last {
        store
            .wait(last, Durability::Os)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Replays all there is; gives how many there were.
pub fn replay(store: &HintStore) -> Result<usize> {
    let mut count = 0;
    while let Some(page) = store.target(TARGET).page()? {
        for hint in page.hints() {
            std::hint::black_box(hint.body.payload);
            count += 1;
        }
        page.delivered()?;
    }
    Ok(count)
}
