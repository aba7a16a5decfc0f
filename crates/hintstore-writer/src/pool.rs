//! The slabs: one bounded pool in classes of 4, 16, 64 and 256 KiB, for all targets together.
//!
//! A slab is memory that one target fills (a [`SharedBuffer`]) and what is fixed when it is bound.
//! Slabs are reused last-in-first-out, so that a single writer stays in cache. An idle target holds
//! none. Memory is taken when a class is first used and moves between classes when it is short.

use hintstore_env::{
    Refused, SharedBuffer,
    sync::{
        AtomicU32, AtomicU64, Mutex, OnceLock,
        Ordering::{Acquire, Relaxed, Release, SeqCst},
        Signal,
    },
};
use hintstore_format::{
    Sequence, UnixMillis,
    block::{self, Start},
    frame::{Draft, Place},
    layout::PROFILES_MAX,
    profile::{self, Profile},
};

use crate::budget::for_block;

/// Sizes of the classes.
pub(crate) const CLASSES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];

/// The most that one frame may take of the largest slab; a longer one is a block of its own.
pub const FRAME_MAX: usize = CLASSES[3] - block::HEADER;

/// The profile table of a slab takes no more than this part of it, and has its space on the disk.
const TABLE_SHARE: u64 = 2;

/// Profiles that are found without a lock.
const INLINE: usize = 8;

/// A slab in one use: class, number, generation in one word, so that it can be swapped at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlabRef {
    class: u8,
    number: u32,
    pub(crate) generation: u32,
}

impl SlabRef {
    #[inline]
    pub(crate) fn unpack(word: u64) -> Option<Self> {
        (word != 0).then_some(Self {
            class: (word >> 62) as u8,
            number: (word >> 32) as u32 & 0x1fff_ffff,
            generation: word as u32,
        })
    }

    /// Its memory, in bytes.
    fn size(self) -> u64 {
        CLASSES
            .get(usize::from(self.class))
            .map_or(0, |size| *size as u64)
    }

    /// The class below its own.
    pub(crate) fn smaller_class(self) -> Option<u8> {
        self.class.checked_sub(1)
    }

    /// What it may take on the disk.
    pub(crate) fn on_disk(self) -> u64 {
        for_block(self.size() + self.size() / TABLE_SHARE)
    }

    pub(crate) fn pack(self) -> u64 {
        u64::from(self.class) << 62
            | 1 << 61
            | u64::from(self.number) << 32
            | u64::from(self.generation)
    }
}

#[derive(Debug, Default)]
struct ProfileSlot([AtomicU64; 5]);

#[inline]
fn words(profile: &Profile) -> [u64; 5] {
    let [first, second] = profile.namespace.words();
    let version = profile.payload_version.into();
    [first, second, version, profile.gc_grace_ms, profile.ttl_ms]
}

/// One slab.
#[derive(Debug)]
pub(crate) struct Slab {
    pub(crate) buffer: SharedBuffer,
    first: AtomicU64,
    salt: AtomicU32,
    base_created: AtomicU64,
    accepted: AtomicU64,
    profile_count: AtomicU32,
    profiles_max: usize,
    inline: [ProfileSlot; INLINE],
    /// All profiles of the present use, in order; the inline slots repeat the first.
    profiles: Mutex<Vec<Profile>>,
}

/// Why a hint did not go into a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotWritten {
    /// The slab is another's by now.
    Moved,
    /// It has no room for the frame, or for one more profile.
    NoRoom,
}

impl Slab {
    fn new(size: usize) -> Self {
        let table = size / TABLE_SHARE as usize;
        let profiles = (table - profile::table_length(0)) / profile::table_length(1);
        Self {
            profiles_max: profiles.min(PROFILES_MAX),
            buffer: SharedBuffer::default(),
            first: AtomicU64::default(),
            salt: AtomicU32::default(),
            base_created: AtomicU64::default(),
            accepted: AtomicU64::default(),
            profile_count: AtomicU32::default(),
            inline: Default::default(),
            profiles: Mutex::default(),
        }
    }

    /// Writes a hint; returns its sequence, and whether that completed the slab, which was closed.
    #[inline]
    pub(crate) fn write(
        &self,
        generation: u32,
        draft: &Draft<'_>,
        profile: &Profile,
    ) -> Result<(Sequence, bool), NotWritten> {
        // All of this may belong to an earlier or a later use of the slab. The reservation below
        // fails unless `generation` is the present one, and then all of it was of that use: it is
        // written before the buffer opens and read, with Acquire, before the reservation.
        let start = self.start();
        let index = self.find(profile).ok_or(NotWritten::NoRoom)?;
        let length = draft.length(start.base_created);
        let mut place = match self.buffer.reserve(generation, length) {
            Ok(place) => place,
            Err(Refused::NoRoom) => return Err(NotWritten::NoRoom),
            Err(Refused::NotOpen) => return Err(NotWritten::Moved),
        };
        let at = Place {
            index: place.index,
            profile: index,
            salt: start.salt,
            base_created: start.base_created,
        };
        draft.write(at, &mut place);
        let sequence = start.first.plus(place.index.into());
        Ok((sequence, place.complete()))
    }

