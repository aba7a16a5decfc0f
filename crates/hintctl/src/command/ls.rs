//! `ls`: which files there are, whose, in what state, how much and how old.

use serde_json::{Value, json};

use crate::{
    args::Paths,
    input::{Bad, CassandraFile, Flow, Found, HintView, Input, NativeFile, Visitor, What},
    output::{Output, bytes, time},
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
}

#[derive(Default)]
struct Totals {
    files: u64,
    hints: u64,
    bytes: u64,
    allocated: u64,
    foreign: u64,
}

pub(crate) fn run(paths: &Paths, output: &mut Output) -> anyhow::Result<()> {
    let mut totals = Totals::default();
    for path in &paths.paths {
        let input = Input::open(path)?;
        let bar = output.bar(input.hint_bytes());
        let mut rows = Vec::new();
        for file in &input.files {
            if matches!(file.what, What::SideFile | What::Control) {
                continue;
            }
            match look(&input, file) {
                Ok(Some(row)) => {
                    totals.add(file, &row);
                    output.line("file", row.json(file))?;
                    rows.push(row.cells(file));
                }
                // It went between the listing and the look: retired, or delivered.
                Ok(None) => {}
                Err(error) => {
                    output.io_error();
                    output.remark(&format!("{}: {error:#}", file.name));
                }
            }
            bar.inc(file.info.length);
        }
        bar.finish_and_clear();
        let head = [
            "FILE", "FORMAT", "STATE", "HINTS", "SIZE", "OLDEST", "NEWEST", "REMARK",
        ];
        output.table(&head, rows)?;
        targets(&input, output)?;
    }
    let Totals {
        files,
        hints,
        bytes: size,
        allocated,
        foreign,
    } = totals;
    output.text(&format!("{files} files, {hints} hints, {}", bytes(size)))?;
    output.sum("files", files);
    output.sum("hints", hints);
    output.sum("bytes", size);
    output.sum("allocated_bytes", allocated);
    output.sum("foreign", foreign);
    Ok(())
}

/// How far each target of a native store has come, by its journal.
fn targets(input: &Input, output: &mut Output) -> anyhow::Result<()> {
    if !input.is_directory || !input.is_native() {
        return Ok(());
    }
    let journal = hintstore::inspect::read_journal(&*input.storage)?;
    let mut rows = Vec::new();
    for view in &journal.targets {
        let ends: serde_json::Map<String, Value> = hintstore::End::ALL
            .iter()
            .map(|end| (end.word().to_owned(), json!(view.ends.get(*end))))
            .collect();
        let fields = json!({
            "target": view.target.to_string(),
            "up_to": view.up_to.to_string(),
            "holes": view.holes.len(),
            "ends": ends,
        });
        output.line("target", fields)?;
        rows.push(vec![
            view.target.to_string(),
            view.up_to.to_string(),
            view.holes.len().to_string(),
            view.ends.get(hintstore::End::Delivered).to_string(),
            (view.ends.total() - view.ends.get(hintstore::End::Delivered)).to_string(),
        ]);
    }
    if !rows.is_empty() {
        output.text("")?;
    }
    output.table(
        &[
            "TARGET",
            "ACKNOWLEDGED UP TO",
            "HOLES",
            "DELIVERED",
            "OTHER ENDS",
        ],
        rows,
    )
}

fn look(input: &Input, file: &Found) -> anyhow::Result<Option<Row>> {
    let looked = match &file.what {
        What::Native => native(input, file),
        What::Cassandra => cassandra(input, file),
        other => Ok(foreign(other)),
    };
    match looked {
        Err(error) if is_missing(&error) => Ok(None),
        looked => looked.map(Some),
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<hintstore::StorageError>()
        .is_some_and(hintstore::StorageError::is_missing)
}

fn foreign(what: &What) -> Row {
    let remark = match what {
        What::Foreign(why) => why.clone(),
        _ => String::new(),
    };
    Row {
        state: "foreign".to_owned(),
        remark,
        ..Row::default()
    }
}

fn native(input: &Input, found: &Found) -> anyhow::Result<Row> {
    let file = NativeFile::open(&input.storage, &found.name)?;
    let mut row = Row {
        state: file.state().to_owned(),
        ..Row::default()
    };
    row.target = file
        .target()
        .map(|target| target.to_string())
        .unwrap_or_default();
    if let Err(error) = &file.inspected.descriptor {
        row.remark = error.to_string();
    }
    if let Some(summary) = file.summary()? {
        row.hints = Some(summary.count);
        if summary.count > 0 {
            row.oldest_ms = Some(summary.hints_created.min.get());
            row.newest_ms = Some(summary.hints_created.max.get());
            row.last_expiry_ms = Some(summary.deadlines.max.get());
        }
    }
    Ok(row)
}

fn cassandra(input: &Input, found: &Found) -> anyhow::Result<Row> {
    let file = CassandraFile::open(&input.storage, &found.name)?;
    let mut count = Count {
        row: Row::default(),
        hints: 0,
        bad: Vec::new(),
    };
    file.walk(&mut count)?;
    let Count {
        mut row,
        hints,
        bad,
    } = count;
    row.target = file
        .target()
        .map(|target| target.to_string())
        .unwrap_or_default();
    let refused = file.refusal();
    row.hints = refused.is_none().then_some(hints);
    row.state = match (
        &refused,
        file.side_file(),
        bad.iter().all(|bad| bad.harmless),
    ) {
        (Some(bad), ..) => bad.what,
        (None, _, false) => "damaged",
        (None, crate::input::SideFile::Missing, true) => "open",
        (None, _, true) => "closed",
    }
    .to_owned();
    row.remark = bad.first().map(|bad| bad.text.clone()).unwrap_or_default();
    Ok(row)
}

struct Count {
    row: Row,
    hints: u64,
    bad: Vec<Bad>,
}

impl Visitor for Count {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        self.hints += 1;
        let widen = |place: &mut Option<i64>, value: i64, least: bool| {
            *place = Some(place.map_or(value, |known| {
                if least {
                    known.min(value)
                } else {
                    known.max(value)
                }
            }));
        };
        widen(&mut self.row.oldest_ms, hint.created_ms, true);
        widen(&mut self.row.newest_ms, hint.created_ms, false);
        widen(&mut self.row.last_expiry_ms, hint.expires_at_ms(), false);
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Bad) -> anyhow::Result<()> {
        // The first says enough here.
        if self.bad.len() < 16 {
            self.bad.push(bad.clone());
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
        self.foreign += u64::from(matches!(file.what, What::Foreign(_)));
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
            "oldest_created_ms": self.oldest_ms,
            "newest_created_ms": self.newest_ms,
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
