//! Loss receipts: whatever ended undelivered, or was refused, has a receipt until it was repaired.

use std::time::Duration;

use hintstore::{
    Bytes, Cause, Departure, Durability, Hint, Loss, Repaired, Span, Truncate, UnixMillis,
};
use hintstore_env::Clock as _;
use hintstore_sim::{Crash, Fault, FaultOn};

use crate::harness::{LONG, World, namespace, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

/// Appends a hint of a namespace, with a token; says whether it was accepted.
fn append(world: &World, of: u128, token: i64, gc_grace: Duration) -> bool {
    let hint = Hint::new(target(0), world.clock.wall(), gc_grace, &[7; 100])
        .namespace(namespace(of))
        .token(token);
    world.store().append(hint, Durability::Durable).is_ok()
}

fn losses(world: &World, cause: Cause) -> Vec<Loss> {
    let all = world.store().losses().into_iter();
    all.filter(|loss| loss.cause == cause).collect()
}

fn one(world: &World, cause: Cause) -> Loss {
    let all = losses(world, cause);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

/// What survives a crash.
fn after_a_crash(world: &mut World, cause: Cause) -> Loss {
    world.store().checkpoint().unwrap();
    let before = one(world, cause);
    world.crash(Crash::Power { seed: 5 });
    world.open().unwrap();
    assert_eq!(one(world, cause), before);
    before
}

#[test]
fn what_expired_leaves_a_receipt_by_namespace_tokens_and_time() {
    let mut world = World::opened(small_config());
    let start = world.clock.wall();
    append(&world, 1, -5, 10 * SECOND);
    world.runner.advance(SECOND);
    append(&world, 1, 9, 10 * SECOND);
    append(&world, 2, 3, LONG);
    world.runner.advance(20 * SECOND);
    assert!(world.store().target(target(0)).page().unwrap().is_some());
    let loss = after_a_crash(&mut world, Cause::Expired);
    assert_eq!(loss.target, Some(target(0)));
    assert_eq!(loss.namespace, Some(namespace(1)));
    assert_eq!(loss.tokens, Some(Span { min: -5, max: 9 }));
    assert_eq!(loss.created.min, start);
    assert_eq!(loss.created.max, start.saturating_add(SECOND));
    assert_eq!((loss.hints, loss.bytes), (2, 200));
    world.assert_right();
}

#[test]
fn a_segment_that_goes_unread_leaves_a_receipt_by_its_footer() {
    let mut world = World::opened(small_config());
    for token in 0..300 {
        append(&world, 1 + u128::from(token % 2 == 1), token, 30 * SECOND);
    }
    world.close_and_open();
    world.runner.advance(100 * SECOND);
    world.store().sweep().unwrap();
    let receipts = losses(&world, Cause::Expired);
    assert_eq!(receipts.len(), 2, "{receipts:?}");
    assert_eq!(receipts.iter().map(|loss| loss.hints).sum::<u64>(), 300);
    assert_eq!(receipts[0].tokens, Some(Span { min: 0, max: 298 }));
    world.checkpoint();
    world.assert_right();
}

#[test]
fn what_a_compaction_drops_leaves_a_receipt() {
    let mut world = World::opened(small_config());
    for token in 0..200 {
        let gc_grace = if token % 4 == 0 { LONG } else { 30 * SECOND };
        append(&world, 1, token, gc_grace);
    }
    world.close_and_open();
    world.runner.advance(100 * SECOND);
    world.compact();
    let loss = after_a_crash(&mut world, Cause::Expired);
    assert_eq!(loss.hints, 150);
    assert_eq!(loss.tokens, Some(Span { min: 1, max: 199 }));
    world.assert_right();
}

#[test]
fn refusals_leave_receipts_by_their_cause_and_those_that_cost_nothing_do_not() {
    let mut config = small_config();
    config.disk.target = Some(Bytes::kib(64));
    let mut world = World::opened(config);
    while append(&world, 1, 5, LONG) {}
    assert_eq!(one(&world, Cause::Full).hints, 1);
    // Its deadline was long ago.
    let old = Hint::new(target(1), UnixMillis::new(0), SECOND, b"old");
    world.store().append(old, Durability::Os).unwrap_err();
    assert_eq!(one(&world, Cause::Expired).target, Some(target(1)));
    world.store().disable(hintstore::Scope::All);
    append(&world, 1, 5, LONG);
    world.store().enable(hintstore::Scope::All);
    assert_eq!(one(&world, Cause::Refused).hints, 1);
    let fence = world.clock.wall().saturating_add(SECOND);
    world.store().fence(namespace(2), fence).unwrap();
    append(&world, 2, 5, LONG);
    let hints = |world: &World| {
        let all = world.store().losses();
        all.iter().map(|loss| loss.hints).sum::<u64>()
    };
    assert_eq!(hints(&world), 3);
    assert_eq!(after_a_crash(&mut world, Cause::Full).bytes, 100);
    assert_eq!(
        losses(&world, Cause::Crash).len(),
        1,
        "the bound of the crash"
    );
}

#[test]
fn a_closed_window_leaves_a_receipt() {
    let mut config = small_config();
    config.hint_window = Some(10 * SECOND);
    let mut world = World::opened(config);
    append(&world, 1, 1, LONG);
    world.runner.advance(30 * SECOND);
    assert!(!append(&world, 1, 2, LONG));
    assert!(!append(&world, 1, 4, LONG));
    let loss = after_a_crash(&mut world, Cause::PastWindow);
    assert_eq!(loss.tokens, Some(Span { min: 2, max: 4 }));
}

#[test]
fn what_an_operator_discards_leaves_a_receipt_unless_a_fence_covers_it() {
    let mut world = World::opened(small_config());
    for token in 0..10 {
        append(&world, 1 + u128::from(token % 2 == 1), token, LONG);
    }
    let before = world.clock.wall().saturating_add(SECOND);
    world.store().fence(namespace(1), before).unwrap();
    let all = Truncate::all().target(target(0));
    world.store().truncate(&all).unwrap();
    let loss = after_a_crash(&mut world, Cause::Discarded);
    assert_eq!(loss.namespace, Some(namespace(2)));
    assert_eq!(
        (loss.hints, loss.tokens),
        (5, Some(Span { min: 1, max: 9 }))
    );
}

#[test]
fn damage_leaves_a_receipt_by_what_the_footer_says() {
    let mut world = World::opened(small_config());
    for token in 0..100 {
        append(&world, 1, token, LONG);
    }
    world.close_and_open();
    let name = world.disk.names().into_iter();
    let name = name.filter(|name| name.ends_with(".hints")).min().unwrap();
    world.disk.damage(&name, |bytes| bytes[600] ^= 1);
    world.runner.advance(SECOND);
    while let Some(page) = world.store().target(target(0)).page().unwrap() {
        page.delivered().unwrap();
    }
    let loss = after_a_crash(&mut world, Cause::Damaged);
    assert_eq!(loss.namespace, Some(namespace(1)));
    assert!(
        loss.tokens
            .is_some_and(|tokens| tokens.min == 0 && tokens.max < 100)
    );
    assert!(loss.hints >= 1);
    world.assert_right();
}

#[test]
fn a_crash_leaves_a_receipt_by_the_bytes_that_were_at_risk() {
    let mut world = World::opened(small_config());
    append(&world, 1, 1, LONG);
    world.close_and_open();
    assert!(losses(&world, Cause::Crash).is_empty());
    let at_risk = world.store().at_risk();
    world.crash(Crash::Power { seed: 1 });
    world.open().unwrap();
    let loss = one(&world, Cause::Crash);
    assert_eq!((loss.target, loss.namespace), (None, None));
    assert!(loss.bytes >= at_risk.unflushed.get(), "{loss:?}");
    // The next opening adds nothing to it.
    world.close_and_open();
    assert_eq!(one(&world, Cause::Crash), loss);
}

#[test]
fn receipts_go_when_what_they_tell_of_was_repaired() {
    let mut world = World::opened(small_config());
    append(&world, 1, 1, LONG);
    append(&world, 2, 1, LONG);
    world.store().truncate(&Truncate::all()).unwrap();
    world.runner.advance(SECOND);
    let mut repaired = Repaired {
        target: Some(target(0)),
        namespace: Some(namespace(1)),
        before: world.clock.wall(),
    };
    world.store().repaired(repaired).unwrap();
    assert_eq!(one(&world, Cause::Discarded).namespace, Some(namespace(2)));
    world.crash(Crash::Power { seed: 2 });
    world.losses_settled = true;
    world.open().unwrap();
    repaired.namespace = None;
    world.store().repaired(repaired).unwrap();
    assert!(losses(&world, Cause::Discarded).is_empty());
}

#[test]
fn a_target_that_left_lacks_nothing() {
    let world = World::opened(small_config());
    append(&world, 1, 1, LONG);
    let why = Departure::Decommissioned;
    world.store().forget(target(0), why).unwrap();
    assert!(world.store().losses().is_empty());
}

#[test]
fn a_hint_that_stays_where_it_is_was_not_refused() {
    let mut config = small_config();
    config.disk.target = Some(Bytes::kib(64));
    let world = World::opened(config);
    while append(&world, 1, 5, LONG) {}
    let before = world.store().losses();
    let hint = Hint::new(target(1), world.clock.wall(), LONG, &[1; 100]);
    world.store().append(hint, Durability::Durable).unwrap();
    let moved = world.store().readdress(target(1), &[target(0)]).unwrap();
    assert_eq!((moved.moved, moved.stayed), (0, 1));
    assert_eq!(world.store().losses(), before);
}

#[test]
fn a_file_that_cannot_be_read_at_all_leaves_a_receipt() {
    let mut world = World::opened(small_config());
    for token in 0..5 {
        append(&world, 1, token, LONG);
    }
    world.close_and_open();
    world.store.take().unwrap().close().unwrap();
    let name = world.disk.names().into_iter();
    let name = name.filter(|name| name.ends_with(".hints")).min().unwrap();
    world.disk.damage(&name, |bytes| {
        bytes[..128].fill(7);
        let end = bytes.len();
        bytes[end - 400..].fill(7);
    });
    world.open().unwrap();
    assert_eq!(world.store().open_report().set_aside, [name]);
    let loss = one(&world, Cause::Damaged);
    assert_eq!((loss.target, loss.namespace), (Some(target(0)), None));
}

/// Its segment holds what was saved, and says nothing of what was not.
#[test]
fn what_a_failed_sync_lost_is_of_any_namespace() {
    let mut world = World::opened(small_config().with(|config| {
        config.segment_bytes = Bytes::mib(1);
    }));
    let append = |world: &World, of: u128, level: Durability| {
        let hint = Hint::new(target(0), world.clock.wall(), LONG, &[7; 600]);
        let hint = hint.namespace(namespace(of)).token(1);
        world.store().append(hint, level).unwrap();
    };
    for number in 0..12 {
        append(&world, if number == 3 { 1 } else { 2 }, Durability::Os);
    }
    let name = world.disk.names().into_iter();
    let name = name.filter(|name| name.ends_with(".hints")).min().unwrap();
    // The fourth cannot be read back.
    world.disk.fail_reads(&name, 3000, 3001);
    world.disk.fail(Fault {
        on: FaultOn::Sync,
        after: 0,
        times: 1,
        error: std::io::ErrorKind::Other,
        name: ".hints",
    });
    append(&world, 2, Durability::Durable);
    world.disk.heal();
    world.runner.advance(world.config.roll_age_max * 4);
    while let Some(page) = world.store().target(target(0)).page().unwrap() {
        page.delivered().unwrap();
    }
    world.checkpoint();
    assert_eq!(one(&world, Cause::Damaged).namespace, None);
    world.assert_right();
}
