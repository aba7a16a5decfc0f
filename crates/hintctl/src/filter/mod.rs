//! Which hints are asked for: by target, table, key, time and sequence, the same on every verb.

mod key;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use hintstore::Namespace;
use hintstore_cassandra::{Schema, Table};

use crate::{
    args::{MIXED, Which},
    decode,
    exit::usage,
    input::{HintSource, HintView, Input},
    output::{Output, count},
};

pub(crate) use key::unhex;

use key::Key;

/// Which hints are asked for.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    which: &'a Which,
    /// Nothing where all are asked for.
    tables: Option<Tables>,
    key: Option<Key>,
    schema: Option<&'a Schema>,
    /// Hints that may be meant or not: nothing tells.
    unsure: AtomicU64,
    /// No more than this many, of those that were taken since the last [`Filter::restart`].
    limit: u64,
    taken: AtomicU64,
}

/// The tables that are asked for.
#[derive(Debug, Default)]
struct Tables {
    ids: BTreeSet<Namespace>,
    /// Hints that write to several, whichever these are.
    mixed: bool,
}

/// Whether a hint is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touches {
    Yes,
    No,
    Unsure,
}

impl<'a> Filter<'a> {
    /// # Errors
    /// Where a name is in no schema, or a key is none of its table.
    pub(crate) fn new(which: &'a Which, schema: Option<&'a Schema>) -> anyhow::Result<Self> {
        refuse_nothing(which)?;
        let tables = tables(which, schema)?;
        let key = which.key.as_deref();
        let key = key.map(|text| {
            let ids = tables.as_ref().map(|tables| &tables.ids);
            Key::new(text, ids, schema)
        });
        Ok(Self {
            which,
            tables,
            key: key.transpose()?,
            schema,
            unsure: AtomicU64::new(0),
            limit: which.limit.unwrap_or(u64::MAX),
            taken: AtomicU64::new(0),
        })
    }

    /// For a verb that counts by itself how many it takes.
    pub(crate) fn unlimited(self) -> Self {
        Self {
            limit: u64::MAX,
            ..self
        }
    }

    /// How many hints were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Goes on as if this many had been taken.
    pub(crate) fn restart(&self, taken: u64) {
        self.taken.store(taken, Relaxed);
    }

    /// Whether it narrows what is in a file, or only which files.
    pub(crate) fn is_by_hint(&self) -> bool {
        let which = Which {
            target: Vec::new(),
            ..self.which.clone()
        };
        !which.is_all()
    }

    /// Whether it leaves out anything.
    pub(crate) fn is_narrow(&self) -> bool {
        !self.which.is_all()
    }

    /// Whether it asks for a part of what a hint with several updates writes.
    pub(crate) fn is_by_update(&self) -> bool {
        self.tables.is_some() || self.key.is_some()
    }

    /// The namespaces that are asked for; nothing where all are.
    pub(crate) fn namespaces(&self) -> Option<Vec<Namespace>> {
        let tables = self.tables.as_ref()?;
        let mixed = tables.mixed.then_some(Namespace::MIXED);
        Some(tables.ids.iter().copied().chain(mixed).collect())
    }

    /// Leaves out the files of a directory that are for other targets. What cannot be opened stays: the walk tells
    /// of it.
    pub(crate) fn narrow(&self, input: &mut Input) -> anyhow::Result<()> {
        let which = self.which;
        if (which.from_seq.is_some() || which.to_seq.is_some())
            && !input.is_native()
            && input.hints().next().is_some()
        {
            return Err(usage(
                "hints of Cassandra have no sequence: --from-seq and --to-seq are for native stores",
            ));
        }
        if which.target.is_empty() {
            return Ok(());
        }
        let mut files = std::mem::take(&mut input.files);
        files.retain(|file| match input.target(file) {
            Ok(Some(target)) => which.target.contains(&target),
            _ => true,
        });
        input.files = files;
        Ok(())
    }

    /// Whether a hint is asked for, and takes it: no more than the limit are.
    pub(crate) fn has(&self, hint: &HintView<'_>) -> bool {
        self.means_hint(hint) && self.take()
    }

