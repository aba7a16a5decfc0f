//! A mutation, update by update, row by row, cell by cell.
//!
//! Types are not in the bytes, and a row cannot be passed over without them: decoding needs the
//! schema. What is given to the visitor is what Cassandra's reader makes of the bytes: cells of
//! dropped columns and those that a deletion in the same row covers are left out.

use crate::schema::{Column, Schema, Table};

use super::{
    input::{Decoded, Input, Stop, wrong},
    visit::{Bound, Cell, Clustering, Deletion, Liveness, Update, Visit},
};

/// Microseconds and seconds from which times are counted: 2015-09-22.
pub(crate) const TIMESTAMP_EPOCH: i64 = 1_442_880_000_000_000;
const DELETION_EPOCH: i64 = 1_442_880_000;

/// What `markedForDeleteAt` is where nothing is deleted, and a row's timestamp where it has none.
const NONE: i64 = i64::MIN;
/// What a deletion time is that does not read back: Cassandra's own word for it.
const INVALID: i64 = 0xffff_fffe;
const DELETION_MAX: i64 = 0xffff_fffd;
/// A deletion time that means none.
const NO_DELETION: i64 = i64::MAX;
/// A TTL that marks a row as expired.
const EXPIRED_TTL: i32 = i32::MAX;
/// The longest value that is read: `max_value_size` as it is delivered.
const VALUE_MAX: usize = 256 << 20;

mod flag {
    pub(super) const IS_EMPTY: u8 = 0x01;
    pub(super) const HAS_PARTITION_DELETION: u8 = 0x04;
    pub(super) const HAS_STATIC_ROW: u8 = 0x08;
    pub(super) const HAS_ROW_ESTIMATE: u8 = 0x10;

    pub(super) const END_OF_PARTITION: u8 = 0x01;
    pub(super) const IS_MARKER: u8 = 0x02;
    pub(super) const HAS_TIMESTAMP: u8 = 0x04;
    pub(super) const HAS_TTL: u8 = 0x08;
    pub(super) const HAS_DELETION: u8 = 0x10;
    pub(super) const HAS_ALL_COLUMNS: u8 = 0x20;
    pub(super) const HAS_COMPLEX_DELETION: u8 = 0x40;
    pub(super) const EXTENSION: u8 = 0x80;

    pub(super) const IS_STATIC: u8 = 0x01;
    pub(super) const IS_SHADOWABLE: u8 = 0x02;

    pub(super) const CELL_DELETED: u8 = 0x01;
    pub(super) const CELL_EXPIRING: u8 = 0x02;
    pub(super) const CELL_EMPTY: u8 = 0x04;
    pub(super) const CELL_ROW_TIMESTAMP: u8 = 0x08;
    pub(super) const CELL_ROW_TTL: u8 = 0x10;
}

