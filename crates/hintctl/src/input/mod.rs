//! What a path holds, and the hints in it: native files and Cassandra's alike.

mod ahead;
mod cassandra;
mod directory;
mod finding;
mod holder;
mod listing;
mod native;
mod pending;
mod source;

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use hintstore::env::{File, Info};
use hintstore::raw::format::{
    DecodeError, SegmentId, StoreId, descriptor::Kind, file_name, layout::STORE_SLOT_BYTES,
    store_file,
};
use hintstore::{
    OsStorage, Storage as _, TargetId,
    inspect::{JournalView, read_journal},
};
use hintstore_cassandra::{FileName, HintBody};

use crate::{
    exit::{Coded, Exit, usage},
    interrupt,
    output::{Output, count},
};

use ahead::Ahead;
pub(crate) use cassandra::{CassandraFile, SideFile};
use directory::{by_content, list, what};
pub(crate) use finding::{Finding, What};
pub(crate) use holder::holder;
pub(crate) use listing::{Listing, is_listing};
pub(crate) use native::NativeFile;
pub(crate) use pending::Pending;
pub(crate) use source::{BESIDE, each, each_again};

/// What a hint file on standard input is called.
const STDIN: &str = "-";

/// What is said of a directory with the mark of one that is being made.
const UNFINISHED: &str = "hintctl is making this directory, or was stopped while it did: it is not whole. \
                          Remove it, and run hintctl again";

/// A directory, or the one that a file lies in.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) storage: Arc<OsStorage>,
    pub(crate) files: Vec<Found>,
    /// A whole directory was named, not a file.
    pub(crate) is_directory: bool,
    ahead: Ahead,
}

/// A file that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) info: Info,
    pub(crate) what: FileKind,
}

/// What a file is, by its name and its first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A native segment.
    Native,
    /// A hint file of Cassandra.
    Cassandra,
    /// The checksum beside one.
    SideFile,
    /// Something of a native store that holds no hints.
    Control,
    /// A hint file of Cassandra's under a name that nobody looks into.
    Misnamed,
    /// What a run of hintctl was making when it was killed.
    Unfinished,
    /// Hints as JSON Lines.
    Listing,
    /// Something else, and why it is taken for that.
    Foreign(String),
}

impl FileKind {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cassandra => "cassandra",
            Self::SideFile => "crc32",
            Self::Control => "control",
            Self::Misnamed => "misnamed",
            Self::Unfinished => "unfinished",
            Self::Listing => "jsonl",
            Self::Foreign(_) => "foreign",
        }
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
    pub(crate) lifetime: hintstore::raw::format::expiry::Lifetime,
    pub(crate) payload: &'a [u8],
    pub(crate) from: HintSource<'a>,
}

/// What a hint has besides, by where it is from.
#[derive(Clone, Debug)]
pub(crate) enum HintSource<'a> {
    Cassandra {
        body_bytes: u64,
        hint: HintBody<'a>,
    },
    Native {
        store: StoreId,
        segment: SegmentId,
        kind: Kind,
        sequence: hintstore::Sequence,
        incarnation: hintstore::Incarnation,
        body: hintstore::Body<'a>,
    },
}

impl HintView<'_> {
    /// The payload, if it is a mutation of Cassandra's: in its files all are, elsewhere those
    /// that came from there.
    pub(crate) fn mutation(&self) -> Option<&[u8]> {
        let messaging = (10..=13).contains(&self.payload_version);
        messaging.then_some(self.payload)
    }

    /// What can be known of its mutation without a schema.
    fn body(&self) -> Option<HintBody<'_>> {
        match &self.from {
            HintSource::Cassandra { hint, .. } => Some(*hint),
            HintSource::Native { .. } => {
                HintBody::of_mutation(self.created_ms, 0, self.mutation()?)
            }
        }
    }

    /// How many partitions a mutation writes to; nothing where it is none of Cassandra's.
    pub(crate) fn updates(&self) -> Option<u64> {
        self.body().map(|body| body.updates)
    }

    /// The first partition that a mutation writes to.
    pub(crate) fn first_update(&self) -> Option<FirstUpdate<'_>> {
        let body = self.body()?;
        Some(FirstUpdate {
            table: hintstore::Namespace::from_bytes(body.table_id),
            key: body.first_update()?.key,
        })
    }

    /// When the hint is dead, by itself.
    pub(crate) fn expires_at_ms(&self) -> i64 {
        let created = hintstore::UnixMillis::new(self.created_ms);
        hintstore::raw::format::expiry::written_deadline(created, self.lifetime).get()
    }
}

