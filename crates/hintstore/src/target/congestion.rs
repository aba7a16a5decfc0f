//! How often a target is sent to, so that its own live writes do not wait for its hints.
//!
//! All that a node sees of a target to which others deliver as well is how long its answers take. What this is
//! without hints is measured while all are nearly quiet: in the first two seconds of each half minute of the wall
//! clock, which the nodes of a cluster share, each sends an eighth. Every other page is a single hint, so that
//! what is compared is alike at any rate. An answer is late where it takes 1.3 times as long as all but 8 %
//! take in the quiet; the rate grows for each that is in time and shrinks for each that is late, so that it
//! stands where a given part is late: 8 % at a node that has one hint on its way at any time, more at one that
//! sends less, and so all who send converge on like parts.
//! `docs/herd.md` has what comes of it.

use std::time::Duration;

use hintstore_env::Boot;
use hintstore_format::UnixMillis;

/// All are quiet in the first part of each period.
const PERIOD: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(2);
/// A queue that is there when the quiet begins is gone after this.
const SETTLING: Duration = Duration::from_millis(100);
/// A quiet node sends this part of its rate.
const QUIET_PART: f64 = 1.0 / 8.0;
/// Of the answers that come in the quiet, this part comes later than the line that `LATE` is a multiple of. The
/// rate stands where the same part is late.
const LATE_PART: f64 = 0.08;
/// An answer is late from this multiple of that line on.
const LATE: f64 = 1.30;
/// A node whose rate is smaller by these many doublings bears twice as many late answers.
const SHARING: f64 = 5.0;
/// The rate grows by this part in a second in which no answer is late.
const GROWTH: f64 = 0.2;
/// No single late answer takes more of the rate than this.
const CUT_MAX: f64 = 0.5;
/// Answers in the quiet that are remembered.
const SAMPLES: usize = 128;
/// With fewer, all that come count as such: the rate is small at first.
const SAMPLES_MIN: usize = 32;
/// A page and a single hint take what is sent in this time, at least.
const SLOT: f64 = 0.004;
/// However long an answer takes, a page takes no more than what is sent in twice this time.
const ROUND_MAX: f64 = 0.5;
/// All who hold hints for a target begin with this many hints a second, together.
const BEGIN: f64 = 150.0;
/// How many these are, where nobody said who the members are.
const HOLDERS: usize = 100;
/// No rate falls below this part of what it began with.
const FLOOR: f64 = 0.25;

/// The whole part of a number that is not negative.
#[expect(
    clippy::cast_sign_loss,
    reason = "no caller has a negative one, and it would be 0"
)]
fn whole(number: f64) -> usize {
    number as usize
}

/// How often a target is sent to.
#[derive(Debug)]
pub(crate) struct Congestion {
    /// Hints a second.
    rate: f64,
    floor: f64,
    /// What single hints took in the quiet, in microseconds: a ring.
    quiet: [u32; SAMPLES],
    seen: usize,
    /// What an answer in the quiet takes, and from when on one is late, in seconds.
    usual: f64,
    late_from: f64,
    /// How long a page and a single hint take one after the other, in seconds.
    round: f64,
    page: Option<Sent>,
    /// The next page is a single hint.
    is_single: bool,
    /// When the last single hint was sent.
    single_at: Boot,
    next_at: Boot,
}

/// The page that is out.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Boot,
    hints: usize,
    is_quiet: bool,
    /// It was to be a single hint.
    is_single: bool,
    /// It counts as one that was sent in the quiet.
    is_settled: bool,
}

/// How far the wall clock is into its period.
fn into_period(wall: UnixMillis) -> Duration {
    let period = PERIOD.as_millis() as i64;
    Duration::from_millis(wall.get().rem_euclid(period).unsigned_abs())
}

impl Congestion {
    /// Begins with one of `holders` parts; nothing where nobody knows how many hold hints.
    pub(super) fn new(holders: Option<usize>) -> Self {
        let rate = BEGIN / holders.unwrap_or(HOLDERS).max(1) as f64;
        Self {
            rate,
            floor: rate * FLOOR,
            quiet: [0; SAMPLES],
            seen: 0,
            usual: 0.0,
            late_from: f64::INFINITY,
            round: 0.0,
            page: None,
            is_single: true,
            single_at: Boot::default(),
            next_at: Boot::default(),
        }
    }

