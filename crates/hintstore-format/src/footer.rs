//! A segment's last bytes, written at seal: a block index, counts per namespace, and a summary of
//! fixed length that ends the file, so that opening a sealed segment costs one read.

use crate::{
    DecodeError, DecodeKind, Incarnation, Namespace, SegmentId, Sequence, StoreId, TargetId,
    UnixMillis, block, checksum,
    codec::{Get, Put},
    descriptor::{Descriptor, Kind},
    expiry::Lifetime,
    layout::{
        FOOTER_MAGIC, INDEX_STRIDE, NAMESPACES_MAX, SECTOR, SUMMARY_MAGIC, footer as head,
        index_entry, namespace_entry, summary as at,
    },
    profile::{self, Entry, Span},
};

/// Length of the summary that ends a sealed segment.
pub const SUMMARY: usize = at::SIZE;

/// Length of the head that begins a footer.
pub const HEAD: usize = head::SIZE;

/// What a sealed segment adds up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Where the footer begins: the end of the blocks.
    pub footer_at: u64,
    /// Length of the whole file.
    pub file_length: u64,
    /// The store the segment belongs to.
    pub store: StoreId,
    /// The opening of the store that wrote it.
    pub incarnation: Incarnation,
    /// The node its hints are for.
    pub target: TargetId,
    /// Its identity in the store.
    pub segment: SegmentId,
    /// What it is for.
    pub kind: Kind,
    /// How many segments it replaces; they are listed in the descriptor.
    pub replaces: u8,
    /// When the file was made.
    pub created: UnixMillis,
    /// Sequence of its first hint.
    pub first: Sequence,
    /// Sequence of its last hint.
    pub last: Sequence,
    /// How many hints it holds.
    pub count: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// How many blocks it holds.
    pub blocks: u64,
    /// Creation times of its hints.
    pub hints_created: Span<UnixMillis>,
    /// Deadlines of its hints, by the hints alone.
    pub deadlines: Span<UnixMillis>,
    /// No hint in it was accepted before.
    pub accepted: UnixMillis,
    /// Hints that were lost to damage before the segment was sealed.
    pub damaged: u64,
}

impl Summary {
    /// Reads the summary that ends a file of this length.
    pub fn decode(bytes: &[u8], file_length: u64) -> Result<Self, DecodeError> {
        let get = Get::new(bytes, SUMMARY)?;
        if get.bytes(at::MAGIC) != SUMMARY_MAGIC {
            return Err(DecodeError::new(0, DecodeKind::Magic));
        }
        let (stored, computed) = (get.u32(at::CRC), summary_crc(bytes));
        if stored != computed {
            let kind = DecodeKind::Checksum { stored, computed };
            return Err(DecodeError::new(at::CRC.offset, kind));
        }
        let length = get.u64(at::LENGTH);
        if length != file_length {
            return Err(DecodeError::field(
                at::LENGTH.offset,
                at::LENGTH.name,
                length,
            ));
        }
        let footer_at = get.u64(at::FOOTER);
        if footer_at > file_length {
            return Err(DecodeError::field(
                at::FOOTER.offset,
                at::FOOTER.name,
                footer_at,
            ));
        }
        let time = |field| UnixMillis::new(get.i64(field));
        Ok(Self {
            footer_at,
            file_length,
            store: StoreId::from_bytes(get.id(at::STORE)),
            incarnation: Incarnation::new(get.u64(at::INCARNATION)),
            target: TargetId::from_bytes(get.id(at::TARGET)),
            segment: SegmentId::new(get.u64(at::SEGMENT)),
            kind: Kind::from_code(get.u8(at::KIND), at::KIND)?,
            replaces: get.u8(at::REPLACES),
            created: time(at::CREATED),
            first: Sequence::new(get.u64(at::FIRST)),
            last: Sequence::new(get.u64(at::LAST)),
            count: get.u64(at::COUNT),
            payload_bytes: get.u64(at::BYTES),
            blocks: get.u64(at::BLOCKS),
            hints_created: Span {
                min: time(at::MIN_CREATED),
                max: time(at::MAX_CREATED),
            },
            deadlines: Span {
                min: time(at::EARLIEST),
                max: time(at::LATEST),
            },
            accepted: time(at::ACCEPTED),
            damaged: get.u64(at::DAMAGED),
        })
    }

