//! What goes on inside, at a moment: for operators and their monitoring.

use std::time::Duration;

use hintstore_env::{Boot, Lacks, StepPanics, sync::Ordering::Relaxed};
use hintstore_format::{TargetId, UnixMillis};
use hintstore_writer::{Bytes, Cap, Gone, Refusal, Refusals};

use crate::{
    AtRisk, Caps, CompactionTotals, Config, Delays, Ledger, TargetLedger,
    store::Store,
    target::{Target, TargetState, time_of},
};

/// What goes on in a store: see [`crate::HintStore::snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The time of the look.
    pub at: UnixMillis,
    /// By target, in the order of their ids.
    pub targets: Vec<TargetSnapshot>,
    /// The books of all.
    pub ledger: Ledger,
    /// Accepted and not yet with the kernel, not yet on the disk.
    pub windows: AtRisk,
    /// When the oldest of those in memory was accepted.
    pub unflushed_since: Option<UnixMillis>,
    /// When the oldest of those that no sync covers was accepted.
    pub unsynced_since: Option<UnixMillis>,
    /// Disk space taken and reserved, with the journal and what is set aside or foreign.
    pub disk_used: Bytes,
    /// The caps on it; nothing where the device does not tell its size.
    pub caps: Option<Caps>,
    /// The cap that keeps all targets from taking more, if one does.
    pub full: Option<Cap>,
    /// How often a cap was reached, and left again, since the store was opened.
    pub caps_entered: u64,
    /// See [`Snapshot::caps_entered`].
    pub caps_left: u64,
    /// Appends that wait for their level.
    pub in_flight: u64,
    /// Hints that were refused since the store was opened, by reason.
    pub refused: Refusals,
    /// How many [loss receipts](crate::HintStore::losses) there are: what has to be repaired.
    pub loss_receipts: usize,
    /// What compactions did since the store was opened.
    pub compaction: CompactionTotals,
    /// Hint files that are kept open at most, as it is in force: see [`crate::Config::descriptors_max`].
    pub descriptors_max: usize,
    /// What is wrong with the store or what it stands on.
    pub health: Health,
}

/// What is wrong with a store or what it stands on: see [`Snapshot::health`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Why all appends are refused, if they are.
    pub refusing: Option<Refusal>,
    /// What of the directory was taken away under the open store: it takes nothing until it is opened
    /// again.
    pub gone: Option<Gone>,
    /// Hint files that somebody else removed since the store was opened. What could still be read of
    /// them was written into others, the rest is counted as damaged.
    pub files_gone: u64,
    /// Background steps that panicked, and how often. Each was started again.
    pub step_panics: Vec<StepPanics>,
    /// Operations that the file system does not have.
    pub lacks: Lacks,
    /// By how many ends the books say more than hints were accepted: a mistake in the engine.
    pub excess: u64,
}

impl Health {
    /// Whether nothing is wrong. What the file system lacks is no fault: it is as the operator chose it.
    pub fn is_healthy(&self) -> bool {
        let Self {
            refusing,
            gone,
            files_gone,
            step_panics,
            lacks: _,
            excess,
        } = self;
        refusing.is_none()
            && gone.is_none()
            && *files_gone == 0
            && step_panics.is_empty()
            && *excess == 0
    }
}

/// What goes on with one target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetSnapshot {
    /// The target.
    pub target: TargetId,
    /// What is known of it.
    pub state: TargetState,
    /// Bytes that its next page may hold, as far as its answers say.
    pub window: Bytes,
    /// Bytes a second that it took of late, while a page was out.
    pub rate: Option<Bytes>,
    /// Bytes a second that [`crate::TargetHandle::set_rate`] allows, where it was called.
    pub limit: Option<Bytes>,
    /// One hint goes to it in this time, where they go in the background and give way
    /// ([`crate::Config::give_way`]).
    pub hint_interval: Option<Duration>,
    /// How long what it has takes at that rate; nothing where it took nothing yet, or has nothing.
    pub converges_in: Option<Duration>,
    /// Pages in a row that it took nothing of.
    pub failures: u32,
    /// Hints that it did not take because it does not know their namespace, since the store was opened.
    pub unknown_namespace: u64,
    /// Its books; [`TargetLedger::pending`] of them are stored.
    pub books: TargetLedger,
    /// How old the writes were that it got by hints, since the store was opened.
    pub delays: Delays,
    /// How often it was said to be up, since the store was opened.
    pub came_up: u64,
    /// Whether it comes and goes: it was said to be up four times or more within ten minutes.
    pub flaps: bool,
    /// Disk space of its files, and reserved for what it has in memory.
    pub bytes: Bytes,
    /// Segments, open and deferred ones among them.
    pub segments: usize,
    /// When its oldest stored hint was accepted, to within a 64th of the hint window.
    pub oldest: Option<UnixMillis>,
    /// No hint dies before, by what the hints themselves say: of those in segments that are sealed,
    /// or written to now.
    pub next_expiry: Option<UnixMillis>,
    /// Its oldest hint is older than the hint window: it takes no more.
    pub past_window: bool,
    /// Pages that are out for delivery.
    pub pages_out: usize,
    /// Hints that were refused since the store was opened, by reason.
    pub refused: Refusals,
}

