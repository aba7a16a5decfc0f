//! What was typed.

mod aside;
mod help;
mod printing;
mod value;
mod which;

use std::{path::PathBuf, time::Duration};

use clap::{Args as Arguments, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hintstore::{Namespace, SyncPoint, TargetId, UnixMillis};

use value::{bytes_per_second, duration, form};

pub(crate) use aside::{AsideChange, AsideCommand, AsidePurge};
pub(crate) use help::command;
pub(crate) use printing::{Color, Follow, Format, Printing};
pub(crate) use value::{BytesPerSecond, MIXED, Rate, To, namespace, namespace_word, rate, time};
pub(crate) use which::{AsOf, Sources, Which};

/// Look into, verify, convert, replay and truncate directories of hints: those of hintstore, and
/// those of Apache Cassandra 3.0 to 5.x.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) printing: Printing,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  hintctl ls /var/lib/cassandra/hints          which files, how many hints, how old
  hintctl verify /var/lib/cassandra/hints      what is damaged, and where
  hintctl --json dump FILE | head              the hints of one file
  hintctl convert HINTS --to native STORE      make a native store of a node's hints
  hintctl quickstart                           see the engine at work

TIME is how long ago (2h, 3days, 10min), now, today, yesterday, +3h for what is
to come, a date or date and time in UTC, RFC 3339 (2026-11-22T12:00:00Z), or ms
since 1970.

Exit codes: 0 clean, 1 problems found or plan not applied, 2 usage, 3 I/O error,
4 locked, 6 unknown format version.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How much there is for which target, how old, what has expired or soon will
    #[command(
        visible_alias = "list",
        after_help = "\
Examples:
  hintctl ls /var/lib/cassandra/hints
  hintctl ls STORE --files
  hintctl ls HINTS --by table --schema schema.cql --since yesterday
  hintctl ls --recursive /var/lib --format csv
  hintctl ls STORE --follow

Of a native store hints count that are still to be delivered. IN 24H: what expires within a day."
    )]
    Ls(Ls),
    /// Show what a file says of itself: descriptor, footer, namespaces, blocks
    #[command(
        visible_alias = "info",
        after_help = "\
Examples:
  hintctl stat STORE/9a355670-9212-4932-96bd-55417aa90974-1795380788969-n1.hints
  hintctl stat STORE
  hintctl stat FILE --by hour"
    )]
    Stat(Stat),
    /// Print hints, one a line, and bad regions where they lie
    #[command(
        visible_alias = "cat",
        after_help = "\
Examples:
  hintctl dump FILE
  hintctl dump HINTS --schema schema.cql --table shop.carts --key 42
  hintctl dump HINTS --follow
  hintctl dump FILE --layout --limit 1
  hintctl --json dump STORE --target 9a355670-9212-4932-96bd-55417aa90974 --limit 10
  hintctl --json dump FILE --value hex
  hintctl --json dump /var/lib/cassandra/hints --schema schema.cql
  hintctl dump FILE --schema schema.cql --format cql"
    )]
    Dump(Dump),
    /// Check every checksum, and say what is damaged, and where
    #[command(after_help = "\
Examples:
  hintctl verify STORE
  hintctl verify /var/lib/cassandra/hints && echo clean
  hintctl verify /var/lib/cassandra/hints --schema schema.cql
  hintctl --json verify FILE | jq 'select(.kind==\"bad\")'

Of a file of Cassandra's it also says what Cassandra itself would do with it.")]
    Verify(Verify),
    /// Save every intact hint of damaged files of Cassandra's into new ones that it reads
    #[command(after_help = "\
Examples:
  hintctl salvage /var/lib/cassandra/hints SAVED
  hintctl salvage FILE SAVED
  hintctl salvage odd-name.hints SAVED --as-target 9a355670-9212-4932-96bd-55417aa90974

The files are only read. What is lost is reported, by its offset.")]
    Salvage(Salvage),
    /// Take away hints that are dead: plans, and acts only with --apply
    #[command(after_help = "\
