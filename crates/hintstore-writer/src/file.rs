//! How a hint file is written, by everybody who writes one: created under a free name, begun with its
//! descriptor, filled with blocks, sealed.
//!
//! In this order, and why. A name is taken only where no file has it, so no file is overwritten. A block
//! is written with its profile table behind it in one call; where that fails, the file ends where it
//! ended before. The footer goes behind the last block, at the start of a sector, so that writing it
//! touches no sector that was synced. Then the file is cut behind the footer, which is how a reader finds
//! it, and both are synced. A crash between the footer and the cut leaves zeros behind the footer: the
//! walk meets it there and [`cut`] ends the file.

use std::{borrow::Cow, io::IoSlice, sync::Arc, time::Duration};

use hintstore_env::{File, Result, Storage};
use hintstore_format::{
    SegmentId, TargetId, UnixMillis,
    block::{self, Codec, Header, Position, Start},
    descriptor::Descriptor,
    file_name,
    footer::{Builder, Footer, Summary},
    layout::{SECTOR, align_up},
    profile::Profile,
};
use zstd::bulk::Compressor;

/// A file that was made for a segment.
pub(crate) struct Created<F> {
    /// The creation time in its name.
    pub(crate) at: UnixMillis,
    pub(crate) name: String,
    pub(crate) file: F,
}

/// Makes a file in a folder of the store under the first free name of a target, at `from` or later.
/// `make` fails with an error that [is taken](hintstore_env::StorageError::is_taken) where there is a
/// file of that name.
pub(crate) fn create<F>(
    folder: &str,
    target: TargetId,
    from: UnixMillis,
    mut make: impl FnMut(&str) -> Result<F>,
) -> Result<Created<F>> {
    let mut at = from;
    loop {
        let mut name = file_name::segment(target, at);
        if !folder.is_empty() {
            name = format!("{folder}/{name}");
        }
        match make(&name) {
            Ok(file) => return Ok(Created { at, name, file }),
            Err(error) if error.is_taken() && at < UnixMillis::MAX => {
                at = at.saturating_add(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// A block that is ready to be written except for its place.
pub(crate) struct Ready<'a> {
    pub(crate) start: Start,
    pub(crate) profiles: Vec<Profile>,
    /// Room for its header, and whole frames.
    pub(crate) bytes: &'a mut [u8],
}

/// Blocks with their headers and profile tables, for one place in one file.
pub(crate) struct SealedBlocks<'a> {
    at: u64,
    blocks: Vec<(Cow<'a, [u8]>, Vec<u8>, Header)>,
}

impl SealedBlocks<'_> {
    pub(crate) fn headers(&self) -> impl Iterator<Item = &Header> {
        self.blocks.iter().map(|(.., header)| header)
    }

    /// Each header with its profile table.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&Header, &[u8])> {
        self.blocks.iter().map(|(_, table, header)| {
            let table = table.get(..header.table_length as usize);
            (header, table.unwrap_or_default())
        })
    }

    /// Compresses the one block that there is, if that saves an eighth of it at least.
    pub(crate) fn compress(&mut self, packer: &mut Compressor<'_>) {
        let [(bytes, table, header)] = self.blocks.as_mut_slice() else {
            unreachable!("only the last block of a file can change its length");
        };
        let frames = bytes.get(block::HEADER..).unwrap_or_default();
        if frames.len() > block::PACKED_BYTES_MAX {
            return;
        }
        let Ok(packed) = packer.compress(frames) else {
            return;
        };
        if packed.len() + frames.len() / 8 >= frames.len() {
            return;
        }
        header.codec = Codec::Zstd;
        header.stored_length = packed.len() as u32;
        let mut head = [0; block::HEADER];
        header.encode(&mut head);
        *bytes = Cow::Owned([&head[..], &packed].concat());
        let padding = header.end() - header.position.offset - header.length();
        table.truncate(header.table_length as usize);
        table.resize(table.len() + padding as usize, 0);
    }

    /// Where the last block ends.
    pub(crate) fn end(&self) -> u64 {
        let last = self.blocks.last();
        last.map_or(self.at, |(.., header)| header.end())
    }
}

/// A hint file from its descriptor to its last block.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    file: Arc<dyn File>,
    segment: SegmentId,
    end: u64,
}

impl SegmentFile {
    /// Writes the descriptor.
    pub(crate) fn begin(file: Arc<dyn File>, descriptor: &Descriptor) -> Result<Self> {
        let bytes = descriptor.encode();
        file.write_at(&[IoSlice::new(&bytes)], 0)?;
        Ok(Self {
            file,
            segment: descriptor.segment,
            end: bytes.len() as u64,
        })
    }

    /// Where the last block ended.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Places blocks behind the last one, the first of them at a multiple of `align`.
    pub(crate) fn place<'a>(
        &self,
        blocks: &'a mut [Ready<'_>],
        align: u64,
        synced_to: u64,
    ) -> SealedBlocks<'a> {
        let at = align_up(self.end, align);
        let mut offset = at;
        let seal = |block: &'a mut Ready<'_>| {
            let position = Position {
                segment: self.segment,
                offset,
                synced_to,
            };
            let mut table = Vec::new();
            let header = block::seal(
                block.start,
                position,
                &block.profiles,
                block.bytes,
                &mut table,
            );
            offset = header.end();
            (Cow::Borrowed(&*block.bytes), table, header)
        };
        SealedBlocks {
            at,
            blocks: blocks.iter_mut().map(seal).collect(),
        }
    }

    /// Writes blocks in one call. On an error the file ends where it ended before.
    pub(crate) fn append(&mut self, blocks: &SealedBlocks<'_>) -> Result<()> {
        let each = blocks.blocks.iter();
        let parts: Vec<IoSlice<'_>> = each
            .flat_map(|(bytes, table, _)| [IoSlice::new(bytes), IoSlice::new(table)])
            .collect();
        self.file.write_at(&parts, blocks.at)?;
        self.end = blocks.end();
        Ok(())
    }
}

/// The footer of a file whose blocks end at `blocks_end`.
pub(crate) fn footer(builder: Builder, blocks_end: u64) -> Footer {
    builder.build(align_up(blocks_end, SECTOR))
}

/// Ends a file with its footer, cuts it behind that and syncs it. Its name is the caller's to sync.
pub(crate) fn write_footer(file: &dyn File, footer: &Footer) -> Result<()> {
    file.write_at(&[IoSlice::new(&footer.encode())], footer.summary.footer_at)?;
    cut(file, &footer.summary)
}

/// Seals a file that a process left open, with what a walk found in it. What the kernel has of it
/// becomes durable first, its name with it: the footer would tell of hints that a power cut can take.
///
/// # Errors
/// The disk refused: the file is one without a footer.
pub fn seal_found(
    storage: &dyn Storage,
    file: &dyn File,
    builder: Builder,
    blocks_end: u64,
) -> Result<Summary> {
    file.sync()?;
    storage.sync_directory("")?;
    let footer = footer(builder, blocks_end);
    write_footer(file, &footer)?;
    Ok(footer.summary)
}

/// Cuts a file behind its footer, and syncs it.
///
/// # Errors
/// The disk refused: the footer is found by the walk alone.
pub fn cut(file: &dyn File, summary: &Summary) -> Result<()> {
    file.set_length(summary.file_length)?;
    file.sync()
}
