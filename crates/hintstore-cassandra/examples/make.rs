//! Makes a hint file to measure with: `make FILE BODY_BYTES MIB none|lz4|…`. Each hint inserts a
//! row of `lab.kv` of the test data's schema. `cargo xtask bench cassandra` runs it.

use std::{env, error::Error, fs::OpenOptions, io::BufWriter};

use hintstore_cassandra::{Codec, FileWriter, encode_body};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [file, body_bytes, mib, codec] = args.as_slice() else {
        return Err("make FILE BODY_BYTES MIB none|lz4|snappy|deflate|zstd|noop".into());
    };
    let (body_bytes, mib): (usize, usize) = (body_bytes.parse()?, mib.parse()?);
    let codec = Codec::from_word(codec);
    let out = OpenOptions::new().write(true).create_new(true).open(file)?;
    let now = 1_767_225_600_000;
    let mut writer = FileWriter::new(
        BufWriter::with_capacity(1 << 20, out),
        2,
        now,
        [7; 16],
        codec,
    )?;
    // Words, so that there is something to pack.
    let words = [
        "alpha ", "beta ", "gamma ", "delta ", "epsilon ", "zeta ", "eta ", "theta ",
    ];
    let mut state = 42_u64;
    let mut written = 0;
    while written < mib << 20 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963);
        let mut mutation = vec![1];
        mutation.extend_from_slice(&[0x10, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 7]);
        // Key, flags, encoding stats (about 2026), the column v, one row with a timestamp.
        mutation.push(16);
        mutation.extend(format!("{state:016x}").bytes());
        mutation.extend_from_slice(&[0x10, 0xfd, 0x26, 0xfd, 0x98, 0x58, 0x94, 0x50, 0, 0]);
        mutation.extend_from_slice(&[1, 1, b'v', 1, 0x24, 0, 0x08]);
        let head = mutation.len() + 11 + 3;
        let length = body_bytes.saturating_sub(head).max(1);
        // Two bytes hold every length up to 16,383.
        mutation.extend_from_slice(&[0x80 | (length >> 8) as u8, length as u8]);
        let mut value = Vec::with_capacity(length + 8);
        let mut bits = state;
        while value.len() < length {
            bits = bits.rotate_left(11) ^ value.len() as u64;
            let word = words.get((bits & 7) as usize).copied().unwrap_or_default();
            value.extend_from_slice(word.as_bytes());
        }
        value.truncate(length);
        mutation.extend_from_slice(&value);
        mutation.push(1);
        let body = encode_body(now, 864_000, &mutation);
        writer.append(&body)?;
        written += body.len() + 12;
    }
    writer.finish()?;
    Ok(())
}
