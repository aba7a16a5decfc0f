//! Books what became of a page.

use std::{sync::Arc, time::Duration};

use hintstore_env::event;
use hintstore_format::journal::{Cause, End, Range};
use hintstore_reader::HintRef;

use super::{Page, Verdict, dead_letter::DeadLetters};
use crate::{Result, loss, store_env::StoreEnv, target::Ranges};

/// Books answers.
#[derive(Debug)]
pub(crate) struct Answers {
    env: Arc<StoreEnv>,
    dead_letters: DeadLetters,
}

/// What became of the hints of a page.
#[derive(Debug, Default)]
struct Sorted {
    delivered: Ranges,
    again: Ranges,
    rejected: Ranges,
    /// How long what is to be sent again is to rest, at least.
    rest: Duration,
    unknown: u64,
}

impl Answers {
    pub(crate) fn new(env: &Arc<StoreEnv>, dead_letters: DeadLetters) -> Self {
        Self {
            env: env.clone(),
            dead_letters,
        }
    }

    /// Books a verdict for each hint of a page; what was delivered ends in this way.
    pub(super) fn book(&self, page: &mut Page, verdicts: &[Verdict], end: End) -> Result<()> {
        let sorted = self.sort(page, verdicts);
        self.end(page, sorted, end)
    }

    /// Books a page that was delivered as a whole.
    pub(super) fn book_delivered(&self, page: &mut Page) -> Result<()> {
        let sorted = Sorted {
            delivered: page.handed().clone(),
            ..Sorted::default()
        };
        self.end(page, sorted, End::Delivered)
    }

    /// Books the first hints of a page as delivered; the rest stays out.
    pub(super) fn book_prefix(&self, page: &mut Page, hints: usize) -> Result<()> {
        self.env.check_open()?;
        let mut ended = Ranges::default();
        page.sequences().take(hints).for_each(|one| ended.add(one));
        if let Some(backlog) = page.home() {
            let mut progress = backlog.progress.lock();
            let delivered = ended.and(&progress.unended);
            progress.end(&backlog.segments, &delivered, End::Delivered);
        }
        page.booked(hints, &ended);
        self.env.activity.touch();
        Ok(())
    }

    /// A page came to nothing: its target rests. Where it held one hint, that is left alone for longer, and others go
    /// on; one that failed so often, while its target took others, is rejected.
    pub(super) fn book_failure(&self, page: &mut Page) {
        let back_off = page.of().pace.lock().failed(&self.env);
        let now = self.env.clock.boot();
        let alone = Some(page.sequences()).filter(|_| page.len() == 1 && !page.of().is_strict());
        let alone = alone.and_then(|mut of| of.next());
        let config = Arc::clone(&*self.env.config());
        if let (Some(hint), Some(backlog)) = (alone, page.home()) {
            let mut progress = backlog.progress.lock();
            let rest = config.retry_delay;
            let failures = progress.suspect(hint, now, rest, config.retry_delay_max);
            drop(progress);
            if failures as usize >= config.poison_attempts {
                event!(warn, target_id = %page.target(), sequence = %hint, "a hint fails each page");
                // Where it cannot be kept it comes again.
                drop(self.book(page, &[Verdict::Reject], End::Delivered));
            }
        }
        if let Some(backlog) = page.put_back() {
            let mut progress = backlog.progress.lock();
            if let Some(hint) =
                alone.filter(|hint| progress.exceptional.suspects.contains_key(hint))
            {
                let (first, last) = (hint, hint);
                progress.again.remove(Range { first, last });
            }
            progress.rest_until = now + back_off;
        }
    }

    fn sort(&self, page: &Page, verdicts: &[Verdict]) -> Sorted {
        let mut sorted = Sorted::default();
        let age_max = self.env.config().unknown_namespace_age_max;
        let now = self.env.now().at_least();
        for (hint, verdict) in page.hints().zip(verdicts) {
            let sequence = hint.key.sequence;
            match verdict {
                Verdict::Delivered => sorted.delivered.add(sequence),
                Verdict::Reject => sorted.rejected.add(sequence),
                Verdict::Retry => sorted.again.add(sequence),
                Verdict::RetryAfter(rest) => {
                    sorted.again.add(sequence);
                    sorted.rest = sorted.rest.max(*rest);
                }
                Verdict::UnknownNamespace => {
                    sorted.unknown += 1;
                    if now.saturating_since(hint.body.created) > age_max {
                        sorted.rejected.add(sequence);
                    } else {
                        sorted.again.add(sequence);
                    }
                }
            }
        }
        sorted
    }

    fn end(&self, page: &mut Page, sorted: Sorted, end: End) -> Result<()> {
        self.env.check_open()?;
        let Sorted {
            mut delivered,
            mut again,
            mut rejected,
            rest,
            unknown,
        } = sorted;
        let Some(backlog) = page.home() else {
            // A page of a deferred segment that is done by now.
            return Ok(());
        };
        // Before the books say so: a dead letter is durable before any checkpoint passes it. One
        // that cannot be kept now comes again, and those around it have their way.
        let kept = if rejected.is_empty() {
            Ok(true)
        } else {
            self.dead_letters.keep(page, &rejected)
        };
        if kept.is_err() {
            again.join(&rejected.take());
        }
        let took_any = !delivered.is_empty() || !rejected.is_empty();
        let mut pace = page.of().pace.lock();
        pace.unknown_namespace += unknown;
        let back_off = if took_any {
            pace.answered(&self.env)
        } else {
            pace.failed(&self.env)
        };
        drop(pace);
        let rest_until = self.env.clock.boot() + rest.max(back_off);
        page.settle();
        let mut progress = backlog.progress.lock();
        progress.in_flight -= 1;
        // What was discarded or swept while the page was out has ended.
        for ranges in [&mut again, &mut delivered, &mut rejected] {
            *ranges = ranges.and(&progress.unended);
        }
        if !again.is_empty() {
            progress.again.join(&again);
            let is_one = !took_any && again.count() == 1 && !page.of().is_strict();
            if let Some(one) = again.ranges().first().filter(|_| is_one) {
                let config = self.env.config();
                let (now, rest) = (self.env.clock.boot(), config.retry_delay);
                progress.suspect(one.first, now, rest, config.retry_delay_max);
            }
            progress.retry_at = rest_until;
            if !took_any {
                progress.rest_until = rest_until;
            }
        }
        progress.end(&backlog.segments, &delivered, end);
        progress.end(&backlog.segments, &rejected, End::Rejected);
        if let Ok(false) = kept {
            self.note_unkept(page, &rejected);
        }
        drop(progress);
        self.env.pages_returned.raise();
        self.env.activity.touch();
        kept?;
        Ok(())
    }

    /// Notes rejected hints that were not kept. Their books are held: a checkpoint that counts them has the
    /// receipts as well.
    fn note_unkept(&self, page: &Page, rejected: &Ranges) {
        let now = self.env.clock.wall();
        let is_rejected = |hint: &HintRef<'_>| rejected.contains(hint.key.sequence);
        let unkept = page.hints().filter(is_rejected).map(|hint| {
            let (target, namespace) = (hint.key.target, hint.namespace);
            loss::of_hint(target, namespace, &hint.body, Cause::Rejected, now)
        });
        self.env.new_losses.add(unkept);
        if page.faulted() {
            // What these receipts say may be zeros.
            let (target, hints) = (page.target(), rejected.count());
            let any = loss::of_unknown(Some(target), hints, u64::MAX, Cause::Rejected, now);
            self.env.new_losses.add([any]);
        }
    }
}
