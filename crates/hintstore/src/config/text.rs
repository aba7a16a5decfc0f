//! Settings from TOML: names are those of `docs/configuration.md`, values have units.

use std::{num::NonZeroUsize, time::Duration};

use hintstore_format::Namespace;
use hintstore_writer::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use super::{
    Config, ConfigError,
    keys::{KEYS, show_duration},
};

/// Settings that are not in the table of keys.
const DIRECTORY: &str = "directory";
const GC_GRACE_NOW: &str = "gc_grace_now";
const LAST_WRITE_WINS: &str = "last_write_wins";

impl Config {
    /// Reads settings. `directory` must be there; what else is not keeps its default.
    ///
    /// ```
    /// let text = r#"
    ///     directory = "/var/lib/mynode/hints"
    ///     hint_window = "6h"
    ///     [disk]
    ///     total = "20GiB"
    /// "#;
    /// let config = hintstore::Config::from_toml(text)?;
    /// assert_eq!(config.disk.total, Some(hintstore::Bytes::mib(20 << 10)));
    ///
    /// let wrong = hintstore::Config::from_toml("directory = '/x'\nhint_windw = '6h'");
    /// assert_eq!(
    ///     wrong.unwrap_err().to_string(),
    ///     "the setting hint_windw: there is none of this name; did you mean hint_window?"
    /// );
    /// # Ok::<(), hintstore::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] where the text is no TOML, a name is unknown, or a value is wrong.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::new("(all)", error.to_string()))?;
        Self::from_table(&table)
    }

    fn from_table(table: &Table) -> Result<Self, ConfigError> {
        let directory = table.get(DIRECTORY).and_then(Value::as_str);
        let Some(directory) = directory else {
            let text = "it must be there: the path of the directory, as a string";
            return Err(ConfigError::new(DIRECTORY, text));
        };
        let mut config = Self::new(directory);
        config.take_table("", table)?;
        config.check()?;
        Ok(config)
    }

    fn take_table(&mut self, prefix: &str, table: &Table) -> Result<(), ConfigError> {
        for (name, value) in table {
            let name = format!("{prefix}{name}");
            if name == DIRECTORY {
                continue;
            }
            if let (GC_GRACE_NOW, Value::Table(namespaces)) = (name.as_str(), value) {
                self.take_gc_grace(namespaces)?;
                continue;
            }
            if name == LAST_WRITE_WINS {
                self.take_last_write_wins(value)?;
                continue;
            }
            let known = KEYS.iter().find(|key| key.name == name);
            match (known, value) {
                (Some(key), value) => {
                    (key.set)(self, value).map_err(|text| ConfigError::new(name, text))?;
                }
                (None, Value::Table(table)) => self.take_table(&format!("{name}."), table)?,
                (None, _) => return Err(unknown(&name)),
            }
        }
        Ok(())
    }

    fn take_last_write_wins(&mut self, value: &Value) -> Result<(), ConfigError> {
        let text = "expected a list of UUIDs of namespaces, as strings";
        let wrong = || ConfigError::new(LAST_WRITE_WINS, text);
        let id = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let list = value.as_array().ok_or_else(wrong)?.iter();
        let namespaces: Option<Vec<Namespace>> = list.map(id).collect();
        self.last_write_wins = namespaces.ok_or_else(wrong)?;
        Ok(())
    }

    fn take_gc_grace(&mut self, namespaces: &Table) -> Result<(), ConfigError> {
        for (namespace, value) in namespaces {
            let name = format!("{GC_GRACE_NOW}.{namespace}");
            let id: Result<Namespace, _> = namespace.parse();
            let Ok(id) = id else {
                return Err(ConfigError::new(name, "expected the UUID of a namespace"));
            };
            let mut grace = Duration::ZERO;
            grace
                .take(value)
                .map_err(|text| ConfigError::new(name, text))?;
            self.gc_grace_now.push((id, grace));
        }
        Ok(())
    }
}

