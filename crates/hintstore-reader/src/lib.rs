//! The read path: bytes → blocks → frames → hints, in order, past whatever damage there is.
//!
//! [`Source`] gives the bytes of a file, mapped or by `pread`; [`Walk`] finds the blocks of a
//! segment and what lies between them; [`Frames`] the frames of a block, resynchronising where one
//! is broken; [`Page`] holds checked hints for delivery. [`inspect`] tells what a file is before it
//! is walked, and [`survey`] adds up one that has no footer. Nothing here writes.

#![forbid(unsafe_code)]

mod frames;
mod inspect;
mod page;
mod source;
mod survey;
#[cfg(test)]
mod testing;
mod walk;

pub use frames::{FrameItem, Frames};
pub use inspect::{Inspected, inspect, read_footer};
pub use page::{Faulted, HintRef, Hints, Key, Page};
pub use source::{ByteView, MapSource, PreadSource, Source};
pub use survey::{Missing, Survey, survey};
pub use walk::{Block, Hole, Item, Walk};
