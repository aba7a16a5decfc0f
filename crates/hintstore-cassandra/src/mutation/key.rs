//! Partition keys: their parts, and where they lie on the ring.

use byteorder::{BE, ByteOrder as _, LE};

use crate::schema::Table;

/// The values of the columns of a partition key; `None` if the key is not made of that number.
pub fn key_parts<'a>(table: &Table, key: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    if table.partition_key.len() == 1 {
        return Some(vec![key]);
    }
    let mut parts = Vec::new();
    let mut rest = key;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(BE::read_u16(length));
        parts.push(behind.get(..length)?);
        // One byte ends a part.
        rest = behind.get(length + 1..)?;
    }
    (parts.len() == table.partition_key.len() && rest.is_empty()).then_some(parts)
}

/// The token of a key under `Murmur3Partitioner`.
///
/// Almost `MurmurHash3_x64_128`: the bytes of the tail are taken as signed, and what nodes have
/// written with that stays.
pub fn token(key: &[u8]) -> i64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    if key.is_empty() {
        return i64::MIN;
    }
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mut blocks = key.chunks_exact(16);
    for block in &mut blocks {
        let (first, second) = block.split_at(8);
        h1 ^= mix1(LE::read_u64(first));
        h1 = h1.rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(LE::read_u64(second));
        h2 = h2.rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (mut k1, mut k2) = (0_u64, 0_u64);
    for (place, byte) in blocks.remainder().iter().enumerate() {
        let signed = i64::from(byte.cast_signed()).cast_unsigned();
        if place < 8 {
            k1 ^= signed << (8 * place);
        } else {
            k2 ^= signed << (8 * (place - 8));
        }
    }
    h1 ^= mix1(k1);
    h2 ^= mix2(k2);
    h1 ^= key.len() as u64;
    h2 ^= key.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    let token = fmix(h1).wrapping_add(fmix(h2)).cast_signed();
    // The least token is that of no key.
    if token == i64::MIN { i64::MAX } else { token }
}

fn fmix(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ k >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and tokens as Cassandra itself gives them.
    #[test]
    fn tokens_are_cassandras() {
        let mut id = [0; 16];
        BE::write_u128(&mut id, 0xbb35_0a36_ffd8_4ee8_8c27_88a8_5d90_4a7d);
        assert_eq!(token(&id), -1_661_767_785_354_356_010);
        assert_eq!(token(&[]), i64::MIN);
    }
}
