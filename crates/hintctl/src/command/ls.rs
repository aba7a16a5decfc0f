//! `ls`: how much there is for which target, how old it is, and what has expired or soon will.

use std::collections::BTreeMap;

use hintstore::{
    Clock as _, Storage as _, SystemClock,
    inspect::{JournalView, TargetView},
};
use serde_json::{Value, json};

use super::{
    tally::{AGES, GROUP_COLUMNS, Groups, Tally},
    verify::{Walked, tell},
};
use crate::{
    args::{By, Ls, Sources},
    decode,
    filter::Filter,
    input::{
        FileKind, Finding, Flow, Found, HintView, Input, NativeFile, Pending, SideFile, Visitor,
        each, each_again, holder,
    },
    output::{Columns, Of, Output, age, bytes, count, quoted, time},
    progress::Bar,
};

/// One file, as it is listed.
#[derive(Debug, Default)]
struct Row {
    target: String,
    state: String,
    /// Of what was asked for and is still to be delivered; nothing where that is not known.
    tally: Option<Tally>,
    /// Hints that have ended and are still in the file.
    ended: u64,
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
    losses: u64,
}

/// What lies there for one target.
#[derive(Debug, Default)]
struct Backlog {
    state: &'static str,
    files: u64,
    bytes: u64,
    ended: u64,
    tally: Tally,
}

/// The columns of a target's line.
const COLUMNS: Columns = &[
    ("path", Of::Text),
    ("target", Of::Text),
    ("state", Of::Text),
    ("files", Of::Int),
    ("bytes", Of::Int),
    ("hints", Of::Int),
    ("ended_hints", Of::Int),
    ("payload_bytes", Of::Int),
    ("oldest_creation_time_ms", Of::Int),
    ("newest_creation_time_ms", Of::Int),
    ("first_expires_at_ms", Of::Int),
    ("last_expires_at_ms", Of::Int),
    ("expired_hints", Of::Int),
    ("expiring_hints", Of::Int),
];

/// What is listed.
struct Listing<'a> {
    filter: &'a Filter<'a>,
    now: i64,
    /// Each file on a line of its own.
    by_file: bool,
    totals: Totals,
}

pub(crate) fn run(args: &Ls, output: &mut Output) -> anyhow::Result<()> {
    let schema = decode::schema(args.which.schema.as_ref(), output)?;
    let filter = Filter::new(&args.which, schema.as_ref())?;
    args.follow.check(&args.sources, output.format())?;
    match args.by {
        By::Target | By::File if args.files || args.by == By::File => {
            output.rows("file", FILE_COLUMNS)?;
        }
        By::File | By::Target => output.rows("target", COLUMNS)?,
        By::Table | By::Hour => output.rows("group", GROUP_COLUMNS)?,
    }
    let mut is_again = false;
    loop {
        if args.follow.follow {
            output.clear()?;
        }
        if matches!(args.by, By::Table | By::Hour) {
            let now = args.as_of.now().get();
            let groups = Groups::new(args.by, schema.as_ref(), now);
            by(&args.sources, &filter, is_again, groups, output)?;
        } else {
            list(args, &filter, is_again, output)?;
        }
        if args.follow.follow {
            output.line("round", json!({ "at_ms": SystemClock.wall().get() }))?;
            output.flush()?;
        }
        if !args.follow.wait() {
            return Ok(());
        }
        is_again = true;
    }
}

fn list(args: &Ls, filter: &Filter<'_>, is_again: bool, output: &mut Output) -> anyhow::Result<()> {
    let mut listing = Listing {
        filter,
        now: args.as_of.now().get(),
        by_file: args.files || args.by == By::File,
        totals: Totals::default(),
    };
    let look = |input: &Input, output: &mut Output| listing.list(input, output);
    if is_again {
        each_again(&args.sources, filter, output, look)?;
    } else {
        each(&args.sources, filter, output, look)?;
    }
    filter.tell_unsure(output);
    let Totals {
        files,
        hints,
        bytes: size,
        allocated,
        foreign,
        aside,
        aside_bytes,
        losses,
    } = listing.totals;
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
    output.sum("losses", losses);
    Ok(())
}