    /// Takes a hint that is asked for, as long as the limit allows.
    pub(crate) fn take(&self) -> bool {
        self.limit == u64::MAX || self.taken.fetch_add(1, Relaxed) < self.limit
    }

    /// Whether a hint is asked for, whatever the limit.
    pub(crate) fn means_hint(&self, hint: &HintView<'_>) -> bool {
        let which = self.which;
        let targets = &which.target;
        let created = hint.created_ms;
        if !targets.is_empty() && !targets.contains(&hint.target)
            || which.since.is_some_and(|since| created < since.get())
            || which.until.is_some_and(|until| created >= until.get())
            || !self.has_sequence(hint)
        {
            return false;
        }
        let touches = if self.is_by_update() {
            self.touches(hint)
        } else {
            Touches::Yes
        };
        if touches == Touches::Unsure {
            self.unsure.fetch_add(1, Relaxed);
        }
        touches == Touches::Yes
    }

    fn has_sequence(&self, hint: &HintView<'_>) -> bool {
        let (from, to) = (self.which.from_seq, self.which.to_seq);
        match hint.from {
            HintSource::Native { sequence, .. } => {
                from.is_none_or(|from| sequence >= from) && to.is_none_or(|to| sequence <= to)
            }
            HintSource::Cassandra { .. } => from.is_none() && to.is_none(),
        }
    }

    /// Whether a hint writes to what is asked for. Of one with several updates only the first is known
    /// without a schema.
    fn touches(&self, hint: &HintView<'_>) -> Touches {
        let mixed = self.tables.as_ref().is_some_and(|tables| tables.mixed);
        if hint.namespace == Namespace::MIXED && mixed && self.key.is_none() {
            return Touches::Yes;
        }
        let is_meant = |table: Namespace, key: Option<&[u8]>| {
            let here = |tables: &Tables| tables.ids.contains(&table);
            if !self.tables.as_ref().is_none_or(here) {
                return Touches::No;
            }
            match (&self.key, key) {
                (None, _) => Touches::Yes,
                (Some(_), None) => Touches::Unsure,
                (Some(asked), Some(key)) if asked.is(table, key) => Touches::Yes,
                (Some(_), Some(_)) => Touches::No,
            }
        };
        if let Some(schema) = self.schema
            && hint.updates().is_some_and(|updates| updates > 1)
            && let Some(mutation) = hint.mutation()
            && let Ok(all) = decode::touched(mutation, schema, hint.payload_version)
        {
            let meant = |one: &decode::Touched<'_>| {
                self.means(Namespace::from_bytes(one.table.id), one.key)
            };
            return if all.iter().any(meant) {
                Touches::Yes
            } else {
                Touches::No
            };
        }
        let Some(first) = hint.first_update() else {
            let collapse = match &hint.from {
                HintSource::Native { body, .. } => body.collapse.map(|collapse| collapse.key),
                HintSource::Cassandra { .. } => None,
            };
            return match hint.namespace {
                Namespace::MIXED => Touches::Unsure,
                only => is_meant(only, collapse),
            };
        };
        let is_all = hint.updates() == Some(1);
        let table = match hint.namespace {
            Namespace::MIXED => first.table,
            only => only,
        };
        match is_meant(table, Some(first.key)) {
            Touches::No if !is_all => Touches::Unsure,
            touches => touches,
        }
    }

    /// Whether all that a hint writes to is asked for.
    pub(crate) fn covers(&self, hint: &HintView<'_>) -> bool {
        if hint.namespace != Namespace::MIXED {
            return true;
        }
        let (Some(schema), Some(mutation)) = (self.schema, hint.mutation()) else {
            return false;
        };
        let all = decode::touched(mutation, schema, hint.payload_version);
        all.is_ok_and(|all| {
            all.iter()
                .all(|one| self.means(Namespace::from_bytes(one.table.id), one.key))
        })
    }

    fn means(&self, table: Namespace, key: &[u8]) -> bool {
        let tables = self.tables.as_ref();
        tables.is_none_or(|tables| tables.ids.contains(&table))
            && self.key.as_ref().is_none_or(|asked| asked.is(table, key))
    }

    /// Says how many hints may have been meant.
    pub(crate) fn tell_unsure(&self, output: &mut Output) {
        let unsure = self.unsure.swap(0, Relaxed);
        if unsure > 0 {
            output.problem();
            output.remark(&format!(
                "{} may write to what was asked for or not, and were left out: {}",
                count(unsure, "hint"),
                if self.schema.is_none() {
                    "add --schema"
                } else {
                    "the schema does not decode them"
                }
            ));
        }
    }
}

