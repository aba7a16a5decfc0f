//! Hints that their target rejected for good: copied aside, for an operator.

use std::{io, sync::Arc};

use hintstore_env::{Op, Result, StorageError};
use hintstore_format::{descriptor::Kind, frame::Origin, profile::Profile};
use hintstore_reader::HintRef;

use super::Page;
use crate::{space::Space, store_env::StoreEnv, target::Ranges};

/// Keeps dead letters.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    env: Arc<StoreEnv>,
    space: Arc<Space>,
}

impl DeadLetters {
    pub(crate) fn new(env: &Arc<StoreEnv>, space: &Arc<Space>) -> Self {
        Self {
            env: env.clone(),
            space: space.clone(),
        }
    }

    /// Copies rejected hints of a page into a segment of their own and makes it durable. Above
    /// the cap nothing is kept; returns whether it was.
    pub(super) fn keep(&self, page: &Page, rejected: &Ranges) -> Result<bool> {
        if self.space.aside() >= self.env.config().dead_letter_bytes {
            return Ok(false);
        }
        let (id, usage) = (page.of().id, page.of().writer.usage());
        let Some(first) = rejected.ranges().first().map(|range| range.first) else {
            return Ok(true);
        };
        let kind = Kind::DeadLetters;
        let mut copy = self.env.writer.copy(id, usage, kind, first)?;
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
            let added = copy.add(key.sequence, self.env.clock.wall(), profile, &body);
            if let Err(error) = added {
                copy.give_up();
                return Err(error);
            }
        }
        if page.faulted() {
            // What was copied may be zeros: the page is read again, without the map that failed.
            copy.give_up();
            let error = io::Error::other("the map failed");
            return Err(StorageError::new(Op::Read, "a page", error));
        }
        let copied = copy.finish()?;
        self.env.budget.free(usage, copied.allocated);
        self.space.add_aside(copied.allocated);
        Ok(true)
    }
}
