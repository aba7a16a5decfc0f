//! Wall time as the files hold it.

use std::{
    fmt,
    ops::{Add, Sub},
    time::{Duration, SystemTime},
};

/// Milliseconds since 1970-01-01 00:00 UTC; before it, negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(i64);

impl UnixMillis {
    /// Earlier than every other time.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than every other time; a deadline of `MAX` never comes.
    pub const MAX: Self = Self(i64::MAX);

    /// The time this many milliseconds after the epoch.
    pub const fn new(millis: i64) -> Self {
        Self(millis)
    }

    /// The time by the system's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "for those who embed; the engine takes a Clock"
    )]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Milliseconds since the epoch.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// This time and a duration; saturates at [`UnixMillis::MAX`].
    #[must_use]
    #[inline]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero where it is not.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let millis = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl Add<Duration> for UnixMillis {
    type Output = Self;

    /// This time and a duration; saturates at [`UnixMillis::MAX`].
    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

/// To the millisecond, towards the past; saturates.
impl From<SystemTime> for UnixMillis {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self(0).saturating_add(after),
            Err(before) => {
                let before = before.duration();
                let millis = before.as_micros().div_ceil(1000);
                Self(i64::try_from(millis).map_or(i64::MIN, i64::wrapping_neg))
            }
        }
    }
}

/// Saturates where the system's clock cannot say such a time.
impl From<UnixMillis> for SystemTime {
    fn from(time: UnixMillis) -> Self {
        let apart = Duration::from_millis(time.0.unsigned_abs());
        let at = if time.0 < 0 {
            Self::UNIX_EPOCH.checked_sub(apart)
        } else {
            Self::UNIX_EPOCH.checked_add(apart)
        };
        at.unwrap_or(Self::UNIX_EPOCH)
    }
}

impl Sub<Duration> for UnixMillis {
    type Output = Self;

    /// This time less a duration; saturates at [`UnixMillis::MIN`].
    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_times_are_kept_to_the_millisecond() {
        let at = |micros: u64| SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        assert_eq!(UnixMillis::from(at(1_999)), UnixMillis::new(1));
        let before = SystemTime::UNIX_EPOCH - Duration::from_micros(1_001);
        assert_eq!(UnixMillis::from(before), UnixMillis::new(-2));
        for millis in [-86_400_001, -1, 0, 1, 1_800_000_000_123] {
            let time = UnixMillis::new(millis);
            assert_eq!(UnixMillis::from(SystemTime::from(time)), time);
        }
        let second = Duration::from_secs(1);
        assert_eq!(UnixMillis::MAX + second, UnixMillis::MAX);
        assert_eq!(UnixMillis::new(5) + second - second, UnixMillis::new(5));
    }
}
