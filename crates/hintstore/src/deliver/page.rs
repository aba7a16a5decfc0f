//! A page of hints as a caller holds it.

use std::{
    ops::Deref,
    sync::{Arc, Weak},
};

use hintstore_env::sync::{AtomicUsize, Ordering::AcqRel};
use hintstore_format::UnixMillis;
use hintstore_reader as reader;

use crate::{
    store_env::StoreEnv,
    target::{Backlog, Ranges, Target},
};

/// Checked hints of one target, in order: to be delivered, and given back to
/// [`crate::HintStore::acknowledge`]. A page that is dropped instead counts as not delivered: its
/// hints are handed out again.
#[derive(Debug)]
pub struct Page {
    inner: reader::Page,
    handed: Ranges,
    earliest: UnixMillis,
    target: Arc<Target>,
    /// Where its hints were read; nothing where the caller books what became of them.
    home: Option<Weak<Backlog>>,
    env: Arc<StoreEnv>,
    /// Of a page that the store handed to delivery.
    out: Option<Out>,
}

/// A page that delivery has out; counted until it is gone.
#[derive(Debug)]
struct Out {
    count: Arc<AtomicUsize>,
}

impl Drop for Out {
    fn drop(&mut self) {
        self.count.fetch_sub(1, AcqRel);
    }
}

impl Page {
    pub(crate) fn new(
        inner: reader::Page,
        handed: Ranges,
        earliest: UnixMillis,
        target: &Arc<Target>,
        home: &Arc<Backlog>,
        env: &Arc<StoreEnv>,
    ) -> Self {
        Self {
            inner,
            handed,
            earliest,
            target: target.clone(),
            home: Some(Arc::downgrade(home)),
            env: env.clone(),
            out: None,
        }
    }

    /// Counts it as out. Its target rests if the page is dropped: who drops it at once would get
    /// it for ever.
    pub(super) fn hand_out(mut self, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, AcqRel);
        self.out = Some(Out {
            count: count.clone(),
        });
        self
    }

    /// No hint of the page is dead before this time. Who holds a page for longer drops it: what is
    /// dead by then is not handed out again.
    pub fn earliest_deadline(&self) -> UnixMillis {
        self.earliest
    }

    /// The sequences of its hints.
    pub(crate) fn handed(&self) -> &Ranges {
        &self.handed
    }

    /// The target that it is for.
    pub(super) fn of(&self) -> &Arc<Target> {
        &self.target
    }

    /// The backlog that it was read from, if that is still there.
    pub(crate) fn home(&self) -> Option<Arc<Backlog>> {
        self.home.as_ref().and_then(Weak::upgrade)
    }

    /// Takes the page off its target's account: the caller books what became of it.
    pub(crate) fn settle(&mut self) {
        self.home = None;
    }
}

impl Deref for Page {
    type Target = reader::Page;

    fn deref(&self) -> &reader::Page {
        &self.inner
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let Some(backlog) = self.home.take().and_then(|home| home.upgrade()) else {
            return;
        };
        let mut progress = backlog.progress.lock();
        progress.in_flight -= 1;
        let again = self.handed.and(&progress.unended);
        progress.again.join(&again);
        if let Some(out) = self.out.take() {
            progress.rest_until = self.env.clock.boot() + self.env.config().retry_delay;
            drop(progress);
            drop(out);
            self.target.writer.announce();
        } else {
            drop(progress);
        }
        self.env.pages_returned.raise();
    }
}
