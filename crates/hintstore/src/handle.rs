//! What an embedder does with one target.

use std::{fmt, sync::Arc, time::Duration};

use hintstore_format::{Sequence, TargetId};
use hintstore_writer::Bytes;

use crate::{
    Error, Page, Result, TargetLedger, TargetSnapshot,
    deliver::Found,
    store::Store,
    target::{Limits, Pace, Target, TargetState},
};

/// Who waits looks this often, besides each time when a page came back.
const LOOK: Duration = Duration::from_millis(10);

/// What there is for a target: see [`TargetHandle::next`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Next {
    /// Hints.
    Page(Page),
    /// Nothing before this time has passed: what there is rests, or a rate is used up.
    Resting(Duration),
    /// Nothing now: all are out, or in memory, which they leave within a flush interval; the receiver has no
    /// credit, its delivery is paused or waits for an epoch, or the store is being shut down.
    Nothing,
    /// Nothing is pending.
    Drained,
}

/// In which order the hints of a target are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// In append order the first time; one that is retried may arrive after later ones (P2).
    #[default]
    FirstTime,
    /// Always in append order: one that is to be retried, or waits for the clock, holds up those behind
    /// it.
    Strict,
}

/// One target of a store: see [`crate::HintStore::target`]. Cheap to clone. It keeps the store open.
///
/// ```
/// # fn example(store: &hintstore::HintStore, replica: hintstore::TargetId) -> hintstore::Result<()> {
/// let target = store.target(replica);
/// while let Some(page) = target.page()? {
///     // .. send it ..
///     page.delivered()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TargetHandle {
    store: Arc<Store>,
    id: TargetId,
}

impl TargetHandle {
    pub(crate) fn new(store: &Arc<Store>, id: TargetId) -> Self {
        Self {
            store: store.clone(),
            id,
        }
    }

    /// The node that its hints are for. Does not block.
    pub fn id(&self) -> TargetId {
        self.id
    }

    /// Whether it ever had a hint, or anybody said anything of it. Does not block.
    pub fn is_known(&self) -> bool {
        self.known().is_some()
    }

    fn known(&self) -> Option<Arc<Target>> {
        self.store.targets.get(self.id)
    }

    fn known_or_added(&self) -> Arc<Target> {
        let now = self.store.env.now().at_least();
        self.store.targets.get_or_add(self.id, now)
    }

    /// The next page of its hints, in order (P2), as large as the settings allow; `None` where [`Self::next`] gives
    /// anything else.
    ///
    /// # Errors
    /// As those of [`Self::next`].
    ///
    /// # Blocking
    /// As [`Self::next`].
    pub fn page(&self) -> Result<Option<Page>> {
        match self.next(Limits::NONE)? {
            Next::Page(page) => Ok(Some(page)),
            _ => Ok(None),
        }
    }

    /// The next page of its hints, in order (P2), at most `limits` of them; or why there is none. Rests,
    /// rates, credit and the window that its answers leave count here as in delivery by the store.
    ///
    /// # Errors
    /// [`Error::Storage`] where a segment cannot be read; [`Error::Closed`].
    ///
    /// # Blocking
    /// On reading the disk, past all that is dead; and, where as many hints wait for a retry as may, until
    /// they are moved out of the way, a minute at most.
    pub fn next(&self, limits: Limits) -> Result<Next> {
        self.store.env.check_open()?;
        let Some(target) = self.known() else {
            return Ok(Next::Drained);
        };
        let found = self.store.pager.pull(&target, limits)?;
        Ok(match found {
            Found::Page(page) => Next::Page(page),
            Found::Resting(until) => Next::Resting(until.since(self.store.env.clock.boot())),
            Found::Nothing if target.is_pending_to(Sequence::MAX) => Next::Nothing,
            Found::Nothing => Next::Drained,
        })
    }

