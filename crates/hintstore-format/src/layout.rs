//! Every offset and size on disk, once. Little-endian throughout; all sizes in bytes.
//!
//! `docs/format.md` shows these tables for people; a test compares the two.

/// The byte order of everything on disk.
pub(crate) type LE = byteorder::LittleEndian;

/// One field of a structure of fixed layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in `docs/format.md` and in errors.
    pub name: &'static str,
    /// Bytes from the start of the structure.
    pub offset: usize,
    /// Its length in bytes.
    pub size: usize,
}

/// A structure of fixed layout.
#[derive(Clone, Copy, Debug)]
pub struct Structure {
    /// Its heading in `docs/format.md`.
    pub name: &'static str,
    /// Its length in bytes.
    pub size: usize,
    /// Its fields, in order and without holes.
    pub fields: &'static [Field],
}

const fn without_holes(fields: &[Field], size: usize) -> bool {
    let mut at = 0;
    let mut next = 0;
    while at < fields.len() {
        #[expect(clippy::indexing_slicing, reason = "const; the loop bounds it")]
        let field = fields[at];
        if field.offset != next {
            return false;
        }
        next += field.size;
        at += 1;
    }
    next == size
}

macro_rules! structure {
    ($module:ident, $title:literal, $size:literal, {
        $($field:ident $name:literal $offset:literal $bytes:literal;)*
    }) => {
        #[doc = concat!("Offsets of the ", $title, ".")]
        #[allow(missing_docs, clippy::allow_attributes, reason = "docs/format.md describes each")]
        #[allow(dead_code, reason = "reserved fields are named and never read")]
        pub mod $module {
            use super::{Field, Structure, without_holes};
            pub const SIZE: usize = $size;
            $(pub(crate) const $field: Field =
                Field { name: $name, offset: $offset, size: $bytes };)*
            /// The whole structure.
            pub const STRUCTURE: Structure =
                Structure { name: $title, size: SIZE, fields: &[$($field),*] };
            const _: () = assert!(without_holes(STRUCTURE.fields, SIZE));
        }
    };
}

structure!(descriptor, "Descriptor", 128, {
    MAGIC "magic" 0 8;
    VERSION "version" 8 2;
    LENGTH "length" 10 2;
    CRC "crc" 12 4;
    COMPAT "compat" 16 4;
    RO_COMPAT "ro_compat" 20 4;
    INCOMPAT "incompat" 24 4;
    CODEC "codec" 28 1;
    CIPHER "cipher" 29 1;
    KIND "kind" 30 1;
    REPLACES "replaces" 31 1;
    STORE "store_id" 32 16;
    TARGET "target" 48 16;
    SEGMENT "segment_id" 64 8;
    CREATED "created" 72 8;
    FIRST "first_sequence" 80 8;
    INCARNATION "incarnation" 88 8;
    RESERVED "reserved" 96 32;
});

structure!(block, "Block header", 128, {
    MAGIC "magic" 0 4;
    CRC "crc" 4 4;
    SEGMENT "segment_id" 8 8;
    OFFSET "offset" 16 8;
    FIRST "first_sequence" 24 8;
    SALT "salt" 32 4;
    COUNT "count" 36 4;
    FRAMES "frames_length" 40 4;
    STORED "stored_length" 44 4;
    TABLE "table_length" 48 4;
    LAST_INDEX "last_index" 52 2;
    CODEC "codec" 54 1;
    CIPHER "cipher" 55 1;
    BASE_CREATED "base_created" 56 8;
    ACCEPTED "accepted_ms" 64 8;
    MIN_CREATED "min_created" 72 8;
    MAX_CREATED "max_created" 80 8;
    EARLIEST "earliest_deadline" 88 8;
    LATEST "latest_deadline" 96 8;
    SYNCED_TO "synced_to" 104 8;
    RESERVED "reserved" 112 16;
});

structure!(profile, "Profile", 104, {
    NAMESPACE "namespace" 0 16;
    PAYLOAD_VERSION "payload_version" 16 4;
    FLAGS "flags" 20 4;
    GC_GRACE "gc_grace_ms" 24 8;
    TTL "ttl_ms" 32 8;
    COUNT "count" 40 8;
    BYTES "payload_bytes" 48 8;
    MIN_CREATED "min_created" 56 8;
    MAX_CREATED "max_created" 64 8;
    MIN_TOKEN "min_token" 72 8;
    MAX_TOKEN "max_token" 80 8;
    RESERVED "reserved" 88 16;
});

structure!(profile_end, "Profile table end", 8, {
    CRC "crc" 0 4;
    COUNT "profiles" 4 4;
});

structure!(frame, "Frame header", 16, {
    LENGTH "length" 0 4;
    CRC "crc" 4 4;
    INDEX "index" 8 2;
    FLAGS "flags" 10 1;
    PROFILE "profile" 11 1;
    CREATED_DELTA "created_delta" 12 4;
});

structure!(footer, "Footer head", 32, {
    MAGIC "magic" 0 4;
    CRC "crc" 4 4;
    LENGTH "length" 8 8;
    INDEX "index_entries" 16 4;
    NAMESPACES "namespaces" 20 4;
    RESERVED "reserved" 24 8;
});

structure!(index_entry, "Index entry", 40, {
    OFFSET "offset" 0 8;
    FIRST "first_sequence" 8 8;
    COUNT "count" 16 8;
    EARLIEST "earliest_deadline" 24 8;
    LATEST "latest_deadline" 32 8;
});

