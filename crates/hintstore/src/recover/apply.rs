//! Does what the table of cases says. The only part of opening that changes the directory, except the
//! store's own records.

use std::sync::Arc;

use hintstore_env::{Existing, Info, Storage, StorageError};
use hintstore_format::file_name;
use hintstore_writer::{Bytes, Sealed, State, cut, seal_found};

use super::{
    Foreign, OpenReport,
    cases::{Name, Reading, RecoveryAction, RecoveryCase, case_of},
    scan::{Ending, FoundFile, FoundSegment, describe, in_threads, is_read},
};
use crate::Result;

/// Deals with each file, and gives the segments that are to be read.
///
/// # Errors
/// The process has no descriptors or memory left.
pub(super) fn apply(
    storage: &dyn Storage,
    files: Vec<FoundFile>,
    report: &mut OpenReport,
) -> Result<Vec<FoundSegment>> {
    let done = in_threads(&files, |file| act(storage, file));
    let mut read = Vec::new();
    for (mut file, done) in files.into_iter().zip(done) {
        let mut is_moved = done.is_ok();
        match done {
            Err(error) if error.is_exhausted() || file.facts.name == Name::Spare => {
                return Err(error.into());
            }
            Err(error) if file.facts.reading == Reading::Done => {
                // It must not be taken for a segment that is pending later.
                file.facts.reading = Reading::Failed;
                file.why = describe(&error);
                is_moved = aside(storage, &file.name).is_ok();
            }
            _ => {}
        }
        report.note(storage, &file, is_moved);
        if is_read(&file) {
            read.extend(file.segment.map(|found| *found));
        }
    }
    let ends = in_threads(&read, |found| end(storage, found));
    for (found, ended) in read.iter_mut().zip(ends) {
        if let (State::Closed(closed), Some((sealed, info))) = (&mut found.entry.state, ended) {
            closed.sealed = Some(sealed);
            found.entry.allocated = Bytes::new(info.allocated);
        }
    }
    Ok(read)
}

fn act(storage: &dyn Storage, file: &FoundFile) -> std::result::Result<(), StorageError> {
    match case_of(&file.facts).action() {
        RecoveryAction::Remove => storage.unlink(&file.name),
        RecoveryAction::SetAside => aside(storage, &file.name),
        _ => Ok(()),
    }
}

/// Removes segments of copies that are not needed.
pub(super) fn remove(storage: &dyn Storage, names: &[Arc<str>]) -> Result<()> {
    for name in names {
        storage.unlink(name)?;
    }
    Ok(())
}

impl OpenReport {
    /// Says what becomes of a file. `is_moved`: where it is to be set aside, it was.
    pub(super) fn note(&mut self, storage: &dyn Storage, file: &FoundFile, is_moved: bool) {
        let case = case_of(&file.facts);
        let (name, why) = (file.name.clone(), file.why.clone());
        if let Some(found) = file.segment.as_deref().filter(|_| is_read(file)) {
            if found.walked {
                self.walked += 1;
            } else {
                self.sealed += 1;
            }
        }
        match (case, case.action()) {
            (RecoveryCase::Spare, _) => {}
            // What was delivered was reported when the damage was met.
            (RecoveryCase::DeliveredDamaged, _) | (_, RecoveryAction::Remove) => self.removed += 1,
            (RecoveryCase::Unreadable, _) => {
                self.unreadable.push((name.clone(), why));
                self.set_aside.extend(is_moved.then_some(name));
            }
            (_, RecoveryAction::SetAside) => self.set_aside.push(name),
            (_, RecoveryAction::LeaveAlone) => self.foreign.push(Foreign {
                allocated: storage.info(&name).map_or(0, |info| info.allocated),
                name,
                why: why_left(case, why),
            }),
            _ => {}
        }
    }
}

/// Gives a segment that a crash left open its end, where the disk has room and may be written: there are
/// hints to deliver on one that is mounted read-only, too. Whatever fails here is no error of the opening:
/// the walk reads the segment, and the next open tries again.
fn end(storage: &dyn Storage, found: &FoundSegment) -> Option<(Sealed, Info)> {
    let open = || storage.open(&found.entry.name, true).ok();
    let (file, summary) = match &found.ending {
        Ending::None => return None,
        Ending::Cut(summary) => {
            let file = open()?;
            cut(&*file, summary).ok()?;
            (file, **summary)
        }
        Ending::Seal(builder, blocks_end) => {
            let (file, builder) = (open()?, builder.as_ref().clone());
            let summary = seal_found(storage, &*file, builder, *blocks_end).ok()?;
            (file, summary)
        }
    };
    Some(((&summary).into(), file.info().ok()?))
}

fn why_left(case: RecoveryCase, why: String) -> String {
    match case {
        RecoveryCase::DeadLetters => {
            "dead letters, which belong in aside/: replay them with hintctl".to_owned()
        }
        RecoveryCase::LaterEpoch => {
            "of a later epoch than this store has had: it comes from elsewhere".to_owned()
        }
        _ => why,
    }
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
