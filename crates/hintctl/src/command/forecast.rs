//! `forecast`: how long a backlog takes at a rate, what expires before it is delivered, and the rate at which
//! nothing does.
//!
//! Targets are served side by side, each in the order of its hints. What has expired costs nothing. Memory is
//! bounded: hints that lie side by side and expire at about the same time are taken together, the more of them the
//! longer the backlog is.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use hintstore::{Clock as _, Namespace, SystemClock, TargetId, UnixMillis};
use hintstore_cassandra::Schema;
use serde_json::json;

use super::{tally::table_name, verify::tell};
use crate::{
    args::Forecast,
    decode,
    filter::Filter,
    input::{Finding, Flow, HintView, Pending, Visitor, each},
    output::{Columns, Of, Output, bytes, count, span, time},
};

/// No more groups of hints are held, unless there are more targets and tables.
const GROUPS_MAX: usize = 1 << 17;

const YEAR_MS: i64 = 366 * 24 * 60 * 60 * 1000;

/// How much of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    hints: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.hints += other.hints;
        self.bytes += other.bytes;
    }
}

/// Hints that lie side by side: by table, and the tick in which they expire.
type Stretch = BTreeMap<(Namespace, i64), Expiring>;

/// Hints that are taken to expire at one time: the first of them is not delivered too late.
#[derive(Clone, Copy, Debug)]
struct Expiring {
    sum: Sum,
    /// When the first expires.
    expires_ms: i64,
}

impl Expiring {
    fn put(into: &mut Stretch, key: (Namespace, i64), one: Self) {
        let held = into.entry(key).or_insert(Self {
            sum: Sum::default(),
            ..one
        });
        held.sum.add(one.sum);
        held.expires_ms = held.expires_ms.min(one.expires_ms);
    }
}

/// What there is for one target, in order.
#[derive(Debug, Default)]
struct Backlog {
    stretches: Vec<Stretch>,
    /// Of the last one.
    last_bytes: u64,
}

/// All that is to be delivered.
#[derive(Debug)]
struct Backlogs {
    targets: BTreeMap<TargetId, Backlog>,
    /// Hints that lie side by side, up to this many bytes, are reached at the same time: when the last of them is.
    stretch_bytes: u64,
    /// Hints of a stretch that expire within this are taken to expire with the first of them.
    tick_ms: i64,
    groups: usize,
    /// No more are held: from there on, stretches are twice as long.
    groups_max: usize,
}

/// What becomes of a backlog.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    delivered: Sum,
    lost: Sum,
    /// In seconds from the beginning.
    drained_after: f64,
}

impl Outcome {
    /// In whole seconds.
    fn drained_after(&self) -> u64 {
        Duration::try_from_secs_f64(self.drained_after.ceil())
            .map_or(u64::MAX, |after| after.as_secs())
    }
}

pub(crate) fn run(args: &Forecast, output: &mut Output) -> anyhow::Result<()> {
    let schema = decode::schema(args.which.schema.as_ref(), output)?;
    let filter = Filter::new(&args.which, schema.as_ref())?;
    output.rows("target", COLUMNS)?;
    let now = SystemClock.wall().get();
    let begin = args.begin.map_or(now, UnixMillis::get);
    let mut backlogs = Backlogs {
        targets: BTreeMap::new(),
        stretch_bytes: 1,
        tick_ms: 1,
        groups: 0,
        groups_max: GROUPS_MAX,
    };
    let mut dead = Sum::default();
    each(&args.sources, &filter, output, |input, output| {
        input.tell_misnamed(output)?;
        let mut pending = Pending::of(input, output)?;
        let bar = output.bar(input.hint_bytes());
        for found in input.hints() {
            let mut reader = Reader {
                backlogs: &mut backlogs,
                dead: &mut dead,
                pending: &mut pending,
                filter: &filter,
                dead_at: now.min(begin),
                file: &found.name,
                output,
            };
            let walked = bar.walk(input, found, &mut reader);
            tell(walked, &found.name, output)?;
        }
        bar.finish();
        Ok(())
    })?;
    filter.tell_unsure(output);
    let rate = args.rate.get();
    let (outcomes, lost) = backlogs.deliver(rate, args.per_target, begin);
    let needed = backlogs.needed(args.per_target, begin);
    print(args, &backlogs, &outcomes, &lost, schema.as_ref(), output)?;
    let mut all = Outcome::default();
    for outcome in outcomes.values() {
        all.delivered.add(outcome.delivered);
        all.lost.add(outcome.lost);
        all.drained_after = all.drained_after.max(outcome.drained_after);
    }
    output.sum("begin_ms", begin);
    output.sum("rate_bytes_per_second", rate);
    output.sum("per_target", args.per_target);
    output.sum("hints", all.delivered.hints + all.lost.hints);
    output.sum("expired_hints", dead.hints);
    output.sum("expired_bytes", dead.bytes);
    output.sum("lost_hints", all.lost.hints);
    output.sum("lost_bytes", all.lost.bytes);
    output.sum("drained_after_s", all.drained_after());
    output.sum("needed_bytes_per_second", needed);
    if dead.hints > 0 {
        output.text(&format!(
            "{} of {} already expired: no time goes into that",
            count(dead.hints, "hint"),
            bytes(dead.bytes)
        ))?;
    }
    if all.delivered.hints + all.lost.hints == 0 {
        return output.text("there is nothing to deliver");
    }
    let each = if args.per_target { " for each" } else { "" };
    output.text(&format!(
        "drained {} after {}, at {}/s{each}",
        span(all.drained_after()),
        time(begin),
        bytes(rate)
    ))?;
    if all.lost.hints == 0 && output.is_complete() {
        return output.text("nothing expires before it is delivered");
    }
    if all.lost.hints == 0 {
        return Ok(());
    }
    output.problem();
    output.text(&format!(
        "{} of {} will expire before delivery; {}",
        count(all.lost.hints, "hint"),
        bytes(all.lost.bytes),
        match needed {
            Some(needed) => format!("to lose none it takes {}/s{each}", bytes(needed)),
            None => "no rate is enough to lose none".to_owned(),
        }
    ))
}

