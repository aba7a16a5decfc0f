//! From the kernel to the disk: one fdatasync for all who wait.
//!
//! One caller leads, the others follow: they find their hints synced when the leader is done, or
//! lead the next round. A sync that fails poisons its file: it is never synced or written again.
//! What it left in doubt is read back through the page cache, checked, and written under its old
//! sequences as a new segment, which stands before anything newer.

use std::sync::Arc;

use hintstore_env::{Boot, StorageError, event, sync::Ordering::SeqCst};
use hintstore_format::{
    Sequence, UnixMillis,
    block::{self, Header},
    journal::Range,
};
use hintstore_reader::{FrameItem, Frames, Item, PreadSource, Walk};

use crate::{
    Moved, SegmentEntry,
    disk_health::WaitError,
    file::Ready,
    flush::FileState,
    segment::{Open, Segment},
    target::TargetWriter,
};

/// Poisoned files in a row after which a waiting append is in doubt.
const POISONED_MAX: u32 = 3;

impl TargetWriter {
    /// Waits until syncs have come behind a sequence: all up to it is durable but what [`Doubt`] holds.
    ///
    /// [`Doubt`]: crate::target::Doubt
    pub(crate) fn sync_to(
        self: &Arc<Self>,
        sequence: Sequence,
        deadline: Boot,
    ) -> Result<(), WaitError> {
        let mut poisoned = 0;
        loop {
            if self.synced() > sequence {
                return Ok(());
            }
            let mut lead = None;
            let led = self
                .env
                .runner
                .wait_until(&self.progress, Some(deadline), &mut || {
                    lead = self.try_lead();
                    lead.is_some() || self.synced() > sequence
                });
            if !led {
                return Err(WaitError::Late);
            }
            let Some(lead) = lead else { continue };
            let done = self.sync_round(sequence, deadline);
            drop(lead);
            match done {
                Err(WaitError::Sync) if poisoned < POISONED_MAX => poisoned += 1,
                done => done?,
            }
        }
    }

    /// One round: flush, note how far that went, sync, tell.
    fn sync_round(self: &Arc<Self>, sequence: Sequence, deadline: Boot) -> Result<(), WaitError> {
        self.flush_to(sequence, deadline)?;
        let Some(mut file) = self.wait_file(deadline) else {
            return Err(WaitError::Late);
        };
        let plan = self.plan(&mut file);
        // Others may write on while the disk works; the next block starts a new sector.
        drop(file);
        match self.sync_planned(&plan) {
            Ok(()) => {
                if let Some(mut file) = self.wait_file(deadline) {
                    self.forget_synced(&mut file, &plan);
                }
                Ok(())
            }
            Err(failed) => {
                let Some(mut file) = self.wait_file(deadline) else {
                    return Err(WaitError::Late);
                };
                self.replace(&mut file, failed)?;
                Err(WaitError::Sync)
            }
        }
    }

    /// A round by one who holds the file: others wait for it.
    pub(crate) fn sync_locked(self: &Arc<Self>, file: &mut FileState) -> Result<(), WaitError> {
        let plan = self.plan(file);
        match self.sync_planned(&plan) {
            Ok(()) => {
                self.forget_synced(file, &plan);
                Ok(())
            }
            Err(failed) => {
                self.replace(file, failed)?;
                Err(WaitError::Sync)
            }
        }
    }

    /// What is to be synced: segments, how far each is written, and the sequence reached by all.
    pub(crate) fn plan(&self, file: &mut FileState) -> Plan {
        if let Some(open) = &mut file.open {
            open.synced = true;
        }
        Plan {
            segments: file
                .unsynced
                .iter()
                .map(|s| (s.clone(), s.written()))
                .collect(),
            next: self.flushed(),
            at: self.env.clock.wall(),
        }
    }

    /// Takes segments that are synced and done off the list.
    fn forget_synced(&self, file: &mut FileState, plan: &Plan) {
        let open = file.open.as_ref().map(|open| open.segment.id());
        let is_synced = |segment: &Arc<Segment>| segment.synced_to() >= segment.written();
        // What is unsynced now was written since the round began.
        let all = file.unsynced.iter().all(is_synced);
        let since = if all { UnixMillis::MAX } else { plan.at };
        self.unsynced_since.store(since.get(), SeqCst);
        file.unsynced
            .retain(|segment| Some(segment.id()) == open || !is_synced(segment));
    }

