//! What there is room for: caps on the disk, and open files.

mod caps;
mod descriptors;

pub use caps::{Caps, DiskConfig};

pub(crate) use caps::Space;
pub(crate) use descriptors::{CloseFiles, Descriptors};
