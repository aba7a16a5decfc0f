//! `ls`: which files there are, whose, in what state, how much and how old.

use std::collections::BTreeMap;

use hintstore::Storage as _;
use serde_json::{Value, json};

use super::verify::{Walked, tell};
use crate::{
    args::Paths,
    input::{
        CassandraFile, FileKind, Finding, Flow, Found, HintView, Input, NativeFile, SideFile,
        Visitor, each,
    },
    output::{Output, bytes, count, time},
    progress::Bar,
};

/// One file, as it is listed.
#[derive(Debug, Default)]
struct Row {
    target: String,
    state: String,
    hints: Option<u64>,
    oldest_ms: Option<i64>,
    newest_ms: Option<i64>,
    last_expiry_ms: Option<i64>,
    remark: String,
    bad: Vec<Finding>,
}

#[derive(Default)]
struct Totals {
    files: u64,
    hints: u64,
    bytes: u64,
    allocated: u64,
    foreign: u64,
    aside: u64,
    aside_bytes: u64,
}

/// What lies there for one target.
#[derive(Debug, Default)]
struct Backlog {
    files: u64,
    hints: u64,
    bytes: u64,
    oldest_ms: Option<i64>,
    newest_ms: Option<i64>,
    last_expiry_ms: Option<i64>,
}

pub(crate) fn run(paths: &Paths, output: &mut Output) -> anyhow::Result<()> {
    let mut totals = Totals::default();
    each(&paths.paths, output, |input, output| {
        let bar = output.bar(input.hint_bytes());
        let mut rows = Vec::new();
        let mut backlogs: BTreeMap<String, Backlog> = BTreeMap::new();
        for file in &input.files {
            if matches!(file.what, FileKind::SideFile | FileKind::Control) {
                continue;
            }
            let mut row = Row::default();
            let looked = look(input, file, &bar, &mut row);
            bar.pass(file);
            match tell(looked, &file.name, output)? {
                // It went between the listing and the look: retired, or delivered.
                None => continue,
                Some(Walked::InPart) => "unreadable".clone_into(&mut row.state),
                Some(Walked::Whole) => {}
            }
            for bad in &row.bad {
                output.found_bad(bad);
            }
            totals.add(file, &row);
            if !row.target.is_empty() {
                let backlog = backlogs.entry(row.target.clone()).or_default();
                backlog.add(file, &row);
            }
            output.line("file", row.json(file))?;
            rows.push(row.cells(file));
        }
        bar.finish();
        let head = [
            "FILE", "FORMAT", "STATE", "HINTS", "SIZE", "OLDEST", "NEWEST", "REMARK",
        ];
        output.table(&head, rows)?;
        totals.aside += input.aside.len() as u64;
        totals.aside_bytes += bytes_of(&input.aside);
        tell_aside(input, output)?;
        targets(input, backlogs, output)
    })?;
    let Totals {
        files,
        hints,
        bytes: size,
        allocated,
        foreign,
        aside,
        aside_bytes,
    } = totals;
    output.text(&format!(
        "{}, {}, {}",
        count(files, "file"),
        count(hints, "hint"),
        bytes(size)
    ))?;
    output.sum("files", files);
    output.sum("hints", hints);
    output.sum("bytes", size);
    output.sum("allocated_bytes", allocated);
    output.sum("foreign", foreign);
    output.sum("aside_files", aside);
    output.sum("aside_bytes", aside_bytes);
    Ok(())
}

