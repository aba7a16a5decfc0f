//! Delivery, waiting and closing for services on tokio.
//!
//! Appends need nothing of this: [`HintStore::submit`] gives a future for any executor. What is here does the rest of the
//! store's work where it may wait for a disk, on tokio's threads for blocking calls, so that no task waits for it.
//!
//! Every future here may be dropped at any time, and loses nothing: a page that nobody got is handed out again
//! at once, a page that was out is sent again behind the back-off of its target, and what had begun in a blocking
//! call goes on to its end.
//!
//! ```
//! use std::time::Duration;
//! use hintstore::{Config, Durability, Event, Hint, HintStore, Page, TargetId, UnixMillis, Verdict, tokio as hints};
//! use tokio_stream::StreamExt as _;
//!
//! struct Send;
//!
//! impl hints::Delivery for Send {
//!     async fn deliver(&self, page: &mut Page) -> Vec<Verdict> {
//!         // .. send it, and wait for the answer of the target ..
//!         vec![Verdict::Delivered; page.len()]
//!     }
//! }
//!
//! # let folder = std::env::temp_dir().join(format!("hintstore-tokio-doc-{}", std::process::id()));
//! # let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! let store = HintStore::open(Config::new(&folder))?;
//! let delivery = hints::deliver_by(&store, &tokio::runtime::Handle::current(), Send)?;
//! let mut events = store.events();
//!
//! let replica = TargetId::from_u128(1);
//! let hint = Hint::new(replica, UnixMillis::now(), Duration::from_secs(864_000), b"put k v");
//! store.submit(hint, Durability::Durable)?.await?;
//! store.target(replica).up();
//! while events.next().await != Some(Event::Drained(replica)) {}
//!
//! let stopped = delivery.shutdown(Duration::from_secs(10)).await?;
//! assert_eq!(stopped.pages_out, 0);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), hintstore::Error>(())
//! # }).unwrap();
//! ```

use std::{fmt, io, sync::Arc, time::Duration};

use ::tokio::{
    runtime::Handle,
    task::{JoinSet, spawn_blocking},
    time::sleep,
};
use hintstore_env::{event, sync::Mutex};

use crate::{
    Delivery as PageDelivery, Error, HintStore, Limits, Next, Page, Result, Shutdown, TargetHandle,
    Verdict, WeakHintStore,
};

/// Who waits looks this often: a waker for each would stay where no page comes back.
const LOOK: Duration = Duration::from_millis(10);

/// Sends pages to targets, as tasks. Implemented by the embedder.
pub trait Delivery: Send + Sync + 'static {
    /// Delivers a page, and gives what the target said: a verdict for each hint that then waits for an answer
    /// ([`Page::len`]; where [`Page::accept`] booked some, for those behind them). Where it says nothing of use, or
    /// another number of verdicts, the page is sent again behind the back-off of its target; so it is where this
    /// panics.
    fn deliver(&self, page: &mut Page) -> impl Future<Output = Vec<Verdict>> + Send;
}

/// Has pages delivered to every target that is up, each by a task of its own on `runtime`, from now on.
///
/// # Errors
/// As those of [`HintStore::deliver_by`].
///
/// # Blocking
/// Does not block.
pub fn deliver_by(
    store: &HintStore,
    runtime: &Handle,
    delivery: impl Delivery,
) -> Result<Delivering> {
    let running = Arc::<Mutex<JoinSet<()>>>::default();
    store.deliver_by(Arc::new(Tasks {
        delivery: Arc::new(delivery),
        runtime: runtime.clone(),
        running: running.clone(),
    }))?;
    let store = store.downgrade();
    Ok(Delivering { store, running })
}

/// Delivery that was begun: see [`deliver_by`]. Dropped, it goes on. It does not keep the store open.
#[derive(Clone)]
#[must_use = "only this ends tasks that hang"]
pub struct Delivering {
    store: WeakHintStore,
    running: Arc<Mutex<JoinSet<()>>>,
}

