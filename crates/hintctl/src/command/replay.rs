//! `replay`: gives out hints in order, past what is dead, to the screen or to files.
//!
//! A reading verb: the store is neither locked nor changed, and nothing is acknowledged. What its
//! journal says was delivered or discarded is left out.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::Context as _;
use hintstore::{Clock as _, SystemClock, TargetId, UnixMillis};
use hintstore_format::expiry::is_dead;

use super::dump::{add_value, fields, selected};
use crate::{
    args::{Replay, Value},
    input::{Bad, CassandraFile, Flow, HintView, Input, NativeFile, Pending, Visitor, What},
    output::{Output, time},
};

pub(crate) fn run(args: &Replay, output: &mut Output) -> anyhow::Result<()> {
    let now = args.as_of.unwrap_or_else(|| SystemClock.wall());
    let mut sink = Sink::new(&args.to)?;
    let mut counts = Counts::default();
    for path in &args.paths {
        let input = Input::open(path)?;
        let mut pending = if args.all {
            None
        } else {
            Some(Pending::of(&input)?)
        };
        let bar = output.bar(input.hint_bytes());
        for file in &input.files {
            let mut player = Player {
                output,
                sink: &mut sink,
                args,
                file: &file.name,
                pending: &mut pending,
                now,
                counts: &mut counts,
            };
            let walked = match file.what {
                What::Native => NativeFile::open(&input.storage, &file.name)
                    .and_then(|file| file.walk(&mut player)),
                What::Cassandra => CassandraFile::open(&input.storage, &file.name)
                    .and_then(|file| file.walk(&mut player)),
                _ => continue,
            };
            super::verify::tell(walked, &file.name, output)?;
            bar.inc(file.info.length);
        }
        bar.finish_and_clear();
    }
    sink.finish()?;
    let Counts {
        replayed,
        expired,
        done,
        bad,
    } = counts;
    output.remark(&format!(
        "judged at {}: {replayed} replayed, {expired} expired, {done} delivered before, {bad} bad \
         regions",
        time(now.get())
    ));
    output.sum("as_of_ms", now.get());
    output.sum("replayed", replayed);
    output.sum("expired", expired);
    output.sum("delivered_before", done);
    output.sum("bad", bad);
    Ok(())
}

#[derive(Default)]
struct Counts {
    replayed: u64,
    expired: u64,
    done: u64,
    bad: u64,
}

/// Where hints go.
enum Sink {
    Stdout,
    Directory {
        path: std::path::PathBuf,
        files: BTreeMap<TargetId, BufWriter<std::fs::File>>,
    },
}

/// No more files than this are open at once.
const FILES_MAX: usize = 256;

impl Sink {
    fn new(to: &str) -> anyhow::Result<Self> {
        if to == "stdout" {
            return Ok(Self::Stdout);
        }
        let path = Path::new(to).to_owned();
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {to}"))?;
        Ok(Self::Directory {
            path,
            files: BTreeMap::new(),
        })
    }

    fn give(
        &mut self,
        hint: &HintView<'_>,
        line: serde_json::Value,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let Self::Directory { path, files } = self else {
            return output.json_line("hint", line);
        };
        if files.len() >= FILES_MAX && !files.contains_key(&hint.target) {
            for file in std::mem::take(files).values_mut() {
                file.flush()?;
            }
        }
        let file = match files.entry(hint.target) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let name = path.join(format!("{}.jsonl", hint.target));
                let file = OpenOptions::new().create(true).append(true).open(&name);
                let file = file.with_context(|| format!("cannot write {}", name.display()))?;
                entry.insert(BufWriter::new(file))
            }
        };
        serde_json::to_writer(&mut *file, &line)?;
        file.write_all(b"\n")?;
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        if let Self::Directory { mut files, .. } = self {
            for file in files.values_mut() {
                file.flush()?;
            }
        }
        Ok(())
    }
}

struct Player<'a> {
    output: &'a mut Output,
    sink: &'a mut Sink,
    args: &'a Replay,
    file: &'a str,
    /// `None`: what was delivered is given out too.
    pending: &'a mut Option<Pending>,
    now: UnixMillis,
    counts: &'a mut Counts,
}

impl Visitor for Player<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if self
            .args
            .select
            .limit
            .is_some_and(|limit| self.counts.replayed >= limit)
        {
            return Ok(Flow::Stop);
        }
        if !selected(&self.args.select, hint) {
            return Ok(Flow::Go);
        }
        if self
            .pending
            .as_mut()
            .is_some_and(|pending| !pending.has(hint))
        {
            self.counts.done += 1;
        } else if is_dead(UnixMillis::new(hint.expires_at_ms()), self.now) {
            self.counts.expired += 1;
        } else {
            self.counts.replayed += 1;
            let mut line = fields(self.file, hint);
            add_value(&mut line, Value::Hex, hint.payload);
            self.sink.give(hint, line, self.output)?;
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Bad) -> anyhow::Result<()> {
        self.counts.bad += 1;
        self.output.found_bad(bad);
        self.output.remark(&format!(
            "{} at byte {}: {}",
            self.file, bad.position, bad.text
        ));
        Ok(())
    }
}
