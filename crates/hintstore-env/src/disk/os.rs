//! The operating system behind [`Storage`].

use std::{
    fmt, fs,
    io::{self, IoSlice},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rustix::{
    fs::{self as sys, AtFlags, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
    process::{Resource, Rlimit},
};

use super::{
    Entry, Existing, File, Info, Lacks, Lock, LockError, Mapping, Op, Presence, Result, Space,
    Storage, StorageError,
    guard::{Range, guard_installed},
    lease::{self, OpenElsewhere},
    owner,
};

/// One directory of the operating system.
///
/// It is opened once, and everything in it is reached through that descriptor: a process that changes
/// its own directory, and an operator who moves this one, change nothing, and nothing is ever written
/// into another directory of the same name.
#[derive(Clone)]
pub struct OsStorage {
    root: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    /// The path as it was when this was made, whatever the process calls its own directory later.
    absolute: PathBuf,
    directory: OnceLock<OwnedFd>,
    lacks_directory_sync: AtomicBool,
    lacks_allocation: AtomicBool,
}

impl OsStorage {
    /// The directory at `root`, which need not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let absolute = std::path::absolute(&root).unwrap_or_else(|_| root.clone());
        Self {
            root,
            shared: Arc::new(Shared {
                absolute,
                directory: OnceLock::new(),
                lacks_directory_sync: AtomicBool::new(false),
                lacks_allocation: AtomicBool::new(false),
            }),
        }
    }
}

impl fmt::Debug for OsStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsStorage({})", self.root.display())
    }
}

/// Flags of every directory that is opened.
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

#[cfg_attr(
    target_arch = "x86_64",
    expect(
        clippy::useless_conversion,
        reason = "link counts are narrower on others"
    )
)]
fn info(stat: &sys::Stat) -> Info {
    Info {
        length: stat.st_size.cast_unsigned(),
        allocated: stat.st_blocks.cast_unsigned() * 512,
        inode: stat.st_ino,
        device: stat.st_dev,
        links: u64::from(stat.st_nlink),
    }
}