Examples:
  hintctl expire /var/lib/cassandra/hints
  hintctl expire /var/lib/cassandra/hints --as-of 2026-12-01
  hintctl expire STORE --apply

In a directory of Cassandra's the node must be stopped; the files as they were are set aside. In a native store the \
segments with such hints are rewritten, without whatever is dead in them.")]
    Expire(Expire),
    /// Rewrite files with much that is dead in them, and merge small ones: plans, and acts only with --apply
    #[command(after_help = "\
Examples:
  hintctl compact STORE
  hintctl compact STORE --worthwhile
  hintctl compact STORE --compress --apply
  hintctl compact STORE --collapse 10000000-0000-4000-8000-000000000001 --apply
  hintctl compact STORE --target 9a355670-9212-4932-96bd-55417aa90974 --apply

Order, keys and payloads of the hints stay as they are. A node of ours that runs compacts by itself; one of
Cassandra's must be stopped, and its files as they were are set aside.")]
    Compact(Compact),
    /// What was set aside: dead letters, damaged files, files as they were before they were rewritten; and losses
    #[command(
        subcommand,
        after_help = "\
Examples:
  hintctl aside ls STORE
  hintctl aside ls /var/lib/cassandra/hints
  hintctl aside retry STORE --apply                 dead letters are delivered again
  hintctl aside restore /var/lib/cassandra/hints --folder hintctl-aside-1764240000000 --apply
  hintctl aside purge STORE --older-than 2026-11-01 --apply

  hintctl aside export STORE lost.jsonl             what is set aside, and what to repair
  hintctl aside purge STORE --losses --older-than 2026-11-27T03:00 --apply      after a repair that began then

All but ls and export plan, and act only with --apply. To look into the files: hintctl dump DIR/aside."
    )]
    Aside(AsideCommand),
    /// A token for all hints that a store has now, and whether they were delivered: repairs begin with it
    #[command(
        subcommand,
        after_help = "\
Examples:
  hintctl sync-point create STORE > point
  hintctl sync-point wait STORE \"$(cat point)\" --within 10m && nodetool repair

Works on a live store, by its files: hints that a node has in memory only are not among them."
    )]
    SyncPoint(SyncPointCommand),
    /// Which hints came, went, or are in another file now
    #[command(after_help = "\
Examples:
  hintctl diff YESTERDAY /var/lib/cassandra/hints
  hintctl --json dump HINTS > listing; hintctl diff listing HINTS
  hintctl diff HINTS STORE --brief                    a native store that was made of them

A hint is the same where target, time of creation and payload are. Exit code 1: there are differences.")]
    Diff(Diff),
    /// How long a backlog takes at a rate, and what expires before it is delivered
    #[command(after_help = "\
Examples:
  hintctl forecast /var/lib/cassandra/hints --rate 5MiB
  hintctl forecast STORE --rate 1MiB --per-target
  hintctl forecast STORE --rate 20MiB --begin +6h        when the target comes back in six hours

Exit code 1: something expires before it is delivered. Bytes are those of payload.")]
    Forecast(Forecast),
    /// Discard hints: plans, and acts only with --apply
    #[command(after_help = "\
Examples:
  hintctl truncate STORE --target 9a355670-9212-4932-96bd-55417aa90974
  hintctl truncate STORE --namespace 10000000-0000-4000-8000-000000000001 --apply
  hintctl truncate STORE --older-than 2026-11-01T00:00:00Z --apply
  hintctl truncate STORE --namespace 10000000-0000-4000-8000-000000000001 --fence --apply
  hintctl truncate /var/lib/cassandra/hints --table shop.carts --schema schema.cql --apply
  hintctl truncate STORE --table shop.carts --key 482 --schema schema.cql --apply

