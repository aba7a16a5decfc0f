//! Which files are segments, and how far each came.

use std::{collections::BTreeMap, io::IoSlice, sync::Arc};

use hintstore_format::{
    SegmentId, TargetId, UnixMillis,
    descriptor::{Descriptor, Kind},
    file_name,
    footer::Summary,
    layout::{SECTOR, align_up},
};
use hintstore_reader::{Inspected, Survey, inspect, survey};
use hintstore_storage::{Existing, File, Storage};

use super::{Foreign, OpenReport};
use crate::{
    Result,
    catalog::{Closed, Entry, State},
    journal::JournalState,
};

/// A segment that was found.
#[derive(Debug)]
pub(super) struct FoundSegment {
    pub(super) entry: Entry,
    /// Hints missing below what was known synced.
    pub(super) damaged: u64,
    /// Hints missing above it.
    pub(super) lost: u64,
    replaces: Vec<SegmentId>,
    kind: Kind,
}

/// The segments of a target.
#[derive(Debug)]
pub(super) struct TargetSegments {
    pub(super) found: Vec<FoundSegment>,
    /// Segments of copies that wait for a retry.
    pub(super) deferred: Vec<FoundSegment>,
    pub(super) last_created: UnixMillis,
}

/// All segments of a store.
#[derive(Debug, Default)]
pub(super) struct Segments {
    pub(super) targets: BTreeMap<TargetId, TargetSegments>,
    /// The greatest epoch in any sequence or segment id.
    pub(super) last_epoch: u32,
    /// There was any.
    pub(super) any: bool,
}

