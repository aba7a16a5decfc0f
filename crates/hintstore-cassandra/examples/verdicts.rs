//! Compares our verdicts on a file with each bit flipped, and cut at each byte, with those that
//! Cassandra's own readers gave: `verdicts SCHEMA FILE LINES`. `cargo xtask verdicts` runs it.
//!
//! Also checks what salvage promises: of a plain file a flip costs the hints that it touches, of a
//! compressed one those of its block.

use std::{collections::HashMap, env, error::Error, fs, process::ExitCode};

use byteorder::{BE, ByteOrder as _};
use hintstore_cassandra::{Descriptor, Given, Item, Records, Schema, Storage, judge};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<ExitCode> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [schema, file, lines] = args.as_slice() else {
        return Err("verdicts SCHEMA FILE LINES".into());
    };
    let schema = Schema::parse(&fs::read_to_string(schema)?)?;
    let good = fs::read(file)?;
    let originals = bodies(&good)?;
    let mut numbers = HashMap::new();
    for (number, (body, _)) in (0_i64..).zip(&originals) {
        numbers.entry(body.clone()).or_insert(number);
    }
    let (mut compared, mut differ, mut lost_more) = (0_u32, 0_u32, 0_u32);
    for line in fs::read_to_string(lines)?.lines() {
        let (end, _) = line.match_indices(' ').nth(1).ok_or("a line is cut")?;
        let (change, expected) = line.split_at(end);
        let (kind, at) = change.split_once(' ').ok_or("a line is cut")?;
        let at: usize = at.parse()?;
        let mut bytes = good.clone();
        if kind == "flip" {
            let byte = bytes.get_mut(at / 8).ok_or("a bit is behind the file")?;
            *byte ^= 1 << (at % 8);
        } else {
            bytes.truncate(at);
        }
        let found = bodies(&bytes)?;
        let list = |given: &Given| {
            let number = |index: i64| {
                let body = found
                    .iter()
                    .find(|(_, number)| number.cast_signed() == index);
                let number = body.and_then(|(body, _)| numbers.get(body));
                number.copied().unwrap_or(-1).to_string()
            };
            let given: Vec<String> = given.iter().map(number).collect();
            format!("[{}]", given.join(","))
        };
        let verdict = judge(&bytes[..], bytes.len() as u64, Some(&schema))?;
        let ours = format!(
            " {} {} {}",
            verdict.status.word(),
            list(&verdict.verbatim),
            list(&verdict.decoding.unwrap_or_default())
        );
        compared += 1;
        if ours != expected {
            differ += 1;
            show(&format!("{change}: Cassandra{expected}, we{ours}"));
        }
        if kind == "flip" && Descriptor::decode(&bytes).is_ok() {
            let is_lost = |(body, _): &&(Vec<u8>, u64)| !found.iter().any(|(one, _)| one == body);
            let lost = originals.iter().filter(is_lost).count();
            let most = touched(&good, at / 8)?;
            if lost > most {
                lost_more += 1;
                show(&format!(
                    "{change}: {lost} hints are lost, {most} are touched"
                ));
            }
        }
    }
    show(&format!(
        "{compared} changes: {differ} verdicts differ, {lost_more} lose more than they touch"
    ));
    Ok(if differ + lost_more == 0 && compared > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn show(text: &str) {
    println!("{text}");
}

/// Bodies and numbers of the intact records.
fn bodies(bytes: &[u8]) -> Outcome<Vec<(Vec<u8>, u64)>> {
    let mut found = Vec::new();
    let Ok(descriptor) = Descriptor::decode(bytes) else {
        return Ok(found);
    };
    let (start, end) = (descriptor.length as u64, bytes.len() as u64);
    let mut records = match descriptor.storage {
        Storage::Plain => Records::plain(bytes, start, end),
        Storage::Compressed(_, Some(codec)) => Records::compressed(bytes, codec, start, end),
        _ => return Ok(found),
    };
    while let Some(item) = records.next_item()? {
        if let Item::Intact { index, .. } = item {
            found.push((records.body().to_vec(), index));
        }
    }
    Ok(found)
}

/// How many hints a change of a byte may cost: one of a plain file, those of a block.
fn touched(good: &[u8], at: usize) -> Outcome<usize> {
    let descriptor = Descriptor::decode(good)?;
    let Storage::Compressed(_, Some(codec)) = descriptor.storage else {
        return Ok(1);
    };
    let mut start = descriptor.length;
    while let Some(sizes) = good.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
        let end = start + 8 + BE::read_u32(&sizes[4..]) as usize;
        if at < end {
            let block = good.get(start..end).ok_or("a block is cut")?;
            let mut records = Records::compressed(block, codec, 0, block.len() as u64);
            let mut count = 0;
            while records.next_item()?.is_some() {
                count += 1;
            }
            return Ok(count);
        }
        start = end;
    }
    Ok(0)
}
