//! What the child says, a line each: what it got from the store, and before it does something what that is.

use std::{fmt, str::FromStr};

use hintstore::Durability;

/// A hint that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) number: u64,
    pub(crate) target: u8,
    pub(crate) namespace: u8,
    pub(crate) created: i64,
    pub(crate) deadline: i64,
    pub(crate) sequence: u64,
    pub(crate) level: Durability,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The store gave a receipt.
    Accepted(Accepted),
    /// This hint will be answered as delivered or rejected.
    Ends(u64),
    /// Hints of this namespace, created before, will be fenced; or are.
    Fence {
        namespace: u8,
        before: i64,
        done: bool,
    },
    /// Hints for this target will be discarded, all or of a namespace.
    Truncate { target: u8, namespace: Option<u8> },
    /// They are, up to this sequence.
    Truncated {
        target: u8,
        namespace: Option<u8>,
        up_to: u64,
    },
    /// All that this target had accepted when that was begun will be made durable; or is.
    Sync { target: u8, done: bool },
}

impl Word {
    pub(crate) fn is_of_operator(&self) -> bool {
        matches!(
            self,
            Self::Fence { .. } | Self::Truncate { .. } | Self::Truncated { .. }
        )
    }

    /// What is left of it where an answer may not be so.
    pub(crate) fn into_begun(self) -> Option<Self> {
        match self {
            Self::Accepted(_) | Self::Sync { .. } => None,
            Self::Fence {
                namespace, before, ..
            } => Some(Self::Fence {
                namespace,
                before,
                done: false,
            }),
            Self::Truncated {
                target, namespace, ..
            } => Some(Self::Truncate { target, namespace }),
            other => Some(other),
        }
    }

    /// Whether this says that a hint is gone for good.
    pub(crate) fn ended(&self, hint: &Accepted) -> bool {
        match self {
            Self::Fence {
                namespace,
                before,
                done: true,
            } => hint.namespace == *namespace && hint.created < *before,
            Self::Truncated {
                target,
                namespace,
                up_to,
            } => {
                hint.target == *target
                    && namespace.is_none_or(|of| of == hint.namespace)
                    && hint.sequence <= *up_to
            }
            _ => false,
        }
    }

    /// Whether a hint may be gone for this.
    pub(crate) fn may_end(&self, hint: &Accepted) -> bool {
        match self {
            Self::Ends(number) => hint.number == *number,
            Self::Fence {
                namespace, before, ..
            } => hint.namespace == *namespace && hint.created < *before,
            _ => self.ended(hint),
        }
    }

    /// Whether a hint may be gone for this, where nobody knows how far it came.
    pub(crate) fn may_have_ended(&self, hint: &Accepted) -> bool {
        match self {
            Self::Truncate { target, namespace } => {
                hint.target == *target && namespace.is_none_or(|of| of == hint.namespace)
            }
            _ => false,
        }
    }
}

/// `-` where a truncation is of all namespaces.
struct Of(Option<u8>);

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(namespace) => write!(f, "{namespace}"),
            None => f.write_str("-"),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(hint) => write!(
                f,
                "accepted {} {} {} {} {} {} {}",
                hint.number,
                hint.target,
                hint.namespace,
                hint.created,
                hint.deadline,
                hint.sequence,
                match hint.level {
                    Durability::Buffered => 0,
                    Durability::Os => 1,
                    _ => 2,
                }
            ),
            Self::Ends(number) => write!(f, "ends {number}"),
            Self::Fence {
                namespace,
                before,
                done,
            } => write!(f, "fence {namespace} {before} {done}"),
            Self::Truncate { target, namespace } => {
                write!(f, "truncate {target} {}", Of(*namespace))
            }
            Self::Truncated {
                target,
                namespace,
                up_to,
            } => write!(f, "truncated {target} {} {up_to}", Of(*namespace)),
            Self::Sync { target, done } => write!(f, "sync {target} {done}"),
        }
    }
}

/// A line that is none.
#[derive(Debug)]
pub(crate) struct NoWord;

fn next<T: FromStr>(words: &mut std::str::SplitWhitespace<'_>) -> Result<T, NoWord> {
    words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(NoWord)
}

fn next_of(words: &mut std::str::SplitWhitespace<'_>) -> Result<Option<u8>, NoWord> {
    match words.next() {
        Some("-") => Ok(None),
        Some(word) => word.parse().ok().map(Some).ok_or(NoWord),
        None => Err(NoWord),
    }
}

impl FromStr for Word {
    type Err = NoWord;

    fn from_str(line: &str) -> Result<Self, NoWord> {
        let words = &mut line.split_whitespace();
        Ok(match words.next() {
            Some("accepted") => Self::Accepted(Accepted {
                number: next(words)?,
                target: next(words)?,
                namespace: next(words)?,
                created: next(words)?,
                deadline: next(words)?,
                sequence: next(words)?,
                level: match next(words)? {
                    0_u8 => Durability::Buffered,
                    1 => Durability::Os,
                    _ => Durability::Durable,
                },
            }),
            Some("ends") => Self::Ends(next(words)?),
            Some("fence") => Self::Fence {
                namespace: next(words)?,
                before: next(words)?,
                done: next(words)?,
            },
            Some("truncate") => Self::Truncate {
                target: next(words)?,
                namespace: next_of(words)?,
            },
            Some("truncated") => Self::Truncated {
                target: next(words)?,
                namespace: next_of(words)?,
                up_to: next(words)?,
            },
            Some("sync") => Self::Sync {
                target: next(words)?,
                done: next(words)?,
            },
            _ => return Err(NoWord),
        })
    }
}
