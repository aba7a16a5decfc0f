//! Books what became of a page.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use hintstore_env::{Boot, event};
use hintstore_format::{
    Sequence,
    journal::{Cause, End},
};
use hintstore_reader::HintRef;

use super::{Page, Verdict, dead_letter::DeadLetters};
use crate::{
    Result, loss,
    store_env::StoreEnv,
    target::{Progress, Ranges},
};

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
    /// What is to rest for longer, and how long.
    later: BTreeMap<Duration, Ranges>,
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
            drop(progress);
            page.count_delays(&delivered);
        }
        page.booked(hints, &ended);
        self.env.activity.touch();
        Ok(())
    }

    /// Nothing was said of what is left of a page: its target rests. Where that was one hint, it is left alone for
    /// longer, and others go on; one that failed `poison_attempts` times, while its target took others, is rejected.
    pub(super) fn book_failure(&self, page: &mut Page) {
        let Some(backlog) = page.home().filter(|_| !page.is_empty()) else {
            page.put_back();
            return;
        };
        let target = page.of().clone();
        let config = Arc::clone(&*self.env.config());
        let rest = self.rest(page, false);
        let now = self.env.clock.boot();
        let alone = page.sequences().next();
        let is_alone = page.len() == 1 && !page.was_accepted() && !target.is_strict();
        let alone = alone.filter(|_| is_alone);
        if let Some(hint) = alone {
            let delivered = target.ends().get(End::Delivered);
            let failures = backlog.progress.lock().count_poison(hint, delivered);
            if failures as usize >= config.poison_attempts {
                event!(warn, target_id = %page.target(), sequence = %hint, "a hint fails each page");
                // Where it cannot be kept it comes again.
                drop(self.book(page, &[Verdict::Reject], End::Delivered));
                return;
            }
        }
        let again = page.handed().clone();
        page.settle();
        let mut progress = backlog.progress.lock();
        progress.in_flight -= 1;
        self.send_again(&mut progress, &again, alone, now + rest, now);
        progress.rest_until = now + rest;
        drop(progress);
        self.env.pages_returned.raise();
    }

    /// What became of a page sets the pace of its target; gives how long it rests for that.
    fn rest(&self, page: &Page, took_any: bool) -> Duration {
        let mut pace = page.of().pace.lock();
        if took_any || page.was_accepted() {
            pace.answered(&self.env, page.was_pushed())
        } else {
            pace.failed(&self.env, page.was_pushed())
        }
    }

    /// Has hints of a page handed out again, not before `at`; the one that made it fail alone for longer.
    fn send_again(
        &self,
        progress: &mut Progress,
        again: &Ranges,
        alone: Option<Sequence>,
        at: Boot,
        now: Boot,
    ) {
        let again = again.and(&progress.unended);
        if again.is_empty() {
            return;
        }
        // What waits already waits no shorter for it.
        let before = Some(progress.retry_at).filter(|_| !progress.again.is_empty());
        progress.retry_at = before.map_or(at, |before| before.max(at));
        progress.again.join(&again);
        if let Some(hint) = alone.filter(|hint| again.contains(*hint)) {
            let config = self.env.config();
            progress.suspect(hint, now, config.retry_delay, config.retry_delay_max);
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
                Verdict::RetryAfter(rest) => sorted.later.entry(*rest).or_default().add(sequence),
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
            mut later,
            unknown,
        } = sorted;
        let Some(backlog) = page.home() else {
            // A page of a deferred segment that is done by now.
            page.settle();
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
        let took_any = !delivered.is_empty() || !rejected.is_empty() || page.is_empty();
        page.of().pace.lock().unknown_namespace += unknown;
        let mut rest = self.rest(page, took_any);
        if page.of().is_strict() {
            // One that waits holds up those behind it.
            for (asked, hints) in mem::take(&mut later) {
                rest = rest.max(asked);
                again.join(&hints);
            }
        }
        let now = self.env.clock.boot();
        let took_any = took_any || page.was_accepted();
        let is_alone = page.len() == 1 && !took_any && !page.of().is_strict();
        let alone = page.sequences().next().filter(|_| is_alone);
        // One that asked for time is no suspect.
        let alone = alone.filter(|_| later.is_empty());
        page.settle();
        let mut progress = backlog.progress.lock();
        progress.in_flight -= 1;
        // What was discarded or swept while the page was out has ended.
        for ranges in [&mut delivered, &mut rejected] {
            *ranges = ranges.and(&progress.unended);
        }
        self.send_again(&mut progress, &again, alone, now + rest, now);
        let any_left = !again.is_empty() || !later.is_empty();
        if !took_any && any_left {
            progress.rest_until = now + rest;
        }
        for (asked, hints) in &later {
            progress.rest_later(now + rest.max(*asked), hints);
        }
        progress.end(&backlog.segments, &delivered, end);
        progress.end(&backlog.segments, &rejected, End::Rejected);
        if let Ok(false) = kept {
            self.note_unkept(page, &rejected);
        }
        drop(progress);
        if end == End::Delivered && !delivered.is_empty() {
            page.count_delays(&delivered);
        }
        self.env.say_if_drained(page.of());
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
