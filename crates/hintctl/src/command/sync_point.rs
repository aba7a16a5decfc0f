//! `sync-point`: a token for all hints that a store has, and whether they were delivered. Reads files only.

use std::{collections::BTreeMap, path::Path, time::Duration};

use hintstore::raw::format::{descriptor::Kind, file_name};
use hintstore::{
    Clock as _, Namespace, Sequence, Storage as _, StoreId, SyncPoint, SyncState, SystemClock,
    TargetId,
    inspect::{JournalView, read_journal},
};
use serde_json::json;

use crate::{
    args::SyncPointCommand,
    exit::{Coded, Exit, usage},
    input::{FileKind, Input, NativeFile},
    output::{Output, count, quoted},
};

/// The journal is read this often.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn run(command: &SyncPointCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        SyncPointCommand::Create {
            directory,
            target,
            namespace,
        } => create(directory, target, namespace, output),
        SyncPointCommand::Wait {
            directory,
            token,
            within,
        } => wait(directory, token, *within, output),
    }
}

/// The store, and what it says of itself.
fn open(directory: &Path, output: &mut Output) -> anyhow::Result<(Input, StoreId)> {
    let input = Input::open(directory)?;
    input.refuse_unfinished()?;
    input.refuse_other_version(output)?;
    let own = input.store_file()?.and_then(Result::ok);
    let own = own.filter(|_| input.is_store());
    let Some(own) = own else {
        return Err(usage(format!(
            "{} is no native store: name the directory of one",
            directory.display()
        )));
    };
    Ok((input, own.store))
}

/// What files and journal hold of each target: its journal, and the first and the last sequences of files, or
/// the last that a hint of some namespaces may have.
struct Held {
    journal: JournalView,
    files: BTreeMap<TargetId, Vec<(Sequence, Sequence)>>,
}

/// Looks at a store that may be at work: compaction replaces files, and delivery removes them. The journal is
/// read first, so that what it has retired is in files that the listing shows; where a file went in between,
/// all is looked at again.
fn held(directory: &Path, namespaces: &[Namespace]) -> anyhow::Result<Held> {
    loop {
        let storage = hintstore::OsStorage::new(directory);
        let journal = read_journal(&storage)?;
        if let Some(why) = &journal.unreadable {
            return Err(unknown(directory, file_name::JOURNAL, why));
        }
        let input = Input::open(directory)?;
        let mut files: BTreeMap<TargetId, Vec<_>> = BTreeMap::new();
        let mut is_whole = true;
        for file in input.hints().filter(|file| file.what == FileKind::Native) {
            let looked = NativeFile::open(&input.storage, &file.name)
                .and_then(|file| Ok((file.summary()?, file.footer()?, unread(&file)?)));
            let (summary, footer) = match looked {
                Ok((.., Some(why))) => return Err(unknown(directory, &file.name, &why)),
                Ok((summary, footer, None)) => (summary, footer),
                Err(_) if input.storage.info(&file.name).is_err() => {
                    is_whole = false;
                    break;
                }
                Err(error) => return Err(error),
            };
            let summary = summary.filter(|of| of.kind == Kind::Hints && of.count > 0);
            let Some(summary) = summary.filter(|of| !journal.retired.contains(&of.segment)) else {
                continue;
            };
            let last = match footer.filter(|_| !namespaces.is_empty()) {
                Some(footer) => footer.last_of(namespaces),
                None => Some(summary.last),
            };
            let Some(last) = last else { continue };
            let range = (summary.first, last);
            files.entry(summary.target).or_default().push(range);
        }
        if is_whole {
            return Ok(Held { journal, files });
        }
    }
}

/// Bytes that are read at once of a file that has no descriptor.
const PIECE: usize = 64 << 10;

/// Why it is not known what is in a file, if it is not. A file that was just made has nothing in it.
fn unread(file: &NativeFile) -> anyhow::Result<Option<String>> {
    let Some(refusal) = file.refusal().filter(|_| file.target().is_none()) else {
        return Ok(None);
    };
    let length = file.inspected.info.length;
    for at in (0..length).step_by(PIECE) {
        if file.bytes(at, PIECE)?.iter().any(|byte| *byte != 0) {
            return Ok(Some(refusal.text));
        }
    }
    Ok(None)
}

