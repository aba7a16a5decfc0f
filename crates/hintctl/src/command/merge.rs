//! Compaction of a directory of Cassandra's: neighbouring files of one node become one, without what is dead.
//!
//! A group is written under temporary names, the files as they were are set aside, the new one takes the place
//! of the first, then the others go. A crash leaves each file as it was, or the new one with some that are in
//! it as well: Cassandra delivers these hints twice, and none is lost.

use std::cmp::Reverse;

use anyhow::Context as _;
use hintstore::raw::format::expiry::is_dead;
use hintstore::{Clock as _, Storage as _, SystemClock, TargetId, UnixMillis};
use hintstore_cassandra::Codec;
use serde_json::json;

use super::{
    convert::FILE_MAX,
    rewrite::{Aside, Counter, Fate, Reached, explain, refuse_open, remove, replace},
    verify::{Walked, tell},
};
use crate::{
    args::Compact,
    input::{CassandraFile, FileKind, Found, HintView, Input, What},
    interrupt::Guard,
    output::{Output, bytes, count, next_apply, quoted},
};

/// What files of one group have in common.
type Key = (TargetId, i32, Option<Codec>);

/// Files that become one.
struct Group<'a> {
    key: Key,
    files: Vec<&'a Found>,
    bytes: u64,
    dead: u64,
    alive: u64,
    done: bool,
}

pub(super) fn run(args: &Compact, input: &Input, output: &mut Output) -> anyhow::Result<()> {
    let now = SystemClock.wall();
    let mut fate = |hint: &HintView<'_>| {
        if is_dead(UnixMillis::new(hint.expires_at_ms()), now) {
            Fate::Go
        } else {
            Fate::Stay
        }
    };
    let change = &args.change;
    if change.apply {
        input
            .storage
            .check_writable()
            .context("nothing was changed")?;
        refuse_open(input, change.node_is_stopped)?;
    }
    let mut groups = look(args, input, &mut fate, output)?;
    // What goes as a whole needs no space and makes some; then the largest gain.
    groups.sort_by_key(|group| {
        (
            group.alive > 0,
            Reverse(group.dead),
            Reverse(group.files.len()),
        )
    });
    let mut aside = Aside::new(input, change)?;
    let mut failure = None;
    if change.apply {
        let path = input.storage.path("");
        let _guard = Guard::say(format!("{}: {}", path.display(), aside.if_stopped()));
        for group in &mut groups {
            let error;
            (group.done, error) = compact(input, group, &mut aside, &mut fate).parts();
            if let Some(error) = error {
                let name = group.files.first().map(|first| first.name.as_str());
                failure = Some(explain(error, name.unwrap_or_default(), &aside));
                break;
            }
        }
    }
    print(&groups, change.apply, output)?;
    if let Some(kept) = aside.kept() {
        output.sum("aside", kept.display().to_string());
        output.remark(&format!(
            "the files as they were are in {}: their space comes free when that is removed \
             (hintctl aside purge)",
            kept.display()
        ));
    }
    failure.map_or(Ok(()), Err)
}