/// Reads settings as they are in a file, from any format: a table of settings inside of a larger
/// configuration is a field of the embedder's own.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Node {
///     listen: String,
///     hints: hintstore::Config,
/// }
///
/// let text = r#"
///     listen = "[::]:7000"
///     [hints]
///     directory = "/var/lib/mynode/hints"
///     hint_window = "6h"
/// "#;
/// let node: Node = toml::from_str(text)?;
/// assert_eq!(node.hints.hint_window, Some(std::time::Duration::from_hours(6)));
/// # Ok::<(), toml::de::Error>(())
/// ```
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Table::deserialize(deserializer)?;
        Self::from_table(&table).map_err(serde::de::Error::custom)
    }
}

/// Writes all settings, with their units: what is read back is the same.
impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = Table::new();
        let text = "a directory whose name is no UTF-8 has no place in a file";
        let directory = self.directory.to_str();
        let directory = directory.ok_or_else(|| serde::ser::Error::custom(text))?;
        table.insert(DIRECTORY.to_owned(), directory.into());
        for key in KEYS {
            let value = (key.give)(self);
            match key.name.split_once('.') {
                Some((outer, inner)) => {
                    let outer = table.entry(outer).or_insert_with(|| Table::new().into());
                    if let Value::Table(outer) = outer {
                        outer.insert(inner.to_owned(), value);
                    }
                }
                None => drop(table.insert(key.name.to_owned(), value)),
            }
        }
        let graces = self.gc_grace_now.iter();
        let graces = graces.map(|(id, grace)| (id.to_string(), grace.give()));
        table.insert(GC_GRACE_NOW.to_owned(), Value::Table(graces.collect()));
        let namespaces = self.last_write_wins.iter();
        let namespaces = namespaces.map(|of| Value::String(of.to_string()));
        table.insert(
            LAST_WRITE_WINS.to_owned(),
            Value::Array(namespaces.collect()),
        );
        table.serialize(serializer)
    }
}

fn unknown(name: &str) -> ConfigError {
    let others = KEYS
        .iter()
        .map(|key| key.name)
        .chain([DIRECTORY, GC_GRACE_NOW, LAST_WRITE_WINS]);
    let near = |other: &&str| strsim::normalized_damerau_levenshtein(name, other);
    let nearest = others.max_by(|a, b| near(a).total_cmp(&near(b)));
    let text = match nearest {
        Some(nearest) => format!("there is none of this name; did you mean {nearest}?"),
        None => "there is none of this name".to_owned(),
    };
    ConfigError::new(name, text)
}

/// A setting that can be written.
pub(super) trait Give {
    /// The value as [`Take`] takes it.
    fn give(&self) -> Value;
}

impl Give for Bytes {
    fn give(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Give for Duration {
    fn give(&self) -> Value {
        Value::String(show_duration(*self))
    }
}

impl<T: Give> Give for Option<T> {
    fn give(&self) -> Value {
        let none = || Value::String("none".to_owned());
        self.as_ref().map_or_else(none, Give::give)
    }
}

impl Give for bool {
    fn give(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Give for u64 {
    fn give(&self) -> Value {
        // What a TOML integer holds; more is as good as no bound.
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl Give for usize {
    fn give(&self) -> Value {
        (*self as u64).give()
    }
}

impl Give for NonZeroUsize {
    fn give(&self) -> Value {
        self.get().give()
    }
}

/// A setting that can be read.
pub(super) trait Take {
    /// Takes the value over, or says what was expected.
    fn take(&mut self, value: &Value) -> Result<(), String>;
}

impl Take for Bytes {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let wanted = "expected a size with its unit, such as \"128MiB\"";
        let text = value.as_str().ok_or(wanted)?;
        // A bare number parses as bytes: somebody forgot the unit.
        let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
        let size: Result<bytesize::ByteSize, _> = text.parse();
        match size {
            Ok(size) if has_unit => *self = Self::new(size.as_u64()),
            _ => return Err(wanted.to_owned()),
        }
        Ok(())
    }
}

impl Take for Duration {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let wanted = "expected a time with its unit, such as \"3h\" or \"200ms\"";
        let text = value.as_str().ok_or(wanted)?;
        match humantime::parse_duration(text) {
            Ok(duration) => *self = duration,
            Err(error) => return Err(format!("{wanted}: {error}")),
        }
        Ok(())
    }
}

impl<T: Take + Default> Take for Option<T> {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        if value.as_str() == Some("none") {
            *self = None;
            return Ok(());
        }
        self.insert(T::default()).take(value)
    }
}

impl Take for bool {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        *self = value.as_bool().ok_or("expected true or false")?;
        Ok(())
    }
}

impl Take for u64 {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let number = value.as_integer().and_then(|number| number.try_into().ok());
        *self = number.ok_or("expected a number, not below zero")?;
        Ok(())
    }
}

impl Take for usize {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let number = value.as_integer().and_then(|number| number.try_into().ok());
        *self = number.ok_or("expected a number, not below zero")?;
        Ok(())
    }
}

