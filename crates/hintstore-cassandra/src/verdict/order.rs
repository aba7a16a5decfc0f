//! The order of a column's cells, as far as Cassandra fails over it: it compares their paths when a
//! row is put together, and some bytes do not compare.

use std::cmp::Ordering;

use byteorder::{BE, ByteOrder as _};

use crate::{
    mutation::{Bound, Cell, Clustering, Deletion, Liveness, Update, Visit},
    schema::{Column, CqlType, Native},
};

/// Watches the paths of cells.
#[derive(Debug, Default)]
pub(super) struct Paths<'a> {
    column: Option<&'a Column>,
    of_column: Vec<&'a [u8]>,
    /// The cells are not in their order, and so more of them are compared than neighbours.
    disordered: bool,
    /// Two paths do not compare.
    pub(super) failed: bool,
}

impl Paths<'_> {
    /// The cells of a column are all there.
    fn column_end(&mut self) {
        if let Some(column) = self.column.take()
            && self.disordered
        {
            let compares = |one: &&[u8]| {
                let mut others = self.of_column.iter();
                others.all(|other| compare_paths(&column.cql_type, one, other).is_some())
            };
            self.failed |= !self.of_column.iter().all(compares);
        }
        self.of_column.clear();
        self.disordered = false;
    }
}

impl<'a> Visit<'a> for Paths<'a> {
    fn update(&mut self, _: &Update<'a>) {}
    fn static_row(&mut self) {}
    fn row(&mut self, _: Clustering<'_, 'a>) {}
    fn liveness(&mut self, _: &Liveness) {}
    fn row_deletion(&mut self, _: Deletion, _: bool) {}
    fn complex_deletion(&mut self, _: &'a Column, _: Deletion) {}
    fn cell(&mut self, cell: &Cell<'a>) {
        let Some(path) = cell.path else { return };
        if !self
            .column
            .is_some_and(|column| std::ptr::eq(column, cell.column))
        {
            self.column_end();
            self.column = Some(cell.column);
        }
        if let Some(last) = self.of_column.last() {
            match compare_paths(&cell.column.cql_type, last, path) {
                None => self.failed = true,
                Some(order) => self.disordered |= order.is_gt(),
            }
        }
        self.of_column.push(path);
    }
    fn row_end(&mut self) {
        self.column_end();
    }
    fn bound(&mut self, _: &Bound<'_, 'a>) {}
    fn update_end(&mut self) {}
}

fn compare_paths(cql_type: &CqlType, left: &[u8], right: &[u8]) -> Option<Ordering> {
    match cql_type {
        CqlType::List(_) => compare(&CqlType::Native(Native::Timeuuid), left, right),
        CqlType::Set(element) => compare(element, left, right),
        CqlType::Map(key, _) => compare(key, left, right),
        CqlType::Udt { .. } => compare(&CqlType::Native(Native::Smallint), left, right),
        _ => Some(Ordering::Equal),
    }
}

/// Compares two values; `None` where Cassandra fails.
fn compare(cql_type: &CqlType, left: &[u8], right: &[u8]) -> Option<Ordering> {
    if left.is_empty() || right.is_empty() {
        return Some(right.is_empty().cmp(&left.is_empty()));
    }
    match cql_type {
        CqlType::Native(native) => compare_native(*native, left, right),
        CqlType::List(element) | CqlType::Set(element) => elements(&[element], left, right),
        CqlType::Map(key, value) => elements(&[key, value], left, right),
        CqlType::Tuple(parts) => components(&parts.iter().collect::<Vec<_>>(), left, right),
        CqlType::Udt { fields, .. } => {
            let parts: Vec<&CqlType> = fields.iter().map(|(_, part)| part).collect();
            components(&parts, left, right)
        }
        CqlType::Vector(..) | CqlType::Custom(_) => Some(left.cmp(right)),
    }
}

fn compare_native(native: Native, left: &[u8], right: &[u8]) -> Option<Ordering> {
    let number = |bytes: &[u8], length: usize| Some(BE::read_int(bytes.get(..length)?, length));
    let numbers = |length| Some(number(left, length)?.cmp(&number(right, length)?));
    match native {
        Native::Boolean | Native::Tinyint => numbers(1),
        Native::Smallint => numbers(2),
        Native::Int => numbers(4),
        Native::Bigint | Native::Timestamp => numbers(8),
        Native::Float => {
            let of = |bytes: &[u8]| Some(BE::read_f32(bytes.get(..4)?));
            Some(of(left)?.total_cmp(&of(right)?))
        }
        Native::Double => {
            let of = |bytes: &[u8]| Some(BE::read_f64(bytes.get(..8)?));
            Some(of(left)?.total_cmp(&of(right)?))
        }
        Native::Timeuuid if left.len() == 16 && right.len() == 16 => {
            let is_first = |id: &[u8]| id.get(6).is_some_and(|byte| byte >> 4 == 1);
            (is_first(left) && is_first(right)).then(|| left.cmp(right))
        }
        Native::Decimal if left.len() < 4 || right.len() < 4 => None,
        Native::Counter | Native::Duration => None,
        _ => Some(left.cmp(right)),
    }
}

/// A length and that number of bytes; a negative one has none.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(BE::read_i32(length)).unwrap_or(0);
    *rest = behind.get(length..)?;
    behind.get(..length)
}

/// The components of a tuple, one after the other.
fn components(types: &[&CqlType], left: &[u8], right: &[u8]) -> Option<Ordering> {
    let (mut left, mut right) = (left, right);
    for cql_type in types {
        if left.is_empty() || right.is_empty() {
            break;
        }
        // Both lengths are read before either value.
        let (of_left, of_right) = (left.first_chunk::<4>()?, right.first_chunk::<4>()?);
        match (BE::read_i32(of_left) < 0, BE::read_i32(of_right) < 0) {
            (true, true) => {
                (left, right) = (left.get(4..)?, right.get(4..)?);
                continue;
            }
            (true, false) => return Some(Ordering::Less),
            (false, true) => return Some(Ordering::Greater),
            (false, false) => {}
        }
        let (one, other) = (part(&mut left)?, part(&mut right)?);
        match compare(cql_type, one, other)? {
            Ordering::Equal => {}
            unequal => return Some(unequal),
        }
    }
    Some(left.len().cmp(&right.len()))
}

/// The elements of two collections, one after the other.
fn elements(types: &[&CqlType], left: &[u8], right: &[u8]) -> Option<Ordering> {
    let (of_left, mut left) = left.split_first_chunk::<4>()?;
    let (of_right, mut right) = right.split_first_chunk::<4>()?;
    let (of_left, of_right) = (BE::read_i32(of_left), BE::read_i32(of_right));
    for _ in 0..of_left.min(of_right) {
        for cql_type in types {
            let (one, other) = (part(&mut left)?, part(&mut right)?);
            match compare(cql_type, one, other)? {
                Ordering::Equal => {}
                unequal => return Some(unequal),
            }
        }
    }
    Some(of_left.cmp(&of_right))
}
