//! The store's control records on disk: append → sync → rotate.
//!
//! What the journal says is also in memory (`state`): when it grows long, and when a sync of it
//! fails, it is written again from there under another name, synced, and renamed over the old one.
//! Its space is reserved ahead, and so is that of the next one, so that checkpoints, retiring and
//! truncation work on a full disk.

mod state;

use std::{
    io::{self, IoSlice},
    path::PathBuf,
    sync::Arc,
};

use hintstore_env::{
    Existing, File, Op, Result, Storage, StorageError, is_there,
    sync::{AtomicUsize, Ordering::Relaxed},
};
use hintstore_format::{
    DecodeError, Incarnation, StoreId, file_name,
    journal::{HEAD, Head, Item, JOURNAL_BYTES_MAX, Losses, RECORD_BYTES_MAX, Record, Walk},
};

pub(crate) use state::{JournalState, TargetRecords};

/// Length in bytes at which a journal is written again, and the space reserved for each.
const LENGTH: u64 = 1 << 20;

/// The journal of an open store.
#[derive(Debug)]
pub(crate) struct Journal {
    storage: Arc<dyn Storage>,
    store: StoreId,
    incarnation: Incarnation,
    file: Option<Arc<dyn File>>,
    generation: u64,
    end: u64,
    /// Where what it was begun with ended.
    begun: u64,
    /// The next journal, with its space reserved; named `JOURNAL_NEW`.
    spare: Option<Arc<dyn File>>,
    pub(crate) state: JournalState,
    /// How many loss receipts it has: for those who do not wait for a sync of it.
    pub(crate) loss_receipts: Arc<AtomicUsize>,
}

/// What was found in a journal.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) state: JournalState,
    /// Bytes before the last record that are no record.
    pub(crate) bad_bytes: u64,
    /// Where the first of them lie.
    pub(crate) bad_at: u64,
    /// Behind the last record, from here on, are bytes that are none: cut off in a crash, or damaged.
    pub(crate) torn_at: Option<u64>,
    /// There is none.
    pub(crate) is_missing: bool,
    /// It is another store's: nothing of it counts.
    pub(crate) is_foreign: bool,
    pub(crate) store: Option<StoreId>,
    /// The head could not be read, and so nothing of it.
    pub(crate) unreadable: Option<DecodeError>,
    /// A record of this type must not be passed over.
    pub(crate) refused: Option<u16>,
    pub(crate) generation: u64,
}

/// Reads the journal of a store, if there is one.
pub(crate) fn read(storage: &dyn Storage) -> Result<Found> {
    let file = match storage.open(file_name::JOURNAL, false) {
        Ok(file) => file,
        Err(error) if error.is_missing() => {
            return Ok(Found {
                is_missing: true,
                ..Found::default()
            });
        }
        Err(error) => return Err(error),
    };
    let (bytes, beyond) = read_bytes(&*file)?;
    let mut found = parse(&bytes);
    if beyond > 0 {
        // What is not looked at is not taken for nothing.
        found.add_bad(JOURNAL_BYTES_MAX, beyond);
    }
    Ok(found)
}

/// Reads all of a journal that may be one, and gives how many bytes lie behind that. What is reserved
/// and was never written takes no time, and no memory that is touched.
fn read_bytes(file: &dyn File) -> Result<(Vec<u8>, u64)> {
    let length = file.info()?.length;
    let end = length.min(JOURNAL_BYTES_MAX);
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some((from, to)) = file.next_data(at)?.filter(|(from, _)| *from < end) {
        let to = to.min(end);
        bytes.resize(to as usize, 0);
        let piece = bytes.get_mut(from as usize..).unwrap_or_default();
        let read = file.read_at(piece, from)? as u64;
        if read < to - from {
            bytes.truncate((from + read) as usize);
            break;
        }
        at = to;
    }
    Ok((bytes, length - end))
}

/// Reads the bytes of a journal.
pub(crate) fn parse(bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let head = match Head::decode(bytes) {
        Ok(head) => head,
        Err(error) => {
            found.unreadable = Some(error);
            return found;
        }
    };
    found.generation = head.generation;
    found.store = Some(head.store);
    let mut bad: Option<(u64, u64)> = None;
    let mut any = false;
    for item in Walk::new(bytes, head.generation) {
        if !matches!(item, Item::Bad { .. }) {
            if let Some((at, bytes)) = bad.take() {
                found.add_bad(at, bytes);
            }
            any = true;
        }
        match item {
            Item::Record(record) => found.state.apply(&record),
            Item::Unknown { code, refuse: true } => found.refused = Some(code),
            Item::Unknown { .. } => {}
            Item::Bad { offset, bytes } => bad = Some((offset, bytes)),
        }
    }
    found.torn_at = bad.map(|(at, _)| at);
    if !any {
        // A journal is begun with records that are durable before it has its name.
        let (at, bytes) = bad.unwrap_or((HEAD as u64, 1));
        found.add_bad(at, bytes);
    }
    found
}

