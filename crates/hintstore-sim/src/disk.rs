//! The simulated disk: what was written, what is synced, and what a power cut leaves.
//!
//! The fault model. A file has two images: what was written, and what is synced. Between them lie
//! the unsynced writes and lengths, in order. Directory entries likewise: a create, rename or unlink
//! is durable only after the directory is synced, and syncing a file does not do it. A power cut
//! keeps, drops or tears each unsynced write for itself: of a torn one each sector of 512 bytes is
//! whole new, whole old, or, only if it holds no synced byte, garbage. Unsynced directory changes
//! are kept or dropped each for itself. A killed process leaves all that was written. A sync that
//! fails marks its pages clean: the next one succeeds and has made nothing durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use hintstore_env::{Lacks, Presence};

use crate::Random;

const SECTOR: usize = 512;

/// How a simulated machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: the kernel has all that was written.
    Kill,
    /// The power is cut: what becomes of unsynced writes follows from the seed.
    Power {
        /// Decides over each write.
        seed: u64,
    },
}

/// What a fault happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOn {
    /// Writes to files.
    Write,
    /// Syncs of files.
    Sync,
    /// Syncs of directories.
    SyncDirectory,
    /// Making files.
    Create,
}

/// A fault that happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which kind of operation.
    pub on: FaultOn,
    /// How many of that kind succeed first.
    pub after: u64,
    /// How many fail then.
    pub times: u64,
    /// With which error.
    pub error: io::ErrorKind,
    /// Only files whose name contains this.
    pub name: &'static str,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Inode {
    pub(crate) written: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors of the synced image that a write has covered.
    covered: BTreeSet<usize>,
    changes: Vec<Change>,
    pub(crate) allocated: u64,
}

#[derive(Clone, Debug)]
enum EntryChange {
    Create { name: String, inode: usize },
    Rename { from: String, to: String },
    Unlink { name: String },
}

/// A disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) inodes: Vec<Inode>,
    pub(crate) names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<EntryChange>,
    pub(crate) directories: BTreeSet<String>,
    pub(crate) locked: BTreeMap<String, String>,
    /// Operations that change anything, so far.
    pub(crate) operations: u64,
    pub(crate) cut_at: Option<u64>,
    pub(crate) panic_at: Option<u64>,
    pub(crate) presence: Option<Presence>,
    pub(crate) lacks: Lacks,
    pub(crate) faults: Vec<Fault>,
    /// Ranges of files that cannot be read: part of the name, first byte, one behind the last.
    pub(crate) unreadable: Vec<(String, u64, u64)>,
    pub(crate) capacity: Option<u64>,
    /// One more for each file that is open.
    pub(crate) open_files: Arc<()>,
}

fn power_cut() -> io::Error {
    io::Error::other("the power is cut")
}

impl Disk {
    pub(crate) fn is_cut(&self) -> bool {
        self.cut_at.is_some_and(|at| self.operations >= at)
    }

    /// Counts an operation. False where the power goes during it: it may have begun.
    fn tick(&mut self) -> io::Result<bool> {
        if self.is_cut() {
            return Err(power_cut());
        }
        self.operations += 1;
        if self.panic_at == Some(self.operations) {
            self.panic_at = None;
            std::panic::resume_unwind(Box::new("the simulated disk panics here, as asked"));
        }
        Ok(!self.is_cut())
    }

