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
    /// What is wrong with the value, by itself.
    wrong: fn(&Config) -> Option<&'static str>,
    #[cfg(feature = "toml")]
    pub(super) give: fn(&Config) -> toml::Value,
    #[cfg(feature = "toml")]
    pub(super) set: fn(&mut Config, &toml::Value) -> Result<(), String>,
}

/// A setting as it is written: `text` reads it.
trait Show {
    fn show(&self) -> String;

    /// Why it cannot be a setting. A duration that a file cannot say is none, so that each configuration
    /// can be written down and read back.
    fn wrong(&self) -> Option<&'static str>;
}

const ZERO: &str = "it must not be zero";

fn wrong_number(value: u64) -> Option<&'static str> {
    (value == 0).then_some(ZERO)
}

impl Show for Bytes {
    fn show(&self) -> String {
        self.to_string()
    }

    fn wrong(&self) -> Option<&'static str> {
        wrong_number(self.get())
    }
}

impl Show for Duration {
    fn show(&self) -> String {
        show_duration(*self)
    }

    fn wrong(&self) -> Option<&'static str> {
        if self.is_zero() {
            Some(ZERO)
        } else if !self.subsec_nanos().is_multiple_of(1_000_000) {
            Some("it must be a whole number of milliseconds")
        } else if *self > DURATION_MAX {
            Some("it must be 1000 years at most; none is no bound, where that is possible")
        } else {
            None
        }
    }
}

const DURATION_MAX: Duration = Duration::from_hours(1000 * 366 * 24);

/// Where nothing is a value, it is "none": no bound, or one that the device tells.
impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or("none".to_owned(), Show::show)
    }

    fn wrong(&self) -> Option<&'static str> {
        self.as_ref().and_then(Show::wrong)
    }
}

macro_rules! shown {
    ($($type:ty: $wrong:expr),+) => {
        $(impl Show for $type {
            fn show(&self) -> String {
                self.to_string()
            }

            fn wrong(&self) -> Option<&'static str> {
                let wrong: fn(&Self) -> Option<&'static str> = $wrong;
                wrong(self)
            }
        })+
    };
}

shown!(
    bool: |_| None,
    u64: |value| wrong_number(*value),
    usize: |value| wrong_number(*value as u64),
    NonZeroUsize: |value| wrong_number(value.get() as u64)
);

macro_rules! keys {
    ($($name:literal $kind:ident $($path:ident).+;)+) => {
        &[$(Key {
            name: $name,
            live: keys!(@$kind),
            get: |config| config.$($path).+.show(),
            wrong: |config| config.$($path).+.wrong(),
            #[cfg(feature = "toml")]
            give: |config| super::text::Give::give(&config.$($path).+),
            #[cfg(feature = "toml")]
            set: |config, value| super::text::Take::take(&mut config.$($path).+, value),
        }),+]
    };
    (@live) => { true };
    (@fixed) => { false };
}

/// One block of the smallest slab.
const SEGMENT_BYTES_MIN: Bytes = Bytes::kib(4);

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
    "orphan_age_max" live orphan_age_max;
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
    "compact_interval" live compact_interval;
    "compact_bytes_per_second" live compact_bytes_per_second;
    "compress_level" live compress_level;
    "page_bytes" live page_bytes;
    "pages_out_max" live pages_out_max;
    "retry_delay" live retry_delay;
    "retry_delay_max" live retry_delay_max;
    "poison_attempts" live poison_attempts;
    "start_jitter" live start_jitter;
    "page_time" live page_time;
    "give_way" live give_way;
    "deliver_target_bytes_per_second" live deliver_target_bytes_per_second;
    "deliver_bytes_per_second" live deliver_bytes_per_second;
    "unknown_namespace_age_max" live unknown_namespace_age_max;
    "map" live map;
};

impl Config {
    /// All settings except the directory, `gc_grace_now` and `last_write_wins`.
    pub fn settings(&self) -> impl Iterator<Item = Setting> + '_ {
        KEYS.iter().map(|key| Setting {
            name: key.name,
            value: (key.get)(self),
            is_live: key.live,
        })
    }

    /// Whether the settings make sense, by themselves and together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let may_be_zero = [
            "disk.free_floor",
            "dead_letter_bytes",
            "roll_bytes_min",
            "retry_delay",
            "start_jitter",
        ];
        for key in KEYS {
            let wrong = (key.wrong)(self);
            let wrong = wrong.filter(|wrong| *wrong != ZERO || !may_be_zero.contains(&key.name));
            if let Some(text) = wrong {
                return Err(ConfigError::new(key.name, text));
            }
        }
        if let Some((namespace, text)) = self.gc_grace_now.iter().find_map(|(namespace, grace)| {
            let wrong = grace.wrong().filter(|wrong| *wrong != ZERO);
            wrong.map(|text| (namespace, text))
        }) {
            return Err(ConfigError::new(format!("gc_grace_now.{namespace}"), text));
        }
        if self.compress_level.is_some_and(|level| level > 19) {
            let text = "it must be 19 at most: beyond, decompressing takes memory by the megabyte";
            return Err(ConfigError::new("compress_level", text));
        }
        if self.segment_bytes < SEGMENT_BYTES_MIN {
            let text = format!("it must be {SEGMENT_BYTES_MIN} at least: a file a hint is no log");
            return Err(ConfigError::new("segment_bytes", text));
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
#[non_exhaustive]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> Option<String> {
        let mut config = Config::new("/nowhere");
        change(&mut config);
        config.check().err().map(|error| error.key)
    }

    #[test]
    fn what_a_file_cannot_say_is_no_setting() {
        let key = |name: &str| Some(name.to_owned());
        assert_eq!(refused(|_| {}), None);
        assert_eq!(
            refused(|config| config.flush_interval = Duration::from_nanos(500)),
            key("flush_interval")
        );
        assert_eq!(
            refused(|config| config.hint_window = Some(Duration::MAX)),
            key("hint_window")
        );
        assert_eq!(
            refused(|config| config.disk.total = Some(Bytes::new(0))),
            key("disk.total")
        );
        assert_eq!(
            refused(|config| config.disk.total = Some(Bytes::new(u64::MAX))),
            None,
            "as good as no bound"
        );
        assert_eq!(
            refused(|config| config.segment_bytes = Bytes::kib(1)),
            key("segment_bytes")
        );
        assert_eq!(
            refused(|config| config.segment_bytes = Bytes::new(0)),
            key("segment_bytes")
        );
        assert_eq!(refused(|config| config.retry_delay = Duration::ZERO), None);
        let grace = (hintstore_format::Namespace::NONE, Duration::from_nanos(1));
        assert!(refused(|config| config.gc_grace_now.push(grace)).is_some());
    }
}