/// Decodes the mutation at the start of `input`, and leaves it where the mutation ends.
pub(crate) fn mutation<'a>(
    input: &mut Input<'a>,
    schema: &'a Schema,
    unsigned_times: bool,
    visit: &mut impl Visit<'a>,
) -> Decoded<()> {
    let count = input.vint32()?;
    let mut decoder = Decoder {
        unsigned_times,
        regulars: Vec::new(),
        statics: Vec::new(),
        clustering: Vec::new(),
        open: None,
        stats: Stats::default(),
    };
    let mut tables = Vec::new();
    // Cassandra reads one even where the number says none.
    for _ in 0..count.max(1) {
        let table = decoder.update(input, schema, visit)?;
        if count != 1 && tables.contains(&table) {
            return wrong("two updates of one table");
        }
        if count != 1 {
            tables.push(table);
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Stats {
    timestamp: i64,
    deletion: i64,
    ttl: i32,
}

struct Decoder<'a> {
    unsigned_times: bool,
    regulars: Vec<&'a Column>,
    statics: Vec<&'a Column>,
    clustering: Vec<Option<&'a [u8]>>,
    /// The deletion of the range that is open.
    open: Option<Deletion>,
    stats: Stats,
}

/// Which of the columns a row has.
enum Subset {
    All,
    Bitmap(u64),
    Listed(Vec<usize>),
}

impl<'a> Decoder<'a> {
    fn update(
        &mut self,
        input: &mut Input<'a>,
        schema: &'a Schema,
        visit: &mut impl Visit<'a>,
    ) -> Decoded<[u8; 16]> {
        let id = input.id()?;
        let table = schema.table(&id).ok_or(Stop::Table(id))?;
        let key = input.sized()?;
        let flags = input.byte()?;
        if flags & flag::IS_EMPTY != 0 {
            visit.update(&Update {
                table,
                key,
                deletion: None,
            });
            visit.update_end();
            return Ok(id);
        }
        self.stats = Stats {
            timestamp: TIMESTAMP_EPOCH.wrapping_add(input.vint()?.cast_signed()),
            deletion: DELETION_EPOCH + i64::from(input.vint32()?),
            ttl: input.vint32()?,
        };
        let has_static = flags & flag::HAS_STATIC_ROW != 0;
        self.statics.clear();
        if has_static {
            columns(input, table, &mut self.statics)?;
        }
        self.regulars.clear();
        columns(input, table, &mut self.regulars)?;
        let mut deletion = None;
        if flags & flag::HAS_PARTITION_DELETION != 0 {
            deletion = self.deletion(input)?.not_none();
        }
        visit.update(&Update {
            table,
            key,
            deletion,
        });
        if has_static {
            let flags = input.byte()?;
            let extension = input.byte()?;
            visit.static_row();
            self.row(input, table, flags, extension, visit)?;
            visit.row_end();
        }
        if flags & flag::HAS_ROW_ESTIMATE != 0 {
            input.vint32()?;
        }
        self.open = None;
        match self.rows(input, table, visit) {
            // What is no more than a torn tail elsewhere is an error here.
            Err(Stop::End) => return wrong("the bytes end inside the rows"),
            done => done?,
        }
        visit.update_end();
        Ok(id)
    }

    fn rows(
        &mut self,
        input: &mut Input<'a>,
        table: &'a Table,
        visit: &mut impl Visit<'a>,
    ) -> Decoded<()> {
        loop {
            let flags = input.byte()?;
            if flags & flag::END_OF_PARTITION != 0 {
                return Ok(());
            }
            let extension = if flags & flag::EXTENSION != 0 {
                input.byte()?
            } else {
                0
            };
            if flags & flag::IS_MARKER != 0 {
                self.marker(input, table, visit)?;
                continue;
            }
            if extension & flag::IS_STATIC != 0 {
                return wrong("a static row among the rows");
            }
            self.clustering(input, table, table.clustering.len())?;
            visit.row(Clustering {
                table,
                values: &self.clustering,
            });
            self.row(input, table, flags, extension, visit)?;
            visit.row_end();
        }
    }

    /// The values of a clustering, `count` of them.
    fn clustering(&mut self, input: &mut Input<'a>, table: &'a Table, count: usize) -> Decoded<()> {
        self.clustering.clear();
        let mut header = 0;
        for index in 0..count {
            if index % 32 == 0 {
                header = input.vint()?;
            }
            let bits = header >> (2 * (index % 32)) & 3;
            let value = if bits & 2 != 0 {
                None
            } else if bits & 1 != 0 {
                Some(&[][..])
            } else {
                let Some(column) = table.clustering.get(index) else {
                    return wrong("more clustering values than the table has columns");
                };
                Some(value(input, column.cql_type.fixed_length())?)
            };
            self.clustering.push(value);
        }
        Ok(())
    }

    fn marker(
        &mut self,
        input: &mut Input<'a>,
        table: &'a Table,
        visit: &mut impl Visit<'a>,
    ) -> Decoded<()> {
        let kind = input.byte()?;
        let count = usize::from(input.u16()?);
        let is_boundary = matches!(kind, 2 | 5);
        if kind > 9 || (count == 0 && !matches!(kind, 0 | 1 | 6 | 7)) {
            return wrong("a bound of no known kind");
        }
        self.clustering(input, table, count)?;
        let first = self.deletion(input)?;
        let second = if is_boundary {
            Some(self.deletion(input)?)
        } else {
            None
        };
        let clustering = Clustering {
            table,
            values: &self.clustering,
        };
        let mut bound = |is_start, inclusive, deletion| {
            visit.bound(&Bound {
                clustering,
                is_start,
                inclusive,
                deletion,
            });
        };
        if matches!(kind, 0 | 2 | 5 | 6) {
            // An end uses up nothing: the next one has the same start, if there is no other.
            let Some(open) = self.open else {
                return wrong("the end of a range that was not begun");
            };
            bound(false, matches!(kind, 5 | 6), open);
        }
        if matches!(kind, 1 | 2 | 5 | 7) {
            let deletion = second.unwrap_or(first);
            self.open = Some(deletion);
            bound(true, matches!(kind, 1 | 2), deletion);
        }
        Ok(())
    }

    /// What a row holds behind its clustering.
    fn row(
        &mut self,
        input: &mut Input<'a>,
        table: &'a Table,
        flags: u8,
        extension: u8,
        visit: &mut impl Visit<'a>,
    ) -> Decoded<()> {
        let mut liveness = Liveness {
            timestamp: NONE,
            ttl: 0,
            local_deletion_time: NO_DELETION,
        };
        if flags & flag::HAS_TIMESTAMP != 0 {
            liveness.timestamp = self.timestamp(input)?;
            if flags & flag::HAS_TTL != 0 {
                liveness.ttl = self.ttl(input)?;
                let time = self.local_deletion_time(input)?;
                liveness.local_deletion_time = self.expiry(time, liveness.ttl);
            }
        }
        let shadowable = extension & flag::IS_SHADOWABLE != 0;
        let deletion = if flags & flag::HAS_DELETION != 0 {
            self.deletion(input)?.not_none()
        } else {
            None
        };
        let deleted_at = deletion.map_or(NONE, |deletion| deletion.marked_for_delete_at);
        let is_covered = |timestamp| deletion.is_some() && timestamp <= deleted_at;
        if !is_covered(liveness.timestamp) {
            visit.liveness(&liveness);
            if shadowable && liveness.timestamp > deleted_at {
                // What it covers is written again.
            } else if let Some(deletion) = deletion {
                visit.row_deletion(deletion, shadowable);
            }
        } else if let Some(deletion) = deletion {
            visit.row_deletion(deletion, shadowable);
        }
        let of_static = extension & flag::IS_STATIC != 0;
        let columns = std::mem::take(if of_static {
            &mut self.statics
        } else {
            &mut self.regulars
        });
        let subset = if flags & flag::HAS_ALL_COLUMNS != 0 {
            Subset::All
        } else {
            subset(input, columns.len())?
        };
        let mut one = |column: &'a Column| -> Decoded<()> {
            let name = column.name.as_bytes();
            let dropped = if table.has_dropped() {
                table.dropped_at(name)
            } else {
                None
            };
            let is_gone = |timestamp| dropped.is_some_and(|time| timestamp <= time);
            if !column.is_multicell {
                let cell = self.cell(input, column, &liveness)?;
                if !is_gone(cell.timestamp) && !is_covered(cell.timestamp) {
                    visit.cell(&cell);
                }
                return Ok(());
            }
            let mut covered_to = NONE;
            if flags & flag::HAS_COMPLEX_DELETION != 0
                && let Some(deletion) = self.deletion(input)?.not_none()
                && !is_gone(deletion.marked_for_delete_at)
            {
                covered_to = deletion.marked_for_delete_at;
                visit.complex_deletion(column, deletion);
            }
            for _ in 0..input.vint32()? {
                let cell = self.cell(input, column, &liveness)?;
                // At the same time a cell stays.
                let stays = cell.timestamp >= covered_to;
                if stays && !is_gone(cell.timestamp) && !is_covered(cell.timestamp) {
                    visit.cell(&cell);
                }
            }
            Ok(())
        };
        match subset {
            Subset::All => columns.iter().try_for_each(|column| one(column))?,
            Subset::Bitmap(missing) => {
                for (index, column) in columns.iter().enumerate() {
                    if missing >> index & 1 == 0 {
                        one(column)?;
                    }
                }
            }
            Subset::Listed(listed) => {
                for index in listed {
                    match columns.get(index) {
                        Some(column) => one(column)?,
                        None => return wrong("a column that the update does not have"),
                    }
                }
            }
        }
        *(if of_static {
            &mut self.statics
        } else {
            &mut self.regulars
        }) = columns;
        Ok(())
    }

    #[inline]
    fn cell(&self, input: &mut Input<'a>, column: &'a Column, row: &Liveness) -> Decoded<Cell<'a>> {
        let flags = input.byte()?;
        let has = |flag| flags & flag != 0;
        let timestamp = if has(flag::CELL_ROW_TIMESTAMP) {
            row.timestamp
        } else {
            self.timestamp(input)?
        };
        let of_row = has(flag::CELL_ROW_TTL);
        let mut time = NO_DELETION;
        if of_row {
            time = row.local_deletion_time;
        } else if has(flag::CELL_DELETED) || has(flag::CELL_EXPIRING) {
            time = self.local_deletion_time(input)?;
        }
        let ttl = match (of_row, has(flag::CELL_EXPIRING)) {
            (true, _) => row.ttl,
            (_, true) => self.ttl(input)?,
            _ => 0,
        };
        let path = if column.is_multicell {
            Some(input.sized()?)
        } else {
            None
        };
        let value = if has(flag::CELL_EMPTY) {
            &[][..]
        } else {
            let fixed = if column.is_multicell {
                None
            } else {
                column.cql_type.fixed_length()
            };
            value(input, fixed)?
        };
        if column.is_counter && time == NO_DELETION && !value.is_empty() && !is_context(value) {
            return wrong("a counter that is none");
        }
        if ttl < 0 {
            return wrong("a negative TTL");
        }
        Ok(Cell {
            column,
            path,
            timestamp,
            ttl,
            local_deletion_time: self.expiry(time, ttl),
            value,
        })
    }

    #[inline]
    fn timestamp(&self, input: &mut Input<'a>) -> Decoded<i64> {
        Ok(self
            .stats
            .timestamp
            .wrapping_add(input.vint()?.cast_signed()))
    }

    #[inline]
    fn local_deletion_time(&self, input: &mut Input<'a>) -> Decoded<i64> {
        Ok(self.stats.deletion + i64::from(input.vint32()?))
    }

    #[inline]
    fn ttl(&self, input: &mut Input<'a>) -> Decoded<i32> {
        Ok(self.stats.ttl.wrapping_add(input.vint32()?))
    }

    fn deletion(&self, input: &mut Input<'a>) -> Decoded<Deletion> {
        let marked_for_delete_at = self.timestamp(input)?;
        let time = self.local_deletion_time(input)?;
        let local_deletion_time = if (0..=DELETION_MAX).contains(&time) {
            time
        } else {
            INVALID
        };
        Ok(Deletion {
            marked_for_delete_at,
            local_deletion_time,
        })
    }

    /// When a cell or a row dies: an unsigned number of seconds since version 3.
    fn expiry(&self, time: i64, ttl: i32) -> i64 {
        if time >= i64::from(ttl) {
            return time;
        }
        match (time < 0, self.unsigned_times) {
            (true, true) => match time & 0xffff_ffff {
                0xffff_ffff => NO_DELETION,
                seconds => seconds,
            },
            (false, _) if ttl == EXPIRED_TTL => time,
            _ => INVALID,
        }
    }
}

