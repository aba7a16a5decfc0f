//! The handle, and the engine behind it: the parts wired together.

use std::{collections::BTreeMap, fmt, ops::Deref, sync::Arc, time::Duration};

use hintstore_env::{
    Boot, Clock, Live, Lock, Next, Runner, Storage, Waker,
    sync::{AtomicBool, AtomicU64, Mutex, Ordering::SeqCst},
};
use hintstore_format::{
    Incarnation, Namespace, SegmentId, Sequence, StoreId, TargetId, UnixMillis, journal::Record,
};
use hintstore_writer::{
    AppendError, Batch, ByTarget, Bytes, Gate, Hint, Home, Level, Parts, Receipt, Refusal,
    TargetStart, TargetWriter, Writer,
};

use crate::{
    Answer, Config, Delivery, Discarded, Environment, Error, Ledger, OpenReport, Page, Result,
    Scope, Snapshot, Truncate,
    admit::Admission,
    catalog::{Catalog, Queue, SegmentEntry},
    deliver::{CheckAhead, CheckQueue, Checkpoint, Deliver},
    expire::{Known, TrustedClock},
    journal::Journal,
    observe::{event, span},
    recover::{Recovered, each_hint, recover},
    space::{CloseFiles, Descriptors},
};

/// The clock is persisted when it was last persisted so long ago.
const CLOCK_MILLIS: i64 = 60_000;

/// What an open store is made of.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) storage: Arc<dyn Storage>,
    /// The same: its bound can be set.
    pub(crate) descriptors: Descriptors,
    pub(crate) clock: Arc<dyn Clock>,
    config: Live<Config>,
    pub(crate) store: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: u32,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) writer: Writer,
    /// Taken before any target's progress.
    pub(crate) journal: Mutex<Journal>,
    pub(crate) time: TrustedClock,
    pub(crate) admission: Admission,
    pub(crate) runner: Arc<dyn Runner>,
    /// Whether the directory is still the store's own.
    pub(crate) home: Arc<Home>,
    /// Checks blocks before they are read.
    pub(crate) check_queue: Arc<CheckQueue>,
    last_created: ByTarget<UnixMillis>,
    report: OpenReport,
    /// The latest deadlines of segments whose footers were read for the rules by namespace.
    pub(crate) latest: Mutex<BTreeMap<(StoreId, SegmentId), UnixMillis>>,
    /// Wakes the step that checkpoints.
    waker: Waker,
    sweep_at: Mutex<Boot>,
    pub(crate) refresh_at: Mutex<Boot>,
    /// Bytes of foreign files, as they were when the store was opened.
    pub(crate) foreign_bytes: u64,
    /// Bytes of files that are set aside.
    pub(crate) aside_bytes: AtomicU64,
    /// Confirmations of the clock up to the last look.
    confirmations_seen: AtomicU64,
    closed: AtomicBool,
    lock: Mutex<Option<Lock>>,
}

impl Engine {
    /// The settings as they are now.
    pub(crate) fn config(&self) -> impl Deref<Target = Arc<Config>> + use<> {
        self.config.get()
    }

    /// Exchanges settings, those that can be.
    fn configure(&self, config: Config) -> Result<()> {
        self.check_open()?;
        self.check_home()?;
        config.check()?;
        config.only_live_differ(&self.config())?;
        let was = self.config().writer.unsynced_bytes_max;
        if config.writer.unsynced_bytes_max > was {
            // Known before it counts: what a crash may have cost is told at the next open. A
            // narrower one does not hold yet.
            let mut journal = self.journal.lock();
            journal.append_or_forget(config.windows())?;
        }
        self.admission.set_policy(&config.expiry);
        self.writer.configure(config.writer.clone());
        self.descriptors.set_max(config.descriptors_max);
        self.config.set(config);
        // By other rules than these.
        self.latest.lock().clear();
        // What waits for the end of an interval waits no longer than the new one says.
        let now = self.clock.boot();
        *self.sweep_at.lock() = now;
        *self.refresh_at.lock() = now;
        self.refresh_admission(true, now);
        self.waker.wake();
        for queue in self.catalog.all() {
            self.catalog.budget.relax_target(&queue.usage);
        }
        self.catalog.list_all();
        Ok(())
    }

    pub(crate) fn queue(&self, target: TargetId) -> Result<Arc<Queue>> {
        self.catalog.get(target).ok_or(Error::UnknownTarget(target))
    }

