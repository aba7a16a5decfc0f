//! Makes the golden stores of a format version: see `testdata/golden-1`.
//!
//! They are made once for each version and never again: what reads them shows that what was written by an
//! earlier build of the version is still read. `expected.jsonl` has what a store of that moment hands out,
//! in the order of each target; `state.json` what its journal says.
//!
//! `cargo run -p hintstore --example golden -- OUT`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it is run by hand, and says what it did"
)]

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, sync::Arc, time::Duration};

use hintstore::{
    Bytes, Clock as _, Compact, Config, Departure, Durability, Environment, Hint, HintRef,
    HintStore, Incarnation, MutationId, Namespace, Origin, OsStorage, Repaired, Sequence, StoreId,
    SyncScope, TargetId, Truncate, UnixMillis, Verdict,
};
use hintstore_format::journal::{End, Ends};
use hintstore_sim::{Manual, SimClock};
use serde_json::{Value, json};

const START: UnixMillis = UnixMillis::new(1_800_000_000_000);
const DAY: Duration = Duration::from_hours(24);
const LONG: Duration = Duration::from_hours(240);

fn target(number: u128) -> TargetId {
    TargetId::from_u128(0x9a35_5670_0000_4000_8000_0000_0000_0000 + number)
}

fn table(number: u128) -> Namespace {
    Namespace::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + number)
}

/// A store that is being made.
struct Making {
    config: Config,
    clock: Arc<SimClock>,
    runner: Arc<Manual>,
    store: HintStore,
    number: u64,
}

impl Making {
    fn open(folder: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(folder);
        config.segment_bytes = Bytes::kib(8);
        config.hint_bytes_max = Bytes::kib(600);
        config.memory = Bytes::mib(4);
        config.page_bytes = Bytes::kib(2);
        config.checkpoint_holes_max = 3;
        config.hint_window = None;
        config.disk.total = Some(Bytes::mib(512));
        config.disk.target = Some(Bytes::mib(512));
        config.disk.free_floor = Some(Bytes::new(0));
        change(&mut config);
        let clock = Arc::new(SimClock::new(START));
        let (store, runner) = open(&config, &clock);
        Self {
            config,
            clock,
            runner,
            store,
            number: 0,
        }
    }

    fn append(
        &mut self,
        hint: impl FnOnce(u64, UnixMillis) -> Vec<u8>,
        to: u128,
        of: Namespace,
        gc: Duration,
    ) {
        self.number += 1;
        let now = self.clock.wall();
        let payload = hint(self.number, now);
        let hint = Hint::new(target(to), now, gc, &payload)
            .namespace(of)
            .token(self.number.cast_signed() * 1_000_003 - 500);
        self.store.append(hint, Durability::Durable).unwrap();
    }

    fn reopen(&mut self) {
        self.store.clone().close().unwrap();
        (self.store, self.runner) = open(&self.config, &self.clock);
    }

    /// Answers the pages of a target, hint by hint.
    fn deliver(&self, to: u128, pages: usize, verdict: impl Fn(u64) -> Verdict) {
        for _ in 0..pages {
            let Some(page) = self.store.target(target(to)).page().unwrap() else {
                break;
            };
            let mut place = 0;
            page.answer_each(|_| {
                place += 1;
                verdict(place)
            })
            .unwrap();
        }
    }
}

fn open(config: &Config, clock: &Arc<SimClock>) -> (HintStore, Arc<Manual>) {
    let storage = Arc::new(OsStorage::new(&config.directory));
    let runner = Arc::new(Manual::new(clock.clone()));
    let environment = Environment::new(storage, clock.clone(), runner.clone());
    let store = HintStore::open_in(environment, config.clone()).unwrap();
    (store, runner)
}

fn text(number: u64, _: UnixMillis) -> Vec<u8> {
    format!(
        "UPDATE carts SET items = {number} WHERE user = 'user-{:04}'",
        number % 7
    )
    .into_bytes()
}