    fn encode(&self) -> [u8; SUMMARY] {
        let mut bytes = [0; SUMMARY];
        let mut put = Put(&mut bytes);
        put.bytes(at::MAGIC, SUMMARY_MAGIC);
        put.u64(at::FOOTER, self.footer_at);
        put.u64(at::LENGTH, self.file_length);
        put.bytes(at::STORE, self.store.as_bytes());
        put.u64(at::INCARNATION, self.incarnation.get());
        put.bytes(at::TARGET, self.target.as_bytes());
        put.u64(at::SEGMENT, self.segment.get());
        put.i64(at::CREATED, self.created.get());
        put.u64(at::FIRST, self.first.get());
        put.u64(at::LAST, self.last.get());
        put.u64(at::COUNT, self.count);
        put.u64(at::BYTES, self.payload_bytes);
        put.u64(at::BLOCKS, self.blocks);
        put.i64(at::MIN_CREATED, self.hints_created.min.get());
        put.i64(at::MAX_CREATED, self.hints_created.max.get());
        put.i64(at::EARLIEST, self.deadlines.min.get());
        put.i64(at::LATEST, self.deadlines.max.get());
        put.i64(at::ACCEPTED, self.accepted.get());
        put.u64(at::DAMAGED, self.damaged);
        put.u8(at::KIND, self.kind.code());
        put.u8(at::REPLACES, self.replaces);
        let crc = summary_crc(&bytes);
        Put(&mut bytes).u32(at::CRC, crc);
        bytes
    }
}

fn summary_crc(bytes: &[u8]) -> u32 {
    checksum::crc(bytes.get(at::FOOTER.offset..SUMMARY).unwrap_or_default())
}

/// Where to find hints by sequence: one entry for at least 64 KiB of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Offset of the first block it covers.
    pub offset: u64,
    /// First sequence of that block.
    pub first: Sequence,
    /// Hints in the blocks it covers.
    pub count: u64,
    /// Their deadlines, by the hints alone.
    pub deadlines: Span<UnixMillis>,
}

/// What the hints of one namespace add up to. These are the inputs of the expiry rule, not its
/// verdict, so that a rule that changes later still finds what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceEntry {
    /// The namespace; `None` is the one conservative entry for all that a footer does not name.
    pub namespace: Option<Namespace>,
    /// How many hints.
    pub count: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Sequences: no hint of the namespace lies outside.
    pub sequences: Span<Sequence>,
    /// Creation times.
    pub created: Span<UnixMillis>,
    /// `gc_grace` at write, in ms.
    pub gc_grace_ms: Span<u64>,
    /// Discard-after in ms; `u64::MAX` is none.
    pub ttl_ms: Span<u64>,
    /// Routing tokens, where every hint has one.
    pub tokens: Option<Span<i64>>,
}

impl NamespaceEntry {
    /// The longest lifetime that any hint of the namespace can have.
    pub fn longest(&self) -> Lifetime {
        profile::lifetime(self.gc_grace_ms.max, self.ttl_ms.max)
    }

    fn new(namespace: Namespace, header: &block::Header, entry: &Entry) -> Self {
        Self {
            namespace: Some(namespace),
            count: entry.count,
            payload_bytes: entry.payload_bytes,
            sequences: Span {
                min: header.start.first,
                max: header.last(),
            },
            created: entry.created,
            gc_grace_ms: Span::of(entry.profile.gc_grace_ms),
            ttl_ms: Span::of(entry.profile.ttl_ms),
            tokens: entry.tokens,
        }
    }

    fn join(&mut self, other: &Self) {
        self.count += other.count;
        self.payload_bytes += other.payload_bytes;
        self.sequences.join(other.sequences);
        self.created.join(other.created);
        self.gc_grace_ms.join(other.gc_grace_ms);
        self.ttl_ms.join(other.ttl_ms);
        self.tokens = Span::join_all(self.tokens, other.tokens);
    }
}

