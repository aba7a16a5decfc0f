//! Compaction: space comes back, and nothing else changes.

use std::{collections::BTreeMap, io::ErrorKind, sync::Arc, time::Duration};

use hintstore::{
    Bytes, Compact, CompactReason, Durability, End, Hint, Sequence, Truncate, inspect::read_journal,
};
use hintstore_env::{Boot, Clock as _, Next, Runner as _, Step, Storage as _, Waker};
use hintstore_sim::{Crash, Fault, FaultOn, Random};

use crate::harness::{Fate, LONG, START, World, namespace, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

/// Nothing happens by itself.
pub(crate) fn config() -> hintstore::Config {
    small_config()
        .with(|config| config.compact_interval = None)
        .with(|config| config.segment_bytes = Bytes::kib(128))
        .with(|config| config.preallocate = false)
        // What was filled is sealed before anything is looked at.
        .with(|config| config.roll_age = SECOND)
        .with(|config| config.roll_bytes_min = Bytes::new(1))
}

/// Nine of ten hints in each segment die in ten seconds.
fn fill(world: &mut World, hints: u64) {
    for number in 0..hints {
        let lives = if number % 10 == 0 { LONG } else { 10 * SECOND };
        world.append_living(0, 900, Durability::Durable, lives);
    }
}

/// Bytes of all hint files.
fn used(world: &World) -> u64 {
    let names = world.disk.names();
    let hints = names.iter().filter(|name| name.ends_with(".hints"));
    hints
        .map(|name| world.disk.info(name).unwrap().length)
        .sum()
}

fn sequences(world: &mut World) -> Vec<Sequence> {
    let mut found = Vec::new();
    while let Ok(Some(page)) = world.store().target(target(0)).page() {
        found.extend(page.hints().map(|hint| hint.key.sequence));
        page.delivered().unwrap();
    }
    found
}

// P3, P8
#[test]
fn a_segment_that_is_mostly_dead_gives_its_space_back() {
    let mut world = World::opened(config());
    fill(&mut world, 300);
    world.runner.advance(20 * SECOND);
    let before = used(&world);
    let plan = world.store().plan_compact(&Compact::worthwhile()).unwrap();
    let done = world.store().compact(&Compact::worthwhile()).unwrap();
    let files = |of: &hintstore::Compaction| {
        let files: usize = of.compacted.iter().map(|of| of.files.len()).sum();
        files
    };
    assert_eq!(files(&plan), files(&done), "{plan:?} {done:?}");
    assert!(
        done.compacted
            .iter()
            .all(|of| of.reason == CompactReason::Dead)
    );
    assert!(used(&world) < before / 4, "{} of {before}", used(&world));
    assert!(done.freed().get() > before / 2, "{done:?}");
    let books = world.store().ledger();
    assert_eq!(books.accepted, 300);
    let expired: u64 = done.compacted.iter().map(|of| of.expired).sum();
    assert_eq!(books.ended(End::Expired), expired);
    let totals = world.store().snapshot().compaction;
    assert_eq!((totals.runs, totals.freed), (1, done.freed()));
    assert_eq!(
        (totals.files as usize, totals.skipped),
        (files(&done), Vec::new())
    );
    // Again: nothing is left to be done.
    let again = world.store().compact(&Compact::worthwhile()).unwrap();
    assert_eq!(again, hintstore::Compaction::default());
    world.close_and_open();
    assert_eq!(world.store().ledger().accepted, 300);
    let found = sequences(&mut world);
    assert_eq!(found.len(), 30);
    assert!(found.is_sorted());
    let kept: Vec<u64> = found.iter().map(|sequence| sequence.get() % 10).collect();
    assert!(
        kept.iter().all(|digit| *digit == kept[0]),
        "every tenth, under its own sequence"
    );
    assert_eq!(world.store().ledger().ended(End::Expired), 270);
}

/// The first deadline and the last of a segment say little of those between: its blocks are asked.
#[test]
fn a_segment_is_rewritten_for_what_is_dead_in_it_and_not_for_a_guess() {
    let mut world = World::opened(config());
    for number in 0..300 {
        let lives = if number % 5 == 0 {
            10 * SECOND
        } else {
            30 * SECOND
        };
        world.append_living(0, 900, Durability::Durable, lives);
    }
    // Three quarters of the time between the deadlines have passed.
    world.runner.advance(25 * SECOND);
    for _ in 0..2 {
        let plan = world.store().plan_compact(&Compact::worthwhile()).unwrap();
        assert!(plan.compacted.is_empty(), "{plan:?}");
    }
    // Asked to rewrite everything, it does.
    let done = world.store().compact(&Compact::everything()).unwrap();
    let expired: u64 = done.compacted.iter().map(|of| of.expired).sum();
    assert_eq!(expired, 60);
}

#[test]
fn a_compaction_that_is_due_while_one_is_called_waits_for_nothing() {
    let mut world = World::opened(config().with(|config| {
        config.compact_interval = Some(Duration::from_hours(1));
        config.compact_bytes_per_second = Some(Bytes::kib(64));
    }));
    fill(&mut world, 300);
    world.runner.advance(20 * SECOND);
    // The step is due, and runs in the first pause of the call, on the same thread.
    world.clock.advance(Duration::from_hours(2));
    let done = world.store().compact(&Compact::worthwhile()).unwrap();
    assert!(!done.compacted.is_empty());
    world.drain(1);
    world.assert_right();
}

#[test]
fn small_neighbours_become_one_file() {
    let mut world = World::opened(config());
    for _ in 0..12 {
        world.append(0, 100, Durability::Durable);
        world.runner.advance(3 * SECOND);
    }
    let count = |world: &World| {
        let names = world.disk.names();
        names.iter().filter(|name| name.ends_with(".hints")).count()
    };
    assert!(count(&world) >= 12, "{:?}", world.disk.names());
    let done = world.store().compact(&Compact::worthwhile()).unwrap();
    assert_eq!(done.compacted.len(), 1, "{done:?}");
    assert_eq!(done.compacted[0].reason, CompactReason::Small);
    assert!(count(&world) <= 2, "{:?}", world.disk.names());
    world.crash(Crash::Power { seed: 3 });
    world.open().unwrap();
    assert_eq!(world.store().ledger().accepted, 12);
    world.drain(1);
    world.assert_right();
    assert_eq!(world.store().ledger().ended(End::Delivered), 12);
}

#[test]
fn it_happens_by_itself_where_it_is_worth_it() {
    let mut world = World::opened(config().with(|config| {
        config.compact_interval = Some(60 * SECOND);
    }));
    fill(&mut world, 300);
    let before = used(&world);
    world.runner.advance(200 * SECOND);
    assert!(used(&world) < before / 4, "{} of {before}", used(&world));
    world.drain(1);
    world.assert_right();
}

#[test]
fn a_position_in_the_middle_survives_and_so_do_holes() {
    let mut world = World::opened(config());
    fill(&mut world, 300);
    world.runner.advance(5 * SECOND);
    for _ in 0..20 {
        world.deliver(0, |number| number % 50 == 0, |_| false);
    }
    world.checkpoint();
    world.runner.advance(20 * SECOND);
    world.compact();
    world.crash(Crash::Power { seed: 5 });
    world.open().unwrap();
    assert_eq!(world.store().ledger().accepted, 300);
    world.drain(1);
    world.assert_right();
}

// P9
#[test]
fn a_page_that_is_out_is_answered_as_if_nothing_had_happened() {
    for answer in 0..3 {
        let mut world = World::opened(config());
        fill(&mut world, 200);
        world.runner.advance(20 * SECOND);
        world.compact_while_a_page_is_out(0, answer);
        world.drain(1);
        world.assert_right();
        let books = world.store().ledger();
        assert_eq!((books.accepted, books.pending()), (200, 0));
    }
}

// P3
#[test]
fn fenced_hints_end_as_fenced() {
    let mut world = World::opened(config());
    for _ in 0..300 {
        world.append(0, 900, Durability::Durable);
    }
    world.runner.advance(2 * SECOND);
    let later = START.saturating_add(SECOND);
    world.store().fence(namespace(0), later).unwrap();
    world.store().fence(namespace(1), later).unwrap();
    let done = world.store().compact(&Compact::worthwhile()).unwrap();
    let fenced: u64 = done.compacted.iter().map(|of| of.fenced).sum();
    assert!(fenced > 150, "{done:?}");
    assert_eq!(world.store().ledger().ended(End::Fenced), fenced);
    world.close_and_open();
    assert_eq!(sequences(&mut world).len(), 100);
    assert_eq!(world.store().ledger().ended(End::Fenced), 200);
}

// P8
#[test]
fn discarded_hints_are_dropped_and_counted_once() {
    let mut world = World::opened(config());
    for _ in 0..300 {
        world.append(0, 900, Durability::Durable);
    }
    world.runner.advance(2 * SECOND);
    for of in 0..2 {
        world.truncate(Truncate::all().namespace(namespace(of)));
    }
    let before = used(&world);
    world.compact();
    assert!(used(&world) < before / 2);
    world.close_and_open();
    let books = world.store().ledger();
    assert_eq!((books.accepted, books.ended(End::Discarded)), (300, 200));
    world.drain(1);
    world.assert_right();
}

// P3
#[test]
fn a_lowered_gc_grace_frees_space_and_a_raised_one_revives_nothing() {
    let mut world = World::opened(config());
    for _ in 0..300 {
        world.append(0, 900, Durability::Durable);
    }
    world.runner.advance(10 * SECOND);
    let set = |world: &World, grace: Duration| {
        let graces = (0..2).map(|of| (namespace(of), grace)).collect::<Vec<_>>();
        world
            .store()
            .reconfigure(|config| config.gc_grace_now = graces)
            .unwrap();
    };
    set(&world, 5 * SECOND);
    let before = used(&world);
    world.compact();
    assert!(used(&world) < before / 2);
    set(&world, 9 * LONG);
    let expired = world.store().ledger().ended(End::Expired);
    assert_eq!(expired, 200);
    assert_eq!(sequences(&mut world).len(), 100);
}

#[test]
fn a_full_disk_gives_back_what_is_dead_first() {
    let mut world = World::opened(config());
    fill(&mut world, 300);
    world.runner.advance(20 * SECOND);
    world.disk.set_capacity(Some(world.disk.used()));
    let done = world.store().compact(&Compact::worthwhile()).unwrap();
    assert!(
        done.compacted.is_empty() && !done.skipped.is_empty(),
        "{done:?}"
    );
    let names = world.disk.names();
    assert!(done.skipped.iter().all(|(name, _)| names.contains(name)));
    // A little room is enough: one segment, what is left of it.
    world
        .disk
        .set_capacity(Some(world.disk.used() + (24 << 10)));
    let done = world.store().compact(&Compact::worthwhile()).unwrap();
    assert!(done.skipped.is_empty(), "{done:?}");
    world.disk.set_capacity(None);
    world.drain(1);
    world.assert_right();
}

// P4
#[test]
fn a_damaged_segment_is_left_to_delivery_and_holds_up_no_other() {
    let mut world = World::opened(config());
    fill(&mut world, 300);
    world.runner.advance(20 * SECOND);
    let mut names = world.disk.names();
    names.retain(|name| name.ends_with(".hints"));
    names.sort();
    // In the middle of a frame, behind descriptor and block header.
    world.disk.damage(&names[1], |bytes| bytes[1000] ^= 1);
    let done = world.store().compact(&Compact::worthwhile()).unwrap();
    assert!(
        done.skipped.iter().any(|(name, _)| *name == names[1]),
        "{done:?}"
    );
    assert!(world.disk.names().contains(&names[1]));
    while world.deliver(0, |_| false, |_| false) > 0 {}
    world.checkpoint();
    let books = world.store().ledger();
    assert_eq!((books.pending(), books.ended(End::Damaged)), (0, 1));
    assert!(world.wrong.is_empty(), "{:?}", world.wrong);
}

#[derive(Debug)]
struct Canceller(hintstore::HintStore);

impl Step for Canceller {
    fn name(&self) -> &'static str {
        "cancel"
    }

    fn step(&self, _: Boot) -> Next {
        self.0.cancel_compaction();
        Next::WhenWoken
    }
}

