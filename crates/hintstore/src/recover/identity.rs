//! Who the store is, and its next epoch: durable before the first append.

use std::io::IoSlice;

use hintstore_format::{Sequence, StoreId, file_name, layout::STORE_SLOT_BYTES, store_file};
use hintstore_storage::{File, Storage};

use super::{OpenReport, segments::Segments};
use crate::{Environment, Error, Result};

/// The identity of an open store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) store: StoreId,
    pub(super) epoch: u32,
}

/// Reads the store file, or makes it, and writes the next epoch into its other slot.
pub(super) fn open(
    environment: &Environment,
    segments: &Segments,
    report: &mut OpenReport,
) -> Result<Identity> {
    let storage = &*environment.storage;
    let file = match storage.open(file_name::STORE, true) {
        Err(error) if error.is_missing() => {
            let file = storage.create(file_name::STORE)?;
            // Its length never changes again: writing a slot needs no space on a full disk.
            file.write_at(&[IoSlice::new(&[0; 2 * STORE_SLOT_BYTES])], 0)?;
            file
        }
        file => file?,
    };
    let mut bytes = [0; 2 * STORE_SLOT_BYTES];
    file.read_at(&mut bytes, 0)?;
    let inode = file.info()?.inode;
    let slot = match store_file::decode(&bytes) {
        Ok(slot) => Some(slot),
        Err(source) if source.is_foreign() => {
            return Err(Error::Newer {
                path: storage.path(file_name::STORE),
                source,
            });
        }
        // A crash while the store was made, or both slots are damaged: what the segments say is
        // enough to go on, under a new identity, so that no idempotence key is used twice.
        Err(_) => None,
    };
    let restored = slot.is_none_or(|slot| slot.inode != inode);
    report.new_identity = restored && segments.any;
    let store = match slot {
        Some(slot) if !restored => slot.store,
        _ => draw(environment),
    };
    let last_epoch = slot.map_or(0, |slot| slot.epoch).max(segments.last_epoch);
    let epoch = (last_epoch + 1).min(Sequence::EPOCH_MAX);
    let generation = slot.map_or(0, |slot| slot.generation) + 1;
    let next = store_file::Slot {
        store,
        epoch,
        generation,
        inode,
    };
    write(&*file, storage, &next)?;
    Ok(Identity { store, epoch })
}

fn write(file: &dyn File, storage: &dyn Storage, slot: &store_file::Slot) -> Result<()> {
    file.write_at(&[IoSlice::new(&slot.encode())], slot.offset())?;
    file.sync()?;
    storage.sync_directory("")?;
    Ok(())
}

fn draw(environment: &Environment) -> StoreId {
    let (high, low) = (environment.clock.entropy(), environment.clock.entropy());
    StoreId::from_u128(u128::from(high) << 64 | u128::from(low))
}
