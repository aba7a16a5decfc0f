//! The handle of an open store, and the parts that it hands each call to.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Weak},
    time::Duration,
};

use hintstore_env::{
    Boot, Lock,
    sync::{AtomicUsize, Mutex, Ordering::SeqCst},
};
use hintstore_format::{
    Namespace, Sequence, StoreId, TargetId, UnixMillis,
    journal::{Loss, Range, Record, Repaired},
};
use hintstore_writer::Refusal;

use crate::{
    AppendResult, AtRisk, Config, Delivery, Discarded, Durability, Environment, Error, Events,
    Hint, Ledger, OpenReport, Receipt, Result, Scope, Snapshot, TargetHandle, Truncate,
    append::{Admission, Appender, Pending},
    compact::{By, Compact, Compaction, Pass},
    deliver::{Checkpoints, Deliver, Pager, WholeSegments},
    discard::Discarder,
    expire::{Fences, Sweep},
    journal::Journal,
    open::open,
    space::{Descriptors, Space},
    store_env::StoreEnv,
    sync_point::{SyncPoint, SyncPoints, SyncScope, SyncState},
    target::{Ranges, Target, Targets},
    topology::{self, Departure, Members, Orphan, Readdressed},
    upkeep::{AdmissionUpkeep, Upkeep},
};

/// The parts of an open store. Each knows those that it needs; this knows all, and does nothing itself
/// but what concerns several: exchange settings, fence, close.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) env: Arc<StoreEnv>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) fences: Arc<Fences>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) appender: Appender,
    pub(crate) pager: Arc<Pager>,
    pub(crate) deliver: Arc<Deliver>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) whole: Arc<WholeSegments>,
    pub(crate) sweep: Arc<Sweep>,
    pub(crate) compaction: Arc<Pass>,
    /// Who is of any use, as the embedder says.
    pub(crate) members: Arc<Members>,
    pub(crate) sync_points: SyncPoints,
    pub(crate) discarder: Arc<Discarder>,
    pub(crate) space: Arc<Space>,
    pub(crate) admission_upkeep: Arc<AdmissionUpkeep>,
    pub(crate) upkeep: Arc<Upkeep>,
    /// The storage once more: its bound on open files can be set.
    pub(crate) descriptors: Descriptors,
    /// Held while settings are changed; taken before the journal.
    pub(crate) reconfiguring: Mutex<()>,
    /// Taken before any target's progress.
    pub(crate) journal: Arc<Mutex<Journal>>,
    /// How many loss receipts the journal has.
    pub(crate) loss_receipts: Arc<AtomicUsize>,
    pub(crate) report: OpenReport,
    pub(crate) closing: Mutex<Closing>,
}

impl Store {
    /// Changes settings, those that can be.
    fn reconfigure(&self, change: impl FnOnce(&mut Config)) -> Result<()> {
        let env = &self.env;
        env.check_open()?;
        env.check_home()?;
        // One at a time: of two at once, neither is lost.
        let _one_at_a_time = self.reconfiguring.lock();
        let mut config = Config::clone(&env.config());
        change(&mut config);
        config.check()?;
        config.only_live_differ(&env.config())?;
        let was = env.config().unsynced_bytes_max;
        if config.unsynced_bytes_max > was {
            // Known before it counts: the next open reports what a crash may have cost. A narrower
            // window does not hold yet.
            let mut journal = self.journal.lock();
            journal.append_or_forget(config.windows())?;
        }
        self.admission.set_policy(&config.policy());
        env.writer
            .configure(config.writer(), &self.targets.writers());
        self.descriptors.set_max(config.descriptors_max);
        env.policy.set(config.policy());
        env.config.set(config);
        self.sweep.forget_rules();
        // What waits for the end of an interval waits no longer than the new one says.
        self.admission_upkeep.refresh(true, env.clock.boot());
        self.admission_upkeep.window.look_soon();
        self.upkeep.hasten();
        // What waits for a rate waits by the new one.
        *env.deliver_at.lock() = Boot::default();
        for target in self.targets.all() {
            env.budget.relax_target(target.writer.usage());
            target.pace.lock().forget_wait();
        }
        self.targets.announce_all();
        Ok(())
    }

