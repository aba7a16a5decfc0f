//! Who the store is, and its next epoch: durable before the first append.

use std::io::IoSlice;

use hintstore_env::Storage;
use hintstore_format::{
    Incarnation, Sequence, StoreId, file_name, layout::STORE_SLOT_BYTES, store_file,
};

use crate::{Environment, Error, Result};

/// What the store file says.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreFile {
    inode: u64,
    slot: Option<store_file::Slot>,
}

/// The identity of an open store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) store: StoreId,
    pub(super) epoch: u32,
}

/// Draws the incarnation of an opening.
pub(super) fn incarnation(environment: &Environment) -> Incarnation {
    Incarnation::new(environment.clock.entropy())
}

impl StoreFile {
    /// Makes the store file.
    pub(super) fn make(storage: &dyn Storage) -> Result<Self> {
        let file = storage.create(file_name::STORE)?;
        // Its length never changes again: writing a slot needs no space on a full disk.
        file.write_at(&[IoSlice::new(&[0; 2 * STORE_SLOT_BYTES])], 0)?;
        let inode = file.info()?.inode;
        Ok(Self { inode, slot: None })
    }

    /// Reads the store file, if there is one.
    pub(super) fn read(storage: &dyn Storage) -> Result<Option<Self>> {
        let file = match storage.open(file_name::STORE, false) {
            Err(error) if error.is_missing() => return Ok(None),
            file => file?,
        };
        let mut bytes = [0; 2 * STORE_SLOT_BYTES];
        file.read_at(&mut bytes, 0)?;
        let inode = file.info()?.inode;
        let slot = match store_file::decode(&bytes) {
            Ok(slot) => Some(slot),
            Err(source) if source.is_foreign() => {
                return Err(Error::OtherVersion {
                    path: storage.path(file_name::STORE),
                    source,
                });
            }
            // A crash while the store was made, or both slots are damaged: what segments and
            // journal say is enough to go on, under a new identity, so that no idempotence key is
            // used twice.
            Err(_) => None,
        };
        Ok(Some(Self { inode, slot }))
    }

    /// Identity and epoch, where this is the file that they were written to: not in a copy, and
    /// not after a restore.
    pub(super) fn own(&self) -> Option<Identity> {
        let slot = self.slot.filter(|slot| slot.inode == self.inode)?;
        Some(Identity {
            store: slot.store,
            epoch: slot.epoch,
        })
    }

    /// Whether the file says that it is not where it was written.
    pub(super) fn is_copied(&self) -> bool {
        self.slot.is_some() && self.own().is_none()
    }

    /// Who the store is from now on, and an epoch above all that is known of: `seen` is the
    /// greatest that journal or segments tell of.
    pub(super) fn next(&self, environment: &Environment, seen: u32) -> Result<Identity> {
        let store = self
            .own()
            .map_or_else(|| draw(environment), |own| own.store);
        let epoch = self.next_epoch(&*environment.storage, seen)?;
        Ok(Identity { store, epoch })
    }

    /// An epoch above all that is known of.
    pub(super) fn next_epoch(&self, storage: &dyn Storage, seen: u32) -> Result<u32> {
        let epoch = self.slot.map_or(0, |slot| slot.epoch).max(seen) + 1;
        if epoch > Sequence::EPOCH_MAX {
            return Err(Error::EpochsUsedUp {
                path: storage.path(file_name::STORE),
            });
        }
        Ok(epoch)
    }

    /// Makes it durable.
    pub(super) fn begin(self, storage: &dyn Storage, identity: Identity) -> Result<()> {
        let generation = self.slot.map_or(0, |slot| slot.generation);
        let slot = store_file::Slot {
            store: identity.store,
            epoch: identity.epoch,
            generation: generation.wrapping_add(1),
            inode: self.inode,
        };
        let file = storage.open(file_name::STORE, true)?;
        file.write_at(&[IoSlice::new(&slot.encode())], slot.offset())?;
        file.sync()?;
        storage.sync_directory("")?;
        Ok(())
    }
}

fn draw(environment: &Environment) -> StoreId {
    let (high, low) = (environment.clock.entropy(), environment.clock.entropy());
    StoreId::from_u128(u128::from(high) << 64 | u128::from(low))
}
