//! The CRC-32C instruction, three streams side by side where there is enough for three.
//!
//! The instruction takes a step each cycle and gives its result after three, so that three streams
//! cost what one does. Their checksums are joined by moving the first two past what follows them:
//! a multiplication by a power of x modulo the polynomial, without carries.

use core::arch::x86_64::{
    __m128i, _MM_HINT_T0, _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u64, _mm_cvtsi64_si128,
    _mm_cvtsi128_si64, _mm_prefetch, _mm_xor_si128,
};

use byteorder::{ByteOrder as _, LE};

/// Bytes of each of three streams, largest first.
const LONG: usize = 1024;
const MIDDLE: usize = 256;
const SHORT: usize = 64;

/// Bytes of a line of the cache.
const LINE: usize = 64;
/// So far ahead the inputs of [`side_by_side`] are fetched, which are one file most of the time.
const AHEAD: usize = 6144;

/// As [`crate::append`]; `None` where the processor lacks an instruction.
#[inline]
pub(crate) fn append(crc: u32, bytes: &[u8]) -> Option<u32> {
    if !is_x86_feature_detected!("sse4.2") || !is_x86_feature_detected!("pclmulqdq") {
        return None;
    }
    let state = u64::from(!crc);
    let state = if bytes.len() < 3 * SHORT {
        // SAFETY: the processor has the instructions, as was asked right above.
        unsafe { one(state, bytes) }
    } else {
        // SAFETY: as above.
        unsafe { three(state, bytes) }
    };
    Some(!state)
}

/// As [`crate::three`]; `None` where the processor lacks the instruction.
#[inline]
pub(crate) fn side_by_side(bytes: [&[u8]; 3], tails: [[u64; 2]; 3]) -> Option<[u32; 3]> {
    if !is_x86_feature_detected!("sse4.2") {
        return None;
    }
    // SAFETY: the processor has the instruction, as was asked right above.
    Some(unsafe { three_inputs(bytes, tails) })
}

// No closures here: they would have the feature, and what calls them would not.
#[target_feature(enable = "sse4.2")]
fn three_inputs([first, second, third]: [&[u8]; 3], tails: [[u64; 2]; 3]) -> [u32; 3] {
    let mut states = [u64::from(!0_u32); 3];
    let shortest = first.len().min(second.len()).min(third.len());
    let (first, first_rest) = first.split_at(shortest & !7);
    let (second, second_rest) = second.split_at(shortest & !7);
    let (third, third_rest) = third.split_at(shortest & !7);
    let (first_lines, first) = first.as_chunks::<LINE>();
    let (second_lines, second) = second.as_chunks::<LINE>();
    let (third_lines, third) = third.as_chunks::<LINE>();
    for ((first, second), third) in first_lines.iter().zip(second_lines).zip(third_lines) {
        prefetch(first);
        prefetch(second);
        prefetch(third);
        states = words(states, first, second, third);
    }
    let [mut a, mut b, mut c] = words(states, first, second, third);
    a = u64::from(one(a, first_rest));
    b = u64::from(one(b, second_rest));
    c = u64::from(one(c, third_rest));
    let [first, second, third] = tails;
    for ((first, second), third) in first.into_iter().zip(second).zip(third) {
        a = _mm_crc32_u64(a, first);
        b = _mm_crc32_u64(b, second);
        c = _mm_crc32_u64(c, third);
    }
    [!(a as u32), !(b as u32), !(c as u32)]
}

/// Takes three inputs of the same whole number of words.
#[inline]
#[target_feature(enable = "sse4.2")]
fn words([mut a, mut b, mut c]: [u64; 3], first: &[u8], second: &[u8], third: &[u8]) -> [u64; 3] {
    let words = first.as_chunks::<8>().0.iter();
    let words = words.zip(second.as_chunks::<8>().0);
    for ((first, second), third) in words.zip(third.as_chunks::<8>().0) {
        a = _mm_crc32_u64(a, LE::read_u64(first));
        b = _mm_crc32_u64(b, LE::read_u64(second));
        c = _mm_crc32_u64(c, LE::read_u64(third));
    }
    [a, b, c]
}

/// Has the processor fetch what lies [`AHEAD`] of this line. Its own prefetcher stops at the end of each page.
#[inline]
fn prefetch(line: &[u8; LINE]) {
    let ahead = line.as_ptr().wrapping_add(AHEAD);
    // SAFETY: a prefetch reads nothing that the program sees, and no address is wrong for it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
}

#[inline]
#[target_feature(enable = "sse4.2")]
fn one(mut state: u64, bytes: &[u8]) -> u32 {
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

#[target_feature(enable = "sse4.2,pclmulqdq")]
fn three(state: u64, bytes: &[u8]) -> u32 {
    let (state, rest) = fold::<LONG>(state, bytes);
    let (state, rest) = fold::<MIDDLE>(state, rest);
    let (state, rest) = fold::<SHORT>(state, rest);
    one(state, rest)
}

/// Takes three times `N` bytes at once as often as there are so many; gives what is left.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn fold<const N: usize>(mut state: u64, mut bytes: &[u8]) -> (u64, &[u8]) {
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
fn multiply(state: u64, by: u64) -> __m128i {
    let vector = |word: u64| _mm_cvtsi64_si128(word.cast_signed());
    _mm_clmulepi64_si128::<0>(vector(state), vector(by))
}

/// What moves a checksum past `bytes` bytes: x to the number of their bits modulo the polynomial,
/// less the 33 that the product and the instruction which reduces it add.
const fn power(bytes: usize) -> u64 {
    const POLYNOMIAL: u64 = 0x82F6_3B78;
    let mut power = 0x8000_0000;
    let mut left = 8 * bytes - 33;
    while left > 0 {
        power = (power >> 1) ^ (POLYNOMIAL * (power & 1));
        left -= 1;
    }
    power
}
