//! The checking walk over a segment without a footer: what is there, and what is not.

use std::sync::Arc;

use hintstore_env::{File, Result};
use hintstore_format::{
    Sequence,
    descriptor::Descriptor,
    footer::{Builder, Footer, Summary},
    journal::Range,
};

use crate::{Block, ByteView, FrameItem, Frames, Hole, Item, PreadSource, Walk};

/// What a walk over a whole segment found.
#[derive(Debug)]
pub struct Survey {
    /// What its whole blocks add up to, by their headers.
    pub builder: Builder,
    /// The footer that the walk met, if it did: the segment counts as sealed.
    pub footer: Option<Footer>,
    /// Where the last block ends.
    pub end: u64,
    /// The greatest `synced_to` that any block states: below it nothing can be torn.
    pub synced_to: u64,
    /// Holes, in order.
    pub holes: Vec<Hole>,
    /// Hints in blocks below `synced_to` whose profile table is broken: there, counted, and not to be
    /// read.
    pub unreadable: u64,
    /// Such hints above `synced_to`: a crash may have torn the table.
    pub torn: u64,
    /// Broken frames above `synced_to`, in blocks that are there.
    pub broken: u64,
    /// Which those of `unreadable` are.
    pub unreadable_ranges: Missing,
    /// Which those of `torn` and `broken` are.
    pub torn_ranges: Missing,
    /// Sequences below `synced_to` that are missing: lost to damage.
    pub damaged: Missing,
    /// Sequences above `synced_to` that are missing before others: torn or damaged, nobody can tell.
    pub in_doubt: Missing,
    /// One behind the last sequence of the blocks that were added up.
    passed: Sequence,
}

/// Sequences that are missing between others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Which, in order.
    pub ranges: Vec<Range>,
    /// How many more there are, in gaps beyond as many as are listed.
    pub more: u64,
}

impl Missing {
    /// How many.
    pub fn count(&self) -> u64 {
        let length = |range: &Range| range.last.get() - range.first.get() + 1;
        self.ranges.iter().map(length).sum::<u64>() + self.more
    }

    fn add(&mut self, first: Sequence, next: Sequence) {
        if self.ranges.len() < GAPS_MAX {
            let last = next.before();
            self.ranges.push(Range { first, last });
        } else {
            self.more += next.get() - first.get();
        }
    }

    /// Adds the hints of a block except these, which are in order. Of a block with gaps in its
    /// sequences, as copies have them, nobody knows which the others are.
    fn add_block(&mut self, block: &Block, but: &[Sequence]) {
        let (first, behind) = (block.header.start.first, block.header.last().plus(1));
        if behind.get() - first.get() != u64::from(block.header.count) {
            self.more += u64::from(block.header.count) - but.len() as u64;
            return;
        }
        let mut next = first;
        for sequence in but.iter().copied().chain([behind]) {
            if next < sequence {
                self.add(next, sequence);
            }
            next = next.max(sequence.plus(1));
        }
    }
}

/// No more gaps than this are listed by their sequences; further ones are only counted.
const GAPS_MAX: usize = 1 << 16;

/// No more holes than this are listed; further ones are only counted.
const HOLES_MAX: usize = 1024;

/// No more blocks than this wait to be known as synced.
const UNSETTLED_MAX: usize = 4096;

impl Survey {
    /// The last sequence of all blocks, those that cannot be read among them.
    pub fn last(&self) -> Sequence {
        self.passed.before()
    }

    /// What the segment adds up to.
    pub fn summary(&self) -> &Summary {
        self.footer
            .as_ref()
            .map_or(self.builder.summary(), |footer| &footer.summary)
    }
}

