//! Buffered appends of 256 bytes on a simulated disk, for callgrind: what they cost is below `take`.
//!
//! ```text
//! cargo build --release -p hintstore --example append_cost
//! valgrind --tool=callgrind --toggle-collect='append_cost::take' target/release/examples/append_cost
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use hintstore::{
    Bytes, Clock as _, Config, Durability, Environment, Hint, HintStore, TargetId, UnixMillis,
};
use hintstore_sim::{Manual, SimClock, SimStorage};

const HINTS: u32 = 200_000;

#[inline(never)]
fn take(store: &HintStore, hint: Hint<'_>) -> bool {
    store.append(hint, Durability::Buffered).is_ok()
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(SimClock::new(UnixMillis::new(1_800_000_000_000)));
    let runner = Arc::new(Manual::new(clock.clone()));
    let environment = Environment::new(Arc::new(SimStorage::new()), clock.clone(), runner);
    let mut config = Config::new("sim");
    config.memory = Bytes::mib(256);
    let store = HintStore::open_in(environment, config)?;
    let payload = [7; 256];
    let (target, now) = (TargetId::from_u128(7), clock.wall());
    let hint = || Hint::new(target, now, Duration::from_hours(240), &payload);
    let taken = (0..HINTS).filter(|_| take(&store, hint())).count();
    if taken < HINTS as usize {
        return Err("a hint was refused".into());
    }
    Ok(())
}
