//! What is left when a run is stopped: nothing that looks whole.
//!
//! Output grows under other names than its own, or in a directory with a file that says so, and gets
//! its names at the very end. On SIGINT and SIGTERM what is unfinished is removed, one line says so, and
//! the exit code is 130 or 143. After a kill the names and that file tell.

use std::{
    fs::Permissions,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use anyhow::Context as _;
use hintstore::{OsStorage, Storage as _};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::output::remark;

/// Lies in a directory while it is made.
pub(crate) const MARK: &str = "hintctl.unfinished";

/// Something that is being made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unfinished {
    /// A file, or a directory with all that is in it: removed.
    Path(PathBuf),
    /// What is in a directory that was there before: removed.
    Contents(PathBuf),
    /// Files of a directory whose names begin so: removed.
    Beginning(PathBuf, String),
    /// Something that stays as far as it came: what to do about it.
    Words(String),
    /// The terminal, which shows something else than what was on it: given back.
    Terminal,
}

impl Unfinished {
    /// Removes it, and says so; or what there is to do about it.
    fn remove(&self) -> Option<String> {
        Some(match self {
            Self::Words(words) => words.clone(),
            Self::Terminal => {
                ratatui::restore();
                return None;
            }
            Self::Path(path) if !path.exists() => return None,
            Self::Path(path) => removed(path, remove(path)),
            Self::Contents(path) => removed(path, empty(path)),
            Self::Beginning(path, beginning) => {
                removed(path, each_in(path, |name| name.starts_with(beginning)))
            }
        })
    }
}

/// A pager has the terminal.
static IS_PAGED: AtomicBool = AtomicBool::new(false);

/// Says whether a pager has the terminal.
pub(crate) fn paged(is_paged: bool) {
    IS_PAGED.store(is_paged, Relaxed);
}

static UNFINISHED: Mutex<Vec<Unfinished>> = Mutex::new(Vec::new());

/// Says what is to be done if the run is stopped while this lives.
#[derive(Debug)]
pub(crate) struct Guard(Unfinished);

impl Guard {
    fn new(what: Unfinished) -> Self {
        unfinished().push(what.clone());
        Self(what)
    }

    /// Removes a path if the run is stopped.
    pub(crate) fn remove(path: impl Into<PathBuf>) -> Self {
        Self::new(Unfinished::Path(path.into()))
    }

    /// Removes what lies in a directory under names that begin so, if the run is stopped.
    pub(crate) fn remove_beginning(directory: &Path, beginning: String) -> Self {
        Self::new(Unfinished::Beginning(directory.to_owned(), beginning))
    }

    /// Gives the terminal back if the run is stopped.
    pub(crate) fn terminal() -> Self {
        Self::new(Unfinished::Terminal)
    }

