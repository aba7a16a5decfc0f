//! `truncate`: discards hints of a native store, or of a directory of Cassandra's. Plans first; acts
//! with `--apply`.

use std::collections::BTreeMap;

use hintstore::raw::format::file_name;
use hintstore::{
    Clock as _, Config, Discarded, HintStore, Namespace, Sequence, Storage as _, SystemClock,
    TargetId, Truncate as Which, UnixMillis,
};
use serde_json::json;

use super::{
    convert::Wanted,
    rewrite::{self, Fate},
};
use crate::{
    args::{Select, Truncate},
    decode,
    exit::usage,
    input::{FileKind, Finding, Flow, HintSource, HintView, Input, Pending, Visitor},
    output::{Output, count, time},
};

pub(crate) fn run(args: &Truncate, output: &mut Output) -> anyhow::Result<()> {
    let narrowed = args.target.is_some()
        || args.namespace.is_some()
        || args.table.is_some()
        || args.older_than.is_some();
    if !narrowed && !args.all {
        return Err(usage(
            "say what to discard: --target, --namespace, --older-than, or --all",
        ));
    }
    let input = Input::open(&args.directory)?;
    input.refuse_unfinished()?;
    input.tell_misnamed(output)?;
    let is_cassandras = input
        .files
        .iter()
        .any(|file| file.what == FileKind::Cassandra);
    if input.is_directory && !input.is_store() && (is_cassandras || input.is_empty()?) {
        return of_cassandra(args, &input, output);
    }
    if args.table.is_some() || args.schema.is_some() {
        return Err(usage(
            "--table and --schema are for Cassandra's directories: name the --namespace",
        ));
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
    // A fence is for what was created before it.
    let fence = args.namespace.filter(|_| args.fence);
    let fence = fence.map(|of| (of, args.older_than.unwrap_or_else(|| SystemClock.wall())));
    let older_than = args.older_than.or(fence.map(|(_, before)| before));
    let which = Which::all()
        .target(args.target)
        .namespace(args.namespace)
        .created_before(older_than)
        .up_to(args.up_to);
    let apply = args.change.apply;
    let done = if apply {
        let store = HintStore::open(Config::new(&args.directory))?;
        // First: what comes while hints are discarded is fenced already.
        if let Some((namespace, before)) = fence {
            store.fence(namespace, before)?;
        }
        let done = store.truncate(&which)?;
        let done: Vec<Planned> = done.into_iter().map(Planned::from).collect();
        let report = store.open_report().clone();
        store.close()?;
        let hints: u64 = done.iter().map(|one| one.hints).sum();
        output.did(format!("{} went as asked", count(hints, "hint")));
        for name in &report.set_aside {
            output.remark(&format!("{name} cannot be read and was set aside"));
        }
        done
    } else {
        plan(&input, which, output)?
    };
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
    if let Some(target) = args.target
        && done.is_empty()
    {
        output.remark(&format!("there are no hints for {target}"));
    }
    output.sum("hints", hints);
    output.sum("mixed", mixed);
    output.sum("applied", apply);
    if let Some((namespace, before)) = fence {
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
        if hints > 0 || fence.is_some() {
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
        ))
    }
}

/// The same in a directory of Cassandra's.
fn of_cassandra(args: &Truncate, input: &Input, output: &mut Output) -> anyhow::Result<()> {
    if args.up_to.is_some() {
        return Err(usage(
            "hints of Cassandra have no sequence: --up-to is for native stores",
        ));
    }
    if args.fence {
        return Err(usage(
            "Cassandra knows no fences: --fence is for native stores",
        ));
    }
    let schema = decode::schema(args.schema.as_ref(), output)?;
    let select = Select {
        target: args.target,
        namespace: args.namespace,
        until: args.older_than,
        ..Select::default()
    };
    let wanted = Wanted::new(&select, args.table.as_deref(), schema.as_ref())?;
    let by_table = args.table.is_some();
    let mut fate = |hint: &HintView<'_>| match wanted.has(hint) {
        false => Fate::Stay,
        true if by_table && hint.namespace == Namespace::MIXED => Fate::Mixed,
        true => Fate::Go,
    };
    rewrite::run(input, &args.change, &mut fate, output)?;
    wanted.tell_unsure(output);
    Ok(())
}

/// What `--apply` would discard, from the files alone: nothing is locked, opened for writing or
/// changed, so that the plan can be made while the node runs.
fn plan(input: &Input, which: Which, output: &mut Output) -> anyhow::Result<Vec<Planned>> {
    let mut planner = Planner {
        which,
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

impl From<Discarded> for Planned {
    fn from(done: Discarded) -> Self {
        Self {
            target: done.target,
            hints: done.hints,
            up_to: done.up_to,
            mixed: done.mixed,
        }
    }
}

struct Planner {
    which: Which,
    pending: Pending,
    found: BTreeMap<TargetId, Planned>,
}

impl Visitor for Planner {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        let HintSource::Native { sequence, .. } = hint.from else {
            return Ok(Flow::Go);
        };
        let which = &self.which;
        let here = which.target.is_none_or(|only| only == hint.target)
            && which.up_to.is_none_or(|last| sequence <= last);
        if !here {
            return Ok(Flow::Go);
        }
        let plan = self.found.entry(hint.target).or_insert(Planned {
            target: hint.target,
            hints: 0,
            up_to: Sequence::ZERO,
            mixed: 0,
        });
        plan.up_to = plan.up_to.max(sequence);
        let created = UnixMillis::new(hint.created_ms);
        let in_time = which.created_before.is_none_or(|limit| created < limit);
        if !self.pending.has(hint) || !in_time {
            return Ok(Flow::Go);
        }
        match which.namespace {
            Some(only) if hint.namespace != only => {
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