    /// How many hints the next page may hold, or until when nothing goes.
    pub(super) fn hints(&self, now: Boot) -> Result<usize, Boot> {
        if self.next_at > now {
            return Err(self.next_at);
        }
        if self.is_single {
            return Ok(1);
        }
        // What is sent while this page and a single hint are on their way, less that hint.
        let hints = self.rate * self.round.max(SLOT) - 1.0;
        Ok(whole(hints).max(1))
    }

    /// One hint goes in this time.
    pub(super) fn hint_interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// A page went to it.
    pub(super) fn sent(&mut self, now: Boot, wall: UnixMillis, hints: usize) {
        let into = into_period(wall);
        let is_quiet = into < QUIET;
        self.page = Some(Sent {
            at: now,
            hints,
            is_quiet,
            is_single: self.is_single,
            is_settled: is_quiet && into > SETTLING,
        });
        self.is_single = !self.is_single;
    }

    /// The page that is out was answered, or came back with nothing said of it. `draw` gives a number
    /// between 0 and 1, another each time.
    pub(super) fn answered(
        &mut self,
        now: Boot,
        wall: UnixMillis,
        took_any: bool,
        mut draw: impl FnMut() -> f64,
    ) {
        let Some(page) = self.page.take() else {
            return;
        };
        let took = now.since(page.at).as_secs_f64();
        self.round += (2.0 * took.min(ROUND_MAX) - self.round) / 16.0;
        if page.hints == 1 || !took_any {
            self.learn(page, took, took_any);
            self.single_at = page.at;
        }
        if !page.is_single {
            // What cannot be sent, as answers take too long, is no rate.
            let taken = (page.hints + 1) as f64 / self.round.max(1e-6);
            self.rate = self.rate.min(2.0 * taken);
        }
        self.rate = self.rate.max(self.floor);
        let into = into_period(wall);
        let of_rate = |rate: f64, part: f64| page.hints as f64 / rate * part;
        let gap = if into < QUIET {
            let gap = of_rate((self.rate * QUIET_PART).max(self.floor), 0.5 + draw());
            let left = QUIET.saturating_sub(into).as_secs_f64() + took;
            if gap > left {
                left + of_rate(self.rate, 0.5 + draw()) * draw()
            } else {
                gap
            }
        } else {
            let gap = of_rate(self.rate, 0.5 + draw());
            // What goes that seldom goes in the quiet: else it never learns that the target is well.
            let half = PERIOD.as_secs_f64() / 2.0;
            let quiet = PERIOD.saturating_sub(into) + SETTLING;
            let part = QUIET.saturating_sub(SETTLING).mul_f64(draw());
            if gap > half {
                (quiet + part).as_secs_f64() + took
            } else {
                gap
            }
        };
        self.next_at = page.at + Duration::from_secs_f64(gap.min(60.0));
    }

    fn learn(&mut self, page: Sent, took: f64, took_any: bool) {
        let is_known = self.seen >= SAMPLES_MIN;
        if took_any && (page.is_settled || !is_known) {
            let micros = whole(took * 1e6);
            if let Some(slot) = self.quiet.get_mut(self.seen % SAMPLES) {
                *slot = u32::try_from(micros).unwrap_or(u32::MAX);
            }
            self.seen += 1;
            if self.seen >= SAMPLES_MIN / 2 && self.seen.is_multiple_of(8) {
                self.draw_line();
            }
        }
        if page.is_quiet && took_any {
            return;
        }
        // From one to the next as they were sent: what a late one takes itself must not count.
        let since = page.at.since(self.single_at).as_secs_f64().min(1.0);
        let flight = self.rate * self.usual;
        let borne = if flight > 0.0 {
            (LATE_PART * (-flight.log2() / SHARING).exp2()).clamp(0.01, 0.4)
        } else {
            LATE_PART
        };
        let odds = (1.0 - borne) / borne;
        if took > self.late_from || !took_any {
            self.rate *= 1.0 - (GROWTH * since * odds).min(CUT_MAX);
        } else {
            self.rate *= 1.0 + (GROWTH * since).min(CUT_MAX / odds);
        }
    }

