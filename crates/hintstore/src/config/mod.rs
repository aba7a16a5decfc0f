//! The settings of a store. `docs/configuration.md` lists and argues it all.

mod keys;
#[cfg(feature = "toml")]
mod text;

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use hintstore_env::{Clock, OsStorage, Runner, Storage, SystemClock, Threads};
use hintstore_format::{Namespace, expiry::Policy, journal::Record};
use hintstore_writer::{Bytes, WriterConfig};

use crate::DiskConfig;

pub use keys::{ConfigError, Setting};

/// Settings of a store: begin with [`Config::new`], set what is to differ, directly or by
/// [`Config::with`].
///
/// ```
/// # use std::time::Duration;
/// # use hintstore::{Bytes, Config};
/// let config = Config::new("/var/lib/mynode/hints")
///     .with(|config| config.disk.total = Some(Bytes::mib(512)))
///     .with(|config| config.hint_window = Some(Duration::from_hours(6)));
/// assert!(config.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "settings, each by its name: none is an argument"
)]
pub struct Config {
    /// The directory. Made where it is not there; best on a partition of its own.
    pub directory: PathBuf,
    /// All slabs together take no more memory than this, however many targets there are.
    pub memory: Bytes,
    /// A larger hint is refused.
    pub hint_bytes_max: Bytes,
    /// A segment is rolled when it is this long.
    pub segment_bytes: Bytes,
    /// A segment of at least [`Config::roll_bytes_min`] is rolled at this age.
    pub roll_age: Duration,
    /// See [`Config::roll_age`].
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
    /// What the store may take of the disk.
    pub disk: DiskConfig,
    /// A target whose oldest undelivered hint was accepted longer ago takes no more; `None` for a
    /// target that may be away without end.
    pub hint_window: Option<Duration>,
    /// Hints for targets that are not among the members ([`crate::HintStore::set_members`]) are discarded when
    /// the oldest of them was accepted longer ago; `None` to keep them.
    pub orphan_age_max: Option<Duration>,
    /// No hint lives longer than this, whatever it says itself.
    pub max_lifetime: Option<Duration>,
    /// `gc_grace` as it is now, of namespaces where it is known: a hint lives for the least of this and
    /// what it says itself.
    pub gc_grace_now: Vec<(Namespace, Duration)>,
    /// Namespaces whose receivers keep the write of the greatest version: of hints with the same
    /// [`crate::Hint::collapse`] key, compaction keeps the newest.
    pub last_write_wins: Vec<Namespace>,
    /// Hints that are dead already are taken all the same: for imports, which somebody may want to
    /// judge at another time.
    pub take_expired: bool,
    /// What was acknowledged is checkpointed at least this often: what a crash can repeat.
    pub checkpoint_interval: Duration,
    /// A page holds about this many bytes of hints.
    pub page_bytes: Bytes,
    /// How long hints rest that are to be retried; the target as well, where it took none of a page.
    pub retry_delay: Duration,
    /// A target that takes nothing of page after page rests for twice as long each time, up to this.
    pub retry_delay_max: Duration,
    /// A hint that makes each page fail that it is in is looked for by halves. One that has failed alone so often,
    /// while its target took others, is rejected: it hangs the target, or kills it.
    pub poison_attempts: usize,
    /// A target that was said to be up gets its first page after some part of this: not all who hold hints for it
    /// begin at once.
    pub start_jitter: Duration,
    /// A page that is answered later than this halves the next one: the target is slow, or has much to do.
    pub page_time: Duration,
    /// Hints that are delivered in the background ([`crate::HintStore::deliver_by`]) give way to the live writes of
    /// their target: they go as often as its answers say that it has time to spare, from little on.
    pub give_way: bool,
    /// Bytes of hints a second that go to one target; `None` for as many as it takes.
    pub deliver_target_bytes_per_second: Option<Bytes>,
    /// The same of all targets together.
    pub deliver_bytes_per_second: Option<Bytes>,
    /// A hint whose namespace its target does not know is sent again until the write is older than this, then it
    /// is rejected.
    pub unknown_namespace_age_max: Duration,
    /// A checkpoint names no more ranges of hints below its position than about this: beyond, hints
    /// that wait for a retry are moved into a deferred segment.
    pub checkpoint_holes_max: usize,
    /// How often segments are looked at for expiry.
    pub sweep_interval: Duration,
    /// How often segments are looked at that are worth to be rewritten, because much in them is dead or they
    /// are small; `None` for never, except by [`crate::HintStore::compact`].
    pub compact_interval: Option<Duration>,
    /// Compaction reads and writes about this many bytes a second, together; `None` for as many as it can.
    pub compact_bytes_per_second: Option<Bytes>,
    /// The level of zstd, 1 to 19, by which compaction compresses sealed segments; `None` leaves them as they
    /// are. What is compressed already is read at any setting.
    pub compress_level: Option<u64>,
    /// Sealed segments are mapped, where [`crate::install_guard`] was called.
    pub map: bool,
    /// Hint files that are kept open at once, beyond those that are read or written at the moment. Never
    /// more than three quarters of what the process may have open, whose soft limit is raised to the hard
    /// one: [`crate::Snapshot::descriptors_max`] says what is in force.
    pub descriptors_max: usize,
    /// Refuse a directory whose file system cannot sync directories (some network and user-space ones):
    /// whether the name of a new file survives a power cut is up to it. Else that is only reported, by
    /// [`crate::OpenReport::lacks`] and [`crate::Snapshot::health`].
    pub require_directory_sync: bool,
    /// Pages of one target, and of all, that are out for delivery at once: beyond, delivery waits.
    pub pages_out_max: usize,
    /// No more than this is kept of hints that targets rejected for good.
    pub dead_letter_bytes: Bytes,
}

