//! Values as CQL literals: as Cassandra 5.0 writes them, and as it reads them back.

use std::fmt::Write as _;

use byteorder::{BE, ByteOrder as _};
use num_bigint::BigInt;

use crate::{
    read_unsigned,
    schema::{CqlType, Native},
};

/// What a literal is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To be seen: what Cassandra writes, though it reads some of it as another value.
    Show,
    /// To be read: what Cassandra reads as this value.
    Read,
}

/// Adds the literal of a value to `out`; `None` where the bytes are no value of the type or have
/// no literal for this purpose, and `out` may then have part of one.
fn write(cql_type: &CqlType, value: &[u8], purpose: Purpose, out: &mut String) -> Option<()> {
    match cql_type {
        CqlType::Native(native) => {
            let is_said = purpose == Purpose::Read && special_form(*native, value, out)?;
            return if is_said {
                Some(())
            } else {
                native_literal(*native, value, out)
            };
        }
        CqlType::Custom(_) if purpose == Purpose::Read => return None,
        CqlType::Custom(_) => blob(value, out),
        CqlType::List(element) => sequence(element, value, ('[', ']'), purpose, out)?,
        CqlType::Set(element) => sequence(element, value, ('{', '}'), purpose, out)?,
        CqlType::Map(key, element) => {
            let (count, mut rest) = value.split_first_chunk::<4>()?;
            out.push('{');
            for index in 0..BE::read_i32(count) {
                separate(index > 0, out);
                element_of(key, &mut rest, (purpose, false), out)?;
                out.push_str(": ");
                element_of(element, &mut rest, (purpose, false), out)?;
            }
            out.push('}');
        }
        CqlType::Tuple(parts) => {
            let mut rest = value;
            out.push('(');
            for (index, part) in parts.iter().enumerate() {
                if rest.is_empty() {
                    break;
                }
                separate(index > 0, out);
                element_of(part, &mut rest, (purpose, true), out)?;
            }
            out.push(')');
        }
        CqlType::Udt { fields, .. } => {
            let mut rest = value;
            out.push('{');
            for (index, (name, part)) in fields.iter().enumerate() {
                if rest.is_empty() {
                    break;
                }
                separate(index > 0, out);
                out.push_str(&identifier(name));
                out.push_str(": ");
                element_of(part, &mut rest, (purpose, true), out)?;
            }
            out.push('}');
        }
        CqlType::Vector(element, count) => {
            let mut rest = value;
            out.push('[');
            for index in 0..*count {
                separate(index > 0, out);
                let length = if let Some(length) = element.fixed_length() {
                    length
                } else {
                    let (length, taken) = read_unsigned(rest)?;
                    rest = rest.get(taken..)?;
                    usize::try_from(length).ok()?
                };
                write_or_null(element, rest.get(..length)?, purpose, out)?;
                rest = rest.get(length..)?;
            }
            out.push(']');
        }
    }
    Some(())
}

fn separate(is_later: bool, out: &mut String) {
    if is_later {
        out.push_str(", ");
    }
}

fn sequence(
    element: &CqlType,
    value: &[u8],
    brackets: (char, char),
    purpose: Purpose,
    out: &mut String,
) -> Option<()> {
    let (count, mut rest) = value.split_first_chunk::<4>()?;
    out.push(brackets.0);
    for index in 0..BE::read_i32(count) {
        separate(index > 0, out);
        element_of(element, &mut rest, (purpose, false), out)?;
    }
    out.push(brackets.1);
    Some(())
}

/// An element with its length before it; a negative one is null, which collections cannot have in
/// CQL, but tuples and types of the user's can.
fn element_of(
    cql_type: &CqlType,
    rest: &mut &[u8],
    (purpose, may_be_null): (Purpose, bool),
    out: &mut String,
) -> Option<()> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    let Ok(length) = usize::try_from(BE::read_i32(length)) else {
        out.push_str("null");
        return (purpose == Purpose::Show || may_be_null).then_some(());
    };
    let value = rest.get(..length)?;
    *rest = rest.get(length..)?;
    write_or_null(cql_type, value, purpose, out)
}

