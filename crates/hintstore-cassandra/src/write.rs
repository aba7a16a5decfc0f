//! Files as a node writes them: descriptor, records, blocks, and the checksum beside.

use std::io::{self, Write};

use byteorder::{BE, ByteOrder as _};
use serde_json::json;

use crate::{codec::Codec, descriptor::encode_descriptor};

/// Adds the record of a body to `out`.
pub fn encode_record(body: &[u8], out: &mut Vec<u8>) {
    let mut word = [0; 4];
    BE::write_u32(&mut word, body.len() as u32);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&word);
    out.extend_from_slice(&word);
    BE::write_u32(&mut word, crc.clone().finalize());
    out.extend_from_slice(&word);
    out.extend_from_slice(body);
    crc.update(body);
    BE::write_u32(&mut word, crc.finalize());
    out.extend_from_slice(&word);
}

/// Makes blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked {
    codec: Codec,
}

impl Blocked {
    pub(crate) fn new(codec: Codec) -> Self {
        Self { codec }
    }

    /// One block of these bytes.
    pub(crate) fn block(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let packed = self.codec.pack(bytes)?;
        let mut sizes = [0; 8];
        BE::write_u32(&mut sizes[..4], bytes.len() as u32);
        BE::write_u32(&mut sizes[4..], packed.len() as u32);
        Ok([&sizes, packed.as_slice()].concat())
    }
}

/// Writes a hint file.
///
/// ```
/// use hintstore_cassandra::{Descriptor, FileWriter, Item, Records, Storage};
///
/// let mut file = FileWriter::new(Vec::new(), 2, 1_767_225_600_000, [7; 16], None)?;
/// file.append(b"the body of a hint")?;
/// let (bytes, crc) = file.finish()?;
/// assert_eq!(crc, crc32fast::hash(&bytes));
///
/// let descriptor = Descriptor::decode(&bytes)?;
/// assert_eq!((descriptor.version, descriptor.storage), (2, Storage::Plain));
/// let (start, end) = (descriptor.length as u64, bytes.len() as u64);
/// let mut records = Records::plain(&bytes[..], start, end);
/// assert!(matches!(records.next_item()?, Some(Item::Intact { .. })));
/// assert_eq!(records.body(), b"the body of a hint");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileWriter<W> {
    out: W,
    crc: crc32fast::Hasher,
    codec: Option<Codec>,
    pending: Vec<u8>,
    written: u64,
}

/// What is written at once, and makes one block: as a node's own write buffer. A longer record
/// goes alone.
const BUFFER: usize = 256 << 10;

impl<W: Write> FileWriter<W> {
    /// Begins a file: writes its descriptor. `timestamp_ms` is what the file's name has too.
    pub fn new(
        out: W,
        version: i32,
        timestamp_ms: i64,
        host_id: [u8; 16],
        codec: Option<Codec>,
    ) -> io::Result<Self> {
        let parameters = match codec {
            None => "{}".to_owned(),
            Some(codec) => json!({ "compression": { "class_name": codec.class() } }).to_string(),
        };
        let mut file = Self {
            out,
            crc: crc32fast::Hasher::new(),
            codec,
            pending: Vec::new(),
            written: 0,
        };
        file.put(&encode_descriptor(
            version,
            timestamp_ms,
            host_id,
            &parameters,
        ))?;
        Ok(file)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Adds a hint by its body: creation time, `gcgs`, mutation.
    pub fn append(&mut self, body: &[u8]) -> io::Result<()> {
        if !self.pending.is_empty() && self.pending.len() + body.len() + 12 > BUFFER {
            self.flush()?;
        }
        encode_record(body, &mut self.pending);
        if self.pending.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        match self.codec {
            None => self.put(&pending)?,
            Some(codec) => self.put(&Blocked::new(codec).block(&pending)?)?,
        }
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    /// How long the file is, without what is still to be written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the file; gives its checksum, for the file beside it ([`side_file_text`]).
    pub fn finish(mut self) -> io::Result<(W, u32)> {
        if !self.pending.is_empty() {
            self.flush()?;
        }
        self.out.flush()?;
        Ok((self.out, self.crc.finalize()))
    }
}

/// What a side file holds: hex digits, without leading zeros and without an end of line.
pub fn side_file_text(crc: u32) -> String {
    format!("{crc:x}")
}
