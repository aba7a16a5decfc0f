//! A page of hints as a caller holds it.

use std::{
    ops::Deref,
    sync::{Arc, Weak},
};

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
    /// Of a page that the store handed to delivery: its target rests if it is dropped.
    rests: Option<Weak<Engine>>,
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
            rests: None,
        }
    }

    /// Has its target rest if the page is dropped, or who drops it at once would get it for ever.
    pub(crate) fn rest_if_dropped(mut self, engine: &Arc<Engine>) -> Self {
        self.rests = Some(Arc::downgrade(engine));
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
        if let Some(engine) = self.rests.take().and_then(|engine| engine.upgrade()) {
            progress.rest_until = engine.clock.boot() + engine.config.retry_delay;
            drop(progress);
            engine.catalog.deliver.wake();
        }
    }
}
