//! Delivery as submit and complete: a hung target pins no thread.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use hintstore_env::{
    Boot, Next, Step,
    sync::{Mutex, Ordering::Acquire},
};
use hintstore_format::TargetId;

use super::{Answer, Page};
use crate::{Result, catalog::Queue, store::Engine};

/// Sends pages to targets. Implemented by the embedder.
pub trait Delivery: Send + Sync + fmt::Debug {
    /// Begins to deliver a page, and returns at once. When the target has answered, or will not,
    /// call [`Completion::complete`], from any thread. A panic ends the delivery of this page, which
    /// is sent again after a rest, and of no other.
    fn deliver(&self, page: Page, completion: Completion);
}

/// Ends the delivery of a page. Dropping it and the page instead has the page sent again, after a
/// rest.
#[derive(Debug)]
pub struct Completion {
    engine: Arc<Engine>,
}

impl Completion {
    /// Gives the page back with the target's answer.
    pub fn complete(self, page: Page, answer: &Answer) -> Result<()> {
        let home = page.home();
        let target = page.target();
        let took_none = answer.took_none(page.len());
        let done = self.engine.acknowledge(page, answer);
        let rest = self.engine.clock.boot() + self.engine.config().retry_delay;
        if (answer.has_retries() || done.is_err())
            && let Some(home) = home
        {
            let mut progress = home.progress.lock();
            progress.retry_at = rest;
            if took_none {
                progress.rest_until = rest;
            }
        }
        self.engine.wake_delivery(target);
        done
    }
}

/// The loop: hands a page to every target that is up, has hints and has none out, in turn. A target
/// is looked at when there is news of it, or when its rest is over.
#[derive(Debug)]
pub(crate) struct Deliver {
    pub(crate) engine: Arc<Engine>,
    pub(crate) delivery: Arc<dyn Delivery>,
    /// Targets that rest, and until when.
    resting: Mutex<BTreeSet<(Boot, TargetId)>>,
}

impl Engine {
    /// Has delivery look at a target.
    pub(crate) fn wake_delivery(&self, target: TargetId) {
        if let Some(queue) = self.catalog.get(target) {
            self.catalog.list_ready(&queue);
        }
    }
}

impl Deliver {
    pub(crate) fn new(engine: Arc<Engine>, delivery: Arc<dyn Delivery>) -> Self {
        Self {
            engine,
            delivery,
            resting: Mutex::default(),
        }
    }

    /// Hands out a page of a target, or says when to look again.
    fn look(&self, queue: &Arc<Queue>, now: Boot) -> Option<Boot> {
        let engine = &self.engine;
        if !queue.is_up() || queue.is_in_flight() {
            // There is news when that ends.
            return None;
        }
        let rest_until = queue.progress.lock().rest_until;
        if rest_until > now {
            return Some(rest_until);
        }
        match engine.next_page(queue, true) {
            Ok(Some(page)) => {
                let completion = Completion {
                    engine: engine.clone(),
                };
                let page = page.hand_out(engine);
                // What unwinds drops the page, which is told of.
                let deliver = AssertUnwindSafe(|| self.delivery.deliver(page, completion));
                match catch_unwind(deliver) {
                    Ok(()) => None,
                    Err(_) => Some(self.rest(queue, now)),
                }
            }
            Ok(None) => queue.retry_at(now),
            // The disk may answer again; other targets go on.
            Err(_) => Some(self.rest(queue, now)),
        }
    }

    fn rest(&self, queue: &Queue, now: Boot) -> Boot {
        let rest_until = now + self.engine.config().retry_delay;
        queue.progress.lock().rest_until = rest_until;
        rest_until
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
        let engine = &self.engine;
        let mut resting = self.resting.lock();
        while let Some((at, target)) = resting.first().copied().filter(|(at, _)| *at <= now) {
            resting.remove(&(at, target));
            engine.wake_delivery(target);
        }
        drop(resting);
        for _ in 0..engine.catalog.ready() {
            if engine.catalog.pages_out.load(Acquire) >= engine.config().pages_out_max {
                // There is news when one of them comes back.
                return Next::WhenWoken;
            }
            let Some(queue) = engine.catalog.next_ready() else {
                break;
            };
            let mut look = Look {
                deliver: self,
                target: Some(queue.target),
                again_at: now + engine.config().retry_delay,
            };
            let again_at = self.look(&queue, now);
            look.target = again_at.map(|_| queue.target);
            look.again_at = again_at.unwrap_or_default();
        }
        let first = self.resting.lock().first().map(|(at, _)| *at);
        first.map_or(Next::WhenWoken, |at| Next::After(at.since(now)))
    }
}
