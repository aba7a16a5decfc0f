//! JSON Lines, as `convert --to jsonl` and `dump --json` write them: hints, or what is known of them.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use hintstore::raw::format::{
    MutationId, SegmentId, StoreId,
    descriptor::Kind,
    expiry::Lifetime,
    frame::{Body, Collapse, Origin},
};
use hintstore::{Incarnation, Sequence, TargetId, UnixMillis};
use hintstore_cassandra::HintBody;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Flow, HintSource, HintView, Visitor};
use crate::{args::namespace, exit::usage, filter::unhex};

/// A line of a file of JSON Lines.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    kind: String,
    /// Of a summary.
    complete: Option<bool>,
    hints: Option<u64>,
    #[serde(flatten)]
    hint: Option<Hint>,
}

/// The fields of a hint that say all of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Hint {
    pub(crate) file: String,
    index: u64,
    position: u64,
    pub(crate) target: TargetIdText,
    pub(crate) namespace: String,
    pub(crate) table: Option<String>,
    pub(crate) creation_time_ms: i64,
    gc_grace_s: f64,
    payload_version: u32,
    pub(crate) payload_bytes: u64,
    pub(crate) payload_sha256: String,
    /// It was delivered or discarded: of native stores.
    #[serde(default)]
    pub(crate) has_ended: bool,
    payload: Option<String>,
    /// Of Cassandra's.
    gcgs_s: Option<u64>,
    body_bytes: Option<u64>,
    /// Of hints of ours.
    store: Option<String>,
    sequence: Option<String>,
    incarnation: Option<String>,
    discard_after_s: Option<f64>,
    idempotent: Option<bool>,
    mutation_id: Option<String>,
    token: Option<String>,
    collapse_key: Option<String>,
    collapse_version: Option<String>,
    origin: Option<OriginFields>,
}

#[derive(Debug, Deserialize)]
struct OriginFields {
    store: String,
    target: String,
    sequence: String,
    incarnation: String,
}

/// A target as text, that is one.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TargetIdText(pub(crate) TargetId);

impl TryFrom<String> for TargetIdText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let id = text.parse::<TargetId>();
        id.map(Self)
            .map_err(|error| format!("target {text}: {error}"))
    }
}

/// No line is longer than this.
const LINE_MAX: u64 = 256 << 20;

/// A file of JSON Lines that is being read.
#[derive(Debug)]
pub(crate) struct Listing {
    path: PathBuf,
    lines: BufReader<File>,
    number: u64,
    /// The last line says that all is there.
    pub(crate) is_whole: bool,
    /// Hints that were read, and how many there are by the summary.
    pub(crate) hints: u64,
    pub(crate) said: Option<u64>,
    /// Hints whose payload is not what it was when the line was written.
    pub(crate) edited: u64,
}

/// Whether a file is one of JSON Lines.
pub(crate) fn is_listing(path: &Path) -> bool {
    // What is read once, such as a pipe, would lack its beginning then.
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let mut first = [0];
    let file = OpenOptions::new().read(true).open(path);
    let read = file.and_then(|mut file| file.read(&mut first));
    read.is_ok_and(|read| read == 1) && first == *b"{"
}

impl Listing {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().read(true).open(path);
        let file = file.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            lines: BufReader::new(file),
            number: 0,
            is_whole: false,
            hints: 0,
            said: None,
            edited: 0,
        })
    }

    /// An error in the line that was read last.
    pub(crate) fn wrong(&self, what: &str) -> anyhow::Error {
        usage(format!(
            "{}, line {}: {what}: name what hintctl convert --to jsonl or --json dump wrote",
            self.path.display(),
            self.number
        ))
    }

    /// The next hint.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Hint>> {
        loop {
            let mut text = String::new();
            let read = (&mut self.lines).take(LINE_MAX).read_line(&mut text);
            if read.with_context(|| format!("cannot read {}", self.path.display()))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if text.trim().is_empty() {
                continue;
            }
            let line: Line =
                serde_json::from_str(&text).map_err(|error| self.wrong(&in_line(&error)))?;
            self.is_whole = line.kind == "summary" && line.complete == Some(true);
            if let (true, Some(hints)) = (line.kind == "summary", line.hints) {
                self.said = Some(hints);
            }
            match line.kind.as_str() {
                "hint" => {}
                // What stands beside hints: damage, losses.
                "bad" | "loss" | "summary" => continue,
                other => return Err(self.wrong(&format!("a line of kind {other}"))),
            }
            self.hints += 1;
            if line.hint.is_none() {
                // Once more, for what it lacks.
                let error = serde_json::from_str::<Hint>(&text).err();
                let why = error.map_or_else(String::new, |error| in_line(&error));
                return Err(self.wrong(&why));
            }
            return Ok(line.hint);
        }
    }

    /// Gives each hint, with its payload.
    pub(crate) fn walk(&mut self, visitor: &mut dyn Visitor) -> anyhow::Result<()> {
        while let Some(hint) = self.next()? {
            if hint.has_ended {
                continue;
            }
            if self.give(&hint, visitor)? == Flow::Stop {
                // What follows is not looked at: it may be whole.
                self.is_whole = true;
                break;
            }
        }
        Ok(())
    }

    fn give(&mut self, hint: &Hint, visitor: &mut dyn Visitor) -> anyhow::Result<Flow> {
        let Some(payload) = &hint.payload else {
            return Err(self.wrong(
                "the hint has no payload, which convert --to jsonl and dump --json --value hex write",
            ));
        };
        let payload = unhex(payload).ok_or_else(|| self.wrong("payload is not in hex"))?;
        if unhex(&hint.payload_sha256).as_deref() != Some(&Sha256::digest(&payload)[..]) {
            self.edited += 1;
        }
        let key = hint.collapse_key.as_deref().map(unhex);
        let key = key.map(|key| key.ok_or_else(|| self.wrong("collapse_key is not in hex")));
        let key = key.transpose()?;
        let view = view(hint, &payload, key.as_deref());
        let view = view.map_err(|what| self.wrong(&what))?;
        visitor.hint(&view)
    }
}

