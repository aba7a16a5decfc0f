//! What bounds a store, and what it says when a bound is met.

use std::{sync::Arc, time::Duration};

use hintstore::{
    AppendError, Bytes, Cap, Clock as _, Config, Durability, End, Environment, Hint, HintStore,
    Refusal, Scope, Storage as _, SystemClock, Threads, Truncate, inspect::read_journal,
};
use hintstore_sim::{Crash, Random, SimStorage};

use crate::harness::{Fate, LONG, START, World, namespace, small_config, target};

const HOUR: Duration = Duration::from_hours(1);

fn refusal(world: &World, to: u128) -> Option<Refusal> {
    let hint = Hint::new(target(to), world.clock.wall(), LONG, b"1 x").namespace(namespace(1));
    // One that is taken is in nobody's books: the test ends there.
    let answer = world.store().append(hint, Durability::Buffered);
    answer.err()?.refusal()
}

// P6
#[test]
fn a_target_past_the_window_takes_no_more_until_what_is_old_is_gone() {
    let mut config = small_config();
    config.hint_window = Some(3 * HOUR);
    let mut world = World::opened(config);
    assert!(world.append(0, 50, Durability::Os));
    assert!(world.append(1, 50, Durability::Os));
    world.runner.advance(Duration::from_secs(2));
    while world.deliver(1, |_| false, |_| false) > 0 {}
    world.runner.advance(2 * HOUR);
    assert!(world.append(0, 50, Durability::Os));
    world.runner.advance(Duration::from_mins(54));
    assert!(world.append(0, 50, Durability::Os));
    world.runner.advance(Duration::from_mins(8));
    assert_eq!(refusal(&world, 0), Some(Refusal::PastWindow));
    // The other has nothing old.
    assert!(world.append(1, 50, Durability::Os));
    // It flaps: up for a moment, and down. Nothing was delivered, so nothing opens.
    world.store().target(target(0)).up();
    world.store().target(target(0)).down();
    world.crash(Crash::Kill);
    world.open().unwrap();
    assert_eq!(refusal(&world, 0), Some(Refusal::PastWindow));
    let snapshot = world.store().snapshot();
    assert!(snapshot.targets[0].past_window && !snapshot.targets[1].past_window);
    assert_eq!(snapshot.targets[0].refused.get(Refusal::PastWindow), 1);
    // What is old is delivered: what came two hours later is not past the window.
    while world.deliver(0, |number| number > 2, |_| false) > 0 {
        world.runner.advance(Duration::from_secs(2));
        if world.store().snapshot().targets[0].oldest > Some(START.saturating_add(HOUR)) {
            break;
        }
    }
    assert!(world.append(0, 50, Durability::Os));
    world.drain(2);
    world.assert_right();
}

#[test]
fn hints_that_wait_for_a_retry_keep_the_window_closed() {
    let mut config = small_config();
    config.hint_window = Some(HOUR);
    let mut world = World::opened(config);
    for _ in 0..200 {
        assert!(world.append(0, 50, Durability::Os));
    }
    world.runner.advance(Duration::from_secs(1));
    for _ in 0..200 {
        world.deliver(0, |number| number % 2 == 0, |_| false);
    }
    world.runner.advance(HOUR + Duration::from_mins(2));
    assert_eq!(refusal(&world, 0), Some(Refusal::PastWindow));
    while world.deliver(0, |_| false, |_| false) > 0 {}
    world.runner.advance(Duration::from_secs(2));
    assert!(world.append(0, 50, Durability::Os));
    world.drain(1);
    world.assert_right();
}