fn kind(stat: &sys::Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The name of the directory itself, relative to its descriptor.
fn at(name: &str) -> &str {
    if name.is_empty() { "." } else { name }
}

impl OsStorage {
    /// The descriptor of the directory.
    fn directory(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        if let Some(directory) = self.shared.directory.get() {
            return Ok(directory.as_fd());
        }
        let path = &self.shared.absolute;
        let opened = match sys::open(path, DIRECTORY | OFlags::RDONLY, Mode::empty()) {
            // It may not be listed: its files may be reached by their names all the same.
            Err(Errno::ACCESS) => sys::open(path, DIRECTORY | OFlags::PATH, Mode::empty()),
            opened => opened,
        }?;
        Ok(self.shared.directory.get_or_init(|| opened).as_fd())
    }

    /// Gives the file `to` of another directory, or of this one, owner, group, mode and access control
    /// list of the file `from` of this one: see [`crate::copy_owner`].
    pub fn copy_owner(&self, from: &str, other: &Self, to: &str) -> Result<()> {
        let to_file = other.open_with(Op::Open, to, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let file = self.open_with(Op::Open, from, OFlags::RDONLY | OFlags::NONBLOCK)?;
        owner::copy_owner(&file.file, &to_file.file)
            .map_err(|error| StorageError::new(Op::SetOwner, other.path(to), error))
    }

    /// Whether files can be made in the directory and removed from it, as far as that can be said without
    /// doing so.
    pub fn check_writable(&self) -> Result<()> {
        let fail = self.fail(Op::Write, "");
        let directory = self.directory().map_err(&fail)?;
        sys::accessat(directory, ".", sys::Access::WRITE_OK, AtFlags::EACCESS).map_err(fail)
    }

    /// Whether any process has a file open, this one apart.
    pub fn is_open_elsewhere(&self, name: &str) -> Result<OpenElsewhere> {
        let file = self.open_with(Op::Open, name, OFlags::RDONLY | OFlags::NONBLOCK)?;
        Ok(lease::is_open_elsewhere(&file.file))
    }

    fn fail(&self, op: Op, name: &str) -> impl Fn(Errno) -> StorageError {
        let path = self.path(name);
        move |errno| StorageError::new(op, path.clone(), errno.into())
    }

    fn open_with(&self, op: Op, name: &str, flags: OFlags) -> Result<Arc<OsFile>> {
        let fail = self.fail(op, name);
        let directory = self.directory().map_err(&fail)?;
        let flags = flags | OFlags::CLOEXEC;
        let file = sys::openat(directory, at(name), flags, Mode::from_raw_mode(0o666));
        let file = file.map_err(&fail)?;
        if flags.contains(OFlags::EXCL)
            && let Err(errno) = owner::inherit(&file, directory)
        {
            // What cannot be removed either is empty, and foreign to who finds it.
            sys::unlinkat(directory, at(name), AtFlags::empty()).unwrap_or_default();
            let text = format!("it cannot be given to the owner of its directory: {errno}");
            let error = io::Error::new(io::Error::from(errno).kind(), text);
            return Err(StorageError::new(op, self.path(name), error));
        }
        Ok(Arc::new(OsFile {
            file: file.into(),
            path: self.path(name),
            shared: self.shared.clone(),
        }))
    }

    /// Makes a directory below one that is open, unless it is there; it and its name are durable.
    fn make_below(&self, above: BorrowedFd<'_>, name: &Path) -> rustix::io::Result<()> {
        match sys::mkdirat(above, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => {
                let made = sys::openat(above, name, DIRECTORY | OFlags::RDONLY, Mode::empty())?;
                owner::inherit_directory(&made, above)?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        self.sync_open_directory(above)
    }

    /// Syncs a directory. File systems that cannot say so by one of two errors, and then it is noted;
    /// any other is the disk's.
    fn sync_open_directory(&self, directory: impl AsFd) -> rustix::io::Result<()> {
        match sys::fsync(&directory) {
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                self.shared.lacks_directory_sync.store(true, Relaxed);
                Ok(())
            }
            // It could only be opened to reach what is in it.
            Err(Errno::BADF) => {
                let opened = sys::openat(&directory, ".", DIRECTORY, Mode::empty())?;
                sys::fsync(opened)
            }
            done => done,
        }
    }

    /// Makes the store's own directory, and those above it.
    fn make_root(&self) -> Result<()> {
        let path = &self.shared.absolute;
        if path.is_dir() {
            return Ok(());
        }
        // Each new level is synced in the one above it, or a power cut could take the directory
        // with everything acknowledged in it.
        let mut missing = vec![path.as_path()];
        while let Some(parent) = missing.last().and_then(|path| path.parent()) {
            if parent.is_dir() {
                break;
            }
            missing.push(parent);
        }
        for path in missing.into_iter().rev() {
            let fail =
                |errno: Errno| StorageError::new(Op::MakeDirectory, path, io::Error::from(errno));
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            let above = sys::open(parent, DIRECTORY | OFlags::RDONLY, Mode::empty());
            let above = above.map_err(fail)?;
            self.make_below(above.as_fd(), Path::new(name))
                .map_err(fail)?;
        }
        Ok(())
    }
}

impl Storage for OsStorage {
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.root.clone()
        } else {
            self.root.join(name)
        }
    }

    fn make_directory(&self, name: &str) -> Result<()> {
        if name.is_empty() {
            return self.make_root();
        }
        let fail = self.fail(Op::MakeDirectory, name);
        let directory = self.directory().map_err(&fail)?;
        let is_there = |name: &Path| {
            let stat = sys::statat(directory, name, AtFlags::empty());
            stat.is_ok_and(|stat| kind(&stat) == FileType::Directory)
        };
        let levels: Vec<&Path> = Path::new(name).ancestors().collect();
        for level in levels.into_iter().rev().skip(1) {
            let (Some(above), Some(name)) = (level.parent(), level.file_name()) else {
                continue;
            };
            if !is_there(level) {
                let above = at(above.to_str().unwrap_or_default());
                let above = sys::openat(directory, above, DIRECTORY, Mode::empty());
                let made = above.and_then(|above| self.make_below(above.as_fd(), Path::new(name)));
                made.map_err(&fail)?;
            }
        }
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        let fail = self.fail(Op::List, directory);
        let root = self.directory().map_err(&fail)?;
        let opened = sys::openat(root, at(directory), DIRECTORY, Mode::empty()).map_err(&fail)?;
        let mut entries = Vec::new();
        for entry in sys::Dir::read_from(&opened).map_err(&fail)? {
            let entry = entry.map_err(&fail)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_directory = match entry.file_type() {
                FileType::Directory => true,
                // A link is what it leads to; one that leads nowhere is just that.
                FileType::Symlink | FileType::Unknown => {
                    let leads_to = sys::statat(&opened, name, AtFlags::empty());
                    leads_to.is_ok_and(|stat| kind(&stat) == FileType::Directory)
                }
                _ => false,
            };
            let name = name.to_string_lossy().into_owned();
            entries.push(Entry { name, is_directory });
        }
        Ok(entries)
    }

    fn info(&self, name: &str) -> Result<Info> {
        let fail = self.fail(Op::Inspect, name);
        let directory = self.directory().map_err(&fail)?;
        let stat = sys::statat(directory, at(name), AtFlags::empty())
            .or_else(|_| sys::statat(directory, at(name), AtFlags::SYMLINK_NOFOLLOW));
        stat.map(|stat| info(&stat)).map_err(fail)
    }

    fn open(&self, name: &str, writable: bool) -> Result<Arc<dyn File>> {
        let access = if writable {
            OFlags::RDWR
        } else {
            OFlags::RDONLY
        };
        // Opening a pipe would wait for its writer.
        let file = self.open_with(Op::Open, name, access | OFlags::NONBLOCK)?;
        // A reader gets the error when it asks for the length, as nearly all do first.
        if writable {
            file.info()?;
        }
        Ok(file)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn File>> {
        let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        Ok(self.open_with(Op::Create, name, new)?)
    }

    fn lock(&self, name: &str, owner: &str) -> std::result::Result<Lock, LockError> {
        let fail = self.fail(Op::Lock, name);
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let root = self.directory().map_err(&fail)?;
        // Before the file is made: one that is missing must not be made by who does not get in.
        let directory = sys::openat(root, ".", DIRECTORY, Mode::empty()).map_err(&fail)?;
        let held = |answer| match answer {
            Err(Errno::WOULDBLOCK) => {
                let file = self.open_with(Op::Lock, name, OFlags::RDONLY);
                let mut text = [0; 64];
                let length = file.map_or(0, |file| file.file.read_at(&mut text, 0).unwrap_or(0));
                let owner = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
                Err(LockError::Held {
                    owner: owner.trim().to_owned(),
                })
            }
            answer => answer.map_err(|errno| fail(errno).into()),
        };
        match sys::flock(&directory, exclusive) {
            // A file system that locks files alone: the file has to do.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::BADF | Errno::NOLCK) => {}
            answer => held(answer)?,
        }
        let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = match self.open_with(Op::Lock, name, OFlags::RDWR) {
            Err(error) if error.is_missing() => self.open_with(Op::Lock, name, new),
            file => file,
        };
        let file = match file {
            Err(error) if error.is_taken() => self.open_with(Op::Lock, name, OFlags::RDWR)?,
            file => file?,
        };
        held(sys::flock(&file.file, exclusive))?;
        // Only for people: a full disk must not keep the store from opening.
        let written = file.file.set_len(0);
        drop(written.and_then(|()| file.file.write_all_at(owner.as_bytes(), 0)));
        // Without it nobody notices that the file is replaced; the lock holds all the same.
        let info = file.info().ok();
        Ok(Lock::new(info, Held { directory, file }))
    }

    fn rename(&self, from: &str, to: &str, existing: Existing) -> Result<()> {
        let fail = self.fail(Op::Rename, from);
        let directory = self.directory().map_err(&fail)?;
        if existing == Existing::Replace {
            return sys::renameat(directory, from, directory, to).map_err(fail);
        }
        let flags = sys::RenameFlags::NOREPLACE;
        match sys::renameat_with(directory, from, directory, to, flags) {
            // A file system without the flag: a hard link fails where the name is taken.
            Err(Errno::INVAL | Errno::NOSYS) => {
                sys::linkat(directory, from, directory, to, AtFlags::empty())
                    .and_then(|()| sys::unlinkat(directory, from, AtFlags::empty()))
            }
            done => done,
        }
        .map_err(fail)
    }

    fn unlink(&self, name: &str) -> Result<()> {
        let fail = self.fail(Op::Unlink, name);
        let directory = self.directory().map_err(&fail)?;
        sys::unlinkat(directory, name, AtFlags::empty()).map_err(fail)
    }

    fn sync_directory(&self, name: &str) -> Result<()> {
        let fail = self.fail(Op::SyncDirectory, name);
        let directory = self.directory().map_err(&fail)?;
        if name.is_empty() {
            return self.sync_open_directory(directory).map_err(fail);
        }
        sys::openat(directory, name, DIRECTORY, Mode::empty())
            .and_then(|directory| self.sync_open_directory(directory))
            .map_err(fail)
    }

    fn space(&self) -> Result<Space> {
        let fail = self.fail(Op::Inspect, "");
        let directory = self.directory().map_err(&fail)?;
        let found = sys::fstatvfs(directory).map_err(&fail)?;
        let own = sys::fstat(directory).map_err(&fail)?;
        // The root of the system, which is above itself, is nobody's own.
        let above = sys::statat(directory, "..", AtFlags::empty()).map_err(&fail)?;
        Ok(Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
            dedicated: own.st_dev != above.st_dev,
        })
    }

    fn presence(&self) -> Result<Presence> {
        let fail = self.fail(Op::Inspect, "");
        let directory = self.directory().map_err(&fail)?;
        let own = info(&sys::fstat(directory).map_err(&fail)?);
        match sys::stat(&self.shared.absolute).map(|stat| info(&stat)) {
            _ if own.links == 0 => Ok(Presence::Gone),
            Ok(there) if there.id() != own.id() => Ok(Presence::Replaced),
            // Moved away, or not to be reached by its path any more.
            _ => Ok(Presence::There),
        }
    }

    fn lacks(&self) -> Lacks {
        Lacks {
            directory_sync: self.shared.lacks_directory_sync.load(Relaxed),
            allocation: self.shared.lacks_allocation.load(Relaxed),
        }
    }

    fn open_files_max(&self) -> Option<usize> {
        let is = rustix::process::getrlimit(Resource::Nofile);
        // What a process may raise by itself, it does.
        let most = Rlimit {
            current: is.maximum,
            ..is
        };
        let now = match rustix::process::setrlimit(Resource::Nofile, most) {
            Ok(()) => is.maximum,
            Err(_) => is.current,
        };
        now.map(|max| usize::try_from(max).unwrap_or(usize::MAX))
    }
}

struct OsFile {
    file: fs::File,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl fmt::Debug for OsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsFile({})", self.path.display())
    }
}

