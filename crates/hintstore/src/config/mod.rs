//! What a store can be told. `docs/configuration.md` lists and argues it all.

mod keys;
#[cfg(feature = "toml")]
mod text;

use std::{path::PathBuf, sync::Arc, time::Duration};

use hintstore_env::{Clock, OsStorage, Runner, Storage, SystemClock, Threads};
use hintstore_format::{expiry::Policy, journal::Record};
use hintstore_writer::{Bytes, WriterConfig};

use crate::DiskConfig;

pub use keys::ConfigError;

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
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory. Made where it is not there; best on a partition of its own.
    pub directory: PathBuf,
    /// Settings of the write path.
    pub writer: WriterConfig,
    /// What the store may take of the disk.
    pub disk: DiskConfig,
    /// A target whose oldest undelivered hint was accepted longer ago takes no more; `None` for a
    /// target that may be away for ever.
    pub hint_window: Option<Duration>,
    /// What expires, besides by what each hint says itself.
    pub expiry: Policy,
    /// Hints that are dead already are taken all the same: for imports, which somebody may want to
    /// judge at another time.
    pub take_expired: bool,
    /// What was acknowledged is checkpointed at least this often: what a crash can repeat.
    pub checkpoint_interval: Duration,
    /// A page holds about this many bytes of hints.
    pub page_bytes: Bytes,
    /// How long hints rest that are to be retried; the target as well, where it took none of a page.
    pub retry_delay: Duration,
    /// A checkpoint names no more ranges of hints below its position than about this: beyond, hints
    /// that wait for a retry are moved into a deferred segment.
    pub checkpoint_holes_max: usize,
    /// How often segments are looked at for expiry.
    pub sweep_interval: Duration,
    /// Sealed segments are mapped, where [`crate::install_guard`] was called.
    pub map: bool,
    /// Hint files that are kept open at once, beyond those that are read or written at the moment. Never
    /// more than three quarters of what the process may have open, whose soft limit is raised to the hard
    /// one: [`crate::Snapshot::descriptors_max`] says what is in force.
    pub descriptors_max: usize,
    /// Refuse a directory whose file system cannot sync directories (some network and user-space ones):
    /// whether the name of a new file survives a power cut is up to it. Else that is only told, by
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
        Self {
            directory: directory.into(),
            writer: WriterConfig::default(),
            disk: DiskConfig::default(),
            hint_window: Some(Duration::from_hours(3)),
            expiry: Policy::default(),
            take_expired: false,
            checkpoint_interval: Duration::from_secs(1),
            page_bytes: Bytes::kib(512),
            retry_delay: Duration::from_secs(1),
            checkpoint_holes_max: 64,
            sweep_interval: Duration::from_mins(1),
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

    /// What a crash may cost at most, as the journal is told.
    pub(crate) fn windows(&self) -> Record {
        Record::Windows {
            unflushed_bytes: self.writer.memory.get(),
            unsynced_bytes: self.writer.unsynced_bytes_max.get(),
        }
    }
}

/// What a store stands on: exchanged in simulations.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The disk; it decides where the directory is.
    pub storage: Arc<dyn Storage>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who runs the background steps.
    pub runner: Arc<dyn Runner>,
}

impl Environment {
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
