//! The alerts in `docs/alerts.yml`: each fires in the state that it is for, and none of a store that is well.

use std::{collections::BTreeMap, path::Path, time::Duration};

use hintstore::{
    Bytes, Concern, Durability, Hint, UnixMillis, Urgency, Verdict, prometheus::Metrics,
};
use prometheus_client::{encoding::text::encode, registry::Registry};

use crate::harness::{World, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

/// The rules: name and expression.
fn rules() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/alerts.yml");
    let text = std::fs::read_to_string(path).unwrap();
    let field = |line: &str, name: &str| {
        let value = line.trim().trim_start_matches("- ").strip_prefix(name)?;
        Some(value.trim().to_owned())
    };
    let names = text.lines().filter_map(|line| field(line, "alert:"));
    let expressions = text.lines().filter_map(|line| field(line, "expr:"));
    let rules: Vec<_> = names.zip(expressions).collect();
    assert_eq!(
        text.matches("action:").count(),
        rules.len(),
        "each says what to do"
    );
    rules
}

/// What a scrape gives: the values of each metric, whatever their labels.
fn scrape(world: &World) -> BTreeMap<String, Vec<f64>> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics::of(world.store())));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let mut metrics: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.split('{').next().unwrap();
        metrics
            .entry(name.to_owned())
            .or_default()
            .push(value.parse().unwrap());
    }
    metrics
}

/// Whether a rule fires: `metric OP number`, `metric OP metric`, and an increase since nothing was counted.
fn fires(expression: &str, metrics: &BTreeMap<String, Vec<f64>>) -> bool {
    let words: Vec<&str> = expression.split_whitespace().collect();
    let [left, sign, right] = words[..] else {
        unreachable!("{expression}");
    };
    let values = |word: &str| {
        let word = word.strip_prefix("increase(").unwrap_or(word);
        let word = word.split('[').next().unwrap();
        match word.parse() {
            Ok(number) => vec![number],
            // One that is not there fires nothing: a wrong name is a rule that no test fires.
            Err(_) => metrics.get(word).cloned().unwrap_or_default(),
        }
    };
    let Some(right) = values(right).first().copied() else {
        return false;
    };
    values(left).iter().any(|left| match sign {
        ">" => *left > right,
        "==" => (*left - right).abs() < f64::EPSILON,
        _ => unreachable!("{expression}"),
    })
}

/// The names of the rules that fire.
fn firing(world: &World) -> Vec<String> {
    let metrics = scrape(world);
    let rules = rules().into_iter();
    let firing = rules.filter(|(_, expression)| fires(expression, &metrics));
    firing.map(|(name, _)| name).collect()
}

/// A store with one hint that waits.
fn well() -> World {
    let mut world = World::opened(small_config().with(|config| {
        config.hint_window = Some(Duration::from_hours(3));
    }));
    assert!(world.append(0, 100, Durability::Durable));
    world.runner.advance(SECOND);
    world
}

#[test]
fn a_store_that_is_well_fires_none() {
    let world = well();
    assert_eq!(firing(&world), [] as [String; 0]);
    assert_eq!(world.store().snapshot().concerns(), []);
}

#[test]
fn what_an_operator_has_to_act_on_comes_with_what_to_do_the_most_urgent_first() {
    let mut world = well();
    let handle = world.store().target(target(0));
    handle.up();
    for _ in 0..5 {
        handle.page().unwrap().unwrap().retry();
        world.runner.advance(30 * SECOND);
    }
    world.runner.advance(Duration::from_mins(15));
    let old = Hint::new(target(1), UnixMillis::new(0), SECOND, b"old");
    world.store().append(old, Durability::Os).unwrap_err();
    let concerns = world.store().snapshot().concerns();
    let [losses, fails, behind] = &concerns[..] else {
        panic!("{concerns:?}");
    };
    assert_eq!(*losses, Concern::Losses { receipts: 1 });
    assert_eq!(losses.urgency(), Urgency::Critical);
    assert!(matches!(fails, Concern::Fails { failures: 5.., .. }));
    assert!(matches!(behind, Concern::Behind { age, .. } if *age > Duration::from_mins(10)));
    assert!(fails.to_string().contains("pause it"), "{fails}");
    // It takes 100 bytes in minutes, and the rest would take longer than it lives.
    for _ in 0..200 {
        world.append_living(0, 900, Durability::Os, Duration::from_hours(1));
    }
    let page = handle.page().unwrap().unwrap();
    world.runner.advance(200 * SECOND);
    page.delivered().unwrap();
    let concerns = world.store().snapshot().concerns();
    let first = |concern: &Concern| matches!(concern, Concern::ExpiresFirst { .. });
    assert!(
        concerns.iter().any(first),
        "{concerns:?} {:?}",
        handle.snapshot()
    );
}

#[test]
fn each_alert_fires_in_its_state() {
    let mut seen = Vec::new();
    let mut fired = |name: &str, world: &World| {
        let firing = firing(world);
        assert!(firing.iter().any(|of| of == name), "{name}: {firing:?}");
        seen.push(name.to_owned());
    };

    let world = well();
    let old = Hint::new(target(1), UnixMillis::new(0), SECOND, b"old");
    world.store().append(old, Durability::Os).unwrap_err();
    fired("HintsLost", &world);
    fired("HintsRefused", &world);

    let mut world = well();
    world.close_and_open();
    let names = world.disk.names().into_iter();
    let hints = names.filter(|name| name.ends_with(".hints"));
    hints.for_each(|name| world.disk.take_away(&name));
    drop(world.store().sweep());
    fired("HintsStoreUnhealthy", &world);

    let mut world = World::opened(small_config().with(|config| {
        config.disk.total = Some(Bytes::mib(5));
        config.disk.target = config.disk.total;
    }));
    while world.append(0, 900, Durability::Os) {}
    fired("HintsDiskFull", &world);

    let world = well();
    let handle = world.store().target(target(0));
    for _ in 0..5 {
        handle.page().unwrap().unwrap().retry();
        world.runner.advance(30 * SECOND);
    }
    fired("HintsTargetFails", &world);

    let world = well();
    let handle = world.store().target(target(0));
    for _ in 0..4 {
        handle.up();
        handle.down();
    }
    fired("HintsTargetFlaps", &world);

    let world = well();
    let page = world.store().target(target(0)).page().unwrap().unwrap();
    page.answer_each(|_| Verdict::UnknownNamespace).unwrap();
    fired("HintsTargetUnknownNamespace", &world);

    let world = well();
    world.runner.advance(Duration::from_mins(150));
    fired("HintsTargetOld", &world);
    world.runner.advance(Duration::from_hours(1));
    fired("HintsTargetPastWindow", &world);

    let mut all: Vec<String> = rules().into_iter().map(|(name, _)| name).collect();
    all.sort();
    seen.sort();
    assert_eq!(seen, all, "a rule that no test fires");
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let mut world = well();
    world.deliver_all(0);
    assert!(world.append(0, 100, Durability::Durable));
    world.runner.advance(SECOND);
    let metrics = scrape(&world);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/grafana.json");
    let text = std::fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut names = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("hints_")) {
            assert!(metrics.contains_key(name), "{name}: {:?}", metrics.keys());
            names += 1;
        }
    }
    assert!(names >= panels.len(), "{names}");
}
