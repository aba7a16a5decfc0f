//! One call that takes hints: each is checked, counted if the call will wait for it, and given its place.

use std::sync::Arc;

use hintstore_env::{Boot, sync::Ordering::SeqCst};
use hintstore_format::{Sequence, TargetId, frame::Draft, profile::Profile};

use crate::{
    Bytes, Hint, Level, Refusal, pool::FRAME_MAX, target::TargetWriter, write_env::WriteEnv,
};

/// What stands before the write path: who may append, and what is known of each target.
pub trait Gate {
    /// May refuse a hint before anything is reserved for it.
    fn admit(&self, hint: &Hint<'_>) -> Result<(), Refusal>;

    /// The writer of a target; made where there is none.
    fn writer_of(&self, target: TargetId) -> Arc<TargetWriter>;

    /// Told of each hint that is refused, whoever refuses it.
    fn refused(&self, target: TargetId, reason: Refusal);
}

/// One call, until it returns.
pub(crate) struct Call<'a, G> {
    env: &'a WriteEnv,
    gate: &'a G,
    level: Level,
    deadline: Option<Boot>,
    /// The target of each hint that waits for its level.
    waiting: Vec<Arc<TargetWriter>>,
}

impl<'a, G: Gate> Call<'a, G> {
    #[inline]
    pub(crate) fn new(
        env: &'a WriteEnv,
        gate: &'a G,
        level: Level,
        deadline: Option<Boot>,
    ) -> Self {
        Self {
            env,
            gate,
            level,
            deadline,
            waiting: Vec::new(),
        }
    }

    /// Takes a hint into memory, or counts its refusal. `draft` makes it ready once nothing is known
    /// that refuses it: most refusals cost no checksum.
    #[inline]
    pub(crate) fn accept<'b>(
        &mut self,
        hint: &Hint<'_>,
        draft: impl FnMut() -> Draft<'b>,
    ) -> Result<Sequence, Refusal> {
        let waiting = self.waiting.len();
        let taken = self.take(hint, draft);
        if let Err(reason) = taken {
            self.refuse(hint.target, waiting, reason);
        }
        taken
    }

    #[cold]
    fn refuse(&mut self, target: TargetId, waiting: usize, reason: Refusal) {
        // It waits for nothing.
        self.wait_no_more(waiting);
        self.env.refused.add(reason, 1);
        self.gate.refused(target, reason);
    }

    #[inline]
    fn take<'b>(
        &mut self,
        hint: &Hint<'_>,
        mut draft: impl FnMut() -> Draft<'b>,
    ) -> Result<Sequence, Refusal> {
        self.check(hint)?;
        if self.level > Level::Buffered {
            self.wait_for_level(hint.target)?;
        }
        let profile = hint.profile();
        let mut made = None;
        // The usual case, a slab with room, counts no references and knows no deadline. What fits no
        // slab is not checksummed while others wait for the table.
        let targets = self.env.targets.read();
        if let Some(target) = targets.get(&hint.target) {
            target.may_take()?;
            if hint.body.payload.len() < FRAME_MAX && target.has_slab() {
                let draft = draft();
                if let Some(sequence) = target.append_open(&draft, &profile) {
                    return Ok(sequence);
                }
                made = Some(draft);
            }
        }
        drop(targets);
        self.take_anew(hint.target, made.unwrap_or_else(draft), profile)
    }

    /// Takes a hint that finds no slab with room.
    #[cold]
    fn take_anew(
        &self,
        target: TargetId,
        draft: Draft<'_>,
        profile: Profile,
    ) -> Result<Sequence, Refusal> {
        let deadline = || self.env.deadline(self.deadline);
        let target = self.gate.writer_of(target);
        target.append(&draft, profile, deadline)
    }

    /// Whether the hint may be taken, for all that can be said before anything is reserved for it.
    #[inline]
    fn check(&self, hint: &Hint<'_>) -> Result<(), Refusal> {
        let limit = self.env.hint_bytes_max;
        let key = hint.body.collapse.map_or(0, |collapse| collapse.key.len());
        if (hint.body.payload.len() + key) as u64 > limit.get() {
            return Err(Refusal::TooLarge { limit });
        }
        if !hint.body.fits() {
            let limit = Bytes::new(u16::MAX.into());
            return Err(Refusal::TooLarge { limit });
        }
        self.env.may_append()?;
        self.gate.admit(hint)
    }

    /// Counts a hint that will wait for its level, unless too many do.
    fn wait_for_level(&mut self, target: TargetId) -> Result<(), Refusal> {
        let target = self.gate.writer_of(target);
        let here = target.in_flight.fetch_add(1, SeqCst);
        let all = self.env.in_flight.fetch_add(1, SeqCst);
        self.waiting.push(target);
        let config = self.env.config();
        if here >= config.in_flight_target_max || all >= config.in_flight_max {
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }
}

impl<G> Call<'_, G> {
    /// Counts only the first so many as waiting.
    fn wait_no_more(&mut self, first: usize) {
        for target in self.waiting.drain(first..) {
            target.in_flight.fetch_sub(1, SeqCst);
            self.env.in_flight.fetch_sub(1, SeqCst);
        }
    }
}

impl<G> Drop for Call<'_, G> {
    #[inline]
    fn drop(&mut self) {
        if !self.waiting.is_empty() {
            self.wait_no_more(0);
        }
    }
}