#[test]
fn it_can_be_cancelled_and_ends_with_the_store() {
    let mut world = World::opened(config().with(|config| {
        config.compact_bytes_per_second = Some(Bytes::kib(1));
    }));
    fill(&mut world, 300);
    world.runner.advance(20 * SECOND);
    let canceller = Arc::new(Canceller(world.store().clone()));
    let begin = Next::After(5 * SECOND);
    let waker = Waker::default();
    world.runner.start(canceller, waker, begin).unwrap();
    let before = world.clock.boot();
    let done = world.store().compact(&Compact::worthwhile()).unwrap();
    assert!(done.is_cancelled, "{done:?}");
    assert!(world.clock.boot().since(before) < 10 * SECOND);
    world.close_and_open();
    world
        .store()
        .reconfigure(|config| config.compact_bytes_per_second = None)
        .unwrap();
    world.drain(1);
    world.assert_right();
}

/// Cuts the power at one operation of a compaction, and looks whether all is there.
fn cut(at: u64, seed: u64) -> Option<Vec<String>> {
    let mut world = World::opened(config());
    fill(&mut world, 200);
    world.runner.advance(5 * SECOND);
    world.deliver(0, |number| number % 30 == 0, |_| false);
    world.checkpoint();
    world.runner.advance(20 * SECOND);
    cut_while(world, at, seed, World::compact)
}

