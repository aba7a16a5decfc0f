//! Ends all hints of a segment at once, without reading them: those of a file that is gone, and those of a
//! segment in which every hint is dead.

use std::sync::Arc;

use hintstore_env::event;
use hintstore_format::{
    TargetId,
    journal::{Cause, End},
};
use hintstore_writer::SegmentEntry;

use crate::{
    Result,
    loss::Unread,
    read::presence,
    store_env::StoreEnv,
    target::{Backlog, Targets},
};

/// Ends whole segments.
#[derive(Debug)]
pub(crate) struct WholeSegments {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
}

impl WholeSegments {
    pub(crate) fn new(env: &Arc<StoreEnv>, targets: &Arc<Targets>) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
        }
    }

    /// Ends the hints of closed segments whose files somebody else removed, as damaged: nothing else
    /// would tell of them before delivery comes there, and after this process nothing at all.
    pub(crate) fn end_missing(&self) -> Result<()> {
        self.env.check_home()?;
        // First the segments: what is made from now on is no business of this.
        let mut backlogs = Vec::new();
        for target in self.targets.all() {
            for backlog in target.backlogs() {
                let closed = |entry: &Arc<SegmentEntry>| entry.closed().is_some();
                let entries: Vec<_> = backlog.segments.all().into_iter().filter(closed).collect();
                backlogs.push((target.id, backlog, entries));
            }
        }
        let mut failed = None;
        for (target, backlog, entries) in backlogs {
            for entry in entries {
                match presence::is_there(&*self.env.storage, &entry) {
                    Ok(true) => {}
                    Ok(false) => {
                        if self.end(target, &backlog, &entry, End::Damaged) {
                            event!(error, file = %entry.name, "somebody removed or replaced a hint file");
                            self.env.home.note_files_gone(1);
                        }
                    }
                    // Others are looked at all the same; the caller gets the error.
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Ends all of a segment in one way. False where it is listed no more.
    pub(crate) fn end(
        &self,
        target: TargetId,
        backlog: &Backlog,
        entry: &Arc<SegmentEntry>,
        end: End,
    ) -> bool {
        let segments = &backlog.segments;
        let pending = backlog.progress.lock().pending_in(entry);
        // Read before the books are held: by then some of them may have ended otherwise.
        let losses = Cause::of(end).filter(|_| pending > 0).map(|cause| {
            let unread = Unread {
                storage: &*self.env.storage,
                clock: &*self.env.clock,
                target,
            };
            unread.of_segment(entry, pending, cause)
        });
        let mut progress = backlog.progress.lock();
        if progress.is_gone || !segments.holds(entry.id) {
            // It was done in the meantime, or is in another deferred segment.
            return false;
        }
        progress.finish_passed(segments);
        progress.end_whole(segments, entry, end);
        if let Some(losses) = losses {
            self.env.new_losses.add(losses.iter().copied());
        }
        if end == End::Damaged {
            // The file may come back: then it is kept for an operator.
            progress.exceptional.damaged.insert(entry.id);
        }
        progress.frontier_cursor.reset();
        let damaged = progress.is_damaged(entry);
        if !progress.is_done(entry) {
            // There are living hints before it: the order of delivery goes on without it.
            progress.leave(entry, damaged);
            segments.remove(entry.id);
        }
        self.env.activity.touch();
        true
    }
}
