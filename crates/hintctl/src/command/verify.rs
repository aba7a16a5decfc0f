//! `verify`: every checksum, and what is damaged, where.

use std::collections::BTreeSet;

use hintstore::raw::format::{file_name, layout::STORE_SLOT_BYTES, store_file};
use hintstore::{
    Namespace, Storage as _, SystemClock,
    inspect::{RecoveryAction, plan_recovery},
};
use hintstore_cassandra::{DecodeError, FileName, Ignore, Schema, decode_mutation};
use serde_json::{Value, json};

use super::judgement::Cassandra;
use crate::{
    args::Verify,
    decode,
    exit::{is_full_disk, is_unwritten},
    filter::Filter,
    input::{
        CassandraFile, FileKind, Finding, Flow, Found, HintSource, HintView, Input, NativeFile,
        SideFile, Visitor, What, each,
    },
    output::{Output, count, next, of_output, quoted},
    progress::Bar,
    side_by_side::side_by_side,
};

/// What a walk over one file found.
#[derive(Default)]
struct Check<'s> {
    hints: u64,
    bytes: u64,
    bad: Vec<Finding>,
    bad_count: u64,
    harmful: u64,
    last: Option<hintstore::Sequence>,
    disorder: u64,
    schema: Option<&'s Schema>,
    /// Nothing where all hints are asked for.
    filter: Option<&'s Filter<'s>>,
    /// How many of the hints are asked for.
    asked: u64,
    decoded: Decoded,
    cassandra: Option<Cassandra>,
    /// Hints that can be saved although the descriptor is damaged.
    saved: u64,
}

/// What the mutations of Cassandra's files are, with the schema.
#[derive(Default)]
struct Decoded {
    /// Numbers of hints whose table is in no schema.
    unknown_table: Vec<u64>,
    /// Some of these tables.
    unknown_ids: BTreeSet<Namespace>,
    wrong: u64,
    /// What is wrong with the first of them, and where.
    first_wrong: Option<(u64, String)>,
}

/// No more tables that the schema does not have are named.
const UNKNOWN_MAX: usize = 5;

/// No more bad regions than this are kept of one file; all are counted.
const BAD_MAX: usize = 10_000;

impl Visitor for Check<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        self.hints += 1;
        self.bytes += hint.payload.len() as u64;
        self.asked += u64::from(self.filter.is_none_or(|filter| filter.has(hint)));
        if let HintSource::Native { sequence, .. } = hint.from {
            self.disorder += u64::from(self.last.is_some_and(|last| last >= sequence));
            self.last = Some(sequence);
        }
        if let (Some(schema), Some(mutation)) = (self.schema, hint.mutation()) {
            match decode_mutation(mutation, schema, hint.payload_version, &mut Ignore) {
                Ok(()) => {}
                Err(DecodeError::UnknownTable(id)) => {
                    self.decoded.unknown_table.push(hint.index);
                    if self.decoded.unknown_ids.len() < UNKNOWN_MAX {
                        self.decoded.unknown_ids.insert(Namespace::from_bytes(id));
                    }
                }
                Err(wrong @ DecodeError::Wrong { .. }) => {
                    self.decoded.wrong += 1;
                    let first = &mut self.decoded.first_wrong;
                    first.get_or_insert_with(|| (hint.position, wrong.to_string()));
                }
            }
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.bad_count += 1;
        self.harmful += u64::from(!bad.harmless);
        if self.bad.len() < BAD_MAX {
            self.bad.push(bad.clone());
        }
        Ok(())
    }
}

impl Check<'_> {
    /// Adds what was found in the part of the file that follows.
    fn append(&mut self, part: Self) {
        let behind = part.decoded.unknown_table.into_iter();
        self.decoded
            .unknown_table
            .extend(behind.map(|number| self.hints + number));
        self.decoded.unknown_ids.extend(part.decoded.unknown_ids);
        self.hints += part.hints;
        self.asked += part.asked;
        self.bytes += part.bytes;
    }

    fn add(&mut self, position: u64, what: What, text: String) {
        self.bad_count += 1;
        self.harmful += 1;
        self.bad.push(Finding {
            position,
            ..Finding::whole(what, text)
        });
    }
}

