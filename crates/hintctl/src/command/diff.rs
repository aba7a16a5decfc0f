//! `diff`: which hints came, which went, and which are in another file now.
//!
//! A hint is the same where target, time of creation and payload are: whatever form it is stored in. The hints of
//! one side are held by their hashes, at most half a million at once: of more, both sides are read again for each part of
//! the hashes.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use hintstore::{TargetId, inspect::JournalView};
use hintstore_cassandra::Schema;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{tally::table_name, verify::tell};
use crate::{
    args::Diff,
    decode,
    exit::usage,
    filter::{Filter, unhex},
    input::{Finding, Flow, HintView, Input, Listing, Pending, Visitor, below, is_listing},
    output::{Columns, Of, Output, bytes, count, hex, time_ms},
};

/// No more hints are held at once.
const HELD_MAX: u64 = 1 << 19;

/// A hint, as far as two are compared.
#[derive(Clone, Debug)]
struct One {
    target: TargetId,
    created_ms: i64,
    table: Arc<str>,
    payload_bytes: u64,
    hash: [u8; 32],
    file: Arc<str>,
    /// How many there are of it.
    count: u64,
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
            "table": &*self.table,
            "payload_bytes": self.payload_bytes,
            "payload_sha256": hex(&self.hash),
            "file": &*self.file,
            "from_file": from,
        })
    }

    fn words(&self, sign: &str) -> Vec<String> {
        vec![
            format!("{sign} {}", time_ms(self.created_ms)),
            format!("{:>9}", bytes(self.payload_bytes)),
            self.table.to_string(),
            "for".to_owned(),
            self.target.to_string(),
            "in".to_owned(),
            self.file.to_string(),
        ]
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

/// Hints by what they are known by; those that are alike and lie in one file count together.
#[derive(Default)]
struct Held(HashMap<Identity, Vec<One>>);

impl Held {
    fn put(&mut self, identity: Identity, one: One) {
        let same = self.0.entry(identity);
        let same = same.or_insert_with(|| Vec::with_capacity(1));
        match same.iter_mut().find(|other| other.file == one.file) {
            Some(other) => other.count += 1,
            None => same.push(one),
        }
    }

    /// Takes one that lies in a file, if there is one.
    fn take_from(&mut self, identity: &Identity, file: &str) -> bool {
        let same = self.0.get_mut(identity);
        let mut here = same
            .into_iter()
            .flatten()
            .filter(|other| &*other.file == file);
        here.next().is_some_and(|other| {
            let is_there = other.count > 0;
            other.count = other.count.saturating_sub(1);
            is_there
        })
    }

    /// Takes one from whatever file, and gives that.
    fn take_any(&mut self, identity: &Identity) -> Option<Arc<str>> {
        let mut left = self.0.get_mut(identity)?.iter_mut();
        let one = left.find(|other| other.count > 0)?;
        one.count -= 1;
        Some(one.file.clone())
    }

    /// All that are left, by file and time.
    fn in_order(self) -> Vec<(Identity, One)> {
        let left = self.0.into_iter();
        let mut left: Vec<_> = left
            .flat_map(|(identity, same)| same.into_iter().map(move |one| (identity, one)))
            .filter(|(_, one)| one.count > 0)
            .collect();
        left.sort_by(|(_, a), (_, b)| {
            (&a.file, a.created_ms, a.hash).cmp(&(&b.file, b.created_ms, b.hash))
        });
        left
    }
}

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
        journal: JournalView::default(),
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
    let parts = hints
        .into_iter()
        .max()
        .unwrap_or(0)
        .div_ceil(HELD_MAX)
        .max(1);
    let mut targets: BTreeMap<TargetId, Counts> = BTreeMap::new();
    for part in 0..parts {
        let is_in = |identity: &Identity| {
            let number = identity
                .iter()
                .take(8)
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            number % parts == part
        };
        let mut held = Held::default();
        before.walk(output, &mut |one, _| {
            let identity = one.identity();
            if is_in(&identity) {
                held.put(identity, one);
            }
            Ok(())
        })?;
        // First those that are where they were: what is left may have moved.
        let mut elsewhere = Held::default();
        after.walk(output, &mut |one, _| {
            let identity = one.identity();
            if is_in(&identity) {
                if held.take_from(&identity, &one.file) {
                    targets.entry(one.target).or_default().same += 1;
                } else {
                    elsewhere.put(identity, one);
                }
            }
            Ok(())
        })?;
        for (identity, one) in elsewhere.in_order() {
            let counts = targets.entry(one.target).or_default();
            for _ in 0..one.count {
                if let Some(from) = held.take_any(&identity) {
                    counts.moved += 1;
                    say(args, "moved", "~", &one, Some(&from), output)?;
                } else {
                    counts.came += 1;
                    say(args, "came", "+", &one, None, output)?;
                }
            }
        }
        for (_, one) in held.in_order() {
            targets.entry(one.target).or_default().went += one.count;
            for _ in 0..one.count {
                say(args, "went", "-", &one, None, output)?;
            }
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
    output.words(&one.words(sign))?;
    match from {
        // On a line of its own: it says where to, and names are long.
        Some(from) => output.words(&[
            " ".to_owned(),
            from.to_owned(),
            "->".to_owned(),
            one.file.to_string(),
        ]),
        None => Ok(()),
    }
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
    /// Of a native store, once it was read.
    journal: JournalView,
}

impl Side<'_> {
    fn walk(&mut self, output: &mut Output, take: &mut Take<'_>) -> anyhow::Result<()> {
        self.filter.restart(0);
        if is_listing(&self.path) {
            if self.filter.is_narrow() {
                return Err(usage(format!(
                    "{} is a listing, which cannot be narrowed: make it of what is to be compared",
                    self.path.display()
                )));
            }
            listing(&self.path, self.is_told, output, take)?;
            self.is_told = true;
            return Ok(());
        }
        let mut input = Input::open(&self.path)?;
        input.refuse_unfinished()?;
        if input.holds_nothing() && !input.is_empty()? {
            let shown = self.path.display();
            return Err(usage(format!(
                "{shown} holds no hint file{}",
                below(&self.path)
            )));
        }
        self.filter.narrow(&mut input)?;
        if !self.is_told {
            input.tell_misnamed(output)?;
            self.journal = input.journal(output)?;
        }
        let mut pending = Pending::new(self.journal.clone());
        let bar = output.bar(input.hint_bytes());
        for found in input.hints() {
            let mut reader = Reader {
                side: self,
                file: found.name.as_str().into(),
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
    file: Arc<str>,
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
                table: table_name(self.side.schema, hint.namespace).into(),
                payload_bytes: hint.payload.len() as u64,
                hash: Sha256::digest(hint.payload).into(),
                file: self.file.clone(),
                count: 1,
            };
            (self.take)(one, self.output)?;
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        if self.side.is_told {
            return Ok(());
        }
        self.output.bad(&self.file, bad)
    }
}

/// Reads what `hintctl --json dump` or `convert --to jsonl` printed.
fn listing(
    path: &Path,
    is_told: bool,
    output: &mut Output,
    take: &mut Take<'_>,
) -> anyhow::Result<()> {
    let mut listing = Listing::open(path)?;
    while let Some(hint) = listing.next()? {
        if hint.has_ended {
            continue;
        }
        let hash = unhex(&hint.payload_sha256).and_then(|hash| hash.try_into().ok());
        let hash = hash.ok_or_else(|| listing.wrong("payload_sha256 is none"))?;
        let one = One {
            target: hint.target.0,
            created_ms: hint.creation_time_ms,
            table: hint.table.unwrap_or(hint.namespace).into(),
            payload_bytes: hint.payload_bytes,
            hash,
            file: hint.file.into(),
            count: 1,
        };
        take(one, output)?;
    }
    if !listing.is_whole && !is_told {
        output.problem();
        let shown = path.display();
        output.remark(&format!(
            "{shown} has no summary at its end that says it is complete: it may lack hints"
        ));
    }
    Ok(())
}
