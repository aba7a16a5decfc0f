//! What a target said to a hint.

use std::time::Duration;

/// What a target said to one hint of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The target has it.
    Delivered,
    /// The target could not take it now: it is sent again behind the back-off of the target.
    Retry,
    /// The same, and not before this time has passed.
    RetryAfter(Duration),
    /// The target does not know the namespace, or not yet: sent again behind a back-off, and counted apart.
    /// Once the write is older than [`crate::Config::unknown_namespace_age_max`], it is rejected.
    UnknownNamespace,
    /// The target will never take it: it becomes a dead letter.
    Reject,
}