/// The columns of a target's line.
const COLUMNS: Columns = &[
    ("target", Of::Text),
    ("hints", Of::Int),
    ("payload_bytes", Of::Int),
    ("drained_after_s", Of::Int),
    ("lost_hints", Of::Int),
    ("lost_bytes", Of::Int),
];

fn print(
    args: &Forecast,
    backlogs: &Backlogs,
    outcomes: &BTreeMap<TargetId, Outcome>,
    lost: &BTreeMap<Namespace, Sum>,
    schema: Option<&Schema>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let lost_cells = |sum: Sum| match sum.hints {
        0 => [String::new(), String::new()],
        hints => [hints.to_string(), bytes(sum.bytes)],
    };
    let mut rows = Vec::new();
    for target in backlogs.targets.keys() {
        let Some(of) = outcomes.get(target) else {
            continue;
        };
        let mut all = of.delivered;
        all.add(of.lost);
        let after = of.drained_after();
        output.line(
            "target",
            json!({
                "target": target.to_string(),
                "hints": all.hints,
                "payload_bytes": all.bytes,
                "drained_after_s": after,
                "lost_hints": of.lost.hints,
                "lost_bytes": of.lost.bytes,
            }),
        )?;
        let [hints, size] = lost_cells(of.lost);
        rows.push(vec![
            target.to_string(),
            all.hints.to_string(),
            bytes(all.bytes),
            span(after),
            hints,
            size,
        ]);
    }
    let head = [
        "TARGET",
        "HINTS",
        "PAYLOAD",
        "DRAINED AFTER",
        "EXPIRE BEFORE",
        "OF THAT",
    ];
    output.table(&head, rows)?;
    let mut rows = Vec::new();
    for (namespace, sum) in lost {
        let name = table_name(schema, *namespace);
        output.line(
            "table",
            json!({ "table": name, "lost_hints": sum.hints, "lost_bytes": sum.bytes }),
        )?;
        rows.push(vec![name, sum.hints.to_string(), bytes(sum.bytes)]);
    }
    if !rows.is_empty() {
        let at = format!(
            "Expire before they are delivered, at {}/s:",
            bytes(args.rate.get())
        );
        output.heading(&at)?;
    }
    output.table(&["TABLE", "HINTS", "PAYLOAD"], rows)
}

struct Reader<'a> {
    backlogs: &'a mut Backlogs,
    /// What has expired at the beginning.
    dead: &'a mut Sum,
    pending: &'a mut Pending,
    filter: &'a Filter<'a>,
    /// What has expired by then cannot be saved.
    dead_at: i64,
    file: &'a str,
    output: &'a mut Output,
}

impl Visitor for Reader<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if !self.pending.has(hint) || !self.filter.has(hint) {
            return Ok(Flow::Go);
        }
        let one = Sum {
            hints: 1,
            bytes: hint.payload.len() as u64,
        };
        if hint.expires_at_ms() <= self.dead_at {
            self.dead.add(one);
        } else {
            self.backlogs
                .add(hint.target, hint.namespace, hint.expires_at_ms(), one);
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.output.bad(self.file, bad)
    }
}