    fn fence(&self, namespace: Namespace, before: UnixMillis) -> Result<()> {
        let mut journal = self.journal.lock();
        // Under the lock: close writes its last record under it.
        self.env.check_open()?;
        self.env.check_home()?;
        journal.append_or_forget(Record::Fence { namespace, before })?;
        self.fences.set(journal.state.fences());
        drop(journal);
        self.admission.fences_changed();
        // Whole segments may be fenced now.
        self.sweep.forget_rules();
        Ok(())
    }

    fn losses(&self) -> Vec<Loss> {
        // Under the lock of the journal none is on its way from one to the other.
        let journal = self.journal.lock();
        let mut losses = journal.state.losses.clone();
        losses.extend(self.env.new_losses.get().iter().copied());
        losses.iter().copied().collect()
    }

    /// Settles loss receipts, durably.
    pub(crate) fn settle(&self, repaired: Repaired) -> Result<()> {
        let mut journal = self.journal.lock();
        self.env.check_open()?;
        self.env.check_home()?;
        journal.append_losses(&self.env.take_losses())?;
        Ok(journal.append(&[Record::Repaired(repaired)])?)
    }

    fn shutdown(&self, within: Duration) -> Result<Shutdown> {
        let env = &self.env;
        env.writer.refuse_appends();
        env.draining.store(true, SeqCst);
        self.compaction.cancel();
        // Who waits for a page gets none.
        self.pager.let_go();
        let deadline = Some(env.clock.boot() + within);
        let pages_out = || {
            let of = |target: &Arc<Target>| target.pages_out();
            self.targets.all().iter().map(of).sum::<usize>()
        };
        let returned = &env.pages_returned;
        env.runner
            .wait_until(returned, deadline, &mut || pages_out() == 0);
        let pages_out = pages_out();
        self.close().map(|()| Shutdown { pages_out })
    }

    /// Closes the store. The first caller does, and the directory lock is released last. Another caller
    /// must not wait for it: it may be a step, for whose end the first one waits.
    fn close(&self) -> Result<()> {
        let mut closing = self.closing.lock();
        let lock = match std::mem::replace(&mut *closing, Closing::Now) {
            Closing::Open(lock) => lock,
            Closing::Now => return Err(Error::Closing),
            Closing::Done { durable } => {
                *closing = Closing::Done { durable };
                return durable.then_some(()).ok_or(Error::NotDurable);
            }
        };
        drop(closing);
        let env = &self.env;
        env.closing.store(true, SeqCst);
        self.pager.let_go();
        // It writes files: none comes behind the lock's release.
        self.compaction.stop();
        env.runner.stop();
        let durable = env.writer.close(|| self.targets.writers());
        // The next open would not report what is gone by now.
        let missing = self.whole.end_missing();
        let done = self.checkpoints.checkpoint().and(missing);
        env.closed.store(true, SeqCst);
        env.writer.end_commits(&self.targets.writers());
        let done = done.and_then(|()| {
            // What is durable no crash can take.
            let windows = Record::Windows {
                unflushed_bytes: 0,
                unsynced_bytes: 0,
            };
            let peace = if durable { vec![windows] } else { Vec::new() };
            Ok(self.journal.lock().append(&peace)?)
        });
        drop(lock);
        // Behind the lock: who opens it again at the end of the events finds it free.
        env.subscribers.end();
        let all = durable && done.is_ok();
        *self.closing.lock() = Closing::Done { durable: all };
        done?;
        durable.then_some(()).ok_or(Error::NotDurable)
    }
}

/// Whether a store is open.
#[derive(Debug)]
pub(crate) enum Closing {
    /// It is; this is its lock.
    Open(Lock),
    /// Somebody closes it.
    Now,
    /// It was closed, and what it held is durable, or not.
    Done { durable: bool },
}

impl Drop for Store {
    fn drop(&mut self) {
        // Nobody is left to get an error; `close` is for those who ask.
        drop(self.close());
        self.env.writer.forget();
    }
}

