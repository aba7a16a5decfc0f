//! Hints taken out of a directory of Cassandra's: what `truncate` and `expire` do there.
//!
//! Offline: a node that runs knows its files by heart. A file that loses all its hints is moved
//! aside; one that loses some is written anew, and takes the name of the old one in one step, when
//! that has a second name among what is set aside. A crash leaves one of the two under the name.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hintstore::{Clock as _, Storage as _, SystemClock};
use hintstore_cassandra::{FileWriter, encode_body, side_file};
use hintstore_storage::Existing;
use serde_json::json;

use super::{
    convert::{begin, publish},
    verify::{Walked, tell},
};
use crate::{
    exit::{Coded, Exit},
    input::{Bad, CassandraFile, Flow, Found, From, HintView, Input, Visitor, What},
    output::{Output, count},
};

/// Whether a hint is to go, stays, or is left alone although it was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Go,
    Stay,
    /// It also writes to other tables.
    Mixed,
}

/// Takes out hints, or says which: nothing is changed without `apply`.
pub(crate) fn run(
    input: &Input,
    apply: bool,
    fate: &mut dyn FnMut(&HintView<'_>) -> Fate,
    output: &mut Output,
) -> anyhow::Result<()> {
    if apply {
        refuse_open(input, output)?;
    }
    let aside = format!("hintctl-aside-{}", SystemClock.wall().get());
    let (mut gone, mut mixed, mut files) = (0, 0, 0);
    let mut rows = Vec::new();
    let mut failure = None;
    let bar = output.bar(input.hint_bytes());
    for found in input
        .files
        .iter()
        .filter(|file| file.what == What::Cassandra)
    {
        let mut counter = Counter::new(fate);
        let walked = input.walk(found, &mut counter);
        let (go, stay, of_mixed, bad) = (counter.go, counter.stay, counter.mixed, counter.bad);
        let regions = counter.regions;
        let walked = tell(walked, &found.name, output)?;
        bar.inc(found.info.length);
        for region in &regions {
            output.bad(&found.name, region)?;
        }
        if walked != Some(Walked::Whole) {
            // It went, or the disk gave only a part: what of the rest stays nobody knows.
            output.remark(&format!("{}: stays as it is", found.name));
            continue;
        }
        if go == 0 && of_mixed == 0 {
            continue;
        }
        gone += go;
        mixed += of_mixed;
        files += u64::from(go > 0);
        if apply && go > 0 {
            // A file without a hint in it is none: Cassandra fails over some of those.
            let done = if stay == 0 {
                set_aside(input, found, &aside)
            } else {
                replace(input, found, &aside, fate)
            };
            if let Err(error) = done {
                failure = Some(error.context(found.name.clone()));
                break;
            }
        }
        let left = if bad > 0 {
            "its intact hints"
        } else {
            "its hints"
        };
        let what = match (go, stay) {
            (0, _) => "stays as it is".to_owned(),
            (_, 0) => "goes as a whole".to_owned(),
            _ => format!("is written anew with {left} that stay"),
        };
        output.line(
            "discard",
            json!({
                "file": found.name,
                "hints": go,
                "kept": stay,
                "mixed": of_mixed,
                "bad": bad,
                "applied": apply,
            }),
        )?;
        rows.push(vec![
            found.name.clone(),
            go.to_string(),
            stay.to_string(),
            of_mixed.to_string(),
            what,
        ]);
    }
    bar.finish_and_clear();
    output.table(&["FILE", "HINTS", "KEPT", "MIXED, LEFT ALONE", ""], rows)?;
    output.sum("hints", gone);
    output.sum("mixed", mixed);
    output.sum("applied", apply);
    let hints = count(gone, "hint");
    if !apply {
        if gone > 0 {
            output.problem();
        }
        return output.text(&format!(
            "{hints} would be discarded; nothing was changed: stop the node and add --apply"
        ));
    }
    if files > 0 {
        output.sum("aside", aside.as_str());
    }
    if let Some(error) = failure {
        let kept = input.storage.path(&aside);
        return Err(error.context(format!(
            "not all was done: the files above were, and those as they were are in {}; do it again",
            kept.display()
        )));
    }
    if files > 0 {
        return output.text(&format!(
            "{hints} discarded; the files as they were are in {}",
            input.storage.path(&aside).display()
        ));
    }
    output.text(&format!("{hints} discarded"))
}

struct Counter<'a> {
    fate: &'a mut dyn FnMut(&HintView<'_>) -> Fate,
    go: u64,
    stay: u64,
    mixed: u64,
    bad: u64,
    /// What is damage, or why the file is not looked at.
    regions: Vec<Bad>,
}

