//! Space on the disk: what the store may still take, for one target and for all together.
//!
//! Everything is reserved before it is taken: a slab when it is bound, with all that its block and
//! a segment's ends may add; space ahead of a segment before it is allocated. So a hint that was
//! accepted has its place under the caps, and no cap is passed. A sixteenth of each, except the
//! floor of the device, is kept for copies of hints that wait for a retry: without them delivery
//! could not get past these, and a full target would stay full. A cap that was reached is left
//! again only when another sixteenth is free, so that a full store does not flap.

use std::sync::Arc;

use hintstore_env::sync::{
    AtomicBool, AtomicI64, AtomicU64,
    Ordering::{Acquire, SeqCst},
};

use crate::Bytes;

/// Which cap was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cap {
    /// The disk space of all targets together.
    Total,
    /// The disk space of the hint's target.
    Target,
    /// The free space that is to be left on the device, or the device itself.
    Device,
}

/// Space is counted in pages of the file system.
const PAGE: u64 = 4096;

/// What a file of this length takes.
pub(crate) fn on_disk(length: u64) -> u64 {
    length.next_multiple_of(PAGE)
}

/// What a block may take beside itself: the segment's descriptor, its footer with all namespaces that
/// one can have, and what is lost to alignment and pages.
const BESIDES: u64 = 4 * PAGE;

/// What a block of this length may take.
pub(crate) fn for_block(length: u64) -> u64 {
    length + BESIDES
}

/// The part of a cap that is kept for copies, and that is to be free before it is left.
const SHARE: u64 = 16;

/// What new hints may take of a cap.
fn for_hints(max: u64) -> u64 {
    max - max / SHARE
}

/// What is to be left of a cap before hints are taken again.
fn left_below(max: u64) -> u64 {
    for_hints(max) - max / SHARE
}

/// A cap, what counts against it, and whether it was reached.
#[derive(Debug)]
struct Meter {
    used: AtomicU64,
    full: AtomicBool,
}

impl Meter {
    const fn new() -> Self {
        Self {
            used: AtomicU64::new(0),
            full: AtomicBool::new(false),
        }
    }

    fn take(&self, bytes: u64, besides: u64, limit: u64) -> bool {
        let taken = self.used.fetch_update(SeqCst, SeqCst, |used| {
            let after = used.saturating_add(bytes);
            (after.saturating_add(besides) <= limit).then_some(after)
        });
        taken.is_ok()
    }

    fn give(&self, bytes: u64) -> u64 {
        let before = self
            .used
            .fetch_update(SeqCst, SeqCst, |used| Some(used.saturating_sub(bytes)));
        before.unwrap_or(0).saturating_sub(bytes)
    }
}

/// The space that one target takes.
#[derive(Debug)]
pub struct Usage(Meter);

impl Default for Usage {
    fn default() -> Self {
        Self(Meter::new())
    }
}

impl Usage {
    /// Bytes that its files take, and that are reserved for what it holds in memory.
    pub fn bytes(&self) -> Bytes {
        Bytes::new(self.0.used.load(Acquire))
    }

    /// Whether it reached its cap and has not left it.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.0.full.load(Acquire)
    }
}

/// The space of a store.
#[derive(Debug)]
pub struct Budget {
    total: Meter,
    /// The journal, what is set aside, foreign files: as they were last looked at.
    others: AtomicU64,
    total_max: AtomicU64,
    target_max: AtomicU64,
    /// What the device has above its floor, less what was taken since it was last looked at.
    headroom: AtomicI64,
    device_full: AtomicBool,
    /// Reserved for slabs, and so not yet missing on the device.
    unwritten: AtomicU64,
    entered: AtomicU64,
    left: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            total: Meter::new(),
            others: AtomicU64::new(0),
            total_max: AtomicU64::new(u64::MAX),
            target_max: AtomicU64::new(u64::MAX),
            headroom: AtomicI64::new(i64::MAX),
            device_full: AtomicBool::new(false),
            unwritten: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            left: AtomicU64::new(0),
        }
    }
}

impl Budget {
    /// Sets the caps, which count from now on; what is there already may be above them.
    pub fn set_caps(&self, total: Bytes, target: Bytes) {
        self.total_max.store(total.get(), SeqCst);
        self.target_max.store(target.get(), SeqCst);
        self.relax();
    }

