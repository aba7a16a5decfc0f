//! Hints taken out of a directory of Cassandra's: what `truncate` and `expire` do there.
//!
//! Offline: a node that runs knows its files by heart. First all files are looked at, and what is to
//! happen to each is decided; with `--apply` it is done then, files that go as a whole first: that takes
//! no space. A file that loses some of its hints is written again, takes owner, group, mode and access
//! control list of the old one, and its name in one step. Before that the old one gets a second name
//! among what is set aside. A crash leaves one of the two under the name; what fails is undone.

use std::{
    collections::HashSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use hintstore::env::{Existing, OpenElsewhere};
use hintstore::{Clock as _, OsStorage, Storage as _, SystemClock};
use hintstore_cassandra::{FileWriter, encode_body, side_file};
use serde_json::json;

use super::{
    convert::{abandon, begin, own, publish, refuse_occupied, unfinished_names},
    verify::{Walked, tell},
};
use crate::{
    args::Change,
    exit::{Coded, Exit, is_full_disk, usage},
    filter::Filter,
    input::{
        BESIDE, CassandraFile, FileKind, Finding, Flow, Found, HintSource, HintView, Input, Visitor,
    },
    interrupt::Guard,
    output::{Output, bytes, count, next_apply},
};

/// How far a file has come, or a group of them.
pub(super) enum Reached {
    /// It is as planned.
    Done,
    /// It is as planned, and what came behind that failed: it may not be durable, or something of what it was is
    /// still there.
    DoneBut(anyhow::Error),
    /// It is not as planned: a file is as it was, or files of a group are still there.
    NotDone(anyhow::Error),
}

impl Reached {
    /// Tells by the result of the steps before a file is touched, and of those behind.
    fn by(before: anyhow::Result<()>, behind: impl FnOnce() -> anyhow::Result<()>) -> Self {
        match before.map(|()| behind()) {
            Ok(Ok(())) => Self::Done,
            Ok(Err(error)) => Self::DoneBut(error),
            Err(error) => Self::NotDone(error),
        }
    }

    /// Whether it is as planned, and what failed.
    pub(super) fn parts(self) -> (bool, Option<anyhow::Error>) {
        match self {
            Self::Done => (true, None),
            Self::DoneBut(error) => (true, Some(error)),
            Self::NotDone(error) => (false, Some(error)),
        }
    }
}

/// Whether a hint is to go, stays, or is left alone although it was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Go,
    Stay,
    /// It also writes to other tables.
    Mixed,
}

/// What is to happen to one file.
struct Plan<'a> {
    found: &'a Found,
    /// How many hints the filter had taken before it: it takes the same ones again.
    taken_before: u64,
    go: u64,
    stay: u64,
    mixed: u64,
    bad: u64,
    /// Something in it is damaged.
    is_damaged: bool,
    /// What comes free, about: all of it, or the records that go.
    bytes: u64,
    done: bool,
}

impl Plan<'_> {
    fn words(&self) -> String {
        let left = if self.bad > 0 {
            "its intact hints"
        } else {
            "its hints"
        };
        match (self.go, self.stay) {
            (0, _) => "stays as it is".to_owned(),
            (_, 0) => "goes as a whole".to_owned(),
            _ => format!("is rewritten with {left} that stay"),
        }
    }
}

