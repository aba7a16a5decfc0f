//! Files that are open, within a bound: those that rested longest are closed when it is exceeded, and
//! opened again when they are used.
//!
//! A step closes them, since that may need a sync, and an append must not wait for the sync of another
//! target's file. Who opens files faster than the step closes them, by an eighth of the bound, closes one
//! itself. Where the process has no descriptor left all the same, a file that rests is closed and the
//! call is tried again.
//!
//! Ten thousand targets have ten thousand open segments, and a process has a thousand descriptors.
//! A file that was written since its last sync is synced before it is closed: the kernel tells of a
//! failed write-back only to who has the file open. Where that sync fails, the file stays open and
//! says so at its next sync, as its owner expects of a file whose sync failed.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    io::{self, IoSlice},
    path::PathBuf,
    sync::{Arc, Weak},
};

use hintstore_env::{
    Boot, Entry, Existing, File, Info, Lacks, Lock, LockError, Mapping, Next, Op, Presence, Result,
    Space, Step, Storage, StorageError, Waker,
    sync::{
        AtomicBool, AtomicU64, AtomicUsize, Mutex,
        Ordering::{Relaxed, SeqCst},
    },
};
use smallvec::SmallVec;

/// A store directory with a bound on the files that are open at once.
#[derive(Clone, Debug)]
pub(crate) struct Descriptors {
    files: Arc<Files>,
}

/// Closes files that rested longest, where there are more than the bound.
#[derive(Debug)]
pub(crate) struct CloseFiles(pub(crate) Descriptors);

impl Step for CloseFiles {
    fn name(&self) -> &'static str {
        "close files"
    }

    fn step(&self, _: Boot) -> Next {
        let files = &self.0.files;
        let max = files.max.load(SeqCst);
        files.close_down_to(max - max / 8);
        Next::WhenWoken
    }
}

#[derive(Debug)]
struct Files {
    inner: Arc<dyn Storage>,
    max: AtomicUsize,
    /// What the process may have open.
    allowed: usize,
    /// Wakes the step that closes.
    close: Waker,
    /// Counts the uses of files.
    time: AtomicU64,
    /// Files that are open. Taken after a file's own lock, and never held while one is waited for.
    open: Mutex<Vec<Weak<Kept>>>,
    /// All files by name, closed ones too.
    named: Mutex<HashMap<Arc<str>, OfName>>,
}

/// Most names have one file.
type OfName = SmallVec<[Weak<Kept>; 1]>;

/// A file that its owner takes for open. There may be tens of thousands.
struct Kept {
    /// Itself, as it is listed.
    this: Weak<Kept>,
    files: Arc<Files>,
    name: Mutex<Arc<str>>,
    writable: bool,
    inode: u64,
    handle: Mutex<Option<Arc<dyn File>>>,
    used: AtomicU64,
    /// It was written since its last sync.
    dirty: AtomicBool,
    /// It cannot be opened again, or its sync failed: it is never closed.
    stays: AtomicBool,
    sync_failed: AtomicBool,
}

impl Descriptors {
    /// At most `max`, and by what the process may have.
    pub(crate) fn new(inner: Arc<dyn Storage>, max: usize) -> Self {
        let allowed = inner.open_files_max().unwrap_or(usize::MAX);
        let descriptors = Self {
            files: Arc::new(Files {
                inner,
                max: AtomicUsize::new(0),
                allowed,
                close: Waker::default(),
                time: AtomicU64::new(0),
                open: Mutex::default(),
                named: Mutex::default(),
            }),
        };
        descriptors.set_max(max);
        descriptors
    }

    /// Sets another bound. A quarter of what the process may have is left to whatever else it opens.
    pub(crate) fn set_max(&self, max: usize) {
        let allowed = self.files.allowed;
        let most = allowed - allowed / 4;
        self.files.max.store(max.clamp(1, most.max(1)), SeqCst);
        self.files.close.wake();
    }

    /// The bound that is in force.
    pub(crate) fn max(&self) -> usize {
        self.files.max.load(SeqCst)
    }

    /// Wakes [`CloseFiles`].
    pub(crate) fn close_waker(&self) -> Waker {
        self.files.close.clone()
    }

