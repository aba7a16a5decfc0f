//! The settings of the write path. Each default is argued in `docs/adr/`.

use std::{fmt, num::NonZeroUsize, time::Duration};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(u64);

impl Bytes {
    /// This many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// This many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// As a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Exact, in the largest unit.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = |(shift, _): &&(u32, &str)| self.0 > 0 && self.0.is_multiple_of(1 << shift);
        match units.iter().find(whole) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Settings of the write path.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// All slabs together take no more memory than this, however many targets there are.
    pub memory: Bytes,
    /// A larger hint is refused.
    pub hint_bytes_max: Bytes,
    /// A segment is rolled when it is this long.
    pub segment_bytes: Bytes,
    /// A segment of at least [`WriterConfig::roll_bytes_min`] is rolled at this age.
    pub roll_age: Duration,
    /// See [`WriterConfig::roll_age`].
    pub roll_bytes_min: Bytes,
    /// Any segment is rolled at this age.
    pub roll_age_max: Duration,
    /// A hint waits no longer in memory before it is handed to the kernel.
    pub flush_interval: Duration,
    /// A hint waits no longer in the kernel before it is synced.
    pub sync_interval: Duration,
    /// Files that are synced side by side, at most.
    pub sync_threads: NonZeroUsize,
    /// No more than this is in the kernel unsynced: what goes beyond waits for a sync.
    pub unsynced_bytes_max: Bytes,
    /// An append gives up after this long, unless it is given a deadline of its own.
    pub append_timeout: Duration,
    /// No more hints of one target wait for their level at once.
    pub in_flight_target_max: u64,
    /// No more hints of all targets wait for their level at once.
    pub in_flight_max: u64,
    /// Whether space is reserved ahead of the writes.
    pub preallocate: bool,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            memory: Bytes::mib(64),
            hint_bytes_max: Bytes::mib(16),
            segment_bytes: Bytes::mib(128),
            roll_age: Duration::from_mins(10),
            roll_bytes_min: Bytes::mib(1),
            roll_age_max: Duration::from_hours(1),
            flush_interval: Duration::from_millis(200),
            sync_interval: Duration::from_secs(1),
            sync_threads: NonZeroUsize::MIN.saturating_add(3),
            unsynced_bytes_max: Bytes::mib(256),
            append_timeout: Duration::from_secs(2),
            in_flight_target_max: 1 << 14,
            in_flight_max: 1 << 17,
            preallocate: true,
        }
    }
}