/// Walks a segment from its first block to the end of its file. Hops from header to header; where
/// no later block says that a block was synced, its frames are checked.
pub fn survey(file: &Arc<dyn File>, descriptor: &Descriptor) -> Result<Survey> {
    let length = file.info()?.length;
    let source = Box::new(PreadSource::hopping(file.clone()));
    let mut walk = Walk::new(
        source,
        descriptor.segment,
        descriptor.length() as u64,
        length,
    );
    let mut survey = Survey {
        builder: Builder::new(descriptor),
        footer: None,
        end: descriptor.length() as u64,
        synced_to: 0,
        holes: Vec::new(),
        unreadable: 0,
        torn: 0,
        broken: 0,
        unreadable_ranges: Missing::default(),
        torn_ranges: Missing::default(),
        damaged: Missing::default(),
        in_doubt: Missing::default(),
        passed: descriptor.first,
    };
    let mut blocks: Vec<Block> = Vec::new();
    while let Some(item) = walk.next_readable() {
        match item {
            Item::Block(block) => {
                survey.synced_to = survey.synced_to.max(block.header.position.synced_to);
                survey.end = block.header.end();
                if blocks.len() >= UNSETTLED_MAX {
                    // Blocks that never say that those before them were synced: checked as they
                    // come, so that memory is bounded whatever they say.
                    survey.settle(&mut blocks, &mut walk, true);
                }
                blocks.push(block);
                // What is known synced by now needs no check, and no memory.
                survey.settle(&mut blocks, &mut walk, false);
            }
            Item::Hole(hole) if survey.holes.len() < HOLES_MAX => survey.holes.push(hole),
            Item::Hole(_) => {}
            Item::Footer(footer) => {
                survey.synced_to = footer.summary.footer_at;
                survey.footer = Some(*footer);
            }
        }
    }
    survey.settle(&mut blocks, &mut walk, true);
    Ok(survey)
}

impl Survey {
    /// Adds blocks that lie below `synced_to`, and at the end the others, checked.
    fn settle(&mut self, blocks: &mut Vec<Block>, walk: &mut Walk, end: bool) {
        let known = |block: &Block| block.header.end() <= self.synced_to;
        let settled = if end {
            blocks.len()
        } else {
            blocks.iter().take_while(|block| known(block)).count()
        };
        for block in blocks.drain(..settled) {
            let synced = block.header.end() <= self.synced_to;
            self.count_gap(block.header.start.first, synced);
            self.passed = self.passed.max(block.header.last().plus(1));
            let Some(entries) = &block.entries else {
                let (count, ranges) = if synced {
                    (&mut self.unreadable, &mut self.unreadable_ranges)
                } else {
                    (&mut self.torn, &mut self.torn_ranges)
                };
                *count += u64::from(block.header.count);
                ranges.add_block(&block, &[]);
                self.note(&block);
                continue;
            };
            if !synced {
                // What cannot be read is broken.
                let frames = walk.frames(&block);
                let intact = frames.map_or(Vec::new(), |frames| intact(&block, &frames));
                self.broken += u64::from(block.header.count) - intact.len() as u64;
                self.torn_ranges.add_block(&block, &intact);
            }
            self.builder.add(&block.header, entries);
        }
    }

    /// Counts the sequences between the last block and the next.
    fn count_gap(&mut self, first: Sequence, synced: bool) {
        let expected = self.passed;
        // Epochs differ only between segments, so a gap within one is a number of hints.
        if first > expected && first.epoch() == expected.epoch() {
            let missing = if synced {
                &mut self.damaged
            } else {
                &mut self.in_doubt
            };
            missing.add(expected, first);
        }
    }

    fn note(&mut self, block: &Block) {
        if self.holes.len() < HOLES_MAX {
            let position = block.header.position;
            self.holes.push(Hole {
                offset: position.offset,
                length: block.header.length(),
            });
        }
    }
}

