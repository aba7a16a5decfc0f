//! Printing: tables for people; JSON Lines, CSV and Parquet for programs.
//!
//! Every JSON line has `v` (1) and `kind`; the last is always of kind `summary`, so that output
//! that was cut off is noticed. 64-bit timestamps in µs, sequences and tokens are strings;
//! positions, sizes, ms and s are numbers. Everything else goes to stderr.

mod human;
mod next;
mod pager;
mod rows;
mod table;

use std::{
    env, fmt,
    io::{self, BufWriter, IsTerminal as _, Stdout, Write},
    process::{Child, ChildStdin},
};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr as _;

use crate::{
    args::{Color, Format, Printing},
    exit::{Exit, usage},
    input::{Finding, What},
    interrupt,
    progress::Bar,
};

pub(crate) use human::{age, bytes, count, hex, printable, span, time, time_ms};
pub(crate) use next::{next, next_apply, quoted};
pub(crate) use rows::{Columns, Of, write_column};

use rows::Rows;

const BOLD: Style = Style::new().bold();
const DAMAGE: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default();

/// Where a verb prints to.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting or a fact of its own"
)]
pub(crate) struct Output {
    out: BufWriter<Standard>,
    format: Format,
    /// In a format of rows: what the rows of the verb are, once it has said so.
    rows: Option<(&'static str, Rows<Standard>)>,
    progress: bool,
    colours: bool,
    /// Of the terminal, where there is one.
    width: Option<usize>,
    has_heading: bool,
    /// What is looked at, where several were named: files of one name lie in more than one directory.
    source: Option<String>,
    summary: Map<String, Value>,
    problems: bool,
    /// Something damaged was met, and nobody has said yet what to do about it.
    damaged: bool,
    io_errors: bool,
    unknown_version: bool,
    deed: Option<String>,
}

impl Output {
    /// Begins to print; through a pager where the verb is one that `pages`.
    pub(crate) fn new(printing: &Printing, pages: bool) -> Self {
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let format = printing.format();
        let is_text = matches!(format, Format::Text | Format::Cql);
        let is_terminal = io::stdout().is_terminal();
        let paged = pages && is_terminal && is_text && !printing.no_pager;
        let standard = Standard::new(paged);
        // On a terminal the shell may know better; elsewhere nothing is cut unless that is asked for.
        let number = |name: &str| env::var(name).ok()?.parse().ok().filter(|width| *width > 0);
        let terminal = || comfy_table::Table::new().width().map(usize::from);
        let terminal = is_terminal.then(|| number("COLUMNS").or_else(terminal));
        Self {
            progress: !printing.no_progress && io::stderr().is_terminal() && !standard.is_paged(),
            out: BufWriter::new(standard),
            format,
            rows: None,
            colours: match printing.color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => {
                    let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
                    !no_color && !is_dumb && is_terminal
                }
            },
            width: number("HINTCTL_WIDTH").or(terminal.flatten()),
            has_heading: false,
            source: None,
            summary: Map::new(),
            problems: false,
            damaged: false,
            io_errors: false,
            unknown_version: false,
            deed: None,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Jsonl
    }

    /// Whether people read it.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.format, Format::Text | Format::Cql)
    }

    pub(crate) fn is_cql(&self) -> bool {
        self.format == Format::Cql
    }

    /// Says of what kind the lines are that are rows, where rows come out.
    pub(crate) fn rows(&mut self, kind: &'static str, columns: Columns) -> anyhow::Result<()> {
        let rows = match self.format {
            Format::Csv => Rows::csv(Standard::new(false), columns)?,
            Format::Parquet if io::stdout().is_terminal() => {
                return Err(usage(
                    "--format parquet is nothing to see: send it to a file",
                ));
            }
            Format::Parquet => Rows::parquet(Standard::new(false), columns)?,
            _ => return Ok(()),
        };
        self.rows = Some((kind, rows));
        Ok(())
    }

    /// Refuses what only dump prints.
    pub(crate) fn refuse_cql(&self) -> anyhow::Result<()> {
        match self.format {
            Format::Cql => Err(usage("--format cql is for dump")),
            _ => Ok(()),
        }
    }