impl Delivering {
    /// Hands no further page to delivery, waits until those that are out have come back, and ends the tasks that take
    /// longer than `within`: their pages are sent again by the next delivery.
    pub async fn stop(&self, within: Duration) -> Result<Shutdown> {
        let store = self.store.upgrade().ok_or(Error::Closed)?;
        let running = self.running.clone();
        // Inside, so that it is done also where nobody waits for it any more.
        let stop = move || {
            let stopped = store.stop_delivery(within);
            running.lock().abort_all();
            stopped
        };
        blocking(stop).await
    }

    /// As [`HintStore::shutdown`], and ends the tasks whose pages had not come back by then.
    ///
    /// # Errors
    /// As those of [`HintStore::shutdown`].
    pub async fn shutdown(&self, within: Duration) -> Result<Shutdown> {
        let store = self.store.upgrade().ok_or(Error::Closed)?;
        let running = self.running.clone();
        let close = move || {
            let closed = store.shutdown(within);
            running.lock().abort_all();
            closed
        };
        blocking(close).await?
    }
}

impl fmt::Debug for Delivering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivering({} tasks)", self.running.lock().len())
    }
}

/// Begins a task for each page.
struct Tasks<D> {
    delivery: Arc<D>,
    runtime: Handle,
    running: Arc<Mutex<JoinSet<()>>>,
}

impl<D: Delivery> PageDelivery for Tasks<D> {
    fn deliver(&self, mut page: Page) {
        let delivery = self.delivery.clone();
        let deliver = async move {
            let verdicts = delivery.deliver(&mut page).await;
            if let Err(error) = answer(page, verdicts).await {
                event!(error, %error, "the answer to a page cannot be booked");
                drop(error);
            }
        };
        let mut running = self.running.lock();
        // Those that have ended; of how they did the page knows.
        while running.try_join_next().is_some() {}
        running.spawn_on(deliver, &self.runtime);
    }
}

/// As [`Page::answer`].
///
/// # Errors
/// As those of [`Page::answer`].
pub async fn answer(page: Page, verdicts: Vec<Verdict>) -> Result<()> {
    blocking(move || page.answer(&verdicts)).await?
}

/// The next page of a target, as [`TargetHandle::next`] gives it; waits while there are hints for one. Needs a
/// runtime with time.
///
/// # Errors
/// As those of [`TargetHandle::next`].
pub async fn next(target: &TargetHandle, limits: Limits) -> Result<Next> {
    loop {
        let looked = target.clone();
        let mut taken =
            blocking(move || looked.next(limits).map(|next| Taken(Some(next)))).await??;
        let rest = match taken.0.take() {
            Some(Next::Resting(rest)) => rest.min(LOOK),
            Some(Next::Nothing) | None => LOOK,
            Some(next) => return Ok(next),
        };
        sleep(rest).await;
    }
}

/// What a look found. Where nobody waits for it any more, a page goes back as if it had never been handed out.
struct Taken(Option<Next>);

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(Next::Page(page)) = self.0.take() {
            page.give_back_unsent();
        }
    }
}

/// Waits until all that a target had accepted when the call began has ended. Needs a runtime with time.
///
/// # Errors
/// As those of [`TargetHandle::converged`].
pub async fn converged(target: &TargetHandle) -> Result<()> {
    let up_to = target.last_accepted();
    loop {
        let looked = target.clone();
        if blocking(move || looked.has_converged(up_to)).await?? {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// As [`HintStore::shutdown`]. It goes on where this future is dropped.
///
/// # Errors
/// As those of [`HintStore::shutdown`].
pub async fn shutdown(store: &HintStore, within: Duration) -> Result<Shutdown> {
    let store = store.clone();
    blocking(move || store.shutdown(within)).await?
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = spawn_blocking(call).await;
    done.map_err(|error| Error::Threads(io::Error::other(error)))
}
