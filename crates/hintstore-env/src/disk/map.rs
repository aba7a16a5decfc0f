//! A file as a slice of memory.

use std::{fmt, ops::Deref, sync::Arc};

use super::guard::Range;

/// The bytes of a file, mapped or held.
///
/// A mapped file that fails to read, or that somebody cuts short, reads as zeros from there on, and
/// [`Mapping::faulted`] says so: the user of the bytes asks afterwards, and reads again by
/// [`crate::File::read_at`] if so.
pub struct Mapping {
    // Before `bytes`: the range leaves the guard's table before the memory is unmapped, or a fault
    // elsewhere could be taken for ours.
    range: Option<Range>,
    bytes: Bytes,
}

enum Bytes {
    Mapped(memmap2::Mmap),
    Held(Arc<[u8]>),
}

impl Mapping {
    pub(crate) fn mapped(map: memmap2::Mmap, range: Range) -> Self {
        Self {
            range: Some(range),
            bytes: Bytes::Mapped(map),
        }
    }

    /// Bytes that are held in memory: what a simulated disk gives.
    pub fn held(bytes: Arc<[u8]>) -> Self {
        Self {
            range: None,
            bytes: Bytes::Held(bytes),
        }
    }

    /// Whether any of the bytes could not be read, up to now, and read as zeros instead.
    pub fn faulted(&self) -> bool {
        self.range.as_ref().is_some_and(Range::faulted)
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.len())
    }
}
