//! What is in the directory: facts of each file. Changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::resume_unwind,
    sync::Arc,
    thread,
};

use hintstore_env::{File, Info, Storage, StorageError};
use hintstore_format::{
    SegmentId, Sequence, TargetId, UnixMillis,
    block::Codec,
    descriptor::{Descriptor, Kind},
    file_name,
    footer::{Builder, Summary},
};
use hintstore_reader::{Inspected, Missing, Survey, inspect, survey};
use hintstore_writer::{Bytes, Closed, NOT_TORN, SegmentEntry, State};

use super::{
    cases::{Claims, Facts, Head, Name, Reading, RecoveryAction, Retired, Tail, case_of},
    identity::Identity,
};
use crate::{Result, journal::JournalState};

/// A file that was found.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) name: String,
    pub(super) facts: Facts,
    /// What is to be said of it besides its case.
    pub(super) why: String,
    /// What it holds, where it is a segment.
    pub(super) segment: Option<Box<FoundSegment>>,
}

/// How a segment that is not sealed gets its end.
#[derive(Debug)]
pub(super) enum Ending {
    /// It has one, or gets none.
    None,
    /// By its footer, with which the file does not end.
    Cut(Box<Summary>),
    /// By a footer of what the walk found, behind the blocks, which end here.
    Seal(Box<Builder>, u64),
}

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
    pub(super) kind: Kind,
    created: UnixMillis,
    /// No hint in it was accepted before.
    pub(super) accepted: UnixMillis,
    /// It had no footer.
    pub(super) walked: bool,
    pub(super) ending: Ending,
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

/// From this number of files on they are looked at side by side, and by how many threads.
const MANY: usize = 256;
const THREADS: usize = 4;

/// Without a store file to tell, an epoch beyond this is taken for nonsense: one bad file must not
/// use up the epochs.
const EPOCH_PLAUSIBLE: u32 = 1 << 23;

/// A file whose name claims a later time than this is somebody's joke.
const CREATED_PLAUSIBLE: UnixMillis = UnixMillis::new(253_402_300_800_000);

/// Looks at every file in the directory.
///
/// # Errors
/// The directory cannot be read, or the process has no descriptors or memory left: not the files'
/// fault, the same open later finds them whole.
pub(super) fn scan(scan: &Scan<'_>) -> Result<Vec<FoundFile>> {
    let mut found = Vec::new();
    let mut names = Vec::new();
    for entry in scan.storage.list("")? {
        let name = name_of(&entry.name, entry.is_directory);
        if name == Name::Segment {
            names.push(entry.name);
        } else {
            found.push(FoundFile {
                facts: Facts::of_name(name),
                name: entry.name,
                why: "not a file of this store".to_owned(),
                segment: None,
            });
        }
    }
    let segments = in_threads(&names, |name| scan.look(name));
    for segment in segments {
        found.push(segment?);
    }
    mark_copies(&mut found, scan.own);
    mark_replaced(&mut found);
    Ok(found)
}

fn name_of(name: &str, is_directory: bool) -> Name {
    let is_aside = is_directory && name == file_name::ASIDE;
    let is_segment = || {
        let named = file_name::parse_segment(name);
        named.is_some_and(|(_, created)| created < CREATED_PLAUSIBLE)
    };
    if file_name::CONTROL.contains(&name) || is_aside {
        Name::Control
    } else if is_directory {
        Name::Other
    } else if file_name::is_spare(name) {
        Name::Spare
    } else if is_segment() {
        Name::Segment
    } else {
        Name::Other
    }
}

/// Does the same for each item; where there are many, by several threads: the disk, and the kernel,
/// answer several at once.
pub(super) fn in_threads<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let look = |items: &[T]| items.iter().map(&each).collect::<Vec<R>>();
    if items.len() < MANY {
        return look(items);
    }
    thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(THREADS));
        let begin = |part| {
            let look = &look;
            let thread = thread::Builder::new().spawn_scoped(scope, move || look(part));
            (part, thread)
        };
        let threads: Vec<_> = parts.map(begin).collect();
        let results = threads.into_iter().flat_map(|(part, thread)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // The system gives no thread: it takes longer.
            Err(_) => look(part),
        });
        results.collect()
    })
}