/// A whole footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The block index, by offset.
    pub index: Vec<IndexEntry>,
    /// The namespaces, at most 64, and one for the rest.
    pub namespaces: Vec<NamespaceEntry>,
    /// The summary.
    pub summary: Summary,
}

const OTHER: u64 = 1;
const HAS_TOKENS: u64 = 2;

impl Footer {
    /// No hint that may belong to any of these namespaces lies behind this: those that touch several, and those
    /// that the footer does not name, may.
    pub fn last_of(&self, namespaces: &[Namespace]) -> Option<Sequence> {
        let may = |of: Namespace| of == Namespace::MIXED || namespaces.contains(&of);
        let entries = self.namespaces.iter();
        let entries = entries.filter(|entry| entry.namespace.is_none_or(may));
        entries.map(|entry| entry.sequences.max).max()
    }

    /// The bytes of the footer, to be written at [`Summary::footer_at`] as the file's last.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        for entry in &self.index {
            let mut raw = [0; index_entry::SIZE];
            let mut put = Put(&mut raw);
            put.u64(index_entry::OFFSET, entry.offset);
            put.u64(index_entry::FIRST, entry.first.get());
            put.u64(index_entry::COUNT, entry.count);
            put.i64(index_entry::EARLIEST, entry.deadlines.min.get());
            put.i64(index_entry::LATEST, entry.deadlines.max.get());
            bytes.extend_from_slice(&raw);
        }
        for entry in &self.namespaces {
            bytes.extend_from_slice(&encode_namespace(entry));
        }
        let mut put = Put(&mut bytes);
        put.bytes(head::MAGIC, FOOTER_MAGIC);
        put.u32(head::INDEX, self.index.len() as u32);
        put.u32(head::NAMESPACES, self.namespaces.len() as u32);
        put.u64(head::LENGTH, self.length());
        let crc = body_crc(&bytes, self.summary.segment, self.summary.footer_at);
        Put(&mut bytes).u32(head::CRC, crc);
        bytes.extend_from_slice(&self.summary.encode());
        bytes
    }

    fn length(&self) -> u64 {
        (HEAD
            + self.index.len() * index_entry::SIZE
            + self.namespaces.len() * namespace_entry::SIZE
            + SUMMARY) as u64
    }

    /// The length that a footer at `offset` claims, from its head alone; `None` where that cannot
    /// be: where its parts add up to another, or where there are more than such a file can need.
    pub fn claimed_length(head_bytes: &[u8], offset: u64) -> Option<u64> {
        let get = Get::new(head_bytes, HEAD).ok()?;
        let (index, namespaces) = (get.u32(head::INDEX), get.u32(head::NAMESPACES));
        let parts = HEAD as u64
            + u64::from(index) * index_entry::SIZE as u64
            + u64::from(namespaces) * namespace_entry::SIZE as u64
            + SUMMARY as u64;
        let plausible = get.bytes(head::MAGIC) == FOOTER_MAGIC
            && get.u64(head::LENGTH) == parts
            && u64::from(index) <= offset / INDEX_STRIDE + 1
            && namespaces as usize <= NAMESPACES_MAX + 1;
        plausible.then_some(parts)
    }

    /// Reads a footer that lies at `offset` of `segment`; `bytes` reach to its end.
    pub fn decode(bytes: &[u8], segment: SegmentId, offset: u64) -> Result<Self, DecodeError> {
        let get = Get::new(bytes, HEAD)?;
        if get.bytes(head::MAGIC) != FOOTER_MAGIC {
            return Err(DecodeError::new(0, DecodeKind::Magic));
        }
        let length = get.u64(head::LENGTH);
        let whole = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.get(..length))
            .ok_or(DecodeError::field(
                head::LENGTH.offset,
                head::LENGTH.name,
                length,
            ))?;
        let body = whole.len().saturating_sub(SUMMARY);
        let (body, summary) = whole.split_at(body);
        let (stored, computed) = (get.u32(head::CRC), body_crc(body, segment, offset));
        if stored != computed {
            let kind = DecodeKind::Checksum { stored, computed };
            return Err(DecodeError::new(head::CRC.offset, kind));
        }
        let index = get.u32(head::INDEX) as usize * index_entry::SIZE;
        let namespaces = get.u32(head::NAMESPACES) as usize * namespace_entry::SIZE;
        let tables = body.get(HEAD..).unwrap_or_default();
        if index.saturating_add(namespaces) != tables.len() {
            return Err(DecodeError::field(
                head::INDEX.offset,
                head::INDEX.name,
                index as u64,
            ));
        }
        let (index, namespaces) = tables.split_at(index);
        let mut footer = Self {
            index: Vec::with_capacity(index.len() / index_entry::SIZE),
            namespaces: Vec::with_capacity(namespaces.len() / namespace_entry::SIZE),
            summary: Summary::decode(summary, offset.saturating_add(length))?,
        };
        for raw in index.chunks_exact(index_entry::SIZE) {
            let get = Get::new(raw, index_entry::SIZE)?;
            footer.index.push(IndexEntry {
                offset: get.u64(index_entry::OFFSET),
                first: Sequence::new(get.u64(index_entry::FIRST)),
                count: get.u64(index_entry::COUNT),
                deadlines: Span {
                    min: UnixMillis::new(get.i64(index_entry::EARLIEST)),
                    max: UnixMillis::new(get.i64(index_entry::LATEST)),
                },
            });
        }
        for raw in namespaces.chunks_exact(namespace_entry::SIZE) {
            footer.namespaces.push(decode_namespace(raw)?);
        }
        Ok(footer)
    }
}

