//! Whether headers, tables and footers agree with the hints of their segment.

use std::collections::BTreeSet;

use crate::bytes::{Id, i64_at, id_at, is_zero, length_at, round_up, u16_at, u32_at, u64_at};
use crate::footer::Footer;
use crate::frames::Hint;
use crate::segment::{Block, SECTOR, STEP, Segment, block_end};

/// Checks an undamaged segment.
pub(crate) fn check(bytes: &[u8], segment: &Segment) {
    assert_eq!(segment.broken, 0, "{}", segment.id);
    let hints: Vec<_> = segment.hints().collect();
    assert!(hints.is_sorted_by(|one, next| one.sequence < next.sequence));
    assert_eq!(hints[0].sequence, segment.first_sequence);
    for block in &segment.blocks {
        check_place(bytes, block);
        check_header(segment, block);
        check_table(block);
    }
    let Some(footer) = &segment.footer else {
        assert!(Footer::summary_of(bytes).is_none(), "not sealed");
        return;
    };
    assert_eq!(Footer::summary_of(bytes), Some(&footer.summary[..]));
    check_index(segment, footer);
    check_namespaces(segment, footer);
    check_summary(segment, footer);
}

/// A block begins in no sector of what was synced before, and zeros fill it up.
fn check_place(bytes: &[u8], block: &Block) {
    let sector = block.offset - block.offset % SECTOR;
    assert!(u64_at(&block.header, 104) <= sector as u64, "synced_to");
    let end = block_end(bytes, block.offset);
    assert!(is_zero(&bytes[end..bytes.len().min(round_up(end, STEP))]));
}

fn check_header(segment: &Segment, block: &Block) {
    let header = &block.header[..];
    let hints: Vec<_> = block.hints.iter().collect();
    assert_eq!(length_at(header, 36), hints.len(), "count");
    let last = u64_at(header, 24) + u16_at(header, 52) as u64;
    assert_eq!(hints.last().unwrap().sequence, last, "last_index");
    assert_eq!(times_at(header, 72), created(&hints));
    assert_eq!(times_at(header, 88), deadlines(&hints));
    let (length, stored) = (length_at(header, 40), length_at(header, 44));
    if header[54] == 0 {
        assert_eq!(stored, length);
    } else {
        assert_eq!(header[54], segment.codec);
        assert!(8 * stored <= 7 * length, "an eighth less");
    }
    assert!(
        128 + length <= 256 << 10 || hints.len() == 1,
        "a large block"
    );
    assert!(is_zero(&header[112..]), "reserved");
}

fn check_table(block: &Block) {
    assert!(block.profiles.len() <= 255);
    for (place, profile) in block.profiles.iter().enumerate() {
        let of_profile = block.hints.iter().filter(|hint| hint.place == place);
        let hints: Vec<_> = of_profile.collect();
        let bytes = &profile.bytes[..];
        check_counts(bytes, 40, &hints);
        assert_eq!(times_at(bytes, 56), created(&hints));
        check_tokens(bytes, 72, u32_at(bytes, 20) & 1 != 0, &hints);
        assert!(is_zero(&bytes[88..]), "reserved");
    }
}

fn check_index(segment: &Segment, footer: &Footer) {
    let offsets = footer.index.iter().map(|entry| u64_at(entry, 0) as usize);
    let ends = offsets.clone().skip(1).chain([footer.offset]);
    for ((offset, end), entry) in offsets.clone().zip(ends).zip(&footer.index) {
        assert!(end == footer.offset || end - offset >= 64 << 10, "64 KiB");
        let covered = |block: &&Block| (offset..end).contains(&block.offset);
        let blocks: Vec<_> = segment.blocks.iter().filter(covered).collect();
        assert_eq!(blocks[0].offset, offset);
        assert_eq!(u64_at(&blocks[0].header, 24), u64_at(entry, 8));
        let hints: Vec<_> = blocks.iter().flat_map(|block| &block.hints).collect();
        assert_eq!(u64_at(entry, 16) as usize, hints.len());
        assert_eq!(times_at(entry, 24), deadlines(&hints));
    }
    assert_eq!(offsets.min(), Some(segment.blocks[0].offset));
}