In a directory of Cassandra's the node must be stopped; the files as they were are set aside. In a native store what \
targets, tables, --older-than and --to-seq do not say takes the rewriting of segments, and what is dead in them goes too.")]
    Truncate(Truncate),
    /// Make one form of hints from another: native, Cassandra's files, JSON Lines, Parquet
    #[command(after_help = "\
Examples:
  hintctl convert /var/lib/cassandra/hints --to native STORE
  hintctl convert STORE --to cassandra:2:lz4 HINTS
  hintctl convert HINTS --to cassandra:3 OUT --table shop.orders --schema schema.cql
  hintctl convert HINTS --to parquet hints.parquet --schema schema.cql

cassandra:1 is for 3.0 to 3.11, :2 for 4.0, 4.1 and 5.0 as it is delivered, :3 for 5.0 in storage
compatibility mode NONE. Payloads, times and order stay as they are.")]
    Convert(Convert),
    /// Give out hints in order, past what is dead
    #[command(after_help = "\
Examples:
  hintctl replay STORE --to stdout
  hintctl replay STORE --to OUT                 one file a target
  hintctl replay HINTS --to stdout --as-of 2026-11-22T12:00:00Z")]
    Replay(Replay),
    /// Watch and steer a node that runs, by its admin socket
    #[command(
        subcommand,
        after_help = "\
Examples:
  hintctl ctl status /run/mynode/hints.sock
  hintctl ctl pause /run/mynode/hints.sock 9a355670-9212-4932-96bd-55417aa90974
  hintctl ctl limit /run/mynode/hints.sock 20MiB
  hintctl ctl limit /run/mynode/hints.sock none --target 9a355670-9212-4932-96bd-55417aa90974
  hintctl ctl reload /run/mynode/hints.sock

The node serves the socket where its settings say so; only the user that it runs as, or root, is answered.
What is changed here is not remembered when the node restarts."
    )]
    Ctl(CtlCommand),
    /// Watch a node that runs, by its admin socket: targets, rates, what expires first
    #[command(after_help = "\
Examples:
  hintctl top /run/mynode/hints.sock

Keys: arrows or j k choose a target, p pauses it, r resumes it, l sets its limit, L that of all together,
s sorts, R reloads the settings, q ends.")]
    Top(Top),
    /// Measure this engine on a disk, beside a naive log and the machine's limits
    #[command(after_help = "\
Examples:
  hintctl bench /var/lib/mynode                on the disk that hints will lie on
  hintctl bench /tmp --rounds 3 --size 64      a first look

What is written is removed. Only ratios within one run say anything: rates move by the hour.")]
    Bench(Bench),
    /// See the engine at work: convert, append, be killed, recover, replay, check
    #[command(after_help = "\
Examples:
  hintctl quickstart
  hintctl quickstart --hints 100000 --keep /tmp/hints")]
    Quickstart(Quickstart),
    /// Print what a shell completes the command line with
    #[command(after_help = "\
Examples:
  hintctl completions bash > /etc/bash_completion.d/hintctl
  hintctl completions zsh > ~/.zfunc/_hintctl
  hintctl completions fish > ~/.config/fish/completions/hintctl.fish")]
    Completions { shell: Shell },
    /// Write man pages into a directory
    #[command(hide = true)]
    Man { folder: PathBuf },
    /// The child of quickstart, to be killed
    #[command(hide = true)]
    QuickstartChild(QuickstartChild),
}

#[derive(Debug, Arguments)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// Also list each file
    #[arg(long)]
    pub(crate) files: bool,
    /// Add up by this
    #[arg(long, value_enum, default_value = "target")]
    pub(crate) by: By,
    #[command(flatten)]
    pub(crate) follow: Follow,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Arguments)]
pub(crate) struct Stat {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// Add up by this, instead of what each file says of itself
    #[arg(long, value_enum)]
    pub(crate) by: Option<By>,
    /// Write a page of its own instead: ages, sizes, expiry, tables, what is damaged where
    #[arg(long, value_name = "FILE", conflicts_with = "by")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// What hints are added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The node that they are for
    Target,
    /// The table that they write to: with several, they count in each
    Table,
    /// The hour that they were created in
    Hour,
    /// The file that they lie in
    File,
}