pub(super) fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Scan<'_> {
    /// Looks at one file with the name of a segment.
    fn look(&self, name: &str) -> std::result::Result<FoundFile, StorageError> {
        let mut found = FoundFile {
            name: name.to_owned(),
            facts: Facts::of_name(Name::Segment),
            why: String::new(),
            segment: None,
        };
        match self.look_into(&mut found) {
            Ok(()) => {}
            Err(error) if error.is_exhausted() => return Err(error),
            Err(error) if error.is_missing() => found.facts.reading = Reading::Missing,
            Err(error) => {
                found.facts.reading = Reading::Failed;
                found.why = describe(&error);
            }
        }
        Ok(found)
    }

    fn look_into(&self, found: &mut FoundFile) -> std::result::Result<(), StorageError> {
        let facts = &mut found.facts;
        let file = self.storage.open(&found.name, false)?;
        let inspected = inspect(&*file)?;
        facts.head = match &inspected.descriptor {
            Ok(_) => Head::Whole,
            Err(error) if error.is_foreign() => {
                found.why = error.to_string();
                Head::OtherVersion
            }
            Err(_) if inspected.summary.is_none() && is_empty(&*file, &inspected)? => Head::Empty,
            Err(_) => Head::Broken,
        };
        let (id, kind) = match (&inspected.descriptor, &inspected.summary) {
            (Ok(of), _) => ((of.store, of.incarnation, of.segment), of.kind),
            (_, Some(of)) => ((of.store, of.incarnation, of.segment), of.kind),
            (Err(_), None) => return Ok(()),
        };
        facts.kind = kind;
        facts.retired = match self.journal.retired.get(&id) {
            Some((_, true)) => Retired::Damaged,
            Some((_, false)) => Retired::Delivered,
            None => Retired::No,
        };
        if inspected.summary.is_some() {
            facts.tail = Tail::Footer;
        }
        if kind == Kind::DeadLetters || facts.retired != Retired::No {
            // What else is in it makes no difference.
            return Ok(());
        }
        let segment = match (&inspected.descriptor, &inspected.summary) {
            (_, Some(summary)) => {
                // Compressed frames take less than their headers, and a broken descriptor does not say.
                let is_plain = match &inspected.descriptor {
                    Ok(descriptor) => descriptor.codec == Codec::Plain,
                    Err(_) => false,
                };
                facts.claims = self.claims(summary, is_plain.then_some(inspected.info.length));
                sealed(&found.name, &inspected, summary)
            }
            (Ok(descriptor), None) => {
                let survey = survey(&file, descriptor)?;
                let is_plain = descriptor.codec == Codec::Plain;
                let length = is_plain.then_some(inspected.info.length);
                facts.claims = self.claims(survey.summary(), length);
                facts.tail = tail_of(&survey, descriptor);
                walked(&found.name, descriptor, survey, facts.tail, inspected.info)
            }
            (Err(_), None) => return Ok(()),
        };
        found.segment = Some(Box::new(segment));
        Ok(())
    }

    /// Whether what a segment says of itself can be. Where it cannot, its checksums hold all the same,
    /// so it is another store's, or somebody made it; believed, it could end hints that others hold.
    /// `length` bounds the hints in it, where their frames lie in the file as they are.
    fn claims(&self, summary: &Summary, length: Option<u64>) -> Claims {
        let (first, last) = (summary.first, summary.last);
        let by_id = (summary.segment.get() >> Sequence::COUNT_BITS) as u32;
        let epoch = first.epoch().max(last.epoch()).max(by_id);
        match self.own {
            Some(own) if epoch > own.epoch => return Claims::LaterEpoch,
            None if epoch >= EPOCH_PLAUSIBLE => return Claims::LaterEpoch,
            _ => {}
        }
        let span = last.plus(1).get().checked_sub(first.get());
        let one_epoch =
            summary.kind != Kind::Hints || summary.count == 0 || first.epoch() == last.epoch();
        let fits = |span: u64| {
            let shortest = hintstore_format::frame::HEADER as u64;
            let bytes = summary.count.saturating_mul(shortest);
            summary.count <= span && length.is_none_or(|length| bytes <= length)
        };
        if first.epoch() > 0 && one_epoch && span.is_some_and(fits) {
            Claims::Plausible
        } else {
            Claims::Impossible
        }
    }
}