/// What is wrong with a line, without the number of the line: it is always 1 here.
fn in_line(error: &serde_json::Error) -> String {
    error
        .to_string()
        .replace(" at line 1 column ", ", in column ")
}

/// A line as a hint.
fn view<'a>(
    hint: &Hint,
    payload: &'a [u8],
    collapse_key: Option<&'a [u8]>,
) -> Result<HintView<'a>, String> {
    if hint.gc_grace_s < 0.0 || hint.discard_after_s.is_some_and(|after| after < 0.0) {
        return Err("a lifetime below zero".to_owned());
    }
    let from = match (&hint.sequence, hint.gcgs_s) {
        (Some(sequence), _) => {
            let created = UnixMillis::new(hint.creation_time_ms);
            let collapse = collapse_key.map(|key| {
                let version = parse("collapse_version", hint.collapse_version.as_deref())?;
                Ok::<_, String>(Collapse { key, version })
            });
            let origin = hint.origin.as_ref().map(|of| {
                Ok::<_, String>(Origin {
                    store: parse("origin.store", Some(&of.store))?,
                    target: parse("origin.target", Some(&of.target))?,
                    sequence: Sequence::new(parse("origin.sequence", Some(&of.sequence))?),
                    incarnation: incarnation(Some(&of.incarnation))?,
                })
            });
            let body = Body {
                idempotent: hint.idempotent.unwrap_or(true),
                mutation_id: some::<MutationId>("mutation_id", hint.mutation_id.as_deref())?,
                token: some("token", hint.token.as_deref())?,
                origin: origin.transpose()?,
                collapse: collapse.transpose()?,
                ..Body::new(created, payload)
            };
            HintSource::Native {
                store: parse::<StoreId>("store", hint.store.as_deref())?,
                segment: SegmentId::new(0),
                // Each line counts, whatever comes before it.
                kind: Kind::Deferred,
                sequence: Sequence::new(parse("sequence", Some(sequence))?),
                incarnation: incarnation(hint.incarnation.as_deref())?,
                body,
            }
        }
        // No node writes more than 31 bits of it.
        (None, Some(gcgs_s))
            if gcgs_s >> 31 == 0 && Duration::from_secs(gcgs_s) != duration(hint.gc_grace_s) =>
        {
            return Err(format!(
                "gc_grace_s is {} and gcgs_s {gcgs_s}: they are the same, edit both",
                hint.gc_grace_s
            ));
        }
        (None, Some(gcgs_s)) => {
            let body = HintBody::of_mutation(hint.creation_time_ms, gcgs_s, payload);
            HintSource::Cassandra {
                body_bytes: hint.body_bytes.unwrap_or_default(),
                hint: body.ok_or("the payload is no mutation")?,
            }
        }
        (None, None) => {
            return Err("a hint has sequence, or gcgs_s if it is Cassandra's".to_owned());
        }
    };
    Ok(HintView {
        index: hint.index,
        position: hint.position,
        target: hint.target.0,
        namespace: namespace(&hint.namespace).map_err(|error| format!("namespace: {error}"))?,
        payload_version: hint.payload_version,
        created_ms: hint.creation_time_ms,
        lifetime: Lifetime {
            gc_grace: duration(hint.gc_grace_s),
            ttl: hint.discard_after_s.map(duration),
        },
        payload,
        from,
    })
}

/// Seconds with their ms, as they are written.
fn duration(seconds: f64) -> Duration {
    #[expect(
        clippy::cast_sign_loss,
        reason = "what is below zero is no time at all"
    )]
    let millis = (seconds * 1000.0).round() as u64;
    Duration::from_millis(millis)
}

fn incarnation(text: Option<&str>) -> Result<Incarnation, String> {
    let text = text.ok_or("the hint has no incarnation")?;
    let number = u64::from_str_radix(text, 16);
    number
        .map(Incarnation::new)
        .map_err(|error| format!("incarnation: {error}"))
}

fn some<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    text: Option<&str>,
) -> Result<Option<T>, String> {
    text.map(|text| parse(name, Some(text))).transpose()
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    text: Option<&str>,
) -> Result<T, String> {
    let text = text.ok_or_else(|| format!("the hint has no {name}"))?;
    text.parse().map_err(|error| format!("{name}: {error}"))
}
