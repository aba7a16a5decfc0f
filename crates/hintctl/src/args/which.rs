//! What is looked at, and which hints of it: the same on every verb.

use std::path::PathBuf;

use clap::Args as Arguments;
use hintstore::{Clock as _, Sequence, SystemClock, TargetId, UnixMillis};

use super::value::{sequence, time};

/// Where hints are.
#[derive(Debug, Arguments)]
pub(crate) struct Sources {
    /// Directories of hints, or single files; `-` is a hint file on standard input
    #[arg(required_unless_present = "files_from")]
    pub(crate) paths: Vec<PathBuf>,
    /// Also look at the paths in this file, one a line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from: Option<PathBuf>,
    /// Look at each directory of hints that lies below the paths
    #[arg(long, short)]
    pub(crate) recursive: bool,
}

impl Sources {
    /// Whether any of them is standard input, which is read once.
    pub(crate) fn reads_stdin(&self) -> bool {
        let mut all = self.paths.iter().chain(&self.files_from);
        all.any(|path| path.as_os_str() == "-")
    }
}

/// The time that hints are judged by.
#[derive(Debug, Arguments)]
pub(crate) struct AsOf {
    /// Judge ages, and what has expired, at this time instead of now
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    as_of: Option<UnixMillis>,
}

impl AsOf {
    /// That time; the clock is read each time, where none was given.
    pub(crate) fn now(&self) -> UnixMillis {
        self.as_of.unwrap_or_else(|| SystemClock.wall())
    }
}

/// Which hints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Arguments)]
#[command(next_help_heading = "Which hints")]
pub(crate) struct Which {
    /// Only hints for this target. Can be given several times
    #[arg(long, value_name = "UUID")]
    pub(crate) target: Vec<TargetId>,
    /// Only hints that write to this keyspace; needs --schema. Can be given several times
    #[arg(long, value_name = "NAME", requires = "schema")]
    pub(crate) keyspace: Vec<String>,
    /// Only hints that write to this table, or are of this namespace: an id, with --schema also keyspace.table; or
    /// `mixed`, for those that write to several. Can be given several times
    #[arg(long, value_name = "TABLE", visible_alias = "namespace")]
    pub(crate) table: Vec<String>,
    /// Only hints that write to this partition: its key with --schema, parts joined by `:`, or in hex behind 0x. Of
    /// hints of hintstore's own the collapse key, in hex
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Only hints created at or after this time
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) since: Option<UnixMillis>,
    /// Only hints created before this time
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true, visible_alias = "older-than")]
    pub(crate) until: Option<UnixMillis>,
    /// Only hints from this sequence on: of native stores
    #[arg(long, value_name = "N", value_parser = sequence)]
    pub(crate) from_seq: Option<Sequence>,
    /// Only hints up to this sequence: of native stores
    #[arg(long, value_name = "N", value_parser = sequence, visible_alias = "up-to")]
    pub(crate) to_seq: Option<Sequence>,
    /// No more than this many of them, the first
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// The tables of Cassandra's hints: what DESCRIBE SCHEMA WITH INTERNALS printed, or a dump of
    /// `system_schema` in JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
}

impl Which {
    /// Whether it asks for all.
    pub(crate) fn is_all(&self) -> bool {
        let schema = self.schema.clone();
        *self
            == Self {
                schema,
                ..Self::default()
            }
    }
}