/// Adds up the hints of some sources, whatever files they lie in.
pub(crate) fn by(
    sources: &Sources,
    filter: &Filter<'_>,
    is_again: bool,
    mut groups: Groups<'_>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut hints = 0;
    let look = |input: &Input, output: &mut Output| {
        input.tell_misnamed(output)?;
        let mut pending = Pending::of(input, output)?;
        let bar = output.bar(input.hint_bytes());
        for found in input.hints() {
            let mut adder = Adder {
                groups: &mut groups,
                pending: &mut pending,
                filter,
                file: &found.name,
                hints: 0,
                output,
            };
            let walked = bar.walk(input, found, &mut adder);
            hints += adder.hints;
            tell(walked, &found.name, output)?;
        }
        bar.finish();
        Ok(())
    };
    if is_again {
        each_again(sources, filter, output, look)?;
    } else {
        each(sources, filter, output, look)?;
    }
    filter.tell_unsure(output);
    for group in groups.json() {
        output.line("group", group)?;
    }
    let (head, rows) = groups.table_of();
    output.table(&head, rows)?;
    output.text(&count(hints, "hint"))?;
    output.sum("by", groups.by().word());
    output.sum("hints", hints);
    Ok(())
}

struct Adder<'a, 'g> {
    groups: &'a mut Groups<'g>,
    pending: &'a mut Pending,
    filter: &'a Filter<'a>,
    file: &'a str,
    hints: u64,
    output: &'a mut Output,
}

impl Visitor for Adder<'_, '_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if self.pending.has(hint) && self.filter.has(hint) {
            self.hints += 1;
            self.groups.add(self.file, hint);
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.output.bad(self.file, bad)
    }
}

