//! `diff`: which hints came, which went, and which are in another file now.
//!
//! A hint is the same where target, time of creation and payload are: whatever form it is stored in. The hints of
//! one side are held by their hashes, at most a million at once: of more, both sides are read again for each part of
//! the hashes.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use hintstore::TargetId;
use hintstore_cassandra::Schema;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{tally::table_name, verify::tell};
use crate::{
    args::Diff,
    decode,
    exit::usage,
    filter::{Filter, unhex},
    input::{Finding, Flow, HintView, Input, Listing, Pending, Visitor, is_listing},
    output::{Columns, Of, Output, bytes, count, hex, time_ms},
};

/// No more hints are held at once.
const HELD_MAX: u64 = 1 << 20;

/// A hint, as far as two are compared.
#[derive(Clone, Debug)]
struct One {
    target: TargetId,
    created_ms: i64,
    table: String,
    payload_bytes: u64,
    hash: [u8; 32],
    file: String,
}

/// What a hint is known by.
type Identity = [u8; 16];

impl One {
    fn identity(&self) -> Identity {
        let mut hasher = Sha256::new();
        hasher.update(self.target.as_bytes());
        hasher.update(self.created_ms.to_string());
        hasher.update(self.hash);
        let hash: [u8; 32] = hasher.finalize().into();
        let mut identity = [0; 16];
        identity.copy_from_slice(hash.split_at(16).0);
        identity
    }

    fn json(&self, change: &str, from: Option<&str>) -> Value {
        json!({
            "change": change,
            "target": self.target.to_string(),
            "creation_time_ms": self.created_ms,
            "table": self.table,
            "payload_bytes": self.payload_bytes,
            "payload_sha256": hex(&self.hash),
            "file": self.file,
            "from_file": from,
        })
    }

    fn text(&self, sign: &str, from: Option<&str>) -> String {
        let from = from.map(|from| format!("{from} -> ")).unwrap_or_default();
        format!(
            "{sign} {}  {:>9}  {}  for {}  in {from}{}",
            time_ms(self.created_ms),
            bytes(self.payload_bytes),
            self.table,
            self.target,
            self.file
        )
    }
}

/// The columns of a change's line.
const COLUMNS: Columns = &[
    ("change", Of::Text),
    ("target", Of::Text),
    ("creation_time_ms", Of::Int),
    ("table", Of::Text),
    ("payload_bytes", Of::Int),
    ("payload_sha256", Of::Text),
    ("file", Of::Text),
    ("from_file", Of::Text),
];

/// How the hints of one target changed.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    came: u64,
    went: u64,
    moved: u64,
    same: u64,
}

pub(crate) fn run(args: &Diff, output: &mut Output) -> anyhow::Result<()> {
    let schema = decode::schema(args.which.schema.as_ref(), output)?;
    let filter = Filter::new(&args.which, schema.as_ref())?;
    output.rows("change", COLUMNS)?;
    let mut sides = [&args.before, &args.after].map(|path| Side {
        path: path.clone(),
        filter: &filter,
        schema: schema.as_ref(),
        is_told: false,
    });
    let mut hints = [0_u64; 2];
    for (side, hints) in sides.iter_mut().zip(&mut hints) {
        side.walk(output, &mut |_, _| {
            *hints += 1;
            Ok(())
        })?;
    }
    filter.tell_unsure(output);
    let [before, after] = &mut sides;
    let parts = hints[0].div_ceil(HELD_MAX).max(1);
    let mut targets: BTreeMap<TargetId, Counts> = BTreeMap::new();
    for part in 0..parts {
        let is_in = |identity: &Identity| {
            let number = identity
                .iter()
                .take(8)
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            number % parts == part
        };
        let mut held: HashMap<Identity, Vec<One>> = HashMap::new();
        before.walk(output, &mut |one, _| {
            let identity = one.identity();
            if is_in(&identity) {
                held.entry(identity).or_default().push(one);
            }
            Ok(())
        })?;
        after.walk(output, &mut |one, output| {
            let identity = one.identity();
            if !is_in(&identity) {
                return Ok(());
            }
            let counts = targets.entry(one.target).or_default();
            let same = held.get_mut(&identity).filter(|same| !same.is_empty());
            let Some(same) = same else {
                counts.came += 1;
                return say(args, "came", "+", &one, None, output);
            };
            let here = same.iter().position(|other| other.file == one.file);
            let other = same.swap_remove(here.unwrap_or(0));
            if here.is_some() {
                counts.same += 1;
                return Ok(());
            }
            counts.moved += 1;
            say(args, "moved", "~", &one, Some(&other.file), output)
        })?;
        let mut went: Vec<One> = held.into_values().flatten().collect();
        went.sort_by(|a, b| (&a.file, a.created_ms, a.hash).cmp(&(&b.file, b.created_ms, b.hash)));
        for one in went {
            targets.entry(one.target).or_default().went += 1;
            say(args, "went", "-", &one, None, output)?;
        }
    }
    let mut all = Counts::default();
    let mut rows = Vec::new();
    for (target, counts) in &targets {
        all.came += counts.came;
        all.went += counts.went;
        all.moved += counts.moved;
        all.same += counts.same;
        output.line(
            "target",
            json!({
                "target": target.to_string(),
                "came": counts.came,
                "went": counts.went,
                "moved": counts.moved,
                "same": counts.same,
            }),
        )?;
        let numbers = [counts.came, counts.went, counts.moved, counts.same];
        let numbers = numbers.iter().map(ToString::to_string);
        rows.push([target.to_string()].into_iter().chain(numbers).collect());
    }
    output.table(&["TARGET", "CAME", "WENT", "MOVED", "SAME"], rows)?;
    output.sum("came", all.came);
    output.sum("went", all.went);
    output.sum("moved", all.moved);
    output.sum("same", all.same);
    if all.came + all.went + all.moved > 0 {
        output.problem();
    }
    output.text(&format!(
        "{} came, {} went, {} in another file, {} as before",
        count(all.came, "hint"),
        all.went,
        all.moved,
        all.same
    ))
}

