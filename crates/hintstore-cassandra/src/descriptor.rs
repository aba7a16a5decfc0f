//! The header of a hint file: whose hints, and how they are stored.
//!
//! The trap in its checksum: the two 64-bit fields are fed to the CRC low word first.

use std::fmt;

use byteorder::{BE, ByteOrder as _};
use crc32fast::Hasher;
use serde_json::Value;

use crate::codec::Codec;

const FIXED: usize = 36;
/// Parameters are a small JSON object; what claims more is not read.
const PARAMETERS_MAX: usize = 1 << 20;

/// How the records of a file are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As they are.
    Plain,
    /// In blocks of a compressor: its class name, and what it is if it is known.
    Compressed(String, Option<Codec>),
    /// In encrypted blocks.
    Encrypted,
}

/// The descriptor of a hint file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// 1 to 3; what a later one means is not known.
    pub version: i32,
    /// When the file was made, in ms since 1970.
    pub timestamp_ms: i64,
    /// The node its hints are for.
    pub host_id: [u8; 16],
    /// The parameters, as they stand in the file.
    pub parameters: String,
    /// How the records are stored.
    pub storage: Storage,
    /// Length of the descriptor: the first record begins here.
    pub length: usize,
}

/// Why a file has no descriptor that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DescriptorError {
    /// The file ends inside of it: a node renames such a file at start-up. An empty one it deletes.
    Short {
        /// Length of the file.
        length: u64,
    },
    /// A checksum is wrong: a node does not start over such a file.
    Checksum {
        /// Where the checksum is.
        offset: usize,
        /// What it says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The parameters are no JSON object: a node does not start over such a file.
    Parameters,
    /// A version this tool does not know.
    Version(i32),
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length: 0 } => f.write_str("the file is empty"),
            Self::Short { length } => {
                write!(f, "at byte {length}: the file ends inside its descriptor")
            }
            Self::Checksum {
                offset,
                stored,
                computed,
            } => write!(
                f,
                "at byte {offset}: descriptor checksum {stored:08x} stored, {computed:08x} computed"
            ),
            Self::Parameters => {
                write!(f, "at byte {FIXED}: the parameters are no JSON object")
            }
            Self::Version(version) => write!(
                f,
                "at byte 0: hints version {version} is not known, only 1 to 3 are"
            ),
        }
    }
}

impl std::error::Error for DescriptorError {}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// The checksum of the fixed part, fed in Cassandra's order.
fn fixed_crc(fixed: &[u8]) -> Hasher {
    let mut crc = Hasher::new();
    for at in [0, 8, 4, 16, 12, 24, 20, 28] {
        crc.update(fixed.get(at..at + 4).unwrap_or_default());
    }
    crc
}

/// The bytes of a descriptor.
pub(crate) fn encode_descriptor(
    version: i32,
    timestamp_ms: i64,
    host_id: [u8; 16],
    parameters: &str,
) -> Vec<u8> {
    let mut bytes = [0; FIXED];
    BE::write_i32(&mut bytes[0..4], version);
    BE::write_i64(&mut bytes[4..12], timestamp_ms);
    bytes[12..28].copy_from_slice(&host_id);
    BE::write_u32(&mut bytes[28..32], parameters.len() as u32);
    let mut crc = fixed_crc(&bytes);
    BE::write_u32(&mut bytes[32..36], crc.clone().finalize());
    crc.update(parameters.as_bytes());
    let mut word = [0; 4];
    BE::write_u32(&mut word, crc.finalize());
    [&bytes, parameters.as_bytes(), &word].concat()
}