/// Takes out hints, or says which: nothing is changed without `--apply`.
pub(crate) fn run(
    input: &Input,
    change: &Change,
    filter: &Filter<'_>,
    fate: &mut dyn FnMut(&HintView<'_>) -> Fate,
    output: &mut Output,
) -> anyhow::Result<()> {
    if change.apply {
        input
            .storage
            .check_writable()
            .context("nothing was changed")?;
        refuse_open(input, change.node_is_stopped)?;
    }
    let mut plans = look(input, filter, fate, output)?;
    filter.tell_unsure(output);
    if change.no_aside
        && let Some(plan) = plans.iter().find(|plan| plan.go > 0 && plan.is_damaged)
    {
        return Err(usage(format!(
            "{} is damaged, and what cannot be read of it would be gone for good: leave out --no-aside, or save \
             what is intact with hintctl salvage and remove the file",
            plan.found.name
        )));
    }
    let mut aside = Aside::new(input, change)?;
    let mut failure = None;
    let _guard = change.apply.then(|| {
        let path = input.storage.path("").display().to_string();
        Guard::say(format!("{path}: {}", aside.if_stopped()))
    });
    if change.apply {
        // Without a hint in it a file is none: Cassandra fails over some of those. Those go first, and
        // the largest of them: that needs no space, and makes some.
        let mut order: Vec<_> = plans.iter_mut().filter(|plan| plan.go > 0).collect();
        order.sort_by_key(|plan| (plan.stay > 0, std::cmp::Reverse(plan.bytes)));
        for plan in order {
            filter.restart(plan.taken_before);
            let reached = if plan.stay == 0 {
                remove(input, plan.found, &mut aside)
            } else {
                replace(input, &[plan.found], &mut aside, fate)
            };
            let error;
            (plan.done, error) = reached.parts();
            if let Some(error) = error {
                failure = Some(explain(error, &plan.found.name, &aside));
                break;
            }
        }
    }
    let is_done = |plan: &&Plan<'_>| plan.done || !change.apply;
    let gone: u64 = plans.iter().filter(is_done).map(|plan| plan.go).sum();
    let freed: u64 = plans.iter().filter(is_done).map(|plan| plan.bytes).sum();
    let hints = count(gone, "hint");
    if change.apply && gone > 0 {
        output.did(format!("{hints} went as asked"));
    }
    print(&plans, change, output)?;
    output.sum("hints", gone);
    output.sum("mixed", plans.iter().map(|plan| plan.mixed).sum::<u64>());
    output.sum("applied", change.apply);
    output.sum("freed_bytes", freed);
    let freed = bytes(freed);
    if !change.apply {
        if gone == 0 {
            return output.text("0 hints would be discarded");
        }
        output.problem();
        if let Err(error) = input.storage.check_writable() {
            output.remark(&format!("--apply would fail: {error}"));
        }
        output.text(&format!(
            "{hints} would be discarded; nothing was changed: stop the node and add --apply. About \
             {freed} come free when the files set aside are removed, or at once with --no-aside"
        ))?;
        return next_apply(output);
    }
    let kept = aside.kept();
    if let Some(kept) = &kept {
        output.sum("aside", kept.display().to_string());
    }
    let kept = match (&aside.place, &kept) {
        (Place::Beside(_), Some(kept)) => format!(
            "; the files as they were are in {}: about {freed} come free when that is removed",
            kept.display()
        ),
        (Place::There(_), Some(kept)) => format!(
            "; about {freed} came free; the files as they were are in {}: hintctl aside restore --from copies them back",
            kept.display()
        ),
        _ => format!("; about {freed} came free"),
    };
    if let Some(error) = failure {
        let done = plans.iter().filter(|plan| plan.done).count() as u64;
        return Err(if done == 0 {
            error.context("nothing was changed")
        } else {
            let done = count(done, "file");
            error.context(format!(
                "not all was done, only {done} of those above{kept}; do it again for the rest"
            ))
        });
    }
    output.text(&format!("{hints} discarded{kept}"))
}

/// Looks at all files.
fn look<'a>(
    input: &'a Input,
    filter: &Filter<'_>,
    fate: &mut dyn FnMut(&HintView<'_>) -> Fate,
    output: &mut Output,
) -> anyhow::Result<Vec<Plan<'a>>> {
    let mut plans = Vec::new();
    let bar = output.bar(input.hint_bytes());
    for found in input
        .files
        .iter()
        .filter(|file| file.what == FileKind::Cassandra)
    {
        let taken_before = filter.taken();
        let mut counter = Counter::new(fate);
        let walked = bar.walk(input, found, &mut counter);
        let Counter {
            go,
            stay,
            mixed,
            bad,
            regions,
            bytes,
            ..
        } = counter;
        let walked = tell(walked, &found.name, output)?;
        for region in &regions {
            output.bad(&found.name, region)?;
        }
        if walked != Some(Walked::Whole) {
            // It went, or the disk gave only a part: what of the rest stays nobody knows.
            output.remark(&format!("{}: stays as it is", found.name));
            continue;
        }
        if go == 0 && mixed == 0 {
            continue;
        }
        plans.push(Plan {
            found,
            taken_before,
            go,
            stay,
            mixed,
            bad,
            is_damaged: !regions.is_empty(),
            bytes: if stay == 0 {
                found.info.allocated
            } else {
                bytes
            },
            done: false,
        });
    }
    bar.finish();
    Ok(plans)
}

