//! Printing: tables for people, JSON Lines for programs.
//!
//! Every JSON line has `v` (1) and `kind`; the last is always of kind `summary`, so that output
//! that was cut off is noticed. 64-bit timestamps in µs, sequences and tokens are strings;
//! positions, sizes, ms and s are numbers. Everything else goes to stderr.

use std::{
    borrow::Cow,
    fmt,
    io::{self, BufWriter, IsTerminal as _, Stdout, Write},
};

use comfy_table::{Attribute, Cell, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    exit::Exit,
    input::{Finding, What},
    progress::Bar,
};

/// Where a verb prints to.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting or a fact of its own"
)]
pub(crate) struct Output {
    out: BufWriter<Standard>,
    json: bool,
    progress: bool,
    colours: bool,
    summary: Map<String, Value>,
    problems: bool,
    io_errors: bool,
    unknown_version: bool,
    deed: Option<String>,
}

impl Output {
    pub(crate) fn new(json: bool, no_progress: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            out: BufWriter::new(Standard(io::stdout())),
            json,
            progress: !no_progress && io::stderr().is_terminal(),
            colours: !no_color && io::stdout().is_terminal(),
            summary: Map::new(),
            problems: false,
            io_errors: false,
            unknown_version: false,
            deed: None,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a line of JSON; nothing where people read.
    pub(crate) fn line(&mut self, kind: &str, fields: Value) -> anyhow::Result<()> {
        if self.json {
            self.write_json(kind, fields)?;
        }
        Ok(())
    }

    /// Prints a line of JSON with one more field, which `write` writes: what is too long to be held
    /// as a value.
    pub(crate) fn line_with(
        &mut self,
        kind: &str,
        fields: Value,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        if self.json {
            let line = json_line(kind, fields);
            let open = line.strip_suffix('}').unwrap_or(&line);
            write!(self.out, "{open},\"{name}\":")?;
            write(&mut self.out)?;
            writeln!(self.out, "}}")?;
        }
        Ok(())
    }

    /// Prints a line of JSON, for people as for programs.
    pub(crate) fn json_line(&mut self, kind: &str, fields: Value) -> anyhow::Result<()> {
        self.write_json(kind, fields)
    }

    fn write_json(&mut self, kind: &str, fields: Value) -> anyhow::Result<()> {
        writeln!(self.out, "{}", json_line(kind, fields))?;
        Ok(())
    }

    /// Prints a line for people; nothing where programs read.
    pub(crate) fn text(&mut self, text: &str) -> anyhow::Result<()> {
        if !self.json {
            writeln!(self.out, "{}", printable(text))?;
        }
        Ok(())
    }

    /// Prints a table for people.
    pub(crate) fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        if self.json || rows.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let bold = |text: &&str| {
            if self.colours {
                Cell::new(text).add_attribute(Attribute::Bold)
            } else {
                Cell::new(text)
            }
        };
        table.set_header(head.iter().map(bold));
        for row in rows {
            table.add_row(row.iter().map(|cell| printable(cell).into_owned()));
        }
        writeln!(self.out, "{table}")?;
        Ok(())
    }

    /// Adds to the summary that ends the output.
    pub(crate) fn sum(&mut self, name: &str, value: impl Into<Value>) {
        self.summary.insert(name.to_owned(), value.into());
    }

    /// Something was changed for good: an error of what comes behind it says so.
    pub(crate) fn did(&mut self, deed: impl Into<String>) {
        self.deed = Some(deed.into());
    }

    /// What was changed for good.
    pub(crate) fn deed(&self) -> Option<&str> {
        self.deed.as_deref()
    }

    /// What was looked at holds nothing that can be judged: that is not clean.
    pub(crate) fn nothing(&mut self, text: &str) {
        self.problems = true;
        self.summary.entry("error").or_insert_with(|| json!(text));
        self.remark(text);
    }

    /// Something is wrong with what was looked at.
    pub(crate) fn problem(&mut self) {
        self.problems = true;
    }

    /// A region of what was looked at is no hint.
    pub(crate) fn found_bad(&mut self, bad: &Finding) {
        self.problems |= !bad.harmless;
        self.unknown_version |= bad.what == What::Version;
    }

