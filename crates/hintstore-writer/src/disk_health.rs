//! What the disk refuses, and so whether appends are taken.

use hintstore_env::{
    StorageError,
    sync::{
        AtomicBool, AtomicU32, AtomicU64, Mutex,
        Ordering::{Acquire, Relaxed, SeqCst},
    },
};

use crate::{Gone, Refusal, write_env::WriteEnv};

/// Why a level was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitError {
    /// The deadline came.
    Late,
    /// Neither the open segment nor a new one could be written.
    Write,
    /// A sync failed; what it left in doubt was moved.
    Sync,
}

/// What failed last, until it succeeds.
#[derive(Debug, Default)]
pub(crate) struct DiskHealth {
    /// New segments in a row that could not be written.
    writes: AtomicU64,
    /// New segments in a row that could not be synced.
    syncs: AtomicU32,
    /// The journal could not be written: what is appended cannot end.
    journal: AtomicBool,
    /// Something fails, or the store is closed.
    refusing: AtomicBool,
    failure: Mutex<Option<Refusal>>,
}

impl WriteEnv {
    /// Whether hints may be taken: one load in the usual case.
    #[inline]
    pub(crate) fn may_append(&self) -> Result<(), Refusal> {
        if self.disk_health.refusing.load(Acquire) {
            return self.why_not();
        }
        Ok(())
    }

    #[cold]
    fn why_not(&self) -> Result<(), Refusal> {
        if self.is_closed() {
            return Err(Refusal::Closed);
        }
        self.disk_health.failure.lock().map_or(Ok(()), Err)
    }

    /// No hint is taken from now on.
    pub(crate) fn close_to_appends(&self) {
        self.closed.store(true, SeqCst);
        // Under the lock: a failure that clears right now must not open it again.
        let _failure = self.disk_health.failure.lock();
        self.disk_health.refusing.store(true, SeqCst);
    }

    /// A new segment could not be written. The first time that may be the segment; the second
    /// time in a row it is the disk, and appends are refused until a write succeeds.
    pub(crate) fn write_failed(&self, error: &StorageError) {
        if self.check_home().is_err() {
            // Refused by what is gone, not by what fails because of it.
        } else if error.is_disk_full() {
            self.spares.discard(self);
            self.budget.device_is_full();
        } else if self.disk_health.writes.fetch_add(1, SeqCst) > 0 {
            self.refuse(error.into());
        }
        // Who waits for memory is to hear of it.
        self.pool.freed.raise();
    }

    pub(crate) fn write_succeeded(&self) {
        if self.disk_health.writes.swap(0, SeqCst) > 0 {
            self.clear_failure();
        }
    }

    /// A segment without a durable byte could not be synced: as for a failed write, the
    /// second in a row is the disk.
    pub(crate) fn sync_failed_again(&self) {
        if self.disk_health.syncs.fetch_add(1, SeqCst) > 0 {
            self.refuse(Refusal::StorageFailed);
        }
    }

    /// New segments in a row that could not be synced.
    pub(crate) fn sync_failures(&self) -> u32 {
        self.disk_health.syncs.load(Relaxed)
    }

    pub(crate) fn sync_succeeded(&self) {
        if self.disk_health.syncs.load(Relaxed) > 0 && self.disk_health.syncs.swap(0, SeqCst) > 0 {
            self.clear_failure();
        }
    }

    /// Takes appends again, unless something else fails.
    fn clear_failure(&self) {
        let journal = self.disk_health.journal.load(SeqCst);
        if !journal
            && self.home.gone().is_none()
            && self.disk_health.writes.load(SeqCst) == 0
            && self.disk_health.syncs.load(SeqCst) == 0
        {
            let mut failure = self.disk_health.failure.lock();
            *failure = None;
            self.disk_health.refusing.store(self.is_closed(), SeqCst);
        }
    }

    /// Whether the journal could be written: where it cannot, what is appended cannot end.
    pub(crate) fn journal_is(&self, failed: bool) {
        if failed {
            self.disk_health.journal.store(true, SeqCst);
            self.refuse(Refusal::StorageFailed);
        } else if self.disk_health.journal.swap(false, SeqCst) {
            self.clear_failure();
        }
    }

    /// Looks whether the directory is still the store's own; where it is not, appends are refused from
    /// now on.
    pub(crate) fn check_home(&self) -> Result<(), Gone> {
        self.home.look().inspect_err(|what| {
            self.refuse(Refusal::Gone { what: *what });
            self.pool.freed.raise();
        })
    }

    fn refuse(&self, why: Refusal) {
        // What is gone says more than what fails because of it.
        let gone = self.home.gone().map(|what| Refusal::Gone { what });
        let why = gone.unwrap_or(why);
        let mut failure = self.disk_health.failure.lock();
        *failure = Some(why);
        self.disk_health.refusing.store(true, SeqCst);
    }
}