    fn keep(&self, name: &str, writable: bool, handle: Arc<dyn File>) -> Result<Arc<dyn File>> {
        let inode = handle.info()?.inode;
        let name: Arc<str> = name.into();
        let kept = Arc::new_cyclic(|this| Kept {
            this: this.clone(),
            files: self.files.clone(),
            name: Mutex::new(name.clone()),
            writable,
            inode,
            handle: Mutex::new(Some(handle)),
            used: AtomicU64::new(self.files.tick()),
            dirty: AtomicBool::new(false),
            stays: AtomicBool::new(false),
            sync_failed: AtomicBool::new(false),
        });
        let mut named = self.files.named.lock();
        named.entry(name).or_default().push(kept.this.clone());
        drop(named);
        self.files.note_open(&kept);
        Ok(kept)
    }
}

impl Files {
    fn tick(&self) -> u64 {
        self.time.fetch_add(1, Relaxed)
    }

    fn note_open(&self, kept: &Kept) {
        let mut open = self.open.lock();
        open.push(kept.this.clone());
        let count = open.len();
        drop(open);
        let max = self.max.load(SeqCst);
        if count > max {
            self.close.wake();
        }
        if count > max + max / 8 {
            // The step is behind.
            self.close_down_to(max);
        }
    }

    /// Closes files that rest, those that rested longest first, until no more than the bound are open, as far as that
    /// can be.
    fn close_down_to(&self, most: usize) {
        let open: Vec<_> = {
            let mut list = self.open.lock();
            list.retain(|kept| kept.strong_count() > 0);
            if list.len() <= most {
                return;
            }
            list.iter().filter_map(Weak::upgrade).collect()
        };
        // By a copy of each last use: other threads use files while this sorts, and a sort whose keys
        // change under it may panic.
        let mut by_use: Vec<_> = open
            .iter()
            .filter(|kept| !kept.stays.load(SeqCst))
            .map(|kept| (kept.used.load(Relaxed), kept))
            .collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        let over = open.len().saturating_sub(most);
        let mut closed = HashSet::new();
        for (_, kept) in by_use {
            if closed.len() >= over {
                break;
            }
            if kept.close() {
                closed.insert(Arc::as_ptr(kept));
            }
        }
        // One that was opened again since is listed again, and stays so, once.
        let mut listed = HashSet::new();
        self.open.lock().retain(|kept| {
            let is_open = || kept.upgrade().is_some_and(|kept| kept.is_open());
            (!closed.contains(&kept.as_ptr()) || is_open()) && listed.insert(kept.as_ptr())
        });
    }

    /// Opens something. Where the process or the system has no descriptor left, files that rest are
    /// closed for it, once.
    fn open<T>(&self, open: impl Fn() -> Result<T>) -> Result<T> {
        match open() {
            Err(error) if error.is_exhausted() => {
                let most = self.open.lock().len() * 3 / 4;
                self.close_down_to(most);
                open()
            }
            done => done,
        }
    }
}

impl Kept {
    /// Whether it is open, or just being used.
    fn is_open(&self) -> bool {
        self.handle.try_lock().is_none_or(|handle| handle.is_some())
    }

    /// Closes the file, if nobody uses it now. Taken by its own lock: who uses it waits.
    fn close(&self) -> bool {
        let Some(mut handle) = self.handle.try_lock() else {
            return false;
        };
        let Some(file) = handle.as_ref() else {
            return false;
        };
        if Arc::strong_count(file) > 1 {
            return false;
        }
        if self.dirty.load(SeqCst) {
            // Somebody took its name: what is in it can be read through this descriptor alone.
            if !file.info().is_ok_and(|info| info.links > 0) {
                self.stays.store(true, SeqCst);
                return false;
            }
            if file.sync().is_err() {
                self.sync_failed.store(true, SeqCst);
                self.stays.store(true, SeqCst);
                return false;
            }
            self.dirty.store(false, SeqCst);
        }
        *handle = None;
        true
    }

