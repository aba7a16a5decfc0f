//! Whether another process has a file open, in this container or another.
//!
//! A write lease is granted only where nobody else has the file open. That tells also of processes of
//! other users, and of those in other namespaces of pids or mounts, which /proc does not show.

use std::{fs::File, io, os::fd::AsRawFd as _};

/// What the system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenElsewhere {
    /// Another process has it open, or this one by another descriptor.
    Yes,
    /// Nobody has.
    No,
    /// The file system has no leases, or the file is another user's.
    CannotTell,
}

/// Takes a write lease of the file, and gives it back at once.
pub(crate) fn is_open_elsewhere(file: &File) -> OpenElsewhere {
    // Who opens the file in between breaks the lease, which the kernel tells by a signal that would
    // end this process.
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) } == 0 {
        // SAFETY: as above. Closing the file would give the lease back as well.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
        return OpenElsewhere::No;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => OpenElsewhere::Yes,
        _ => OpenElsewhere::CannotTell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_open_twice_is_open_elsewhere() {
        let name = format!("hintstore-lease-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, b"x").unwrap();
        #[expect(clippy::disallowed_methods, reason = "a file of this test alone")]
        let open = || File::open(&path).unwrap();
        let one = open();
        let alone = is_open_elsewhere(&one);
        let second = open();
        let with_another = is_open_elsewhere(&one);
        drop(second);
        std::fs::remove_file(&path).unwrap();
        // Where the file system has none, it says so each time.
        let answers = [
            (OpenElsewhere::No, OpenElsewhere::Yes),
            (OpenElsewhere::CannotTell, OpenElsewhere::CannotTell),
        ];
        assert!(
            answers.contains(&(alone, with_another)),
            "{alone:?}, {with_another:?}"
        );
    }
}
