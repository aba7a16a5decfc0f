//! Delivery: read a page → hand it over → acknowledge → checkpoint → retire.
//!
//! Each step is a file: `pages` makes pages of live hints, `page` is what a caller holds, `acknowledge`
//! books the answer, `dead_letter` keeps rejected hints, `defer` moves hints that wait for a retry out of
//! the way, `whole` ends segments at once, `checkpoint` makes all of it durable and retires what is done,
//! `push` runs the loop for those who implement [`Delivery`] instead of pulling pages.

mod acknowledge;
mod checkpoint;
mod dead_letter;
mod defer;
mod page;
mod pages;
mod push;
mod verdict;
mod whole;

pub use page::Page;
pub use push::Delivery;
pub use verdict::Verdict;

pub(crate) use acknowledge::Answers;
pub(crate) use checkpoint::Checkpoints;
pub(crate) use dead_letter::DeadLetters;
pub(crate) use defer::Defer;
pub(crate) use pages::{Found, Pager};
pub(crate) use push::Deliver;
pub(crate) use whole::WholeSegments;
