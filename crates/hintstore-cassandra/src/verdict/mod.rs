//! What Cassandra itself would do with a file: at start-up, and when it delivers.
//!
//! As the classes of 5.0.6 do it, with Java's assertions off; where a node has them on, as it is
//! delivered, some damage that is reported as a warning here ends the file there.

mod given;
mod order;
mod reader;
mod stream;

use std::io;

use crate::{
    descriptor::{Descriptor, DescriptorError, Storage},
    read_at::ReadAt,
    record::Records,
    schema::Schema,
};

pub use given::Given;

use given::Finder;
use reader::Reader;
use stream::Stream;

/// What Cassandra would do with a file.
///
/// ```
/// use hintstore_cassandra::{FileWriter, Schema, judge};
///
/// let mut file = FileWriter::new(Vec::new(), 2, 1_767_225_600_000, [7; 16], None)?;
/// file.append(&[0; 30])?;
/// let (mut bytes, _crc) = file.finish()?;
/// bytes.extend([0; 100]);
///
/// let verdict = judge(&bytes[..], bytes.len() as u64, None)?;
/// assert_eq!((verdict.startup.as_str(), verdict.status.word()), ("loaded", "warned"));
/// assert_eq!(verdict.verbatim.iter().collect::<Vec<_>>(), [0]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What a starting node does: `loaded`, `not loaded, …`, or the exception that keeps it from
    /// starting.
    pub startup: String,
    /// How its readers come to an end.
    pub status: Status,
    /// Which records the verbatim reader gives: the way to a node of the same version. Numbers in
    /// this file.
    pub verbatim: Given,
    /// Which records the decoding reader gives: the way to a node of another version. Unknown
    /// without a schema.
    pub decoding: Option<Given>,
    /// A reader never ends: it gives the same hints again and again.
    pub endless: bool,
}

/// How Cassandra's readers come to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Every record read, every checksum right.
    Clean,
    /// A record left out for its checksum, or a torn or zeroed tail: the file counts as delivered.
    Warned,
    /// An exception, or a reader that does not end: the file is not delivered.
    Failed,
}

impl Status {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Warned => "warned",
            Self::Failed => "failed",
        }
    }
}

/// Says what Cassandra would do with a file of this length.
pub fn judge<R: ReadAt>(file: R, length: u64, schema: Option<&Schema>) -> io::Result<Verdict> {
    let mut head = vec![0; length.min(Descriptor::LENGTH_MAX as u64) as usize];
    let read = file.read_at(&mut head, 0)?;
    head.truncate(read);
    let descriptor = Descriptor::decode(&head);
    let mut verdict = Verdict {
        startup: startup(descriptor.as_ref().err()),
        status: Status::Failed,
        verbatim: Given::default(),
        decoding: schema.map(|_| Given::default()),
        endless: false,
    };
    let Ok(descriptor) = descriptor else {
        return Ok(verdict);
    };
    let codec = match descriptor.storage {
        Storage::Plain => None,
        Storage::Compressed(_, Some(codec)) => Some(codec),
        Storage::Compressed(_, None) | Storage::Encrypted => return Ok(verdict),
    };
    let start = descriptor.length as u64;
    let records = || match codec {
        None => Records::plain(&file, start, length),
        Some(codec) => Records::compressed(&file, codec, start, length),
    };
    let run = |decoding| {
        let reader = Reader {
            stream: Stream::new(&file, length, start, codec),
            decoding,
            crc: crc32fast::Hasher::new(),
        };
        let mut finder = Finder::new(records());
        let run = reader.run(&mut finder)?;
        let given = finder.finish(run.count, records())?;
        io::Result::Ok((run, given))
    };
    let (verbatim, given) = run(None)?;
    verdict.verbatim = given;
    let mut runs = vec![verbatim];
    if let Some(schema) = schema {
        let unsigned = descriptor.messaging_version() >= 13;
        let (decoding, given) = run(Some((schema, unsigned)))?;
        verdict.decoding = Some(given);
        runs.push(decoding);
    }
    verdict.status = if runs.iter().any(|run| run.failed) {
        Status::Failed
    } else if runs.iter().any(|run| run.warned) {
        Status::Warned
    } else {
        Status::Clean
    };
    verdict.endless = runs.iter().any(|run| run.endless);
    Ok(verdict)
}

/// What a starting node says to a descriptor.
fn startup(error: Option<&DescriptorError>) -> String {
    const MISMATCH: &str =
        "org.apache.cassandra.hints.ChecksumMismatchException: Hints Descriptor CRC Mismatch";
    match error {
        None | Some(DescriptorError::Version(_)) => "loaded".to_owned(),
        Some(DescriptorError::Short { length: 0 }) => "not loaded, removed".to_owned(),
        Some(DescriptorError::Short { .. }) => "not loaded, renamed to .corrupt.hints".to_owned(),
        Some(DescriptorError::Checksum { .. }) => {
            format!("org.apache.cassandra.io.FSReadError: {MISMATCH} <- {MISMATCH}")
        }
        Some(DescriptorError::Parameters) => {
            "org.apache.cassandra.serializers.MarshalException: Corrupt HintsDescriptor \
             serialization, problem: Error decoding JSON"
                .to_owned()
        }
    }
}
