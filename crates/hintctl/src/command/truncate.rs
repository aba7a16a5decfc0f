//! `truncate`: discards hints of a native store, or of a directory of Cassandra's. Plans first; acts
//! with `--apply`.

use std::collections::BTreeMap;

use hintstore::raw::format::file_name;
use hintstore::{
    Clock as _, Config, HintStore, Namespace, Sequence, Storage as _, SystemClock, TargetId,
    Truncate as Which, UnixMillis,
};
use serde_json::json;

use super::rewrite::{self, Fate};
use crate::{
    args::{MIXED, Truncate},
    decode,
    exit::usage,
    filter::Filter,
    input::{FileKind, Finding, Flow, HintSource, HintView, Input, Pending, Visitor},
    output::{Output, count, next_apply, time},
};

pub(crate) fn run(args: &Truncate, output: &mut Output) -> anyhow::Result<()> {
    if args.which.is_all() && !args.all {
        return Err(usage(
            "say what to discard, such as --target, --keyspace, --table, --older-than; or --all",
        ));
    }
    let schema = decode::schema(args.which.schema.as_ref(), output)?;
    let filter = Filter::new(&args.which, schema.as_ref())?;
    let input = Input::open(&args.directory)?;
    input.refuse_unfinished()?;
    input.tell_misnamed(output)?;
    let is_cassandras = input
        .files
        .iter()
        .any(|file| file.what == FileKind::Cassandra);
    if input.is_directory && !input.is_store() && (is_cassandras || input.is_empty()?) {
        return of_cassandra(args, &filter, input, output);
    }
    let store = input.storage.open(file_name::STORE, false);
    if !input.is_directory || store.and_then(|file| file.info()).is_err() {
        return Err(usage(format!(
            "{} is no directory of Cassandra's hints, and no native store (it has no file {}): name \
             the directory of one",
            args.directory.display(),
            file_name::STORE
        )));
    }
    input.refuse_other_version(output)?;
    let cut = Cut::new(args, &filter)?;
    let apply = args.change.apply;
    // Of a store that nobody has open the files say all.
    let done = plan(&input, &cut, output)?;
    if apply {
        let store = HintStore::open(Config::new(&args.directory))?;
        // First: what comes while hints are discarded is fenced already.
        if let Some((namespace, before)) = cut.fence {
            store.fence(namespace, before)?;
            output.did(format!(
                "older hints of {namespace} are refused from now on"
            ));
        }
        for which in cut.parts() {
            store.truncate(&which)?;
            output.did("some of the hints went as asked".to_owned());
        }
        for name in &store.open_report().set_aside {
            output.remark(&format!("{name} cannot be read and was set aside"));
        }
        store.close()?;
        let hints: u64 = done.iter().map(|one| one.hints).sum();
        output.did(format!("{} went as asked", count(hints, "hint")));
    }
    let mut rows = Vec::new();
    let (mut hints, mut mixed) = (0, 0);
    for one in &done {
        hints += one.hints;
        mixed += one.mixed;
        output.line(
            "discard",
            json!({
                "target": one.target.to_string(),
                "hints": one.hints,
                "mixed": one.mixed,
                "up_to": one.up_to.to_string(),
                "applied": apply,
            }),
        )?;
        rows.push(vec![
            one.target.to_string(),
            one.hints.to_string(),
            one.mixed.to_string(),
            one.up_to.to_string(),
        ]);
    }
    output.table(&["TARGET", "HINTS", "MIXED, LEFT ALONE", "UP TO"], rows)?;
    for target in &args.which.target {
        if !done.iter().any(|one| one.target == *target) {
            output.remark(&format!("there are no hints for {target}"));
        }
    }
    output.sum("hints", hints);
    output.sum("mixed", mixed);
    output.sum("applied", apply);
    if let Some((namespace, before)) = cut.fence {
        output.sum("fence_namespace", namespace.to_string());
        output.sum("fence_before_ms", before.get());
        output.remark(&format!(
            "hints of {namespace} from before {} {} refused, if any come",
            time(before.get()),
            if apply { "are" } else { "would be" },
        ));
    }
    if apply {
        output.text(&format!("{} discarded", count(hints, "hint")))
    } else {
        if hints > 0 || cut.fence.is_some() {
            // Work is left to do.
            output.problem();
            if let Err(error) = input.storage.check_writable() {
                output.remark(&format!("--apply would fail: {error}"));
            }
        } else {
            return output.text("0 hints would be discarded");
        }
        output.text(&format!(
            "{} would be discarded; nothing was changed: add --apply",
            count(hints, "hint")
        ))?;
        next_apply(output)
    }
}

/// What a native store discards.
struct Cut<'a> {
    targets: &'a [TargetId],
    /// Nothing: hints of all.
    namespaces: Option<Vec<Namespace>>,
    created_before: Option<UnixMillis>,
    up_to: Option<Sequence>,
    fence: Option<(Namespace, UnixMillis)>,
}