    /// Says what the device has free and how much of that is to be left, and what else the
    /// directory holds.
    pub fn look(&self, free: Bytes, floor: Bytes, others: Bytes) {
        self.others.store(others.get(), SeqCst);
        let unwritten = self.unwritten.load(SeqCst);
        let above = free
            .get()
            .saturating_sub(floor.get().saturating_add(unwritten));
        self.headroom
            .store(i64::try_from(above).unwrap_or(i64::MAX), SeqCst);
        // Left again when there is room for more than a moment.
        let enough = (floor.get() / 16).max(1 << 20);
        if above >= enough && self.device_full.swap(false, SeqCst) {
            self.left.fetch_add(1, SeqCst);
        }
        self.relax();
    }

    /// Bytes that count against the cap of all.
    pub fn used(&self) -> Bytes {
        let used = self.total.used.load(SeqCst);
        Bytes::new(used.saturating_add(self.others.load(SeqCst)))
    }

    /// The cap of all, and that of each target.
    pub fn caps(&self) -> (Bytes, Bytes) {
        let load = |limit: &AtomicU64| Bytes::new(limit.load(SeqCst));
        (load(&self.total_max), load(&self.target_max))
    }

    /// How often a cap was reached, and how often one was left.
    pub fn transitions(&self) -> (u64, u64) {
        (self.entered.load(SeqCst), self.left.load(SeqCst))
    }

    /// The cap that keeps a target from growing, if one does.
    #[inline]
    pub fn full(&self, usage: &Usage) -> Option<Cap> {
        if self.device_full.load(Acquire) {
            Some(Cap::Device)
        } else if self.total.full.load(Acquire) {
            Some(Cap::Total)
        } else if usage.is_full() {
            Some(Cap::Target)
        } else {
            None
        }
    }

    /// The cap that keeps every target from growing, if one does.
    pub fn all_full(&self) -> Option<Cap> {
        self.full(&Usage::default())
    }

    /// The device had no room for a write.
    pub(crate) fn device_is_full(&self) {
        self.enter(&self.device_full);
    }

    fn enter(&self, full: &AtomicBool) {
        if !full.swap(true, SeqCst) {
            self.entered.fetch_add(1, SeqCst);
        }
    }

    /// Takes space for what is about to be accepted. See [`Budget::refuse`] for a cap that is in the
    /// way.
    pub(crate) fn reserve(&self, usage: &Usage, bytes: u64) -> Result<(), Cap> {
        if let Some(cap) = self.full(usage) {
            return Err(cap);
        }
        self.take(usage, bytes, for_hints)?;
        self.unwritten.fetch_add(bytes, SeqCst);
        Ok(())
    }

    /// A hint is refused for a cap, which is entered: unless it is only that this hint is large, and
    /// the cap would be left again at once.
    pub(crate) fn refuse(&self, usage: &Usage, cap: Cap) {
        match cap {
            Cap::Total if self.used().get() > left_below(self.total_max.load(SeqCst)) => {
                self.enter(&self.total.full);
            }
            Cap::Target if usage.bytes().get() > left_below(self.target_max.load(SeqCst)) => {
                self.enter(&usage.0.full);
            }
            Cap::Device => self.enter(&self.device_full),
            Cap::Total | Cap::Target => {}
        }
    }

    /// What was reserved was written, or is not needed any more.
    pub(crate) fn unreserve(&self, usage: &Usage, bytes: u64) {
        self.unwritten.fetch_sub(bytes, SeqCst);
        self.give_ahead(usage, bytes);
    }

    /// Takes space ahead of need, where there is plenty.
    pub(crate) fn take_ahead(&self, usage: &Usage, bytes: u64) -> bool {
        if self.full(usage).is_some() || self.take(usage, 2 * bytes, for_hints).is_err() {
            return false;
        }
        self.give_ahead(usage, bytes);
        true
    }

    /// Gives back what was taken ahead.
    pub(crate) fn give_ahead(&self, usage: &Usage, bytes: u64) {
        self.headroom
            .fetch_add(i64::try_from(bytes).unwrap_or(0), SeqCst);
        self.release(usage, bytes);
    }

    /// Runs what makes space that was taken ahead visible on the device: a look at the device
    /// in between does not take it for free.
    pub(crate) fn while_invisible<T>(&self, bytes: u64, run: impl FnOnce() -> T) -> T {
        self.unwritten.fetch_add(bytes, SeqCst);
        let done = run();
        self.unwritten.fetch_sub(bytes, SeqCst);
        done
    }

