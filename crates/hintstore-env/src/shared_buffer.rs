//! A buffer that many threads fill at once, and one empties.
//!
//! One atomic word holds the generation of the buffer's use, its mode, how many places were given
//! out and up to where. A place is reserved by one compare-and-swap on it, so that place and
//! number come from the same step; nobody else writes there. A second word counts the bytes that
//! were completed: when the buffer is closed and both agree, nobody writes any more, and the one who
//! takes it has it alone. The generation makes a reservation in a buffer that was since
//! emptied and reused fail.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    ptr, slice,
};

use crate::sync::model::{
    AtomicPtr, AtomicU64,
    Ordering::{self, Acquire, Relaxed, SeqCst},
};

/// How a completed place becomes visible to the one who takes the buffer. The model check is run with
/// `Relaxed` as well, and must find it out.
const PUBLISHED: Ordering = if cfg!(loom_mutant) { Relaxed } else { SeqCst };

const OFFSET_BITS: u32 = 21;
const COUNT_BITS: u32 = 17;
const COUNT_SHIFT: u32 = OFFSET_BITS;
const MODE_SHIFT: u32 = OFFSET_BITS + COUNT_BITS;
const GENERATION_SHIFT: u32 = MODE_SHIFT + 2;
/// Places are numbered by 16 bits.
const COUNT_MAX: u32 = 1 << 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Idle = 0,
    Open = 1,
    Closed = 2,
    Owned = 3,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    generation: u32,
    mode: Mode,
    count: u32,
    offset: u32,
}

impl State {
    fn unpack(word: u64) -> Self {
        let mode = match word >> MODE_SHIFT & 3 {
            0 => Mode::Idle,
            1 => Mode::Open,
            2 => Mode::Closed,
            _ => Mode::Owned,
        };
        Self {
            generation: (word >> GENERATION_SHIFT) as u32,
            mode,
            count: (word >> COUNT_SHIFT) as u32 & ((1 << COUNT_BITS) - 1),
            offset: word as u32 & ((1 << OFFSET_BITS) - 1),
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.generation) << GENERATION_SHIFT
            | (self.mode as u64) << MODE_SHIFT
            | u64::from(self.count) << COUNT_SHIFT
            | u64::from(self.offset)
    }
}

/// Why no place was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The buffer is open, and has no room for so much.
    NoRoom,
    /// The buffer is closed, or in another use than the caller thinks.
    NotOpen,
}

/// A buffer that many threads fill at once. See the module's words.
pub struct SharedBuffer {
    state: AtomicU64,
    completed: AtomicU64,
    memory: AtomicPtr<u8>,
    capacity: AtomicU64,
}

/// A place in a buffer that is the caller's alone, until it is dropped.
pub struct Reservation<'a> {
    buffer: &'a SharedBuffer,
    /// The place's number in its buffer, from 0.
    pub index: u16,
    bytes: &'a mut [u8],
}

/// A buffer that is the caller's alone, until it is dropped: then it is again what it was before,
/// idle or closed.
pub struct Exclusive<'a> {
    buffer: &'a SharedBuffer,
    filled: u32,
    then: Mode,
}

/// A closed buffer: how much was reserved in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Places.
    pub count: u32,
    /// Bytes, those skipped at the start included.
    pub bytes: u32,
}

impl Default for SharedBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl SharedBuffer {
    /// Greatest capacity: 1 MiB.
    pub const CAPACITY_MAX: usize = 1 << (OFFSET_BITS - 1);