impl Found {
    fn add_bad(&mut self, at: u64, bytes: u64) {
        if self.bad_bytes == 0 {
            self.bad_at = at;
        }
        self.bad_bytes += bytes;
    }

    /// The same, if it is of this store, where that is known.
    pub(crate) fn of_store(self, own: Option<StoreId>) -> Self {
        match (own, self.store) {
            (Some(own), Some(store)) if own != store => Self {
                is_foreign: true,
                generation: self.generation,
                ..Self::default()
            },
            _ => self,
        }
    }

    /// The epoch in which it was begun.
    pub(crate) fn epoch(&self) -> u32 {
        (self.generation >> 32) as u32
    }
}

impl Journal {
    /// Begins a new journal from what an older one said. `generation` is greater than that of any
    /// before.
    pub(crate) fn begin(
        storage: Arc<dyn Storage>,
        store: StoreId,
        incarnation: Incarnation,
        generation: u64,
        state: JournalState,
    ) -> Result<Self> {
        match storage.unlink(file_name::JOURNAL_NEW) {
            Err(error) if !error.is_missing() => return Err(error),
            _ => {}
        }
        let mut journal = Self {
            storage,
            store,
            incarnation,
            file: None,
            generation,
            end: 0,
            begun: 0,
            spare: None,
            loss_receipts: Arc::new(AtomicUsize::new(state.losses.len())),
            state,
        };
        journal.rotate()?;
        Ok(journal)
    }

    /// Goes on with the journal that is there: where there is no space for a new one.
    pub(crate) fn go_on(
        storage: Arc<dyn Storage>,
        store: StoreId,
        incarnation: Incarnation,
    ) -> Result<Self> {
        let file = storage.open(file_name::JOURNAL, true)?;
        let (bytes, _told_by_read) = read_bytes(&*file)?;
        let found = parse(&bytes).of_store(Some(store));
        let mut walk = Walk::new(&bytes, found.generation);
        walk.by_ref().for_each(drop);
        Ok(Self {
            storage,
            store,
            incarnation,
            file: Some(file),
            generation: found.generation,
            end: walk.end(),
            begun: 0,
            spare: None,
            loss_receipts: Arc::new(AtomicUsize::new(found.state.losses.len())),
            state: found.state,
        })
    }

