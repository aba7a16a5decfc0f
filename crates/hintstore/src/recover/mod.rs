//! Opening a store: lock → identity → journal → segments → books.
//!
//! Opening always ends, with a store or with an error that says what to do. One bad file degrades
//! the report and nothing else. It needs no free space, and doing it twice is doing it once.

mod count;
mod identity;
mod segments;

pub(crate) use count::each as each_hint;

use std::{fmt, sync::Arc};

use hintstore_format::{
    StoreId, TargetId, UnixMillis, file_name,
    journal::{End, Loss, Range, Record},
};
use hintstore_runtime::sync::Ordering::SeqCst;
use hintstore_storage::{Lock, LockError, Storage};

use crate::{
    Config, Environment, Error, Result,
    catalog::{Catalog, Entry, Queue, Ranges},
    dispatch::Progress,
    journal::{Found, Journal, TargetRecords},
};

/// A file that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its name.
    pub name: String,
    /// Bytes that it takes.
    pub allocated: u64,
    /// What is known of it.
    pub why: String,
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Segments that ended in their footer.
    pub sealed: usize,
    /// Segments that had to be walked.
    pub walked: usize,
    /// Files that were removed: retired before, or never filled.
    pub removed: usize,
    /// Files that were set aside: their descriptor cannot be read.
    pub set_aside: Vec<String>,
    /// Files that were left alone: not ours, or of a newer version.
    pub foreign: Vec<Foreign>,
    /// Hints that are missing below what was known synced.
    pub damaged: u64,
    /// Hints that are missing above it: lost at the crash, or damaged.
    pub lost: u64,
    /// Bytes in the journal that are no record.
    pub journal_bad_bytes: u64,
    /// The journal could not be read: what was delivered before is delivered again.
    pub journal_unreadable: bool,
    /// Files that could not be read, and why.
    pub unreadable: Vec<(String, String)>,
    /// The directory was copied or restored: the store drew a new identity.
    pub new_identity: bool,
}

impl OpenReport {
    /// Whether everything was as it should be.
    pub fn is_healthy(&self) -> bool {
        self.set_aside.is_empty()
            && self.damaged == 0
            && self.journal_bad_bytes == 0
            && !self.journal_unreadable
            && self.unreadable.is_empty()
    }
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sealed,
            walked,
            removed,
            damaged,
            lost,
            ..
        } = self;
        write!(
            f,
            "{sealed} sealed and {walked} walked segments, {removed} files removed, "
        )?;
        write!(
            f,
            "{} set aside, {} foreign; ",
            self.set_aside.len(),
            self.foreign.len()
        )?;
        write!(f, "{damaged} hints damaged, {lost} lost at a crash")
    }
}

/// A store that is ready but for its background steps.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) lock: Lock,
    pub(crate) store: StoreId,
    pub(crate) epoch: u32,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) journal: Journal,
    pub(crate) report: OpenReport,
    pub(crate) last_created: std::collections::HashMap<TargetId, UnixMillis>,
}

/// Opens what is there.
pub(crate) fn recover(environment: &Environment, config: &Config) -> Result<Recovered> {
    let storage = &environment.storage;
    storage.make_directory("")?;
    let lock = lock(&**storage)?;
    storage.make_directory(file_name::ASIDE)?;
    let mut report = OpenReport::default();
    let found = crate::journal::read(&**storage)?;
    refuse_newer(&**storage, &found)?;
    report.journal_bad_bytes = found.bad_bytes;
    report.journal_unreadable = found.unreadable.is_some();
    let segments = segments::find(&**storage, &found.state, &mut report)?;
    let identity = identity::open(environment, &segments, &mut report)?;
    let mut state = found.state.clone();
    let catalog = Arc::new(Catalog::default());
    let mut losses = Vec::new();
    let mut last_created = std::collections::HashMap::new();
    for (target, mut segments) in segments.targets {
        last_created.insert(target, segments.last_created);
        segments::limit_overlaps(&mut segments.found);
        let records = state.targets.entry(target).or_default();
        losses.extend(new_losses(
            target,
            &segments.found,
            records,
            environment,
            &mut report,
        ));
        let queue = catalog.get_or_add(target);
        for found in segments.found {
            queue.recover(found.entry);
        }
        let doubt = report.journal_unreadable || report.journal_bad_bytes > 0;
        for found in segments.deferred {
            let entry = found.entry;
            if records.deferred(entry.id).is_none() {
                let orphans = if doubt {
                    orphans(&**storage, &queue, records, &entry)?
                } else {
                    Ranges::default()
                };
                if orphans.is_empty() {
                    // A crash came before the checkpoint that would have named it.
                    storage.unlink(&entry.name)?;
                    report.removed += 1;
                    continue;
                }
                records.adopt(target, entry.id, entry.last(), orphans.ranges());
            }
            let child = Queue::new(target);
            child.recover(entry);
            queue.add_deferred(Arc::new(child));
        }
    }
    for loss in &losses {
        state.apply(loss);
    }
    state.windows = Some(Record::Windows {
        unflushed_bytes: config.writer.memory.get(),
        unsynced_bytes: config.writer.unsynced_bytes_max.get(),
    });
    for (target, records) in &state.targets {
        resume(&**storage, &catalog.get_or_add(*target), records)?;
    }
    for queue in catalog.all() {
        state.forget_below(queue.target, queue.first_held());
    }
    // A generation that no journal before can have had, not even one that was never renamed.
    let generation = u64::from(identity.epoch) << 32;
    let generation = generation.max(found.generation + 1);
    let begun = Journal::begin(storage.clone(), identity.store, generation, state.clone());
    let journal = match begun {
        Err(error) if error.is_disk_full() && found.generation > 0 => {
            let mut journal =
                Journal::go_on(storage.clone(), identity.store, Found { state, ..found })?;
            journal.append(&losses)?;
            journal
        }
        begun => begun?,
    };
    Ok(Recovered {
        lock,
        store: identity.store,
        epoch: identity.epoch,
        catalog,
        journal,
        report,
        last_created,
    })
}

