//! Exit codes: stable, documented in `docs/operations.md`, tested.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::output::{of_output, remark};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Done, and all is well.
    Clean = 0,
    /// Done, and problems were found; or a plan was made and not applied.
    Problems = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The answer is incomplete: something could not be read or written.
    Io = 3,
    /// Another process holds the directory.
    Locked = 4,
    /// Written by another version.
    Version = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that has a code of its own.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Coded {}

/// An error in what was asked.
pub(crate) fn usage(text: impl Into<String>) -> anyhow::Error {
    Coded {
        exit: Exit::Usage,
        text: text.into(),
    }
    .into()
}

/// Says why a run failed, on stderr, what it had done for good by then, and gives its code. A closed pipe is no error, except for a verb
/// that `writes`: that did not come to its end.
pub(crate) fn report(result: anyhow::Result<Exit>, writes: bool, deed: Option<&str>) -> Exit {
    let error = match result {
        Ok(exit) => return exit,
        Err(error) => error,
    };
    if of_output(&error) == Some(io::ErrorKind::BrokenPipe) && !writes {
        return Exit::Clean;
    }
    match deed {
        Some(deed) => remark(&format!("{error:#}; before that, {deed}")),
        None => remark(&format!("{error:#}")),
    }
    code(&error)
}

/// What a run makes cannot be written: going on with the next file would make something that looks whole.
#[derive(Debug)]
struct Unwritten(PathBuf);

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write {}", self.0.display())
    }
}

/// Marks an error of what is written, so that it is not taken for one of the file that is read.
pub(crate) fn unwritten(out: &Path, error: impl Into<anyhow::Error>) -> anyhow::Error {
    error.into().context(Unwritten(out.to_owned()))
}

/// Whether an error is marked so.
pub(crate) fn is_unwritten(error: &anyhow::Error) -> bool {
    error.is::<Unwritten>()
}

/// Whether the disk that is written to is full.
pub(crate) fn is_full_disk(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_storage = cause.downcast_ref::<hintstore::StorageError>();
        let of_system = cause.downcast_ref::<io::Error>();
        of_storage.is_some_and(hintstore::StorageError::is_disk_full)
            || of_system.is_some_and(|error| error.kind() == io::ErrorKind::StorageFull)
    })
}

/// The code for an error.
pub(crate) fn code(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(coded) = cause.downcast_ref::<Coded>() {
            return coded.exit;
        }
        match cause.downcast_ref::<hintstore::Error>() {
            Some(hintstore::Error::Locked { .. }) => return Exit::Locked,
            Some(
                hintstore::Error::OtherVersion { .. } | hintstore::Error::UnknownRecord { .. },
            ) => {
                return Exit::Version;
            }
            _ => {}
        }
    }
    Exit::Io
}