fn body_crc(body: &[u8], segment: SegmentId, offset: u64) -> u32 {
    let covered = body.get(head::LENGTH.offset..).unwrap_or_default();
    checksum::extend(checksum::place(segment, offset), covered)
}

fn encode_namespace(entry: &NamespaceEntry) -> [u8; namespace_entry::SIZE] {
    use namespace_entry as at;
    let mut raw = [0; at::SIZE];
    let mut put = Put(&mut raw);
    let mut flags = 0;
    match entry.namespace {
        Some(namespace) => put.bytes(at::NAMESPACE, namespace.as_bytes()),
        None => flags |= OTHER,
    }
    put.u64(at::COUNT, entry.count);
    put.u64(at::BYTES, entry.payload_bytes);
    put.u64(at::MIN_SEQUENCE, entry.sequences.min.get());
    put.u64(at::MAX_SEQUENCE, entry.sequences.max.get());
    put.i64(at::MIN_CREATED, entry.created.min.get());
    put.i64(at::MAX_CREATED, entry.created.max.get());
    put.u64(at::MIN_GC_GRACE, entry.gc_grace_ms.min);
    put.u64(at::MAX_GC_GRACE, entry.gc_grace_ms.max);
    put.u64(at::MIN_TTL, entry.ttl_ms.min);
    put.u64(at::MAX_TTL, entry.ttl_ms.max);
    if let Some(tokens) = entry.tokens {
        flags |= HAS_TOKENS;
        put.i64(at::MIN_TOKEN, tokens.min);
        put.i64(at::MAX_TOKEN, tokens.max);
    }
    put.u64(at::FLAGS, flags);
    raw
}

fn decode_namespace(raw: &[u8]) -> Result<NamespaceEntry, DecodeError> {
    use namespace_entry as at;
    let get = Get::new(raw, at::SIZE)?;
    let flags = get.u64(at::FLAGS);
    let time = |field| UnixMillis::new(get.i64(field));
    let sequence = |field| Sequence::new(get.u64(field));
    let tokens = Span {
        min: get.i64(at::MIN_TOKEN),
        max: get.i64(at::MAX_TOKEN),
    };
    let namespace = Namespace::from_bytes(get.id(at::NAMESPACE));
    Ok(NamespaceEntry {
        namespace: (flags & OTHER == 0).then_some(namespace),
        count: get.u64(at::COUNT),
        payload_bytes: get.u64(at::BYTES),
        sequences: Span {
            min: sequence(at::MIN_SEQUENCE),
            max: sequence(at::MAX_SEQUENCE),
        },
        created: Span {
            min: time(at::MIN_CREATED),
            max: time(at::MAX_CREATED),
        },
        gc_grace_ms: Span {
            min: get.u64(at::MIN_GC_GRACE),
            max: get.u64(at::MAX_GC_GRACE),
        },
        ttl_ms: Span {
            min: get.u64(at::MIN_TTL),
            max: get.u64(at::MAX_TTL),
        },
        tokens: (flags & HAS_TOKENS != 0).then_some(tokens),
    })
}