/// What lies there for each target, and how far it has come, by the journal of a native store.
fn targets(
    input: &Input,
    mut backlogs: BTreeMap<String, Backlog>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let journal = input.journal(output)?;
    if !journal.losses.is_empty() {
        let receipts = count(journal.losses.len() as u64, "loss receipt");
        let path = input.storage.path("");
        output.text(&format!(
            "{receipts}: what targets may lack; look with hintctl aside ls {}",
            path.display()
        ))?;
    }
    output.sum("losses", journal.losses.len());
    let mut rows = Vec::new();
    for view in &journal.targets {
        let ends: serde_json::Map<String, Value> = hintstore::End::ALL
            .iter()
            .map(|end| (end.word().to_owned(), json!(view.ends.get(*end))))
            .collect();
        let target = view.target.to_string();
        let mut fields = backlogs.remove(&target).unwrap_or_default().json(&target);
        if let Value::Object(fields) = &mut fields {
            fields.insert("up_to".to_owned(), json!(view.up_to.to_string()));
            fields.insert("holes".to_owned(), json!(view.holes.len()));
            fields.insert("ends".to_owned(), ends.into());
        }
        output.line("target", fields)?;
        rows.push(vec![
            target,
            view.up_to.to_string(),
            view.holes.len().to_string(),
            view.ends.get(hintstore::End::Delivered).to_string(),
            (view.ends.total() - view.ends.get(hintstore::End::Delivered)).to_string(),
        ]);
    }
    let mut sums = Vec::new();
    for (target, backlog) in &backlogs {
        output.line("target", backlog.json(target))?;
        sums.push(backlog.cells(target));
    }
    for (head, rows) in [(POSITIONS.as_slice(), rows), (&SUMS, sums)] {
        if !rows.is_empty() {
            output.text("")?;
            output.table(head, rows)?;
        }
    }
    Ok(())
}

const POSITIONS: [&str; 5] = [
    "TARGET",
    "ACKNOWLEDGED UP TO",
    "HOLES",
    "DELIVERED",
    "OTHER ENDS",
];
const SUMS: [&str; 6] = ["TARGET", "FILES", "HINTS", "SIZE", "OLDEST", "NEWEST"];

fn bytes_of(files: &[Found]) -> u64 {
    files.iter().map(|file| file.info.allocated).sum()
}

/// Says what a store has set aside, if anything.
pub(crate) fn tell_aside(input: &Input, output: &mut Output) -> anyhow::Result<()> {
    for file in &input.aside {
        let fields = json!({
            "file": file.name,
            "bytes": file.info.length,
            "allocated_bytes": file.info.allocated,
        });
        output.line("aside", fields)?;
    }
    if input.aside.is_empty() {
        return Ok(());
    }
    output.text(&format!(
        "{} of {} set aside: dead letters, or damaged; look with hintctl ls {}",
        count(input.aside.len() as u64, "file"),
        bytes(bytes_of(&input.aside)),
        input
            .storage
            .path(hintstore::raw::format::file_name::ASIDE)
            .display()
    ))
}

fn look(input: &Input, file: &Found, bar: &Bar, row: &mut Row) -> anyhow::Result<()> {
    match &file.what {
        FileKind::Native => native(input, file, row),
        FileKind::Cassandra => cassandra(input, file, bar, row),
        FileKind::Foreign(why) => {
            "foreign".clone_into(&mut row.state);
            row.remark.clone_from(why);
            Ok(())
        }
        FileKind::Misnamed | FileKind::Unfinished => {
            file.what.word().clone_into(&mut row.state);
            "not looked into".clone_into(&mut row.remark);
            Ok(())
        }
        FileKind::SideFile | FileKind::Control => Ok(()),
    }
}

fn native(input: &Input, found: &Found, row: &mut Row) -> anyhow::Result<()> {
    let file = NativeFile::open(&input.storage, &found.name)?;
    file.state().clone_into(&mut row.state);
    row.target = file
        .target()
        .map(|target| target.to_string())
        .unwrap_or_default();
    if let Some(bad) = file.refusal() {
        row.remark.clone_from(&bad.text);
        row.bad.push(bad);
    }
    if let Some(summary) = file.summary()? {
        row.hints = Some(summary.count);
        if summary.count > 0 {
            row.oldest_ms = Some(summary.hints_created.min.get());
            row.newest_ms = Some(summary.hints_created.max.get());
            row.last_expiry_ms = Some(summary.deadlines.max.get());
        }
    }
    Ok(())
}

