//! A storage node without an async runtime: three replicas in one process, one of them down for a while.
//!
//! Each node has its map and a hint store. A write goes to all three; one that a replica does not answer to becomes a
//! hint. When the replica is back its hints are pulled, page by page, until it has all.
//!
//! `cargo run -p hintstore --example toy_node`
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]

use std::{collections::BTreeMap, time::Duration};

use hintstore::{
    Config, Durability, Hint, HintRef, HintStore, Limits, Next, TargetId, UnixMillis, Verdict,
};

const GC_GRACE: Duration = Duration::from_hours(240);

/// A replica: what it holds, with the time of each write. The newest write of a key counts, so that a hint
/// that comes twice changes nothing.
#[derive(Default)]
struct Replica {
    is_down: bool,
    rows: BTreeMap<String, (UnixMillis, String)>,
}

impl Replica {
    fn apply(&mut self, written: UnixMillis, mutation: &[u8]) -> bool {
        let text = String::from_utf8_lossy(mutation);
        if let Some((key, value)) = text.split_once('=').filter(|_| !self.is_down) {
            let new = (written, value.to_owned());
            let row = self
                .rows
                .entry(key.to_owned())
                .or_insert_with(|| new.clone());
            *row = new.max(row.clone());
        }
        !self.is_down
    }
}

/// The coordinator's part of a write: true where it is safe, on a replica or as a hint, everywhere.
fn write(store: &HintStore, replicas: &mut BTreeMap<TargetId, Replica>, mutation: &[u8]) -> bool {
    let written = UnixMillis::now();
    let mut is_safe = true;
    for (id, replica) in replicas {
        if !replica.apply(written, mutation) {
            // Other replicas hold the write: `Os` is enough. Where nobody did, it would be `Durable`.
            let hint = Hint::new(*id, written, GC_GRACE, mutation);
            is_safe &= store.append(hint, Durability::Os).is_ok();
        }
    }
    is_safe
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("toy-node-{}", std::process::id()));
    let store = HintStore::open(Config::new(&folder))?;
    let ids = [1, 2, 3].map(TargetId::from_u128);
    let mut replicas: BTreeMap<_, _> = ids.map(|id| (id, Replica::default())).into();
    let [first, _, third] = ids;

    // One is down. The failure detector of a node says so.
    store.target(third).down();
    replicas.entry(third).or_default().is_down = true;
    for number in 0..1000 {
        assert!(write(
            &store,
            &mut replicas,
            format!("key {}={number}", number % 100).as_bytes()
        ));
    }
    println!(
        "{} writes wait for the replica that is down",
        store.ledger().pending()
    );

    // It is back: what it missed is handed over.
    let replica = replicas.entry(third).or_default();
    replica.is_down = false;
    let target = store.target(third);
    target.up();
    let mut pages = 0;
    loop {
        match target.wait_next(Limits::NONE, Duration::from_secs(10))? {
            Next::Page(page) => {
                let deliver = |hint: &HintRef<'_>| {
                    if replica.apply(hint.body.created, hint.body.payload) {
                        Verdict::Delivered
                    } else {
                        Verdict::Retry
                    }
                };
                page.answer_each(deliver)?;
                pages += 1;
            }
            Next::Drained => break,
            other => println!("nothing yet: {other:?}"),
        }
    }
    println!("handed over in {pages} pages");
    let rows = |id| replicas.get(&id).map(|replica| &replica.rows);
    assert_eq!(
        rows(first),
        rows(third),
        "the replica has what the others have"
    );
    let stopped = store.shutdown(Duration::from_secs(10))?;
    assert_eq!(stopped.pages_out, 0);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
