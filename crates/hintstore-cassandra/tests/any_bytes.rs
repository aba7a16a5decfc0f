//! No decoder panics, hangs or allocates without bound, whatever it is given: the corpora that the
//! fuzzers found, and what the test data holds.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    unreachable_pub,
    reason = "tests say what went wrong by panicking; and what is shared with the fuzz targets"
)]

#[path = "../../../fuzz/any.rs"]
mod any;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every file of a folder, and of the folders in it.
fn each(folder: &Path, use_it: &mut dyn FnMut(&[u8])) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += each(&path, use_it);
        } else {
            use_it(&fs::read(&path).unwrap());
            count += 1;
        }
    }
    count
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(name)
}

#[test]
fn corpora_replay() {
    let replay = |name: &str, target: fn(&[u8])| {
        let folder = testdata(&format!("fuzz/cassandra_{name}"));
        let count = each(&folder, &mut |bytes| target(bytes));
        assert!(count > 10, "{name}: {count}");
    };
    replay("descriptor", any::descriptor);
    replay("records", any::records);
    replay("blocks", any::blocks);
    replay("mutation", any::mutation);
    replay("ddl", any::ddl);
}

#[test]
fn damaged_files_are_nothing_to_fear() {
    let folder = testdata("cassandra/damaged");
    let count = each(&folder, &mut |bytes| {
        any::descriptor(bytes);
        any::records(bytes);
        any::blocks(bytes);
        any::mutation(bytes);
        any::ddl(bytes);
    });
    assert!(count > 100);
}