/// An open store. Cheap to clone; all clones are the same store.
///
/// Dropping the last one closes the store as well as it can; [`HintStore::close`] also says how
/// that went.
#[derive(Clone)]
pub struct HintStore {
    store: Arc<Store>,
}

impl HintStore {
    /// Opens the store in a directory, making it where it is not there. Ready on return.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has it open; [`Error::OtherVersion`] where a newer version
    /// wrote it; [`Error::Storage`] where the directory cannot be used. A damaged file is no
    /// error: see [`HintStore::open_report`].
    ///
    /// # Blocking
    /// On the disk: reads the end of each hint file, walks those that a crash left open, and syncs the journal.
    pub fn open(config: Config) -> Result<Self> {
        let environment = Environment::system(&config);
        Self::open_in(environment, config)
    }

    /// Opens a store that stands on other than the operating system: in simulations.
    ///
    /// # Blocking
    /// As [`HintStore::open`].
    pub fn open_in(environment: Environment, config: Config) -> Result<Self> {
        let store = Arc::new(open(environment, config)?);
        Ok(Self { store })
    }

    /// What opening found and did. Does not block.
    pub fn open_report(&self) -> &OpenReport {
        &self.store.report
    }

    /// The identity of the store: with target and sequence, the key of a hint. Does not block.
    pub fn id(&self) -> StoreId {
        self.store.env.store
    }

    /// Takes a hint, and returns when it has reached `durability` (P1).
    ///
    /// # Errors
    /// [`crate::AppendError::Refused`]: the hint was not accepted, and no sequence was taken.
    /// [`crate::AppendError::InDoubt`]: it was accepted and may be delivered, but the durability was not reached
    /// within [`Config::append_timeout`]; [`HintStore::wait`] waits again.
    ///
    /// # Blocking
    /// `Buffered` waits only where all memory is in use, or a quarter of it by this target, `Os` for a write, `Durable` for an fdatasync that
    /// it shares with others: each for the append timeout at most.
    #[inline]
    pub fn append(&self, hint: Hint<'_>, durability: Durability) -> AppendResult {
        self.store.appender.append(hint, durability, None)
    }

    /// As [`HintStore::append`], for tasks: takes the hint, or refuses it, at once, and gives a future of what `append`
    /// returns. Hints that are submitted while a write or a sync goes on share the next.
    ///
    /// ```
    /// # async fn example(store: &hintstore::HintStore, hint: hintstore::Hint<'_>) -> hintstore::Result<()> {
    /// use hintstore::Durability;
    ///
    /// let receipt = store.submit(hint, Durability::Durable)?.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Refusal`]: the hint was not accepted; also where it had to wait for memory. The future gives
    /// [`crate::AppendError::InDoubt`] where the disk refuses. Where a disk hangs, so does the future:
    /// bound it as your executor does, and drop it; that loses nothing.
    ///
    /// # Blocking
    /// On no level. As [`HintStore::append`] of a buffered hint, it helps to write where many blocks wait for the disk.
    pub fn submit(
        &self,
        hint: Hint<'_>,
        durability: Durability,
    ) -> std::result::Result<Pending, Refusal> {
        Appender::submit(&self.store, hint, durability)
    }

    /// As [`HintStore::append`], with a timeout of its own. Where as many hints wait for their level as may, it
    /// waits for a place until then, and is refused as [`Refusal::Overloaded`] only behind it.
    ///
    /// # Errors
    /// As those of [`HintStore::append`].
    ///
    /// # Blocking
    /// As [`HintStore::append`], for `timeout` at most.
    #[inline]
    pub fn append_within(
        &self,
        hint: Hint<'_>,
        durability: Durability,
        timeout: Duration,
    ) -> AppendResult {
        self.store.appender.append(hint, durability, Some(timeout))
    }

