//! The simulated disk behind the [`Storage`] seam.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hintstore_env::{
    Entry, Existing, File, Info, Lacks, Lock, LockError, Mapping, Op, Presence, Result, Space,
    Storage, StorageError,
};

use crate::{
    Crash, Fault,
    disk::{Disk, Inode},
};

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimStorage {
    disk: Arc<Mutex<Disk>>,
}

impl Default for SimStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl SimStorage {
    /// An empty disk.
    pub fn new() -> Self {
        Self {
            disk: Arc::default(),
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations that changed anything, so far.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Cuts the power at the operation of this number: it and all later ones fail.
    pub fn cut_at(&self, operation: u64) {
        self.disk().cut_at = Some(operation);
    }

    /// Panics at the operation of this number, once, in whatever thread: a mistake in the engine.
    pub fn panic_at(&self, operation: u64) {
        self.disk().panic_at = Some(operation);
    }

    /// Whether the panic of [`SimStorage::panic_at`] is still to come.
    pub fn will_panic(&self) -> bool {
        self.disk().panic_at.is_some()
    }

    /// Whether the power is cut.
    pub fn is_cut(&self) -> bool {
        self.disk().is_cut()
    }

    /// Has a fault happen.
    pub fn fail(&self, fault: Fault) {
        self.disk().faults.push(fault);
    }

    /// Has every read fail that touches these bytes of a file, from now on: a bad sector.
    pub fn fail_reads(&self, name: &str, from: u64, to: u64) {
        self.disk().unreadable.push((name.to_owned(), from, to));
    }

    /// Takes back all faults.
    pub fn heal(&self) {
        let mut disk = self.disk();
        disk.faults.clear();
        disk.unreadable.clear();
    }

    /// Limits the space of the disk, in bytes.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Bytes that files take.
    pub fn used(&self) -> u64 {
        self.disk().used()
    }

    /// Files that are open.
    pub fn open_files(&self) -> usize {
        Arc::strong_count(&self.disk().open_files) - 1
    }

    fn file(&self, inode: usize, name: &str) -> Arc<dyn File> {
        Arc::new(SimFile {
            storage: self.clone(),
            inode,
            name: name.to_owned(),
            _open: self.disk().open_files.clone(),
        })
    }

    /// The disk as a crash leaves it, as another disk; this one stays as it is.
    #[must_use]
    pub fn after(&self, crash: Crash) -> Self {
        Self {
            disk: Arc::new(Mutex::new(self.disk().after(crash))),
        }
    }

    /// Changes the bytes of a file behind the engine's back: media damage.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let inode = disk.names.get(name).copied();
        if let Some(inode) = inode.and_then(|inode| disk.inodes.get_mut(inode)) {
            inode.damage(change);
        }
    }

    /// Gives a file a second name. The seam has no such operation: it is for a tool beside the engine.
    ///
    /// # Errors
    ///
    /// There is no such file, or something of the new name.
    pub fn link(&self, from: &str, to: &str) -> Result<()> {
        self.disk()
            .link(from, to)
            .map_err(self.fail_as(Op::Create, to))
    }

    /// Removes a name behind the engine's back, as a cleaner does: who has the file open goes on with it.
    pub fn take_away(&self, name: &str) {
        self.disk().names.remove(name);
    }

    /// Removes the directory with all names in it, or puts another in its place, behind the engine's
    /// back.
    pub fn take_directory(&self, presence: Presence) {
        let mut disk = self.disk();
        disk.presence = Some(presence);
        if presence == Presence::Gone {
            disk.names.clear();
        }
    }

    /// Says what the file system does not have. The operations do nothing then.
    pub fn set_lacks(&self, lacks: Lacks) {
        self.disk().lacks = lacks;
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.disk().names.keys().cloned().collect()
    }

    fn fail_as(&self, op: Op, name: &str) -> impl Fn(io::Error) -> StorageError {
        let path = self.path(name);
        move |error| StorageError::new(op, path.clone(), error)
    }
}

impl Inode {
    fn damage(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.written);
    }
}

fn info(disk: &Disk, number: usize) -> Option<Info> {
    let inode = disk.inodes.get(number)?;
    Some(Info {
        length: inode.written.len() as u64,
        allocated: inode.allocated,
        inode: number as u64,
        device: 1,
        links: disk.names.values().any(|named| *named == number).into(),
    })
}

