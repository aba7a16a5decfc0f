//! How fast a target is delivered to: its state, its back-off, and how large its next page may be.
//!
//! One page of a target is out at a time, so that the page is the window of bytes in flight. It grows by a
//! step for each answer that comes in time, and is halved for each that is late or that takes nothing
//! (additive increase, multiplicative decrease: what is shared by many who do not know of each other converges
//! on fair parts), down to one hint. A target that takes nothing rests for longer each time. How often a page goes
//! by itself is the business of `congestion`.

use std::time::Duration;

use hintstore_env::Boot;
use hintstore_writer::Bytes;

use super::congestion::Congestion;
use crate::{Config, store_env::StoreEnv};

/// What is known of a target, as the embedder said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetState {
    /// Nobody said anything: pages that are pulled are handed out.
    #[default]
    Unknown,
    /// It can be reached.
    Up,
    /// It cannot be reached.
    Down,
    /// Somebody paused its delivery, whatever else is known of it.
    Paused,
    /// Its hints go to others, or end.
    Leaving,
}

impl TargetState {
    /// The word for it, as tools and metrics print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Paused => "paused",
            Self::Leaving => "leaving",
        }
    }
}

/// How much a page may hold: what a receiver has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of frames; a hint that is larger is a page of its own.
    pub bytes: Bytes,
    /// Hints.
    pub hints: usize,
}

impl Limits {
    /// As much as the settings allow.
    pub const NONE: Self = Self {
        bytes: Bytes::new(u64::MAX),
        hints: usize::MAX,
    };

    /// The least of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.min(other.bytes),
            hints: self.hints.min(other.hints),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

/// How fast a target is delivered to.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) state: TargetState,
    /// Nothing goes, whatever its state is, until that is taken back.
    pub(crate) is_paused: bool,
    /// Nothing goes before the embedder's topology has come to this epoch.
    pub(crate) from_epoch: u64,
    /// Pages in a row that it took nothing of.
    failures: u32,
    /// Bytes that its next page may hold; as many as the settings say where nothing is known.
    window: Option<u64>,
    /// Hints that its next page may hold, while the one is looked for that makes a page fail.
    hints: Option<usize>,
    /// What the receiver has room for.
    credit: Option<Limits>,
    /// Bytes a second, where it is not to have what the settings say.
    rate: Option<Bytes>,
    /// By its rate, nothing goes before.
    next_at: Boot,
    /// The page that went last: when, how many hints, and how many bytes.
    sent: (Boot, usize, u64),
    /// Bytes a second that it took of late: a moving average.
    took: Option<u64>,
    /// How often it is sent to by itself, where its hints are to give way to its live writes.
    congestion: Option<Box<Congestion>>,
    /// Hints that it did not take because it does not know their namespace, since the store was opened.
    pub(crate) unknown_namespace: u64,
    /// How often it was said to be up, since the store was opened.
    came_up: u64,
    /// The last times that it was, the earliest first.
    came_up_at: [Option<Boot>; FLAPS],
    /// Counts what is drawn.
    drawn: u64,
}

/// A target that was said to be up this often within [`FLAPS_WITHIN`] comes and goes.
const FLAPS: usize = 4;
const FLAPS_WITHIN: Duration = Duration::from_mins(10);

/// A window grows by this for each page that is answered in time.
const STEP: u64 = 64 << 10;

impl Pace {
    /// What is known of it, as others see it.
    pub(crate) fn visible_state(&self) -> TargetState {
        if self.is_paused {
            TargetState::Paused
        } else {
            self.state
        }
    }

    /// Whether hints go to it in the background.
    pub(crate) fn is_delivered_to(&self) -> bool {
        self.visible_state() == TargetState::Up
    }

    /// Bytes a second, where it is not to have what the settings say.
    pub(crate) fn rate(&self) -> Option<Bytes> {
        self.rate
    }

    /// How much its next page may hold, or until when nothing goes.
    pub(crate) fn limits(&self, config: &Config, now: Boot) -> Result<Limits, Boot> {
        if self.next_at > now {
            return Err(self.next_at);
        }
        let page = config.page_bytes.get();
        let window = Limits {
            bytes: Bytes::new(self.window.unwrap_or(page).min(page)),
            hints: self.hints.unwrap_or(usize::MAX),
        };
        Ok(self.credit.map_or(window, |credit| window.and(credit)))
    }

    /// How many hints a page may hold that goes by itself, or until when none does.
    pub(crate) fn gives_way(&mut self, env: &StoreEnv, now: Boot) -> Result<usize, Boot> {
        if !env.config().give_way {
            self.congestion = None;
            return Ok(usize::MAX);
        }
        let new = || Box::new(Congestion::new(env.holders()));
        self.congestion.get_or_insert_with(new).hints(now)
    }

    /// A page went by itself.
    pub(crate) fn went(&mut self, env: &StoreEnv, hints: usize) {
        if let Some(congestion) = &mut self.congestion {
            congestion.sent(env.clock.boot(), env.clock.wall(), hints);
        }
    }

    /// One hint goes to it in this time by itself, where hints give way.
    pub(crate) fn hint_interval(&self) -> Option<Duration> {
        let congestion = self.congestion.as_ref();
        congestion.map(|congestion| congestion.hint_interval())
    }

    /// What went by itself was answered, or came back.
    fn came_back(&mut self, env: &StoreEnv, took_any: bool) {
        if let Some(mut congestion) = self.congestion.take() {
            let draw = || self.draw(env);
            congestion.answered(env.clock.boot(), env.clock.wall(), took_any, draw);
            self.congestion = Some(congestion);
        }
    }

