//! What the disk has room for: the caps of the configuration, on the device as it is now.

use hintstore_env::{Space, sync::Ordering::Relaxed};
use hintstore_writer::Bytes;

use crate::{
    recover::{aside_bytes, control_bytes},
    store::Engine,
};

/// Caps on the disk space that a store takes, counted as the file system allocates it. A hint that
/// would pass one is refused as [`crate::Refusal::Full`]; what was accepted is never given up for
/// space. Recovery and truncation need none. Delivery needs some only where hints wait for a retry
/// among others that do not: a sixteenth of both caps is kept for that, and none of `free_floor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskConfig {
    /// All targets together, with the journal and what is set aside or foreign. By default a tenth
    /// of the device; nine tenths of a partition that the directory has for itself.
    pub total: Option<Bytes>,
    /// Each target. By default half of `total`: one target that is down for long does not take the
    /// room of the next.
    pub target: Option<Bytes>,
    /// The device keeps so much free: whoever else writes to it goes on when hints do not. By
    /// default a twentieth of the device, at most 256 MiB.
    pub free_floor: Option<Bytes>,
}

/// The caps as they are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    fn caps(&self, space: Space) -> Caps {
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

impl Engine {
    /// Looks how much the device has free and how long the journal has grown, and sets the caps by
    /// it. Some calls to the kernel, and nothing is read.
    pub(crate) fn look_at_space(&self) -> hintstore_env::Result<Caps> {
        let space = self.storage.space()?;
        let caps = self.config().disk.caps(space);
        let budget = &self.catalog.budget;
        budget.set_caps(caps.total, caps.target);
        let aside = self.aside_bytes.load(Relaxed);
        let others = self.foreign_bytes + control_bytes(&*self.storage) + aside;
        budget.look(Bytes::new(space.free), caps.free_floor, Bytes::new(others));
        Ok(caps)
    }

    /// A file was set aside, or made there.
    pub(crate) fn add_aside(&self, bytes: Bytes) {
        self.aside_bytes.fetch_add(bytes.get(), Relaxed);
    }

    /// Looks at what is set aside: an operator may have taken some of it away.
    pub(crate) fn recount_aside(&self) {
        if self.aside_bytes.load(Relaxed) > 0
            && let Ok(bytes) = aside_bytes(&*self.storage)
        {
            self.aside_bytes.store(bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_of_its_own_is_used() {
        let space = |dedicated| Space {
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
