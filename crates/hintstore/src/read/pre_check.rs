//! Checks blocks of a mapped segment before their reader comes to them.
//!
//! Checksums are the largest part of reading a backlog, and what is read next is known. So a step of
//! its own goes some blocks ahead of each reader and notes how far their frames are right; the reader
//! checks what nobody has checked yet, or a while ago. It never waits for the step, and what the
//! step finds wrong the reader looks at itself.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use hintstore_env::{
    Boot, Clock, Next, Step, Waker,
    sync::{
        AtomicBool, AtomicU64, Mutex,
        Ordering::{Acquire, Release, SeqCst},
        Queue,
    },
};
use hintstore_format::{SegmentId, block::Header, layout::SECTOR};
use hintstore_reader::{Frames, Item, MapSource, Walk};

/// Bytes that are checked ahead of the reader.
const AHEAD: u64 = 4 << 20;
/// A check is valid for this long. After that the page may have been read from the disk again, so the
/// frame is checked again when it is handed out.
const FRESH: Duration = Duration::from_secs(1);
/// Notes that the reader has not fetched, at most. Where blocks are small, this is less.
const NOTES_MAX: usize = 64;
/// Where less is left than this, waking another thread costs more than it brings.
pub(crate) const LEAST: u64 = 512 << 10;

/// What is known of the blocks ahead of one reader.
#[derive(Debug)]
pub(crate) struct PreCheck {
    walk: Mutex<Walk>,
    /// Where the blocks end.
    end: u64,
    /// The end of the block that the reader is in; the maximum before it is in any.
    reader: AtomicU64,
    /// The end of what was checked.
    checked: AtomicU64,
    notes: Mutex<VecDeque<Note>>,
    /// It waits for the step.
    queued: AtomicBool,
}

/// What a check of a block found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checked {
    right_to: usize,
    at: Boot,
}

impl Checked {
    /// Up to where its frames are taken for right now.
    pub(crate) fn right_to(self, now: Boot) -> usize {
        if now.since(self.at) > FRESH {
            return 0;
        }
        self.right_to
    }
}

/// What was found of the block at `offset`.
#[derive(Debug)]
struct Note {
    offset: u64,
    checked: Checked,
}

impl PreCheck {
    /// For a reader of the blocks from `at` to `end`.
    pub(crate) fn new(source: MapSource, segment: SegmentId, at: u64, end: u64) -> Self {
        Self {
            walk: Mutex::new(Walk::new(Box::new(source), segment, at, end)),
            end,
            reader: AtomicU64::new(u64::MAX),
            checked: AtomicU64::new(at),
            notes: Mutex::default(),
            queued: AtomicBool::new(false),
        }
    }

    /// The reader comes to a block: gives what is known of it.
    pub(crate) fn reach(self: &Arc<Self>, block: &Header, check_queue: &CheckQueue) -> Checked {
        let (offset, end) = (block.position.offset, block.end());
        // One that hops over blocks needs little of what lies between.
        let before = self.reader.swap(end, SeqCst);
        let follows = (offset.saturating_sub(SECTOR)..=offset).contains(&before);
        let mut notes = self.notes.lock();
        let passed = notes.iter().take_while(|note| note.offset < offset).count();
        notes.drain(..passed);
        let note = notes.pop_front_if(|note| note.offset == offset);
        let few = notes.len() < NOTES_MAX / 2 && self.checked.load(Acquire) < end + AHEAD / 2;
        drop(notes);
        if few && follows && end + LEAST <= self.end && !self.queued.swap(true, SeqCst) {
            check_queue.waiting.push(Arc::downgrade(self));
            check_queue.waker.wake();
        }
        note.map_or_else(Checked::default, |note| note.checked)
    }

    /// Checks until it is far enough ahead.
    fn check(&self, now: Boot) {
        // First: the reader may ask for more while this ends.
        self.queued.store(false, SeqCst);
        let mut walk = self.walk.lock();
        loop {
            let reader = self.reader.load(Acquire);
            let enough = self.notes.lock().len() >= NOTES_MAX;
            if enough || walk.offset() >= reader + AHEAD {
                return;
            }
            // The block that the reader comes to next it checks itself, sooner than this would.
            let overtaken = walk.offset() <= reader;
            walk.skip_to(reader);
            let frames = match walk.next_item() {
                Ok(Some(Item::Block(_))) if overtaken => None,
                Ok(Some(Item::Block(block))) => {
                    walk.frames(&block).ok().map(|frames| (block, frames))
                }
                // What the reader has to deal with.
                Ok(Some(Item::Hole(_))) => None,
                _ => {
                    self.checked.store(u64::MAX, Release);
                    return;
                }
            };
            if let Some((block, frames)) = frames {
                let right_to = Frames::new(&block.header, &frames).right_prefix();
                let offset = block.header.position.offset;
                self.notes.lock().push_back(Note {
                    offset,
                    checked: Checked { right_to, at: now },
                });
            }
            self.checked.store(walk.offset(), Release);
        }
    }
}

/// Readers that wait for the step.
#[derive(Debug)]
pub(crate) struct CheckQueue {
    clock: Arc<dyn Clock>,
    /// Those that are gone by then need nothing.
    waiting: Queue<Weak<PreCheck>>,
    pub(crate) waker: Waker,
}

impl CheckQueue {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            waiting: Queue::default(),
            waker: Waker::default(),
        }
    }
}

/// The step.
#[derive(Debug)]
pub(crate) struct CheckAhead(pub(crate) Arc<CheckQueue>);

