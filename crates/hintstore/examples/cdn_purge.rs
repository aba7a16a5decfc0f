//! Hints without a database: cache purges, fanned out to the edge nodes of a CDN.
//!
//! A purge must reach every edge, in order (a purge of `/a` behind a publication of `/a` must not
//! come before it), also one that is away for a while; and one that is away for longer flushes its
//! whole cache when it comes back, so that older purges are worth nothing: that is their gc grace.
//!
//! `cargo run -p hintstore --example cdn_purge`
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]

use std::{collections::HashMap, time::Duration};

use hintstore::{
    Clock as _, Config, Durability, Hint, HintStore, Namespace, SystemClock, TargetId,
};

/// An edge that is away for longer flushes its cache when it comes back.
const FLUSH_AFTER: Duration = Duration::from_hours(4);
const SITE: Namespace = Namespace::from_u128(0x5173);

/// An edge node, as this example has it: it answers, or is away.
#[derive(Default)]
struct Edge {
    is_away: bool,
    purged: Vec<String>,
}

impl Edge {
    fn purge(&mut self, path: &[u8]) -> bool {
        if !self.is_away {
            self.purged.push(String::from_utf8_lossy(path).into_owned());
        }
        !self.is_away
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("cdn-purge-{}", std::process::id()));
    let config = Config::new(&folder).with(|config| config.hint_window = Some(FLUSH_AFTER));
    let store = HintStore::open(config)?;
    let ids = [1, 2, 3].map(TargetId::from_u128);
    let mut edges: HashMap<TargetId, Edge> = ids.map(|id| (id, Edge::default())).into();
    if let Some(edge) = edges.get_mut(&ids[1]) {
        edge.is_away = true;
    }

    for path in ["/news", "/style.css", "/news"] {
        // A node that does not answer gets a hint: one for all of them, encoded once.
        let answered = |id: &TargetId, edges: &mut HashMap<TargetId, Edge>| {
            edges
                .get_mut(id)
                .is_some_and(|edge| edge.purge(path.as_bytes()))
        };
        let missed: Vec<_> = ids
            .into_iter()
            .filter(|id| !answered(id, &mut edges))
            .collect();
        let hint = Hint::new(ids[0], SystemClock.wall(), FLUSH_AFTER, path.as_bytes());
        for taken in store.append_for(&hint.namespace(SITE), &missed, Durability::Os) {
            // An edge without its hint flushes, as after a long absence.
            taken.map_err(|refusal| refusal.to_string())?;
        }
    }
    println!(
        "{} purges wait for the edge that is away",
        store.ledger().pending()
    );

    // It is back: what it missed comes first, in order.
    for (id, edge) in &mut edges {
        edge.is_away = false;
        while let Ok(Some(page)) = store.target(*id).page() {
            for hint in page.hints() {
                edge.purge(hint.body.payload);
            }
            page.delivered()?;
        }
    }
    for id in ids {
        let purged = edges.get(&id).map(|edge| edge.purged.join(" "));
        println!("edge {id} purged {}", purged.unwrap_or_default());
    }
    assert!(edges.values().all(|edge| edge.purged.len() == 3));
    store.close()?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