/// Nothing is said of what waits where a part of the store cannot be read.
fn unknown(directory: &Path, name: &str, why: &str) -> anyhow::Error {
    let path = quoted(directory);
    let text = format!("{name}: {why}: what waits is not known; next: hintctl verify {path}");
    let exit = Exit::Problems;
    Coded { exit, text }.into()
}

fn create(
    directory: &Path,
    only: &[TargetId],
    namespaces: &[Namespace],
    output: &mut Output,
) -> anyhow::Result<()> {
    let (_, store) = open(directory, output)?;
    let Held { journal, files } = held(directory, namespaces)?;
    let known = journal.targets.iter().map(|view| view.target);
    let mut targets: Vec<TargetId> = known.chain(files.keys().copied()).collect();
    targets.sort_unstable();
    targets.dedup();
    targets.retain(|target| only.is_empty() || only.contains(target));
    targets.retain(|target| namespaces.is_empty() || files.contains_key(target));
    let number = targets.len();
    let positions = targets.into_iter().map(|target| {
        let view = journal.target(target);
        let stored = files.get(&target).into_iter().flatten();
        let last = stored.map(|(_, last)| *last).max().unwrap_or_default();
        let up_to = match view.filter(|_| namespaces.is_empty()) {
            Some(view) => view.up_to.max(last),
            None => last,
        };
        (
            target,
            up_to,
            view.map(|view| view.ends).unwrap_or_default(),
        )
    });
    let token = SyncPoint::of_positions(store, positions).to_string();
    output.line("sync_point", json!({ "token": token, "targets": number }))?;
    output.sum("targets", number);
    output.remark(&format!(
        "a token for {}; hints that a running node has in memory are not among them",
        count(number as u64, "target")
    ));
    output.text(&token)
}

fn wait(
    directory: &Path,
    token: &SyncPoint,
    within: Duration,
    output: &mut Output,
) -> anyhow::Result<()> {
    let (_, store) = open(directory, output)?;
    if token.store() != store {
        return Err(usage(format!(
            "the token is of store {}, and {} is {store}",
            token.store(),
            directory.display()
        )));
    }
    let begun = SystemClock.boot();
    let state = loop {
        let state = state(directory, token)?;
        let left = within.saturating_sub(SystemClock.boot().since(begun));
        if state.is_over() || left.is_zero() {
            break state;
        }
        std::thread::park_timeout(LOOK.min(left));
    };
    let (word, targets, lost) = match &state {
        SyncState::Reached => ("reached", [].as_slice(), 0),
        SyncState::ReachedWithLoss {
            lost_at_most,
            targets,
        } => ("reached_with_loss", targets.as_slice(), *lost_at_most),
        SyncState::InProgress { targets } => ("in_progress", targets.as_slice(), 0),
        _ => ("unknown", [].as_slice(), 0),
    };
    let names: Vec<String> = targets.iter().map(TargetId::to_string).collect();
    output.line(
        "sync_point",
        json!({ "state": word, "targets": names, "lost_at_most": lost }),
    )?;
    output.sum("state", word);
    output.sum("lost_at_most", lost);
    if word == "reached" {
        return output.text("reached: none of it waits, and none was lost");
    }
    output.problem();
    let names = names.join(", ");
    match state {
        SyncState::ReachedWithLoss { .. } => output.text(&format!(
            "reached, and at most {} ended undelivered: repair {names} in full",
            count(lost, "hint")
        )),
        _ => output.text(&format!("not reached: hints for {names} wait for delivery")),
    }
}

/// How far it has come by the last checkpoints.
fn state(directory: &Path, token: &SyncPoint) -> anyhow::Result<SyncState> {
    let Held { journal, files } = held(directory, &[])?;
    Ok(token.judge(|target, up_to| {
        let stored = files.get(&target).map(Vec::as_slice).unwrap_or_default();
        let Some(view) = journal.target(target) else {
            let is_pending = stored.iter().any(|(first, _)| *first <= up_to);
            return (hintstore::Ends::default(), is_pending);
        };
        let hole =
            |holes: &[hintstore::inspect::Range]| holes.iter().any(|hole| hole.first <= up_to);
        let behind = |(first, last): &(Sequence, Sequence)| *last > view.up_to && *first <= up_to;
        let deferred = view.deferred.iter().any(|deferred| {
            deferred.pending > 0 && (hole(&deferred.holes) || deferred.up_to < up_to)
        });
        let is_stored = up_to > view.up_to && stored.iter().any(behind);
        (view.ends, is_stored || hole(&view.holes) || deferred)
    }))
}
