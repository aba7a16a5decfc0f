//! Delivery as submit and complete: a hung target pins no thread.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use hintstore_env::{
    Boot, Next, Step,
    sync::{
        AtomicBool, AtomicUsize, Mutex,
        Ordering::{Acquire, Release, SeqCst},
    },
};
use hintstore_format::TargetId;

use super::{
    Page,
    pages::{Found, Pager},
};
use crate::{
    Error, Result,
    store_env::StoreEnv,
    target::{Limits, Target, Targets},
};

/// Sends pages to targets. Implemented by the embedder.
pub trait Delivery: Send + Sync {
    /// Begins to deliver a page, and returns at once. When the target has answered, call [`Page::answer`],
    /// from any thread; where it will not, drop the page. A panic ends the delivery of this page, which is
    /// sent again after a rest, and of no other.
    fn deliver(&self, page: Page);
}

/// The loop: hands a page to every target that is up, has hints and has none out, in turn. A target
/// is looked at when there is news of it, or when its rest is over.
pub(crate) struct Deliver {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
    pager: Arc<Pager>,
    /// Who sends them, if anybody does.
    delivery: Mutex<Option<Arc<dyn Delivery>>>,
    is_started: AtomicBool,
    /// Pages that delivery has out.
    pages_out: Arc<AtomicUsize>,
    /// A call of delivery goes on, or a page is being read for one.
    is_calling: AtomicBool,
    /// Targets that rest, and until when.
    resting: Mutex<BTreeSet<(Boot, TargetId)>>,
    /// Targets that are to be looked at.
    line: Mutex<Line>,
}

/// Targets that are to be looked at, in turn. Where all share one rate, those first whose hints expire first: what
/// the rate does not allow in time is lost.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeSet<(i64, u64, TargetId)>,
    /// Counts those that came.
    came: u64,
}

/// Targets whose first hints expire within this time of each other share a rate by turns.
const AT_ONCE_MILLIS: i64 = 60_000;

impl Deliver {
    pub(crate) fn new(env: &Arc<StoreEnv>, targets: &Arc<Targets>, pager: &Arc<Pager>) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
            pager: pager.clone(),
            delivery: Mutex::default(),
            is_started: AtomicBool::new(false),
            pages_out: Arc::default(),
            is_calling: AtomicBool::new(false),
            resting: Mutex::default(),
            line: Mutex::default(),
        }
    }

    /// Has those that there is news of stand in line; gives how many do.
    fn line_up(&self) -> usize {
        let is_shared = self.env.config().deliver_bytes_per_second.is_some();
        let now = self.env.now().at_least();
        let mut line = self.line.lock();
        while let Some(id) = self.env.activity.next_ready() {
            let target = self.targets.get(id).filter(|_| is_shared);
            // What is not known, or has ended, is as urgent as what expires now.
            let urgency = target.map_or(i64::MIN, |target| {
                let expiry = target.next_expiry_if_free();
                expiry.map_or(now, |at| at.max(now)).get() / AT_ONCE_MILLIS
            });
            line.came += 1;
            let came = line.came;
            line.waiting.insert((urgency, came, id));
        }
        line.waiting.len()
    }

    /// The next one in line.
    fn first_in_line(&self) -> Option<TargetId> {
        self.line_up();
        let first = self.line.lock().waiting.pop_first();
        first.map(|(_, _, id)| id)
    }

    /// Begins to send pages.
    pub(crate) fn begin(self: &Arc<Self>, delivery: Arc<dyn Delivery>) -> Result<()> {
        let mut slot = self.delivery.lock();
        if slot.is_some() {
            return Err(Error::Delivering);
        }
        *slot = Some(delivery);
        drop(slot);
        self.targets.announce_all();
        if self.is_started.swap(true, SeqCst) {
            return Ok(());
        }
        let waker = self.env.activity.delivery.clone();
        let started = self.env.runner.start(self.clone(), waker, Next::WhenWoken);
        started.map_err(|error| {
            *self.delivery.lock() = None;
            self.is_started.store(false, SeqCst);
            Error::Threads(error)
        })
    }

    /// Sends no more, and waits for the pages that are out, also for one that is just being read for it; gives how many
    /// still are.
    pub(crate) fn stop(&self, within: Duration) -> usize {
        *self.delivery.lock() = None;
        let deadline = Some(self.env.clock.boot() + within);
        let out = || {
            let pages = self.pages_out.load(Acquire);
            pages.max(usize::from(self.is_calling.load(Acquire)))
        };
        let returned = &self.env.pages_returned;
        self.env
            .runner
            .wait_until(returned, deadline, &mut || out() == 0);
        out()
    }

    /// Hands out a page of a target, or says when to look again.
    fn look(&self, target: &Arc<Target>, now: Boot) -> Option<Boot> {
        // First: who moves hints holds the progress until they are moved, and there is news then.
        if target.is_deferring() {
            return None;
        }
        if !target.writer.is_up() || target.is_in_flight() {
            // There is news when that ends.
            return None;
        }
        let calling = Calling::begin(self)?;
        if self.pager.makes_room(target) {
            return None;
        }
        let limits = match target.pace.lock().gives_way(&self.env, now) {
            Ok(hints) => Limits {
                hints,
                ..Limits::NONE
            },
            Err(until) => return Some(until),
        };
        match self.pager.next(target, limits) {
            Ok(Found::Page(page)) => {
                target.pace.lock().went(&self.env, page.len());
                let page = page.hand_out(&self.pages_out);
                // What unwinds drops the page, and the drop of the page lists its target again.
                let deliver = AssertUnwindSafe(|| calling.delivery.deliver(page));
                match catch_unwind(deliver) {
                    Ok(()) => None,
                    Err(_) => Some(self.rest(target, now)),
                }
            }
            Ok(Found::Resting(until)) => Some(until),
            Ok(Found::Nothing) => None,
            // The disk may answer again; other targets go on.
            Err(_) => Some(self.rest(target, now)),
        }
    }

    fn rest(&self, target: &Target, now: Boot) -> Boot {
        let rest_until = now + self.env.config().retry_delay;
        target.backlog.progress.lock().rest_until = rest_until;
        rest_until
    }
}