    #[inline]
    fn find(&self, profile: &Profile) -> Option<u8> {
        let sought = words(profile);
        let count = self.profile_count.load(Acquire) as usize;
        for (index, slot) in self.inline.iter().enumerate().take(count) {
            let same = |(word, sought): (&AtomicU64, &u64)| word.load(Acquire) == *sought;
            if slot.0.iter().zip(&sought).all(same) {
                return Some(index as u8);
            }
        }
        self.add(profile, sought)
    }

    #[cold]
    fn add(&self, profile: &Profile, sought: [u64; 5]) -> Option<u8> {
        let mut profiles = self.profiles.lock();
        if let Some(index) = profiles.iter().position(|known| known == profile) {
            return Some(index as u8);
        }
        if profiles.len() == self.profiles_max {
            return None;
        }
        let index = profiles.len();
        profiles.push(*profile);
        if let Some(slot) = self.inline.get(index) {
            for (word, sought) in slot.0.iter().zip(sought) {
                word.store(sought, Release);
            }
            self.profile_count.store(index as u32 + 1, Release);
        }
        Some(index as u8)
    }

    /// What was fixed when the slab was bound.
    #[inline]
    pub(crate) fn start(&self) -> Start {
        let time = |word: &AtomicU64| UnixMillis::new(word.load(Acquire).cast_signed());
        Start {
            first: Sequence::new(self.first.load(Acquire)),
            salt: self.salt.load(Acquire),
            base_created: time(&self.base_created),
            accepted: time(&self.accepted),
        }
    }

    fn bind(&self, start: Start) {
        // First: a thread that is late for the use before finds no profile that this one forgets.
        let mut profiles = self.profiles.lock();
        self.profile_count.store(0, Release);
        profiles.clear();
        self.first.store(start.first.get(), Release);
        self.salt.store(start.salt, Release);
        self.base_created
            .store(start.base_created.get().cast_unsigned(), Release);
        self.accepted
            .store(start.accepted.get().cast_unsigned(), Release);
    }

    /// The profiles of the present use.
    pub(crate) fn profiles(&self) -> Vec<Profile> {
        self.profiles.lock().clone()
    }
}

#[derive(Debug)]
struct Class {
    size: usize,
    slabs: Box<[OnceLock<Box<Slab>>]>,
    free: Mutex<Free>,
}

/// Numbers of idle slabs: those that have memory, and those that have none.
#[derive(Debug)]
struct Free {
    warm: Vec<u32>,
    cold: Vec<u32>,
}

/// All slabs.
#[derive(Debug)]
pub(crate) struct Pool {
    classes: Vec<Class>,
    limit: u64,
    used: AtomicU64,
    /// Raised when memory comes free.
    pub(crate) freed: Signal,
}

impl Pool {
    pub(crate) fn new(limit: u64) -> Self {
        let class = |size: usize| {
            let count = (limit / size as u64).min(1 << 20) as u32;
            Class {
                size,
                slabs: (0..count).map(|_| OnceLock::new()).collect(),
                free: Mutex::new(Free {
                    warm: Vec::new(),
                    cold: (0..count).rev().collect(),
                }),
            }
        };
        Self {
            classes: CLASSES.iter().map(|size| class(*size)).collect(),
            limit,
            used: AtomicU64::new(0),
            freed: Signal::new(),
        }
    }

    #[inline]
    fn class(&self, class: u8) -> &Class {
        match self.classes.get(usize::from(class)) {
            Some(class) => class,
            None => unreachable!("there is no slab class {class}"),
        }
    }

    /// The smallest class whose slabs hold a frame of this length.
    pub(crate) fn class_for(frame: usize) -> u8 {
        CLASSES
            .iter()
            .position(|size| frame + block::HEADER <= *size)
            .unwrap_or(3) as u8
    }

    /// The slab of a reference that came from [`Pool::acquire`].
    #[inline]
    pub(crate) fn slab(&self, of: SlabRef) -> &Slab {
        match self
            .class(of.class)
            .slabs
            .get(of.number as usize)
            .and_then(OnceLock::get)
        {
            Some(slab) => slab,
            None => unreachable!("there is no slab {of:?}"),
        }
    }

    /// Opens a slab of this class for a target, or of a smaller one that is no smaller than
    /// `least`. `None` where all memory is in use.
    pub(crate) fn acquire(&self, class: u8, least: u8, start: Start) -> Option<SlabRef> {
        (least..=class.max(least))
            .rev()
            .find_map(|class| self.acquire_in(class, start))
    }