// P6
#[test]
fn caps_hold_under_any_load_and_are_left_again() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let mut config = small_config();
        config.hint_window = None;
        // The journal and the next one take 2.5 MiB.
        let total = (3 << 20) + random.below(1 << 20);
        let of_target = total / 8;
        config.disk.total = Some(Bytes::new(total));
        config.disk.target = Some(Bytes::new(of_target));
        let mut world = World::opened(config);
        let mut refused = [0; 2];
        for _ in 0..3000 {
            let to = u128::from(random.below(12));
            let before = world.store().snapshot().refused;
            match random.below(20) {
                0 => drop(world.deliver(to, |n| n % 31 == 0, |n| n % 37 == 0)),
                1 => world
                    .runner
                    .advance(Duration::from_millis(random.below(700))),
                2 => world.checkpoint(),
                _ => {
                    let length = random.below(2000) as usize;
                    let level = [Durability::Buffered, Durability::Os, Durability::Durable];
                    world.append(to, length, level[random.below(3) as usize]);
                }
            }
            let after = world.store().snapshot();
            for (count, cap) in refused.iter_mut().zip([Cap::Total, Cap::Target]) {
                let of = Refusal::Full { cap };
                *count += after.refused.get(of) - before.get(of);
            }
            assert!(
                world.disk.used() <= total,
                "seed {seed}: {} of {total}; {after:?}",
                world.disk.used()
            );
            for target in &after.targets {
                assert!(target.bytes.get() <= of_target, "seed {seed}");
            }
            assert!(after.caps_entered - after.caps_left <= 13, "seed {seed}");
        }
        assert!(refused.iter().any(|count| *count > 0), "seed {seed}");
        world.drain(12);
        world.drain(12);
        world.assert_right();
        let empty = world.store().snapshot();
        assert_eq!(empty.caps_entered, empty.caps_left, "seed {seed}");
        assert!(world.append(0, 50, Durability::Durable), "seed {seed}");
        world.drain(1);
        world.assert_right();
    }
}

#[test]
fn many_targets_do_not_pass_a_cap_together() {
    for namespaces in [1, 100] {
        let mut config = small_config();
        config.memory = Bytes::mib(4);
        config.segment_bytes = Bytes::mib(1);
        let total = 5 << 20;
        config.disk.total = Some(Bytes::new(total));
        config.disk.target = Some(Bytes::new(total));
        let world = World::opened(config);
        let mut refused = 0;
        for round in 0..6 {
            for to in 0..400 {
                for of in 0..namespaces {
                    let hint = Hint::new(target(to), world.clock.wall(), LONG, b"a payload")
                        .namespace(namespace(of));
                    let answer = world.store().append(hint, Durability::Buffered);
                    refused += u32::from(answer.is_err());
                }
            }
            world.runner.advance(Duration::from_secs(2));
            let used = world.disk.used();
            assert!(used <= total, "{round}, {namespaces}: {used}");
        }
        assert!(refused > 0);
        // Sealed, they have their footers.
        world.store().clone().close().unwrap();
        assert!(world.disk.used() <= total);
    }
}

#[test]
fn a_full_disk_truncates_what_is_in_memory_too() {
    for (segment_bytes, later) in [(8, 1), (8, 0), (4096, 0)] {
        let mut config = small_config();
        config.segment_bytes = Bytes::kib(segment_bytes);
        config.flush_interval = HOUR;
        let mut world = World::opened(config);
        for _ in 0..40 {
            assert!(world.append(0, 900, Durability::Durable));
        }
        world.runner.advance(Duration::from_secs(later));
        for _ in 0..9 {
            assert!(world.append(0, 900, Durability::Buffered));
        }
        world.disk.set_capacity(Some(world.disk.used()));
        let all = Truncate::default();
        assert!(!world.store().plan_truncate(&all).unwrap().is_empty());
        world.truncate(all);
        let books = world.store().ledger();
        assert_eq!((books.ended(End::Discarded), books.pending()), (49, 0));
        world.drain(1);
        world.assert_right();
    }
}

#[test]
fn a_small_cap_is_used_and_never_stays_full() {
    for kib in [64, 240, 400, 1024] {
        let mut config = small_config();
        config.memory = Bytes::mib(4);
        config.segment_bytes = Bytes::mib(8);
        config.disk.total = Some(Bytes::mib(64));
        config.disk.target = Some(Bytes::kib(kib));
        let mut world = World::opened(config);
        for _ in 0..3 {
            // Quickly, so that its slabs grow as large as they can; then at leisure.
            while world.append(0, 900, Durability::Buffered) {}
            world.runner.advance(Duration::from_secs(1));
            while world.append(0, 900, Durability::Os) {}
            let used = world.store().snapshot().targets[0].bytes;
            assert!(used <= Bytes::kib(kib), "{kib}: {used:?}");
            assert!(used >= Bytes::kib(kib * 3 / 4 - 24), "{kib}: {used:?}");
            // A hint that is too large for what is left keeps no small one out.
            assert!(!world.append(0, 500_000, Durability::Os) || kib == 1024);
            world.truncate(Truncate::default());
            world.runner.advance(Duration::from_secs(1));
            world.checkpoint();
            assert_eq!(world.store().snapshot().targets[0].bytes, Bytes::new(0));
        }
        assert!(world.append(0, 900, Durability::Os), "{kib}");
        world.drain(1);
        world.assert_right();
    }
}

