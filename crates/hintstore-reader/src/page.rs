//! The batch of hints that is handed to delivery at once.

use std::fmt;

use hintstore_format::{
    Namespace, Sequence, StoreId, TargetId, expiry::Lifetime, frame::Body, profile::Profile,
};

use crate::{Block, Window, frames};

/// What tells a hint from every other, for ever: a receiver that keeps the last ones can drop
/// what it gets twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The store that accepted the hint.
    pub store: StoreId,
    /// The node it is for.
    pub target: TargetId,
    /// Its place in the target's order.
    pub sequence: Sequence,
}

/// A hint in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HintRef<'a> {
    /// What tells it from every other.
    pub key: Key,
    /// The table or keyspace it belongs to.
    pub namespace: Namespace,
    /// The caller's version of the payload.
    pub payload_version: u32,
    /// How long it may live.
    pub lifetime: Lifetime,
    /// Creation time, ids and payload.
    pub body: Body<'a>,
}

/// Where a page's hint lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHint {
    /// Its place in the target's order.
    pub sequence: Sequence,
    block: u32,
    at: u32,
    profile: u8,
}

/// The bytes of a page could not be read in full through the map: to be read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faulted;

impl fmt::Display for Faulted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of a mapped file could not be read")
    }
}

impl std::error::Error for Faulted {}

/// Checked hints of one target, in order, borrowed from the file or from one copy of it.
#[derive(Debug)]
pub struct Page {
    target: TargetId,
    blocks: Vec<(StoreId, Block, Window)>,
    hints: Vec<PageHint>,
    bytes: u64,
}

impl Page {
    /// An empty page.
    pub fn new(target: TargetId) -> Self {
        Self {
            target,
            blocks: Vec::new(),
            hints: Vec::new(),
            bytes: 0,
        }
    }

    /// The node the hints are for.
    pub fn target(&self) -> TargetId {
        self.target
    }

    /// Where the hints lie, in order.
    pub fn places(&self) -> &[PageHint] {
        &self.hints
    }

    /// How many hints.
    pub fn len(&self) -> usize {
        self.hints.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hints.is_empty()
    }

    /// Bytes of its frames.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins with the hints of another block, which `store` accepted.
    pub fn add_block(&mut self, store: StoreId, block: Block, frames: Window) {
        self.blocks.push((store, block, frames));
    }

    /// Adds a hint of the block that was added last.
    pub fn add(&mut self, sequence: Sequence, at: usize, length: usize, profile: u8) {
        let block = self.blocks.len().saturating_sub(1) as u32;
        self.hints.push(PageHint {
            sequence,
            block,
            at: at as u32,
            profile,
        });
        self.bytes += length as u64;
    }

    /// Reads a hint of the page.
    pub fn hint(&self, place: &PageHint) -> Option<HintRef<'_>> {
        let (store, block, window) = self.blocks.get(place.block as usize)?;
        let frame = frames::read(&block.header, window, place.at as usize)?;
        let profile: &Profile = &block
            .entries
            .as_ref()?
            .get(usize::from(place.profile))?
            .profile;
        Some(HintRef {
            key: Key {
                store: *store,
                target: self.target,
                sequence: place.sequence,
            },
            namespace: profile.namespace,
            payload_version: profile.payload_version,
            lifetime: profile.lifetime(),
            body: frame.body,
        })
    }

    /// The hints, in order.
    pub fn hints(&self) -> impl Iterator<Item = HintRef<'_>> {
        self.hints.iter().filter_map(|place| self.hint(place))
    }

    /// Whether the page comes from a map that could not be read in full.
    pub fn faulted(&self) -> bool {
        self.blocks.iter().any(|(.., window)| window.faulted())
    }

    /// Uses the hints, and tells whether what was used was all there.
    pub fn with<R>(&self, use_hints: impl FnOnce(&Self) -> R) -> Result<R, Faulted> {
        let result = use_hints(self);
        if self.faulted() {
            Err(Faulted)
        } else {
            Ok(result)
        }
    }
}
