//! The books after a crash: what has ended ends once, whichever of the two finds it missing.

use std::time::Duration;

use hintstore::{Durability, End, HintStore, Limits, Next, Sequence, Truncate, Verdict};
use hintstore_env::Clock as _;
use hintstore_sim::Crash;

use crate::harness::{World, small_config, target};

const SECOND: Duration = Duration::from_secs(1);

/// Delivers all that is left, and gives how many hints that were.
fn drain(store: &HintStore) -> u64 {
    let mut hints = 0;
    let target = store.target(target(0));
    // What was moved out of the way rests.
    while let Next::Page(page) = target.wait_next(Limits::NONE, 5 * SECOND).unwrap() {
        hints += page.len() as u64;
        page.delivered().unwrap();
    }
    hints
}

/// A world with six durable hints. A checkpoint says that the second and the fourth wait for
/// a retry and the others were delivered.
fn with_holes() -> (World, Vec<Sequence>) {
    let mut world = World::opened(small_config());
    for _ in 0..6 {
        assert!(world.append(0, 100, Durability::Durable));
    }
    let page = world.store().target(target(0)).page().unwrap().unwrap();
    let sequences: Vec<_> = page.hints().map(|hint| hint.key.sequence).collect();
    let mut verdicts = [Verdict::Delivered; 6];
    verdicts[1] = Verdict::Retry;
    verdicts[3] = Verdict::Retry;
    page.answer(&verdicts).unwrap();
    world.store().checkpoint().unwrap();
    (world, sequences)
}

fn segment(world: &World) -> String {
    let mut names = world.disk.names().into_iter();
    names.find(|name| name.ends_with(".hints")).unwrap()
}

// P8
#[test]
fn truncate_crash_holes() {
    for operation in 0..30 {
        let (mut world, _) = with_holes();
        world.disk.cut_at(world.disk.operations() + operation);
        let what = Truncate::all().target(target(0));
        let done = world.store().truncate(&what);
        world.crash(Crash::Kill);
        world.open().unwrap();
        let store = world.store();
        let pending = store.ledger().pending();
        assert_eq!(drain(store), pending, "cut after {operation}: {done:?}");
        let books = store.ledger();
        assert_eq!(
            (books.accepted, books.ends.total()),
            (6, 6),
            "{operation}: {books:?}"
        );
        assert_eq!(books.ended(End::Damaged) + books.ended(End::Lost), 0);
    }
}

/// By namespace the discarded holes are known only by reading them.
#[test]
fn a_truncation_of_a_namespace_counts_its_holes_once() {
    for operation in 0..30 {
        let (mut world, _) = with_holes();
        world.disk.cut_at(world.disk.operations() + operation);
        // That of the second hint.
        let what = Truncate::all().namespace(crate::harness::namespace(2));
        drop(world.store().truncate(&what));
        world.crash(Crash::Kill);
        world.open().unwrap();
        let store = world.store();
        let pending = store.ledger().pending();
        assert_eq!(drain(store), pending, "cut after {operation}");
        let books = store.ledger();
        assert_eq!((books.accepted, books.ends.total()), (6, 6), "{books:?}");
        assert_eq!(books.ended(End::Damaged) + books.ended(End::Lost), 0);
    }
}

/// `hostile`: a hint that waited for a retry was damaged; opening finds it missing, and so would
/// delivery.
#[test]
fn a_damaged_hole_ends_once() {
    for byte in 128..1200 {
        let (mut world, _) = with_holes();
        world.crash(Crash::Kill);
        world.disk.damage(&segment(&world), |bytes| {
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= 0x40;
            }
        });
        world.open().unwrap();
        drain(world.store());
        let books = world.store().ledger();
        assert_eq!(books.pending(), 0, "byte {byte}: {books:?}");
        assert!(books.accepted <= 6 && books.excess() == 0, "{books:?}");
    }
}