/// At most this many bytes of small files are looked at before anything is said of them: what is found is held.
const TOGETHER_BYTES: u64 = 8 << 20;

/// No more small files than this are.
const TOGETHER_MAX: usize = 1024;

/// How many of the files that come first are looked at side by side. A longer file is looked at by itself: its parts
/// are walked side by side.
fn together(files: &[&Found]) -> usize {
    let mut bytes = 0;
    let small = files.iter().take(TOGETHER_MAX).take_while(|file| {
        bytes += file.info.length;
        bytes <= TOGETHER_BYTES
    });
    small.count().max(1)
}

#[derive(Default)]
struct Totals {
    files: u64,
    hints: u64,
    damaged: u64,
    refused: u64,
    unreadable: u64,
    /// Files that Cassandra does not get through.
    failing: u64,
    aside: u64,
}

pub(crate) fn run(verify: &Verify, output: &mut Output) -> anyhow::Result<()> {
    let schema = decode::schema(verify.which.schema.as_ref(), output)?;
    let filter = Filter::new(&verify.which, schema.as_ref())?;
    let mut totals = Totals::default();
    each(&verify.sources, &filter, output, |input, output| {
        output.source_heading()?;
        if input.holds_nothing() && !verify.allow_empty {
            // In a script that watches, a directory that is the wrong one must not be clean.
            output.nothing("nothing was verified; --allow-empty takes that for clean");
        }
        let bar = output.bar(input.hint_bytes());
        let look = |file: &&Found| {
            let mut check = Check {
                schema: schema.as_ref(),
                filter: filter.is_by_hint().then_some(&filter),
                ..Check::default()
            };
            let walked = match &file.what {
                FileKind::Native => native(input, file, &bar, &mut check),
                _ => cassandra(input, file, &bar, &mut check),
            };
            bar.pass(file);
            (check, walked)
        };
        // What only its name keeps from being delivered is looked into all the same.
        let files: Vec<&Found> = input.hints().chain(input.misnamed()).collect();
        let mut rest = &files[..];
        while !rest.is_empty() {
            // What is asked for is counted on one thread.
            let at_once = if filter.is_by_hint() {
                1
            } else {
                together(rest)
            };
            let (some, behind) = rest.split_at(at_once);
            rest = behind;
            for (file, (check, walked)) in some.iter().zip(side_by_side(some, look)) {
                let Some(walked) = tell(walked, &file.name, output)? else {
                    continue;
                };
                totals.add(&check, walked);
                print(file, &check, walked, output)?;
                remedy(input, file, &check, walked, output)?;
            }
        }
        bar.finish();
        store(input, output)?;
        input.journal(output)?;
        opening(input, output)?;
        // Each file has its own remedy.
        output.take_damaged();
        totals.aside += super::ls::tell_aside(input, output)?.files;
        Ok(())
    })?;
    filter.tell_unsure(output);
    let Totals {
        files,
        hints,
        damaged,
        refused,
        unreadable,
        failing,
        aside,
    } = totals;
    output.text(&format!(
        "{}, {}; {damaged} damaged, {refused} refused, {unreadable} unreadable{}",
        count(files, "file"),
        count(hints, "intact hint"),
        if failing > 0 {
            format!(", {failing} that Cassandra does not get through")
        } else {
            String::new()
        }
    ))?;
    output.sum("failing_files", failing);
    output.sum("files", files);
    output.sum("hints", hints);
    output.sum("damaged_files", damaged);
    output.sum("refused_files", refused);
    output.sum("unreadable_files", unreadable);
    output.sum("aside_files", aside);
    Ok(())
}

impl Totals {
    fn add(&mut self, check: &Check<'_>, walked: Walked) {
        self.files += 1;
        self.hints += check.hints;
        let verdict = verdict(check, walked);
        self.damaged += u64::from(verdict == Verdict::Damaged);
        let refused = [Verdict::Refused, Verdict::UnknownVersion];
        self.refused += u64::from(refused.contains(&verdict));
        self.unreadable += u64::from(walked == Walked::InPart);
        self.failing += u64::from(check.cassandra.as_ref().is_some_and(Cassandra::fails));
    }
}