impl Descriptor {
    /// Reads the descriptor at the start of `bytes`. In this order: the first checksum, so that
    /// the length of the parameters can be trusted; the second; the parameters; the version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let short = DescriptorError::Short {
            length: bytes.len() as u64,
        };
        let fixed: &[u8; FIXED] = field(bytes, 0).ok_or(short.clone())?;
        let mut crc = fixed_crc(fixed);
        let check = |offset: usize, stored: u32, crc: &Hasher| {
            let computed = crc.clone().finalize();
            if stored == computed {
                Ok(())
            } else {
                Err(DescriptorError::Checksum {
                    offset,
                    stored,
                    computed,
                })
            }
        };
        check(32, BE::read_u32(&fixed[32..36]), &crc)?;
        let length = usize::try_from(BE::read_i32(&fixed[28..32]))
            .ok()
            .filter(|length| *length <= PARAMETERS_MAX)
            .ok_or(DescriptorError::Parameters)?;
        let parameters = bytes.get(FIXED..FIXED + length).ok_or(short.clone())?;
        let stored: &[u8; 4] = field(bytes, FIXED + length).ok_or(short)?;
        crc.update(parameters);
        check(FIXED + length, BE::read_u32(stored), &crc)?;
        let text = std::str::from_utf8(parameters).map_err(|_utf8| DescriptorError::Parameters)?;
        let storage = storage(text).ok_or(DescriptorError::Parameters)?;
        let version = BE::read_i32(&fixed[0..4]);
        if !(1..=3).contains(&version) {
            return Err(DescriptorError::Version(version));
        }
        let mut host_id = [0; 16];
        host_id.copy_from_slice(&fixed[12..28]);
        Ok(Self {
            version,
            timestamp_ms: BE::read_i64(&fixed[4..12]),
            host_id,
            parameters: text.to_owned(),
            storage,
            length: FIXED + length + 4,
        })
    }

    /// The messaging version of the mutations: what a receiver must speak.
    pub fn messaging_version(&self) -> u32 {
        messaging_version(self.version)
    }

    /// Length of what every descriptor begins with; the parameters follow.
    pub const FIXED: u64 = FIXED as u64;

    /// Greatest length of a descriptor that is read.
    pub const LENGTH_MAX: usize = FIXED + PARAMETERS_MAX + 4;
}

/// The messaging version of the mutations in files of a version.
pub fn messaging_version(version: i32) -> u32 {
    match version {
        1 => 10,
        2 => 12,
        _ => 13,
    }
}

fn storage(parameters: &str) -> Option<Storage> {
    let parsed: Value = serde_json::from_str(parameters).ok()?;
    let object = parsed.as_object()?;
    if object.contains_key("encryption") {
        return Some(Storage::Encrypted);
    }
    Some(match object.get("compression") {
        Some(compression) => {
            let class = compression.get("class_name").and_then(Value::as_str);
            let class = class.unwrap_or("unnamed").to_owned();
            let codec = Codec::from_class(&class);
            Storage::Compressed(class, codec)
        }
        None => Storage::Plain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the format's reference, up to the first record.
    const EXAMPLE: [u8; 42] = [
        0, 0, 0, 2, 0, 0, 1, 0x9b, 0x76, 0xda, 0xa8, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
        0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0, 0, 0, 2, 0xb8, 0x82, 0x31, 0x24,
        0x7b, 0x7d, 0x03, 0x90, 0xe6, 0x5d,
    ];

    #[test]
    fn the_worked_example_reads() {
        let descriptor = Descriptor::decode(&EXAMPLE).unwrap();
        assert_eq!(descriptor.version, 2);
        assert_eq!(descriptor.timestamp_ms, 1_767_225_600_000);
        assert_eq!(descriptor.host_id[..3], [0, 0x11, 0x22]);
        assert_eq!(
            (descriptor.length, descriptor.storage),
            (42, Storage::Plain)
        );
    }

    #[test]
    fn what_is_written_is_the_worked_example() {
        let mut host_id = [0; 16];
        host_id.copy_from_slice(&EXAMPLE[12..28]);
        let bytes = encode_descriptor(2, 1_767_225_600_000, host_id, "{}");
        assert_eq!(bytes, EXAMPLE);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        for bit in 0..EXAMPLE.len() * 8 {
            let mut bytes = EXAMPLE;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Descriptor::decode(&bytes).is_err(), "bit {bit}");
        }
        for cut in 0..EXAMPLE.len() {
            let short = DescriptorError::Short { length: cut as u64 };
            assert_eq!(Descriptor::decode(&EXAMPLE[..cut]), Err(short));
        }
    }

    #[test]
    fn parameters_say_how_records_are_stored() {
        let lz4 = r#"{"compression":{"class_name":"LZ4Compressor"}}"#;
        assert_eq!(
            storage(lz4),
            Some(Storage::Compressed(
                "LZ4Compressor".to_owned(),
                Some(Codec::Lz4)
            ))
        );
        assert_eq!(storage(r#"{"encryption":{}}"#), Some(Storage::Encrypted));
        assert_eq!(storage(r#"{"unknown":1}"#), Some(Storage::Plain));
        assert_eq!(storage("[]"), None);
        assert_eq!(storage(""), None);
    }
}
