//! What a file is, before it is walked.

use std::ops::Range;

use hintstore_env::{File, Info, Result};
use hintstore_format::{
    DecodeError, SegmentId,
    descriptor::Descriptor,
    footer::{Footer, SUMMARY, Summary},
    layout,
};

/// A descriptor is at most this long: 255 replaced segments, padded.
const DESCRIPTOR_MAX: usize = layout::descriptor::SIZE + 256 * 8;

/// What the two ends of a file say.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Its length and space.
    pub info: Info,
    /// Its descriptor, or why there is none.
    pub descriptor: std::result::Result<Descriptor, DecodeError>,
    /// Its summary, where it ends in one that belongs to its descriptor.
    pub summary: Option<Summary>,
}

/// A file up to this length is read at once.
const SMALL: u64 = 16 << 10;

/// Reads both ends of a file.
pub fn inspect(file: &dyn File) -> Result<Inspected> {
    let info = file.info()?;
    let first = if info.length <= SMALL {
        info.length as usize
    } else {
        DESCRIPTOR_MAX
    };
    let mut head = vec![0; first];
    let read = file.read_at(&mut head, 0)?;
    head.truncate(read);
    let descriptor = Descriptor::decode(&head);
    let summary = read_summary(file, info, &head)?.filter(|summary| match &descriptor {
        Ok(descriptor) => {
            summary.segment == descriptor.segment
                && summary.store == descriptor.store
                && summary.incarnation == descriptor.incarnation
                && summary.target == descriptor.target
        }
        // A broken descriptor does not make the summary wrong: it names the segment as well.
        Err(error) => !error.is_foreign(),
    });
    Ok(Inspected {
        info,
        descriptor,
        summary,
    })
}

fn read_summary(file: &dyn File, info: Info, head: &[u8]) -> Result<Option<Summary>> {
    let Some(at) = info.length.checked_sub(SUMMARY as u64) else {
        return Ok(None);
    };
    if head.len() as u64 == info.length {
        let tail = head.get(at as usize..).unwrap_or_default();
        return Ok(Summary::decode(tail, info.length).ok());
    }
    let mut tail = [0; SUMMARY];
    let read = file.read_at(&mut tail, at)?;
    let tail = tail.get(..read).unwrap_or_default();
    Ok(Summary::decode(tail, info.length).ok())
}

/// Reads the whole footer of a sealed segment, from where its summary says that it is to the end of
/// the file; `None` where its tables are broken.
pub fn read_footer(file: &dyn File, segment: SegmentId, at: Range<u64>) -> Result<Option<Footer>> {
    let length = at.end.saturating_sub(at.start);
    let mut bytes = vec![0; length.min(64 << 20) as usize];
    let read = file.read_at(&mut bytes, at.start)?;
    bytes.truncate(read);
    Ok(Footer::decode(&bytes, segment, at.start).ok())
}
