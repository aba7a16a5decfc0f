//! The files of a store.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bytes::{Id, crc, id_at, is_zero, u16_at, u32_at, u64_at};
use crate::journal::Journal;
use crate::segment::Segment;

const SLOT: usize = 4096;

pub(crate) struct Store {
    pub(crate) identity: Slot,
    pub(crate) segments: Vec<Segment>,
    pub(crate) journal: Journal,
    /// What `state.json` and the lines of `expected.jsonl` say of it.
    pub(crate) state: Value,
    pub(crate) expected: Vec<Value>,
}

impl Store {
    pub(crate) fn read(name: &str) -> Store {
        let dir = golden(name);
        let expected = String::from_utf8(file(&dir.join("expected.jsonl"))).unwrap();
        Store {
            identity: identity(&file(&dir.join("STORE"))),
            segments: segments(&dir).iter().map(|of| Segment::read(of)).collect(),
            journal: Journal::read(&file(&dir.join("store.journal"))),
            state: serde_json::from_slice(&file(&dir.join("state.json"))).unwrap(),
            expected: expected
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        }
    }
}

pub(crate) fn golden(name: &str) -> PathBuf {
    let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden-1");
    stores.join(name)
}

pub(crate) fn file(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// The bytes of the segments in a directory, in the order of their names.
pub(crate) fn segments(dir: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "hints"))
        .collect();
    paths.sort();
    paths.iter().map(|path| file(path)).collect()
}

/// One slot of the file `STORE`.
pub(crate) struct Slot {
    pub(crate) store: Id,
    pub(crate) epoch: u64,
    generation: u64,
}

fn identity(bytes: &[u8]) -> Slot {
    assert_eq!(bytes.len(), 2 * SLOT);
    let slots = bytes.chunks(SLOT).filter_map(slot);
    slots.max_by_key(|slot| slot.generation).unwrap()
}

fn slot(bytes: &[u8]) -> Option<Slot> {
    let covered: [&[u8]; 2] = [&bytes[..12], &bytes[16..128]];
    if !bytes.starts_with(b"hintsto\n") || u32_at(bytes, 12) != crc(&covered) {
        assert!(is_zero(bytes), "a slot that was never written");
        return None;
    }
    let (version, incompat) = (u16_at(bytes, 8), u32_at(bytes, 24));
    assert_eq!((version, incompat), (1, 0), "version, features");
    assert!(is_zero(&bytes[64..]), "reserved");
    Some(Slot {
        store: id_at(bytes, 32),
        epoch: u64::from(u32_at(bytes, 28)),
        generation: u64_at(bytes, 48),
    })
}