fn check_namespaces(segment: &Segment, footer: &Footer) {
    let is_for_others = |entry: &[u8]| u64_at(entry, 16) & 1 != 0;
    let (others, entries): (Vec<_>, Vec<_>) = footer
        .namespaces
        .iter()
        .partition(|entry| is_for_others(entry));
    assert!(others.len() <= 1 && entries.len() <= 64);
    let named: BTreeSet<Id> = entries.iter().map(|entry| id_at(entry, 0)).collect();
    let mut counted = 0;
    for entry in &footer.namespaces {
        let is_of = |hint: &Hint| {
            if is_for_others(entry) {
                !named.contains(&hint.profile.namespace)
            } else {
                hint.profile.namespace == id_at(entry, 0)
            }
        };
        let hints: Vec<_> = segment.hints().filter(|hint| is_of(hint)).collect();
        let has_any = |block: &&Block| block.hints.iter().any(is_of);
        let blocks: Vec<_> = segment.blocks.iter().filter(has_any).collect();
        let (first, last) = (blocks[0], blocks[blocks.len() - 1]);
        let sequences = (first.hints[0].sequence, last.hints.last().unwrap().sequence);
        assert_eq!((u64_at(entry, 40), u64_at(entry, 48)), sequences);
        check_counts(entry, 24, &hints);
        assert_eq!(times_at(entry, 56), created(&hints));
        let gc_grace = least_and_greatest(hints.iter().map(|hint| hint.profile.gc_grace));
        assert_eq!((u64_at(entry, 72), u64_at(entry, 80)), gc_grace);
        let ttl = least_and_greatest(hints.iter().map(|hint| hint.profile.ttl));
        assert_eq!((u64_at(entry, 88), u64_at(entry, 96)), ttl);
        check_tokens(entry, 104, u64_at(entry, 16) & 2 != 0, &hints);
        assert!(is_zero(&entry[120..]), "reserved");
        counted += hints.len();
    }
    assert_eq!(counted, segment.hints().count());
}

fn check_summary(segment: &Segment, footer: &Footer) {
    let summary = &footer.summary[..];
    let hints: Vec<_> = segment.hints().collect();
    assert_eq!(u64_at(summary, 8) as usize, footer.offset);
    assert_eq!(id_at(summary, 24), segment.store);
    assert_eq!(id_at(summary, 40), segment.target);
    assert_eq!(u64_at(summary, 56), segment.id);
    assert_eq!(i64_at(summary, 64), segment.created);
    assert_eq!(u64_at(summary, 72), segment.first_sequence);
    assert_eq!(Some(u64_at(summary, 80)), segment.last_sequence());
    check_counts(summary, 88, &hints);
    assert_eq!(u64_at(summary, 104) as usize, segment.blocks.len());
    assert_eq!(times_at(summary, 112), created(&hints));
    assert_eq!(times_at(summary, 128), deadlines(&hints));
    let accepted = segment.blocks.iter().map(|of| i64_at(&of.header, 64));
    assert_eq!(Some(i64_at(summary, 144)), accepted.min());
    assert_eq!(u64_at(summary, 152), 0, "damaged");
    assert_eq!(summary[160], segment.kind);
    assert_eq!(usize::from(summary[161]), segment.replaces.len());
    assert_eq!(u64_at(summary, 168), segment.incarnation);
    assert!(is_zero(&summary[162..168]) && is_zero(&summary[176..]));
}

/// A count, and behind it payload bytes.
fn check_counts(bytes: &[u8], at: usize, hints: &[&Hint]) {
    assert_eq!(u64_at(bytes, at) as usize, hints.len());
    let payload: usize = hints.iter().map(|hint| hint.payload).sum();
    assert_eq!(u64_at(bytes, at + 8) as usize, payload);
}

/// Tokens count only where every hint has one.
fn check_tokens(bytes: &[u8], at: usize, every: bool, hints: &[&Hint]) {
    let tokens: Option<Vec<_>> = hints.iter().map(|hint| hint.token).collect();
    assert_eq!(every, tokens.is_some());
    let expected = tokens.map_or((0, 0), |tokens| least_and_greatest(tokens.into_iter()));
    assert_eq!(times_at(bytes, at), expected);
}

fn created(hints: &[&Hint]) -> (i64, i64) {
    least_and_greatest(hints.iter().map(|hint| hint.created))
}

fn deadlines(hints: &[&Hint]) -> (i64, i64) {
    least_and_greatest(hints.iter().map(|hint| hint.deadline()))
}

fn least_and_greatest<T: Ord + Copy>(values: impl Iterator<Item = T> + Clone) -> (T, T) {
    (values.clone().min().unwrap(), values.max().unwrap())
}

/// The least and the greatest, which lie side by side.
fn times_at(bytes: &[u8], at: usize) -> (i64, i64) {
    (i64_at(bytes, at), i64_at(bytes, at + 8))
}
