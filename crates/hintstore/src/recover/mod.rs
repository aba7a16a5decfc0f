//! Opening a store: lock → look → cases → apply → books → a new journal → identity.
//!
//! `scan` gathers the facts of each file and changes nothing; `cases` is the table that says what each is;
//! `apply` does it; `deferred` and `count` add up what is pending. A dry run is the same without `apply`.
//!
//! Opening always ends, with a store or with an error that says what to do. One bad file degrades
//! the report and nothing else. It needs no free space, and doing it twice is doing it once.

mod apply;
mod cases;
mod count;
mod deferred;
mod identity;
mod scan;

pub use cases::{RecoveryAction, RecoveryCase};

pub(crate) use apply::aside;
pub(crate) use count::each as each_hint;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use hintstore_env::{Clock, Lacks, Lock, LockError, Storage};
use hintstore_format::{
    Incarnation, Sequence, StoreId, TargetId, UnixMillis,
    expiry::is_dead,
    file_name, frame,
    journal::{Cause, End, Losses, MissingHints, Range, Record},
};
use hintstore_reader::Missing;
use hintstore_writer::{Budget, Bytes, SegmentEntry};

use self::{
    identity::StoreFile,
    scan::{FoundFile, Segments},
};
use crate::{
    Compact, Compaction, Config, Environment, Error, Result,
    compact::Choice,
    expire::{Fences, Now, fence_end},
    journal::{Found, Journal, JournalState, TargetRecords},
    loss::{self, Unread},
    target::{FoundTarget, Ranges},
};

/// A file that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Foreign {
    /// Its name.
    pub name: String,
    /// Bytes that it takes.
    pub allocated: u64,
    /// What is known of it.
    pub why: String,
}

/// Bytes of accepted hints that were not safe yet, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AtRisk {
    /// In memory: a crash of the process takes these.
    pub unflushed: Bytes,
    /// With the kernel: a power cut takes these as well.
    pub unsynced: Bytes,
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenReport {
    /// Segments that ended in their footer.
    pub sealed: usize,
    /// Segments that had to be walked.
    pub walked: usize,
    /// Files that were removed: retired before, or never filled.
    pub removed: usize,
    /// Files that were set aside: their descriptor cannot be read.
    pub set_aside: Vec<String>,
    /// Files that were left alone: not ours, or of another version.
    pub foreign: Vec<Foreign>,
    /// Hints that are missing, or cannot be read, below what was known synced. Frames there are not
    /// checked before they are delivered: [`End::Damaged`] in the books may come to more.
    pub damaged: u64,
    /// Such hints above it: lost at the crash, or damaged.
    pub lost: u64,
    /// Bytes in the journal that are no record.
    pub journal_bad_bytes: u64,
    /// The journal could not be read: what was delivered before is delivered again.
    pub journal_unreadable: bool,
    /// What a crash of the process before can have cost at most, in hints that were accepted below
    /// the level that covers it: nothing where it closed in peace.
    pub lost_at_most: Option<AtRisk>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<(String, String)>,
    /// The directory was copied or restored: the store drew a new identity.
    pub new_identity: bool,
    /// Operations that the file system does not have: without the sync of directories, a power cut may
    /// take files whose hints were acknowledged as `Durable`.
    pub lacks: Lacks,
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
        write!(f, "{damaged} hints damaged, {lost} lost at a crash")?;
        for (name, why) in &self.unreadable {
            write!(f, "; cannot read {name}: {why}")?;
        }
        if self.lacks.directory_sync {
            f.write_str("; the file system cannot sync directories")?;
        }
        if self.journal_unreadable {
            f.write_str("; no journal: what was delivered before is delivered again")?;
        }
        Ok(())
    }
}

/// A store that is ready, without its background steps.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) lock: Lock,
    pub(crate) store: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: u32,
    pub(crate) targets: BTreeMap<TargetId, FoundTarget>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) journal: Journal,
    pub(crate) report: OpenReport,
    /// No hint that was found was accepted before.
    pub(crate) earliest_accepted: Option<UnixMillis>,
    /// Bytes of foreign files, as they were when the store was opened.
    pub(crate) foreign_bytes: u64,
    /// Bytes of files that are set aside.
    pub(crate) aside_bytes: u64,
}