/// Every field that a frame can have, more namespaces than a footer names, a hint larger than a block, pages
/// that are delivered and such that are to be sent again; and a store that a crash stopped.
fn plain(folder: &Path) -> Making {
    let mut making = Making::open(folder, |_| ());
    let now = making.clock.wall();
    let id = MutationId::from_u128(0x0dd5_eed0_0000_0000_0000_0000_0000_0007);
    let origin = Origin {
        store: StoreId::from_u128(0x51),
        target: target(9),
        sequence: Sequence::new(77),
        incarnation: Incarnation::new(5),
    };
    let long_ago = UnixMillis::new(now.get() - 40 * 86_400_000);
    let bare = Hint::new(target(1), now, LONG, b"nothing but a payload");
    let hints = [
        bare,
        bare.namespace(Namespace::MIXED).payload_version(12),
        bare.namespace(table(1)).discard_after(DAY).mutation_id(id),
        bare.namespace(table(1)).token(i64::MIN).not_idempotent(),
        bare.namespace(table(2))
            .collapse(b"a key", 9)
            .token(i64::MAX),
        bare.namespace(table(2)).origin(origin),
        Hint::new(
            target(1),
            long_ago,
            Duration::MAX,
            b"created 40 days before its neighbours",
        ),
        Hint::new(target(1), now, LONG, b""),
    ];
    for outcome in making.store.append_batch(&hints, Durability::Durable) {
        outcome.unwrap();
    }
    making.append(|_, _| b"large ".repeat(45_000), 1, table(3), LONG);
    for of in 0..70 {
        making.append(text, 2, table(of), LONG);
    }
    // Blocks of many hints.
    let texts: Vec<Vec<u8>> = (0..300).map(|number| text(number, now)).collect();
    for texts in texts.chunks(50) {
        let hints: Vec<Hint<'_>> = texts
            .iter()
            .zip(0..)
            .map(|(text, number)| {
                Hint::new(target(3), now, LONG, text)
                    .namespace(table(number % 3))
                    .token(number.cast_signed() as i64)
            })
            .collect();
        let outcomes = making.store.append_batch(&hints, Durability::Durable);
        assert!(outcomes.iter().all(Result::is_ok));
    }
    // A few come again.
    making.deliver(3, 2, |place| match place {
        2 => Verdict::Retry,
        _ => Verdict::Delivered,
    });
    making.store.checkpoint().unwrap();
    making.store.target(target(1)).sync().unwrap();
    making
}

/// Segments that a compaction rewrote, compressed.
fn compressed(folder: &Path) -> Making {
    let mut making = Making::open(folder, |config| config.compress_level = Some(3));
    for number in 0..400_u64 {
        let gc = if number % 3 == 0 {
            LONG
        } else {
            Duration::from_hours(1)
        };
        making.append(text, 1, table(1), gc);
    }
    making.reopen();
    making.runner.advance(Duration::from_hours(2));
    making.store.confirm_clock();
    let done = making.store.compact(&Compact::everything()).unwrap();
    assert!(!done.compacted.is_empty());
    // What is small now is merged.
    making.store.compact(&Compact::everything()).unwrap();
    making.store.checkpoint().unwrap();
    making.reopen();
    making
}

/// What a compaction makes of some targets, long index and footers of more namespaces than have room.
fn long(folder: &Path, hints: u64) -> Making {
    let mut making = Making::open(folder, |config| {
        config.segment_bytes = Bytes::kib(256);
        config.roll_bytes_min = Bytes::new(1);
    });
    let now = making.clock.wall();
    let texts: Vec<Vec<u8>> = (0..hints)
        .map(|number| text(number, now).repeat(4))
        .collect();
    for (texts, of) in texts.chunks(5).zip(0..) {
        let hint = |text| Hint::new(target(1), now, LONG, text).namespace(table(of));
        let hints: Vec<Hint<'_>> = texts.iter().map(|text| hint(text)).collect();
        let outcomes = making.store.append_batch(&hints, Durability::Os);
        assert!(outcomes.iter().all(Result::is_ok));
    }
    for number in 0..60_u64 {
        let gc = if number % 3 == 0 {
            LONG
        } else {
            Duration::from_hours(1)
        };
        making.append(text, 2, table(1), LONG);
        making.append(text, 3, table(1), gc);
        making.append(text, 4, table(1), LONG);
    }
    making.reopen();
    making.runner.advance(Duration::from_hours(2));
    making.store.confirm_clock();
    making
}

