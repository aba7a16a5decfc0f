//! Reading the segments of one backlog in order.
//!
//! `cursor` finds the next block, `pre_check` has it checked before, `presence` says whether the file of a
//! segment is still the segment's; `spare` keeps the memory of pages.

mod cursor;
mod pre_check;
pub(crate) mod presence;
mod spare;

pub(crate) use cursor::{Cursor, CursorItem, was_synced};
pub(crate) use pre_check::{CheckAhead, CheckQueue};
pub(crate) use spare::SparePages;
