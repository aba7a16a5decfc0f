//! A hint that was accepted and is on its way to its level: a future, and something to wait for.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hintstore_env::sync::Ordering::SeqCst;

use super::{AppendError, AppendResult, Durability, Receipt};
use crate::{store::Store, target::Target};

/// A hint that was accepted and is on its way to its level: see [`crate::HintStore::submit`]. As a future it
/// gives what [`crate::HintStore::append`] does, on any executor: the store wakes it. Dropped, it loses nothing: the
/// hint is in the store and goes its way. It keeps the store open.
#[must_use = "only this says whether the hint came to its level"]
pub struct Pending {
    store: Arc<Store>,
    /// While it is counted as one that waits for its level.
    target: Option<Arc<Target>>,
    receipt: Receipt,
    level: Durability,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.leave_place();
    }
}

impl Pending {
    pub(super) fn new(
        store: &Arc<Store>,
        target: Option<Arc<Target>>,
        receipt: Receipt,
        level: Durability,
    ) -> Self {
        Self {
            store: store.clone(),
            target,
            receipt,
            level,
        }
    }

    /// It does not wait for its level any more.
    fn leave_place(&mut self) {
        if let Some(target) = self.target.take() {
            target.in_flight.fetch_sub(1, SeqCst);
            self.store.appender.leave_place();
        }
    }

    /// Proof that it was accepted, at [`Durability::Buffered`]. Does not block.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Waits for its level on this thread.
    ///
    /// # Errors
    /// [`AppendError::InDoubt`] where that takes longer than `within`, or the disk refuses.
    ///
    /// # Blocking
    /// For `within` at most.
    pub fn wait(self, within: Duration) -> AppendResult {
        let appender = &self.store.appender;
        appender.wait(self.receipt, self.level, Some(within))
    }
}

impl Future for Pending {
    type Output = AppendResult;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<AppendResult> {
        let this = self.get_mut();
        let to_disk = this.level == Durability::Durable;
        let reached = match &this.target {
            // It waits for nothing, or was answered before: the same again.
            None => Poll::Ready(this.receipt.durability >= this.level),
            Some(target) => {
                let sequence = this.receipt.sequence;
                target
                    .writer
                    .poll_commit(sequence, to_disk, context.waker())
            }
        };
        reached.map(|is_reached| {
            this.leave_place();
            if is_reached {
                this.receipt.durability = this.level;
                Ok(this.receipt)
            } else {
                Err(AppendError::InDoubt(this.receipt))
            }
        })
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({:?} to {:?})", self.receipt, self.level)
    }
}
