//! The operating system behind [`Storage`].

use std::{
    fs::{self, OpenOptions, TryLockError},
    io::{self, IoSlice},
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{fs as sys, io::Errno};

use crate::{
    Entry, Existing, File, Info, Lock, LockError, Mapping, Op, Result, Space, Storage,
    StorageError,
    guard::{Range, guard_installed},
};

/// One directory of the operating system.
#[derive(Clone, Debug)]
pub struct OsStorage {
    root: PathBuf,
}

impl OsStorage {
    /// The directory at `root`, which need not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

fn info(metadata: &fs::Metadata) -> Info {
    Info {
        length: metadata.len(),
        allocated: metadata.blocks() * 512,
        inode: metadata.ino(),
    }
}

fn sync_directory_at(path: &Path) -> Result<()> {
    let directory = OpenOptions::new().read(true).open(path);
    directory
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StorageError::new(Op::SyncDirectory, path, error))
}

impl OsStorage {
    fn open_with(&self, op: Op, name: &str, options: &OpenOptions) -> Result<Arc<OsFile>> {
        let path = self.path(name);
        match options.open(&path) {
            Ok(file) => Ok(Arc::new(OsFile { file, path })),
            Err(error) => Err(StorageError::new(op, path, error)),
        }
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
        let path = self.path(name);
        if path.is_dir() {
            return Ok(());
        }
        // Each new level is synced in the one above it, or a power cut could take the directory
        // with everything acknowledged in it.
        let mut made = vec![path.clone()];
        while let Some(parent) = made.last().and_then(|path| path.parent()) {
            if parent.as_os_str().is_empty() || parent.is_dir() {
                break;
            }
            made.push(parent.to_owned());
        }
        for path in made.iter().rev() {
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(StorageError::new(Op::MakeDirectory, path, error));
                }
                _ => {}
            }
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            sync_directory_at(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        let path = self.path(directory);
        let fail = |error| StorageError::new(Op::List, path.clone(), error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(fail(error)),
            };
            // A link is what it leads to; one that leads nowhere is just that.
            let leads_to_one = || kind.is_symlink() && entry.path().is_dir();
            entries.push(Entry {
                is_directory: kind.is_dir() || leads_to_one(),
                name: entry.file_name().to_string_lossy().into_owned(),
            });
        }
        Ok(entries)
    }

    fn info(&self, name: &str) -> Result<Info> {
        let path = self.path(name);
        match fs::metadata(&path).or_else(|_| fs::symlink_metadata(&path)) {
            Ok(metadata) => Ok(info(&metadata)),
            Err(error) => Err(StorageError::new(Op::Inspect, path, error)),
        }
    }

    fn open(&self, name: &str, writable: bool) -> Result<Arc<dyn File>> {
        // Opening a pipe would wait for whoever writes to it.
        let mut options = OpenOptions::new();
        options.read(true).write(writable);
        options.custom_flags(libc::O_NONBLOCK);
        let file = self.open_with(Op::Open, name, &options)?;
        // Whoever only reads is told when they ask for its length, as nearly all do first.
        if writable {
            file.info()?;
        }
        Ok(file)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        Ok(self.open_with(Op::Create, name, &options)?)
    }

    fn lock(&self, name: &str, owner: &str) -> std::result::Result<Lock, LockError> {
        let path = self.path(name);
        let fail = |error| StorageError::new(Op::Lock, path.clone(), error);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = [0; 64];
                let length = file.read_at(&mut text, 0).unwrap_or(0);
                let owner = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
                return Err(LockError::Held {
                    owner: owner.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(fail(error).into()),
        }
        // Only for people: a full disk must not keep the store from opening.
        drop(
            file.set_len(0)
                .and_then(|()| file.write_all_at(owner.as_bytes(), 0)),
        );
        Ok(Lock::new(file))
    }

    fn rename(&self, from: &str, to: &str, existing: Existing) -> Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        let fail = |error: io::Error| StorageError::new(Op::Rename, from.clone(), error);
        if existing == Existing::Replace {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the Storage it points to"
            )]
            return fs::rename(&from, &to).map_err(fail);
        }
        let flags = sys::RenameFlags::NOREPLACE;
        match sys::renameat_with(sys::CWD, &from, sys::CWD, &to, flags) {
            // A file system without the flag: a hard link fails where the name is taken.
            Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(&from, &to)
                .and_then(|()| fs::remove_file(&from))
                .map_err(fail),
            done => done.map_err(|errno| fail(errno.into())),
        }
    }

    fn unlink(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(|error| StorageError::new(Op::Unlink, path, error))
    }

    fn sync_directory(&self, name: &str) -> Result<()> {
        sync_directory_at(&self.path(name))
    }

    fn space(&self) -> Result<Space> {
        let fail = |error| StorageError::new(Op::Inspect, self.root.clone(), error);
        let found = sys::statvfs(&self.root).map_err(|errno| fail(errno.into()))?;
        let root = fs::canonicalize(&self.root).map_err(fail)?;
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
        // The root of the system is nobody's own.
        let dedicated = match root.parent() {
            Some(above) => device(&root).map_err(fail)? != device(above).map_err(fail)?,
            None => false,
        };
        Ok(Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
            dedicated,
        })
    }
}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    path: PathBuf,
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
            return Ok(info(&metadata));
        }
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no regular file: move it away");
        Err(self.fail(Op::Inspect)(error))
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(self.fail(Op::SetLength))
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        match sys::fallocate(&self.file, sys::FallocateFlags::empty(), offset, length) {
            // Preallocation is for speed: a file system without it gets a longer file, or none.
            Err(Errno::OPNOTSUPP) => Ok(()),
            done => done.map_err(|errno| self.fail(Op::Allocate)(errno.into())),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_pipe_is_refused_and_a_link_is_the_file_behind_it() {
        let folder = Folder::new("pipe");
        let storage = folder.storage();
        sys::mknodat(
            sys::CWD,
            storage.path("pipe"),
            sys::FileType::Fifo,
            sys::Mode::RUSR | sys::Mode::WUSR,
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
    fn a_second_lock_is_told_the_owner() {
        let folder = Folder::new("lock");
        let storage = folder.storage();
        let held = storage.lock("LOCK", "pid 17").unwrap();
        match storage.lock("LOCK", "pid 18") {
            Err(LockError::Held { owner }) => assert_eq!(owner, "pid 17"),
            other => panic!("{other:?}"),
        }
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