    /// Takes hints in order, for any targets; the outcome of each is in its place. One that is refused
    /// stops no other. One sync a target covers the batch.
    ///
    /// # Blocking
    /// As [`HintStore::append`], for the append timeout at most in all.
    #[must_use = "each hint may have been refused"]
    pub fn append_batch(&self, hints: &[Hint<'_>], durability: Durability) -> Vec<AppendResult> {
        self.store.appender.append_batch(hints, durability)
    }

    /// Takes one hint for several targets, whatever target it names itself: it is encoded and
    /// checksummed once. The outcome of each target is in its place; one that refuses stops no other.
    ///
    /// # Blocking
    /// As [`HintStore::append`], for the append timeout at most in all.
    #[must_use = "each target may have refused the hint"]
    pub fn append_for(
        &self,
        hint: &Hint<'_>,
        targets: &[TargetId],
        durability: Durability,
    ) -> Vec<AppendResult> {
        self.store.appender.append_for(hint, targets, durability)
    }

    /// Takes back a hint that was kept in case its replica would not answer, and it did: it is not handed out any more,
    /// and ends as superseded when its turn comes. False where it may be delivered all the same: it has
    /// ended, was moved because it waits for a retry, or as many are taken back as may be. One that is out now is
    /// not sent again. Where the store is opened again before its turn, the call is forgotten, and the hint is delivered.
    ///
    /// # Blocking
    /// While another thread holds the books of the target: it reads a page, makes a checkpoint durable, or moves
    /// hints. On a slow disk that is as long as the disk takes.
    pub fn retract(&self, receipt: &Receipt) -> bool {
        let Some(target) = self.store.targets.get(receipt.target) else {
            return false;
        };
        let is_accepted = receipt.sequence < target.writer.next();
        is_accepted && target.backlog.progress.lock().retract(receipt.sequence)
    }

    /// Waits again for a hint that was accepted to reach `durability`.
    ///
    /// # Errors
    /// [`crate::AppendError::InDoubt`]: it was not reached within [`Config::append_timeout`].
    ///
    /// # Blocking
    /// For the append timeout at most.
    pub fn wait(&self, receipt: Receipt, durability: Durability) -> AppendResult {
        self.store.appender.wait(receipt, durability, None)
    }

    /// As [`HintStore::wait`], with a timeout of its own.
    ///
    /// # Errors
    /// As those of [`HintStore::wait`].
    ///
    /// # Blocking
    /// For `timeout` at most.
    pub fn wait_within(
        &self,
        receipt: Receipt,
        durability: Durability,
        timeout: Duration,
    ) -> AppendResult {
        self.store.appender.wait(receipt, durability, Some(timeout))
    }

    /// One target: its pages, its state, its order. Costs nothing, and makes nothing of a target that
    /// nobody has named before. Does not block.
    pub fn target(&self, id: TargetId) -> TargetHandle {
        TargetHandle::new(&self.store, id)
    }

    /// Refuses hints from now on: all, those for a group of targets, or those of a namespace, as
    /// [`Refusal::Disabled`]. Not remembered across restarts. Does not block.
    pub fn disable(&self, scope: Scope<'_>) {
        self.store.admission.accept(scope, false);
    }

    /// Takes back a [`HintStore::disable`] of the same scope; one of another scope counts on. Does not block.
    pub fn enable(&self, scope: Scope<'_>) {
        self.store.admission.accept(scope, true);
    }

    /// Says that nothing of a namespace that was created before `before` matters any more: it was
    /// truncated, dropped, or repaired up to then. Durable on return; such hints end as fenced
    /// when delivery meets them, whole segments of them at the next sweep, and they are refused from now on.
    /// A fence ends when whatever it can cover is dead by [`Config::max_lifetime`] or the namespace's
    /// [`Config::gc_grace_now`]; without either, never. A bound that is raised later does not bring it back.
    ///
    /// # Blocking
    /// On an fdatasync of the journal.
    pub fn fence(&self, namespace: Namespace, before: UnixMillis) -> Result<()> {
        self.store.fence(namespace, before)
    }

    /// Makes acknowledgements durable now, and removes the files of segments that are done.
    ///
    /// # Blocking
    /// On an fdatasync of the journal, and of what it covers where that is not durable yet.
    pub fn checkpoint(&self) -> Result<()> {
        self.store.checkpoints.checkpoint()
    }

    /// Loss receipts: what ended undelivered or was refused, and has to be repaired, as far as it is not
    /// [settled](Self::repaired). They are durable from the next checkpoint on, and never more than 32 for a
    /// target: where there are too many they are joined, and say less. A hint that was refused and then
    /// accepted at a second try has one as well.
    ///
    /// ```
    /// # fn example(store: &hintstore::HintStore) -> hintstore::Result<()> {
    /// use hintstore::Repaired;
    ///
    /// let began = store.now();
    /// for loss in store.losses() {
    ///     println!("repair {:?} of {:?}: {}", loss.namespace, loss.target, loss.cause.word());
    /// }
    /// // All replicas were compared: what was written before is where it belongs.
    /// store.repaired(Repaired { target: None, namespace: None, before: began })
    /// # }
    /// ```
    ///
    /// # Blocking
    /// While another thread makes a checkpoint durable.
    pub fn losses(&self) -> Vec<Loss> {
        self.store.losses()
    }

    /// Settles loss receipts of writes that were repaired: those that tell of nothing else.
    ///
    /// # Blocking
    /// On an fdatasync of the journal.
    pub fn repaired(&self, repaired: Repaired) -> Result<()> {
        self.store.settle(repaired)
    }

    /// Has pages delivered by `delivery` to every target that is up, from now on. Does not block.
    /// # Errors
    /// [`Error::Delivering`] where another delivers already; [`Error::Threads`]; [`Error::Closed`].
    pub fn deliver_by(&self, delivery: Arc<dyn Delivery>) -> Result<()> {
        self.store.env.check_open()?;
        self.store.deliver.begin(delivery)
    }

    /// Hands no further page to delivery, and waits until those that are out have come back, or for `within`. Then
    /// [`HintStore::deliver_by`] may begin another.
    ///
    /// # Blocking
    /// Until pages are back, for `within` at most.
    pub fn stop_delivery(&self, within: Duration) -> Shutdown {
        let pages_out = self.store.deliver.stop(within);
        Shutdown { pages_out }
    }

    /// Says which epoch of its topology the embedder has reached: targets that are
    /// [up from](TargetHandle::up_from) a later one wait. Does not block.
    pub fn set_topology_epoch(&self, epoch: u64) {
        self.store.env.topology_epoch.store(epoch, SeqCst);
        self.store.targets.announce_all();
    }

    /// What [`HintStore::truncate`] would discard.
    ///
    /// # Blocking
    /// On the disk: what is in memory is synced, and each segment that may be concerned is read.
    pub fn plan_truncate(&self, what: &Truncate) -> Result<Vec<Discarded>> {
        self.store.discarder.plan(what)
    }

    /// Discards hints: durable on return, their files gone where nothing else is in them.
    ///
    /// # Errors
    /// [`Error::NotDurable`] where some of it is in memory and could not be written, not even in the
    /// room that the rest left: that rest is discarded.
    ///
    /// # Blocking
    /// As [`HintStore::plan_truncate`], and then on the journal.
    pub fn truncate(&self, what: &Truncate) -> Result<Vec<Discarded>> {
        self.store.discarder.truncate(what)
    }

    /// Discards single hints of a target, by their sequences: durable on return. The segments that have any of them
    /// are rewritten without these, and without what is dead; [`HintStore::truncate`] is cheaper where hints go by
    /// age or namespace. Hints that are accepted after the call began are never touched. Those in pages that are out end as discarded, whether or not their target has got them by now. Each
    /// hint that is discarded is in a [loss receipt](crate::Loss).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use hintstore::{Config, Durability, Hint, HintStore, TargetId, UnixMillis};
    /// # let directory = std::env::temp_dir().join(format!("hintstore-doc-discard-{}", std::process::id()));
    /// # let replica = TargetId::from_u128(1);
    /// # let store = HintStore::open(Config::new(&directory))?;
    /// # let now = UnixMillis::from(std::time::SystemTime::now());
    /// # let hint = Hint::new(replica, now, Duration::from_secs(864_000), b"a write");
    /// let receipt = store.append(hint, Durability::Durable)?;
    /// let done = store.discard(replica, &[receipt.sequence..=receipt.sequence])?;
    /// assert!(done.skipped.is_empty());
    /// assert_eq!(done.compacted.iter().map(|of| of.discarded).sum::<u64>(), 1);
    /// # store.close()?;
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotDurable`] where some of the target's hints are in memory and cannot be written;
    /// [`Error::Storage`] where the journal cannot be written. A crash leaves each segment as it was or as it is to
    /// be. What could not be rewritten is in [`Compaction::skipped`], and its hints stay: a segment that is damaged,
    /// one of hints that wait for a retry, one that there is no room to rewrite, or whose hints ended while it was,
    /// and, where the call was cancelled as a compaction is, all that it had not come to.
    ///
    /// # Blocking
    /// While a compaction runs, and on the disk: as [`HintStore::compact`].
    pub fn discard(
        &self,
        target: TargetId,
        hints: &[RangeInclusive<Sequence>],
    ) -> Result<Compaction> {
        let mut ranges = Ranges::default();
        for hints in hints {
            let (first, last) = (*hints.start(), *hints.end());
            if first <= last {
                ranges.insert(Range { first, last });
            }
        }
        self.store.compaction.discard(target, &ranges)
    }

    /// Drops segments in which every hint is dead. Happens by itself once in a while.
    ///
    /// # Blocking
    /// On the disk: looks at the name of each hint file, and checkpoints.
    pub fn sweep(&self) -> Result<()> {
        self.store.sweep.sweep()
    }

    /// What [`HintStore::compact`] would do.
    ///
    /// # Blocking
    /// While a compaction runs, and on the disk: reads the footers of segments in which something is dead.
    pub fn plan_compact(&self, what: &Compact) -> Result<Compaction> {
        self.store.compaction.plan(what)
    }

    /// Drops segments in which every hint is dead, then rewrites those that are mostly dead and merges small
    /// ones: space comes back, and nothing else changes. Order and keys of the hints stay, delivery and
    /// appends go on. Needs free space for one segment at most; what there is no space for is skipped, and
    /// reported. Happens by itself each [`Config::compact_interval`], where it is worth it.
    ///
    /// # Errors
    /// [`Error::Storage`] where the journal cannot be written: what was rewritten before stays so.
    ///
    /// # Blocking
    /// Until it is done, or cancelled: it reads and writes at most [`Config::compact_bytes_per_second`].
    pub fn compact(&self, what: &Compact) -> Result<Compaction> {
        self.store.compaction.run(what, By::Call)
    }

    /// Ends a compaction that runs, by itself or by a call, behind the block that it is at: what it rewrites at
    /// that moment stays as it was. Does not block.
    pub fn cancel_compaction(&self) {
        self.store.compaction.cancel();
    }

    /// Ends all hints that a target has, as discarded, because they matter no more; nothing is kept of one that
    /// does not come back. Hints that are accepted later are its own again.
    ///
    /// # Errors
    /// As those of [`HintStore::truncate`].
    ///
    /// # Blocking
    /// As [`HintStore::truncate`].
    pub fn forget(&self, target: TargetId, why: Departure) -> Result<Option<Discarded>> {
        topology::forget(&self.store, target, why)
    }

    /// Gives the hints of a target that left to those that own its data now: each of `to` gets each hint, with
    /// what it lives for and with the key that it had, so that receivers know it again. They are durable there
    /// before they end here, as superseded. Say first that the target is [down](crate::TargetHandle::down). A
    /// crash in between gives some of them twice. Hints that may not be delivered twice stay.
    ///
    /// # Errors
    /// [`Error::Storage`] where a segment cannot be read: what went before has gone.
    ///
    /// # Blocking
    /// Until all was read and is durable; on each page for the append timeout at most.
    pub fn readdress(&self, from: TargetId, to: &[TargetId]) -> Result<Readdressed> {
        topology::readdress(&self.store, from, to)
    }

    /// Says which targets there are. Hints for others are orphans: reported by [`HintStore::orphans`], and
    /// discarded at [`Config::orphan_age_max`], if that is set. How many they are also bounds how many hold hints for
    /// one target, which is where delivery begins ([`Config::give_way`]). Not remembered across restarts. Does not block.
    pub fn set_members(&self, members: impl IntoIterator<Item = TargetId>) {
        let count = self.store.members.set(members);
        self.store.env.holders.store(count, SeqCst);
    }

    /// Targets with hints that are not among the members; none where nobody said who is.
    ///
    /// # Blocking
    /// While another thread holds the books of a target: it reads a page, makes a checkpoint durable, or moves
    /// hints. On a slow disk that is as long as the disk takes.
    pub fn orphans(&self) -> Vec<Orphan> {
        topology::orphans(&self.store.members, &self.store.targets)
    }

    /// A token for everything in its scope that targets were given so far: a repair that begins with it
    /// and waits for it finds no hint still on its way. Targets that are down are waited for as well; those
    /// that never had a hint have nothing to wait for.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use hintstore::{SyncPoint, SyncScope, SyncState};
    /// # fn example(store: &hintstore::HintStore) -> Result<(), Box<dyn std::error::Error>> {
    /// let token = store.sync_point(&SyncScope::all())?.to_string();
    /// // Perhaps in another process, after a restart.
    /// let point: SyncPoint = token.parse()?;
    /// match store.wait_sync_point(&point, Duration::from_secs(60))? {
    ///     SyncState::Reached => {}
    ///     SyncState::ReachedWithLoss { targets, .. } => println!("repair {targets:?}"),
    ///     other => println!("not yet: {other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotDurable`] where hints in memory could not be made durable.
    ///
    /// # Blocking
    /// On an fdatasync of each target that has hints in memory or in the kernel; for a scope by namespace it reads
    /// the footer of each of their segments.
    pub fn sync_point(&self, scope: &SyncScope) -> Result<SyncPoint> {
        self.store.sync_points.make(scope)
    }

