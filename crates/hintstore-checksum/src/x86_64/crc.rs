//! The CRC-32C instruction: one stream, or three where there is enough for three.
//!
//! Where the instruction takes a step each cycle and gives its result after three, three streams
//! cost what one does. Their checksums are joined by moving the first two past what follows them:
//! a multiplication by a power of x modulo the polynomial, without carries.

use core::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u64, _mm_cvtsi64_si128,
    _mm_cvtsi128_si64, _mm_xor_si128,
};

use byteorder::{ByteOrder as _, LE};

/// Bytes of each of three streams, largest first.
const LONG: usize = 1024;
const MIDDLE: usize = 256;
const SHORT: usize = 64;

pub(super) const POLYNOMIAL: u64 = 0x82F6_3B78;

/// Takes 16 bytes.
#[inline]
#[target_feature(enable = "sse4.2")]
pub(super) fn step(state: u64, chunk: &[u8; 16]) -> u64 {
    let both = LE::read_u128(chunk);
    _mm_crc32_u64(_mm_crc32_u64(state, both as u64), (both >> 64) as u64)
}

/// One stream.
#[inline]
#[target_feature(enable = "sse4.2")]
pub(super) fn one(mut state: u64, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = _mm_crc32_u64(state, LE::read_u64(word));
    }
    let mut state = state as u32;
    for byte in rest {
        state = _mm_crc32_u8(state, *byte);
    }
    state
}

/// Three streams from 192 bytes up, one below.
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub(super) fn append(state: u64, bytes: &[u8]) -> u32 {
    let (state, rest) = three::<LONG>(state, bytes);
    let (state, rest) = three::<MIDDLE>(state, rest);
    let (state, rest) = three::<SHORT>(state, rest);
    one(state, rest)
}

/// Takes three times `N` bytes at once as often as there are that number; gives what is left.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn three<const N: usize>(mut state: u64, mut bytes: &[u8]) -> (u64, &[u8]) {
    while let Some((streams, rest)) = bytes.split_at_checked(3 * N) {
        let (first, later) = streams.split_at(N);
        let (second, third) = later.split_at(N);
        let words = first.as_chunks::<8>().0.iter();
        let words = words.zip(second.as_chunks::<8>().0);
        let (mut b, mut c) = (0, 0);
        for ((first, second), third) in words.zip(third.as_chunks::<8>().0) {
            state = _mm_crc32_u64(state, LE::read_u64(first));
            b = _mm_crc32_u64(b, LE::read_u64(second));
            c = _mm_crc32_u64(c, LE::read_u64(third));
        }
        let moved = _mm_xor_si128(
            multiply(state, const { power(2 * N) }),
            multiply(b, const { power(N) }),
        );
        state = _mm_crc32_u64(0, _mm_cvtsi128_si64(moved).cast_unsigned()) ^ c;
        bytes = rest;
    }
    (state, bytes)
}

#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub(super) fn multiply(state: u64, by: u64) -> __m128i {
    let vector = |word: u64| _mm_cvtsi64_si128(word.cast_signed());
    _mm_clmulepi64_si128::<0>(vector(state), vector(by))
}

/// What moves a checksum past `bytes` bytes: x to the number of their bits modulo the polynomial,
/// less the 33 that the product and the instruction which reduces it add.
pub(super) const fn power(bytes: usize) -> u64 {
    let mut power = 0x8000_0000;
    let mut left = 8 * bytes - 33;
    while left > 0 {
        power = (power >> 1) ^ (POLYNOMIAL * (power & 1));
        left -= 1;
    }
    power
}
