//! A clock that moves only by its own calls.

use std::time::Duration;

use hintstore_env::{
    Boot, Clock,
    sync::{AtomicBool, AtomicU64, Mutex, Ordering::SeqCst},
};
use hintstore_format::UnixMillis;

#[derive(Clone, Copy, Debug)]
struct Times {
    wall: UnixMillis,
    boot: Boot,
    boots: u8,
}

/// A clock that moves only by its own calls.
#[derive(Debug)]
pub struct SimClock {
    times: Mutex<Times>,
    entropy: AtomicU64,
    synchronised: AtomicBool,
}

impl SimClock {
    /// A clock that stands at `wall`, a minute after boot.
    pub fn new(wall: UnixMillis) -> Self {
        let boot = Boot::new(Duration::from_mins(1));
        Self {
            times: Mutex::new(Times {
                wall,
                boot,
                boots: 1,
            }),
            entropy: AtomicU64::new(0x1234_5678),
            synchronised: AtomicBool::new(true),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut times = self.times.lock();
        times.wall = times.wall.saturating_add(by);
        times.boot = times.boot + by;
    }

    /// Steps the wall clock, as an operator or a time server would.
    pub fn step_to(&self, wall: UnixMillis) {
        self.times.lock().wall = wall;
    }

    /// Says whether the system takes the wall clock for right. It does from the start.
    pub fn set_synchronised(&self, synchronised: bool) {
        self.synchronised.store(synchronised, SeqCst);
    }

    /// Boots the machine again, after `down`.
    pub fn reboot(&self, down: Duration) {
        let mut times = self.times.lock();
        times.wall = times.wall.saturating_add(down);
        times.boot = Boot::new(Duration::from_secs(5));
        times.boots = times.boots.wrapping_add(1);
    }
}

impl Clock for SimClock {
    fn wall(&self) -> UnixMillis {
        self.times.lock().wall
    }

    fn boot(&self) -> Boot {
        self.times.lock().boot
    }

    fn boot_id(&self) -> [u8; 16] {
        [self.times.lock().boots; 16]
    }

    fn is_synchronised(&self) -> bool {
        self.synchronised.load(SeqCst)
    }

    fn entropy(&self) -> u64 {
        self.entropy.fetch_add(0x9e37_79b9_7f4a_7c15, SeqCst)
    }
}