/// How far a file was walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    Whole,
    /// The disk did not give all of it.
    InPart,
}

/// Tells whether a file was walked to its end; nothing where it was removed during the walk, which is no error.
/// An error of standard output is the caller's.
pub(crate) fn tell(
    walked: anyhow::Result<()>,
    name: &str,
    output: &mut Output,
) -> anyhow::Result<Option<Walked>> {
    let Err(error) = walked else {
        return Ok(Some(Walked::Whole));
    };
    if let Some(error) = error.downcast_ref::<hintstore::StorageError>()
        && error.is_missing()
    {
        return Ok(None);
    }
    // What is made must not look whole; and reading never meets a full disk.
    let is_written = is_unwritten(&error) || is_full_disk(&error);
    if of_output(&error).is_some() || is_written {
        return Err(error);
    }
    output.fail(&format!("{name}: {error:#}"));
    Ok(Some(Walked::InPart))
}

/// What is said of a file as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Clean,
    CleanWithNotes,
    Damaged,
    PassedOver,
    Refused,
    UnknownVersion,
    Unreadable,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::CleanWithNotes => "clean, with notes",
            Self::Damaged => "damaged",
            Self::PassedOver => "passed over",
            Self::Refused => "refused",
            Self::UnknownVersion => "unknown version",
            Self::Unreadable => "unreadable",
        }
    }
}

fn verdict(check: &Check<'_>, walked: Walked) -> Verdict {
    let is = |what: What| check.bad.iter().any(|bad| bad.what == what);
    let notes = check.bad.iter().filter(|bad| bad.what != What::Open);
    match (walked, check.harmful) {
        (Walked::InPart, _) => Verdict::Unreadable,
        (_, 1..) if is(What::Version) => Verdict::UnknownVersion,
        (_, 1..) if is(What::Compressor) || is(What::Encrypted) => Verdict::Refused,
        (_, 1) if is(What::Name) => Verdict::PassedOver,
        (_, 1..) => Verdict::Damaged,
        (_, 0) if notes.count() == 0 => Verdict::Clean,
        (_, 0) => Verdict::CleanWithNotes,
    }
}

fn print(
    file: &Found,
    check: &Check<'_>,
    walked: Walked,
    output: &mut Output,
) -> anyhow::Result<()> {
    let verdict = verdict(check, walked).word();
    for bad in &check.bad {
        output.bad(&file.name, bad)?;
    }
    let mut fields = json!({
        "file": file.name,
        "format": file.what.word(),
        "verdict": verdict,
        "hints": check.hints,
        "asked": check.asked,
        "payload_bytes": check.bytes,
        "bad": check.bad_count,
    });
    if check.schema.is_some()
        && let Value::Object(fields) = &mut fields
    {
        let unknown = check.decoded.unknown_table.len();
        fields.insert("unknown_table".to_owned(), json!(unknown));
        fields.insert("undecodable".to_owned(), json!(check.decoded.wrong));
    }
    match &check.cassandra {
        Some(cassandra) => output.line_with("file", fields, "cassandra", |out| {
            cassandra.write(check.hints.max(check.saved), out)
        })?,
        None => output.line("file", fields)?,
    }
    output.text(&format!(
        "{}: {verdict}, {}{}",
        file.name,
        count(check.hints, "hint"),
        if check.filter.is_some() {
            format!(", {} of them asked for", check.asked)
        } else {
            String::new()
        }
    ))?;
    let unknown = check.decoded.unknown_table.len() as u64;
    if unknown > 0 {
        let unknown = count(unknown, "hint");
        let ids = check.decoded.unknown_ids.iter().map(ToString::to_string);
        let ids: Vec<String> = ids.collect();
        output.text(&format!(
            "  {unknown} for tables that the schema does not have, and a node that does not drops: {}",
            ids.join(", ")
        ))?;
    }
    if let Some((position, text)) = &check.decoded.first_wrong {
        let wrong = count(check.decoded.wrong, "hint");
        output.text(&format!(
            "  {wrong} not decoded with this schema, the first at byte {position}: {text}"
        ))?;
    }
    if check.saved > 0 {
        let saved = count(check.saved, "hint");
        output.text(&format!("  {saved} can be saved with hintctl salvage"))?;
    }
    if let Some(cassandra) = &check.cassandra {
        if cassandra.fails() {
            // Also where no record is damaged.
            output.problem();
        }
        if let Some(text) = cassandra.text(check.hints) {
            output.text(&format!("  Cassandra: {text}"))?;
        }
    }
    Ok(())
}

