//! `replay`: gives out hints in order, past what is dead, to the screen or to files.
//!
//! A reading verb: the store is neither locked nor changed, and nothing is acknowledged. What its
//! journal says was delivered or discarded is left out.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::OpenOptions,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use hintstore::raw::format::expiry::is_dead;
use hintstore::{OsStorage, Storage as _, TargetId, UnixMillis};
use serde_json::{Value, json};

use super::dump::{add_value, fields};
use crate::{
    args::{self, Replay},
    decode,
    filter::Filter,
    input::{Finding, Flow, HintView, Pending, Visitor, each},
    interrupt::Making,
    output::{Output, count, json_line, time},
};

pub(crate) fn run(args: &Replay, output: &mut Output) -> anyhow::Result<()> {
    let now = args.as_of.now();
    let which = &args.which;
    let schema = decode::schema(which.schema.as_ref(), output)?;
    let filter = Filter::new(which, schema.as_ref())?.unlimited();
    let mut sink = Sink::new(&args.to)?;
    let mut counts = Counts::default();
    each(&args.sources, &filter, output, |input, output| {
        input.tell_misnamed(output)?;
        let mut pending = if args.all {
            None
        } else {
            Some(Pending::of(input, output)?)
        };
        let bar = output.bar(input.hint_bytes());
        for file in input.hints() {
            let mut player = Player {
                output,
                sink: &mut sink,
                args,
                filter: &filter,
                file: &file.name,
                pending: &mut pending,
                now,
                counts: &mut counts,
            };
            let walked = bar.walk(input, file, &mut player);
            super::verify::tell(walked, &file.name, output)?;
        }
        bar.finish();
        Ok(())
    })?;
    filter.tell_unsure(output);
    sink.finish(output.is_complete())?;
    let Counts {
        replayed,
        expired,
        done,
        bad,
    } = counts;
    output.remark(&format!(
        "judged at {}: {replayed} replayed, {expired} expired, {done} ended before, {}",
        time(now.get()),
        count(bad, "bad region")
    ));
    output.sum("as_of_ms", now.get());
    output.sum("replayed", replayed);
    output.sum("expired", expired);
    output.sum("ended_before", done);
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
        path: PathBuf,
        making: Making,
        files: BTreeMap<TargetId, BufWriter<std::fs::File>>,
        counts: BTreeMap<TargetId, u64>,
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
        // What is there already would be mixed with what comes, the second time twice.
        super::convert::refuse_occupied(&path)?;
        let making = Making::begin(&path, None).with_context(|| format!("cannot make {to}"))?;
        Ok(Self::Directory {
            path,
            making,
            files: BTreeMap::new(),
            counts: BTreeMap::new(),
        })
    }

    fn give(
        &mut self,
        hint: &HintView<'_>,
        line: Value,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let Self::Directory {
            path,
            files,
            counts,
            ..
        } = self
        else {
            return output.json_line("hint", line);
        };
        *counts.entry(hint.target).or_default() += 1;
        write(path, files, hint.target, json_line("hint", line))
    }

    fn finish(self, complete: bool) -> anyhow::Result<()> {
        let Self::Directory {
            path,
            making,
            mut files,
            counts,
        } = self
        else {
            return Ok(());
        };
        for (target, hints) in counts {
            let line = json_line("summary", json!({ "hints": hints, "complete": complete }));
            write(&path, &mut files, target, line)?;
        }
        sync(&mut files)?;
        making.finish()
    }
}

fn write(
    path: &Path,
    files: &mut BTreeMap<TargetId, BufWriter<std::fs::File>>,
    target: TargetId,
    mut line: String,
) -> anyhow::Result<()> {
    if files.len() >= FILES_MAX && !files.contains_key(&target) {
        sync(files)?;
        files.clear();
    }
    let file = match files.entry(target) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let name = path.join(format!("{target}.jsonl"));
            // Made as the storage makes files: in another user's directory it is that user's.
            match OsStorage::new(path).create(&format!("{target}.jsonl")) {
                Err(error) if !error.is_taken() => return Err(error.into()),
                _ => {}
            }
            let file = OpenOptions::new().append(true).open(&name);
            let file = file.with_context(|| format!("cannot write {}", name.display()))?;
            entry.insert(BufWriter::new(file))
        }
    };
    line.push('\n');
    file.write_all(line.as_bytes())
        .with_context(|| format!("cannot write {target}.jsonl in {}", path.display()))
}

/// Makes what was written durable.
fn sync(files: &mut BTreeMap<TargetId, BufWriter<std::fs::File>>) -> anyhow::Result<()> {
    for (target, file) in files {
        let durable = file.flush().and_then(|()| file.get_ref().sync_all());
        durable.with_context(|| format!("cannot write {target}.jsonl"))?;
    }
    Ok(())
}

struct Player<'a> {
    output: &'a mut Output,
    sink: &'a mut Sink,
    args: &'a Replay,
    filter: &'a Filter<'a>,
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
            .which
            .limit
            .is_some_and(|limit| self.counts.replayed >= limit)
        {
            return Ok(Flow::Stop);
        }
        let mut pending = self.pending.as_mut();
        let is_done = pending.as_mut().is_some_and(|pending| !pending.has(hint));
        if !self.filter.has(hint) {
            return Ok(Flow::Go);
        }
        if is_done {
            self.counts.done += 1;
        } else if is_dead(UnixMillis::new(hint.expires_at_ms()), self.now) {
            self.counts.expired += 1;
        } else {
            self.counts.replayed += 1;
            let mut line = fields(self.file, hint);
            add_value(&mut line, args::Value::Hex, hint.payload);
            self.sink.give(hint, line, self.output)?;
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.counts.bad += u64::from(!bad.harmless);
        self.output.found_bad(bad);
        self.output.line("bad", bad.json(self.file))?;
        if bad.harmless {
            return Ok(());
        }
        self.output.remark(&format!(
            "{} at byte {}: {}",
            self.file, bad.position, bad.text
        ));
        Ok(())
    }
}