impl Backlogs {
    fn add(&mut self, target: TargetId, namespace: Namespace, expiry: i64, sum: Sum) {
        let backlog = self.targets.entry(target).or_default();
        if backlog.stretches.is_empty() || backlog.last_bytes + sum.bytes > self.stretch_bytes {
            backlog.stretches.push(Stretch::new());
            backlog.last_bytes = 0;
        }
        backlog.last_bytes += sum.bytes;
        if let Some(stretch) = backlog.stretches.last_mut() {
            let before = stretch.len();
            let key = (namespace, expiry.div_euclid(self.tick_ms));
            let expires_ms = expiry;
            Expiring::put(stretch, key, Expiring { sum, expires_ms });
            self.groups += stretch.len() - before;
        }
        if self.groups > self.groups_max {
            self.coarsen();
            while self.groups > self.groups_max / 2 && self.stretches() > self.targets.len() {
                self.coarsen();
            }
            // One group for each table of each target stays, however coarse they are.
            self.groups_max = self.groups_max.max(2 * self.groups);
        }
    }

    /// Takes two stretches for one; and two times of expiry, where that is not enough.
    fn coarsen(&mut self) {
        self.stretch_bytes *= 2;
        self.regroup(2, 1);
        // Where hints expire far apart it takes several.
        let enough = (self.groups_max / 2).max(self.stretches());
        while self.groups > enough && self.tick_ms < YEAR_MS {
            self.tick_ms *= 2;
            self.regroup(1, 2);
        }
    }

    fn stretches(&self) -> usize {
        let backlogs = self.targets.values();
        backlogs.map(|backlog| backlog.stretches.len()).sum()
    }

    fn regroup(&mut self, stretches: usize, ticks: i64) {
        self.groups = 0;
        for backlog in self.targets.values_mut() {
            let fine = std::mem::take(&mut backlog.stretches);
            for near in fine.chunks(stretches) {
                let mut coarse = Stretch::new();
                for ((namespace, tick), one) in near.iter().flatten() {
                    let key = (*namespace, tick.div_euclid(ticks));
                    Expiring::put(&mut coarse, key, *one);
                }
                self.groups += coarse.len();
                backlog.stretches.push(coarse);
            }
            let last = backlog.stretches.last();
            backlog.last_bytes =
                last.map_or(0, |last| last.values().map(|one| one.sum.bytes).sum());
        }
    }

    /// Delivers all at a rate: what becomes of each target's hints, and what is lost of each table.
    fn deliver(
        &self,
        rate: u64,
        per_target: bool,
        begin: i64,
    ) -> (BTreeMap<TargetId, Outcome>, BTreeMap<Namespace, Sum>) {
        let mut outcomes: BTreeMap<TargetId, Outcome> = BTreeMap::new();
        let mut lost: BTreeMap<Namespace, Sum> = BTreeMap::new();
        // Of each target what it has been given when its present stretch is delivered: those that are served have
        // all been given the same.
        let mut running = BinaryHeap::new();
        for target in self.targets.keys() {
            running.push(Reverse((0_u64, *target, 0_usize)));
        }
        let (mut now, mut given) = (0.0_f64, 0_u64);
        while let Some(Reverse((until, target, next))) = running.pop() {
            let shares = if per_target { 1 } else { running.len() + 1 };
            now += (until - given) as f64 * shares as f64 / rate as f64;
            given = until;
            let outcome = outcomes.entry(target).or_default();
            outcome.drained_after = now;
            let stretches = self.targets.get(&target).map(|backlog| &backlog.stretches);
            let Some(stretch) = stretches.and_then(|stretches| stretches.get(next)) else {
                continue;
            };
            // Any of several may be the last.
            let mut all = Sum::default();
            for one in stretch.values() {
                all.add(one.sum);
            }
            let ahead = if all.hints > 1 { all.bytes } else { 0 };
            let reached = now + ahead as f64 * shares as f64 / rate as f64;
            let mut alive = 0;
            for ((namespace, _), one) in stretch {
                let expiry = one.expires_ms.saturating_sub(begin);
                if expiry as f64 / 1000.0 <= reached {
                    outcome.lost.add(one.sum);
                    lost.entry(*namespace).or_default().add(one.sum);
                } else {
                    outcome.delivered.add(one.sum);
                    alive += one.sum.bytes;
                }
            }
            running.push(Reverse((given + alive, target, next + 1)));
        }
        (outcomes, lost)
    }

