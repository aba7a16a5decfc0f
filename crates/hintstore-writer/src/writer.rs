//! The write path of all targets composed: what they share, and its background steps.

use std::{fmt, io, ops::Deref, sync::Arc, time::Duration};

use hintstore_env::{Boot, Next, Step, StorageError, Waker, sync::Ordering::SeqCst};
use hintstore_format::{Incarnation, Sequence, StoreId, TargetId, descriptor::Kind};

use crate::{
    Copied, Gone, Refusal, SegmentCopy, SegmentEntry, Usage, WriterConfig,
    config::Bytes,
    copy::Purpose,
    steps::{Flush, Prepare, Seal, Sync, SyncAlong},
    target::{TargetStart, TargetWriter},
    write_env::{Parts, WriteEnv},
};

/// A slow disk is given this long to make all of a target durable, or of all targets where the store
/// is closed.
const SYNC_PATIENCE: Duration = Duration::from_secs(60);

/// The write path of a store.
#[derive(Clone)]
pub struct Writer {
    env: Arc<WriteEnv>,
}

impl Writer {
    /// A writer for this epoch of a store. Its background steps run from now on.
    pub fn start(
        parts: Parts,
        config: WriterConfig,
        store: StoreId,
        incarnation: Incarnation,
        epoch: u32,
    ) -> io::Result<Self> {
        let env = Arc::new(WriteEnv::new(parts, config, store, incarnation, epoch));
        let wakers = &env.work.wakers;
        let mut steps: Vec<(Arc<dyn Step>, &Waker)> = vec![
            (Arc::new(Flush(env.clone())), &wakers.flush),
            (Arc::new(Sync(env.clone())), &wakers.sync),
            (Arc::new(Seal(env.clone())), &wakers.seal),
            (Arc::new(Prepare(env.clone())), &wakers.prepare),
        ];
        for _ in 1..env.config().sync_threads.get() {
            steps.push((Arc::new(SyncAlong(env.clone())), &wakers.sync_along));
        }
        for (step, waker) in steps {
            env.runner.start(step, waker.clone(), Next::WhenWoken)?;
        }
        Ok(Self { env })
    }

    /// Exchanges the settings. Memory, threads and the largest hint stay as they were.
    pub fn configure(&self, config: WriterConfig, targets: &[Arc<TargetWriter>]) {
        self.env.config.set(config);
        // Other ages may count now.
        let now = self.env.clock.boot();
        for target in targets {
            self.env.list_aging(target, now);
        }
        self.env.work.shorten_timers(now, &self.env.config());
        let wakers = &self.env.work.wakers;
        for waker in [&wakers.flush, &wakers.sync, &wakers.seal] {
            waker.wake();
        }
    }

    /// The settings as they are now.
    pub fn config(&self) -> impl Deref<Target = Arc<WriterConfig>> + use<> {
        self.env.config.get()
    }

    /// The write path of a target, from what is known of it. A target has one.
    pub fn target(&self, id: TargetId, start: TargetStart) -> Arc<TargetWriter> {
        Arc::new(TargetWriter::new(&self.env, id, start))
    }

    /// A hint with more bytes of payload and key is refused.
    #[inline]
    pub fn hint_bytes_max(&self) -> Bytes {
        self.env.hint_bytes_max
    }