    /// Refuses what this verb cannot print: it has no rows.
    pub(crate) fn refuse_rows(&self) -> anyhow::Result<()> {
        match self.format {
            Format::Text | Format::Jsonl => Ok(()),
            _ => Err(usage("this verb prints text or, with --json, JSON Lines")),
        }
    }

    /// Prints a line of JSON, or a row; nothing where people read.
    pub(crate) fn line(&mut self, kind: &str, fields: Value) -> anyhow::Result<()> {
        if self.is_json() {
            return self.write_json(kind, fields);
        }
        match &mut self.rows {
            Some((of, rows)) if *of == kind => rows.put(fields),
            _ => Ok(()),
        }
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
        if self.is_json() {
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

    fn write_json(&mut self, kind: &str, mut fields: Value) -> anyhow::Result<()> {
        if let (Some(source), Value::Object(fields)) = (&self.source, &mut fields)
            && fields.contains_key("file")
        {
            fields
                .entry("path")
                .or_insert_with(|| source.clone().into());
        }
        writeln!(self.out, "{}", json_line(kind, fields))?;
        Ok(())
    }

    /// Prints a line for people; nothing where programs read.
    pub(crate) fn text(&mut self, text: &str) -> anyhow::Result<()> {
        if self.is_text() {
            writeln!(self.out, "{}", printable(text))?;
        }
        Ok(())
    }

    /// Prints a line for people, cut where the terminal ends.
    pub(crate) fn line_of_text(&mut self, text: &str) -> anyhow::Result<()> {
        let text = printable(text);
        match self.width {
            Some(width) if text.width() > width => self.text(&table::cut_end(&text, width)),
            _ => self.text(&text),
        }
    }

    /// What is on one line where that fits, and on two where not.
    pub(crate) fn one_or_two(&mut self, first: &str, second: &str) -> anyhow::Result<()> {
        let line = format!("{first}  {second}");
        match self.width {
            Some(width) if printable(&line).width() > width => {
                self.line_of_text(first.trim_end())?;
                self.line_of_text(&format!("      {second}"))
            }
            _ => self.text(&line),
        }
    }

    /// A line of words, in which names lose their middle where the terminal is narrow.
    pub(crate) fn words(&mut self, words: &[String]) -> anyhow::Result<()> {
        self.text(&table::line(words, self.width))
    }

    /// Says what is looked at from here on, where several were named.
    pub(crate) fn set_source(&mut self, source: Option<String>) {
        self.source = source;
    }

    /// What that is.
    pub(crate) fn source(&self) -> Option<String> {
        self.source.clone()
    }

    /// Prints it, apart from what came before.
    pub(crate) fn source_heading(&mut self) -> anyhow::Result<()> {
        match self.source() {
            Some(source) if self.is_cql() => self.text(&format!("-- {}", printable(&source))),
            Some(source) => self.heading(&source),
            None => Ok(()),
        }
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Prints a table for people.
    pub(crate) fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        if !self.is_text() || rows.is_empty() {
            return Ok(());
        }
        let table = table::render(head, rows, self.width, self.colours);
        write!(self.out, "{table}")?;
        Ok(())
    }

    /// Prints the name of what follows, apart from what came before.
    pub(crate) fn heading(&mut self, text: &str) -> anyhow::Result<()> {
        if !self.is_text() {
            return Ok(());
        }
        let gap = if std::mem::replace(&mut self.has_heading, true) {
            "\n"
        } else {
            ""
        };
        let text = self.paint(BOLD, &printable(text));
        writeln!(self.out, "{gap}{text}")?;
        Ok(())
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colours {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// What was printed so far goes out.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        if let Some((_, rows)) = &mut self.rows {
            rows.flush()?;
        }
        Ok(self.out.flush()?)
    }

    /// Begins a new screen, where people look at one.
    pub(crate) fn clear(&mut self) -> anyhow::Result<()> {
        self.has_heading = false;
        if self.is_text() && io::stdout().is_terminal() {
            write!(self.out, "\x1b[H\x1b[2J")?;
        }
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
        self.damaged |= !bad.harmless;
        self.unknown_version |= bad.what == What::Version;
    }

    /// Whether something could not be read.
    pub(crate) fn has_failed(&self) -> bool {
        self.io_errors
    }

    /// Whether something damaged was met since this was asked last.
    pub(crate) fn take_damaged(&mut self) -> bool {
        std::mem::take(&mut self.damaged)
    }

    /// Tells of a region that is no hint: damage, or a note.
    pub(crate) fn bad(&mut self, file: &str, bad: &Finding) -> anyhow::Result<()> {
        self.found_bad(bad);
        self.line("bad", bad.json(file))?;
        let (word, style) = if bad.harmless {
            ("note", NOTE)
        } else {
            ("BAD", DAMAGE)
        };
        let text = format!("  {file} at byte {}: {}", bad.position, bad.text);
        if self.is_text() {
            let word = self.paint(style, word);
            writeln!(self.out, "{word}{}", printable(&text))?;
        } else if self.rows.is_some() {
            // It is no row.
            self.remark(&format!("{word}{text}"));
        }
        Ok(())
    }

    /// Something could not be looked at, and why.
    pub(crate) fn fail(&mut self, text: &str) {
        self.io_errors = true;
        self.summary.entry("error").or_insert_with(|| json!(text));
        self.remark(text);
    }

    /// Says something beside the output.
    #[expect(
        clippy::unused_self,
        reason = "what is said is part of what is printed"
    )]
    pub(crate) fn remark(&self, text: &str) {
        remark(text);
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
        let complete = exit.is_some_and(|exit| ![Exit::Io, Exit::Version].contains(&exit));
        self.summary.insert("complete".to_owned(), json!(complete));
        if let Err(error) = &result {
            let error = format!("{error:#}");
            self.summary.insert("error".to_owned(), json!(error));
        }
        let ended = self.end(result.is_ok());
        self.out.get_mut().close();
        // Why the run failed counts, also where nobody hears its output any more.
        result?;
        let exit = exit.unwrap_or(Exit::Io);
        match ended {
            Err(error)
                if exit == Exit::Clean || of_output(&error) != Some(io::ErrorKind::BrokenPipe) =>
            {
                Err(error)
            }
            _ => Ok(exit),
        }
    }

