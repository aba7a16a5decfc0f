//! One hint file of Cassandra.

use std::{io, sync::Arc, time::Duration};

use hintstore::{Namespace, OsStorage, Storage as _, TargetId};
use hintstore_cassandra::{
    BadBlock, Descriptor, DescriptorError, HintBody, Item, ReadAt, Records, Schema, Storage,
    Verdict, judge, parse_side_file, side_file,
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

/// A file, as the crate of its format reads it.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(Arc<dyn File>);

impl ReadAt for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset).map_err(|error| error.source)
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
                storage: Storage::Compressed(class, None),
                ..
            }) => Some(whole(
                "compressor",
                format!(
                    "there is no compressor {class}: LZ4, Snappy, Deflate, Zstd and Noop are known"
                ),
            )),
            Ok(Descriptor {
                storage: Storage::Encrypted,
                ..
            }) => Some(whole(
                "encrypted",
                "the records are encrypted, and the key is not in the file".to_owned(),
            )),
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

    /// Walks the records; gives whether Cassandra may see the file otherwise although all of them
    /// are intact.
    pub(crate) fn walk(&self, visitor: &mut dyn Visitor) -> anyhow::Result<bool> {
        if let Some(refusal) = self.refusal() {
            visitor.bad(&refusal)?;
            return Ok(true);
        }
        let Ok(descriptor) = &self.descriptor else {
            return Ok(true);
        };
        let target = TargetId::from_bytes(descriptor.host_id);
        misnamed(&self.name, target, descriptor.timestamp_ms, visitor)?;
        let closed = self.side_file() != SideFile::Missing;
        let mut records = self.records(descriptor);
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
                    hint,
                },
            };
            if visitor.hint(&view)? == Flow::Stop {
                break;
            }
        }
        Ok(records.is_odd())
    }

    /// What Cassandra would do with the file.
    pub(crate) fn judge(&self, schema: Option<&Schema>) -> io::Result<Verdict> {
        judge(Bytes(self.file.clone()), self.length, schema)
    }

    /// A walk over the records behind the descriptor.
    pub(crate) fn records(&self, descriptor: &Descriptor) -> Records<Bytes> {
        let (file, start) = (Bytes(self.file.clone()), descriptor.length as u64);
        match descriptor.storage {
            Storage::Compressed(_, Some(codec)) => {
                Records::compressed(file, codec, start, self.length)
            }
            _ => Records::plain(file, start, self.length),
        }
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
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let read = self.file.read_at(&mut piece, at)?;
            if read == 0 {
                return Ok(crc.finalize());
            }
            crc.update(piece.get(..read).unwrap_or_default());
            at += read as u64;
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
        Item::Gap {
            position,
            bytes,
            found,
        } => Bad {
            position,
            bytes,
            what: "length",
            text: format!(
                "no record can begin here: {bytes} bytes are passed over, {}",
                if found {
                    "and behind them the next record is found"
                } else {
                    "and no record is behind them"
                }
            ),
            harmless: false,
        },
        Item::BadBlock(BadBlock {
            position,
            bytes,
            ref text,
            torn,
        }) => Bad {
            position,
            bytes,
            what: "block",
            text: format!("{text} (the position is that in the file)"),
            harmless: torn && !closed,
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
