//! Files prepared ahead: space for the next segment of a busy target is reserved in the background,
//! where nobody waits for it.

use std::sync::Arc;

use hintstore_format::file_name;
use hintstore_runtime::sync::{AtomicBool, AtomicU64, Mutex, Ordering::SeqCst};
use hintstore_storage::File;

use crate::{Bytes, Usage, shared::Shared};

/// A file with reserved space and no target.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
    pub(crate) allocated: u64,
}

/// The spare files of a store: at most one, made when somebody is near to need it.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    ready: Mutex<Option<Spare>>,
    usage: Usage,
    pub(crate) wanted: AtomicBool,
    made: AtomicU64,
}

impl Spares {
    /// The spare file, for who has room for it; it counts as theirs from now on.
    pub(crate) fn take(&self, shared: &Shared, usage: &Usage) -> Option<Spare> {
        let mut ready = self.ready.lock();
        let allocated = ready.as_ref()?.allocated;
        shared
            .budget
            .pass(&self.usage, usage, allocated)
            .then(|| ready.take())?
    }

    /// Makes one, if one is wanted and none is there. A full disk makes none.
    pub(crate) fn prepare(&self, shared: &Shared) {
        if !self.wanted.swap(false, SeqCst) || self.ready.lock().is_some() {
            return;
        }
        let allocated = shared.config().segment_bytes.get();
        if !shared.budget.take_ahead(&self.usage, allocated) {
            return;
        }
        let name = file_name::spare(self.made.fetch_add(1, SeqCst));
        let Ok(file) = shared.storage.create(&name) else {
            shared.budget.free(&self.usage, Bytes::new(allocated));
            return;
        };
        if file.allocate(0, allocated).is_ok() {
            *self.ready.lock() = Some(Spare {
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
        if let Some(spare) = self.ready.lock().take() {
            shared.budget.free(&self.usage, Bytes::new(spare.allocated));
            // Left behind, it is discarded at the next open.
            drop(shared.storage.unlink(&spare.name));
        }
    }
}
