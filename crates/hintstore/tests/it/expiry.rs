//! Dead hints are never delivered, and a clock that steps is not believed at once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hintstore::{Bytes, Clock as _, Durability, End, Hint, HintStore, UnixMillis};
use hintstore_env::{Boot, Next, Runner as _, Step, Waker};

use crate::harness::{LONG, START, World, namespace, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

// P3
#[test]
fn a_hint_is_delivered_before_its_deadline_and_never_after() {
    let mut world = World::opened(small_config());
    world.append_living(0, 10, Durability::Os, 10 * SECOND);
    world.append_living(0, 10, Durability::Os, 20 * SECOND);
    world.runner.advance(10 * SECOND);
    assert_eq!(world.deliver(0, |_| false, |_| false), 1);
    assert_eq!(world.store().ledger().ended(End::Expired), 1);
    world.assert_right();
}

#[test]
fn a_segment_that_is_dead_as_a_whole_goes_unread() {
    let mut world = World::opened(small_config());
    for _ in 0..40 {
        world.append_living(0, 900, Durability::Durable, 30 * SECOND);
    }
    world.append(0, 10, Durability::Durable);
    world.runner.advance(100 * SECOND);
    world.store().sweep().unwrap();
    let books = world.store().ledger();
    assert!(books.ended(End::Expired) > 20, "{books:?}");
    world.close_and_open();
    assert_eq!(world.store().ledger().accepted, 41);
    world.drain(1);
    world.assert_right();
    assert_eq!(world.store().ledger().ended(End::Delivered), 1);
}

// P3
#[test]
fn a_lowered_maximum_counts_for_hints_that_are_there() {
    let mut world = World::opened(small_config());
    world.append(0, 10, Durability::Durable);
    world.config.max_lifetime = Some(5 * SECOND);
    world.close_and_open();
    world.runner.advance(5 * SECOND);
    assert_eq!(world.deliver(0, |_| false, |_| false), 0);
    assert_eq!(world.store().ledger().ended(End::Expired), 1);
}

// P3
#[test]
fn a_step_of_the_clock_holds_hints_until_it_is_confirmed() {
    let year = Duration::from_secs(365 * 86_400);
    for confirmed in [true, false] {
        let mut world = World::opened(small_config());
        world.append(0, 10, Durability::Os);
        world.runner.advance(SECOND);
        world
            .clock
            .step_to(UnixMillis::new(START.get()).saturating_add(year));
        assert_eq!(world.deliver(0, |_| false, |_| false), 0);
        world.store().sweep().unwrap();
        assert_eq!(world.store().ledger().pending(), 1);
        if confirmed {
            world.store().confirm_clock();
            assert_eq!(world.deliver(0, |_| false, |_| false), 0);
            assert_eq!(world.store().ledger().ended(End::Expired), 1);
        } else {
            // It was a mistake, and is taken back.
            world.clock.step_to(START.saturating_add(SECOND));
            world.store().confirm_clock();
            assert_eq!(world.deliver(0, |_| false, |_| false), 1);
        }
        world.assert_right();
    }
}

#[test]
fn what_was_held_goes_on_when_the_clock_is_back_where_it_was() {
    let mut world = World::opened(small_config());
    world.append(0, 10, Durability::Os);
    world.runner.advance(SECOND);
    world
        .clock
        .step_to(START.saturating_add(Duration::from_hours(24 * 365)));
    assert_eq!(world.deliver(0, |_| false, |_| false), 0);
    // Nobody confirms anything: the step is taken back.
    world.clock.step_to(START.saturating_add(SECOND));
    world.runner.advance(2 * SECOND);
    assert_eq!(world.deliver(0, |_| false, |_| false), 1);
    world.assert_right();
}

#[test]
fn a_dead_segment_between_living_ones_goes_and_the_order_stays() {
    let mut world = World::opened(small_config());
    for lives in [9000, 10, 9000] {
        for _ in 0..20 {
            world.append_living(0, 900, Durability::Durable, lives * SECOND);
        }
    }
    let before = world.disk.names().len();
    world.runner.advance(100 * SECOND);
    assert!(world.disk.names().len() < before);
    let expired = world.store().ledger().ended(End::Expired);
    assert!(expired > 7, "{expired}");
    world.crash(hintstore_sim::Crash::Power { seed: 7 });
    world.open().unwrap();
    assert_eq!(world.store().ledger().accepted, 60);
    world.drain(1);
    world.assert_right();
    assert_eq!(world.store().ledger().ended(End::Expired), 20);
}

#[test]
fn a_rule_of_today_sweeps_what_it_made_dead_and_reads_each_footer_once() {
    for unreadable in [false, true] {
        let mut config = small_config();
        config.sweep_interval = Duration::from_hours(9);
        let rule = |of| (namespace(of), Duration::from_mins(10));
        config.gc_grace_now.extend((0..3).map(rule));
        let mut world = World::opened(config);
        for _ in 0..40 {
            assert!(world.append(0, 900, Durability::Durable));
        }
        world.runner.advance(Duration::from_secs(9));
        let sealed = world.store().snapshot().targets[0].segments;
        assert!(sealed > 1);
        world.store().sweep().unwrap();
        assert_eq!(world.store().snapshot().targets[0].segments, sealed);
        if unreadable {
            // Nobody looks into them again, so nobody misses them; until the rules are others.
            for name in world.disk.names() {
                if name.ends_with(".hints") {
                    world.disk.fail_reads(&name, 0, u64::MAX);
                }
            }
            world.store().sweep().unwrap();
            let mut config = world.config.clone();
            config.gc_grace_now.pop();
            world.store().reconfigure(|now| *now = config).unwrap();
            assert!(world.store().sweep().is_err());
            continue;
        }
        world.runner.advance(Duration::from_mins(10));
        world.store().sweep().unwrap();
        let left = world.store().snapshot().targets[0].segments;
        assert!(left <= 1, "{left} of {sealed}");
        assert!(world.store().ledger().ended(End::Expired) > 0);
    }
}

/// Notes at each run how many hints have expired by then.
#[derive(Debug)]
struct Watch(HintStore, Mutex<Vec<u64>>);

impl Step for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn step(&self, _: Boot) -> Next {
        let expired = self.0.ledger().ended(End::Expired);
        self.1.lock().unwrap().push(expired);
        Next::After(Duration::from_micros(50))
    }
}

