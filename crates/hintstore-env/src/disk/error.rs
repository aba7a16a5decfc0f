//! Why the disk said no: which operation, on which path, and the system's own answer.

use std::{fmt, io, path::PathBuf};

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the operation of its name")]
pub enum Op {
    Open,
    Create,
    MakeDirectory,
    List,
    Read,
    Write,
    Inspect,
    SetLength,
    Allocate,
    Sync,
    SyncDirectory,
    Rename,
    Unlink,
    Map,
    Lock,
    SetOwner,
}

impl Op {
    fn words(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::MakeDirectory => "make the directory",
            Self::List => "list",
            Self::Read => "read",
            Self::Write => "write",
            Self::Inspect => "inspect",
            Self::SetLength => "set the length of",
            Self::Allocate => "allocate space for",
            Self::Sync => "sync",
            Self::SyncDirectory => "sync the directory",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::Map => "map",
            Self::Lock => "lock",
            Self::SetOwner => "give its owner to",
        }
    }
}

/// An operation that failed.
#[derive(Debug)]
pub struct StorageError {
    /// What was tried.
    pub op: Op,
    /// On what.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

impl StorageError {
    /// An operation on a path, and the answer to it.
    pub fn new(op: Op, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self {
            op,
            path: path.into(),
            source,
        }
    }

    /// The file or directory is not there.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// A file of that name is there already.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }

    /// The process or the system has used up something that has nothing to do with the file:
    /// descriptors or memory.
    pub fn is_exhausted(&self) -> bool {
        let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
        let code = self.source.raw_os_error();
        code.is_some_and(|code| exhausted.contains(&code))
    }

    /// The file system is mounted read-only, or permissions forbid to write.
    pub fn is_read_only(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
        )
    }

    /// The device, the quota or the directory has no room: a state, not damage.
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.op.words(), self.path.display())
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
