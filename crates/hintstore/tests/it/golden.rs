//! Golden stores: what any build of format 1 wrote is read for good. `testdata/README.md` says what is in them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use hintstore::{
    Config, End, Environment, Error, HintRef, HintStore, Origin, OsStorage, SyncPoint, SyncState,
    UnixMillis, inspect::read_journal,
};
use hintstore_sim::{Manual, SimClock};
use serde_json::Value;

use crate::harness::Scratch;

fn golden(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden-1");
    all.join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &place);
        } else {
            fs::copy(&path, &place).unwrap();
        }
    }
}

fn state(name: &str) -> Value {
    let text = fs::read_to_string(golden(name).join("state.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Whether a hint is what a line says.
fn assert_is(hint: &HintRef<'_>, line: &Value) {
    let (key, body) = (hint.key, hint.body);
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let millis = |time| hintstore_format::profile::millis(time).to_string();
    // A copy that the store makes of it says whose it was.
    let of = body.origin.unwrap_or(Origin {
        store: key.store,
        target: key.target,
        sequence: key.sequence,
        incarnation: key.incarnation,
    });
    let origin = Some(&line["origin"]).filter(|origin| origin.is_object());
    let origin = origin.unwrap_or(line);
    assert_eq!(origin["store"], of.store.to_string());
    assert_eq!(origin["target"], of.target.to_string());
    assert_eq!(origin["sequence"], of.sequence.get().to_string());
    assert_eq!(origin["incarnation"], of.incarnation.get().to_string());
    assert_eq!(text("target").unwrap(), key.target.to_string());
    assert_eq!(text("sequence").unwrap(), key.sequence.get().to_string());
    assert_eq!(text("namespace").unwrap(), hex(hint.namespace.as_bytes()));
    assert_eq!(line["payload_version"], hint.payload_version);
    assert_eq!(text("gc_grace_ms").unwrap(), millis(hint.lifetime.gc_grace));
    assert_eq!(text("discard_after_ms"), hint.lifetime.ttl.map(millis));
    assert_eq!(line["created_ms"], body.created.get());
    assert_eq!(line["idempotent"], body.idempotent);
    assert_eq!(
        text("mutation_id"),
        body.mutation_id.map(|id| hex(id.as_bytes()))
    );
    assert_eq!(text("token"), body.token.map(|token| token.to_string()));
    let (collapse, of) = (&line["collapse"], body.collapse);
    assert_eq!(collapse.is_object(), of.is_some());
    if let Some(of) = of {
        assert_eq!(collapse["key"], hex(of.key));
        assert_eq!(collapse["version"], of.version.to_string());
    }
    assert_eq!(line["payload_bytes"], body.payload.len());
    let crc = format!("{:08x}", hintstore_format::checksum::crc(body.payload));
    assert_eq!(text("payload_crc").unwrap(), crc);
}

fn opened(folder: &Path, as_of: i64) -> hintstore::Result<HintStore> {
    let clock = Arc::new(SimClock::new(UnixMillis::new(as_of)));
    let runner = Arc::new(Manual::new(clock.clone()));
    let mut config = Config::new(folder);
    config.hint_window = None;
    let environment = Environment::new(Arc::new(OsStorage::new(folder)), clock, runner);
    HintStore::open_in(environment, config)
}

/// Opens a copy, and holds what it hands out against what it handed out when it was made.
fn assert_delivers(name: &str, damaged: u64) {
    let scratch = Scratch::new(&format!("golden-{name}"));
    let folder = scratch.path("store");
    copy(&golden(name), &folder);
    let store = opened(&folder, state(name)["as_of_ms"].as_i64().unwrap()).unwrap();
    let text = fs::read_to_string(golden(name).join("expected.jsonl")).unwrap();
    // What waits in deferred segments comes at its own time.
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| line[name].as_str().unwrap().to_owned();
        ((field("target"), field("sequence")), line)
    };
    let mut lines: BTreeMap<_, _> = text.lines().map(line).collect();
    let mut targets: Vec<_> = store.ledger().targets.iter().map(|of| of.target).collect();
    targets.sort();
    for id in targets {
        while let Some(page) = store.target(id).page().unwrap() {
            for hint in page.hints() {
                let (target, sequence) = (hint.key.target, hint.key.sequence.get());
                let line = lines.remove(&(target.to_string(), sequence.to_string()));
                assert_is(&hint, &line.expect("a hint that was there, once"));
            }
            page.delivered().unwrap();
        }
    }
    assert!(lines.is_empty(), "these are missing: {lines:?}");
    let books = store.ledger();
    assert_eq!((books.pending(), books.excess()), (0, 0));
    assert_eq!(
        (books.ended(End::Damaged), books.ended(End::Lost)),
        (damaged, 0)
    );
    store.close().unwrap();
}

#[test]
fn plain_segments_of_format_1_are_read() {
    assert_delivers("plain", 0);
}

#[test]
fn compressed_segments_of_format_1_are_read() {
    assert_delivers("compressed", 0);
}

#[test]
fn what_a_crash_left_of_format_1_is_read_once() {
    assert_delivers("crashed", 2);
    assert_delivers("unfinished", 0);
}

#[test]
fn what_had_ended_in_a_store_of_format_1_has_ended() {
    assert_delivers("ends", 0);
    let expected = state("ends");
    let journal = read_journal(&OsStorage::new(golden("ends"))).unwrap();
    let targets = expected["targets"].as_array().unwrap();
    assert_eq!(journal.targets.len(), targets.len());
    for (of, expected) in journal.targets.iter().zip(targets) {
        assert_eq!(expected["target"], of.target.to_string());
        assert_eq!(expected["up_to"], of.up_to.get().to_string());
        assert_eq!(expected["holes"], of.holes.len());
        assert_eq!(expected["deferred"], of.deferred.len());
        assert_eq!(expected["discards"], of.discards.len());
        for end in End::ALL.iter().copied() {
            assert_eq!(expected["ends"][end.word()], of.ends.get(end));
        }
    }
    let losses = expected["losses"].as_array().unwrap();
    assert_eq!(journal.losses.len(), losses.len());
    for (loss, expected) in journal.losses.iter().zip(losses) {
        assert_eq!(expected["target"], loss.target.unwrap().to_string());
        assert_eq!(
            expected["namespace"],
            hex(loss.namespace.unwrap().as_bytes())
        );
        assert_eq!(expected["cause"], loss.cause.word());
        assert_eq!(expected["hints"], loss.hints);
    }
    let fences = expected["fences"].as_array().unwrap();
    assert_eq!(journal.fences.len(), fences.len());
    assert_eq!(fences[0]["before_ms"], journal.fences[0].1.get());
    // A sync point that was made then is one, and waits for what is there.
    let point: SyncPoint = expected["sync_point"].as_str().unwrap().parse().unwrap();
    assert_eq!(point.to_string(), expected["sync_point"].as_str().unwrap());
    let state = point.judge(|target, up_to| match journal.target(target) {
        Some(view) => (view.ends, view.up_to < up_to),
        None => (hintstore::Ends::default(), false),
    });
    assert!(matches!(state, SyncState::InProgress { .. }), "{state:?}");
}

#[test]
fn a_store_from_before_the_format_was_final_is_refused_with_what_to_do() {
    let scratch = Scratch::new("golden-0");
    let folder = scratch.path("store");
    copy(&golden("ends"), &folder);
    let path = folder.join("STORE");
    let mut bytes = fs::read(&path).unwrap();
    for slot in bytes.chunks_mut(4096) {
        slot[8..10].fill(0);
        let crc = hintstore_format::checksum::crc(&slot[..12]);
        let crc = hintstore_format::checksum::extend(crc, &slot[16..128]);
        for (at, byte) in slot[12..16].iter_mut().enumerate() {
            *byte = (crc >> (8 * at)) as u8;
        }
    }
    fs::write(&path, bytes).unwrap();
    let error = opened(&folder, 1_800_000_000_000).unwrap_err();
    assert!(matches!(error, Error::OtherVersion { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("STORE") && text.contains("version 0"),
        "{text}"
    );
    assert!(text.contains("with the build that wrote it"), "{text}");
}