/// The sequences of the intact frames of a block, no more than it says to have.
fn intact(block: &Block, frames: &ByteView) -> Vec<Sequence> {
    let intact = |item: FrameItem| match item {
        FrameItem::Intact { sequence, .. } => Some(sequence),
        FrameItem::Bad { .. } => None,
    };
    let intact = Frames::new(&block.header, frames).filter_map(intact);
    intact.take(block.header.count as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FIRST, SegmentBytes};

    fn of(segment: &SegmentBytes) -> Survey {
        let (file, _) = segment.file();
        survey(&file, &segment.descriptor).expect("the disk is whole")
    }

    fn range(first: u64, last: u64) -> Range {
        Range {
            first: Sequence::new(first),
            last: Sequence::new(last),
        }
    }

    /// Blocks of 2, 1 and 2 hints; the third says that the first two were synced.
    fn three_blocks() -> (SegmentBytes, [u64; 3]) {
        let mut segment = SegmentBytes::new();
        let first = segment.block(&[b"one", b"two"], 0);
        let second = segment.block(&[b"three"], 0);
        let end = segment.end();
        let third = segment.block(&[b"four", b"five"], end);
        (segment, [first, second, third])
    }

    #[test]
    fn an_open_segment_adds_up_to_what_its_footer_would_say() {
        let (mut segment, _) = three_blocks();
        let open = of(&segment);
        segment.seal();
        let sealed = of(&segment);
        assert!(open.footer.is_none() && sealed.footer.is_some());
        assert_eq!(open.summary().count, 5);
        assert_eq!(open.summary().count, sealed.summary().count);
        assert_eq!(open.summary().last, sealed.summary().last);
        assert_eq!(open.last(), Sequence::new(FIRST + 4));
        assert_eq!(open.end, sealed.end);
        assert!(open.holes.is_empty());
    }

    #[test]
    fn a_missing_block_is_damage_below_the_synced_prefix_and_in_doubt_above() {
        let (mut segment, [_, second, third]) = three_blocks();
        let end = segment.end();
        segment.block(&[b"six"], end);
        segment.bytes[second as usize + 20] ^= 1;
        let survey = of(&segment);
        assert_eq!(survey.damaged.ranges, [range(FIRST + 2, FIRST + 2)]);
        assert_eq!(survey.in_doubt.count(), 0);
        assert_eq!(
            survey.holes,
            [Hole {
                offset: second,
                length: third - second
            }]
        );

        // The same without a block that says how far the file was synced.
        let mut segment = SegmentBytes::new();
        segment.block(&[b"one"], 0);
        let second = segment.block(&[b"two"], 0);
        segment.block(&[b"three"], 0);
        segment.bytes[second as usize + 20] ^= 1;
        let survey = of(&segment);
        assert_eq!(survey.in_doubt.ranges, [range(FIRST + 1, FIRST + 1)]);
        assert_eq!(survey.damaged.count(), 0);
    }

    #[test]
    fn a_torn_frame_behind_the_synced_prefix_is_counted() {
        let (mut segment, [_, _, third]) = three_blocks();
        let frame = third as usize + hintstore_format::block::HEADER + 10;
        segment.bytes[frame] ^= 1;
        let survey = of(&segment);
        assert_eq!(survey.broken, 1);
        assert_eq!(survey.torn_ranges.ranges, [range(FIRST + 3, FIRST + 3)]);
        assert_eq!(survey.summary().count, 5, "its header still counts it");
    }

    #[test]
    fn a_broken_profile_table_makes_its_block_unreadable() {
        let (mut segment, [first, second, _]) = three_blocks();
        // The table ends the block, with zeros behind it up to the next.
        let table = &segment.bytes[..second as usize];
        let last = table.iter().rposition(|byte| *byte != 0).expect("a table");
        segment.bytes[last] ^= 1;
        let survey = of(&segment);
        assert_eq!(survey.unreadable, 2);
        assert_eq!(survey.unreadable_ranges.ranges, [range(FIRST, FIRST + 1)]);
        assert_eq!(survey.torn, 0);
        assert_eq!(survey.holes.first().map(|hole| hole.offset), Some(first));
        assert_eq!(survey.summary().count, 3);
    }

    #[test]
    fn gaps_beyond_the_list_are_counted() {
        let mut missing = Missing::default();
        for gap in 0..GAPS_MAX as u64 + 2 {
            missing.add(Sequence::new(10 * gap), Sequence::new(10 * gap + 3));
        }
        assert_eq!(missing.ranges.len(), GAPS_MAX);
        assert_eq!(missing.more, 6);
        assert_eq!(missing.count(), 3 * (GAPS_MAX as u64 + 2));
    }
}
