//! Why the store did not do what it was asked: each error says what to do next.

use std::{fmt, io, path::PathBuf};

use hintstore_env::StorageError;
use hintstore_format::DecodeError;
use hintstore_writer::{Gone, Refusal};

use crate::{AppendError, ConfigError};

/// The result of a call to the store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call to the store failed. An [`AppendError`] and a [`Refusal`] convert into it, so that `?` works for all.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Another process, or another handle of this one, has the directory open for writing.
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it: its pid.
        owner: String,
    },
    /// An append did not do all that it was asked for.
    Append(AppendError),
    /// The disk refused an operation.
    Storage(StorageError),
    /// The directory was written by another version of this engine.
    OtherVersion {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        source: DecodeError,
    },
    /// The journal holds a record of an unknown type that must not be passed over.
    UnknownRecord {
        /// The journal.
        path: PathBuf,
        /// The type.
        code: u16,
    },
    /// The store was opened so often that no epoch is left for new sequences.
    EpochsUsedUp {
        /// The store file.
        path: PathBuf,
    },
    /// A setting makes no sense.
    Config(ConfigError),
    /// The system gave no thread for a background step.
    Threads(io::Error),
    /// Some hints could not be made durable before the store was closed.
    NotDurable,
    /// As many verdicts as a page has hints were to be given: it is sent again.
    Verdicts {
        /// Hints that wait for an answer.
        hints: usize,
        /// Verdicts, or hints that were to be booked.
        verdicts: usize,
    },
    /// Somebody delivers already: stop that first.
    Delivering,
    /// The directory, or a file that makes it this store, was taken away under the open store.
    Gone {
        /// The directory.
        path: PathBuf,
        /// What.
        what: Gone,
    },
    /// The file system of the directory cannot sync directories, and the setting
    /// `require_directory_sync` forbids that.
    NoDirectorySync {
        /// The directory.
        path: PathBuf,
    },
    /// The page is of another store, or of an earlier opening of this one; or the sync point is of another store.
    OtherStore,
    /// Another call closes the store right now, and will say how that went.
    Closing,
    /// The store is closed.
    Closed,
}

impl Error {
    /// Another has the directory open.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }

    /// The disk has no room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_disk_full())
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        Self::Append(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        AppendError::from(refusal).into()
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path, owner } if *owner == format!("pid {}", std::process::id()) => write!(
                f,
                "{} is locked by this process: another handle of the store, such as one in a Delivery or a \
                 registry of metrics, keeps it open",
                path.display()
            ),
            Self::Locked { path, owner } => write!(
                f,
                "{} is locked by {owner}: stop that process, or read the directory with hintctl, \
                 which needs no lock",
                path.display()
            ),
            Self::Append(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
            Self::OtherVersion { path, source } => write!(f, "{}: {source}", path.display()),
            Self::UnknownRecord { path, code } => write!(
                f,
                "{} holds a record of type {code}, which a newer version wrote and which must not \
                 be passed over: open it with that version",
                path.display()
            ),
            Self::Verdicts { hints, verdicts } => write!(
                f,
                "{verdicts} verdicts for {hints} hints: give one for each hint of the page, in their order"
            ),
            Self::Delivering => f.write_str(
                "the store delivers already: call stop_delivery before another deliver_by",
            ),
            Self::EpochsUsedUp { path } => write!(
                f,
                "{} has no epoch left for new hints: let what is stored be delivered with \
                 `hintctl replay`, and begin an empty directory",
                path.display()
            ),
            Self::Config(error) => error.fmt(f),
            Self::Threads(_) => f.write_str("the system gave no thread for a background step"),
            Self::NotDurable => {
                f.write_str("some hints could not be made durable before the store was closed")
            }
            Self::Gone { path, what } => write!(
                f,
                "{}: {what}: put it back, and open the store again",
                path.display()
            ),
            Self::NoDirectorySync { path } => write!(
                f,
                "{} lies on a file system that cannot sync directories, so that the name of a new \
                 file may not survive a power cut: use another, or unset require_directory_sync",
                path.display()
            ),
            Self::OtherStore => f.write_str(
                "the page is of another store, or of an earlier opening of this one: give it back there",
            ),
            Self::Closing => f.write_str("another call closes the store right now"),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => error.source(),
            Self::OtherVersion { source, .. } => Some(source),
            Self::Threads(error) => Some(error),
            _ => None,
        }
    }
}