    /// Counts space for another from now on, where it has plenty of room.
    pub(crate) fn pass(&self, from: &Usage, to: &Usage, bytes: u64) -> bool {
        let max = for_hints(self.target_max.load(SeqCst));
        let room = to.0.take(bytes, bytes, max);
        if room {
            from.0.give(bytes);
        }
        room
    }

    /// Takes space up to a part of the caps.
    fn take(&self, usage: &Usage, bytes: u64, part: fn(u64) -> u64) -> Result<(), Cap> {
        let others = self.others.load(SeqCst);
        let [total_max, target_max] =
            [&self.total_max, &self.target_max].map(|max| part(max.load(SeqCst)));
        if !self.total.take(bytes, others, total_max) {
            return Err(Cap::Total);
        }
        if !usage.0.take(bytes, 0, target_max) {
            self.total.give(bytes);
            return Err(Cap::Target);
        }
        let signed = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.headroom.fetch_sub(signed, SeqCst) < signed {
            self.headroom.fetch_add(signed, SeqCst);
            usage.0.give(bytes);
            self.total.give(bytes);
            return Err(Cap::Device);
        }
        Ok(())
    }

    /// Takes space for a copy that is about to be written.
    ///
    /// # Errors
    /// The cap that is in the way.
    pub fn take_copy(&self, usage: &Usage, bytes: Bytes) -> Result<(), Cap> {
        self.take(usage, bytes.get(), |max| max)
    }

    /// Counts space that is taken already, whatever the caps say.
    pub fn add(&self, usage: &Usage, bytes: Bytes) {
        self.total.used.fetch_add(bytes.get(), SeqCst);
        usage.0.used.fetch_add(bytes.get(), SeqCst);
        self.headroom
            .fetch_sub(i64::try_from(bytes.get()).unwrap_or(0), SeqCst);
    }

    /// Counts space that came free.
    pub fn free(&self, usage: &Usage, bytes: Bytes) {
        self.release(usage, bytes.get());
    }

    fn release(&self, usage: &Usage, bytes: u64) {
        let left = usage.0.give(bytes);
        let target_max = self.target_max.load(SeqCst);
        if left <= left_below(target_max) && usage.0.full.swap(false, SeqCst) {
            self.left.fetch_add(1, SeqCst);
        }
        self.total.give(bytes);
        self.relax();
    }

    /// Leaves the cap of a target where there is room below it, as when it was raised.
    pub fn relax_target(&self, usage: &Usage) {
        self.release(usage, 0);
    }

    /// Leaves the cap of all where enough came free.
    fn relax(&self) {
        let max = self.total_max.load(SeqCst);
        if self.total.full.load(SeqCst)
            && self.used().get() <= left_below(max)
            && self.total.full.swap(false, SeqCst)
        {
            self.left.fetch_add(1, SeqCst);
        }
    }
}

/// What a target's file takes, as its writer counts it.
#[derive(Debug)]
pub(crate) struct Taken {
    budget: Arc<Budget>,
    usage: Arc<Usage>,
    bytes: AtomicU64,
}

