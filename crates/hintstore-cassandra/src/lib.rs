//! Apache Cassandra's hint files, at record level: descriptor, records, checksums.
//!
//! Versions 1, 2 and 3 (Cassandra 3.0 to 5.x), uncompressed; compressed, encrypted and newer files
//! are recognised by their descriptor and refused. All integers are big-endian; all checksums are
//! CRC-32/ISO-HDLC (`java.util.zip.CRC32`), whose value for the digits `123456789` is 0xCBF43926.
//!
//! [`Descriptor`] is a file's header, [`Records`] walks what follows, [`HintBody`] is what a
//! record holds. Nothing here decodes a mutation beyond its first table id: that needs a schema.

#![forbid(unsafe_code)]

mod body;
mod descriptor;
mod file_name;
mod record;
mod vint;

pub use body::HintBody;
pub use descriptor::{Descriptor, DescriptorError, Storage};
pub use file_name::{FileName, parse_side_file, side_file};
pub use record::{Item, Records};
pub use vint::read_unsigned;
