//! What opening makes of each file, as tables without I/O. `docs/recovery.md` has the same rows in prose, and a
//! test compares the two.

use hintstore_format::descriptor::Kind;

/// Whose name a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// `STORE`, `LOCK`, the journal, `aside/`.
    Control,
    /// A file that was prepared for a segment.
    Spare,
    /// A segment's.
    Segment,
    /// Any other.
    Other,
}

/// Whether the disk reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It does.
    Done,
    /// The file went away while the directory was looked at.
    Missing,
    /// It answers with an error.
    Failed,
}

/// What is where the descriptor should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// One.
    Whole,
    /// One of another version.
    OtherVersion,
    /// None, or one whose checksum is wrong.
    Broken,
    /// Too little for one, or zeros in all of the file.
    Empty,
}

/// What is at the end of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// A footer, with which the file ends.
    Footer,
    /// A footer that the walk met: something is behind it.
    FooterInside,
    /// No footer, and all that the walk found is whole.
    WholeBlocks,
    /// No footer, and something is missing, or nothing is there.
    BlocksInDoubt,
}

/// What the journal says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retired {
    /// Nothing.
    No,
    /// All of its hints have ended.
    Delivered,
    /// The same, and damage was met in it.
    Damaged,
}

/// Whether what a segment says of itself can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claims {
    /// It can.
    Plausible,
    /// It is of an epoch that the store has not had.
    LaterEpoch,
    /// It has more hints than sequences or bytes, or two epochs.
    Impossible,
}

/// What is known of a file before it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: Name,
    pub(super) reading: Reading,
    pub(super) head: Head,
    pub(super) tail: Tail,
    pub(super) kind: Kind,
    pub(super) retired: Retired,
    pub(super) claims: Claims,
    /// Another file with its identity counts.
    pub(super) is_copy: bool,
    /// It is to replace segments, and all of them are there: no checkpoint retired them.
    pub(super) is_unfinished: bool,
    /// A sealed segment that replaces it is there.
    pub(super) is_replaced: bool,
}

impl Facts {
    /// What is known of a file by its name alone.
    pub(super) fn of_name(name: Name) -> Self {
        Self {
            name,
            reading: Reading::Done,
            head: Head::Broken,
            tail: Tail::BlocksInDoubt,
            kind: Kind::Hints,
            retired: Retired::No,
            claims: Claims::Plausible,
            is_copy: false,
            is_unfinished: false,
            is_replaced: false,
        }
    }
}

/// What opening does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryAction {
    /// Nothing: it is a file of the store's own.
    Keep,
    /// It is read as it is.
    Read,
    /// It gets its footer, then it is read.
    Seal,
    /// It is cut behind its footer, then it is read.
    Cut,
    /// It is removed.
    Remove,
    /// It goes to `aside/`, for an operator.
    SetAside,
    /// It stays where it is and counts for nothing.
    LeaveAlone,
}

impl RecoveryAction {
    /// The word for it, as tools print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Read => "read",
            Self::Seal => "seal",
            Self::Cut => "cut",
            Self::Remove => "remove",
            Self::SetAside => "set aside",
            Self::LeaveAlone => "leave alone",
        }
    }
}

