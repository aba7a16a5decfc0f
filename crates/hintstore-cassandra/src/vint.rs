//! Cassandra's unsigned variable-length integers: the leading ones of the first byte say how many
//! bytes follow.

use byteorder::{BE, ByteOrder as _};

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

/// Adds one to `out`, in as few bytes as it needs.
pub(crate) fn write_unsigned(value: u64, out: &mut Vec<u8>) {
    let bits = 64 - (value | 1).leading_zeros();
    // Each byte behind the first takes one bit of the first.
    let extra = ((bits - 1) / 7).min(8);
    let mut word = [0; 9];
    BE::write_u64(&mut word[1..], value);
    let ones = !(0xff_u8.checked_shr(extra).unwrap_or(0));
    let from = 8 - extra as usize;
    if let Some(first) = word.get_mut(from) {
        *first |= ones;
    }
    out.extend_from_slice(word.get(from..).unwrap_or_default());
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
            let mut written = Vec::new();
            write_unsigned(value, &mut written);
            assert_eq!(written, bytes);
            assert_eq!(read_unsigned(&bytes[..bytes.len() - 1]), None, "{value}");
        }
        assert_eq!(read_unsigned(&[0xff; 9]), Some((u64::MAX, 9)));
    }
}