/// A partition that a mutation writes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstUpdate<'a> {
    pub(crate) table: hintstore::Namespace,
    pub(crate) key: &'a [u8],
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
    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()>;
}

/// No more entries of a directory are looked at only to say where hints may be.
const LOOKED_BELOW: usize = 1000;

/// Where hints may be that are not in a directory.
pub(crate) fn below(path: &Path) -> String {
    let below = path.join("hints");
    if below.is_dir() {
        return format!("; did you mean {}?", below.display());
    }
    let is_hints = |path: &Path| path.extension().is_some_and(|of| of == "hints");
    let in_folder = |path: &Path| {
        let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
        inside
            .take(LOOKED_BELOW)
            .any(|entry| is_hints(&entry.path()))
    };
    let mut folders = std::fs::read_dir(path).into_iter().flatten().flatten();
    if folders
        .by_ref()
        .take(LOOKED_BELOW)
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with(BESIDE))
        .any(|entry| in_folder(&entry.path()))
    {
        "; --recursive looks into the directories below".to_owned()
    } else {
        String::new()
    }
}

impl Input {
    /// Looks at a path.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == STDIN {
            return Err(usage("this verb does not read standard input: name a file"));
        }
        let metadata = std::fs::metadata(path).with_context(|| {
            format!(
                "cannot read {}: name a directory of hints, or a hint file",
                path.display()
            )
        })?;
        if metadata.is_dir() {
            return Self::open_directory(path);
        }
        let shown = path.display();
        if !metadata.is_file() {
            return Err(usage(format!("{shown} is no regular file")));
        }
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let storage = Arc::new(OsStorage::new(parent.unwrap_or(Path::new("."))));
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(usage(format!(
                "the name of {shown} is not UTF-8: link to it under another"
            )));
        };
        let file = storage.open(name, false)?;
        let what = match what(&storage, name) {
            FileKind::Control => FileKind::Control,
            by_name => by_content(&*file).unwrap_or(by_name),
        };
        if !matches!(what, FileKind::Native | FileKind::Cassandra) {
            return Err(usage(format!(
                "{shown} is no hint file: name one, or a directory of them"
            )));
        }
        let found = Found {
            name: name.to_owned(),
            info: file.info()?,
            what,
        };
        Ok(Self {
            storage,
            files: vec![found],
            is_directory: false,
            ahead: Ahead::default(),
        })
    }

    /// Looks at a file of JSON Lines, as `convert --to jsonl` writes it.
    pub(crate) fn open_listing(path: &Path) -> anyhow::Result<Self> {
        let parent = path.parent();
        let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
        let storage = Arc::new(OsStorage::new(parent.unwrap_or(Path::new("."))));
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} is no file", path.display()))?;
        let found = Found {
            name: name.to_owned(),
            info: storage.info(name)?,
            what: FileKind::Listing,
        };
        Ok(Self {
            storage,
            files: vec![found],
            is_directory: false,
            ahead: Ahead::default(),
        })
    }

    /// What it is called.
    pub(crate) fn shown(&self) -> String {
        match &self.files[..] {
            [one] if one.name == STDIN && !self.is_directory => "standard input".to_owned(),
            _ => self.storage.path("").display().to_string(),
        }
    }

    fn open_directory(path: &Path) -> anyhow::Result<Self> {
        let storage = Arc::new(OsStorage::new(path));
        let input = Self {
            files: list(&storage, "")?,
            is_directory: true,
            ahead: Ahead::default(),
            storage,
        };
        Ok(input)
    }

    /// Files that a native store has set aside, or that hintctl has of Cassandra's, by their path in it; they are none
    /// of `files`.
    pub(crate) fn aside(&self) -> anyhow::Result<Vec<Found>> {
        if !self.is_directory {
            return Ok(Vec::new());
        }
        let is_native = self.is_native();
        let is_ours = |folder: &String| {
            let is_beside = !is_native && folder.starts_with(BESIDE);
            is_beside || is_native && folder == file_name::ASIDE
        };
        let entries = self.storage.list("")?.into_iter();
        let folders = entries.filter(|entry| entry.is_directory);
        let mut all = Vec::new();
        for folder in folders.map(|entry| entry.name).filter(is_ours) {
            all.extend(list(&self.storage, &folder)?);
        }
        Ok(all)
    }

    /// Whether there is nothing to look at: neither hints nor a store.
    pub(crate) fn holds_nothing(&self) -> bool {
        let none = self.hints().next().is_none() && self.misnamed().next().is_none();
        none && !self.is_store()
    }

    /// Hint files of Cassandra's under names that nobody looks into.
    pub(crate) fn misnamed(&self) -> impl Iterator<Item = &Found> {
        let files = self.files.iter();
        files.filter(|file| file.what == FileKind::Misnamed)
    }

    /// Tells of these: what is in them is passed over.
    pub(crate) fn tell_misnamed(&self, output: &mut Output) -> anyhow::Result<()> {
        for file in self.misnamed() {
            let text = "it is a hint file of Cassandra's, and passed over for its name: `hintctl verify` \
                        says which name is its own";
            output.bad(&file.name, &Finding::whole(What::Name, text.to_owned()))?;
        }
        Ok(())
    }

    /// Whether the directory is that of a node without a backlog: there is nothing in it at all.
    pub(crate) fn is_empty(&self) -> anyhow::Result<bool> {
        Ok(self.is_directory && self.storage.list("")?.is_empty())
    }

    /// Tells of a directory that was not finished.
    fn tell_unfinished(&self, output: &mut Output) -> anyhow::Result<()> {
        if self.is_unfinished() {
            let bad = Finding::whole(What::Unfinished, UNFINISHED.to_owned());
            output.bad(interrupt::MARK, &bad)?;
        }
        Ok(())
    }

    /// What is not whole is not taken for a source, and is not changed.
    pub(crate) fn refuse_unfinished(&self) -> anyhow::Result<()> {
        if self.is_unfinished() {
            let path = self.storage.path("");
            return Err(Coded {
                exit: Exit::Problems,
                text: format!("{}: {UNFINISHED}", path.display()),
            }
            .into());
        }
        Ok(())
    }

    /// Whether the directory, or that of the file, was not finished.
    fn is_unfinished(&self) -> bool {
        self.storage.info(interrupt::MARK).is_ok()
    }

    /// Tells of a store that is of another version.
    pub(crate) fn tell_other_version(&self, output: &mut Output) -> anyhow::Result<()> {
        match self.store_file()? {
            Some(Err(error)) if error.is_foreign() => {
                let bad = Finding {
                    position: error.offset,
                    ..Finding::whole(What::Version, other_version(error))
                };
                output.bad(file_name::STORE, &bad)
            }
            _ => Ok(()),
        }
    }

    /// Tells of what a run that was killed left beside other files.
    fn tell_left_behind(&self, output: &mut Output) -> anyhow::Result<()> {
        for file in self
            .files
            .iter()
            .filter(|file| file.what == FileKind::Unfinished && file.name != interrupt::MARK)
        {
            let text = "hintctl is making this file, or was killed while it did: the files beside it are \
                        as they were. Remove it if none runs";
            output.bad(
                &file.name,
                &Finding::whole(What::Unfinished, text.to_owned()),
            )?;
        }
        Ok(())
    }

    /// Files with hints, in the order in which a node delivers them.
    pub(crate) fn hints(&self) -> impl Iterator<Item = &Found> {
        let hints = |file: &&Found| {
            matches!(
                file.what,
                FileKind::Native | FileKind::Cassandra | FileKind::Listing
            )
        };
        self.files.iter().filter(hints)
    }

    /// For which target a file is, where it says so.
    pub(crate) fn target(&self, file: &Found) -> anyhow::Result<Option<TargetId>> {
        Ok(match file.what {
            FileKind::Cassandra => CassandraFile::open(&self.storage, &file.name)?.target(),
            FileKind::Native => NativeFile::open(&self.storage, &file.name)?.target(),
            _ => None,
        })
    }

    /// Opens a file of Cassandra's: fastest in the order in which they are listed.
    pub(crate) fn cassandra(&self, file: &Found) -> anyhow::Result<CassandraFile> {
        self.ahead.open(&self.files, file, &self.storage)
    }

    /// Walks the hints of a file.
    pub(crate) fn walk(&self, file: &Found, visitor: &mut dyn Visitor) -> anyhow::Result<()> {
        match file.what {
            FileKind::Cassandra => {
                self.cassandra(file)?.walk(visitor)?;
                Ok(())
            }
            FileKind::Listing => {
                let mut listing = Listing::open(&self.storage.path(&file.name))?;
                listing.walk(visitor)?;
                if !listing.is_whole {
                    let text =
                        "its last line is no summary that says it is complete: it may lack hints";
                    visitor.bad(&Finding::whole(What::Tail, text.to_owned()))?;
                }
                if let Some(said) = listing.said.filter(|said| *said != listing.hints) {
                    let text = format!(
                        "its summary says {said} hints, and {} are there",
                        listing.hints
                    );
                    visitor.bad(&Finding::note(What::Tail, text))?;
                }
                if listing.edited > 0 {
                    let payloads = count(listing.edited, "payload");
                    let text = format!("edited since it was written: {payloads}");
                    visitor.bad(&Finding::note(What::Payload, text))?;
                }
                Ok(())
            }
            _ => NativeFile::open(&self.storage, &file.name)?.walk(visitor),
        }
    }

    /// Whether it is the directory of a native store, or of what is left of one.
    pub(crate) fn is_store(&self) -> bool {
        let control = |file: &Found| file.what == FileKind::Control;
        self.is_directory && self.files.iter().any(control)
    }

    /// What the journal says of the hints of a native store, or of one segment of it, without a word where it cannot
    /// be read.
    pub(crate) fn quiet_journal(&self) -> JournalView {
        let is_segment =
            !self.is_directory && self.hints().all(|file| file.what == FileKind::Native);
        let is_there = self.storage.info(file_name::JOURNAL).is_ok();
        if is_there && (is_segment || self.is_store()) {
            return read_journal(&*self.storage).unwrap_or_default();
        }
        JournalView::default()
    }

    /// What the journal of a native store says; nothing where there is none. Where it cannot be
    /// read, that is reported.
    pub(crate) fn journal(&self, output: &mut Output) -> anyhow::Result<JournalView> {
        if !self.is_store() {
            return Ok(JournalView::default());
        }
        let journal = read_journal(&*self.storage)?;
        let damage = match (&journal.unreadable, journal.bad_bytes) {
            (Some(error), _) if journal.is_other_version => Some(format!(
                "the journal is of another version, and not damaged: {error}"
            )),
            (Some(error), _) => Some(format!("the journal cannot be read: {error}")),
            (None, _) if journal.is_missing => Some(
                "there is no journal: what was delivered before will be delivered again".to_owned(),
            ),
            (None, 0) => None,
            (None, bytes) => Some(format!("{bytes} bytes of the journal are no record")),
        };
        if let Some(text) = damage {
            let what = if journal.is_other_version {
                What::Version
            } else {
                What::Journal
            };
            let bad = Finding {
                position: journal.bad_at,
                bytes: journal.bad_bytes,
                ..Finding::whole(what, text)
            };
            output.bad(file_name::JOURNAL, &bad)?;
        }
        if let Some(position) = journal.torn_at {
            let text =
                "behind its last record is none that is whole: a crash cut it off, it is being \
                        written, or it was damaged"
                    .to_owned();
            let torn = Finding {
                position,
                ..Finding::note(What::Torn, text)
            };
            output.bad(file_name::JOURNAL, &torn)?;
        }
        Ok(journal)
    }

    /// Opening a store whose journal cannot be read begins a new one: who asks for something else does not mean
    /// that.
    pub(crate) fn refuse_lost_journal(&self) -> anyhow::Result<()> {
        let journal = self.quiet_journal();
        if journal.unreadable.is_none() || journal.is_other_version {
            return Ok(());
        }
        let path = self.storage.path(file_name::JOURNAL);
        let text = format!(
            "{} cannot be read, and opening the store begins a new one: what was delivered or discarded before would be \
             delivered again; nothing was changed. If that is meant, move the file away first",
            path.display()
        );
        let exit = Exit::Problems;
        Err(Coded { exit, text }.into())
    }

    /// Says which files are of another version: a verb that changes something leaves them alone, and ends
    /// with the code for that. A store of another version is refused as a whole.
    pub(crate) fn refuse_other_version(&self, output: &mut Output) -> anyhow::Result<()> {
        if let Some(error) = self.store_file()?.and_then(Result::err)
            && error.is_foreign()
        {
            let path = self.storage.path(file_name::STORE);
            return Err(Coded {
                exit: Exit::Version,
                text: format!(
                    "{}: {}; nothing was changed",
                    path.display(),
                    other_version(error)
                ),
            }
            .into());
        }
        for found in self.hints().filter(|found| found.what == FileKind::Native) {
            let file = NativeFile::open(&self.storage, &found.name)?;
            if let Some(bad) = file.refusal().filter(|bad| bad.what == What::Version) {
                output.bad(&found.name, &bad)?;
            }
        }
        Ok(())
    }

    /// What the file says that says who the store is; nothing where there is none.
    pub(crate) fn store_file(
        &self,
    ) -> anyhow::Result<Option<Result<store_file::Slot, DecodeError>>> {
        if !self.is_store() {
            return Ok(None);
        }
        let file = match self.storage.open(file_name::STORE, false) {
            Err(error) if error.is_missing() => return Ok(None),
            file => file?,
        };
        file.info()?;
        let mut bytes = [0; 2 * STORE_SLOT_BYTES];
        file.read_at(&mut bytes, 0)?;
        Ok(Some(store_file::decode(&bytes)))
    }

    /// Whether any file is native.
    pub(crate) fn is_native(&self) -> bool {
        self.files
            .iter()
            .any(|file| matches!(file.what, FileKind::Native | FileKind::Control))
    }

    /// Bytes of all files with hints.
    pub(crate) fn hint_bytes(&self) -> u64 {
        self.hints().map(|file| file.info.length).sum()
    }
}

