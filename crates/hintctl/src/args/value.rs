//! Values as they are typed: times, rates, forms, ids.

use std::{sync::OnceLock, time::Duration};

use hintstore::{Clock as _, Namespace, Sequence, SystemClock, UnixMillis};
use hintstore_cassandra::Codec;

/// Bytes a second; nothing for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<u64>);

/// A rate: bytes a second with their unit, or `none`.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    if text == "none" {
        return Ok(Rate(None));
    }
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse::<bytesize::ByteSize>() {
        Ok(size) if size.as_u64() > 0 => Ok(Rate(Some(size.as_u64()))),
        Ok(_) => Err("a rate of nothing: pause the target instead".to_owned()),
        Err(_) => Err("expected bytes a second with their unit, such as 20MiB, or none".to_owned()),
    }
}

/// Bytes a second, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BytesPerSecond(u64);

impl BytesPerSecond {
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

pub(super) fn bytes_per_second(text: &str) -> Result<BytesPerSecond, String> {
    match rate(text)? {
        Rate(Some(bytes)) => Ok(BytesPerSecond(bytes)),
        Rate(None) => Err("expected bytes a second with their unit, such as 20MiB".to_owned()),
    }
}

/// A form of hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// A store of hintstore.
    Native,
    /// Files of Cassandra, of a version, and packed.
    Cassandra(i32, Option<Codec>),
    /// JSON Lines.
    Jsonl,
    /// Parquet.
    Parquet,
}

pub(super) fn form(text: &str) -> Result<To, String> {
    let expected = || {
        format!("`{text}` is none of native, cassandra:1, cassandra:2, cassandra:3, jsonl, parquet")
    };
    match text {
        "native" => return Ok(To::Native),
        "jsonl" => return Ok(To::Jsonl),
        "parquet" => return Ok(To::Parquet),
        _ => {}
    }
    let rest = text.strip_prefix("cassandra:").ok_or_else(expected)?;
    let (version, codec) = match rest.split_once(':') {
        Some((version, codec)) => {
            let known = Codec::from_word(codec)
                .ok_or_else(|| format!("`{codec}` is none of lz4, snappy, deflate, zstd, noop"))?;
            (version, Some(known))
        }
        None => (rest, None),
    };
    match version {
        "1" => Ok(To::Cassandra(1, codec)),
        "2" => Ok(To::Cassandra(2, codec)),
        "3" => Ok(To::Cassandra(3, codec)),
        _ => Err(expected()),
    }
}

/// Milliseconds since 1970 that somebody may mean: 1973 to 5138. Seconds are below.
const PLAUSIBLE_MILLIS: std::ops::Range<i64> = 100_000_000_000..100_000_000_000_000;

/// All times are counted from one moment.
static NOW: OnceLock<UnixMillis> = OnceLock::new();

/// A time: RFC 3339, a date or date and time in UTC, ms since 1970, or one that is counted from now.
pub(crate) fn time(text: &str) -> Result<UnixMillis, String> {
    if let Ok(millis) = text.parse() {
        return if PLAUSIBLE_MILLIS.contains(&millis) {
            Ok(UnixMillis::new(millis))
        } else {
            Err("as ms since 1970 this is not between 1973 and 5138: are these seconds?".to_owned())
        };
    }
    if text.ends_with('M') {
        return Err("M would be months, and m is minutes: write months, or min".to_owned());
    }
    if let Some(time) = relative(text, *NOW.get_or_init(|| SystemClock.wall())) {
        return Ok(time);
    }
    // A zone by its name; one that contradicts the offset before it is refused.
    if text.contains('[') {
        return match text.parse::<jiff::Zoned>() {
            Ok(time) => Ok(UnixMillis::new(time.timestamp().as_millisecond())),
            Err(error) => Err(format!(
                "{error}: leave the zone out, and write the time in UTC"
            )),
        };
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(UnixMillis::new(time.as_millisecond()));
    }
    // Up to the end of 9999, which is later than a timestamp can be.
    let civil = text.strip_suffix('Z').unwrap_or(text);
    let since_1970 = civil.parse::<jiff::civil::DateTime>().and_then(|time| {
        let span = time.since((
            jiff::Unit::Hour,
            jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0),
        ))?;
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours())
    });
    let millis = since_1970.map(|since| since.as_millis());
    match millis.ok().and_then(|millis| i64::try_from(millis).ok()) {
        Some(millis) => Ok(UnixMillis::new(millis)),
        None => Err(
            "expected a time such as 2h (ago), yesterday, now, +3h, 2026-11-22, 2026-11-22T12:00:00Z, or ms since \
             1970"
                .to_owned(),
        ),
    }
}

/// A time that is counted from now: `now`, a day, or how long ago; behind a `+` it is still to come.
fn relative(text: &str, now: UnixMillis) -> Option<UnixMillis> {
    const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
    let midnight = now.get().div_euclid(DAY_MILLIS) * DAY_MILLIS;
    match text {
        "now" => return Some(now),
        "today" => return Some(UnixMillis::new(midnight)),
        "yesterday" => return Some(UnixMillis::new(midnight - DAY_MILLIS)),
        "tomorrow" => return Some(UnixMillis::new(midnight + DAY_MILLIS)),
        _ => {}
    }
    let (is_to_come, span) = match text.strip_prefix('+') {
        Some(span) => (true, span),
        None => (false, text.strip_prefix('-').unwrap_or(text)),
    };
    let span = span.strip_suffix(" ago").unwrap_or(span);
    let span = humantime::parse_duration(span).ok()?;
    let millis = i64::try_from(span.as_millis()).ok()?;
    let millis = if is_to_come { millis } else { -millis };
    Some(UnixMillis::new(now.get().saturating_add(millis)))
}

/// A namespace: a UUID, or the word for hints that touch several.
pub(crate) fn namespace(text: &str) -> Result<Namespace, String> {
    if text == MIXED {
        return Ok(Namespace::MIXED);
    }
    text.parse()
        .map_err(|error| format!("{error}; or `{MIXED}`, for hints that touch several"))
}

/// What hints are said to be of that touch several namespaces.
pub(crate) const MIXED: &str = "mixed";

/// A namespace as it is printed.
pub(crate) fn namespace_word(namespace: Namespace) -> String {
    if namespace == Namespace::MIXED {
        MIXED.to_owned()
    } else {
        namespace.to_string()
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text);
    parsed.map_err(|error| format!("expected a time with its unit, such as 10m or 1h30m: {error}"))
}

pub(super) fn sequence(text: &str) -> Result<Sequence, std::num::ParseIntError> {
    text.parse().map(Sequence::new)
}

#[cfg(test)]
mod tests {
    use hintstore::UnixMillis;

    use super::relative;

    #[test]
    fn times_are_counted_from_now() {
        const HOUR: i64 = 60 * 60 * 1000;
        let now = 100 * 24 * HOUR + 5 * HOUR;
        for (text, at) in [
            ("now", now),
            ("2h", now - 2 * HOUR),
            ("-2h", now - 2 * HOUR),
            ("2h ago", now - 2 * HOUR),
            ("1day 2h", now - 26 * HOUR),
            ("+3h", now + 3 * HOUR),
            ("today", now - 5 * HOUR),
            ("yesterday", now - 29 * HOUR),
            ("tomorrow", now + 19 * HOUR),
        ] {
            let time = relative(text, UnixMillis::new(now));
            assert_eq!(time.map(UnixMillis::get), Some(at), "{text}");
        }
        for text in ["", "h", "2", "later", "2026-01-01"] {
            assert_eq!(relative(text, UnixMillis::new(now)), None, "{text}");
        }
    }
}