fn write_or_null(
    cql_type: &CqlType,
    value: &[u8],
    purpose: Purpose,
    out: &mut String,
) -> Option<()> {
    if value.is_empty() {
        match purpose {
            Purpose::Show if has_empty_literal(cql_type) => {}
            Purpose::Read if has_empty_form(cql_type) => {}
            Purpose::Show => {
                out.push_str("null");
                return Some(());
            }
            Purpose::Read => return None,
        }
    }
    write(cql_type, value, purpose, out)
}

fn is_bytes(cql_type: &CqlType) -> bool {
    matches!(
        cql_type,
        CqlType::Native(Native::Ascii | Native::Text | Native::Blob)
    )
}

fn has_empty_literal(cql_type: &CqlType) -> bool {
    is_bytes(cql_type)
        || matches!(
            cql_type,
            CqlType::Tuple(_) | CqlType::Udt { .. } | CqlType::Custom(_)
        )
}

fn has_empty_form(cql_type: &CqlType) -> bool {
    let native = match cql_type {
        CqlType::Native(native) => Some(*native),
        _ => None,
    };
    is_bytes(cql_type) || native.and_then(function_of_bytes).is_some()
}

/// The literal of a value; `None` where it has no bytes and its type no literal for that, or where
/// the bytes are no value of the type.
///
/// ```
/// use hintstore_cassandra::{CqlType, Native, literal};
///
/// let int = CqlType::Native(Native::Int);
/// assert_eq!(literal(&int, &[0, 0, 1, 0]).as_deref(), Some("256"));
/// assert_eq!(literal(&int, &[]), None);
/// ```
pub fn literal(cql_type: &CqlType, value: &[u8]) -> Option<String> {
    of(cql_type, value, Purpose::Show)
}

/// The literal that Cassandra reads as this value; `None` where it has none.
///
/// It differs from [`literal`], which is what Cassandra writes, where Cassandra does not read what
/// it writes: moments outside the years 1 to 9999 are numbers here, and an `int` of no bytes is
/// `blobasint(0x)`.
///
/// ```
/// use hintstore_cassandra::{CqlType, Native, literal, literal_as_read};
///
/// let timestamp = CqlType::Native(Native::Timestamp);
/// let value = 300_000_000_000_000_i64.to_be_bytes();
/// assert_eq!(literal(&timestamp, &value).as_deref(), Some("'+11476-08-15T05:20:00.000Z'"));
/// assert_eq!(literal_as_read(&timestamp, &value).as_deref(), Some("300000000000000"));
/// ```
pub fn literal_as_read(cql_type: &CqlType, value: &[u8]) -> Option<String> {
    of(cql_type, value, Purpose::Read)
}

fn of(cql_type: &CqlType, value: &[u8], purpose: Purpose) -> Option<String> {
    let has_form = match purpose {
        Purpose::Show => is_bytes(cql_type),
        Purpose::Read => has_empty_form(cql_type),
    };
    if value.is_empty() && !has_form {
        return None;
    }
    let mut out = String::new();
    write(cql_type, value, purpose, &mut out)?;
    Some(out)
}

