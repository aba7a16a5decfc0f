//! One file a verb.

mod aside;
mod bench;
mod compact;
mod completions;
mod convert;
mod ctl;
mod diff;
mod dump;
mod expire;
mod forecast;
mod judgement;
mod layout;
mod losses;
mod ls;
mod merge;
mod page;
mod pick;
mod quickstart;
mod replay;
mod rewrite;
mod salvage;
mod stat;
mod sync_point;
mod tally;
mod top;
mod truncate;
mod verify;

use crate::{args::Command, output::Output};

/// Runs what was asked.
pub(crate) fn run(command: Command, output: &mut Output) -> anyhow::Result<()> {
    match command {
        Command::Dump(_) => {}
        Command::Ls(_) | Command::Stat(_) | Command::Diff(_) | Command::Forecast(_) => {
            output.refuse_cql()?;
        }
        _ => output.refuse_rows()?,
    }
    match command {
        Command::Ls(ls) => ls::run(&ls, output),
        Command::Stat(stat) => stat::run(&stat, output),
        Command::Dump(dump) if dump.layout => layout::run(&dump, output),
        Command::Dump(dump) => dump::run(&dump, output),
        Command::Verify(verify) => verify::run(&verify, output),
        Command::Salvage(salvage) => salvage::run(&salvage, output),
        Command::Expire(expire) => expire::run(&expire, output),
        Command::Compact(compact) => compact::run(&compact, output),
        Command::Aside(command) => aside::run(&command, output),
        Command::SyncPoint(command) => sync_point::run(&command, output),
        Command::Diff(diff) => diff::run(&diff, output),
        Command::Forecast(forecast) => forecast::run(&forecast, output),
        Command::Truncate(truncate) => truncate::run(&truncate, output),
        Command::Convert(convert) => convert::run(&convert, output),
        Command::Replay(replay) => replay::run(&replay, output),
        Command::Ctl(command) => ctl::run(&command, output),
        Command::Top(top) => top::run(&top),
        Command::Bench(bench) => bench::run(&bench, output),
        Command::Quickstart(quickstart) => quickstart::run(&quickstart, output),
        Command::Completions { shell } => completions::run(shell, output),
        Command::Man { folder } => completions::man(&folder),
        Command::QuickstartChild(child) => quickstart::child(&child),
    }
}
