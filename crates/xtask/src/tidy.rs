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
    check_blocking(root, &mut wrong);
    check_promises(root, &mut wrong);
    check_rooms(root, &mut wrong);
    check_words(root, &mut wrong);
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
            // Where cargo builds; the engine has a room of that name.
            if !path.join("CACHEDIR.TAG").exists() {
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

/// Every method of the handles says whether it blocks, on what and how long.
fn check_blocking(root: &Path, wrong: &mut Vec<String>) {
    for file in ["store.rs", "handle.rs"] {
        let file = root.join("crates/hintstore/src").join(file);
        let Ok(text) = fs::read_to_string(&file) else {
            wrong.push(format!("{}: cannot be read", file.display()));
            continue;
        };
        let mut doc = String::new();
        for line in text.lines() {
            if line.starts_with("    ///") {
                doc.push_str(line);
            } else if let Some(method) = line.strip_prefix("    pub fn ") {
                if !doc.contains("# Blocking") && !doc.contains("oes not block") {
                    let name = method.split('(').next().unwrap_or_default();
                    wrong.push(format!("{}: {name}: does it block?", file.display()));
                }
                doc.clear();
            } else if !line.starts_with("    #[") {
                doc.clear();
            }
        }
    }
}

/// Each promise names its tests in `docs/promises.md`, and each test that says which promise it is of is
/// named there: `// P4` above a test.
fn check_promises(root: &Path, wrong: &mut Vec<String>) {
    let doc = root.join("docs/promises.md");
    let listed = fs::read_to_string(&doc).unwrap_or_default();
    let mut tagged = Vec::new();
    for file in sources(&root.join("crates")) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut promises: Vec<String> = Vec::new();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |= line == "#[test]";
            if let Some(tags) = line.strip_prefix("// P") {
                let tags = format!("P{tags}");
                let is_promise = |tag: &&str| {
                    let number = tag.strip_prefix('P');
                    number.is_some_and(|number| number.parse::<u8>().is_ok())
                };
                promises = tags
                    .split(", ")
                    .filter(is_promise)
                    .map(str::to_owned)
                    .collect();
            } else if let Some(name) = line.strip_prefix("fn ") {
                let name = name.split('(').next().unwrap_or_default();
                if !promises.is_empty() && !is_test {
                    wrong.push(format!("{}: {name} is no test", file.display()));
                }
                is_test = false;
                tagged.extend(promises.drain(..).map(|of| (of, name.to_owned())));
            }
        }
    }
    for (promise, test) in &tagged {
        let row = listed
            .lines()
            .find(|line| line.starts_with(&format!("| {promise} |")));
        if !row.is_some_and(|row| row.contains(&format!("`{test}`"))) {
            wrong.push(format!(
                "{}: {promise} does not name `{test}`",
                doc.display()
            ));
        }
    }
    for number in 1..=10 {
        let promise = format!("P{number}");
        if !tagged.iter().any(|(of, _)| *of == promise) {
            wrong.push(format!("no test says that it is of {promise}"));
        }
    }
    let quoted = listed.lines().filter(|line| line.starts_with("| P"));
    for name in quoted.flat_map(|row| row.split('`').skip(1).step_by(2)) {
        if !tagged.iter().any(|(_, test)| test == name) {
            wrong.push(format!(
                "{}: no test `{name}` says its promise",
                doc.display()
            ));
        }
    }
}

/// Words that hide who does what, or for how long; what to write instead. Comments and docs are for readers
/// whose first language is another.
const WORDS: &[(&str, &str)] = &[
    ("so many", "at most N"),
    ("so long", "as long as, until"),
    ("whoever", "the thread, the caller"),
    ("anew", "again"),
    ("but for", "except"),
    ("for ever", "without end"),
    ("meanwhile", "while"),
    ("of which", "a sentence of its own"),
    ("told", "reported, gets an error"),
    ("and no more", "at most N"),
    ("the naive way", "a naive log"),
];