    /// A round in the background, by one who has the lead and waits for nobody.
    pub(crate) fn sync_in_background(self: &Arc<Self>, plan: &Plan) {
        let deadline = self.env.deadline(None);
        match self.sync_planned(plan) {
            Ok(()) => {
                if let Some(mut file) = self.try_file() {
                    self.forget_synced(&mut file, plan);
                } else {
                    // The writer may be the last for long: the next round books this one.
                    self.env.list_unsynced(self);
                }
            }
            Err(failed) => {
                if let Some(mut file) = self.wait_file(deadline) {
                    // Appenders and waiters get an error for what cannot be moved now; it stays listed.
                    let _told = self.replace(&mut file, failed);
                }
                self.env.list_unsynced(self);
            }
        }
    }

    fn sync_planned(&self, plan: &Plan) -> Result<(), Failed> {
        for (segment, written) in &plan.segments {
            // Synced already, by another round.
            if segment.synced_to() >= *written {
                continue;
            }
            // A name that is not durable is tried again: nothing is lost by a failed attempt.
            if segment.sync_entry(&self.env).is_err() {
                return Err(Failed::Entry);
            }
            match segment.sync(*written, &*self.env.storage) {
                Some(newly) => {
                    self.env.sub_unsynced(newly);
                    self.env.sync_succeeded();
                }
                None => return Err(Failed::Data(segment.clone())),
            }
        }
        // What was synced in a directory that is gone is nowhere.
        if self.env.check_home().is_err() {
            return Err(Failed::Entry);
        }
        self.synced.fetch_max(plan.next.get(), SeqCst);
        self.progress.raise();
        Ok(())
    }

    /// Deals with a failed sync: moves what it left in doubt.
    fn replace(self: &Arc<Self>, file: &mut FileState, failed: Failed) -> Result<(), WaitError> {
        let Failed::Data(segment) = failed else {
            return Err(WaitError::Sync);
        };
        // Another round has dealt with it.
        if !file.unsynced.iter().any(|other| other.id() == segment.id()) {
            return Ok(());
        }
        let was_open = file
            .open
            .as_ref()
            .is_some_and(|open| open.segment.id() == segment.id());
        if was_open {
            file.open = None;
        }
        let moved = self.move_unsynced(file, &segment);
        let (by, moved) = match moved {
            Ok(moved) => moved,
            Err(error) => {
                // Neither the file nor a new one can be written. What is in doubt stays where it
                // can still be read, and on the list: no round calls it durable, the next one
                // tries again to move it.
                self.env.write_failed(&error);
                return Err(WaitError::Write);
            }
        };
        // Before the list says that nothing of it is left to be synced.
        let unmoved = Range {
            first: self.synced().max(segment.descriptor.first),
            last: moved.first.min(segment.last().plus(1)).before(),
        };
        for lost in moved.lost.iter().chain([&unmoved]) {
            if lost.first <= lost.last {
                self.doubt.add(*lost);
            }
        }
        file.unsynced.retain(|other| other.id() != segment.id());
        self.env
            .sub_unsynced(segment.written() - segment.synced_to());
        self.env.write_succeeded();
        event!(
            warn,
            target_id = %self.id,
            segment = %segment.id(),
            lost = moved.lost.len(),
            "a sync failed; what was unsynced is in another segment"
        );
        let moves = by.as_ref().map(|by| Moved {
            from: segment.id(),
            by: by.segment.id(),
            range: Range {
                first: moved.first,
                last: segment.last(),
            },
            lost: moved.lost.clone(),
        });
        let left = SegmentEntry::poisoned(&segment, moved.first);
        self.segments.replace(left, moves);
        let from_first = by.is_some() && moved.first == segment.descriptor.first;
        if segment.is_gone() {
            self.env.home.note_files_gone(1);
            if from_first {
                // What could be read of it is in the next, the rest is booked. Its name is not touched:
                // it may be another's.
                segment.taken.cut_to(0);
                self.segments.remove(segment.id());
            }
        } else if segment.synced_to() == 0 {
            self.env.sync_failed_again();
            if from_first && moved.lost.is_empty() {
                // Nothing in it was ever durable, and all of it is in the next: a disk that goes on
                // failing does not fill up with files.
                self.drop_segment(&segment);
            }
        }
        if let Some(by) = by {
            file.unsynced.insert(0, by.segment.clone());
            if was_open {
                let aged = by.opened + self.env.config().roll_age;
                self.env.list_aging(self, aged);
                file.open = Some(by);
            } else {
                // Not at once: its own sync may fail as well.
                self.env.list_for_sealing(self, by.segment);
            }
            self.env.list_unsynced(self);
        }
        Ok(())
    }