/// Cuts the power at one operation of what is done to 200 hints, and gives what is wrong then; nothing where that has
/// fewer operations.
pub(crate) fn cut_while(
    mut world: World,
    at: u64,
    seed: u64,
    act: impl FnOnce(&mut World),
) -> Option<Vec<String>> {
    let begun = world.disk.operations();
    world.disk.cut_at(begun + at);
    act(&mut world);
    if !world.disk.is_cut() {
        return None;
    }
    world.crash(Crash::Power { seed });
    world.open().unwrap();
    let books = world.store().ledger();
    if books.accepted != 200 {
        world.wrong.push(format!("the books: {books:?}"));
    }
    world.drain(1);
    Some(world.wrong)
}

// P1
#[test]
fn the_power_may_go_at_any_step_of_a_compaction() {
    at_any_step(17, cut);
}

/// Cuts the power at each operation, with some seeds each, until there are no more.
pub(crate) fn at_any_step(seed: u64, cut: fn(u64, u64) -> Option<Vec<String>>) {
    let mut random = Random::new(seed);
    let mut at = 0;
    loop {
        for _ in 0..4 {
            let seed = random.bits();
            let Some(wrong) = cut(at, seed) else {
                assert!(at > 10, "there are more operations than {at}");
                return;
            };
            assert!(wrong.is_empty(), "operation {at}, seed {seed}: {wrong:#?}");
        }
        at += 1;
    }
}