/// No more damaged regions of one file are told.
const REGIONS_MAX: usize = 1000;

impl<'a> Counter<'a> {
    fn new(fate: &'a mut dyn FnMut(&HintView<'_>) -> Fate) -> Self {
        Self {
            fate,
            go: 0,
            stay: 0,
            mixed: 0,
            bad: 0,
            regions: Vec::new(),
        }
    }
}

impl Visitor for Counter<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        match (self.fate)(hint) {
            Fate::Go => self.go += 1,
            Fate::Stay => self.stay += 1,
            Fate::Mixed => {
                self.stay += 1;
                self.mixed += 1;
            }
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Bad) -> anyhow::Result<()> {
        // What cannot be read is not what was meant.
        if !bad.harmless && self.regions.len() < REGIONS_MAX {
            self.regions.push(bad.clone());
        }
        self.bad += u64::from(bad.bytes > 0 || !bad.harmless);
        Ok(())
    }
}

/// Gives a file, and the one beside it, second names among what is set aside.
fn keep(input: &Input, found: &Found, aside: &str) -> anyhow::Result<Vec<String>> {
    input.storage.make_directory(aside)?;
    let mut kept = Vec::new();
    for name in [Some(found.name.clone()), side_file(&found.name)]
        .into_iter()
        .flatten()
    {
        let (from, to) = (
            input.storage.path(&name),
            input.storage.path(&format!("{aside}/{name}")),
        );
        if !from.exists() {
            continue;
        }
        std::fs::hard_link(&from, &to)
            .or_else(|_no_links| std::fs::copy(&from, &to).map(drop))
            .with_context(|| format!("cannot keep {} as {}", from.display(), to.display()))?;
        kept.push(name);
    }
    input.storage.sync_directory(aside)?;
    Ok(kept)
}

fn set_aside(input: &Input, found: &Found, aside: &str) -> anyhow::Result<()> {
    for name in keep(input, found, aside)? {
        input.storage.unlink(&name)?;
    }
    Ok(input.storage.sync_directory("")?)
}

/// Writes a file anew with the hints that stay.
fn replace(
    input: &Input,
    found: &Found,
    aside: &str,
    fate: &mut dyn FnMut(&HintView<'_>) -> Fate,
) -> anyhow::Result<()> {
    let file = CassandraFile::open(&input.storage, &found.name)?;
    let Ok(plan) = file.salvageable(None) else {
        anyhow::bail!("{}: it cannot be written anew", found.name);
    };
    keep(input, found, aside)?;
    let writer = FileWriter::new(
        begin(&input.storage, &found.name)?,
        plan.version,
        plan.timestamp_ms,
        *plan.target.as_bytes(),
        plan.codec,
    )?;
    let mut keeper = Keeper { writer, fate };
    file.walk_as(&plan, &mut keeper)?;
    let writer = keeper.writer;
    publish(&input.storage, &found.name, writer, Existing::Replace)?;
    Ok(())
}

struct Keeper<'a, W: std::io::Write> {
    writer: FileWriter<W>,
    fate: &'a mut dyn FnMut(&HintView<'_>) -> Fate,
}

impl<W: std::io::Write> Visitor for Keeper<'_, W> {
    fn hint(&mut self, view: &HintView<'_>) -> anyhow::Result<Flow> {
        if let From::Cassandra { hint, .. } = &view.from
            && (self.fate)(view) != Fate::Go
        {
            let body = encode_body(hint.creation_time_ms, hint.gcgs_s, hint.mutation);
            self.writer.append(&body)?;
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, _: &Bad) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A node that has one of the files open is at work on them.
fn refuse_open(input: &Input, output: &Output) -> anyhow::Result<()> {
    let files: Vec<PathBuf> = input
        .hints()
        .filter_map(|file| std::fs::canonicalize(input.storage.path(&file.name)).ok())
        .collect();
    let own = std::process::id();
    let mut hidden = 0;
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let open = std::fs::read_dir(process.path().join("fd"));
        hidden += u32::from(open.is_err() && process.path().exists());
        let mut open = open
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|link| std::fs::read_link(link.path()).ok());
        if pid != own
            && let Some(path) = open.find(|path: &PathBuf| is_one_of(path, &files))
        {
            return Err(Coded {
                exit: Exit::Locked,
                text: format!(
                    "process {pid} has {} open: stop the node first",
                    path.display()
                ),
            }
            .into());
        }
    }
    if hidden > 0 {
        output.remark(&format!(
            "{hidden} processes of others may have the files open and could not be looked at"
        ));
    }
    Ok(())
}

fn is_one_of(path: &Path, files: &[PathBuf]) -> bool {
    files.iter().any(|file| file == path)
}