    /// Copies what is above `synced_to` into a new segment, or all, where the file is gone. A copy that does not come to its end is
    /// removed: the next attempt makes another.
    fn move_unsynced(
        self: &Arc<Self>,
        file: &mut FileState,
        from: &Arc<Segment>,
    ) -> Result<(Option<Open>, CopiedOut), StorageError> {
        let mut by = None;
        match self.copy_unsynced(file, from, &mut by) {
            Ok(moved) => Ok((by, moved)),
            Err(error) => {
                if let Some(by) = by {
                    self.env.sub_unsynced(by.segment.written());
                    self.drop_segment(&by.segment);
                }
                Err(error)
            }
        }
    }

    /// Removes a segment that holds nothing that others do not. A name that stays behind overlaps
    /// these others: recovery takes each hint once.
    fn drop_segment(&self, segment: &Arc<Segment>) {
        segment.taken.cut_to(0);
        self.segments.remove(segment.id());
        drop(self.env.storage.unlink(&segment.name));
    }

    fn copy_unsynced(
        self: &Arc<Self>,
        file: &mut FileState,
        from: &Arc<Segment>,
        by: &mut Option<Open>,
    ) -> Result<CopiedOut, StorageError> {
        let mut moved = CopiedOut {
            first: Sequence::MAX,
            next: Sequence::MAX,
            lost: Vec::new(),
        };
        let blocks_at = from.descriptor.length() as u64;
        let at = if from.is_gone() {
            blocks_at
        } else {
            from.synced_to().max(blocks_at)
        };
        let source = Box::new(PreadSource::hopping(from.file.clone()));
        let mut walk = Walk::new(source, from.id(), at, from.written());
        while let Some(item) = walk.next_readable() {
            let Item::Block(block) = item else { continue };
            let Some(entries) = &block.entries else {
                continue;
            };
            // What the disk cannot read is lost, and no reason to give up the rest.
            let Ok(frames) = walk.frames(&block) else {
                continue;
            };
            let mut bytes = intact_frames(&block.header, &frames, &mut moved);
            if bytes.len() == block::HEADER {
                continue;
            }
            if by.is_none() {
                let created = &mut file.last_created;
                *by = Some(Open::create(self, moved.first, created, false)?);
            }
            if let Some(by) = by {
                let before = by.segment.written();
                let ready = Ready {
                    start: block.header.start,
                    profiles: entries.iter().map(|entry| entry.profile).collect(),
                    bytes: &mut bytes,
                };
                by.write(&self.env, &mut [ready])?;
                self.env.add_unsynced(by.segment.written() - before);
            }
        }
        moved.lose_until(from.last().plus(1));
        Ok(moved)
    }
}

/// What was copied out of a poisoned segment.
struct CopiedOut {
    /// The first hint of it.
    first: Sequence,
    /// The one behind the last.
    next: Sequence,
    /// Those in between that could not be read back.
    lost: Vec<Range>,
}

impl CopiedOut {
    fn add(&mut self, sequence: Sequence) {
        self.first = self.first.min(sequence);
        self.lose_until(sequence);
        self.next = sequence.plus(1);
    }

    fn lose_until(&mut self, sequence: Sequence) {
        if self.next < sequence {
            self.lost.push(Range {
                first: self.next,
                last: sequence.before(),
            });
        }
    }
}

/// The intact frames of a block, behind room for its header.
fn intact_frames(header: &Header, frames: &[u8], moved: &mut CopiedOut) -> Vec<u8> {
    let mut bytes = vec![0; block::HEADER];
    for item in Frames::new(header, frames) {
        if let FrameItem::Intact {
            at,
            header: frame,
            sequence,
        } = item
        {
            bytes.extend_from_slice(frames.get(at..frame.end(at)).unwrap_or_default());
            moved.add(sequence);
        }
    }
    bytes
}

pub(crate) struct Plan {
    segments: Vec<(Arc<Segment>, u64)>,
    next: Sequence,
    /// When the round began.
    at: UnixMillis,
}

enum Failed {
    /// The directory could not be synced.
    Entry,
    /// A segment could not be synced.
    Data(Arc<Segment>),
}
