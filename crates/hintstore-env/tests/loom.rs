//! The shared buffer in every interleaving of three threads: run by `cargo xtask loom`.
#![cfg(loom)]

use hintstore_env::SharedBuffer;
use loom::{cell::UnsafeCell, sync::Arc, thread};

/// A buffer, and for each place a cell that stands for its bytes: the checker sees who touches these
/// without an order between them.
struct Shared {
    buffer: SharedBuffer,
    places: [UnsafeCell<u8>; 2],
}

// SAFETY: the cells are what is checked: loom panics where two threads touch one without an order.
unsafe impl Sync for Shared {}

/// A buffer with room for two places, and the generation of its use.
fn opened() -> (Arc<Shared>, u32) {
    let shared = Arc::new(Shared {
        buffer: SharedBuffer::new(),
        places: [UnsafeCell::new(0), UnsafeCell::new(0)],
    });
    let mut exclusive = shared.buffer.claim().unwrap();
    exclusive.allocate(8);
    let generation = exclusive.open(0);
    (shared, generation)
}

/// Fills a place, if there is one; whether that completed the closed buffer.
fn fill(shared: &Shared, generation: u32) -> bool {
    let Ok(place) = shared.buffer.reserve(generation, 4) else {
        return false;
    };
    let index = usize::from(place.index);
    shared.places[index].with_mut(|_bytes| ());
    place.complete()
}

/// Takes the buffer if it is complete, and touches all that was filled.
fn take(shared: &Shared, generation: u32) -> bool {
    let Some(full) = shared.buffer.collect(generation) else {
        return false;
    };
    for place in &shared.places[..full.len() / 4] {
        place.with_mut(|_bytes| ());
    }
    full.release();
    true
}

/// All interleavings with at most this many switches that no thread asked for: enough for every mistake of
/// two threads, and seconds instead of hours.
const SWITCHES_MAX: usize = 3;

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(SWITCHES_MAX);
    builder.check(check);
}

#[test]
fn a_buffer_is_taken_once_and_behind_all_who_filled_it() {
    model(|| {
        let (shared, generation) = opened();
        let fillers: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || fill(&shared, generation) && take(&shared, generation))
            })
            .collect();
        shared.buffer.close(generation);
        let taken = take(&shared, generation);
        let by_fillers = fillers.into_iter().map(|filler| filler.join().unwrap());
        let times = by_fillers.filter(|taken| *taken).count() + usize::from(taken);
        // By the last one out, or by who closed it: by somebody, and once.
        assert_eq!(times, 1);
    });
}

#[test]
fn a_reservation_of_an_earlier_use_gets_no_place() {
    model(|| {
        let (shared, first) = opened();
        let late = {
            let shared = shared.clone();
            thread::spawn(move || fill(&shared, first))
        };
        shared.buffer.close(first);
        if let Some(empty) = shared.buffer.collect(first) {
            let filled = empty.len() / 4;
            empty.release();
            let second = shared.buffer.claim().unwrap().open(0);
            assert_ne!(first, second);
            let place = shared.buffer.reserve(second, 4).unwrap();
            assert_eq!(place.index, 0);
            // A thread that came late for the first use has none of the second.
            assert!(filled <= 1);
            shared.places[0].with_mut(|_bytes| ());
        }
        let _was_last = late.join().unwrap();
    });
}