    fn acquire_in(&self, class: u8, start: Start) -> Option<SlabRef> {
        let in_class = self.class(class);
        let size = in_class.size as u64;
        let warm = in_class.free.lock().warm.pop();
        let number = if let Some(number) = warm {
            number
        } else {
            if !self.take(size) {
                return None;
            }
            if let Some(number) = in_class.free.lock().cold.pop() {
                number
            } else {
                self.give(size);
                return None;
            }
        };
        let slab = in_class
            .slabs
            .get(number as usize)?
            .get_or_init(|| Box::new(Slab::new(in_class.size)));
        slab.bind(start);
        let mut exclusive = slab.buffer.claim()?;
        exclusive.allocate(in_class.size);
        let generation = exclusive.open(block::HEADER);
        Some(SlabRef {
            class,
            number,
            generation,
        })
    }

    /// Takes memory out of the budget, from idle slabs of other classes where need be.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        loop {
            let taken = self.used.fetch_update(SeqCst, Relaxed, |used| {
                (used + bytes <= self.limit).then_some(used + bytes)
            });
            if taken.is_ok() {
                return true;
            }
            if !self.cool_one() {
                return false;
            }
        }
    }

    /// Whether taking this much could succeed.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let warm = |class: &Class| class.free.lock().warm.len() as u64 * class.size as u64;
        let idle: u64 = self.classes.iter().map(warm).sum();
        self.used().saturating_sub(idle) + bytes <= self.limit
    }

    /// Gives memory back to the budget.
    pub(crate) fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, SeqCst);
        self.freed.raise();
    }

    /// Takes the memory of one idle slab, the largest there is.
    fn cool_one(&self) -> bool {
        for class in self.classes.iter().rev() {
            let Some(number) = class.free.lock().warm.pop() else {
                continue;
            };
            let slab = class.slabs.get(number as usize).and_then(OnceLock::get);
            if let Some(mut exclusive) = slab.and_then(|slab| slab.buffer.claim()) {
                exclusive.allocate(0);
            }
            class.free.lock().cold.push(number);
            self.used.fetch_sub(class.size as u64, SeqCst);
            return true;
        }
        false
    }

    /// Puts back a slab whose buffer is idle again.
    pub(crate) fn release(&self, slab: SlabRef) {
        self.class(slab.class).free.lock().warm.push(slab.number);
        self.freed.raise();
    }

    /// Memory that slabs have now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hintstore_format::{Namespace, expiry::Lifetime, frame::Body};

    use super::*;

    const START: Start = Start {
        first: Sequence::new(10),
        salt: 1,
        base_created: UnixMillis::new(0),
        accepted: UnixMillis::new(0),
    };

    fn profile(namespace: u128) -> Profile {
        let lifetime = Lifetime {
            gc_grace: Duration::ZERO,
            ttl: None,
        };
        Profile::new(Namespace::from_u128(namespace), 0, lifetime)
    }

    #[test]
    fn memory_is_bounded_and_moves_between_classes() {
        let pool = Pool::new(512 << 10);
        let small: Vec<_> = (0..64)
            .map(|_| pool.acquire(0, 0, START).unwrap())
            .collect();
        assert!(pool.acquire(3, 3, START).is_some());
        assert!(pool.acquire(3, 3, START).is_none());
        assert_eq!(pool.used(), 512 << 10);
        for slab in small {
            let buffer = &pool.slab(slab).buffer;
            buffer.close(slab.generation);
            buffer.collect(slab.generation).unwrap().release();
            pool.release(slab);
        }
        assert!(pool.acquire(3, 3, START).is_some());
        assert_eq!(pool.used(), 512 << 10);
    }

    #[test]
    fn references_survive_packing_and_none_is_zero() {
        let slab = SlabRef {
            class: 3,
            number: 0x1fff_ffff,
            generation: 0xff_ffff,
        };
        assert_eq!(SlabRef::unpack(slab.pack()), Some(slab));
        let zero = SlabRef {
            class: 0,
            number: 0,
            generation: 0,
        };
        assert_eq!(SlabRef::unpack(zero.pack()), Some(zero));
        assert_eq!(SlabRef::unpack(0), None);
    }

    #[test]
    fn a_slab_knows_all_its_profiles_and_takes_255() {
        let pool = Pool::new(256 << 10);
        let slab_ref = pool.acquire(3, 3, START).unwrap();
        let slab = pool.slab(slab_ref);
        let body = Body::new(UnixMillis::new(0), b"x");
        let draft = Draft::new(&body);
        for round in 0..2 {
            for namespace in 0..255 {
                let written = slab.write(slab_ref.generation, &draft, &profile(namespace));
                let sequence = 10 + round * 255 + namespace as u64;
                assert_eq!(written, Ok((Sequence::new(sequence), false)));
            }
        }
        let one_more = slab.write(slab_ref.generation, &draft, &profile(999));
        assert_eq!(one_more, Err(NotWritten::NoRoom));
        assert_eq!(slab.profiles().len(), 255);
    }
}
