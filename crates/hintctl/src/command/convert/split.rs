//! Hints of each target, or each table, into a place of their own below one directory.

use std::{collections::BTreeMap, path::PathBuf};

use hintstore_cassandra::Schema;
use serde_json::json;

use super::Sink;
use crate::{
    args::Split as By,
    command::tally::table_name,
    exit::usage,
    input::{Finding, HintView},
    interrupt::Making,
    output::{Output, count},
};

/// Places that are open at once: each has buffers, and a native store threads.
const PLACES_MAX: usize = 256;

/// Makes what hints of one group go to.
type Make<'a> = dyn Fn(PathBuf) -> anyhow::Result<Box<dyn Sink + 'a>> + 'a;

/// A directory of places.
pub(super) struct Split<'a> {
    pub(super) by: By,
    pub(super) out: PathBuf,
    pub(super) making: Making,
    pub(super) schema: Option<&'a Schema>,
    /// What the name of a place ends in.
    pub(super) extension: &'static str,
    pub(super) make: Box<Make<'a>>,
    pub(super) places: BTreeMap<String, Place<'a>>,
}

/// What hints of one group go to.
pub(super) struct Place<'a> {
    sink: Box<dyn Sink + 'a>,
    path: PathBuf,
    hints: u64,
}

impl<'a> Split<'a> {
    fn place(&mut self, hint: &HintView<'_>) -> anyhow::Result<&mut Place<'a>> {
        let group = match self.by {
            By::Target => hint.target.to_string(),
            By::Table => table_name(self.schema, hint.namespace),
        };
        if !self.places.contains_key(&group) {
            if self.places.len() >= PLACES_MAX {
                return Err(usage(format!(
                    "there are more than {PLACES_MAX} of them: split what --target or --table name"
                )));
            }
            // A name in a schema is no path.
            let name = group.replace('/', "_");
            let path = self.out.join(format!("{name}{}", self.extension));
            let sink = (self.make)(path.clone())?;
            let hints = 0;
            self.places
                .insert(group.clone(), Place { sink, path, hints });
        }
        let place = self.places.get_mut(&group);
        place.ok_or_else(|| anyhow::anyhow!("there is no place for {group}"))
    }
}

impl Sink for Split<'_> {
    fn put(&mut self, file: &str, hint: &HintView<'_>) -> anyhow::Result<Result<(), Finding>> {
        let place = self.place(hint)?;
        let put = place.sink.put(file, hint)?;
        place.hints += u64::from(put.is_ok());
        Ok(put)
    }

    fn finish(self: Box<Self>, output: &mut Output) -> anyhow::Result<()> {
        for (group, Place { sink, path, hints }) in self.places {
            sink.finish(output)?;
            output.line(
                "place",
                json!({
                    "by": self.by.word(),
                    "group": group,
                    "hints": hints,
                    "out": path.display().to_string(),
                }),
            )?;
            output.text(&format!("{}: {}", path.display(), count(hints, "hint")))?;
        }
        self.making.finish()
    }
}
