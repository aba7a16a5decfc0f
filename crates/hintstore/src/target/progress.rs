//! How far delivery of one target has come.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use hintstore_env::Boot;
use hintstore_format::{
    SegmentId, Sequence,
    journal::{Discard, End, Ends, Range},
};

use hintstore_writer::{Moved, NOT_TORN, SegmentEntry, Segments};

use super::Ranges;
use crate::read::Cursor;

/// How far delivery of one target has come. The books: every hint at or below the frontier has
/// ended, or is in `unended`; every hint above it is pending, except in segments that were dropped
/// whole and are no longer on the list.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Hints up to here were handed out or have ended.
    pub(crate) frontier: Sequence,
    /// Those of them that have not ended.
    pub(crate) unended: Ranges,
    /// Those of them that are to be handed out again.
    pub(crate) again: Ranges,
    /// How hints ended since the store was made.
    pub(crate) ends: Ends,
    /// Of closed segments up to here some left the list as a whole: behind the frontier and the segments that
    /// are listed, nothing up to here is pending.
    pub(super) left_to: Sequence,
    /// In segments up to here nothing is missing that is not booked.
    finished: Sequence,
    /// How many hints of each segment ended.
    pub(crate) ended_in: BTreeMap<SegmentId, u64>,
    /// Pages that are out.
    pub(crate) in_flight: usize,
    /// Reads on from the frontier.
    pub(crate) frontier_cursor: Cursor,
    /// Reads what is to be handed out again, once something is.
    pub(crate) retry_cursor: Option<Box<Cursor>>,
    pub(crate) exceptional: Exceptional,
    /// Of a deferred segment that is its target's no more: its books are the target's, and what was
    /// pending in it is in another. A caller that listed it before must not read it any more.
    pub(crate) is_gone: bool,
    /// Something changed since the last checkpoint.
    pub(crate) dirty: bool,
    /// The target, or the deferred segment, rests until then.
    pub(crate) rest_until: Boot,
    /// What is to be handed out again rests until then.
    pub(crate) retry_at: Boot,
}

/// What is said of few targets.
#[derive(Debug, Default)]
pub(crate) struct ExceptionalParts {
    /// Unended hints that are dead by one of two clocks.
    pub(crate) held: Ranges,
    /// The clock's confirmations when they were held.
    pub(crate) held_at: u64,
    /// What an operator discarded by namespace or age.
    pub(crate) discards: Vec<Discard>,
    /// Segments in which damage was met.
    pub(crate) damaged: BTreeSet<SegmentId>,
    /// Segments that are no longer on the list, damaged or not, and are to be retired: deferred ones
    /// that are done or were merged into others, dead ones behind living ones.
    pub(crate) leaving: Vec<(Arc<SegmentEntry>, bool)>,
    /// Hints that made a page of their own fail: how often, and until when each is left alone. Others go on.
    pub(crate) suspects: BTreeMap<Sequence, Suspect>,
    /// The next page is that of a suspect, if one is due: others are to have their turn.
    pub(crate) suspect_had_its_turn: bool,
    /// Hints that rest for longer than others, as their target asked, and until when: the earliest first.
    pub(crate) later: Vec<(Boot, Ranges)>,
    /// Hints that ended unread since the last checkpoint.
    pub(crate) unread: Vec<EndedUnread>,
    /// Hints that are not to be handed out any more: they end as superseded when they are met.
    pub(crate) retracted: Ranges,
}

/// A hint that made a page of its own fail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suspect {
    /// How often.
    failures: u32,
    /// Until then it is left alone; nothing where it is to be handed out, or is out.
    rest_until: Option<Boot>,
    /// How often nothing was said of it, while its target took others.
    poison: u32,
    /// Hints that the target had taken then.
    delivered: Option<u64>,
}

/// Hints that ended unread: how many, how, and in which segment, if that is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedUnread {
    pub(crate) segment: Option<SegmentId>,
    pub(crate) count: u64,
    pub(crate) end: End,
}