/// What there is before anything is done about it.
struct Looked {
    store_file: Option<StoreFile>,
    journal: Found,
    files: Vec<FoundFile>,
}

/// Looks at the directory. Changes nothing.
fn look(storage: &dyn Storage) -> Result<Looked> {
    let store_file = StoreFile::read(storage)?;
    let own = store_file.and_then(|file| file.own());
    let journal = crate::journal::read(storage)?.of_store(own.map(|own| own.store));
    refuse_other_version(storage, &journal)?;
    let files = scan::scan(&scan::Scan {
        storage,
        journal: &journal.state,
        own,
    })?;
    Ok(Looked {
        store_file,
        journal,
        files,
    })
}

/// The books of a store that is being opened.
struct Books {
    draft: JournalDraft,
    targets: BTreeMap<TargetId, FoundTarget>,
    budget: Budget,
    /// No hint that was found was accepted before.
    earliest_accepted: Option<UnixMillis>,
    /// Segments of copies that are not needed.
    unneeded: Vec<Arc<str>>,
}

/// Adds up what segments and journal say of each target. Changes nothing on the disk.
fn add_up(
    storage: &dyn Storage,
    clock: &dyn Clock,
    journal: &mut Found,
    segments: Segments,
    report: &mut OpenReport,
) -> Result<Books> {
    let mut draft = JournalDraft {
        state: std::mem::take(&mut journal.state),
        records: Vec::new(),
    };
    // The files of retired segments are gone by now; their records go with the next rotation.
    draft.state.note_all_unlinked();
    // The journal may have said more than can be read of it.
    let doubt = report.journal_unreadable || journal.torn_at.is_some() || journal.bad_bytes > 0;
    // Where a file cannot be read, what was moved out of it without a checkpoint may be nowhere else.
    let doubt = doubt || !report.unreadable.is_empty() || !report.set_aside.is_empty();
    let all = segments.targets.values();
    let all = all.flat_map(|of| of.found.iter().chain(&of.deferred));
    let earliest_accepted = all.map(|found| found.accepted).min();
    // Also those that are known from the journal alone.
    let mut targets = segments.targets;
    for target in draft.state.targets.keys() {
        targets.entry(*target).or_default();
    }
    let mut books = Books {
        draft,
        targets: BTreeMap::new(),
        budget: Budget::default(),
        earliest_accepted,
        unneeded: Vec::new(),
    };
    for (target, mut segments) in targets {
        let mut of = FoundTarget {
            last_created: segments.last_created,
            ..FoundTarget::default()
        };
        scan::limit_overlaps(&mut segments.found);
        let unread = Unread {
            storage,
            clock,
            target,
        };
        tell_losses(&unread, &segments.found, &mut books.draft, report);
        // What waits in deferred segments is older than what is behind it.
        let deferred = segments.deferred.iter();
        let mut accepted: Vec<_> = deferred
            .map(|found| (found.entry.first, found.accepted))
            .collect();
        accepted.sort_unstable();
        let own = segments.found.iter();
        accepted.extend(own.map(|found| (found.entry.first, found.accepted)));
        for (first, accepted) in accepted {
            of.ages.note(first, accepted, Duration::ZERO);
        }
        for found in segments.found {
            books.budget.add(&of.usage, found.entry.allocated);
            of.backlog.segments.add(found.entry);
        }
        let mut recovery = deferred::Recovery {
            storage,
            clock,
            target,
            found: &mut of,
            draft: &mut books.draft,
            report: &mut *report,
            unneeded: &mut books.unneeded,
        };
        recovery.run(segments.deferred, doubt, &books.budget)?;
        books.targets.insert(target, of);
    }
    for (target, records) in &books.draft.state.targets {
        let found = books.targets.entry(*target).or_default();
        resume(storage, *target, found, records)?;
    }
    Ok(books)
}

/// What opening would make of one file: see [`crate::inspect::plan_recovery`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedFile {
    /// Its name.
    pub name: String,
    /// Which case it is.
    pub case: RecoveryCase,
    /// What would be done.
    pub action: RecoveryAction,
    /// What is known besides; empty for nothing.
    pub why: String,
}

