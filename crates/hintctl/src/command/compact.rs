//! `compact`: rewrites segments of a native store that hold much that is dead, and merges small ones; and files
//! of Cassandra's, by `merge`. Plans first; acts with `--apply`.

use hintstore::{
    Compact as What, Compaction, Config, HintStore, SystemClock, inspect::plan_compact,
};
use serde_json::json;

use super::merge;
use crate::{
    args::Compact,
    exit::usage,
    input::Input,
    output::{Output, bytes, count, next_apply},
};

pub(crate) fn run(args: &Compact, output: &mut Output) -> anyhow::Result<()> {
    let input = Input::open(&args.directory)?;
    input.refuse_unfinished()?;
    input.tell_misnamed(output)?;
    if !input.is_store() {
        if !input.is_directory || input.hints().next().is_none() && !input.is_empty()? {
            return Err(usage(format!(
                "{} holds no hints and is no native store: name the directory of one",
                args.directory.display()
            )));
        }
        if args.worthwhile || args.compress.is_some() || !args.collapse.is_empty() {
            return Err(usage(
                "--worthwhile, --compress and --collapse are for native stores: Cassandra compresses as its \
                 settings say, and knows no collapse keys",
            ));
        }
        return merge::run(args, &input, output);
    }
    args.change.refuse_aside()?;
    input.refuse_other_version(output)?;
    let what = if args.worthwhile {
        What::worthwhile()
    } else {
        What::everything()
    };
    let what = what.target(args.target);
    // An operator waits for it.
    let config = Config::new(&args.directory)
        .with(|config| config.compact_bytes_per_second = None)
        .with(|config| config.compress_level = args.compress)
        .with(|config| config.last_write_wins.clone_from(&args.collapse));
    let done = if args.change.apply {
        input.refuse_lost_journal()?;
        let store = HintStore::open(config)?;
        let done = store.compact(&what)?;
        for name in &store.open_report().set_aside {
            output.remark(&format!("{name} cannot be read and was set aside"));
        }
        store.close()?;
        done
    } else {
        plan_compact(&*input.storage, &SystemClock, &config, &what)?
    };
    let mut rows = Vec::new();
    let mut files = 0;
    for one in &done.compacted {
        files += one.files.len();
        output.line(
            "compact",
            json!({
                "target": one.target.to_string(),
                "files": one.files,
                "reason": one.reason.word(),
                "before_bytes": one.before.get(),
                "after_bytes": one.after.get(),
                "expired": one.expired,
                "fenced": one.fenced,
                "superseded": one.superseded,
                "applied": args.change.apply,
            }),
        )?;
        let first = one.files.first().cloned().unwrap_or_default();
        let more = match one.files.len() {
            0 | 1 => String::new(),
            files => format!("and {} more", files - 1),
        };
        rows.push(vec![
            first,
            more,
            one.reason.word().to_owned(),
            bytes(one.before.get()),
            bytes(one.after.get()),
        ]);
    }
    output.table(&["FILE", "", "WHY", "BEFORE", "AFTER"], rows)?;
    let has_skipped = tell_skipped(&done, output)?;
    let freed = done.freed().get();
    output.sum("files", files);
    output.sum("freed_bytes", freed);
    output.sum("applied", args.change.apply);
    if done.compacted.is_empty() && args.change.apply && has_skipped {
        return output.text("nothing was rewritten");
    }
    if done.compacted.is_empty() {
        return output.text("nothing would come free");
    }
    let (files, freed) = (count(files as u64, "file"), bytes(freed));
    if args.change.apply {
        return output.text(&format!("{files} rewritten: {freed} came free"));
    }
    // Work is left to do.
    output.problem();
    if let Err(error) = input.storage.check_writable() {
        output.remark(&format!("--apply would fail: {error}"));
    }
    output.text(&format!(
        "{files} would be rewritten: about {freed} would come free; nothing was changed: add --apply"
    ))?;
    next_apply(output)
}

/// Says which segments were not rewritten, and why; gives whether there are any.
pub(super) fn tell_skipped(done: &Compaction, output: &mut Output) -> anyhow::Result<bool> {
    for (file, why) in &done.skipped {
        output.line("skipped", json!({ "file": file, "why": why }))?;
        output.remark(&format!("{file} stays as it is: {why}"));
    }
    if done.has_failed {
        output.fail("the disk failed, or is full: not all could be rewritten; do it again when that is mended");
    }
    if !done.skipped.is_empty() {
        output.problem();
    }
    Ok(!done.skipped.is_empty())
}
