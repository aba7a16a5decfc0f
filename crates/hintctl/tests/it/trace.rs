//! What a run does to the files below a folder, call by call, as strace reports it; and the same done to a
//! simulated disk, so that its power can be cut behind each.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::IoSlice,
    path::{Path, PathBuf},
    process::Command,
};

use hintstore::Storage as _;
use hintstore::env::Existing;
use hintstore_sim::{Crash, SimStorage};

use crate::tool::skipped;

/// The calls that change files.
const CALLS: &str = "open,openat,write,writev,pwrite64,pwritev,pwritev2,copy_file_range,sendfile,ftruncate,\
                     fallocate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,\
                     rmdir";

/// Whether runs can be watched here.
pub(crate) fn can_trace() -> bool {
    let run = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status();
    let can = run.is_ok_and(|status| status.success());
    if !can {
        skipped("strace is not there, or may watch nothing here");
    }
    can
}

/// The tool, under strace.
pub(crate) fn strace(options: &[&str], log: &Path, args: &[String]) -> Command {
    let mut command = Command::new("strace");
    command
        .args([
            "-f",
            "-qq",
            "-y",
            "-xx",
            "-s",
            "33554432",
            "-e",
            "signal=none",
            "-o",
        ])
        .arg(log)
        .args(options)
        .arg(env!("CARGO_BIN_EXE_hintctl"))
        .args(args);
    command
}

/// Something done to a file.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Create(String),
    /// Bytes at an offset, or behind what was written last.
    Write(String, Option<u64>, Vec<u8>),
    /// Behind what was written last, all of another file.
    Copy {
        from: String,
        to: String,
    },
    Length(String, u64),
    Allocate(String, u64),
    Sync(String),
    Rename(String, String),
    Link(String, String),
    Unlink(String),
    /// A directory is made or removed: the simulated disk has none.
    Directory,
}

/// A call that changed something: its name, and what it did.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Which call of that name it was in its thread, from 1.
    pub(crate) number: usize,
    pub(crate) deed: Deed,
}

/// Runs the tool, and gives the calls that changed something below a folder.
pub(crate) fn record(root: &Path, log: &Path, args: &[String]) -> (Option<i32>, Vec<Call>) {
    let run = strace(&["-e", &format!("trace={CALLS}")], log, args)
        .output()
        .unwrap();
    let text = fs::read_to_string(log).unwrap();
    fs::remove_file(log).unwrap();
    let mut begun = HashMap::new();
    let mut numbers: HashMap<(String, String), usize> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (thread, line) = line.split_once(' ').unwrap();
        let line = line.trim_start();
        let whole = if let Some(line) = line.strip_suffix("<unfinished ...>") {
            begun.insert(thread.to_owned(), line.to_owned());
            continue;
        } else if let Some(rest) = line.strip_prefix("<... ") {
            let (_, rest) = rest.split_once(" resumed>").unwrap();
            format!("{}{rest}", begun.remove(thread).unwrap())
        } else {
            line.to_owned()
        };
        let (name, rest) = whole.split_once('(').unwrap();
        let number = numbers
            .entry((thread.to_owned(), name.to_owned()))
            .or_default();
        *number += 1;
        // What it was called with, and what came of it: strings are in hexadecimal, and hold no such sign.
        let (with, came) = rest.rsplit_once(" = ").unwrap();
        if came.starts_with(['-', '?']) {
            continue;
        }
        if let Some(deed) = deed(root, name, with.trim_end().trim_end_matches(')'), came) {
            let (name, number) = (name.to_owned(), *number);
            calls.push(Call { name, number, deed });
        }
    }
    (run.status.code(), calls)
}

