//! Delivery as submit and complete: a hung target pins no thread.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use hintstore_env::{
    Boot, Next, Step,
    sync::{AtomicUsize, Mutex, Ordering::Acquire},
};
use hintstore_format::TargetId;

use super::{Answer, Page, acknowledge::Answers, pages::Pager};
use crate::{
    Result,
    store_env::StoreEnv,
    target::{Target, Targets},
};

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
#[must_use = "a target whose page is not completed waits for its rest"]
pub struct Completion {
    env: Arc<StoreEnv>,
    answers: Arc<Answers>,
}

impl Completion {
    /// Gives the page back with the target's answer.
    pub fn complete(self, page: Page, answer: &Answer) -> Result<()> {
        let home = page.home();
        let target = page.of().clone();
        let took_none = answer.took_none(page.len());
        let done = self.answers.acknowledge(page, answer);
        let rest = self.env.clock.boot() + self.env.config().retry_delay;
        if (answer.has_retries() || done.is_err())
            && let Some(home) = home
        {
            let mut progress = home.progress.lock();
            progress.retry_at = rest;
            if took_none {
                progress.rest_until = rest;
            }
        }
        target.writer.announce();
        done
    }
}

/// The loop: hands a page to every target that is up, has hints and has none out, in turn. A target
/// is looked at when there is news of it, or when its rest is over.
#[derive(Debug)]
pub(crate) struct Deliver {
    env: Arc<StoreEnv>,
    targets: Arc<Targets>,
    pager: Arc<Pager>,
    answers: Arc<Answers>,
    delivery: Arc<dyn Delivery>,
    /// Pages that delivery has out.
    pages_out: Arc<AtomicUsize>,
    /// Targets that rest, and until when.
    resting: Mutex<BTreeSet<(Boot, TargetId)>>,
}

impl Deliver {
    pub(crate) fn new(
        env: &Arc<StoreEnv>,
        targets: &Arc<Targets>,
        pager: &Arc<Pager>,
        answers: &Arc<Answers>,
        pages_out: &Arc<AtomicUsize>,
        delivery: Arc<dyn Delivery>,
    ) -> Self {
        Self {
            env: env.clone(),
            targets: targets.clone(),
            pager: pager.clone(),
            answers: answers.clone(),
            delivery,
            pages_out: pages_out.clone(),
            resting: Mutex::default(),
        }
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
        let rest_until = target.backlog.progress.lock().rest_until;
        if rest_until > now {
            return Some(rest_until);
        }
        if self.pager.makes_room(target) {
            return None;
        }
        match self.pager.push(target) {
            Ok(Some(page)) => {
                let completion = Completion {
                    env: self.env.clone(),
                    answers: self.answers.clone(),
                };
                let page = page.hand_out(&self.pages_out);
                // What unwinds drops the page, and the drop of the page lists its target again.
                let deliver = AssertUnwindSafe(|| self.delivery.deliver(page, completion));
                match catch_unwind(deliver) {
                    Ok(()) => None,
                    Err(_) => Some(self.rest(target, now)),
                }
            }
            Ok(None) => target.retry_at(now),
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
        let activity = &self.env.activity;
        for _ in 0..activity.ready() {
            if self.pages_out.load(Acquire) >= self.env.config().pages_out_max {
                // There is news when one of them comes back.
                return Next::WhenWoken;
            }
            let Some(id) = activity.next_ready() else {
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
