//! Replay of 256-byte hints on a simulated disk, for callgrind: what it costs is below `drain`.
//!
//! ```text
//! cargo build --release -p hintstore --example replay_cost
//! valgrind --tool=callgrind --toggle-collect='replay_cost::drain' target/release/examples/replay_cost
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use hintstore::{
    Bytes, Clock as _, Config, Durability, Environment, Hint, HintStore, TargetId, UnixMillis,
};
use hintstore_sim::{Manual, SimClock, SimStorage};

const HINTS: usize = 200_000;

#[inline(never)]
fn drain(store: &HintStore, target: TargetId) -> hintstore::Result<usize> {
    let mut count = 0;
    while let Some(page) = store.target(target).page()? {
        count += page
            .hints()
            .map(|hint| hint.body.payload.len() / 256)
            .sum::<usize>();
        page.delivered()?;
    }
    Ok(count)
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(SimClock::new(UnixMillis::new(1_800_000_000_000)));
    let runner = Arc::new(Manual::new(clock.clone()));
    let environment = Environment::new(Arc::new(SimStorage::new()), clock.clone(), runner.clone());
    let mut config = Config::new("sim");
    config.memory = Bytes::mib(256);
    let store = HintStore::open_in(environment, config)?;
    let payload = [7; 256];
    let (target, now) = (TargetId::from_u128(7), clock.wall());
    for _ in 0..HINTS {
        let hint = Hint::new(target, now, Duration::from_hours(240), &payload);
        store.append(hint, Durability::Buffered)?;
    }
    store.target(target).sync()?;
    runner.run();
    if drain(&store, target)? < HINTS {
        return Err("a hint is missing".into());
    }
    Ok(())
}
