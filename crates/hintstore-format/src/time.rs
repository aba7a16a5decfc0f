//! Wall time as the files hold it.

use std::{fmt, ops::Sub, time::Duration};

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