    /// How far a sync point has come.
    ///
    /// # Errors
    /// [`Error::OtherStore`].
    ///
    /// # Blocking
    /// While another thread holds the books of a target: it reads a page, makes a checkpoint durable, or moves
    /// hints. On a slow disk that is as long as the disk takes.
    pub fn sync_state(&self, point: &SyncPoint) -> Result<SyncState> {
        self.store.sync_points.state(point)
    }

    /// Waits until a sync point is reached. Gives its state where that takes longer than `within`, or the store
    /// is being closed. A caller that wants to give up earlier waits in short pieces: nothing is lost between
    /// them.
    ///
    /// # Errors
    /// [`Error::OtherStore`].
    ///
    /// # Blocking
    /// For `within` at most, and as [`HintStore::sync_state`].
    pub fn wait_sync_point(&self, point: &SyncPoint, within: Duration) -> Result<SyncState> {
        self.store.sync_points.wait(point, within)
    }

    /// Says that the clock is right, after a step: hints that were held for it are judged again. Does not block.
    pub fn confirm_clock(&self) {
        self.store.env.time.confirm(&*self.store.env.clock);
        self.store.targets.announce_all();
    }

    /// The books (P8): exact at every moment.
    ///
    /// # Blocking
    /// While another thread holds the books of a target: it reads a page, makes a checkpoint durable, or moves
    /// hints. On a slow disk that is as long as the disk takes.
    pub fn ledger(&self) -> Ledger {
        Ledger::of_all(&self.store.targets)
    }