    /// Appends records and syncs them. On an error some of them may have become durable, in order.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        for record in records {
            self.state.apply(record);
        }
        self.loss_receipts.store(self.state.losses.len(), Relaxed);
        // What the state alone takes is no reason to write it again and again.
        if self.end > LENGTH.max(2 * self.begun) {
            return self.rotate();
        }
        if self.file.is_none() {
            // An earlier rotation failed half-way; only a new one helps.
            return self.rotate();
        }
        let bytes = self.encode(records, self.end, Vec::new())?;
        // Taken: where this panics, the next journal is a new one, from memory, and nothing goes over what was
        // half written.
        if let Some(file) = self.file.take() {
            let written = file
                .write_at(&[IoSlice::new(&bytes)], self.end)
                .and_then(|()| file.sync())
                .and_then(|()| is_there(&*self.storage, file_name::JOURNAL, &*file));
            if let Ok(true) = written {
                self.end += bytes.len() as u64;
                self.file = Some(file);
                return Ok(());
            }
        }
        // A failed sync is never tried again on the same file, and one that was removed is none.
        self.rotate()
    }

    /// Appends loss receipts, and syncs them: before the records that count what they tell of as ended. Of one
    /// write a crash may keep any part, and what no receipt tells of is never counted.
    pub(crate) fn append_losses(&mut self, losses: &Losses) -> Result<()> {
        let records: Vec<Record> = losses.iter().copied().map(Record::Loss).collect();
        self.append(&records)
    }

    /// Appends a record that must not happen when this fails: it is forgotten then, so that no later
    /// journal has it. (A crash before the next one may still find it, as of any write that failed.)
    pub(crate) fn append_or_forget(&mut self, record: Record) -> Result<()> {
        let before = self.state.clone();
        let done = self.append(&[record]);
        if done.is_err() {
            self.loss_receipts.store(before.losses.len(), Relaxed);
            self.state = before;
            // What was written of it is replaced as soon as something can be written again.
            self.file = None;
        }
        done
    }

    /// The image of records behind what begins at `base`. What a reader would not take is refused: it
    /// would be forgotten at the next open.
    fn encode(&self, records: &[Record], base: u64, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        for record in records {
            let from = bytes.len();
            record.encode(self.generation, base, &mut bytes);
            let is_long = bytes.len() - from > RECORD_BYTES_MAX;
            if is_long || base + bytes.len() as u64 > JOURNAL_BYTES_MAX {
                let text = "it would be longer than a journal may be: lower checkpoint_holes_max";
                let error = io::Error::new(io::ErrorKind::FileTooLarge, text);
                return Err(StorageError::new(Op::Write, self.path(), error));
            }
        }
        Ok(bytes)
    }

    fn path(&self) -> PathBuf {
        self.storage.path(file_name::JOURNAL)
    }

    /// Writes the journal again.
    fn rotate(&mut self) -> Result<()> {
        // Names that were unlinked are gone for good from here on; their retire records may go.
        self.storage.sync_directory("")?;
        self.state.forget_unlinked();
        let file = match self.spare.take() {
            Some(file) => file,
            None => self.prepare()?,
        };
        self.generation += 1;
        let head = Head {
            store: self.store,
            incarnation: self.incarnation,
            generation: self.generation,
        };
        let bytes = head.encode().to_vec();
        debug_assert_eq!(bytes.len(), HEAD);
        let bytes = self.encode(&self.state.records(), 0, bytes)?;
        let (from, to) = (file_name::JOURNAL_NEW, file_name::JOURNAL);
        let renamed = file
            .write_at(&[IoSlice::new(&bytes)], 0)
            .and_then(|()| file.sync())
            .and_then(|()| self.storage.rename(from, to, Existing::Replace));
        if let Err(error) = renamed {
            // It may hold anything; the next attempt begins with another.
            drop(self.storage.unlink(from));
            return Err(error);
        }
        self.end = bytes.len() as u64;
        self.begun = self.end;
        self.file = Some(file);
        // Until the name is durable the old journal counts after a crash, and nothing that the new
        // one says beyond it may be relied on.
        if let Err(error) = self.storage.sync_directory("") {
            self.file = None;
            return Err(error);
        }
        // Without a spare the next rotation needs free space; nothing else does.
        self.spare = self.prepare().ok();
        Ok(())
    }

    fn prepare(&self) -> Result<Arc<dyn File>> {
        let file = match self.storage.create(file_name::JOURNAL_NEW) {
            Err(error) if error.is_taken() => {
                self.storage.unlink(file_name::JOURNAL_NEW)?;
                self.storage.create(file_name::JOURNAL_NEW)?
            }
            created => created?,
        };
        match file.allocate(0, LENGTH.max(2 * self.begun) + LENGTH / 4) {
            Err(error) if !error.is_disk_full() => return Err(error),
            _ => {}
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use hintstore_env::OsStorage;
    use hintstore_format::{
        Namespace, Sequence, TargetId, UnixMillis,
        journal::{Checkpoint, Ends, Range},
    };
    use hintstore_sim::SimStorage;

    use super::*;

    fn checkpoint(target: u128, holes: u64) -> Record {
        let hole = |n: u64| Range {
            first: Sequence::new(2 * n + 1),
            last: Sequence::new(2 * n + 1),
        };
        Record::Checkpoint(Checkpoint {
            target: TargetId::from_u128(target),
            up_to: Sequence::new(2 * holes + 2),
            holes: (0..holes).map(hole).collect(),
            ends: Ends::default(),
            deferred: Vec::new(),
            retired: Vec::new(),
        })
    }

    fn begin(storage: &Arc<dyn Storage>) -> Journal {
        let (store, incarnation) = (StoreId::from_u128(1), Incarnation::new(2));
        let state = JournalState::default();
        Journal::begin(storage.clone(), store, incarnation, 1, state).unwrap()
    }

    #[test]
    fn journal_64mib_what_is_written_is_read() {
        let storage: Arc<dyn Storage> = Arc::new(SimStorage::new());
        let mut journal = begin(&storage);
        for target in 0..5 {
            journal.append(&[checkpoint(target, 900_000)]).unwrap();
        }
        let (namespace, before) = (Namespace::from_u128(7), UnixMillis::new(8));
        let fence = Record::Fence { namespace, before };
        journal.append(&[fence]).unwrap();
        assert!(journal.end > 64 << 20);
        let found = read(&*storage).unwrap();
        assert_eq!((found.bad_bytes, found.torn_at), (0, None));
        let fences: Vec<_> = found.state.fences().collect();
        assert_eq!(fences, [(namespace, before)]);
        assert_eq!(found.state.targets.len(), 5);
    }

    #[test]
    fn what_no_reader_would_take_is_not_written() {
        let storage: Arc<dyn Storage> = Arc::new(SimStorage::new());
        let mut journal = begin(&storage);
        journal.append(&[checkpoint(1, 3)]).unwrap();
        let holes = RECORD_BYTES_MAX as u64 / 16;
        let error = journal.append(&[checkpoint(2, holes)]).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::FileTooLarge);
        let found = read(&*storage).unwrap();
        assert_eq!((found.state.targets.len(), found.bad_bytes), (1, 0));
    }

    #[test]
    fn bytes_that_are_not_looked_at_are_reported() {
        let name = format!("hintstore-journal-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let storage: Arc<dyn Storage> = Arc::new(OsStorage::new(&folder));
        storage.make_directory("").unwrap();
        let mut journal = begin(&storage);
        journal.append(&[checkpoint(1, 3)]).unwrap();
        drop(journal);
        let file = storage.open(file_name::JOURNAL, true).unwrap();
        file.set_length(JOURNAL_BYTES_MAX + 100).unwrap();
        let found = read(&*storage).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.bad_bytes, 100);
    }
}
