//! `dump --layout`: the bytes of a file, field by field, for who writes a reader of their own or looks at damage.

use hintstore::raw::format::{
    block,
    layout::{self, Structure},
};
use hintstore_cassandra::{Storage, encode_body, encode_record, read_unsigned};
use serde_json::json;

use super::verify::tell;
use crate::{
    args::Dump,
    decode,
    filter::Filter,
    input::{
        CassandraFile, FileKind, Finding, Flow, Found, HintSource, HintView, Input, NativeFile,
        Visitor, each,
    },
    output::{Output, hex, printable, time_ms},
};

/// No more bytes of a field are shown.
const SHOWN: usize = 16;

pub(crate) fn run(dump: &Dump, output: &mut Output) -> anyhow::Result<()> {
    output.refuse_rows()?;
    let schema = decode::schema(dump.which.schema.as_ref(), output)?;
    let filter = Filter::new(&dump.which, schema.as_ref())?;
    let mut fields = 0;
    each(&dump.sources, &filter, output, |input, output| {
        for found in input.hints() {
            let mut layout = Layout {
                file: &found.name,
                filter: &filter,
                limit: dump.which.limit.unwrap_or(u64::MAX),
                packed: false,
                fields: 0,
                output,
            };
            let shown = match found.what {
                FileKind::Native => layout.native(input, found),
                _ => layout.cassandra(input, found),
            };
            fields += layout.fields;
            tell(shown, &found.name, output)?;
        }
        Ok(())
    })?;
    output.sum("fields", fields);
    Ok(())
}

struct Layout<'a> {
    file: &'a str,
    filter: &'a Filter<'a>,
    /// No more hints than this, or blocks.
    limit: u64,
    /// Hints lie in blocks that are packed: their places are those in what is unpacked.
    packed: bool,
    fields: u64,
    output: &'a mut Output,
}

