//! A page of hints as a caller holds it.

use std::{
    ops::Deref,
    sync::{Arc, Weak},
};

use hintstore_env::sync::{AtomicUsize, Ordering::AcqRel};
use hintstore_format::UnixMillis;
use hintstore_reader as reader;

use crate::{
    catalog::{Queue, Ranges},
    store::Engine,
};

/// Checked hints of one target, in order: to be delivered, and given back to
/// [`crate::HintStore::acknowledge`]. A page that is dropped instead counts as not delivered: its
/// hints are handed out again.
#[derive(Debug)]
pub struct Page {
    inner: reader::Page,
    handed: Ranges,
    earliest: UnixMillis,
    home: Option<Weak<Queue>>,
    /// Of a page that the store handed to delivery.
    out: Option<Out>,
}

/// A page that delivery has out; counted until it is gone.
#[derive(Debug)]
struct Out {
    engine: Weak<Engine>,
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
        home: &Arc<Queue>,
    ) -> Self {
        Self {
            inner,
            handed,
            earliest,
            home: Some(Arc::downgrade(home)),
            out: None,
        }
    }

    /// Counts it as out. Its target rests if the page is dropped: who drops it at once would get
    /// it for ever.
    pub(crate) fn hand_out(mut self, engine: &Arc<Engine>) -> Self {
        let count = engine.catalog.pages_out.clone();
        count.fetch_add(1, AcqRel);
        self.out = Some(Out {
            engine: Arc::downgrade(engine),
            count,
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

    /// The queue that it was read from.
    pub(crate) fn home(&self) -> Option<Arc<Queue>> {
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
        let Some(queue) = self.home.take().and_then(|home| home.upgrade()) else {
            return;
        };
        let mut progress = queue.progress.lock();
        progress.in_flight -= 1;
        let again = self.handed.and(&progress.unended);
        progress.again.join(&again);
        let Some(out) = self.out.take() else { return };
        if let Some(engine) = out.engine.upgrade() {
            progress.rest_until = engine.clock.boot() + engine.config().retry_delay;
            drop(progress);
            drop(out);
            engine.wake_delivery(queue.target);
        }
    }
}
