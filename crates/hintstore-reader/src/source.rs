//! The bytes of a file: one trait, two ways to get them.

use std::{fmt, ops::Deref, sync::Arc};

use hintstore_env::{File, Mapping, Result};

/// Bytes of a file, and what keeps them alive.
#[derive(Clone)]
pub struct ByteView {
    memory: Arc<Memory>,
    start: usize,
    end: usize,
}

#[derive(Debug)]
enum Memory {
    Map(Mapping),
    Heap(Vec<u8>),
}

impl ByteView {
    /// Whether the bytes come from a map that could not be read in full: then they may be zeros.
    pub fn faulted(&self) -> bool {
        self.memory.faulted()
    }

    /// Bytes that lie in no file as they are.
    pub(crate) fn of_heap(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        Self {
            memory: Arc::new(Memory::Heap(bytes)),
            start: 0,
            end,
        }
    }

    fn part(memory: &Arc<Memory>, start: usize, length: usize) -> Self {
        let end = start.saturating_add(length).min(memory.len());
        Self {
            memory: memory.clone(),
            start: start.min(end),
            end,
        }
    }
}

impl Memory {
    fn faulted(&self) -> bool {
        match self {
            Self::Map(map) => map.faulted(),
            Self::Heap(_) => false,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Map(map) => map.len(),
            Self::Heap(bytes) => bytes.len(),
        }
    }
}

impl Deref for ByteView {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes: &[u8] = match &*self.memory {
            Memory::Map(map) => map,
            Memory::Heap(bytes) => bytes,
        };
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

impl fmt::Debug for ByteView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteView({} bytes)", self.len())
    }
}

/// Where a reader gets bytes from.
pub trait Source: Send + fmt::Debug {
    /// The bytes at `offset`, fewer than `length` where the file ends.
    fn at(&mut self, offset: u64, length: usize) -> Result<ByteView>;

    /// Whether any byte that was given may be a zero that stands for one that could not be read.
    fn faulted(&self) -> bool;

    /// Nothing behind `end` is to be read for now: it may be written at this moment, and what was
    /// read of it must not be kept.
    fn limit(&mut self, end: u64);

    /// The next range at or behind `offset` that may hold something else than zeros.
    fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>>;
}

/// Reads a sealed segment through a map, which all clones share.
#[derive(Clone, Debug)]
pub struct MapSource {
    memory: Arc<Memory>,
}

impl MapSource {
    /// Maps the first `length` bytes of a file that nobody writes to.
    pub fn new(file: &dyn File, length: u64) -> Result<Self> {
        Ok(Self {
            memory: Arc::new(Memory::Map(file.map(length)?)),
        })
    }
}

impl Source for MapSource {
    fn at(&mut self, offset: u64, length: usize) -> Result<ByteView> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(ByteView::part(&self.memory, offset, length))
    }

    fn faulted(&self) -> bool {
        self.memory.faulted()
    }

    fn limit(&mut self, _: u64) {
        // A mapped file is written no more.
    }

    fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        let end = self.memory.len() as u64;
        Ok((offset < end).then_some((offset, end)))
    }
}

/// Reads any file piece by piece.
#[derive(Debug)]
pub struct PreadSource {
    file: Arc<dyn File>,
    /// How much is read at once, at least.
    piece: usize,
    limit: u64,
    start: u64,
    memory: Arc<Memory>,
}

impl PreadSource {
    /// Reads for a sequential walk: 1 MiB at once.
    pub fn sequential(file: Arc<dyn File>) -> Self {
        Self::new(file, 1 << 20)
    }

    /// Reads for a walk that hops from header to header: no more than is asked for.
    pub fn hopping(file: Arc<dyn File>) -> Self {
        Self::new(file, 0)
    }

    fn new(file: Arc<dyn File>, piece: usize) -> Self {
        Self {
            file,
            piece,
            limit: u64::MAX,
            start: 0,
            memory: Arc::new(Memory::Heap(Vec::new())),
        }
    }
}

impl Source for PreadSource {
    fn at(&mut self, offset: u64, length: usize) -> Result<ByteView> {
        let end = offset.saturating_add(length as u64);
        let have = self.start..self.start + self.memory.len() as u64;
        if offset < have.start || end > have.end {
            // What is asked for may come out of the file's own length fields, so no more is
            // allocated than the file has.
            let end = self.file.info()?.length.min(self.limit);
            let left = end.saturating_sub(offset);
            let want = (length.max(self.piece) as u64).min(left);
            // Memory that nobody looks into any more is used again: it needs no zeros.
            let mut bytes = match Arc::get_mut(&mut self.memory) {
                Some(Memory::Heap(bytes)) => std::mem::take(bytes),
                _ => Vec::new(),
            };
            bytes.resize(want as usize, 0);
            let read = self.file.read_at(&mut bytes, offset)?;
            bytes.truncate(read);
            self.start = offset;
            self.memory = Arc::new(Memory::Heap(bytes));
        }
        let start = offset.saturating_sub(self.start) as usize;
        Ok(ByteView::part(&self.memory, start, length))
    }

    fn faulted(&self) -> bool {
        false
    }

    fn limit(&mut self, end: u64) {
        self.limit = end;
    }

    fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        self.file.next_data(offset)
    }
}
