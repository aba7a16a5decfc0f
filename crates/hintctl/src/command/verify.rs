//! `verify`: every checksum, and what is damaged, where.

use serde_json::json;

use crate::{
    args::Paths,
    input::{
        Bad, CassandraFile, Flow, Found, From, HintView, Input, NativeFile, SideFile, Visitor, What,
    },
    output::Output,
};

/// What a walk over one file found.
#[derive(Default)]
struct Check {
    hints: u64,
    bytes: u64,
    bad: Vec<Bad>,
    bad_count: u64,
    harmful: u64,
    last: Option<hintstore::Sequence>,
    disorder: u64,
}

/// No more bad regions than this are kept of one file; all are counted.
const BAD_MAX: usize = 10_000;

impl Visitor for Check {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        self.hints += 1;
        self.bytes += hint.payload.len() as u64;
        if let From::Native { sequence, .. } = hint.from {
            self.disorder += u64::from(self.last.is_some_and(|last| last >= sequence));
            self.last = Some(sequence);
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Bad) -> anyhow::Result<()> {
        self.bad_count += 1;
        self.harmful += u64::from(!bad.harmless);
        if self.bad.len() < BAD_MAX {
            self.bad.push(bad.clone());
        }
        Ok(())
    }
}

impl Check {
    fn add(&mut self, position: u64, what: &'static str, text: String) {
        self.bad_count += 1;
        self.harmful += 1;
        self.bad.push(Bad {
            position,
            bytes: 0,
            what,
            text,
            harmless: false,
        });
    }
}

pub(crate) fn run(paths: &Paths, output: &mut Output) -> anyhow::Result<()> {
    let (mut files, mut hints, mut damaged) = (0u64, 0, 0u64);
    for path in &paths.paths {
        let input = Input::open(path)?;
        let bar = output.bar(input.hint_bytes());
        for file in &input.files {
            let mut check = Check::default();
            let walked = match &file.what {
                What::Native => native(&input, file, &mut check),
                What::Cassandra => cassandra(&input, file, &mut check),
                // A control file is checked by opening it; a foreign one is none of ours.
                _ => continue,
            };
            files += 1;
            hints += check.hints;
            damaged += u64::from(check.harmful > 0);
            print(file, &check, output)?;
            tell(walked, &file.name, output)?;
            bar.inc(file.info.length);
        }
        bar.finish_and_clear();
        journal(&input, output)?;
    }
    output.text(&format!(
        "{files} files, {hints} intact hints, {damaged} files damaged"
    ))?;
    output.sum("files", files);
    output.sum("hints", hints);
    output.sum("damaged_files", damaged);
    Ok(())
}

/// Says that a file could not be walked to its end. One that went meanwhile is no error, and a
/// closed pipe is the caller's.
pub(crate) fn tell(
    walked: anyhow::Result<()>,
    name: &str,
    output: &mut Output,
) -> anyhow::Result<()> {
    let Err(error) = walked else { return Ok(()) };
    if let Some(error) = error.downcast_ref::<hintstore::StorageError>()
        && error.is_missing()
    {
        return Ok(());
    }
    let is_pipe = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    if is_pipe || error.downcast_ref::<serde_json::Error>().is_some() {
        return Err(error);
    }
    output.io_error();
    output.remark(&format!("{name}: {error:#}"));
    Ok(())
}

fn print(file: &Found, check: &Check, output: &mut Output) -> anyhow::Result<()> {
    let verdict = match (check.harmful, check.bad_count) {
        (0, 0) => "clean",
        (0, _) => "clean, with a torn or unused end",
        _ => "damaged",
    };
    if check.harmful > 0 {
        output.problem();
    }
    for bad in &check.bad {
        output.found_bad(bad);
        output.line("bad", bad.json(&file.name))?;
        let word = if bad.harmless { "note" } else { "BAD" };
        output.text(&format!(
            "{word}  {} at byte {}: {}",
            file.name, bad.position, bad.text
        ))?;
    }
    output.line(
        "file",
        json!({
            "file": file.name,
            "format": file.what.word(),
            "verdict": verdict,
            "hints": check.hints,
            "payload_bytes": check.bytes,
            "bad": check.bad_count,
        }),
    )?;
    output.text(&format!("{}: {verdict}, {} hints", file.name, check.hints))
}

fn native(input: &Input, found: &Found, check: &mut Check) -> anyhow::Result<()> {
    let file = NativeFile::open(&input.storage, &found.name)?;
    file.walk(check)?;
    if check.disorder > 0 {
        let text = format!(
            "{} hints are not in the order of their sequences",
            check.disorder
        );
        check.add(0, "order", text);
    }
    let Some(summary) = file.inspected.summary else {
        return Ok(());
    };
    if file.footer()?.is_none() {
        check.add(
            summary.footer_at,
            "footer",
            "the footer's tables are damaged".to_owned(),
        );
    }
    if check.harmful == 0 && (summary.count, summary.payload_bytes) != (check.hints, check.bytes) {
        let text = format!(
            "the footer says {} hints of {} bytes, {} of {} are there",
            summary.count, summary.payload_bytes, check.hints, check.bytes
        );
        check.add(summary.footer_at, "footer", text);
    }
    Ok(())
}

fn cassandra(input: &Input, found: &Found, check: &mut Check) -> anyhow::Result<()> {
    let file = CassandraFile::open(&input.storage, &found.name)?;
    file.walk(check)?;
    match file.side_file() {
        SideFile::Stored(stored) => {
            let computed = file.checksum()?;
            if stored != computed {
                let text = format!(
                    "the .crc32 beside it says {stored:08x}, the file gives {computed:08x}"
                );
                check.add(0, "crc32", text);
            }
        }
        SideFile::Unreadable => {
            check.add(0, "crc32", "the .crc32 beside it is no checksum".to_owned());
        }
        SideFile::Missing => {}
    }
    Ok(())
}

fn journal(input: &Input, output: &mut Output) -> anyhow::Result<()> {
    if !input.is_directory || !input.is_native() {
        return Ok(());
    }
    let journal = hintstore::inspect::read_journal(&*input.storage)?;
    let name = hintstore_format::file_name::JOURNAL;
    let what = match (&journal.unreadable, journal.bad_bytes) {
        (Some(error), _) => format!("the journal cannot be read: {error}"),
        (None, 0) => return Ok(()),
        (None, bytes) => format!("{bytes} bytes of the journal are no record"),
    };
    output.problem();
    output.line(
        "bad",
        json!({ "file": name, "what": "journal", "text": what }),
    )?;
    output.text(&format!("BAD  {name}: {what}"))
}
