//! Spans and events: in a process of their own, since `tracing` remembers who listens.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "tests say what went wrong by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hintstore::{Clock as _, Config, Durability, Hint, HintStore, SystemClock, TargetId, Truncate};
use tracing::{Event, Metadata, span};

#[derive(Clone, Debug, Default)]
struct Ear(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Ear {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let name = span.metadata().name().to_owned();
        self.0.lock().unwrap().push(name);
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn what_happens_is_traced() {
    let ear = Ear::default();
    tracing::subscriber::set_global_default(ear.clone()).unwrap();
    let folder = std::env::temp_dir().join(format!("hintstore-tracing-{}", std::process::id()));
    let store = HintStore::open(Config::new(&folder)).unwrap();
    let target = TargetId::from_u128(1);
    let life = Duration::from_hours(1);
    let hint = Hint::new(target, SystemClock.wall(), life, b"a mutation");
    store.append(hint, Durability::Os).unwrap();
    let page = store.target(target).page().unwrap().unwrap();
    page.delivered().unwrap();
    store.checkpoint().unwrap();
    store.truncate(&Truncate::default()).unwrap();
    store.close().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let heard = ear.0.lock().unwrap().join("\n");
    for word in [
        "open",
        "opened: ",
        "checkpoint",
        "page",
        "segment closed",
        "discarded",
    ] {
        assert!(heard.contains(word), "{word}: {heard}");
    }
}
