//! `quickstart`: the engine at work, on real data, through a kill, with every hint checked.
//!
//! Hint files that a real Cassandra wrote are converted into a native store. A child process
//! appends to it from several threads in batches of 128 at `Durable` and says what was
//! acknowledged; in the middle of that it is killed by SIGKILL. The store is opened again and
//! replayed in order into a receiver that checks every hint.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use hintstore::{
    Boot, Clock, Durability, End, Environment, Hint, HintStore, Namespace, OsStorage, SystemClock,
    TargetId, Threads, UnixMillis,
};

use super::convert::{import, importing};
use crate::{
    args::{Quickstart, QuickstartChild},
    exit::usage,
    input::{CassandraFile, FileKind, Finding, Flow, HintView, Input, Visitor},
    interrupt::Guard,
    output::{Output, time},
};

const SETS: [&str; 2] = ["4.1-v2", "5.0-v3"];
const TARGETS: u128 = 8;
const THREADS: u64 = 4;
const BATCH: usize = 128;
const GC_GRACE: Duration = Duration::from_hours(240);

/// The system's clock, moved to where the golden data was written: its hints live for ten days.
#[derive(Debug)]
struct ShiftedClock {
    by_millis: i64,
}

impl Clock for ShiftedClock {
    fn wall(&self) -> UnixMillis {
        UnixMillis::new(SystemClock.wall().get() + self.by_millis)
    }

    fn boot(&self) -> Boot {
        SystemClock.boot()
    }

    fn boot_id(&self) -> [u8; 16] {
        SystemClock.boot_id()
    }

    fn entropy(&self) -> u64 {
        SystemClock.entropy()
    }
}

fn open(directory: &Path, by_millis: i64) -> hintstore::Result<HintStore> {
    let clock: Arc<dyn Clock> = Arc::new(ShiftedClock { by_millis });
    let storage = Arc::new(OsStorage::new(directory));
    let runner = Arc::new(Threads::new(clock.clone()));
    let environment = Environment::new(storage, clock, runner);
    // The golden hints are old; they are judged at the time they were written.
    HintStore::open_in(environment, importing(directory))
}

fn target(number: u128) -> TargetId {
    TargetId::from_u128(0x7172_0000 + number)
}

pub(crate) fn run(args: &Quickstart, output: &mut Output) -> anyhow::Result<()> {
    hintstore::install_guard().context("cannot install the guard of maps")?;
    let (directory, keep) = match &args.keep {
        Some(path) => {
            super::convert::refuse_occupied(path)?;
            (path.clone(), true)
        }
        None => (
            std::env::temp_dir().join(format!("hintstore-quickstart-{}", std::process::id())),
            false,
        ),
    };
    let _guard = (!keep).then(|| Guard::remove(&directory));
    let result = play(args, &directory, output);
    if !keep && directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    result
}