impl By {
    /// The word for it, for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Table => "table",
            Self::Hour => "hour",
            Self::File => "file",
        }
    }

    /// The head of its column.
    pub(crate) fn head(self) -> &'static str {
        match self {
            Self::Target => "TARGET",
            Self::Table => "TABLE",
            Self::Hour => "HOUR",
            Self::File => "FILE",
        }
    }
}

#[derive(Debug, Arguments)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// A directory without hints is clean: without this, that nothing was looked at is a problem
    #[arg(long)]
    pub(crate) allow_empty: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Value {
    /// Only its length and hash
    #[default]
    Size,
    /// In hex
    Hex,
    /// As text, where it is some
    Utf8,
}

#[derive(Debug, Arguments)]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// Show the bytes field by field instead: descriptor, blocks, records, footer. --limit is of hints of
    /// Cassandra's, of blocks in native segments
    #[arg(long, conflicts_with_all = ["follow", "value"])]
    pub(crate) layout: bool,
    #[command(flatten)]
    pub(crate) follow: Follow,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
    /// How to show the payload: user data, and not shown unless asked for
    #[arg(long, value_enum, default_value = "size")]
    pub(crate) value: Value,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Arguments)]
pub(crate) struct Salvage {
    /// A directory of Cassandra's hint files, or one of them
    pub(crate) from: PathBuf,
    /// Where: a directory that is empty, or not there
    pub(crate) out: PathBuf,
    /// The target, where neither descriptor nor name say it
    #[arg(long, value_name = "UUID", visible_alias = "retarget")]
    pub(crate) as_target: Option<TargetId>,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Arguments)]
pub(crate) struct Expire {
    /// The directory of a native store, or of Cassandra's hints
    pub(crate) directory: PathBuf,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
    #[command(flatten)]
    pub(crate) change: Change,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Arguments)]
pub(crate) struct Compact {
    /// The directory of a native store, or of Cassandra's hints
    pub(crate) directory: PathBuf,
    /// Only segments of this target
    #[arg(long, value_name = "UUID")]
    pub(crate) target: Option<TargetId>,
    /// Only what a running node would rewrite by itself: half dead, or small and many
    #[arg(long)]
    pub(crate) worthwhile: bool,
    /// Compress segments with zstd, by level 3 or the given one
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "3", require_equals = true,
        value_parser = clap::value_parser!(u64).range(1..=19))]
    pub(crate) compress: Option<u64>,
    /// In this namespace the newest write wins: of hints with one collapse key only the one of the greatest version
    /// is kept. Can be given several times
    #[arg(long, value_name = "UUID", value_parser = namespace)]
    pub(crate) collapse: Vec<Namespace>,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// What to do with a sync point.
#[derive(Debug, Subcommand)]
pub(crate) enum SyncPointCommand {
    /// Print a token for all that there is now
    Create {
        /// The directory of a native store
        directory: PathBuf,
        /// Only hints for this target. Can be given several times
        #[arg(long, value_name = "UUID")]
        target: Vec<TargetId>,
        /// Only hints of this namespace, and what comes before them. Can be given several times
        #[arg(long, value_name = "UUID")]
        namespace: Vec<Namespace>,
    },
    /// Wait until all that a token names was delivered, as the store's checkpoints say
    Wait {
        /// The directory of a native store
        directory: PathBuf,
        /// The token
        token: SyncPoint,
        /// No longer than this; 0s only looks
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
        within: Duration,
    },
}

/// What a node that runs is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// Say what goes on: the books, what to act on, each target
    #[command(after_help = "\
Examples:
  hintctl ctl status SOCKET")]
    Status {
        /// The admin socket of the node
        socket: PathBuf,
    },
    /// Hand out no page of these targets until they are resumed, whatever the node says of them
    #[command(after_help = "\