fn lock(storage: &dyn Storage) -> Result<Lock> {
    let owner = format!("pid {}", std::process::id());
    storage
        .lock(file_name::LOCK, &owner)
        .map_err(|error| match error {
            LockError::Held { owner } => Error::Locked {
                path: storage.path(file_name::LOCK),
                owner,
            },
            LockError::Storage(error) => Error::Storage(error),
        })
}

fn refuse_newer(storage: &dyn Storage, found: &Found) -> Result<()> {
    let path = storage.path(file_name::JOURNAL);
    match (found.unreadable, found.refused) {
        (Some(source), _) if source.is_foreign() => Err(Error::Newer { path, source }),
        (_, Some(code)) => Err(Error::UnknownRecord { path, code }),
        _ => Ok(()),
    }
}

/// Sequences that a walk found missing, and that no record tells of yet.
fn new_losses(
    target: TargetId,
    found: &[segments::FoundSegment],
    known: &TargetRecords,
    environment: &Environment,
    report: &mut OpenReport,
) -> Vec<Record> {
    let mut losses = Vec::new();
    for segment in found {
        let last = segment.entry.last().max(segment.entry.first);
        let range = Range {
            first: segment.entry.first,
            last,
        };
        let told = known
            .losses
            .iter()
            .any(|loss| loss.range.first == range.first && loss.end != End::Rejected);
        for (end, count) in [(End::Damaged, segment.damaged), (End::Lost, segment.lost)] {
            if count > 0 && !told {
                let at = environment.clock.wall();
                losses.push(Record::Loss(Loss {
                    target,
                    range,
                    count,
                    end,
                    at,
                }));
            }
        }
        report.damaged += segment.damaged;
        report.lost += segment.lost;
    }
    losses
}

/// Hints of a deferred segment that no checkpoint names which are nowhere else: the record that
/// named it was damaged, and the segments that they came from are gone.
fn orphans(
    storage: &dyn Storage,
    queue: &Queue,
    records: &TargetRecords,
    entry: &Entry,
) -> Result<Ranges> {
    let checkpoint = records.present(queue.target);
    let holes = Ranges::of(&checkpoint.holes);
    let segments = queue.segments();
    let mut orphans = Ranges::default();
    count::each(storage, entry, |sequence, _, _| {
        let pending = sequence > checkpoint.up_to || holes.contains(sequence);
        let there = |entry: &Arc<Entry>| (entry.first..=entry.last()).contains(&sequence);
        if pending && !segments.iter().any(there) {
            orphans.add(sequence);
        }
    })?;
    Ok(orphans)
}

/// Puts a target's delivery where the journal says, and its books with it.
fn resume(storage: &dyn Storage, queue: &Arc<Queue>, records: &TargetRecords) -> Result<()> {
    let checkpoint = records.present(queue.target);
    let mut progress = queue.progress.lock();
    progress.resume(checkpoint.up_to, &checkpoint.holes);
    progress.ends = checkpoint.ends;
    progress.discards.clone_from(&records.discards);
    let mut pending = count_pending(storage, queue, &mut progress)?;
    for child in queue.deferred() {
        let mut progress = child.progress.lock();
        for entry in child.segments() {
            if let Some(deferred) = records.deferred(entry.id) {
                progress.resume(deferred.up_to, &deferred.holes);
            }
        }
        progress.discards.clone_from(&records.discards);
        pending += count_pending(storage, &child, &mut progress)?;
    }
    queue.found.store(pending + progress.ends.total(), SeqCst);
    progress.dirty = true;
    Ok(())
}

/// Counts what is left in a queue, and takes off its holes what is in no segment of it.
fn count_pending(storage: &dyn Storage, queue: &Queue, progress: &mut Progress) -> Result<u64> {
    let entries = queue.segments();
    // Holes in segments that are gone were ended by the records that retired them.
    let mut there = Ranges::default();
    for entry in &entries {
        for range in progress.unended.ranges() {
            let first = range.first.max(entry.first);
            let last = range.last.min(entry.last());
            if first <= last {
                there.insert(Range { first, last });
            }
        }
    }
    progress.again = there.clone();
    progress.unended = there;
    let mut pending = 0;
    for entry in &entries {
        let left = count::pending(storage, entry, progress)?;
        let all = entry.closed().map_or(0, |closed| closed.count);
        progress.count_in(entry.id, all.saturating_sub(left));
        pending += left;
    }
    Ok(pending)
}