/// A write to a receiver that keeps the greatest version of each key; `None` deletes.
#[derive(Clone, Copy, Debug)]
struct Write {
    key: u8,
    version: u64,
    value: Option<u8>,
    lives: Duration,
    is_counted: bool,
}

/// Appends writes of a seed, and gives them.
fn writes(world: &mut World, seed: u64) -> Vec<Write> {
    let mut random = Random::new(seed);
    let mut all = Vec::new();
    for _ in 0..400 {
        let write = Write {
            key: random.below(12) as u8,
            // Not in the order in which they come.
            version: 1 + random.below(500),
            value: (!random.one_in(3)).then_some(random.below(200) as u8),
            lives: [LONG, LONG, 20 * SECOND, 40 * SECOND][random.below(4) as usize],
            is_counted: random.one_in(20),
        };
        let mut payload = vec![write.key, write.value.unwrap_or(255)];
        payload.resize(700, 7);
        let (created, key) = (world.clock.wall(), [write.key]);
        let hint = Hint::new(target(0), created, write.lives, &payload)
            .namespace(namespace(0))
            .collapse(&key, write.version);
        let hint = if write.is_counted {
            hint.not_idempotent()
        } else {
            hint
        };
        world.store().append(hint, Durability::Durable).unwrap();
        world.runner.advance(Duration::from_millis(20));
        all.push(write);
    }
    all
}

type State = BTreeMap<u8, (u64, u8)>;

/// What the receiver ends with, and how often it was counted.
fn receive(world: &mut World) -> (State, u64) {
    let (mut state, mut counted) = (State::new(), 0);
    while let Ok(Some(page)) = world.store().target(target(0)).page() {
        for hint in page.hints() {
            counted += u64::from(!hint.body.idempotent);
            let (key, value) = (hint.body.payload[0], hint.body.payload[1]);
            let version = hint.body.collapse.unwrap().version;
            let known = state.entry(key).or_insert((0, 0));
            if version > known.0 {
                *known = (version, value);
            }
        }
        page.delivered().unwrap();
    }
    (state, counted)
}

