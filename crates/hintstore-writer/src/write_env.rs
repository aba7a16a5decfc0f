//! What all targets of a store share.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    ops::Deref,
    sync::Arc,
};

use hintstore_env::{
    Boot, Clock, Live, Runner, Storage,
    sync::{
        AtomicBool, AtomicU64, OnceLock,
        Ordering::{Relaxed, SeqCst},
        Signal,
    },
};
use hintstore_format::{
    Incarnation, SegmentId, Sequence, StoreId, TargetId, UnixMillis, block::Start,
};

use crate::{
    Activity, Budget, Home, Refusal, WriterConfig,
    config::Bytes,
    disk_health::DiskHealth,
    pool::{CLASSES, Pool},
    spare::Spares,
    target::TargetWriter,
    work::Work,
};

/// What the write path stands on.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The disk.
    pub storage: Arc<dyn Storage>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who runs the background steps.
    pub runner: Arc<dyn Runner>,
    /// What happens, for delivery and checkpoints.
    pub activity: Arc<Activity>,
    /// What the disk has room for.
    pub budget: Arc<Budget>,
    /// Whether the directory is still the store's own.
    pub home: Arc<Home>,
}

/// Identifiers are random, or counted from either end; a multiplication whose halves are joined
/// spreads them either way.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A table by target.
pub type ByTarget<T> = HashMap<TargetId, T, BuildHasherDefault<IdHasher>>;

/// What all targets of a store share.
#[derive(Debug)]
pub(crate) struct WriteEnv {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) config: Live<WriterConfig>,
    /// A larger hint is refused: read for each hint, and so the one that is fixed.
    pub(crate) hint_bytes_max: Bytes,
    pub(crate) store: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: u32,
    pub(crate) pool: Pool,
    pub(crate) budget: Arc<Budget>,
    pub(crate) home: Arc<Home>,
    pub(crate) spares: Spares,
    segments: AtomicU64,
    copies: AtomicU64,
    salt: AtomicU64,
    unsynced_bytes: AtomicU64,
    /// Raised when there are fewer of them.
    pub(crate) less_unsynced: Signal,
    pub(crate) closed: AtomicBool,
    /// When a close that has begun gives up.
    pub(crate) closing_by: OnceLock<Boot>,
    pub(crate) disk_health: DiskHealth,
    pub(crate) work: Work,
}

impl WriteEnv {
    pub(crate) fn new(
        parts: Parts,
        config: WriterConfig,
        store: StoreId,
        incarnation: Incarnation,
        epoch: u32,
    ) -> Self {
        Self {
            pool: Pool::new(config.memory.get()),
            salt: AtomicU64::new(parts.clock.entropy()),
            storage: parts.storage,
            clock: parts.clock,
            runner: parts.runner,
            activity: parts.activity,
            budget: parts.budget,
            home: parts.home,
            hint_bytes_max: config.hint_bytes_max,
            config: Live::new(config),
            store,
            incarnation,
            epoch,
            spares: Spares::default(),
            segments: AtomicU64::new(0),
            copies: AtomicU64::new(0),
            unsynced_bytes: AtomicU64::new(0),
            less_unsynced: Signal::new(),
            closed: AtomicBool::new(false),
            closing_by: OnceLock::new(),
            disk_health: DiskHealth::default(),
            work: Work::default(),
        }
    }

    pub(crate) fn next_segment(&self) -> SegmentId {
        let count = self.segments.fetch_add(1, SeqCst);
        SegmentId::new(u64::from(self.epoch) << Sequence::COUNT_BITS | count)
    }

    /// An id for a segment of copies: from the upper half of the epoch.
    pub(crate) fn next_copy(&self) -> SegmentId {
        let count = self.copies.fetch_add(1, SeqCst) | 1 << (Sequence::COUNT_BITS - 1);
        SegmentId::new(u64::from(self.epoch) << Sequence::COUNT_BITS | count)
    }

    /// What is fixed for a slab that begins with this sequence and this hint's time.
    pub(crate) fn start(&self, first: Sequence, created: UnixMillis) -> Start {
        let salt = self.salt.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        let salt = (salt ^ salt >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Start {
            first,
            salt: (salt >> 32) as u32,
            base_created: created,
            accepted: self.clock.wall(),
        }
    }

    /// The settings as they are now.
    pub(crate) fn config(&self) -> impl Deref<Target = Arc<WriterConfig>> {
        self.config.get()
    }

    /// When a call gives up: its caller may have said, and a close ends with all that it waits for.
    pub(crate) fn deadline(&self, given: Option<Boot>) -> Boot {
        let deadline = given.unwrap_or_else(|| self.clock.boot() + self.config().append_timeout);
        let closing_by = self.closing_by.get();
        closing_by.map_or(deadline, |by| deadline.min(*by))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Waits for memory; what is in the way is flushed first.
    pub(crate) fn wait_for_memory(
        &self,
        target: &Arc<TargetWriter>,
        frame: u64,
        deadline: Boot,
    ) -> Result<(), Refusal> {
        target.try_flush();
        // What will be asked for: a slab of the class that the frame needs.
        let class = usize::from(Pool::class_for(
            usize::try_from(frame).unwrap_or(usize::MAX / 2),
        ));
        let bytes = frame.max(CLASSES.get(class).map_or(0, |size| *size as u64));
        self.request_flush();
        let mut room = || {
            let over = self.may_append().is_err();
            over || (self.pool.has_room(bytes) && target.may_grow())
        };
        loop {
            let now = self.clock.boot();
            let until = deadline.min(now + self.config().flush_interval);
            let waited = self
                .runner
                .wait_until(&self.pool.freed, Some(until), &mut room);
            self.may_append()?;
            if waited {
                return Ok(());
            }
            if now >= deadline {
                return Err(Refusal::Busy);
            }
            // Nobody flushed for as long as an interval: the step may be stopped.
            self.flush_older(now);
        }
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes.load(SeqCst)
    }

    /// Whether `more` bytes may be in the kernel unsynced besides. A write that is larger than the
    /// window has it for itself.
    pub(crate) fn has_window(&self, more: u64) -> bool {
        let unsynced = self.unsynced_bytes();
        unsynced == 0 || unsynced + more <= self.config().unsynced_bytes_max.get()
    }

    pub(crate) fn add_unsynced(&self, bytes: u64) {
        self.unsynced_bytes.fetch_add(bytes, SeqCst);
    }

    pub(crate) fn sub_unsynced(&self, bytes: u64) {
        self.unsynced_bytes.fetch_sub(bytes, SeqCst);
        self.less_unsynced.raise();
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    fn counted_identifiers_are_spread_from_whichever_end() {
        let hasher = BuildHasherDefault::<IdHasher>::default();
        for shift in (0..=112).step_by(8) {
            // What a table asks for: the low bits for the place, the seven highest as a tag.
            let mut places = vec![0; 1 << 10];
            let mut tags = vec![0; 1 << 7];
            for number in 0..1 << 14 {
                let hash = hasher.hash_one(TargetId::from_u128(number << shift));
                places[(hash % 1024) as usize] += 1;
                tags[(hash >> 57) as usize] += 1;
            }
            let (place, tag) = (places.iter().max(), tags.iter().max());
            assert!(
                place < Some(&48) && tag < Some(&256),
                "{shift}: {place:?}, {tag:?}"
            );
        }
    }
}