/// What was delivered and checkpointed has ended: damage to it afterwards is none of the books'.
#[test]
fn damage_to_what_was_delivered_is_not_counted() {
    let mut world = World::opened(small_config());
    for _ in 0..4 {
        // A block each.
        assert!(world.append(0, 100, Durability::Durable));
    }
    world.deliver(0, |_| false, |_| false);
    world.checkpoint();
    // One more, so that the segment stays.
    assert!(world.append(0, 100, Durability::Durable));
    world.crash(Crash::Kill);
    let name = segment(&world);
    world.disk.damage(&name, |bytes| bytes[512 + 4] ^= 1);
    world.open().unwrap();
    assert_eq!(world.store().open_report().damaged, 0);
    assert_eq!(drain(world.store()), 1);
    let books = world.store().ledger();
    assert_eq!(
        (books.accepted, books.ended(End::Delivered)),
        (5, 5),
        "{books:?}"
    );
}

/// A segment that was dropped whole and the checkpoint that books it are one record: at no crash
/// between them its hints are there and have ended.
#[test]
fn a_segment_that_expired_whole_ends_once() {
    for operation in 0..25 {
        for seed in 0..3 {
            let mut world = World::opened(small_config());
            assert!(world.append(0, 100, Durability::Durable));
            world.close_and_open();
            // Enough segments that what names them takes more than a sector.
            for _ in 0..12 {
                let short = Duration::from_secs(60);
                assert!(world.append_living(0, 100, Durability::Durable, short));
                world.close_and_open();
            }
            world.runner.advance(Duration::from_secs(50 - 10));
            world.clock.advance(Duration::from_secs(60));
            world.disk.cut_at(world.disk.operations() + operation);
            drop(world.store().sweep());
            world.crash(Crash::Power { seed });
            world.open().unwrap();
            drain(world.store());
            let books = world.store().ledger();
            assert_eq!(
                (books.accepted, books.ends.total()),
                (13, 13),
                "{operation}, {seed}: {books:?}"
            );
        }
    }
}

/// A crash writes some pages of a block and not others: its header may be there, and its frames, and
/// the table behind them not.
#[test]
fn a_table_that_a_crash_tore_is_lost_and_no_damage() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 100, Durability::Durable));
    for _ in 0..3 {
        assert!(world.append(0, 100, Durability::Os));
    }
    world.crash(Crash::Kill);
    let name = segment(&world);
    world.disk.damage(&name, |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end - 60..].fill(0);
    });
    world.open().unwrap();
    let store = world.store();
    let (pending, left) = (store.ledger().pending(), drain(store));
    let books = store.ledger();
    assert_eq!(books.ended(End::Damaged), 0, "{books:?}");
    assert_eq!(books.ended(End::Lost), pending - left);
    assert!(left >= 1 && left < pending, "{books:?}");
    // The report says so before anybody has tried to deliver them.
    assert_eq!(store.open_report().lost, pending - left);
    assert_eq!(store.open_report().set_aside, [] as [String; 0]);
}

/// Copies that wait for a retry have gaps in their sequences: a checkpoint says how many there are.
#[test]
fn a_deferred_segment_that_lost_its_footer_and_a_block_counts_what_is_missing() {
    let (mut world, copies, pending) = with_copies();
    world.crash(Crash::Kill);
    world.disk.damage(&copies, |bytes| {
        // The header of a block, and the footer.
        let is_block = |at: &usize| bytes[*at..].starts_with(b"HBlk");
        let blocks: Vec<usize> = (128..bytes.len()).step_by(64).filter(is_block).collect();
        let middle = blocks[blocks.len() / 2];
        bytes[middle..middle + 128].fill(0xee);
        let end = bytes.len();
        bytes[end - 400..].fill(0xee);
    });
    world.open().unwrap();
    let (report, books) = (world.store().open_report().clone(), world.store().ledger());
    assert_eq!(books.pending() + books.ended(End::Damaged), pending);
    assert!(books.ended(End::Damaged) > 0, "{report} {books:?}");
    assert_eq!(report.damaged, books.ended(End::Damaged), "{report}");
    // Once: the next open finds the same.
    world.crash(Crash::Kill);
    world.open().unwrap();
    assert_eq!(world.store().ledger().ends, books.ends);
    assert_eq!(world.store().open_report().damaged, 0);
    let left = drain(world.store());
    assert_eq!(left, books.pending());
    assert_eq!(world.store().ledger().pending(), 0);
}