// P8
#[test]
fn newest_wins_changes_nothing_for_a_receiver_that_keeps_the_newest() {
    let mut superseded = 0;
    for seed in 0..12 {
        let mut states = Vec::new();
        for collapse in [false, true] {
            let mut world = World::opened(config().with(|config| {
                if collapse {
                    config.last_write_wins = vec![namespace(0)];
                }
            }));
            let all = writes(&mut world, seed);
            // Some of it is delivered, and a page is out all the while.
            let page = world.store().target(target(0)).page().unwrap();
            let held: Vec<_> = page
                .iter()
                .flat_map(|page| page.hints())
                .map(|hint| hint.key.sequence)
                .collect();
            world
                .runner
                .advance(Duration::from_secs(3 + 10 * (seed % 4)));
            let done = world.store().compact(&Compact::everything()).unwrap();
            assert!(done.skipped.is_empty(), "{done:?}");
            let gone: u64 = done.compacted.iter().map(|of| of.superseded).sum();
            assert_eq!(gone > 0, collapse, "seed {seed}");
            superseded += gone;
            // What is out comes again, all of it that lives.
            drop(page);
            assert!(!held.is_empty());
            let before = world.store().ledger();
            assert_eq!(
                (before.accepted, before.ended(End::Superseded)),
                (400, gone)
            );
            if seed % 2 == 0 {
                world.crash(Crash::Power { seed });
                world.open().unwrap();
            }
            // A page that was dropped rests.
            world.runner.advance(SECOND);
            let (state, counted) = receive(&mut world);
            let books = world.store().ledger();
            assert_eq!((books.accepted, books.pending()), (400, 0));
            assert!(counted <= all.iter().filter(|write| write.is_counted).count() as u64);
            states.push((state, counted));
        }
        assert_eq!(states[0], states[1], "seed {seed}");
    }
    assert!(superseded > 1000, "{superseded}");
}

/// Hints that compress, in one namespace.
fn fill_with_text(world: &mut World, hints: u64) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for number in 0..hints {
        let text = format!("{{\"number\": {number}, \"text\": \"the same words again\"}} ");
        let payload = text.repeat(15).into_bytes();
        let hint = Hint::new(target(0), world.clock.wall(), LONG, &payload);
        world.store().append(hint, Durability::Durable).unwrap();
        all.push(payload);
    }
    world.runner.advance(10 * SECOND);
    all
}

fn payloads(world: &mut World) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Ok(Some(page)) = world.store().target(target(0)).page() {
        found.extend(page.hints().map(|hint| hint.body.payload.to_vec()));
        page.delivered().unwrap();
    }
    found
}

#[test]
fn compressed_segments_are_smaller_and_hold_the_same_hints() {
    for map in [true, false] {
        let mut world = World::opened(config().with(|config| {
            config.map = map;
            config.compress_level = Some(3);
        }));
        let all = fill_with_text(&mut world, 400);
        let before = used(&world);
        let done = world.store().compact(&Compact::worthwhile()).unwrap();
        assert!(
            done.compacted
                .iter()
                .all(|of| of.reason == CompactReason::Plain),
            "{done:?}"
        );
        assert!(used(&world) < before / 4, "{} of {before}", used(&world));
        let again = world.store().compact(&Compact::worthwhile()).unwrap();
        assert_eq!(again.compacted, [], "once is enough");
        // Switched off, what is there is read, and rewritten plain where it is worth it.
        world
            .store()
            .reconfigure(|config| config.compress_level = None)
            .unwrap();
        world.crash(Crash::Power { seed: 3 });
        world.open().unwrap();
        assert_eq!(payloads(&mut world), all);
        let books = world.store().ledger();
        assert_eq!((books.accepted, books.ended(End::Delivered)), (400, 400));
    }
}

