//! What a caller gets back: how far a hint came, or why it was refused.

use std::{error, fmt};

use hintstore_format::{Sequence, TargetId};
use hintstore_writer::Refusal;

use super::Hint;

/// How safe a hint is when `append` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// In the engine's memory: lost with the process, for at most the flush interval.
    Buffered,
    /// Handed to the kernel: survives `kill -9`, not a power cut.
    Os,
    /// An fdatasync covers the hint and its directory entry: survives a power cut.
    Durable,
}

/// Proof of an accepted hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The node the hint is for.
    pub target: TargetId,
    /// Its place in the target's order; with store and target the hint's idempotence key.
    pub sequence: Sequence,
    /// The level that was reached, never less than was asked for.
    pub level: Level,
}

impl Receipt {
    /// That of a hint which has just got its place.
    #[inline]
    pub(crate) fn buffered(target: TargetId, sequence: Sequence) -> Self {
        Self {
            target,
            sequence,
            level: Level::Buffered,
        }
    }
}

/// An append that did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError<'a> {
    /// It was not accepted, and here it is.
    Refused {
        /// The hint, as it was given.
        hint: Hint<'a>,
        /// Why.
        reason: Refusal,
    },
    /// It was accepted and may be delivered, but the level asked for was not reached in time. It
    /// can be waited for again.
    InDoubt(Receipt),
}

impl fmt::Display for AppendError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reason, .. } => write!(f, "the hint was refused: {reason}"),
            Self::InDoubt(receipt) => {
                write!(
                    f,
                    "the hint {} was accepted and is not yet safe",
                    receipt.sequence
                )
            }
        }
    }
}

impl error::Error for AppendError<'_> {}

/// The outcome of a batch: see [`crate::HintStore::append_batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// A receipt for each hint of the accepted prefix, in order, with the level it reached.
    pub receipts: Vec<Receipt>,
    /// Why the hint behind the prefix was refused; it and those behind it are the caller's again.
    pub refused: Option<Refusal>,
}
