//! `convert`: hints from one form to another: a native store, Cassandra's files, JSON Lines,
//! Parquet. Payloads, times and order are untouched.

mod cassandra;
mod jsonl;
mod native;
mod parquet;
mod split;

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use hintstore::env::Existing;
use hintstore::{OsStorage, Storage as _, TargetId};
use hintstore_cassandra::Schema;
use serde_json::json;

use super::verify::tell;
use crate::{
    args::{Convert, To, Which},
    decode,
    exit::{Exit, code, unwritten, usage},
    filter::Filter,
    input::{Finding, Flow, HintSource, HintView, Input, Pending, Visitor, below, is_listing},
    interrupt::{self, Guard, Making, unless_stopped},
    output::{Output, count},
};

pub(crate) use cassandra::{
    Directory, FILE_MAX, abandon, begin, commit, own, publish, stage, unfinished_names,
};
pub(crate) use native::{import, importing};
use split::Split;

/// Where hints go.
pub(crate) trait Sink {
    /// Takes a hint that is from `file`; or says why this form cannot have it.
    fn put(&mut self, file: &str, hint: &HintView<'_>) -> anyhow::Result<Result<(), Finding>>;
    /// Makes all of it durable.
    fn finish(self: Box<Self>, output: &mut Output) -> anyhow::Result<()>;
}

pub(crate) fn run(args: &Convert, output: &mut Output) -> anyhow::Result<()> {
    let which = &args.which;
    let schema = decode::schema(which.schema.as_ref(), output)?;
    let filter = Filter::new(which, schema.as_ref())?.unlimited();
    let mut input = if is_listing(&args.from) {
        Input::open_listing(&args.from)?
    } else {
        Input::open(&args.from)?
    };
    filter.narrow(&mut input)?;
    input.refuse_unfinished()?;
    input.tell_misnamed(output)?;
    if input.hints().next().is_none() {
        let (from, below) = (args.from.display(), below(&args.from));
        return Err(usage(format!("{from} holds no hint file{below}")));
    }
    let out = &args.out;
    input.tell_other_version(output)?;
    if let To::Cassandra(version @ ..=2, _) = args.to
        && schema.is_none()
        && let Some(newer) = first_of_version_3(&input)
    {
        return Err(usage(format!(
            "{newer} was written by version 3, and what version {version} has not is found only with a \
             schema: add --schema FILE, or convert --to cassandra:3"
        )));
    }
    let (storage, schema) = (&input.storage, schema.as_ref());
    let mut sink: Box<dyn Sink + '_> = if let Some(by) = args.split {
        refuse_occupied(out)?;
        Box::new(Split {
            by,
            out: out.clone(),
            making: Making::begin(out, Some(storage))?,
            schema,
            extension: match args.to {
                To::Native | To::Cassandra(..) => "",
                To::Jsonl => ".jsonl",
                To::Parquet => ".parquet",
            },
            make: Box::new(|out| sink(args, &out, storage, schema)),
            places: BTreeMap::new(),
        })
    } else {
        sink(args, out, storage, schema)?
    };
    let wanted = Wanted {
        filter: &filter,
        limit: args.which.limit.unwrap_or(u64::MAX),
        retarget: args.retarget,
    };
    let Fed { files, hints, bad } = feed(&input, &wanted, &mut *sink, out, output)?;
    sink.finish(output)
        .with_context(|| format!("cannot write {}", out.display()))?;
    output.did(format!("{} was made whole", out.display()));
    filter.tell_unsure(output);
    output.text(&format!(
        "{} of {} in {}; {} passed over",
        count(hints, "hint"),
        count(files, "file"),
        out.display(),
        count(bad, "bad region")
    ))?;
    output.sum("hints", hints);
    output.sum("files", files);
    output.sum("bad", bad);
    Ok(())
}

/// What hints go to.
fn sink<'a>(
    args: &Convert,
    out: &Path,
    from: &OsStorage,
    schema: Option<&'a Schema>,
) -> anyhow::Result<Box<dyn Sink + 'a>> {
    Ok(match args.to {
        To::Native => Box::new(native::Store::open(out, from, args.add)?),
        _ if args.add => return Err(usage("only to a native store hints can be added")),
        To::Cassandra(version, codec) => {
            refuse_occupied(out)?;
            Box::new(Directory::new(out, from, version, codec, schema)?)
        }
        To::Jsonl => Box::new(jsonl::Lines::create(out, schema)?),
        To::Parquet => Box::new(parquet::Rows::create(out, schema)?),
    })
}

/// Writes all hints of some directories into a file of JSON Lines, and `lines` behind them; gives how many
/// hints that was.
pub(crate) fn export(
    inputs: &[Input],
    lines: impl IntoIterator<Item = (&'static str, serde_json::Value)>,
    out: &Path,
    output: &mut Output,
) -> anyhow::Result<u64> {
    let which = Which::default();
    let wanted = Wanted {
        filter: &Filter::new(&which, None)?,
        limit: u64::MAX,
        retarget: None,
    };
    let mut sink = Box::new(jsonl::Lines::create(out, None)?);
    let mut hints = 0;
    for input in inputs {
        hints += feed(input, &wanted, &mut *sink, out, output)?.hints;
    }
    for (kind, fields) in lines {
        sink.line(kind, fields)?;
    }
    sink.finish(output)
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(hints)
}

/// What goes into a sink.
struct Wanted<'a> {
    filter: &'a Filter<'a>,
    /// No more than this many.
    limit: u64,
    /// All for this target.
    retarget: Option<TargetId>,
}

/// What went into a sink.
#[derive(Clone, Copy, Debug, Default)]
struct Fed {
    files: u64,
    hints: u64,
    bad: u64,
}