/// As in [`a_full_disk_truncates_what_is_in_memory_too`], with threads that seal at the same time.
#[test]
fn a_full_disk_truncates_while_others_seal() {
    for round in 0..20 {
        let disk = SimStorage::new();
        let clock: Arc<dyn hintstore::Clock> = Arc::new(SystemClock);
        let runner = Arc::new(Threads::new(clock.clone()));
        let environment = Environment::new(Arc::new(disk.clone()), clock, runner);
        let mut config = small_config();
        // All that is on the disk is in the segment that is being sealed.
        config.segment_bytes = Bytes::mib(1);
        config.flush_interval = HOUR;
        let store = HintStore::open_in(environment, config).unwrap();
        let append = |level| {
            let hint = Hint::new(target(0), SystemClock.wall(), LONG, &[7; 900]);
            store.append(hint, level).unwrap();
        };
        (0..12).for_each(|_| append(Durability::Durable));
        (0..3).for_each(|_| append(Durability::Buffered));
        disk.set_capacity(Some(disk.used()));
        store.truncate(&Truncate::default()).unwrap();
        assert_eq!(store.ledger().pending(), 0, "round {round}");
        store.close().unwrap();
    }
}

// P6
#[test]
fn the_device_keeps_its_floor_free() {
    let mut config = small_config();
    config.disk.free_floor = Some(Bytes::mib(1));
    let mut world = World::new(config);
    world.disk.set_capacity(Some(6 << 20));
    world.open().unwrap();
    let mut refused = 0;
    for _ in 0..4000 {
        refused += u32::from(!world.append(0, 2000, Durability::Os));
        assert!(world.disk.used() <= (5 << 20) + (64 << 10));
    }
    assert!(refused > 0);
    let reason = Refusal::Full { cap: Cap::Device };
    assert_eq!(refusal(&world, 0), Some(reason));
    assert_eq!(world.store().snapshot().caps_entered, 1);
    world.drain(1);
    world.runner.advance(Duration::from_secs(2));
    assert_eq!(world.store().snapshot().caps_left, 1);
    assert!(world.append(0, 2000, Durability::Os));
    world.drain(1);
    world.assert_right();
}

#[test]
fn accepting_is_switched_off_and_on_by_target_group_and_namespace() {
    let mut world = World::opened(small_config());
    world.store().target(target(0)).set_group("east");
    for scope in [
        Scope::All,
        Scope::Group("east"),
        Scope::Namespace(namespace(1)),
    ] {
        world.store().disable(scope);
        assert_eq!(refusal(&world, 0), Some(Refusal::Disabled), "{scope:?}");
        if scope == Scope::Group("east") {
            assert!(world.append(1, 50, Durability::Os));
        }
        world.store().enable(scope);
        assert!(world.append(0, 50, Durability::Os), "{scope:?}");
    }
    world.drain(2);
    world.assert_right();
}

#[test]
fn refusals_are_counted_by_target_from_the_first_on() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 50, Durability::Durable));
    world.crash(Crash::Kill);
    world.open().unwrap();
    world.store().disable(Scope::All);
    // Nothing was appended to it since the store was opened, nor ever to the other.
    for to in [0, 7] {
        assert_eq!(refusal(&world, to), Some(Refusal::Disabled));
        assert!(!world.append(to, 50, Durability::Durable));
    }
    let snapshot = world.store().snapshot();
    assert_eq!(snapshot.refused.get(Refusal::Disabled), 4);
    assert_eq!(snapshot.targets.len(), 1);
    assert_eq!(snapshot.targets[0].refused.get(Refusal::Disabled), 2);
}

// P6
#[test]
fn no_more_hints_wait_than_may() {
    let mut config = small_config();
    config.in_flight_target_max = 3;
    config.in_flight_max = 5;
    let world = World::opened(config);
    let hint = |to| Hint::new(target(to), world.clock.wall(), LONG, b"a payload");
    let batch = |targets: &[u128]| {
        let hints: Vec<_> = targets.iter().map(|to| hint(*to)).collect();
        let batch = world.store().append_batch(&hints, Durability::Os);
        let refused = batch.iter().filter_map(|taken| taken.err()?.refusal());
        let refused = refused.collect::<Vec<_>>();
        (batch.len() - refused.len(), refused.first().copied())
    };
    assert_eq!(batch(&[0, 1, 0, 0]), (4, None));
    // One target that is full stops no other.
    assert_eq!(batch(&[0, 1, 0, 0, 0, 1]), (5, Some(Refusal::Overloaded)));
    assert_eq!(batch(&[0, 1, 2, 3, 4, 5]), (5, Some(Refusal::Overloaded)));
    assert_eq!(world.store().snapshot().in_flight, 0);
}

