//! `stat`: what files say of themselves.

use hintstore::raw::format::block::Codec;
use serde_json::json;

use super::{
    dump::seconds,
    tally::{GROUP_COLUMNS, Groups},
};
use crate::{
    args::{Stat, namespace_word},
    decode,
    exit::usage,
    filter::Filter,
    input::{CassandraFile, FileKind, Found, Input, NativeFile, SideFile, each},
    output::{Output, bytes, count, span, time},
};

pub(crate) fn run(args: &Stat, output: &mut Output) -> anyhow::Result<()> {
    let schema = decode::schema(args.which.schema.as_ref(), output)?;
    let filter = Filter::new(&args.which, schema.as_ref())?;
    if let Some(html) = &args.html {
        output.refuse_rows()?;
        return super::page::run(args, html, output);
    }
    if let Some(by) = args.by {
        let now = args.as_of.now().get();
        let groups = Groups::new(by, schema.as_ref(), now);
        output.rows("group", GROUP_COLUMNS)?;
        return super::ls::by(&args.sources, &filter, false, groups, output);
    }
    if filter.is_by_hint() {
        return Err(usage(
            "what a file says of itself is of all its hints: add --by to count some",
        ));
    }
    output.refuse_rows()?;
    let mut files = 0u64;
    each(&args.sources, &filter, output, |input, output| {
        output.source_heading()?;
        input.tell_misnamed(output)?;
        for found in input.hints() {
            let looked = match found.what {
                FileKind::Native => native(input, found, output),
                _ => cassandra(input, found, output),
            };
            let walked = super::verify::tell(looked, &found.name, output)?;
            files += u64::from(walked.is_some());
        }
        Ok(())
    })?;
    output.sum("files", files);
    Ok(())
}

fn native(input: &Input, found: &Found, output: &mut Output) -> anyhow::Result<()> {
    let file = NativeFile::open(&input.storage, &found.name)?;
    output.text(&format!(
        "{} ({}, {})",
        found.name,
        file.state(),
        bytes(found.info.length)
    ))?;
    match &file.inspected.descriptor {
        Ok(descriptor) => {
            output.line(
                "file",
                json!({
                    "file": found.name,
                    "format": "native",
                    "state": file.state(),
                    "bytes": found.info.length,
                    "store": descriptor.store.to_string(),
                    "incarnation": descriptor.incarnation.to_string(),
                    "target": descriptor.target.to_string(),
                    "segment": descriptor.segment.to_string(),
                    "creation_time_ms": descriptor.created.get(),
                    "first_sequence": descriptor.first.to_string(),
                    "codec": descriptor.codec.word(),
                    "replaces": descriptor.replaces.iter().map(ToString::to_string)
                        .collect::<Vec<_>>(),
                }),
            )?;
            output.text(&format!("  store    {}", descriptor.store))?;
            output.text(&format!("  target   {}", descriptor.target))?;
            output.text(&format!("  segment  {}", descriptor.segment))?;
            output.text(&format!("  created  {}", time(descriptor.created.get())))?;
            if !descriptor.replaces.is_empty() || descriptor.codec != Codec::Plain {
                output.text(&format!(
                    "  compacted, of {} segments; blocks are {}",
                    descriptor.replaces.len(),
                    descriptor.codec.word()
                ))?;
            }
        }
        Err(_) => {
            if let Some(bad) = file.refusal() {
                output.bad(&found.name, &bad)?;
            }
        }
    }
    if let Some(summary) = file.summary()? {
        output.line(
            "footer",
            json!({
                "file": found.name,
                "sealed": file.inspected.summary.is_some(),
                "hints": summary.count,
                "blocks": summary.blocks,
                "payload_bytes": summary.payload_bytes,
                "first_sequence": summary.first.to_string(),
                "last_sequence": summary.last.to_string(),
                "oldest_creation_time_ms": summary.hints_created.min.get(),
                "newest_creation_time_ms": summary.hints_created.max.get(),
                "first_expires_at_ms": summary.deadlines.min.get(),
                "last_expires_at_ms": summary.deadlines.max.get(),
            }),
        )?;
        output.text(&format!(
            "  hints    {} in {}, sequences {} to {}, {} of payload",
            summary.count,
            count(summary.blocks, "block"),
            summary.first,
            summary.last,
            bytes(summary.payload_bytes)
        ))?;
        if summary.count > 0 {
            output.text(&format!(
                "  written  {} to {}; expires {} to {}",
                time(summary.hints_created.min.get()),
                time(summary.hints_created.max.get()),
                time(summary.deadlines.min.get()),
                time(summary.deadlines.max.get())
            ))?;
        }
    }
    let Some(footer) = file.footer()? else {
        return Ok(());
    };
    let mut rows = Vec::new();
    for entry in &footer.namespaces {
        let name = entry
            .namespace
            .map_or("(others)".to_owned(), namespace_word);
        output.line(
            "namespace",
            json!({
                "file": found.name,
                "namespace": name,
                "hints": entry.count,
                "payload_bytes": entry.payload_bytes,
                "oldest_creation_time_ms": entry.created.min.get(),
                "newest_creation_time_ms": entry.created.max.get(),
                "min_gc_grace_s": seconds(entry.gc_grace_ms.min),
                "max_gc_grace_s": seconds(entry.gc_grace_ms.max),
            }),
        )?;
        rows.push(vec![
            name,
            entry.count.to_string(),
            bytes(entry.payload_bytes),
            time(entry.created.min.get()),
            time(entry.created.max.get()),
            span(entry.gc_grace_ms.max / 1000),
        ]);
    }
    output.table(
        &["TABLE", "HINTS", "PAYLOAD", "OLDEST", "NEWEST", "GC GRACE"],
        rows,
    )
}

fn cassandra(input: &Input, found: &Found, output: &mut Output) -> anyhow::Result<()> {
    let file = CassandraFile::open(&input.storage, &found.name)?;
    output.text(&format!(
        "{} (Cassandra, {})",
        found.name,
        bytes(found.info.length)
    ))?;
    if let Some(bad) = file.refusal() {
        output.bad(&found.name, &bad)?;
    }
    let Ok(descriptor) = &file.descriptor else {
        return Ok(());
    };
    let side = match file.side_file() {
        SideFile::Stored(crc) => format!("{crc:08x}"),
        SideFile::Missing => "none: the file is open, or its node crashed".to_owned(),
        SideFile::Unreadable => "unreadable".to_owned(),
    };
    let target = hintstore::TargetId::from_bytes(descriptor.host_id).to_string();
    output.line(
        "file",
        json!({
            "file": found.name,
            "format": "cassandra",
            "bytes": found.info.length,
            "version": descriptor.version,
            "timestamp_ms": descriptor.timestamp_ms,
            "target": target,
            "parameters": descriptor.parameters,
            "descriptor_bytes": descriptor.length,
            "crc32": side,
        }),
    )?;
    output.text(&format!("  version     {}", descriptor.version))?;
    output.text(&format!("  target      {target}"))?;
    output.text(&format!("  created     {}", time(descriptor.timestamp_ms)))?;
    output.text(&format!("  parameters  {}", descriptor.parameters))?;
    output.text(&format!("  .crc32      {side}"))
}