fn play(args: &Quickstart, directory: &Path, output: &mut Output) -> anyhow::Result<()> {
    let sets = golden(args)?;
    let mut receiver = Receiver::default();
    let mut newest = i64::MIN;
    for set in &sets {
        let input = Input::open(set)?;
        for file in input
            .files
            .iter()
            .filter(|file| file.what == FileKind::Cassandra)
        {
            let file = CassandraFile::open(&input.storage, &file.name)?;
            file.walk(&mut Expect {
                receiver: &mut receiver,
                newest: &mut newest,
            })?;
        }
    }
    if newest == i64::MIN {
        let text = "no hint of Cassandra's is there: name other hint directories by --golden";
        return Err(usage(text.to_owned()));
    }
    // The sets' own time: just behind their last write.
    let by_millis = newest + 1 - SystemClock.wall().get();
    output.text(&format!(
        "judged at the golden data's own time, {} UTC",
        time(newest + 1)
    ))?;

    let store = open(directory, by_millis)?;
    let mut imported = 0;
    for set in &sets {
        imported += import(&Input::open(set)?, &store, output)?.hints;
    }
    store.close()?;
    output.text(&format!(
        "converted   {imported} hints that a real Cassandra wrote, of {} nodes",
        sets.len()
    ))?;

    let acknowledged = append_and_kill(args, directory, by_millis)?;
    let total: u64 = acknowledged.iter().sum();
    output.text(&format!(
        "appended    {total} of {} hints for {TARGETS} targets from {THREADS} threads, \
         acknowledged Durable; then SIGKILL",
        args.hints
    ))?;

    let store = open(directory, by_millis)?;
    output.text(&format!("recovered   {}", store.open_report()))?;
    let found = store.ledger();
    output.text(&format!("found       {} hints pending", found.pending()))?;
    let own = found.pending() - imported;
    ensure!(
        own >= total,
        "{total} hints were acknowledged, and {own} are there"
    );

    replay(&store, &mut receiver)?;
    receiver.check(&acknowledged)?;
    let books = store.ledger();
    output.text(&format!(
        "delivered   {} hints in order, every acknowledged one among them; {} were dead before \
         they could be",
        books.ended(End::Delivered),
        books.ended(End::Expired)
    ))?;
    let rows = books.targets.iter().map(|of| {
        let ended = |end| of.ends.get(end).to_string();
        let mut row = vec![of.target.to_string(), of.accepted.to_string()];
        row.extend(End::ALL.iter().copied().map(ended));
        row.push(of.pending().to_string());
        row
    });
    let words: Vec<String> = End::ALL
        .iter()
        .map(|end| end.word().to_uppercase())
        .collect();
    let mut head = vec!["TARGET", "ACCEPTED"];
    head.extend(words.iter().map(String::as_str));
    head.push("PENDING");
    output.table(&head, rows.collect())?;
    for of in &books.targets {
        let ends: serde_json::Map<String, serde_json::Value> = End::ALL
            .iter()
            .map(|end| (end.word().to_owned(), of.ends.get(*end).into()))
            .collect();
        let fields = serde_json::json!({
            "target": of.target.to_string(),
            "accepted": of.accepted,
            "ends": ends,
            "pending": of.pending(),
        });
        output.line("ledger", fields)?;
    }
    ensure!(books.pending() == 0, "the books do not balance: {books:?}");
    store.close()?;
    for (name, value) in [
        ("converted", imported),
        ("acknowledged", total),
        ("found", found.pending()),
        ("delivered", books.ended(End::Delivered)),
        ("expired", books.ended(End::Expired)),
        ("lost", books.ended(End::Lost)),
    ] {
        output.sum(name, value);
    }
    output.text("")?;
    let looks = match &args.keep {
        Some(path) => path.display().to_string(),
        None => "testdata/cluster/5.0-v3/hints".to_owned(),
    };
    output.text(&format!("next: hintctl ls {looks}"))?;
    output.text("      looks at a directory of hints, native or Cassandra's;")?;
    output.text("      docs/embedding.md puts the engine into a storage node.")
}

/// The directories of hints to convert.
fn golden(args: &Quickstart) -> anyhow::Result<Vec<PathBuf>> {
    if !args.golden.is_empty() {
        return Ok(args.golden.clone());
    }
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/cluster");
    let sets: Vec<PathBuf> = SETS
        .iter()
        .map(|set| base.join(set).join("hints"))
        .collect();
    for set in &sets {
        ensure!(
            set.is_dir(),
            "{} is not there: run from a checkout, or name hint directories by --golden",
            set.display()
        );
    }
    Ok(sets)
}

/// Has a child append, and kills it in the middle. Gives how many hints of each thread were
/// acknowledged.
fn append_and_kill(
    args: &Quickstart,
    directory: &Path,
    by_millis: i64,
) -> anyhow::Result<Vec<u64>> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let mut child: Child = Command::new(this)
        .arg("quickstart-child")
        .arg(directory)
        .args([args.hints.to_string(), THREADS.to_string()])
        .env("HINTSTORE_QUICKSTART_SHIFT_MS", by_millis.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the child")?;
    let mut acknowledged = vec![0u64; THREADS as usize];
    let lines = BufReader::new(child.stdout.take().context("the child has no output")?).lines();
    let mut killed = false;
    // What it said before it died is read to the end: it was acknowledged.
    for line in lines {
        let line = line?;
        let Some((thread, upto)) = line.split_once(' ') else {
            continue;
        };
        let (thread, upto): (usize, u64) = (thread.parse()?, upto.parse()?);
        if let Some(place) = acknowledged.get_mut(thread) {
            *place = upto;
        }
        if !killed && acknowledged.iter().sum::<u64>() > args.hints / 2 {
            child.kill().context("cannot kill the child")?;
            killed = true;
        }
    }
    let status = child.wait()?;
    ensure!(killed, "the child ended before it was killed: {status}");
    Ok(acknowledged)
}

/// The child: appends until it is killed, and prints `thread count` after each batch that was
/// acknowledged.
pub(crate) fn child(args: &QuickstartChild) -> anyhow::Result<()> {
    let by_millis: i64 = std::env::var("HINTSTORE_QUICKSTART_SHIFT_MS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let store = open(&args.store, by_millis)?;
    let clock = ShiftedClock { by_millis };
    let share = args.hints / args.threads;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads)
            .map(|thread| {
                scope.spawn({
                    let (store, clock) = (&store, &clock);
                    move || append_share(store, clock, thread, share)
                })
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => anyhow::bail!("a thread of the child panicked"),
            }
        }
        Ok(())
    })?;
    store.close()?;
    Ok(())
}