#[test]
fn a_dead_backlog_does_not_keep_others_from_the_books() {
    let mut config = small_config();
    config.segment_bytes = Bytes::mib(16);
    config.memory = Bytes::mib(16);
    let mut world = World::opened(config);
    for _ in 0..8000 {
        assert!(world.append_living(0, 900, Durability::Os, 2 * SECOND));
    }
    assert!(world.append(0, 900, Durability::Os));
    world.runner.advance(3 * SECOND);
    let watch = Arc::new(Watch(world.store().clone(), Mutex::default()));
    let first = Next::After(Duration::ZERO);
    world
        .runner
        .start(watch.clone(), Waker::default(), first)
        .unwrap();
    assert_eq!(world.deliver(0, |_| false, |_| false), 1);
    let mut seen = watch.1.lock().unwrap().clone();
    seen.dedup();
    // At once it reads 2 MiB: 32 times the least that is read for a page.
    assert!(seen.len() >= 3 && seen.is_sorted(), "{seen:?}");
    world.assert_right();
}

/// Ten durable hints of ten days, and an hour in which the clock was right.
fn an_hour_in_peace() -> World {
    let mut world = World::opened(small_config());
    for _ in 0..10 {
        assert!(world.append(0, 100, Durability::Durable));
    }
    for _ in 0..60 {
        world.runner.advance(Duration::from_mins(1));
    }
    world.store.take().unwrap().close().unwrap();
    world
}

/// The machine comes up with a wrong clock, until a time server corrects it.
// P3
#[test]
fn clock_at_boot() {
    let day = Duration::from_hours(24);
    for (ahead, how) in [(11, "by a call"), (11, "by the kernel"), (3650, "by time")] {
        let mut world = an_hour_in_peace();
        world.clock.reboot(Duration::from_mins(1));
        world.clock.set_synchronised(false);
        let right = world.clock.wall();
        world.clock.step_to(right.saturating_add(day * ahead));
        world.open().unwrap();
        let store = || world.store();
        store().sweep().unwrap();
        world.runner.advance(Duration::from_secs(30));
        // Neither sent nor ended.
        assert!(store().target(target(0)).page().unwrap().is_none(), "{how}");
        assert_eq!(store().ledger().pending(), 10, "{how}");
        // Nor is what a peer with the right time hands over refused as dead.
        let hint = Hint::new(target(0), right, LONG, b"from a peer");
        assert!(store().append(hint, Durability::Durable).is_ok(), "{how}");
        if how == "by time" {
            // Nobody corrects it: then it is as right as a clock of this machine gets.
            world.runner.advance(Duration::from_mins(16));
            store().sweep().unwrap();
            assert!(store().target(target(0)).page().unwrap().is_none());
            assert_eq!(store().ledger().ended(End::Expired), 11);
            continue;
        }
        world
            .clock
            .step_to(right.saturating_add(Duration::from_secs(30)));
        match how {
            "by a call" => store().confirm_clock(),
            _ => world.clock.set_synchronised(true),
        }
        let mut delivered = 0;
        while let Some(page) = store().target(target(0)).page().unwrap() {
            delivered += page.len();
            page.delivered().unwrap();
        }
        assert_eq!(delivered, 11, "{how}");
    }
}

/// A clock that starts in the past keeps what is dead by the time that was confirmed before.
#[test]
fn a_clock_that_boots_in_the_past_neither_sends_nor_ends_what_is_dead() {
    let mut world = World::opened(small_config());
    let short = Duration::from_mins(10);
    assert!(world.append_living(0, 100, Durability::Durable, short));
    world.runner.advance(Duration::from_mins(30));
    world.store.take().unwrap().close().unwrap();
    world.clock.reboot(Duration::from_mins(1));
    world.clock.set_synchronised(false);
    world.clock.step_to(UnixMillis::new(0));
    world.open().unwrap();
    world.store().sweep().unwrap();
    assert!(world.store().target(target(0)).page().unwrap().is_none());
    let books = world.store().ledger();
    assert_eq!(books.pending() + books.ended(End::Expired), 1);
}

/// Without a journal the hints tell of the time: opening does not take a wrong clock's word for it.
#[test]
fn a_wrong_clock_at_boot_without_a_journal_ends_nothing() {
    let mut world = an_hour_in_peace();
    world.clock.reboot(Duration::from_mins(1));
    world.clock.set_synchronised(false);
    let right = world.clock.wall();
    world
        .clock
        .step_to(right.saturating_add(Duration::from_hours(24 * 11)));
    world.disk.take_away("store.journal");
    world.open().unwrap();
    world.store().sweep().unwrap();
    assert!(world.store().target(target(0)).page().unwrap().is_none());
    assert_eq!(world.store().ledger().pending(), 10);
}
