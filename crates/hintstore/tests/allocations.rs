//! What delivery allocates: counted by an allocator of this process alone.
#![expect(clippy::unwrap_used, reason = "tests say what went wrong by panicking")]

use std::{sync::Arc, time::Duration};

use allocation_counter::measure;
use hintstore::{
    Bytes, Clock as _, Config, Durability, Environment, Hint, HintStore, Limits, Next, TargetId,
    UnixMillis,
};
use hintstore_sim::{Manual, SimClock, SimStorage};

const TARGET: TargetId = TargetId::from_u128(7);

fn filled(hints: usize) -> HintStore {
    let clock = Arc::new(SimClock::new(UnixMillis::new(1_800_000_000_000)));
    let runner = Arc::new(Manual::new(clock.clone()));
    let environment = Environment::new(Arc::new(SimStorage::new()), clock.clone(), runner.clone());
    let store = HintStore::open_in(environment, Config::new("sim")).unwrap();
    for _ in 0..hints {
        let hint = Hint::new(TARGET, clock.wall(), Duration::from_hours(240), &[7; 100]);
        store.append(hint, Durability::Buffered).unwrap();
    }
    store.target(TARGET).sync().unwrap();
    runner.run();
    store
}

/// Delivers this many pages of this many hints; gives the allocations that it took.
fn allocations(store: &HintStore, pages: usize, hints: usize) -> u64 {
    let target = store.target(TARGET);
    let limits = Limits {
        bytes: Bytes::mib(64),
        hints,
    };
    let mut bytes = 0;
    let counted = measure(|| {
        for _ in 0..pages {
            let Next::Page(page) = target.next(limits).unwrap() else {
                unreachable!("there is more");
            };
            assert_eq!(page.len(), hints);
            bytes += page
                .hints()
                .map(|hint| hint.body.payload.len())
                .sum::<usize>();
            page.delivered().unwrap();
        }
    });
    assert_eq!(bytes, pages * hints * 100);
    counted.count_total
}

#[test]
fn a_page_costs_few_allocations_and_a_hint_none() {
    let store = filled(60_000);
    // What is made once, and the first blocks.
    allocations(&store, 10, 100);
    let (pages, few, many) = (100, 10, 400);
    let small = allocations(&store, pages, few);
    let large = allocations(&store, pages, many);
    assert!(small <= pages as u64, "{small} for {pages} pages");
    // Blocks are read without a map here, into a buffer and a table each; a block has 64 KiB.
    let blocks = (pages * many * 150).div_ceil(64 << 10) as u64;
    assert!(
        large <= small + 2 * blocks,
        "{large} against {small}, {blocks} blocks"
    );
}