fn append_share(
    store: &HintStore,
    clock: &ShiftedClock,
    thread: u64,
    share: u64,
) -> anyhow::Result<()> {
    let mut done = 0;
    while done < share {
        let count = (share - done).min(BATCH as u64);
        // One target a batch, another each time.
        let to = u128::from(thread + done / BATCH as u64) % TARGETS;
        let payloads: Vec<Vec<u8>> = (done..done + count)
            .map(|number| payload(thread, number))
            .collect();
        let now = clock.wall();
        let hints: Vec<Hint<'_>> = payloads
            .iter()
            .map(|payload| {
                Hint::new(target(to), now, GC_GRACE, payload).namespace(Namespace::from_u128(1))
            })
            .collect();
        for outcome in store.append_batch(&hints, Durability::Durable) {
            outcome.context("a hint of a batch was not acknowledged")?;
        }
        done += count;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{thread} {done}")?;
        out.flush()?;
    }
    Ok(())
}

/// A payload that says whose it is: thread, number, and bytes that follow from both.
fn payload(thread: u64, number: u64) -> Vec<u8> {
    let mut text = format!("{thread} {number} ").into_bytes();
    let mut state = thread << 48 ^ number;
    for _ in 0..24 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963);
        text.extend_from_slice(format!("{:08x}", state >> 32).as_bytes());
    }
    text
}

fn replay(store: &HintStore, receiver: &mut Receiver) -> anyhow::Result<()> {
    for of in store.ledger().targets {
        while let Some(page) = store.target(of.target).page()? {
            let heard = page.with(|page| {
                page.hints()
                    .try_for_each(|hint| receiver.hear(of.target, hint.body.payload))
            });
            match heard {
                Ok(heard) => {
                    heard?;
                    page.delivered()?;
                }
                // The map failed under it: the page is read again, by pread.
                Err(_) => drop(page),
            }
        }
    }
    Ok(())
}

/// Checks what it hears: nothing invented, nothing twice, all in order.
#[derive(Debug, Default)]
struct Receiver {
    /// The mutations of the golden data that live, by target, in order, and how many were heard.
    golden: HashMap<TargetId, (Vec<Vec<u8>>, usize)>,
    /// One behind the last number heard, by thread and target.
    next: HashMap<(u64, TargetId), u64>,
    heard: HashMap<u64, u64>,
}

impl Receiver {
    fn hear(&mut self, target: TargetId, payload: &[u8]) -> anyhow::Result<()> {
        if let Some((expected, heard)) = self.golden.get_mut(&target) {
            ensure!(
                expected
                    .get(*heard)
                    .is_some_and(|expected| expected == payload),
                "hint {heard} for {target} is not the one that Cassandra wrote"
            );
            *heard += 1;
            return Ok(());
        }
        let text = String::from_utf8_lossy(payload);
        let mut words = text.split(' ');
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (thread, number) = number().zip(number()).context("a hint that nobody wrote")?;
        ensure!(
            *payload == self::payload(thread, number),
            "a hint with other bytes"
        );
        let next = self.next.entry((thread, target)).or_default();
        ensure!(
            number >= *next,
            "hint {number} of thread {thread} came out of order"
        );
        *next = number + 1;
        *self.heard.entry(thread).or_default() += 1;
        Ok(())
    }

    /// Nothing that was acknowledged is missing.
    fn check(&self, acknowledged: &[u64]) -> anyhow::Result<()> {
        for (target, (expected, heard)) in &self.golden {
            let all = expected.len();
            ensure!(
                all == *heard,
                "{heard} of {all} golden hints for {target} came"
            );
        }
        for (thread, upto) in acknowledged.iter().enumerate() {
            let heard = self.heard.get(&(thread as u64)).copied().unwrap_or(0);
            // In order and none twice, so the count says that none is missing.
            ensure!(
                heard >= *upto,
                "{upto} hints of thread {thread} acknowledged, {heard} came"
            );
        }
        Ok(())
    }
}

/// Fills the receiver with what the golden data says is to come.
struct Expect<'a> {
    receiver: &'a mut Receiver,
    newest: &'a mut i64,
}

impl Visitor for Expect<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        *self.newest = hint.created_ms.max(*self.newest);
        let (expected, _) = self.receiver.golden.entry(hint.target).or_default();
        // A lifetime of nothing is dead at birth; all others live at the sets' own time.
        if !hint.lifetime.gc_grace.is_zero() {
            expected.push(hint.payload.to_vec());
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        anyhow::bail!(
            "the golden data is damaged at byte {}: {}",
            bad.position,
            bad.text
        )
    }
}
