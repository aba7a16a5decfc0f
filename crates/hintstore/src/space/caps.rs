//! What the disk has room for: the caps of the configuration, on the device as it is now.

use std::sync::Arc;

use hintstore_env::sync::{AtomicU64, Ordering::Relaxed};
use hintstore_writer::Bytes;

use crate::{
    recover::{aside_bytes, control_bytes},
    store_env::StoreEnv,
};

/// Caps on the disk space that a store takes, counted as the file system allocates it. A hint that
/// would pass one is refused as [`crate::Refusal::Full`]; what was accepted is never given up for
/// space. Recovery and truncation need none. Delivery needs some only where hints wait for a retry
/// among others that do not: a sixteenth of both caps is kept for that, and none of `free_floor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskConfig {
    /// All targets together, with the journal and what is set aside or foreign. By default a tenth
    /// of the device; nine tenths of a partition that the directory has for itself.
    pub total: Option<Bytes>,
    /// Each target. By default half of `total`: one target that is down for long does not take the
    /// room of the next.
    pub target: Option<Bytes>,
    /// What the device keeps free: other programs that write to it go on when hints do not. By
    /// default a twentieth of the device, at most 256 MiB.
    pub free_floor: Option<Bytes>,
}

/// The caps as they are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// All targets together.
    pub total: Bytes,
    /// Each target.
    pub target: Bytes,
    /// What is left free on the device.
    pub free_floor: Bytes,
    /// The directory is a partition of its own: then hints cannot starve others, nor others them.
    pub dedicated: bool,
}

impl DiskConfig {
    fn caps(&self, space: hintstore_env::Space) -> Caps {
        let share = if space.dedicated {
            space.total / 10 * 9
        } else {
            space.total / 10
        };
        let total = self.total.unwrap_or(Bytes::new(share));
        let floor = (space.total / 20).min(256 << 20);
        Caps {
            total,
            target: self.target.unwrap_or(Bytes::new(total.get() / 2)),
            free_floor: self.free_floor.unwrap_or(Bytes::new(floor)),
            dedicated: space.dedicated,
        }
    }
}

/// What the store takes of its disk.
#[derive(Debug)]
pub(crate) struct Space {
    env: Arc<StoreEnv>,
    /// Bytes of foreign files, as they were when the store was opened.
    foreign: Bytes,
    /// Bytes of files that are set aside.
    aside: AtomicU64,
}

impl Space {
    pub(crate) fn new(env: &Arc<StoreEnv>, foreign: Bytes, aside: Bytes) -> Self {
        Self {
            env: env.clone(),
            foreign,
            aside: AtomicU64::new(aside.get()),
        }
    }

    /// Looks how much the device has free and how long the journal has grown, and sets the caps by
    /// it. Some calls to the kernel, and nothing is read.
    pub(crate) fn look(&self) -> hintstore_env::Result<Caps> {
        let space = self.env.storage.space()?;
        let caps = self.env.config().disk.caps(space);
        let budget = &self.env.budget;
        budget.set_caps(caps.total, caps.target);
        let others = self.foreign.get() + control_bytes(&*self.env.storage) + self.aside().get();
        budget.look(Bytes::new(space.free), caps.free_floor, Bytes::new(others));
        Ok(caps)
    }

    /// What is set aside.
    pub(crate) fn aside(&self) -> Bytes {
        Bytes::new(self.aside.load(Relaxed))
    }

    /// A file was set aside, or made there.
    pub(crate) fn add_aside(&self, bytes: Bytes) {
        self.aside.fetch_add(bytes.get(), Relaxed);
    }

    /// Looks at what is set aside: an operator may have taken some of it away.
    pub(crate) fn recount_aside(&self) {
        if self.aside.load(Relaxed) > 0
            && let Ok(bytes) = aside_bytes(&*self.env.storage)
        {
            self.aside.store(bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_of_its_own_is_used() {
        let space = |dedicated| hintstore_env::Space {
            total: 100 << 30,
            free: 50 << 30,
            dedicated,
        };
        let config = DiskConfig::default();
        let (shared, own) = (config.caps(space(false)), config.caps(space(true)));
        assert_eq!(shared.total, Bytes::mib(10 << 10));
        assert_eq!(shared.target, Bytes::mib(5 << 10));
        assert_eq!(shared.free_floor, Bytes::mib(256));
        assert_eq!(own.total, Bytes::mib(90 << 10));
        let set = DiskConfig {
            total: Some(Bytes::mib(8)),
            ..config
        };
        assert_eq!(set.caps(space(true)).target, Bytes::mib(4));
    }
}