    fn fence(&self, namespace: Namespace, before: UnixMillis) -> Result<()> {
        self.check_open()?;
        self.check_home()?;
        let mut journal = self.journal.lock();
        journal.append_or_forget(Record::Fence { namespace, before })?;
        self.admission.set_fences(journal.state.fences());
        Ok(())
    }

    /// Looks at the time, and where something happened at the space and the windows, on which it
    /// depends who may append.
    pub(crate) fn refresh_admission(&self, touched: bool, boot: Boot) {
        let now = self.time.now(&*self.clock).at_least();
        // Whoever noticed it.
        let confirmed = self.time.confirmations();
        if self.confirmations_seen.swap(confirmed, SeqCst) != confirmed {
            // What was held for the clock can go.
            self.catalog.list_all();
        }
        let take_all = self.config().take_expired;
        self.admission
            .set_now(if take_all { UnixMillis::MIN } else { now });
        if self.is_refresh_due(boot) || touched {
            // A device that does not tell its space now is asked again.
            drop(self.look_at_space());
            self.look_at_windows();
        }
    }

    pub(crate) fn sweep_due(&self, now: Boot) -> bool {
        let mut at = self.sweep_at.lock();
        let due = *at <= now;
        if due {
            *at = now + self.config().sweep_interval;
        }
        due
    }

    /// The clock, where it is confirmed and was last persisted a while ago.
    pub(crate) fn clock_record(&self, journal: &Journal) -> Option<Record> {
        let (wall, boot) = self.time.confirmed()?;
        let last = journal
            .state
            .clock
            .map_or(i64::MIN, |(wall, ..)| wall.get());
        let old = wall.get().abs_diff(last) >= CLOCK_MILLIS.unsigned_abs();
        let boot_ms = u64::try_from(boot.get().as_millis()).unwrap_or(u64::MAX);
        old.then(|| Record::ClockConfirmed {
            wall,
            boot_ms,
            boot: self.clock.boot_id(),
        })
    }

    /// Calls back for each intact hint of a segment, open or closed.
    pub(crate) fn each_in(
        &self,
        entry: &SegmentEntry,
        call: impl FnMut(Sequence, Namespace, UnixMillis),
    ) -> Result<()> {
        Ok(each_hint(&*self.storage, entry, call)?)
    }

    /// Nothing is done with a directory that may be another's by now.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(SeqCst) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Whether somebody closes it, or has.
    pub(crate) fn is_closing(&self) -> bool {
        self.lock.lock().is_none()
    }

    /// Nothing is made durable in a directory that is not the store's own any more.
    pub(crate) fn check_home(&self) -> Result<()> {
        self.writer.check_home().map_err(|what| Error::Gone {
            path: self.storage.path(""),
            what,
        })
    }

    fn shut(&self) -> Result<()> {
        // Whoever comes first shuts; the lock goes last.
        let Some(lock) = self.lock.lock().take() else {
            return Ok(());
        };
        self.runner.stop();
        let durable = self.writer.close();
        // What is gone by now is told at the next open no more.
        let missing = self.end_missing();
        let done = self.checkpoint().and(missing);
        self.closed.store(true, SeqCst);
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
        done?;
        if durable {
            Ok(())
        } else {
            Err(Error::NotDurable)
        }
    }
}

impl Gate for Engine {
    #[inline]
    fn admit(&self, hint: &Hint<'_>) -> std::result::Result<(), Refusal> {
        self.admission.admit(hint)
    }

    fn writer_of(&self, target: TargetId) -> Arc<TargetWriter> {
        if let Some(writer) = self.writer.known(target) {
            return writer;
        }
        let last_created = self.last_created.get(&target).copied();
        let queue = self.catalog.get_or_add(target);
        let start = TargetStart {
            last_created: last_created.unwrap_or(UnixMillis::MIN),
            usage: queue.usage.clone(),
            past_window: queue.is_past_window(),
        };
        let begin = || {
            let now = self.time.now(&*self.clock).at_least();
            let mut ages = queue.ages.lock();
            ages.note(queue.next(self.epoch), now, Duration::ZERO);
            self.writer.target(target, || start)
        };
        queue.writer.get_or_init(begin).clone()
    }

    /// Told of a target that never had a hint, this makes nothing of it: mistaken targets take no
    /// memory.
    fn refused(&self, target: TargetId, reason: Refusal) {
        if let Some(queue) = self.catalog.get(target) {
            queue.refused.get_or_init(Box::default).add(reason, 1);
        }
    }
}