/// A crash between the checkpoint that retires segments and the removal of their files, and damage: a bit of a
/// frame, and one of a block's header.
fn crashed(folder: &Path, out: &Path, scratch: &Path) -> Making {
    let making = long(folder, 450);
    let before = scratch.join("before");
    copy(folder, &before);
    making.deliver(2, 100, |_| Verdict::Delivered);
    let done = making.store.compact(&Compact::everything()).unwrap();
    assert!(!done.compacted.is_empty());
    making.store.checkpoint().unwrap();
    copy(folder, out);
    add_hint_files(&before, out);
    let id = target(4).to_string();
    let mut damaged = 0;
    for entry in fs::read_dir(out).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with(&id) {
            let mut bytes = fs::read(&path).unwrap();
            for at in [128 + 128 + 20, 128 + 512 * 5 + 30] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 4;
                    damaged += 1;
                }
            }
            fs::write(&path, bytes).unwrap();
        }
    }
    assert_eq!(damaged, 2);
    making
}

/// A crash between the end of a compaction and the checkpoint that would make it count.
fn unfinished(folder: &Path, out: &Path) -> Making {
    let making = long(folder, 0);
    copy(folder, out);
    let done = making.store.compact(&Compact::everything()).unwrap();
    assert!(!done.compacted.is_empty());
    add_hint_files(folder, out);
    making
}

/// Copies hint files that are not there.
fn add_hint_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        if path.extension().is_some_and(|end| end == "hints") && !place.exists() {
            fs::copy(&path, &place).unwrap();
        }
    }
}

/// Hints that ended in every way, and what waits in deferred segments.
fn ends(folder: &Path) -> (Making, String) {
    let mut making = Making::open(folder, |config| config.dead_letter_bytes = Bytes::kib(8));
    for number in 0..120_u64 {
        let gc = if number % 10 == 9 {
            Duration::from_hours(1)
        } else {
            LONG
        };
        making.append(text, 1, table(u128::from(number % 4)), gc);
        making.append(text, 2, table(u128::from(number % 4)), LONG);
        making.append(text, 4, table(1), LONG);
    }
    for to in [3, 5] {
        making.append(text, to, table(1), LONG);
    }
    // Dead letters, and hints that wait in a deferred segment.
    making.deliver(2, 4, |place| match place {
        1 => Verdict::Reject,
        2 | 5 | 8 | 11 => Verdict::Retry,
        _ => Verdict::Delivered,
    });
    making.deliver(4, 100, |place| match place % 2 {
        0 => Verdict::Retry,
        _ => Verdict::Delivered,
    });
    making.store.checkpoint().unwrap();
    making.runner.advance(Duration::from_hours(2));
    making.store.confirm_clock();
    making.deliver(1, 2, |_| Verdict::Delivered);
    let store = &making.store;
    store.fence(table(2), making.clock.wall()).unwrap();
    let one = Truncate::all().target(target(1)).namespace(table(3));
    store.truncate(&one).unwrap();
    store.truncate(&Truncate::all().target(target(5))).unwrap();
    store.forget(target(3), Departure::Decommissioned).unwrap();
    let repaired = Repaired {
        target: Some(target(5)),
        namespace: None,
        before: UnixMillis::MAX,
    };
    store.repaired(repaired).unwrap();
    let point = store.sync_point(&SyncScope::all()).unwrap().to_string();
    making.reopen();
    (making, point)
}

/// Copies a store as it lies there, without the zeros that are reserved behind what was written.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let place = to.join(&name);
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
            continue;
        }
        let name = name.to_str().unwrap();
        if name.ends_with(".tmp") || name == "LOCK" {
            continue;
        }
        let mut bytes = fs::read(entry.path()).unwrap();
        if name != "STORE" {
            // What was written may end in zeros as well, but not in many.
            let end = bytes.iter().rposition(|byte| *byte != 0);
            let end = end.map_or(0, |at| at + 1).next_multiple_of(4096);
            bytes.truncate(end);
        }
        fs::write(place, bytes).unwrap();
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn line(hint: &HintRef<'_>) -> Value {
    let (key, body) = (hint.key, hint.body);
    let millis = |time: Duration| hintstore_format::profile::millis(time).to_string();
    json!({
        "target": key.target.to_string(),
        "store": key.store.to_string(),
        "incarnation": key.incarnation.get().to_string(),
        "sequence": key.sequence.get().to_string(),
        "namespace": hex(hint.namespace.as_bytes()),
        "payload_version": hint.payload_version,
        "gc_grace_ms": millis(hint.lifetime.gc_grace),
        "discard_after_ms": hint.lifetime.ttl.map(millis),
        "created_ms": body.created.get(),
        "idempotent": body.idempotent,
        "mutation_id": body.mutation_id.map(|id| hex(id.as_bytes())),
        "token": body.token.map(|token| token.to_string()),
        "origin": body.origin.map(|of| json!({
            "store": of.store.to_string(),
            "target": of.target.to_string(),
            "sequence": of.sequence.get().to_string(),
            "incarnation": of.incarnation.get().to_string(),
        })),
        "collapse": body.collapse.map(|of| json!({
            "key": hex(of.key),
            "version": of.version.to_string(),
        })),
        "payload_bytes": body.payload.len(),
        "payload_crc": format!("{:08x}", hintstore_format::checksum::crc(body.payload)),
    })
}

