//! What time it is: by the wall, and since boot.

use std::{
    fmt, fs,
    hash::{BuildHasher as _, RandomState},
    ops::Add,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hintstore_format::UnixMillis;
use rustix::time::{ClockId, clock_gettime};

/// Time since boot, suspend included: it never steps and never runs backwards. In nanoseconds, of
/// which there are enough for five hundred years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot(u64);

impl Boot {
    /// The moment this long after boot.
    pub const fn new(since_boot: Duration) -> Self {
        let nanos = since_boot.as_nanos();
        Self(if nanos > u64::MAX as u128 {
            u64::MAX
        } else {
            nanos as u64
        })
    }

    /// How long after boot.
    pub const fn get(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// How long after `earlier`; zero where it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Boot {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(Self::new(duration).0))
    }
}

/// The clocks of one machine.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of day. May step, forwards and backwards.
    fn wall(&self) -> UnixMillis;

    /// The time since boot.
    fn boot(&self) -> Boot;

    /// Which boot: differs from one start of the machine to the next.
    fn boot_id(&self) -> [u8; 16];

    /// Whether the system takes the wall clock for right: a time server has set it since boot. A clock
    /// that cannot tell says no; after a boot it is believed when fifteen minutes have passed.
    fn is_synchronised(&self) -> bool {
        false
    }

    /// A number that nobody else has drawn: for identities and salts, not for secrets.
    fn entropy(&self) -> u64;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> UnixMillis {
        #[expect(clippy::disallowed_methods, reason = "this is the Clock it points to")]
        let now = SystemTime::now();
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        UnixMillis::new(match now.duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }

    fn boot(&self) -> Boot {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Boot::new(Duration::new(
            seconds,
            u32::try_from(now.tv_nsec).unwrap_or(0),
        ))
    }

    fn boot_id(&self) -> [u8; 16] {
        // Where it cannot be read, every start counts as the same boot: the steps of the clock
        // that are then noticed are held until confirmed, which is the careful side.
        // A process sees one: an idle store reads no files.
        static ID: OnceLock<[u8; 16]> = OnceLock::new();
        *ID.get_or_init(|| {
            let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let id = text.trim().parse();
            *id.unwrap_or(hintstore_format::StoreId::from_u128(0))
                .as_bytes()
        })
    }

    fn is_synchronised(&self) -> bool {
        // SAFETY: all zeros is a valid `timex`: a struct of integers.
        let mut state: libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: `state` is a valid `timex`, and with `modes` 0 the call only fills it.
        let answer = unsafe { libc::adjtimex(&raw mut state) };
        // Where the system does not answer, time alone confirms the clock.
        answer >= 0 && state.status & libc::STA_UNSYNC == 0
    }

    fn entropy(&self) -> u64 {
        // A fresh RandomState has its own keys from the operating system.
        RandomState::new().hash_one(self.boot().get())
    }
}
