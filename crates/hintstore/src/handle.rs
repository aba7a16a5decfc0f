//! What an embedder does with one target.

use std::{fmt, sync::Arc};

use hintstore_format::TargetId;

use crate::{Error, Page, Result, TargetLedger, TargetSnapshot, store::Store, target::Target};

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
///     store.acknowledge(page, &hintstore::Answer::delivered())?;
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

    fn known(&self) -> Option<Arc<Target>> {
        self.store.targets.get(self.id)
    }

    fn known_or_added(&self) -> Arc<Target> {
        let now = self.store.env.now().at_least();
        self.store.targets.get_or_add(self.id, now)
    }

    /// The next page of its hints, in order (P2). `None` where nothing is ready: there are none, all are
    /// out or rest, they are in memory, which they leave within a flush interval, or the store is being shut
    /// down.
    ///
    /// # Errors
    /// [`Error::Storage`] where a segment cannot be read; [`Error::Closed`].
    ///
    /// # Blocking
    /// On reading the disk, past all that is dead; and, where as many hints wait for a retry as may, until
    /// they are moved out of the way, a minute at most.
    pub fn page(&self) -> Result<Option<Page>> {
        self.store.env.check_open()?;
        match self.known() {
            Some(target) => Ok(self.store.pager.pull(&target)?),
            None => Ok(None),
        }
    }

    /// It can be reached: its hints are delivered in the background, where [`HintStore::deliver_by`] was
    /// called. Does not block.
    ///
    /// [`HintStore::deliver_by`]: crate::HintStore::deliver_by
    pub fn up(&self) {
        let target = self.known_or_added();
        target.writer.set_up(true);
        target.writer.announce();
    }

    /// It cannot be reached: no further page is handed to delivery. Does not block.
    pub fn down(&self) {
        if let Some(target) = self.known() {
            target.writer.set_up(false);
        }
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
        Some(TargetSnapshot::of(&*self.known()?))
    }
}

impl fmt::Debug for TargetHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetHandle({})", self.id)
    }
}
