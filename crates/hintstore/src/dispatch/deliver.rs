//! Delivery as submit and complete: a hung target pins no thread.

use std::{fmt, sync::Arc};

use hintstore_runtime::{Boot, Next, Step};

use super::{Answer, Page};
use crate::{Result, store::Engine};

/// Sends pages to targets. Implemented by the embedder.
pub trait Delivery: Send + Sync + fmt::Debug {
    /// Begins to deliver a page, and returns at once. When the target has answered, or will not,
    /// call [`Completion::complete`], from any thread.
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
        let took_none = answer.took_none(page.len());
        let done = self.engine.acknowledge(page, answer);
        let rest = self.engine.clock.boot() + self.engine.config.retry_delay;
        if (answer.has_retries() || done.is_err())
            && let Some(home) = home
        {
            let mut progress = home.progress.lock();
            progress.retry_at = rest;
            if took_none {
                progress.rest_until = rest;
            }
        }
        self.engine.catalog.deliver.wake();
        done
    }
}

/// The loop: hands a page to every target that is up, has hints and has none out.
#[derive(Debug)]
pub(crate) struct Deliver {
    pub(crate) engine: Arc<Engine>,
    pub(crate) delivery: Arc<dyn Delivery>,
}

impl Step for Deliver {
    fn name(&self) -> &'static str {
        "deliver"
    }

    fn step(&self, now: Boot) -> Next {
        let engine = &self.engine;
        let mut next = Next::WhenWoken;
        for queue in engine
            .catalog
            .all()
            .into_iter()
            .filter(|queue| queue.is_up())
        {
            if queue.is_in_flight() {
                continue;
            }
            let rest_until = queue.progress.lock().rest_until;
            if rest_until > now {
                next = next.or_after(rest_until.since(now));
                continue;
            }
            match engine.next_page(&queue, true) {
                Ok(Some(page)) => {
                    let completion = Completion {
                        engine: engine.clone(),
                    };
                    let page = page.rest_if_dropped(engine);
                    self.delivery.deliver(page, completion);
                }
                Ok(None) => {
                    if let Some(retry_at) = queue.retry_at(now) {
                        next = next.or_after(retry_at.since(now));
                    }
                }
                // The disk may answer again; other targets go on.
                Err(_) => {
                    queue.progress.lock().rest_until = now + engine.config.retry_delay;
                    next = next.or_after(engine.config.retry_delay);
                }
            }
        }
        next
    }
}
