//! What a record holds: when the write was made, how long it matters, the mutation.

use byteorder::{BE, ByteOrder as _};

use crate::{mutation::TIMESTAMP_EPOCH, read_unsigned, vint::write_unsigned};

/// The body of a hint. The mutation is opaque except for its first table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HintBody<'a> {
    /// When the hint was made, in ms since 1970.
    pub creation_time_ms: i64,
    /// The least `gc_grace_seconds` of its tables when it was made, in s.
    pub gcgs_s: u64,
    /// How many partition updates the mutation has.
    pub updates: u64,
    /// The table of the first update.
    pub table_id: [u8; 16],
    /// The mutation: what the target is to apply.
    pub mutation: &'a [u8],
}

/// What an update says of itself without a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstUpdate<'a> {
    /// The partition key.
    pub key: &'a [u8],
    /// What its timestamps are counted from, in µs since 1970: about the least of them.
    pub min_timestamp: Option<i64>,
}

impl<'a> HintBody<'a> {
    /// Reads the body of a record; `None` where it is too short to be one.
    pub fn decode(body: &'a [u8]) -> Option<Self> {
        let (created, rest) = body.split_first_chunk::<8>()?;
        let (gcgs_s, length) = read_unsigned(rest)?;
        let mutation = rest.get(length..)?;
        Self::of_mutation(BE::read_i64(created), gcgs_s, mutation)
    }

    /// The body with this mutation; `None` where it is too short to be one.
    pub fn of_mutation(creation_time_ms: i64, gcgs_s: u64, mutation: &'a [u8]) -> Option<Self> {
        let (updates, length) = read_unsigned(mutation)?;
        let table_id = mutation.get(length..)?.first_chunk()?;
        Some(Self {
            creation_time_ms,
            gcgs_s,
            updates,
            table_id: *table_id,
            mutation,
        })
    }

    /// What can be known of the first update without a schema; `None` where there is none.
    pub fn first_update(&self) -> Option<FirstUpdate<'a>> {
        let (_, count) = read_unsigned(self.mutation)?;
        let rest = self.mutation.get(count + 16..)?;
        let (length, taken) = read_unsigned(rest)?;
        let rest = rest.get(taken..)?;
        let length = usize::try_from(length).ok()?;
        let key = rest.get(..length)?;
        let (flags, stats) = rest.get(length..)?.split_first()?;
        let is_empty = flags & 1 != 0;
        let delta = read_unsigned(stats).filter(|_| !is_empty);
        Some(FirstUpdate {
            key,
            min_timestamp: delta
                .map(|(delta, _)| TIMESTAMP_EPOCH.wrapping_add(delta.cast_signed())),
        })
    }

    /// When the hint is dead, by itself: creation time and `gcgs`, in ms since 1970.
    pub fn expires_at_ms(&self) -> i64 {
        let millis = i64::try_from(self.gcgs_s)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        self.creation_time_ms.saturating_add(millis)
    }
}

/// The body of a hint: what [`HintBody::decode`] reads.
pub fn encode_body(creation_time_ms: i64, gcgs_s: u64, mutation: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 8];
    BE::write_i64(&mut body, creation_time_ms);
    write_unsigned(gcgs_s, &mut body);
    body.extend_from_slice(mutation);
    body
}
