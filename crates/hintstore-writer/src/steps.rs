//! The background steps of the write path: flush, sync, seal, prepare.

use std::{sync::Arc, time::Duration};

use hintstore_env::{Boot, Next, Step, event};

use crate::{
    SegmentEntry, segment::Segment, target::TargetWriter, work::each_taken, write_env::WriteEnv,
};

/// Hands full slabs to the kernel as they come, and all others once an interval.
#[derive(Debug)]
pub(crate) struct Flush(pub(crate) Arc<WriteEnv>);

impl Step for Flush {
    fn name(&self) -> &'static str {
        "flush"
    }

    fn step(&self, now: Boot) -> Next {
        let env = &self.0;
        while let Some(target) = env.next_ready() {
            target.try_flush();
        }
        let Some(older_than) = env.flush_due(now) else {
            return env.next_flush(now);
        };
        env.flush_older(older_than);
        env.next_flush(now)
    }
}

/// Syncs what was flushed, once an interval, and has write-back begin early.
#[derive(Debug)]
pub(crate) struct Sync(pub(crate) Arc<WriteEnv>);

impl Step for Sync {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn step(&self, now: Boot) -> Next {
        let env = &self.0;
        env.start_writeback();
        if !env.sync_due(now) {
            return env.next_sync(now);
        }
        env.ask_sync(env.take_unsynced());
        env.sync_asked();
        env.next_sync(now)
    }
}

/// Syncs files side by side: several of them wait for the disk better than one.
#[derive(Debug)]
pub(crate) struct SyncAlong(pub(crate) Arc<WriteEnv>);

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
pub(crate) struct Seal(pub(crate) Arc<WriteEnv>);

/// What could not be done is tried again after this long.
const AGAIN: Duration = Duration::from_secs(10);

impl Step for Seal {
    fn name(&self) -> &'static str {
        "seal"
    }

    fn step(&self, now: Boot) -> Next {
        let env = &self.0;
        let list = |target| env.list_aging(&target, now);
        each_taken(env.take_aged(now), &list, |target| {
            if let Some(at) = roll_if_old(target, now) {
                env.list_aging(target, at);
            }
        });
        let left = env.seal_listed();
        let next = env.next_aged();
        let next = next.map_or(Next::WhenWoken, |at| Next::After(at.since(now)));
        if left { next.or_after(AGAIN) } else { next }
    }
}

/// Rolls the open segment of a target if it is old; else says when to look again.
fn roll_if_old(target: &Arc<TargetWriter>, now: Boot) -> Option<Boot> {
    let config = target.env.config();
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
    let env = &target.env;
    let deadline = env.deadline(None);
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
        env.list_for_sealing(target, segment.clone());
        return;
    };
    if !segment.poisoned() {
        let summary = sealed.unwrap_or(summary);
        event!(
            debug,
            target_id = %target.id,
            segment = %segment.id(),
            hints = summary.count,
            sealed = sealed.is_some(),
            "segment closed"
        );
        let entry = SegmentEntry::written(segment, &summary, sealed.is_some());
        target.segments.close(entry);
        env.activity.touch();
    }
    drop(file);
}

/// Prepares the next file of a busy target.
#[derive(Debug)]
pub(crate) struct Prepare(pub(crate) Arc<WriteEnv>);

impl Step for Prepare {
    fn name(&self) -> &'static str {
        "prepare"
    }

    fn step(&self, _: Boot) -> Next {
        self.0.spares.prepare(&self.0);
        Next::WhenWoken
    }
}