    /// The least rate, in bytes a second, at which nothing expires that has not yet; nothing where some expire at
    /// once, whatever it is.
    fn needed(&self, per_target: bool, begin: i64) -> Option<u64> {
        let loses = |rate: u64| !self.deliver(rate, per_target, begin).1.is_empty();
        let mut enough = 1;
        while loses(enough) {
            if enough >= 1 << 50 {
                return None;
            }
            enough *= 2;
        }
        let mut too_little = enough / 2;
        // To a percent.
        while enough - too_little > enough / 100 + 1 {
            let middle = too_little.midpoint(enough);
            if loses(middle) {
                too_little = middle;
            } else {
                enough = middle;
            }
        }
        Some(enough)
    }
}

#[cfg(test)]
mod tests {
    use super::{Backlogs, GROUPS_MAX, Sum};
    use hintstore::{Namespace, TargetId};
    use std::collections::BTreeMap;

    const HINT: u64 = 1000;

    fn backlogs() -> Backlogs {
        Backlogs {
            targets: BTreeMap::new(),
            stretch_bytes: 1,
            tick_ms: 1,
            groups: 0,
            groups_max: GROUPS_MAX,
        }
    }

    fn fill(into: &mut Backlogs, target: u128, expiry_s: impl Fn(u64) -> i64) {
        let sum = Sum {
            hints: 1,
            bytes: HINT,
        };
        for number in 0..100 {
            let expiry = expiry_s(number) * 1000;
            into.add(TargetId::from_u128(target), Namespace::MIXED, expiry, sum);
        }
    }

    /// A hint a second: what expires before its turn is lost, and takes no time.
    #[test]
    fn hints_expire_as_their_turn_comes_too_late() {
        let mut all = backlogs();
        fill(
            &mut all,
            1,
            |number| if number % 2 == 0 { 1000 } else { 20 },
        );
        let (outcomes, lost) = all.deliver(HINT, false, 0);
        let outcome = &outcomes[&TargetId::from_u128(1)];
        // 20 seconds: ten of each; behind that only those that live on.
        assert_eq!((outcome.delivered.hints, outcome.lost.hints), (60, 40));
        assert!((outcome.drained_after - 60.0).abs() < 0.01, "{outcome:?}");
        assert_eq!(lost[&Namespace::MIXED].hints, 40);
        let needed = all.needed(false, 0).unwrap();
        let exact = HINT * 99 / 20;
        assert!(
            (exact..exact * 103 / 100).contains(&needed),
            "{needed} {exact}"
        );
        assert!(all.deliver(needed, false, 0).1.is_empty());
    }

    #[test]
    fn targets_share_a_rate_or_have_one_each() {
        let mut all = backlogs();
        fill(&mut all, 1, |_| 1000);
        fill(&mut all, 2, |_| 1000);
        let after = |per_target: bool| {
            let (outcomes, _) = all.deliver(HINT, per_target, 0);
            outcomes.values().map(super::Outcome::drained_after).max()
        };
        assert_eq!((after(false), after(true)), (Some(200), Some(100)));
    }

    #[test]
    fn a_long_backlog_is_held_in_coarser_stretches() {
        let mut all = backlogs();
        fill(&mut all, 1, |number| {
            1000 + i64::try_from(number).unwrap_or(0)
        });
        let before = all.deliver(HINT, false, 0).0;
        all.coarsen();
        assert_eq!((all.groups, all.tick_ms), (100, 1));
        assert_eq!(all.targets[&TargetId::from_u128(1)].stretches.len(), 50);
        assert_eq!(before, all.deliver(HINT, false, 0).0);
    }

    /// However coarse, what is said to be enough is, and is not much more; and a time is coarser only where longer
    /// stretches are not enough.
    #[test]
    fn a_coarse_backlog_needs_little_more() {
        for groups_max in [1, GROUPS_MAX] {
            let mut all = backlogs();
            fill(&mut all, 1, |_| 3);
            let needed = all.needed(false, 0).unwrap();
            all.groups_max = groups_max;
            for _ in 0..20 {
                all.coarsen();
                assert!(all.deliver(HINT * 1000, false, 0).1.is_empty());
                let coarse = all.needed(false, 0).unwrap();
                let enough = needed * 98 / 100..needed * 103 / 100;
                assert!(enough.contains(&coarse), "{coarse} {needed}");
            }
            assert_eq!(all.tick_ms, 1);
        }
    }

    #[test]
    fn no_more_groups_are_held_where_hints_expire_far_apart() {
        let mut all = backlogs();
        all.groups_max = 10;
        fill(&mut all, 1, |number| {
            1000 + 7000 * i64::try_from(number).unwrap_or(0)
        });
        assert!(
            all.groups_max <= 20 && all.groups <= 20,
            "{}",
            all.groups_max
        );
        assert!(all.tick_ms > 7_000_000);
    }
}