impl Snapshot {
    /// Looks at all parts.
    pub(crate) fn of(store: &Store) -> Self {
        let (env, targets) = (&store.env, store.targets.all());
        let mut oldest = [UnixMillis::MAX; 2];
        for target in &targets {
            for (oldest, since) in oldest.iter_mut().zip(target.writer.windows_since()) {
                *oldest = since.min(*oldest);
            }
        }
        let [unflushed_since, unsynced_since] =
            oldest.map(|since| (since < UnixMillis::MAX).then_some(since));
        let mut targets: Vec<_> = targets
            .iter()
            .map(|target| TargetSnapshot::of(target, &env.config(), env.clock.boot()))
            .collect();
        targets.sort_by_key(|target| target.target);
        let ledger = Ledger::of(targets.iter().map(|target| target.books).collect());
        let (unflushed, unsynced) = env.writer.windows();
        // First: what is used is as of this look. A device that does not tell is no reason to tell
        // nothing.
        let caps = store.space.look().ok();
        let (caps_entered, caps_left) = env.budget.transitions();
        let health = Health {
            refusing: env.writer.trouble(),
            gone: env.home.gone(),
            files_gone: env.home.files_gone(),
            step_panics: env.runner.panics(),
            lacks: env.storage.lacks(),
            excess: ledger.excess(),
        };
        Self {
            at: env.now().at_least(),
            health,
            loss_receipts: store.loss_receipts.load(Relaxed) + env.new_losses.get().len(),
            compaction: store.compaction.totals(),
            descriptors_max: store.descriptors.max(),
            targets,
            ledger,
            windows: AtRisk {
                unflushed,
                unsynced,
            },
            unflushed_since,
            unsynced_since,
            disk_used: env.budget.used(),
            caps,
            full: env.budget.all_full(),
            caps_entered,
            caps_left,
            in_flight: store.appender.in_flight(),
            refused: store.appender.refused.get(),
        }
    }
}

impl TargetSnapshot {
    pub(crate) fn of(target: &Target, config: &Config, now: Boot) -> Self {
        let books = TargetLedger::of(target);
        let refused = target.refused.get();
        let next_expiry = target.next_expiry();
        let pace = target.pace.lock();
        let mut snapshot = Self {
            target: target.id,
            state: pace.visible_state(),
            limit: pace.rate(),
            window: pace.window(config),
            rate: pace.took(),
            hint_interval: pace.hint_interval(),
            converges_in: None,
            failures: pace.failures(),
            unknown_namespace: pace.unknown_namespace,
            delays: target.delays.lock().as_deref().copied().unwrap_or_default(),
            came_up: pace.came_up(),
            flaps: pace.flaps(now),
            bytes: target.writer.usage().bytes(),
            segments: 0,
            oldest: target.oldest().filter(|_| books.pending() > 0),
            books,
            next_expiry,
            past_window: target.writer.is_past_window(),
            pages_out: 0,
            refused: refused.map(|refused| refused.get()).unwrap_or_default(),
        };
        // Nothing is taken under it.
        drop(pace);
        let pending = snapshot.books.pending();
        let rate = snapshot.rate.filter(|_| pending > 0);
        let left = rate.map(|rate| time_of(snapshot.bytes.get(), rate));
        let hints = u32::try_from(pending).unwrap_or(u32::MAX);
        let by_hints = snapshot.hint_interval.map(|one| one.saturating_mul(hints));
        snapshot.converges_in = left.map(|left| left.max(by_hints.unwrap_or_default()));
        for backlog in target.backlogs() {
            let progress = backlog.progress.lock();
            snapshot.pages_out += progress.in_flight;
            snapshot.segments += backlog.segments.all().len();
        }
        snapshot
    }
}