impl Config {
    /// A store in `directory`, with the defaults.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let writer = WriterConfig::default();
        Self {
            directory: directory.into(),
            memory: writer.memory,
            hint_bytes_max: writer.hint_bytes_max,
            segment_bytes: writer.segment_bytes,
            roll_age: writer.roll_age,
            roll_bytes_min: writer.roll_bytes_min,
            roll_age_max: writer.roll_age_max,
            flush_interval: writer.flush_interval,
            sync_interval: writer.sync_interval,
            sync_threads: writer.sync_threads,
            unsynced_bytes_max: writer.unsynced_bytes_max,
            append_timeout: writer.append_timeout,
            in_flight_target_max: writer.in_flight_target_max,
            in_flight_max: writer.in_flight_max,
            preallocate: writer.preallocate,
            disk: DiskConfig::default(),
            hint_window: Some(Duration::from_hours(3)),
            orphan_age_max: None,
            max_lifetime: None,
            gc_grace_now: Vec::new(),
            last_write_wins: Vec::new(),
            take_expired: false,
            checkpoint_interval: Duration::from_secs(1),
            page_bytes: Bytes::kib(512),
            retry_delay: Duration::from_secs(1),
            retry_delay_max: Duration::from_mins(1),
            poison_attempts: 16,
            start_jitter: Duration::from_millis(500),
            page_time: Duration::from_secs(1),
            give_way: true,
            deliver_target_bytes_per_second: None,
            deliver_bytes_per_second: None,
            unknown_namespace_age_max: Duration::from_hours(12),
            checkpoint_holes_max: 64,
            sweep_interval: Duration::from_mins(1),
            compact_interval: Some(Duration::from_mins(10)),
            compact_bytes_per_second: Some(Bytes::mib(32)),
            compress_level: None,
            map: true,
            descriptors_max: 1 << 14,
            require_directory_sync: false,
            pages_out_max: 64,
            dead_letter_bytes: Bytes::mib(64),
        }
    }
}

impl Config {
    /// Changes settings, in a chain of calls.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The settings of the write path.
    pub(crate) fn writer(&self) -> WriterConfig {
        WriterConfig {
            memory: self.memory,
            hint_bytes_max: self.hint_bytes_max,
            segment_bytes: self.segment_bytes,
            roll_age: self.roll_age,
            roll_bytes_min: self.roll_bytes_min,
            roll_age_max: self.roll_age_max,
            flush_interval: self.flush_interval,
            sync_interval: self.sync_interval,
            sync_threads: self.sync_threads,
            unsynced_bytes_max: self.unsynced_bytes_max,
            append_timeout: self.append_timeout,
            in_flight_target_max: self.in_flight_target_max,
            in_flight_max: self.in_flight_max,
            preallocate: self.preallocate,
        }
    }

    /// What expires, besides by what each hint says itself.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            max_lifetime: self.max_lifetime,
            gc_grace_now: self.gc_grace_now.clone(),
        }
    }

    /// What a crash may cost at most, as the journal has it.
    pub(crate) fn windows(&self) -> Record {
        Record::Windows {
            unflushed_bytes: self.memory.get(),
            unsynced_bytes: self.unsynced_bytes_max.get(),
        }
    }
}

/// What a store stands on: exchanged in simulations.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Environment {
    /// The disk; it decides where the directory is.
    pub storage: Arc<dyn Storage>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who runs the background steps.
    pub runner: Arc<dyn Runner>,
}

impl Environment {
    /// One of these parts.
    pub fn new(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, runner: Arc<dyn Runner>) -> Self {
        Self {
            storage,
            clock,
            runner,
        }
    }

    /// The operating system.
    pub fn system(config: &Config) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Self {
            storage: Arc::new(OsStorage::new(&config.directory)),
            runner: Arc::new(Threads::new(clock.clone())),
            clock,
        }
    }
}
