//! Which records of a file a reader gave: numbers in our own walk over it, which goes along.

use std::{collections::HashMap, io};

use crate::{
    read_at::ReadAt,
    record::{Item, Records},
};

/// Numbers of records, in the order in which a reader gives them. Runs of neighbours take no more
/// memory than one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    runs: Vec<(i64, u64)>,
    count: u64,
}

impl Given {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The numbers; -1 for a record that our own walk does not find.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        self.runs.iter().flat_map(|(first, count)| {
            let step = i64::from(*first >= 0);
            (0..count.cast_signed()).map(move |number| first + number * step)
        })
    }

    fn push(&mut self, number: i64) {
        self.count += 1;
        if let Some((first, count)) = self.runs.last_mut() {
            let next = if *first < 0 {
                *first
            } else {
                *first + count.cast_signed()
            };
            if next == number {
                *count += 1;
                return;
            }
        }
        self.runs.push((number, 1));
    }
}

impl FromIterator<i64> for Given {
    fn from_iter<I: IntoIterator<Item = i64>>(numbers: I) -> Self {
        let mut given = Self::default();
        for number in numbers {
            given.push(number);
        }
        given
    }
}

/// A record that was given and is not where our walk stands.
struct Missing {
    /// Which of those given it is.
    order: u64,
    position: u64,
    crc: u32,
    number: Option<i64>,
}

/// Finds the numbers of records, while a reader gives them.
pub(super) struct Finder<R> {
    records: Records<R>,
    /// The last record of our walk: its position, checksum and number.
    here: Option<(u64, u32, i64)>,
    given: Given,
    missing: Vec<Missing>,
}

impl<R: ReadAt> Finder<R> {
    /// A finder that walks along.
    pub(super) fn new(records: Records<R>) -> Self {
        Self {
            records,
            here: None,
            given: Given::default(),
            missing: Vec::new(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.given.count
    }

    /// A reader gave a record.
    pub(super) fn give(&mut self, position: u64, crc: u32) -> io::Result<()> {
        while self.here.is_none_or(|(here, ..)| here < position) {
            match intact(&mut self.records)? {
                Some(next) => self.here = Some(next),
                None => break,
            }
        }
        let number = match self.here {
            Some((here, with, number)) if (here, with) == (position, crc) => number,
            _ => {
                self.missing.push(Missing {
                    order: self.given.count,
                    position,
                    crc,
                    number: None,
                });
                -1
            }
        };
        self.given.push(number);
        Ok(())
    }

    /// The numbers of the first `count`. Behind damage the positions of a reader need not be ours,
    /// and one that goes round gives what our walk has passed: `again` finds those by position, or
    /// else by checksum.
    pub(super) fn finish(self, count: u64, again: Records<R>) -> io::Result<Given> {
        let Self {
            given, mut missing, ..
        } = self;
        missing.retain(|one| one.order < count);
        if !missing.is_empty() {
            find(&mut missing, again)?;
        }
        let mut missing = missing.into_iter().peekable();
        let numbers = given.iter().zip(0..count).map(|(number, order)| {
            let found = missing.next_if(|one| one.order == order);
            found.and_then(|one| one.number).unwrap_or(number)
        });
        Ok(numbers.collect())
    }
}

/// Finds the numbers of what is missing, which is in order again afterwards.
fn find<R: ReadAt>(missing: &mut [Missing], mut records: Records<R>) -> io::Result<()> {
    let mut with: HashMap<u32, Option<i64>> = HashMap::new();
    with.extend(missing.iter().map(|one| (one.crc, None)));
    missing.sort_by_key(|one| one.position);
    let mut rest = missing.iter_mut().peekable();
    while let Some((position, crc, number)) = intact(&mut records)? {
        if let Some(first) = with.get_mut(&crc) {
            first.get_or_insert(number);
        }
        while let Some(one) = rest.next_if(|one| one.position <= position) {
            if (one.position, one.crc) == (position, crc) {
                one.number = Some(number);
            }
        }
    }
    for one in &mut *missing {
        one.number = one.number.or_else(|| with.get(&one.crc).copied().flatten());
    }
    missing.sort_by_key(|one| one.order);
    Ok(())
}

/// Position, checksum and number of the next intact record.
fn intact<R: ReadAt>(records: &mut Records<R>) -> io::Result<Option<(u64, u32, i64)>> {
    while let Some(item) = records.next_item()? {
        if let Item::Intact { index, position } = item {
            return Ok(Some((position, records.crc(), index.cast_signed())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were_given() {
        for numbers in [vec![], vec![0, 1, 2, 5, 6, -1, -1, 0, 7], vec![-1, 0, 1, 1]] {
            let given: Given = numbers.iter().copied().collect();
            assert_eq!(given.count(), numbers.len() as u64);
            assert_eq!(given.iter().collect::<Vec<_>>(), numbers);
        }
        assert_eq!((0..1000).collect::<Given>().runs.len(), 1);
    }
}
