//! Delivery: read a page → hand it over → acknowledge → checkpoint → retire.
//!
//! Each step is a file: `cursor` finds the next block, `ahead` has it checked before, `read` makes
//! pages of live hints, `page` is what a caller holds, `acknowledge` books the answer (rejected hints
//! become dead letters), `defer` moves hints that wait for a retry out of the way, `checkpoint` makes
//! all of it durable and retires what is done, `push` runs the loop for those who implement
//! [`Delivery`] instead of pulling pages.

mod acknowledge;
mod checkpoint;
mod cursor;
mod dead_letter;
mod defer;
mod page;
mod pre_check;
mod presence;
mod progress;
mod push;
mod read;

pub use acknowledge::Answer;
pub use page::Page;
pub use push::{Completion, Delivery};

pub(crate) use checkpoint::Checkpoint;
pub(crate) use pre_check::{CheckAhead, CheckQueue};
pub(crate) use progress::Progress;
pub(crate) use push::Deliver;