/// What opening a store would do: see [`crate::inspect::plan_recovery`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryPlan {
    /// Each file, in the order of their names.
    pub files: Vec<PlannedFile>,
    /// What opening would report.
    pub report: OpenReport,
}

/// What is known of a store without opening it.
struct Seen {
    files: Vec<PlannedFile>,
    report: OpenReport,
    books: Books,
}

/// Goes through the table of cases, and does nothing of what it says.
fn see(storage: &dyn Storage, clock: &dyn Clock) -> Result<Seen> {
    let mut looked = look(storage)?;
    let mut report = OpenReport::default();
    let mut files = Vec::new();
    let mut read = Vec::new();
    for file in looked.files {
        report.note(storage, &file, true);
        let case = cases::case_of(&file.facts);
        files.push(PlannedFile {
            name: file.name.clone(),
            case,
            action: case.action(),
            why: file.why.clone(),
        });
        if scan::is_read(&file) {
            read.extend(file.segment.map(|found| *found));
        }
    }
    report.note_store(
        looked.store_file.as_ref(),
        &looked.journal,
        !read.is_empty(),
    );
    let segments = Segments::of(read);
    if let Some(store_file) = looked.store_file {
        let seen = segments.last_epoch.max(looked.journal.epoch());
        store_file.next_epoch(storage, seen)?;
    }
    let books = add_up(storage, clock, &mut looked.journal, segments, &mut report)?;
    Ok(Seen {
        files,
        report,
        books,
    })
}