impl Deletion {
    fn not_none(self) -> Option<Self> {
        (self.marked_for_delete_at != NONE).then_some(self)
    }
}

/// The names of columns, looked up.
fn columns<'a>(input: &mut Input<'a>, table: &'a Table, into: &mut Vec<&'a Column>) -> Decoded<()> {
    for _ in 0..input.vint32()? {
        let name = input.sized()?;
        match table.column(name) {
            Some(column) => into.push(column),
            None => {
                return wrong(format!(
                    "the table has no column {}",
                    String::from_utf8_lossy(name)
                ));
            }
        }
    }
    Ok(())
}

/// Which of `count` columns a row has.
fn subset(input: &mut Input<'_>, count: usize) -> Decoded<Subset> {
    let encoded = input.vint()?;
    if encoded == 0 {
        return Ok(Subset::All);
    }
    if count < 64 {
        if encoded >> count != 0 {
            return wrong("more columns are missing than there are");
        }
        return Ok(Subset::Bitmap(encoded));
    }
    let missing = (encoded as u32).cast_signed();
    let all = i32::try_from(count).unwrap_or(i32::MAX);
    let present = all.wrapping_sub(missing);
    let mut listed = Vec::new();
    if present < all / 2 {
        for _ in 0..present {
            listed.push(input.length()?);
        }
        return Ok(Subset::Listed(listed));
    }
    let (mut index, mut skipped) = (0, 0);
    loop {
        let next = if skipped < missing {
            input.vint32()?
        } else {
            all
        };
        let next = usize::try_from(next).unwrap_or(0);
        if next > count {
            return wrong("a column is missing that there is not");
        }
        while index < next {
            listed.push(index);
            index += 1;
        }
        if index == count {
            return Ok(Subset::Listed(listed));
        }
        index += 1;
        skipped += 1;
    }
}

/// A value: its length is written only where the type leaves it open.
#[inline]
fn value<'a>(input: &mut Input<'a>, fixed: Option<usize>) -> Decoded<&'a [u8]> {
    let length = match fixed {
        Some(length) => length,
        None => input.length()?,
    };
    if length > VALUE_MAX && fixed.is_none() {
        return wrong("a value is longer than one may be");
    }
    input.take(length)
}

/// Whether the header of a counter's context is all there.
fn is_context(value: &[u8]) -> bool {
    let Some([high, low]) = value.first_chunk::<2>() else {
        return false;
    };
    let count = i16::from(high.cast_signed()) << 8 | i16::from(*low);
    value.len() >= 2 + 2 * usize::from(count.unsigned_abs())
}