fn cassandra(input: &Input, found: &Found, bar: &Bar, row: &mut Row) -> anyhow::Result<()> {
    let file = CassandraFile::open(&input.storage, &found.name)?;
    row.target = file
        .target()
        .map(|target| target.to_string())
        .unwrap_or_default();
    let mut counted = Counted { row, hints: 0 };
    let walked = file.walk(&mut bar.over(found, &mut counted));
    let Counted { row, hints } = counted;
    let refused = file.refusal();
    row.hints = refused.is_none().then_some(hints);
    row.state = match (&refused, file.side_file()) {
        (Some(bad), _) => bad.what.word(),
        (None, _) if row.bad.iter().any(|bad| !bad.harmless) => "damaged",
        (None, SideFile::Missing) => "open",
        (None, _) => "closed",
    }
    .to_owned();
    row.remark = row
        .bad
        .first()
        .map(|bad| bad.text.clone())
        .unwrap_or_default();
    walked.map(drop)
}

struct Counted<'a> {
    row: &'a mut Row,
    hints: u64,
}

/// Takes a value in, where there is one.
fn widen(place: &mut Option<i64>, value: Option<i64>, choose: fn(i64, i64) -> i64) {
    *place = match (*place, value) {
        (Some(known), Some(value)) => Some(choose(known, value)),
        (known, value) => known.or(value),
    };
}

impl Visitor for Counted<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        self.hints += 1;
        let (created, expiry) = (Some(hint.created_ms), Some(hint.expires_at_ms()));
        widen(&mut self.row.oldest_ms, created, i64::min);
        widen(&mut self.row.newest_ms, created, i64::max);
        widen(&mut self.row.last_expiry_ms, expiry, i64::max);
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        // The first says enough here.
        if self.row.bad.len() < 16 {
            self.row.bad.push(bad.clone());
        }
        Ok(())
    }
}

impl Totals {
    fn add(&mut self, file: &Found, row: &Row) {
        self.files += 1;
        self.hints += row.hints.unwrap_or(0);
        self.bytes += file.info.length;
        self.allocated += file.info.allocated;
        self.foreign += u64::from(matches!(file.what, FileKind::Foreign(_)));
    }
}

impl Backlog {
    fn add(&mut self, file: &Found, row: &Row) {
        self.files += 1;
        self.hints += row.hints.unwrap_or(0);
        self.bytes += file.info.length;
        widen(&mut self.oldest_ms, row.oldest_ms, i64::min);
        widen(&mut self.newest_ms, row.newest_ms, i64::max);
        widen(&mut self.last_expiry_ms, row.last_expiry_ms, i64::max);
    }

    fn json(&self, target: &str) -> Value {
        json!({
            "target": target,
            "files": self.files,
            "hints": self.hints,
            "bytes": self.bytes,
            "oldest_creation_time_ms": self.oldest_ms,
            "newest_creation_time_ms": self.newest_ms,
            "last_expires_at_ms": self.last_expiry_ms,
        })
    }

    fn cells(&self, target: &str) -> Vec<String> {
        let when = |millis: Option<i64>| millis.map(time).unwrap_or_default();
        vec![
            target.to_owned(),
            self.files.to_string(),
            self.hints.to_string(),
            bytes(self.bytes),
            when(self.oldest_ms),
            when(self.newest_ms),
        ]
    }
}

impl Row {
    fn json(&self, file: &Found) -> Value {
        json!({
            "file": file.name,
            "format": file.what.word(),
            "target": self.target,
            "state": self.state,
            "hints": self.hints,
            "bytes": file.info.length,
            "allocated_bytes": file.info.allocated,
            "oldest_creation_time_ms": self.oldest_ms,
            "newest_creation_time_ms": self.newest_ms,
            "last_expires_at_ms": self.last_expiry_ms,
            "remark": self.remark,
        })
    }

    fn cells(&self, file: &Found) -> Vec<String> {
        let when = |millis: Option<i64>| millis.map(time).unwrap_or_default();
        vec![
            file.name.clone(),
            file.what.word().to_owned(),
            self.state.clone(),
            self.hints
                .map(|hints| hints.to_string())
                .unwrap_or_default(),
            bytes(file.info.length),
            when(self.oldest_ms),
            when(self.newest_ms),
            self.remark.clone(),
        ]
    }
}