    /// As [`Self::next`]; waits for a page while there are hints for one, for `within` at most.
    ///
    /// # Errors
    /// As those of [`Self::next`].
    ///
    /// # Blocking
    /// For `within` at most, and then as [`Self::next`].
    pub fn wait_next(&self, limits: Limits, within: Duration) -> Result<Next> {
        let env = &self.store.env;
        let deadline = env.clock.boot() + within;
        loop {
            let next = self.next(limits)?;
            let now = env.clock.boot();
            let rest = match &next {
                Next::Page(_) | Next::Drained => return Ok(next),
                _ if now >= deadline || env.is_closing() => return Ok(next),
                Next::Resting(rest) => (*rest).min(LOOK),
                Next::Nothing => LOOK,
            };
            let until = deadline.min(now + rest);
            let (returned, seen) = (&env.pages_returned, env.pages_returned.count());
            let is_news = || returned.count() != seen;
            env.runner
                .wait_until(returned, Some(until), &mut || is_news());
        }
    }

    /// Waits until all that it had accepted when the call began has ended; false where that took longer than
    /// `within`.
    ///
    /// # Errors
    /// [`Error::Closed`].
    ///
    /// # Blocking
    /// For `within` at most.
    pub fn converged(&self, within: Duration) -> Result<bool> {
        let env = &self.store.env;
        env.check_open()?;
        let Some(target) = self.known() else {
            return Ok(true);
        };
        let up_to = target.last_accepted();
        let deadline = env.clock.boot() + within;
        while target.is_pending_to(up_to) {
            let now = env.clock.boot();
            if now >= deadline || env.is_closing() {
                return Ok(false);
            }
            let until = deadline.min(now + LOOK);
            let (returned, seen) = (&env.pages_returned, env.pages_returned.count());
            let is_news = || returned.count() != seen;
            env.runner
                .wait_until(returned, Some(until), &mut || is_news());
        }
        Ok(true)
    }

    /// It can be reached: its hints are delivered in the background, where [`HintStore::deliver_by`] was
    /// called, from some part of [`Config::start_jitter`] on. Ends its back-off. Does not block, except on a
    /// thread that holds its books.
    ///
    /// [`HintStore::deliver_by`]: crate::HintStore::deliver_by
    /// [`Config::start_jitter`]: crate::Config::start_jitter
    pub fn up(&self) {
        self.up_from(0);
    }

    /// The same, and nothing is delivered before [`HintStore::set_topology_epoch`] was called with this epoch or
    /// a later one: where ownership of data moves, what is delivered too early is lost at the target. Does not block, except on a
    /// thread that holds its books.
    ///
    /// [`HintStore::set_topology_epoch`]: crate::HintStore::set_topology_epoch
    pub fn up_from(&self, epoch: u64) {
        let target = self.known_or_added();
        let mut rest = None;
        self.change(&target, |pace| {
            // Said again, it is no news: what a rest and an epoch are for still holds.
            if pace.state == TargetState::Up {
                pace.from_epoch = pace.from_epoch.max(epoch);
            } else {
                pace.from_epoch = epoch;
                rest = Some(pace.began(&self.store.env));
            }
        });
        if let Some(rest) = rest {
            target.end_rests(self.store.env.clock.boot() + rest);
        }
        target.writer.announce();
    }

    /// It cannot be reached: no further page is handed to delivery. Does not block.
    pub fn down(&self) {
        // Also of one that has no hints yet: they come now.
        self.change(&self.known_or_added(), |pace| {
            pace.state = TargetState::Down;
        });
    }

    /// No further page is handed out, pushed or pulled, until [`Self::resume`], whatever a failure detector says of it:
    /// an operator wants to look first. Not remembered across restarts. Does not block.
    pub fn pause(&self) {
        // Also of one that has no hints yet.
        self.change(&self.known_or_added(), |pace| pace.is_paused = true);
    }

    /// Ends a [`Self::pause`]: what is known of it counts again. Does not block.
    pub fn resume(&self) {
        if let Some(target) = self.known() {
            self.change(&target, |pace| pace.is_paused = false);
            target.writer.announce();
        }
    }

