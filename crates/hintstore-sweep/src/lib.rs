//! The compaction and expiry pass: what is dead → what to rewrite → the rewriting.
//!
//! [`verdict()`] and [`dead_hints`] say by a footer alone how much of a segment is dead; [`plan`] chooses the
//! segments that are worth to be rewritten, and is pure; [`rewrite`] copies what is to be kept of them into
//! one new segment. That this takes their place, and is booked, is the engine's part: nothing here knows
//! what was delivered.

#![forbid(unsafe_code)]

mod collapse;
mod plan;
mod rewrite;
mod verdict;

pub use collapse::Newest;
pub use plan::{Candidate, Group, Reason, Rule, plan};
pub use rewrite::{HintFacts, Rewritten, rewrite, survey};
pub use verdict::{Verdict, dead_hints, dead_hints_by_blocks, latest_deadline, verdict};
