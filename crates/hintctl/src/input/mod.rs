//! What a path holds, and the hints in it: native files and Cassandra's alike.

mod cassandra;
mod native;
mod pending;

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use hintstore::{OsStorage, Storage as _, TargetId};
use hintstore_cassandra::FileName;
use hintstore_format::{SegmentId, descriptor::Kind, file_name, layout::SEGMENT_MAGIC};
use hintstore_storage::{File, Info};
use serde_json::{Value, json};

use crate::exit::usage;

pub(crate) use cassandra::{CassandraFile, SideFile};
pub(crate) use native::NativeFile;
pub(crate) use pending::Pending;

/// A directory, or the one that a file lies in.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) storage: Arc<OsStorage>,
    pub(crate) files: Vec<Found>,
    /// A whole directory was named, not a file.
    pub(crate) is_directory: bool,
}

/// A file that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) info: Info,
    pub(crate) what: What,
}

/// What a file is, by its name and its first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A native segment.
    Native,
    /// A hint file of Cassandra.
    Cassandra,
    /// The checksum beside one.
    SideFile,
    /// Something of a native store that holds no hints.
    Control,
    /// Something else, and why it is taken for that.
    Foreign(String),
}

impl What {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cassandra => "cassandra",
            Self::SideFile => "crc32",
            Self::Control => "control",
            Self::Foreign(_) => "foreign",
        }
    }
}

/// Why a region of a file is no hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Where it begins.
    pub(crate) position: u64,
    /// How long it is.
    pub(crate) bytes: u64,
    /// What is wrong, in one word for programs.
    pub(crate) what: &'static str,
    /// What is wrong, for people.
    pub(crate) text: String,
    /// It is no damage: a torn tail, or a write in progress.
    pub(crate) harmless: bool,
}

impl Bad {
    pub(crate) fn json(&self, file: &str) -> Value {
        json!({
            "file": file,
            "position": self.position,
            "bytes": self.bytes,
            "what": self.what,
            "text": self.text,
            "harmless": self.harmless,
        })
    }
}

/// A hint, wherever it is from.
#[derive(Clone, Debug)]
pub(crate) struct HintView<'a> {
    pub(crate) index: u64,
    pub(crate) position: u64,
    pub(crate) target: TargetId,
    pub(crate) namespace: hintstore::Namespace,
    pub(crate) payload_version: u32,
    pub(crate) created_ms: i64,
    pub(crate) lifetime: hintstore_format::expiry::Lifetime,
    pub(crate) payload: &'a [u8],
    pub(crate) from: From<'a>,
}

/// What a hint has besides, by where it is from.
#[derive(Clone, Debug)]
pub(crate) enum From<'a> {
    Cassandra {
        body_bytes: u64,
        gcgs_s: u64,
        updates: u64,
        table_id: [u8; 16],
    },
    Native {
        segment: SegmentId,
        kind: Kind,
        sequence: hintstore::Sequence,
        body: hintstore::Body<'a>,
    },
}

impl HintView<'_> {
    /// When the hint is dead, by itself.
    pub(crate) fn expires_at_ms(&self) -> i64 {
        let created = hintstore::UnixMillis::new(self.created_ms);
        hintstore_format::expiry::written_deadline(created, self.lifetime).get()
    }
}

/// Whether a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Go,
    Stop,
}

/// What a walk over a file calls back.
pub(crate) trait Visitor {
    /// An intact hint.
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow>;
    /// A region that is none.
    fn bad(&mut self, bad: &Bad) -> anyhow::Result<()>;
}

impl Input {
    /// Looks at a path.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let metadata = std::fs::metadata(path).with_context(|| {
            format!(
                "cannot read {}: name a directory of hints, or a hint file",
                path.display()
            )
        })?;
        if metadata.is_dir() {
            let storage = Arc::new(OsStorage::new(path));
            let mut files = Vec::new();
            for entry in storage
                .list("")?
                .into_iter()
                .filter(|entry| !entry.is_directory)
            {
                let what = what(&storage, &entry.name);
                files.push(Found {
                    name: entry.name,
                    info: entry.info,
                    what,
                });
            }
            files.sort_by_cached_key(|file| order(&file.name));
            return Ok(Self {
                storage,
                files,
                is_directory: true,
            });
        }
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let storage = Arc::new(OsStorage::new(parent.unwrap_or(Path::new("."))));
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let file = storage.open(&name, false)?;
        let what = by_content(&*file).unwrap_or_else(|| what(&storage, &name));
        if !matches!(what, What::Native | What::Cassandra) {
            let path = path.display();
            return Err(usage(format!(
                "{path} is no hint file: name one, or a directory of them"
            )));
        }
        let info = file.info()?;
        Ok(Self {
            storage,
            files: vec![Found { name, info, what }],
            is_directory: false,
        })
    }

    /// Whether any file is native.
    pub(crate) fn is_native(&self) -> bool {
        self.files
            .iter()
            .any(|file| matches!(file.what, What::Native | What::Control))
    }

    /// Bytes of all files with hints.
    pub(crate) fn hint_bytes(&self) -> u64 {
        let hints = |file: &&Found| matches!(file.what, What::Native | What::Cassandra);
        self.files
            .iter()
            .filter(hints)
            .map(|file| file.info.length)
            .sum()
    }
}

/// By target, then by time as a number: the order in which a node delivers.
fn order(name: &str) -> (String, i64, String) {
    let (target, rest) = name.split_at_checked(36).unwrap_or((name, ""));
    let time = rest.trim_start_matches('-').split('-').next();
    let time = time.and_then(|time| time.parse().ok()).unwrap_or(i64::MAX);
    (target.to_owned(), time, name.to_owned())
}

fn what(storage: &OsStorage, name: &str) -> What {
    let control = [
        file_name::STORE,
        file_name::LOCK,
        file_name::JOURNAL,
        file_name::JOURNAL_NEW,
    ];
    if control.contains(&name) || file_name::is_spare(name) {
        return What::Control;
    }
    if file_name::parse_segment(name).is_some() {
        return What::Native;
    }
    match FileName::parse(name) {
        Some(FileName::Hints) => What::Cassandra,
        Some(FileName::SideFile) => What::SideFile,
        Some(FileName::Corrupt) => What::Foreign(
            "set aside by Cassandra at start-up: its descriptor is damaged".to_owned(),
        ),
        // A copy under another name.
        None if name.ends_with(".hints") => storage
            .open(name, false)
            .ok()
            .and_then(|file| by_content(&*file))
            .unwrap_or(What::Cassandra),
        None => What::Foreign("not a hint file".to_owned()),
    }
}

/// What a single file is that somebody named: its name may be anything.
fn by_content(file: &dyn File) -> Option<What> {
    let mut head = [0; 8];
    let read = file.read_at(&mut head, 0).ok()?;
    if head.get(..read)? == SEGMENT_MAGIC {
        return Some(What::Native);
    }
    // Cassandra's begin with a small version.
    (read == 8 && head.starts_with(&[0, 0, 0])).then_some(What::Cassandra)
}