// P3
#[test]
fn a_fence_ends_what_is_before_it_and_survives_a_crash() {
    let mut world = World::opened(small_config());
    for _ in 0..9 {
        assert!(world.append(0, 50, Durability::Durable));
    }
    world.runner.advance(Duration::from_secs(1));
    world
        .store()
        .fence(namespace(1), START.saturating_add(HOUR))
        .unwrap();
    assert_eq!(refusal(&world, 0), Some(Refusal::Fenced));
    world.crash(Crash::Power { seed: 3 });
    world.open().unwrap();
    assert_eq!(refusal(&world, 0), Some(Refusal::Fenced));
    for (number, attempt) in &mut world.attempts {
        if number % 3 == 1 {
            attempt.fate = Fate::Discarded;
        }
    }
    world.drain(1);
    world.assert_right();
    assert_eq!(world.store().ledger().ended(End::Fenced), 3);
    world.runner.advance(HOUR);
    assert!(world.append(0, 50, Durability::Os));
}

// P6
#[test]
fn a_target_without_pending_hints_is_within_its_window() {
    let mut config = small_config();
    config.hint_window = Some(3 * HOUR);
    config.compact_interval = None;
    let mut world = World::opened(config);
    // What lives comes first, and what is dead behind it goes as whole segments.
    for _ in 0..12 {
        world.append(0, 900, Durability::Durable);
    }
    for _ in 0..40 {
        world.append_living(0, 900, Durability::Durable, Duration::from_secs(20));
    }
    world.runner.advance(2 * HOUR);
    world.store().sweep().unwrap();
    while world.deliver(0, |_| false, |_| false) > 0 {}
    world.checkpoint();
    assert_eq!(world.store().ledger().pending(), 0);
    world.runner.advance(2 * HOUR);
    assert_eq!(refusal(&world, 0), None);
}

#[test]
fn a_fenced_segment_goes_unread_whether_the_sweep_or_the_fence_came_first() {
    for swept_before in [true, false] {
        let mut world = World::opened(small_config());
        for _ in 0..30 {
            world.append(0, 900, Durability::Durable);
        }
        world.runner.advance(Duration::from_secs(4));
        if swept_before {
            // Another rule has footers read, and what they say kept.
            let other = (namespace(9), HOUR);
            let change = |config: &mut Config| config.gc_grace_now = vec![other];
            world.store().reconfigure(change).unwrap();
            world.store().sweep().unwrap();
        }
        let before = START.saturating_add(Duration::from_secs(2));
        for of in 0..3 {
            world.store().fence(namespace(of), before).unwrap();
        }
        world.store().sweep().unwrap();
        let fenced = world.store().ledger().ended(End::Fenced);
        assert!(fenced > 20, "{fenced}");
        world.close_and_open();
        assert_eq!(world.deliver(0, |_| false, |_| false), 0);
        let books = world.store().ledger();
        assert_eq!((books.accepted, books.ended(End::Fenced)), (30, 30));
    }
}

// P3
#[test]
fn a_fence_ends_when_all_that_it_covers_is_dead_and_not_before() {
    let mut config = small_config();
    config.max_lifetime = Some(HOUR);
    let mut world = World::opened(config);
    let before = START.saturating_add(Duration::from_secs(10));
    world.store().fence(namespace(1), before).unwrap();
    let late = |world: &World| {
        let hint = Hint::new(target(0), START, LONG, b"late").namespace(namespace(1));
        let outcome = world.store().append(hint, Durability::Os);
        outcome.err().and_then(|error| error.refusal())
    };
    world.runner.advance(Duration::from_mins(59));
    world.close_and_open();
    assert_eq!(late(&world), Some(Refusal::Fenced));
    world.runner.advance(Duration::from_secs(180));
    assert_eq!(late(&world), Some(Refusal::Expired));
    world.append(0, 50, Durability::Os);
    world.runner.advance(Duration::from_secs(180));
    world.close_and_open();
    let journal = read_journal(&world.disk).unwrap();
    assert_eq!(journal.fences, []);
    assert_eq!(late(&world), Some(Refusal::Expired));
}

