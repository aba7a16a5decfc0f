//! A page of hints as a caller holds it, and the duty to answer for it.

use std::sync::{Arc, Weak};

use hintstore_env::sync::{AtomicUsize, Ordering::AcqRel};
use hintstore_format::{Sequence, TargetId, UnixMillis, journal::End, profile::Span};
use hintstore_reader::{self as reader, Faulted, HintRef, Hints};
use hintstore_writer::Bytes;

use super::{Verdict, acknowledge::Answers};
use crate::{
    Delays, Error, Result,
    store_env::StoreEnv,
    target::{Backlog, Ranges, Target, TargetState},
};

/// Checked hints of one target, in order, and the duty to answer for them: what the target said goes to
/// [`Page::answer`], hint by hint. A page that is dropped instead counts as not delivered, whatever became
/// of it: its hints are handed out again, behind the back-off of the target.
#[derive(Debug)]
#[must_use = "a page that is dropped is sent again"]
pub struct Page {
    inner: reader::Page,
    /// The sequences of its hints that are not answered.
    handed: Ranges,
    /// Hints at its begin that were booked already.
    booked: usize,
    times: Times,
    target: Arc<Target>,
    /// Where its hints were read; nothing where what became of them is booked.
    home: Option<Weak<Backlog>>,
    env: Arc<StoreEnv>,
    answers: Arc<Answers>,
    /// Of a page that the store handed to delivery.
    out: Option<Out>,
}

/// Of the hints of a page together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// None dies before.
    pub(super) earliest: UnixMillis,
    /// None was created before or behind it.
    pub(super) created: Option<Span<UnixMillis>>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            earliest: UnixMillis::MAX,
            created: None,
        }
    }
}

/// A page that delivery has out; counted until it is gone.
#[derive(Debug)]
struct Out {
    count: Arc<AtomicUsize>,
    env: Arc<StoreEnv>,
}

impl Drop for Out {
    fn drop(&mut self) {
        self.count.fetch_sub(1, AcqRel);
        // Who waits for it looks at the count.
        self.env.pages_returned.raise();
    }
}

impl Page {
    pub(super) fn new(
        inner: reader::Page,
        handed: Ranges,
        times: Times,
        target: &Arc<Target>,
        home: &Arc<Backlog>,
        env: &Arc<StoreEnv>,
        answers: &Arc<Answers>,
    ) -> Self {
        Self {
            inner,
            handed,
            booked: 0,
            times,
            target: target.clone(),
            home: Some(Arc::downgrade(home)),
            env: env.clone(),
            answers: answers.clone(),
            out: None,
        }
    }