    /// Bytes of accepted hints that are not safe yet. Does not block.
    pub fn at_risk(&self) -> AtRisk {
        let (unflushed, unsynced) = self.store.env.writer.windows();
        AtRisk {
            unflushed,
            unsynced,
        }
    }

    /// The settings as they are now. Does not block.
    pub fn config(&self) -> Config {
        Config::clone(&self.store.env.config())
    }

    /// Changes settings while the store is at work. What they are about begins to follow them within a
    /// moment; hints that are stored already are judged by the new rules.
    ///
    /// ```
    /// # fn example(store: &hintstore::HintStore) -> hintstore::Result<()> {
    /// store.reconfigure(|config| config.disk.total = Some(hintstore::Bytes::mib(20 << 10)))
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] where a value makes no sense, or one differs that is fixed when the store
    /// is opened: nothing is changed then.
    ///
    /// # Blocking
    /// On the disk where the window of unsynced bytes is widened, and on another call of this: `change` must not
    /// call it.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Config)) -> Result<()> {
        self.store.reconfigure(change)
    }

    /// What goes on inside: per target and in all. Looks at every target; costs about a
    /// microsecond for each.
    ///
    /// # Blocking
    /// While another thread holds the books of a target: it reads a page, makes a checkpoint durable, or moves
    /// hints. On a slow disk that is as long as the disk takes.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.store)
    }

    /// What happens from now on: changes of state, drained backlogs, losses.
    ///
    /// ```
    /// # fn example(store: &hintstore::HintStore) {
    /// use std::time::Duration;
    /// use hintstore::Event;
    ///
    /// let events = store.events();
    /// while !events.is_over() {
    ///     match events.wait_next(Duration::from_secs(1)) {
    ///         Some(Event::Drained(target)) => println!("{target} has all"),
    ///         Some(Event::Lost(loss)) => println!("repair {:?} of {:?}", loss.namespace, loss.target),
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Blocking
    /// While another thread holds the books of a target: it reads a page, makes a checkpoint durable, or moves
    /// hints. On a slow disk that is as long as the disk takes.
    pub fn events(&self) -> Events {
        let env = &self.store.env;
        if !env.subscribers.any() {
            // What drained before is no news.
            for target in self.store.targets.all() {
                target.is_newly_drained();
            }
        }
        env.subscribers.subscribe(&env.runner, &env.clock)
    }

    /// The time that expiry judges by at present. Does not block.
    pub fn now(&self) -> UnixMillis {
        self.store.env.now().at_least()
    }

    /// Why appends are refused at present, if they are. Does not block.
    pub fn refusing(&self) -> Option<Refusal> {
        self.store.env.writer.trouble()
    }

    /// A handle that does not keep the store open: for a [`Delivery`] or a metrics registry, which the
    /// store outlives otherwise only in a circle. Does not block.
    pub fn downgrade(&self) -> WeakHintStore {
        WeakHintStore {
            store: Arc::downgrade(&self.store),
        }
    }

    /// Takes no more hints and hands out no more pages, waits until the pages that are out have come
    /// back, and closes. Behind `within` it closes all the same: hints of pages that are still out are
    /// handed out again at the next open.
    ///
    /// # Errors
    /// As those of [`HintStore::close`].
    ///
    /// # Blocking
    /// For `within`, and then as [`HintStore::close`].
    pub fn shutdown(&self, within: Duration) -> Result<Shutdown> {
        self.store.shutdown(within)
    }

    /// Flushes, syncs, seals and checkpoints everything, and releases the directory: under all handles of
    /// the store, whose calls answer `Closed` from then on. Closed again, it gives the same answer. A page
    /// that is out counts as not delivered.
    ///
    /// # Errors
    /// [`Error::NotDurable`] where some hints did not reach the disk; [`Error::Closing`] where another call
    /// closes the store right now.
    ///
    /// # Blocking
    /// On the disk: for a minute (or the append timeout, if that is longer) where it does not answer, and for
    /// one fdatasync.
    pub fn close(self) -> Result<()> {
        self.store.close()
    }
}

/// A handle of a store that does not keep it open: see [`HintStore::downgrade`].
#[derive(Clone)]
pub struct WeakHintStore {
    store: Weak<Store>,
}

impl WeakHintStore {
    /// The store, while somebody else has a handle of it. Does not block.
    pub fn upgrade(&self) -> Option<HintStore> {
        let store = self.store.upgrade()?;
        Some(HintStore { store })
    }
}

impl fmt::Debug for WeakHintStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakHintStore")
    }
}

/// How a [`HintStore::shutdown`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Pages that had not come back in time.
    pub pages_out: usize,
}

impl fmt::Debug for HintStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HintStore({})", self.id())
    }
}
