//! What operators, cleaners and file systems do to an open store, and what a mistake in the engine does.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Duration,
};

use hintstore::{
    AppendError, Bytes, Clock as _, Config, Durability, End, Error, Gone, Hint, HintStore, Lacks,
    Namespace, Refusal, SystemClock, TargetId, Truncate,
};
use hintstore_env::{Presence, Storage as _};
use hintstore_sim::{Crash, SimStorage};

use crate::harness::{LONG, Scratch, World, small_config, target};

fn hint(to: TargetId, payload: &[u8]) -> Hint<'_> {
    Hint::new(to, SystemClock.wall(), LONG, payload)
}

/// Delivers all there is of a target, and gives how many hints that were.
fn drain(store: &HintStore, to: TargetId) -> usize {
    let mut hints = 0;
    while let Some(page) = store.target(to).page().unwrap() {
        hints += page.len();
        page.delivered().unwrap();
    }
    hints
}

/// What a store says of an append after something was taken away.
fn refused(store: &HintStore, to: TargetId) -> Option<Gone> {
    for _ in 0..10 {
        match store.append(hint(to, &[1; 1000]), Durability::Durable) {
            Ok(receipt) => unreachable!("{receipt:?} is nowhere"),
            Err(AppendError::Refused(Refusal::Gone { what })) => return Some(what),
            Err(AppendError::InDoubt(_)) => {}
            Err(other) => unreachable!("{other}"),
        }
    }
    None
}