/// The most bytes that a footer takes, for a segment whose blocks end at `blocks_end` and have that
/// number of namespaces, with what brings it to the start of a sector.
pub fn longest(blocks_end: u64, namespaces: usize) -> u64 {
    let index = (blocks_end / INDEX_STRIDE + 1) * index_entry::SIZE as u64;
    let namespaces = namespaces.min(NAMESPACES_MAX + 1) * namespace_entry::SIZE;
    SECTOR + index + (HEAD + namespaces + SUMMARY) as u64
}

/// Gathers a footer from block headers and profile tables, in file order. Its memory is bounded:
/// an index entry for each 64 KiB of file, 64 namespaces and one for the rest.
#[derive(Clone, Debug)]
pub struct Builder {
    footer: Footer,
    other: Option<NamespaceEntry>,
}

impl Builder {
    /// A footer for the segment with this descriptor, without any block yet.
    pub fn new(descriptor: &Descriptor) -> Self {
        let none = Span {
            min: UnixMillis::MAX,
            max: UnixMillis::MIN,
        };
        let summary = Summary {
            footer_at: 0,
            file_length: 0,
            store: descriptor.store,
            incarnation: descriptor.incarnation,
            target: descriptor.target,
            segment: descriptor.segment,
            kind: descriptor.kind,
            replaces: descriptor.replaces.len() as u8,
            created: descriptor.created,
            first: descriptor.first,
            last: descriptor.first.before(),
            count: 0,
            payload_bytes: 0,
            blocks: 0,
            hints_created: none,
            deadlines: none,
            accepted: UnixMillis::MAX,
            damaged: 0,
        };
        let footer = Footer {
            index: Vec::new(),
            namespaces: Vec::new(),
            summary,
        };
        Self {
            footer,
            other: None,
        }
    }

    /// Adds a block.
    pub fn add(&mut self, header: &block::Header, entries: &[Entry]) {
        let summary = &mut self.footer.summary;
        if summary.count == 0 {
            summary.first = header.start.first;
        }
        summary.last = summary.last.max(header.last());
        summary.count += u64::from(header.count);
        summary.blocks += 1;
        summary.hints_created.join(header.created);
        summary.deadlines.join(header.deadlines);
        summary.accepted = summary.accepted.min(header.start.accepted);
        match self.footer.index.last_mut() {
            Some(entry) if header.position.offset - entry.offset < INDEX_STRIDE => {
                entry.count += u64::from(header.count);
                entry.deadlines.join(header.deadlines);
            }
            _ => self.footer.index.push(IndexEntry {
                offset: header.position.offset,
                first: header.start.first,
                count: header.count.into(),
                deadlines: header.deadlines,
            }),
        }
        for entry in entries.iter().filter(|entry| entry.count > 0) {
            self.footer.summary.payload_bytes += entry.payload_bytes;
            self.add_namespace(NamespaceEntry::new(entry.profile.namespace, header, entry));
        }
    }

    fn add_namespace(&mut self, entry: NamespaceEntry) {
        let namespaces = &mut self.footer.namespaces;
        if let Some(known) = namespaces
            .iter_mut()
            .find(|known| known.namespace == entry.namespace)
        {
            known.join(&entry);
        } else if namespaces.len() < NAMESPACES_MAX {
            namespaces.push(entry);
        } else {
            let entry = NamespaceEntry {
                namespace: None,
                ..entry
            };
            match &mut self.other {
                Some(other) => other.join(&entry),
                none => *none = Some(entry),
            }
        }
    }

    /// Counts hints that damage took before the segment was sealed.
    pub fn add_damaged(&mut self, count: u64) {
        self.footer.summary.damaged += count;
    }

    /// What has been added so far.
    pub fn summary(&self) -> &Summary {
        &self.footer.summary
    }

