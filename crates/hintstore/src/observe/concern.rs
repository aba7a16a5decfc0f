//! What an operator has to act on: a snapshot, judged.

use std::{fmt, time::Duration};

use hintstore_format::{TargetId, UnixMillis};
use hintstore_writer::{Cap, Gone, Refusal};

use super::Snapshot;
use crate::TargetState;

/// How urgent something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Urgency {
    /// Look at it in the morning.
    Warning,
    /// Hints are lost, or will be.
    Critical,
}

/// Something to act on: see [`Snapshot::concerns`]. Printed, it says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concern {
    /// All appends are refused.
    Refusing(Refusal),
    /// The directory, or a file that makes it this store, was taken away.
    Gone(Gone),
    /// Somebody removed hint files.
    FilesGone(u64),
    /// The books say more ends than hints were accepted: a mistake in the engine.
    Books(u64),
    /// A background step panicked, and runs again.
    StepPanics(&'static str),
    /// A cap keeps targets from taking hints.
    Full(Cap),
    /// Hints ended undelivered, or were refused.
    Losses {
        /// Receipts.
        receipts: usize,
    },
    /// A target was away for longer than the hint window.
    PastWindow(TargetId),
    /// A target is said to be up, and takes nothing.
    Fails {
        /// The target.
        target: TargetId,
        /// Pages in a row that it took nothing of.
        failures: u32,
    },
    /// A target comes and goes: what it does not take, and that it is behind, is not named besides.
    Flaps(TargetId),
    /// A target is said to be up, and its hints are old all the same.
    Behind {
        /// The target.
        target: TargetId,
        /// How old the oldest is.
        age: Duration,
    },
    /// Hints of a target expire before they can be delivered, at the present rate.
    ExpiresFirst {
        /// The target.
        target: TargetId,
        /// When the first does.
        at: UnixMillis,
    },
}

/// A target that is up and has hints of this age does not keep up.
const BEHIND: Duration = Duration::from_mins(10);
/// Pages in a row that came to nothing before it is worth a word.
const FAILURES: u32 = 5;

impl Concern {
    /// How urgent it is.
    pub fn urgency(&self) -> Urgency {
        match self {
            Self::Refusing(_)
            | Self::Gone(_)
            | Self::FilesGone(_)
            | Self::Books(_)
            | Self::Full(_)
            | Self::Losses { .. }
            | Self::ExpiresFirst { .. } => Urgency::Critical,
            Self::StepPanics(_)
            | Self::PastWindow(_)
            | Self::Fails { .. }
            | Self::Flaps(_)
            | Self::Behind { .. } => Urgency::Warning,
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refusing(why) => write!(f, "all hints are refused: {why}"),
            Self::Gone(what) => write!(f, "{what}: put it back, and open the store again"),
            Self::FilesGone(files) => write!(
                f,
                "somebody removed {files} hint files: find out who, and repair what the loss receipts name"
            ),
            Self::Books(excess) => write!(
                f,
                "the books count {excess} ends too many: report it, with the directory"
            ),
            Self::StepPanics(step) => {
                write!(f, "the step {step} panicked, and runs again: report it")
            }
            // The refusal says what to do about each cap.
            Self::Full(cap) => Refusal::Full { cap: *cap }.fmt(f),
            Self::Losses { receipts } => write!(
                f,
                "loss receipts, {receipts} of them: repair what they name, then settle them"
            ),
            Self::PastWindow(target) => write!(
                f,
                "{target} was away for longer than the hint window: repair it when it is back, or forget it"
            ),
            Self::Fails { target, failures } => write!(
                f,
                "{target} is said to be up and took nothing of {failures} pages in a row: look at it, or pause it"
            ),
            Self::Flaps(target) => write!(
                f,
                "{target} comes and goes: look at it and at the network, or pause it; a failure detector that waits longer counts it once"
            ),
            Self::Behind { target, age } => write!(
                f,
                "{target} is up and has hints of {} s: raise its rate, or see why it is slow or refuses them",
                age.as_secs()
            ),
            Self::ExpiresFirst { target, .. } => write!(
                f,
                "hints of {target} expire before they are delivered: raise its rate, or plan its repair"
            ),
        }
    }
}

impl Snapshot {
    /// What an operator has to act on, the most urgent first; nothing of a store that is well.
    pub fn concerns(&self) -> Vec<Concern> {
        let health = &self.health;
        let mut all = Vec::new();
        all.extend(health.refusing.map(Concern::Refusing));
        all.extend(health.gone.map(Concern::Gone));
        all.extend((health.files_gone > 0).then_some(Concern::FilesGone(health.files_gone)));
        all.extend((health.excess > 0).then_some(Concern::Books(health.excess)));
        let panics = health.step_panics.iter();
        all.extend(panics.map(|panics| Concern::StepPanics(panics.step)));
        all.extend(self.full.map(Concern::Full));
        let receipts = self.loss_receipts;
        all.extend((receipts > 0).then_some(Concern::Losses { receipts }));
        for of in &self.targets {
            let (target, failures) = (of.target, of.failures);
            all.extend(of.past_window.then_some(Concern::PastWindow(target)));
            all.extend(of.flaps.then_some(Concern::Flaps(target)));
            let is_up = of.state == TargetState::Up && of.books.pending() > 0 && !of.flaps;
            let fails = is_up && failures >= FAILURES;
            all.extend(fails.then_some(Concern::Fails { target, failures }));
            let age = of.oldest.map(|oldest| self.at.saturating_since(oldest));
            let age = age.filter(|age| is_up && *age > BEHIND);
            all.extend(age.map(|age| Concern::Behind { target, age }));
            let done = of.converges_in.map(|left| self.at.saturating_add(left));
            let first = of
                .next_expiry
                .filter(|at| done.is_some_and(|done| *at < done));
            all.extend(first.map(|at| Concern::ExpiresFirst { target, at }));
        }
        all.sort_by_key(|concern| std::cmp::Reverse(concern.urgency()));
        all
    }
}
