//! Single hints of a native store, picked by what `truncate` and `expire` ask for, and discarded.

use std::{collections::BTreeMap, ops::RangeInclusive, path::Path};

use hintstore::{
    Clock as _, Config, HintStore, Sequence, SystemClock, TargetId, UnixMillis,
    raw::format::{descriptor::Kind, expiry::is_dead},
};

use super::{compact::tell_skipped, rewrite::Fate, verify::tell};
use crate::{
    input::{FileKind, Finding, Flow, HintSource, HintView, Input, Pending, Visitor, What},
    output::{Output, count, quoted},
};

/// What was picked of a store.
#[derive(Debug, Default)]
pub(super) struct Picks {
    pub(super) targets: BTreeMap<TargetId, Picked>,
    /// Hints that are dead and were not picked, in segments that have others which were: they go with these.
    pub(super) also_dead: u64,
    /// Segments that cannot be rewritten, and why: what was picked of them stays.
    pub(super) stuck: Vec<(String, &'static str)>,
}

/// What was picked of one target.
#[derive(Debug, Default)]
pub(super) struct Picked {
    pub(super) hints: u64,
    /// Those of them that are in segments which cannot be rewritten.
    pub(super) stuck: u64,
    /// Those of these that opening the store sets aside with their segment, whatever it is asked for.
    pub(super) set_aside: u64,
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
) -> anyhow::Result<Picks> {
    let mut picker = Picker {
        fate,
        pending: Pending::of(input, output)?,
        now: SystemClock.wall(),
        picks: Picks::default(),
        segment: Segment::default(),
    };
    let bar = output.bar(input.hint_bytes());
    for file in input.hints().filter(|file| file.what == FileKind::Native) {
        let walked = bar.walk(input, file, &mut picker);
        tell(walked, &file.name, output)?;
        picker.end(&file.name);
    }
    bar.finish();
    let mut picks = picker.picks;
    for one in picks.targets.values_mut() {
        // Copies that wait for a retry come between others.
        one.sequences.sort_by_key(|some| *some.start());
    }
    Ok(picks)
}

impl Picks {
    pub(super) fn stuck(&self) -> BTreeMap<TargetId, u64> {
        let stuck = self.targets.iter();
        stuck
            .map(|(target, picked)| (*target, picked.stuck))
            .collect()
    }

    /// Says what a plan does not get; and what it gets besides, where segments are rewritten for it.
    pub(super) fn tell(&self, rewrites: bool, output: &mut Output) {
        if !self.stuck.is_empty() {
            output.problem();
        }
        for (file, why) in self.stuck.iter().take(STUCK_MAX) {
            output.remark(&format!("{file} would stay as it is: {why}"));
        }
        if rewrites && self.also_dead > 0 {
            output.remark(&format!(
                "{} more would go with them, dead ones of the same segments",
                count(self.also_dead, "hint")
            ));
        }
    }
}

/// What opening the store does with a segment whose descriptor cannot be read.
const SET_ASIDE: &str = "its descriptor is damaged: opening the store sets it aside, and its hints are there for aside retry";

/// No more segments that cannot be rewritten are named.
const STUCK_MAX: usize = 10;

/// Discards what was picked, segment by segment; gives how many of these hints are left of each target because a
/// segment could not be rewritten.
pub(super) fn discard(
    directory: &Path,
    picked: &BTreeMap<TargetId, Picked>,
    output: &mut Output,
) -> anyhow::Result<BTreeMap<TargetId, u64>> {
    // An operator waits for it.
    let config = Config::new(directory).with(|config| config.compact_bytes_per_second = None);
    let store = HintStore::open(config)?;
    let (mut has_skipped, mut gone) = (false, 0);
    for (target, picked) in picked {
        let done = store.discard(*target, &picked.sequences)?;
        has_skipped |= tell_skipped(&done, output)?;
        let each = done.compacted.iter();
        gone += each
            .map(|of| of.discarded + of.expired + of.fenced)
            .sum::<u64>();
        output.did("some of the hints went as asked".to_owned());
    }
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
    if !has_skipped {
        return Ok(BTreeMap::new());
    }
    output.remark(&format!("next: hintctl verify {}", quoted(directory)));
    let mut is_left = |hint: &HintView<'_>| match (picked.get(&hint.target), &hint.from) {
        (Some(picked), HintSource::Native { sequence, .. }) if picked.has(*sequence) => Fate::Go,
        _ => Fate::Stay,
    };
    let left = pick(&Input::open(directory)?, &mut is_left, output)?;
    let left: BTreeMap<TargetId, u64> = left
        .targets
        .into_iter()
        .map(|(target, picked)| (target, picked.hints))
        .collect();
    let all = left.values().sum();
    output.remark(&format!("{} of those picked stay", count(all, "hint")));
    Ok(left)
}

struct Picker<'a> {
    fate: &'a mut dyn FnMut(&HintView<'_>) -> Fate,
    pending: Pending,
    now: UnixMillis,
    picks: Picks,
    segment: Segment,
}

/// What was met of one segment.
#[derive(Debug, Default)]
struct Segment {
    target: Option<TargetId>,
    picked: u64,
    also_dead: u64,
    stuck: Option<&'static str>,
}

impl Picker<'_> {
    /// A segment was walked.
    fn end(&mut self, file: &str) {
        let segment = std::mem::take(&mut self.segment);
        let Some(target) = segment.target.filter(|_| segment.picked > 0) else {
            return;
        };
        match segment.stuck {
            Some(why) => {
                self.picks.stuck.push((file.to_owned(), why));
                let picked = self.picks.targets.entry(target).or_default();
                picked.stuck += segment.picked;
                if why == SET_ASIDE {
                    picked.set_aside += segment.picked;
                }
            }
            None => self.picks.also_dead += segment.also_dead,
        }
    }
}

impl Visitor for Picker<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        let HintSource::Native { sequence, kind, .. } = hint.from else {
            return Ok(Flow::Go);
        };
        if !self.pending.has(hint) {
            return Ok(Flow::Go);
        }
        let fate = (self.fate)(hint);
        let segment = &mut self.segment;
        segment.target = Some(hint.target);
        if fate == Fate::Go {
            segment.picked += 1;
        } else {
            let is_dead = is_dead(UnixMillis::new(hint.expires_at_ms()), self.now);
            segment.also_dead += u64::from(is_dead);
        }
        if kind == Kind::Deferred {
            segment.stuck = Some("its hints wait for a retry");
        }
        if fate != Fate::Stay {
            let picked = self.picks.targets.entry(hint.target).or_default();
            picked.up_to = picked.up_to.max(sequence);
            match fate {
                Fate::Go => picked.add(sequence),
                _ => picked.mixed += 1,
            }
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        if bad.what == What::Descriptor {
            self.segment.stuck = Some(SET_ASIDE);
            return Ok(());
        }
        // A hint that a crash may have torn keeps its segment from being sealed as well.
        let is_damaged = !bad.harmless || [What::Frame, What::Profiles].contains(&bad.what);
        if is_damaged && self.segment.stuck.is_none() {
            self.segment.stuck = Some("it is damaged, see hintctl verify");
        }
        Ok(())
    }
}