/// What opening would do.
pub(crate) fn plan(storage: &dyn Storage, clock: &dyn Clock) -> Result<RecoveryPlan> {
    let Seen {
        mut files,
        report,
        books,
    } = see(storage, clock)?;
    for file in &mut files {
        if books.unneeded.iter().any(|name| **name == *file.name) {
            file.action = RecoveryAction::Remove;
            file.why = "no checkpoint names these copies".to_owned();
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(RecoveryPlan { files, report })
}

/// What a compaction would do, right after opening.
pub(crate) fn plan_compact(
    storage: &dyn Storage,
    clock: &dyn Clock,
    config: &Config,
    what: &Compact,
) -> Result<Compaction> {
    let books = see(storage, clock)?.books;
    let fences = Fences::default();
    fences.set(books.draft.state.fences());
    let choice = Choice {
        storage,
        policy: &config.policy(),
        fences: &fences,
        now: Now::of(clock.wall()),
        rule: what.rule(config),
        last_write_wins: &config.last_write_wins,
        pace: &|_| true,
    };
    let of = |id: &TargetId| what.target.is_none_or(|only| only == *id);
    let targets = books.targets.iter().filter(|(id, _)| of(id));
    Ok(choice.plan(targets.map(|(id, found)| (*id, &found.backlog))))
}

/// Opens what is there.
pub(crate) fn recover(environment: &Environment, config: &Config) -> Result<Recovered> {
    let storage = &environment.storage;
    storage.make_directory("")?;
    let lock = lock(&**storage)?;
    storage.make_directory(file_name::ASIDE)?;
    let mut report = OpenReport::default();
    let Looked {
        store_file,
        mut journal,
        files,
    } = look(&**storage)?;
    if store_file.is_some() {
        // One that cannot be written is noticed before anything is changed.
        drop(storage.open(file_name::STORE, true)?);
    }
    let segments = Segments::of(apply::apply(&**storage, files, &mut report)?);
    let has_segments = !segments.targets.is_empty();
    report.note_store(store_file.as_ref(), &journal, has_segments);
    let store_file = match store_file {
        Some(store_file) => store_file,
        None => StoreFile::make(&**storage)?,
    };
    let incarnation = identity::incarnation(environment);
    let identity = store_file.next(environment, segments.last_epoch.max(journal.epoch()))?;
    let clock = &*environment.clock;
    let mut books = add_up(&**storage, clock, &mut journal, segments, &mut report)?;
    apply::remove(&**storage, &books.unneeded)?;
    if let Some(at_risk) = report.lost_at_most {
        let bytes = at_risk.unflushed.get() + at_risk.unsynced.get();
        let hints = bytes / frame::HEADER as u64;
        let loss = loss::of_unknown(None, hints, bytes, Cause::Crash, clock.wall());
        books.draft.add(Record::Loss(loss));
    }
    // What is in files that cannot be read at all counts nowhere.
    let unreadable = report.unreadable.iter().map(|(name, _)| name);
    for name in report.set_aside.iter().chain(unreadable) {
        if let Some((target, _)) = file_name::parse_segment(name) {
            let now = clock.wall();
            let any = loss::of_unknown(Some(target), u64::MAX, u64::MAX, Cause::Damaged, now);
            books.draft.add(Record::Loss(any));
        }
    }
    if report.journal_unreadable || report.journal_bad_bytes > 0 {
        // Receipts may be gone with them.
        let any = loss::of_unknown(None, u64::MAX, u64::MAX, Cause::Damaged, clock.wall());
        books.draft.add(Record::Loss(any));
    }
    books.draft.add(config.windows());
    let JournalDraft { mut state, records } = books.draft;
    for (target, found) in &books.targets {
        state.forget_below(*target, found.first_held());
    }
    // By the last time that was confirmed: what is over now is over then.
    if let Some((wall, ..)) = state.clock {
        let policy = config.policy();
        let is_over = |of, before| is_dead(fence_end(&policy, of, before), wall);
        state.forget_fences(is_over);
    }
    // Greater than that of any journal before.
    let generation = u64::from(identity.epoch) << 32;
    let generation = generation.max(journal.generation.saturating_add(1));
    let begun = Journal::begin(
        storage.clone(),
        identity.store,
        incarnation,
        generation,
        state,
    );
    let journal = match begun {
        Err(error) if error.is_disk_full() && journal.generation > 0 => {
            let mut journal = Journal::go_on(storage.clone(), identity.store, incarnation)?;
            // As anywhere: receipts are durable before what they tell of counts as ended.
            let is_loss = |record: &Record| matches!(record, Record::Loss(_));
            let (losses, others): (Vec<_>, Vec<_>) = records.into_iter().partition(is_loss);
            journal.append(&losses)?;
            journal.append(&others)?;
            journal
        }
        begun => begun?,
    };
    // Beginning the journal has synced the directory: what is missing is known.
    report.lacks = storage.lacks();
    if report.lacks.directory_sync && config.require_directory_sync {
        return Err(Error::NoDirectorySync {
            path: storage.path(""),
        });
    }
    // Last: a crash before it draws another identity, or passes over an epoch, and nothing else.
    store_file.begin(&**storage, identity)?;
    Ok(Recovered {
        lock,
        store: identity.store,
        incarnation,
        epoch: identity.epoch,
        targets: books.targets,
        budget: Arc::new(books.budget),
        journal,
        foreign_bytes: report.foreign.iter().map(|found| found.allocated).sum(),
        aside_bytes: aside_bytes(&**storage)?,
        report,
        earliest_accepted: books.earliest_accepted,
    })
}

impl OpenReport {
    /// Says what store file and journal tell.
    fn note_store(&mut self, store_file: Option<&StoreFile>, journal: &Found, has_segments: bool) {
        self.journal_bad_bytes = journal.bad_bytes;
        // A journal is made before the first segment: where one is missing, it was taken away.
        self.journal_unreadable = journal.unreadable.is_some()
            || journal.is_foreign
            || (journal.is_missing && has_segments);
        let windows = journal.state.windows();
        self.lost_at_most = windows.filter(|windows| *windows != AtRisk::default());
        let is_own = store_file.is_some_and(|file| file.own().is_some());
        let had_another = store_file.is_some_and(StoreFile::is_copied) || has_segments;
        self.new_identity = !is_own && had_another;
    }
}

/// What the journal says, and what opening has to add to it.
struct JournalDraft {
    state: JournalState,
    records: Vec<Record>,
}

impl JournalDraft {
    fn add(&mut self, record: Record) {
        self.state.apply(&record);
        self.records.push(record);
    }

    fn lose(&mut self, losses: &Losses) {
        for loss in losses.iter() {
            self.add(Record::Loss(*loss));
        }
    }

    fn of(&mut self, target: TargetId) -> &TargetRecords {
        self.state.targets.entry(target).or_default()
    }
}

/// What is set aside.
pub(crate) fn aside_bytes(storage: &dyn Storage) -> hintstore_env::Result<u64> {
    let mut bytes = 0;
    for entry in storage.list(file_name::ASIDE)? {
        let info = storage.info(&format!("{}/{}", file_name::ASIDE, entry.name));
        bytes += info.map_or(0, |info| info.allocated);
    }
    Ok(bytes)
}

/// What the store file, its lock and its journals take.
pub(crate) fn control_bytes(storage: &dyn Storage) -> u64 {
    let files = file_name::CONTROL.into_iter();
    let taken = files.filter_map(|name| Some(storage.info(name).ok()?.allocated));
    taken.sum()
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

fn refuse_other_version(storage: &dyn Storage, found: &Found) -> Result<()> {
    let path = storage.path(file_name::JOURNAL);
    match (found.unreadable, found.refused) {
        (Some(source), _) if source.is_foreign() => Err(Error::OtherVersion { path, source }),
        (_, Some(code)) => Err(Error::UnknownRecord { path, code }),
        _ => Ok(()),
    }
}

/// Pending hints that a walk found missing, and that no record tells of yet.
fn tell_losses(
    unread: &Unread<'_>,
    found: &[scan::FoundSegment],
    draft: &mut JournalDraft,
    report: &mut OpenReport,
) {
    let target = unread.target;
    let checkpoint = draft.of(target).present(target);
    let holes = Ranges::of(&checkpoint.holes);
    // What was delivered or discarded before it was damaged has ended already.
    let discarded = draft.of(target).discarded_to();
    let pending = |missing: &Missing, entry: &SegmentEntry| {
        // What a failed sync moved is in the next segment.
        let (first, last) = (entry.first, entry.last());
        let all = Ranges::of(&missing.ranges).and(&Ranges::of(&[Range { first, last }]));
        let mut behind = all.clone();
        behind.remove(Range {
            first: Sequence::ZERO,
            last: checkpoint.up_to,
        });
        behind.join(&all.and(&holes));
        behind.remove(Range {
            first: Sequence::ZERO,
            last: discarded,
        });
        behind.count() + missing.more
    };
    for segment in found {
        let pending = |missing: &Missing| pending(missing, &segment.entry);
        let (damaged, lost) = (pending(&segment.damaged), pending(&segment.lost));
        let last = segment.entry.last().max(segment.entry.first);
        let range = Range {
            first: segment.entry.first,
            last,
        };
        let mut known = draft.of(target).missing.iter();
        let known = known.any(|missing| missing.range.first == range.first);
        for (end, count) in [(End::Damaged, damaged), (End::Lost, lost)] {
            if count > 0 && !known {
                let at = unread.clock.wall();
                draft.add(Record::Missing(MissingHints {
                    target,
                    range,
                    count,
                    end,
                    at,
                }));
                if let Some(cause) = Cause::of(end) {
                    draft.lose(&unread.of_segment(&segment.entry, count, cause));
                }
            }
        }
        let [unreadable, torn] = segment.unreadable.each_ref().map(pending);
        report.damaged += damaged + unreadable;
        report.lost += lost + torn;
    }
}

/// Puts a target's delivery where the journal says, and its books with it.
fn resume(
    storage: &dyn Storage,
    target: TargetId,
    found: &mut FoundTarget,
    records: &TargetRecords,
) -> Result<()> {
    let checkpoint = records.present(target);
    let mut progress = found.backlog.progress.lock();
    progress.resume(checkpoint.up_to, &checkpoint.holes);
    progress.ends = checkpoint.ends;
    progress.resume_discards(&records.all_discards());
    let mut pending = 0;
    // Holes in segments that are gone were ended by the records that retired them, those that were
    // discarded by the record of that, and those that a walk found missing by that of the loss.
    let mut there = Ranges::default();
    for entry in &found.backlog.segments.all() {
        let left = count::pending(storage, entry, &progress, count::Broken::Pending)?;
        pending += count::book(entry, &left, &mut progress, &mut there);
    }
    progress.again = there.clone();
    progress.unended = there;
    for child in &found.deferred {
        let progress = child.progress.lock();
        let segments = child.segments.all();
        pending += segments.iter().map(|e| progress.pending_in(e)).sum::<u64>();
    }
    progress.dirty = true;
    found.accepted = pending + progress.ends.total();
    Ok(())
}
