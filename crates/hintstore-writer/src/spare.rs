//! Files prepared ahead: space for the next segment of a busy target is reserved in the background,
//! where nobody waits for it.

use std::sync::Arc;

use hintstore_env::{
    File,
    sync::{AtomicU64, AtomicUsize, Mutex, Ordering::SeqCst},
};
use hintstore_format::file_name;

use crate::{Cap, Usage, flush::WRITE_MAX, write_env::WriteEnv};

/// A smaller segment gets no spare. What one takes beyond the segment, for a last write that passes
/// its size, comes free only when the segment is sealed: where many small ones wait for that, it
/// would be most of what the disk has.
const SEGMENT_MIN: u64 = WRITE_MAX;

/// A file with reserved space and no target.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
    pub(crate) allocated: u64,
}

/// The spare files of a store, each made before somebody needs it.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    ready: Mutex<Vec<Spare>>,
    usage: Usage,
    /// Where fewer than this are ready, one more is made.
    wanted: AtomicUsize,
    /// Held while one is made.
    making: Mutex<()>,
    made: AtomicU64,
}

impl Spares {
    /// The spare file, for who has room for it; it counts as theirs from now on.
    pub(crate) fn take(&self, env: &WriteEnv, usage: &Usage) -> Option<Spare> {
        let mut ready = self.ready.lock();
        let allocated = ready.last()?.allocated;
        env.budget
            .pass(&self.usage, usage, allocated)
            .then(|| ready.pop())?
    }

    /// Makes one, if one is wanted; returns when none is being made. A full disk makes none.
    pub(crate) fn prepare(&self, env: &WriteEnv) {
        let _one_at_a_time = self.making.lock();
        let wanted = self.wanted.swap(0, SeqCst);
        let config = env.config();
        let segment = config.segment_bytes.get();
        let useful = config.preallocate && segment >= SEGMENT_MIN && !env.is_closed();
        if self.ready.lock().len() >= wanted || !useful {
            return;
        }
        // The write that fills a segment goes beyond its size.
        let allocated = segment + WRITE_MAX;
        if !env.budget.take_ahead(&self.usage, allocated) {
            return;
        }
        let name = file_name::spare(self.made.fetch_add(1, SeqCst));
        let made = env.budget.while_invisible(allocated, || {
            let file = env.storage.create(&name)?;
            let reserved = file.allocate(0, allocated);
            reserved
                .map(|()| file)
                .inspect_err(|_| drop(env.storage.unlink(&name)))
        });
        match made {
            Ok(file) => self.ready.lock().push(Spare {
                name,
                file,
                allocated,
            }),
            Err(_) => env.budget.give_ahead(&self.usage, allocated),
        }
    }

    /// Whether something that is prepared stands in the way of hints.
    pub(crate) fn can_give_way(&self, cap: Cap) -> bool {
        cap != Cap::Target && !self.ready.lock().is_empty()
    }

    /// Removes what was prepared.
    pub(crate) fn discard(&self, env: &WriteEnv) {
        let gone = std::mem::take(&mut *self.ready.lock());
        for spare in &gone {
            // Left behind, it is discarded at the next open.
            drop(env.storage.unlink(&spare.name));
            env.budget.give_ahead(&self.usage, spare.allocated);
        }
    }
}

impl WriteEnv {
    /// Has a file prepared for the next segment of a busy target.
    pub(crate) fn want_spare(&self) {
        self.want(1);
    }

    /// A segment is full: what is ready is taken for the next, and one more is to be there for that
    /// after it.
    pub(crate) fn want_one_more_spare(&self) {
        self.want(2);
    }

    fn want(&self, spares: usize) {
        if self.spares.wanted.fetch_max(spares, SeqCst) < spares {
            self.work.wakers.prepare.wake();
        }
    }
}
