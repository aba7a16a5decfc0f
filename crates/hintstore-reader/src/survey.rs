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
