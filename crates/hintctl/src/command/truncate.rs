//! `truncate`: discards hints of a native store, or of a directory of Cassandra's. Plans first; acts
//! with `--apply`.

use std::collections::BTreeMap;

use hintstore::raw::format::file_name;
use hintstore::{
    Clock as _, Config, HintStore, Namespace, Sequence, Storage as _, SystemClock, TargetId,
    Truncate as Which, UnixMillis,
};
use serde_json::json;

use super::{
    pick::{self, Picked, Picks, pick},
    rewrite::{self, Fate},
};
use crate::{
    args::{MIXED, Truncate},
    decode,
    exit::usage,
    filter::Filter,
    input::{FileKind, HintSource, HintView, Input},
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
    args.change.refuse_aside()?;
    input.refuse_other_version(output)?;
    let cut = Cut::new(args, &filter)?;
    let apply = args.change.apply;
    // Of a store that nobody has open the files say all.
    let (mut picks, by_journal) = plan(&input, args, &cut, &filter, output)?;
    filter.tell_unsure(output);
    // A record takes whatever the store reads.
    let cannot = |picked: &Picked| {
        if by_journal {
            picked.set_aside
        } else {
            picked.stuck
        }
    };
    let mut stays: BTreeMap<TargetId, u64> = picks
        .targets
        .iter()
        .map(|(target, picked)| (*target, cannot(picked)))
        .collect();
    if stays.values().any(|hints| *hints > 0) || !by_journal && !apply {
        picks.tell(!by_journal, output);
    }
    if apply {
        input.refuse_lost_journal()?;
        let left = discard(args, &cut, &picks.targets, by_journal, output)?;
        if !by_journal {
            stays = left;
        }
    } else if !by_journal {
        output.sum("also_dead", picks.also_dead);
    }
    for (target, stays) in &stays {
        if let Some(picked) = picks.targets.get_mut(target) {
            picked.hints = picked.hints.saturating_sub(*stays);
        }
    }
    let stays: u64 = stays.values().sum();
    let picked = picks.targets;
    output.sum("stays", stays);
    let mut rows = Vec::new();
    let (mut hints, mut mixed) = (0, 0);
    for (target, one) in &picked {
        hints += one.hints;
        mixed += one.mixed;
        output.line(
            "discard",
            json!({
                "target": target.to_string(),
                "hints": one.hints,
                "mixed": one.mixed,
                "up_to": one.up_to.to_string(),
                "applied": apply,
            }),
        )?;
        rows.push(vec![
            target.to_string(),
            one.hints.to_string(),
            one.mixed.to_string(),
            one.up_to.to_string(),
        ]);
    }
    output.table(&["TARGET", "HINTS", "MIXED, LEFT ALONE", "UP TO"], rows)?;
    for target in &args.which.target {
        if !picked.contains_key(target) {
            output.remark(&format!("there are no hints for {target} that are meant"));
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
        let fences = input.quiet_journal().fences;
        let is_fenced = |(of, before): &(Namespace, UnixMillis)| {
            cut.fence
                .is_some_and(|fence| *of == fence.0 && *before >= fence.1)
        };
        if hints > 0 || cut.fence.is_some() && !fences.iter().any(is_fenced) {
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

/// What a record in the journal of a native store can discard.
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
        if (which.from_seq.is_some() || which.to_seq.is_some()) && which.target.is_empty() {
            return Err(usage(
                "each target has its own sequences: --from-seq and --to-seq need --target",
            ));
        }
        let namespaces = filter.namespaces();
        let fence = match (args.fence, namespaces.as_deref()) {
            (false, _) => None,
            (true, Some([only])) if *only != Namespace::MIXED && says_all(which) => {
                // A fence is for what was created before it.
                Some((*only, which.until.unwrap_or_else(|| SystemClock.wall())))
            }
            (true, _) => {
                return Err(usage(
                    "--fence is for one --table, and goes with --older-than alone",
                ));
            }
        };
        Ok(Self {
            targets: &which.target,
            namespaces,
            created_before: which.until.or(fence.map(|(_, before)| before)),
            up_to: which.to_seq,
            fence,
        })
    }

    /// Whether a record takes a hint.
    fn covers(&self, hint: &HintView<'_>) -> bool {
        let HintSource::Native { sequence, .. } = hint.from else {
            return false;
        };
        let created = UnixMillis::new(hint.created_ms);
        let namespaces = self.namespaces.as_ref();
        (self.targets.is_empty() || self.targets.contains(&hint.target))
            && namespaces.is_none_or(|only| only.contains(&hint.namespace))
            && self.created_before.is_none_or(|limit| created < limit)
            && self.up_to.is_none_or(|last| sequence <= last)
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

/// Whether targets, tables, an age and a last sequence say all that is asked for.
fn says_all(which: &crate::args::Which) -> bool {
    which.key.is_none()
        && which.since.is_none()
        && which.from_seq.is_none()
        && which.limit.is_none()
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
    let mut fate = fate(args, filter);
    rewrite::run(&input, &args.change, filter, &mut fate, output)
}

/// What goes, by target; and whether records in the journal can say so.
fn plan(
    input: &Input,
    args: &Truncate,
    cut: &Cut<'_>,
    filter: &Filter<'_>,
    output: &mut Output,
) -> anyhow::Result<(Picks, bool)> {
    let mut by_journal = says_all(&args.which);
    let mut fate = fate(args, filter);
    let mut judge = |hint: &HintView<'_>| {
        let created = UnixMillis::new(hint.created_ms);
        if cut.created_before.is_some_and(|limit| created >= limit) {
            return Fate::Stay;
        }
        let fate = fate(hint);
        // Its namespace may say something else than what it writes to.
        by_journal &= cut.covers(hint) == (fate == Fate::Go);
        fate
    };
    let picks = pick(input, &mut judge, output)?;
    Ok((picks, by_journal))
}

/// Discards what was planned; gives how many of these hints are left of each target.
fn discard(
    args: &Truncate,
    cut: &Cut<'_>,
    picked: &BTreeMap<TargetId, Picked>,
    by_journal: bool,
    output: &mut Output,
) -> anyhow::Result<BTreeMap<TargetId, u64>> {
    if by_journal || cut.fence.is_some() {
        let store = HintStore::open(Config::new(&args.directory))?;
        // First: what comes while hints are discarded is fenced already.
        if let Some((namespace, before)) = cut.fence {
            store.fence(namespace, before)?;
            output.did(format!(
                "older hints of {namespace} are refused from now on"
            ));
        }
        if by_journal {
            for which in cut.parts() {
                store.truncate(&which)?;
                output.did("some of the hints went as asked".to_owned());
            }
        }
        for name in &store.open_report().set_aside {
            output.remark(&format!("{name} cannot be read and was set aside"));
        }
        store.close()?;
    }
    let left = if by_journal {
        BTreeMap::new()
    } else {
        pick::discard(&args.directory, picked, output)?
    };
    let hints: u64 = picked.values().map(|one| one.hints).sum();
    let gone = hints.saturating_sub(left.values().sum());
    output.did(format!("{} went as asked", count(gone, "hint")));
    Ok(left)
}

/// Whether a hint goes. One that writes to other tables too is not theirs to discard, unless all of these are meant.
fn fate<'a>(
    args: &Truncate,
    filter: &'a Filter<'a>,
) -> impl FnMut(&HintView<'_>) -> Fate + use<'a> {
    let has_mixed = args.which.table.iter().any(|of| of == MIXED);
    let keeps_mixed = filter.is_by_update() && (args.which.key.is_some() || !has_mixed);
    move |hint| {
        if !filter.means_hint(hint) {
            Fate::Stay
        } else if keeps_mixed && !filter.covers(hint) {
            Fate::Mixed
        } else if filter.take() {
            // The limit is one of what goes.
            Fate::Go
        } else {
            Fate::Stay
        }
    }
}