/// What to do about something of another version.
pub(crate) fn other_version(error: DecodeError) -> String {
    format!("it is of another version, and not damaged: {error}")
}

/// Bytes of a file; fewer where it ends.
fn bytes(file: &dyn File, offset: u64, length: usize) -> anyhow::Result<Vec<u8>> {
    let left = file.info()?.length.saturating_sub(offset);
    let mut bytes = vec![0; (left as usize).min(length)];
    let read = file.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Target and creation time that the name of a hint file claims: a native one or Cassandra's.
fn claimed(name: &str) -> Option<(TargetId, i64)> {
    let (target, rest) = name.split_at_checked(36)?;
    let (time, _) = rest.strip_prefix('-')?.split_once('-')?;
    Some((target.parse().ok()?, time.parse().ok()?))
}

/// Notes where the name of a file claims what its descriptor does not say.
fn misnamed(
    name: &str,
    target: TargetId,
    created_ms: i64,
    visitor: &mut dyn Visitor,
) -> anyhow::Result<()> {
    let (_, base) = name.rsplit_once('/').unwrap_or(("", name));
    match claimed(base) {
        Some(claim) if claim != (target, created_ms) => visitor.bad(&Finding::note(
            What::Name,
            format!(
                "the descriptor says target {target}, created {created_ms} ms: it counts, not the \
                 name"
            ),
        )),
        _ => Ok(()),
    }
}

/// Notes where a file of Cassandra's has another name than its header says: see
/// [`CassandraFile::computed_name`].
fn misnamed_cassandra(name: &str, computed: &str, visitor: &mut dyn Visitor) -> anyhow::Result<()> {
    let (_, base) = name.rsplit_once('/').unwrap_or(("", name));
    if [computed, STDIN].contains(&base) || FileName::parse(base) == Some(FileName::Corrupt) {
        return Ok(());
    }
    let does = match FileName::parse(base) {
        Some(FileName::Hints) => "opens that name, not this",
        _ => "passes over a file of this name",
    };
    let text = format!("its header says that it is {computed}: Cassandra {does}");
    visitor.bad(&Finding::note(What::Name, text))
}
