//! Who has a native store open. The lock is not asked for: a node that opens the store at that moment would not get it.

use std::{fs, os::unix::fs::MetadataExt as _};

use hintstore::{OsStorage, Storage as _, UnixMillis, raw::format::file_name};

/// A process that has a store open.
pub(crate) struct Holder {
    /// What it says of itself.
    pub(crate) owner: String,
    /// When it opened the store.
    pub(crate) since: UnixMillis,
}

/// The process that holds the locks of a store, as the kernel says; nothing where none does, or the kernel does not
/// say.
pub(crate) fn holder(storage: &OsStorage) -> Option<Holder> {
    let path = storage.path(file_name::LOCK);
    let lock = fs::metadata(&path).ok()?;
    let directory = fs::metadata(storage.path("")).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // A store holds both: an inode alone may be one of another file system.
    let is_held = |inode: u64| locks.lines().any(|line| is_lock_of(line, inode));
    if !is_held(lock.ino()) || !is_held(directory.ino()) {
        return None;
    }
    Some(Holder {
        owner: fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned(),
        since: UnixMillis::from(lock.modified().ok()?),
    })
}

/// Whether a line as `1: FLOCK  ADVISORY  WRITE 4711 fe:00:393229 0 EOF` is a lock of this inode.
fn is_lock_of(line: &str, inode: u64) -> bool {
    let mut words = line.split_whitespace();
    let is_whole = words.any(|word| word == "FLOCK");
    let named = words.find_map(|word| word.rsplit_once(':'));
    is_whole && named.is_some_and(|(_, number)| number.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_known_by_its_inode() {
        let line = "1: FLOCK  ADVISORY  WRITE 4711 fe:00:393229 0 EOF";
        assert!(is_lock_of(line, 393_229));
        assert!(!is_lock_of(line, 4711));
        assert!(!is_lock_of(&line.replace("FLOCK", "POSIX"), 393_229));
    }
}
