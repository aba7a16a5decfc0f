//! The seam: all that the engine asks of a disk.

use std::{fmt, io::IoSlice, path::PathBuf, sync::Arc};

use crate::{Lock, LockError, Mapping, StorageError};

/// The result of an operation on the disk.
pub type Result<T> = std::result::Result<T, StorageError>;

/// What lies in a directory under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// The space of the device that a store lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that an ordinary user may still write.
    pub free: u64,
    /// The store has the device to itself: its directory is where the device is mounted.
    pub dedicated: bool,
}

/// Length, space and identity of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Length in bytes.
    pub length: u64,
    /// Bytes that the file takes on the device.
    pub allocated: u64,
    /// The inode.
    pub inode: u64,
    /// The device that the inode is of.
    pub device: u64,
    /// How many names it has; a file without any is gone when it is closed.
    pub links: u64,
}

/// What tells a file from another of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl Info {
    /// The identity of the file.
    pub fn id(&self) -> FileId {
        FileId {
            device: self.device,
            inode: self.inode,
        }
    }
}

/// What became of a store directory that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is where it was, or was moved as a whole.
    There,
    /// It was removed.
    Gone,
    /// Another directory has its path.
    Replaced,
}

/// Operations that the file system of a store does not have, as far as they were tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Syncing a directory: whether a name survives a power cut is up to the file system.
    pub directory_sync: bool,
    /// Reserving space ahead of a write: appends wait for the file system more often.
    pub allocation: bool,
}

/// What a rename does where the new name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Fail.
    Keep,
    /// Replace it, atomically.
    Replace,
}

/// One store directory. Names are relative to it, with `/` between directory and file.
///
/// A name that was created, renamed or unlinked is durable only after [`Storage::sync_directory`];
/// a file's bytes only after [`File::sync`]. Neither implies the other.
pub trait Storage: Send + Sync + fmt::Debug {
    /// The full path of a name, for messages; an empty name is the directory itself.
    fn path(&self, name: &str) -> PathBuf;

    /// Makes a directory, and the store's own where `name` is empty; durable at once. One that is
    /// there is no error.
    fn make_directory(&self, name: &str) -> Result<()>;

    /// What lies in a directory, in no order; some of it may be gone by now.
    fn list(&self, directory: &str) -> Result<Vec<Entry>>;

    /// Length and space of a file, which is not opened.
    fn info(&self, name: &str) -> Result<Info>;

    /// Opens a file that is there. What is no regular file is refused, at the latest when its
    /// length is asked for.
    fn open(&self, name: &str, writable: bool) -> Result<Arc<dyn File>>;

    /// Makes a file that is not there yet.
    fn create(&self, name: &str) -> Result<Arc<dyn File>>;

    /// Locks a file, making it where needed, and writes `owner` into it for others to read. The
    /// directory itself is locked as well: who removes the file lets nobody in.
    fn lock(&self, name: &str, owner: &str) -> std::result::Result<Lock, LockError>;

    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str, existing: Existing) -> Result<()>;

    /// Removes a file's name. Maps and open files go on.
    fn unlink(&self, name: &str) -> Result<()>;

    /// Makes the names in a directory durable. Where the file system cannot sync directories, this
    /// does nothing, and [`Storage::lacks`] says so.
    fn sync_directory(&self, name: &str) -> Result<()>;

    /// The space of the device.
    fn space(&self) -> Result<Space>;

    /// What became of the directory. One that cannot move or go is there.
    fn presence(&self) -> Result<Presence> {
        Ok(Presence::There)
    }

    /// What the file system does not have.
    fn lacks(&self) -> Lacks {
        Lacks::default()
    }

    /// How many files the process may have open at once; `None` where nothing bounds it.
    fn open_files_max(&self) -> Option<usize> {
        None
    }
}

/// Whether an open file is still the one of this name. A sync of a file that was unlinked succeeds,
/// and makes nothing durable that anybody can find.
pub fn is_there(storage: &dyn Storage, name: &str, file: &dyn File) -> Result<bool> {
    let open = file.info()?;
    match storage.info(name) {
        Ok(named) => Ok(open.links > 0 && open.id() == named.id()),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

/// One file.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads at an offset until `buffer` is full or the file ends; returns how much was read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all parts, one behind the other. On an error any part of them may have been written.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()>;

    /// Length, space and identity.
    fn info(&self) -> Result<Info>;

    /// Cuts the file, or lengthens it by zeros.
    fn set_length(&self, length: u64) -> Result<()>;

    /// Reserves space, lengthening the file by zeros where it ends before. Where the file system
    /// cannot, this does nothing, and [`Storage::lacks`] says so.
    fn allocate(&self, offset: u64, length: u64) -> Result<()>;

    /// Makes what was written durable, with the length that it needs to be found.
    ///
    /// An error is final: what was written since the last success may be lost, and a later success
    /// says nothing about it.
    fn sync(&self) -> Result<()>;

    /// Asks for write-back of a range to begin. A hint without a promise.
    fn start_writeback(&self, offset: u64, length: u64) -> Result<()>;

    /// The next range at or behind `offset` that may hold something else than zeros; `None` where
    /// there is none.
    fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>>;

    /// Maps the first `length` bytes for reading. Only for files that nobody writes to or cuts.
    fn map(&self, length: u64) -> Result<Mapping>;
}
