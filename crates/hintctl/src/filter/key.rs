//! The key of a partition, as it is typed.

use std::collections::{BTreeMap, BTreeSet};

use hintstore::Namespace;
use hintstore_cassandra::{Column, CqlType, Native, Schema, Table};

use crate::exit::usage;

/// A partition that is asked for.
#[derive(Debug)]
pub(super) enum Key {
    /// Of whichever table.
    Bytes(Vec<u8>),
    /// By the types of each table's key.
    Typed(BTreeMap<Namespace, Vec<u8>>),
}

impl Key {
    /// Reads `0x` and hex, or with a schema a value of each part's type: of the tables that are asked for, or else
    /// of each that has such a key.
    pub(super) fn new(
        text: &str,
        tables: Option<&BTreeSet<Namespace>>,
        schema: Option<&Schema>,
    ) -> anyhow::Result<Self> {
        if let Some(digits) = text.strip_prefix("0x") {
            match unhex(digits) {
                Some(bytes) => return Ok(Self::Bytes(bytes)),
                None if schema.is_none() => return Err(usage(format!("{text} is not in hex"))),
                None => {}
            }
        }
        let Some(schema) = schema else {
            return Err(usage(format!(
                "--key {text} needs --schema, which says of what type it is; or give it in hex, behind 0x"
            )));
        };
        let mut keys = BTreeMap::new();
        let mut why = "the schema does not have the table".to_owned();
        for table in schema.tables() {
            let id = Namespace::from_bytes(table.id);
            if !tables.is_none_or(|tables| tables.contains(&id)) {
                continue;
            }
            match encode(table, text) {
                Ok(key) => drop(keys.insert(id, key)),
                Err(error) => why = format!("{}.{}: {error}", table.keyspace, table.name),
            }
        }
        if keys.is_empty() {
            return Err(usage(format!("--key {text} is no key: {why}")));
        }
        Ok(Self::Typed(keys))
    }

    pub(super) fn is(&self, table: Namespace, key: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => bytes == key,
            Self::Typed(keys) => keys.get(&table).is_some_and(|of| of == key),
        }
    }
}

/// The key of a table, as its hints have it.
fn encode(table: &Table, text: &str) -> Result<Vec<u8>, String> {
    if let [column] = &table.partition_key[..] {
        return part(column, text);
    }
    let columns = &table.partition_key[..];
    let mut found = Vec::new();
    split(columns, text, &mut Vec::new(), &mut found);
    let in_hex = "or give all of it in hex, behind 0x";
    match &found[..] {
        [key] => Ok(key.clone()),
        [] => Err(format!(
            "its key has {} parts: join them by `:`, {in_hex}",
            columns.len()
        )),
        _ => Err(format!("it is not clear where its parts end: {in_hex}")),
    }
}

/// Finds the ways in which a text is the parts of a key: a text among them may have a `:` in it.
fn split(columns: &[Column], text: &str, key: &mut Vec<u8>, found: &mut Vec<Vec<u8>>) {
    let Some((column, rest)) = columns.split_first() else {
        return;
    };
    let ends = text.match_indices(':').map(|(at, _)| at);
    let ends = ends.filter(|_| !rest.is_empty());
    for end in ends.chain(rest.is_empty().then_some(text.len())) {
        let (here, behind) = text.split_at(end);
        if found.len() > 1 {
            return;
        }
        let Ok(value) = part(column, here) else {
            continue;
        };
        let Ok(length) = u16::try_from(value.len()) else {
            continue;
        };
        let before = key.len();
        key.extend([(length >> 8) as u8, length as u8]);
        key.extend(value);
        key.push(0);
        if rest.is_empty() {
            found.push(key.clone());
        } else {
            split(rest, behind.strip_prefix(':').unwrap_or(behind), key, found);
        }
        key.truncate(before);
    }
}

fn part(column: &Column, text: &str) -> Result<Vec<u8>, String> {
    let name = &column.name;
    let wrong = |of: &str| format!("{name} is of type {of}, and {text} is none");
    match &column.cql_type {
        CqlType::Native(native)
            if !matches!(native, Native::Decimal | Native::Time | Native::Duration) =>
        {
            value(*native, text).ok_or_else(|| wrong(native.name()))
        }
        _ => Err(format!(
            "{name} is of a type that is not read here: give the key in hex, behind 0x"
        )),
    }
}

/// A value as it is stored.
fn value(of: Native, text: &str) -> Option<Vec<u8>> {
    let whole = |bytes: usize| -> Option<Vec<u8>> {
        let number: i64 = text.parse().ok()?;
        let bits = u32::try_from(bytes * 8).ok()?;
        let fits = number >> (bits - 1);
        // All that lies beyond is its sign.
        (fits == 0 || fits == -1).then(|| last(number.cast_unsigned(), bytes))
    };
    Some(match of {
        Native::Ascii | Native::Text => text.as_bytes().to_vec(),
        Native::Blob => unhex(text.strip_prefix("0x").unwrap_or(text))?,
        Native::Boolean => vec![u8::from(text.parse::<bool>().ok()?)],
        Native::Tinyint => whole(1)?,
        Native::Smallint => whole(2)?,
        Native::Int => whole(4)?,
        Native::Bigint | Native::Counter => whole(8)?,
        Native::Varint => text
            .parse::<num_bigint::BigInt>()
            .ok()?
            .to_signed_bytes_be(),
        Native::Float => last(u64::from(text.parse::<f32>().ok()?.to_bits()), 4),
        Native::Double => last(text.parse::<f64>().ok()?.to_bits(), 8),
        Native::Uuid | Native::Timeuuid => text.parse::<Namespace>().ok()?.as_bytes().to_vec(),
        Native::Timestamp => {
            let millis = match text.parse::<i64>() {
                Ok(millis) => millis,
                Err(_) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
            };
            last(millis.cast_unsigned(), 8)
        }
        Native::Date => {
            let date: jiff::civil::Date = text.parse().ok()?;
            let since = date - jiff::civil::date(1970, 1, 1);
            let days = i64::from(since.get_days()) + (1 << 31);
            last(days.cast_unsigned(), 4)
        }
        Native::Inet => match text.parse::<std::net::IpAddr>().ok()? {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        },
        Native::Decimal | Native::Duration | Native::Empty | Native::Time => return None,
    })
}

/// The last bytes of a number, the highest first.
fn last(number: u64, bytes: usize) -> Vec<u8> {
    let byte = |at: usize| (number >> (8 * at)) as u8;
    (0..bytes).rev().map(byte).collect()
}

/// Bytes of their hex.
pub(crate) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |c: char| c.to_digit(16);
    let nibbles: Vec<u32> = digits.chars().map(nibble).collect::<Option<_>>()?;
    let (pairs, rest) = nibbles.as_chunks::<2>();
    let byte = |[high, low]: &[u32; 2]| (high << 4 | low) as u8;
    rest.is_empty().then(|| pairs.iter().map(byte).collect())
}
