//! What the hints of a block have in common: written once a block, named by a byte in each frame.

use std::time::Duration;

use byteorder::ByteOrder as _;

use crate::{
    DecodeError, DecodeKind, Namespace, SegmentId, UnixMillis, checksum,
    codec::{Get, Put},
    expiry::Lifetime,
    layout::{LE, PROFILES_MAX, profile as at, profile_end},
};

/// The value of `ttl_ms` for "no discard-after", and of `gc_grace_ms` for "never dies".
pub(crate) const FOR_EVER: u64 = u64::MAX;

/// What many hints share: their namespace, the version of their payload, how long they may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// The table or keyspace of the hints.
    pub namespace: Namespace,
    /// The caller's version of the payload (Cassandra's messaging version).
    pub payload_version: u32,
    /// `gc_grace` at write, in ms; `u64::MAX` for no end.
    pub gc_grace_ms: u64,
    /// Discard-after in ms; `u64::MAX` where none was set.
    pub ttl_ms: u64,
}

/// A duration in ms as the files hold it. Rounded down, so that no hint outlives its rule.
#[inline]
pub fn millis(duration: Duration) -> u64 {
    let whole = duration.as_secs().checked_mul(1000);
    let all = whole.and_then(|whole| whole.checked_add(duration.subsec_millis().into()));
    all.unwrap_or(FOR_EVER)
}

impl Profile {
    /// The profile of hints with this namespace, payload version and lifetime.
    #[inline]
    pub fn new(namespace: Namespace, payload_version: u32, lifetime: Lifetime) -> Self {
        Self {
            namespace,
            payload_version,
            gc_grace_ms: millis(lifetime.gc_grace),
            ttl_ms: lifetime.ttl.map_or(FOR_EVER, millis),
        }
    }

    /// The lifetime that the profile gives to its hints.
    pub fn lifetime(&self) -> Lifetime {
        lifetime(self.gc_grace_ms, self.ttl_ms)
    }
}

pub(crate) fn lifetime(gc_grace_ms: u64, ttl_ms: u64) -> Lifetime {
    Lifetime {
        gc_grace: Duration::from_millis(gc_grace_ms),
        ttl: (ttl_ms != FOR_EVER).then(|| Duration::from_millis(ttl_ms)),
    }
}

/// A range of values, empty until the first is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<T> {
    /// The least value.
    pub min: T,
    /// The greatest value.
    pub max: T,
}

impl<T: Ord + Copy> Span<T> {
    /// The span that holds just `value`.
    pub fn of(value: T) -> Self {
        Self {
            min: value,
            max: value,
        }
    }

    /// Widens the span to hold `value`.
    pub fn add(&mut self, value: T) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Widens the span to hold `other`.
    pub fn join(&mut self, other: Self) {
        self.add(other.min);
        self.add(other.max);
    }

    /// What holds both; none where one of them is unknown.
    pub fn join_all(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (mut all, other) = one.zip(other)?;
        all.join(other);
        Some(all)
    }
}

/// A profile and what the hints that name it add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the hints share.
    pub profile: Profile,
    /// How many hints.
    pub count: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Their creation times; where `count` is 0, meaningless.
    pub created: Span<UnixMillis>,
    /// Their routing tokens, where every one has one.
    pub tokens: Option<Span<i64>>,
}

impl Entry {
    /// An entry that no hint has been added to.
    pub fn new(profile: Profile) -> Self {
        let none = Span {
            min: UnixMillis::MAX,
            max: UnixMillis::MIN,
        };
        Self {
            profile,
            count: 0,
            payload_bytes: 0,
            created: none,
            tokens: None,
        }
    }

    /// Counts one hint.
    pub fn add(&mut self, created: UnixMillis, payload_bytes: u64, token: Option<i64>) {
        let token = token.map(Span::of);
        self.tokens = match self.count {
            0 => token,
            _ => Span::join_all(self.tokens, token),
        };
        self.count += 1;
        self.payload_bytes += payload_bytes;
        self.created.add(created);
    }
}

/// The length of a table of `count` profiles.
pub const fn table_length(count: usize) -> usize {
    count * at::SIZE + profile_end::SIZE
}

const HAS_TOKENS: u32 = 1;

