//! Chooses segments that are worth to be rewritten: by books and footers, and for an open store as for one
//! that is only looked at. Changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hintstore_env::Storage;
use hintstore_format::{
    Namespace, SegmentId, Sequence, StoreId, TargetId, UnixMillis, block::Codec, expiry::Policy,
    footer::NamespaceEntry,
};
use hintstore_reader::read_footer;
use hintstore_sweep::{
    Candidate, Group, HintFacts, Newest, Reason, Rewritten, Rule, dead_hints, dead_hints_by_blocks,
    plan, survey,
};
use hintstore_writer::{Bytes, SegmentEntry};

use super::{Compact, Compacted, Compaction, swap::Swapped};
use crate::{
    Config, Result,
    expire::{Fences, Now, Verdict},
    target::Backlog,
};

/// Which segment, of all that any opening of any store wrote.
pub(super) type Key = (StoreId, SegmentId);

/// What earlier runs found out.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Segments that could not be rewritten: the store does not try these again by itself.
    pub(super) failed: BTreeSet<Key>,
    /// What the blocks of segments said, whose footers say too little.
    pub(super) looks: BTreeMap<Key, Look>,
}

/// A look at the blocks of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// How many hints were dead.
    dead: u64,
    /// How many its footer took for dead then.
    by_footer: u64,
    /// When to look again; sooner where the footer takes an eighth more of the hints for dead, as behind a fence.
    next: UnixMillis,
}

/// The blocks of a segment are looked at again after this part of the time that its last hint has left to
/// live, and no sooner than [`LOOK_AFTER`].
const LOOKS: i64 = 32;
const LOOK_AFTER: Duration = Duration::from_hours(1);

/// Neighbours that are rewritten into one segment.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) target: TargetId,
    pub(super) entries: Vec<Arc<SegmentEntry>>,
    /// Whether anything is dead in each.
    has_dead: Vec<bool>,
    pub(super) group: Group,
}

/// What it is chosen by.
pub(crate) struct Choice<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) policy: &'a Policy,
    pub(crate) fences: &'a Fences,
    pub(crate) now: Now,
    pub(crate) rule: Rule,
    /// Where the newest write wins.
    pub(crate) last_write_wins: &'a [Namespace],
    /// Takes the time that reading these bytes may take; false where it is to end.
    pub(crate) pace: &'a dyn Fn(u64) -> bool,
}

