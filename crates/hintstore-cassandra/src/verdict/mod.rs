//! What Cassandra itself would do with a file: at start-up, and when it delivers.
//!
//! As the classes of 5.0.6 do it, with Java's assertions off; where a node has them on, as it is
//! delivered, some damage that is told as a warning here ends the file there.

mod order;
mod reader;
mod stream;

use std::{collections::HashMap, io};

use crate::{
    descriptor::{Descriptor, DescriptorError, Storage},
    read_at::ReadAt,
    record::{Item, Records},
    schema::Schema,
};

use reader::{Reader, Run};
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
/// assert_eq!(verdict.verbatim, [0]);
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
    /// this file, in the order in which they are given; -1 for one that our own walk does not find.
    pub verbatim: Vec<i64>,
    /// Which records the decoding reader gives: the way to a node of another version. Unknown
    /// without a schema.
    pub decoding: Option<Vec<i64>>,
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
        verbatim: Vec::new(),
        decoding: schema.map(|_| Vec::new()),
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
    let run = |decoding| {
        let reader = Reader {
            stream: Stream::new(&file, length, start, codec),
            decoding,
            crc: crc32fast::Hasher::new(),
        };
        reader.run()
    };
    let verbatim = run(None)?;
    let unsigned = descriptor.messaging_version() >= 13;
    let decoding = schema
        .map(|schema| run(Some((schema, unsigned))))
        .transpose()?;

    let numbers = Numbers::of(match codec {
        None => Records::plain(&file, start, length),
        Some(codec) => Records::compressed(&file, codec, start, length),
    })?;
    let runs = || [Some(&verbatim), decoding.as_ref()].into_iter().flatten();
    verdict.status = if runs().any(|run| run.failed) {
        Status::Failed
    } else if runs().any(|run| run.warned) {
        Status::Warned
    } else {
        Status::Clean
    };
    verdict.endless = runs().any(|run| run.endless);
    verdict.verbatim = numbers.of_run(&verbatim);
    verdict.decoding = decoding.map(|run| numbers.of_run(&run));
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

/// Which record is where, and which has which checksum.
#[derive(Default)]
struct Numbers {
    at: HashMap<u64, (u32, i64)>,
    with: HashMap<u32, i64>,
}

impl Numbers {
    fn of<R: ReadAt>(mut records: Records<R>) -> io::Result<Self> {
        let mut numbers = Self::default();
        while let Some(item) = records.next_item()? {
            if let Item::Intact { index, position } = item {
                let (crc, index) = (records.crc(), index.cast_signed());
                numbers.at.insert(position, (crc, index));
                numbers.with.entry(crc).or_insert(index);
            }
        }
        Ok(numbers)
    }

    /// The numbers of what a reader gave. Behind damage its positions need not be ours; the
    /// checksum tells the record then.
    fn of_run(&self, run: &Run) -> Vec<i64> {
        let number = |(position, crc): &(u64, u32)| {
            let here = self.at.get(position).filter(|(here, _)| here == crc);
            let with = || self.with.get(crc).copied().unwrap_or(-1);
            here.map_or_else(with, |(_, number)| *number)
        };
        run.returned.iter().map(number).collect()
    }
}