Examples:
  hintctl ctl pause SOCKET 9a355670-0000-4000-8000-000000000001")]
    Pause(CtlTargets),
    /// End a pause
    #[command(after_help = "\
Examples:
  hintctl ctl resume SOCKET 9a355670-0000-4000-8000-000000000001")]
    Resume(CtlTargets),
    /// Deliver no more than this a second, from the next page on
    #[command(after_help = "\
Examples:
  hintctl ctl limit SOCKET 20MiB
  hintctl ctl limit SOCKET none --target 9a355670-0000-4000-8000-000000000001")]
    Limit {
        /// The admin socket of the node
        socket: PathBuf,
        /// Such as 20MiB, or `none`: no limit, or, of one target, what the settings say
        #[arg(value_name = "RATE", value_parser = rate)]
        rate: Rate,
        /// Only to this target; without it, to all together
        #[arg(long, value_name = "UUID")]
        target: Option<TargetId>,
    },
    /// Have the node read its settings again
    #[command(after_help = "\
Examples:
  hintctl ctl reload SOCKET")]
    Reload {
        /// The admin socket of the node
        socket: PathBuf,
    },
}

#[derive(Debug, Arguments)]
pub(crate) struct CtlTargets {
    /// The admin socket of the node
    pub(crate) socket: PathBuf,
    /// The targets
    #[arg(required = true, value_name = "UUID")]
    pub(crate) targets: Vec<TargetId>,
}

#[derive(Debug, Arguments)]
pub(crate) struct Top {
    /// The admin socket of the node
    pub(crate) socket: PathBuf,
    /// How often to look
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) every: Duration,
}

/// How a verb changes what is there.
#[derive(Clone, Debug, Arguments)]
#[command(next_help_heading = "Changing it")]
pub(crate) struct Change {
    /// Do it: without this nothing is changed
    #[arg(long)]
    pub(crate) apply: bool,
    /// Keep Cassandra's files as they were here, instead of in a folder beside them: on another disk,
    /// where this one is full. An empty directory, or one that is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) aside: Option<PathBuf>,
    /// Keep nothing of Cassandra's files as they were: space comes free at once, and there is no way
    /// back
    #[arg(long, conflicts_with = "aside")]
    pub(crate) no_aside: bool,
    /// The node that uses Cassandra's files is stopped: where nothing can tell whether it is
    #[arg(long)]
    pub(crate) node_is_stopped: bool,
}

