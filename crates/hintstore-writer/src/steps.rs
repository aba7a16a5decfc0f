//! The background steps of the write path: flush, sync, seal, prepare.

use std::{sync::Arc, time::Duration};

use hintstore_runtime::{Boot, Next, Step};

use crate::{segment::Segment, shared::Shared, target::TargetWriter, work::each_taken};

/// Hands full slabs to the kernel as they come, and all others once an interval.
#[derive(Debug)]
pub(crate) struct Flush(pub(crate) Arc<Shared>);

impl Step for Flush {
    fn name(&self) -> &'static str {
        "flush"
    }

    fn step(&self, now: Boot) -> Next {
        let shared = &self.0;
        while let Some(target) = shared.next_ready() {
            target.help();
        }
        let Some(older_than) = shared.flush_due(now) else {
            return shared.next_flush(now);
        };
        shared.flush_older(older_than);
        shared.next_flush(now)
    }
}

/// Syncs what was flushed, once an interval, and has write-back begin early.
#[derive(Debug)]
pub(crate) struct Sync(pub(crate) Arc<Shared>);

impl Step for Sync {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn step(&self, now: Boot) -> Next {
        let shared = &self.0;
        shared.start_writeback();
        if !shared.sync_due(now) {
            return shared.next_sync(now);
        }
        shared.ask_sync(shared.take_unsynced());
        shared.sync_asked();
        shared.next_sync(now)
    }
}

/// Syncs files side by side: several of them wait for the disk better than one.
#[derive(Debug)]
pub(crate) struct SyncAlong(pub(crate) Arc<Shared>);

impl Step for SyncAlong {
    fn name(&self) -> &'static str {
        "sync along"
    }

    fn step(&self, _: Boot) -> Next {
        self.0.sync_asked();
        Next::WhenWoken
    }
}

/// Ends rolled segments with their footers, and rolls those that are old.
#[derive(Debug)]
pub(crate) struct Seal(pub(crate) Arc<Shared>);

/// What could not be done is tried again after this long.
const AGAIN: Duration = Duration::from_secs(10);

impl Step for Seal {
    fn name(&self) -> &'static str {
        "seal"
    }

    fn step(&self, now: Boot) -> Next {
        let shared = &self.0;
        let list = |target| shared.list_aging(&target, now);
        each_taken(shared.take_aged(now), &list, |target| {
            if let Some(at) = roll_if_old(target, now) {
                shared.list_aging(target, at);
            }
        });
        let left = shared.seal_listed();
        let next = shared.next_aged();
        let next = next.map_or(Next::WhenWoken, |at| Next::After(at.since(now)));
        if left { next.or_after(AGAIN) } else { next }
    }
}

/// Rolls the open segment of a target if it is old; else says when to look again.
fn roll_if_old(target: &Arc<TargetWriter>, now: Boot) -> Option<Boot> {
    let config = target.shared.config();
    let Some(mut file) = target.try_file() else {
        return Some(now + AGAIN);
    };
    let open = file.open.as_ref()?;
    let age = now.since(open.opened);
    let large = open.segment.written() >= config.roll_bytes_min.get();
    if age >= config.roll_age_max || (large && age >= config.roll_age) {
        file.roll(target, false);
        return None;
    }
    let (opened, oldest) = (open.opened, open.opened + config.roll_age_max);
    if age < config.roll_age {
        return Some((opened + config.roll_age).min(oldest));
    }
    // It is small for its age, and may grow.
    Some((now + config.roll_age / 8).min(oldest))
}

/// Ends one segment. What fails leaves it without a footer, to be read by the walk, and to be
/// sealed when the store is next opened.
pub(crate) fn seal(target: &Arc<TargetWriter>, segment: &Arc<Segment>) {
    let shared = &target.shared;
    let deadline = shared.deadline(None);
    // First the hints: a failed sync must find the file as its last good block left it.
    let synced = segment.count() == 0 || target.sync_to(segment.last(), deadline).is_ok();
    if segment.poisoned() {
        // Its hints were moved, or will be; the file stays as it is.
        return;
    }
    let (summary, sealed) = match crate::seal::read_back(segment) {
        Ok(builder) => {
            let summary = *builder.summary();
            let sealed = synced.then(|| crate::seal::write_footer(segment, builder).ok());
            (summary, sealed.flatten())
        }
        // Delivery finds its way past what cannot be read, and books it: the segment ends here.
        Err(_) => (crate::seal::by_count(segment), None),
    };
    // Under the lock of the file, where a failed sync would have moved its hints.
    let Some(file) = target.wait_file(deadline) else {
        shared.list_for_sealing(target, segment.clone());
        return;
    };
    if !segment.poisoned() {
        let summary = sealed.unwrap_or(summary);
        shared.events.closed(segment, &summary, sealed.is_some());
    }
    drop(file);
}

/// Prepares the next file of a busy target.
#[derive(Debug)]
pub(crate) struct Prepare(pub(crate) Arc<Shared>);

impl Step for Prepare {
    fn name(&self) -> &'static str {
        "prepare"
    }

    fn step(&self, _: Boot) -> Next {
        self.0.spares.prepare(&self.0);
        Next::WhenWoken
    }
}
