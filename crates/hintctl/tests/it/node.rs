//! `ctl` and `top`: a node that runs, by its socket.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use hintstore::{Config, Durability, Hint, HintStore, TargetId, TargetState, UnixMillis};
use hintstore_admin::Admin;

use crate::tool::{Folder, hintctl, skipped};

const TARGET: TargetId = TargetId::from_u128(7);

struct Node {
    folder: Folder,
    store: HintStore,
    admin: Option<Admin>,
}

impl Node {
    fn new() -> Self {
        let folder = Folder::new("node");
        let store = HintStore::open(Config::new(folder.join("hints"))).unwrap();
        let hint = Hint::new(TARGET, UnixMillis::now(), Duration::from_hours(1), b"put");
        store.append(hint, Durability::Os).unwrap();
        let admin = Admin::of(&store).serve(&folder.join("sock")).unwrap();
        Self {
            folder,
            store,
            admin: Some(admin),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }
}

#[test]
fn a_node_is_watched_and_steered() {
    let mut node = Node::new();
    let socket = node.socket();
    let socket = socket.to_str().unwrap();
    let target = TARGET.to_string();
    let run = hintctl(&["ctl", "status", socket]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(
        run.out.starts_with("1 hint waiting for 1 target, "),
        "{}",
        run.out
    );
    assert!(
        run.out.contains(&target) && run.out.contains("59m"),
        "{}",
        run.out
    );
    let run = hintctl(&["--json", "ctl", "status", socket]);
    let targets = run.of_kind("target");
    assert_eq!(targets[0]["hints"], 1);
    assert_eq!(run.lines().last().unwrap()["pending"], 1);

    let run = hintctl(&["ctl", "pause", socket, &target]);
    assert_eq!(
        (run.code, node.store.target(TARGET).state()),
        (0, TargetState::Paused)
    );
    assert!(
        run.out.contains("paused until it is resumed"),
        "{}",
        run.out
    );
    let run = hintctl(&["ctl", "limit", socket, "2MiB", "--target", &target]);
    assert_eq!(run.code, 0, "{}", run.err);
    let limit = node.store.target(TARGET).snapshot().unwrap().limit;
    assert_eq!(limit.map(hintstore::Bytes::get), Some(2 << 20));
    let run = hintctl(&["--json", "ctl", "resume", socket, &target]);
    assert_eq!(run.of_kind("done").len(), 1);
    assert_eq!(node.store.target(TARGET).state(), TargetState::Unknown);

    // Something to act on is a problem, and wrong words and places have a code each.
    let old = Hint::new(TARGET, UnixMillis::new(0), Duration::from_secs(1), b"old");
    node.store.append(old, Durability::Os).unwrap_err();
    let run = hintctl(&["ctl", "status", socket]);
    assert_eq!(run.code, 1);
    assert!(
        run.out
            .contains("critical: loss receipts, 1 of them: repair"),
        "{}",
        run.out
    );
    assert_eq!(hintctl(&["ctl", "limit", socket, "0"]).code, 2);
    assert_eq!(hintctl(&["ctl", "limit", socket, "fast"]).code, 2);
    let run = hintctl(&["ctl", "reload", socket]);
    assert_eq!(run.code, 3);
    assert!(run.err.contains("no settings"), "{}", run.err);
    node.admin = None;
    let run = hintctl(&["ctl", "status", socket]);
    assert_eq!(run.code, 3);
    assert!(
        run.err.contains("nobody serves") && run.err.contains("start the node"),
        "{}",
        run.err
    );
    let run = hintctl(&["ctl", "status", node.folder.0.to_str().unwrap()]);
    assert_eq!(run.code, 3, "{}", run.err);
}

#[test]
fn top_needs_a_terminal_and_gives_it_back() {
    let node = Node::new();
    let socket = node.socket();
    let run = hintctl(&["top", socket.to_str().unwrap()]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("hintctl ctl status"), "{}", run.err);
    let command = format!("{} top {}", env!("CARGO_BIN_EXE_hintctl"), socket.display());
    let script = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut script) = script else {
        return skipped("script of util-linux is not here");
    };
    // p pauses the target, q ends.
    script.stdin.take().unwrap().write_all(b"pq").unwrap();
    let ended = script.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{shown:?}");
    assert_eq!(node.store.target(TARGET).state(), TargetState::Paused);
    // The other screen was entered, and left again.
    let (entered, left) = (shown.find("\x1b[?1049h"), shown.rfind("\x1b[?1049l"));
    assert!(entered.is_some() && entered < left, "{shown:?}");
}