fn print(plans: &[Plan<'_>], change: &Change, output: &mut Output) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for plan in plans {
        output.line(
            "discard",
            json!({
                "file": plan.found.name,
                "hints": plan.go,
                "kept": plan.stay,
                "mixed": plan.mixed,
                "bad": plan.bad,
                "applied": plan.done,
            }),
        )?;
        let words = if change.apply && plan.go > 0 && !plan.done {
            "stays as it is: not done".to_owned()
        } else {
            plan.words()
        };
        rows.push(vec![
            plan.found.name.clone(),
            plan.go.to_string(),
            plan.stay.to_string(),
            plan.mixed.to_string(),
            words,
        ]);
    }
    output.table(&["FILE", "HINTS", "KEPT", "MIXED, LEFT ALONE", ""], rows)
}

/// What to do about a file that could not be dealt with.
pub(super) fn explain(error: anyhow::Error, name: &str, aside: &Aside<'_>) -> anyhow::Error {
    let full = is_full_disk(&error);
    let error = error.context(name.to_owned());
    if !full {
        return error;
    }
    let text = match aside.place {
        Place::Nowhere => "the disk has no room for the file that is to take its place: free some",
        _ => {
            "the disk is full, and what is set aside frees nothing: keep it on another disk with \
             --aside DIR, or not at all with --no-aside"
        }
    };
    error.context(text)
}

pub(super) struct Counter<'a> {
    fate: &'a mut dyn FnMut(&HintView<'_>) -> Fate,
    pub(super) go: u64,
    pub(super) stay: u64,
    mixed: u64,
    pub(super) bad: u64,
    /// Of the records that go.
    bytes: u64,
    /// What is damage, or why the file is not looked at.
    pub(super) regions: Vec<Finding>,
}

/// No more damaged regions of one file are reported.
const REGIONS_MAX: usize = 1000;

impl<'a> Counter<'a> {
    pub(super) fn new(fate: &'a mut dyn FnMut(&HintView<'_>) -> Fate) -> Self {
        Self {
            fate,
            go: 0,
            stay: 0,
            mixed: 0,
            bad: 0,
            bytes: 0,
            regions: Vec::new(),
        }
    }
}

impl Visitor for Counter<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        match (self.fate)(hint) {
            Fate::Go => {
                self.go += 1;
                self.bytes += hint.payload.len() as u64;
            }
            Fate::Stay => self.stay += 1,
            Fate::Mixed => {
                self.stay += 1;
                self.mixed += 1;
            }
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        // What cannot be read is not what was meant.
        if !bad.harmless && self.regions.len() < REGIONS_MAX {
            self.regions.push(bad.clone());
        }
        self.bad += u64::from(bad.bytes > 0 || !bad.harmless);
        Ok(())
    }
}

/// Where the files as they were are kept.
pub(super) struct Aside<'a> {
    input: &'a Input,
    place: Place,
    /// Something is kept there.
    is_used: bool,
}

enum Place {
    /// A folder beside them: a second name takes no space.
    Beside(String),
    /// A directory of the operator's choice.
    There(OsStorage),
    Nowhere,
}