/// Appends the profile table of a block that lies at `offset` of `segment`.
pub fn encode_table(entries: &[Entry], segment: SegmentId, offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    for entry in entries {
        let mut raw = [0; at::SIZE];
        let mut put = Put(&mut raw);
        put.bytes(at::NAMESPACE, entry.profile.namespace.as_bytes());
        put.u32(at::PAYLOAD_VERSION, entry.profile.payload_version);
        put.u64(at::GC_GRACE, entry.profile.gc_grace_ms);
        put.u64(at::TTL, entry.profile.ttl_ms);
        put.u64(at::COUNT, entry.count);
        put.u64(at::BYTES, entry.payload_bytes);
        put.i64(at::MIN_CREATED, entry.created.min.get());
        put.i64(at::MAX_CREATED, entry.created.max.get());
        if let Some(tokens) = entry.tokens {
            put.u32(at::FLAGS, HAS_TOKENS);
            put.i64(at::MIN_TOKEN, tokens.min);
            put.i64(at::MAX_TOKEN, tokens.max);
        }
        out.extend_from_slice(&raw);
    }
    let mut end = [0; profile_end::SIZE];
    Put(&mut end).u32(profile_end::COUNT, entries.len() as u32);
    let table = out.get(start..).unwrap_or_default();
    let crc = table_crc(table, &end, segment, offset);
    Put(&mut end).u32(profile_end::CRC, crc);
    out.extend_from_slice(&end);
}

fn table_crc(entries: &[u8], end: &[u8], segment: SegmentId, offset: u64) -> u32 {
    let crc = checksum::extend(checksum::place(segment, offset), entries);
    checksum::extend(
        crc,
        end.get(profile_end::COUNT.offset..).unwrap_or_default(),
    )
}

/// Reads the profile table of a block that lies at `offset` of `segment`.
pub fn decode_table(
    bytes: &[u8],
    segment: SegmentId,
    offset: u64,
) -> Result<Vec<Entry>, DecodeError> {
    let body = bytes.len().checked_sub(profile_end::SIZE);
    let (entries, end) = body
        .and_then(|body| bytes.split_at_checked(body))
        .ok_or(DecodeError::short(profile_end::SIZE, bytes.len()))?;
    let stored = LE::read_u32(end);
    let computed = table_crc(entries, end, segment, offset);
    if stored != computed {
        return Err(DecodeError::new(
            entries.len(),
            DecodeKind::Checksum { stored, computed },
        ));
    }
    let count = Get::new(end, profile_end::SIZE)?.u32(profile_end::COUNT);
    if count as usize > PROFILES_MAX || count as usize * at::SIZE != entries.len() {
        return Err(DecodeError::field(
            entries.len(),
            "profiles",
            u64::from(count),
        ));
    }
    entries.chunks_exact(at::SIZE).map(decode_entry).collect()
}

fn decode_entry(raw: &[u8]) -> Result<Entry, DecodeError> {
    let get = Get::new(raw, at::SIZE)?;
    let tokens = Span {
        min: get.i64(at::MIN_TOKEN),
        max: get.i64(at::MAX_TOKEN),
    };
    Ok(Entry {
        profile: Profile {
            namespace: Namespace::from_bytes(get.id(at::NAMESPACE)),
            payload_version: get.u32(at::PAYLOAD_VERSION),
            gc_grace_ms: get.u64(at::GC_GRACE),
            ttl_ms: get.u64(at::TTL),
        },
        count: get.u64(at::COUNT),
        payload_bytes: get.u64(at::BYTES),
        created: Span {
            min: UnixMillis::new(get.i64(at::MIN_CREATED)),
            max: UnixMillis::new(get.i64(at::MAX_CREATED)),
        },
        tokens: (get.u32(at::FLAGS) & HAS_TOKENS != 0).then_some(tokens),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let lifetime = Lifetime {
            gc_grace: Duration::from_secs(9),
            ttl: None,
        };
        let mut first = Entry::new(Profile::new(Namespace::from_u128(1), 12, lifetime));
        first.add(UnixMillis::new(5), 100, Some(-7));
        first.add(UnixMillis::new(3), 50, Some(9));
        let mut second = Entry::new(Profile {
            ttl_ms: 4,
            ..first.profile
        });
        second.add(UnixMillis::new(1), 1, None);
        vec![first, second]
    }

    #[test]
    fn a_table_reads_back() {
        let mut bytes = Vec::new();
        encode_table(&entries(), SegmentId::new(3), 512, &mut bytes);
        assert_eq!(bytes.len(), table_length(2));
        let read = decode_table(&bytes, SegmentId::new(3), 512).unwrap();
        assert_eq!(read, entries());
        assert_eq!(
            read[0].created,
            Span {
                min: UnixMillis::new(3),
                max: UnixMillis::new(5)
            }
        );
        assert_eq!(
            read[1].profile.lifetime().ttl,
            Some(Duration::from_millis(4))
        );
    }

    #[test]
    fn any_flipped_bit_and_any_other_place_is_seen() {
        let mut bytes = Vec::new();
        encode_table(&entries(), SegmentId::new(3), 512, &mut bytes);
        assert!(decode_table(&bytes, SegmentId::new(3), 1024).is_err());
        assert!(decode_table(&bytes, SegmentId::new(4), 512).is_err());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                decode_table(&bytes, SegmentId::new(3), 512).is_err(),
                "bit {bit}"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert!(
                decode_table(&bytes[..cut], SegmentId::new(3), 512).is_err(),
                "cut {cut}"
            );
        }
    }
}