/// Refused words, and words for a thing that the glossary has another one for. Cassandra's things keep
/// Cassandra's words.
fn check_words(root: &Path, wrong: &mut Vec<String>) {
    let refused: Vec<(String, String)> = WORDS
        .iter()
        .map(|(word, instead)| ((*word).to_owned(), (*instead).to_owned()))
        .collect();
    let glossary = glossary(root);
    if glossary.is_empty() {
        wrong.push("docs/glossary.md: no table of three columns".to_owned());
    }
    let prose = |file: &Path| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let is_doc = file.extension().is_some_and(|end| end == "md");
        let lines = text.lines().enumerate();
        let lines = lines.map(|(at, line)| {
            (
                at,
                if is_doc {
                    line.to_owned()
                } else {
                    spoken(line)
                },
            )
        });
        lines.collect::<Vec<_>>()
    };
    for file in texts(root) {
        let is_cassandras =
            file.to_string_lossy().contains("cassandra") || file.ends_with("glossary.md");
        for (at, line) in prose(&file) {
            let known = if is_cassandras {
                [].as_slice()
            } else {
                glossary.as_slice()
            };
            for (word, instead) in refused.iter().chain(known) {
                if says(&line, word) {
                    let place = format!("{}:{}", file.display(), at + 1);
                    wrong.push(format!("{place}: not \"{word}\": {instead}"));
                }
            }
        }
    }
}

/// The third column of the glossary, and the word to use instead.
fn glossary(root: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(root.join("docs/glossary.md")).unwrap_or_default();
    let mut refused = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| ")).skip(2) {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, word, _, not, _] = columns.as_slice() else {
            continue;
        };
        let not = not.split(", ").filter(|not| !not.is_empty());
        refused.extend(not.map(|not| (not.to_lowercase(), (*word).to_owned())));
    }
    refused
}

/// What a person reads: sources, and all docs but those that others wrote.
fn texts(root: &Path) -> Vec<PathBuf> {
    let code = ["crates", "benches", "fuzz"].map(|folder| sources(&root.join(folder)));
    let code = code.into_iter().flatten();
    let code = code.filter(|file| !file.ends_with("xtask/src/tidy.rs"));
    let crates = fs::read_dir(root.join("crates")).into_iter().flatten();
    let crates = crates.flatten().map(|entry| entry.path());
    let folders = [".", "docs", "docs/adr", "testdata"].map(|folder| root.join(folder));
    let docs = folders.into_iter().chain(crates).flat_map(|folder| {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.map(|entry| entry.path())
    });
    let docs = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    code.chain(docs).collect()
}

/// What a line of source says to a person: its comment, its strings, and the name of its function.
fn spoken(line: &str) -> String {
    let code = line.trim_start();
    if code.starts_with("//") {
        return code.to_owned();
    }
    let mut said: String = code
        .split('"')
        .skip(1)
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" | ");
    if let Some((_, name)) = code.split_once("fn ") {
        let name = name.split(['(', '<']).next().unwrap_or_default();
        said = format!("{said} | {}", name.replace('_', " "));
    }
    said
}

/// Whether a text has these words, one behind the other.
fn says(text: &str, words: &str) -> bool {
    let lower = text.to_lowercase();
    let text: Vec<&str> = lower.split(|c: char| !c.is_alphabetic()).collect();
    let words: Vec<&str> = words.split(|c: char| !c.is_alphabetic()).collect();
    text.windows(words.len()).any(|window| window == words)
}

/// What a room of the engine must not know: see `docs/architecture.md`.
const ROOMS: &[(&str, &[&str])] = &[
    ("append", &["crate::deliver", "deliver::"]),
    ("deliver", &["crate::append", "append::"]),
    (
        "target",
        &["crate::append", "crate::deliver", "Storage", ".open("],
    ),
    (
        "read",
        &["crate::target", "crate::deliver", "crate::append"],
    ),
    (
        "recover/cases.rs",
        &["Storage", "File", "std::fs", "hintstore_env"],
    ),
];

fn check_rooms(root: &Path, wrong: &mut Vec<String>) {
    let engine = root.join("crates/hintstore/src");
    for (room, unknown) in ROOMS {
        let path = engine.join(room);
        let files = if path.is_dir() {
            sources(&path)
        } else {
            vec![path]
        };
        for file in files {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for word in unknown.iter().filter(|word| line.contains(**word)) {
                    wrong.push(format!("{}: {room} must not know {word}", file.display()));
                }
            }
        }
    }
    // Only these remove or rename files.
    let may = [
        "deliver/checkpoint.rs",
        "recover/apply.rs",
        "journal/mod.rs",
        "space/descriptors.rs",
    ];
    for file in sources(&engine) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let touches = code.contains(".unlink(") || code.contains(".rename(");
        if touches && !may.iter().any(|may| file.ends_with(may)) {
            wrong.push(format!("{}: removes or renames files", file.display()));
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