#[test]
fn gone_under_open_store_directory() {
    let scratch = Scratch::new("gone-directory");
    let path = scratch.path("store");
    let store = HintStore::open(Config::new(&path)).unwrap();
    for _ in 0..20 {
        store
            .append(hint(target(0), b"a"), Durability::Durable)
            .unwrap();
    }
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(refused(&store, target(0)), Some(Gone::Directory));
    assert_eq!(store.snapshot().health.gone, Some(Gone::Directory));
    // Nor does it write into another directory of the same name.
    fs::create_dir(&path).unwrap();
    assert_eq!(refused(&store, target(1)), Some(Gone::Directory));
    let text = store.close().unwrap_err().to_string();
    assert!(
        text.contains("the directory of the store was removed"),
        "{text}"
    );
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn gone_under_open_store_replaced() {
    let scratch = Scratch::new("gone-replaced");
    let (path, moved) = (scratch.path("store"), scratch.path("moved"));
    let store = HintStore::open(Config::new(&path)).unwrap();
    store
        .append(hint(target(0), b"a"), Durability::Durable)
        .unwrap();
    rename(&path, &moved);
    fs::create_dir(&path).unwrap();
    assert_eq!(refused(&store, target(0)), Some(Gone::Replaced));
    assert!(matches!(store.checkpoint(), Err(Error::Gone { .. })));
    drop(store);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    let store = HintStore::open(Config::new(&moved)).unwrap();
    assert!(drain(&store, target(0)) >= 1);
}

#[expect(clippy::disallowed_methods, reason = "an operator moves the directory")]
fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

#[test]
fn moved_directory() {
    let scratch = Scratch::new("moved");
    let (path, moved) = (scratch.path("store"), scratch.path("moved"));
    let mut config = Config::new(&path);
    config.segment_bytes = Bytes::kib(16);
    let store = HintStore::open(config).unwrap();
    for n in 0..40 {
        if n == 20 {
            rename(&path, &moved);
        }
        store
            .append(hint(target(0), &[1; 2000]), Durability::Durable)
            .unwrap();
    }
    store.close().unwrap();
    let store = HintStore::open(Config::new(&moved)).unwrap();
    assert!(store.open_report().is_healthy());
    assert_eq!(drain(&store, target(0)), 40);
}

// P1
#[test]
fn gone_under_open_store_files() {
    let scratch = Scratch::new("gone-files");
    let path = scratch.path("store");
    let mut config = Config::new(&path);
    config.segment_bytes = Bytes::kib(64);
    let store = HintStore::open(config).unwrap();
    let mut accepted = 0;
    for _ in 0..100 {
        store
            .append(hint(target(0), &[1; 1000]), Durability::Durable)
            .unwrap();
        accepted += 1;
    }
    for entry in fs::read_dir(&path).unwrap().flatten() {
        if entry.path().extension().is_some_and(|e| e == "hints") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    // What was in the open file can still be read, and moves on with what is new.
    for _ in 0..10 {
        store
            .append(hint(target(0), &[1; 1000]), Durability::Durable)
            .unwrap();
        accepted += 1;
    }
    let health = store.snapshot().health;
    assert!(health.files_gone >= 1 && !health.is_healthy(), "{health:?}");
    store.close().unwrap();
    let store = HintStore::open(Config::new(&path)).unwrap();
    let books = store.ledger();
    let damaged = books.ended(End::Damaged);
    assert_eq!(books.accepted, accepted, "{books:?}");
    assert!(damaged > 0 && damaged < accepted - 10, "{books:?}");
    assert_eq!(drain(&store, target(0)) as u64, accepted - damaged);
}

#[test]
fn a_store_file_that_is_replaced_is_noticed() {
    for (name, expected) in [("STORE", Gone::StoreFile), ("LOCK", Gone::LockFile)] {
        let scratch = Scratch::new(&format!("gone-{name}"));
        let path = scratch.path("store");
        let store = HintStore::open(Config::new(&path)).unwrap();
        store
            .append(hint(target(0), b"a"), Durability::Durable)
            .unwrap();
        fs::remove_file(path.join(name)).unwrap();
        // No second process gets in.
        let second = HintStore::open(Config::new(&path));
        assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
        assert!(matches!(store.checkpoint(), Err(Error::Gone { what, .. }) if what == expected));
        assert_eq!(refused(&store, target(0)), Some(expected));
    }
}

/// A journal without a name holds nothing for the next open.
#[test]
fn a_journal_that_is_removed_is_written_again() {
    let scratch = Scratch::new("gone-journal");
    let path = scratch.path("store");
    let store = HintStore::open(Config::new(&path)).unwrap();
    store
        .append(hint(target(0), b"a"), Durability::Durable)
        .unwrap();
    fs::remove_file(path.join("store.journal")).unwrap();
    let (namespace, before) = (Namespace::from_u128(9), SystemClock.wall());
    store.fence(namespace, before).unwrap();
    let copy = scratch.path("copy");
    fs::create_dir(&copy).unwrap();
    // As a kill leaves it.
    for entry in fs::read_dir(&path).unwrap().flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let store = HintStore::open(Config::new(&copy)).unwrap();
    let old = Hint::new(
        target(0),
        hintstore::UnixMillis::new(before.get() - 1),
        LONG,
        b"b",
    );
    let refused = store.append(old.namespace(namespace), Durability::Buffered);
    assert_eq!(refused, Err(Refusal::Fenced.into()));
}

#[test]
fn relative_path() {
    let scratch = Scratch::new("relative");
    // In a process of its own: the directory is the process's.
    let test = std::env::current_exe().unwrap();
    let done = std::process::Command::new(test)
        .args([
            "trouble::relative_path_in_a_process",
            "--exact",
            "--nocapture",
        ])
        .env("HINTSTORE_RELATIVE", scratch.path(""))
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn relative_path_in_a_process() {
    let Some(folder) = std::env::var_os("HINTSTORE_RELATIVE") else {
        // It is the other test that runs this.
        return;
    };
    std::env::set_current_dir(&folder).unwrap();
    let mut config = Config::new("hints");
    config.segment_bytes = Bytes::kib(64);
    let store = HintStore::open(config).unwrap();
    store
        .append(hint(target(0), b"a"), Durability::Durable)
        .unwrap();
    std::env::set_current_dir("/").unwrap();
    for to in 0..3 {
        for _ in 0..10 {
            let large = vec![7; 20_000];
            store
                .append(hint(target(to), &large), Durability::Durable)
                .unwrap();
        }
    }
    assert_eq!(drain(&store, target(0)), 11);
    store.checkpoint().unwrap();
    store.close().unwrap();
    let store = HintStore::open(Config::new(Path::new(&folder).join("hints"))).unwrap();
    assert!(store.open_report().is_healthy());
    assert_eq!(drain(&store, target(1)) + drain(&store, target(2)), 20);
    assert!(!Path::new("/hints").exists());
}

#[test]
fn directory_fsync() {
    let lacks = Lacks {
        directory_sync: true,
        ..Lacks::default()
    };
    let disk = SimStorage::new();
    disk.set_lacks(lacks);
    let mut world = World::on(disk, small_config());
    world.open().unwrap();
    assert!(world.append(0, 100, Durability::Durable));
    assert_eq!(world.store().open_report().lacks, lacks);
    assert_eq!(world.store().snapshot().health.lacks, lacks);
    let text = world.store().open_report().to_string();
    assert!(text.contains("cannot sync directories"), "{text}");
    world.store = None;
    world.config.require_directory_sync = true;
    let error = world.open().unwrap_err();
    assert!(matches!(error, Error::NoDirectorySync { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("require_directory_sync"), "{text}");
}

/// Two stores from one copy of a volume: what they accept apart has different keys.
// P2
#[test]
fn cloned_volume() {
    let mut world = World::opened(small_config());
    assert!(world.append(0, 100, Durability::Durable));
    world.close_and_open();
    world.store = None;
    // A clone keeps the inodes.
    let clone = world.disk.after(Crash::Kill);
    let keys = |disk: SimStorage, entropy: usize| {
        let mut world = World::on(disk, small_config());
        // Two machines draw different numbers.
        for _ in 0..entropy {
            hintstore::Clock::entropy(&*world.clock);
        }
        world.open().unwrap();
        assert!(!world.store().open_report().new_identity);
        assert!(world.append(0, 100, Durability::Durable));
        let page = world.store().target(target(0)).page().unwrap().unwrap();
        page.hints().map(|hint| hint.key).collect::<Vec<_>>()
    };
    let (one, two) = (keys(world.disk.clone(), 1), keys(clone, 7));
    assert_eq!(one[0], two[0]);
    assert_eq!(one[1].sequence, two[1].sequence);
    assert_ne!(one[1], two[1]);
}

/// The hint files of a directory, in order.
fn hint_files(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().flatten();
    let mut files: Vec<_> = files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "hints"))
        .collect();
    files.sort();
    files
}

/// A store with several sealed files of one target, and how many hints it took.
fn several_sealed(path: &Path) -> (HintStore, u64) {
    let mut config = Config::new(path);
    config.segment_bytes = Bytes::kib(64);
    let store = HintStore::open(config).unwrap();
    for _ in 0..300 {
        store
            .append(hint(target(0), &[1; 1000]), Durability::Durable)
            .unwrap();
    }
    store.close().unwrap();
    (HintStore::open(Config::new(path)).unwrap(), 300)
}

#[test]
fn a_closed_file_that_is_replaced_is_neither_read_nor_removed() {
    for by_sweep in [true, false] {
        let scratch = Scratch::new("replaced-file");
        let path = scratch.path("store");
        let (store, accepted) = several_sealed(&path);
        let victim = hint_files(&path).remove(1);
        // As long as the other, so that nothing but the file itself tells them apart.
        let length = fs::metadata(&victim).unwrap().len();
        fs::write(path.join("new"), vec![7; length as usize]).unwrap();
        rename(&path.join("new"), &victim);
        if by_sweep {
            store.sweep().unwrap();
        }
        let delivered = drain(&store, target(0)) as u64;
        store.checkpoint().unwrap();
        let snapshot = store.snapshot();
        assert_eq!(snapshot.health.files_gone, 1);
        let books = store.ledger();
        let damaged = books.ended(End::Damaged);
        assert!(damaged > 0 && damaged < accepted, "{books:?}");
        assert_eq!(delivered + damaged, accepted, "{books:?}");
        store.close().unwrap();
        assert_eq!(hint_files(&path), vec![victim.clone()]);
        assert_eq!(fs::read(&victim).unwrap(), vec![7; length as usize]);
    }
}

#[test]
fn a_closed_file_that_is_replaced_by_its_copy_is_delivered() {
    let scratch = Scratch::new("copied-file");
    let path = scratch.path("store");
    let (store, accepted) = several_sealed(&path);
    let victim = hint_files(&path).remove(1);
    fs::copy(&victim, path.join("new")).unwrap();
    rename(&path.join("new"), &victim);
    store.sweep().unwrap();
    assert_eq!(drain(&store, target(0)) as u64, accepted);
    store.checkpoint().unwrap();
    assert_eq!(store.snapshot().health.files_gone, 0);
    assert_eq!(hint_files(&path), Vec::<PathBuf>::new());
}

/// Somebody takes a file away and puts it back: its hints ended, and it is kept for an operator.
// P4
#[test]
fn a_file_that_comes_back_is_set_aside() {
    for the_journal_is_written_again in [false, true] {
        let scratch = Scratch::new("comes-back");
        let path = scratch.path("store");
        let (store, _) = several_sealed(&path);
        let victim = hint_files(&path).remove(1);
        let elsewhere = scratch.path("elsewhere");
        rename(&victim, &elsewhere);
        store.sweep().unwrap();
        assert!(store.ledger().ended(End::Damaged) > 0);
        if the_journal_is_written_again {
            let journal = path.join("store.journal");
            fs::remove_file(&journal).unwrap();
            store
                .fence(Namespace::from_u128(9), SystemClock.wall())
                .unwrap();
            assert!(journal.exists());
        }
        rename(&elsewhere, &victim);
        store.close().unwrap();
        let store = HintStore::open(Config::new(&path)).unwrap();
        let kept = path.join("aside").join(victim.file_name().unwrap());
        assert!(kept.exists(), "{}", store.open_report());
    }
}

#[test]
fn a_truncation_goes_on_beside_a_file_that_was_removed() {
    let scratch = Scratch::new("truncate-removed");
    let path = scratch.path("store");
    let (store, accepted) = several_sealed(&path);
    fs::remove_file(hint_files(&path).remove(1)).unwrap();
    let what = Truncate::all()
        .target(target(0))
        .namespace(Namespace::from_u128(0));
    let discarded = store.truncate(&what).unwrap()[0].hints;
    let books = store.ledger();
    assert_eq!(discarded + books.ended(End::Damaged), accepted, "{books:?}");
    assert_eq!(store.snapshot().health.files_gone, 1);
}

#[test]
fn who_notices_that_the_lock_is_gone_ends_all_appends() {
    let scratch = Scratch::new("gone-noticed");
    let path = scratch.path("store");
    let store = HintStore::open(Config::new(&path)).unwrap();
    fs::remove_file(path.join("LOCK")).unwrap();
    assert!(store.checkpoint().is_err());
    // Buffered hints reach no disk that would tell.
    let refused = store.append(hint(target(0), b"a"), Durability::Buffered);
    let what = Gone::LockFile;
    assert_eq!(refused, Err(Refusal::Gone { what }.into()));
}

/// A cleaner removes files of a store in the simulation, at any time, and nothing is lost in silence.
#[test]
fn files_that_are_taken_away_are_counted() {
    for after in 0..12 {
        let mut world = World::opened(small_config());
        let mut accepted = 0;
        for n in 0..24 {
            if n == after * 2 {
                for name in world.disk.names() {
                    if name.ends_with(".hints") {
                        world.disk.take_away(&name);
                    }
                }
            }
            let level = [Durability::Durable, Durability::Os, Durability::Buffered][n % 3];
            accepted += u64::from(world.append(0, 900, level));
        }
        world.runner.advance(Duration::from_secs(3));
        world.store.take().unwrap().close().unwrap();
        world.open().unwrap();
        let delivered = drain(world.store(), target(0)) as u64;
        let books = world.store().ledger();
        assert_eq!(books.accepted, accepted, "{after}: {books:?}");
        assert_eq!(delivered + books.ended(End::Damaged), accepted, "{books:?}");
    }
}

#[test]
fn a_directory_that_is_taken_away_ends_all_appends() {
    for presence in [Presence::Gone, Presence::Replaced] {
        let mut world = World::opened(small_config());
        assert!(world.append(0, 100, Durability::Durable));
        world.disk.take_directory(presence);
        for level in [Durability::Durable, Durability::Os, Durability::Buffered] {
            world.append(0, 100, level);
        }
        world.runner.advance(Duration::from_secs(3));
        let refusing = world.store().refusing();
        assert!(
            matches!(refusing, Some(Refusal::Gone { .. })),
            "{refusing:?}"
        );
        assert!(world.store().checkpoint().is_err());
        assert_eq!(world.disk.presence().unwrap(), presence);
    }
}

/// Each operation on the disk panics once, in a background step or in a call: the steps go on, and
/// nothing that was acknowledged is lost.
#[test]
fn every_step_survives_a_panic() {
    // What panics says so on standard error; thousands of them help nobody.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut counted = std::collections::BTreeSet::new();
        let mut operation = 1;
        loop {
            let (world, panicked) = with_a_panic_at(operation);
            if !panicked {
                break;
            }
            counted.extend(
                world
                    .store()
                    .snapshot()
                    .health
                    .step_panics
                    .iter()
                    .map(|p| p.step),
            );
            world.assert_right();
            operation += 1;
        }
        (operation, counted)
    }));
    std::panic::set_hook(hook);
    let (operations, counted) = ran.unwrap();
    assert!(operations > 60, "{operations}");
    for step in ["flush", "sync", "seal", "checkpoint"] {
        assert!(counted.contains(step), "{step} never panicked: {counted:?}");
    }
}

fn with_a_panic_at(operation: u64) -> (World, bool) {
    let mut config = small_config();
    config.descriptors_max = 4;
    let mut world = World::opened(config);
    world.disk.panic_at(world.disk.operations() + operation);
    for round in 0..8 {
        for to in 0..3 {
            let level =
                [Durability::Buffered, Durability::Os, Durability::Durable][(to + round) % 3];
            // A call that panics gave nobody a receipt for its hint.
            let called = catch_unwind(AssertUnwindSafe(|| {
                world.append(to as u128, 2500, level);
            }));
            if called.is_err() {
                world.forget_last();
            }
        }
        world.runner.advance(Duration::from_millis(1500));
        for to in 0..3 {
            let put_off = |n: u64| round < 6 && n.is_multiple_of(2);
            drop(catch_unwind(AssertUnwindSafe(|| {
                world.deliver(to, put_off, |_| false);
            })));
        }
    }
    let panicked = !world.disk.will_panic();
    world.runner.advance(Duration::from_secs(5));
    world.drain(3);
    (world, panicked)
}
