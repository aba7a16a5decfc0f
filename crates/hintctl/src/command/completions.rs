//! `completions` and `man`: the command line, for shells and for readers.

use std::{fs, path::Path};

use anyhow::Context as _;
use clap_complete::Shell;

use crate::{args, output::Output};

/// Prints what a shell completes the command line with.
pub(crate) fn run(shell: Shell, output: &mut Output) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "hintctl", &mut script);
    output.raw(&script)
}

/// Writes a page for the tool, and one for each verb.
pub(crate) fn man(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = args::command().disable_help_subcommand(true);
    // The page lists the verbs by itself.
    command = command.help_template("{about}");
    clap_mangen::generate_to(command, folder)
        .with_context(|| format!("cannot write into {}", folder.display()))
}
