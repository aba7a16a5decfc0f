//! `expire`: takes away what is dead. Plans first; acts with `--apply`.

use hintstore::UnixMillis;
use hintstore::raw::format::expiry::is_dead;
use serde_json::json;

use super::{
    pick::{self, pick},
    rewrite::{self, Fate},
};
use crate::{
    args::Expire,
    decode,
    exit::usage,
    filter::Filter,
    input::{HintView, Input},
    output::{Output, bytes, count, next_apply, time},
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
    let now = args.as_of.now();
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
    args.change.refuse_aside()?;
    input.refuse_other_version(output)?;
    let mut alive = 0;
    let mut fate = |hint: &HintView<'_>| {
        if !is_dead(UnixMillis::new(hint.expires_at_ms()), now) {
            // The limit is one of what goes.
            alive += u64::from(filter.means_hint(hint));
            return Fate::Stay;
        }
        if filter.has(hint) {
            Fate::Go
        } else {
            Fate::Stay
        }
    };
    let picks = pick(&input, &mut fate, output)?;
    filter.tell_unsure(output);
    let (mut freed, mut stays) = (0, picks.stuck());
    if apply {
        input.refuse_lost_journal()?;
        let before = Input::open(&args.directory)?.hint_bytes();
        stays = pick::discard(&args.directory, &picks.targets, output)?;
        let left = Input::open(&args.directory)?.hint_bytes();
        freed = before.saturating_sub(left);
    } else {
        picks.tell(true, output);
        output.sum("also_dead", picks.also_dead);
    }
    let (mut dead, mut rows) = (0, Vec::new());
    for (target, one) in &picks.targets {
        let hints = one
            .hints
            .saturating_sub(stays.get(target).copied().unwrap_or(0));
        dead += hints;
        let target = target.to_string();
        output.line(
            "discard",
            json!({ "target": target, "hints": hints, "mixed": 0, "applied": apply }),
        )?;
        rows.push(vec![target, hints.to_string()]);
    }
    output.table(&["TARGET", "HINTS"], rows)?;
    output.sum("stays", stays.values().sum::<u64>());
    output.sum("hints", dead);
    output.sum("kept", alive);
    output.sum("freed_bytes", freed);
    output.sum("applied", apply);
    let hints = count(dead, "hint");
    if apply {
        return output.text(&format!(
            "{hints} discarded, {alive} alive; {} came free",
            bytes(freed)
        ));
    }
    if dead == 0 {
        return output.text(&format!("0 hints would be discarded, {alive} alive"));
    }
    output.problem();
    if let Err(error) = input.storage.check_writable() {
        output.remark(&format!("--apply would fail: {error}"));
    }
    output.text(&format!(
        "{hints} would be discarded, {alive} alive; nothing was changed: add --apply"
    ))?;
    next_apply(output)
}
