//! Names of files: built and parsed by one pair of functions. Names inform; the truth about a
//! segment is in its descriptor.

use crate::{TargetId, UnixMillis};

/// The store's identity and epoch.
pub const STORE: &str = "STORE";
/// Held locked by the one process that may write.
pub const LOCK: &str = "LOCK";
/// The control records.
pub const JOURNAL: &str = "store.journal";
/// A journal that is being written, renamed over the old one when it is whole.
pub const JOURNAL_NEW: &str = "store.journal.tmp";
/// The files of a store that are no segments.
pub const CONTROL: [&str; 4] = [STORE, LOCK, JOURNAL, JOURNAL_NEW];
/// What is kept apart for an operator.
pub const ASIDE: &str = "aside";

const SEGMENT_END: &str = "-n1.hints";

/// The name of a segment: Cassandra wants digits before `.hints`, so it takes ours for none of its own.
pub fn segment(target: TargetId, created: UnixMillis) -> String {
    format!("{target}-{}{SEGMENT_END}", created.get())
}

/// Target and creation time, where the name is that of a segment.
pub fn parse_segment(name: &str) -> Option<(TargetId, UnixMillis)> {
    let (target, created) = name.strip_suffix(SEGMENT_END)?.split_at_checked(36)?;
    let created = created.strip_prefix('-')?;
    // Only the form that `segment` builds: lower case, no plus sign, no leading zeros.
    let digits = created.strip_prefix('-').unwrap_or(created);
    let plain = !digits.starts_with(['0', '+']) || created == "0";
    if !plain || target.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Some((target.parse().ok()?, UnixMillis::new(created.parse().ok()?)))
}

/// The name of a preallocated file that is bound to no target yet.
pub fn spare(number: u64) -> String {
    format!("spare-{number}.tmp")
}

/// Whether the name is that of a spare file, to be discarded at open.
pub fn is_spare(name: &str) -> bool {
    name.strip_prefix("spare-")
        .and_then(|rest| rest.strip_suffix(".tmp"))
        .is_some_and(|number| number.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_as_built() {
        let target = TargetId::from_u128(0xabc);
        let name = segment(target, UnixMillis::new(1_795_380_788_969));
        assert_eq!(
            name,
            "00000000-0000-0000-0000-000000000abc-1795380788969-n1.hints"
        );
        assert_eq!(
            parse_segment(&name),
            Some((target, UnixMillis::new(1_795_380_788_969)))
        );
        for created in [0, 7, -7, i64::MIN, i64::MAX].map(UnixMillis::new) {
            let name = segment(target, created);
            assert_eq!(parse_segment(&name), Some((target, created)), "{name}");
        }
        assert!(is_spare(&spare(3)));
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in [
            "00000000-0000-0000-0000-000000000abc-1795380788969-2.hints",
            "00000000-0000-0000-0000-000000000ABC-1-n1.hints",
            "00000000-0000-0000-0000-000000000abc-01-n1.hints",
            "00000000-0000-0000-0000-000000000abc-+1-n1.hints",
            "00000000-0000-0000-0000-000000000abc--0-n1.hints",
            "00000000-0000-0000-0000-000000000abc---1-n1.hints",
            "00000000-0000-0000-0000-000000000abc--n1.hints",
            "-n1.hints",
            "é0000000-0000-0000-0000-000000000abc-1-n1.hints",
            "spare-.tmp",
        ] {
            assert_eq!(parse_segment(name), None, "{name}");
            assert!(!is_spare(name), "{name}");
        }
    }
}