/// What there is to do about a damaged file: the very command.
fn remedy(
    input: &Input,
    file: &Found,
    check: &Check<'_>,
    walked: Walked,
    output: &mut Output,
) -> anyhow::Result<()> {
    if verdict(check, walked) != Verdict::Damaged || check.hints.max(check.saved) == 0 {
        return Ok(());
    }
    let path = input.storage.path(&file.name);
    let folder = input.storage.path("");
    match file.what {
        FileKind::Native => next(
            &format!("convert {} --to native NEW", quoted(&folder)),
            output,
        ),
        _ => next(&format!("salvage {} SAVED", quoted(&path)), output),
    }
}

fn native(input: &Input, found: &Found, bar: &Bar, check: &mut Check<'_>) -> anyhow::Result<()> {
    let file = NativeFile::open(&input.storage, &found.name)?;
    file.walk(&mut bar.over(found, check))?;
    if check.disorder > 0 {
        let text = format!(
            "{} hints are not in the order of their sequences",
            check.disorder
        );
        check.add(0, What::Order, text);
    }
    let Some(summary) = file.inspected.summary else {
        return Ok(());
    };
    if file.footer()?.is_none() {
        check.add(
            summary.footer_at,
            What::Footer,
            "the footer's tables are damaged".to_owned(),
        );
    }
    if check.harmful == 0 && (summary.count, summary.payload_bytes) != (check.hints, check.bytes) {
        let text = format!(
            "the footer says {} hints of {} bytes, {} of {} are there",
            summary.count, summary.payload_bytes, check.hints, check.bytes
        );
        check.add(summary.footer_at, What::Footer, text);
    }
    Ok(())
}

fn cassandra(input: &Input, found: &Found, bar: &Bar, check: &mut Check<'_>) -> anyhow::Result<()> {
    let file = CassandraFile::open(&input.storage, &found.name)?;
    let schema = check.schema;
    let part = || Check {
        schema,
        ..Check::default()
    };
    // What is asked for is counted on one thread.
    let parts = match check.filter {
        None => file.walk_in_parts(part, &bar.counter())?,
        Some(_) => None,
    };
    let odd = match parts {
        // Positions of what does not decode are those of the whole.
        Some(parts) if parts.iter().all(|part| part.decoded.wrong == 0) => {
            for part in parts {
                check.append(part);
            }
            false
        }
        _ => file.walk(&mut bar.over(found, check))?,
    };
    let plain = !odd && check.bad_count == 0 && check.decoded.wrong == 0;
    let (_, base) = found.name.rsplit_once('/').unwrap_or(("", &found.name));
    let computed = file.computed_name().filter(|computed| computed != base);
    check.cassandra = if FileName::parse(&found.name) == Some(FileName::Corrupt) {
        // A node does not look at it any more.
        None
    } else if let Some(computed) = computed {
        misnamed(input, base, &computed, check)
    } else if plain {
        let unknown = check.schema.map(|_| check.decoded.unknown_table.as_slice());
        Some(Cassandra::all(check.hints, unknown))
    } else {
        Some(Cassandra::of(file.judge(check.schema)?))
    };
    if check.hints == 0
        && file.refusal().is_some()
        && let Ok(plan) = file.salvageable(None)
    {
        let mut saved = Check::default();
        file.walk_as(&plan, &mut saved)?;
        check.saved = saved.hints;
    }
    match file.side_file() {
        SideFile::Stored(stored) => {
            let computed = file.checksum()?;
            if stored != computed {
                let text = format!(
                    "the .crc32 beside it says {stored:08x}, the file gives {computed:08x}"
                );
                check.add(0, What::Crc32, text);
            }
        }
        SideFile::Unreadable => {
            check.add(
                0,
                What::Crc32,
                "the .crc32 beside it is no checksum".to_owned(),
            );
        }
        SideFile::Missing => {}
    }
    Ok(())
}

