//! What to type next: the very command, as a shell takes it.

use std::{borrow::Cow, env, path::Path};

use super::Output;

/// A path, as one word of a command.
pub(crate) fn quoted(path: &Path) -> String {
    word(&path.to_string_lossy())
}

/// Only a word with a byte of zero in it has no quotes, and the system passes none.
fn word(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), Cow::into_owned)
}

/// Says what to type next.
pub(crate) fn next(command: &str, output: &mut Output) -> anyhow::Result<()> {
    output.text(&format!("  next: hintctl {command}"))
}

/// After a plan: the same again, with `--apply`.
pub(crate) fn next_apply(output: &mut Output) -> anyhow::Result<()> {
    let words: Vec<String> = env::args_os()
        .skip(1)
        .map(|typed| word(&typed.to_string_lossy()))
        .collect();
    next(&format!("{} --apply", words.join(" ")), output)
}
