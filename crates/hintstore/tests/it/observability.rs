//! Seeing inside: the snapshot, and the adapters on top of it.

use std::time::Duration;

use hintstore::{Durability, Refusal, TargetState, Truncate};

use crate::harness::{LONG, START, World, small_config, target};

#[test]
fn the_snapshot_says_what_there_is() {
    let mut config = small_config();
    config.hint_window = Some(Duration::from_hours(3));
    let mut world = World::opened(config);
    for to in 0..3 {
        for _ in 0..20 {
            assert!(world.append(to, 300, Durability::Os));
        }
    }
    world.append(2, 700 << 10, Durability::Os);
    world.store().target(target(1)).up();
    world.runner.advance(Duration::from_secs(2));
    while world.deliver(0, |_| false, |_| false) > 0 {}
    world.checkpoint();
    let page = world.store().target(target(1)).page().unwrap().unwrap();
    let all = world.store().snapshot();
    assert_eq!(all.ledger, world.store().ledger());
    let [first, second, third] = &all.targets[..] else {
        panic!("{all:?}");
    };
    assert_eq!((first.books.pending(), first.oldest), (0, None));
    assert_eq!((second.state, second.pages_out), (TargetState::Up, 1));
    assert_eq!(third.books.pending(), 20);
    assert_eq!(third.refused.iter().map(|(_, n)| n).sum::<u64>(), 1);
    let limit = world.config.hint_bytes_max;
    assert_eq!(all.refused.get(Refusal::TooLarge { limit }), 1);
    assert_eq!(third.next_expiry, Some(START.saturating_add(LONG)));
    let oldest = third.oldest.unwrap();
    assert!(oldest >= START && oldest.saturating_since(START) < Duration::from_secs(2));
    assert!(third.bytes.get() >= 20 * 300 && all.disk_used >= third.bytes);
    drop(page);
    world.store().truncate(&Truncate::default()).unwrap();
    world.runner.advance(Duration::from_secs(1));
    let none = world.store().snapshot();
    assert!(
        none.targets
            .iter()
            .all(|t| t.books.pending() == 0 && t.next_expiry.is_none())
    );
}

#[test]
fn the_windows_say_since_when() {
    let mut config = small_config();
    config.sync_interval = Duration::from_secs(10);
    let mut world = World::opened(config);
    let since = |world: &World| {
        let snapshot = world.store().snapshot();
        (snapshot.unflushed_since, snapshot.unsynced_since)
    };
    assert_eq!(since(&world), (None, None));
    assert!(world.append(0, 30, Durability::Buffered));
    assert_eq!(since(&world), (Some(START), None));
    world.runner.advance(Duration::from_secs(1));
    assert_eq!(since(&world), (None, Some(START)));
    assert!(world.append(1, 30, Durability::Buffered));
    assert_eq!(since(&world).1, Some(START));
    world.runner.advance(Duration::from_secs(30));
    assert_eq!(since(&world), (None, None));
    world.drain(2);
    world.assert_right();
}

#[cfg(feature = "prometheus")]
#[test]
fn metrics_are_the_snapshot() {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    let mut world = World::opened(small_config());
    for _ in 0..7 {
        assert!(world.append(0, 30, Durability::Os));
    }
    world.append(0, 700 << 10, Durability::Os);
    while world.deliver(0, |number| number > 4, |_| false) > 3 {}
    let mut registry = Registry::default();
    let metrics = hintstore::prometheus::Metrics::of(world.store());
    registry.register_collector(Box::new(metrics));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "hints_accepted_total 7",
        "hints_ended_total{end=\"delivered\"} 4",
        "hints_refused_total{reason=\"too_large\"} 1",
        "hints_pending 3",
        "hints_healthy 1",
        "hints_files_gone_total 0",
        &format!("hints_target_pending{{target=\"{}\"}} 3", target(0)),
        "# TYPE hints_unsynced_bytes gauge",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}:\n{text}");
    }
    drop(registry);
    world.drain(1);
}