// P4
#[test]
fn a_flipped_bit_in_a_compressed_segment_costs_one_block() {
    let mut random = Random::new(5);
    for _ in 0..60 {
        let mut world = World::opened(config().with(|config| {
            config.compress_level = Some(1);
        }));
        let all = fill_with_text(&mut world, 300);
        world.store().compact(&Compact::everything()).unwrap();
        let mut names = world.disk.names();
        names.retain(|name| name.ends_with(".hints"));
        let (name, bit) = (random.pick(&names).unwrap().clone(), random.bits());
        world.disk.damage(&name, |bytes| {
            let bit = bit % (bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        });
        let found = payloads(&mut world);
        world.runner.advance(2 * SECOND);
        world.checkpoint();
        let lost = all.len() - found.len();
        // A block is 64 KiB, and a hint 0.7 KiB at least.
        assert!(lost <= 95, "{lost} of bit {bit} in {name}");
        assert!(found.iter().all(|payload| all.contains(payload)));
        let books = world.store().ledger();
        assert_eq!(books.pending(), 0);
        assert_eq!(books.ended(End::Damaged), lost as u64);
    }
}

// P5
#[test]
fn segments_that_compress_well_are_what_they_say() {
    let mut world = World::opened(config().with(|config| {
        config.compress_level = Some(3);
        config.memory = Bytes::mib(8);
    }));
    let payload = b"{\"id\": 17, \"state\": \"done\", \"text\": \"the same words again\"}";
    for _ in 0..4000 {
        let hint = Hint::new(target(0), world.clock.wall(), LONG, payload);
        world.store().append(hint, Durability::Os).unwrap();
    }
    world.runner.advance(10 * SECOND);
    world.store().compact(&Compact::worthwhile()).unwrap();
    world.close_and_open();
    assert!(world.store().open_report().is_healthy());
    assert_eq!(world.store().ledger().pending(), 4000);
    assert_eq!(payloads(&mut world).len(), 4000);
}

#[test]
fn what_gives_nothing_is_not_tried_again_and_again() {
    let world = World::opened(config().with(|config| {
        config.last_write_wins = vec![namespace(0)];
    }));
    for number in 0..300u64 {
        let key = [(number % 3) as u8];
        let payload = World::payload(number, 900);
        let hint = Hint::new(target(0), world.clock.wall(), LONG, &payload)
            .namespace(namespace(0))
            .collapse(&key, number + 1);
        world.store().append(hint, Durability::Durable).unwrap();
    }
    world.runner.advance(5 * SECOND);
    // All of it was handed out, and waits for a retry: none of it may go as superseded.
    let mut out = Vec::new();
    while let Some(page) = world.store().target(target(0)).page().unwrap() {
        out.push(page);
    }
    for page in out {
        page.retry();
    }
    world.store().compact(&Compact::worthwhile()).unwrap();
    for _ in 0..3 {
        let done = world.store().compact(&Compact::worthwhile()).unwrap();
        assert_eq!(done.compacted, []);
    }
    assert_eq!(world.store().ledger().ended(End::Superseded), 0);
}

/// A store in which a failed sync moved hints from one segment to the next, and some of these died since.
fn moved(tail_dies: bool) -> World {
    let mut world = World::opened(config().with(|config| {
        config.roll_age = 30 * SECOND;
        config.checkpoint_holes_max = 100;
    }));
    for _ in 0..5 {
        assert!(world.append(0, 600, Durability::Durable));
    }
    for number in 0..10 {
        let dies = number % 2 == 0 || (tail_dies && number > 5);
        let lives = if dies { 40 * SECOND } else { LONG };
        assert!(world.append_living(0, 600, Durability::Os, lives));
    }
    world.disk.fail(Fault {
        on: FaultOn::Sync,
        after: 0,
        times: 1,
        error: ErrorKind::Other,
        name: ".hints",
    });
    let lives = if tail_dies { 40 * SECOND } else { LONG };
    assert!(world.append_living(0, 600, Durability::Durable, lives));
    // The sync that came back covers all that was written before.
    for attempt in world.attempts.values_mut() {
        attempt.level = Some(Durability::Durable);
    }
    world.runner.advance(100 * SECOND);
    world
}

// P1, P8
#[test]
fn what_a_failed_sync_moved_counts_once_and_is_there_after_a_compaction() {
    for tail_dies in [false, true] {
        for seed in 0..6 {
            let mut world = moved(tail_dies);
            world.compact();
            let accepted = world.store().ledger().accepted;
            let forget = |world: &mut World| {
                for attempt in world.attempts.values_mut() {
                    attempt.level = Some(Durability::Durable);
                }
            };
            world.crash(Crash::Kill);
            forget(&mut world);
            world.open().unwrap();
            assert_eq!(world.store().ledger().accepted, accepted);
            for _ in 0..10 {
                world.deliver(0, |_| true, |_| false);
            }
            world.compact();
            world.checkpoint();
            world.runner.advance(5 * SECOND);
            world.checkpoint();
            world.crash(Crash::Power { seed });
            forget(&mut world);
            world.open().unwrap();
            assert_eq!(world.store().ledger().accepted, accepted);
            world.drain(1);
            world.assert_right();
        }
    }
}

// P4, P8
#[test]
fn a_broken_hint_among_holes_of_a_compacted_segment_is_counted() {
    for at in 0..40 {
        let mut world = World::opened(config().with(|config| {
            config.checkpoint_holes_max = 200;
        }));
        fill(&mut world, 300);
        world.runner.advance(20 * SECOND);
        world.compact();
        let mut out = Vec::new();
        while let Some(page) = world.store().target(target(0)).page().unwrap() {
            out.push(page);
        }
        for page in out {
            page.retry();
        }
        world.checkpoint();
        world.crash(Crash::Kill);
        let names = world.disk.names();
        let name = names.iter().find(|name| name.ends_with(".hints")).unwrap();
        world.disk.damage(name, |bytes| {
            let at = 600 + at * 500;
            if at + 2000 < bytes.len() {
                bytes[at] ^= 1;
            }
        });
        world.open().unwrap();
        assert_eq!(world.store().ledger().accepted, 300, "byte {at}");
        world.runner.advance(3 * SECOND);
        let found = sequences(&mut world).len() as u64;
        world.checkpoint();
        let books = world.store().ledger();
        assert_eq!((books.accepted, books.pending()), (300, 0));
        assert_eq!(books.ended(End::Damaged), 30 - found);
    }
}

// P1
#[test]
fn a_damaged_journal_loses_no_deferred_hint_beside_a_compacted_segment() {
    let mut world = World::opened(config());
    for _ in 0..300 {
        world.append(0, 900, Durability::Durable);
    }
    world.runner.advance(3 * SECOND);
    // One page is out: its hints keep their segment, while others are moved out of the way.
    let held = world.store().target(target(0)).page().unwrap().unwrap();
    for _ in 0..40 {
        world.deliver(0, |number| number % 2 == 0, |_| false);
    }
    world.runner.advance(3 * SECOND);
    world.checkpoint();
    world.compact();
    world.crash(Crash::Kill);
    drop(held);
    world.disk.damage("store.journal", |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for byte in bytes.iter_mut().take(end).skip(64).step_by(16) {
            *byte ^= 1;
        }
    });
    world.open().unwrap();
    for attempt in world.attempts.values_mut() {
        // Nobody remembers what was delivered: it comes again.
        if attempt.fate == Fate::Ended {
            attempt.fate = Fate::Pending;
        }
    }
    world.drain(1);
    world.assert_right();
}

