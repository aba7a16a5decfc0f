//! How to print, and how often.

use std::time::Duration;

use clap::{Args as Arguments, ValueEnum};

use super::{Sources, value::duration};
use crate::exit::usage;

/// How to print.
#[derive(Clone, Debug, Default, Arguments)]
#[command(next_help_heading = "Printing")]
pub(crate) struct Printing {
    /// Print JSON Lines: one object a line, the last of kind "summary"
    #[arg(long, global = true, conflicts_with = "format")]
    json: bool,
    /// What to print
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        hide_possible_values = false
    )]
    format: Format,
    /// Colours: by default on a terminal, unless `NO_COLOR` is set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value = "auto"
    )]
    pub(crate) color: Color,
    /// Show no progress bars
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Do not send long text through a pager (`HINTCTL_PAGER`, PAGER, less)
    #[arg(long, global = true)]
    pub(crate) no_pager: bool,
}

impl Printing {
    pub(crate) fn format(&self) -> Format {
        if self.json {
            Format::Jsonl
        } else {
            self.format
        }
    }

    /// JSON Lines, whatever was typed.
    pub(crate) fn jsonl() -> Self {
        Self {
            json: true,
            ..Self::default()
        }
    }
}

/// What is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    #[default]
    Text,
    /// JSON Lines, as --json
    Jsonl,
    /// Rows in CSV: of verbs that print rows
    Csv,
    /// Rows in Parquet: of verbs that print rows
    Parquet,
    /// Of dump: the statements that write the same; needs --schema
    Cql,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// Whether to look again and again.
#[derive(Clone, Debug, Arguments)]
pub(crate) struct Follow {
    /// Look again and again, until stopped with Ctrl-C: at a directory that a node writes to
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How often to look, with --follow
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s", requires = "follow")]
    every: Duration,
}

impl Follow {
    /// Whether it is asked for of what can be looked at again.
    ///
    /// # Errors
    /// Standard input is read once, and Parquet is nothing before its end.
    pub(crate) fn check(&self, sources: &Sources, format: Format) -> anyhow::Result<()> {
        if self.follow && format == Format::Parquet {
            return Err(usage(
                "what is followed has no end, and Parquet needs one: take csv or jsonl",
            ));
        }
        if self.follow && sources.reads_stdin() {
            return Err(usage("standard input is read once: it cannot be followed"));
        }
        Ok(())
    }

    /// Waits until it is time to look again; `false` where one look was enough.
    pub(crate) fn wait(&self) -> bool {
        if self.follow {
            std::thread::park_timeout(self.every);
        }
        self.follow
    }
}