impl Taken {
    pub(crate) fn new(budget: &Arc<Budget>, usage: &Arc<Usage>, bytes: u64) -> Self {
        Self {
            budget: budget.clone(),
            usage: usage.clone(),
            bytes: AtomicU64::new(bytes),
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.bytes.load(SeqCst)
    }

    /// Takes space ahead of need up to here, where there is plenty.
    pub(crate) fn take_ahead(&self, length: u64) -> bool {
        let more = on_disk(length).saturating_sub(self.get());
        let taken = self.budget.take_ahead(&self.usage, more);
        if taken {
            self.bytes.fetch_add(more, SeqCst);
        }
        taken
    }

    /// The file ends here now.
    pub(crate) fn grow_to(&self, length: u64) {
        let length = on_disk(length);
        let before = self.bytes.fetch_max(length, SeqCst);
        let grown = length.saturating_sub(before);
        if grown > 0 {
            self.budget.add(&self.usage, Bytes::new(grown));
        }
    }

    /// The file was cut here.
    pub(crate) fn cut_to(&self, length: u64) {
        let length = on_disk(length);
        let before = self.bytes.fetch_min(length, SeqCst);
        let over = before.saturating_sub(length);
        self.budget.free(&self.usage, Bytes::new(over));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(total: u64, target: u64) -> Budget {
        let budget = Budget::default();
        budget.set_caps(Bytes::new(total), Bytes::new(target));
        budget
    }

    #[test]
    fn a_cap_is_entered_once_and_left_when_there_is_room() {
        let (budget, usage) = (budget(1 << 20, 1 << 20), Usage::default());
        let slab = 64 << 10;
        let mut count = 0;
        while budget.reserve(&usage, slab).is_ok() {
            count += 1;
        }
        assert_eq!(count, 15);
        budget.refuse(&usage, Cap::Total);
        assert_eq!(budget.reserve(&usage, 1), Err(Cap::Total));
        assert_eq!(budget.transitions(), (1, 0));
        // The rest is for copies.
        let copy = Bytes::new(slab);
        assert_eq!(budget.take_copy(&usage, copy), Ok(()));
        assert_eq!(budget.take_copy(&usage, copy), Err(Cap::Total));
        budget.free(&usage, copy);
        budget.unreserve(&usage, 32 << 10);
        assert_eq!(budget.reserve(&usage, 1), Err(Cap::Total));
        budget.unreserve(&usage, 32 << 10);
        assert_eq!(budget.transitions(), (1, 1));
        assert_eq!(budget.reserve(&usage, slab), Ok(()));
    }

    #[test]
    fn a_target_that_is_full_leaves_room_to_others() {
        let (budget, one, two) = (
            budget(1 << 20, 128 << 10),
            Usage::default(),
            Usage::default(),
        );
        assert_eq!(budget.reserve(&one, 120 << 10), Ok(()));
        assert_eq!(budget.reserve(&one, 4096), Err(Cap::Target));
        budget.refuse(&one, Cap::Target);
        assert_eq!(budget.reserve(&two, 4096), Ok(()));
        assert_eq!(
            (budget.full(&one), budget.full(&two)),
            (Some(Cap::Target), None)
        );
    }

    #[test]
    fn the_floor_of_the_device_counts_what_is_not_written_yet() {
        let (budget, usage) = (budget(u64::MAX, u64::MAX), Usage::default());
        let floor = Bytes::mib(10);
        budget.look(Bytes::mib(12), floor, Bytes::new(0));
        assert_eq!(budget.reserve(&usage, 1 << 20), Ok(()));
        // Nothing was written: the device looks the same, and the slab counts all the same.
        budget.look(Bytes::mib(12), floor, Bytes::new(0));
        assert_eq!(budget.reserve(&usage, 2 << 20), Err(Cap::Device));
        budget.refuse(&usage, Cap::Device);
        budget.look(Bytes::mib(10), floor, Bytes::new(0));
        assert_eq!(budget.full(&usage), Some(Cap::Device));
        budget.look(Bytes::mib(20), floor, Bytes::new(0));
        assert_eq!(budget.full(&usage), None);
        assert_eq!(budget.transitions(), (1, 1));
    }

    #[test]
    fn a_file_made_ahead_goes_to_who_has_room_for_it() {
        let (budget, spare) = (budget(20 << 20, 5 << 20), Usage::default());
        let (roomy, narrow) = (Usage::default(), Usage::default());
        assert!(budget.take_ahead(&spare, 2 << 20));
        assert_eq!(budget.reserve(&narrow, 1 << 20), Ok(()));
        assert!(!budget.pass(&spare, &narrow, 2 << 20));
        assert!(budget.pass(&spare, &roomy, 2 << 20));
        let bytes = [&spare, &roomy, &narrow].map(Usage::bytes);
        assert_eq!(bytes, [0, 2, 1].map(Bytes::mib));
        assert_eq!(budget.used(), Bytes::mib(3));
    }

    #[test]
    fn space_ahead_is_taken_only_where_there_is_plenty() {
        let (budget, usage) = (budget(10 << 20, u64::MAX), Usage::default());
        assert!(budget.take_ahead(&usage, 4 << 20));
        assert!(!budget.take_ahead(&usage, 4 << 20));
        assert_eq!(usage.bytes(), Bytes::mib(4));
        assert_eq!(budget.transitions(), (0, 0));
    }
}