// P1
#[test]
fn the_copy_counts_where_a_source_cannot_be_read() {
    // A copy that was made and has no checkpoint: the power goes when it was to be written.
    let mut random = Random::new(31);
    for _ in 0..200 {
        let mut world = World::opened(config().with(|config| {
            config.segment_bytes = Bytes::kib(64);
        }));
        fill(&mut world, 200);
        world.runner.advance(20 * SECOND);
        let sources = hint_files(&world);
        let begun = world.disk.operations();
        world.disk.cut_at(begun + 4 + random.below(12));
        world.compact();
        world.crash(Crash::Kill);
        let all = hint_files(&world);
        let is_retired = !read_journal(&world.disk).unwrap().retired.is_empty();
        let are_there = sources.iter().all(|name| all.contains(name));
        if is_retired || all.len() <= sources.len() || !are_there {
            continue;
        }
        world.disk.fail_reads(&sources[0], 0, 1 << 20);
        world.open().unwrap();
        // What lives of it is in the copy.
        assert_eq!(sequences(&mut world).len(), 20);
        return;
    }
    panic!("no copy was left");
}

fn hint_files(world: &World) -> Vec<String> {
    let mut names = world.disk.names();
    names.retain(|name| name.ends_with(".hints") && !name.contains('/'));
    names.sort();
    names
}