impl Layout<'_> {
    fn heading(&mut self, what: &str) -> anyhow::Result<()> {
        self.output.heading(&format!("{}  {what}", self.file))?;
        self.output.text(&format!(
            "{:>10}  {:<33}  {:<20}  VALUE",
            "OFFSET", "BYTES", "FIELD"
        ))
    }

    fn field(
        &mut self,
        structure: &str,
        offset: u64,
        bytes: &[u8],
        name: &str,
        value: &str,
    ) -> anyhow::Result<()> {
        self.fields += 1;
        let shown = bytes.get(..SHOWN).unwrap_or(bytes);
        let more = if bytes.len() > SHOWN { "…" } else { "" };
        self.output.line(
            "field",
            json!({
                "file": self.file,
                "structure": structure,
                "field": name,
                "offset": offset,
                "bytes": bytes.len(),
                "hex": hex(shown),
                "value": value,
            }),
        )?;
        let shown = format!("{}{more}", hex(shown));
        self.output.text(&format!(
            "{offset:>10}  {shown:<33}  {name:<20}  {}",
            printable(value)
        ))
    }

    /// A structure of ours, by its table of fields.
    fn structure(&mut self, of: &Structure, offset: u64, bytes: &[u8]) -> anyhow::Result<()> {
        for field in of.fields {
            let Some(here) = bytes.get(field.offset..field.offset + field.size) else {
                return Ok(());
            };
            let value = value(field.name, here);
            self.field(
                of.name,
                offset + field.offset as u64,
                here,
                field.name,
                &value,
            )?;
        }
        Ok(())
    }

    fn native(&mut self, input: &Input, found: &Found) -> anyhow::Result<()> {
        let file = NativeFile::open(&input.storage, &found.name)?;
        self.heading("descriptor")?;
        let head = file.bytes(0, layout::descriptor::SIZE)?;
        self.structure(&layout::descriptor::STRUCTURE, 0, &head)?;
        let (mut blocks, limit) = (0, self.limit);
        file.blocks(&mut |header, frames| {
            if blocks >= limit {
                return Ok(Flow::Stop);
            }
            blocks += 1;
            let at = header.position.offset;
            self.heading(&format!("block {blocks}"))?;
            let bytes = file.bytes(at, block::HEADER)?;
            self.structure(&layout::block::STRUCTURE, at, &bytes)?;
            // Where they are packed only all of them together have a place.
            if header.codec == block::Codec::Plain {
                let mut from = 0;
                for end in frames {
                    let at = header.frames_at() + from;
                    let bytes = file.bytes(at, (end - from) as usize)?;
                    self.structure(&layout::frame::STRUCTURE, at, &bytes)?;
                    let body = bytes.get(layout::frame::SIZE..).unwrap_or_default();
                    let at = at + layout::frame::SIZE as u64;
                    self.field("Frame", at, body, "body", "optional fields and payload")?;
                    from = *end;
                }
            } else {
                let bytes = file.bytes(header.frames_at(), header.stored_length as usize)?;
                let text = format!("{} frames, packed by {}", header.count, header.codec.word());
                self.field("Block", header.frames_at(), &bytes, "frames", &text)?;
            }
            let bytes = file.bytes(header.table_at(), header.table_length as usize)?;
            self.field("Block", header.table_at(), &bytes, "profile table", "")?;
            Ok(Flow::Go)
        })?;
        if let Some(summary) = &file.inspected.summary {
            self.heading("footer")?;
            let head = file.bytes(summary.footer_at, layout::footer::SIZE)?;
            self.structure(&layout::footer::STRUCTURE, summary.footer_at, &head)?;
            let at = summary
                .file_length
                .saturating_sub(layout::summary::SIZE as u64);
            let bytes = file.bytes(at, layout::summary::SIZE)?;
            self.structure(&layout::summary::STRUCTURE, at, &bytes)?;
        }
        Ok(())
    }

    fn cassandra(&mut self, input: &Input, found: &Found) -> anyhow::Result<()> {
        let file = CassandraFile::open(&input.storage, &found.name)?;
        self.heading("descriptor")?;
        let length = file
            .descriptor
            .as_ref()
            .map_or(file.length, |of| of.length as u64);
        let bytes = file.bytes(0, length.min(4096) as usize)?;
        let parameters = (length as usize).saturating_sub(40);
        let fields = [
            ("version", 4),
            ("timestamp", 8),
            ("host id", 16),
            ("parameters length", 4),
            ("crc", 4),
            ("parameters", parameters),
            ("crc", 4),
        ];
        let mut at = 0;
        for (name, size) in fields {
            let here = bytes
                .get(at..(at + size).min(bytes.len()))
                .unwrap_or_default();
            let text = match name {
                "timestamp" => time_ms(big(here).cast_signed()),
                "host id" => here.try_into().map_or_else(
                    |_| String::new(),
                    |id| hintstore::TargetId::from_bytes(id).to_string(),
                ),
                "parameters" => String::from_utf8_lossy(here).into_owned(),
                "crc" => format!("{:08x}", big(here)),
                _ => big(here).to_string(),
            };
            self.field("Descriptor", at as u64, here, name, &text)?;
            at += size;
        }
        self.packed = file
            .descriptor
            .as_ref()
            .is_ok_and(|of| of.storage != Storage::Plain);
        file.walk(self)?;
        Ok(())
    }

    fn record(&mut self, hint: &HintView<'_>) -> anyhow::Result<()> {
        let HintSource::Cassandra { hint: of, .. } = &hint.from else {
            return Ok(());
        };
        let place = if self.packed {
            ", places are those in what is unpacked"
        } else {
            ""
        };
        self.heading(&format!("record {}{place}", hint.index))?;
        let body = encode_body(of.creation_time_ms, of.gcgs_s, of.mutation);
        let mut record = Vec::new();
        encode_record(&body, &mut record);
        let (updates, count) = read_unsigned(of.mutation).unwrap_or_default();
        let key = of.first_update().map_or(&[][..], |first| first.key);
        let (_, key_length) = of
            .mutation
            .get(count + 16..)
            .and_then(read_unsigned)
            .unwrap_or_default();
        let gc_grace = body.len() - 8 - of.mutation.len();
        let fields = [
            ("length", 4, body.len().to_string()),
            ("crc", 4, "of the length".to_owned()),
            ("creation time", 8, time_ms(of.creation_time_ms)),
            ("gc grace", gc_grace, format!("{} s", of.gcgs_s)),
            ("updates", count, updates.to_string()),
            (
                "table id",
                16,
                hintstore::Namespace::from_bytes(of.table_id).to_string(),
            ),
            ("key length", key_length, key.len().to_string()),
            ("partition key", key.len(), String::new()),
        ];
        let mut at = 0;
        for (name, size, text) in fields {
            let here = record.get(at..at + size).unwrap_or_default();
            self.field("Record", hint.position + at as u64, here, name, &text)?;
            at += size;
        }
        let end = record.len().saturating_sub(4);
        let rest = record.get(at..end).unwrap_or_default();
        self.field(
            "Record",
            hint.position + at as u64,
            rest,
            "rest of the mutation",
            "",
        )?;
        let crc = record.get(end..).unwrap_or_default();
        let of_all = "of the length and the body";
        self.field("Record", hint.position + end as u64, crc, "crc", of_all)
    }
}

impl Visitor for Layout<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if self.filter.taken() >= self.limit {
            return Ok(Flow::Stop);
        }
        if self.filter.has(hint) {
            self.record(hint)?;
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.output.bad(self.file, bad)
    }
}

/// What a field of ours holds, for people.
fn value(name: &str, bytes: &[u8]) -> String {
    if name.starts_with("reserved") {
        return String::new();
    }
    if name == "magic" {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(id) => hintstore::Namespace::from_bytes(id).to_string(),
        Err(_) if bytes.len() > 8 => String::new(),
        Err(_) => {
            let number = bytes
                .iter()
                .rev()
                .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
            if bytes.len() == 8 && name.contains("created") {
                time_ms(number.cast_signed())
            } else if name.contains("crc") || name.contains("magic") {
                format!("{number:08x}")
            } else {
                number.to_string()
            }
        }
    }
}

/// A number as Cassandra writes it.
fn big(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte))
}
