//! CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected, initial value and final xor all ones),
//! fast on inputs of the size of a hint.
//!
//! The `crc32c` crate runs one latency-bound stream below 768 bytes, which is where hints are. On
//! processors with SSE4.2 and PCLMULQDQ this runs several side by side, and has no set-up where an
//! input is short; everywhere else it is that crate. Why, and how much it is:
//! `docs/adr/2026-11-23-checksum-code.md`.
//!
//! ```
//! assert_eq!(hintstore_checksum::append(0, b"123456789"), 0xE306_9283);
//! ```

#[cfg(target_arch = "x86_64")]
mod x86_64;

use byteorder::{ByteOrder as _, LE};

/// The checksum of what `crc` covers, followed by `bytes`; 0 covers nothing.
#[inline]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(crc) = x86_64::append(crc, bytes) {
        return crc;
    }
    crc32c::crc32c_append(crc, bytes)
}

/// The checksums of four inputs, each followed by its tail (two words, little-endian), side by
/// side: takes little longer than one does, where they are short (up to about 512 bytes) and of
/// like length. What lies some KiB behind them is fetched at the same time, as it comes next in a file.
#[inline]
pub fn four(bytes: [&[u8]; 4], tails: [[u64; 2]; 4]) -> [u32; 4] {
    #[cfg(target_arch = "x86_64")]
    if let Some(crcs) = x86_64::four(bytes, tails) {
        return crcs;
    }
    let [a, b, c, d] = bytes;
    let [first, second, third, fourth] = tails;
    [one(a, first), one(b, second), one(c, third), one(d, fourth)]
}

fn one(bytes: &[u8], tail: [u64; 2]) -> u32 {
    let mut raw = [0; 16];
    LE::write_u64_into(&tail, &mut raw);
    append(append(0, bytes), &raw)
}

#[cfg(test)]
mod tests {
    use super::{append, four, one};

    /// Whichever way it takes here; each is tested beside its code.
    #[test]
    fn agrees_with_the_crate() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for length in (0..300).chain([5000]) {
            let input = &bytes[..length];
            let seed = length as u32 * 77;
            let expected = crc32c::crc32c_append(seed, input);
            assert_eq!(append(seed, input), expected, "{length} bytes");
        }
    }

    #[test]
    fn four_are_four_times_one() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..200 {
            let parts = [
                &bytes[..length],
                &bytes[7..50],
                &bytes[length..],
                &bytes[1..=length],
            ];
            let tails = [[3, length as u64], [u64::MAX, 4], [1 << 40, 0], [5, 6]];
            let expected = [0, 1, 2, 3].map(|n| one(parts[n], tails[n]));
            assert_eq!(four(parts, tails), expected, "{length}");
        }
    }

    #[test]
    fn parts_make_the_whole() {
        assert_eq!(append(0, b"123456789"), 0xE306_9283);
        assert_eq!(append(append(0, b"1234"), b"56789"), 0xE306_9283);
    }
}