/// What one call did below a folder.
fn deed(root: &Path, call: &str, with: &str, came: &str) -> Option<Deed> {
    let named = |path: PathBuf| {
        let name = path.strip_prefix(root).ok()?;
        Some(name.to_str().unwrap().to_owned())
    };
    // Strings in the order in which they stand, and what each argument says besides.
    let arguments: Vec<&str> = with.split(", ").collect();
    // A call that another thread came between is cut behind a space.
    let argument = |at: usize| arguments.get(at).copied().unwrap_or_default().trim();
    let number = |at: usize| {
        let text = argument(at).trim_end_matches([']', '}']);
        text.parse::<u64>()
            .map_err(|error| format!("{call}({with}: {text}: {error}"))
            .unwrap()
    };
    let of = |at: usize| named(path(argument(at), '<', '>')?);
    let below = |directory: usize, name: usize| {
        let directory = path(argument(directory), '<', '>')?;
        named(directory.join(path(argument(name), '"', '"')?))
    };
    let at = |name: usize| named(path(argument(name), '"', '"').unwrap());
    let last = arguments.len() - 1;
    let parts = || {
        let parts = arguments.iter().filter(|part| part.contains("iov_base"));
        parts.flat_map(|part| bytes(part)).collect()
    };
    Some(match call {
        "open" | "openat" if with.contains("O_CREAT") => {
            let name = named(path(came, '<', '>')?)?;
            Deed::Create(name)
        }
        "write" => Deed::Write(of(0)?, None, bytes(argument(1))),
        "writev" => Deed::Write(of(0)?, None, parts()),
        "pwrite64" => Deed::Write(of(0)?, Some(number(3)), bytes(argument(1))),
        "pwritev" => Deed::Write(of(0)?, Some(number(last)), parts()),
        // Flags come last.
        "pwritev2" => Deed::Write(of(0)?, Some(number(last - 1)), parts()),
        "copy_file_range" => Deed::Copy {
            from: of(0)?,
            to: of(2)?,
        },
        "sendfile" => Deed::Copy {
            from: of(1)?,
            to: of(0)?,
        },
        "ftruncate" => Deed::Length(of(0)?, number(1)),
        "fallocate" => {
            let name = of(0)?;
            assert_eq!(argument(1), "0", "{with}");
            Deed::Allocate(name, number(2) + number(3))
        }
        "fsync" | "fdatasync" => Deed::Sync(of(0)?),
        "rename" => Deed::Rename(at(0)?, at(1)?),
        "renameat" | "renameat2" => Deed::Rename(below(0, 1)?, below(2, 3)?),
        "link" => Deed::Link(at(0)?, at(1)?),
        "linkat" => Deed::Link(below(0, 1)?, below(2, 3)?),
        "unlink" => Deed::Unlink(at(0)?),
        "unlinkat" if argument(2) == "0" => Deed::Unlink(below(0, 1)?),
        "mkdir" | "rmdir" => at(0).map(|_| Deed::Directory)?,
        "mkdirat" | "unlinkat" => below(0, 1).map(|_| Deed::Directory)?,
        "open" | "openat" => return None,
        other => unreachable!("strace was not asked for {other}"),
    })
}

/// The path between two signs.
fn path(text: &str, begin: char, end: char) -> Option<PathBuf> {
    let (_, rest) = text.split_once(begin)?;
    let (path, _) = rest.split_once(end)?;
    Some(PathBuf::from(String::from_utf8(bytes(path)).unwrap()))
}

/// What `\x00\x01` says, wherever it begins.
fn bytes(text: &str) -> Vec<u8> {
    let text = text.split_once('"').map_or(text, |(_, rest)| rest);
    let text = text.split_once('"').map_or(text, |(inside, _)| inside);
    let parts = text.split("\\x").skip(1);
    parts
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// All files below a folder, by name.
pub(crate) fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                all.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// A simulated disk that is done to what was done to a real one.
pub(crate) struct Replayed {
    disk: SimStorage,
    /// Where files that are written front to back end.
    ends: HashMap<String, u64>,
}

impl Replayed {
    /// With these files, durable.
    pub(crate) fn new(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = SimStorage::new();
        for (name, bytes) in files {
            let file = disk.create(name).unwrap();
            file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
            file.sync().unwrap();
        }
        disk.sync_directory("").unwrap();
        let ends = HashMap::new();
        Self { disk, ends }
    }

    pub(crate) fn replay(&mut self, deed: &Deed) {
        let disk = &self.disk;
        match deed {
            Deed::Create(name) => {
                if disk.open(name, true).is_err() {
                    disk.create(name).unwrap();
                }
                self.ends.insert(name.clone(), 0);
            }
            Deed::Write(name, at, bytes) => {
                let end = self.ends.entry(name.clone()).or_default();
                let at = at.unwrap_or(*end);
                *end = at + bytes.len() as u64;
                let file = disk.open(name, true).unwrap();
                file.write_at(&[IoSlice::new(bytes)], at).unwrap();
            }
            Deed::Copy { from, to } => {
                let file = disk.open(from, false).unwrap();
                let mut bytes = vec![0; file.info().unwrap().length as usize];
                file.read_at(&mut bytes, 0).unwrap();
                let file = disk.open(to, true).unwrap();
                file.write_at(&[IoSlice::new(&bytes)], 0).unwrap();
            }
            Deed::Length(name, length) => {
                disk.open(name, true).unwrap().set_length(*length).unwrap();
            }
            Deed::Allocate(name, end) => disk.open(name, true).unwrap().allocate(0, *end).unwrap(),
            // What is no file is a directory.
            Deed::Sync(name) => match disk.open(name, true) {
                Ok(file) => file.sync().unwrap(),
                Err(_) => disk.sync_directory(name).unwrap(),
            },
            Deed::Rename(from, to) => disk.rename(from, to, Existing::Replace).unwrap(),
            Deed::Link(from, to) => disk.link(from, to).unwrap(),
            Deed::Unlink(name) => disk.unlink(name).unwrap(),
            Deed::Directory => {}
        }
    }

    /// Makes a folder as a power cut leaves it now.
    pub(crate) fn cut(&self, seed: u64, to: &Path) {
        let disk = self.disk.after(Crash::Power { seed });
        for name in disk.names() {
            let path = to.join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = disk.open(&name, false).unwrap();
            let mut bytes = vec![0; file.info().unwrap().length as usize];
            file.read_at(&mut bytes, 0).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}
