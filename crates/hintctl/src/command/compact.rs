//! `compact`: rewrites segments of a native store that hold much that is dead, and merges small ones. Plans
//! first; acts with `--apply`.

use hintstore::{Compact as What, Config, HintStore, SystemClock, inspect::plan_compact};
use serde_json::json;

use crate::{
    args::Compact,
    exit::usage,
    input::Input,
    output::{Output, bytes, count},
};

pub(crate) fn run(args: &Compact, output: &mut Output) -> anyhow::Result<()> {
    let input = Input::open(&args.directory)?;
    input.refuse_unfinished()?;
    if !input.is_store() {
        return Err(usage(format!(
            "{} is no native store: name the directory of one. In Cassandra's directories `expire` \
             rewrites files without what is dead in them",
            args.directory.display()
        )));
    }
    input.refuse_newer(output)?;
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
    let done = if args.apply {
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
                "applied": args.apply,
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
    for (file, why) in &done.skipped {
        output.line("skipped", json!({ "file": file, "why": why }))?;
        output.remark(&format!("{file} stays as it is: {why}"));
    }
    let freed = done.freed().get();
    output.sum("files", files);
    output.sum("freed_bytes", freed);
    output.sum("applied", args.apply);
    if !done.skipped.is_empty() {
        output.problem();
    }
    if done.compacted.is_empty() {
        return output.text("nothing would come free");
    }
    let (files, freed) = (count(files as u64, "file"), bytes(freed));
    if args.apply {
        return output.text(&format!("{files} rewritten: {freed} came free"));
    }
    // Work is left to do.
    output.problem();
    if let Err(error) = input.storage.check_writable() {
        output.remark(&format!("--apply would fail: {error}"));
    }
    output.text(&format!(
        "{files} would be rewritten: about {freed} would come free; nothing was changed: add --apply"
    ))
}
