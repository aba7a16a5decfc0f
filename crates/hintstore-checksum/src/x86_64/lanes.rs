//! Four inputs side by side.

use core::arch::x86_64::{__m128i, _MM_HINT_T0, _mm_crc32_u64, _mm_prefetch, _mm_set_epi64x};

use super::{
    crc,
    fold::{self, STEP},
};

/// Bytes of a line of the cache.
const LINE: usize = 64;
/// So far ahead the inputs are fetched, which are one file most of the time.
pub(super) const AHEAD: usize = 6144;

/// All four by the instruction, or the last two folded.
#[derive(Clone, Copy)]
struct Lanes {
    states: [u64; 4],
    folded: [__m128i; 2],
}

// No closures here: they would have the feature, and what calls them would not.
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub(super) fn four<const FOLD: bool>(
    [first, second, third, fourth]: [&[u8]; 4],
    tails: [[u64; 2]; 4],
) -> [u32; 4] {
    let shorter = first.len().min(second.len());
    let shortest = shorter.min(third.len()).min(fourth.len()) & !(STEP - 1);
    let (first, first_rest) = first.split_at(shortest);
    let (second, second_rest) = second.split_at(shortest);
    let (third, third_rest) = third.split_at(shortest);
    let (fourth, fourth_rest) = fourth.split_at(shortest);
    let (first_lines, first) = first.as_chunks::<LINE>();
    let (second_lines, second) = second.as_chunks::<LINE>();
    let (third_lines, third) = third.as_chunks::<LINE>();
    let (fourth_lines, fourth) = fourth.as_chunks::<LINE>();
    let ones = _mm_set_epi64x(const { fold::ONES.cast_signed() }, 0);
    let mut lanes = Lanes {
        states: [u64::from(!0_u32); 4],
        folded: [ones; 2],
    };
    let lines = first_lines.iter().zip(second_lines);
    let lines = lines.zip(third_lines.iter().zip(fourth_lines));
    for ((first, second), (third, fourth)) in lines {
        prefetch(first);
        prefetch(second);
        prefetch(third);
        prefetch(fourth);
        lanes = steps::<FOLD>(lanes, first, second, third, fourth);
    }
    lanes = steps::<FOLD>(lanes, first, second, third, fourth);
    let [a, b, mut c, mut d] = lanes.states;
    if FOLD {
        [c, d] = [fold::state(lanes.folded[0]), fold::state(lanes.folded[1])];
    }
    let [first, second, third, fourth] = tails;
    [
        end(a, first_rest, first),
        end(b, second_rest, second),
        end(c, third_rest, third),
        end(d, fourth_rest, fourth),
    ]
}

/// Takes four inputs of the same whole number of steps.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn steps<const FOLD: bool>(
    lanes: Lanes,
    first: &[u8],
    second: &[u8],
    third: &[u8],
    fourth: &[u8],
) -> Lanes {
    let [mut a, mut b, mut c, mut d] = lanes.states;
    let [mut x, mut y] = lanes.folded;
    let front = first
        .as_chunks::<STEP>()
        .0
        .iter()
        .zip(second.as_chunks::<STEP>().0);
    let back = third
        .as_chunks::<STEP>()
        .0
        .iter()
        .zip(fourth.as_chunks::<STEP>().0);
    for ((first, second), (third, fourth)) in front.zip(back) {
        a = crc::step(a, first);
        b = crc::step(b, second);
        if FOLD {
            x = fold::step(x, third);
            y = fold::step(y, fourth);
        } else {
            c = crc::step(c, third);
            d = crc::step(d, fourth);
        }
    }
    Lanes {
        states: [a, b, c, d],
        folded: [x, y],
    }
}

/// Takes what is left of an input, and its tail.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn end(state: u64, rest: &[u8], [first, second]: [u64; 2]) -> u32 {
    let state = u64::from(crc::one(state, rest));
    !(_mm_crc32_u64(_mm_crc32_u64(state, first), second) as u32)
}

/// Has the processor fetch what lies [`AHEAD`] of this line. Its own prefetcher stops at the end of each page.
#[inline]
fn prefetch(line: &[u8; LINE]) {
    let ahead = line.as_ptr().wrapping_add(AHEAD);
    // SAFETY: a prefetch reads nothing that the program sees, and no address is wrong for it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
}