structure!(namespace_entry, "Namespace entry", 136, {
    NAMESPACE "namespace" 0 16;
    FLAGS "flags" 16 8;
    COUNT "count" 24 8;
    BYTES "payload_bytes" 32 8;
    MIN_SEQUENCE "min_sequence" 40 8;
    MAX_SEQUENCE "max_sequence" 48 8;
    MIN_CREATED "min_created" 56 8;
    MAX_CREATED "max_created" 64 8;
    MIN_GC_GRACE "min_gc_grace_ms" 72 8;
    MAX_GC_GRACE "max_gc_grace_ms" 80 8;
    MIN_TTL "min_ttl_ms" 88 8;
    MAX_TTL "max_ttl_ms" 96 8;
    MIN_TOKEN "min_token" 104 8;
    MAX_TOKEN "max_token" 112 8;
    RESERVED "reserved" 120 16;
});

structure!(summary, "Footer summary", 192, {
    MAGIC "magic" 0 4;
    CRC "crc" 4 4;
    FOOTER "footer_offset" 8 8;
    LENGTH "file_length" 16 8;
    STORE "store_id" 24 16;
    TARGET "target" 40 16;
    SEGMENT "segment_id" 56 8;
    CREATED "created" 64 8;
    FIRST "first_sequence" 72 8;
    LAST "last_sequence" 80 8;
    COUNT "count" 88 8;
    BYTES "payload_bytes" 96 8;
    BLOCKS "blocks" 104 8;
    MIN_CREATED "min_created" 112 8;
    MAX_CREATED "max_created" 120 8;
    EARLIEST "earliest_deadline" 128 8;
    LATEST "latest_deadline" 136 8;
    ACCEPTED "min_accepted_ms" 144 8;
    DAMAGED "damaged" 152 8;
    KIND "kind" 160 1;
    REPLACES "replaces" 161 1;
    RESERVED0 "reserved0" 162 6;
    INCARNATION "incarnation" 168 8;
    RESERVED "reserved1" 176 16;
});

structure!(journal_head, "Journal head", 64, {
    MAGIC "magic" 0 8;
    VERSION "version" 8 2;
    RESERVED_LENGTH "reserved0" 10 2;
    CRC "crc" 12 4;
    STORE "store_id" 16 16;
    GENERATION "generation" 32 8;
    INCARNATION "incarnation" 40 8;
    RESERVED "reserved1" 48 16;
});

structure!(journal_record, "Journal record", 16, {
    LENGTH "length" 0 4;
    CRC "crc" 4 4;
    TYPE "type" 8 2;
    FLAGS "flags" 10 2;
    RESERVED "reserved" 12 4;
});

structure!(store_slot, "Store slot", 128, {
    MAGIC "magic" 0 8;
    VERSION "version" 8 2;
    RESERVED0 "reserved0" 10 2;
    CRC "crc" 12 4;
    COMPAT "compat" 16 4;
    RO_COMPAT "ro_compat" 20 4;
    INCOMPAT "incompat" 24 4;
    EPOCH "epoch" 28 4;
    STORE "store_id" 32 16;
    GENERATION "generation" 48 8;
    INODE "inode" 56 8;
    RESERVED "reserved1" 64 64;
});

/// Every structure of fixed layout, in the order of `docs/format.md`.
pub const STRUCTURES: &[Structure] = &[
    store_slot::STRUCTURE,
    descriptor::STRUCTURE,
    block::STRUCTURE,
    frame::STRUCTURE,
    profile::STRUCTURE,
    profile_end::STRUCTURE,
    footer::STRUCTURE,
    index_entry::STRUCTURE,
    namespace_entry::STRUCTURE,
    summary::STRUCTURE,
    journal_head::STRUCTURE,
    journal_record::STRUCTURE,
];

/// The format version that this build writes, and the only one it reads: frozen. `testdata/golden-1` has
/// stores of it.
pub const VERSION: u16 = 1;

/// Magic of a segment.
pub const SEGMENT_MAGIC: &[u8; 8] = b"hintseg\n";
/// Magic of a journal.
pub const JOURNAL_MAGIC: &[u8; 8] = b"hintjrn\n";
/// Magic of a slot of the store file.
pub const STORE_MAGIC: &[u8; 8] = b"hintsto\n";
/// Magic of a block.
pub const BLOCK_MAGIC: &[u8; 4] = b"HBlk";
/// Magic of a footer.
pub const FOOTER_MAGIC: &[u8; 4] = b"HFtr";
/// Magic of a footer's summary.
pub const SUMMARY_MAGIC: &[u8; 4] = b"HSum";

/// Blocks and footers start at multiples of this.
pub const ALIGN: u64 = 64;
/// The first block after a sync starts at a multiple of this: no sector that holds acknowledged
/// bytes is ever written again.
pub const SECTOR: u64 = 512;
/// Greatest length of a block's header and frames together, a single larger hint apart.
pub const BLOCK_BYTES_MAX: usize = 256 * 1024;
/// Greatest number of profiles in a block.
pub const PROFILES_MAX: usize = 255;
/// Greatest number of namespaces that a footer names; the rest share one entry.
pub const NAMESPACES_MAX: usize = 64;
/// Greatest length of a hint's payload and optional fields together: 1 GiB.
pub const BODY_BYTES_MAX: usize = 1 << 30;
/// An index entry covers at least this many bytes of the file.
pub const INDEX_STRIDE: u64 = 64 * 1024;
/// Length of one slot of the store file.
pub const STORE_SLOT_BYTES: usize = 4096;
/// Journal records start at multiples of this.
pub const JOURNAL_ALIGN: u64 = 8;

/// `offset`, rounded up to a multiple of `to` (a power of two).
pub const fn align_up(offset: u64, to: u64) -> u64 {
    (offset + to - 1) & !(to - 1)
}
