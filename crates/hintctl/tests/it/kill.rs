//! `kill -9` at random moments, on a real disk: what was acknowledged is there, in order.

use crate::tool::{Folder, hintctl};

// P1
#[test]
fn acknowledged_hints_survive_sigkill_and_come_in_order() {
    // quickstart checks each hint on replay, and fails where one is missing or out of order; the
    // number decides when it kills.
    for hints in [2_000, 9_000, 30_000, 70_000, 120_000] {
        let folder = Folder::new("kill");
        let keep = folder.join("store");
        let hints = hints.to_string();
        let args = [
            "--json",
            "quickstart",
            "--hints",
            &hints,
            "--keep",
            keep.to_str().unwrap(),
        ];
        let run = hintctl(&args);
        assert_eq!(run.code, 0, "{}", run.err);
        let summary = run.of_kind("summary").pop().unwrap();
        let number = |name: &str| summary[name].as_u64().unwrap();
        assert!(number("found") >= number("converted") + number("acknowledged"));
        // A kill can cut a write short: hints of that block were not acknowledged.
        let ended = number("delivered") + number("expired") + number("lost");
        assert_eq!(ended, number("found"));
        assert!(number("found") - number("lost") >= number("converted") + number("acknowledged"));
    }
}