impl<'a> Aside<'a> {
    pub(super) fn new(input: &'a Input, change: &Change) -> anyhow::Result<Self> {
        let place = match &change.aside {
            _ if change.no_aside => Place::Nowhere,
            Some(path) => {
                refuse_occupied(path)?;
                Place::There(OsStorage::new(path))
            }
            None => return Ok(Self::beside(input, BESIDE)),
        };
        Ok(Self {
            input,
            place,
            is_used: false,
        })
    }

    /// In a new folder beside them, whose name begins so.
    pub(super) fn beside(input: &'a Input, name: &str) -> Self {
        Self {
            input,
            place: Place::Beside(format!("{name}{}", SystemClock.wall().get())),
            is_used: false,
        }
    }

    /// Where something is kept.
    pub(super) fn kept(&self) -> Option<PathBuf> {
        self.would_keep().filter(|_| self.is_used)
    }

    /// What to do about a run that is stopped.
    pub(super) fn if_stopped(&self) -> String {
        let again = match self.place {
            Place::There(_) => "do it again for the rest, with another --aside",
            _ => "do it again for the rest",
        };
        let kept = match self.would_keep() {
            Some(kept) => format!(
                "; what was set aside, if anything, is in {}",
                kept.display()
            ),
            None => String::new(),
        };
        format!("each file is as it was or as planned: {again}{kept}")
    }

    fn would_keep(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Beside(folder) => Some(self.input.storage.path(folder)),
            Place::There(storage) => Some(storage.path("")),
            Place::Nowhere => None,
        }
    }

    /// Keeps files under their names; durable on return. What is kept of some of them, where others
    /// could not be, goes again.
    pub(super) fn keep(&mut self, names: &[String]) -> anyhow::Result<()> {
        let kept = self.try_keep(names);
        if kept.is_err() {
            self.forget(names);
        }
        self.is_used |= kept.is_ok() && !matches!(self.place, Place::Nowhere);
        kept
    }

    fn try_keep(&self, names: &[String]) -> anyhow::Result<()> {
        let storage = &self.input.storage;
        match &self.place {
            Place::Nowhere => {}
            Place::Beside(folder) => {
                storage.make_directory(folder)?;
                for name in names {
                    let to = format!("{folder}/{name}");
                    let (from, path) = (storage.path(name), storage.path(&to));
                    if std::fs::hard_link(&from, &path).is_err() {
                        // A file system without a second name for a file.
                        copy(storage, name, storage, &to)?;
                    }
                }
                storage.sync_directory(folder)?;
            }
            Place::There(there) => {
                there.make_directory("")?;
                for name in names {
                    copy(storage, name, there, name)?;
                }
                there.sync_directory("")?;
            }
        }
        Ok(())
    }

    /// Takes back what was kept of files that stay as they are. What cannot be removed is a second name
    /// of what is there.
    fn forget(&mut self, names: &[String]) {
        for name in names {
            match &self.place {
                Place::Nowhere => {}
                Place::Beside(folder) => {
                    drop(self.input.storage.unlink(&format!("{folder}/{name}")));
                }
                Place::There(there) => drop(there.unlink(name)),
            }
        }
        // It goes only if nothing else is kept in it.
        if let Place::Beside(folder) = &self.place
            && std::fs::remove_dir(self.input.storage.path(folder)).is_ok()
        {
            self.is_used = false;
        }
    }
}

/// Copies a file to another place, durable on return, with its owner.
pub(super) fn copy(from: &OsStorage, name: &str, to: &OsStorage, copy: &str) -> anyhow::Result<()> {
    let (source, target) = (from.path(name), to.path(copy));
    std::fs::copy(&source, &target)
        .with_context(|| format!("cannot keep {} as {}", source.display(), target.display()))?;
    from.copy_owner(name, to, copy)?;
    to.open(copy, true)?.sync()?;
    Ok(())
}

