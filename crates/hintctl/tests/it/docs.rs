//! What the docs show is what the tool prints: each command in them whose output is shown is run.

use std::{fs, path::Path, process::Command};

use crate::tool::Folder;

/// Commands, and what the docs show of their output.
fn shown(text: &str) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    let mut is_console = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(rest) => is_console = rest == "console",
            None if !is_console => {}
            None => match (line.strip_prefix("$ "), all.last_mut()) {
                (Some(typed), _) => all.push((typed.to_owned(), Vec::new())),
                (None, Some((_, output))) => output.push(line.to_owned()),
                (None, None) => {}
            },
        }
    }
    all.retain(|(typed, output)| typed.starts_with("hintctl ") && !output.is_empty());
    all
}

/// A line whatever the widths of its columns.
fn steady(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether output is as it is shown, where `…` is any lines, or the rest of one.
fn is_as_shown(shown: &[String], output: &[&str]) -> bool {
    let Some((first, rest)) = shown.split_first() else {
        return output.is_empty();
    };
    if first == "…" {
        let mut behind = (0..=output.len()).filter_map(|skipped| output.get(skipped..));
        return behind.any(|output| is_as_shown(rest, output));
    }
    let Some((line, behind)) = output.split_first() else {
        return false;
    };
    let (shown, line) = (steady(first), steady(line));
    let fits = match shown.split_once('…') {
        Some((before, after)) => line.starts_with(before) && line.ends_with(after),
        None => shown == line,
    };
    fits && is_as_shown(rest, behind)
}

#[test]
fn the_docs_show_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // What they make is made elsewhere.
    let folder = Folder::new("docs");
    std::os::unix::fs::symlink(root.join("testdata"), folder.join("testdata")).unwrap();
    let mut count = 0;
    for page in ["docs/hintctl.md", "docs/cassandra.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for (typed, output) in shown(&text) {
            let run = Command::new(env!("CARGO_BIN_EXE_hintctl"))
                .args(typed.split_whitespace().skip(1))
                .current_dir(&folder.0)
                .output()
                .unwrap();
            let printed = String::from_utf8(run.stdout).unwrap();
            let lines: Vec<&str> = printed.lines().collect();
            assert!(
                is_as_shown(&output, &lines),
                "{page}: {typed} prints\n{printed}"
            );
            count += 1;
        }
    }
    assert!(count >= 11, "{count} commands are shown");
}

#[test]
fn a_difference_is_noticed() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let shown = lines("TARGET  OLDEST\na       6d ago\n…\n2 hints… free");
    let fits = |text: &str| is_as_shown(&shown, &text.lines().collect::<Vec<_>>());
    assert!(fits(
        "TARGET  OLDEST\na       6d ago\nb  1s ago\n2 hints, 3 KiB come free"
    ));
    assert!(!fits("TARGET  OLDEST\nb       6d ago\n2 hints come free"));
    assert!(!fits("TARGET  OLDEST\na       6d ago\n3 hints come free"));
    assert!(!fits(
        "TARGET  OLDEST\na       6d ago\n2 hints come free\nmore"
    ));
}
