//! `aside`: what was set aside, and what becomes of it. Plans first; acts with `--apply`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context as _;
use hintstore::env::{Existing, Lock, LockError};
use hintstore::raw::format::{descriptor::Kind, file_name};
use hintstore::{Config, HintStore, Loss, Repaired, Storage as _, UnixMillis};
use hintstore_cassandra::{FileName, side_file};
use serde_json::json;

use super::{convert, losses, rewrite};
use crate::{
    args::{AsideChange, AsideCommand, AsidePurge},
    exit::{Coded, Exit, usage},
    input::{BESIDE, FileKind, Found, Input, NativeFile},
    interrupt::{Guard, unless_stopped},
    output::{Output, bytes, count, next_apply, time},
};

/// A file that was set aside.
struct Kept {
    folder: String,
    name: String,
    what: &'static str,
    /// Its hints can be read, all or some.
    is_native: bool,
    hints: Option<u64>,
    bytes: u64,
    written: UnixMillis,
}

impl Kept {
    fn path(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }
}

pub(crate) fn run(command: &AsideCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        AsideCommand::Ls { directory } => ls(directory, output),
        AsideCommand::Retry(change) => act(change, Deed::Retry, None, output),
        AsideCommand::Restore(restore) => {
            let from = restore.from.as_deref();
            act(&restore.change, Deed::Restore, from, output)
        }
        AsideCommand::Export { directory, out } => export(directory, out, output),
        AsideCommand::Purge(purge) if purge.losses => purge_losses(purge, output),
        AsideCommand::Purge(purge) => act(&purge.change, Deed::Purge, None, output),
    }
}

fn open(directory: &Path) -> anyhow::Result<Input> {
    let input = Input::open(directory)?;
    if !input.is_directory {
        return Err(usage(format!(
            "{} is a file: name the directory",
            directory.display()
        )));
    }
    Ok(input)
}

/// All that is set aside in a directory, in order.
fn kept(input: &Input) -> anyhow::Result<Vec<Kept>> {
    let root = input.storage.path("");
    let mut folders = Vec::new();
    for entry in fs::read_dir(&root).with_context(|| root.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_ours = if input.is_store() {
            name == file_name::ASIDE
        } else {
            name.starts_with(BESIDE)
        };
        if is_ours && root.join(&name).is_dir() {
            folders.push(name);
        }
    }
    folders.sort();
    let mut all = Vec::new();
    for folder in folders {
        let inside = Input::open(&root.join(&folder))?;
        all.extend(kept_in(&inside, &folder)?);
    }
    Ok(all)
}

/// All that is kept in one folder.
fn kept_in(inside: &Input, folder: &str) -> anyhow::Result<Vec<Kept>> {
    let kept = |found: &Found| {
        let metadata = fs::metadata(inside.storage.path(&found.name))?;
        let (what, hints) = look(inside, &found.name, &found.what);
        Ok(Kept {
            folder: folder.to_owned(),
            name: found.name.clone(),
            what,
            is_native: found.what == FileKind::Native && what != "unreadable",
            hints,
            bytes: found.info.allocated,
            written: UnixMillis::from(metadata.modified()?),
        })
    };
    inside.files.iter().map(kept).collect()
}

/// What a file is, and how many hints it has, where it says so.
fn look(inside: &Input, name: &str, what: &FileKind) -> (&'static str, Option<u64>) {
    if *what != FileKind::Native {
        return (what.word(), None);
    }
    let Ok(file) = NativeFile::open(&inside.storage, name) else {
        return ("unreadable", None);
    };
    if file.target().is_none() {
        return ("unreadable", None);
    }
    let what = match file.kind() {
        Kind::DeadLetters => "dead letters",
        Kind::Deferred => "damaged copies",
        Kind::Hints => "damaged",
    };
    let summary = file.summary().ok().flatten();
    (what, summary.map(|summary| summary.count))
}

