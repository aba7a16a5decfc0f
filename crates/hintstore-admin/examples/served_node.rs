//! A node to look at: hints come for five replicas, two are up, and an operator may watch and steer.
//!
//! `cargo run -p hintstore-admin --example served_node -- 60`, and in another terminal
//! `cargo run -p hintctl -- top` with the socket that it prints. It ends by itself after that many seconds.
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]

use std::{sync::Arc, thread, time::Duration};

use hintstore::{
    Clock as _, Config, Delivery, Durability, Hint, HintStore, Page, SystemClock, TargetId,
    UnixMillis,
};
use hintstore_admin::Admin;

/// Takes its time for each page.
struct Slow;

impl Delivery for Slow {
    fn deliver(&self, page: Page) {
        thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(20));
            page.delivered()
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args()
        .nth(1)
        .map_or(Ok(60), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("served-node-{}", std::process::id()));
    let store = HintStore::open(Config::new(folder.join("hints")))?;
    let socket = folder.join("hints.sock");
    let admin = Admin::of(&store).serve(&socket)?;
    println!("hintctl top {}", socket.display());

    let replicas: Vec<TargetId> = (1..=5).map(|n| TargetId::from_u128(n << 64 | n)).collect();
    store.set_members(replicas.iter().copied());
    store.deliver_by(Arc::new(Slow))?;
    for (replica, is_up) in replicas.iter().zip([true, true, false, false, false]) {
        let handle = store.target(*replica);
        if is_up {
            handle.up();
        } else {
            handle.down();
        }
    }
    let end = SystemClock.boot() + Duration::from_secs(seconds);
    while SystemClock.boot() < end {
        for (hours, replica) in (1..).zip(&replicas) {
            let gc_grace = Duration::from_hours(hours);
            let hint = Hint::new(*replica, UnixMillis::now(), gc_grace, &[b'x'; 500]);
            store.append(hint, Durability::Buffered)?;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    drop(admin);
    store.shutdown(Duration::from_secs(10))?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