/// Whether nothing in a file without descriptor and footer was ever synced: it is too short for a
/// descriptor, or all zeros after a power cut.
fn is_empty(file: &dyn File, inspected: &Inspected) -> std::result::Result<bool, StorageError> {
    let short = inspected.info.length < hintstore_format::layout::descriptor::SIZE as u64;
    Ok(short || is_all_zeros(file)?)
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
        is_cut_short: false,
        damaged: descriptor.is_none(),
        // Of a broken descriptor nobody knows: it is not worth a try.
        codec: descriptor.map_or(Codec::Zstd, |descriptor| descriptor.codec),
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
        ending: Ending::None,
    }
}

/// What the walk says of the end of a segment.
fn tail_of(survey: &Survey, descriptor: &Descriptor) -> Tail {
    if survey.footer.is_some() {
        return Tail::FooterInside;
    }
    let in_doubt = survey.broken > 0 || survey.torn > 0 || survey.in_doubt.count() > 0;
    let unclear = is_damaged(survey) || in_doubt || !survey.holes.is_empty();
    // One that is to replace others is not known to be complete: they count.
    let replaces = !descriptor.replaces.is_empty();
    if unclear || replaces || survey.summary().count == 0 {
        Tail::BlocksInDoubt
    } else {
        Tail::WholeBlocks
    }
}

fn is_damaged(survey: &Survey) -> bool {
    survey.damaged.count() > 0 || survey.unreadable > 0
}

fn walked(
    name: &str,
    descriptor: &Descriptor,
    survey: Survey,
    tail: Tail,
    info: Info,
) -> FoundSegment {
    let summary = *survey.summary();
    let is_copy = descriptor.kind == Kind::Deferred;
    let first = if summary.blocks == 0 {
        descriptor.first
    } else {
        summary.first
    };
    // Of copies nothing was torn: they were synced as a whole before the journal named them.
    let is_unclear = tail == Tail::BlocksInDoubt && (summary.count > 0 || !survey.holes.is_empty());
    let closed = Closed {
        // Blocks whose hints cannot be read are there as well: delivery passes and books them.
        last: summary.last.max(survey.last()),
        count: match survey.footer {
            // It counted them when it was written.
            Some(_) => summary.count,
            None => summary.count + survey.unreadable + survey.torn,
        },
        end: match &survey.footer {
            Some(footer) => footer.summary.footer_at,
            None => survey.end,
        },
        synced_to: if is_copy { NOT_TORN } else { survey.synced_to },
        sealed: None,
        blocks_at: descriptor.length() as u64,
        is_cut_short: false,
        damaged: is_damaged(&survey) || (is_copy && is_unclear),
        codec: descriptor.codec,
        file: info.id(),
    };
    let ending = match tail {
        Tail::FooterInside => Ending::Cut(Box::new(summary)),
        Tail::WholeBlocks => Ending::Seal(Box::new(survey.builder), survey.end),
        Tail::Footer | Tail::BlocksInDoubt => Ending::None,
    };
    FoundSegment {
        entry: SegmentEntry {
            id: descriptor.segment,
            store: descriptor.store,
            incarnation: descriptor.incarnation,
            name: name.into(),
            first: first.min(descriptor.first),
            allocated: Bytes::new(info.allocated),
            state: State::Closed(Box::new(closed)),
        },
        damaged: survey.damaged,
        lost: survey.in_doubt,
        unreadable: [survey.unreadable_ranges, survey.torn_ranges],
        replaces: descriptor.replaces.clone(),
        kind: descriptor.kind,
        target: descriptor.target,
        created: descriptor.created,
        accepted: summary.accepted,
        walked: true,
        ending,
    }
}