/// A name as CQL has it: in quotes, if it needs them.
pub fn identifier(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Words of CQL that are no names without quotes.
const RESERVED: [&str; 60] = [
    "add",
    "allow",
    "alter",
    "and",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "columnfamily",
    "create",
    "default",
    "delete",
    "desc",
    "describe",
    "drop",
    "entries",
    "execute",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "infinity",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "materialized",
    "mbean",
    "mbeans",
    "modify",
    "nan",
    "norecursive",
    "not",
    "null",
    "of",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "replace",
    "revoke",
    "schema",
    "select",
    "set",
    "table",
    "to",
    "token",
    "truncate",
    "unlogged",
    "unset",
    "update",
    "use",
    "using",
    "view",
];

fn blob(value: &[u8], out: &mut String) {
    out.push_str("0x");
    for byte in value {
        let _infallible = write!(out, "{byte:02x}");
    }
}

fn quoted(text: &str, out: &mut String) {
    out.push('\'');
    for c in text.chars() {
        if c == '\'' {
            out.push('\'');
        }
        out.push(c);
    }
    out.push('\'');
}

fn exactly<const N: usize>(value: &[u8]) -> Option<&[u8; N]> {
    value.try_into().ok()
}

fn native_literal(native: Native, value: &[u8], out: &mut String) -> Option<()> {
    let infallible = match native {
        Native::Ascii | Native::Text => {
            quoted(std::str::from_utf8(value).ok()?, out);
            Ok(())
        }
        Native::Blob | Native::Empty => {
            blob(value, out);
            Ok(())
        }
        Native::Boolean => write!(out, "{}", exactly::<1>(value)? != &[0]),
        Native::Tinyint => write!(out, "{}", exactly::<1>(value)?.map(u8::cast_signed)[0]),
        Native::Smallint => write!(out, "{}", BE::read_i16(exactly::<2>(value)?)),
        Native::Int => write!(out, "{}", BE::read_i32(exactly::<4>(value)?)),
        Native::Bigint => write!(out, "{}", BE::read_i64(exactly::<8>(value)?)),
        Native::Float => {
            let number = BE::read_f32(exactly::<4>(value)?);
            let short = two_digits(format!("{number:e}"), format!("{number:.1e}"), |text| {
                text.parse() == Ok(number)
            });
            float(f64::from(number), &short, out);
            Ok(())
        }
        Native::Double => {
            let number = BE::read_f64(exactly::<8>(value)?);
            let short = two_digits(format!("{number:e}"), format!("{number:.1e}"), |text| {
                text.parse() == Ok(number)
            });
            float(number, &short, out);
            Ok(())
        }
        Native::Varint => write!(out, "{}", integer(value)?),
        Native::Decimal => {
            let (scale, unscaled) = value.split_first_chunk::<4>()?;
            decimal(&integer(unscaled)?, BE::read_i32(scale), out);
            Ok(())
        }
        Native::Uuid | Native::Timeuuid => {
            let id = BE::read_u128(exactly::<16>(value)?);
            write!(
                out,
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                id >> 96,
                id >> 80 & 0xffff,
                id >> 64 & 0xffff,
                id >> 48 & 0xffff,
                id & 0xffff_ffff_ffff
            )
        }
        Native::Date => {
            let days = i64::from(BE::read_u32(exactly::<4>(value)?)) - (1 << 31);
            let (year, month, day) = civil(days);
            out.push('\'');
            match year {
                0..=9999 => write!(out, "{year:04}").ok()?,
                10_000.. => write!(out, "+{year}").ok()?,
                _ => write!(out, "-{:04}", -year).ok()?,
            }
            write!(out, "-{month:02}-{day:02}'")
        }
        Native::Time => {
            let nanos = BE::read_u64(exactly::<8>(value)?);
            let seconds = nanos / 1_000_000_000;
            write!(
                out,
                "'{:02}:{:02}:{:02}.{:09}'",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60,
                nanos % 1_000_000_000
            )
        }
        Native::Timestamp => {
            let millis = BE::read_i64(exactly::<8>(value)?);
            let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
            let (year, month, day) = civil(days);
            // The year of its era, as Cassandra's pattern has it.
            let year = if year <= 0 { 1 - year } else { year };
            out.push_str(if year > 9999 { "'+" } else { "'" });
            write!(
                out,
                "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z'",
                of_day / 3_600_000,
                of_day / 60_000 % 60,
                of_day / 1000 % 60,
                of_day % 1000
            )
        }
        Native::Duration => {
            duration(value, out)?;
            Ok(())
        }
        Native::Inet => {
            match (exactly::<4>(value), exactly::<16>(value)) {
                (Some([a, b, c, d]), _) => write!(out, "'{a}.{b}.{c}.{d}'").ok()?,
                (_, Some(long)) => {
                    let words = long
                        .chunks(2)
                        .map(|word| format!("{:x}", BE::read_u16(word)));
                    let words: Vec<String> = words.collect();
                    write!(out, "'{}'", words.join(":")).ok()?;
                }
                _ => return None,
            }
            Ok(())
        }
        Native::Counter => write!(out, "{}", counter(value)?),
    };
    infallible.ok()
}

/// Adds the form of a value that Cassandra reads as another one, or not at all, when it is written
/// as usual; says whether it has one. `None` where it has no literal.
fn special_form(native: Native, value: &[u8], out: &mut String) -> Option<bool> {
    if let Native::Timestamp = native
        && let Some(bytes) = exactly::<8>(value)
        && !FOUR_DIGIT_YEARS.contains(&BE::read_i64(bytes).div_euclid(86_400_000))
    {
        write!(out, "{}", BE::read_i64(bytes)).ok()?;
        return Some(true);
    }
    if let Native::Date = native
        && let Some(bytes) = exactly::<4>(value)
        && !FOUR_DIGIT_YEARS.contains(&(i64::from(BE::read_u32(bytes)) - (1 << 31)))
    {
        write!(out, "{}", BE::read_u32(bytes)).ok()?;
        return Some(true);
    }
    let has_usual = match native {
        // A terminal would take these characters for orders: a tool cannot show them as they are.
        Native::Ascii => value.is_ascii() && is_visible(value),
        Native::Text => is_visible(value),
        Native::Boolean => matches!(value, [0 | 1]),
        // Other bits of "not a number" are lost.
        Native::Float => exactly::<4>(value)
            .is_some_and(|bytes| !BE::read_f32(bytes).is_nan() || *bytes == [0x7f, 0xc0, 0, 0]),
        Native::Double => exactly::<8>(value).is_some_and(|bytes| {
            !BE::read_f64(bytes).is_nan() || *bytes == [0x7f, 0xf8, 0, 0, 0, 0, 0, 0]
        }),
        Native::Time => {
            exactly::<8>(value).is_some_and(|bytes| BE::read_u64(bytes) < 86_400_000_000_000)
        }
        Native::Timeuuid => exactly::<16>(value).is_some_and(|bytes| bytes[6] >> 4 == 1),
        // Java makes an address of IPv4 of it.
        Native::Inet => {
            !value.is_empty() && (value.len() != 16 || !value.starts_with(&IPV4_IN_IPV6))
        }
        Native::Empty | Native::Counter => false,
        Native::Blob => true,
        _ => !value.is_empty(),
    };
    if has_usual {
        return Some(false);
    }
    write!(out, "{}(", function_of_bytes(native)?).ok()?;
    blob(value, out);
    out.push(')');
    Some(true)
}

fn is_visible(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// The function that makes a value of any bytes that the type allows, of those types that allow
/// bytes without a literal: none at all, for one.
fn function_of_bytes(native: Native) -> Option<&'static str> {
    Some(match native {
        Native::Ascii => "blobasascii",
        Native::Bigint => "blobasbigint",
        Native::Boolean => "blobasboolean",
        Native::Decimal => "blobasdecimal",
        Native::Double => "blobasdouble",
        Native::Float => "blobasfloat",
        Native::Inet => "blobasinet",
        Native::Int => "blobasint",
        Native::Text => "blobastext",
        Native::Timestamp => "blobastimestamp",
        Native::Timeuuid => "blobastimeuuid",
        Native::Uuid => "blobasuuid",
        Native::Varint => "blobasvarint",
        _ => return None,
    })
}

const IPV4_IN_IPV6: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// The days since 1970 of the years 1 to 9999.
const FOUR_DIGIT_YEARS: std::ops::Range<i64> = -719_162..2_932_897;

/// Java gives two digits at least; the second says something where it can.
fn two_digits(shortest: String, two: String, is_same: impl Fn(&str) -> bool) -> String {
    if !shortest.contains('.') && !two.contains(".0") && is_same(&two) {
        two
    } else {
        shortest
    }
}

/// A number as Java writes it: `1.5`, `1.0E10`, `-Infinity`. `scientific` is the shortest form.
fn float(number: f64, scientific: &str, out: &mut String) {
    if number.is_nan() {
        out.push_str("NaN");
        return;
    }
    if number.is_infinite() {
        out.push_str(if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        });
        return;
    }
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-3..7).contains(&exponent) || number == 0.0 {
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", digits),
        };
        let digits: String = digits.chars().filter(|c| *c != '.').collect();
        out.push_str(sign);
        if exponent < 0 {
            let zeros = exponent.unsigned_abs() as usize - 1;
            out.push_str("0.");
            out.push_str(&"0".repeat(zeros));
            out.push_str(&digits);
        } else {
            let whole = exponent.unsigned_abs() as usize + 1;
            let padded = format!("{digits:0<whole$}");
            let (before, after) = padded.split_at_checked(whole).unwrap_or((&padded, ""));
            out.push_str(before);
            out.push('.');
            out.push_str(if after.is_empty() { "0" } else { after });
        }
        return;
    }
    out.push_str(digits);
    if !digits.contains('.') {
        out.push_str(".0");
    }
    let _infallible = write!(out, "E{exponent}");
}