fn ls(directory: &Path, output: &mut Output) -> anyhow::Result<()> {
    let input = open(directory)?;
    let all = kept(&input)?;
    list(&all, None, output)?;
    let losses = input.journal(output)?.losses;
    if !losses.is_empty() {
        output.text("")?;
        output.text("What its targets may lack, and repair has to look at:")?;
    }
    tell_losses(&losses, output)?;
    output.text(&format!(
        "{} set aside, {}",
        count(all.len() as u64, "file"),
        count(losses.len() as u64, "loss receipt")
    ))
}

fn tell_losses(losses: &[Loss], output: &mut Output) -> anyhow::Result<()> {
    for loss in losses {
        output.line("loss", losses::fields(loss))?;
    }
    output.table(&losses::HEAD, losses.iter().map(losses::row).collect())?;
    let hints = losses.iter().map(|loss| loss.hints);
    output.sum("lost_at_most", hints.fold(0, u64::saturating_add));
    output.sum("losses", losses.len());
    Ok(())
}

/// Writes what is set aside, and the loss receipts, into a file of JSON Lines.
fn export(directory: &Path, out: &Path, output: &mut Output) -> anyhow::Result<()> {
    let input = open(directory)?;
    let mut folders = BTreeSet::new();
    folders.extend(kept(&input)?.into_iter().map(|file| file.folder));
    let inputs: anyhow::Result<Vec<Input>> = folders
        .iter()
        .map(|folder| Input::open(&input.storage.path(folder)))
        .collect();
    let losses = input.journal(output)?.losses;
    let lines = losses.iter().map(|loss| ("loss", losses::fields(loss)));
    let hints = convert::export(&inputs?, lines, out, output)?;
    output.sum("hints", hints);
    output.sum("losses", losses.len());
    output.text(&format!(
        "{} and {} in {}",
        count(hints, "hint"),
        count(losses.len() as u64, "loss receipt"),
        out.display()
    ))
}

/// Settles loss receipts.
fn purge_losses(change: &AsidePurge, output: &mut Output) -> anyhow::Result<()> {
    let AsideChange {
        directory,
        older_than,
        apply,
        ..
    } = &change.change;
    let input = open(directory)?;
    if !input.is_store() {
        return Err(usage("only a native store has loss receipts"));
    }
    let repaired = Repaired {
        target: change.target,
        namespace: change.namespace,
        before: older_than.unwrap_or(UnixMillis::MAX),
    };
    let mut losses = input.journal(output)?.losses;
    losses.retain(|loss| repaired.covers(loss));
    if *apply && !losses.is_empty() {
        let store = HintStore::open(Config::new(directory))?;
        store.repaired(repaired)?;
        store.close()?;
    }
    tell_losses(&losses, output)?;
    output.sum("applied", *apply);
    let receipts = count(losses.len() as u64, "loss receipt");
    if losses.is_empty() {
        return output.text("no loss receipt tells of such writes alone");
    }
    if *apply {
        return output.text(&format!("{receipts} settled"));
    }
    output.problem();
    output.text(&format!(
        "{receipts} would be settled; nothing was changed: add --apply"
    ))?;
    next_apply(output)
}

/// Lists files; with a deed, what is done with each.
fn list(all: &[Kept], deed: Option<(&str, bool)>, output: &mut Output) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for file in all {
        output.line(
            "aside",
            json!({
                "folder": file.folder,
                "file": file.name,
                "what": file.what,
                "hints": file.hints,
                "allocated_bytes": file.bytes,
                "written_ms": file.written.get(),
                "deed": deed.map(|(word, _)| word),
                "applied": deed.map(|(_, applied)| applied),
            }),
        )?;
        rows.push(vec![
            file.path(),
            file.what.to_owned(),
            file.hints
                .map(|hints| hints.to_string())
                .unwrap_or_default(),
            bytes(file.bytes),
            time(file.written.get()),
        ]);
    }
    output.table(&["FILE", "WHAT", "HINTS", "SIZE", "WRITTEN"], rows)?;
    output.sum("files", all.len());
    output.sum(
        "allocated_bytes",
        all.iter().map(|file| file.bytes).sum::<u64>(),
    );
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Retry,
    Restore,
    Purge,
}

