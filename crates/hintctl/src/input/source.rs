//! Where hints are: paths, lists of them, directories below them, standard input.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    io::{self, BufRead as _},
    os::unix::{ffi::OsStringExt as _, fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use hintstore::raw::format::file_name;
use hintstore::{Clock as _, SystemClock};
use hintstore_cassandra::FileName;

use super::{Input, STDIN, below};
use crate::{
    args::Sources,
    exit::{Exit, code, usage},
    filter::Filter,
    interrupt::Guard,
    output::{Output, quoted},
};

/// Looks at each source in turn, as far as files are of the targets asked for. What cannot be looked at is reported, and the others are looked at all
/// the same.
pub(crate) fn each(
    sources: &Sources,
    filter: &Filter<'_>,
    output: &mut Output,
    mut look: impl FnMut(&Input, &mut Output) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    look_at(sources, filter, false, output, &mut look)
}

/// The same once more: what was said of the sources is not said again.
pub(crate) fn each_again(
    sources: &Sources,
    filter: &Filter<'_>,
    output: &mut Output,
    mut look: impl FnMut(&Input, &mut Output) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    look_at(sources, filter, true, output, &mut look)
}

fn look_at(
    sources: &Sources,
    filter: &Filter<'_>,
    is_again: bool,
    output: &mut Output,
    look: &mut dyn FnMut(&Input, &mut Output) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    filter.restart(0);
    let mut passed_over = 0;
    let Listed { paths, _spool } = list(sources, output)?;
    for path in &paths {
        let mut input = match Input::open(path) {
            Ok(input) => input,
            // Of many, as a shell lists them, those that hold no hints are passed over aloud; but what
            // looked at nothing is not clean.
            Err(error) if code(&error) == Exit::Usage && path.ends_with(STDIN) => {
                return Err(usage("what came by standard input is no hint file"));
            }
            Err(error) if code(&error) == Exit::Usage => {
                passed_over += 1;
                if passed_over == paths.len() {
                    return Err(error);
                }
                output.remark(&format!("passed over: {error:#}"));
                continue;
            }
            Err(error) => {
                output.fail(&format!("{error:#}"));
                continue;
            }
        };
        output.set_source((paths.len() > 1).then(|| path.display().to_string()));
        if is_again {
            filter.narrow(&mut input)?;
            look(&input, output)?;
            continue;
        }
        if input.holds_nothing() {
            let below = below(path);
            let aside = if input.aside()?.is_empty() {
                String::new()
            } else {
                format!("; what was set aside: hintctl aside ls {}", quoted(path))
            };
            let text = format!("no hint files in {}{below}{aside}", path.display());
            // An empty directory is a node without a backlog; anything else is a wrong one.
            if input.files.is_empty() && below.is_empty() {
                output.remark(&text);
            } else {
                output.nothing(&text);
            }
        }
        filter.narrow(&mut input)?;
        input.tell_unfinished(output)?;
        input.tell_left_behind(output)?;
        input.tell_other_version(output)?;
        look(&input, output)?;
        if output.take_damaged() && !path.ends_with(STDIN) {
            output.remark(&format!("next: hintctl verify {}", quoted(path)));
        }
    }
    output.set_source(None);
    Ok(())
}

/// What is to be looked at.
struct Listed {
    paths: Vec<PathBuf>,
    /// What came by standard input.
    _spool: Option<Spool>,
}

fn list(sources: &Sources, output: &mut Output) -> anyhow::Result<Listed> {
    let mut paths = sources.paths.clone();
    let stdin = Path::new(STDIN);
    if sources.recursive && paths.iter().any(|path| path == stdin) {
        return Err(usage("standard input is no directory for --recursive"));
    }
    match &sources.files_from {
        Some(file) if file == stdin => {
            if paths.iter().any(|path| path == stdin) {
                return Err(usage(
                    "standard input is a hint file or a list of them, not both",
                ));
            }
            paths.extend(lines(io::stdin().lock(), "standard input")?);
        }
        Some(file) => {
            let name = file.display().to_string();
            let opened = fs::OpenOptions::new().read(true).open(file);
            let opened = opened.with_context(|| format!("cannot read {name}"))?;
            paths.extend(lines(io::BufReader::new(opened), &name)?);
        }
        None => {}
    }
    if paths.is_empty() {
        return Err(usage("the list names no path"));
    }
    if sources.recursive {
        let mut found = Vec::new();
        for path in &paths {
            directories(path, &mut found, output);
        }
        paths = found;
        if paths.is_empty() && !output.has_failed() {
            return Err(usage("there is no directory of hints below what was named"));
        }
    }
    once(&mut paths);
    let mut spool = None;
    for path in &mut paths {
        if path == stdin {
            if spool.is_some() {
                return Err(usage("standard input can be read once"));
            }
            let file = Spool::read()?;
            *path = file.0.join(STDIN);
            spool = Some(file);
        }
    }
    Ok(Listed {
        paths,
        _spool: spool,
    })
}

/// Leaves out what was named before, by whatever name, and files of directories that are named.
fn once(paths: &mut Vec<PathBuf>) {
    let whole: Vec<Option<PathBuf>> = paths
        .iter()
        .map(|path| fs::canonicalize(path).ok())
        .collect();
    let named: BTreeSet<PathBuf> = whole.iter().flatten().cloned().collect();
    let mut seen = BTreeSet::new();
    let mut whole = whole.into_iter();
    paths.retain(|_| match whole.next().flatten() {
        // What is not there, or has no name, is reported later.
        None => true,
        Some(path) => {
            let is_in_another =
                path.is_file() && path.parent().is_some_and(|parent| named.contains(parent));
            !is_in_another && seen.insert(path)
        }
    });
}

/// The greatest length of a list of paths, in bytes.
const LIST_MAX: u64 = 64 << 20;

fn lines(input: impl io::BufRead, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut input = input.take(LIST_MAX);
    let (mut paths, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        if read.with_context(|| format!("cannot read {name}"))? == 0 {
            break;
        }
        // Also as a system with other ends of lines writes them.
        let path = line.strip_suffix(b"\n").unwrap_or(&line);
        let path = path.strip_suffix(b"\r").unwrap_or(path);
        if !path.trim_ascii().is_empty() {
            paths.push(PathBuf::from(OsString::from_vec(path.to_vec())));
        }
    }
    if input.limit() == 0 {
        return Err(usage(format!(
            "{name} is longer than 64 MiB, and no list of paths"
        )));
    }
    Ok(paths)
}

/// Finds what holds hints in and below a path, in the order of names; not what was set aside. Links are not
/// followed: they may lead in circles.
fn directories(path: &Path, found: &mut Vec<PathBuf>, output: &mut Output) {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return found.push(path.to_owned()),
        Err(error) => return output.fail(&format!("cannot read {}: {error}", path.display())),
    }
    // Not by calls of calls: a path may be deep.
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let entries = fs::read_dir(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                output.fail(&format!("cannot list {}: {error}", path.display()));
                continue;
            }
        };
        let (mut below, mut holds, mut is_store) = (Vec::new(), false, false);
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if entry.file_type().is_ok_and(|of| of.is_dir()) {
                if !name.starts_with(BESIDE) {
                    below.push(entry.path());
                }
            } else {
                is_store |= name == file_name::STORE;
                holds |= file_name::parse_segment(name).is_some()
                    || FileName::parse(name) == Some(FileName::Hints);
            }
        }
        if is_store {
            below.retain(|folder| !folder.ends_with(file_name::ASIDE));
        }
        if holds || is_store {
            found.push(path);
        }
        below.sort();
        left.extend(below.into_iter().rev());
    }
}

/// What hintctl sets aside of Cassandra's files lies in folders whose names begin so.
pub(crate) const BESIDE: &str = "hintctl-aside-";

/// A hint file that came by standard input: on disk, since it is read here and there.
struct Spool(PathBuf, #[expect(dead_code, reason = "removes it")] Guard);

impl Spool {
    fn read() -> anyhow::Result<Self> {
        // What is in it is nobody else's to read, and a run that was killed may have left one of the name.
        let now = SystemClock.wall().get();
        let folder = format!("hintctl-stdin-{}-{now}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
        let spool = Self(folder.clone(), Guard::remove(&folder));
        let path = spool.0.join(STDIN);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        io::copy(&mut io::stdin().lock(), &mut file)
            .context("cannot keep what comes by standard input")?;
        Ok(spool)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
