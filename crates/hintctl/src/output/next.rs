//! What to type next: the very command, as a shell takes it.

use std::{borrow::Cow, env, path::Path};

use super::Output;
use crate::args::time;

/// A path, as one word of a command, and never taken for an option.
pub(crate) fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    if path.starts_with('-') {
        return word(&format!("./{path}"));
    }
    word(&path)
}

/// Only a word with a byte of zero in it has no quotes, and the system passes none.
fn word(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), Cow::into_owned)
}

/// Says what to type next.
pub(crate) fn next(command: &str, output: &mut Output) -> anyhow::Result<()> {
    output.text(&format!("  next: hintctl {command}"))
}

/// What takes a time.
const TIMES: [&str; 4] = ["--since", "--until", "--older-than", "--as-of"];

/// The words as they were typed, with times that are counted from now as what they were then: later they would mean
/// other hints.
fn absolute(typed: &[String]) -> Vec<String> {
    let at = |text: &str| match time(text) {
        // A date stays as it is.
        Ok(time) if text.get(4..5) != Some("-") => time.get().to_string(),
        _ => text.to_owned(),
    };
    let mut is_time = false;
    let mut all = Vec::new();
    for text in typed {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        all.push(if is_time {
            at(text)
        } else if TIMES.contains(&name) && !value.is_empty() {
            format!("{name}={}", at(value))
        } else {
            text.clone()
        });
        is_time = !is_time && TIMES.contains(&text.as_str());
    }
    all
}

/// After a plan: the same again, with `--apply`.
pub(crate) fn next_apply(output: &mut Output) -> anyhow::Result<()> {
    let typed = env::args_os().skip(1);
    let typed: Vec<String> = typed.map(|of| of.to_string_lossy().into_owned()).collect();
    let mut words: Vec<String> = absolute(&typed).iter().map(|of| word(of)).collect();
    // Behind a word of two dashes only paths are taken.
    let at = words.iter().position(|typed| typed == "--");
    let at = at.unwrap_or(words.len());
    words.insert(at, "--apply".to_owned());
    // What was judged by the clock is judged by what the clock said: later more would have expired.
    let is_named = |typed: &String| typed.split('=').next() == Some("--as-of");
    match output.summary.get("as_of_ms") {
        Some(judged_at) if !words.iter().any(is_named) => {
            words.insert(at, format!("--as-of {judged_at}"));
        }
        _ => {}
    }
    next(&words.join(" "), output)
}
