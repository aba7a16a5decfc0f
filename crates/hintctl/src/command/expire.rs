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
    let picked: u64 = picks.targets.values().map(|one| one.hints).sum();
    filter.tell_unsure(output);
    let (mut freed, mut stays) = (0, picks.stuck_hints());
    if apply {
        input.refuse_lost_journal()?;
        let before = Input::open(&args.directory)?.hint_bytes();
        let left = pick::discard(&args.directory, &picks.targets, output)?;
        stays = left.values().sum();
        let left = Input::open(&args.directory)?.hint_bytes();
        freed = before.saturating_sub(left);
    } else {
        picks.tell(true, output);
        output.sum("also_dead", picks.also_dead);
    }
    let dead = picked.saturating_sub(stays);
    if !apply && dead > 0 {
        output.problem();
    }
    output.sum("stays", stays);
    output.line(
        "expire",
        json!({ "dead": dead, "alive": alive, "freed_bytes": freed, "applied": apply }),
    )?;
    output.sum("dead", dead);
    output.sum("alive", alive);
    output.sum("freed_bytes", freed);
    output.sum("applied", apply);
    let hints = count(dead, "hint");
    if apply {
        return output.text(&format!(
            "{hints} removed, {alive} alive; {} came free",
            bytes(freed)
        ));
    }
    if dead == 0 {
        return output.text(&format!("{hints} dead, {alive} alive"));
    }
    if let Err(error) = input.storage.check_writable() {
        output.remark(&format!("--apply would fail: {error}"));
    }
    output.text(&format!(
        "{hints} dead, {alive} alive; nothing was changed: add --apply"
    ))?;
    next_apply(output)
}