/// A hint file and the one beside it, as far as they are there.
pub(super) fn with_side(input: &Input, name: &str) -> Vec<String> {
    let names = [Some(name.to_owned()), side_file(name)];
    let there = |name: &String| input.storage.path(name).exists();
    names.into_iter().flatten().filter(there).collect()
}

pub(super) fn remove(input: &Input, found: &Found, aside: &mut Aside<'_>) -> Reached {
    let names = with_side(input, &found.name);
    let mut unlink_first = || {
        refuse_changed(input, found)?;
        aside.keep(&names)?;
        let unlinked = input.storage.unlink(&found.name);
        if unlinked.is_err() {
            aside.forget(&names);
        }
        Ok(unlinked?)
    };
    // The hint file goes first: a checksum beside nothing means nothing, a file without one looks open.
    Reached::by(unlink_first(), || {
        for name in names.iter().filter(|name| **name != found.name) {
            input.storage.unlink(name)?;
        }
        Ok(input.storage.sync_directory("")?)
    })
}

/// Rewrites files with the hints that stay, into one under the name of the first: neighbours of one version and
/// compression.
pub(super) fn replace(
    input: &Input,
    files: &[&Found],
    aside: &mut Aside<'_>,
    fate: &mut dyn FnMut(&HintView<'_>) -> Fate,
) -> Reached {
    let Some((first, others)) = files.split_first() else {
        return Reached::Done;
    };
    let names: Vec<String> = files
        .iter()
        .flat_map(|found| with_side(input, &found.name))
        .collect();
    let _guards =
        unfinished_names(&first.name).map(|name| Guard::remove(input.storage.path(&name)));
    let open = |found: &Found| {
        let file = CassandraFile::open(&input.storage, &found.name)?;
        match file.salvageable(None) {
            Ok(plan) => Ok((file, plan)),
            Err(_) => anyhow::bail!("{}: it cannot be rewritten", found.name),
        }
    };
    let mut write = || {
        let (file, plan) = open(first)?;
        let new = begin(&input.storage, &first.name)?;
        own(&input.storage, &first.name, &input.storage, &first.name)?;
        let writer = FileWriter::new(
            new,
            plan.version,
            plan.timestamp_ms,
            *plan.target.as_bytes(),
            plan.codec,
        )?;
        let mut keeper = Keeper {
            writer,
            fate: &mut *fate,
        };
        file.walk_as(&plan, &mut keeper)?;
        // Our own descriptor would be taken for a node's.
        drop(file);
        for found in others {
            let (file, plan) = open(found)?;
            file.walk_as(&plan, &mut keeper)?;
        }
        let writer = keeper.writer;
        for found in files {
            refuse_changed(input, found)?;
        }
        aside.keep(&names)?;
        publish(&input.storage, &first.name, writer, Existing::Replace)
    };
    if let Err(error) = write() {
        // As it was: what is new of it goes again.
        drop(abandon(&input.storage, &first.name));
        let is_it = |info: hintstore::env::Info| info.inode == first.info.inode;
        if input.storage.info(&first.name).is_ok_and(is_it) {
            aside.forget(&names);
            return Reached::NotDone(error);
        }
        return Reached::DoneBut(error);
    }
    if others.is_empty() {
        return Reached::Done;
    }
    // They are in the new one, which is durable.
    for found in others {
        let names = with_side(input, &found.name);
        let removed = names.iter().try_for_each(|name| input.storage.unlink(name));
        if let Err(error) = removed {
            let left = input.storage.path(&found.name);
            return Reached::NotDone(anyhow::Error::from(error).context(format!(
                "{} has all hints of the group, and what could not be removed would be delivered twice: remove {} and \
                 the others of the group by hand",
                first.name,
                left.display()
            )));
        }
    }
    let synced = input.storage.sync_directory("");
    Reached::by(Ok(()), || Ok(synced?))
}

struct Keeper<'a, W: std::io::Write> {
    writer: FileWriter<W>,
    fate: &'a mut dyn FnMut(&HintView<'_>) -> Fate,
}