#[test]
fn a_deferred_segment_that_was_removed_between_two_opens_is_counted() {
    let (mut world, copies, pending) = with_copies();
    world.crash(Crash::Kill);
    world.disk.take_away(&copies);
    world.open().unwrap();
    let books = world.store().ledger();
    let damaged = books.ended(End::Damaged);
    assert!(damaged > 0 && damaged <= pending, "{books:?}");
    assert_eq!(world.store().open_report().damaged, damaged);
    let left = drain(world.store());
    assert_eq!(left + damaged, pending);
    assert_eq!(world.store().ledger().pending(), 0);
}

/// The journal has the truncation, and the checkpoint behind it never came: however often the store is
/// opened, what was discarded is not missing, nor what was delivered between the two.
#[test]
fn what_was_discarded_of_copies_is_not_missing() {
    for (operation, delivered) in (0..12).flat_map(|at| [(at, 0), (at, 5)]) {
        let (mut world, ..) = with_copies();
        for _ in 0..delivered {
            world.deliver(0, |_| false, |_| false);
        }
        world.disk.cut_at(world.disk.operations() + operation);
        drop(
            world.store().truncate(
                &Truncate::all()
                    .target(target(0))
                    .created_before(world.clock.wall()),
            ),
        );
        for seed in 0..3 {
            world.crash(Crash::Power { seed });
            // Each time it is killed before it checkpoints.
            world.open().unwrap();
            let (books, report) = (world.store().ledger(), world.store().open_report());
            assert_eq!(books.ended(End::Damaged), 0, "{operation}: {books:?}");
            assert!(report.is_healthy(), "{operation}: {report}");
            assert!(books.accepted == 1000 || delivered > 0, "{books:?}");
            assert_eq!(books.excess(), 0, "{books:?}");
        }
        drain(world.store());
        let books = world.store().ledger();
        assert_eq!((books.pending(), books.ended(End::Damaged)), (0, 0));
    }
}

/// A copy of the directory has the journal from before a merge and the segments from behind it.
#[test]
fn copies_that_were_merged_behind_an_older_journal_are_delivered() {
    let (mut world, _, pending) = with_copies();
    let journal = read(&world, "store.journal");
    let named: Vec<String> = world.disk.names();
    // More of the same, until all that was named before is merged into another.
    for _ in 0..60 {
        world.append_batch(40, 1, Durability::Durable);
        for _ in 0..40 {
            world.deliver(0, |number| number % 2 == 0, |_| false);
        }
    }
    world.store().checkpoint().unwrap();
    let gone = |name: &&String| !world.disk.names().contains(name);
    assert!(named.iter().any(|name| gone(&name)));
    world.crash(Crash::Kill);
    world
        .disk
        .damage("store.journal", |bytes| *bytes = journal.clone());
    world.open().unwrap();
    let books = world.store().ledger();
    assert_eq!(books.ended(End::Damaged), 0, "{books:?}");
    assert!(books.pending() >= pending, "{books:?}");
}

/// The bytes of a file.
fn read(world: &World, name: &str) -> Vec<u8> {
    let mut read = Vec::new();
    world.disk.damage(name, |bytes| read.clone_from(bytes));
    read
}

/// A world in which every second hint waits for a retry in deferred segments, the largest of these, and
/// how many hints are pending.
fn with_copies() -> (World, String, u64) {
    let world = crate::defer::stubborn();
    let length = |name: &String| read(&world, name).len();
    let names = world.disk.names().into_iter();
    // By its descriptor: of what kind it is.
    let is_copies = |name: &String| name.ends_with(".hints") && read(&world, name)[30] == 1;
    let copies = names.filter(is_copies);
    let copies = copies.max_by_key(length).unwrap();
    let pending = world.store().ledger().pending();
    (world, copies, pending)
}