/// An open store. Cheap to clone; all clones are the same store.
///
/// Dropping the last one closes the store as well as it can; [`HintStore::close`] also says how
/// that went.
#[derive(Clone)]
pub struct HintStore {
    handle: Arc<Handle>,
}

struct Handle {
    engine: Arc<Engine>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to be told; `close` is for those who ask.
        drop(self.engine.shut());
        // Writers know the catalog and the catalog knows writers: without this neither would go.
        self.engine.catalog.clear();
        self.engine.writer.forget();
    }
}

impl HintStore {
    /// Opens the store in a directory, making it where it is not there. Ready on return.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has it open; [`Error::Newer`] where a newer version
    /// wrote it; [`Error::Storage`] where the directory cannot be used. A damaged file is no
    /// error: see [`HintStore::open_report`].
    pub fn open(config: Config) -> Result<Self> {
        let environment = Environment::system(&config);
        Self::open_in(environment, config)
    }

    /// Opens a store that stands on other than the operating system: in simulations.
    pub fn open_in(environment: Environment, config: Config) -> Result<Self> {
        config.check()?;
        span!("open");
        let recovered = recover(&environment, &config)?;
        event!(info, store = %recovered.store, epoch = recovered.epoch, "opened: {}", recovered.report);
        // What opening opens it also closes; the bound is for what stays open.
        let inner = environment.storage.clone();
        let descriptors = Descriptors::new(inner, config.descriptors_max);
        let environment = Environment {
            storage: Arc::new(descriptors.clone()),
            ..environment
        };
        let Recovered {
            lock,
            store,
            incarnation,
            epoch,
            catalog,
            journal,
            report,
            last_created,
            earliest_accepted,
            foreign_bytes,
            aside_bytes,
        } = recovered;
        let Environment {
            storage,
            clock,
            runner,
        } = environment;
        let home = Arc::new(Home::new(storage.clone(), &lock));
        let parts = Parts {
            storage: storage.clone(),
            clock: clock.clone(),
            runner: runner.clone(),
            events: catalog.clone(),
            budget: catalog.budget.clone(),
            home: home.clone(),
        };
        let writer = Writer::start(parts, config.writer.clone(), store, incarnation, epoch)
            .map_err(Error::Threads)?;
        let known = match journal.state.clock {
            Some((wall, boot_ms, boot)) if boot == clock.boot_id() => {
                Known::ThisBoot(wall, Boot::new(Duration::from_millis(boot_ms)))
            }
            Some((wall, ..)) => Known::EarlierBoot(wall),
            // Hints tell when they were accepted, by whatever clock.
            None => earliest_accepted.map_or(Known::Nothing, Known::EarlierBoot),
        };
        let interval = config.checkpoint_interval;
        let engine = Arc::new(Engine {
            check_queue: Arc::new(CheckQueue::new(clock.clone())),
            time: TrustedClock::new(&*clock, known),
            admission: Admission::default(),
            latest: Mutex::default(),
            waker: Waker::default(),
            sweep_at: Mutex::new(clock.boot()),
            refresh_at: Mutex::new(clock.boot()),
            foreign_bytes,
            aside_bytes: AtomicU64::new(aside_bytes),
            storage,
            descriptors,
            home,
            clock,
            config: Live::new(config),
            store,
            incarnation,
            epoch,
            catalog,
            writer,
            journal: Mutex::new(journal),
            runner: runner.clone(),
            last_created,
            report,
            confirmations_seen: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        });
        engine
            .admission
            .set_fences(engine.journal.lock().state.fences());
        engine.admission.set_policy(&engine.config().expiry);
        engine.refresh_admission(true, engine.clock.boot());
        engine.catalog.touch();
        let check_queue = &engine.check_queue;
        runner
            .start(
                Arc::new(CheckAhead(check_queue.clone())),
                check_queue.waker.clone(),
                Next::WhenWoken,
            )
            .map_err(Error::Threads)?;
        let close_files = Arc::new(CloseFiles(engine.descriptors.clone()));
        runner
            .start(
                close_files,
                engine.descriptors.close_waker(),
                Next::WhenWoken,
            )
            .map_err(Error::Threads)?;
        let step = Arc::new(Checkpoint(engine.clone()));
        runner
            .start(step, engine.waker.clone(), Next::After(interval))
            .map_err(Error::Threads)?;
        Ok(Self {
            handle: Arc::new(Handle { engine }),
        })
    }