impl Deed {
    fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Restore => "restore",
            Self::Purge => "purge",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Retry => "appended again",
            Self::Restore => "put back",
            Self::Purge => "removed",
        }
    }

    /// Whether it is for such a file.
    fn is_for(self, file: &Kept, is_store: bool) -> bool {
        match self {
            Self::Retry => file.is_native,
            Self::Restore => !is_store,
            Self::Purge => true,
        }
    }
}

fn act(
    change: &AsideChange,
    deed: Deed,
    from: Option<&Path>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let input = open(&change.directory)?;
    let is_store = input.is_store();
    if deed == Deed::Retry && !is_store {
        return Err(usage(
            "only a native store keeps dead letters: restore brings Cassandra's files back",
        ));
    }
    if deed == Deed::Restore && is_store {
        return Err(usage(
            "opening would take files that were set aside for delivered, and remove them: aside retry \
             appends what is intact in them",
        ));
    }
    let elsewhere = from.map(open).transpose()?;
    let mut chosen = match &elsewhere {
        Some(there) => {
            let files = kept_in(there, &there.shown())?.into_iter();
            // Whatever else lies there is not meant.
            files
                .filter(|file| FileName::parse(&file.name).is_some())
                .collect()
        }
        None => kept(&input)?,
    };
    let number_in = |files: &[Kept]| {
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        for file in files {
            *numbers.entry(file.folder.clone()).or_default() += 1;
        }
        numbers
    };
    let all = number_in(&chosen);
    let has_folder = |name: &String| chosen.iter().any(|file| file.folder == *name);
    if let Some(name) = change.folder.as_ref().filter(|name| !has_folder(name)) {
        return Err(usage(format!(
            "no folder {name} has anything: see hintctl aside ls"
        )));
    }
    if let Some(name) = change
        .file
        .iter()
        .find(|name| !chosen.iter().any(|file| file.name == **name))
    {
        return Err(usage(format!(
            "no file {name} is set aside: see hintctl aside ls"
        )));
    }
    chosen.retain(|file| {
        let of_folder = change
            .folder
            .as_ref()
            .is_none_or(|folder| *folder == file.folder);
        let mut names = change.file.iter();
        let of_name = change.file.is_empty()
            || names.any(|name| *name == file.name || side_file(name).as_ref() == Some(&file.name));
        // What a restore took away comes back where that is asked for.
        let is_asked =
            deed != Deed::Restore || change.folder.is_some() || !file.folder.starts_with(REPLACED);
        let is_old = change.older_than.is_none_or(|before| file.written < before);
        of_folder && of_name && is_asked && is_old && deed.is_for(file, is_store)
    });
    if deed == Deed::Restore {
        // A checksum goes with its file, or follows one that came back in an earlier run.
        let hints: BTreeSet<(String, String)> = chosen
            .iter()
            .filter(|file| !is_side(file))
            .filter_map(|file| Some((file.folder.clone(), side_file(&file.name)?)))
            .collect();
        chosen.retain(|file| {
            let is_with_its_file = hints.contains(&(file.folder.clone(), file.name.clone()));
            !is_side(file) || is_with_its_file || input.storage.info(&file.name).is_err()
        });
        refuse_twice(&chosen)?;
        // A checksum must never lie beside a file that it is not of.
        chosen.sort_by_key(is_side);
        let taken = number_in(&chosen);
        if let Some((folder, _)) = taken
            .iter()
            .find(|(folder, number)| all.get(*folder) > Some(*number))
        {
            output.remark(&format!(
                "that is a part of {folder}: after a compaction hints of one file are in another one, and a part brings \
                 some back twice; --folder restores it as a whole"
            ));
        }
        if change
            .folder
            .as_ref()
            .is_some_and(|folder| folder.starts_with(REPLACED))
        {
            output.remark(
                "that undoes a restore: files that it brought back under other names stay; where it undid a compaction \
                 their hints are in the merged file as well, and those files are to be removed",
            );
        }
    }
    // What lies under the name of a file that comes back.
    let is_replaced = |file: &Kept| {
        let inode = |name: &str| input.storage.info(name).ok().map(|info| info.inode);
        let there = inode(&file.name).filter(|_| deed == Deed::Restore && !is_side(file));
        there.is_some() && (elsewhere.is_some() || there != inode(&file.path()))
    };
    let replaced = chosen.iter().filter(|file| is_replaced(file)).count() as u64;
    let mut aside = rewrite::Aside::beside(&input, REPLACED);
    if change.apply && !chosen.is_empty() {
        input
            .storage
            .check_writable()
            .context("nothing was changed")?;
        match deed {
            Deed::Retry => retry(&change.directory, &input, &chosen, output)?,
            Deed::Restore | Deed::Purge => {
                // Nobody may use the directory until this is done.
                let _lock = if is_store {
                    Some(lock(&input)?)
                } else {
                    if deed == Deed::Restore {
                        rewrite::refuse_open(&input, change.node_is_stopped)?;
                    }
                    None
                };
                let mut deal = |file: &Kept| {
                    if deed == Deed::Purge {
                        return Ok(input.storage.unlink(&file.path())?);
                    }
                    if is_replaced(file) {
                        aside.keep(&rewrite::with_side(&input, &file.name))?;
                    }
                    match &elsewhere {
                        Some(there) => copy_back(&input, there, file),
                        None => restore(&input, file),
                    }
                };
                // Those beside hint files come last, and after the others are durable.
                let parts = chosen.chunk_by(|file, next| is_side(file) == is_side(next));
                let dealt = parts.into_iter().try_for_each(|part| {
                    part.iter().try_for_each(&mut deal)?;
                    if deed == Deed::Restore {
                        input.storage.sync_directory("")?;
                    }
                    Ok::<_, anyhow::Error>(())
                });
                // What was done is durable, whatever came then.
                match elsewhere {
                    Some(_) => input.storage.sync_directory("")?,
                    None => sync(&input, &chosen)?,
                }
                dealt.with_context(|| match aside.kept() {
                    Some(kept) => format!(
                        "not all was done; what was replaced is in {}",
                        kept.display()
                    ),
                    None => "not all was done".to_owned(),
                })?;
                output.did(match aside.kept() {
                    Some(kept) => format!(
                        "{} {}, and what was there is in {}",
                        count(chosen.len() as u64, "file"),
                        deed.done(),
                        kept.display()
                    ),
                    None => format!("{} {}", count(chosen.len() as u64, "file"), deed.done()),
                });
            }
        }
    }
    list(&chosen, Some((deed.word(), change.apply)), output)?;
    output.sum("applied", change.apply);
    if chosen.is_empty() {
        return output.text("nothing is set aside for that");
    }
    let files = count(chosen.len() as u64, "file");
    let others = count(replaced, "other file");
    let replaced = match aside.kept() {
        Some(kept) => {
            output.sum("aside", kept.display().to_string());
            format!(" in place of {others}, set aside in {}", kept.display())
        }
        None if replaced > 0 => format!(" in place of {others}, set aside in turn"),
        None => String::new(),
    };
    if change.apply {
        return output.text(&format!("{files} {}{replaced}", deed.done()));
    }
    output.problem();
    output.text(&format!(
        "{files} would be {}{replaced}; nothing was changed: add --apply",
        deed.done()
    ))?;
    next_apply(output)
}

