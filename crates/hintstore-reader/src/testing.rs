//! For tests: a segment in memory, on a simulated disk.

use std::{io::IoSlice, sync::Arc, time::Duration};

use hintstore_env::{File, Storage};
use hintstore_format::{
    Incarnation, Namespace, SegmentId, Sequence, StoreId, TargetId, UnixMillis,
    block::{self, Position, Start},
    descriptor::{Descriptor, Kind},
    expiry::Lifetime,
    footer::Builder,
    frame::{Body, Draft, Place},
    layout::{SECTOR, align_up},
    profile::{self, Profile},
};
use hintstore_sim::SimStorage;

pub(crate) const SEGMENT: SegmentId = SegmentId::new(3);
pub(crate) const FIRST: u64 = 100;

/// The bytes of a segment. Its hints have sequences from [`FIRST`] on.
pub(crate) struct SegmentBytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptor: Descriptor,
    pub(crate) next: u64,
    builder: Builder,
}

impl SegmentBytes {
    pub(crate) fn new() -> Self {
        let descriptor = Descriptor {
            store: StoreId::from_u128(1),
            incarnation: Incarnation::new(1),
            target: TargetId::from_u128(2),
            segment: SEGMENT,
            created: UnixMillis::new(0),
            first: Sequence::new(FIRST),
            kind: Kind::Hints,
            codec: block::Codec::Plain,
            cipher: 0,
            replaces: Vec::new(),
        };
        Self {
            bytes: descriptor.encode(),
            builder: Builder::new(&descriptor),
            descriptor,
            next: FIRST,
        }
    }

    pub(crate) fn blocks_at(&self) -> u64 {
        self.descriptor.length() as u64
    }

    pub(crate) fn end(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn pad_to_sector(&mut self) {
        let end = align_up(self.end(), SECTOR);
        self.bytes.resize(end as usize, 0);
    }

    /// Adds a block which states that all below `synced_to` was synced; gives its place.
    pub(crate) fn block(&mut self, payloads: &[&[u8]], synced_to: u64) -> u64 {
        let start = Start {
            first: Sequence::new(self.next),
            salt: 7,
            base_created: UnixMillis::new(0),
            accepted: UnixMillis::new(0),
        };
        let mut bytes = vec![0; block::HEADER];
        for (index, payload) in payloads.iter().enumerate() {
            let body = Body::new(UnixMillis::new(0), payload);
            let draft = Draft::new(&body);
            let from = bytes.len();
            bytes.resize(from + draft.length(start.base_created), 0);
            let place = Place {
                index: index as u16,
                profile: 0,
                salt: start.salt,
                base_created: start.base_created,
            };
            draft.write(place, &mut bytes[from..]);
        }
        let lifetime = Lifetime {
            gc_grace: Duration::from_secs(1),
            ttl: None,
        };
        let profiles = [Profile::new(Namespace::NONE, 0, lifetime)];
        let offset = self.end();
        let position = Position {
            segment: SEGMENT,
            offset,
            synced_to,
        };
        let mut table = Vec::new();
        let header = block::seal(start, position, &profiles, &mut bytes, &mut table);
        let entries =
            profile::decode_table(&table[..header.table_length as usize], SEGMENT, offset);
        let entries = entries.expect("a table of our own");
        self.builder.add(&header, &entries);
        self.bytes.extend_from_slice(&bytes);
        self.bytes.extend_from_slice(&table);
        self.next += payloads.len() as u64;
        offset
    }

    pub(crate) fn seal(&mut self) {
        self.pad_to_sector();
        let footer = self.builder.clone().build(self.end());
        self.bytes.extend_from_slice(&footer.encode());
    }

    /// The file on a simulated disk, and its length.
    pub(crate) fn file(&self) -> (Arc<dyn File>, u64) {
        let storage = SimStorage::new();
        let file = storage.create("segment.hints").expect("a file");
        let bytes = IoSlice::new(&self.bytes);
        file.write_at(&[bytes], 0).expect("a write");
        (file, self.end())
    }
}
