//! The compressors that a node can be set to use, one block at a time.

use std::io;

use byteorder::{ByteOrder as _, LE};

use crate::lz4;

/// How the blocks of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// `LZ4Compressor`: the length, little-endian, and one raw LZ4 block.
    Lz4,
    /// `SnappyCompressor`: raw Snappy.
    Snappy,
    /// `DeflateCompressor`: a zlib stream.
    Deflate,
    /// `ZstdCompressor`: one frame, with its checksum.
    Zstd,
    /// `NoopCompressor`: a copy.
    Noop,
}

/// The package that a class name without a dot is in.
const PACKAGE: &str = "org.apache.cassandra.io.compress.";

const NAMES: [(Codec, &str, &str); 5] = [
    (Codec::Lz4, "lz4", "LZ4Compressor"),
    (Codec::Snappy, "snappy", "SnappyCompressor"),
    (Codec::Deflate, "deflate", "DeflateCompressor"),
    (Codec::Zstd, "zstd", "ZstdCompressor"),
    (Codec::Noop, "noop", "NoopCompressor"),
];

/// The level at which we write Zstandard: Cassandra's own default.
const ZSTD_LEVEL: i32 = 3;

impl Codec {
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(codec, ..)| *codec)
    }

    /// The codec of a compressor's class, as a descriptor names it.
    pub fn from_class(class: &str) -> Option<Self> {
        let simple = class.strip_prefix(PACKAGE).unwrap_or(class);
        let of_class = NAMES.iter().find(|(_, _, name)| *name == simple);
        of_class.map(|(codec, ..)| *codec)
    }

    /// The codec of a short name: `lz4`, `snappy`, `deflate`, `zstd`, `noop`.
    pub fn from_word(word: &str) -> Option<Self> {
        let of_word = NAMES.iter().find(|(_, name, _)| *name == word);
        of_word.map(|(codec, ..)| *codec)
    }

    fn names(self) -> (&'static str, &'static str) {
        let of_self = NAMES.iter().find(|(codec, ..)| *codec == self);
        of_self.map_or(("", ""), |(_, word, class)| (word, class))
    }

    /// Its short name.
    pub fn word(self) -> &'static str {
        self.names().0
    }

    /// The class that a descriptor names.
    pub fn class(self) -> &'static str {
        self.names().1
    }

    /// How much this number of bytes can give at most. Text packs well, but not as well as this; LZ4,
    /// Snappy and Deflate could not do better.
    pub(crate) fn most_of(self, packed: u64) -> u64 {
        let ratio = match self {
            Self::Lz4 => 255,
            Self::Snappy => 64,
            Self::Deflate => 1032,
            Self::Zstd => 1 << 14,
            Self::Noop => 1,
        };
        packed.saturating_mul(ratio)
    }

    /// How much a block gives by its own word, where it has one; else what is said of it.
    pub(crate) fn size_of(self, packed: &[u8], said: u64) -> u64 {
        let own = match self {
            Self::Lz4 => packed.get(..4).map(|size| u64::from(LE::read_u32(size))),
            Self::Snappy => snap::raw::decompress_len(packed).ok().map(|len| len as u64),
            Self::Zstd => zstd::zstd_safe::get_frame_content_size(packed)
                .ok()
                .flatten(),
            Self::Noop | Self::Deflate => None,
        };
        own.unwrap_or(said)
    }

    /// Whether `packed` may be a block that gives `size` bytes: cheap, and right for every block
    /// that was written.
    pub(crate) fn may_begin(self, packed: &[u8], size: usize) -> bool {
        match (self, packed) {
            (Self::Lz4, [a, b, c, d, _, ..]) => LE::read_u32(&[*a, *b, *c, *d]) as usize == size,
            (Self::Snappy, _) => snap::raw::decompress_len(packed).is_ok_and(|len| len == size),
            (Self::Deflate, [method, check, ..]) => {
                method & 15 == 8 && (u32::from(*method) << 8 | u32::from(*check)).is_multiple_of(31)
            }
            (Self::Zstd, [0x28, 0xb5, 0x2f, 0xfd, ..]) => true,
            (Self::Noop, _) => packed.len() >= size,
            _ => false,
        }
    }
}

/// A codec at work, with what it keeps from block to block.
pub(crate) struct Compressor {
    codec: Codec,
    inflate: flate2::Decompress,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compressor({:?})", self.codec)
    }
}

fn invalid(text: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_string())
}