impl Choice<'_> {
    /// The groups of all these, the largest gain first; what cannot be looked at goes to `report`.
    pub(super) fn choose<'t>(
        &self,
        backlogs: impl IntoIterator<Item = (TargetId, &'t Backlog)>,
        known: &mut Known,
        report: &mut Compaction,
    ) -> Vec<Chosen> {
        let mut all = Vec::new();
        // What is known of segments that are gone by now is not kept.
        let looks = std::mem::take(&mut known.looks);
        for (target, backlog) in backlogs {
            let (entries, candidates) = self.candidates(backlog, &looks, known, report);
            for group in plan(&candidates, &self.rule) {
                let entries = entries.get(group.first..=group.last).unwrap_or_default();
                let of = candidates.get(group.first..=group.last).unwrap_or_default();
                let has_dead = |of: &Option<Candidate>| of.is_some_and(|of| of.dead > 0);
                all.push(Chosen {
                    target,
                    entries: entries.to_vec(),
                    has_dead: of.iter().map(has_dead).collect(),
                    group,
                });
            }
        }
        all.sort_by_key(|chosen| std::cmp::Reverse(chosen.group.gain));
        all
    }

    /// What would be done with all these.
    pub(crate) fn plan<'t>(
        &self,
        backlogs: impl IntoIterator<Item = (TargetId, &'t Backlog)>,
    ) -> Compaction {
        let mut planned = Compaction::default();
        for chosen in self.choose(backlogs, &mut Known::default(), &mut planned) {
            let before = chosen.size().get();
            let after = Bytes::new(before.saturating_sub(chosen.group.gain));
            planned
                .compacted
                .push(chosen.compacted(after, &Swapped::default()));
        }
        planned
    }

    /// The segments of a backlog, and what is known of those that may be rewritten.
    fn candidates(
        &self,
        backlog: &Backlog,
        looks: &BTreeMap<Key, Look>,
        known: &mut Known,
        report: &mut Compaction,
    ) -> (Vec<Arc<SegmentEntry>>, Vec<Option<Candidate>>) {
        let progress = backlog.progress.lock();
        let entries = backlog.segments.all();
        let mut ended = Vec::with_capacity(entries.len());
        let mut is_behind_cut = false;
        for entry in &entries {
            // One that is done goes by itself; delivery deals with damage. Where a failed sync moved hints out of
            // a segment, the one that has them has to keep them all: opening tells by that where they count.
            let is_cut = entry.closed().is_some_and(|closed| closed.is_cut_short);
            let is_untried = !known.failed.contains(&(entry.store, entry.id));
            let is_whole = !is_cut && !is_behind_cut && !progress.is_damaged(entry);
            let may = is_untried && is_whole && !progress.is_done(entry);
            let closed = entry.closed().filter(|_| may);
            ended
                .push(closed.map(|closed| closed.count.saturating_sub(progress.pending_in(entry))));
            is_behind_cut = is_cut;
        }
        let frontier = progress.frontier;
        drop(progress);
        let candidate = |(entry, ended): (&Arc<SegmentEntry>, Option<u64>)| {
            let closed = entry.closed()?;
            let (ended, sealed) = ended.zip(closed.sealed)?;
            let key = (entry.store, entry.id);
            if !(self.pace)(0) {
                // It is to end.
                return None;
            }
            match self.dead(entry, frontier, looks.get(&key).copied()) {
                Ok((dead, look)) => {
                    known.looks.extend(look.map(|look| (key, look)));
                    Some(Candidate {
                        key: (entry.store, entry.incarnation),
                        bytes: sealed.file_length,
                        count: closed.count,
                        // They may be the same hints.
                        dead: ended.max(dead),
                        is_packed: closed.codec != Codec::Plain,
                    })
                }
                // It was done and removed since the list was read.
                Err(_) if !backlog.holds(entry) => None,
                Err(error) => {
                    let name = entry.name.to_string();
                    report.skipped.push((name, error.to_string()));
                    report.has_failed = true;
                    None
                }
            }
        };
        let candidates = entries.iter().zip(ended).map(candidate).collect();
        (entries, candidates)
    }

    /// About how many hints of a segment are dead or fenced: by its footer, which is read only where any can
    /// be, where that says all; else by its blocks, but not before the next look. With what that found, and when
    /// to look there again.
    fn dead(
        &self,
        entry: &Arc<SegmentEntry>,
        frontier: Sequence,
        look: Option<Look>,
    ) -> Result<(u64, Option<Look>)> {
        let Some((closed, sealed)) = entry.closed().and_then(|of| Some((of, of.sealed?))) else {
            return Ok((0, None));
        };
        let by_namespace = !self.policy.gc_grace_now.is_empty() || self.fences.is_any();
        let rules = by_namespace || !self.last_write_wins.is_empty();
        if !rules && self.now.judge(sealed.deadlines.min) != Verdict::Dead {
            return Ok((0, None));
        }
        let now = self.now.at_least();
        let fence = |namespace| self.fences.before(namespace);
        let file = self.storage.open(&entry.name, false)?;
        let footer = read_footer(&*file, entry.id, sealed.footer_at..sealed.file_length)?;
        let Some(footer) = footer else {
            return Ok((0, None));
        };
        let by_footer = dead_hints(&footer, self.policy, fence, now);
        if by_footer >= closed.count {
            return Ok((by_footer, look));
        }
        // Where lifetimes are mixed a footer guesses: by its guess a segment would be rewritten for little.
        let is_as_it_was = |look: &Look| {
            now < look.next && by_footer.saturating_sub(look.by_footer) * 8 < closed.count
        };
        if let Some(known) = look.filter(is_as_it_was) {
            return Ok((known.dead, look));
        }
        let blocks = closed.blocks_at..closed.end;
        let mut dead = dead_hints_by_blocks(file, entry.id, blocks, self.policy, fence, now)?;
        let has_rivals = |of: &NamespaceEntry| {
            let mut all = self.last_write_wins.iter();
            all.any(|only| of.namespace.is_none_or(|of| of == *only))
        };
        if footer.namespaces.iter().any(has_rivals) {
            let Some(superseded) = self.superseded(entry, frontier)? else {
                return Ok((dead, look));
            };
            // They may be the same hints.
            dead = dead.max(superseded);
        }
        let left = sealed.deadlines.max.get().saturating_sub(now.get()) / LOOKS;
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let next = now.saturating_add(left.max(LOOK_AFTER));
        let look = Look {
            dead,
            by_footer,
            next,
        };
        Ok((dead, Some(look)))
    }
}

