//! Newest wins: which hints are pointless because a newer one of the same key is to be delivered as well.
//!
//! Only for a receiver that keeps the write of the greatest version. Then a hint may go if a newer one of its
//! key, target and namespace is there that comes behind it, was not created before it and does not die before
//! it: whatever ends the newer one (a deadline, a fence, a truncation) would have ended the older one too. Only
//! a receiver that rejects the newer one for good would have taken the older.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use hintstore_format::{Namespace, Sequence, UnixMillis, frame::Collapse};

use crate::HintFacts;

/// Keys that are distinguished at once: about 20 MiB. Hints of others stay as they are.
const KEYS_MAX: usize = 1 << 18;

/// The newest hint of a key so far.
#[derive(Clone, Copy, Debug)]
struct Rival {
    version: u64,
    sequence: Sequence,
    created: UnixMillis,
    deadline: UnixMillis,
}

/// The newest hint of each key.
#[derive(Debug, Default)]
pub struct Newest {
    // Keys are known by 128 bits that nobody outside can aim at.
    hashers: [RandomState; 2],
    rivals: HashMap<u128, Rival>,
}

impl Newest {
    /// Notes a hint that is to be delivered.
    pub fn note(&mut self, hint: &HintFacts<'_>, collapse: Collapse<'_>, deadline: UnixMillis) {
        let key = self.key(hint.namespace, collapse.key);
        let rival = Rival {
            version: collapse.version,
            sequence: hint.sequence,
            created: hint.body.created,
            deadline,
        };
        let has_room = self.rivals.len() < KEYS_MAX;
        match self.rivals.get_mut(&key) {
            Some(known) if rival.version > known.version => *known = rival,
            None if has_room => drop(self.rivals.insert(key, rival)),
            Some(_) | None => {}
        }
    }

    /// Whether a newer hint of its key makes one pointless.
    pub fn supersedes(
        &self,
        hint: &HintFacts<'_>,
        collapse: Collapse<'_>,
        deadline: UnixMillis,
    ) -> bool {
        let newest = self.rivals.get(&self.key(hint.namespace, collapse.key));
        newest.is_some_and(|newest| {
            newest.version > collapse.version
                && newest.sequence > hint.sequence
                && newest.created >= hint.body.created
                && newest.deadline >= deadline
        })
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.rivals.is_empty()
    }

    fn key(&self, namespace: Namespace, key: &[u8]) -> u128 {
        let [one, other] = &self.hashers;
        let hash = |by: &RandomState| u128::from(by.hash_one((namespace, key)));
        hash(one) << 64 | hash(other)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hintstore_format::{expiry::Lifetime, frame::Body};

    use super::*;

    fn of(key: &[u8], version: u64) -> Collapse<'_> {
        Collapse { key, version }
    }

    fn hint(namespace: Namespace, sequence: u64, created: i64) -> HintFacts<'static> {
        HintFacts {
            sequence: Sequence::new(sequence),
            namespace,
            lifetime: Lifetime {
                gc_grace: Duration::ZERO,
                ttl: None,
            },
            body: Body::new(UnixMillis::new(created), b"payload"),
        }
    }

    #[test]
    fn only_a_newer_one_behind_it_that_outlives_it_supersedes() {
        let (table, other) = (Namespace::from_u128(1), Namespace::from_u128(2));
        let at = UnixMillis::new;
        let mut newest = Newest::default();
        newest.note(&hint(table, 9, 100), of(b"k", 5), at(1000));
        newest.note(&hint(table, 8, 500), of(b"k", 4), at(5000));
        let gone = |of_table, version, sequence, created, deadline| {
            let hint = hint(of_table, sequence, created);
            newest.supersedes(&hint, of(b"k", version), at(deadline))
        };
        assert!(gone(table, 4, 3, 100, 1000));
        assert!(!gone(table, 5, 3, 100, 1000), "the same version");
        assert!(!gone(table, 6, 3, 100, 1000), "it is newer");
        assert!(!gone(table, 4, 3, 100, 1001), "it lives longer");
        assert!(!gone(table, 4, 3, 101, 1000), "it was created later");
        assert!(!gone(table, 4, 10, 100, 1000), "it comes behind");
        assert!(!gone(other, 4, 3, 100, 1000), "of another table");
        assert!(!newest.supersedes(&hint(table, 3, 100), of(b"l", 4), at(1000)));
    }

    #[test]
    fn keys_beyond_the_table_stay() {
        let table = Namespace::from_u128(1);
        let at = UnixMillis::new(1);
        let mut newest = Newest::default();
        for key in 0..=KEYS_MAX {
            newest.note(&hint(table, 9, 1), of(key.to_string().as_bytes(), 2), at);
        }
        let gone = |key: usize| {
            newest.supersedes(&hint(table, 3, 1), of(key.to_string().as_bytes(), 1), at)
        };
        assert!(gone(0) && !gone(KEYS_MAX));
    }
}
