//! What a caller gets back: how far a hint came, or why it was refused.

use std::{error, fmt};

use hintstore_format::{Sequence, TargetId};
use hintstore_writer::Refusal;

/// How safe a hint is when `append` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// In the engine's memory: lost with the process, for at most the flush interval.
    Buffered,
    /// Handed to the kernel: survives `kill -9`, not a power cut.
    Os,
    /// An fdatasync covers the hint and its directory entry: survives a power cut.
    Durable,
}

/// Proof of an accepted hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The node the hint is for.
    pub target: TargetId,
    /// Its place in the target's order; with store and target the hint's idempotence key.
    pub sequence: Sequence,
    /// What was reached. In a success it is never less than what was asked for.
    pub durability: Durability,
}

impl Receipt {
    /// That of a hint which has just got its place.
    #[inline]
    pub(crate) fn buffered(target: TargetId, sequence: Sequence) -> Self {
        Self {
            target,
            sequence,
            durability: Durability::Buffered,
        }
    }
}

/// The outcome of an append, one for each hint and target: success means that the durability that was
/// asked for was reached.
pub type AppendResult = Result<Receipt, AppendError>;

/// Why an append did not do all that it was asked for. It borrows nothing of the hint, so that `?` works
/// whatever the payload is:
///
/// ```
/// use hintstore::{Durability, Hint, HintStore, TargetId, UnixMillis};
///
/// fn keep(store: &HintStore, replica: TargetId, mutation: &[u8]) -> hintstore::Result<()> {
///     let gc_grace = std::time::Duration::from_secs(864_000);
///     let hint = Hint::new(replica, UnixMillis::now(), gc_grace, mutation);
///     store.append(hint, Durability::Durable)?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// The hint was not accepted, and no sequence was taken.
    Refused(Refusal),
    /// It was accepted and may be delivered, but the durability that was asked for was not reached in
    /// time. It can be waited for again, with [`crate::HintStore::wait`].
    InDoubt(Receipt),
}

impl AppendError {
    /// Why the hint was refused, if it was.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(*refusal),
            Self::InDoubt(_) => None,
        }
    }

    /// The receipt of the hint, if it was accepted.
    pub fn receipt(&self) -> Option<Receipt> {
        match self {
            Self::Refused(_) => None,
            Self::InDoubt(receipt) => Some(*receipt),
        }
    }
}

impl From<Refusal> for AppendError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "the hint was refused: {refusal}"),
            Self::InDoubt(receipt) => write!(
                f,
                "the hint {} for {} was accepted and is not yet safe",
                receipt.sequence, receipt.target
            ),
        }
    }
}

impl error::Error for AppendError {}