/// Writes what a store hands out when it is opened at this moment, and what its journal says.
fn expect(making: &Making, folder: &Path, scratch: &Path, point: Option<&str>) {
    let again = scratch.join("again");
    copy(folder, &again);
    let mut config = making.config.clone();
    config.directory = again.clone();
    // No hint is moved: its copy would say where it was before.
    config.checkpoint_holes_max = 64;
    let (store, _runner) = open(&config, &making.clock);
    let targets: BTreeSet<TargetId> = store.ledger().targets.iter().map(|of| of.target).collect();
    let mut lines = Vec::new();
    for id in targets {
        while let Some(page) = store.target(id).page().unwrap() {
            lines.extend(page.hints().map(|hint| line(&hint).to_string() + "\n"));
            page.delivered().unwrap();
        }
    }
    fs::write(folder.join("expected.jsonl"), lines.concat()).unwrap();
    drop(store);
    fs::remove_dir_all(&again).unwrap();
    let storage = OsStorage::new(folder);
    let journal = hintstore::inspect::read_journal(&storage).unwrap();
    let ends = |ends: &Ends| {
        let all = End::ALL
            .iter()
            .map(|end| (end.word().to_owned(), json!(ends.get(*end))));
        Value::Object(all.collect())
    };
    let of_targets = journal.targets.iter().map(|of| {
        json!({
            "target": of.target.to_string(),
            "up_to": of.up_to.get().to_string(),
            "holes": of.holes.len(),
            "deferred": of.deferred.len(),
            "discards": of.discards.len(),
            "ends": ends(&of.ends),
        })
    });
    let losses = journal.losses.iter().map(|loss| {
        json!({
            "target": loss.target.map(|id| id.to_string()),
            "namespace": loss.namespace.map(|id| hex(id.as_bytes())),
            "cause": loss.cause.word(),
            "hints": loss.hints,
        })
    });
    let fences = journal
        .fences
        .iter()
        .map(|(of, before)| json!({ "namespace": hex(of.as_bytes()), "before_ms": before.get() }));
    let state = json!({
        "as_of_ms": making.clock.wall().get(),
        "sync_point": point,
        "targets": of_targets.collect::<Vec<_>>(),
        "losses": losses.collect::<Vec<_>>(),
        "fences": fences.collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&state).unwrap();
    fs::write(folder.join("state.json"), text + "\n").unwrap();
    println!("{}: {} hints", folder.display(), lines.len());
}

fn main() {
    let out = std::env::args().nth(1).expect("the folder to make them in");
    let out = Path::new(&out);
    let scratch = std::env::temp_dir().join(format!("hintstore-golden-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let make = |name: &str, point: Option<String>, making: Making| {
        let folder = out.join(name);
        copy(&scratch.join(name), &folder);
        expect(&making, &folder, &scratch, point.as_deref());
    };
    make("plain", None, plain(&scratch.join("plain")));
    make("compressed", None, compressed(&scratch.join("compressed")));
    let folder = out.join("crashed");
    let making = crashed(&scratch.join("crashed"), &folder, &scratch);
    expect(&making, &folder, &scratch, None);
    let folder = out.join("unfinished");
    let making = unfinished(&scratch.join("unfinished"), &folder);
    expect(&making, &folder, &scratch, None);
    let (making, point) = ends(&scratch.join("ends"));
    make("ends", Some(point), making);
    fs::remove_dir_all(&scratch).unwrap();
}
