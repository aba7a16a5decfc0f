//! Single hints of a native store, picked by what `truncate` and `expire` ask for, and discarded.

use std::{collections::BTreeMap, ops::RangeInclusive, path::Path};

use hintstore::{Config, HintStore, Sequence, TargetId};
use serde_json::json;

use super::{rewrite::Fate, verify::tell};
use crate::{
    input::{FileKind, Finding, Flow, HintSource, HintView, Input, Pending, Visitor},
    output::{Output, count},
};

/// What was picked of one target.
#[derive(Debug, Default)]
pub(super) struct Picked {
    pub(super) hints: u64,
    /// Hints that also write elsewhere, and stay.
    pub(super) mixed: u64,
    /// The last sequence that was looked at.
    pub(super) up_to: Sequence,
    sequences: Vec<RangeInclusive<Sequence>>,
}

impl Picked {
    fn add(&mut self, sequence: Sequence) {
        self.hints += 1;
        match self.sequences.last_mut() {
            Some(last) if last.end().plus(1) == sequence => *last = *last.start()..=sequence,
            _ => self.sequences.push(sequence..=sequence),
        }
    }

    fn has(&self, sequence: Sequence) -> bool {
        let at = self
            .sequences
            .partition_point(|some| *some.end() < sequence);
        let some = self.sequences.get(at);
        some.is_some_and(|some| some.contains(&sequence))
    }
}

/// Picks hints that are to be delivered, from the files alone: nothing is locked, opened for writing or changed, so
/// that a plan can be made while the node runs. What cannot be read is not picked; `verify` tells of it.
pub(super) fn pick(
    input: &Input,
    fate: &mut dyn FnMut(&HintView<'_>) -> Fate,
    output: &mut Output,
) -> anyhow::Result<BTreeMap<TargetId, Picked>> {
    let mut picker = Picker {
        fate,
        pending: Pending::of(input, output)?,
        picked: BTreeMap::new(),
    };
    let bar = output.bar(input.hint_bytes());
    for file in input.hints().filter(|file| file.what == FileKind::Native) {
        let walked = bar.walk(input, file, &mut picker);
        tell(walked, &file.name, output)?;
    }
    bar.finish();
    let mut picked = picker.picked;
    for one in picked.values_mut() {
        // Copies that wait for a retry come between others.
        one.sequences.sort_by_key(|some| *some.start());
    }
    Ok(picked)
}

/// Discards what was picked, segment by segment; gives how many of these hints are left because a segment could not be
/// rewritten.
pub(super) fn discard(
    directory: &Path,
    picked: &BTreeMap<TargetId, Picked>,
    output: &mut Output,
) -> anyhow::Result<u64> {
    // An operator waits for it.
    let config = Config::new(directory).with(|config| config.compact_bytes_per_second = None);
    let store = HintStore::open(config)?;
    let (mut skipped, mut gone) = (Vec::new(), 0);
    for (target, picked) in picked {
        let done = store.discard(*target, &picked.sequences)?;
        let each = done.compacted.iter();
        gone += each
            .map(|of| of.discarded + of.expired + of.fenced)
            .sum::<u64>();
        skipped.extend(done.skipped);
        output.did("some of the hints went as asked".to_owned());
    }
    store.sweep()?;
    for name in &store.open_report().set_aside {
        output.remark(&format!("{name} cannot be read and was set aside"));
    }
    store.close()?;
    let meant = picked.values().map(|picked| picked.hints).sum();
    if gone > meant {
        output.remark(&format!(
            "{} more went with them: they had expired, or were fenced",
            count(gone - meant, "hint")
        ));
    }
    if skipped.is_empty() {
        return Ok(0);
    }
    output.problem();
    for (file, why) in &skipped {
        output.line("skipped", json!({ "file": file, "why": why }))?;
        output.remark(&format!("{file} stays as it is: {why}"));
    }
    let mut is_left = |hint: &HintView<'_>| match (picked.get(&hint.target), &hint.from) {
        (Some(picked), HintSource::Native { sequence, .. }) if picked.has(*sequence) => Fate::Go,
        _ => Fate::Stay,
    };
    let left = pick(&Input::open(directory)?, &mut is_left, output)?;
    let left = left.values().map(|picked| picked.hints).sum();
    output.remark(&format!("{} of those picked stay", count(left, "hint")));
    Ok(left)
}

struct Picker<'a> {
    fate: &'a mut dyn FnMut(&HintView<'_>) -> Fate,
    pending: Pending,
    picked: BTreeMap<TargetId, Picked>,
}

impl Visitor for Picker<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        let HintSource::Native { sequence, .. } = hint.from else {
            return Ok(Flow::Go);
        };
        if !self.pending.has(hint) {
            return Ok(Flow::Go);
        }
        let fate = (self.fate)(hint);
        if fate != Fate::Stay {
            let picked = self.picked.entry(hint.target).or_default();
            picked.up_to = picked.up_to.max(sequence);
            match fate {
                Fate::Go => picked.add(sequence),
                _ => picked.mixed += 1,
            }
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, _: &Finding) -> anyhow::Result<()> {
        Ok(())
    }
}