/// Whether a file is to be read, as far as is known of it.
pub(super) fn is_read(file: &FoundFile) -> bool {
    let action = case_of(&file.facts).action();
    [
        RecoveryAction::Read,
        RecoveryAction::Seal,
        RecoveryAction::Cut,
    ]
    .contains(&action)
}

/// Of several files with one identity one counts: the others are copies that somebody made, or come
/// from a clone of the volume. Sorts the files by identity.
fn mark_copies(files: &mut [FoundFile], own: Option<Identity>) {
    let strangeness = |found: &FoundSegment| {
        let its_name = file_name::segment(found.target, found.created);
        (
            Some(found.entry.store) != own.map(|own| own.store),
            *found.entry.name != its_name,
        )
    };
    let key = |file: &FoundFile| {
        let segment = file.segment.as_deref().filter(|_| is_read(file));
        segment.map(|found| (found.entry.id, strangeness(found)))
    };
    files.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name)));
    let mut last: Option<(SegmentId, Arc<str>)> = None;
    for file in files {
        let Some(found) = file.segment.as_deref().filter(|_| is_read(file)) else {
            continue;
        };
        let (id, name) = (found.entry.id, found.entry.name.clone());
        match &last {
            Some((of, first)) if *of == id => {
                let text =
                    format!("has the number of {first}: a copy, or from a clone of this store");
                file.why = text;
                file.facts.is_copy = true;
            }
            _ => last = Some((id, name)),
        }
    }
}

/// Compaction writes a segment, then a checkpoint retires those that it replaces, then they are removed. Where
/// all of them are there, no checkpoint did: they count, with what the journal says of them, and the new
/// one does not. Where some are gone, or cannot be read, the new one counts, and what is to be kept of the
/// others is in it.
fn mark_replaced(files: &mut [FoundFile]) {
    let segments = files.iter().filter(|file| is_read(file));
    let segments = segments.filter_map(|file| file.segment.as_deref());
    let there: BTreeSet<(TargetId, SegmentId)> = segments
        .map(|found| (found.target, found.entry.id))
        .collect();
    for file in &mut *files {
        file.facts.is_unfinished = file.segment.as_deref().is_some_and(|found| {
            let is_there = |id: &SegmentId| there.contains(&(found.target, *id));
            !found.replaces.is_empty() && found.replaces.iter().all(is_there)
        });
    }
    let is_sealed = |file: &&FoundFile| is_read(file) && file.facts.tail == Tail::Footer;
    let segments = files.iter().filter(is_sealed);
    let segments = segments.filter_map(|file| file.segment.as_deref());
    let replaced: BTreeSet<(TargetId, SegmentId)> = segments
        .flat_map(|found| found.replaces.iter().map(|id| (found.target, *id)))
        .collect();
    for file in files {
        let of = |found: &FoundSegment| replaced.contains(&(found.target, found.entry.id));
        file.facts.is_replaced = file.segment.as_deref().is_some_and(of);
    }
}

impl Segments {
    /// Gives each target its segments, in order.
    pub(super) fn of(all: impl IntoIterator<Item = FoundSegment>) -> Self {
        let mut segments = Self::default();
        for found in all {
            segments.add(found);
        }
        for of in segments.targets.values_mut() {
            of.found
                .sort_by_key(|found| (found.entry.first, found.entry.id));
        }
        segments
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
            closed.is_cut_short = true;
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
