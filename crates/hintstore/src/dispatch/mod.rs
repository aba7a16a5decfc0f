//! Delivery: read a page → hand it over → acknowledge → checkpoint → retire.
//!
//! Each step is a file: `cursor` finds the next block, `read` makes pages of live hints, `page` is
//! what a caller holds, `acknowledge` books the answer (rejected hints become dead letters),
//! `checkpoint` makes it durable and retires what is done, `deliver` runs the loop for those who
//! implement [`Delivery`] instead of pulling pages.

mod acknowledge;
mod checkpoint;
mod cursor;
mod dead_letter;
mod deliver;
mod page;
mod progress;
mod read;

pub use acknowledge::Answer;
pub use deliver::{Completion, Delivery};
pub use page::Page;

pub(crate) use checkpoint::Checkpoint;
pub(crate) use deliver::Deliver;
pub(crate) use progress::Progress;

/// A checkpoint holds no more holes than this; until some are filled, no new page is handed out.
pub(crate) const HOLES_MAX: usize = 64;
