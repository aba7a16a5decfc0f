//! `convert`: a node's hint directory becomes a native store.
//!
//! Payloads are untouched; creation time and gc grace are carried over; no discard-after is set
//! (what expires inside a mutation is no reason to drop it). Target is the host id of the
//! descriptor; namespace the table of a hint with one update, else mixed.

use std::path::Path;

use anyhow::Context as _;
use hintstore::{Config, Hint, HintStore, Level, Sequence};
use serde_json::json;

use crate::{
    args::Convert,
    exit::usage,
    input::{Bad, CassandraFile, Flow, HintView, Input, Visitor, What},
    output::Output,
};

pub(crate) fn run(args: &Convert, output: &mut Output) -> anyhow::Result<()> {
    let input = Input::open(&args.from)?;
    refuse_occupied(&args.out)?;
    if !input.files.iter().any(|file| file.what == What::Cassandra) {
        return Err(usage(format!(
            "{} holds no hint file of Cassandra",
            args.from.display()
        )));
    }
    let mut config = Config::new(&args.out);
    config.take_expired = true;
    let store =
        HintStore::open(config).with_context(|| format!("cannot open {}", args.out.display()))?;
    let imported = import(&input, &store, output)?;
    store.close()?;
    output.text(&format!(
        "{} hints of {} files in {}; {} bad regions were passed over",
        imported.hints,
        imported.files,
        args.out.display(),
        imported.bad
    ))?;
    output.sum("hints", imported.hints);
    output.sum("files", imported.files);
    output.sum("bad", imported.bad);
    Ok(())
}

/// A native store is made in an empty place, or added to; nothing else is written to.
fn refuse_occupied(out: &Path) -> anyhow::Result<()> {
    if out.join(hintstore_format::file_name::STORE).exists() || !out.exists() {
        return Ok(());
    }
    let mut entries =
        std::fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))?;
    if entries.next().is_some() {
        return Err(usage(format!(
            "{} is neither empty nor a native store: name another directory",
            out.display()
        )));
    }
    Ok(())
}

/// What was imported.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    pub(crate) files: u64,
    pub(crate) hints: u64,
    pub(crate) bad: u64,
}

/// Appends all intact hints, in order, and makes them durable.
pub(crate) fn import(
    input: &Input,
    store: &HintStore,
    output: &mut Output,
) -> anyhow::Result<Imported> {
    let mut all = Imported::default();
    let bar = output.bar(input.hint_bytes());
    for found in input
        .files
        .iter()
        .filter(|file| file.what == What::Cassandra)
    {
        let file = CassandraFile::open(&input.storage, &found.name)?;
        let refused = file.refusal().is_some();
        let mut importer = Importer {
            store,
            output,
            file: &found.name,
            hints: 0,
            bad: 0,
            last: None,
        };
        file.walk(&mut importer)?;
        let Importer {
            hints, bad, last, ..
        } = importer;
        if let Some((target, sequence)) = last {
            let durable = store.sync(target)?;
            anyhow::ensure!(
                durable,
                "hints up to {sequence} of {target} are not durable"
            );
        }
        all.files += u64::from(!refused);
        all.hints += hints;
        all.bad += bad;
        output.line(
            "file",
            json!({ "file": found.name, "format": "cassandra", "hints": hints, "bad": bad }),
        )?;
        bar.inc(found.info.length);
    }
    bar.finish_and_clear();
    Ok(all)
}

struct Importer<'a> {
    store: &'a HintStore,
    output: &'a mut Output,
    file: &'a str,
    hints: u64,
    bad: u64,
    last: Option<(hintstore::TargetId, Sequence)>,
}

impl Visitor for Importer<'_> {
    fn hint(&mut self, view: &HintView<'_>) -> anyhow::Result<Flow> {
        let created = hintstore::UnixMillis::new(view.created_ms);
        let hint = Hint::new(view.target, created, view.lifetime.gc_grace, view.payload)
            .namespace(view.namespace)
            .payload_version(view.payload_version);
        let receipt = self
            .store
            .append(hint, Level::Buffered)
            .map_err(|error| anyhow::anyhow!("{} at byte {}: {error}", self.file, view.position))?;
        self.hints += 1;
        self.last = Some((view.target, receipt.sequence));
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Bad) -> anyhow::Result<()> {
        self.bad += 1;
        self.output.found_bad(bad);
        self.output.line("bad", bad.json(self.file))?;
        let text = format!(
            "passed over {} at byte {}: {}",
            self.file, bad.position, bad.text
        );
        self.output.text(&text)
    }
}
