//! Checks of the tree itself: each source file says what it is, every assertion asserts, and the
//! byte tables in the docs are those of the code.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Checks everything, and says all that is wrong at once.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    for folder in ["crates", "benches", "fuzz"] {
        for file in sources(&root.join(folder)) {
            check_source(&file, &mut wrong);
        }
    }
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
