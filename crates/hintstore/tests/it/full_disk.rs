//! A disk that is really full: a small tmpfs, and ext4 in a file.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use hintstore::{
    Answer, Bytes, Cap, Clock as _, Config, Hint, HintStore, Level, Refusal, SystemClock, TargetId,
};

/// A file system of its own, until it is dropped.
struct Mounted {
    at: PathBuf,
    image: Option<PathBuf>,
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(args).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!(
        "{program}: {}",
        String::from_utf8_lossy(&done.stderr)
    ))
}

impl Mounted {
    fn new(kind: &str) -> Result<Self, String> {
        let name = format!("hintstore-full-{kind}-{}", std::process::id());
        let at = std::env::temp_dir().join(name);
        fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        let mut mounted = Self { image: None, at };
        let at = mounted.at.to_string_lossy().into_owned();
        if kind == "tmpfs" {
            run("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs", &at])?;
            return Ok(mounted);
        }
        let image = mounted.at.with_extension("image");
        let path = image.to_string_lossy().into_owned();
        run("truncate", &["-s", "32M", &path])?;
        mounted.image = Some(image);
        run("mkfs.ext4", &["-qF", &path])?;
        run("mount", &["-o", "loop", &path, &at])?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(run("umount", &[&self.at.to_string_lossy()]));
        drop(fs::remove_dir(&self.at));
        self.image.take().map(fs::remove_file);
    }
}

const TARGETS: u128 = 3;

fn target(number: u128) -> TargetId {
    TargetId::from_u128(number + 1)
}

/// Appends from several threads until each was refused for space some times; gives the numbers that
/// were acknowledged.
fn fill(store: &HintStore, numbers: &AtomicU64) -> BTreeSet<u64> {
    let all = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for to in 0..TARGETS {
            let all = &all;
            scope.spawn(move || {
                let (mut refused, mut accepted) = (0, false);
                while refused < 50 {
                    let number = numbers.fetch_add(1, SeqCst);
                    let mut payload = number.to_string().into_bytes();
                    payload.resize(5000, b' ');
                    let life = Duration::from_hours(240);
                    let hint = Hint::new(target(to), SystemClock.wall(), life, &payload);
                    if let Ok(receipt) = store.append(hint, Level::Durable) {
                        assert_eq!(receipt.level, Level::Durable);
                        all.lock().unwrap().insert(number);
                        accepted = true;
                        continue;
                    }
                    refused += 1;
                    if !accepted {
                        // What was just left may be entered once more: for a moment.
                        thread::park_timeout(Duration::from_millis(100));
                    }
                }
            });
        }
    });
    all.into_inner().unwrap()
}

fn drain(store: &HintStore) -> BTreeSet<u64> {
    let mut heard = BTreeSet::new();
    for to in 0..TARGETS {
        while let Some(page) = store.page(target(to)).unwrap() {
            for hint in page.hints() {
                let text = std::str::from_utf8(hint.body.payload).unwrap();
                heard.insert(text.trim().parse().unwrap());
            }
            store.acknowledge(page, &Answer::delivered()).unwrap();
        }
    }
    store.checkpoint().unwrap();
    heard
}

fn full(directory: &Path, floor: u64) {
    let config = || {
        Config::new(directory).with(|config| {
            config.disk.total = Some(Bytes::new(u64::MAX));
            config.disk.target = Some(Bytes::new(u64::MAX));
            config.disk.free_floor = Some(Bytes::new(floor));
            config.writer.segment_bytes = Bytes::kib(512);
            config.writer.append_timeout = Duration::from_millis(200);
        })
    };
    let numbers = AtomicU64::new(0);
    let mut store = HintStore::open(config()).unwrap();
    for round in 0..3 {
        let acknowledged = fill(&store, &numbers);
        assert!(!acknowledged.is_empty(), "round {round}");
        let device = Refusal::Full { cap: Cap::Device };
        let snapshot = store.snapshot();
        assert!(
            snapshot.refused.get(device) > 0,
            "round {round}: {:?}",
            snapshot.refused
        );
        // Opening needs no space either.
        if round == 1 {
            drop(store.close());
            store = HintStore::open(config()).unwrap();
        }
        let heard = drain(&store);
        let lost: Vec<_> = acknowledged.difference(&heard).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        // It is left again, by itself, within a moment of the last segment's end.
        let emptied = (0..100).any(|_| {
            store.sync(target(0)).unwrap();
            store.checkpoint().unwrap();
            let left = store.refusing().is_none();
            if !left {
                thread::park_timeout(Duration::from_millis(100));
            }
            left
        });
        assert!(emptied, "round {round}: {:?}", store.snapshot());
    }
    store.close().unwrap();
}

/// Whether this process has the capability to mount.
fn may_mount() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    held.is_some_and(|held| held >> CAP_SYS_ADMIN & 1 == 1)
}

fn on(kind: &str) {
    match Mounted::new(kind) {
        Ok(mounted) => {
            full(&mounted.at.join("to-the-brim"), 0);
            fs::remove_dir_all(mounted.at.join("to-the-brim")).unwrap();
            full(&mounted.at.join("floor"), 2 << 20);
        }
        Err(why) => {
            // Past the capture of tests: a skipped check is to be seen.
            let text = format!("skipped: no {kind}: {why}\n");
            io::stderr().write_all(text.as_bytes()).unwrap();
            // A container without the right to mount is no machine to fail on.
            let ci = std::env::var_os("CI").is_some() && may_mount();
            assert!(!ci, "a {kind} cannot be mounted: {why}");
        }
    }
}

#[test]
fn a_small_tmpfs_fills_up_under_load_and_is_left_again() {
    on("tmpfs");
}

#[test]
fn a_small_ext4_fills_up_under_load_and_is_left_again() {
    on("ext4");
}