/// The groups of a directory that are worth it: more than one file, or one with something dead in it.
fn look<'a>(
    args: &Compact,
    input: &'a Input,
    fate: &mut dyn FnMut(&HintView<'_>) -> Fate,
    output: &mut Output,
) -> anyhow::Result<Vec<Group<'a>>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let bar = output.bar(input.hint_bytes());
    for found in input
        .files
        .iter()
        .filter(|file| file.what == FileKind::Cassandra)
    {
        let file = match CassandraFile::open(&input.storage, &found.name) {
            Ok(file) => file,
            Err(error) => {
                tell(Err(error), &found.name, output)?;
                continue;
            }
        };
        let plan = file
            .salvageable(None)
            .ok()
            .filter(|plan| plan.notes.is_empty());
        // Cassandra finds a file by its name, and opens the one that the header names: nothing is joined under
        // another name.
        let (_, base) = found.name.rsplit_once('/').unwrap_or(("", &found.name));
        let plan = plan.filter(|_| file.computed_name().as_deref() == Some(base));
        drop(file);
        let mut counter = Counter::new(&mut *fate);
        let walked = bar.walk(input, found, &mut counter);
        let (go, stay, bad) = (counter.go, counter.stay, counter.bad);
        let regions = counter.regions;
        let is_whole = tell(walked, &found.name, output)? == Some(Walked::Whole);
        for region in &regions {
            output.bad(&found.name, region)?;
        }
        // A file that a crashed node left has no checksum beside it, and is as good: no node has it open now.
        let Some(plan) = plan.filter(|_| is_whole && bad == 0) else {
            let path = input.storage.path(&found.name);
            let path = quoted(&path);
            let is_newer = regions.iter().any(|region| region.what == What::Version);
            let next = if regions.is_empty() || is_newer {
                format!("verify {path}")
            } else {
                format!("salvage {path} SAVED")
            };
            output.remark(&format!(
                "{} stays as it is; next: hintctl {next}",
                found.name
            ));
            continue;
        };
        if args.target.is_some_and(|only| only != plan.target) {
            continue;
        }
        let key = (plan.target, plan.version, plan.codec);
        let fits = |group: &&mut Group<'a>| {
            group.key == key && group.bytes + found.info.length <= FILE_MAX
        };
        match groups.last_mut().filter(fits) {
            Some(group) => {
                group.files.push(found);
                group.bytes += found.info.length;
                group.dead += go;
                group.alive += stay;
            }
            None => groups.push(Group {
                key,
                files: vec![found],
                bytes: found.info.length,
                dead: go,
                alive: stay,
                done: false,
            }),
        }
    }
    bar.finish();
    groups.retain(|group| group.files.len() > 1 || group.dead > 0);
    Ok(groups)
}

fn compact(
    input: &Input,
    group: &Group<'_>,
    aside: &mut Aside<'_>,
    fate: &mut dyn FnMut(&HintView<'_>) -> Fate,
) -> Reached {
    if group.alive > 0 {
        return replace(input, &group.files, aside, fate);
    }
    // Without a hint in it a file is none: Cassandra fails over some of those.
    for (number, found) in group.files.iter().enumerate() {
        match remove(input, found, aside) {
            Reached::Done => {}
            Reached::DoneBut(error) if number + 1 < group.files.len() => {
                return Reached::NotDone(error);
            }
            last => return last,
        }
    }
    Reached::Done
}

fn print(groups: &[Group<'_>], apply: bool, output: &mut Output) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let (mut files, mut dead) = (0, 0);
    for group in groups {
        let names: Vec<&str> = group.files.iter().map(|file| file.name.as_str()).collect();
        files += names.len();
        dead += group.dead;
        output.line(
            "compact",
            json!({
                "target": group.key.0.to_string(),
                "files": names,
                "reason": if group.dead > 0 { "dead" } else { "small" },
                "before_bytes": group.bytes,
                "expired": group.dead,
                "alive": group.alive,
                "applied": group.done,
            }),
        )?;
        let more = match names.len() {
            0 | 1 => String::new(),
            files => format!("and {} more", files - 1),
        };
        rows.push(vec![
            (*names.first().unwrap_or(&"")).to_owned(),
            more,
            bytes(group.bytes),
            group.dead.to_string(),
            group.alive.to_string(),
        ]);
    }
    output.table(&["FILE", "", "BEFORE", "DEAD", "ALIVE"], rows)?;
    output.sum("files", files);
    output.sum("expired", dead);
    output.sum("applied", apply);
    if groups.is_empty() {
        return output.text("nothing would come free");
    }
    let is_one = |group: &&Group<'_>| group.done || !apply;
    let done: Vec<_> = groups.iter().filter(is_one).collect();
    let files: u64 = done.iter().map(|group| group.files.len() as u64).sum();
    let (files, into) = (
        count(files, "file"),
        done.iter().filter(|of| of.alive > 0).count(),
    );
    let dead: u64 = done.iter().map(|group| group.dead).sum();
    if apply {
        return output.text(&format!(
            "{files} became {into}, without {dead} dead hints: {} of {} groups done",
            done.len(),
            groups.len()
        ));
    }
    output.problem();
    output.text(&format!(
        "{files} would become {into}, without {dead} dead hints; nothing was changed: stop the node and \
         add --apply"
    ))?;
    next_apply(output)
}
