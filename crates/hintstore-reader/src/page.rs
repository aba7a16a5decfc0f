//! The batch of hints that is handed to delivery at once.

use std::{fmt, slice};

use hintstore_format::{
    Incarnation, Namespace, Sequence, StoreId, TargetId, UnixMillis,
    expiry::Lifetime,
    frame::{self, Body, Frame},
    profile::Entry,
};

use crate::{Block, ByteView};

/// What distinguishes a hint from every other, at all times: a receiver that keeps the last ones can drop
/// what it gets twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The store that accepted the hint.
    pub store: StoreId,
    /// The node it is for.
    pub target: TargetId,
    /// Its place in the target's order.
    pub sequence: Sequence,
    /// The opening of the store that accepted it: copies of a volume count the same sequences.
    pub incarnation: Incarnation,
}

/// A hint in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

/// Where a page's hint lies in its block.
#[derive(Clone, Copy, Debug)]
struct Place {
    sequence: Sequence,
    at: u32,
    header: frame::Header,
}

/// The hints of a page that come from one block.
#[derive(Debug)]
struct Part {
    store: StoreId,
    incarnation: Incarnation,
    block: Block,
    frames: ByteView,
    /// Its first place in the page; it goes on to that of the next.
    from: usize,
}

/// An empty page keeps memory for no more blocks and hints than this: for pages as they are by default.
const SPARE_PARTS_MAX: usize = 64;
const SPARE_PLACES_MAX: usize = 8192;

/// The bytes of a page could not be read in full through the map: to be read again.
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
    parts: Vec<Part>,
    places: Vec<Place>,
    bytes: u64,
}

impl Page {
    /// An empty page.
    pub fn new(target: TargetId) -> Self {
        Self {
            target,
            parts: Vec::new(),
            places: Vec::new(),
            bytes: 0,
        }
    }

    /// Empties it for another target: its memory is used again, except where it is much.
    #[must_use]
    pub fn again_for(mut self, target: TargetId) -> Self {
        self.parts.clear();
        self.places.clear();
        self.parts.shrink_to(SPARE_PARTS_MAX);
        self.places.shrink_to(SPARE_PLACES_MAX);
        self.bytes = 0;
        Self { target, ..self }
    }

    /// The node the hints are for.
    pub fn target(&self) -> TargetId {
        self.target
    }

    /// How many hints.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of its frames.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins with the hints of another block, which an opening of `store` accepted.
    pub fn add_block(
        &mut self,
        store: StoreId,
        incarnation: Incarnation,
        block: Block,
        frames: ByteView,
    ) {
        let from = self.places.len();
        // The header is checked, and a block has no more than 65,536 hints.
        self.places.reserve(block.header.count as usize);
        self.parts.push(Part {
            store,
            incarnation,
            block,
            frames,
            from,
        });
    }

    /// Adds a hint of the block that was added last.
    #[inline]
    pub fn add(&mut self, sequence: Sequence, at: usize, header: frame::Header) {
        self.places.push(Place {
            sequence,
            at: at as u32,
            header,
        });
        self.bytes += header.end(0) as u64;
    }

    /// The hints, in order.
    pub fn hints(&self) -> Hints<'_> {
        Hints {
            page: self,
            parts: self.parts.iter(),
            part: None,
        }
    }

    /// The sequences of the hints, in order.
    pub fn sequences(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.places.iter().map(|place| place.sequence)
    }

    /// Whether the page comes from a map that could not be read in full.
    pub fn faulted(&self) -> bool {
        self.parts.iter().any(|part| part.frames.faulted())
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

/// The hints of a page, in order.
#[derive(Debug)]
pub struct Hints<'a> {
    page: &'a Page,
    parts: slice::Iter<'a, Part>,
    part: Option<OpenPart<'a>>,
}

/// What the hints of a block share, looked up once.
#[derive(Debug)]
struct OpenPart<'a> {
    store: StoreId,
    incarnation: Incarnation,
    base_created: UnixMillis,
    entries: &'a [Entry],
    frames: &'a [u8],
    places: slice::Iter<'a, Place>,
}

impl<'a> Hints<'a> {
    /// Goes on behind the next `hints`, without reading them.
    #[must_use]
    pub fn skip_first(mut self, hints: usize) -> Self {
        let mut left = hints;
        while left > 0 {
            let Some(part) = &mut self.part else {
                if self.open_next().is_none() {
                    break;
                }
                continue;
            };
            let here = part.places.len();
            if here <= left {
                left -= here;
                if self.open_next().is_none() {
                    self.part = None;
                    break;
                }
            } else {
                part.places.nth(left - 1);
                left = 0;
            }
        }
        self
    }

    /// Goes on with the next block.
    #[cold]
    fn open_next(&mut self) -> Option<&mut OpenPart<'a>> {
        let part = self.parts.next()?;
        let next = self.parts.as_slice().first();
        let end = next.map_or(self.page.places.len(), |next| next.from);
        let places = self.page.places.get(part.from..end);
        let open = OpenPart {
            store: part.store,
            incarnation: part.incarnation,
            base_created: part.block.header.start.base_created,
            entries: part.block.entries.as_deref().unwrap_or_default(),
            frames: &part.frames,
            places: places.unwrap_or_default().iter(),
        };
        Some(self.part.insert(open))
    }
}

impl<'a> Iterator for Hints<'a> {
    type Item = HintRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<HintRef<'a>> {
        loop {
            let Some(part) = &mut self.part else {
                self.open_next()?;
                continue;
            };
            let Some(place) = part.places.next() else {
                self.open_next()?;
                continue;
            };
            // The page holds only frames that read.
            let at = place.at as usize;
            let frame = Frame::read_body(place.header, part.frames, at, part.base_created).ok()?;
            let profile = &part.entries.get(usize::from(place.header.profile))?.profile;
            return Some(HintRef {
                key: Key {
                    store: part.store,
                    target: self.page.target,
                    sequence: place.sequence,
                    incarnation: part.incarnation,
                },
                namespace: profile.namespace,
                payload_version: profile.payload_version,
                lifetime: profile.lifetime(),
                body: frame.body,
            });
        }
    }
}