    /// Changes what is known of it, and says so.
    fn change(&self, target: &Target, change: impl FnOnce(&mut Pace)) {
        let mut pace = target.pace.lock();
        let from = pace.visible_state();
        change(&mut pace);
        let to = pace.visible_state();
        // Under the lock: of two at once the later one counts.
        target.writer.set_up(pace.is_delivered_to());
        drop(pace);
        self.store.env.say_state(self.id, from, to);
    }

    /// What is known of it. Does not block.
    pub fn state(&self) -> TargetState {
        let target = self.known();
        target.map_or_else(TargetState::default, |target| {
            target.pace.lock().visible_state()
        })
    }

    /// Bytes of hints a second that go to it, instead of what the settings say; `None` for what they say. Counts
    /// from the next page on. Does not block.
    pub fn set_rate(&self, bytes_per_second: Option<Bytes>) {
        let target = self.known_or_added();
        target.pace.lock().set_rate(bytes_per_second);
        target.writer.announce();
    }

    /// What the receiver has room for: pages take from it until it is set again, and nothing goes where it is used up.
    /// `None` where the receiver sets no bound. Does not block.
    pub fn set_credit(&self, credit: Option<Limits>) {
        let target = self.known_or_added();
        target.pace.lock().set_credit(credit);
        target.writer.announce();
    }

    /// Says in which order its hints are handed out. Not remembered across restarts. Does not block.
    pub fn set_order(&self, order: Order) {
        let target = self.known_or_added();
        target.set_strict(order == Order::Strict);
        target.writer.announce();
    }

    /// Puts it into a group, such as its datacenter, for [`crate::Scope::Group`]. Does not block.
    pub fn set_group(&self, group: &str) {
        self.store.admission.group(self.id, group);
    }

    /// Makes all that it accepted durable. One that never had a hint has nothing to wait for.
    ///
    /// # Errors
    /// [`Error::NotDurable`] where the disk did not take it; [`Error::Closed`].
    ///
    /// # Blocking
    /// On an fdatasync, for a minute at most (or the append timeout, if that is longer).
    pub fn sync(&self) -> Result<()> {
        self.store.env.check_open()?;
        match self.known() {
            Some(target) if !self.store.env.writer.sync(&target.writer) => Err(Error::NotDurable),
            _ => Ok(()),
        }
    }

    /// Its books (P8): exact at every moment.
    ///
    /// # Blocking
    /// While another thread holds its books: it reads a page, makes a checkpoint durable, or moves hints. On a
    /// slow disk that is as long as the disk takes.
    pub fn ledger(&self) -> TargetLedger {
        match self.known() {
            Some(target) => TargetLedger::of(&target),
            None => TargetLedger::empty(self.id),
        }
    }

    /// What goes on with it; `None` where it never had a hint and nobody said anything of it.
    ///
    /// # Blocking
    /// While another thread holds its books: it reads a page, makes a checkpoint durable, or moves hints. On a
    /// slow disk that is as long as the disk takes.
    pub fn snapshot(&self) -> Option<TargetSnapshot> {
        let env = &self.store.env;
        let (config, now) = (env.config(), env.clock.boot());
        Some(TargetSnapshot::of(&*self.known()?, &config, now))
    }
}

/// What waiting in tasks is made of.
#[cfg(feature = "tokio")]
impl TargetHandle {
    /// The last of its hints that was accepted.
    pub(crate) fn last_accepted(&self) -> Sequence {
        let target = self.known();
        target.map_or(Sequence::ZERO, |target| target.last_accepted())
    }

    /// Whether all up to there has ended.
    pub(crate) fn has_converged(&self, up_to: Sequence) -> Result<bool> {
        self.store.env.check_open()?;
        let target = self.known();
        Ok(target.is_none_or(|target| !target.is_pending_to(up_to)))
    }
}

impl fmt::Debug for TargetHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetHandle({})", self.id)
    }
}
