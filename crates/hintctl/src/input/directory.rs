//! What lies in a directory: the kind of each file, in the order in which a node delivers.

use std::{os::unix::fs::MetadataExt as _, sync::Arc};

use hintstore::env::{File, Info};
use hintstore::raw::format::{file_name, layout::SEGMENT_MAGIC};
use hintstore::{OsStorage, Storage as _};
use hintstore_cassandra::{Descriptor, DescriptorError, FileName};

use super::{FileKind, Found, NativeFile};
use crate::{interrupt, side_by_side::side_by_side};

/// The files of a directory, in order. Whatever is no file, or leads to none, is listed as that.
pub(super) fn list(storage: &Arc<OsStorage>, folder: &str) -> anyhow::Result<Vec<Found>> {
    let entries = storage.list(folder)?;
    let names: Vec<String> = entries
        .into_iter()
        .filter(|entry| !entry.is_directory)
        .map(|entry| match folder {
            "" => entry.name,
            folder => format!("{folder}/{}", entry.name),
        })
        .collect();
    let found = side_by_side(&names, |name| {
        let found = find(storage, name)?;
        Ok(found.map(|found| (order(storage, &found), found)))
    });
    let found: anyhow::Result<Vec<Option<(Order, Found)>>> = found.into_iter().collect();
    let mut files: Vec<_> = found?.into_iter().flatten().collect();
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

/// What lies under a name; nothing where it has just gone.
fn find(storage: &OsStorage, name: &str) -> anyhow::Result<Option<Found>> {
    let found = |info, what| {
        let name = name.to_owned();
        Ok(Some(Found { name, info, what }))
    };
    if FileName::parse(name) == Some(FileName::SideFile) {
        // Nothing but its name is asked for.
        return found(Info::default(), FileKind::SideFile);
    }
    match std::fs::metadata(storage.path(name)) {
        // Opening a pipe or a device may never return.
        Ok(metadata) if !metadata.is_file() => {
            let what = FileKind::Foreign("no regular file".to_owned());
            found(info(&metadata), what)
        }
        Ok(metadata) => found(info(&metadata), what(storage, name)),
        Err(error) => match storage.info(name) {
            Ok(info) => found(info, FileKind::Foreign(format!("leads nowhere: {error}"))),
            // It went in between, or its name cannot be said.
            Err(error) if error.is_missing() => {
                if !name.contains(char::REPLACEMENT_CHARACTER) {
                    return Ok(None);
                }
                let why = "its name is not UTF-8: link to it under another".to_owned();
                found(Info::default(), FileKind::Foreign(why))
            }
            Err(error) => Err(error.into()),
        },
    }
}

fn info(metadata: &std::fs::Metadata) -> Info {
    Info {
        length: metadata.len(),
        allocated: metadata.blocks() * 512,
        inode: metadata.ino(),
        device: metadata.dev(),
        links: metadata.nlink(),
    }
}

/// By target, then by time as a number: the order in which a node delivers.
type Order = (String, u64, String);

/// Of a native file the descriptor says both, as its name may be anything, and the first sequence is the time.
fn order(storage: &Arc<OsStorage>, file: &Found) -> Order {
    let name = file.name.clone();
    if file.what == FileKind::Native
        && let Ok(native) = NativeFile::open(storage, &name)
        && let (Some(target), Some(first)) = (native.target(), native.first())
    {
        return (target.to_string(), first.get(), name);
    }
    let (target, rest) = name.split_at_checked(36).unwrap_or((&name, ""));
    let time = rest.trim_start_matches('-').split('-').next();
    let time = time.and_then(|time| time.parse().ok()).unwrap_or(u64::MAX);
    (target.to_owned(), time, name)
}

pub(super) fn what(storage: &OsStorage, name: &str) -> FileKind {
    if file_name::CONTROL.contains(&name) || file_name::is_spare(name) {
        return FileKind::Control;
    }
    let (_, base) = name.rsplit_once('/').unwrap_or(("", name));
    if file_name::parse_segment(base).is_some() {
        return FileKind::Native;
    }
    if base == interrupt::MARK {
        return FileKind::Unfinished;
    }
    let is_of_hints = |of: &str| of.contains(".hints") || of.contains(".crc32");
    if base.strip_suffix(".tmp").is_some_and(is_of_hints) {
        return FileKind::Unfinished;
    }
    match FileName::parse(name) {
        Some(FileName::Hints) => FileKind::Cassandra,
        Some(FileName::SideFile) => FileKind::SideFile,
        Some(FileName::Corrupt) => FileKind::Foreign(
            "set aside by Cassandra at start-up: its descriptor is damaged".to_owned(),
        ),
        // A copy under another name.
        None if name.ends_with(".hints") => storage
            .open(name, false)
            .ok()
            .and_then(|file| by_content(&*file))
            .unwrap_or(FileKind::Cassandra),
        None if is_of_cassandra(storage, name) => FileKind::Misnamed,
        None => FileKind::Foreign("not a hint file".to_owned()),
    }
}

/// Whether a file begins with the descriptor of one of Cassandra's, whatever its name is.
fn is_of_cassandra(storage: &OsStorage, name: &str) -> bool {
    let mut head = [0; 4096];
    let file = storage.open(name, false);
    let read = file
        .and_then(|file| file.read_at(&mut head, 0))
        .unwrap_or(0);
    let descriptor = Descriptor::decode(head.get(..read).unwrap_or_default());
    matches!(descriptor, Ok(_) | Err(DescriptorError::Version(_)))
}

/// What a single file is that somebody named: its name may be anything.
pub(super) fn by_content(file: &dyn File) -> Option<FileKind> {
    let mut head = [0; 8];
    let read = file.read_at(&mut head, 0).ok()?;
    if head.get(..read)? == SEGMENT_MAGIC {
        return Some(FileKind::Native);
    }
    // Cassandra's begin with a small version.
    (read == 8 && head.starts_with(&[0, 0, 0])).then_some(FileKind::Cassandra)
}