impl Compressor {
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            codec,
            inflate: flate2::Decompress::new(true),
            zstd: None,
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// Unpacks one block; gives how many bytes of `packed` it took, and how many it gave. Fewer than
    /// `out` has room for are the beginning of a damaged block.
    pub(crate) fn unpack(&mut self, packed: &[u8], out: &mut [u8]) -> io::Result<(usize, usize)> {
        Ok(match self.codec {
            Codec::Lz4 => {
                let (size, block) = packed
                    .split_first_chunk::<4>()
                    .ok_or_else(|| invalid("it is too short"))?;
                if LE::read_u32(size) as usize != out.len() {
                    return Err(invalid("its two lengths differ"));
                }
                let given = match lz4_flex::block::decompress_into(block, out) {
                    Ok(given) if given == out.len() => given,
                    // What Cassandra's library takes for a block is one: its records are checked.
                    tried => {
                        let why = |_good| tried.map_or_else(invalid, |_| invalid("it is cut"));
                        let given = lz4::unpack(block, out).map_err(why)?;
                        // What is missing at the end may well be zeros, and is for Cassandra.
                        out.len().min(given + 4096)
                    }
                };
                (packed.len(), given)
            }
            Codec::Snappy => {
                let given = snap::raw::Decoder::new()
                    .decompress(packed, out)
                    .map_err(invalid)?;
                (packed.len(), given)
            }
            Codec::Deflate => {
                self.inflate.reset(true);
                let status = self
                    .inflate
                    .decompress(packed, out, flate2::FlushDecompress::Finish)
                    .map_err(invalid)?;
                if status != flate2::Status::StreamEnd {
                    return Err(invalid("the stream has no end"));
                }
                (
                    self.inflate.total_in() as usize,
                    self.inflate.total_out() as usize,
                )
            }
            Codec::Zstd => {
                let taken = zstd::zstd_safe::find_frame_compressed_size(packed)
                    .map_err(|code| invalid(zstd::zstd_safe::get_error_name(code)))?;
                let frame = packed
                    .get(..taken)
                    .ok_or_else(|| invalid("it is too short"))?;
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => none.insert(zstd::bulk::Decompressor::new()?),
                };
                (taken, zstd.decompress_to_buffer(frame, out)?)
            }
            Codec::Noop => {
                let from = packed
                    .get(..out.len())
                    .ok_or_else(|| invalid("it is too short"))?;
                out.copy_from_slice(from);
                (out.len(), out.len())
            }
        })
    }
}

impl Compressor {
    /// Unpacks as much of a damaged block as comes before the damage; gives how much that is. It is
    /// for the checksums of the records to say what of it is right.
    pub(crate) fn prefix(&mut self, packed: &[u8], out: &mut [u8]) -> usize {
        match self.codec {
            Codec::Lz4 => {
                let block = packed.get(4..).unwrap_or_default();
                lz4::unpack(block, out).unwrap_or_else(|good| good)
            }
            Codec::Deflate => {
                self.inflate.reset(true);
                let flush = flate2::FlushDecompress::None;
                // An error leaves what came before it.
                drop(self.inflate.decompress(packed, out, flush));
                self.inflate.total_out() as usize
            }
            Codec::Noop => {
                let length = packed.len().min(out.len());
                if let (Some(into), Some(from)) = (out.get_mut(..length), packed.get(..length)) {
                    into.copy_from_slice(from);
                }
                length
            }
            // One unit of their own, which is all right or not.
            Codec::Snappy | Codec::Zstd => 0,
        }
    }
}

impl Codec {
    /// Packs one block as Cassandra does.
    pub(crate) fn pack(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        Ok(match self {
            Self::Lz4 => {
                let mut packed = vec![0; 4 + lz4_flex::block::get_maximum_output_size(bytes.len())];
                let (size, block) = packed.split_at_mut(4);
                LE::write_u32(size, bytes.len() as u32);
                let length = lz4_flex::block::compress_into(bytes, block).map_err(invalid)?;
                packed.truncate(4 + length);
                packed
            }
            Self::Snappy => snap::raw::Encoder::new()
                .compress_vec(bytes)
                .map_err(invalid)?,
            Self::Deflate => {
                use std::io::Write as _;
                let mut deflate =
                    flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                deflate.write_all(bytes)?;
                deflate.finish()?
            }
            Self::Zstd => {
                let mut zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                zstd.include_checksum(true)?;
                zstd.compress(bytes)?
            }
            Self::Noop => bytes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks() {
        for (codec, word, class) in NAMES {
            assert_eq!(Codec::from_word(word), Some(codec));
            assert_eq!(Codec::from_class(class), Some(codec));
            let whole = format!("{PACKAGE}{class}");
            assert_eq!(Codec::from_class(&whole), Some(codec));
            let mut compressor = Compressor::new(codec);
            for length in [0, 1, 100, 300_000] {
                let bytes: Vec<u8> = (0..length).map(|i: u32| (i / 7 % 251) as u8).collect();
                let packed = codec.pack(&bytes).unwrap();
                assert!(codec.may_begin(&packed, bytes.len()), "{word} {length}");
                let mut out = vec![0; bytes.len()];
                let all = (packed.len(), bytes.len());
                assert_eq!(compressor.unpack(&packed, &mut out).unwrap(), all);
                assert_eq!(out, bytes);
                if length > 0 {
                    let cut = &packed[..packed.len() - 1];
                    assert!(compressor.unpack(cut, &mut out).is_err(), "{word} {length}");
                }
            }
        }
        assert_eq!(Codec::from_class("NoSuchCompressor"), None);
    }
}
