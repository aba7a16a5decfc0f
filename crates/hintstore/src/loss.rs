//! Loss receipts that are not in the journal yet, and how they are made.
//!
//! Whatever part sees hints end undelivered, or refuses them, notes it here; the next checkpoint writes it,
//! together with the ends that it counts. A crash before that takes both: what ended is pending again then.

use hintstore_env::{Clock, Storage, sync::Mutex};
use hintstore_format::{
    Namespace, TargetId, UnixMillis,
    frame::Body,
    journal::{Cause, Loss, Losses},
    profile::Span,
};
use hintstore_reader::read_footer;
use hintstore_writer::{Refusal, SegmentEntry, Segments};

use crate::target::EndedUnread;

/// Receipts that are not in the journal yet.
#[derive(Debug, Default)]
pub(crate) struct NewLosses(Mutex<Losses>);

impl NewLosses {
    pub(crate) fn add(&self, losses: impl IntoIterator<Item = Loss>) {
        let mut known = self.0.lock();
        known.extend(losses);
    }

    /// Takes them out.
    pub(crate) fn take(&self) -> Losses {
        std::mem::take(&mut *self.0.lock())
    }

    /// What they are now.
    pub(crate) fn get(&self) -> Losses {
        self.0.lock().clone()
    }
}

/// The receipt of one hint.
pub(crate) fn of_hint(
    target: TargetId,
    namespace: Namespace,
    body: &Body<'_>,
    cause: Cause,
    now: UnixMillis,
) -> Loss {
    Loss {
        target: Some(target),
        namespace: Some(namespace),
        tokens: body.token.map(Span::of),
        created: Span::of(body.created),
        hints: 1,
        bytes: body.payload.len() as u64,
        cause,
        noticed: Span::of(now),
    }
}

/// A receipt of hints that nothing is known about, except how many there are, at most.
pub(crate) fn of_unknown(
    target: Option<TargetId>,
    hints: u64,
    bytes: u64,
    cause: Cause,
    now: UnixMillis,
) -> Loss {
    Loss {
        target,
        namespace: None,
        tokens: None,
        created: Span {
            min: UnixMillis::MIN,
            max: now,
        },
        hints,
        bytes,
        cause,
        noticed: Span::of(now),
    }
}

/// Makes receipts of hints that nobody read, by the footers of the segments where they are, or were.
pub(crate) struct Unread<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) target: TargetId,
}

impl Unread<'_> {
    /// Receipts of hints that ended unread: by the footer of the segment that they were in, while that is listed.
    pub(crate) fn of_ended(&self, segments: &Segments, ended: &EndedUnread) -> Losses {
        let mut losses = Losses::default();
        let Some(cause) = Cause::of(ended.end) else {
            return losses;
        };
        let entry = segments.find(|entry| Some(entry.id) == ended.segment);
        if let Some(entry) = entry {
            return self.of_segment(&entry, ended.count, cause);
        }
        losses.add(self.unknown(ended.count, cause));
        losses
    }

    /// Receipts of some hints of a segment, at most `hints` of each namespace.
    pub(crate) fn of_segment(&self, entry: &SegmentEntry, hints: u64, cause: Cause) -> Losses {
        let now = self.clock.wall();
        let sealed = entry.closed().and_then(|closed| closed.sealed);
        let footer = sealed.and_then(|sealed| {
            let file = self.storage.open(&entry.name, false).ok()?;
            let at = sealed.footer_at..sealed.file_length;
            read_footer(&*file, entry.id, at).ok()?
        });
        let mut losses = Losses::default();
        let Some(footer) = footer.filter(|footer| !footer.namespaces.is_empty()) else {
            losses.add(self.unknown(hints, cause));
            return losses;
        };
        losses.extend(footer.namespaces.iter().map(|of| Loss {
            target: Some(self.target),
            namespace: of.namespace,
            tokens: of.tokens,
            created: of.created,
            hints: hints.min(of.count),
            bytes: of.payload_bytes,
            cause,
            noticed: Span::of(now),
        }));
        losses
    }

    fn unknown(&self, hints: u64, cause: Cause) -> Loss {
        // A hint may be as large as a file.
        of_unknown(Some(self.target), hints, u64::MAX, cause, self.clock.wall())
    }
}

/// What a refusal costs the target; nothing where it lacks nothing, or the caller closed the store.
pub(crate) fn cause_of(refusal: Refusal) -> Option<Cause> {
    match refusal {
        Refusal::PastWindow => Some(Cause::PastWindow),
        Refusal::Full { .. } => Some(Cause::Full),
        Refusal::Expired => Some(Cause::Expired),
        Refusal::Fenced | Refusal::Closed => None,
        _ => Some(Cause::Refused),
    }
}