impl fmt::Debug for Deliver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages_out = self.pages_out.load(Acquire);
        write!(f, "Deliver({pages_out} pages out)")
    }
}

/// A call of delivery, from before the page is read: who stops delivery waits for its end.
struct Calling<'a> {
    deliver: &'a Deliver,
    delivery: Arc<dyn Delivery>,
}

impl<'a> Calling<'a> {
    /// Nothing where delivery was stopped.
    fn begin(deliver: &'a Deliver) -> Option<Self> {
        let slot = deliver.delivery.lock();
        let delivery = slot.clone()?;
        deliver.is_calling.store(true, Release);
        Some(Self { deliver, delivery })
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.deliver.is_calling.store(false, Release);
        if self.deliver.delivery.lock().is_none() {
            self.deliver.env.pages_returned.raise();
        }
    }
}

/// A target that is being looked at. Where that panics it rests, and is looked at again.
struct Look<'a> {
    deliver: &'a Deliver,
    target: Option<TargetId>,
    again_at: Boot,
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        if let Some(target) = self.target {
            self.deliver.resting.lock().insert((self.again_at, target));
        }
    }
}

impl Step for Deliver {
    fn name(&self) -> &'static str {
        "deliver"
    }

    fn step(&self, now: Boot) -> Next {
        let mut resting = self.resting.lock();
        while let Some((at, id)) = resting.first().copied().filter(|(at, _)| *at <= now) {
            resting.remove(&(at, id));
            if let Some(target) = self.targets.get(id) {
                target.writer.announce();
            }
        }
        drop(resting);
        for _ in 0..self.line_up() {
            if self.pages_out.load(Acquire) >= self.env.config().pages_out_max {
                // There is news when one of them comes back.
                return Next::WhenWoken;
            }
            // Those that wait for the rate of all stay where they are in the line.
            let deliver_at = *self.env.deliver_at.lock();
            if deliver_at > now {
                let first = self.resting.lock().first().map(|(at, _)| *at);
                let at = first.map_or(deliver_at, |first| first.min(deliver_at));
                return Next::After(at.since(now));
            }
            let Some(id) = self.first_in_line() else {
                break;
            };
            let Some(target) = self.targets.get(id) else {
                continue;
            };
            target.writer.unlist();
            let mut look = Look {
                deliver: self,
                target: Some(id),
                again_at: now + self.env.config().retry_delay,
            };
            let again_at = self.look(&target, now);
            look.target = again_at.map(|_| id);
            look.again_at = again_at.unwrap_or_default();
        }
        let first = self.resting.lock().first().map(|(at, _)| *at);
        first.map_or(Next::WhenWoken, |at| Next::After(at.since(now)))
    }
}