impl Storage for SimStorage {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("sim").join(name)
    }

    fn make_directory(&self, name: &str) -> Result<()> {
        self.disk().directories.insert(name.to_owned());
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        let disk = self.disk();
        let in_directory = |full: &str| match (directory, full.rsplit_once('/')) {
            ("", None) => Some(full.to_owned()),
            (directory, Some((parent, name))) if parent == directory => Some(name.to_owned()),
            _ => None,
        };
        let names = disk.names.keys().filter_map(|full| in_directory(full));
        let entries = names.map(|name| Entry {
            name,
            is_directory: false,
        });
        Ok(entries.collect())
    }

    fn info(&self, name: &str) -> Result<Info> {
        self.open(name, false)?.info()
    }

    fn open(&self, name: &str, _: bool) -> Result<Arc<dyn File>> {
        let inode = self.disk().names.get(name).copied();
        match inode {
            Some(inode) => Ok(self.file(inode, name)),
            None => Err(self.fail_as(Op::Open, name)(io::ErrorKind::NotFound.into())),
        }
    }

    fn create(&self, name: &str) -> Result<Arc<dyn File>> {
        if self.disk().presence == Some(Presence::Gone) {
            return Err(self.fail_as(Op::Create, name)(
                io::ErrorKind::NotFound.into(),
            ));
        }
        let made = self.disk().create(name);
        let inode = made.map_err(self.fail_as(Op::Create, name))?;
        Ok(self.file(inode, name))
    }

    fn lock(&self, name: &str, owner: &str) -> std::result::Result<Lock, LockError> {
        let mut disk = self.disk();
        if let Some(owner) = disk.locked.get(name) {
            return Err(LockError::Held {
                owner: owner.clone(),
            });
        }
        disk.locked.insert(name.to_owned(), owner.to_owned());
        let held = Held {
            storage: self.clone(),
            name: name.to_owned(),
        };
        Ok(Lock::new(None, held))
    }

    fn rename(&self, from: &str, to: &str, existing: Existing) -> Result<()> {
        let replace = existing == Existing::Replace;
        self.disk()
            .rename(from, to, replace)
            .map_err(self.fail_as(Op::Rename, from))
    }

    fn unlink(&self, name: &str) -> Result<()> {
        self.disk()
            .unlink(name)
            .map_err(self.fail_as(Op::Unlink, name))
    }

    fn presence(&self) -> Result<Presence> {
        Ok(self.disk().presence.unwrap_or(Presence::There))
    }

    fn lacks(&self) -> Lacks {
        self.disk().lacks
    }

    fn sync_directory(&self, name: &str) -> Result<()> {
        if self.disk().lacks.directory_sync {
            return Ok(());
        }
        self.disk()
            .sync_directory()
            .map_err(self.fail_as(Op::SyncDirectory, name))
    }

    fn space(&self) -> Result<Space> {
        let disk = self.disk();
        // Without a limit: a device that no test fills.
        let total = disk.capacity.unwrap_or(1 << 50);
        Ok(Space {
            total,
            free: total.saturating_sub(disk.used()),
            dedicated: false,
        })
    }
}

struct Held {
    storage: SimStorage,
    name: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.storage.disk().locked.remove(&self.name);
    }
}

struct SimFile {
    storage: SimStorage,
    inode: usize,
    name: String,
    _open: Arc<()>,
}

impl SimFile {
    fn change<T>(&self, op: Op, change: impl FnOnce(&mut Disk) -> io::Result<T>) -> Result<T> {
        change(&mut self.storage.disk()).map_err(self.storage.fail_as(op, &self.name))
    }

    fn written<T>(&self, read: impl FnOnce(&Inode) -> T) -> Result<T> {
        self.change(Op::Read, |disk| {
            disk.inodes
                .get(self.inode)
                .map(read)
                .ok_or(io::ErrorKind::NotFound.into())
        })
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let end = offset + buffer.len() as u64;
        let bad = |(name, from, to): &(String, u64, u64)| {
            *name == self.name && offset < *to && end > *from
        };
        if self.storage.disk().unreadable.iter().any(bad) {
            return Err(self.storage.fail_as(Op::Read, &self.name)(
                io::Error::other("bad sector"),
            ));
        }
        self.written(|inode| {
            let from = (offset as usize).min(inode.written.len());
            let there = inode.written.get(from..).unwrap_or_default();
            let length = there.len().min(buffer.len());
            for (to, from) in buffer.iter_mut().zip(there) {
                *to = *from;
            }
            length
        })
    }

    fn write_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.change(Op::Write, |disk| {
            disk.write(self.inode, &self.name, offset as usize, &bytes)
        })
    }

    fn info(&self) -> Result<Info> {
        self.change(Op::Inspect, |disk| {
            info(disk, self.inode).ok_or(io::ErrorKind::NotFound.into())
        })
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.change(Op::SetLength, |disk| {
            disk.set_length(self.inode, length as usize)
        })
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.change(Op::Allocate, |disk| {
            disk.allocate(self.inode, (offset + length) as usize)
        })
    }

    fn sync(&self) -> Result<()> {
        self.change(Op::Sync, |disk| disk.sync(self.inode, &self.name))
    }

    fn start_writeback(&self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        self.written(|inode| {
            let end = inode.written.len() as u64;
            (offset < end).then_some((offset, end))
        })
    }

    fn map(&self, length: u64) -> Result<Mapping> {
        self.written(|inode| {
            let bytes = inode.written.get(..length as usize);
            Mapping::held(Arc::from(bytes.unwrap_or_default()))
        })
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.name)
    }
}

impl fmt::Debug for SimStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStorage({} files)", self.disk().names.len())
    }
}
