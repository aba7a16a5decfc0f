//! Which files are segments, and how far each came.

use std::{collections::BTreeMap, panic::resume_unwind, sync::Arc, thread};

use hintstore_env::{Existing, File, Info, Storage, StorageError};
use hintstore_format::{
    SegmentId, Sequence, TargetId, UnixMillis,
    descriptor::{Descriptor, Kind},
    file_name,
    footer::Summary,
};
use hintstore_reader::{Inspected, Missing, Survey, inspect, survey};
use hintstore_writer::{Bytes, Closed, NOT_TORN, SegmentEntry, State, cut, seal_found};

use super::{Foreign, OpenReport, identity::Identity};
use crate::{Result, journal::JournalState};

/// A segment that was found.
#[derive(Debug)]
pub(super) struct FoundSegment {
    pub(super) entry: SegmentEntry,
    pub(super) target: TargetId,
    /// Hints missing below what was known synced, delivered ones among them.
    pub(super) damaged: Missing,
    /// Hints missing above it.
    pub(super) lost: Missing,
    /// Hints that are there and cannot be read, below what was known synced and above it: delivery
    /// books their ends.
    pub(super) unreadable: [Missing; 2],
    replaces: Vec<SegmentId>,
    kind: Kind,
    created: UnixMillis,
    /// No hint in it was accepted before.
    pub(super) accepted: UnixMillis,
    /// It had no footer.
    walked: bool,
}

/// The segments of a target.
#[derive(Debug, Default)]
pub(super) struct TargetSegments {
    pub(super) found: Vec<FoundSegment>,
    /// Segments of copies that wait for a retry.
    pub(super) deferred: Vec<FoundSegment>,
    pub(super) last_created: Option<UnixMillis>,
}

/// All segments of a store.
#[derive(Debug, Default)]
pub(super) struct Segments {
    pub(super) targets: BTreeMap<TargetId, TargetSegments>,
    /// The greatest epoch in any sequence or segment id.
    pub(super) last_epoch: u32,
}

/// What is known before the files are looked at.
pub(super) struct Scan<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) journal: &'a JournalState,
    /// The store and its last epoch; nothing where its file was lost or restored.
    pub(super) own: Option<Identity>,
}

/// So many files are judged side by side, by so many threads.
const MANY: usize = 256;
const THREADS: usize = 4;

/// Without a store file to tell, an epoch beyond this is taken for nonsense: one bad file must not
/// use up the epochs.
const EPOCH_PLAUSIBLE: u32 = 1 << 23;

/// A file whose name claims a later time than this is somebody's joke.
const CREATED_PLAUSIBLE: UnixMillis = UnixMillis::new(253_402_300_800_000);