/// The beginning of the name of a folder with what `restore` found in the place of what it put back.
const REPLACED: &str = "hintctl-aside-replaced-";

/// Whether it is a checksum, which lies beside a hint file.
fn is_side(file: &Kept) -> bool {
    file.name.ends_with(".crc32")
}

fn lock(input: &Input) -> anyhow::Result<Lock> {
    let own = format!("hintctl, pid {}", std::process::id());
    let lock = input.storage.lock(file_name::LOCK, &own);
    lock.map_err(|error| match error {
        LockError::Held { owner } => {
            let text = format!("{owner} has the store open: stop it first");
            let exit = Exit::Locked;
            Coded { exit, text }.into()
        }
        LockError::Storage(error) => error.into(),
    })
}

fn retry(
    directory: &Path,
    input: &Input,
    chosen: &[Kept],
    output: &mut Output,
) -> anyhow::Result<()> {
    input.refuse_lost_journal()?;
    let store = HintStore::open(convert::importing(directory))?;
    let (mut hints, mut left) = (0, 0);
    for file in chosen {
        let path = input.storage.path(&file.path());
        let imported = convert::import(&Input::open(&path)?, &store, output)?;
        hints += imported.hints;
        // They are durable in the store by now. A crash here has them delivered twice, under one key.
        if imported.is_whole {
            input.storage.unlink(&file.path())?;
        } else {
            left += 1;
            output.remark(&format!(
                "{} is damaged: what is intact in it was appended, and it stays; purge removes it",
                file.path()
            ));
        }
    }
    store.close()?;
    sync(input, chosen)?;
    output.did(format!("{} are in the store again", count(hints, "hint")));
    output.sum("hints", hints);
    output.sum("files_left", left);
    Ok(())
}