/// At most this many ranges of hints are retracted at once: what is retracted beyond is delivered.
const RETRACTED_MAX: usize = 4096;
/// At most this many times are remembered until when hints rest: beyond, some rest for longer than they were to.
const LATER_MAX: usize = 8;
/// At most this many hints are left alone at once: beyond, one that fails holds up others.
const SUSPECTS_MAX: usize = 8;

/// [`ExceptionalParts`] that take no memory before they are first written to.
#[derive(Debug, Default)]
pub(crate) struct Exceptional(Option<Box<ExceptionalParts>>);

impl Exceptional {
    /// What is there to be changed, if anything is.
    pub(crate) fn get_mut(&mut self) -> Option<&mut ExceptionalParts> {
        self.0.as_deref_mut()
    }
}

impl Deref for Exceptional {
    type Target = ExceptionalParts;

    fn deref(&self) -> &ExceptionalParts {
        static NONE: ExceptionalParts = ExceptionalParts {
            held: Ranges::new(),
            held_at: 0,
            discards: Vec::new(),
            damaged: BTreeSet::new(),
            leaving: Vec::new(),
            suspects: BTreeMap::new(),
            suspect_had_its_turn: false,
            later: Vec::new(),
            unread: Vec::new(),
            retracted: Ranges::new(),
        };
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Exceptional {
    fn deref_mut(&mut self) -> &mut ExceptionalParts {
        self.0.get_or_insert_default()
    }
}

impl Progress {
    /// Starts where a checkpoint left off.
    pub(crate) fn resume(&mut self, up_to: Sequence, holes: &[Range]) {
        self.frontier = up_to;
        self.unended = Ranges::of(holes);
        self.again = self.unended.clone();
    }

    /// Applies what an operator discarded, as far as that can be said by sequences alone.
    pub(crate) fn resume_discards(&mut self, discards: &[Discard]) {
        self.set_discards(discards);
        let all = discards.iter().filter(|discard| discard.is_all());
        if let Some(last) = all.map(|discard| discard.up_to).max() {
            // Nothing at or below is left: delivery goes on behind it.
            let first = Sequence::ZERO;
            for ranges in [&mut self.unended, &mut self.again] {
                ranges.remove(Range { first, last });
            }
            self.frontier = self.frontier.max(last);
        }
    }

    /// What an operator discarded so far.
    pub(crate) fn set_discards(&mut self, discards: &[Discard]) {
        if !discards.is_empty() {
            self.exceptional.discards = discards.to_vec();
        }
    }

    /// Books the end of hints that were handed out, or are behind the frontier by now.
    pub(crate) fn end(&mut self, segments: &Segments, ended: &Ranges, end: End) {
        if ended.is_empty() {
            return;
        }
        self.apply_moves(segments);
        self.ends.add(end, ended.count());
        self.take_out(segments, ended);
    }

    /// Books the end of hints that were handed out and cannot be read any more.
    pub(crate) fn end_gone(&mut self, segments: &Segments, gone: &Ranges) {
        let mut elsewhere = gone.count();
        if let (Some(first), Some(last)) = (gone.ranges().first(), gone.ranges().last()) {
            for entry in segments.within(first.first, last.last) {
                let here = gone.count_within(entry.first, entry.last());
                elsewhere = elsewhere.saturating_sub(here);
                self.note_unread(Some(entry.id), here, End::Damaged);
            }
        }
        // Their segment is listed no more.
        self.note_unread(None, elsewhere, End::Damaged);
        self.end(segments, gone, End::Damaged);
    }

    /// Notes hints that ended unread, for their receipts.
    pub(crate) fn note_unread(&mut self, segment: Option<SegmentId>, count: u64, end: End) {
        if count == 0 {
            return;
        }
        let unread = &mut self.exceptional.unread;
        let is_same = |of: &&mut EndedUnread| of.segment == segment && of.end == end;
        match unread.iter_mut().find(is_same) {
            Some(of) => of.count += count,
            None => unread.push(EndedUnread {
                segment,
                count,
                end,
            }),
        }
    }

    /// A hint made a page of its own fail: it is left alone for `rest`, doubled each time, and is not among those
    /// that are handed out again. False where as many are left alone as may be.
    pub(crate) fn suspect(
        &mut self,
        hint: Sequence,
        now: Boot,
        rest: Duration,
        max: Duration,
    ) -> bool {
        let suspects = &mut self.exceptional.suspects;
        suspects.retain(|known, _| self.unended.contains(*known));
        if suspects.len() >= SUSPECTS_MAX && !suspects.contains_key(&hint) {
            return false;
        }
        let suspect = suspects.entry(hint).or_default();
        let doubled = 1_u32.checked_shl(suspect.failures).unwrap_or(u32::MAX);
        suspect.failures = suspect.failures.saturating_add(1);
        suspect.rest_until = Some(now + rest.saturating_mul(doubled).min(max.max(rest)));
        let (first, last) = (hint, hint);
        self.again.remove(Range { first, last });
        true
    }

    /// Hints rest until then, and others do not wait for them.
    pub(crate) fn rest_later(&mut self, at: Boot, hints: &Ranges) {
        let hints = hints.and(&self.unended);
        if hints.is_empty() {
            return;
        }
        let later = &mut self.exceptional.later;
        let place = later.partition_point(|(before, _)| *before <= at);
        later.insert(place, (at, hints));
        if later.len() > LATER_MAX {
            // Those that are nearest to each other rest until the later of both.
            let gaps = later.iter().zip(later.iter().skip(1));
            let gaps = gaps.map(|((one, _), (next, _))| next.since(*one));
            let nearest = gaps.enumerate().min_by_key(|(_, gap)| *gap);
            let (_, first) = later.remove(nearest.map_or(0, |(place, _)| place));
            if let Some((_, next)) = later.get_mut(nearest.map_or(0, |(place, _)| place)) {
                next.join(&first);
            }
        }
    }

    /// Hints whose longer rest is over by then are handed out again.
    pub(crate) fn release_later(&mut self, by: Boot) {
        while self
            .exceptional
            .later
            .first()
            .is_some_and(|(at, _)| *at <= by)
        {
            let (at, hints) = self.exceptional.later.remove(0);
            let hints = hints.and(&self.unended);
            if self.again.is_empty() {
                self.retry_at = at;
            }
            self.again.join(&hints);
        }
    }

    /// Hints that rest for longer than others, until whenever.
    pub(crate) fn all_later(&self) -> Ranges {
        let mut all = Ranges::default();
        for (_, hints) in &self.exceptional.later {
            all.join(&hints.and(&self.unended));
        }
        all
    }

    /// Counts that a suspect failed where nothing was said of it, if its target took others since it did last;
    /// gives how often that was. A target that is down has no poison.
    pub(crate) fn count_poison(&mut self, hint: Sequence, delivered: u64) -> u32 {
        let Some(suspect) = self.exceptional.suspects.get_mut(&hint) else {
            return 0;
        };
        if suspect.delivered.is_none_or(|before| before < delivered) {
            suspect.delivered = Some(delivered);
            suspect.poison = suspect.poison.saturating_add(1);
        }
        suspect.poison
    }

    /// Suspects whose rest is over by then are handed out again.
    pub(crate) fn release_suspects(&mut self, now: Boot) {
        let Some(rare) = self.exceptional.get_mut() else {
            return;
        };
        for (hint, suspect) in &mut rare.suspects {
            if suspect.rest_until.is_some_and(|rest| rest <= now) {
                suspect.rest_until = None;
                if self.unended.contains(*hint) {
                    let (first, last) = (*hint, *hint);
                    self.again.insert(Range { first, last });
                }
            }
        }
    }

    /// Suspects that are to be handed out again: each in a page of its own.
    pub(crate) fn suspects_due(&self) -> Ranges {
        let mut due = Ranges::default();
        for hint in self.exceptional.suspects.keys() {
            if self.again.contains(*hint) {
                due.add(*hint);
            }
        }
        due
    }

    /// When the first of what rests is handed out again, if that is later than now; `has_more` where something is
    /// there behind the frontier.
    pub(super) fn next_at(&self, has_more: bool, now: Boot) -> Option<Boot> {
        let suspects = self.exceptional.suspects.values();
        let rests = suspects.filter_map(|suspect| suspect.rest_until);
        let again = (!self.again.is_empty()).then_some(self.retry_at);
        let later = self.exceptional.later.iter().map(|(at, _)| *at);
        let rests: Vec<Boot> = rests.chain(again).chain(later).collect();
        let first = if has_more {
            Some(now)
        } else {
            rests.iter().copied().min()
        };
        let at = first?.max(self.rest_until);
        let later = rests.into_iter().filter(|rest| *rest > now).min();
        Some(at).filter(|at| *at > now).or(later)
    }

    /// A hint is not to be handed out any more, or not again. False where it has ended, is in a deferred segment, or
    /// as many are retracted as may be.
    pub(crate) fn retract(&mut self, hint: Sequence) -> bool {
        let is_pending = hint > self.frontier || self.unended.contains(hint);
        let has_room = self.exceptional.retracted.ranges().len() < RETRACTED_MAX;
        if is_pending && has_room {
            let (first, last) = (hint, hint);
            self.exceptional.retracted.insert(Range { first, last });
        }
        is_pending && has_room
    }

    /// Ends what was retracted and waits to be handed out again.
    pub(crate) fn end_retracted(&mut self, segments: &Segments) {
        let mut waiting = self.again.clone();
        waiting.join(&self.all_later());
        waiting.join(&self.exceptional.held);
        let waiting = self.exceptional.retracted.and(&waiting);
        if !waiting.is_empty() {
            self.end_unread(segments, &waiting, End::Superseded);
            self.forget_retracted();
        }
    }

    /// What was retracted and has ended by now takes no memory.
    pub(crate) fn forget_retracted(&mut self) {
        let frontier = self.frontier;
        let Some(rare) = self.exceptional.get_mut() else {
            return;
        };
        if rare.retracted.is_empty() {
            return;
        }
        let last = frontier;
        let mut left = rare.retracted.and(&self.unended);
        let first = Sequence::ZERO;
        rare.retracted.remove(Range { first, last });
        left.join(&rare.retracted);
        rare.retracted = left;
    }

    /// Those of some hints that have not ended, handed out or not.
    pub(crate) fn pending_of(&self, hints: &Ranges) -> Ranges {
        let mut pending = self.unended.and(hints);
        let behind = Range {
            first: self.frontier.plus(1),
            last: Sequence::new(u64::MAX),
        };
        pending.join(&hints.and(&Ranges::of(&[behind])));
        pending
    }

    /// Books the end of hints that nobody hands out any more, whether or not they were before.
    pub(crate) fn end_unread(&mut self, segments: &Segments, ended: &Ranges, end: End) {
        self.end(segments, ended, end);
        self.again.subtract(ended);
        if let Some(rare) = self.exceptional.get_mut() {
            rare.held.subtract(ended);
        }
    }

    /// Takes hints out that were copied into a deferred segment.
    pub(crate) fn move_out(&mut self, segments: &Segments, moved: &Ranges) {
        self.apply_moves(segments);
        self.take_out(segments, moved);
    }

    fn take_out(&mut self, segments: &Segments, ranges: &Ranges) {
        self.unended.subtract(ranges);
        let (Some(first), Some(last)) = (ranges.ranges().first(), ranges.ranges().last()) else {
            return;
        };
        segments.each_within(first.first, last.last, |entry| {
            let count = ranges.count_within(entry.first, entry.last());
            self.count_in(entry.id, count);
        });
        self.dirty = true;
    }

    /// A closed segment leaves the list, whatever is in it: its hints have ended, or are in another.
    pub(crate) fn leave(&mut self, entry: &Arc<SegmentEntry>, damaged: bool) {
        self.left_to = self.left_to.max(entry.last());
        self.exceptional.leaving.push((entry.clone(), damaged));
    }

    /// Moves the count of ended hints along with hints that a failed sync moved. Comes before
    /// anything else ends, and before the frontier goes on: until then all that ended of them was
    /// booked on the old segment, and what was lost of them and not handed out has not ended.
    pub(crate) fn apply_moves(&mut self, segments: &Segments) {
        for moved in segments.take_moved() {
            self.apply_move(&moved);
        }
    }

    fn apply_move(&mut self, moved: &Moved) {
        let Range { first, last } = moved.range;
        self.finished = self.finished.min(first.before());
        let passed = (last.min(self.frontier).get() + 1).saturating_sub(first.get());
        let ended = passed.saturating_sub(self.unended.count_within(first, last));
        let from = self.ended_in.entry(moved.from).or_default();
        *from = from.saturating_sub(ended);
        let mut lost_ended = 0;
        for lost in &moved.lost {
            let passed = (lost.last.min(self.frontier).get() + 1).saturating_sub(lost.first.get());
            let out = self.unended.count_within(lost.first, lost.last);
            lost_ended += passed.saturating_sub(out);
            let all = lost.last.get() - lost.first.get() + 1;
            let unread = all.saturating_sub(passed);
            self.ends.add(End::Damaged, unread);
            // Its segment says what is left in it, not what was.
            self.note_unread(None, unread, End::Damaged);
        }
        self.count_in(moved.by, ended.saturating_sub(lost_ended));
    }

    pub(crate) fn count_in(&mut self, segment: SegmentId, count: u64) {
        if count > 0 {
            *self.ended_in.entry(segment).or_default() += count;
        }
    }

    /// Hints of a closed segment that have not ended, handed out or not.
    pub(crate) fn pending_in(&self, entry: &SegmentEntry) -> u64 {
        let count = entry.closed().map_or(0, |closed| closed.count);
        count.saturating_sub(self.ended_in.get(&entry.id).copied().unwrap_or(0))
    }

    /// Whether damage was met in a segment, now or before.
    pub(crate) fn is_damaged(&self, entry: &SegmentEntry) -> bool {
        self.exceptional.damaged.contains(&entry.id)
            || entry.closed().is_some_and(|closed| closed.damaged)
    }

    /// Whether all of a closed segment has ended.
    pub(crate) fn is_done(&self, entry: &SegmentEntry) -> bool {
        entry.closed().is_some_and(|closed| {
            closed.last <= self.frontier
                && self.unended.count_within(entry.first, closed.last) == 0
                && self.pending_in(entry) == 0
        })
    }

    /// What neither ended nor is handed out of closed segments that the frontier has passed was
    /// not there to be read.
    pub(crate) fn finish_passed(&mut self, segments: &Segments) {
        self.apply_moves(segments);
        let frontier = self.frontier;
        let (mut finished, mut passed) = (frontier, Vec::new());
        segments.each_within(self.finished.plus(1), frontier, |entry| {
            if entry.closed().is_some_and(|closed| closed.last <= frontier) {
                passed.push(entry.clone());
            } else {
                finished = finished.min(entry.first.before());
            }
        });
        for entry in passed {
            self.finish(&entry);
        }
        self.finished = self.finished.max(finished);
    }

    fn finish(&mut self, entry: &SegmentEntry) {
        let Some(closed) = entry.closed() else { return };
        let out = self.unended.count_within(entry.first, closed.last);
        let missing = self.pending_in(entry).saturating_sub(out);
        if missing == 0 {
            return;
        }
        // Above what was known synced nothing tells a torn write from damage.
        let known = self.exceptional.damaged.contains(&entry.id)
            || closed.sealed.is_some()
            || closed.synced_to == NOT_TORN;
        let end = if known { End::Damaged } else { End::Lost };
        self.ends.add(end, missing);
        self.count_in(entry.id, missing);
        self.note_unread(Some(entry.id), missing, end);
        if known {
            self.exceptional.damaged.insert(entry.id);
        }
        self.dirty = true;
    }

    /// Books the end of all of a segment at once, whether read or not; none of it is handed out.
    pub(crate) fn end_whole(&mut self, segments: &Segments, entry: &SegmentEntry, end: End) {
        self.apply_moves(segments);
        let Some(closed) = entry.closed() else { return };
        let count = self.pending_in(entry);
        self.ends.add(end, count);
        self.count_in(entry.id, count);
        let range = Range {
            first: entry.first,
            last: closed.last,
        };
        let held = self.exceptional.get_mut().map(|rare| &mut rare.held);
        for ranges in [&mut self.unended, &mut self.again].into_iter().chain(held) {
            ranges.remove(range);
        }
        if self.frontier.plus(1) >= entry.first {
            self.frontier = self.frontier.max(closed.last);
        }
        self.dirty = true;
    }

    /// What was held is judged again when the clock was confirmed.
    pub(crate) fn release_held(&mut self, confirmations: u64) {
        if !self.exceptional.held.is_empty() && self.exceptional.held_at != confirmations {
            let held = self.exceptional.held.take();
            self.again.join(&held);
        }
    }
}

#[cfg(test)]
mod tests {
    use hintstore_env::Storage;
    use hintstore_format::{Incarnation, StoreId};
    use hintstore_sim::SimStorage;
    use hintstore_writer::{Bytes, Closed, State};

    use super::*;

    fn range(first: u64, last: u64) -> Range {
        Range {
            first: Sequence::new(first),
            last: Sequence::new(last),
        }
    }

    /// A closed segment of the hints from `first` to `last`, with `count` of them in its file.
    fn segment(id: u64, first: u64, last: u64, count: u64, synced_to: u64) -> SegmentEntry {
        let file = SimStorage::new().create("segment").expect("a file");
        let file = file.info().expect("its identity").id();
        SegmentEntry {
            id: SegmentId::new(id),
            store: StoreId::from_u128(1),
            incarnation: Incarnation::new(1),
            name: format!("{id}").into(),
            first: Sequence::new(first),
            allocated: Bytes::kib(4),
            state: State::Closed(Box::new(Closed {
                last: Sequence::new(last),
                count,
                end: 4096,
                synced_to,
                sealed: None,
                blocks_at: 128,
                is_cut_short: false,
                damaged: false,
                codec: hintstore_format::block::Codec::Plain,
                file,
            })),
        }
    }

    fn two_segments() -> Segments {
        let segments = Segments::of(segment(1, 1, 10, 10, NOT_TORN));
        segments.add(segment(2, 11, 20, 10, NOT_TORN));
        segments
    }

    /// As a page does: everything up to here is handed out.
    fn hand_out(progress: &mut Progress, first: u64, last: u64) {
        progress.unended.insert(range(first, last));
        progress.frontier = Sequence::new(last);
    }

    #[test]
    fn a_segment_is_done_when_all_of_it_has_ended() {
        let segments = two_segments();
        let entries = segments.all();
        let mut progress = Progress::default();
        hand_out(&mut progress, 1, 12);
        let delivered = Ranges::of(&[range(1, 9), range(11, 12)]);
        progress.end(&segments, &delivered, End::Delivered);
        assert_eq!(progress.pending_in(&entries[0]), 1);
        assert!(!progress.is_done(&entries[0]));
        progress.end(&segments, &Ranges::of(&[range(10, 10)]), End::Expired);
        assert!(progress.is_done(&entries[0]) && !progress.is_done(&entries[1]));
        assert_eq!(progress.pending_in(&entries[1]), 8);
        assert_eq!(progress.ends.get(End::Delivered), 11);
        assert_eq!(progress.ends.get(End::Expired), 1);
        assert!(progress.dirty);
    }

    #[test]
    fn all_that_cannot_be_read_any_more_is_noted_wherever_it_was() {
        let segments = two_segments();
        let mut progress = Progress::default();
        // Five are in the second segment, and five in one that is listed no more.
        hand_out(&mut progress, 16, 25);
        progress.end_gone(&segments, &Ranges::of(&[range(16, 25)]));
        assert_eq!(progress.ends.get(End::Damaged), 10);
        let noted = |of: &EndedUnread| (of.segment.map(SegmentId::get), of.count);
        let noted: Vec<_> = progress.exceptional.unread.iter().map(noted).collect();
        assert_eq!(noted, [(Some(2), 5), (None, 5)]);
    }

    #[test]
    fn what_was_not_there_to_be_read_is_damaged_or_lost() {
        let segments = Segments::of(segment(1, 1, 10, 10, NOT_TORN));
        segments.add(segment(2, 11, 20, 10, 0));
        // One hint of each segment is missing in its file.
        let mut progress = Progress {
            unended: Ranges::of(&[range(1, 4), range(6, 14), range(16, 20)]),
            frontier: Sequence::new(20),
            ..Progress::default()
        };
        progress.finish_passed(&segments);
        assert_eq!(progress.ends.get(End::Damaged), 1, "it was synced");
        assert_eq!(progress.ends.get(End::Lost), 1, "a crash may have torn it");
        let entries = segments.all();
        assert!(progress.is_damaged(&entries[0]) && !progress.is_damaged(&entries[1]));
        progress.finish_passed(&segments);
        assert_eq!(progress.ends.get(End::Damaged), 1, "booked once");
    }

    #[test]
    fn the_end_of_a_whole_segment_spares_its_neighbours_and_what_has_ended() {
        let segments = two_segments();
        let entries = segments.all();
        let mut progress = Progress::default();
        hand_out(&mut progress, 1, 12);
        progress.end(&segments, &Ranges::of(&[range(11, 12)]), End::Delivered);
        progress.end_whole(&segments, &entries[1], End::Expired);
        assert_eq!(progress.ends.get(End::Expired), 8);
        assert_eq!(progress.frontier, Sequence::new(20), "it goes on behind it");
        assert_eq!(progress.pending_in(&entries[0]), 10);
        assert_eq!(progress.unended.count(), 10);
    }

    #[test]
    fn the_count_of_ended_hints_moves_with_them() {
        let segments = two_segments();
        let mut progress = Progress::default();
        hand_out(&mut progress, 1, 10);
        progress.end(&segments, &Ranges::of(&[range(1, 6)]), End::Delivered);
        let before = progress.pending_in(&segments.all()[0]);
        // A failed sync moved the hints from 5 on to another segment.
        segments.remove(SegmentId::new(1));
        segments.add(segment(1, 1, 4, 4, NOT_TORN));
        segments.add(segment(3, 5, 10, 6, NOT_TORN));
        progress.apply_move(&Moved {
            from: SegmentId::new(1),
            by: SegmentId::new(3),
            range: range(5, 10),
            lost: Vec::new(),
        });
        let entries = segments.all();
        assert_eq!(entries.len(), 3);
        let after: u64 = entries[..2]
            .iter()
            .map(|entry| progress.pending_in(entry))
            .sum();
        assert_eq!(after, before);
        assert_eq!(progress.pending_in(&entries[0]), 0);
        assert_eq!(progress.pending_in(&entries[1]), 4);
    }
}
