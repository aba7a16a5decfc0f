//! One hint file of Cassandra.

use std::{
    io::{self, BufReader, Read},
    sync::Arc,
    time::Duration,
};

use hintstore::{Namespace, OsStorage, Storage as _, TargetId};
use hintstore_cassandra::{
    Descriptor, DescriptorError, HintBody, Item, Records, Storage, parse_side_file, side_file,
};
use hintstore_format::expiry::Lifetime;
use hintstore_storage::File;

use super::{Bad, Flow, From, HintView, Visitor, misnamed};

/// A hint file of Cassandra.
#[derive(Debug)]
pub(crate) struct CassandraFile {
    pub(crate) name: String,
    pub(crate) length: u64,
    pub(crate) descriptor: Result<Descriptor, DescriptorError>,
    file: Arc<dyn File>,
    storage: Arc<OsStorage>,
}

/// What the checksum beside a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SideFile {
    /// There is none: the file is open, or its node crashed.
    Missing,
    /// It is none.
    Unreadable,
    /// The checksum of the whole file.
    Stored(u32),
}

/// A file as a stream, hashed on the way.
struct Stream {
    file: Arc<dyn File>,
    at: u64,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self
            .file
            .read_at(buffer, self.at)
            .map_err(|error| error.source)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl CassandraFile {
    pub(crate) fn open(storage: &Arc<OsStorage>, name: &str) -> anyhow::Result<Self> {
        let file = storage.open(name, false)?;
        let length = file.info()?.length;
        let mut head = vec![0; length.min(Descriptor::LENGTH_MAX as u64) as usize];
        // Nearly all descriptors are in the first bytes.
        head.truncate(4096);
        let read = file.read_at(&mut head, 0)?;
        head.truncate(read);
        let mut descriptor = Descriptor::decode(&head);
        if matches!(descriptor, Err(DescriptorError::Short { .. })) && read as u64 != length {
            let mut head = vec![0; length.min(Descriptor::LENGTH_MAX as u64) as usize];
            let read = file.read_at(&mut head, 0)?;
            head.truncate(read);
            descriptor = Descriptor::decode(&head);
        }
        let (name, storage) = (name.to_owned(), storage.clone());
        Ok(Self {
            name,
            length,
            descriptor,
            file,
            storage,
        })
    }

    /// Why the records of the file cannot be read, if they cannot.
    pub(crate) fn refusal(&self) -> Option<Bad> {
        let whole = |what, text: String| Bad {
            position: 0,
            bytes: self.length,
            what,
            text,
            harmless: false,
        };
        match &self.descriptor {
            Err(DescriptorError::Version(version)) => Some(whole(
                "version",
                if *version > 3 {
                    format!(
                        "hints version {version} is not known, only 1 to 3 are: read the file \
                         with a newer hintctl"
                    )
                } else {
                    format!(
                        "there is no hints version {version}, only 1 to 3: this is no hint file, or damaged"
                    )
                },
            )),
            Err(error @ DescriptorError::Short { length: 0 }) => Some(Bad {
                harmless: true,
                ..whole("empty", error.to_string())
            }),
            Err(error) => Some(whole("descriptor", error.to_string())),
            Ok(Descriptor {
                storage: Storage::Compressed(class),
                ..
            }) => Some(whole(
                "compressed",
                format!("the records are compressed ({class}), which is not supported yet"),
            )),
            Ok(Descriptor {
                storage: Storage::Encrypted,
                ..
            }) => Some(whole("encrypted", "the records are encrypted".to_owned())),
            Ok(_) => None,
        }
    }

    /// The target, where the descriptor can be read.
    pub(crate) fn target(&self) -> Option<TargetId> {
        self.descriptor
            .as_ref()
            .ok()
            .map(|d| TargetId::from_bytes(d.host_id))
    }

    /// Walks the records.
    pub(crate) fn walk(&self, visitor: &mut dyn Visitor) -> anyhow::Result<()> {
        if let Some(refusal) = self.refusal() {
            return visitor.bad(&refusal);
        }
        let Ok(descriptor) = &self.descriptor else {
            return Ok(());
        };
        let target = TargetId::from_bytes(descriptor.host_id);
        misnamed(&self.name, target, descriptor.timestamp_ms, visitor)?;
        let closed = self.side_file() != SideFile::Missing;
        let start = descriptor.length as u64;
        let stream = Stream {
            file: self.file.clone(),
            at: start,
        };
        let mut records = Records::new(
            BufReader::with_capacity(256 << 10, stream),
            start,
            self.length,
        );
        while let Some(item) = records.next_item()? {
            let (index, position) = match item {
                Item::Intact { index, position } => (index, position),
                other => {
                    visitor.bad(&bad(&other, closed))?;
                    continue;
                }
            };
            let body = records.body();
            let Some(hint) = HintBody::decode(body) else {
                visitor.bad(&Bad {
                    position,
                    bytes: body.len() as u64 + 12,
                    what: "body",
                    text: "the checksums hold, and the body is too short for a hint".to_owned(),
                    harmless: false,
                })?;
                continue;
            };
            let one = hint.updates == 1;
            let view = HintView {
                index,
                position,
                target,
                namespace: if one {
                    Namespace::from_bytes(hint.table_id)
                } else {
                    Namespace::MIXED
                },
                payload_version: descriptor.messaging_version(),
                created_ms: hint.creation_time_ms,
                lifetime: Lifetime {
                    gc_grace: Duration::from_secs(hint.gcgs_s),
                    ttl: None,
                },
                payload: hint.mutation,
                from: From::Cassandra {
                    body_bytes: body.len() as u64,
                    gcgs_s: hint.gcgs_s,
                    updates: hint.updates,
                    table_id: hint.table_id,
                },
            };
            if visitor.hint(&view)? == Flow::Stop {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The checksum beside the file.
    pub(crate) fn side_file(&self) -> SideFile {
        let Some(side) = side_file(&self.name) else {
            return SideFile::Missing;
        };
        let Ok(file) = self.storage.open(&side, false) else {
            return SideFile::Missing;
        };
        let mut text = [0; 32];
        let read = file.read_at(&mut text, 0).unwrap_or(0);
        let text = std::str::from_utf8(text.get(..read).unwrap_or_default()).ok();
        text.and_then(parse_side_file)
            .map_or(SideFile::Unreadable, SideFile::Stored)
    }

    /// The checksum of the whole file.
    pub(crate) fn checksum(&self) -> anyhow::Result<u32> {
        let mut crc = crc32fast::Hasher::new();
        let mut stream = Stream {
            file: self.file.clone(),
            at: 0,
        };
        let mut piece = vec![0; 1 << 20];
        loop {
            let read = stream.read(&mut piece)?;
            if read == 0 {
                return Ok(crc.finalize());
            }
            crc.update(piece.get(..read).unwrap_or_default());
        }
    }
}

fn bad(item: &Item, closed: bool) -> Bad {
    match *item {
        Item::Intact { position, .. } => {
            unreachable!("the record at {position} is intact")
        }
        Item::BadBody {
            index,
            position,
            length,
        } => Bad {
            position,
            bytes: length + 12,
            what: "checksum",
            text: format!("record {index}: the body's checksum is wrong; the next one is found"),
            harmless: false,
        },
        Item::BadLength { position, left } => Bad {
            position,
            bytes: left,
            what: "length",
            text: format!(
                "no record can begin here, and those behind it, if there are any, are not looked \
                 for: {left} bytes are left"
            ),
            harmless: false,
        },
        Item::Torn { position, left } => Bad {
            position,
            bytes: left,
            what: "torn",
            text: if closed {
                "the file ends inside a record, and its .crc32 says that it was whole: cut off"
            } else {
                "the file ends inside a record: its node was stopped while writing"
            }
            .to_owned(),
            harmless: !closed,
        },
        Item::ZeroTail { position, left } => Bad {
            position,
            bytes: left,
            what: "zeros",
            text: "nothing but zeros: a power cut, or space reserved".to_owned(),
            harmless: !closed,
        },
    }
}