/// What a node does with a file that has another name than its header says. One that was named by itself
/// may be a copy to look at: that is only noted.
fn misnamed(input: &Input, base: &str, computed: &str, check: &mut Check<'_>) -> Option<Cassandra> {
    let known = check.schema.is_some();
    if FileName::parse(base) == Some(FileName::Hints) {
        let other = input.storage.path(computed).exists();
        return Some(Cassandra::opens_another(computed, other, known));
    }
    if !input.is_directory {
        return None;
    }
    let hints = count(check.hints, "hint");
    let text = if input.storage.path(computed).exists() {
        format!(
            "Cassandra passes over it for its name, and {computed} is there: its {hints} are in there too \
             if it is a copy"
        )
    } else {
        format!(
            "Cassandra passes over it for its name: rename it to {computed}, and its {hints} are delivered"
        )
    };
    check.add(0, What::Name, text);
    Some(Cassandra::passes_over(known))
}

/// What opening the store would do: the engine's own table of cases, without doing any of it.
fn opening(input: &Input, output: &mut Output) -> anyhow::Result<()> {
    if !input.is_native() || !input.is_directory {
        return Ok(());
    }
    let plan = match plan_recovery(&*input.storage, &SystemClock) {
        Ok(plan) => plan,
        // The file that is in the way was named before.
        Err(error) => {
            output.problem();
            output.line("opening", json!({ "fails": error.to_string() }))?;
            return output.text(&format!("opening it would fail: {error}"));
        }
    };
    for file in plan.files {
        let fields = json!({
            "file": file.name,
            "case": file.case.word(),
            "action": file.action.word(),
            "why": file.why,
        });
        output.line("opening", fields)?;
        if ![RecoveryAction::Keep, RecoveryAction::Read].contains(&file.action) {
            let (action, name, case) = (file.action.word(), &file.name, file.case.word());
            output.text(&format!("opening it would {action} {name}: {case}"))?;
        }
    }
    let report = &plan.report;
    output.text(&format!("opening it would report: {report}"))
}

/// The file that says who the store is.
fn store(input: &Input, output: &mut Output) -> anyhow::Result<()> {
    if !input.is_store() {
        return Ok(());
    }
    let file = match input.storage.open(file_name::STORE, false) {
        Ok(file) => file,
        Err(error) if error.is_missing() => {
            let text = "it is missing: the store will draw a new identity when it is opened";
            return output.bad(
                file_name::STORE,
                &Finding::whole(What::Store, text.to_owned()),
            );
        }
        Err(error) => return Err(error.into()),
    };
    file.info()?;
    let mut bytes = [0; 2 * STORE_SLOT_BYTES];
    file.read_at(&mut bytes, 0)?;
    match store_file::decode(&bytes) {
        Ok(_) => damaged_slot(&bytes, output),
        // Reported where it was opened.
        Err(error) if error.is_foreign() => Ok(()),
        Err(error) => {
            let text = format!("neither slot can be read: {error}");
            output.bad(file_name::STORE, &Finding::whole(What::Store, text))
        }
    }
}

/// Tells of a slot that was written once and cannot be read any more, while the other one counts.
fn damaged_slot(bytes: &[u8], output: &mut Output) -> anyhow::Result<()> {
    let slots = store_file::slots(bytes).into_iter();
    for (at, (slot, raw)) in slots.zip(bytes.chunks(STORE_SLOT_BYTES)).enumerate() {
        if let Err(error) = slot
            && raw.iter().any(|byte| *byte != 0)
        {
            let text = format!("one of two slots cannot be read, and the other counts: {error}");
            let note = Finding {
                position: (at * STORE_SLOT_BYTES) as u64,
                ..Finding::note(What::Slot, text)
            };
            output.bad(file_name::STORE, &note)?;
        }
    }
    Ok(())
}