    /// Tells of a region that is no hint: damage, or a note.
    pub(crate) fn bad(&mut self, file: &str, bad: &Finding) -> anyhow::Result<()> {
        self.found_bad(bad);
        self.line("bad", bad.json(file))?;
        let word = if bad.harmless { "note" } else { "BAD" };
        self.text(&format!(
            "{word}  {file} at byte {}: {}",
            bad.position, bad.text
        ))
    }

    /// Something could not be looked at, and why.
    pub(crate) fn fail(&mut self, text: &str) {
        self.io_errors = true;
        self.summary.entry("error").or_insert_with(|| json!(text));
        self.remark(text);
    }

    /// Says something beside the output.
    #[expect(
        clippy::print_stderr,
        clippy::unused_self,
        reason = "the one place for remarks"
    )]
    pub(crate) fn remark(&self, text: &str) {
        eprintln!("hintctl: {}", printable(text));
    }

    /// A bar for work of `bytes` bytes, on a terminal only.
    pub(crate) fn bar(&self, bytes: u64) -> Bar {
        Bar::new(bytes, self.progress)
    }

    /// A bar for `count` steps, on a terminal only.
    pub(crate) fn steps(&self, count: u64) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:40} round {pos} of {len}: {msg}");
        ProgressBar::new(count).with_style(style.unwrap_or(ProgressStyle::default_bar()))
    }

    /// Whether all that was named could be read so far.
    pub(crate) fn is_complete(&self) -> bool {
        !self.io_errors
    }

    /// Ends the output with its summary, and gives the exit code.
    pub(crate) fn finish(&mut self, result: anyhow::Result<()>) -> anyhow::Result<Exit> {
        let exit = match (&result, self.io_errors, self.problems) {
            (Err(_), ..) => None,
            (_, true, _) => Some(Exit::Io),
            _ if self.unknown_version => Some(Exit::Version),
            (_, _, true) => Some(Exit::Problems),
            _ => Some(Exit::Clean),
        };
        if self.json {
            let complete = exit.is_some_and(|exit| exit != Exit::Io);
            self.summary.insert("complete".to_owned(), json!(complete));
            if let Err(error) = &result {
                let error = format!("{error:#}");
                self.summary.insert("error".to_owned(), json!(error));
            }
            let summary = Value::Object(std::mem::take(&mut self.summary));
            self.write_json("summary", summary)?;
        }
        self.out.flush()?;
        result?;
        Ok(exit.unwrap_or(Exit::Io))
    }
}

/// Standard output: what fails there is not blamed on the file that is looked at.
struct Standard(Stdout);

impl Standard {
    fn tell(error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), OfOutput(error.to_string()))
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(bytes)
            .map_err(|error| Self::tell(&error))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| Self::tell(&error))
    }
}

/// Standard output takes no more.
#[derive(Debug)]
struct OfOutput(String);

impl fmt::Display for OfOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for OfOutput {}

/// Whether an error is that of standard output.
pub(crate) fn is_of_output(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|error| {
        error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<OfOutput>)
    })
}

/// What a file name or a payload may hold is not for the terminal to act on.
fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\n';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| {
        if harmless(c) {
            c.to_string()
        } else {
            c.escape_default().to_string()
        }
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// A line of JSON, as all of ours are.
pub(crate) fn json_line(kind: &str, fields: Value) -> String {
    let mut object = Map::new();
    object.insert("v".to_owned(), json!(1));
    object.insert("kind".to_owned(), json!(kind));
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object).to_string()
}

/// A number of things, for people.
pub(crate) fn count(number: u64, of: &str) -> String {
    if number == 1 {
        format!("1 {of}")
    } else {
        format!("{number} {of}s")
    }
}

/// A time for people, in UTC.
pub(crate) fn time(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) if millis == i64::MAX => "never".to_owned(),
        Err(_) => format!("{millis} ms"),
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {name}")
    }
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| {
        DIGITS
            .get(usize::from(value))
            .copied()
            .map_or('?', char::from)
    };
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