    /// Says this if the run is stopped.
    pub(crate) fn say(words: impl Into<String>) -> Self {
        Self::new(Unfinished::Words(words.into()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut all = unfinished();
        if let Some(at) = all.iter().position(|other| *other == self.0) {
            all.remove(at);
        }
    }
}

/// Makes something that a guard is there for, unless the run is being stopped: then what the guard is for was
/// looked at, and nothing may come after that. It does not return then.
pub(crate) fn unless_stopped<T>(make: impl FnOnce() -> T) -> T {
    let _going_on = unfinished();
    make()
}

fn unfinished() -> std::sync::MutexGuard<'static, Vec<Unfinished>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory that is made, and says until it is finished that it is not.
#[derive(Debug)]
pub(crate) struct Making {
    storage: OsStorage,
    guard: Guard,
    is_whole: bool,
}

impl Making {
    /// Begins a directory that is empty, or not there. A new one takes owner, group, mode and access
    /// list of `like`, where there is one: the node that wrote what it is made from is to read it.
    pub(crate) fn begin(path: &Path, like: Option<&OsStorage>) -> anyhow::Result<Self> {
        let is_new = !path.exists();
        let what = if is_new {
            Unfinished::Path(path.to_owned())
        } else {
            Unfinished::Contents(path.to_owned())
        };
        let making = Self {
            storage: OsStorage::new(path),
            guard: Guard::new(what),
            is_whole: false,
        };
        let storage = &making.storage;
        unless_stopped(|| storage.make_directory(""))?;
        if let Some(like) = like.filter(|_| is_new) {
            take_owner(storage, like)?;
        }
        let mark = unless_stopped(|| storage.create(MARK))?;
        let text =
            "hintctl is making this directory, or was stopped while it did: then remove it\n";
        mark.write_at(&[std::io::IoSlice::new(text.as_bytes())], 0)?;
        mark.sync()?;
        storage.sync_directory("")?;
        Ok(making)
    }

    /// The directory is whole, all in it is durable, and all has its name.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.storage.sync_directory("")?;
        self.storage.unlink(MARK)?;
        self.is_whole = true;
        Ok(self.storage.sync_directory("")?)
    }
}

/// Only root can give a directory away; another user makes what is theirs.
fn take_owner(storage: &OsStorage, like: &OsStorage) -> anyhow::Result<()> {
    let path = storage.path("");
    if let Err(error) = like.copy_owner("", storage, "") {
        let from = like.path("");
        remark(&format!(
            "{} has another owner than {}: {error}",
            path.display(),
            from.display()
        ));
    }
    // A source that nobody may write to is no reason that this cannot be filled.
    let mode = std::fs::metadata(&path)?.permissions().mode();
    std::fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777 | 0o700))?;
    Ok(())
}

/// After an error what was made is removed: it would look whole to a glob, and fill the disk.
impl Drop for Making {
    fn drop(&mut self) {
        if !self.is_whole
            && let Some(words) = self.guard.0.remove()
        {
            remark(&words);
        }
    }
}

/// Waits for signals from now on, on a thread of its own.
pub(crate) fn watch() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot wait for signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                // It is the pager's, which ends when its reader wants it to.
                if signal != SIGINT || !IS_PAGED.load(Relaxed) {
                    stop(signal);
                }
            }
        })
        .context("the system gives no thread")?;
    Ok(())
}

fn stop(signal: i32) {
    // Held to the end: nothing is finished or begun any more.
    let all = unfinished();
    let mut words = vec![format!(
        "stopped by {}",
        if signal == SIGINT {
            "SIGINT"
        } else {
            "SIGTERM"
        }
    )];
    for what in &*all {
        words.extend(what.remove());
    }
    let mut stderr = std::io::stderr();
    drop(writeln!(stderr, "\rhintctl: {}", words.join("; ")));
    drop(stderr.flush());
    std::process::exit(128 + signal);
}

fn removed(path: &Path, done: std::io::Result<()>) -> String {
    match done {
        Ok(()) => format!("what was made of {} is removed", path.display()),
        Err(error) => format!(
            "{} is incomplete and could not be removed ({error}): remove it",
            path.display()
        ),
    }
}

/// Removes a file, or a directory with all in it. Others of our threads may still write into it.
fn remove(path: &Path) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        let done = if path.is_dir() {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        };
        match done {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if tries == 100 => return Err(error),
            Err(_) => tries += 1,
            Ok(()) => return Ok(()),
        }
    }
}

/// Empties a directory. Others of our threads may still make something in it: then it says again that it is not whole.
fn empty(path: &Path) -> std::io::Result<()> {
    each_in(path, |name| name != MARK)?;
    each_in(path, |_| true)?;
    if std::fs::read_dir(path)?.next().is_some() {
        std::fs::write(path.join(MARK), "stopped\n")?;
        return Err(std::io::Error::other("something was made in it since"));
    }
    Ok(())
}

fn each_in(path: &Path, goes: impl Fn(&str) -> bool) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&goes) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}
