//! One hint file of Cassandra.

use std::{
    io::{self, Read as _},
    sync::{Arc, OnceLock},
    time::Duration,
};

use hintstore::env::File;
use hintstore::raw::format::expiry::Lifetime;
use hintstore::{Namespace, OsStorage, Storage as _, TargetId};
use hintstore_cassandra::{
    BadBlock, Codec, Descriptor, DescriptorError, HintBody, Item, ReadAt, Records, Schema, Storage,
    Verdict, judge, parse_side_file, side_file,
};

use super::{Finding, Flow, HintSource, HintView, Visitor, What, claimed, misnamed_cassandra};

/// A hint file of Cassandra.
#[derive(Debug)]
pub(crate) struct CassandraFile {
    pub(crate) name: String,
    pub(crate) length: u64,
    pub(crate) descriptor: Result<Descriptor, DescriptorError>,
    bytes: Bytes,
    storage: Arc<OsStorage>,
    side_file: OnceLock<SideFile>,
}

/// How many walks run side by side. The system takes several files to say so.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
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
pub(crate) enum Bytes {
    Open(Arc<dyn File>),
    /// All of a short one, which is not open any more.
    Short(Arc<[u8]>),
}

impl ReadAt for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Open(file) => file.read_at(buffer, offset).map_err(|error| error.source),
            Self::Short(bytes) => {
                let mut rest = bytes.get(offset as usize..).unwrap_or_default();
                rest.read(buffer)
            }
        }
    }
}

/// Bytes that are read of a file at once, to begin with. It is all of most where there are many.
pub(super) const HEAD: usize = 16 << 10;

impl CassandraFile {
    pub(crate) fn open(storage: &Arc<OsStorage>, name: &str) -> anyhow::Result<Self> {
        let file = storage.open(name, false)?;
        let length = file.info()?.length;
        // Nearly all descriptors are in the first bytes.
        let mut head = vec![0; length.min(HEAD as u64) as usize];
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
        let bytes = if read as u64 == length {
            Bytes::Short(head.into())
        } else {
            Bytes::Open(file)
        };
        Ok(Self {
            name,
            length,
            descriptor,
            bytes,
            storage,
            side_file: OnceLock::new(),
        })
    }

