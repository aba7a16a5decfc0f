//! Books what became of a page.

use std::sync::Arc;

use hintstore_format::{
    Sequence,
    journal::{Cause, End},
};
use hintstore_reader::HintRef;

use super::{Page, dead_letter::DeadLetters};
use crate::{Error, Result, loss, store_env::StoreEnv, target::Ranges};

/// What a target said to a page: every hint that is not named was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    retry: Vec<Sequence>,
    retry_all: bool,
    reject: Vec<Sequence>,
}

impl Answer {
    /// All were delivered.
    pub fn delivered() -> Self {
        Self::default()
    }

    /// None was delivered: all are to be sent again.
    pub fn retry_all() -> Self {
        Self {
            retry_all: true,
            ..Self::default()
        }
    }

    /// This one is to be sent again: the target could not take it now ("I do not know this table").
    #[must_use]
    pub fn retry(mut self, sequence: Sequence) -> Self {
        self.retry.push(sequence);
        self
    }

    /// This one will never be taken: it becomes a dead letter.
    #[must_use]
    pub fn reject(mut self, sequence: Sequence) -> Self {
        self.reject.push(sequence);
        self
    }

    /// Whether any hint is to be sent again.
    pub fn has_retries(&self) -> bool {
        self.retry_all || !self.retry.is_empty()
    }

    /// Whether all hints of a page with `of` hints are to be sent again.
    pub(crate) fn took_none(&self, of: usize) -> bool {
        self.retry_all || self.retry.len() >= of
    }
}

/// Books answers.
#[derive(Debug)]
pub(crate) struct Answers {
    env: Arc<StoreEnv>,
    dead_letters: DeadLetters,
}

impl Answers {
    pub(crate) fn new(env: &Arc<StoreEnv>, dead_letters: DeadLetters) -> Self {
        Self {
            env: env.clone(),
            dead_letters,
        }
    }

    pub(crate) fn acknowledge(&self, page: Page, answer: &Answer) -> Result<()> {
        self.end(page, answer, End::Delivered)
    }

    /// The same; what neither comes again nor was rejected ends in this way.
    pub(crate) fn end(&self, mut page: Page, answer: &Answer, end: End) -> Result<()> {
        self.env.check_open()?;
        if !page.is_of(&self.env) {
            return Err(Error::OtherStore);
        }
        let Some(backlog) = page.home() else {
            // A page of a deferred segment that is done by now.
            return Ok(());
        };
        let mut delivered = page.handed().clone();
        let mut again = Ranges::default();
        if answer.retry_all {
            again = delivered.take();
        }
        let named = |sequences: &[Sequence]| {
            let mut sequences = sequences.to_vec();
            sequences.sort_unstable();
            let mut ranges = Ranges::default();
            for sequence in sequences {
                if page.handed().contains(sequence) {
                    ranges.add(sequence);
                }
            }
            ranges
        };
        again.join(&named(&answer.retry));
        let mut rejected = named(&answer.reject);
        rejected.subtract(&again);
        delivered.subtract(&again);
        delivered.subtract(&rejected);
        // Before the books say so: a dead letter is durable before any checkpoint passes it. One
        // that cannot be kept now comes again, and those around it have their way.
        let kept = if rejected.is_empty() {
            Ok(true)
        } else {
            self.dead_letters.keep(&page, &rejected)
        };
        if kept.is_err() {
            again.join(&rejected.take());
        }
        page.settle();
        let mut progress = backlog.progress.lock();
        progress.in_flight -= 1;
        // What was discarded or swept while the page was out has ended.
        for ranges in [&mut again, &mut delivered, &mut rejected] {
            *ranges = ranges.and(&progress.unended);
        }
        progress.again.join(&again);
        progress.end(&backlog.segments, &delivered, end);
        progress.end(&backlog.segments, &rejected, End::Rejected);
        if let Ok(false) = kept {
            let now = self.env.clock.wall();
            let is_rejected = |hint: &HintRef<'_>| rejected.contains(hint.key.sequence);
            let told = page.hints().filter(is_rejected).map(|hint| {
                let (target, namespace) = (hint.key.target, hint.namespace);
                loss::of_hint(target, namespace, &hint.body, Cause::Rejected, now)
            });
            self.env.new_losses.add(told);
            if page.faulted() {
                // What was told may be zeros.
                let (target, hints) = (page.target(), rejected.count());
                let any = loss::of_unknown(Some(target), hints, u64::MAX, Cause::Rejected, now);
                self.env.new_losses.add([any]);
            }
        }
        drop(progress);
        self.env.pages_returned.raise();
        self.env.activity.touch();
        kept?;
        Ok(())
    }
}