impl Listing<'_> {
    fn list(&mut self, input: &Input, output: &mut Output) -> anyhow::Result<()> {
        let path = input.shown();
        let by_file = self.by_file || !input.is_directory;
        let bar = output.bar(input.hint_bytes());
        let journal = input.journal(output)?;
        let mut pending = Pending::new(if input.is_directory {
            journal.clone()
        } else {
            input.quiet_journal()
        });
        let mut rows = Vec::new();
        let mut backlogs: BTreeMap<String, Backlog> = BTreeMap::new();
        for file in &input.files {
            if matches!(file.what, FileKind::SideFile | FileKind::Control) {
                continue;
            }
            let mut row = Row::default();
            let looked = self.look(input, file, &mut pending, &bar, &mut row);
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
            self.totals.add(file, &row);
            if !row.target.is_empty() {
                let backlog = backlogs.entry(row.target.clone()).or_default();
                backlog.add(file, &row);
            }
            output.line("file", row.json(file))?;
            if by_file || row.target.is_empty() {
                rows.push(row.cells(file, self.now));
            }
        }
        bar.finish();
        let kind = match (input.is_store(), input.is_directory) {
            (true, _) => store(input, &path, output)?,
            (false, true) => String::new(),
            (false, false) => " (single file)".to_owned(),
        };
        if !rows.is_empty() || !backlogs.is_empty() || !journal.targets.is_empty() {
            output.heading(&format!("{path}{kind}"))?;
        }
        if !by_file {
            self.targets(&path, &backlogs, &journal, output)?;
        }
        let mut head = vec!["FILE", "STATE", "HINTS", "SIZE"];
        head.extend(AGES);
        head.push("REMARK");
        output.table(&head, rows)?;
        if by_file && (input.is_directory || !output.is_text()) {
            self.targets(&path, &backlogs, &journal, output)?;
        }
        self.totals.losses += journal.losses.len() as u64;
        fences(&path, &journal, output)?;
        let aside = tell_aside(input, output)?;
        self.totals.aside += aside.files;
        self.totals.aside_bytes += aside.bytes;
        if !journal.losses.is_empty() {
            let receipts = count(journal.losses.len() as u64, "loss receipt");
            output.text(&format!(
                "{receipts}: what targets may lack; look with hintctl aside ls {path}"
            ))?;
        }
        Ok(())
    }

    /// What lies there for each target, and how far it has come, by the journal of a native store.
    fn targets(
        &self,
        path: &str,
        backlogs: &BTreeMap<String, Backlog>,
        journal: &JournalView,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let mut head = vec!["TARGET", "STATE", "FILES", "HINTS", "SIZE"];
        head.extend(AGES);
        head.push("DELIVERED");
        let mut rows = Vec::new();
        let none = Backlog::default();
        let views = journal.targets.iter();
        let mut targets: BTreeMap<String, Option<&TargetView>> = views
            .map(|view| (view.target.to_string(), Some(view)))
            .collect();
        for target in backlogs.keys() {
            targets.entry(target.clone()).or_default();
        }
        for (target, view) in targets {
            let backlog = backlogs.get(&target).unwrap_or(&none);
            // Where all of a target's hints have ended a line says so, unless something else was asked for.
            if backlog.files == 0 && self.filter.is_narrow() {
                continue;
            }
            let mut fields = backlog.json(path, &target);
            let mut delivered = String::new();
            if let (Some(view), Value::Object(fields)) = (view, &mut fields) {
                let ends: serde_json::Map<String, Value> = hintstore::End::ALL
                    .iter()
                    .map(|end| (end.word().to_owned(), json!(view.ends.get(*end))))
                    .collect();
                fields.insert("up_to".to_owned(), json!(view.up_to.to_string()));
                fields.insert("holes".to_owned(), json!(view.holes.len()));
                fields.insert("ends".to_owned(), ends.into());
                delivered = view.ends.get(hintstore::End::Delivered).to_string();
            }
            output.line("target", fields)?;
            let mut row = vec![
                target,
                backlog.state.to_owned(),
                backlog.files.to_string(),
                backlog.tally.hints.to_string(),
                bytes(backlog.bytes),
            ];
            row.extend(backlog.tally.ages(self.now));
            row.push(delivered);
            rows.push(row);
        }
        output.table(&head, rows)
    }

    fn look(
        &self,
        input: &Input,
        file: &Found,
        pending: &mut Pending,
        bar: &Bar,
        row: &mut Row,
    ) -> anyhow::Result<()> {
        match &file.what {
            FileKind::Native => self.native(input, file, pending, bar, row),
            FileKind::Cassandra => self.cassandra(input, file, bar, row),
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
            FileKind::SideFile | FileKind::Control | FileKind::Listing => Ok(()),
        }
    }

    fn native(
        &self,
        input: &Input,
        found: &Found,
        pending: &mut Pending,
        bar: &Bar,
        row: &mut Row,
    ) -> anyhow::Result<()> {
        let file = NativeFile::open(&input.storage, &found.name)?;
        file.state().clone_into(&mut row.state);
        let target = file.target();
        row.target = target.map(|target| target.to_string()).unwrap_or_default();
        if let Some(bad) = file.refusal() {
            row.remark.clone_from(&bad.text);
            row.bad.push(bad);
        }
        let Some(summary) = file.summary()? else {
            return Ok(());
        };
        // Its footer says enough where nothing of it has ended, and all of it expires alike.
        let known = Tally::of_summary(&summary, self.now)
            .filter(|_| !self.filter.is_by_hint())
            .filter(|_| pending.has_all_of(&summary));
        if let Some(tally) = known {
            row.tally = Some(tally);
            return Ok(());
        }
        let mut counted = Counted::new(self, Some(pending), row);
        let walked = file.walk(&mut bar.over(found, &mut counted));
        row.tally = Some(counted.tally);
        // What is damaged is for `verify`, which reads all of each file.
        row.bad
            .retain(|bad| bad.what == crate::input::What::Version || !bad.harmless);
        walked
    }

    fn cassandra(
        &self,
        input: &Input,
        found: &Found,
        bar: &Bar,
        row: &mut Row,
    ) -> anyhow::Result<()> {
        let file = input.cassandra(found)?;
        let target = file.target();
        row.target = target.map(|target| target.to_string()).unwrap_or_default();
        let mut counted = Counted::new(self, None, row);
        let walked = file.walk(&mut bar.over(found, &mut counted));
        let tally = counted.tally;
        let refused = file.refusal();
        row.tally = refused.is_none().then_some(tally);
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
}

/// That it is a native store, and who has it open for how long.
fn store(input: &Input, path: &str, output: &mut Output) -> anyhow::Result<String> {
    let Some(holder) = holder(&input.storage) else {
        return Ok(" (native store)".to_owned());
    };
    let (owner, since) = (&holder.owner, holder.since.get());
    output.line(
        "store",
        json!({ "path": path, "open_by": owner, "open_since_ms": since }),
    )?;
    let opened = age(since, SystemClock.wall().get());
    Ok(format!(" (native store, opened {opened} by {owner})"))
}

/// What is neither taken nor delivered any more, by the journal.
fn fences(path: &str, journal: &JournalView, output: &mut Output) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for (namespace, before) in &journal.fences {
        let namespace = namespace.to_string();
        let fields = json!({ "path": path, "namespace": namespace, "before_ms": before.get() });
        output.line("fence", fields)?;
        rows.push(vec![namespace, time(before.get())]);
    }
    output.table(&["FENCED", "WHAT WAS CREATED BEFORE"], rows)
}

fn bytes_of(files: &[Found]) -> u64 {
    files.iter().map(|file| file.info.allocated).sum()
}

/// What is set aside.
pub(crate) struct Aside {
    pub(crate) files: u64,
    bytes: u64,
}

