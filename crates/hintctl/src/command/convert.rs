//! `convert`: a node's hint directory becomes a native store.
//!
//! Payloads are untouched; creation time and gc grace are carried over; no discard-after is set
//! (what expires inside a mutation is no reason to drop it). Target is the host id of the
//! descriptor; namespace the table of a hint with one update, else mixed.

use std::path::Path;

use anyhow::Context as _;
use hintstore::{Bytes, Config, Hint, HintStore, Level, Sequence};
use hintstore_format::file_name;
use serde_json::json;

use super::verify::tell;
use crate::{
    args::Convert,
    exit::usage,
    input::{Bad, Flow, HintView, Input, Visitor, What},
    output::{Output, count},
};

pub(crate) fn run(args: &Convert, output: &mut Output) -> anyhow::Result<()> {
    let input = Input::open(&args.from)?;
    let is_store = args.out.join(file_name::STORE).exists();
    if !(args.add && is_store) {
        if is_store {
            return Err(usage(format!(
                "{} is a store already: name another directory, or add to it with --add",
                args.out.display()
            )));
        }
        refuse_occupied(&args.out)?;
    }
    if !input.files.iter().any(|file| file.what == What::Cassandra) {
        return Err(usage(format!(
            "{} holds no hint file of Cassandra",
            args.from.display()
        )));
    }
    let config = importing(&args.out);
    let store =
        HintStore::open(config).with_context(|| format!("cannot open {}", args.out.display()))?;
    let imported = import(&input, &store, output)?;
    store.close()?;
    output.text(&format!(
        "{} of {} in {}; {} passed over",
        count(imported.hints, "hint"),
        count(imported.files, "file"),
        args.out.display(),
        count(imported.bad, "bad region")
    ))?;
    output.sum("hints", imported.hints);
    output.sum("files", imported.files);
    output.sum("bad", imported.bad);
    Ok(())
}

/// Settings for a store that is filled on an operator's word: all of it, as far as the device has
/// room.
pub(crate) fn importing(directory: &Path) -> Config {
    Config::new(directory).with(|config| {
        config.take_expired = true;
        config.hint_window = None;
        config.disk.total = Some(Bytes::new(u64::MAX));
        config.disk.target = Some(Bytes::new(u64::MAX));
    })
}

/// Files are made in an empty place, or a new one.
pub(crate) fn refuse_occupied(out: &Path) -> anyhow::Result<()> {
    if out.as_os_str().is_empty() {
        return Err(usage("the name of the directory to make is empty"));
    }
    if !out.exists() {
        return Ok(());
    }
    let mut entries =
        std::fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))?;
    if entries.next().is_some() {
        return Err(usage(format!(
            "{} is not empty: name another directory",
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
        let mut importer = Importer {
            store,
            output,
            file: &found.name,
            hints: 0,
            bad: 0,
            last: None,
            refused: None,
        };
        let walked = input.walk(found, &mut importer);
        let Importer {
            hints,
            bad,
            last,
            refused,
            ..
        } = importer;
        // What cannot be read of one file is no reason to leave out the next; a store that takes
        // nothing more is.
        if let Some(refused) = refused {
            return Err(refused);
        }
        tell(walked, &found.name, output)?;
        if let Some((target, sequence)) = last {
            let durable = store.sync(target)?;
            anyhow::ensure!(
                durable,
                "hints up to {sequence} of {target} are not durable"
            );
        }
        all.files += u64::from(hints > 0);
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
    /// Why the store takes no more.
    refused: Option<anyhow::Error>,
}

impl Visitor for Importer<'_> {
    fn hint(&mut self, view: &HintView<'_>) -> anyhow::Result<Flow> {
        let created = hintstore::UnixMillis::new(view.created_ms);
        let hint = Hint::new(view.target, created, view.lifetime.gc_grace, view.payload)
            .namespace(view.namespace)
            .payload_version(view.payload_version);
        match self.store.append(hint, Level::Buffered) {
            Ok(receipt) => {
                self.hints += 1;
                self.last = Some((view.target, receipt.sequence));
                Ok(Flow::Go)
            }
            Err(error) => {
                let (file, at) = (self.file, view.position);
                self.refused = Some(anyhow::anyhow!("{file} at byte {at}: {error}"));
                Ok(Flow::Stop)
            }
        }
    }

    fn bad(&mut self, bad: &Bad) -> anyhow::Result<()> {
        self.bad += u64::from(!bad.harmless);
        self.output.bad(self.file, bad)
    }
}
