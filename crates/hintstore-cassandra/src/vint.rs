//! Cassandra's unsigned variable-length integers: the leading ones of the first byte say how many
//! bytes follow.

/// Reads one at the start of `bytes`; gives the value and its length.
pub fn read_unsigned(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let extra = first.leading_ones() as usize;
    let mut value = if extra >= 7 {
        0
    } else {
        u64::from(first) & (0xff >> (extra + 1))
    };
    for byte in bytes.get(1..=extra)? {
        value = value << 8 | u64::from(*byte);
    }
    Some((value, extra + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_the_reference_read_back() {
        let samples: [(u64, &[u8]); 9] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 0x80]),
            (16_383, &[0xbf, 0xff]),
            (16_384, &[0xc0, 0x40, 0]),
            (864_000, &[0xcd, 0x2f, 0]),
            (2_147_483_647, &[0xf0, 0x7f, 0xff, 0xff, 0xff]),
            (
                (1 << 56) - 1,
                &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ),
            (1 << 56, &[0xff, 1, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (value, bytes) in samples {
            assert_eq!(read_unsigned(bytes), Some((value, bytes.len())));
            assert_eq!(read_unsigned(&bytes[..bytes.len() - 1]), None, "{value}");
        }
        assert_eq!(read_unsigned(&[0xff; 9]), Some((u64::MAX, 9)));
    }
}
