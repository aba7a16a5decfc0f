//! The lock of a directory: one writer, and others can read who it is.

use std::{any::Any, fmt};

use crate::{Info, StorageError};

/// A held lock; dropping it releases it, and so does the end of the process.
pub struct Lock {
    file: Option<Info>,
    _held: Box<dyn Any + Send + Sync>,
}

impl Lock {
    /// A lock of this file, where it is one; lasts as long as `held` does.
    pub fn new(file: Option<Info>, held: impl Any + Send + Sync) -> Self {
        Self {
            file,
            _held: Box::new(held),
        }
    }

    /// The file that is locked, whatever has its name by now.
    pub fn file(&self) -> Option<Info> {
        self.file
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// Why a lock was not to be had.
#[derive(Debug)]
pub enum LockError {
    /// Another holds it.
    Held {
        /// What the holder wrote into the lock file (its pid), where it can be read.
        owner: String,
    },
    /// The lock file could not be used.
    Storage(StorageError),
}

impl From<StorageError> for LockError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
