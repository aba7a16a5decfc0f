//! The records of format 1, byte for byte: what was written once is read for good, and written the same.
//! (Segments and store files are in the golden stores that the engine's tests read.)

use std::{fs, path::Path};

use hintstore_format::{
    Incarnation, Namespace, SegmentId, Sequence, StoreId, TargetId, UnixMillis,
    journal::{
        Cause, Checkpoint, Deferred, Discard, End, Ends, Head, Item, Loss, MissingHints, Range,
        Record, Repaired, Retired, Walk,
    },
    profile::Span,
};

const START: UnixMillis = UnixMillis::new(1_800_000_000_000);

fn target(number: u128) -> TargetId {
    TargetId::from_u128(0x9a35_5670_0000_4000_8000_0000_0000_0000 + number)
}

fn table(number: u128) -> Namespace {
    Namespace::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + number)
}

/// One of each record, in the form of this version.
fn records() -> Vec<Record> {
    let of = target(1);
    let range = |first, last| Range {
        first: Sequence::new(first),
        last: Sequence::new(last),
    };
    let retired = Retired {
        store: StoreId::from_u128(1),
        incarnation: Incarnation::new(5),
        segment: SegmentId::new(3),
        damaged: true,
    };
    let mut ended = Ends::default();
    for (count, end) in End::ALL.iter().copied().enumerate() {
        ended.add(end, count as u64 + 1);
    }
    vec![
        Record::Windows {
            unflushed_bytes: 1,
            unsynced_bytes: 2,
        },
        Record::Checkpoint(Checkpoint {
            target: of,
            up_to: Sequence::new(9),
            holes: vec![range(1, 2), range(4, 4)],
            ends: ended,
            deferred: vec![Deferred {
                segment: SegmentId::new(11),
                up_to: Sequence::new(8),
                pending: 3,
                holes: vec![range(7, 7)],
            }],
            retired: vec![retired],
        }),
        Record::Retire {
            target: of,
            retired,
        },
        Record::Fence {
            namespace: table(4),
            before: UnixMillis::new(5),
        },
        Record::Forgotten { target: target(2) },
        Record::Discard(Discard {
            target: of,
            up_to: Sequence::new(7),
            namespace: Some(table(4)),
            created_before: None,
            count: 8,
        }),
        Record::ClockConfirmed {
            wall: START,
            boot_ms: 2,
            boot: [3; 16],
        },
        Record::Missing(MissingHints {
            target: of,
            range: range(1, 5),
            count: 5,
            end: End::Lost,
            at: START,
        }),
        Record::Loss(Loss {
            target: Some(of),
            namespace: None,
            tokens: Some(Span { min: -3, max: 4 }),
            created: Span::of(START),
            hints: 6,
            bytes: 7,
            cause: Cause::Damaged,
            noticed: Span::of(START),
        }),
        Record::Repaired(Repaired {
            target: None,
            namespace: Some(table(4)),
            before: START,
        }),
    ]
}

#[test]
fn a_journal_of_every_record_is_read_and_written_as_it_was() {
    let path = "../../testdata/golden-1/records/store.journal";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let golden = fs::read(path).unwrap();
    let head = Head {
        store: StoreId::from_u128(1),
        incarnation: Incarnation::new(5),
        generation: 4,
    };
    assert_eq!(Head::decode(&golden).unwrap(), head);
    let items: Vec<Item> = Walk::new(&golden, 4).collect();
    let expected: Vec<Item> = records().into_iter().map(Item::Record).collect();
    assert_eq!(items, expected);
    let mut bytes = head.encode().to_vec();
    for record in &records() {
        record.encode(4, 0, &mut bytes);
    }
    assert_eq!(bytes, golden);
}