/// Of a name that was set aside twice nobody can say which is meant.
fn refuse_twice(chosen: &[Kept]) -> anyhow::Result<()> {
    let mut seen = BTreeMap::new();
    for file in chosen {
        if let Some(folder) = seen.insert(&file.name, &file.folder) {
            return Err(usage(format!(
                "{} was set aside in {folder} and in {}: the first is the file as it was, add --folder",
                file.name, file.folder
            )));
        }
    }
    Ok(())
}

/// Puts a file of Cassandra's back, in the place of what was written since.
fn restore(input: &Input, file: &Kept) -> anyhow::Result<()> {
    let path = file.path();
    unlink_side(input, file)?;
    input.storage.rename(&path, &file.name, Existing::Replace)?;
    // Where a crash left two names of one file, renaming one to the other does nothing.
    if input.storage.info(&path).is_ok() {
        input.storage.unlink(&path)?;
    }
    Ok(())
}

/// Puts a copy of a file back that is kept in another place.
fn copy_back(input: &Input, there: &Input, file: &Kept) -> anyhow::Result<()> {
    let unfinished = format!("{}.tmp", file.name);
    let _guard = Guard::remove(input.storage.path(&unfinished));
    unless_stopped(|| rewrite::copy(&there.storage, &file.name, &input.storage, &unfinished))?;
    unlink_side(input, file)?;
    Ok(input
        .storage
        .rename(&unfinished, &file.name, Existing::Replace)?)
}

/// Removes the checksum of what was written since. The file as it was may have had none; its own comes behind it.
fn unlink_side(input: &Input, file: &Kept) -> anyhow::Result<()> {
    if let Some(side) = side_file(&file.name)
        && input.storage.info(&side).is_ok()
    {
        input.storage.unlink(&side)?;
        input.storage.sync_directory("")?;
    }
    Ok(())
}

/// Makes what was done durable. A folder of ours goes with its last file.
fn sync(input: &Input, chosen: &[Kept]) -> anyhow::Result<()> {
    let folders: BTreeSet<&str> = chosen.iter().map(|file| file.folder.as_str()).collect();
    for folder in folders {
        let path = input.storage.path(folder);
        if folder.starts_with(BESIDE) && fs::remove_dir(&path).is_ok() {
            continue;
        }
        input.storage.sync_directory(folder)?;
    }
    input.storage.sync_directory("")?;
    Ok(())
}
