//! A receiver that remembers what it gets.

use std::collections::{BTreeMap, HashSet};

use hintstore_format::Sequence;

/// What a receiver has to say to a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has not seen it before.
    New,
    /// It has seen it before.
    Again,
    /// It has not seen it before, but had seen a later one by then.
    OutOfOrder,
}

/// A receiver of one target's hints: at least once, first in order.
#[derive(Debug, Default)]
pub struct SimTarget {
    seen: BTreeMap<Sequence, Vec<u8>>,
    retried: HashSet<Sequence>,
}

impl SimTarget {
    /// A receiver that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hears a hint. One that [`SimTarget::put_off`] named is never out of order.
    pub fn hear(&mut self, sequence: Sequence, payload: &[u8]) -> Heard {
        let last = self.seen.last_key_value().map(|(sequence, _)| *sequence);
        let put_off = self.retried.contains(&sequence);
        match self.seen.insert(sequence, payload.to_vec()) {
            Some(_) => Heard::Again,
            None if last.is_some_and(|last| last > sequence) && !put_off => Heard::OutOfOrder,
            None => Heard::New,
        }
    }

    /// Says that a hint is to come again: it may then arrive after later ones.
    pub fn put_off(&mut self, sequence: Sequence) {
        self.seen.remove(&sequence);
        self.retried.insert(sequence);
    }

    /// Begins again, as after a restart of its store: what was put off may still come late.
    pub fn restart(&mut self) {
        self.seen.clear();
    }

    /// What it has seen, in order.
    pub fn seen(&self) -> &BTreeMap<Sequence, Vec<u8>> {
        &self.seen
    }
}