impl<'a> Cut<'a> {
    fn new(args: &'a Truncate, filter: &Filter<'_>) -> anyhow::Result<Self> {
        let which = &args.which;
        if which.key.is_some()
            || which.since.is_some()
            || which.from_seq.is_some()
            || which.limit.is_some()
        {
            return Err(usage(
                "a native store discards from the oldest on, by --target, --table, --older-than and --to-seq: of what \
                 --key, --since, --from-seq or --limit leave out, make another with hintctl convert --to native",
            ));
        }
        if which.to_seq.is_some() && which.target.is_empty() {
            return Err(usage(
                "each target has its own sequences: --to-seq needs --target",
            ));
        }
        let namespaces = filter.namespaces();
        let fence = match (args.fence, namespaces.as_deref()) {
            (false, _) => None,
            (true, Some([only])) if *only != Namespace::MIXED => {
                // A fence is for what was created before it.
                Some((*only, which.until.unwrap_or_else(|| SystemClock.wall())))
            }
            (true, _) => return Err(usage("--fence is for one --table")),
        };
        Ok(Self {
            targets: &which.target,
            namespaces,
            created_before: which.until.or(fence.map(|(_, before)| before)),
            up_to: which.to_seq,
            fence,
        })
    }

    /// The calls that it takes.
    fn parts(&self) -> Vec<Which> {
        let all = Which::all()
            .created_before(self.created_before)
            .up_to(self.up_to);
        let targets = each_or_all(self.targets);
        let namespaces = each_or_all(self.namespaces.as_deref().unwrap_or_default());
        let of = |target: Option<TargetId>| {
            let all = all.target(target);
            namespaces
                .iter()
                .map(move |namespace| all.namespace(*namespace))
        };
        targets.into_iter().flat_map(of).collect()
    }
}

/// Each of some; `None` for all where none is named.
fn each_or_all<T: Copy>(some: &[T]) -> Vec<Option<T>> {
    if some.is_empty() {
        return vec![None];
    }
    some.iter().copied().map(Some).collect()
}

/// The same in a directory of Cassandra's.
fn of_cassandra(
    args: &Truncate,
    filter: &Filter<'_>,
    mut input: Input,
    output: &mut Output,
) -> anyhow::Result<()> {
    if args.fence {
        return Err(usage(
            "Cassandra knows no fences: --fence is for native stores",
        ));
    }
    filter.narrow(&mut input)?;
    // A hint that writes to other tables too is not theirs to discard, unless all of these are meant.
    let has_mixed = args.which.table.iter().any(|of| of == MIXED);
    let keeps_mixed = filter.is_by_update() && (args.which.key.is_some() || !has_mixed);
    let mut fate = |hint: &HintView<'_>| match filter.has(hint) {
        false => Fate::Stay,
        true if keeps_mixed && !filter.covers(hint) => Fate::Mixed,
        true => Fate::Go,
    };
    rewrite::run(&input, &args.change, filter, &mut fate, output)
}

/// What `--apply` would discard, from the files alone: nothing is locked, opened for writing or
/// changed, so that the plan can be made while the node runs.
fn plan(input: &Input, cut: &Cut<'_>, output: &mut Output) -> anyhow::Result<Vec<Planned>> {
    let mut planner = Planner {
        cut,
        pending: Pending::of(input, output)?,
        found: BTreeMap::new(),
    };
    let bar = output.bar(input.hint_bytes());
    for file in input.hints().filter(|file| file.what == FileKind::Native) {
        let walked = bar.walk(input, file, &mut planner);
        super::verify::tell(walked, &file.name, output)?;
    }
    bar.finish();
    Ok(planner.found.into_values().collect())
}

/// What is discarded of one target.
struct Planned {
    target: TargetId,
    hints: u64,
    up_to: Sequence,
    /// Hints that touch several namespaces, and stay.
    mixed: u64,
}

struct Planner<'a> {
    cut: &'a Cut<'a>,
    pending: Pending,
    found: BTreeMap<TargetId, Planned>,
}

impl Visitor for Planner<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        let HintSource::Native { sequence, .. } = hint.from else {
            return Ok(Flow::Go);
        };
        let cut = self.cut;
        let here = (cut.targets.is_empty() || cut.targets.contains(&hint.target))
            && cut.up_to.is_none_or(|last| sequence <= last);
        if !here {
            return Ok(Flow::Go);
        }
        let planned = self.found.entry(hint.target);
        let plan = planned.or_insert(Planned {
            target: hint.target,
            hints: 0,
            up_to: Sequence::ZERO,
            mixed: 0,
        });
        plan.up_to = plan.up_to.max(sequence);
        let created = UnixMillis::new(hint.created_ms);
        let in_time = cut.created_before.is_none_or(|limit| created < limit);
        if !self.pending.has(hint) || !in_time {
            return Ok(Flow::Go);
        }
        match &cut.namespaces {
            Some(only) if !only.contains(&hint.namespace) => {
                plan.mixed += u64::from(hint.namespace == Namespace::MIXED);
            }
            _ => plan.hints += 1,
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, _: &Finding) -> anyhow::Result<()> {
        // `verify` tells of damage; what cannot be read is not discarded.
        Ok(())
    }
}
