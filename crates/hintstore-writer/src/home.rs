//! Whether the directory is still the store's own.
//!
//! A sync of a file that was unlinked succeeds, and so does one in a directory that is gone: what is
//! acknowledged then is nowhere. So whatever is synced is followed by a look at the names, and a store
//! whose directory, identity or lock is not its own any more takes nothing until it is opened again.

use std::{fmt, sync::Arc};

use hintstore_env::{
    Info, Lock, Presence, Storage,
    sync::{AtomicU64, OnceLock, Ordering::Relaxed},
};
use hintstore_format::file_name;

/// What of a store was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gone {
    /// Its directory was removed.
    Directory,
    /// Another directory has the path of its own.
    Replaced,
    /// `STORE`, which says who it is, was removed or replaced.
    StoreFile,
    /// `LOCK`, which keeps other processes out, was removed or replaced.
    LockFile,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "the directory of the store was removed",
            Self::Replaced => "another directory has the path of the store",
            Self::StoreFile => "the file STORE was removed or replaced",
            Self::LockFile => "the file LOCK was removed or replaced",
        })
    }
}

/// The directory of an open store, and the files in it that make it this store.
#[derive(Debug)]
pub struct Home {
    storage: Arc<dyn Storage>,
    files: Vec<(&'static str, Gone, Info)>,
    gone: OnceLock<Gone>,
    files_gone: AtomicU64,
}

impl Home {
    /// The directory as it is when the store has just been opened, by who holds its lock.
    pub fn new(storage: Arc<dyn Storage>, lock: &Lock) -> Self {
        // A simulation may have no such file; a store that has just been opened has read it.
        let store = storage.info(file_name::STORE).ok();
        let watched = [
            (file_name::STORE, Gone::StoreFile, store),
            (file_name::LOCK, Gone::LockFile, lock.file()),
        ];
        let files = watched.into_iter();
        let files = files.filter_map(|(name, gone, info)| Some((name, gone, info?)));
        Self {
            files: files.collect(),
            storage,
            gone: OnceLock::new(),
            files_gone: AtomicU64::new(0),
        }
    }

    /// What was found gone so far.
    pub fn gone(&self) -> Option<Gone> {
        self.gone.get().copied()
    }

    /// Looks whether all is there; what was gone once stays so. A look that fails says nothing.
    pub fn look(&self) -> Result<(), Gone> {
        match self.gone().or_else(|| self.look_now()) {
            Some(gone) => Err(*self.gone.get_or_init(|| gone)),
            None => Ok(()),
        }
    }

    fn look_now(&self) -> Option<Gone> {
        match self.storage.presence() {
            Ok(Presence::Gone) => return Some(Gone::Directory),
            Ok(Presence::Replaced) => return Some(Gone::Replaced),
            Ok(Presence::There) | Err(_) => {}
        }
        let differs = |(name, _, known): &&(&str, Gone, Info)| match self.storage.info(name) {
            Ok(info) => info.id() != known.id(),
            Err(error) => error.is_missing(),
        };
        self.files.iter().find(differs).map(|(_, gone, _)| *gone)
    }

    /// Counts hint files that somebody else removed.
    pub fn note_files_gone(&self, files: u64) {
        self.files_gone.fetch_add(files, Relaxed);
    }

    /// How many hint files somebody else removed since the store was opened.
    pub fn files_gone(&self) -> u64 {
        self.files_gone.load(Relaxed)
    }
}
