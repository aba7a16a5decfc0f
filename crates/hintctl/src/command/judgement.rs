//! What Cassandra itself would do with one of its files, as `verify` tells it.

use std::io::{self, Write};

use hintstore_cassandra::{Given, Status, Verdict};
use serde_json::json;

use crate::output::count;

/// What Cassandra would do with a file.
pub(crate) struct Cassandra {
    startup: String,
    status: Status,
    endless: bool,
    verbatim: Numbers,
    /// Unknown without a schema.
    decoding: Option<Numbers>,
    /// What it makes of the name.
    name: Option<String>,
}

/// Numbers of records, in order.
enum Numbers {
    /// All of this many, except those listed.
    AllBut(u64, Vec<u64>),
    These(Given),
}

impl Numbers {
    fn count(&self) -> u64 {
        match self {
            Self::AllBut(count, without) => count - without.len() as u64,
            Self::These(these) => these.count(),
        }
    }

    /// Writes `"all"` for the numbers of `all` hints in order, else the numbers as ranges, each its first
    /// and its last, in the order in which they are given: a file may have ten million.
    fn write(&self, all: u64, out: &mut dyn Write) -> io::Result<()> {
        let ranges = match self {
            Self::AllBut(count, without) if without.is_empty() => {
                let last = count.cast_signed() - 1;
                (last >= 0).then_some((0, last)).into_iter().collect()
            }
            Self::These(these) => ranges(these.iter()),
            Self::AllBut(count, without) => {
                let mut without = without.iter().peekable();
                let left =
                    (0..*count).filter(|number| without.next_if(|next| *next == number).is_none());
                ranges(left.map(u64::cast_signed))
            }
        };
        if let [(0, last)] = ranges[..]
            && last + 1 == all.cast_signed()
        {
            return write!(out, "\"all\"");
        }
        write!(out, "{}", json!(ranges))
    }
}

/// Numbers as ranges, as far as they follow one another.
fn ranges(numbers: impl Iterator<Item = i64>) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

impl Cassandra {
    /// It delivers all of `hints`; decoding, all but those of unknown tables.
    pub(crate) fn all(hints: u64, unknown: Option<&[u64]>) -> Self {
        Self {
            startup: "loaded".to_owned(),
            status: Status::Clean,
            endless: false,
            verbatim: Numbers::AllBut(hints, Vec::new()),
            decoding: unknown.map(|unknown| Numbers::AllBut(hints, unknown.to_vec())),
            name: None,
        }
    }

    fn none(startup: &str, status: Status, has_schema: bool, name: String) -> Self {
        Self {
            startup: startup.to_owned(),
            status,
            endless: false,
            verbatim: Numbers::AllBut(0, Vec::new()),
            decoding: has_schema.then_some(Numbers::AllBut(0, Vec::new())),
            name: Some(name),
        }
    }

    /// It loads the file, and then opens another name: that which the header says.
    pub(crate) fn opens_another(computed: &str, is_there: bool, has_schema: bool) -> Self {
        let text = if is_there {
            format!(
                "opens {computed} instead, as the header says, which is another file: what is in this \
                 one is not delivered"
            )
        } else {
            format!(
                "opens {computed} instead, as the header says, and fails each time it is tried: rename \
                 the file to that"
            )
        };
        Self::none("loaded", Status::Failed, has_schema, text)
    }

    /// It does not take the file for one of hints.
    pub(crate) fn passes_over(has_schema: bool) -> Self {
        let text = "passes over the file for its name".to_owned();
        Self::none(
            "not loaded, passed over for its name",
            Status::Clean,
            has_schema,
            text,
        )
    }

    pub(crate) fn of(verdict: Verdict) -> Self {
        Self {
            startup: verdict.startup,
            status: verdict.status,
            endless: verdict.endless,
            verbatim: Numbers::These(verdict.verbatim),
            decoding: verdict.decoding.map(Numbers::These),
            name: None,
        }
    }

    /// Writes it as JSON; `recoverable` is how many hints are intact.
    pub(crate) fn write(&self, recoverable: u64, out: &mut dyn Write) -> io::Result<()> {
        write!(
            out,
            "{{\"startup\":{},\"status\":{},\"endless\":{},\"recoverable\":{recoverable},\
             \"returned_by_decoding_reader\":",
            json!(self.startup),
            json!(self.status.word()),
            self.endless
        )?;
        match &self.decoding {
            None => write!(out, "null")?,
            Some(numbers) => numbers.write(recoverable, out)?,
        }
        write!(out, ",\"returned_by_verbatim_reader\":")?;
        self.verbatim.write(recoverable, out)?;
        write!(out, "}}")
    }

    /// Whether a node does not get through the file.
    pub(crate) fn fails(&self) -> bool {
        self.status == Status::Failed && !self.startup.starts_with("not loaded")
    }

    /// The same for people; nothing where all is well.
    pub(crate) fn text(&self, recoverable: u64) -> Option<String> {
        if let Some(text) = &self.name {
            return Some(text.clone());
        }
        if self.startup == "not loaded, removed" {
            return Some("a starting node removes the file".to_owned());
        }
        if self.startup.starts_with("not loaded") {
            return Some(
                "a starting node renames it to .corrupt.hints, and never delivers it".to_owned(),
            );
        }
        if self.startup != "loaded" {
            let first = self.startup.split(" <- ").next().unwrap_or_default();
            return Some(format!("a node does not start over this file: {first}"));
        }
        let given = self.verbatim.count();
        let decoded = match &self.decoding {
            Some(numbers) if numbers.count() != given => {
                format!(" ({} to a node of another version)", numbers.count())
            }
            _ => String::new(),
        };
        let of = count(recoverable, "intact hint");
        match self.status {
            _ if self.endless => {
                Some("delivers its last block again and again, without end".to_owned())
            }
            Status::Clean => None,
            Status::Warned => Some(format!(
                "delivers {given} of {of}{decoded}, with a warning in its log"
            )),
            Status::Failed => Some(format!(
                "delivers {given} of {of}{decoded}, and gives up on the file each time it is tried"
            )),
        }
    }
}