    /// Why the records of the file cannot be read, if they cannot.
    pub(crate) fn refusal(&self) -> Option<Finding> {
        let whole = |what, text: String| Finding {
            position: 0,
            bytes: self.length,
            what,
            text,
            harmless: false,
        };
        match &self.descriptor {
            Err(DescriptorError::Version(version)) => Some(whole(
                What::Version,
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
            Err(error @ DescriptorError::Short { length: 0 }) => Some(Finding {
                harmless: true,
                ..whole(What::Empty, error.to_string())
            }),
            Err(error) => Some(whole(What::Descriptor, error.to_string())),
            Ok(Descriptor {
                storage: Storage::Compressed(class, None),
                ..
            }) => Some(whole(
                What::Compressor,
                format!(
                    "there is no compressor {class}: LZ4, Snappy, Deflate, Zstd and Noop are known"
                ),
            )),
            Ok(Descriptor {
                storage: Storage::Encrypted,
                ..
            }) => Some(whole(
                What::Encrypted,
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

    /// The name by which Cassandra opens the file, where its header can be read: it looks for files by
    /// their names, and then opens the one that the header names.
    pub(crate) fn computed_name(&self) -> Option<String> {
        let of = self.descriptor.as_ref().ok()?;
        let target = TargetId::from_bytes(of.host_id);
        Some(format!("{target}-{}-{}.hints", of.timestamp_ms, of.version))
    }

    /// Bytes of the file; fewer where it ends.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> anyhow::Result<Vec<u8>> {
        let left = self.length.saturating_sub(offset);
        let mut bytes = vec![0; (left as usize).min(length)];
        let read = self.bytes.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// How the hints of the file are saved, also where its descriptor is damaged: target and time
    /// are then those of its name, or the target is `given`; how records are stored is tried.
    pub(crate) fn salvageable(&self, given: Option<TargetId>) -> Result<Salvageable, Finding> {
        match &self.descriptor {
            Ok(descriptor) => {
                if let Some(refusal) = self.refusal() {
                    return Err(refusal);
                }
                let codec = match descriptor.storage {
                    Storage::Compressed(_, codec) => codec,
                    _ => None,
                };
                return Ok(Salvageable {
                    target: TargetId::from_bytes(descriptor.host_id),
                    // Names have no sign.
                    timestamp_ms: descriptor.timestamp_ms.max(0),
                    version: descriptor.version,
                    codec,
                    start: descriptor.length as u64,
                    notes: Vec::new(),
                });
            }
            Err(DescriptorError::Checksum { .. } | DescriptorError::Parameters) => {}
            Err(_) => {
                let refusal = self.refusal();
                return refusal.map_or_else(
                    || {
                        Err(Finding::note(
                            What::Empty,
                            "there is nothing in it".to_owned(),
                        ))
                    },
                    Err,
                );
            }
        }
        let (_, base) = self.name.rsplit_once('/').unwrap_or(("", &self.name));
        let claim = claimed(base);
        let Some(target) = claim.map(|(target, _)| target).or(given) else {
            return Err(Finding::whole(
                What::Descriptor,
                "the descriptor is damaged and the name says no target: give it with --as-target"
                    .to_owned(),
            ));
        };
        let name_version = base
            .strip_suffix(".corrupt.hints")
            .or_else(|| base.strip_suffix(".hints"))
            .and_then(|stem| stem.rsplit('-').next())
            .and_then(|version| version.parse().ok())
            .filter(|version| (1..=3).contains(version));
        let Some(version) = name_version else {
            return Err(Finding::whole(
                What::Descriptor,
                "the descriptor is damaged and the name says no version from 1 to 3: rename the \
                 file to TARGET-TIME-VERSION.hints"
                    .to_owned(),
            ));
        };
        // Records begin somewhere behind the fixed part; what comes before is passed over.
        let start = Descriptor::FIXED.min(self.length);
        let count = |codec: Option<Codec>| {
            let file = self.bytes.clone();
            let mut records = match codec {
                None => Records::plain(file, start, self.length),
                Some(codec) => Records::compressed(file, codec, start, self.length),
            };
            let mut intact = 0;
            while let Ok(Some(item)) = records.next_item() {
                intact += u64::from(matches!(item, Item::Intact { .. }));
            }
            intact
        };
        // The last of the best is taken: plain, if none is better.
        let codecs = [
            Some(Codec::Noop),
            Some(Codec::Snappy),
            Some(Codec::Deflate),
            Some(Codec::Zstd),
            Some(Codec::Lz4),
            None,
        ];
        let best = codecs.into_iter().max_by_key(|codec| count(*codec));
        let codec = best.flatten();
        let text = format!(
            "the descriptor is damaged: target {target} and version {version} are taken from {}, \
             the records read as {}",
            if claim.is_none() {
                "--as-target and its name"
            } else {
                "its name"
            },
            codec.map_or("not compressed", Codec::word)
        );
        Ok(Salvageable {
            target,
            timestamp_ms: claim.map_or(0, |(_, time)| time),
            version,
            codec,
            start,
            notes: vec![Finding::whole(What::Descriptor, text)],
        })
    }

    /// Walks the records as they are to be saved.
    pub(crate) fn walk_as(
        &self,
        plan: &Salvageable,
        visitor: &mut dyn Visitor,
    ) -> anyhow::Result<()> {
        let file = self.bytes.clone();
        let records = match plan.codec {
            None => Records::plain(file, plan.start, self.length),
            Some(codec) => Records::compressed(file, codec, plan.start, self.length),
        };
        let messaging = hintstore_cassandra::messaging_version(plan.version);
        let is_closed = || self.is_closed();
        walk(records, plan.target, messaging, &is_closed, visitor)?;
        Ok(())
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
        if let Some(computed) = self.computed_name() {
            misnamed_cassandra(&self.name, &computed, visitor)?;
        }
        let messaging = descriptor.messaging_version();
        let (from, to) = (descriptor.length as u64, self.length);
        let records = self.records(descriptor, from, to);
        walk(records, target, messaging, &|| self.is_closed(), visitor)
    }

    /// Whether its writer has closed the file, as the checksum beside it says.
    fn is_closed(&self) -> bool {
        self.side_file() != SideFile::Missing
    }

    /// Walks a long file in parts, side by side, each with a visitor of its own; they come back in
    /// order. Nothing where the file is short, or where not every part ends where the next begins,
    /// as it does in a file without damage: then it has to be walked from front to back.
    pub(crate) fn walk_in_parts<V: Visitor + Send>(
        &self,
        visitor: impl Fn() -> V,
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<Option<Vec<V>>> {
        let Ok(descriptor) = &self.descriptor else {
            return Ok(None);
        };
        let count = cores();
        if self.length < LONG || count < 2 || self.refusal().is_some() {
            return Ok(None);
        }
        let start = descriptor.length as u64;
        let each = (self.length - start) / count as u64;
        let mut borders = vec![start];
        for number in 1..count as u64 {
            let mut records = self.records(descriptor, start + each * number, self.length);
            while let Some(item) = records.next_item()? {
                if matches!(item, Item::Intact { .. }) {
                    borders.push(records.file_position());
                    break;
                }
            }
        }
        borders.push(self.length);
        if !borders.is_sorted() {
            return Ok(None);
        }
        let target = TargetId::from_bytes(descriptor.host_id);
        let messaging = descriptor.messaging_version();
        let ranges = borders
            .windows(2)
            .filter_map(|pair| pair.first().zip(pair.last()));
        let parts: Vec<anyhow::Result<Option<V>>> = std::thread::scope(|scope| {
            let walks: Vec<_> = ranges
                .map(|(from, to)| {
                    let (mut visitor, records) = (visitor(), self.records(descriptor, *from, *to));
                    scope.spawn(move || {
                        let mut whole = Whole {
                            visitor: &mut visitor,
                            intact: true,
                            progress,
                            reported: *from,
                        };
                        let odd = walk(records, target, messaging, &|| true, &mut whole)?;
                        let intact = whole.intact && !odd;
                        Ok(intact.then_some(visitor))
                    })
                })
                .collect();
            let joined = walks.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        parts.into_iter().collect()
    }

    /// What Cassandra would do with the file.
    pub(crate) fn judge(&self, schema: Option<&Schema>) -> io::Result<Verdict> {
        judge(self.bytes.clone(), self.length, schema)
    }

    /// A walk over the records in a part of the file.
    fn records(&self, descriptor: &Descriptor, from: u64, to: u64) -> Records<Bytes> {
        let file = self.bytes.clone();
        match descriptor.storage {
            Storage::Compressed(_, Some(codec)) => Records::compressed(file, codec, from, to),
            _ => Records::plain(file, from, to),
        }
    }

    /// The checksum beside the file.
    pub(crate) fn side_file(&self) -> SideFile {
        *self.side_file.get_or_init(|| self.read_side_file())
    }

    fn read_side_file(&self) -> SideFile {
        let Some(side) = side_file(&self.name) else {
            return SideFile::Missing;
        };
        let file = match self.storage.open(&side, false) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return SideFile::Missing,
            Err(_) => return SideFile::Unreadable,
        };
        let mut text = [0; 32];
        let read = file.read_at(&mut text, 0).unwrap_or(0);
        // Its writer went on since the file was opened: what was read of it was not closed then.
        let info = self.storage.info(&self.name);
        if info.is_ok_and(|info| info.length != self.length) {
            return SideFile::Missing;
        }
        // What cannot be read, or is no text, is no checksum: reported as that.
        let text = std::str::from_utf8(text.get(..read).unwrap_or_default()).ok();
        text.and_then(parse_side_file)
            .map_or(SideFile::Unreadable, SideFile::Stored)
    }

    /// The checksum of the whole file.
    pub(crate) fn checksum(&self) -> anyhow::Result<u32> {
        let borders = borders(self.length, cores() as u64);
        if let [from, to] = borders[..] {
            return Ok(self.hash(from, to)?.finalize());
        }
        let ranges = borders.iter().zip(borders.iter().skip(1));
        let parts: Vec<anyhow::Result<crc32fast::Hasher>> = std::thread::scope(|scope| {
            let hashes: Vec<_> = ranges
                .map(|(from, to)| scope.spawn(|| self.hash(*from, *to)))
                .collect();
            let joined = hashes.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut all = crc32fast::Hasher::new();
        for part in parts {
            all.combine(&part?);
        }
        Ok(all.finalize())
    }

    fn hash(&self, from: u64, to: u64) -> anyhow::Result<crc32fast::Hasher> {
        let mut crc = crc32fast::Hasher::new();
        let mut piece = vec![0; 256 << 10];
        let mut at = from;
        while at < to {
            let length = (to - at).min(piece.len() as u64) as usize;
            let read = self
                .bytes
                .read_at(piece.get_mut(..length).unwrap_or_default(), at)?;
            if read == 0 {
                break;
            }
            crc.update(piece.get(..read).unwrap_or_default());
            at += read as u64;
        }
        Ok(crc)
    }
}

/// What is longer is worth a thread.
const LONG: u64 = 16 << 20;

/// Where the parts of a file begin and end that are hashed side by side, none of them short.
fn borders(length: u64, cores: u64) -> Vec<u64> {
    let parts = (length / LONG).clamp(1, cores.max(1));
    let each = length / parts;
    let mut borders: Vec<u64> = (0..parts).map(|number| number * each).collect();
    borders.push(length);
    borders
}

/// Notices whether all of a part is intact.
struct Whole<'a, V> {
    visitor: &'a mut V,
    intact: bool,
    progress: &'a (dyn Fn(u64) + Sync),
    /// Up to where progress was reported.
    reported: u64,
}

impl<V: Visitor> Visitor for Whole<'_, V> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if hint.position >= self.reported + (1 << 20) {
            (self.progress)(hint.position - self.reported);
            self.reported = hint.position;
        }
        self.visitor.hint(hint)
    }

    fn bad(&mut self, _: &Finding) -> anyhow::Result<()> {
        self.intact = false;
        Ok(())
    }
}

/// How the hints of a file are saved.
pub(crate) struct Salvageable {
    pub(crate) target: TargetId,
    pub(crate) timestamp_ms: i64,
    pub(crate) version: i32,
    pub(crate) codec: Option<Codec>,
    start: u64,
    pub(crate) notes: Vec<Finding>,
}

impl Salvageable {
    /// What the new file is called: as its header says, or a node would not open it.
    pub(crate) fn name(&self) -> String {
        let (target, time, version) = (self.target, self.timestamp_ms, self.version);
        format!("{target}-{time}-{version}.hints")
    }
}

/// Walks records; gives whether Cassandra may see the file otherwise although all are intact.
fn walk(
    mut records: Records<Bytes>,
    target: TargetId,
    messaging_version: u32,
    is_closed: &dyn Fn() -> bool,
    visitor: &mut dyn Visitor,
) -> anyhow::Result<bool> {
    while let Some(item) = records.next_item()? {
        let (index, position) = match item {
            Item::Intact { index, position } => (index, position),
            other => {
                visitor.bad(&bad(&other, is_closed()))?;
                continue;
            }
        };
        let body = records.body();
        let Some(hint) = HintBody::decode(body) else {
            visitor.bad(&Finding {
                position,
                bytes: body.len() as u64 + 12,
                what: What::Body,
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
            payload_version: messaging_version,
            created_ms: hint.creation_time_ms,
            lifetime: Lifetime {
                gc_grace: Duration::from_secs(hint.gcgs_s),
                ttl: None,
            },
            payload: hint.mutation,
            from: HintSource::Cassandra {
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

fn bad(item: &Item, closed: bool) -> Finding {
    match *item {
        Item::Intact { position, .. } => {
            unreachable!("the record at {position} is intact")
        }
        Item::BadBody {
            index,
            position,
            length,
        } => Finding {
            position,
            bytes: length + 12,
            what: What::Checksum,
            text: format!("record {index}: the body's checksum is wrong; the next one is found"),
            harmless: false,
        },
        Item::Gap {
            position,
            bytes,
            found,
        } => Finding {
            position,
            bytes,
            what: What::Length,
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
        }) => Finding {
            position,
            bytes,
            what: What::Block,
            text: format!("{text} (the position is that in the file)"),
            harmless: torn && !closed,
        },
        Item::Torn { position, left } => Finding {
            position,
            bytes: left,
            what: What::Torn,
            text: if closed {
                "the file ends inside a record, and its .crc32 says that it was whole: cut off"
            } else {
                "the file ends inside a record: its node was stopped while writing"
            }
            .to_owned(),
            harmless: !closed,
        },
        Item::ZeroTail { position, left } => Finding {
            position,
            bytes: left,
            what: What::Zeros,
            text: "nothing but zeros: a power cut, or space reserved".to_owned(),
            harmless: !closed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{LONG, borders};

    #[test]
    fn the_parts_of_a_file_are_all_of_it_once() {
        let lengths = [
            0,
            1,
            LONG - 1,
            LONG,
            LONG + 1,
            2 * LONG - 1,
            2 * LONG,
            19_357_102,
        ];
        for length in lengths.into_iter().chain([8 * LONG + 5, u64::MAX]) {
            for cores in 0..20 {
                let borders = borders(length, cores);
                assert_eq!((borders.first(), borders.last()), (Some(&0), Some(&length)));
                assert!(borders.is_sorted() && borders.len() as u64 <= cores.max(1) + 1);
                let is_one = borders.len() == 2;
                let mut sizes = borders.windows(2).map(|pair| pair[1] - pair[0]);
                assert!(is_one || sizes.all(|size| size >= LONG), "{length} {cores}");
            }
        }
    }
}
