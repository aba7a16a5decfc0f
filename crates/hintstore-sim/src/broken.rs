//! Disks that are broken on purpose: an engine on one of them is the engine with that mistake in
//! it, and the tests must notice.

use std::{
    io::IoSlice,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use hintstore_env::{
    Entry, Existing, File, Info, Lacks, Lock, LockError, Mapping, Presence, Result, Space, Storage,
};

/// Which mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The engine never syncs its files.
    NoDataSync,
    /// The engine never syncs its directory.
    NoDirectorySync,
    /// The engine syncs a checkpoint before the hints that it covers.
    CheckpointBeforeData,
    /// The engine tries a failed sync again, and believes the second answer.
    RetriedSync,
}

type Deferred = Arc<Mutex<Vec<Arc<dyn File>>>>;

/// A disk with a mistake in front of it.
#[derive(Clone, Debug)]
pub struct BrokenStorage {
    inner: Arc<dyn Storage>,
    how: Broken,
    deferred: Deferred,
}

impl BrokenStorage {
    /// `inner` with a mistake in front of it.
    pub fn new(inner: Arc<dyn Storage>, how: Broken) -> Self {
        Self {
            inner,
            how,
            deferred: Arc::default(),
        }
    }

    fn wrap(&self, name: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(BrokenFile {
            inner: file,
            how: self.how,
            is_segment: name.ends_with(".hints"),
            deferred: self.deferred.clone(),
        })
    }
}

impl Storage for BrokenStorage {
    fn path(&self, name: &str) -> PathBuf {
        self.inner.path(name)
    }

    fn make_directory(&self, name: &str) -> Result<()> {
        self.inner.make_directory(name)
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        self.inner.list(directory)
    }

    fn info(&self, name: &str) -> Result<Info> {
        self.inner.info(name)
    }

    fn open(&self, name: &str, writable: bool) -> Result<Arc<dyn File>> {
        Ok(self.wrap(name, self.inner.open(name, writable)?))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn File>> {
        Ok(self.wrap(name, self.inner.create(name)?))
    }

    fn lock(&self, name: &str, owner: &str) -> std::result::Result<Lock, LockError> {
        self.inner.lock(name, owner)
    }

    fn rename(&self, from: &str, to: &str, existing: Existing) -> Result<()> {
        self.inner.rename(from, to, existing)
    }

    fn unlink(&self, name: &str) -> Result<()> {
        self.inner.unlink(name)
    }

    fn sync_directory(&self, name: &str) -> Result<()> {
        match self.how {
            Broken::NoDirectorySync => Ok(()),
            _ => self.inner.sync_directory(name),
        }
    }

    fn space(&self) -> Result<Space> {
        self.inner.space()
    }

    fn presence(&self) -> Result<Presence> {
        self.inner.presence()
    }

    fn lacks(&self) -> Lacks {
        self.inner.lacks()
    }
}

#[derive(Debug)]
struct BrokenFile {
    inner: Arc<dyn File>,
    how: Broken,
    is_segment: bool,
    deferred: Deferred,
}

impl File for BrokenFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        self.inner.write_at(parts, offset)
    }

    fn info(&self) -> Result<Info> {
        self.inner.info()
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.inner.set_length(length)
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.inner.allocate(offset, length)
    }

    fn sync(&self) -> Result<()> {
        match self.how {
            Broken::NoDataSync => Ok(()),
            Broken::RetriedSync => self.inner.sync().or_else(|_| self.inner.sync()),
            Broken::NoDirectorySync => self.inner.sync(),
            Broken::CheckpointBeforeData => {
                let mut deferred = self.deferred.lock().unwrap_or_else(PoisonError::into_inner);
                if self.is_segment {
                    deferred.push(self.inner.clone());
                    return Ok(());
                }
                self.inner.sync()?;
                deferred.drain(..).try_for_each(|file| file.sync())
            }
        }
    }

    fn start_writeback(&self, offset: u64, length: u64) -> Result<()> {
        self.inner.start_writeback(offset, length)
    }

    fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        self.inner.next_data(offset)
    }

    fn map(&self, length: u64) -> Result<Mapping> {
        self.inner.map(length)
    }
}