/// Bounds that leave nothing between them are a slip.
fn refuse_nothing(which: &Which) -> anyhow::Result<()> {
    if which
        .since
        .zip(which.until)
        .is_some_and(|(since, until)| since >= until)
    {
        return Err(usage(
            "nothing is created at or after --since and before --until",
        ));
    }
    if which
        .from_seq
        .zip(which.to_seq)
        .is_some_and(|(from, to)| from > to)
    {
        return Err(usage("no sequence is from --from-seq to --to-seq"));
    }
    if which.key.as_deref() == Some("") {
        return Err(usage("--key is empty"));
    }
    Ok(())
}

fn tables(which: &Which, schema: Option<&Schema>) -> anyhow::Result<Option<Tables>> {
    // As CQL spells names that are quoted there.
    let bare = |name: &String| name.replace('"', "");
    let keyspaces: Vec<String> = which.keyspace.iter().map(bare).collect();
    let mut tables = Tables::default();
    for text in &which.table {
        if text == MIXED {
            if !keyspaces.is_empty() || which.key.is_some() {
                return Err(usage(format!(
                    "{MIXED} is for all hints that write to several tables: not with --keyspace or --key"
                )));
            }
            tables.mixed = true;
        } else {
            tables.ids.insert(table_id(text, &keyspaces, schema)?);
        }
    }
    if which.table.is_empty() {
        let Some(schema) = schema else {
            return Ok(None);
        };
        for keyspace in &keyspaces {
            let of: Vec<Namespace> = ids(schema, |table| table.keyspace == *keyspace);
            if of.is_empty() {
                return Err(usage(format!(
                    "the schema has no keyspace {keyspace}, or no table of it has an id"
                )));
            }
            tables.ids.extend(of);
        }
        if keyspaces.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(tables))
}

fn ids(schema: &Schema, is_meant: impl Fn(&Table) -> bool) -> Vec<Namespace> {
    let tables = schema.tables().filter(|table| is_meant(table));
    tables
        .map(|table| Namespace::from_bytes(table.id))
        .collect()
}

/// The table of a name or an id.
fn table_id(
    text: &str,
    keyspaces: &[String],
    schema: Option<&Schema>,
) -> anyhow::Result<Namespace> {
    if let Ok(id) = text.parse::<Namespace>() {
        let table = schema.and_then(|schema| schema.table(id.as_bytes()));
        return match table {
            _ if keyspaces.is_empty() => Ok(id),
            Some(table) if keyspaces.contains(&table.keyspace) => Ok(id),
            _ => Err(usage(format!("{text} is no table of the keyspace"))),
        };
    }
    let Some(schema) = schema else {
        return Err(usage(format!(
            "{text} is no table id, and to look up a name --schema is needed"
        )));
    };
    let of_keyspace = |table: &Table| keyspaces.is_empty() || keyspaces.contains(&table.keyspace);
    // As CQL spells names that are quoted there.
    let bare = text.replace('"', "");
    let named = |table: &Table| {
        of_keyspace(table)
            && (table.name == bare || format!("{}.{}", table.keyspace, table.name) == bare)
    };
    match ids(schema, named)[..] {
        [id] => Ok(id),
        [] => Err(usage(format!(
            "the schema has no table {text}: write keyspace.table, as it is spelled there"
        ))),
        _ => Err(usage(format!(
            "the schema has several tables {text}: write keyspace.table"
        ))),
    }
}