fn say(
    args: &Diff,
    change: &str,
    sign: &str,
    one: &One,
    from: Option<&str>,
    output: &mut Output,
) -> anyhow::Result<()> {
    if args.brief {
        return Ok(());
    }
    output.line("change", one.json(change, from))?;
    output.text(&one.text(sign, from))
}

/// Called with each hint.
type Take<'a> = dyn FnMut(One, &mut Output) -> anyhow::Result<()> + 'a;

/// A directory, a file, or a listing that was saved.
struct Side<'a> {
    path: PathBuf,
    filter: &'a Filter<'a>,
    schema: Option<&'a Schema>,
    /// What is damaged was said.
    is_told: bool,
}

impl Side<'_> {
    fn walk(&mut self, output: &mut Output, take: &mut Take<'_>) -> anyhow::Result<()> {
        if is_listing(&self.path) {
            if self.filter.is_narrow() {
                return Err(usage(format!(
                    "{} is a listing, which cannot be narrowed: make it of what is to be compared",
                    self.path.display()
                )));
            }
            return listing(&self.path, output, take);
        }
        let mut input = Input::open(&self.path)?;
        input.refuse_unfinished()?;
        self.filter.narrow(&mut input)?;
        if !self.is_told {
            input.tell_misnamed(output)?;
        }
        let mut pending = Pending::of(&input, output)?;
        let bar = output.bar(input.hint_bytes());
        for found in input.hints() {
            let mut reader = Reader {
                side: self,
                file: &found.name,
                pending: &mut pending,
                output,
                take,
            };
            let walked = bar.walk(&input, found, &mut reader);
            tell(walked, &found.name, output)?;
        }
        bar.finish();
        self.is_told = true;
        Ok(())
    }
}

struct Reader<'a, 't> {
    side: &'a Side<'a>,
    file: &'a str,
    pending: &'a mut Pending,
    output: &'a mut Output,
    take: &'a mut Take<'t>,
}

impl Visitor for Reader<'_, '_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if self.pending.has(hint) && self.side.filter.has(hint) {
            let one = One {
                target: hint.target,
                created_ms: hint.created_ms,
                table: table_name(self.side.schema, hint.namespace),
                payload_bytes: hint.payload.len() as u64,
                hash: Sha256::digest(hint.payload).into(),
                file: self.file.to_owned(),
            };
            (self.take)(one, self.output)?;
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        if self.side.is_told {
            return Ok(());
        }
        self.output.bad(self.file, bad)
    }
}

/// Reads what `hintctl --json dump` or `convert --to jsonl` printed.
fn listing(path: &Path, output: &mut Output, take: &mut Take<'_>) -> anyhow::Result<()> {
    let mut listing = Listing::open(path)?;
    while let Some(hint) = listing.next()? {
        let hash = unhex(&hint.payload_sha256).and_then(|hash| hash.try_into().ok());
        let hash = hash.ok_or_else(|| listing.wrong("payload_sha256 is none"))?;
        let one = One {
            target: hint.target.0,
            created_ms: hint.creation_time_ms,
            table: hint.table.unwrap_or(hint.namespace),
            payload_bytes: hint.payload_bytes,
            hash,
            file: hint.file,
        };
        take(one, output)?;
    }
    if !listing.is_whole {
        let shown = path.display();
        output.remark(&format!(
            "{shown} has no summary at its end that says it is complete: it may lack hints"
        ));
    }
    Ok(())
}
