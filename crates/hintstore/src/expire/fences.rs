//! What was fenced: nothing of a namespace that is older than its fence matters any more.

use std::collections::HashMap;

use hintstore_env::sync::{
    AtomicBool,
    Ordering::{Acquire, Release},
    RwLock,
};
use hintstore_format::{Namespace, UnixMillis};

/// The fences of a store: asked by who takes hints and by who delivers them.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    any: AtomicBool,
    before: RwLock<HashMap<Namespace, UnixMillis>>,
}

impl Fences {
    pub(crate) fn set(&self, fences: impl IntoIterator<Item = (Namespace, UnixMillis)>) {
        let mut before = self.before.write();
        *before = fences.into_iter().collect();
        self.any.store(!before.is_empty(), Release);
    }

    /// Whether there is any.
    pub(crate) fn is_any(&self) -> bool {
        self.any.load(Acquire)
    }

    /// The fence of a namespace: what was created before it matters no more.
    pub(crate) fn before(&self, namespace: Namespace) -> Option<UnixMillis> {
        self.before.read().get(&namespace).copied()
    }

    /// Whether one covers a hint.
    pub(crate) fn covers(&self, namespace: Namespace, created: UnixMillis) -> bool {
        self.is_any() && {
            let before = self.before.read();
            before
                .get(&namespace)
                .is_some_and(|before| created < *before)
        }
    }
}
