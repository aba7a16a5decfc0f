//! `bench`: it measures, says what it compares, and leaves nothing behind.

use std::fs;

use crate::tool::{Folder, hintctl};

#[test]
fn a_bench_leaves_ratios_and_no_files() {
    let folder = Folder::new("bench");
    let directory = folder.0.to_str().unwrap();
    let run = hintctl(&["--json", "bench", directory, "--rounds", "1", "--size", "2"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let series = run.of_kind("bench");
    let ratio = |name: &str| {
        let of = series
            .iter()
            .find(|line| line.get("name").is_some_and(|n| n == name));
        of.and_then(|line| line.get("ratio")?.as_f64()).unwrap()
    };
    for name in ["append 256 B, hintstore", "replay 1024 B, hintstore"] {
        assert!(ratio(name) > 0.0, "{name}");
    }
    assert!(run.of_kind("space").len() >= 3);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    assert_eq!(hintctl(&["bench", "/nowhere/at/all"]).code, 2);
    assert_eq!(hintctl(&["bench", directory, "--size", "99999999"]).code, 2);
}