    /// A buffer without memory.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            memory: AtomicPtr::new(ptr::null_mut()),
            capacity: AtomicU64::new(0),
        }
    }

    /// A buffer without memory, in the model.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            memory: AtomicPtr::new(ptr::null_mut()),
            capacity: AtomicU64::new(0),
        }
    }

    #[inline]
    fn state(&self) -> State {
        State::unpack(self.state.load(SeqCst))
    }

    /// Changes the state by `next`, where that gives one.
    fn change(&self, next: impl Fn(State) -> Option<State>) -> Option<State> {
        self.state
            .fetch_update(SeqCst, SeqCst, |word| {
                next(State::unpack(word)).map(State::pack)
            })
            .ok()
            .map(State::unpack)
    }

    /// Takes an idle buffer for the caller alone.
    pub fn claim(&self) -> Option<Exclusive<'_>> {
        self.change(|state| {
            (state.mode == Mode::Idle).then_some(State {
                mode: Mode::Owned,
                ..state
            })
        })?;
        Some(Exclusive {
            buffer: self,
            filled: 0,
            then: Mode::Idle,
        })
    }

    /// Reserves a place of `length` bytes in the buffer's use `generation`.
    #[inline]
    pub fn reserve(&self, generation: u32, length: usize) -> Result<Reservation<'_>, Refused> {
        let capacity = self.capacity.load(Relaxed);
        let mut word = self.state.load(Acquire);
        loop {
            let state = State::unpack(word);
            if state.mode != Mode::Open || state.generation != generation {
                return Err(Refused::NotOpen);
            }
            if u64::from(state.offset) + length as u64 > capacity || state.count >= COUNT_MAX {
                return Err(Refused::NoRoom);
            }
            let next = State {
                count: state.count + 1,
                offset: state.offset + length as u32,
                ..state
            };
            match self
                .state
                .compare_exchange_weak(word, next.pack(), SeqCst, Acquire)
            {
                Ok(_) => {
                    let memory = self.memory.load(Acquire);
                    // SAFETY: the place was given out once in this use, `capacity` bounds it, and
                    // the memory stays as long as places are not completed.
                    let start = unsafe { memory.add(state.offset as usize) };
                    // SAFETY: as above: nobody else has a reference to these bytes.
                    let bytes = unsafe { slice::from_raw_parts_mut(start, length) };
                    return Ok(Reservation {
                        buffer: self,
                        index: state.count as u16,
                        bytes,
                    });
                }
                Err(now) => word = now,
            }
        }
    }

    /// Closes the buffer's use `generation`: no further place is given out. `None` where it was
    /// not open.
    pub fn close(&self, generation: u32) -> Option<Filled> {
        let state = self.change(|state| {
            (state.mode == Mode::Open && state.generation == generation).then_some(State {
                mode: Mode::Closed,
                ..state
            })
        })?;
        Some(Filled {
            count: state.count,
            bytes: state.offset,
        })
    }

    /// How much was given out so far in the use `generation`, closed or not.
    pub fn filled(&self, generation: u32) -> Option<Filled> {
        let state = self.state();
        (state.generation == generation && matches!(state.mode, Mode::Open | Mode::Closed))
            .then_some(Filled {
                count: state.count,
                bytes: state.offset,
            })
    }

    /// Whether the buffer is closed and every place in it completed.
    #[inline]
    pub fn is_complete(&self) -> bool {
        let state = self.state();
        state.mode == Mode::Closed && self.completed.load(PUBLISHED) == u64::from(state.offset)
    }

    /// Takes a complete buffer for the caller alone.
    pub fn collect(&self, generation: u32) -> Option<Exclusive<'_>> {
        if !self.is_complete() {
            return None;
        }
        let state = self.change(|state| {
            (state.mode == Mode::Closed && state.generation == generation).then_some(State {
                mode: Mode::Owned,
                ..state
            })
        })?;
        Some(Exclusive {
            buffer: self,
            filled: state.offset,
            then: Mode::Closed,
        })
    }
}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        release(
            self.memory.swap(ptr::null_mut(), SeqCst),
            self.capacity.swap(0, SeqCst),
        );
    }
}

fn release(memory: *mut u8, capacity: u64) {
    if memory.is_null() {
        return;
    }
    let bytes = ptr::slice_from_raw_parts_mut(memory, capacity as usize);
    // SAFETY: the pointer came from `Box::into_raw` of a slice of this length, and was swapped out
    // of the buffer, so that nobody frees it again.
    drop(unsafe { Box::from_raw(bytes) });
}

impl fmt::Debug for SharedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(
            f,
            "SharedBuffer({} places, {} bytes)",
            state.count, state.offset
        )
    }
}

impl Reservation<'_> {
    /// Completes the place. True where that completed the whole buffer, which is closed: the
    /// caller is the last one out.
    #[inline]
    pub fn complete(self) -> bool {
        let buffer = self.buffer;
        drop(self);
        buffer.is_complete()
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.buffer
            .completed
            .fetch_add(self.bytes.len() as u64, PUBLISHED);
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({}, {} bytes)", self.index, self.bytes.len())
    }
}