    #[inline]
    fn engine(&self) -> &Arc<Engine> {
        &self.handle.engine
    }

    /// What opening found and did.
    pub fn open_report(&self) -> &OpenReport {
        &self.engine().report
    }

    /// The identity of the store: with target and sequence, the key of a hint.
    pub fn id(&self) -> StoreId {
        self.engine().store
    }

    /// Takes a hint, and returns when it has reached `level` (P1), or when the configured time is
    /// over.
    ///
    /// # Errors
    /// [`AppendError::Refused`] gives the hint back, and no sequence was taken.
    /// [`AppendError::InDoubt`]: the hint was accepted and may be delivered, but the level was not
    /// reached; it can be waited for again.
    #[inline]
    pub fn append<'a>(
        &self,
        hint: Hint<'a>,
        level: Level,
    ) -> std::result::Result<Receipt, AppendError<'a>> {
        let engine = self.engine();
        engine.writer.append(hint, level, None, &**engine)
    }

    /// As [`HintStore::append`], giving up at `deadline`, a time since boot.
    pub fn append_until<'a>(
        &self,
        hint: Hint<'a>,
        level: Level,
        deadline: Boot,
    ) -> std::result::Result<Receipt, AppendError<'a>> {
        let engine = self.engine();
        engine.writer.append(hint, level, Some(deadline), &**engine)
    }

    /// Takes hints in order, for any targets, until one is refused: the accepted prefix has
    /// receipts, the rest is the caller's. One sync a target covers the batch.
    pub fn append_batch(&self, hints: &[Hint<'_>], level: Level) -> Batch {
        let engine = self.engine();
        engine.writer.append_batch(hints, level, None, &**engine)
    }

    /// Takes one hint for several targets, whatever target it names itself: it is encoded and
    /// checksummed once. The result of each target is in its place; where one has a receipt below
    /// `level`, it can be waited for again.
    pub fn append_for(
        &self,
        hint: &Hint<'_>,
        targets: &[TargetId],
        level: Level,
    ) -> Vec<std::result::Result<Receipt, Refusal>> {
        let engine = self.engine();
        let writer = &engine.writer;
        writer.append_for(hint, targets, level, None, &**engine)
    }

    /// Switches accepting hints on or off, from now on: for all, for a group of targets, or for a
    /// namespace. A hint that is off by any of them is refused as [`Refusal::Disabled`].
    pub fn accept(&self, scope: Scope<'_>, on: bool) {
        self.engine().admission.accept(scope, on);
    }

    /// Puts a target into a group, such as its datacenter, for [`HintStore::accept`].
    pub fn group(&self, target: TargetId, group: &str) {
        self.engine().admission.group(target, group);
    }

    /// Says that nothing of a namespace that was created before `before` matters any more: it was
    /// truncated, dropped, or repaired up to then. Durable on return; such hints end as fenced
    /// when delivery meets them, and are refused from now on.
    pub fn fence(&self, namespace: Namespace, before: UnixMillis) -> Result<()> {
        self.engine().fence(namespace, before)
    }

    /// Waits again for a hint that was accepted to reach `level`.
    pub fn wait(
        &self,
        receipt: Receipt,
        level: Level,
    ) -> std::result::Result<Receipt, AppendError<'static>> {
        self.engine().writer.wait(receipt, level, None)
    }

    /// The next page of a target's hints, in order (P2); `None` where nothing is ready. Hints in
    /// memory come after their flush.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`]; [`Error::Storage`] where a segment cannot be read.
    pub fn page(&self, target: TargetId) -> Result<Option<Page>> {
        let engine = self.engine();
        engine.check_open()?;
        let queue = engine.queue(target)?;
        Ok(engine.next_page(&queue, false)?)
    }

    /// Books what became of a page. Rejected hints are dead letters, and durable as such, on
    /// return; the rest is durable with the next checkpoint.
    ///
    /// # Errors
    /// [`Error::Storage`] where the dead letters could not be written: the rejected hints come
    /// again, all else is booked.
    pub fn acknowledge(&self, page: Page, answer: &Answer) -> Result<()> {
        self.engine().acknowledge(page, answer)
    }

    /// Makes acknowledgements durable now, and removes the files of segments that are done.
    pub fn checkpoint(&self) -> Result<()> {
        self.engine().checkpoint()
    }

    /// Has pages delivered by `delivery` to every target that is up, from now on.
    pub fn deliver_by(&self, delivery: Arc<dyn Delivery>) -> Result<()> {
        let engine = self.engine();
        engine.check_open()?;
        let waker = engine.catalog.deliver.clone();
        let step = Arc::new(Deliver::new(engine.clone(), delivery));
        engine.catalog.list_all();
        engine
            .runner
            .start(step, waker, Next::WhenWoken)
            .map_err(Error::Threads)
    }

    /// The target can be reached: its hints are delivered, in the background.
    pub fn target_up(&self, target: TargetId) {
        let catalog = &self.engine().catalog;
        let queue = catalog.get_or_add(target);
        queue.set_up(true);
        catalog.list_ready(&queue);
    }

    /// The target cannot be reached: no further page is handed to delivery.
    pub fn target_down(&self, target: TargetId) {
        self.engine().catalog.get_or_add(target).set_up(false);
    }

    /// Whether hints of a target are handed out strictly in order: then one that is to be retried,
    /// or waits for the clock, holds up those behind it. Not remembered across restarts. By default
    /// a hint that is retried may arrive after later ones (P2).
    pub fn strict_order(&self, target: TargetId, strict: bool) {
        self.engine().catalog.get_or_add(target).set_strict(strict);
        self.engine().wake_delivery(target);
    }

    /// Hands everything that a target accepted to the disk. False where that failed.
    pub fn sync(&self, target: TargetId) -> Result<bool> {
        let queue = self.engine().queue(target)?;
        Ok(queue
            .writer
            .get()
            .is_none_or(|writer| self.engine().writer.sync(writer)))
    }

    /// What [`HintStore::truncate`] would discard.
    pub fn plan_truncate(&self, what: &Truncate) -> Result<Vec<Discarded>> {
        self.engine().plan_truncate(what)
    }

    /// Discards hints: durable on return, their files gone where nothing else is in them.
    ///
    /// # Errors
    /// [`Error::NotDurable`] where some of it is in memory and could not be written, not even in the
    /// room that the rest left: that rest is discarded.
    pub fn truncate(&self, what: &Truncate) -> Result<Vec<Discarded>> {
        self.engine().truncate(what)
    }

    /// Drops segments in which every hint is dead. Happens by itself once in a while.
    pub fn sweep(&self) -> Result<()> {
        self.engine().sweep()
    }

    /// Says that the clock is right, after a step: hints that were held for it are judged anew.
    pub fn confirm_clock(&self) {
        self.engine().time.confirm(&*self.engine().clock);
        self.engine().catalog.list_all();
    }

    /// The books (P8): exact at every moment.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(
            self.engine()
                .catalog
                .all()
                .iter()
                .map(|queue| queue.ledger())
                .collect(),
        )
    }

    /// Memory in slabs, and bytes in the kernel that no sync covers yet.
    pub fn windows(&self) -> (Bytes, Bytes) {
        self.engine().writer.windows()
    }

    /// The settings as they are now.
    pub fn config(&self) -> Config {
        Config::clone(&self.engine().config())
    }

    /// Exchanges settings while the store is at work. What they are about begins to follow them
    /// within a moment; hints that are stored already are judged by the new rules.
    ///
    /// # Errors
    /// [`Error::Config`] where a value makes no sense, or one differs that is fixed when the store
    /// is opened: nothing is changed then.
    pub fn configure(&self, config: Config) -> Result<()> {
        self.engine().configure(config)
    }

    /// What goes on inside: per target and in all. Looks at every target; costs about a
    /// microsecond for each.
    pub fn snapshot(&self) -> Snapshot {
        self.engine().snapshot()
    }

    /// The time that expiry judges by at present.
    pub fn now(&self) -> UnixMillis {
        self.engine().time.now(&*self.engine().clock).at_least()
    }

    /// Why appends are refused at present, if they are.
    pub fn refusing(&self) -> Option<Refusal> {
        self.engine().writer.trouble()
    }

    /// Flushes, syncs, seals and checkpoints everything, and lets go of the directory.
    ///
    /// # Errors
    /// [`Error::NotDurable`] where some hints did not reach the disk.
    pub fn close(self) -> Result<()> {
        self.engine().shut()
    }
}

impl fmt::Debug for HintStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HintStore({})", self.engine().store)
    }
}
