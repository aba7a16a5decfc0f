//! A page of hints as a caller holds it.

use std::sync::{Arc, Weak};

use hintstore_env::sync::{AtomicUsize, Ordering::AcqRel};
use hintstore_format::{TargetId, UnixMillis};
use hintstore_reader::{self as reader, Faulted, Hints};
use hintstore_writer::Bytes;

use crate::{
    store_env::StoreEnv,
    target::{Backlog, Ranges, Target},
};

/// Checked hints of one target, in order: to be delivered, and given back to
/// [`crate::HintStore::acknowledge`]. A page that is dropped instead counts as not delivered: its
/// hints are handed out again.
#[derive(Debug)]
#[must_use = "a page that is dropped is handed out again"]
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
    /// it again and again.
    pub(super) fn hand_out(mut self, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, AcqRel);
        self.out = Some(Out {
            count: count.clone(),
        });
        self
    }

    /// The node that its hints are for.
    pub fn target(&self) -> TargetId {
        self.inner.target()
    }

    /// How many hints.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether there is none. A page that the store hands out has some.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Bytes of their frames.
    pub fn bytes(&self) -> Bytes {
        Bytes::new(self.inner.bytes())
    }

    /// Its hints, in order.
    pub fn hints(&self) -> Hints<'_> {
        self.inner.hints()
    }

    /// Whether the map that its hints lie in failed since it was read: what was read of them may be zeros.
    pub(crate) fn faulted(&self) -> bool {
        self.inner.faulted()
    }

    /// Uses the bytes of the hints where they lie, which may be in a map of the file.
    ///
    /// # Errors
    /// [`Faulted`]: the disk failed under the map, and what was used may have been zeros. Drop the page:
    /// its hints come again, read without the map.
    pub fn with<R>(&self, use_hints: impl FnOnce(&Self) -> R) -> Result<R, Faulted> {
        self.inner.with(|_| use_hints(self))
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

    /// Whether it is of this store.
    pub(super) fn is_of(&self, env: &Arc<StoreEnv>) -> bool {
        Arc::ptr_eq(&self.env, env)
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
