//! Folding: 16 bytes at a time are multiplied past the 16 that follow, and added to them. What is
//! left in the end has the same remainder as the whole.
//!
//! V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction",
//! Intel, 2009.

use core::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_crc32_u64, _mm_cvtsi64_si128, _mm_cvtsi128_si64,
    _mm_extract_epi64, _mm_set_epi64x, _mm_xor_si128,
};

use byteorder::{ByteOrder as _, LE};

use super::crc::{self, multiply, power};

/// Bytes that are folded in one step.
pub(super) const STEP: usize = 16;
/// Half of what is joined at once, in steps.
const STEPS_MAX: usize = 64;

/// [`power`] of this number of steps.
static POWERS: [u64; STEPS_MAX + 1] = {
    let mut powers = [0; STEPS_MAX + 1];
    let mut steps = 1;
    while steps <= STEPS_MAX {
        #[expect(clippy::indexing_slicing, reason = "const; the loop bounds it")]
        {
            powers[steps] = power(STEP * steps);
        }
        steps += 1;
    }
    powers
};

/// What a state of all ones is before 16 bytes that were all zero.
pub(super) const ONES: u64 = {
    let (mut state, mut bits) = (0xffff_ffff_u64, 0);
    while bits < 64 {
        state = if state & 0x8000_0000 == 0 {
            state << 1
        } else {
            ((state ^ crc::POLYNOMIAL) << 1) | 1
        };
        bits += 1;
    }
    state
};

#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub(super) fn load(chunk: &[u8; STEP]) -> __m128i {
    let both = LE::read_u128(chunk);
    _mm_set_epi64x(
        ((both >> 64) as u64).cast_signed(),
        (both as u64).cast_signed(),
    )
}

/// Moves `folded` past a chunk, and adds it.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub(super) fn step(folded: __m128i, chunk: &[u8; STEP]) -> __m128i {
    let by = _mm_set_epi64x(
        const { power(STEP).cast_signed() },
        const { power(STEP + 8).cast_signed() },
    );
    let first = _mm_clmulepi64_si128::<0x00>(folded, by);
    let second = _mm_clmulepi64_si128::<0x11>(folded, by);
    _mm_xor_si128(_mm_xor_si128(first, load(chunk)), second)
}

/// The state behind all that was folded.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub(super) fn state(folded: __m128i) -> u64 {
    let first = _mm_crc32_u64(0, _mm_cvtsi128_si64(folded).cast_unsigned());
    _mm_crc32_u64(first, _mm_extract_epi64::<1>(folded).cast_unsigned())
}

/// Folds the first half while the instruction takes the second.
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub(super) fn append(mut state: u64, mut bytes: &[u8]) -> u32 {
    loop {
        let steps = (bytes.len() / (2 * STEP)).min(STEPS_MAX);
        let (halves, rest) = bytes.split_at(2 * STEP * steps);
        let (first, second) = halves.split_at(STEP * steps);
        let (Some((head, first)), second) = (
            first.as_chunks::<STEP>().0.split_first(),
            second.as_chunks::<STEP>().0,
        ) else {
            return crc::one(state, bytes);
        };
        let Some((second_head, second)) = second.split_first() else {
            return crc::one(state, bytes);
        };
        let mut folded = _mm_xor_si128(load(head), _mm_cvtsi64_si128(state.cast_signed()));
        let mut other = crc::step(0, second_head);
        for (first, second) in first.iter().zip(second) {
            folded = step(folded, first);
            other = crc::step(other, second);
        }
        let power = POWERS.get(steps).copied().unwrap_or_default();
        let moved = multiply(self::state(folded), power);
        state = _mm_crc32_u64(0, _mm_cvtsi128_si64(moved).cast_unsigned()) ^ other;
        bytes = rest;
    }
}
