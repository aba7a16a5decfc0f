//! What the parts of an open store stand on: disk, time, settings, and who the store is.

use std::{ops::Deref, sync::Arc};

use hintstore_env::{
    Boot, Clock, Live, Runner, Storage,
    sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering::SeqCst, Signal},
};
use hintstore_format::{Incarnation, StoreId, TargetId, expiry::Policy, journal::Losses};
use hintstore_writer::{Activity, Budget, Home, Writer};

use crate::{
    Config, Error, Event, Result,
    expire::{Now, TrustedClock},
    loss::NewLosses,
    observe::Subscribers,
    read::SparePages,
    target::{Target, TargetState},
};

/// What the parts of an open store stand on. It does nothing by itself.
#[derive(Debug)]
pub(crate) struct StoreEnv {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) config: Live<Config>,
    /// What expires by the settings as they are now.
    pub(crate) policy: Live<Policy>,
    pub(crate) store: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: u32,
    /// The time that expiry judges by.
    pub(crate) time: TrustedClock,
    /// Whether the directory is still the store's own.
    pub(crate) home: Arc<Home>,
    pub(crate) writer: Writer,
    /// What happened in the write path.
    pub(crate) activity: Arc<Activity>,
    /// What ended undelivered since the last checkpoint.
    pub(crate) new_losses: NewLosses,
    /// What the disk has room for.
    pub(crate) budget: Arc<Budget>,
    /// By the rate of all targets together, no page goes before.
    pub(crate) deliver_at: Mutex<Boot>,
    /// The epoch of its topology that the embedder has reached.
    pub(crate) topology_epoch: AtomicU64,
    /// How many nodes may hold hints for one target, by the members that the embedder named; 0 where it did not.
    pub(crate) holders: AtomicUsize,
    /// Empty pages, whose memory is used again.
    pub(crate) spare_pages: SparePages,
    /// No further page is handed out: a shutdown waits for those that are out.
    pub(crate) draining: AtomicBool,
    /// Raised when a page came back.
    pub(crate) pages_returned: Signal,
    /// Those who want to know what happens.
    pub(crate) subscribers: Subscribers,
    /// A close has begun.
    pub(crate) closing: AtomicBool,
    /// A close has ended.
    pub(crate) closed: AtomicBool,
}

impl StoreEnv {
    /// The settings as they are now.
    pub(crate) fn config(&self) -> impl Deref<Target = Arc<Config>> + use<> {
        self.config.get()
    }

    /// The time to judge by.
    pub(crate) fn now(&self) -> Now {
        self.time.now(&*self.clock)
    }

    /// Takes the receipts out that are not in the journal yet, and says so to those who subscribed.
    pub(crate) fn take_losses(&self) -> Losses {
        let losses = self.new_losses.take();
        for loss in losses.iter() {
            self.subscribers.send(Event::Lost(*loss));
        }
        losses
    }

    /// Says that the state of a target changed, if it did.
    pub(crate) fn say_state(&self, target: TargetId, from: TargetState, to: TargetState) {
        if from != to {
            self.subscribers.send(Event::State { target, from, to });
        }
    }

    /// Says that all of a target has ended, if that is news and somebody wants to know.
    pub(crate) fn say_if_drained(&self, target: &Target) {
        if self.subscribers.any() && target.is_newly_drained() {
            self.subscribers.send(Event::Drained(target.id));
        }
    }

    /// How many nodes may hold hints for one target, if somebody knows.
    pub(crate) fn holders(&self) -> Option<usize> {
        Some(self.holders.load(SeqCst)).filter(|holders| *holders > 0)
    }

    /// Nothing is done with a directory that may be another's by now.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(SeqCst) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Whether a close or a shutdown has begun: no page is read any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.draining.load(SeqCst) || self.closing.load(SeqCst)
    }

    /// Nothing is made durable in a directory that is not the store's own any more.
    pub(crate) fn check_home(&self) -> Result<()> {
        self.writer.check_home().map_err(|what| Error::Gone {
            path: self.storage.path(""),
            what,
        })
    }
}