/// What an answer to fallocate means. Preallocation is for speed: only where the space or the disk is
/// in question it has failed, anything else is a file system that does not have it.
fn allocated(answer: rustix::io::Result<()>) -> rustix::io::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS)) => Err(errno),
        Err(_) => Ok(false),
    }
}

impl OsFile {
    fn fail(&self, op: Op) -> impl Fn(io::Error) -> StorageError + '_ {
        move |error| StorageError::new(op, self.path.clone(), error)
    }
}

impl File for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(Op::Read)(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let mut parts = parts.to_vec();
        let mut parts = parts.as_mut_slice();
        let mut offset = offset;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            // No more than the kernel takes at once.
            let batch = parts.get(..parts.len().min(1024)).unwrap_or_default();
            match rustix::io::pwritev(&self.file, batch, offset) {
                Ok(0) => return Err(self.fail(Op::Write)(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.fail(Op::Write)(errno.into())),
            }
        }
        Ok(())
    }

    fn info(&self) -> Result<Info> {
        let metadata = self.file.metadata().map_err(self.fail(Op::Inspect))?;
        if metadata.is_file() {
            return Ok(Info {
                length: metadata.len(),
                allocated: metadata.blocks() * 512,
                inode: metadata.ino(),
                device: metadata.dev(),
                links: metadata.nlink(),
            });
        }
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no regular file: move it away");
        Err(self.fail(Op::Inspect)(error))
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(self.fail(Op::SetLength))
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        let none = sys::FallocateFlags::empty();
        let mut answer = sys::fallocate(&self.file, none, offset, length);
        while answer == Err(Errno::INTR) {
            answer = sys::fallocate(&self.file, none, offset, length);
        }
        let done = allocated(answer).map_err(|errno| self.fail(Op::Allocate)(errno.into()))?;
        if !done {
            self.shared.lacks_allocation.store(true, Relaxed);
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(self.fail(Op::Sync))
    }

    fn start_writeback(&self, offset: u64, length: u64) -> Result<()> {
        let (offset, length) = (offset.cast_signed(), length.cast_signed());
        // SAFETY: the descriptor is open for as long as `self.file` is.
        let done = unsafe {
            libc::sync_file_range(
                self.file.as_raw_fd(),
                offset,
                length,
                libc::SYNC_FILE_RANGE_WRITE,
            )
        };
        match done {
            0 => Ok(()),
            _ => Err(self.fail(Op::Sync)(io::Error::last_os_error())),
        }
    }

    fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        let whole = |length: u64| (offset < length).then_some((offset, length));
        let start = match sys::seek(&self.file, sys::SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(whole(self.info()?.length)),
            Err(errno) => return Err(self.fail(Op::Inspect)(errno.into())),
        };
        match sys::seek(&self.file, sys::SeekFrom::Hole(start)) {
            Ok(end) => Ok(Some((start, end))),
            Err(errno) => Err(self.fail(Op::Inspect)(errno.into())),
        }
    }

    fn map(&self, length: u64) -> Result<Mapping> {
        let fail = self.fail(Op::Map);
        if !guard_installed() {
            let text = "the guard is not installed: a read error would end the process";
            return Err(fail(io::Error::new(io::ErrorKind::Unsupported, text)));
        }
        if self.info()?.length < length {
            return Err(fail(io::ErrorKind::UnexpectedEof.into()));
        }
        let length = usize::try_from(length).map_err(|error| fail(io::Error::other(error)))?;
        let mut options = memmap2::MmapOptions::new();
        options.len(length);
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that maps files"
        )]
        // SAFETY: the caller promises that nobody writes to the file or cuts it; where an operator
        // or the disk breaks that, the guard turns the fault into zeros, and checksums tell.
        let map = unsafe { options.map(&self.file) }.map_err(&fail)?;
        map.advise(memmap2::Advice::Sequential).map_err(&fail)?;
        // The last page reads as zeros behind the end of the file, so the range is whole pages.
        let start = map.as_ptr() as usize;
        let Some(range) = Range::register(start, length.next_multiple_of(4096)) else {
            let text = "too many maps are guarded at once";
            return Err(fail(io::Error::new(io::ErrorKind::QuotaExceeded, text)));
        };
        Ok(Mapping::mapped(map, range))
    }
}