/// Longer numbers are shown as bytes: making digits of them takes time that grows with the square.
const INTEGER_MAX: usize = 4096;

fn integer(bytes: &[u8]) -> Option<BigInt> {
    let fits = !bytes.is_empty() && bytes.len() <= INTEGER_MAX;
    fits.then(|| BigInt::from_signed_bytes_be(bytes))
}

/// A decimal as Java writes it: plain, or with an exponent where that is shorter.
fn decimal(unscaled: &BigInt, scale: i32, out: &mut String) {
    let text = unscaled.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    out.push_str(sign);
    let last = i64::try_from(digits.len()).unwrap_or(i64::MAX) - 1;
    let adjusted = last - i64::from(scale);
    if scale == 0 {
        out.push_str(digits);
    } else if scale > 0 && adjusted >= -6 {
        let scale = scale.unsigned_abs() as usize;
        if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let _infallible = write!(out, "{whole}.{fraction}");
        } else {
            let _infallible = write!(out, "0.{digits:0>scale$}");
        }
    } else {
        let (first, rest) = digits.split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            let _infallible = write!(out, ".{rest}");
        }
        if adjusted != 0 {
            let _infallible = write!(out, "E{adjusted:+}");
        }
    }
}

/// Months, days, nanoseconds, each a number of variable length with its sign in the lowest bit.
fn duration(value: &[u8], out: &mut String) -> Option<()> {
    let mut rest = value;
    let mut signed = || -> Option<i64> {
        let (number, length) = read_unsigned(rest)?;
        rest = rest.get(length..)?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    };
    let (months, days, nanos) = (signed()?, signed()?, signed()?);
    if months < 0 || days < 0 || nanos < 0 {
        out.push('-');
    }
    let mut part = |count: u64, unit: &str| {
        if count != 0 {
            let _infallible = write!(out, "{count}{unit}");
        }
    };
    let (months, nanos) = (months.unsigned_abs(), nanos.unsigned_abs());
    part(months / 12, "y");
    part(months % 12, "mo");
    part(days.unsigned_abs(), "d");
    part(nanos / 3_600_000_000_000, "h");
    part(nanos / 60_000_000_000 % 60, "m");
    part(nanos / 1_000_000_000 % 60, "s");
    part(nanos / 1_000_000 % 1000, "ms");
    part(nanos / 1000 % 1000, "us");
    part(nanos % 1000, "ns");
    Some(())
}

