//! Checks of the tree itself: each source file says what it is, every assertion asserts, and each engine
//! that is broken on purpose can still be made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Checks everything, and says all that is wrong at once.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    for folder in ["crates", "benches", "fuzz"] {
        for file in sources(&root.join(folder)) {
            check_source(&file, &mut wrong);
        }
    }
    check_patches(root, &mut wrong);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("tidy:\n  {}", wrong.join("\n  ")))
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            if !path.ends_with("target") {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// Each patch that breaks the engine fits the source as it is: `cargo xtask broken` is run now and then,
/// and must not find out then.
fn check_patches(root: &Path, wrong: &mut Vec<String>) {
    let patches = root.join("crates/hintstore/tests/broken");
    for patch in fs::read_dir(patches).into_iter().flatten().flatten() {
        let check = Command::new("git")
            .args(["apply", "--check"])
            .arg(patch.path())
            .current_dir(root)
            .output();
        if !check.is_ok_and(|done| done.status.success()) {
            let name = patch.path();
            wrong.push(format!("{}: does not apply", name.display()));
        }
    }
}

fn check_source(file: &Path, wrong: &mut Vec<String>) {
    let name = file.display();
    let Ok(text) = fs::read_to_string(file) else {
        wrong.push(format!("{name}: cannot be read"));
        return;
    };
    if !text.starts_with("//!") && !text.starts_with("#![no_main]") {
        wrong.push(format!(
            "{name}: the first line does not say what the file is (//!)"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        // An assertion that asserts nothing; clippy lets it pass.
        if code.starts_with("matches!(") && code.ends_with(';') {
            wrong.push(format!(
                "{name}:{}: a bare matches! asserts nothing",
                number + 1
            ));
        }
        if code.starts_with("#[ignore") {
            wrong.push(format!("{name}:{}: a test that does not run", number + 1));
        }
    }
}