macro_rules! cases {
    ($($(#[doc = $doc:literal])+ $name:ident: $word:literal => $action:ident,)+) => {
        /// Which case of recovery a file is: a row of the table in `docs/recovery.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum RecoveryCase {
            $($(#[doc = $doc])+ $name,)+
        }

        impl RecoveryCase {
            /// All cases, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word for it, as tools print it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// What opening does with such a file.
            pub fn action(self) -> RecoveryAction {
                match self {
                    $(Self::$name => RecoveryAction::$action,)+
                }
            }
        }
    };
}

cases! {
    /// A file of the store that is no segment.
    Control: "control" => Keep,
    /// A file that was prepared for a segment, and was not needed.
    Spare: "spare" => Remove,
    /// Not a file of this store.
    OtherName: "other name" => LeaveAlone,
    /// It went away while the directory was looked at.
    Vanished: "vanished" => Keep,
    /// The disk does not read it. Left there, delivery would pass it, and a later open would take its
    /// hints for delivered.
    Unreadable: "unreadable" => SetAside,
    /// Nothing in it was ever synced.
    NeverFilled: "never filled" => Remove,
    /// Another version wrote it.
    OtherVersion: "other version" => LeaveAlone,
    /// Nothing tells whose it is.
    NoDescriptor: "no descriptor" => SetAside,
    /// Dead letters, which are not delivered by themselves.
    DeadLetters: "dead letters" => LeaveAlone,
    /// All of its hints have ended: a crash came before it was removed.
    Delivered: "delivered" => Remove,
    /// The same, with damage that is kept for an operator.
    DeliveredDamaged: "delivered, damaged" => SetAside,
    /// It comes from elsewhere: believed, it would use up epochs or end hints.
    LaterEpoch: "later epoch" => LeaveAlone,
    /// Somebody made it: its summary cannot be.
    Impossible: "impossible" => SetAside,
    /// A copy of another file that is there, or of a clone of this store.
    Copy: "copy" => LeaveAlone,
    /// A crash came before the checkpoint that would have retired what it replaces.
    Unfinished: "unfinished" => Remove,
    /// The segment that replaces it is there, and something else that it replaces is gone.
    Replaced: "replaced" => Remove,
    /// A segment as it should be.
    Sealed: "sealed" => Read,
    /// A segment whose descriptor is broken: its footer names it, and it is set aside when it is done.
    SealedHeadless: "sealed, no descriptor" => Read,
    /// A crash came between the footer and the cut.
    NotCut: "not cut" => Cut,
    /// A crash left it open, and all that is in it is whole.
    NotSealed: "not sealed" => Seal,
    /// A crash left it open, and something is missing: the walk reads it.
    InDoubt: "in doubt" => Read,
}

/// The table: each file is one case.
pub(super) fn case_of(facts: &Facts) -> RecoveryCase {
    use RecoveryCase as Case;
    match facts.name {
        Name::Control => return Case::Control,
        Name::Spare => return Case::Spare,
        Name::Other => return Case::OtherName,
        Name::Segment => {}
    }
    match facts.reading {
        Reading::Done => {}
        Reading::Missing => return Case::Vanished,
        Reading::Failed => return Case::Unreadable,
    }
    // Without a footer the descriptor alone says what the file is.
    match (facts.head, facts.tail) {
        (Head::Whole, _) | (_, Tail::Footer) => {}
        (Head::OtherVersion, _) => return Case::OtherVersion,
        (Head::Empty, _) => return Case::NeverFilled,
        (Head::Broken, _) => return Case::NoDescriptor,
    }
    if facts.kind == Kind::DeadLetters {
        return Case::DeadLetters;
    }
    match facts.retired {
        Retired::No => {}
        Retired::Delivered => return Case::Delivered,
        Retired::Damaged => return Case::DeliveredDamaged,
    }
    match facts.claims {
        Claims::Plausible => {}
        Claims::LaterEpoch => return Case::LaterEpoch,
        Claims::Impossible => return Case::Impossible,
    }
    if facts.is_copy {
        return Case::Copy;
    }
    if facts.is_unfinished {
        return Case::Unfinished;
    }
    if facts.is_replaced {
        return Case::Replaced;
    }
    match (facts.tail, facts.head) {
        (Tail::Footer, Head::Whole) => Case::Sealed,
        (Tail::Footer, _) => Case::SealedHeadless,
        (Tail::FooterInside, _) => Case::NotCut,
        (Tail::WholeBlocks, _) => Case::NotSealed,
        (Tail::BlocksInDoubt, _) => Case::InDoubt,
    }
}

/// What is known of a deferred segment that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeferredFacts {
    /// The last checkpoint names it.
    pub(super) is_named: bool,
    /// The journal may have said more than can be read of it, or a segment that it names is gone.
    pub(super) in_doubt: bool,
    /// It has pending hints that are nowhere else.
    pub(super) has_orphans: bool,
}

/// What is made of a deferred segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeferredCase {
    /// It counts.
    Named,
    /// Its checkpoint was lost, or what it was merged from: it counts for what is nowhere else.
    Adopted,
    /// A crash came before the checkpoint that would have named it: what it holds is elsewhere.
    Unnamed,
}

pub(super) fn deferred_case_of(facts: DeferredFacts) -> DeferredCase {
    match facts {
        DeferredFacts { is_named: true, .. } => DeferredCase::Named,
        DeferredFacts {
            in_doubt: true,
            has_orphans: true,
            ..
        } => DeferredCase::Adopted,
        _ => DeferredCase::Unnamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of facts.
    fn all_facts() -> Vec<Facts> {
        let mut all = Vec::new();
        let names = [Name::Control, Name::Spare, Name::Segment, Name::Other];
        let readings = [Reading::Done, Reading::Missing, Reading::Failed];
        let heads = [Head::Whole, Head::OtherVersion, Head::Broken, Head::Empty];
        let tails = [
            Tail::Footer,
            Tail::FooterInside,
            Tail::WholeBlocks,
            Tail::BlocksInDoubt,
        ];
        let kinds = [Kind::Hints, Kind::Deferred, Kind::DeadLetters];
        let retireds = [Retired::No, Retired::Delivered, Retired::Damaged];
        let claimss = [Claims::Plausible, Claims::LaterEpoch, Claims::Impossible];
        for name in names {
            for reading in readings {
                for head in heads {
                    for tail in tails {
                        for kind in kinds {
                            for retired in retireds {
                                for claims in claimss {
                                    for bits in 0..8 {
                                        all.push(Facts {
                                            name,
                                            reading,
                                            head,
                                            tail,
                                            kind,
                                            retired,
                                            claims,
                                            is_copy: bits & 1 > 0,
                                            is_replaced: bits & 2 > 0,
                                            is_unfinished: bits & 4 > 0,
                                        });
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// What must hold of each file, whatever else is true of it.
    // P5
    #[test]
    fn no_facts_lose_a_hint_or_deliver_a_dead_one() {
        let all = all_facts();
        assert_eq!(all.len(), 4 * 3 * 4 * 4 * 3 * 3 * 3 * 8);
        for facts in &all {
            let (case, action) = (case_of(facts), case_of(facts).action());
            let text = format!("{facts:?} is {case:?}");
            let names_itself = facts.head == Head::Whole || facts.tail == Tail::Footer;
            if action == RecoveryAction::Remove {
                // Only what is known to hold nothing that is pending and nowhere else.
                let proven = facts.name == Name::Spare
                    || facts.name == Name::Segment
                        && facts.reading == Reading::Done
                        && (facts.head == Head::Empty && !names_itself
                            || facts.retired == Retired::Delivered
                            || facts.is_unfinished
                            || facts.is_replaced);
                assert!(proven, "{text}");
            }
            let is_read = [
                RecoveryAction::Read,
                RecoveryAction::Seal,
                RecoveryAction::Cut,
            ]
            .contains(&action);
            if is_read {
                // Nothing that has ended, is a copy, or is not this store's.
                assert_eq!(facts.name, Name::Segment, "{text}");
                assert_eq!(facts.reading, Reading::Done, "{text}");
                assert!(names_itself && facts.retired == Retired::No, "{text}");
                assert_eq!(facts.claims, Claims::Plausible, "{text}");
                let elsewhere = facts.is_copy || facts.is_unfinished || facts.is_replaced;
                assert!(!elsewhere, "{text}");
                assert_ne!(facts.kind, Kind::DeadLetters, "{text}");
            }
            // What is another's is not touched.
            if [Name::Other, Name::Control].contains(&facts.name) {
                let untouched = [RecoveryAction::Keep, RecoveryAction::LeaveAlone];
                assert!(untouched.contains(&action), "{text}");
            }
            // Only what is whole gets a footer.
            let is_whole = facts.tail == Tail::WholeBlocks;
            assert!(action != RecoveryAction::Seal || is_whole, "{text}");
        }
        for case in RecoveryCase::ALL {
            assert!(all.iter().any(|facts| case_of(facts) == *case), "{case:?}");
        }
    }

    #[test]
    fn a_deferred_segment_counts_where_its_hints_are_nowhere_else() {
        for bits in 0..8 {
            let facts = DeferredFacts {
                is_named: bits & 1 > 0,
                in_doubt: bits & 2 > 0,
                has_orphans: bits & 4 > 0,
            };
            let counts = deferred_case_of(facts) != DeferredCase::Unnamed;
            let must = facts.is_named || facts.in_doubt && facts.has_orphans;
            assert_eq!(counts, must, "{facts:?}");
        }
    }

    #[test]
    fn the_table_is_that_of_the_docs() {
        let doc = include_str!("../../../../docs/recovery.md");
        let (files, _) = doc.split_once("## The store").unwrap();
        let rows = files.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
            let word = cells.next()?.trim_end_matches('`');
            Some((word, cells.nth(1)?))
        });
        let table = RecoveryCase::ALL.iter();
        let table = table.map(|case| (case.word(), case.action().word()));
        assert_eq!(rows.collect::<Vec<_>>(), table.collect::<Vec<_>>());
    }
}
