//! All settings by name: what each is now, and whether it can change while the store is at work.

use std::{fmt, num::NonZeroUsize, time::Duration};

use hintstore_writer::Bytes;

use super::Config;

/// One setting.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// It can change while the store is at work.
    pub(super) live: bool,
    pub(super) get: fn(&Config) -> String,
    #[cfg(feature = "toml")]
    pub(super) give: fn(&Config) -> toml::Value,
    #[cfg(feature = "toml")]
    pub(super) set: fn(&mut Config, &toml::Value) -> Result<(), String>,
}

/// A setting as it is written: `text` reads it.
trait Show {
    fn show(&self) -> String;
}

impl Show for Bytes {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Show for Duration {
    fn show(&self) -> String {
        show_duration(*self)
    }
}

/// Where nothing is a value, it is "none": no bound, or one that the device tells.
impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or("none".to_owned(), Show::show)
    }
}

macro_rules! shown {
    ($($type:ty),+) => {
        $(impl Show for $type {
            fn show(&self) -> String {
                self.to_string()
            }
        })+
    };
}

shown!(bool, u64, usize, NonZeroUsize);

macro_rules! keys {
    ($($name:literal $kind:ident $($path:ident).+;)+) => {
        &[$(Key {
            name: $name,
            live: keys!(@$kind),
            get: |config| config.$($path).+.show(),
            #[cfg(feature = "toml")]
            give: |config| super::text::Give::give(&config.$($path).+),
            #[cfg(feature = "toml")]
            set: |config, value| super::text::Take::take(&mut config.$($path).+, value),
        }),+]
    };
    (@live) => { true };
    (@fixed) => { false };
}

/// In the order of `docs/configuration.md`.
pub(super) const KEYS: &[Key] = keys! {
    "memory" fixed memory;
    "disk.total" live disk.total;
    "disk.target" live disk.target;
    "disk.free_floor" live disk.free_floor;
    "dead_letter_bytes" live dead_letter_bytes;
    "descriptors_max" live descriptors_max;
    "require_directory_sync" fixed require_directory_sync;
    "hint_bytes_max" fixed hint_bytes_max;
    "in_flight_target_max" live in_flight_target_max;
    "in_flight_max" live in_flight_max;
    "append_timeout" live append_timeout;
    "hint_window" live hint_window;
    "max_lifetime" live max_lifetime;
    "take_expired" live take_expired;
    "flush_interval" live flush_interval;
    "sync_interval" live sync_interval;
    "sync_threads" fixed sync_threads;
    "unsynced_bytes_max" live unsynced_bytes_max;
    "segment_bytes" live segment_bytes;
    "roll_age" live roll_age;
    "roll_bytes_min" live roll_bytes_min;
    "roll_age_max" live roll_age_max;
    "preallocate" live preallocate;
    "checkpoint_interval" live checkpoint_interval;
    "checkpoint_holes_max" live checkpoint_holes_max;
    "sweep_interval" live sweep_interval;
    "page_bytes" live page_bytes;
    "pages_out_max" live pages_out_max;
    "retry_delay" live retry_delay;
    "map" live map;
};

impl Config {
    /// All settings except the directory and `gc_grace_now`.
    pub fn settings(&self) -> impl Iterator<Item = Setting> + '_ {
        KEYS.iter().map(|key| Setting {
            name: key.name,
            value: (key.get)(self),
            is_live: key.live,
        })
    }

    /// Whether the settings make sense, by themselves and together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let zero = |name| ConfigError::new(name, "it must not be zero");
        for key in KEYS {
            let may_be_zero = [
                "disk.free_floor",
                "dead_letter_bytes",
                "roll_bytes_min",
                "retry_delay",
            ];
            let value = (key.get)(self);
            if (value == "0" || value.starts_with("0 ") || value == "0s")
                && !may_be_zero.contains(&key.name)
            {
                return Err(zero(key.name));
            }
        }
        let least = Bytes::kib(256);
        if self.memory < least {
            let text = format!("it must be {least} at least: one slab of the largest size");
            return Err(ConfigError::new("memory", text));
        }
        if self.memory < self.hint_bytes_max {
            let text = format!(
                "it must hold the largest hint that is taken, hint_bytes_max: {}",
                self.hint_bytes_max
            );
            return Err(ConfigError::new("memory", text));
        }
        if let (Some(target), Some(total)) = (self.disk.target, self.disk.total)
            && target > total
        {
            let text = format!("one target cannot have more than all, which is {total}");
            return Err(ConfigError::new("disk.target", text));
        }
        Ok(())
    }

    /// Whether all that differs can change while the store is at work.
    pub(crate) fn only_live_differ(&self, before: &Self) -> Result<(), ConfigError> {
        let fixed = |name| ConfigError::new(name, "it is fixed when the store is opened");
        if self.directory != before.directory {
            return Err(fixed("directory"));
        }
        let differs = |key: &&Key| !key.live && (key.get)(self) != (key.get)(before);
        match KEYS.iter().find(differs) {
            Some(key) => Err(fixed(key.name)),
            None => Ok(()),
        }
    }
}

/// One setting: see [`Config::settings`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its name, in the code and in a file.
    pub name: &'static str,
    /// Its present value, as a file has it.
    pub value: String,
    /// It can change while the store is at work.
    pub is_live: bool,
}

/// Why settings are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub text: String,
}

impl ConfigError {
    pub(super) fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the setting {}: {}", self.key, self.text)
    }
}

impl std::error::Error for ConfigError {}

/// A duration as `humantime` reads it: exact, in the largest units.
pub(super) fn show_duration(duration: Duration) -> String {
    let units = [
        (86_400_000, "days"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
        (1, "ms"),
    ];
    let millis = duration.as_millis();
    let whole = |(size, _): &&(u128, &str)| millis > 0 && millis.is_multiple_of(*size);
    match units.iter().find(whole) {
        Some((size, unit)) if duration.subsec_nanos().is_multiple_of(1_000_000) => {
            format!("{}{unit}", millis / size)
        }
        _ if duration.is_zero() => "0s".to_owned(),
        _ => format!("{}us", duration.as_micros()),
    }
}
