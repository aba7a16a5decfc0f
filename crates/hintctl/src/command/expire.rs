//! `expire`: takes away what is dead. Plans first; acts with `--apply`.

use hintstore::raw::format::expiry::is_dead;
use hintstore::{Clock as _, Config, HintStore, SystemClock, UnixMillis};
use serde_json::json;

use super::{
    rewrite::{self, Fate},
    verify::tell,
};
use crate::{
    args::Expire,
    decode,
    exit::usage,
    filter::Filter,
    input::{Finding, Flow, HintView, Input, Pending, Visitor},
    output::{Output, count, next_apply, time},
};

pub(crate) fn run(args: &Expire, output: &mut Output) -> anyhow::Result<()> {
    let schema = decode::schema(args.which.schema.as_ref(), output)?;
    let filter = Filter::new(&args.which, schema.as_ref())?;
    let mut input = Input::open(&args.directory)?;
    input.refuse_unfinished()?;
    input.tell_misnamed(output)?;
    if !input.is_directory {
        return Err(usage(format!(
            "{} is a file: name the directory",
            args.directory.display()
        )));
    }
    if input.holds_nothing() && !input.is_empty()? {
        return Err(usage(format!(
            "{} holds no hints and is no native store: name the directory of one",
            args.directory.display()
        )));
    }
    let now = args.as_of.unwrap_or_else(|| SystemClock.wall());
    output.remark(&format!("judged at {}", time(now.get())));
    output.sum("as_of_ms", now.get());
    filter.narrow(&mut input)?;
    if !input.is_store() {
        let mut fate = |hint: &HintView<'_>| {
            if is_dead(UnixMillis::new(hint.expires_at_ms()), now) && filter.has(hint) {
                Fate::Go
            } else {
                Fate::Stay
            }
        };
        return rewrite::run(&input, &args.change, &filter, &mut fate, output);
    }
    let apply = args.change.apply;
    if apply && !args.which.is_all() {
        return Err(usage(
            "a native store drops the segments in which all is dead, whosever hints they are: what narrows them is for \
             the plan only",
        ));
    }
    if apply && args.as_of.is_some() {
        return Err(usage(
            "a native store judges by its own clock: --as-of is for the plan only",
        ));
    }
    let mut counter = Counter {
        filter: &filter,
        pending: Pending::of(&input, output)?,
        now,
        dead: 0,
        alive: 0,
    };
    input.refuse_other_version(output)?;
    let bar = output.bar(input.hint_bytes());
    for file in input.hints() {
        let walked = bar.walk(&input, file, &mut counter);
        tell(walked, &file.name, output)?;
    }
    bar.finish();
    let Counter { dead, alive, .. } = counter;
    filter.tell_unsure(output);
    let mut freed = 0;
    if apply {
        let store = HintStore::open(Config::new(&args.directory))?;
        store.sweep()?;
        store.close()?;
        let left = Input::open(&args.directory)?.hint_bytes();
        freed = input.hint_bytes().saturating_sub(left);
    } else if dead > 0 {
        output.problem();
    }
    output.line(
        "expire",
        json!({ "dead": dead, "alive": alive, "freed_bytes": freed, "applied": apply }),
    )?;
    output.sum("dead", dead);
    output.sum("alive", alive);
    output.sum("freed_bytes", freed);
    output.sum("applied", apply);
    let counter_is_empty = dead == 0;
    let dead = count(dead, "hint");
    if apply {
        output.text(&format!(
            "{dead} dead, {alive} alive; segments in which all is dead are gone: {}. Those with others go with hintctl compact",
            crate::output::bytes(freed)
        ))
    } else if counter_is_empty {
        output.text(&format!("{dead} dead, {alive} alive"))
    } else {
        if let Err(error) = input.storage.check_writable() {
            output.remark(&format!("--apply would fail: {error}"));
        }
        let can_apply = args.which.is_all() && args.as_of.is_none();
        let then = if can_apply {
            "add --apply"
        } else {
            "this is a plan only"
        };
        output.text(&format!(
            "{dead} dead, {alive} alive; nothing was changed: {then}"
        ))?;
        if can_apply {
            next_apply(output)
        } else {
            Ok(())
        }
    }
}

struct Counter<'a> {
    filter: &'a Filter<'a>,
    pending: Pending,
    now: UnixMillis,
    dead: u64,
    alive: u64,
}

impl Visitor for Counter<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if self.pending.has(hint) && self.filter.has(hint) {
            let dead = is_dead(UnixMillis::new(hint.expires_at_ms()), self.now);
            self.dead += u64::from(dead);
            self.alive += u64::from(!dead);
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, _: &Finding) -> anyhow::Result<()> {
        Ok(())
    }
}
