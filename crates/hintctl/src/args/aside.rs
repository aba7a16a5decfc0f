//! What to do with what was set aside.

use std::path::PathBuf;

use clap::{Args as Arguments, Subcommand};
use hintstore::{Namespace, TargetId, UnixMillis};

use super::value::time;

/// What to do with what was set aside.
#[derive(Debug, Subcommand)]
pub(crate) enum AsideCommand {
    /// List it, and the loss receipts: what targets may lack
    #[command(after_help = "\
Examples:
  hintctl aside ls /var/lib/cassandra/hints
  hintctl --json aside ls STORE | jq -r 'select(.kind == \"loss\").target'")]
    Ls {
        /// A native store, or a directory of Cassandra's hints
        directory: PathBuf,
    },
    /// Have dead letters, and what is intact in damaged files, delivered again: they are appended to the store
    /// under their keys, and files that are whole go
    #[command(after_help = "\
Examples:
  hintctl aside retry STORE
  hintctl aside retry STORE --apply")]
    Retry(AsideChange),
    /// Put files of Cassandra's back as they were, in the place of what was written since, which is set aside in turn
    #[command(after_help = "\
Examples:
  hintctl aside restore HINTS --apply
  hintctl aside restore HINTS --folder hintctl-aside-1764240000000 --apply
  hintctl aside restore HINTS --from /mnt/kept --apply")]
    Restore(AsideRestore),
    /// Write the hints in it, and the loss receipts, into a file of JSON Lines
    #[command(after_help = "\
Examples:
  hintctl aside export STORE aside.jsonl")]
    Export {
        /// A native store, or a directory of Cassandra's hints
        directory: PathBuf,
        /// The file: one that is not there
        out: PathBuf,
    },
    /// Remove files for good, or settle loss receipts
    #[command(after_help = "\
Examples:
  hintctl aside purge HINTS --older-than 7days --apply
  hintctl aside purge STORE --losses --older-than 2026-11-22 --apply")]
    Purge(AsidePurge),
}

/// Which files, and whether anything is done.
#[derive(Debug, Arguments)]
pub(crate) struct AsidePurge {
    #[command(flatten)]
    pub(crate) change: AsideChange,
    /// Settle loss receipts instead: with --older-than those of writes from before it, which a repair that
    /// began then has seen to
    #[arg(long, conflicts_with_all = ["folder", "file"])]
    pub(crate) losses: bool,
    /// Only receipts of this target
    #[arg(long, value_name = "UUID", requires = "losses")]
    pub(crate) target: Option<TargetId>,
    /// Only receipts of this namespace
    #[arg(long, value_name = "UUID", requires = "losses")]
    pub(crate) namespace: Option<Namespace>,
}

#[derive(Debug, Arguments)]
pub(crate) struct AsideChange {
    /// A native store, or a directory of Cassandra's hints
    pub(crate) directory: PathBuf,
    /// Only files in this folder, as `aside ls` names it
    #[arg(long, value_name = "NAME")]
    pub(crate) folder: Option<String>,
    /// Only this file, by its name. Can be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) file: Vec<String>,
    /// Only files that were last written before this time
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) older_than: Option<UnixMillis>,
    /// Do it: without this nothing is changed
    #[arg(long)]
    pub(crate) apply: bool,
    /// The node that uses Cassandra's files is stopped: where nothing can tell whether it is
    #[arg(long)]
    pub(crate) node_is_stopped: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct AsideRestore {
    #[command(flatten)]
    pub(crate) change: AsideChange,
    /// What `--aside DIR` kept in another place: it is copied back, and stays there
    #[arg(long, value_name = "DIR", conflicts_with = "folder")]
    pub(crate) from: Option<PathBuf>,
}