/// Looks at every file in the directory.
pub(super) fn find(scan: &Scan<'_>, report: &mut OpenReport) -> Result<Segments> {
    let mut segments = Segments::default();
    let mut all = Vec::new();
    let storage = scan.storage;
    let foreign = |name: String, why: String| Foreign {
        allocated: storage.info(&name).map_or(0, |info| info.allocated),
        name,
        why,
    };
    let mut names = Vec::new();
    for entry in storage.list("")? {
        let name = entry.name.as_str();
        if file_name::CONTROL.contains(&name) || (entry.is_directory && name == file_name::ASIDE) {
            continue;
        }
        if file_name::is_spare(name) && !entry.is_directory {
            storage.unlink(name)?;
            continue;
        }
        let named = file_name::parse_segment(name)
            .filter(|(_, created)| !entry.is_directory && *created < CREATED_PLAUSIBLE);
        if named.is_some() {
            names.push(entry.name);
        } else {
            let why = "not a file of this store".to_owned();
            report.foreign.push(foreign(entry.name, why));
        }
    }
    let verdicts = scan.judge_all(&names);
    for (name, verdict) in names.into_iter().zip(verdicts) {
        match verdict {
            Ok(FileVerdict::Segment(found)) => {
                if found.walked {
                    report.walked += 1;
                } else {
                    report.sealed += 1;
                }
                all.push(found);
            }
            Ok(FileVerdict::Foreign(why)) => report.foreign.push(foreign(name, why)),
            Ok(FileVerdict::Gone) => report.removed += 1,
            Ok(FileVerdict::SetAside) => report.set_aside.push(name),
            // Not the file's fault: the same open later finds it whole.
            Err(error) if error.is_exhausted() => return Err(error.into()),
            Err(error) => {
                // It stays for an operator. Left in its place, delivery would pass it, and a later
                // open that can read it would take its hints for delivered.
                report.unreadable.push((name.clone(), describe(&error)));
                if aside(storage, &name).is_ok() {
                    report.set_aside.push(name);
                }
            }
        }
    }
    segments.sort_out(all, scan, report);
    segments.drop_replaced(storage, report)?;
    Ok(segments)
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

enum FileVerdict {
    Segment(Box<FoundSegment>),
    Foreign(String),
    /// It was delivered before, or never filled, and is gone now.
    Gone,
    SetAside,
}

type ScanResult = std::result::Result<FileVerdict, StorageError>;

impl Scan<'_> {
    /// Looks at each of these files; where there are many, by several threads: the disk, and the
    /// kernel, answer several at once.
    fn judge_all(&self, names: &[String]) -> Vec<ScanResult> {
        let look = |names: &[String]| names.iter().map(|name| self.judge(name)).collect();
        if names.len() < MANY {
            return look(names);
        }
        thread::scope(|scope| {
            let parts = names.chunks(names.len().div_ceil(THREADS));
            let threads: Vec<_> = parts
                .map(|part| {
                    (
                        part,
                        thread::Builder::new().spawn_scoped(scope, move || look(part)),
                    )
                })
                .collect();
            let verdicts = threads.into_iter().flat_map(|(part, thread)| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // The system gives no thread: it takes longer.
                Err(_) => look(part),
            });
            verdicts.collect()
        })
    }

    fn judge(&self, name: &str) -> ScanResult {
        let storage = self.storage;
        let file = match storage.open(name, false) {
            Err(error) if error.is_missing() => return Ok(FileVerdict::Gone),
            file => file?,
        };
        let inspected = inspect(&*file)?;
        let (id, kind) = match (&inspected.descriptor, &inspected.summary) {
            (Ok(of), _) => ((of.store, of.incarnation, of.segment), of.kind),
            (_, Some(of)) => ((of.store, of.incarnation, of.segment), of.kind),
            (Err(error), None) if error.is_foreign() => {
                return Ok(FileVerdict::Foreign(format!("of a newer version: {error}")));
            }
            (Err(_), None) => return without_descriptor(storage, name, &*file, &inspected),
        };
        if kind == Kind::DeadLetters {
            let why = "dead letters, which belong in aside/: replay them with hintctl";
            return Ok(FileVerdict::Foreign(why.to_owned()));
        }
        if let Some((_, damaged)) = self.journal.retired.get(&id) {
            if *damaged {
                aside(storage, name)?;
            } else {
                storage.unlink(name)?;
            }
            return Ok(FileVerdict::Gone);
        }
        if let Some(summary) = inspected.summary {
            if let Some(why) = self.nonsense(&summary, inspected.info.length) {
                return self.refuse(name, why);
            }
            let found = sealed(name, &inspected, &summary);
            return Ok(FileVerdict::Segment(Box::new(found)));
        }
        let Ok(descriptor) = &inspected.descriptor else {
            return Ok(FileVerdict::SetAside);
        };
        // It is to be sealed. A file system that is mounted read-only has hints to deliver, too.
        let file = match storage.open(name, true) {
            Err(error) if error.is_exhausted() => return Err(error),
            writable => writable.unwrap_or(file),
        };
        let survey = survey(&file, descriptor)?;
        if let Some(why) = self.nonsense(survey.summary(), inspected.info.length) {
            return self.refuse(name, why);
        }
        let closed = end_of(storage, &file, descriptor, &survey, inspected.info);
        let allocated = Bytes::new(file.info()?.allocated);
        let found = walked(name, descriptor, &survey, closed, allocated);
        Ok(FileVerdict::Segment(Box::new(found)))
    }

    /// Why what a segment says of itself cannot be. Its checksums hold, so it is another store's,
    /// or somebody made it; believed, it could end hints that others hold.
    fn nonsense(&self, summary: &Summary, length: u64) -> Option<Nonsense> {
        let (first, last) = (summary.first, summary.last);
        let by_id = (summary.segment.get() >> Sequence::COUNT_BITS) as u32;
        let epoch = first.epoch().max(last.epoch()).max(by_id);
        match self.own {
            Some(own) if epoch > own.epoch => return Some(Nonsense::LaterEpoch),
            None if epoch >= EPOCH_PLAUSIBLE => return Some(Nonsense::LaterEpoch),
            _ => {}
        }
        let span = last.plus(1).get().checked_sub(first.get());
        let one_epoch =
            summary.kind != Kind::Hints || summary.count == 0 || first.epoch() == last.epoch();
        let fits = |span: u64| {
            let shortest = hintstore_format::frame::HEADER as u64;
            summary.count <= span && summary.count.saturating_mul(shortest) <= length
        };
        let whole = first.epoch() > 0 && one_epoch && span.is_some_and(fits);
        (!whole).then_some(Nonsense::Counts)
    }

    fn refuse(&self, name: &str, why: Nonsense) -> ScanResult {
        match why {
            Nonsense::LaterEpoch => Ok(FileVerdict::Foreign(
                "of a later epoch than this store has had: it comes from elsewhere".to_owned(),
            )),
            Nonsense::Counts => {
                aside(self.storage, name)?;
                Ok(FileVerdict::SetAside)
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Nonsense {
    LaterEpoch,
    Counts,
}

/// No descriptor, no footer. All zeros after a power cut, or too short for a descriptor: nothing
/// in it was ever synced. Anything else is kept for an operator.
fn without_descriptor(
    storage: &dyn Storage,
    name: &str,
    file: &dyn File,
    inspected: &Inspected,
) -> ScanResult {
    let short = inspected.info.length < hintstore_format::layout::descriptor::SIZE as u64;
    if short || is_all_zeros(file)? {
        storage.unlink(name)?;
        return Ok(FileVerdict::Gone);
    }
    aside(storage, name)?;
    Ok(FileVerdict::SetAside)
}

fn is_all_zeros(file: &dyn File) -> std::result::Result<bool, StorageError> {
    let mut piece = vec![0; 256 << 10];
    let mut at = 0;
    while let Some((start, end)) = file.next_data(at)? {
        at = at.max(start);
        while at < end {
            let want = piece.len().min((end - at) as usize);
            let read = file.read_at(piece.get_mut(..want).unwrap_or_default(), at)?;
            if piece.iter().take(read).any(|byte| *byte != 0) {
                return Ok(false);
            }
            if read == 0 {
                break;
            }
            at += read as u64;
        }
        at = at.max(end);
    }
    Ok(true)
}

/// Keeps a file for an operator, under its own name, or with a number behind it.
pub(crate) fn aside(storage: &dyn Storage, name: &str) -> std::result::Result<(), StorageError> {
    let mut to = format!("{}/{name}", file_name::ASIDE);
    let mut number = 1;
    loop {
        match storage.rename(name, &to, Existing::Keep) {
            Err(error) if error.is_taken() && number < 1000 => {
                number += 1;
                to = format!("{}/{name}.{number}", file_name::ASIDE);
            }
            done => break done?,
        }
    }
    storage.sync_directory(file_name::ASIDE)?;
    storage.sync_directory("")
}

fn sealed(name: &str, inspected: &Inspected, summary: &Summary) -> FoundSegment {
    // It is read by its footer; of a broken descriptor only the length is assumed.
    let descriptor = inspected.descriptor.as_ref().ok();
    let blocks_at = descriptor.map_or(hintstore_format::layout::descriptor::SIZE, |descriptor| {
        descriptor.length()
    });
    let closed = Closed {
        last: summary.last,
        count: summary.count,
        end: summary.footer_at,
        synced_to: summary.footer_at,
        sealed: Some(summary.into()),
        blocks_at: blocks_at as u64,
        damaged: descriptor.is_none(),
        file: inspected.info.id(),
    };
    FoundSegment {
        entry: SegmentEntry {
            id: summary.segment,
            store: summary.store,
            incarnation: summary.incarnation,
            name: name.into(),
            first: summary.first,
            allocated: Bytes::new(inspected.info.allocated),
            state: State::Closed(Box::new(closed)),
        },
        damaged: Missing::default(),
        lost: Missing::default(),
        unreadable: Default::default(),
        replaces: descriptor.map(|d| d.replaces.clone()).unwrap_or_default(),
        kind: summary.kind,
        target: summary.target,
        created: summary.created,
        accepted: summary.accepted,
        walked: false,
    }
}

fn walked(
    name: &str,
    descriptor: &Descriptor,
    survey: &Survey,
    closed: Closed,
    allocated: Bytes,
) -> FoundSegment {
    let first = if survey.summary().blocks == 0 {
        descriptor.first
    } else {
        survey.summary().first
    };
    FoundSegment {
        entry: SegmentEntry {
            id: descriptor.segment,
            store: descriptor.store,
            incarnation: descriptor.incarnation,
            name: name.into(),
            first: first.min(descriptor.first),
            allocated,
            state: State::Closed(Box::new(closed)),
        },
        damaged: survey.damaged.clone(),
        lost: survey.in_doubt.clone(),
        unreadable: [survey.unreadable_ranges.clone(), survey.torn_ranges.clone()],
        replaces: descriptor.replaces.clone(),
        kind: descriptor.kind,
        target: descriptor.target,
        created: descriptor.created,
        accepted: survey.summary().accepted,
        walked: true,
    }
}

/// Seals a segment that a crash left open, where the disk has room; else it is read by the walk.
fn end_of(
    storage: &dyn Storage,
    file: &Arc<dyn File>,
    descriptor: &Descriptor,
    survey: &Survey,
    info: Info,
) -> Closed {
    let summary = survey.summary();
    let damaged = survey.damaged.count() > 0 || survey.unreadable > 0;
    let mut closed = Closed {
        // Blocks whose hints cannot be read are there as well: delivery passes and books them.
        last: summary.last.max(survey.last()),
        count: match survey.footer {
            // It counted them when it was written.
            Some(_) => summary.count,
            None => summary.count + survey.unreadable + survey.torn,
        },
        end: survey.end,
        synced_to: match descriptor.kind {
            // It was synced as a whole before the journal named it.
            Kind::Deferred => NOT_TORN,
            _ => survey.synced_to,
        },
        sealed: None,
        blocks_at: descriptor.length() as u64,
        damaged,
        file: info.id(),
    };
    if let Some(footer) = &survey.footer {
        // The crash came between the footer and the cut: cut now, and it is sealed.
        let is_cut = cut(&**file, &footer.summary).is_ok();
        closed.sealed = is_cut.then_some((&footer.summary).into());
        closed.end = footer.summary.footer_at;
        return closed;
    }
    let in_doubt = survey.broken > 0 || survey.torn > 0 || survey.in_doubt.count() > 0;
    let unclear = damaged || in_doubt || !survey.holes.is_empty();
    // Nothing in it was torn.
    closed.damaged |= unclear && descriptor.kind == Kind::Deferred;
    if !unclear && survey.summary().count > 0 {
        let builder = survey.builder.clone();
        let sealed = seal_found(storage, &**file, builder, survey.end);
        closed.sealed = sealed.ok().as_ref().map(Into::into);
    }
    closed
}

impl Segments {
    /// Gives each target its segments. Of several files with one number one counts: the others are
    /// copies that somebody made, or come from a clone of the volume.
    #[expect(clippy::vec_box, reason = "they are sorted: what moves is small")]
    fn sort_out(
        &mut self,
        mut all: Vec<Box<FoundSegment>>,
        scan: &Scan<'_>,
        report: &mut OpenReport,
    ) {
        let own = scan.own.map(|own| own.store);
        let strangeness = |found: &FoundSegment| {
            let its_name = file_name::segment(found.target, found.created);
            (
                Some(found.entry.store) != own,
                *found.entry.name != its_name,
            )
        };
        all.sort_by(|a, b| {
            let by_id = a.entry.id.cmp(&b.entry.id);
            // Of one identity there is one file, but for what somebody copied.
            by_id
                .then_with(|| strangeness(a).cmp(&strangeness(b)))
                .then_with(|| a.entry.name.cmp(&b.entry.name))
        });
        let mut last: Option<(SegmentId, Arc<str>)> = None;
        for found in all {
            if let Some((id, name)) = &last
                && *id == found.entry.id
            {
                report.foreign.push(Foreign {
                    name: found.entry.name.as_ref().into(),
                    allocated: found.entry.allocated.get(),
                    why: format!("has the number of {name}: a copy, or from a clone of this store"),
                });
                continue;
            }
            last = Some((found.entry.id, found.entry.name.clone()));
            self.add(*found);
        }
    }

    fn add(&mut self, found: FoundSegment) {
        let by_id = (found.entry.id.get() >> Sequence::COUNT_BITS) as u32;
        let epochs = [found.entry.first.epoch(), found.entry.last().epoch(), by_id];
        self.last_epoch = epochs.into_iter().fold(self.last_epoch, u32::max);
        let of = self.targets.entry(found.target).or_default();
        let named = file_name::parse_segment(&found.entry.name).map(|(_, created)| created);
        of.last_created = of.last_created.max(named);
        match found.kind {
            Kind::Deferred => of.deferred.push(found),
            Kind::Hints | Kind::DeadLetters => of.found.push(found),
        }
    }

    /// Removes segments whose replacement is there and sealed: a crash came between the two.
    fn drop_replaced(&mut self, storage: &dyn Storage, report: &mut OpenReport) -> Result<()> {
        for segments in self.targets.values_mut() {
            let whole = |found: &&FoundSegment| {
                found
                    .entry
                    .closed()
                    .is_some_and(|closed| closed.sealed.is_some())
            };
            let replaced: Vec<SegmentId> = segments
                .found
                .iter()
                .filter(whole)
                .flat_map(|f| f.replaces.clone())
                .collect();
            for found in segments
                .found
                .iter()
                .filter(|f| replaced.contains(&f.entry.id))
            {
                storage.unlink(&found.entry.name)?;
                report.removed += 1;
            }
            segments
                .found
                .retain(|found| !replaced.contains(&found.entry.id));
            segments
                .found
                .sort_by_key(|found| (found.entry.first, found.entry.id));
        }
        Ok(())
    }
}

/// Where a failed sync moved hints into the next segment, both hold them. They are taken from the
/// next if that has all of them; else (a crash came while they were moved) from the first.
pub(super) fn limit_overlaps(found: &mut [FoundSegment]) {
    let next: Vec<_> = found
        .iter()
        .skip(1)
        .map(|f| (f.entry.first, f.entry.last()))
        .collect();
    for (segment, (first, last)) in found.iter_mut().zip(next) {
        if let State::Closed(closed) = &mut segment.entry.state
            && closed.last >= first
            && last >= closed.last
        {
            let held = first.get().saturating_sub(segment.entry.first.get());
            closed.last = first.before();
            closed.count = closed.count.min(held);
        }
    }
    // What the first keeps after all, the next does not count: if the first has all of it. One
    // with gaps proves nothing, and the next is set aside when delivery has passed it.
    let mut upto = Sequence::ZERO;
    let mut whole = false;
    for segment in found {
        if let State::Closed(closed) = &mut segment.entry.state {
            let within = segment.entry.first <= upto && closed.last > segment.entry.first.before();
            if within && whole {
                let kept = closed.last.get().saturating_sub(upto.get());
                closed.count = closed.count.min(kept);
                segment.entry.first = upto.plus(1);
            }
            if closed.last >= upto {
                let span = closed
                    .last
                    .plus(1)
                    .get()
                    .saturating_sub(segment.entry.first.get());
                whole = closed.count >= span;
            }
            upto = upto.max(closed.last);
        }
    }
}