/// Says what is set aside, if anything.
pub(crate) fn tell_aside(input: &Input, output: &mut Output) -> anyhow::Result<Aside> {
    let all = input.aside()?;
    for file in &all {
        let fields = json!({
            "file": file.name,
            "bytes": file.info.length,
            "allocated_bytes": file.info.allocated,
        });
        output.line("aside", fields)?;
    }
    let aside = Aside {
        files: all.len() as u64,
        bytes: bytes_of(&all),
    };
    if all.is_empty() {
        return Ok(aside);
    }
    let what = if input.is_store() {
        "dead letters, or damaged"
    } else {
        "what --apply took away"
    };
    output.text(&format!(
        "{} of {} set aside: {what}; look with hintctl aside ls {}",
        count(aside.files, "file"),
        bytes(aside.bytes),
        quoted(&input.storage.path(""))
    ))?;
    Ok(aside)
}

struct Counted<'a> {
    filter: &'a Filter<'a>,
    now: i64,
    /// Of a native store.
    pending: Option<&'a mut Pending>,
    row: &'a mut Row,
    tally: Tally,
}

impl<'a> Counted<'a> {
    fn new(listing: &'a Listing<'_>, pending: Option<&'a mut Pending>, row: &'a mut Row) -> Self {
        Self {
            filter: listing.filter,
            now: listing.now,
            pending,
            row,
            tally: Tally::default(),
        }
    }
}

impl Visitor for Counted<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if let Some(pending) = &mut self.pending
            && !pending.has(hint)
        {
            self.row.ended += 1;
        } else if self.filter.has(hint) {
            self.tally.add(hint, 1, self.now);
        }
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
        self.hints += row.tally.as_ref().map_or(0, |tally| tally.hints);
        self.bytes += file.info.length;
        self.allocated += file.info.allocated;
        self.foreign += u64::from(matches!(file.what, FileKind::Foreign(_)));
    }
}

/// What one of a target's files is says what the target's are, the worst first.
const STATES: [&str; 12] = [
    "unreadable",
    "damaged",
    "descriptor",
    "compressor",
    "encrypted",
    "version",
    "newer",
    "older",
    "empty",
    "open",
    "sealed",
    "closed",
];

impl Backlog {
    fn add(&mut self, file: &Found, row: &Row) {
        self.files += 1;
        self.bytes += file.info.length;
        self.ended += row.ended;
        if let Some(tally) = &row.tally {
            self.tally.append(tally);
        }
        let mut states = STATES.into_iter();
        let worst = states.find(|state| *state == self.state || *state == row.state);
        self.state = worst.unwrap_or(self.state);
    }

    fn json(&self, path: &str, target: &str) -> Value {
        self.tally.json(json!({
            "path": path,
            "target": target,
            "state": self.state,
            "files": self.files,
            "bytes": self.bytes,
            "ended_hints": self.ended,
        }))
    }
}

/// The columns of a file's line.
const FILE_COLUMNS: Columns = &[
    ("file", Of::Text),
    ("format", Of::Text),
    ("target", Of::Text),
    ("state", Of::Text),
    ("bytes", Of::Int),
    ("allocated_bytes", Of::Int),
    ("hints", Of::Int),
    ("ended_hints", Of::Int),
    ("payload_bytes", Of::Int),
    ("oldest_creation_time_ms", Of::Int),
    ("newest_creation_time_ms", Of::Int),
    ("first_expires_at_ms", Of::Int),
    ("last_expires_at_ms", Of::Int),
    ("expired_hints", Of::Int),
    ("expiring_hints", Of::Int),
    ("remark", Of::Text),
];

impl Row {
    fn json(&self, file: &Found) -> Value {
        let fields = json!({
            "file": file.name,
            "format": file.what.word(),
            "target": self.target,
            "state": self.state,
            "hints": Value::Null,
            "bytes": file.info.length,
            "allocated_bytes": file.info.allocated,
            "ended_hints": self.ended,
            "remark": self.remark,
        });
        match &self.tally {
            Some(tally) => tally.json(fields),
            None => fields,
        }
    }

    fn cells(&self, file: &Found, now: i64) -> Vec<String> {
        let tally = self.tally.as_ref();
        let mut cells = vec![
            file.name.clone(),
            self.state.clone(),
            tally.map(|of| of.hints.to_string()).unwrap_or_default(),
            bytes(file.info.length),
        ];
        cells.extend(tally.map(|of| of.ages(now)).unwrap_or_default());
        cells.push(self.remark.clone());
        cells
    }
}
