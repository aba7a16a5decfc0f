//! Many nodes hold hints for one that has just come back, and deliver all at once. How slow its live writes
//! get, and how long it takes: by the rules of Cassandra and Scylla, and by ours, which is the engine itself on
//! simulated disks. Prints the table of `docs/herd.md`.
//!
//! `cargo xtask herd` runs it and writes the table down.
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]
#![expect(clippy::cast_sign_loss, reason = "rates and times are not negative")]

mod node;
mod senders;

use hintstore_benches::Result;

use node::{Model, Node, SECOND, Time};
use senders::{Outcome, fixed_concurrency, fixed_rate, ours};

const SEED: u64 = 20_261_128;
/// The hints would take this long at the spare rate.
const BACKLOG: Time = 1_200;
/// Runs are given up after this many times the least time.
const GIVEN_UP: u64 = 4;
/// A live write may take this many times as long in 99 of 100 cases as it does without hints.
const BEARABLE: f64 = 1.5;
/// A hint of this many bytes is what Cassandra's throttle is taken to count.
const HINT: f64 = 1024.0;

/// The 99th percentile of live writes without hints.
fn unloaded(model: Model) -> f64 {
    let mut node = Node::new(model, SEED);
    node.live_until(600 * SECOND);
    let [before, _] = node.p99();
    f64::from(before)
}

/// The highest rate, in hints a second, that the live writes bear.
fn spare(model: Model, unloaded: f64) -> f64 {
    let (mut low, mut high) = (0.0, model.capacity() * (1.0 - model.load));
    for _ in 0..12 {
        let rate = f64::midpoint(low, high);
        let mut node = Node::new(model, SEED + 1);
        let _outcome = fixed_rate(&mut node, 1, u64::MAX, rate, 300 * SECOND);
        let [p99, _] = node.p99();
        if f64::from(p99) <= BEARABLE * unloaded {
            low = rate;
        } else {
            high = rate;
        }
    }
    low
}

struct Scenario {
    name: &'static str,
    holders: u64,
    model: Model,
}

struct Row {
    rule: &'static str,
    p99: [f64; 2],
    converged: Option<f64>,
    sent: f64,
    left: f64,
}

fn rows(of: &Scenario) -> Result<Vec<Row>> {
    let model = of.model;
    let before = Model {
        slower: None,
        ..model
    };
    let after = model.slowed();
    let least = [unloaded(before), unloaded(after)];
    let spares = [spare(before, least[0]), spare(after, least[1])];
    let [spare_before, spare_after] = spares;
    let each = (spare_before * BACKLOG as f64) as u64 / of.holders;
    let hints = each * of.holders;
    // What the spare rate takes, of the node as it is at the time.
    let ideal = match model.slower {
        Some((from, _)) => {
            let from = from as f64 / SECOND as f64;
            from + (hints as f64 - from * spare_before) / spare_after
        }
        None => hints as f64 / spare_before,
    };
    println!(
        "\n{}: {} hints a second to spare of {}{}; {hints} hints, {ideal:.0} s at that rate.\n",
        of.name,
        spare_before as u64,
        model.capacity() as u64,
        if model.slower.is_some() {
            format!(
                ", then {} of {}",
                spare_after as u64,
                after.capacity() as u64
            )
        } else {
            String::new()
        },
    );
    let until = (ideal * SECOND as f64) as Time * GIVEN_UP;
    let row = |rule, node: &mut Node, outcome: Outcome| {
        let [early, late] = node.p99();
        let seconds = outcome.converged.map(|time| time as f64 / SECOND as f64);
        Row {
            rule,
            p99: [f64::from(early) / least[0], f64::from(late) / least[1]],
            converged: seconds.map(|seconds| seconds / ideal),
            sent: outcome.sent as f64 / outcome.delivered.max(1) as f64,
            left: 1.0 - outcome.delivered as f64 / hints as f64,
        }
    };
    let mut rows = Vec::new();
    let mut node = Node::new(model, SEED);
    let throttle = f64::from(1 << 20) / HINT;
    let outcome = fixed_rate(&mut node, of.holders, each, throttle, until);
    rows.push(row("Cassandra: 1 MiB/s ÷ (n − 1) each", &mut node, outcome));
    for (rule, concurrency) in [
        ("Scylla: 8 at once each", 8),
        ("Scylla formerly: 128 at once each", 128),
    ] {
        let mut node = Node::new(model, SEED);
        let outcome = fixed_concurrency(&mut node, of.holders, each, concurrency, until);
        rows.push(row(rule, &mut node, outcome));
    }
    for (rule, seed) in [
        ("hintstore", SEED),
        ("hintstore, another seed", SEED + 1),
        ("hintstore, another seed", SEED + 2),
    ] {
        let mut node = Node::new(model, seed);
        let outcome = ours(&mut node, of.holders as usize, each, until, seed)?;
        rows.push(row(rule, &mut node, outcome));
    }
    Ok(rows)
}

fn main() -> Result<()> {
    let node = Model::NODE;
    let slower = Model {
        slower: Some((BACKLOG / 3 * SECOND, 1.3)),
        ..node
    };
    let few = Model { workers: 1, ..node };
    let scenarios = [
        ("100 coordinators", 100, node),
        ("1,000 coordinators", 1000, node),
        (
            "100 coordinators, and the node gets slower by a third after a third",
            100,
            slower,
        ),
        ("10 coordinators", 10, node),
        ("one coordinator", 1, node),
        ("100 coordinators, and a node of one worker", 100, few),
    ];
    let only = std::env::args().nth(1);
    for (name, holders, model) in scenarios {
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let scenario = Scenario {
            name,
            holders,
            model,
        };
        let rows = rows(&scenario)?;
        let is_slower = model.slower.is_some();
        println!("| rule | live p99 | time to converge | sent for each delivered | left |");
        println!("| --- | --- | --- | --- | --- |");
        for row in rows {
            let [early, late] = row.p99;
            let p99 = if is_slower {
                format!("{early:.2}, then {late:.2}")
            } else {
                format!("{early:.2}")
            };
            let converged = row
                .converged
                .map_or(format!("more than {GIVEN_UP}"), |ratio| {
                    format!("{ratio:.2}")
                });
            let left = row.left * 100.0;
            println!(
                "| {} | {p99} | {converged} | {:.2} | {left:.0} % |",
                row.rule, row.sent
            );
        }
    }
    Ok(())
}
