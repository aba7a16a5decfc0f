//! One segment of a native store: sealed, open, or a copy.

use std::sync::Arc;

use hintstore::env::File;
use hintstore::raw::format::{
    block,
    descriptor::Kind,
    footer::{Footer, Summary},
    frame::Frame,
    layout::{FOOTER_MAGIC, SECTOR, align_up},
};
use hintstore::raw::reader::{
    FrameItem, Frames, Hole, Inspected, Item, PreadSource, Survey, Walk, inspect, read_footer,
    survey,
};
use hintstore::{OsStorage, Sequence, Storage as _, TargetId};

use super::{Finding, Flow, HintSource, HintView, Visitor, What, misnamed, other_version};

/// A native segment.
#[derive(Debug)]
pub(crate) struct NativeFile {
    pub(crate) inspected: Inspected,
    name: String,
    file: Arc<dyn File>,
}

impl NativeFile {
    pub(crate) fn open(storage: &Arc<OsStorage>, name: &str) -> anyhow::Result<Self> {
        let file = storage.open(name, false)?;
        let inspected = inspect(&*file)?;
        let name = name.to_owned();
        Ok(Self {
            inspected,
            name,
            file,
        })
    }

    /// The state of the file, in one word.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.inspected.descriptor, &self.inspected.summary) {
            (_, Some(_)) => "sealed",
            (Ok(_), None) => "open",
            (Err(error), None) if error.is_older() => "older",
            (Err(error), None) if error.is_foreign() => "newer",
            (Err(_), None) => "unreadable",
        }
    }

    /// What is wrong with the descriptor, if anything.
    pub(crate) fn refusal(&self) -> Option<Finding> {
        let error = self.inspected.descriptor.as_ref().err()?;
        let (what, text) = if error.is_foreign() {
            (What::Version, other_version(*error))
        } else {
            (
                What::Descriptor,
                format!("the descriptor cannot be read: {error}"),
            )
        };
        Some(Finding {
            position: error.offset,
            bytes: self.inspected.info.length.min(128),
            ..Finding::whole(what, text)
        })
    }

    pub(crate) fn target(&self) -> Option<TargetId> {
        let descriptor = self.inspected.descriptor.as_ref().ok().map(|d| d.target);
        descriptor.or(self.inspected.summary.map(|summary| summary.target))
    }

    /// The sequence that it begins with.
    pub(crate) fn first(&self) -> Option<Sequence> {
        let descriptor = self.inspected.descriptor.as_ref().ok().map(|d| d.first);
        descriptor.or(self.inspected.summary.map(|summary| summary.first))
    }

    /// What is in it: hints, or copies of some.
    pub(crate) fn kind(&self) -> Kind {
        let descriptor = self.inspected.descriptor.as_ref().ok().map(|d| d.kind);
        let summary = self.inspected.summary.map(|summary| summary.kind);
        descriptor.or(summary).unwrap_or_default()
    }

    /// What the file adds up to, by its footer, or by a walk where it has none.
    pub(crate) fn summary(&self) -> anyhow::Result<Option<Summary>> {
        if let Some(summary) = self.inspected.summary {
            return Ok(Some(summary));
        }
        Ok(self.survey()?.map(|survey| *survey.summary()))
    }

    /// A walk over the headers, where there is a descriptor.
    pub(crate) fn survey(&self) -> anyhow::Result<Option<Survey>> {
        match &self.inspected.descriptor {
            Ok(descriptor) => Ok(Some(survey(&self.file, descriptor)?)),
            Err(_) => Ok(None),
        }
    }

    /// The footer, where there is one and its tables hold.
    pub(crate) fn footer(&self) -> anyhow::Result<Option<Footer>> {
        match &self.inspected.summary {
            Some(summary) => {
                let at = summary.footer_at..summary.file_length;
                Ok(read_footer(&*self.file, summary.segment, at)?)
            }
            None => Ok(None),
        }
    }

    /// Bytes of the file; fewer where it ends.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> anyhow::Result<Vec<u8>> {
        super::bytes(&*self.file, offset, length)
    }

    /// Gives each block, and where in it each of its frames ends.
    pub(crate) fn blocks(
        &self,
        visit: &mut dyn FnMut(&block::Header, &[u64]) -> anyhow::Result<Flow>,
    ) -> anyhow::Result<()> {
        let Ok(of) = &self.inspected.descriptor else {
            return Ok(());
        };
        let source = Box::new(PreadSource::sequential(self.file.clone()));
        let length = self.file.info()?.length;
        let mut walk = Walk::new(source, of.segment, of.length() as u64, length);
        while let Some(item) = walk.next_item()? {
            let Item::Block(block) = item else {
                continue;
            };
            let frames = walk.frames(&block)?;
            let ends = Frames::new(&block.header, &frames).map(|item| match item {
                FrameItem::Intact { at, header, .. } => header.end(at) as u64,
                FrameItem::Bad { at, length } => (at + length) as u64,
            });
            let ends: Vec<u64> = ends.collect();
            if visit(&block.header, &ends)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    /// Walks the hints. Never maps: the file may be somebody else's, or still be written.
    pub(crate) fn walk(&self, visitor: &mut dyn Visitor) -> anyhow::Result<()> {
        let inspected = &self.inspected;
        let (store, incarnation, segment, start) = match (&inspected.descriptor, &inspected.summary)
        {
            (Ok(of), _) => (of.store, of.incarnation, of.segment, of.length() as u64),
            (Err(_), summary) => {
                if let Some(bad) = self.refusal() {
                    visitor.bad(&bad)?;
                }
                match summary {
                    Some(of) => (of.store, of.incarnation, of.segment, 128),
                    None => return Ok(()),
                }
            }
        };
        let Some(target) = self.target() else {
            return Ok(());
        };
        let kind = self.kind();
        if let Ok(descriptor) = &self.inspected.descriptor {
            misnamed(&self.name, target, descriptor.created.get(), visitor)?;
        }
        let sealed = self.inspected.summary.is_some();
        // What later blocks say was synced is no write in progress. The length is asked for behind
        // that, as the file may grow.
        let synced_to = match self.inspected.summary {
            Some(summary) => summary.file_length,
            None => self.survey()?.map_or(0, |survey| survey.synced_to),
        };
        let length = self.file.info()?.length;
        let source = Box::new(PreadSource::sequential(self.file.clone()));
        let mut walk = Walk::new(source, segment, start, length);
        let mut index = 0;
        // Without a footer only the sequences tell that a block is missing that left less than a
        // sector. Copies have no sequences of their own.
        let mut expected = match &self.inspected.descriptor {
            Ok(of) if !sealed && kind == Kind::Hints && of.replaces.is_empty() => Some(of.first),
            _ => None,
        };
        let mut passed = start;
        while let Some(item) = walk.next_item()? {
            let block = match item {
                Item::Block(block) => block,
                Item::Hole(hole) => {
                    visitor.bad(&self.hole(hole, synced_to)?)?;
                    // The gap in the sequences is reported with it.
                    expected = expected.map(|_| Sequence::new(u64::MAX));
                    continue;
                }
                Item::Footer(footer) if !sealed => {
                    visitor.bad(&self.behind_footer(&footer)?)?;
                    return Ok(());
                }
                Item::Footer(_) => return Ok(()),
            };
            let header = &block.header;
            if expected.is_some_and(|expected| header.start.first > expected) {
                let length = header.position.offset - passed;
                let offset = passed;
                visitor.bad(&self.hole(Hole { offset, length }, synced_to)?)?;
            }
            expected = expected.map(|_| header.last().plus(1));
            passed = header.end();
            let frames = walk.frames(&block)?;
            let Some(entries) = &block.entries else {
                visitor.bad(&Finding {
                    position: block.header.position.offset,
                    bytes: block.header.length(),
                    what: What::Profiles,
                    text: format!(
                        "the profile table is damaged: {} hints cannot be read",
                        block.header.count
                    ),
                    harmless: block.header.position.offset >= synced_to,
                })?;
                continue;
            };
            let frames_at = block.header.position.offset + block::HEADER as u64;
            // In a compressed block a hint has no place of its own.
            let is_plain = block.header.codec == block::Codec::Plain;
            let place = |at: usize| frames_at + if is_plain { at as u64 } else { 0 };
            for item in Frames::new(&block.header, &frames) {
                let (at, header, sequence) = match item {
                    FrameItem::Intact {
                        at,
                        header,
                        sequence,
                    } => (at, header, sequence),
                    FrameItem::Bad { at, length } => {
                        visitor.bad(&Finding {
                            position: place(at),
                            bytes: length as u64,
                            what: What::Frame,
                            text: "the checksum of a hint is wrong; the next one is found"
                                .to_owned(),
                            harmless: frames_at >= synced_to,
                        })?;
                        continue;
                    }
                };
                let base = block.header.start.base_created;
                // Either way it is a writer's fault, not the disk's: the checksum holds.
                let frame = Frame::read_body(header, &frames, at, base).ok();
                let Some((frame, entry)) = frame.zip(entries.get(usize::from(header.profile)))
                else {
                    visitor.bad(&Finding {
                        position: place(at),
                        ..Finding::whole(
                            What::Frame,
                            format!(
                                "the checksum of hint {} holds, but its body or its profile {} \
                                 cannot be read",
                                sequence.get(),
                                header.profile
                            ),
                        )
                    })?;
                    continue;
                };
                let view = HintView {
                    index,
                    position: place(at),
                    target,
                    namespace: entry.profile.namespace,
                    payload_version: entry.profile.payload_version,
                    created_ms: frame.body.created.get(),
                    lifetime: entry.profile.lifetime(),
                    payload: frame.body.payload,
                    from: HintSource::Native {
                        store,
                        segment,
                        kind,
                        sequence,
                        incarnation,
                        body: frame.body,
                    },
                };
                index += 1;
                if visitor.hint(&view)? == Flow::Stop {
                    return Ok(());
                }
            }
        }
        if !sealed {
            let text = "no footer: it is being written, a crash left it, or it was cut off here";
            visitor.bad(&Finding {
                position: length,
                ..Finding::note(What::Open, text.to_owned())
            })?;
        }
        Ok(())
    }

    /// In a file without a footer, what is not known synced may be a write in progress, or one that
    /// a crash tore.
    fn hole(&self, hole: Hole, synced_to: u64) -> anyhow::Result<Finding> {
        let mut head = [0; FOOTER_MAGIC.len()];
        // The footer begins the sector behind the last block.
        self.file
            .read_at(&mut head, align_up(hole.offset, SECTOR))?;
        let harmless = hole.offset >= synced_to;
        let (what, text, harmless) = if head == *FOOTER_MAGIC {
            (
                What::Footer,
                "the footer is damaged: hints are found without it",
                false,
            )
        } else if harmless {
            (
                What::Torn,
                "no block: torn at a crash, or being written",
                true,
            )
        } else {
            (What::Hole, "no block: damaged", false)
        };
        Ok(Finding {
            position: hole.offset,
            bytes: hole.length,
            what,
            text: text.to_owned(),
            harmless,
        })
    }

    /// A crash between the footer and the cut behind it leaves zeros, and nothing else.
    fn behind_footer(&self, footer: &Footer) -> anyhow::Result<Finding> {
        let at = footer.summary.file_length;
        let mut piece = vec![0; 1 << 16];
        let (mut from, mut zeros) = (at, true);
        while zeros {
            let read = self.file.read_at(&mut piece, from)?;
            if read == 0 {
                break;
            }
            zeros = piece.iter().take(read).all(|byte| *byte == 0);
            from += read as u64;
        }
        let text = if zeros {
            "zeros behind the footer: a crash came before the file was cut to its length"
        } else {
            "bytes behind the footer that are none of this file"
        };
        Ok(Finding {
            position: at,
            bytes: self.inspected.info.length.saturating_sub(at),
            what: What::Tail,
            text: text.to_owned(),
            harmless: zeros,
        })
    }
}