    fn fault(&mut self, on: FaultOn, name: &str) -> io::Result<()> {
        for fault in self
            .faults
            .iter_mut()
            .filter(|f| f.on == on && name.contains(f.name))
        {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return Err(fault.error.into());
            }
        }
        Ok(())
    }

    pub(crate) fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|inode| self.inodes.get(*inode))
            .map(|i| i.allocated)
            .sum()
    }

    fn grow(&mut self, inode: usize, end: u64) -> io::Result<()> {
        let has = self.inodes.get(inode).map_or(0, |inode| inode.allocated);
        let need = end.next_multiple_of(4096);
        if need <= has {
            return Ok(());
        }
        if self
            .capacity
            .is_some_and(|capacity| self.used() + (need - has) > capacity)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(inode) = self.inodes.get_mut(inode) {
            inode.allocated = need;
        }
        Ok(())
    }

    pub(crate) fn create(&mut self, name: &str) -> io::Result<usize> {
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.fault(FaultOn::Create, name)?;
        let goes_on = self.tick()?;
        let inode = self.inodes.len();
        self.inodes.push(Inode::default());
        self.names.insert(name.to_owned(), inode);
        self.name_changes.push(EntryChange::Create {
            name: name.to_owned(),
            inode,
        });
        if goes_on { Ok(inode) } else { Err(power_cut()) }
    }

    pub(crate) fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        if self.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = *self.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let goes_on = self.tick()?;
        self.names.insert(to.to_owned(), inode);
        // A name is made in the directory, whether the file is new or not.
        self.name_changes.push(EntryChange::Create {
            name: to.to_owned(),
            inode,
        });
        if goes_on { Ok(()) } else { Err(power_cut()) }
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, replace: bool) -> io::Result<()> {
        if !replace && self.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !self.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let goes_on = self.tick()?;
        if let Some(inode) = self.names.remove(from) {
            self.names.insert(to.to_owned(), inode);
        }
        let (from, to) = (from.to_owned(), to.to_owned());
        self.name_changes.push(EntryChange::Rename { from, to });
        if goes_on { Ok(()) } else { Err(power_cut()) }
    }

    pub(crate) fn unlink(&mut self, name: &str) -> io::Result<()> {
        if !self.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let goes_on = self.tick()?;
        self.names.remove(name);
        self.name_changes.push(EntryChange::Unlink {
            name: name.to_owned(),
        });
        if goes_on { Ok(()) } else { Err(power_cut()) }
    }

    pub(crate) fn sync_directory(&mut self) -> io::Result<()> {
        self.fault(FaultOn::SyncDirectory, "")?;
        if !self.tick()? {
            return Err(power_cut());
        }
        // One journal for all directories: simpler than a disk, and no kinder where it matters,
        // since the engine syncs each directory that it changes.
        self.durable_names = self.names.clone();
        self.name_changes.clear();
        Ok(())
    }

    pub(crate) fn write(
        &mut self,
        inode: usize,
        name: &str,
        offset: usize,
        bytes: &[u8],
    ) -> io::Result<()> {
        let failed = self.fault(FaultOn::Write, name);
        let goes_on = self.tick()?;
        // A write that fails may have written a part.
        let part = if failed.is_err() {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        let bytes = bytes.get(..part).unwrap_or_default();
        self.grow(inode, (offset + bytes.len()) as u64)?;
        if let Some(inode) = self.inodes.get_mut(inode) {
            let change = Change::Write {
                offset,
                bytes: bytes.to_vec(),
            };
            apply(&mut inode.written, &change);
            inode.changes.push(change);
        }
        failed?;
        if goes_on { Ok(()) } else { Err(power_cut()) }
    }

    pub(crate) fn set_length(&mut self, inode: usize, length: usize) -> io::Result<()> {
        let goes_on = self.tick()?;
        if let Some(inode) = self.inodes.get_mut(inode) {
            let change = Change::Length(length);
            apply(&mut inode.written, &change);
            inode.allocated = inode.allocated.min((length as u64).next_multiple_of(4096));
            inode.changes.push(change);
        }
        if goes_on { Ok(()) } else { Err(power_cut()) }
    }

    pub(crate) fn allocate(&mut self, inode: usize, end: usize) -> io::Result<()> {
        self.grow(inode, end as u64)?;
        let length = self
            .inodes
            .get(inode)
            .map_or(0, |inode| inode.written.len());
        if length >= end {
            return Ok(());
        }
        let goes_on = self.tick()?;
        if let Some(inode) = self.inodes.get_mut(inode) {
            let change = Change::Length(end);
            apply(&mut inode.written, &change);
            inode.changes.push(change);
        }
        if goes_on { Ok(()) } else { Err(power_cut()) }
    }

    pub(crate) fn sync(&mut self, inode: usize, name: &str) -> io::Result<()> {
        let failed = self.fault(FaultOn::Sync, name);
        if !self.tick()? {
            return Err(power_cut());
        }
        let Some(inode) = self.inodes.get_mut(inode) else {
            return Ok(());
        };
        if failed.is_err() {
            // The pages are clean now, and what they hold is not on the disk.
            inode.changes.clear();
            return failed;
        }
        for change in std::mem::take(&mut inode.changes) {
            apply(&mut inode.synced, &change);
            inode.cover(&change);
        }
        Ok(())
    }

    /// The disk after a crash, with the power back.
    pub(crate) fn after(&self, crash: Crash) -> Self {
        let mut disk = Self {
            directories: self.directories.clone(),
            ..Self::default()
        };
        let Crash::Power { seed } = crash else {
            disk.names = self.names.clone();
            disk.inodes = self.inodes.clone();
            // The kernel still owes the syncs.
            disk.durable_names = self.durable_names.clone();
            disk.name_changes = self.name_changes.clone();
            return disk;
        };
        let mut random = Random::new(seed);
        let mut names = self.durable_names.clone();
        for change in &self.name_changes {
            if random.one_in(2) {
                apply_name(&mut names, change);
            }
        }
        for inode in &self.inodes {
            let image = inode.after_power_cut(&mut random);
            let sectors = (0..image.len().div_ceil(SECTOR)).collect();
            disk.inodes.push(Inode {
                allocated: (image.len() as u64).next_multiple_of(4096),
                written: image.clone(),
                synced: image,
                covered: sectors,
                changes: Vec::new(),
            });
        }
        disk.durable_names = names.clone();
        disk.names = names;
        disk
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &EntryChange) {
    match change {
        EntryChange::Create { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        EntryChange::Rename { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        EntryChange::Unlink { name } => {
            names.remove(name);
        }
    }
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => image.resize(*length, 0),
        Change::Write { offset, bytes } => {
            let end = offset + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            if let Some(place) = image.get_mut(*offset..end) {
                place.copy_from_slice(bytes);
            }
        }
    }
}

impl Inode {
    fn cover(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => {
                self.covered
                    .extend(offset / SECTOR..(offset + bytes.len()).div_ceil(SECTOR));
            }
            Change::Length(length) => self.covered.retain(|sector| sector * SECTOR < *length),
        }
    }

    fn after_power_cut(&self, random: &mut Random) -> Vec<u8> {
        let mut image = self.synced.clone();
        for change in &self.changes {
            match (random.below(3), change) {
                (0, _) | (1, Change::Length(_)) => apply(&mut image, change),
                (1, Change::Write { offset, bytes }) => {
                    self.tear(&mut image, *offset, bytes, random);
                }
                _ => {}
            }
        }
        image
    }

    fn tear(&self, image: &mut Vec<u8>, offset: usize, bytes: &[u8], random: &mut Random) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = SECTOR - at % SECTOR;
            let (sector, after) = rest.split_at(room.min(rest.len()));
            let write = |bytes: Vec<u8>| Change::Write { offset: at, bytes };
            match random.below(3) {
                0 => apply(image, &write(sector.to_vec())),
                1 if !self.covered.contains(&(at / SECTOR)) => {
                    let garbage = sector.iter().map(|_| random.bits() as u8).collect();
                    apply(image, &write(garbage));
                }
                _ => {}
            }
            at += sector.len();
            rest = after;
        }
    }
}