// P9
#[test]
fn one_hint_for_several_targets_is_each_ones_own() {
    let world = World::opened(small_config());
    world.store().target(target(1)).set_group("east");
    world.store().disable(Scope::Group("east"));
    let targets = [target(0), target(1), target(2)];
    let hint = Hint::new(target(9), START, LONG, b"the same for all");
    let results = world
        .store()
        .append_for(&hint, &targets, Durability::Durable);
    assert_eq!(results[1], Err(Refusal::Disabled.into()));
    for at in [0, 2] {
        let receipt = results[at].as_ref().unwrap();
        assert_eq!(
            (receipt.target, receipt.durability),
            (targets[at], Durability::Durable)
        );
        let page = world.store().target(targets[at]).page().unwrap().unwrap();
        let hint = page.hints().next().unwrap();
        assert_eq!(hint.key.target, targets[at]);
        assert_eq!(hint.body.payload, b"the same for all");
    }
    assert!(world.store().target(target(9)).snapshot().is_none());
}

#[test]
fn a_hint_that_is_dead_on_arrival_is_refused() {
    let mut world = World::opened(small_config());
    let payload = World::payload(1, 10);
    let hint = Hint::new(target(0), START, Duration::from_secs(5), &payload);
    world.runner.advance(Duration::from_secs(10));
    let refused = AppendError::Refused(Refusal::Expired);
    assert_eq!(
        world.store().append(hint, Durability::Buffered),
        Err(refused)
    );
    world.drain(1);
}

#[test]
fn what_is_set_aside_counts_until_an_operator_takes_it_away() {
    let mut world = World::opened(small_config());
    for _ in 0..20 {
        assert!(world.append(0, 2000, Durability::Os));
    }
    let before = world.store().snapshot().disk_used;
    while world.deliver(0, |_| false, |_| true) > 0 {}
    world.runner.advance(Duration::from_secs(2));
    let set_aside: Vec<String> = world.disk.names();
    let set_aside: Vec<_> = set_aside
        .iter()
        .filter(|n| n.starts_with("aside/"))
        .collect();
    assert!(!set_aside.is_empty());
    let with = world.store().snapshot().disk_used;
    for name in set_aside {
        world.disk.unlink(name).unwrap();
    }
    world
        .runner
        .advance(world.config.sweep_interval + Duration::from_secs(2));
    let without = world.store().snapshot().disk_used;
    assert!(
        with.get() >= without.get() + 40_000,
        "{before} {with} {without}"
    );
}

#[test]
fn prepared_files_give_way_to_hints() {
    let floor = Bytes::mib(2);
    for cap in [Cap::Total, Cap::Device] {
        let mut config = small_config();
        config.segment_bytes = Bytes::mib(1);
        config.unsynced_bytes_max = Bytes::mib(64);
        let disk = SimStorage::new();
        if cap == Cap::Total {
            config.disk.total = Some(Bytes::mib(16));
            config.disk.target = Some(Bytes::mib(16));
        } else {
            config.disk.free_floor = Some(floor);
            disk.set_capacity(Some(18 << 20));
        }
        let mut world = World::on(disk.clone(), config);
        world.open().unwrap();
        let spares = || {
            let names = disk.names().into_iter();
            names.filter(|name| name.starts_with("spare-")).count()
        };
        // To a busy target until there is hardly room for one more file, then to others, which do
        // not fill a segment.
        while world.store().snapshot().disk_used < Bytes::mib(11) {
            assert!(world.append(0, 300 << 10, Durability::Os));
            world.runner.run();
        }
        assert_eq!(spares(), 1);
        let mut others = (1..40).cycle();
        let mut given_way_at = None;
        while world.append(others.next().unwrap(), 10 << 10, Durability::Os) {
            if spares() == 0 && given_way_at.is_none() {
                given_way_at = Some(disk.used());
            }
        }
        let full = Refusal::Full { cap };
        assert_eq!(world.store().refusing(), Some(full));
        // Nearly all that it took is hints by now.
        let more = disk.used() - given_way_at.unwrap();
        assert!(more > 1 << 20, "{cap:?}: {more} bytes more");
    }
}