impl Exclusive<'_> {
    /// Gives the buffer memory of `capacity` bytes, or takes it away with 0.
    ///
    /// # Panics
    /// Above [`SharedBuffer::CAPACITY_MAX`].
    pub fn allocate(&mut self, capacity: usize) {
        assert!(
            capacity <= SharedBuffer::CAPACITY_MAX,
            "a buffer holds at most 1 MiB"
        );
        let now = self.buffer.capacity.load(SeqCst);
        if now == capacity as u64 {
            return;
        }
        release(self.buffer.memory.swap(ptr::null_mut(), SeqCst), now);
        if capacity > 0 {
            let memory = Box::into_raw(vec![0u8; capacity].into_boxed_slice());
            self.buffer.memory.store(memory.cast(), SeqCst);
        }
        self.buffer.capacity.store(capacity as u64, SeqCst);
    }

    /// Lets go of the buffer, and of what is in it: it is idle again.
    pub fn release(mut self) {
        self.then = Mode::Idle;
    }

    /// Opens the buffer for reservations behind its first `skip` bytes, and lets go of it. Returns
    /// the generation that reservations name.
    ///
    /// # Panics
    /// Where `skip` is more than the capacity.
    pub fn open(self, skip: usize) -> u32 {
        assert!(
            skip as u64 <= self.buffer.capacity.load(SeqCst),
            "the buffer is too small"
        );
        let generation = (self.buffer.state().generation + 1) & ((1 << 24) - 1);
        let open = State {
            generation,
            mode: Mode::Open,
            count: 0,
            offset: skip as u32,
        };
        self.buffer.completed.store(skip as u64, SeqCst);
        self.buffer.state.store(open.pack(), SeqCst);
        // The state is set; dropping would make the buffer idle.
        let _held_open = std::mem::ManuallyDrop::new(self);
        generation
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.buffer.change(|state| {
            Some(State {
                mode: self.then,
                ..state
            })
        });
    }
}

impl Deref for Exclusive<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let memory = self.buffer.memory.load(SeqCst);
        if memory.is_null() {
            return &[];
        }
        // SAFETY: the mode is Owned and this is its only owner; `filled` is within the memory.
        unsafe { slice::from_raw_parts(memory, self.filled as usize) }
    }
}

impl DerefMut for Exclusive<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let memory = self.buffer.memory.load(SeqCst);
        if memory.is_null() {
            return &mut [];
        }
        // SAFETY: the mode is Owned and this is its only owner; `filled` is within the memory.
        unsafe { slice::from_raw_parts_mut(memory, self.filled as usize) }
    }
}

impl fmt::Debug for Exclusive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exclusive({} bytes)", self.filled)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn open(buffer: &SharedBuffer, capacity: usize, skip: usize) -> u32 {
        let mut exclusive = buffer.claim().unwrap();
        exclusive.allocate(capacity);
        exclusive.open(skip)
    }

    #[test]
    fn places_are_numbered_and_adjoin() {
        let buffer = SharedBuffer::new();
        let generation = open(&buffer, 16, 4);
        for (index, fill) in [(0, 1), (1, 2)] {
            let mut place = buffer.reserve(generation, 6).unwrap();
            assert_eq!(place.index, index);
            place.fill(fill);
            assert!(!place.complete());
        }
        assert_eq!(buffer.reserve(generation, 1).unwrap_err(), Refused::NoRoom);
        assert_eq!(
            buffer.close(generation),
            Some(Filled {
                count: 2,
                bytes: 16
            })
        );
        assert_eq!(buffer.close(generation), None);
        let full = buffer.collect(generation).unwrap();
        assert_eq!(&full[4..], [[1; 6], [2; 6]].concat());
        assert!(buffer.claim().is_none());
    }

    #[test]
    fn the_last_writer_out_is_reported_and_a_buffer_in_use_is_not_taken() {
        let buffer = SharedBuffer::new();
        let generation = open(&buffer, 16, 0);
        let place = buffer.reserve(generation, 8).unwrap();
        buffer.close(generation);
        assert!(buffer.collect(generation).is_none());
        assert!(buffer.claim().is_none());
        assert!(place.complete());
        drop(buffer.collect(generation).unwrap());
        assert_eq!(buffer.reserve(generation, 1).unwrap_err(), Refused::NotOpen);
    }

    #[test]
    fn a_reservation_for_an_earlier_use_fails() {
        let buffer = SharedBuffer::new();
        let first = open(&buffer, 16, 0);
        buffer.close(first);
        buffer.collect(first).unwrap().release();
        let second = open(&buffer, 16, 0);
        assert_eq!(buffer.reserve(first, 1).unwrap_err(), Refused::NotOpen);
        assert!(buffer.reserve(second, 1).is_ok());
    }

    #[test]
    fn threads_never_share_a_byte() {
        let buffer = SharedBuffer::new();
        let generation = open(&buffer, 64 * 1024, 0);
        thread::scope(|scope| {
            for thread in 0..4u8 {
                let buffer = &buffer;
                scope.spawn(move || {
                    let mut length = 1 + usize::from(thread);
                    while let Ok(mut place) = buffer.reserve(generation, length + 2) {
                        place.fill(thread);
                        place[0] = length as u8;
                        length = length % 13 + 1;
                    }
                });
            }
        });
        buffer.close(generation);
        let full = buffer.collect(generation).unwrap();
        let mut rest = &full[..];
        while !rest.is_empty() {
            let (place, after) = rest.split_at(usize::from(rest[0]) + 2);
            assert!(place[1..].iter().all(|byte| *byte == place[1]));
            rest = after;
        }
    }
}