impl Step for CheckAhead {
    fn name(&self) -> &'static str {
        "check ahead"
    }

    fn step(&self, _: Boot) -> Next {
        // A reader that comes while this runs wakes it again, so it ends soon.
        for _ in 0..self.0.waiting.len() {
            if let Some(ahead) = self.0.waiting.pop().and_then(|ahead| ahead.upgrade()) {
                ahead.check(self.0.clock.boot());
            }
        }
        Next::WhenWoken
    }
}

#[cfg(test)]
mod tests {
    use hintstore_env::Storage as _;
    use hintstore_env::SystemClock;
    use hintstore_format::{
        Namespace, Sequence, UnixMillis,
        block::{self, Position, Start},
        expiry::Lifetime,
        frame::{Body, Draft, Place},
        layout::{ALIGN, align_up},
        profile::Profile,
    };
    use hintstore_sim::SimStorage;

    use super::*;

    const SEGMENT: SegmentId = SegmentId::new(7);
    const HINTS: u16 = 40;

    /// A block of 40 KiB, as it would stand at `offset`.
    fn block(number: u64, offset: u64) -> (Header, Vec<u8>) {
        let start = Start {
            first: Sequence::new(1 + number * u64::from(HINTS)),
            salt: 5,
            base_created: UnixMillis::new(0),
            accepted: UnixMillis::new(0),
        };
        let mut bytes = vec![0; block::HEADER];
        for index in 0..HINTS {
            let body = Body::new(start.base_created, &[9; 1024]);
            let draft = Draft::new(&body);
            let from = bytes.len();
            bytes.resize(from + draft.length(start.base_created), 0);
            let place = Place {
                index,
                profile: 0,
                salt: start.salt,
                base_created: start.base_created,
            };
            draft.write(place, &mut bytes[from..]);
        }
        let lifetime = Lifetime {
            gc_grace: Duration::ZERO,
            ttl: None,
        };
        let position = Position {
            segment: SEGMENT,
            offset,
            synced_to: 0,
        };
        let profile = Profile::new(Namespace::NONE, 0, lifetime);
        let mut table = Vec::new();
        let header = block::seal(start, position, &[profile], &mut bytes, &mut table);
        bytes.extend(table);
        (header, bytes)
    }

    /// Twenty blocks: one bit of the sixth wrong in its eleventh frame, the header of the ninth broken.
    fn segment() -> (Vec<Header>, MapSource, u64) {
        let (mut headers, mut file) = (Vec::new(), vec![0; 128]);
        for number in 0..20 {
            file.resize(align_up(file.len() as u64, ALIGN) as usize, 0);
            let (header, bytes) = block(number, file.len() as u64);
            file.extend(bytes);
            headers.push(header);
        }
        let frame = headers[5].frames_length as usize / usize::from(HINTS);
        file[headers[5].frames_at() as usize + 10 * frame + 100] ^= 1;
        file[headers[8].position.offset as usize] ^= 1;
        let disk = SimStorage::new();
        let on_disk = disk.create("segment").unwrap();
        on_disk
            .write_at(&[std::io::IoSlice::new(&file)], 0)
            .unwrap();
        let length = file.len() as u64;
        (headers, MapSource::new(&*on_disk, length).unwrap(), length)
    }

    #[test]
    fn a_reader_learns_what_was_checked_ahead_of_it() {
        let (headers, source, end) = segment();
        let ahead = Arc::new(PreCheck::new(source, SEGMENT, 128, end));
        let check_queue = Arc::new(CheckQueue::new(Arc::new(SystemClock)));
        let step = CheckAhead(check_queue.clone());
        let now = check_queue.clock.boot();
        let length = |header: &Header| header.frames_length as usize;
        // Nobody goes ahead of a reader that reads one block.
        assert_eq!(ahead.reach(&headers[0], &check_queue).right_to(now), 0);
        assert!(check_queue.waiting.is_empty());
        assert_eq!(ahead.reach(&headers[1], &check_queue).right_to(now), 0);
        step.step(Boot::default());
        // The next is the reader's own.
        assert_eq!(ahead.reach(&headers[2], &check_queue).right_to(now), 0);
        assert_eq!(
            ahead.reach(&headers[3], &check_queue).right_to(now),
            length(&headers[3])
        );
        let wrong = length(&headers[5]) / usize::from(HINTS) * 10;
        assert_eq!(ahead.reach(&headers[5], &check_queue).right_to(now), wrong);
        for header in headers[6..8].iter().chain(&headers[9..12]) {
            assert_eq!(
                ahead.reach(header, &check_queue).right_to(now),
                length(header)
            );
        }
        // What lay for a while is checked again.
        let later = check_queue.clock.boot() + FRESH + Duration::from_millis(1);
        assert_eq!(ahead.reach(&headers[12], &check_queue).right_to(later), 0);
    }

    #[test]
    fn a_reader_that_hops_or_is_gone_has_nothing_checked() {
        let (headers, source, end) = segment();
        let ahead = Arc::new(PreCheck::new(source, SEGMENT, 128, end));
        let check_queue = CheckQueue::new(Arc::new(SystemClock));
        let now = check_queue.clock.boot();
        for header in headers.iter().step_by(2) {
            assert_eq!(ahead.reach(header, &check_queue).right_to(now), 0);
        }
        assert!(check_queue.waiting.is_empty());
        // Overtaken, it goes on ahead of where the reader is.
        ahead.reach(&headers[1], &check_queue);
        ahead.reach(&headers[2], &check_queue);
        assert_eq!(check_queue.waiting.len(), 1);
        ahead.reach(&headers[9], &check_queue);
        ahead.check(now);
        assert_eq!(ahead.reach(&headers[10], &check_queue).right_to(now), 0);
        assert!(ahead.reach(&headers[11], &check_queue).right_to(now) > 0);
        drop(ahead);
        assert!(
            check_queue
                .waiting
                .pop()
                .is_some_and(|gone| gone.upgrade().is_none())
        );
    }
}
