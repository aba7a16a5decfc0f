//! Apache Cassandra's hint files: read, checked, decoded, and written.
//!
//! Versions 1, 2 and 3 (Cassandra 3.0 to 5.x), plain or compressed; encrypted and newer files are
//! recognised by their descriptor and refused. All integers are big-endian; all checksums are
//! CRC-32/ISO-HDLC (`java.util.zip.CRC32`), whose value for the digits `123456789` is 0xCBF43926.
//!
//! [`Descriptor`] is a file's header, [`Records`] walks what follows and finds its way past
//! damage, [`HintBody`] is what a record holds, [`FileWriter`] writes a file.

#![forbid(unsafe_code)]

mod blocks;
mod body;
mod codec;
mod descriptor;
mod file_name;
mod lz4;
mod mutation;
mod read_at;
mod record;
mod schema;
mod verdict;
mod vint;
mod write;

pub use blocks::BadBlock;
pub use body::{FirstUpdate, HintBody, encode_body};
pub use codec::Codec;
pub use descriptor::{Descriptor, DescriptorError, Storage, messaging_version};
pub use file_name::{FileName, parse_side_file, side_file};
pub use mutation::{
    Bound, Cell, Clustering, DecodeError, Deletion, Ignore, Liveness, Update, Visit,
    decode_mutation, identifier, key_parts, literal, literal_as_read, token,
};
pub use read_at::ReadAt;
pub use record::{Item, Records};
pub use schema::{Column, CqlType, Kind, Native, Schema, SchemaError, Table};
pub use verdict::{Given, Status, Verdict, judge};
pub use vint::read_unsigned;
pub use write::{FileWriter, encode_record, side_file_text};
