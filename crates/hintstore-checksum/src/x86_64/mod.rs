//! What this processor does best: the CRC-32C instruction alone, or beside carry-less
//! multiplication.
//!
//! Some processors take a step of the instruction each cycle, some one in three; so which code is
//! faster is not known before it runs. It is measured once, on the first call, in some
//! microseconds. The result is the same either way.

mod crc;
mod fold;
mod lanes;

use std::{hint::black_box, sync::OnceLock, time::Duration};

/// Below this, setting up costs more than it brings.
const FOLD_FROM: usize = 96;

/// A usual hint, in bytes.
const HINT: usize = 256;

/// Proof that the processor has the instructions.
#[derive(Clone, Copy, Debug)]
struct Able(());

#[expect(clippy::unused_self, reason = "having it is the proof")]
impl Able {
    fn ask() -> Option<Self> {
        let has_both = is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq");
        has_both.then_some(Self(()))
    }

    #[inline]
    fn one(self, fold: bool, state: u64, bytes: &[u8]) -> u32 {
        if fold {
            // SAFETY: the processor has the instructions, or there would be no `Able`.
            unsafe { fold::append(state, bytes) }
        } else {
            // SAFETY: as above.
            unsafe { crc::append(state, bytes) }
        }
    }

    #[inline]
    fn four(self, fold: bool, bytes: [&[u8]; 4], tails: [[u64; 2]; 4]) -> [u32; 4] {
        if fold {
            // SAFETY: the processor has the instructions, or there would be no `Able`.
            unsafe { lanes::four::<true>(bytes, tails) }
        } else {
            // SAFETY: as above.
            unsafe { lanes::four::<false>(bytes, tails) }
        }
    }
}

/// What is faster here.
#[derive(Clone, Copy, Debug)]
struct Choice {
    able: Able,
    /// For one input, folding half of it.
    fold_one: bool,
    /// For four inputs, folding two of them.
    fold_four: bool,
}

/// `None` where the processor lacks an instruction.
#[inline]
fn choice() -> Option<Choice> {
    static CHOICE: OnceLock<Option<Choice>> = OnceLock::new();
    *CHOICE.get_or_init(|| Able::ask().map(measure))
}

/// As [`crate::append`]; `None` where the processor lacks an instruction.
#[inline]
pub(crate) fn append(crc: u32, bytes: &[u8]) -> Option<u32> {
    let Choice { able, fold_one, .. } = choice()?;
    let fold = fold_one && bytes.len() >= FOLD_FROM;
    Some(!able.one(fold, u64::from(!crc), bytes))
}

/// As [`crate::four`]; `None` where the processor lacks an instruction.
#[inline]
pub(crate) fn four(bytes: [&[u8]; 4], tails: [[u64; 2]; 4]) -> Option<[u32; 4]> {
    let choice = choice()?;
    Some(choice.able.four(choice.fold_four, bytes, tails))
}

#[cold]
fn measure(able: Able) -> Choice {
    // As long as usual hints, and what is fetched ahead of them is there.
    let memory = vec![0x5a; HINT + lanes::AHEAD];
    let input = memory.get(..HINT).unwrap_or_default();
    let one = |fold| move || able.one(fold, 1, black_box(input));
    let four = |fold| move || able.four(fold, black_box([input; 4]), [[0; 2]; 4]);
    Choice {
        able,
        fold_one: is_faster(one(true), one(false)),
        fold_four: is_faster(four(true), four(false)),
    }
}

/// Whether the first is clearly faster than the second, by the fastest of some runs.
fn is_faster<T>(first: impl Fn() -> T, second: impl Fn() -> T) -> bool {
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..8 {
        ours = ours.min(time(&first));
        theirs = theirs.min(time(&second));
    }
    ours * 10 < theirs * 9
}

fn time<T>(run: impl Fn() -> T) -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "no decision of a store hangs on it"
    )]
    let begun = std::time::Instant::now();
    for _ in 0..8 {
        black_box(run());
    }
    begun.elapsed()
}

#[cfg(test)]
mod tests {
    use byteorder::{ByteOrder as _, LE};

    use super::*;

    fn able() -> Option<Able> {
        let able = Able::ask();
        if able.is_none() {
            eprintln!("skipped: this processor lacks SSE4.2 or PCLMULQDQ");
            assert!(std::env::var_os("CI").is_none(), "skipped under CI");
        }
        able
    }

    /// This machine runs one of each two; both are right.
    #[test]
    fn either_way_agrees_with_the_crate() {
        let Some(able) = able() else { return };
        let bytes: Vec<u8> = (0..9000u32)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for length in (0..2200).chain([4097, 6500, 8990]) {
            for from in [0, 1, 5, 8] {
                let input = &bytes[from..from + length];
                let seed = length as u32 * 77;
                let expected = crc32c::crc32c_append(seed, input);
                let found = [false, true].map(|fold| !able.one(fold, u64::from(!seed), input));
                assert_eq!(found, [expected; 2], "{length} bytes from {from}");
            }
        }
    }

    #[test]
    fn four_either_way_agree_with_the_crate() {
        let Some(able) = able() else { return };
        let bytes: Vec<u8> = (0..700u32).map(|number| (number * 77) as u8).collect();
        for length in 0..600 {
            let others = [length / 2 + 40, 600 - length, length + 3].map(|end| &bytes[..end]);
            let parts = [&bytes[9..9 + length], others[0], others[1], others[2]];
            let tails = [[3, length as u64], [u64::MAX, 4], [1 << 40, 0], [5, 6]];
            let expected = [0, 1, 2, 3].map(|lane: usize| {
                let mut tail = [0; 16];
                LE::write_u64_into(&tails[lane], &mut tail);
                crc32c::crc32c_append(crc32c::crc32c(parts[lane]), &tail)
            });
            let found = [false, true].map(|fold| able.four(fold, parts, tails));
            assert_eq!(found, [expected; 2], "{length}");
        }
    }
}
