//! Numbers, times and text, for people.

use std::borrow::Cow;

use jiff::Timestamp;

/// What a file name or a payload may hold is not for the terminal to act on.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\n';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| {
        if harmless(c) {
            c.to_string()
        } else {
            c.escape_default().to_string()
        }
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// A number of things, for people.
pub(crate) fn count(number: u64, of: &str) -> String {
    if number == 1 {
        format!("1 {of}")
    } else {
        format!("{number} {of}s")
    }
}

/// A time for people, in UTC.
pub(crate) fn time(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) if millis == i64::MAX => "never".to_owned(),
        Err(_) => format!("{millis} ms"),
    }
}

/// The same, to the ms: hints of a burst differ in nothing else.
pub(crate) fn time_ms(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => format!("{millis} ms"),
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {name}")
    }
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| {
        DIGITS
            .get(usize::from(value))
            .copied()
            .map_or('?', char::from)
    };
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long ago a time was, or in how long it comes.
pub(crate) fn age(millis: i64, now: i64) -> String {
    if millis == i64::MAX {
        return "never".to_owned();
    }
    let seconds = now.abs_diff(millis) / 1000;
    let span = span(seconds);
    if seconds == 0 {
        "now".to_owned()
    } else if millis < now {
        format!("{span} ago")
    } else {
        format!("in {span}")
    }
}

/// A number of seconds, by its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let two = |large: u64, large_word: &str, small: u64, small_word: &str| {
        let (first, rest) = (seconds / large, seconds % large / small);
        if rest == 0 || first >= 10 {
            format!("{first}{large_word}")
        } else {
            format!("{first}{large_word}{rest}{small_word}")
        }
    };
    match seconds {
        DAY.. => two(DAY, "d", HOUR, "h"),
        HOUR.. => two(HOUR, "h", MINUTE, "m"),
        MINUTE.. => two(MINUTE, "m", 1, "s"),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{age, span};

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (3600, "1h"),
            (12_000, "3h20m"),
            (36_060, "10h"),
            (864_000, "10d"),
            (90_000, "1d1h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(age(0, 61_000), "1m1s ago");
        assert_eq!(age(61_000, 0), "in 1m1s");
        assert_eq!(age(i64::MAX, 0), "never");
    }
}