impl<W: std::io::Write> Visitor for Keeper<'_, W> {
    fn hint(&mut self, view: &HintView<'_>) -> anyhow::Result<Flow> {
        if let HintSource::Cassandra { hint, .. } = &view.from
            && (self.fate)(view) != Fate::Go
        {
            let body = encode_body(hint.creation_time_ms, hint.gcgs_s, hint.mutation);
            self.writer.append(&body)?;
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, _: &Finding) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A node may have been started since the files were looked at: what it wrote, or is about to write,
/// would be lost. Looked at right before a file is touched; a moment remains.
fn refuse_changed(input: &Input, found: &Found) -> anyhow::Result<()> {
    let now = input.storage.info(&found.name)?;
    let as_seen = |info: &hintstore::env::Info| (info.device, info.inode, info.length);
    let is_open = input.storage.is_open_elsewhere(&found.name);
    if as_seen(&now) == as_seen(&found.info) && !matches!(is_open, Ok(OpenElsewhere::Yes)) {
        return Ok(());
    }
    let text = format!(
        "{} was opened or changed since it was looked at: a node is at work; stop it first",
        input.storage.path(&found.name).display()
    );
    Err(Coded {
        exit: Exit::Locked,
        text,
    }
    .into())
}

/// A node that has one of the files open is at work on them. The kernel says so of each file, where it
/// can; else /proc does, if all processes are to be seen there.
pub(super) fn refuse_open(input: &Input, node_is_stopped: bool) -> anyhow::Result<()> {
    let locked = |text: String| Coded {
        exit: Exit::Locked,
        text,
    };
    let mut unknown = HashSet::new();
    for file in input.hints() {
        match input.storage.is_open_elsewhere(&file.name) {
            Ok(OpenElsewhere::No) => {}
            Err(error) if error.is_missing() => {}
            Ok(OpenElsewhere::Yes | OpenElsewhere::CannotTell) | Err(_) => {
                unknown.insert((file.info.device, file.info.inode));
            }
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    // Also one that is known to be open: to say by whom.
    let all_seen = match open_in(&unknown) {
        Ok((pid, path)) => {
            let path = path.display();
            return Err(locked(format!(
                "process {pid} has {path} open: stop the node first"
            ))
            .into());
        }
        Err(all_seen) => all_seen,
    };
    for file in input.hints() {
        if let Ok(OpenElsewhere::Yes) = input.storage.is_open_elsewhere(&file.name) {
            return Err(locked(format!(
                "a process that cannot be seen from here has {} open: stop the node first",
                input.storage.path(&file.name).display()
            ))
            .into());
        }
    }
    if all_seen || node_is_stopped {
        return Ok(());
    }
    Err(locked(format!(
        "whether a node has files of {} open cannot be known: neither does the file system say so, nor are \
         all processes to be seen from here. Stop the node, and add --node-is-stopped",
        input.storage.path("").display()
    ))
    .into())
}

/// The number of the pid namespace that all others are in.
const ALL_PROCESSES: &str = "pid:[4026531836]";

/// The process that has one of these files open, and under which name; or whether all processes could
/// be looked at. Files are compared by device and inode: a node in a container has other paths.
fn open_in(files: &HashSet<(u64, u64)>) -> Result<(u32, PathBuf), bool> {
    let own = std::process::id();
    let mut all_seen = std::fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|namespace| namespace == Path::new(ALL_PROCESSES));
    // A /proc that hides the processes of others (hidepid) hides the first one as well.
    all_seen &= Path::new("/proc/1").exists();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != own) else {
            continue;
        };
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else {
            all_seen &= !process.path().exists();
            continue;
        };
        for link in open.flatten().map(|link| link.path()) {
            let is_one =
                |metadata: std::fs::Metadata| files.contains(&(metadata.dev(), metadata.ino()));
            if std::fs::metadata(&link).is_ok_and(is_one) {
                return Ok((pid, std::fs::read_link(&link).unwrap_or(link)));
            }
        }
    }
    Err(all_seen)
}