impl Choice<'_> {
    /// How many hints of a segment are pointless beside newer ones in it, of those that were never handed
    /// out: it is read twice. Nothing where that came to no end.
    fn superseded(&self, entry: &Arc<SegmentEntry>, frontier: Sequence) -> Result<Option<u64>> {
        let (mut newest, mut superseded) = (Newest::default(), 0);
        let source = std::slice::from_ref(entry);
        let rivals = |hint: &HintFacts<'_>| {
            let is_open = hint.sequence > frontier;
            let is_one = is_open && self.last_write_wins.contains(&hint.namespace);
            let policy = self.policy;
            is_one.then(|| policy.deadline(hint.namespace, hint.body.created, hint.lifetime))
        };
        let note = |hint: &HintFacts<'_>| {
            if let (Some(deadline), Some(of)) = (rivals(hint), hint.rivals()) {
                newest.note(hint, of, deadline);
            }
        };
        if survey(self.storage, source, note, self.pace)? != Rewritten::Whole {
            return Ok(None);
        }
        if newest.is_empty() {
            return Ok(Some(0));
        }
        let count = |hint: &HintFacts<'_>| {
            if let (Some(deadline), Some(of)) = (rivals(hint), hint.rivals()) {
                let gone = newest.supersedes(hint, of, deadline);
                superseded += u64::from(gone);
            }
        };
        let ended = survey(self.storage, source, count, self.pace)?;
        Ok((ended == Rewritten::Whole).then_some(superseded))
    }
}

impl Compact {
    /// What is worth it.
    pub(crate) fn rule(&self, config: &Config) -> Rule {
        let segment_bytes = config.segment_bytes.get();
        let rule = if self.is_everything {
            Rule::anything(segment_bytes)
        } else {
            Rule::worthwhile(segment_bytes)
        };
        rule.compressing(config.compress_level.is_some())
    }
}

impl Chosen {
    /// One segment, for hints in it that are to be discarded.
    pub(super) fn to_discard(target: TargetId, entry: Arc<SegmentEntry>) -> Self {
        Self {
            target,
            entries: vec![entry],
            has_dead: vec![true],
            group: Group {
                first: 0,
                last: 0,
                reason: Reason::Discarded,
                gain: 0,
                cost: 0,
            },
        }
    }

    /// What is before and behind a segment of the group that cannot be rewritten, where that is worth it.
    pub(super) fn without(&self, place: usize) -> Vec<Self> {
        let sides = [0..place, place + 1..self.entries.len()];
        let side = |side: std::ops::Range<usize>| {
            let entries = self.entries.get(side.clone())?.to_vec();
            let has_dead = self.has_dead.get(side)?.to_vec();
            let is_worth_it = entries.len() > 1 || has_dead.contains(&true);
            is_worth_it.then_some(Self {
                target: self.target,
                entries,
                has_dead,
                group: self.group,
            })
        };
        sides.into_iter().filter_map(side).collect()
    }

    /// Each of the segments with anything dead in it for itself.
    pub(super) fn singles(&self) -> Vec<Self> {
        let each = self.entries.iter().zip(&self.has_dead);
        let single = |(entry, _): (&Arc<SegmentEntry>, _)| Self {
            target: self.target,
            entries: vec![entry.clone()],
            has_dead: vec![true],
            group: self.group,
        };
        let is_worth_it = self.group.reason == Reason::Dead;
        each.filter(|(_, has_dead)| is_worth_it && **has_dead)
            .map(single)
            .collect()
    }

    pub(super) fn size(&self) -> Bytes {
        let each = self.entries.iter().map(|entry| entry.allocated.get());
        Bytes::new(each.sum())
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.entries.iter().map(|entry| entry.name.to_string())
    }

    pub(super) fn compacted(&self, after: Bytes, swapped: &Swapped) -> Compacted {
        Compacted {
            target: self.target,
            files: self.names().collect(),
            reason: self.group.reason,
            before: self.size(),
            after,
            expired: swapped.expired,
            fenced: swapped.fenced,
            superseded: swapped.superseded,
            discarded: swapped.discarded,
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.entries.iter().map(|entry| (entry.store, entry.id))
    }

    /// The name and the key of one.
    pub(super) fn one(&self, place: usize) -> Option<(String, Key)> {
        let entry = self.entries.get(place)?;
        Some((entry.name.to_string(), (entry.store, entry.id)))
    }

    pub(super) fn skipped(&self, why: &str) -> Vec<(String, String)> {
        self.names().map(|name| (name, why.to_owned())).collect()
    }
}
