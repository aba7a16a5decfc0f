//! Work on many files, several at once: a disk takes several requests, and one thread waits for each.

use std::{panic::resume_unwind, thread};

/// How many are worked on at once. More than there are cores: most of the time is waiting.
const AT_ONCE: usize = 8;

/// Threads cost more than this many small files do.
const SHARE_MIN: usize = 32;

/// Does something with each, and gives what came of them in their order. A panic in one is a panic here.
pub(crate) fn side_by_side<T: Sync, R: Send>(each: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let share = each.len().div_ceil(AT_ONCE).max(SHARE_MIN);
    let work = &work;
    if each.len() <= share {
        return each.iter().map(work).collect();
    }
    thread::scope(|scope| {
        let threads: Vec<_> = each
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().map(work).collect::<Vec<R>>()))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_of_each_is_in_order() {
        for count in [0, 1, 32, 33, 1000] {
            let each: Vec<usize> = (0..count).collect();
            let doubled = side_by_side(&each, |number| number * 2);
            assert_eq!(
                doubled,
                (0..count).map(|number| number * 2).collect::<Vec<_>>()
            );
        }
    }
}
