//! Hints into a native store.
//!
//! Of a hint of Cassandra's creation time and gc grace are carried over; no discard-after is set
//! (what expires inside a mutation is no reason to drop it). Target is the host id of the
//! descriptor; namespace the table of a hint with one update, else mixed.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail};
use hintstore::raw::format::file_name;
use hintstore::{
    Bytes, Config, Durability, Hint, HintStore, Origin, OsStorage, Refusal, Sequence, TargetId,
    UnixMillis,
};

use super::{Sink, refuse_occupied, refuse_unfinished};
use crate::{
    command::verify::{Walked, tell},
    exit::usage,
    input::{Finding, Flow, HintSource, HintView, Input, Visitor, What},
    interrupt::{Guard, Making, unless_stopped},
    output::Output,
};

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

/// A store that is filled.
pub(super) struct Store {
    into: HintStore,
    last: BTreeMap<TargetId, Sequence>,
    /// Of a new store.
    making: Option<Making>,
    /// Of one that hints are added to.
    _guard: Option<Guard>,
}

impl Store {
    /// Opens a new store, or with `add` one that is there.
    pub(super) fn open(out: &Path, like: &OsStorage, add: bool) -> anyhow::Result<Self> {
        refuse_unfinished(out)?;
        let is_store = out.join(file_name::STORE).exists();
        if is_store && !add {
            return Err(usage(format!(
                "{} is a store already: name another directory, or add to it with --add",
                out.display()
            )));
        }
        if !is_store {
            refuse_occupied(out)?;
        }
        if is_store {
            Input::open(out)?.refuse_lost_journal()?;
        }
        let making = (!is_store)
            .then(|| Making::begin(out, Some(like)))
            .transpose()?;
        let guard = is_store.then(|| {
            let words =
                "some of the hints were added and others not: a second run adds those again";
            Guard::say(format!("{}: {words}", out.display()))
        });
        // It would make the directory again.
        let store = unless_stopped(|| HintStore::open(importing(out)))
            .with_context(|| format!("cannot open {}", out.display()))?;
        Ok(Self {
            into: store,
            last: BTreeMap::new(),
            making,
            _guard: guard,
        })
    }
}

impl Sink for Store {
    fn put(&mut self, file: &str, view: &HintView<'_>) -> anyhow::Result<Result<(), Finding>> {
        Ok(append(&self.into, file, view)?.map(|sequence| {
            self.last.insert(view.target, sequence);
        }))
    }

    fn finish(self: Box<Self>, _: &mut Output) -> anyhow::Result<()> {
        // One sync a target, not one a source file: until then nothing is said to be there.
        make_durable(&self.into, &self.last)?;
        self.into.close()?;
        self.making.map_or(Ok(()), Making::finish)
    }
}

/// Appends a hint; or says why the store does not have it.
fn append(
    store: &HintStore,
    file: &str,
    view: &HintView<'_>,
) -> anyhow::Result<Result<Sequence, Finding>> {
    let created = UnixMillis::new(view.created_ms);
    let mut hint = Hint::new(view.target, created, view.lifetime.gc_grace, view.payload)
        .namespace(view.namespace)
        .payload_version(view.payload_version);
    hint.lifetime = view.lifetime;
    if let HintSource::Native {
        store,
        sequence,
        incarnation,
        body,
        ..
    } = &view.from
    {
        hint.body = *body;
        // Its target may have got it under that key already.
        hint.body.origin.get_or_insert(Origin {
            store: *store,
            target: view.target,
            sequence: *sequence,
            incarnation: *incarnation,
        });
    }
    match store.append(hint, Durability::Buffered) {
        Ok(receipt) => Ok(Ok(receipt.sequence)),
        Err(error) if error.refusal() == Some(Refusal::Fenced) => Ok(Err(Finding {
            position: view.position,
            ..Finding::whole(
                What::Payload,
                "it is older than a fence of the store: left out".to_owned(),
            )
        })),
        Err(error) => bail!("{file} at byte {}: {error}", view.position),
    }
}

fn make_durable(store: &HintStore, last: &BTreeMap<TargetId, Sequence>) -> anyhow::Result<()> {
    for (target, sequence) in last {
        let durable = store.target(*target).sync();
        durable.with_context(|| format!("hints up to {sequence} of {target}"))?;
    }
    Ok(())
}

/// What was taken of files.
pub(crate) struct Imported {
    pub(crate) hints: u64,
    /// Nothing was damaged, and each was read to its end.
    pub(crate) is_whole: bool,
}

/// Appends all intact hints of a directory, in order, and makes them durable.
pub(crate) fn import(
    input: &Input,
    store: &HintStore,
    output: &mut Output,
) -> anyhow::Result<Imported> {
    let mut importer = Importer {
        store,
        output,
        file: String::new(),
        hints: 0,
        is_whole: true,
        last: BTreeMap::new(),
    };
    for found in input.hints() {
        importer.file.clone_from(&found.name);
        let walked = input.walk(found, &mut importer);
        let walked = tell(walked, &found.name, importer.output)?;
        importer.is_whole &= walked == Some(Walked::Whole);
    }
    make_durable(store, &importer.last)?;
    Ok(Imported {
        hints: importer.hints,
        is_whole: importer.is_whole,
    })
}

struct Importer<'a> {
    store: &'a HintStore,
    output: &'a mut Output,
    file: String,
    hints: u64,
    is_whole: bool,
    last: BTreeMap<TargetId, Sequence>,
}

impl Visitor for Importer<'_> {
    fn hint(&mut self, view: &HintView<'_>) -> anyhow::Result<Flow> {
        match append(self.store, &self.file, view)? {
            Ok(sequence) => {
                self.last.insert(view.target, sequence);
                self.hints += 1;
            }
            // It has ended.
            Err(fenced) => self.output.bad(&self.file, &fenced)?,
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.is_whole &= bad.harmless;
        self.output.bad(&self.file, bad)
    }
}