    /// Whether any hint may be taken now: not where the store is closed, or its disk fails.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub fn may_append(&self) -> Result<(), Refusal> {
        self.env.may_append()
    }

    /// Takes no hint from now on.
    pub fn refuse_appends(&self) {
        self.env.close_to_appends();
    }

    /// When a call gives up: its caller may have said, and a close ends with all that it waits for.
    pub fn deadline(&self, given: Option<Boot>) -> Boot {
        self.env.deadline(given)
    }

    /// Has several targets synced at once, in the background.
    pub fn ask_sync(&self, targets: impl IntoIterator<Item = Arc<TargetWriter>>) {
        self.env.ask_sync(targets);
    }

    /// Answers all who wait without a thread: the store is closed.
    pub fn end_commits(&self, targets: &[Arc<TargetWriter>]) {
        self.env.work.commits_ended.store(true, SeqCst);
        for target in targets {
            target.end_commits();
        }
    }

    /// Looks whether the directory is still the store's own; where it is not, appends are refused from
    /// now on.
    pub fn check_home(&self) -> Result<(), Gone> {
        self.env.check_home()
    }

    /// Says whether the journal, which is not the writer's, could be written: appends are refused as
    /// [`Refusal::StorageFailed`] while it cannot.
    pub fn journal_is(&self, failed: bool) {
        self.env.journal_is(failed);
    }

    /// Begins a segment of copies of a target's hints from `first` on. Its space counts
    /// as the target's.
    ///
    /// # Errors
    /// The disk, or a cap on its space, has no room for it.
    pub fn copy(
        &self,
        target: TargetId,
        usage: &Arc<Usage>,
        kind: Kind,
        first: Sequence,
    ) -> Result<SegmentCopy, StorageError> {
        let purpose = Purpose::of_kind(&self.env, kind, first);
        SegmentCopy::create(&self.env, target, usage, purpose)
    }

    /// Begins a segment that is to replace these of a target: neighbours that one opening of one store
    /// wrote, at most 255 of them. `compress` is a level of zstd.
    ///
    /// # Errors
    /// The disk, or a cap on its space, has no room for it.
    ///
    /// # Panics
    /// If there are none, or too many.
    pub fn rewrite(
        &self,
        target: TargetId,
        usage: &Arc<Usage>,
        sources: &[Arc<SegmentEntry>],
        compress: Option<i32>,
    ) -> Result<SegmentCopy, StorageError> {
        let Some(first) = sources.first() else {
            unreachable!("nothing is to be replaced");
        };
        let purpose = Purpose::in_place_of(first, sources, compress);
        SegmentCopy::create(&self.env, target, usage, purpose)
    }

    /// Removes a segment of copies that is not wanted after all.
    pub fn give_up(&self, usage: &Usage, copied: Copied) {
        copied.give_up(&self.env, usage);
    }

    /// Makes all that a target accepted durable.
    pub fn sync(&self, target: &Arc<TargetWriter>) -> bool {
        self.sync_by(target, self.patience())
    }

    fn patience(&self) -> Boot {
        let patience = self.env.config().append_timeout.max(SYNC_PATIENCE);
        self.env.deadline(Some(self.env.clock.boot() + patience))
    }

    fn sync_by(&self, target: &Arc<TargetWriter>, deadline: Boot) -> bool {
        let next = target.next();
        let last = next.before();
        next.get() == Sequence::first_of(self.env.epoch).get()
            || target.sync_to(last, deadline).is_ok()
    }

    /// Ends the open segment of a target, so that it can be retired.
    pub fn roll(&self, target: &Arc<TargetWriter>) {
        let deadline = self.env.deadline(None);
        if let Some(mut file) = target.wait_file(deadline) {
            file.roll(target, false);
        }
    }

    /// Seals what was rolled, as far as the disk has room; the rest is closed without footers.
    pub fn seal_rolled(&self) {
        self.env.seal_all(self.env.deadline(None));
    }

    /// Memory in slabs, and bytes in the kernel that no sync covers.
    pub fn windows(&self) -> (Bytes, Bytes) {
        let env = &self.env;
        (
            Bytes::new(env.pool.used()),
            Bytes::new(env.unsynced_bytes()),
        )
    }

    /// Whether appends are refused for the disk's sake, and why.
    pub fn trouble(&self) -> Option<Refusal> {
        let full = || self.env.budget.all_full();
        let trouble = self.env.may_append().err();
        trouble.or_else(|| full().map(|cap| Refusal::Full { cap }))
    }

    /// Refuses further appends, then makes everything durable and seals all segments. Returns
    /// false where something could not be made durable. `targets` lists all targets: one that is made
    /// behind that is made closed.
    pub fn close(&self, targets: impl FnOnce() -> Vec<Arc<TargetWriter>>) -> bool {
        self.env.close_to_appends();
        self.env.pool.freed.raise();
        let mut all = true;
        // One for all that a close does, checkpoints included: behind it, each of a thousand targets is
        // still tried, and none waited for.
        let deadline = self.patience();
        let _first = self.env.closing_by.set(deadline);
        for target in targets() {
            target.close();
            all &= self.sync_by(&target, deadline);
            self.roll(&target);
        }
        self.seal_rolled();
        self.env.spares.discard(&self.env);
        all
    }

    /// Forgets what waits for a step, when nobody can call any more: what waits holds the path itself.
    pub fn forget(&self) {
        self.env.work.clear();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer(epoch {})", self.env.epoch)
    }
}