    /// The footer, to be written at `footer_at`.
    pub fn build(mut self, footer_at: u64) -> Footer {
        self.footer.namespaces.extend(self.other);
        self.footer.summary.footer_at = footer_at;
        self.footer.summary.file_length = footer_at + self.footer.length();
        self.footer
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{block::Position, layout::align_up, profile::Profile};

    fn descriptor() -> Descriptor {
        Descriptor {
            store: StoreId::from_u128(1),
            incarnation: Incarnation::new(6),
            target: TargetId::from_u128(2),
            segment: SegmentId::new(3),
            created: UnixMillis::new(4),
            first: Sequence::new(100),
            kind: Kind::Hints,
            codec: block::Codec::Plain,
            cipher: 0,
            replaces: Vec::new(),
        }
    }

    fn add(builder: &mut Builder, number: u64, namespace: u128) {
        let lifetime = Lifetime {
            gc_grace: Duration::from_millis(number),
            ttl: None,
        };
        let profile = Profile::new(Namespace::from_u128(namespace), 0, lifetime);
        let mut entry = Entry::new(profile);
        entry.add(UnixMillis::new(number.cast_signed()), 10, None);
        let header = block::Header {
            start: block::Start {
                first: Sequence::new(100 + number),
                salt: 0,
                base_created: UnixMillis::new(0),
                accepted: UnixMillis::new(7),
            },
            position: Position {
                segment: SegmentId::new(3),
                offset: 128 + number * 40_000,
                synced_to: 0,
            },
            count: 1,
            last_index: 0,
            frames_length: 30,
            stored_length: 30,
            codec: block::Codec::Plain,
            table_length: 0,
            created: entry.created,
            deadlines: entry.created,
        };
        builder.add(&header, &[entry]);
    }

    fn footer() -> Footer {
        let mut builder = Builder::new(&descriptor());
        for number in 0..100 {
            add(&mut builder, number, number.into());
        }
        add(&mut builder, 100, 5);
        builder.build(8192)
    }

    #[test]
    fn a_footer_reads_back_and_its_tables_are_bounded() {
        let footer = footer();
        let bytes = footer.encode();
        assert_eq!(bytes.len() as u64 + 8192, footer.summary.file_length);
        // A file of 8 KiB has no use for so large an index.
        assert_eq!(Footer::claimed_length(&bytes, 8192), None);
        assert_eq!(
            Footer::claimed_length(&bytes, 50 * INDEX_STRIDE),
            Some(bytes.len() as u64)
        );
        assert_eq!(
            Footer::decode(&bytes, SegmentId::new(3), 8192).unwrap(),
            footer
        );
        assert_eq!(footer.namespaces.len(), 65);
        assert_eq!(footer.index.len(), 51);
        let five = footer.namespaces[5];
        assert_eq!(
            (five.count, five.gc_grace_ms),
            (2, Span { min: 5, max: 100 })
        );
        let other = footer.namespaces[64];
        assert_eq!((other.namespace, other.count), (None, 36));
        assert_eq!(footer.summary.count, 101);
        assert_eq!(footer.namespaces.iter().map(|n| n.count).sum::<u64>(), 101);
        assert_eq!(footer.index.iter().map(|n| n.count).sum::<u64>(), 101);
    }

    #[test]
    fn no_footer_is_longer_than_was_said() {
        for blocks in [1_u64, 30, 100] {
            let mut builder = Builder::new(&descriptor());
            for block in 0..blocks {
                add(&mut builder, block, block.into());
            }
            let namespaces = blocks as usize;
            let end = 1000 + blocks * 40_000;
            let footer = builder.build(align_up(end, SECTOR));
            let length = footer.summary.file_length;
            let most = end + longest(end, namespaces);
            assert!(
                (length..length + 2 * SECTOR).contains(&most),
                "{length}, {most}"
            );
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let mut builder = Builder::new(&descriptor());
        add(&mut builder, 1, 1);
        let mut bytes = builder.build(8192).encode();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Footer::decode(&bytes, SegmentId::new(3), 8192).is_err(),
                "bit {bit}"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert!(
                Footer::decode(&bytes[..cut], SegmentId::new(3), 8192).is_err(),
                "cut {cut}"
            );
        }
        assert!(Footer::decode(&bytes, SegmentId::new(3), 4096).is_err());
    }
}
