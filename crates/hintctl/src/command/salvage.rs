//! `salvage`: every intact hint of damaged files, in new ones that Cassandra reads.

use std::{collections::BTreeSet, path::Path};

use hintstore::OsStorage;
use hintstore::env::Existing;
use hintstore_cassandra::{FileName, FileWriter, encode_body};
use serde_json::json;

use super::{
    convert::{abandon, begin, commit, own, refuse_occupied, stage, unfinished_names},
    verify::tell,
};
use crate::{
    args::Salvage,
    decode,
    exit::{unwritten, usage},
    filter::Filter,
    input::{CassandraFile, FileKind, Finding, Flow, Found, HintSource, HintView, Input, Visitor},
    interrupt::Making,
    output::{Output, bytes, count},
};

pub(crate) fn run(args: &Salvage, output: &mut Output) -> anyhow::Result<()> {
    let schema = decode::schema(args.which.schema.as_ref(), output)?;
    let filter = Filter::new(&args.which, schema.as_ref())?;
    let input = Input::open(&args.from)?;
    input.refuse_unfinished()?;
    input.tell_misnamed(output)?;
    // Also what a node has set aside itself.
    let is_cassandra = |file: &&Found| {
        file.what == FileKind::Cassandra || FileName::parse(&file.name) == Some(FileName::Corrupt)
    };
    if !input.files.iter().any(|file| is_cassandra(&file)) {
        return Err(usage(format!(
            "{} holds no hint file of Cassandra; of a native store, all that is intact comes with \
             `hintctl convert`",
            args.from.display()
        )));
    }
    refuse_occupied(&args.out)?;
    let making = Making::begin(&args.out, Some(&input.storage))?;
    let storage = OsStorage::new(&args.out);
    let (mut files, mut hints, mut lost) = (0, 0, 0);
    let mut names = BTreeSet::new();
    let bar = output.bar(input.hint_bytes());
    for found in input.files.iter().filter(is_cassandra) {
        let file = match CassandraFile::open(&input.storage, &found.name) {
            Ok(file) => file,
            Err(error) => {
                tell(Err(error), &found.name, output)?;
                continue;
            }
        };
        let mut plan = match file.salvageable(args.as_target) {
            Ok(plan) => plan,
            Err(bad) => {
                lost += u64::from(!bad.harmless);
                output.bad(&found.name, &bad)?;
                continue;
            }
        };
        for bad in &plan.notes {
            output.bad(&found.name, bad)?;
        }
        // Two files may be of one target and time: the names of new ones are all different.
        while names.contains(&plan.name()) {
            plan.timestamp_ms += 1;
        }
        let name = plan.name();
        let new = begin(&storage, &name)?;
        // Where that cannot be it is reported when the file is whole.
        drop(own(&input.storage, &found.name, &storage, &name));
        let writer = FileWriter::new(
            new,
            plan.version,
            plan.timestamp_ms,
            *plan.target.as_bytes(),
            plan.codec,
        )?;
        let mut saver = Saver {
            filter: &filter,
            writer,
            output,
            file: &found.name,
            hints: 0,
            regions: 0,
            lost_bytes: 0,
            out: &args.out,
        };
        let walked = file.walk_as(&plan, &mut bar.over(found, &mut saver));
        let (saved, regions, lost_bytes) = (saver.hints, saver.regions, saver.lost_bytes);
        let writer = saver.writer;
        tell(walked, &found.name, output)?;
        let written = if saved > 0 {
            files += 1;
            names.insert(name.clone());
            let bytes = stage(&storage, &name, writer)?;
            // For the node that is to read it: its owner, group, mode and access list.
            for made in unfinished_names(&name) {
                if let Err(error) = input.storage.copy_owner(&found.name, &storage, &made) {
                    output.remark(&format!(
                        "{name} has another owner than its source: {error}"
                    ));
                }
            }
            bytes
        } else {
            drop(writer);
            abandon(&storage, &name)?;
            0
        };
        hints += saved;
        lost += regions;
        output.line(
            "file",
            json!({
                "file": found.name,
                "out": (saved > 0).then_some(&name),
                "hints": saved,
                "lost_regions": regions,
                "lost_bytes": lost_bytes,
                "bytes": written,
            }),
        )?;
        output.text(&format!(
            "{}: {} saved{}, {} in {} lost",
            found.name,
            count(saved, "hint"),
            if saved > 0 {
                format!(" into {name}")
            } else {
                String::new()
            },
            bytes(lost_bytes),
            count(regions, "region"),
        ))?;
        bar.pass(found);
    }
    bar.finish();
    for name in &names {
        commit(&storage, name, Existing::Keep)?;
    }
    making.finish()?;
    filter.tell_unsure(output);
    output.did(format!("{} was made whole", args.out.display()));
    output.text(&format!(
        "{} of {} in {}; {} lost",
        count(hints, "hint"),
        count(files, "file"),
        args.out.display(),
        count(lost, "region")
    ))?;
    output.sum("hints", hints);
    output.sum("files", files);
    output.sum("lost_regions", lost);
    Ok(())
}

struct Saver<'a, W: std::io::Write> {
    filter: &'a Filter<'a>,
    writer: FileWriter<W>,
    output: &'a mut Output,
    file: &'a str,
    hints: u64,
    regions: u64,
    lost_bytes: u64,
    out: &'a Path,
}

impl<W: std::io::Write> Visitor for Saver<'_, W> {
    fn hint(&mut self, view: &HintView<'_>) -> anyhow::Result<Flow> {
        if let HintSource::Cassandra { hint, .. } = &view.from
            && self.filter.has(view)
        {
            let body = encode_body(hint.creation_time_ms, hint.gcgs_s, hint.mutation);
            let written = self.writer.append(&body);
            written.map_err(|error| unwritten(self.out, error))?;
            self.hints += 1;
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        // What is only a note may still be bytes that are gone: a torn tail.
        self.regions += u64::from(!bad.harmless || bad.bytes > 0);
        self.lost_bytes += bad.bytes;
        self.output.bad(self.file, bad)
    }
}
