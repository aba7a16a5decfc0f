//! Files prepared ahead: space for the next segment of a busy target is reserved in the background,
//! where nobody waits for it.

use std::sync::Arc;

use hintstore_format::file_name;
use hintstore_runtime::sync::{AtomicBool, AtomicU64, Mutex, Ordering::SeqCst};
use hintstore_storage::File;

use crate::{Bytes, Cap, Usage, flush::WRITE_MAX, shared::Shared};

/// A file with reserved space and no target.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
    pub(crate) allocated: u64,
}

/// One for the segment that comes next, and one for that after it.
const READY_MAX: usize = 2;

/// The spare files of a store, each made before somebody needs it.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    ready: Mutex<Vec<Spare>>,
    usage: Usage,
    pub(crate) wanted: AtomicBool,
    made: AtomicU64,
}

impl Spares {
    /// The spare file, for who has room for it; it counts as theirs from now on.
    pub(crate) fn take(&self, shared: &Shared, usage: &Usage) -> Option<Spare> {
        let mut ready = self.ready.lock();
        let allocated = ready.last()?.allocated;
        shared
            .budget
            .pass(&self.usage, usage, allocated)
            .then(|| ready.pop())?
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.lock().is_empty()
    }

    /// Makes one, if one is wanted and there is a place for it. A full disk makes none.
    pub(crate) fn prepare(&self, shared: &Shared) {
        if !self.wanted.swap(false, SeqCst) || self.ready.lock().len() >= READY_MAX {
            return;
        }
        // The write that fills a segment goes beyond its size.
        let allocated = shared.config().segment_bytes.get() + WRITE_MAX;
        if !shared.budget.take_ahead(&self.usage, allocated) {
            return;
        }
        let name = file_name::spare(self.made.fetch_add(1, SeqCst));
        let Ok(file) = shared.storage.create(&name) else {
            shared.budget.free(&self.usage, Bytes::new(allocated));
            return;
        };
        if file.allocate(0, allocated).is_ok() {
            self.ready.lock().push(Spare {
                name,
                file,
                allocated,
            });
        } else {
            shared.budget.free(&self.usage, Bytes::new(allocated));
            drop(shared.storage.unlink(&name));
        }
    }

    /// Removes what was prepared for nothing.
    pub(crate) fn discard(&self, shared: &Shared) {
        for spare in self.ready.lock().drain(..) {
            shared.budget.free(&self.usage, Bytes::new(spare.allocated));
            // Left behind, it is discarded at the next open.
            drop(shared.storage.unlink(&spare.name));
        }
    }
}

impl Shared {
    /// Takes space for what is about to be accepted. Prepared files give way to it.
    pub(crate) fn reserve(&self, usage: &Usage, bytes: u64) -> Result<(), Cap> {
        match self.budget.reserve(usage, bytes) {
            Err(Cap::Total | Cap::Device) if !self.spares.is_empty() => {
                self.spares.discard(self);
                self.budget.reserve(usage, bytes)
            }
            reserved => reserved,
        }
    }
}