    /// Whether the receiver has no room at all.
    pub(crate) fn has_no_credit(&self) -> bool {
        self.credit
            .is_some_and(|credit| credit.hints == 0 || credit.bytes.get() == 0)
    }

    /// Counts from now on, whatever another rate had it wait for.
    pub(crate) fn set_rate(&mut self, rate: Option<Bytes>) {
        self.rate = rate;
        self.next_at = Boot::default();
    }

    /// The settings changed.
    pub(crate) fn forget_wait(&mut self) {
        self.next_at = Boot::default();
    }

    pub(crate) fn set_credit(&mut self, credit: Option<Limits>) {
        self.credit = credit;
    }

    /// A page went to it.
    pub(crate) fn sent(&mut self, config: &Config, now: Boot, bytes: u64, hints: usize) {
        self.sent = (now, hints, bytes);
        let rate = self.rate.or(config.deliver_target_bytes_per_second);
        if let Some(rate) = rate {
            self.next_at = self.next_at.max(now) + time_of(bytes, rate);
        }
        if let Some(credit) = &mut self.credit {
            credit.bytes = Bytes::new(credit.bytes.get().saturating_sub(bytes));
            credit.hints = credit.hints.saturating_sub(hints);
        }
    }

    /// A page did not go: the receiver has the room for it again.
    #[cfg(feature = "tokio")]
    pub(crate) fn did_not_go(&mut self, bytes: u64, hints: usize) {
        if let Some(credit) = &mut self.credit {
            credit.bytes = Bytes::new(credit.bytes.get().saturating_add(bytes));
            credit.hints = credit.hints.saturating_add(hints);
        }
    }

    /// It took some of its page; gives how long the rest of it rests.
    pub(crate) fn answered(&mut self, env: &StoreEnv, was_pushed: bool) -> Duration {
        let config = env.config();
        let page = config.page_bytes.get();
        let window = self.window.unwrap_or(page);
        let took = env.clock.boot().since(self.sent.0);
        if was_pushed {
            self.came_back(env, true);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = self.sent.2.saturating_mul(1_000_000) / micros;
        self.took = Some(
            self.took
                .map_or(rate, |before| before - before / 8 + rate / 8),
        );
        let window = if took > config.page_time {
            (window / 2).max(1)
        } else {
            window.saturating_add(STEP).min(page)
        };
        self.window = Some(window);
        self.hints = self.hints.map(|hints| hints.saturating_mul(2));
        self.hints = self.hints.filter(|hints| *hints < 1 << 16);
        self.failures = 0;
        config.retry_delay
    }

    /// It took nothing; gives how long it rests.
    pub(crate) fn failed(&mut self, env: &StoreEnv, was_pushed: bool) -> Duration {
        let config = env.config();
        let page = config.page_bytes.get();
        if was_pushed {
            self.came_back(env, false);
        }
        self.window = Some((self.window.unwrap_or(page) / 2).max(1));
        self.hints = Some((self.sent.1 / 2).max(1));
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let rest = config.retry_delay.saturating_mul(doubled);
        let rest = rest.min(config.retry_delay_max.max(config.retry_delay));
        // Many that failed together do not come back together.
        self.part_of(env, rest / 2) + rest / 2
    }

    /// It can be reached again: what was known of it is not true any more. Gives how long it rests, so that not
    /// all who hold hints for it begin at once.
    pub(crate) fn began(&mut self, env: &StoreEnv) -> Duration {
        self.state = TargetState::Up;
        self.came_up += 1;
        self.came_up_at.rotate_left(1);
        if let Some(last) = self.came_up_at.last_mut() {
            *last = Some(env.clock.boot());
        }
        self.failures = 0;
        self.next_at = Boot::default();
        self.congestion = None;
        let jitter = env.config().start_jitter;
        self.part_of(env, jitter)
    }

    /// How often it was said to be up.
    pub(crate) fn came_up(&self) -> u64 {
        self.came_up
    }

    /// Whether it comes and goes.
    pub(crate) fn flaps(&self, now: Boot) -> bool {
        let first = self.came_up_at.first().copied().flatten();
        first.is_some_and(|first| now.since(first) < FLAPS_WITHIN)
    }

    /// Pages in a row that it took nothing of.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Bytes a second that it took of late, while a page was out.
    pub(crate) fn took(&self) -> Option<Bytes> {
        self.took.map(Bytes::new)
    }

    /// Bytes that its next page may hold, as far as its answers say.
    pub(crate) fn window(&self, config: &Config) -> Bytes {
        let page = config.page_bytes.get();
        Bytes::new(self.window.unwrap_or(page).min(page))
    }

    /// Some part of a time, another for each store and each call.
    fn part_of(&mut self, env: &StoreEnv, time: Duration) -> Duration {
        time.mul_f64(self.draw(env))
    }

    /// A number from 0 to 1, another for each store and each call.
    fn draw(&mut self, env: &StoreEnv) -> f64 {
        self.drawn += 1;
        // splitmix64
        let seed = env.incarnation.get().wrapping_add(self.drawn);
        let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = ((bits ^ bits >> 31) >> 40) as u32;
        f64::from(part) / f64::from(1 << 24)
    }
}

/// How long bytes take at a rate.
pub(crate) fn time_of(bytes: u64, rate: Bytes) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate.get().max(1) as f64)
}
