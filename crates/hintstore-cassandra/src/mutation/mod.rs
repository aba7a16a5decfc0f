//! Mutations: what a hint has its target write.

mod decode;
mod input;
mod key;
mod literal;
mod visit;

use std::fmt;

pub(crate) use decode::{TIMESTAMP_EPOCH, mutation};
pub(crate) use input::{Input, Stop};
pub use key::{key_parts, token};
pub(crate) use literal::days_of;
pub use literal::{identifier, literal, literal_as_read};
pub use visit::{Bound, Cell, Clustering, Deletion, Ignore, Liveness, Update, Visit};

use crate::schema::Schema;

/// Why a mutation cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The schema has no table of this id. A node leaves such an update out, and all behind it.
    UnknownTable([u8; 16]),
    /// Its bytes are not those of a mutation, or the schema is not the one it was written with.
    Wrong {
        /// Where, in bytes from the start of the mutation.
        at: usize,
        /// What is wrong.
        text: String,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTable(_) => f.write_str("the schema has no such table"),
            Self::Wrong { at, text } => write!(f, "at byte {at} of the mutation: {text}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Decodes a mutation whose checksum holds. `messaging_version` is that of its file
/// ([`Descriptor::messaging_version`](crate::Descriptor::messaging_version)).
///
/// ```
/// use hintstore_cassandra::{DecodeError, Ignore, Schema, decode_mutation};
///
/// // One update of a table that is in no schema.
/// let mutation = [[1].as_slice(), &[7; 16], &[0]].concat();
/// let error = decode_mutation(&mutation, &Schema::default(), 12, &mut Ignore);
/// assert_eq!(error, Err(DecodeError::UnknownTable([7; 16])));
/// ```
pub fn decode_mutation<'a>(
    mutation: &'a [u8],
    schema: &'a Schema,
    messaging_version: u32,
    visit: &mut impl Visit<'a>,
) -> Result<(), DecodeError> {
    let mut input = Input::new(mutation);
    let done = decode::mutation(&mut input, schema, messaging_version >= 13, visit);
    let at = input.at();
    let text = match done {
        Ok(()) if at == mutation.len() => return Ok(()),
        Ok(()) => "bytes are left behind it".to_owned(),
        Err(Stop::Table(id)) => return Err(DecodeError::UnknownTable(id)),
        Err(Stop::End | Stop::Past) => "it ends too early".to_owned(),
        Err(Stop::Wrong(text)) => text,
    };
    Err(DecodeError::Wrong { at, text })
}
