//! Whose a file is: what root makes in another user's directory is that user's.
//!
//! A node does not start on files that it may not open. So a file takes owner, group and mode of the
//! directory that it is made in, or of the file that it replaces, and the access control list, where
//! there is one.

use std::os::fd::AsFd;

use rustix::{
    fs::{self as sys, Gid, Mode, Uid, XattrFlags},
    io::{Errno, Result},
};

/// The access control list of a file or directory, as an extended attribute.
const ACL: &str = "system.posix_acl_access";

/// Permissions of a file that are no business of its kind: read and write, for each class.
const READ_WRITE: u32 = 0o666;

/// Whether files that this process makes in a directory belong to another user by themselves.
fn is_anothers(directory: &sys::Stat) -> bool {
    rustix::process::geteuid().is_root() && (directory.st_uid, directory.st_gid) != (0, 0)
}

/// Gives a new file to the owner of the directory that it was made in, where root made it.
pub(crate) fn inherit(file: impl AsFd, directory: impl AsFd) -> Result<()> {
    let of = sys::fstat(&directory)?;
    if !is_anothers(&of) {
        return Ok(());
    }
    let mode = of.st_mode & READ_WRITE;
    // A default list of the directory was applied by the kernel, and decides over the mode as well.
    if acl(&file)?.is_none() {
        sys::fchmod(&file, Mode::from_raw_mode(mode))?;
        if let Some(list) = acl(&directory)? {
            set_acl(&file, &without_execute(list))?;
        }
    }
    give(file, &of)
}

/// Gives a new directory to the owner of the one above it, where root made it.
pub(crate) fn inherit_directory(made: impl AsFd, above: impl AsFd) -> Result<()> {
    let of = sys::fstat(&above)?;
    if !is_anothers(&of) {
        return Ok(());
    }
    sys::fchmod(&made, Mode::from_raw_mode(of.st_mode & 0o7777))?;
    if let Some(list) = acl(&above)? {
        set_acl(&made, &list)?;
    }
    give(made, &of)
}

/// Gives a file owner, group, mode and access control list of another: of the one that it replaces.
///
/// # Errors
/// Where the system refuses, as it does to all but root for another's owner: the new file must not
/// take the place of the old one then.
pub fn copy_owner(from: impl AsFd, to: impl AsFd) -> std::io::Result<()> {
    let (of, own) = (sys::fstat(&from)?, sys::fstat(&to)?);
    if (of.st_uid, of.st_gid) != (own.st_uid, own.st_gid) {
        give(&to, &of)?;
    }
    // Behind the change of owner, which takes special bits away.
    sys::fchmod(&to, Mode::from_raw_mode(of.st_mode & 0o7777))?;
    match (acl(&from)?, acl(&to)?) {
        (Some(list), _) => set_acl(&to, &list)?,
        // The directory's default list is not that of the old file.
        (None, Some(_)) => sys::fremovexattr(&to, ACL)?,
        (None, None) => {}
    }
    Ok(())
}

fn give(file: impl AsFd, of: &sys::Stat) -> Result<()> {
    let (user, group) = (Uid::from_raw(of.st_uid), Gid::from_raw(of.st_gid));
    sys::fchown(file, Some(user), Some(group))
}

fn acl(file: impl AsFd) -> Result<Option<Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    match sys::fgetxattr(file, ACL, &mut list[..]) {
        Ok(length) => {
            list.truncate(length);
            Ok(Some(list))
        }
        // None, or a file system that has none.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error),
    }
}

fn set_acl(file: impl AsFd, list: &[u8]) -> Result<()> {
    sys::fsetxattr(file, ACL, list, XattrFlags::empty())
}

/// The list of a directory as that of a file: four bytes of version, then entries of eight bytes, each
/// a tag, permissions and an id.
fn without_execute(mut list: Vec<u8>) -> Vec<u8> {
    for entry in list.get_mut(4..).unwrap_or_default().chunks_mut(8) {
        if let Some(permissions) = entry.get_mut(2) {
            *permissions &= !1;
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_a_directory_becomes_that_of_a_file() {
        let list = [2, 0, 0, 0, 1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff];
        let expected = [2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(without_execute(list.to_vec()), expected);
    }
}