impl Change {
    /// # Errors
    /// Where something is asked for that a native store has not: who names a place for what goes means to have it
    /// back.
    pub(crate) fn refuse_aside(&self) -> anyhow::Result<()> {
        if self.aside.is_some() || self.no_aside {
            return Err(crate::exit::usage(
                "--aside and --no-aside are for Cassandra's files: what a native store discards is gone, so copy the \
                 store first if it may be wanted back",
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Arguments)]
pub(crate) struct Diff {
    /// A directory of hints, a hint file, or a listing: what `hintctl --json dump` printed
    pub(crate) before: PathBuf,
    /// The same, later
    pub(crate) after: PathBuf,
    /// Only how many, for each target
    #[arg(long)]
    pub(crate) brief: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Arguments)]
pub(crate) struct Forecast {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// How much is delivered a second, such as 5MiB, shared by all targets
    #[arg(long, value_name = "RATE", value_parser = bytes_per_second)]
    pub(crate) rate: BytesPerSecond,
    /// Each target has this rate for itself
    #[arg(long)]
    pub(crate) per_target: bool,
    /// When delivery begins [default: now]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) begin: Option<UnixMillis>,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Arguments)]
pub(crate) struct Truncate {
    /// The directory of a native store, or of Cassandra's hints
    pub(crate) directory: PathBuf,
    /// Discard everything
    #[arg(long, conflicts_with_all = ["target", "keyspace", "table", "key", "since", "until", "from_seq", "to_seq", "limit"])]
    pub(crate) all: bool,
    /// Also refuse hints that come later and are older than --older-than, or than now: the table was truncated
    /// or dropped. A native store, all of its targets; needs --table
    #[arg(long, requires = "table", conflicts_with = "target")]
    pub(crate) fence: bool,
    #[command(flatten)]
    pub(crate) change: Change,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Arguments)]
pub(crate) struct Convert {
    /// A directory of hints, Cassandra's or a native store, or one file
    pub(crate) from: PathBuf,
    /// What to make: native, cassandra:1, cassandra:2 or cassandra:3, each also with :lz4,
    /// :snappy, :deflate, :zstd or :noop behind it, jsonl, parquet
    #[arg(long, value_name = "FORM", value_parser = form)]
    pub(crate) to: To,
    /// Where: for native and cassandra a directory that is empty, or not there; for jsonl and
    /// parquet a file that is not there
    pub(crate) out: PathBuf,
    /// Add to the native store that is there: doing it twice adds the hints twice
    #[arg(long)]
    pub(crate) add: bool,
    /// Make them all hints for this target
    #[arg(long, value_name = "UUID")]
    pub(crate) retarget: Option<TargetId>,
    /// Make one of each target, or of each table, below a new directory
    #[arg(long, value_name = "WHAT", conflicts_with = "add")]
    pub(crate) split: Option<Split>,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// What hints are put apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Split {
    /// The node that they are for
    Target,
    /// The table that they write to; those that write to several are `mixed`
    Table,
}

impl Split {
    /// The word for it, for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Table => "table",
        }
    }
}

#[derive(Debug, Arguments)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// `stdout`, or an empty directory for one file a target
    #[arg(long, value_name = "stdout|DIR")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
    /// Also hints that were delivered before, as far as their files are still there
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Clone, Debug, Arguments)]
pub(crate) struct Quickstart {
    /// How many hints to append
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub(crate) hints: u64,
    /// Cassandra's hint files to convert first [default: those in the repository]
    #[arg(long, value_name = "DIR")]
    pub(crate) golden: Vec<PathBuf>,
    /// Where to make the store, and keep it: a directory that is empty, or not there
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Arguments)]
pub(crate) struct Bench {
    /// A directory on the disk to measure; a folder is made in it, and removed
    pub(crate) directory: PathBuf,
    /// How often everything is measured, by turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) rounds: u8,
    /// How much is appended and replayed each time, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=16384))]
    pub(crate) size: u64,
    /// Also draw it, in SVG: each result before what it is compared with
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Arguments)]
pub(crate) struct QuickstartChild {
    pub(crate) store: PathBuf,
    pub(crate) hints: u64,
    #[arg(value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) threads: u64,
}

impl Command {
    /// Whether it prints much for people to read.
    pub(crate) fn pages(&self) -> bool {
        match self {
            Self::Ls(args) => !args.follow.follow,
            Self::Dump(args) => !args.follow.follow,
            Self::Diff(_) | Self::Stat(_) | Self::Verify(_) => true,
            _ => false,
        }
    }

    /// Whether it makes or changes files.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::Convert(_)
            | Self::Stat(Stat { html: Some(_), .. })
            | Self::Salvage(_)
            | Self::Bench(_)
            | Self::Quickstart(_)
            | Self::Man { .. }
            | Self::Aside(AsideCommand::Export { .. }) => true,
            Self::Ctl(command) => !matches!(command, CtlCommand::Status { .. }),
            Self::Replay(args) => args.to != "stdout",
            Self::Truncate(args) => args.change.apply,
            Self::Expire(args) => args.change.apply,
            Self::Compact(args) => args.change.apply,
            Self::Aside(AsideCommand::Retry(args)) => args.apply,
            Self::Aside(AsideCommand::Restore(args)) => args.change.apply,
            Self::Aside(AsideCommand::Purge(args)) => args.change.apply,
            _ => false,
        }
    }
}