    /// Counts it as out.
    pub(super) fn hand_out(mut self, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, AcqRel);
        self.out = Some(Out {
            count: count.clone(),
            env: self.env.clone(),
        });
        self
    }

    /// The node that its hints are for.
    pub fn target(&self) -> TargetId {
        self.inner.target()
    }

    /// How many hints wait for an answer.
    pub fn len(&self) -> usize {
        self.inner.len() - self.booked
    }

    /// Whether there is none. A page that the store hands out has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of their frames, as it was handed out.
    pub fn bytes(&self) -> Bytes {
        Bytes::new(self.inner.bytes())
    }

    /// Its hints that wait for an answer, in order.
    pub fn hints(&self) -> Hints<'_> {
        self.inner.hints().skip_first(self.booked)
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
    pub fn with<R>(&self, use_hints: impl FnOnce(&Self) -> R) -> std::result::Result<R, Faulted> {
        self.inner.with(|_| use_hints(self))
    }

    /// No hint of the page is dead before this time. Who holds a page for longer drops it: what is
    /// dead by then is not handed out again.
    pub fn earliest_deadline(&self) -> UnixMillis {
        self.times.earliest
    }

    /// Whether it is not worth to be sent any more: the target is said to be down, the store is being closed, or
    /// all of the page ended otherwise, as by a truncation. Does not block, except on a thread that holds the
    /// target's books.
    pub fn is_void(&self) -> bool {
        let is_over = || match self.home() {
            Some(home) => self.handed.and(&home.progress.lock().unended).is_empty(),
            None => true,
        };
        let is_down = self.target.pace.lock().state == TargetState::Down;
        is_down || self.env.is_closing() || is_over()
    }

    /// Books what the target said, one verdict for each of [`Page::hints`], in their order.
    ///
    /// # Errors
    /// [`Error::Verdicts`] where their number is another: the page is sent again. [`Error::Closed`];
    /// [`Error::Storage`] where a dead letter could not be kept: it is sent again, and the rest is booked.
    ///
    /// # Blocking
    /// On an fdatasync where a hint was rejected, else on another thread that holds the target's books.
    pub fn answer(self, verdicts: &[Verdict]) -> Result<()> {
        self.answer_as(verdicts, End::Delivered)
    }

    /// The same; what was delivered ends in this way.
    pub(crate) fn answer_as(mut self, verdicts: &[Verdict], end: End) -> Result<()> {
        if verdicts.len() != self.len() {
            return Err(Error::Verdicts {
                hints: self.len(),
                verdicts: verdicts.len(),
            });
        }
        let answers = self.answers.clone();
        answers.book(&mut self, verdicts, end)
    }

    /// The same, with what `verdict` says of each.
    ///
    /// ```
    /// # use hintstore::{Page, Verdict};
    /// # fn example(page: Page, send: impl Fn(&[u8]) -> bool) -> hintstore::Result<()> {
    /// page.answer_each(|hint| {
    ///     if send(hint.body.payload) { Verdict::Delivered } else { Verdict::Retry }
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As those of [`Page::answer`].
    ///
    /// # Blocking
    /// As [`Page::answer`].
    pub fn answer_each(self, verdict: impl FnMut(&HintRef<'_>) -> Verdict) -> Result<()> {
        let mut verdict = verdict;
        let verdicts: Vec<Verdict> = self.hints().map(|hint| verdict(&hint)).collect();
        self.answer(&verdicts)
    }

    /// Says that the target has all of it.
    ///
    /// # Errors
    /// [`Error::Closed`].
    ///
    /// # Blocking
    /// As [`Page::answer`].
    pub fn delivered(mut self) -> Result<()> {
        let answers = self.answers.clone();
        answers.book_delivered(&mut self)
    }

    /// Says that the target has the first `hints` of those that wait for an answer: they are not sent again, and
    /// the page goes on with those behind them.
    ///
    /// # Errors
    /// [`Error::Verdicts`] where it has fewer; [`Error::Closed`].
    ///
    /// # Blocking
    /// As [`Page::answer`].
    pub fn accept(&mut self, hints: usize) -> Result<()> {
        if hints > self.len() {
            return Err(Error::Verdicts {
                hints: self.len(),
                verdicts: hints,
            });
        }
        let answers = self.answers.clone();
        answers.book_prefix(self, hints)
    }

    /// Says that the target took nothing: as dropping the page.
    pub fn retry(self) {}

    /// The same, of a page that was to be sent and was not.
    #[cfg(feature = "tokio")]
    pub(crate) fn give_back_unsent(self) {
        let (bytes, hints) = (self.inner.bytes(), self.inner.len());
        self.target.pace.lock().did_not_go(bytes, hints);
        self.give_back();
    }

    /// Gives it back as if it had never been handed out: it is read again at once.
    pub(crate) fn give_back(mut self) {
        self.put_back();
    }

    /// The sequences of its hints that wait for an answer, in order.
    pub(super) fn sequences(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.inner.sequences().skip(self.booked)
    }

    /// Counts how old those of its hints are that its target has now.
    pub(super) fn count_delays(&self, delivered: &Ranges) {
        let (now, mut delays) = (self.env.now().at_least(), Delays::default());
        match self.times.created {
            Some(created) if Delays::is_one_bucket(created, now) => {
                // Of those that are not read one by one, the middle.
                let (oldest, newest) = (created.min, created.max);
                let age = now.saturating_since(oldest) / 2 + now.saturating_since(newest) / 2;
                delays.add(age, delivered.count());
            }
            _ => {
                let hints = self.hints();
                let hints = hints.filter(|hint| delivered.contains(hint.key.sequence));
                hints.for_each(|hint| delays.add(now.saturating_since(hint.body.created), 1));
            }
        }
        self.target.add_delays(&delays);
    }

    pub(super) fn handed(&self) -> &Ranges {
        &self.handed
    }

    /// The first `hints` of those that wait are answered.
    pub(super) fn booked(&mut self, hints: usize, ended: &Ranges) {
        self.booked += hints;
        self.handed.subtract(ended);
    }

    /// Whether its target took some of it while the rest was out.
    pub(super) fn was_accepted(&self) -> bool {
        self.booked > 0
    }

    /// Whether the store handed it to delivery.
    pub(super) fn was_pushed(&self) -> bool {
        self.out.is_some()
    }

    /// The target that it is for.
    pub(super) fn of(&self) -> &Arc<Target> {
        &self.target
    }

    /// The backlog that it was read from, if that is still there.
    pub(crate) fn home(&self) -> Option<Arc<Backlog>> {
        self.home.as_ref().and_then(Weak::upgrade)
    }

    /// Takes the page off its target's account: the caller books what became of it.
    pub(super) fn settle(&mut self) {
        self.home = None;
    }

    /// Puts its hints back to where they were read.
    pub(super) fn put_back(&mut self) {
        let Some(backlog) = self.home.take().and_then(|home| home.upgrade()) else {
            return;
        };
        let mut progress = backlog.progress.lock();
        progress.in_flight -= 1;
        let again = self.handed.and(&progress.unended);
        progress.again.join(&again);
        drop(progress);
        self.env.pages_returned.raise();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.home.is_some() {
            let answers = self.answers.clone();
            answers.book_failure(self);
        }
        let empty = reader::Page::new(self.target.id);
        let inner = std::mem::replace(&mut self.inner, empty);
        self.env.spare_pages.give(inner);
        // What counts the pages that are out looks behind this.
        drop(self.out.take());
        self.target.writer.announce();
    }
}
