//! What was fenced: nothing of a namespace that is older than its fence matters any more.

use std::{collections::HashMap, time::Duration};

use hintstore_env::sync::{
    AtomicBool,
    Ordering::{Acquire, Release},
    RwLock,
};
use hintstore_format::{
    Namespace, UnixMillis,
    expiry::{Lifetime, Policy},
    footer::Footer,
};

/// When whatever a fence can cover is dead by its lifetime, if anything bounds that: late hints are refused
/// for it then.
pub(crate) fn end(policy: &Policy, namespace: Namespace, before: UnixMillis) -> UnixMillis {
    let longest = Lifetime {
        gc_grace: Duration::MAX,
        ttl: None,
    };
    policy.deadline(namespace, before, longest)
}

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

    /// Whether a whole segment is fenced, by its footer.
    pub(crate) fn cover_all(&self, footer: &Footer) -> bool {
        let before = self.before.read();
        let mut entries = footer.namespaces.iter();
        !footer.namespaces.is_empty()
            && entries.all(|entry| {
                let fence = entry.namespace.and_then(|of| before.get(&of));
                fence.is_some_and(|before| entry.created.max < *before)
            })
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