/// Gives the hints of a directory to a sink, file by file.
fn feed(
    input: &Input,
    wanted: &Wanted<'_>,
    sink: &mut dyn Sink,
    out: &Path,
    output: &mut Output,
) -> anyhow::Result<Fed> {
    let mut pending = Pending::of(input, output)?;
    let mut fed = Fed::default();
    let bar = output.bar(input.hint_bytes());
    for found in input.hints() {
        let mut feeder = Feeder {
            sink,
            output,
            wanted,
            pending: &mut pending,
            file: &found.name,
            left: wanted.limit - fed.hints,
            hints: 0,
            bad: 0,
            out,
        };
        let walked = bar.walk(input, found, &mut feeder);
        let (of_file, bad_of_file) = (feeder.hints, feeder.bad);
        // What cannot be read of one file is no reason to leave out the next; a line that is no hint's is.
        match walked {
            Err(error) if code(&error) == Exit::Usage => return Err(error),
            walked => tell(walked, &found.name, output)?,
        };
        fed.files += u64::from(of_file > 0);
        fed.hints += of_file;
        fed.bad += bad_of_file;
        output.line(
            "file",
            json!({
                "file": found.name,
                "format": found.what.word(),
                "hints": of_file,
                "bad": bad_of_file,
            }),
        )?;
    }
    bar.finish();
    Ok(fed)
}

/// The first file whose mutations are of messaging version 13, which only hints version 3 holds.
fn first_of_version_3(input: &Input) -> Option<String> {
    struct First(bool);
    impl Visitor for First {
        fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
            self.0 |= hint.mutation().is_some() && hint.payload_version >= 13;
            // In a file of Cassandra's all are of one version.
            let native = matches!(hint.from, HintSource::Native { .. });
            Ok(if native && !self.0 {
                Flow::Go
            } else {
                Flow::Stop
            })
        }

        fn bad(&mut self, _: &Finding) -> anyhow::Result<()> {
            Ok(())
        }
    }
    for found in input.hints() {
        let mut first = First(false);
        // What cannot be read is reported when it is converted.
        if input.walk(found, &mut first).is_ok() && first.0 {
            return Some(found.name.clone());
        }
    }
    None
}

/// Nothing is made where a run that was stopped left something.
pub(crate) fn refuse_unfinished(out: &Path) -> anyhow::Result<()> {
    if out.join(interrupt::MARK).exists() {
        return Err(usage(format!(
            "{} is being made by hintctl, or was left by one that was stopped: then remove it first",
            out.display()
        )));
    }
    Ok(())
}

/// Files are made in an empty place, or a new one.
pub(crate) fn refuse_occupied(out: &Path) -> anyhow::Result<()> {
    if out.as_os_str().is_empty() {
        return Err(usage("the name of the directory to make is empty"));
    }
    if !out.exists() {
        return Ok(());
    }
    refuse_unfinished(out)?;
    if !out.is_dir() {
        return Err(usage(format!(
            "{} is no directory: name another",
            out.display()
        )));
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

/// A file that is being made under another name than its own.
pub(crate) struct NewFile {
    storage: OsStorage,
    name: String,
    /// What it is called until it is whole.
    unfinished: String,
    _guard: Guard,
}

impl NewFile {
    /// Begins a file that is not there yet.
    pub(crate) fn create(out: &Path) -> anyhow::Result<(Self, std::fs::File)> {
        let name = out.file_name().and_then(|name| name.to_str());
        let name = name
            .with_context(|| format!("{} names no file", out.display()))?
            .to_owned();
        if out.symlink_metadata().is_ok() {
            return Err(usage(format!(
                "{} is there already: name another file",
                out.display()
            )));
        }
        let folder = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        let unfinished = format!("{name}.hintctl-{}.tmp", std::process::id());
        let storage = OsStorage::new(folder.unwrap_or(Path::new(".")));
        let path = storage.path(&unfinished);
        let guard = Guard::remove(path.clone());
        // Made as the storage makes files: in another user's directory it is that user's.
        unless_stopped(|| storage.create(&unfinished))
            .with_context(|| format!("cannot make {}", path.display()))?;
        let file = std::fs::OpenOptions::new().write(true).open(&path)?;
        let new = Self {
            storage,
            name,
            unfinished,
            _guard: guard,
        };
        Ok((new, file))
    }

    /// Gives the file its name: it is whole, and durable then.
    pub(crate) fn finish(self, file: &std::fs::File) -> anyhow::Result<()> {
        file.sync_all()?;
        self.storage
            .rename(&self.unfinished, &self.name, Existing::Keep)?;
        Ok(self.storage.sync_directory("")?)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Where it was finished there is none of this name.
        drop(self.storage.unlink(&self.unfinished));
    }
}

struct Feeder<'a> {
    sink: &'a mut dyn Sink,
    output: &'a mut Output,
    wanted: &'a Wanted<'a>,
    /// What a native store has delivered is not converted.
    pending: &'a mut Pending,
    file: &'a str,
    /// No more than this many.
    left: u64,
    hints: u64,
    bad: u64,
    /// Where they go to.
    out: &'a Path,
}

impl Visitor for Feeder<'_> {
    fn hint(&mut self, view: &HintView<'_>) -> anyhow::Result<Flow> {
        if self.hints >= self.left {
            return Ok(Flow::Stop);
        }
        if !self.pending.has(view) || !self.wanted.filter.has(view) {
            return Ok(Flow::Go);
        }
        let mut view = view.clone();
        view.target = self.wanted.retarget.unwrap_or(view.target);
        let put = self.sink.put(self.file, &view);
        match put.map_err(|error| unwritten(self.out, error))? {
            Ok(()) => self.hints += 1,
            Err(bad) => self.bad(&bad)?,
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.bad += u64::from(!bad.harmless);
        self.output.bad(self.file, bad)
    }
}