    /// The last lines.
    fn end(&mut self, is_whole: bool) -> anyhow::Result<()> {
        if self.is_json() {
            let summary = Value::Object(std::mem::take(&mut self.summary));
            self.write_json("summary", summary)?;
        }
        // What was cut off gets no end.
        if let Some((_, rows)) = self.rows.take()
            && is_whole
        {
            rows.finish()?;
        }
        Ok(self.out.flush()?)
    }
}

/// Says something on standard error; where that takes nothing, nobody hears it.
pub(crate) fn remark(text: &str) {
    drop(writeln!(io::stderr(), "hintctl: {}", printable(text)));
}

/// Standard output, or a pager before it: what fails there is not blamed on the file that is looked at.
struct Standard {
    stdout: Stdout,
    pager: Option<(Child, ChildStdin)>,
}

impl Standard {
    fn new(paged: bool) -> Self {
        let child = if paged { pager::start() } else { None };
        let pager = child.and_then(|mut child| {
            let input = child.stdin.take()?;
            interrupt::paged(true);
            Some((child, input))
        });
        Self {
            stdout: io::stdout(),
            pager,
        }
    }

    fn is_paged(&self) -> bool {
        self.pager.is_some()
    }

    /// Waits until a pager has ended.
    fn close(&mut self) {
        if let Some((mut child, input)) = self.pager.take() {
            drop(input);
            drop(child.wait());
            interrupt::paged(false);
        }
    }

    fn out(&mut self) -> &mut dyn Write {
        match &mut self.pager {
            Some((_, input)) => input,
            None => &mut self.stdout,
        }
    }

    fn tell(error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), OfOutput(error.to_string()))
    }
}

impl Drop for Standard {
    fn drop(&mut self) {
        self.close();
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out().write_all(bytes);
        written.map_err(|error| Self::tell(&error))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out().flush().map_err(|error| Self::tell(&error))
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

/// Which error of standard output it is, if it is one: a broken pipe where its reader has gone.
pub(crate) fn of_output(error: &anyhow::Error) -> Option<io::ErrorKind> {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    let of_output = causes.find(|error| {
        error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<OfOutput>)
    });
    of_output.map(io::Error::kind)
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