/// What holds the lock of a directory.
struct Held {
    directory: OwnedFd,
    file: Arc<OsFile>,
}

impl Drop for Held {
    /// By name, not by closing alone: a process that was just forked has the descriptors until it runs
    /// its program, and until then the lock would outlive its owner.
    fn drop(&mut self) {
        for held in [self.directory.as_fd(), self.file.file.as_fd()] {
            // Closing them releases the lock as well.
            let _closed_next = sys::flock(held, FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::is_there;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("hintstore-os-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn storage(&self) -> OsStorage {
            OsStorage::new(&self.0)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_lock_ends_with_its_owner_where_a_forked_process_has_its_descriptors() {
        let folder = Folder::new("fork");
        let storage = folder.storage();
        let lock = storage.lock("LOCK", "me").unwrap();
        // As a fork has them until it runs its program.
        let of_lock = |fd: &fs::DirEntry| {
            let path = fs::read_link(fd.path()).unwrap_or_default();
            path.starts_with(&folder.0)
        };
        let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let numbers = entries.filter(of_lock).map(|fd| fd.file_name());
        let copies: Vec<OwnedFd> = numbers
            .map(|number| number.to_str().unwrap().parse().unwrap())
            // SAFETY: the lock keeps the descriptor open.
            .map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
            .map(|fd| fd.try_clone_to_owned().unwrap())
            .collect();
        assert!(copies.len() >= 2, "{copies:?}");
        drop(lock);
        drop(storage.lock("LOCK", "another").unwrap());
    }

    #[test]
    fn a_pipe_is_refused_and_a_link_is_the_file_behind_it() {
        let folder = Folder::new("pipe");
        let storage = folder.storage();
        sys::mknodat(
            sys::CWD,
            storage.path("pipe"),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        for writable in [false, true] {
            let opened = storage.open("pipe", writable);
            let error = opened.and_then(|file| file.info()).unwrap_err();
            assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput);
        }
        fs::remove_file(storage.path("pipe")).unwrap();
        fs::write(storage.path("file"), [0; 1000]).unwrap();
        std::os::unix::fs::symlink("file", storage.path("link")).unwrap();
        let entries = storage.list("").unwrap();
        assert_eq!(entries.len(), 2);
        for entry in entries {
            assert!(!entry.is_directory);
            assert_eq!(storage.info(&entry.name).unwrap().length, 1000);
        }
    }

    #[test]
    fn only_space_and_the_disk_are_failures_of_an_allocation() {
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS] {
            assert_eq!(allocated(Err(errno)), Err(errno));
        }
        for errno in [Errno::INVAL, Errno::NOSYS, Errno::PERM, Errno::OPNOTSUPP] {
            assert_eq!(allocated(Err(errno)), Ok(false));
        }
    }

    #[test]
    fn a_directory_is_followed_where_it_is_moved_and_missed_where_it_is_gone() {
        let folder = Folder::new("presence");
        let (here, there) = (folder.0.join("here"), folder.0.join("there"));
        let storage = OsStorage::new(&here);
        storage.make_directory("").unwrap();
        let file = storage.create("file").unwrap();
        assert_eq!(storage.presence().unwrap(), Presence::There);
        #[expect(clippy::disallowed_methods, reason = "an operator moves the directory")]
        fs::rename(&here, &there).unwrap();
        assert_eq!(storage.presence().unwrap(), Presence::There);
        storage.create("second").unwrap();
        assert!(there.join("second").is_file());
        assert!(is_there(&storage, "file", &*file).unwrap());
        fs::create_dir(&here).unwrap();
        assert_eq!(storage.presence().unwrap(), Presence::Replaced);
        fs::remove_dir_all(&there).unwrap();
        assert_eq!(storage.presence().unwrap(), Presence::Gone);
        assert!(!is_there(&storage, "file", &*file).unwrap());
        assert!(storage.create("third").is_err());
    }

    #[test]
    fn files_read_back_what_was_written() {
        let folder = Folder::new("files");
        let storage = folder.storage();
        storage.make_directory("a/b").unwrap();
        let file = storage.create("a/b/c").unwrap();
        file.allocate(0, 8192).unwrap();
        file.write_at(
            &[
                IoSlice::new(b"one"),
                IoSlice::new(b""),
                IoSlice::new(b"two"),
            ],
            4,
        )
        .unwrap();
        file.set_length(10).unwrap();
        file.sync().unwrap();
        let mut bytes = [0xff; 16];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 10);
        assert_eq!(&bytes[..10], b"\0\0\0\0onetwo");
        assert!(storage.create("a/b/c").unwrap_err().is_taken());
        assert!(storage.open("a/b/d", false).unwrap_err().is_missing());
        storage.create("a/d").unwrap();
        assert!(
            storage
                .rename("a/d", "a/b/c", Existing::Keep)
                .unwrap_err()
                .is_taken()
        );
        storage.rename("a/b/c", "a/d", Existing::Replace).unwrap();
        let names: Vec<_> = storage
            .list("a")
            .unwrap()
            .into_iter()
            .map(|e| e.name)
            .collect();
        assert!(names.contains(&"d".to_owned()) && names.contains(&"b".to_owned()));
        assert!(storage.space().unwrap().free > 0);
        storage.sync_directory("a").unwrap();
        storage.unlink("a/d").unwrap();
    }

    #[test]
    fn a_second_lock_reports_the_owner() {
        let folder = Folder::new("lock");
        let storage = folder.storage();
        let held = storage.lock("LOCK", "pid 17").unwrap();
        let locked = |result| matches!(result, Err(LockError::Held { .. }));
        // Who removes the file lets nobody in.
        fs::copy(storage.path("LOCK"), storage.path("copy")).unwrap();
        storage.unlink("LOCK").unwrap();
        assert!(locked(storage.lock("LOCK", "pid 18")));
        storage.rename("copy", "LOCK", Existing::Replace).unwrap();
        match storage.lock("LOCK", "pid 18") {
            Err(LockError::Held { owner }) => assert_eq!(owner, "pid 17"),
            other => panic!("{other:?}"),
        }
        // Who removes the file lets nobody in.
        storage.unlink("LOCK").unwrap();
        let second = storage.lock("LOCK", "pid 18");
        assert!(matches!(second, Err(LockError::Held { .. })));
        assert!(storage.info("LOCK").unwrap_err().is_missing());
        drop(held);
        storage.lock("LOCK", "pid 18").unwrap();
    }

    #[test]
    fn a_file_cut_short_under_its_map_reads_as_zeros_and_says_so() {
        install_guard_for_tests();
        let folder = Folder::new("guard");
        let file = folder.storage().create("f").unwrap();
        file.write_at(&[IoSlice::new(&vec![7; 64 * 1024])], 0)
            .unwrap();
        let map = file.map(64 * 1024).unwrap();
        assert_eq!(map[0], 7);
        file.set_length(4096).unwrap();
        assert_eq!(map.iter().map(|b| u64::from(*b)).sum::<u64>(), 7 * 4096);
        assert!(map.faulted());
        let other = file.map(4096).unwrap();
        assert!(!other.faulted() && other[0] == 7);
        assert!(file.map(8192).is_err());
    }

    fn install_guard_for_tests() {
        crate::install_guard().unwrap();
    }

    #[test]
    fn data_is_found_behind_holes() {
        let folder = Folder::new("holes");
        let file = folder.storage().create("f").unwrap();
        file.set_length(1 << 20).unwrap();
        file.write_at(&[IoSlice::new(&[1; 4096])], 512 * 1024)
            .unwrap();
        let (start, end) = file.next_data(0).unwrap().unwrap();
        assert!(start <= 512 * 1024 && end >= 516 * 1024, "{start}..{end}");
        assert_eq!(file.next_data(1 << 20).unwrap(), None);
    }
}
