//! Newest wins: which hints are pointless because a newer one of the same key is to be delivered as well.
//!
//! Only for a receiver that keeps the write of the greatest version. Then a hint may go if a newer one of its
//! key, target and namespace is there that was not created before it and does not die before it: whatever
//! ends the newer one (a deadline, a fence, a truncation by age) would have ended the older one too.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use hintstore_format::{Namespace, UnixMillis, frame::Collapse};

/// Keys that are distinguished at once: about 20 MiB. Hints of others stay as they are.
const KEYS_MAX: usize = 1 << 18;

/// The newest hint of a key so far.
#[derive(Clone, Copy, Debug)]
struct Rival {
    version: u64,
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
    pub fn note(
        &mut self,
        namespace: Namespace,
        collapse: Collapse<'_>,
        created: UnixMillis,
        deadline: UnixMillis,
    ) {
        let key = self.key(namespace, collapse.key);
        let rival = Rival {
            version: collapse.version,
            created,
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
        namespace: Namespace,
        collapse: Collapse<'_>,
        created: UnixMillis,
        deadline: UnixMillis,
    ) -> bool {
        let newest = self.rivals.get(&self.key(namespace, collapse.key));
        newest.is_some_and(|newest| {
            newest.version > collapse.version
                && newest.created >= created
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
    use super::*;

    fn of(key: &[u8], version: u64) -> Collapse<'_> {
        Collapse { key, version }
    }

    #[test]
    fn only_a_newer_one_that_outlives_it_supersedes() {
        let (table, other) = (Namespace::from_u128(1), Namespace::from_u128(2));
        let at = UnixMillis::new;
        let mut newest = Newest::default();
        newest.note(table, of(b"k", 5), at(100), at(1000));
        newest.note(table, of(b"k", 4), at(500), at(5000));
        let gone = |of_table, version, created, deadline| {
            newest.supersedes(of_table, of(b"k", version), at(created), at(deadline))
        };
        assert!(gone(table, 4, 100, 1000));
        assert!(!gone(table, 5, 100, 1000), "the same version");
        assert!(!gone(table, 6, 100, 1000), "it is newer");
        assert!(!gone(table, 4, 100, 1001), "it lives longer");
        assert!(!gone(table, 4, 101, 1000), "it was created later");
        assert!(!gone(other, 4, 100, 1000), "of another table");
        assert!(!newest.supersedes(table, of(b"l", 4), at(100), at(1000)));
    }

    #[test]
    fn keys_beyond_the_table_stay() {
        let table = Namespace::from_u128(1);
        let at = UnixMillis::new(1);
        let mut newest = Newest::default();
        for key in 0..=KEYS_MAX {
            newest.note(table, of(key.to_string().as_bytes(), 2), at, at);
        }
        let gone = |key: usize| newest.supersedes(table, of(key.to_string().as_bytes(), 1), at, at);
        assert!(gone(0) && !gone(KEYS_MAX));
    }
}