/// Looks at every file in the directory.
pub(super) fn find(
    storage: &dyn Storage,
    journal: &JournalState,
    report: &mut OpenReport,
) -> Result<Segments> {
    let mut segments = Segments::default();
    let ours = [
        file_name::STORE,
        file_name::LOCK,
        file_name::JOURNAL,
        file_name::JOURNAL_NEW,
    ];
    for entry in storage.list("")? {
        let name = entry.name.as_str();
        if ours.contains(&name) || (entry.is_directory && name == file_name::ASIDE) {
            continue;
        }
        if file_name::is_spare(name) {
            storage.unlink(name)?;
            continue;
        }
        let foreign = |why: &str| Foreign {
            name: name.to_owned(),
            allocated: entry.info.allocated,
            why: why.to_owned(),
        };
        let Some((target, created)) =
            file_name::parse_segment(name).filter(|_| !entry.is_directory)
        else {
            report.foreign.push(foreign("not a file of this store"));
            continue;
        };
        match look(storage, name, journal, report) {
            Ok(Looked::Segment(found)) => segments.add(target, created, *found),
            Ok(Looked::Foreign(why)) => report.foreign.push(foreign(&why)),
            Ok(Looked::Gone) => report.removed += 1,
            Ok(Looked::SetAside) => report.set_aside.push(name.to_owned()),
            Err(error) => report.unreadable.push((name.to_owned(), describe(&error))),
        }
    }
    segments.drop_replaced(storage, report)?;
    Ok(segments)
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

enum Looked {
    Segment(Box<FoundSegment>),
    Foreign(String),
    Gone,
    SetAside,
}

fn look(
    storage: &dyn Storage,
    name: &str,
    journal: &JournalState,
    report: &mut OpenReport,
) -> Result<Looked> {
    let file = match storage.open(name, true) {
        Err(error) if error.is_missing() => return Ok(Looked::Gone),
        // A file system that is mounted read-only still has hints to deliver.
        Err(_) => storage.open(name, false)?,
        Ok(file) => file,
    };
    let inspected = inspect(&*file)?;
    let id = match (&inspected.descriptor, &inspected.summary) {
        (Ok(descriptor), _) => descriptor.segment,
        (_, Some(summary)) => summary.segment,
        (Err(error), None) if error.is_foreign() => {
            return Ok(Looked::Foreign(format!("of a newer version: {error}")));
        }
        (Err(_), None) => return without_descriptor(storage, name, &*file, &inspected),
    };
    if let Some((_, damaged)) = journal.retired.get(&id) {
        if *damaged {
            aside(storage, name)?;
        } else {
            storage.unlink(name)?;
        }
        return Ok(Looked::Gone);
    }
    if let Some(summary) = inspected.summary {
        report.sealed += 1;
        return Ok(Looked::Segment(Box::new(sealed(
            name, &inspected, &summary,
        ))));
    }
    let Ok(descriptor) = &inspected.descriptor else {
        return Ok(Looked::SetAside);
    };
    report.walked += 1;
    let survey = survey(&file, descriptor)?;
    let closed = end_of(storage, &file, descriptor, &survey);
    Ok(Looked::Segment(Box::new(walked(
        name, descriptor, &survey, closed,
    ))))
}

/// No descriptor, no footer. All zeros after a power cut, or too short for a descriptor: nothing
/// in it was ever synced. Anything else is kept for an operator.
fn without_descriptor(
    storage: &dyn Storage,
    name: &str,
    file: &dyn File,
    inspected: &Inspected,
) -> Result<Looked> {
    let mut head = [0; 4096];
    let read = file.read_at(&mut head, 0)?;
    let zeros = head.iter().take(read).all(|byte| *byte == 0);
    let short = inspected.info.length < hintstore_format::layout::descriptor::SIZE as u64;
    if zeros || short {
        storage.unlink(name)?;
        return Ok(Looked::Gone);
    }
    aside(storage, name)?;
    Ok(Looked::SetAside)
}

fn aside(storage: &dyn Storage, name: &str) -> Result<()> {
    let to = format!("{}/{name}", file_name::ASIDE);
    storage.rename(name, &to, Existing::Keep)?;
    storage.sync_directory(file_name::ASIDE)?;
    Ok(())
}

fn sealed(name: &str, inspected: &Inspected, summary: &Summary) -> FoundSegment {
    let descriptor = inspected.descriptor.as_ref().ok();
    let blocks_at = descriptor.map_or(hintstore_format::layout::descriptor::SIZE, |descriptor| {
        descriptor.length()
    });
    let closed = Closed {
        last: summary.last,
        count: summary.count,
        end: summary.footer_at,
        synced_to: summary.footer_at,
        sealed: Some(*summary),
        blocks_at: blocks_at as u64,
        damaged: descriptor.is_none(),
    };
    FoundSegment {
        entry: Entry {
            id: summary.segment,
            store: summary.store,
            name: name.to_owned(),
            first: summary.first,
            state: State::Closed(closed),
        },
        damaged: 0,
        lost: 0,
        replaces: descriptor.map(|d| d.replaces.clone()).unwrap_or_default(),
        kind: summary.kind,
    }
}

fn walked(name: &str, descriptor: &Descriptor, survey: &Survey, closed: Closed) -> FoundSegment {
    let first = if survey.summary().blocks == 0 {
        descriptor.first
    } else {
        survey.summary().first
    };
    FoundSegment {
        entry: Entry {
            id: descriptor.segment,
            store: descriptor.store,
            name: name.to_owned(),
            first: first.min(descriptor.first),
            state: State::Closed(closed),
        },
        damaged: survey.damaged,
        lost: survey.in_doubt,
        replaces: descriptor.replaces.clone(),
        kind: descriptor.kind,
    }
}

/// Seals a segment that a crash left open, where the disk has room; else it is read by the walk.
fn end_of(
    storage: &dyn Storage,
    file: &Arc<dyn File>,
    descriptor: &Descriptor,
    survey: &Survey,
) -> Closed {
    let summary = survey.summary();
    let damaged = survey.damaged > 0 || survey.unreadable > 0;
    let mut closed = Closed {
        last: summary.last,
        count: summary.count + survey.unreadable,
        end: survey.end,
        synced_to: survey.synced_to,
        sealed: None,
        blocks_at: descriptor.length() as u64,
        damaged,
    };
    if let Some(footer) = &survey.footer {
        // The crash came between the footer and the cut: cut now, and it is sealed.
        let cut = file
            .set_length(footer.summary.file_length)
            .and_then(|()| file.sync());
        closed.sealed = cut.is_ok().then_some(footer.summary);
        closed.end = footer.summary.footer_at;
        return closed;
    }
    let unclear = damaged || survey.broken > 0 || survey.in_doubt > 0 || !survey.holes.is_empty();
    if !unclear && survey.summary().count > 0 {
        closed.sealed = seal(storage, file, survey);
    }
    closed
}

fn seal(storage: &dyn Storage, file: &Arc<dyn File>, survey: &Survey) -> Option<Summary> {
    // What a killed process left with the kernel becomes durable first, its name with it.
    file.sync().and_then(|()| storage.sync_directory("")).ok()?;
    let footer = survey.builder.clone().build(align_up(survey.end, SECTOR));
    let bytes = footer.encode();
    file.write_at(&[IoSlice::new(&bytes)], footer.summary.footer_at)
        .ok()?;
    file.set_length(footer.summary.file_length)
        .and_then(|()| file.sync())
        .ok()?;
    Some(footer.summary)
}

impl Segments {
    fn add(&mut self, target: TargetId, created: UnixMillis, found: FoundSegment) {
        self.any = true;
        let epochs = [found.entry.first.epoch(), found.entry.last().epoch()];
        let by_id = (found.entry.id.get() >> hintstore_format::Sequence::COUNT_BITS) as u32;
        self.last_epoch = epochs
            .into_iter()
            .fold(self.last_epoch.max(by_id), u32::max);
        let start = || TargetSegments {
            found: Vec::new(),
            deferred: Vec::new(),
            last_created: UnixMillis::MIN,
        };
        let of = self.targets.entry(target).or_insert_with(start);
        of.last_created = of.last_created.max(created);
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
    // What the first keeps after all, the next does not count.
    let mut upto = hintstore_format::Sequence::ZERO;
    for segment in found {
        if let State::Closed(closed) = &mut segment.entry.state {
            if segment.entry.first <= upto && closed.last > segment.entry.first.before() {
                let kept = closed.last.get().saturating_sub(upto.get());
                closed.count = closed.count.min(kept);
                segment.entry.first = upto.plus(1);
            }
            upto = upto.max(closed.last);
        }
    }
}
