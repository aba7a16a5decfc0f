//! One call that takes hints: each is checked, counted if the call will wait for it, and given its place.

use std::sync::Arc;

use hintstore_env::{Boot, sync::Ordering::SeqCst};
use hintstore_format::{Sequence, TargetId, frame::Draft, profile::Profile};
use hintstore_writer::{Bytes, FRAME_MAX, Refusal};

use super::{Appender, Durability, Hint};
use crate::{loss, target::Target};

/// One call, until it returns.
pub(super) struct Call<'a> {
    appender: &'a Appender,
    level: Durability,
    deadline: Option<Boot>,
    /// Where too many wait, this waits for a place until the deadline.
    is_patient: bool,
    /// The hints are in the store already.
    is_copying: bool,
    /// The target of each hint that waits for its level.
    waiting: Vec<Arc<Target>>,
}

impl<'a> Call<'a> {
    #[inline]
    pub(super) fn new(appender: &'a Appender, level: Durability, deadline: Option<Boot>) -> Self {
        Self {
            appender,
            level,
            deadline,
            is_patient: false,
            is_copying: false,
            waiting: Vec::new(),
        }
    }

    /// The same, and it waits for a place where too many hints wait for their level.
    pub(super) fn patient(mut self) -> Self {
        self.is_patient = true;
        self
    }

    /// The same, of hints that are in the store already: one that is refused is not lost.
    pub(super) fn copying(mut self) -> Self {
        self.is_copying = true;
        self
    }

    /// Takes a hint into memory, or counts its refusal. `draft` makes it ready once nothing is known
    /// that refuses it: most refusals cost no checksum.
    #[inline]
    pub(super) fn accept<'b>(
        &mut self,
        hint: &Hint<'_>,
        draft: impl FnMut() -> Draft<'b>,
    ) -> Result<Sequence, Refusal> {
        let waiting = self.waiting.len();
        let taken = self.take(hint, draft);
        if let Err(reason) = taken {
            self.refuse(hint, waiting, reason);
        }
        taken
    }

    #[cold]
    fn refuse(&mut self, hint: &Hint<'_>, waiting: usize, reason: Refusal) {
        // It waits for nothing.
        self.wait_no_more(waiting);
        self.appender.refused.add(reason, 1);
        // One that never had a hint gets no entry: mistaken targets take no memory.
        if let Some(target) = self.appender.targets.get(hint.target) {
            target.refused.get_or_init(Box::default).add(reason, 1);
        }
        if let Some(cause) = loss::cause_of(reason).filter(|_| !self.is_copying) {
            let env = &self.appender.env;
            let (target, now) = (hint.target, env.clock.wall());
            let loss = loss::of_hint(target, hint.namespace, &hint.body, cause, now);
            env.new_losses.add([loss]);
            env.activity.touch();
        }
    }

    #[inline]
    fn take<'b>(
        &mut self,
        hint: &Hint<'_>,
        mut draft: impl FnMut() -> Draft<'b>,
    ) -> Result<Sequence, Refusal> {
        self.check(hint)?;
        if self.level > Durability::Buffered {
            self.wait_for_level(hint.target)?;
        }
        let profile = hint.profile();
        let mut made = None;
        // The usual case, a slab with room, counts no references and knows no deadline. What fits no
        // slab is not checksummed while others wait for the table.
        let targets = self.appender.targets.table();
        if let Some(target) = targets.get(&hint.target) {
            let writer = &target.writer;
            writer.may_take()?;
            if hint.body.payload.len() < FRAME_MAX && writer.has_slab() {
                let draft = draft();
                if let Some(sequence) = writer.append_open(&draft, &profile) {
                    return Ok(sequence);
                }
                made = Some(draft);
            }
        }
        drop(targets);
        self.take_slowly(hint.target, made.unwrap_or_else(draft), profile)
    }

    /// Takes a hint that finds no slab with room.
    #[cold]
    fn take_slowly(
        &self,
        target: TargetId,
        draft: Draft<'_>,
        profile: Profile,
    ) -> Result<Sequence, Refusal> {
        let deadline = || self.appender.env.writer.deadline(self.deadline);
        let target = self.target(target);
        target.writer.append(&draft, profile, deadline)
    }

    /// Whether the hint may be taken, for all that can be said before anything is reserved for it.
    #[inline]
    fn check(&self, hint: &Hint<'_>) -> Result<(), Refusal> {
        let limit = self.appender.env.writer.hint_bytes_max();
        let key = hint.body.collapse.map_or(0, |collapse| collapse.key.len());
        if (hint.body.payload.len() + key) as u64 > limit.get() {
            return Err(Refusal::TooLarge { limit });
        }
        if !hint.body.fits() {
            let limit = Bytes::new(u16::MAX.into());
            return Err(Refusal::TooLarge { limit });
        }
        self.appender.env.writer.may_append()?;
        self.appender.admission.admit(hint)
    }

    /// Counts a hint that will wait for its level, unless too many do.
    fn wait_for_level(&mut self, target: TargetId) -> Result<(), Refusal> {
        if self.take_place(target) || self.is_patient && self.wait_for_place(target) {
            Ok(())
        } else {
            Err(Refusal::Overloaded)
        }
    }

    fn take_place(&mut self, target: TargetId) -> bool {
        let target = self.target(target);
        let here = target.in_flight.fetch_add(1, SeqCst);
        let all = self.appender.in_flight.fetch_add(1, SeqCst);
        self.waiting.push(target);
        let config = self.appender.env.writer.config();
        let has_place = here < config.in_flight_target_max && all < config.in_flight_max;
        if !has_place && let Some(target) = self.waiting.pop() {
            // It had none: nobody who waits for one is called.
            target.in_flight.fetch_sub(1, SeqCst);
            self.appender.in_flight.fetch_sub(1, SeqCst);
        }
        has_place
    }

    /// Waits until others need their places no more.
    #[cold]
    fn wait_for_place(&mut self, target: TargetId) -> bool {
        let appender = self.appender;
        let deadline = appender.env.writer.deadline(self.deadline);
        // Before the look: a thread that gives its place back from now on raises the signal.
        appender.seekers.fetch_add(1, SeqCst);
        let runner = &appender.env.runner;
        let taken = runner.wait_until(&appender.places, Some(deadline), &mut || {
            self.take_place(target)
        });
        appender.seekers.fetch_sub(1, SeqCst);
        taken
    }

    fn target(&self, id: TargetId) -> Arc<Target> {
        let known = self.appender.targets.get(id);
        known.unwrap_or_else(|| {
            let now = self.appender.env.now().at_least();
            self.appender.targets.get_or_add(id, now)
        })
    }

    /// Leaves the place of its one hint, if it has one, to the caller.
    pub(super) fn keep_place(mut self) -> Option<Arc<Target>> {
        self.waiting.pop()
    }

    /// Counts only the first of them as waiting.
    fn wait_no_more(&mut self, first: usize) {
        for target in self.waiting.drain(first..) {
            target.in_flight.fetch_sub(1, SeqCst);
            self.appender.leave_place();
        }
    }
}

impl Drop for Call<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.waiting.is_empty() {
            self.wait_no_more(0);
        }
    }
}