    /// The open file, opened again where it was closed.
    fn file(&self) -> Result<Arc<dyn File>> {
        self.used.store(self.files.tick(), Relaxed);
        let mut handle = self.handle.lock();
        if let Some(file) = handle.as_ref() {
            return Ok(file.clone());
        }
        let (name, file) = loop {
            let name = self.name.lock().clone();
            match self
                .files
                .open(|| self.files.inner.open(&name, self.writable))
            {
                // It was renamed in between.
                Err(error) if error.is_missing() && *self.name.lock() != name => {}
                file => break (name, file?),
            }
        };
        if file.info()?.inode != self.inode {
            let error = io::Error::other("another file has its name by now");
            return Err(StorageError::new(Op::Open, &*name, error));
        }
        *handle = Some(file.clone());
        drop(handle);
        self.files.note_open(self);
        Ok(file)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut named = self.files.named.lock();
        let name = self.name.lock();
        if let Some(of_name) = named.get_mut(&*name) {
            of_name.retain(|kept| kept.strong_count() > 0);
            if of_name.is_empty() {
                named.remove(&*name);
            }
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.name.lock())
    }
}

impl File for Kept {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file()?.read_at(buffer, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let file = self.file()?;
        self.dirty.store(true, SeqCst);
        file.write_at(parts, offset)
    }

    fn info(&self) -> Result<Info> {
        self.file()?.info()
    }

    fn set_length(&self, length: u64) -> Result<()> {
        let file = self.file()?;
        self.dirty.store(true, SeqCst);
        file.set_length(length)
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        let file = self.file()?;
        self.dirty.store(true, SeqCst);
        file.allocate(offset, length)
    }

    fn sync(&self) -> Result<()> {
        let file = self.file()?;
        if self.sync_failed.load(SeqCst) {
            let error = io::Error::other("a sync of it failed before");
            return Err(StorageError::new(Op::Sync, &**self.name.lock(), error));
        }
        // Before the sync: what is written during it keeps it dirty.
        self.dirty.store(false, SeqCst);
        file.sync().inspect_err(|_| {
            self.stays.store(true, SeqCst);
        })
    }

    fn start_writeback(&self, offset: u64, length: u64) -> Result<()> {
        self.file()?.start_writeback(offset, length)
    }

    fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        self.file()?.next_data(offset)
    }

    fn map(&self, length: u64) -> Result<Mapping> {
        self.file()?.map(length)
    }
}

impl Storage for Descriptors {
    fn path(&self, name: &str) -> PathBuf {
        self.files.inner.path(name)
    }

    fn make_directory(&self, name: &str) -> Result<()> {
        self.files.inner.make_directory(name)
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        self.files.open(|| self.files.inner.list(directory))
    }

    fn info(&self, name: &str) -> Result<Info> {
        self.files.inner.info(name)
    }

    fn open(&self, name: &str, writable: bool) -> Result<Arc<dyn File>> {
        let file = self.files.open(|| self.files.inner.open(name, writable))?;
        self.keep(name, writable, file)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn File>> {
        let file = self.files.open(|| self.files.inner.create(name))?;
        self.keep(name, true, file)
    }

    fn lock(&self, name: &str, owner: &str) -> std::result::Result<Lock, LockError> {
        self.files.inner.lock(name, owner)
    }

    fn rename(&self, from: &str, to: &str, existing: Existing) -> Result<()> {
        let mut named = self.files.named.lock();
        self.files.inner.rename(from, to, existing)?;
        let moved = named.remove(from).unwrap_or_default();
        let kept: Vec<_> = moved.iter().filter_map(Weak::upgrade).collect();
        let to: Arc<str> = to.into();
        for kept in &kept {
            kept.name.lock().clone_from(&to);
        }
        named.entry(to).or_default().extend(moved);
        // First the lock: the last owner of a file takes it off the names.
        drop(named);
        drop(kept);
        Ok(())
    }

    fn unlink(&self, name: &str) -> Result<()> {
        // Users that have it open go on with it: it cannot be opened again.
        let gone = self.files.named.lock().remove(name).unwrap_or_default();
        for kept in gone.iter().filter_map(Weak::upgrade) {
            kept.stays.store(true, SeqCst);
        }
        self.files.inner.unlink(name)
    }

    fn sync_directory(&self, name: &str) -> Result<()> {
        self.files.open(|| self.files.inner.sync_directory(name))
    }

    fn presence(&self) -> Result<Presence> {
        self.files.inner.presence()
    }

    fn lacks(&self) -> Lacks {
        self.files.inner.lacks()
    }

    fn open_files_max(&self) -> Option<usize> {
        self.files.inner.open_files_max()
    }

    fn space(&self) -> Result<Space> {
        self.files.inner.space()
    }
}