impl Take for NonZeroUsize {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let mut number = 0;
        number.take(value)?;
        *self = Self::new(number).ok_or("it must not be zero")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Setting;

    #[test]
    fn every_setting_is_read_as_it_is_shown() {
        let default = Config::new("/x");
        for Setting { name, value, .. } in default.settings() {
            let bare = value.parse::<u64>().is_ok() || value.parse::<bool>().is_ok();
            let quoted = if bare {
                value.clone()
            } else {
                format!("\"{value}\"")
            };
            let text = format!("directory = \"/x\"\n{name} = {quoted}");
            let read = Config::from_toml(&text).unwrap();
            let again = read.settings().find(|other| other.name == name).unwrap();
            assert_eq!(again.value, value, "{text}");
        }
        let all = Value::try_from(&default).unwrap();
        assert_eq!(all.try_into::<Config>().unwrap(), default);
    }

    #[test]
    fn what_is_wrong_is_reported_with_what_would_be_right() {
        for (text, expected) in [
            ("hint_windo = '3h'", "did you mean hint_window?"),
            ("[disk]\ntotl = '3GiB'", "did you mean disk.total?"),
            ("[dsk]\ntotal = '3GiB'", "did you mean disk.total?"),
            ("memory = 64", "128MiB"),
            ("memory = '64'", "128MiB"),
            ("memory = '4KiB'", "256 KiB at least"),
            ("flush_interval = 200", "200ms"),
            ("flush_interval = '0s'", "must not be zero"),
            ("sync_threads = 0", "must not be zero"),
            ("map = 'yes'", "true or false"),
            ("in_flight_max = -1", "not below zero"),
            ("[gc_grace_now]\nusers = '3h'", "UUID"),
            ("last_write_wins = 'users'", "list of UUIDs"),
            ("last_write_wins = ['users']", "list of UUIDs"),
            ("[disk]\ntotal = '1GiB'\ntarget = '2GiB'", "more than all"),
            ("= nonsense", "(all)"),
        ] {
            let text = format!("directory = \"/x\"\n{text}");
            let error = Config::from_toml(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let error = Config::from_toml("map = true").unwrap_err();
        assert_eq!(error.key, "directory");
    }

    #[test]
    fn all_kinds_of_values_are_taken() {
        let text = "
            directory = '/x'
            hint_window = 'none'
            max_lifetime = '5days'
            map = false
            sync_threads = 2
            last_write_wins = ['00000000-0000-0000-0000-000000000007']
            disk = { total = '20GiB', free_floor = '1GB' }
            [gc_grace_now]
            00000000-0000-0000-0000-000000000007 = '1h'
        ";
        let config = Config::from_toml(text).unwrap();
        assert_eq!(config.hint_window, None);
        assert_eq!(config.max_lifetime, Some(Duration::from_hours(120)));
        assert!(!config.map);
        assert_eq!(config.sync_threads.get(), 2);
        assert_eq!(config.disk.free_floor, Some(Bytes::new(1_000_000_000)));
        let namespace = Namespace::from_u128(7);
        let hour = Duration::from_hours(1);
        assert_eq!(config.gc_grace_now, [(namespace, hour)]);
        assert_eq!(config.last_write_wins, [namespace]);
        let written = Value::try_from(&config).unwrap();
        assert_eq!(written.try_into::<Config>().unwrap(), config);
    }
}