    fn draw_line(&mut self) {
        let mut sorted = self.quiet;
        let known = sorted.get_mut(..self.seen.min(SAMPLES)).unwrap_or_default();
        known.sort_unstable();
        let at = |part: f64| {
            let at = whole(known.len() as f64 * part);
            known
                .get(at)
                .map_or(f64::INFINITY, |micros| f64::from(*micros) / 1e6)
        };
        self.usual = at(0.5);
        self.late_from = at(1.0 - LATE_PART) * LATE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends pages for some seconds, to a target that answers after what `takes` says.
    fn run(
        congestion: &mut Congestion,
        from: Duration,
        seconds: u64,
        takes: impl Fn(Duration, usize) -> Duration,
    ) -> u64 {
        let (mut now, mut sent) = (from, 0);
        let wall = |now: Duration| UnixMillis::new(now.as_millis() as i64);
        let mut random = 1_u64;
        while now < from + Duration::from_secs(seconds) {
            match congestion.hints(Boot::new(now)) {
                Err(until) => now = until.get(),
                Ok(hints) => {
                    let hints = hints.min(1000);
                    congestion.sent(Boot::new(now), wall(now), hints);
                    sent += hints as u64;
                    now += takes(now, hints);
                    congestion.answered(Boot::new(now), wall(now), true, || {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        (random >> 40) as f64 / f64::from(1 << 24)
                    });
                }
            }
        }
        sent
    }

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn it_begins_with_its_part_and_grows_while_answers_are_in_time() {
        let mut alone = Congestion::new(Some(1));
        let mut of_many = Congestion::new(Some(1000));
        let part = of_many.hint_interval().as_secs_f64() / alone.hint_interval().as_secs_f64();
        assert!((part - 1000.0).abs() < 1.0, "{part}");
        for congestion in [&mut alone, &mut of_many] {
            let before = congestion.hint_interval();
            run(congestion, Duration::ZERO, 120, |_, _| MILLISECOND);
            let after = congestion.hint_interval();
            assert!(after * 4 < before, "{before:?}, then {after:?}");
        }
    }

    #[test]
    fn late_answers_slow_it_down_to_a_floor_and_no_further() {
        let mut congestion = Congestion::new(Some(1));
        let floor = congestion.hint_interval().mul_f64(1.0 / FLOOR);
        run(&mut congestion, Duration::ZERO, 60, |_, _| MILLISECOND);
        let behind_the_quiet = Duration::from_secs(63);
        run(&mut congestion, behind_the_quiet, 26, |_, _| {
            20 * MILLISECOND
        });
        let slow = congestion.hint_interval();
        assert!(slow <= floor + MILLISECOND, "{slow:?}");
        assert!(slow * 2 > floor, "{slow:?}");
    }

    #[test]
    fn a_target_that_is_slower_without_hints_too_is_no_reason_to_slow_down() {
        let mut congestion = Congestion::new(Some(1));
        let later = Duration::from_mins(10);
        run(&mut congestion, Duration::ZERO, 600, |_, _| MILLISECOND);
        run(&mut congestion, later, 600, |_, _| 3 * MILLISECOND);
        assert!(congestion.hint_interval() < 3 * MILLISECOND);
    }

    #[test]
    fn nearly_nothing_goes_while_all_are_quiet() {
        let mut congestion = Congestion::new(Some(1));
        run(&mut congestion, Duration::ZERO, 599, |_, _| MILLISECOND);
        let quiet = run(&mut congestion, Duration::from_secs(600), 2, |_, _| {
            MILLISECOND
        });
        let busy = run(&mut congestion, Duration::from_secs(603), 2, |_, _| {
            MILLISECOND
        });
        assert!(
            quiet * 4 < busy,
            "{quiet} hints in the quiet, {busy} behind it"
        );
    }

    #[test]
    fn single_hints_alone_do_not_grow_it_without_bound() {
        let mut congestion = Congestion::new(Some(1));
        let mut now = Duration::from_secs(3);
        for _ in 0..50_000 {
            now += MILLISECOND;
            let wall = UnixMillis::new(now.as_millis() as i64);
            congestion.sent(Boot::new(now), wall, 1);
            now += MILLISECOND;
            congestion.answered(Boot::new(now), wall, true, || 0.5);
        }
        // Two hints go in two answers of a millisecond.
        let interval = congestion.hint_interval();
        assert!(interval * 5 > MILLISECOND, "{interval:?}");
    }
}
