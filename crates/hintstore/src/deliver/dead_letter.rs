//! Hints that their target rejected for good: copied aside, for an operator.

use std::io;

use hintstore_env::{Op, Result, StorageError, sync::Ordering::Relaxed};
use hintstore_format::{descriptor::Kind, frame::Origin, profile::Profile};
use hintstore_reader::{HintRef, Page};

use crate::{
    catalog::{Queue, Ranges},
    store::Engine,
};

impl Engine {
    /// Copies rejected hints of a page into a segment of their own and makes it durable. Above
    /// the cap nothing is kept; returns whether it was.
    pub(crate) fn keep_dead_letters(
        &self,
        queue: &Queue,
        page: &Page,
        rejected: &Ranges,
    ) -> Result<bool> {
        if self.aside_bytes.load(Relaxed) >= self.config().dead_letter_bytes.get() {
            return Ok(false);
        }
        let Some(first) = rejected.ranges().first().map(|range| range.first) else {
            return Ok(true);
        };
        let mut copy = self
            .writer
            .copy(queue.target, &queue.usage, Kind::DeadLetters, first)?;
        let is_rejected = |hint: &HintRef<'_>| {
            let sequence = hint.key.sequence;
            rejected.contains(sequence)
        };
        for hint in page.hints().filter(is_rejected) {
            let mut body = hint.body;
            let key = hint.key;
            body.origin.get_or_insert(Origin {
                store: key.store,
                target: key.target,
                sequence: key.sequence,
                incarnation: key.incarnation,
            });
            let profile = Profile::new(hint.namespace, hint.payload_version, hint.lifetime);
            let added = copy.add(key.sequence, self.clock.wall(), profile, &body);
            if let Err(error) = added {
                copy.give_up();
                return Err(error);
            }
        }
        if page.faulted() {
            // What was copied may be zeros: the page is read anew, without the map that failed.
            copy.give_up();
            let error = io::Error::other("the map failed");
            return Err(StorageError::new(Op::Read, "a page", error));
        }
        let copied = copy.finish()?;
        self.catalog.budget.free(&queue.usage, copied.allocated);
        self.add_aside(copied.allocated);
        Ok(true)
    }
}