/// The sum of a counter's shards.
fn counter(value: &[u8]) -> Option<i64> {
    let (count, rest) = value.split_first_chunk::<2>()?;
    let header = 2 * usize::from(BE::read_i16(count).unsigned_abs());
    let shards = rest.get(header..)?;
    let (shards, []) = shards.as_chunks::<32>() else {
        return None;
    };
    let counts = shards.iter().map(|shard| BE::read_i64(&shard[24..]));
    Some(counts.fold(0, i64::wrapping_add))
}

/// Year, month and day of a number of days since 1970, in the calendar without a beginning.
fn civil(days: i64) -> (i64, i64, i64) {
    // Eras of 400 years from 1 March of year 0.
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970 of a date.
pub(crate) fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year.abs() > 10_000_000 {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(native: Native, value: &[u8]) -> String {
        literal(&CqlType::Native(native), value).unwrap()
    }

    #[test]
    fn numbers_are_written_as_java_does() {
        let double = |number: f64| {
            let mut bytes = [0; 8];
            BE::write_f64(&mut bytes, number);
            of(Native::Double, &bytes)
        };
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.5, "1.5"),
            (100.0, "100.0"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (0.001, "0.001"),
            (0.000_12, "1.2E-4"),
            (5e-324, "4.9E-324"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(double(number), text);
        }
        let decimal = |unscaled: i64, scale| {
            let mut out = String::new();
            decimal(&BigInt::from(unscaled), scale, &mut out);
            out
        };
        assert_eq!(decimal(-275_551, 2), "-2755.51");
        assert_eq!(decimal(5, 3), "0.005");
        assert_eq!(decimal(i64::MAX, 26), "9.223372036854775807E-8");
        assert_eq!(decimal(-187_836_489_031_195, -4), "-1.87836489031195E+18");
        assert_eq!(decimal(0, 0), "0");
    }

    #[test]
    fn dates_reach_over_the_whole_range() {
        assert_eq!(
            of(Native::Date, &[0xff, 0xff, 0xff, 0xb1]),
            "'+5881580-04-24'"
        );
        assert_eq!(of(Native::Date, &[0, 0, 0, 0x0e]), "'-5877641-07-07'");
        assert_eq!(of(Native::Date, &[0x80, 0, 0, 0]), "'1970-01-01'");
        for days in [-719_528, -1, 0, 59, 60, 20_000, 100_000] {
            let (year, month, day) = civil(days);
            assert_eq!(days_of(year, month, day), Some(days));
        }
        let mut millis = [0; 8];
        BE::write_i64(&mut millis, -62_198_755_200_000);
        assert_eq!(of(Native::Timestamp, &millis), "'0002-01-01T00:00:00.000Z'");
    }

    #[test]
    fn names_are_quoted_when_they_must() {
        assert_eq!(identifier("plain_1"), "plain_1");
        for name in ["Camel", "select", "two words", "1st", "_a", "ключ", ""] {
            assert!(identifier(name).starts_with('"'), "{name}");
        }
        assert_eq!(identifier("q\"uote"), "\"q\"\"uote\"");
    }

    #[test]
    fn what_cassandra_would_read_as_another_value_is_a_number_or_nothing() {
        let read = |native, value: &[u8]| literal_as_read(&CqlType::Native(native), value);
        let day: i64 = 86_400_000;
        for (millis, text) in [
            (0, "'1970-01-01T00:00:00.000Z'"),
            (-719_162 * day, "'0001-01-01T00:00:00.000Z'"),
            (-719_162 * day - 1, "-62135596800001"),
            (2_932_897 * day - 1, "'9999-12-31T23:59:59.999Z'"),
            (2_932_897 * day, "253402300800000"),
            (i64::MIN, "-9223372036854775808"),
        ] {
            let mut value = [0; 8];
            BE::write_i64(&mut value, millis);
            assert_eq!(read(Native::Timestamp, &value).as_deref(), Some(text));
        }
        let date = read(Native::Date, &[0xff, 0xff, 0xff, 0xff]);
        assert_eq!(date.as_deref(), Some("4294967295"));
        for (native, value, text) in [
            (Native::Boolean, [2].as_slice(), "blobasboolean(0x02)"),
            (Native::Int, &[], "blobasint(0x)"),
            (
                Native::Float,
                &[0xff, 0xc0, 0, 0],
                "blobasfloat(0xffc00000)",
            ),
        ] {
            assert_eq!(read(native, value).as_deref(), Some(text));
        }
        let lines = read(Native::Text, b"a\nb");
        assert_eq!(lines.as_deref(), Some("blobastext(0x610a62)"));
        assert_eq!(read(Native::Smallint, &[]), None);
        let mapped = [IPV4_IN_IPV6.as_slice(), &[127, 0, 0, 1]].concat();
        assert_eq!(
            read(Native::Inet, &mapped).as_deref(),
            Some("blobasinet(0x00000000000000000000ffff7f000001)")
        );
        let list = CqlType::List(Box::new(CqlType::Native(Native::Int)));
        let null_inside = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(literal(&list, &null_inside).as_deref(), Some("[null]"));
        assert_eq!(literal_as_read(&list, &null_inside), None);
    }
}
