//! `truncate`: discards hints of a native store. Plans first; acts with `--apply`.

use std::sync::Arc;

use hintstore::{Config, HintStore, OsStorage, Storage as _};
use hintstore_format::file_name;
use serde_json::json;

use crate::{args::Truncate, exit::usage, output::Output};

pub(crate) fn run(args: &Truncate, output: &mut Output) -> anyhow::Result<()> {
    let narrowed = args.target.is_some() || args.namespace.is_some() || args.older_than.is_some();
    if !narrowed && !args.all {
        return Err(usage(
            "say what to discard: --target, --namespace, --older-than, or --all",
        ));
    }
    let storage = Arc::new(OsStorage::new(&args.directory));
    if storage.open(file_name::STORE, false).is_err() {
        return Err(usage(format!(
            "{} is no native store (it has no file {}): name the directory of one",
            args.directory.display(),
            file_name::STORE
        )));
    }
    // Opening takes the lock: a plan of what others change meanwhile would be no plan.
    let store = HintStore::open(Config::new(&args.directory))?;
    let what = hintstore::Truncate {
        target: args.target,
        namespace: args.namespace,
        created_before: args.older_than,
        up_to: args.up_to,
    };
    let done = if args.apply {
        store.truncate(&what)?
    } else {
        store.plan_truncate(&what)?
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
                "applied": args.apply,
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
    store.close()?;
    output.sum("hints", hints);
    output.sum("mixed", mixed);
    output.sum("applied", args.apply);
    if args.apply {
        output.text(&format!("{hints} hints discarded"))
    } else {
        if hints > 0 {
            // Work is left to do.
            output.problem();
        }
        output.text(&format!(
            "{hints} hints would be discarded; nothing was changed: add --apply"
        ))
    }
}
