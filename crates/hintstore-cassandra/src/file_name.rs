//! Names of Cassandra's hint files. Identity comes from the descriptor; the name only finds them.

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// A hint file: `<host id>-<timestamp>-<version>.hints`.
    Hints,
    /// Set aside by a starting node: `….corrupt.hints`.
    Corrupt,
    /// The checksum beside a file that was closed: `….crc32`.
    SideFile,
}

impl FileName {
    /// What a name says, where it is one of Cassandra's.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(stem) = name.strip_suffix(".corrupt.hints") {
            return is_stem(stem).then_some(Self::Corrupt);
        }
        if let Some(stem) = name.strip_suffix(".hints") {
            return is_stem(stem).then_some(Self::Hints);
        }
        is_stem(name.strip_suffix(".crc32")?).then_some(Self::SideFile)
    }
}

/// `8-4-4-4-12` hex digits, `-`, digits, `-`, digits.
fn is_stem(stem: &str) -> bool {
    let parts: Vec<&str> = stem.split('-').collect();
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match parts[..] {
        [a, b, c, d, e, timestamp, version] => {
            hex(a, 8)
                && [b, c, d].iter().all(|part| hex(part, 4))
                && hex(e, 12)
                && digits(timestamp)
                && digits(version)
        }
        _ => false,
    }
}

/// The name of the checksum beside a hint file.
pub fn side_file(hints: &str) -> Option<String> {
    hints
        .strip_suffix(".hints")
        .map(|stem| format!("{stem}.crc32"))
}

/// The checksum in a side file: hex digits without leading zeros and without an end of line.
pub fn parse_side_file(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinguished() {
        let stem = "9a355670-9212-4932-96bd-55417aa90974-1795380788969-2";
        let parse = |end: &str| FileName::parse(&format!("{stem}{end}"));
        assert_eq!(parse(".hints"), Some(FileName::Hints));
        assert_eq!(parse(".corrupt.hints"), Some(FileName::Corrupt));
        assert_eq!(parse(".crc32"), Some(FileName::SideFile));
        assert_eq!(parse(".tmp"), None);
        let ours = "9a355670-9212-4932-96bd-55417aa90974-1795380788969-n1.hints";
        assert_eq!(FileName::parse(ours), None);
        assert_eq!(side_file("a.hints").as_deref(), Some("a.crc32"));
        assert_eq!(parse_side_file("da28e518"), Some(0xda28_e518));
        assert_eq!(parse_side_file("8e518"), Some(0x8_e518));
    }
}
