//! What a caller hands over.

use std::time::Duration;

use hintstore_format::{
    MutationId, Namespace, TargetId, UnixMillis,
    expiry::Lifetime,
    frame::{Body, Collapse, Origin},
    profile::Profile,
};

/// One undelivered mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint<'a> {
    /// The node it is for.
    pub target: TargetId,
    /// The table or keyspace it belongs to.
    pub namespace: Namespace,
    /// The caller's version of the payload.
    pub payload_version: u32,
    /// How long it may live: `gc_grace` now, and discard-after where that is safe.
    pub lifetime: Lifetime,
    /// Creation time, ids and payload.
    pub body: Body<'a>,
}

impl<'a> Hint<'a> {
    /// A hint for `target`: a write that was made at `created`, whose tombstones are kept for
    /// `gc_grace`, and whose bytes are `payload`.
    #[inline]
    pub fn new(
        target: TargetId,
        created: UnixMillis,
        gc_grace: Duration,
        payload: &'a [u8],
    ) -> Self {
        Self {
            target,
            namespace: Namespace::NONE,
            payload_version: 0,
            lifetime: Lifetime {
                gc_grace,
                ttl: None,
            },
            body: Body::new(created, payload),
        }
    }

    /// The table or keyspace it belongs to.
    #[must_use]
    pub fn namespace(self, namespace: Namespace) -> Self {
        Self { namespace, ..self }
    }

    /// The caller's version of the payload.
    #[must_use]
    pub fn payload_version(self, payload_version: u32) -> Self {
        Self {
            payload_version,
            ..self
        }
    }

    /// Discards the hint this long after its creation. Only where the mutation can shadow
    /// nothing: dropping an expiring write lets the value under it live on.
    #[must_use]
    pub fn discard_after(mut self, ttl: Duration) -> Self {
        self.lifetime.ttl = Some(ttl);
        self
    }

    /// The caller's own id of the mutation.
    #[must_use]
    pub fn mutation_id(mut self, id: MutationId) -> Self {
        self.body.mutation_id = Some(id);
        self
    }

    /// The routing token of the mutation's key.
    #[must_use]
    pub fn token(mut self, token: i64) -> Self {
        self.body.token = Some(token);
        self
    }

    /// Says which hints it has as rivals: of those with the same key (65,535 bytes at most), target and namespace
    /// only the one of the greatest version matters to the receiver. Where the namespace is among
    /// [`crate::Config::last_write_wins`], compaction drops the others, as superseded. Not for hints that are
    /// [`Hint::not_idempotent`].
    #[must_use]
    pub fn collapse(mut self, key: &'a [u8], version: u64) -> Self {
        self.body.collapse = Some(Collapse { key, version });
        self
    }

    /// Where the hint was first accepted, if not here.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.body.origin = Some(origin);
        self
    }

    /// Delivering the hint twice is not the same as once.
    #[must_use]
    pub fn not_idempotent(mut self) -> Self {
        self.body.idempotent = false;
        self
    }

    #[inline]
    pub(crate) fn profile(&self) -> Profile {
        Profile::new(self.namespace, self.payload_version, self.lifetime)
    }
}
