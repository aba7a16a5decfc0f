//! Crashes of a real process on a real disk, while threads append, deliver, retry, truncate, fence,
//! sweep and change the settings: what was acknowledged is there, and what is gone stays gone.
//!
//! ```text
//! crash                     a short share of both
//! crash kill --rounds N     the process is killed: no hint that was acknowledged as Os is lost
//! crash cut --rounds N      the file system stops, as at a power cut: no Durable hint is lost
//! ```
//!
//! A round: a child works on the store and says what it begins and what the store answered. It is stopped at
//! a random moment; then the store is opened here, and all that it delivers is held against that.
#![expect(clippy::unwrap_used, reason = "tests say what went wrong by panicking")]
#![expect(clippy::print_stdout, reason = "this is its own test runner")]

mod child;
#[path = "../it/mount.rs"]
mod mount;
mod power;
mod word;

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use hintstore::{Clock as _, Durability, End, HintStore, Ledger, SystemClock};
use hintstore_sim::Random;

use crate::{
    child::{NAMESPACES, TARGETS, config, namespace, number_of, payload, target},
    mount::Mounted,
    word::{Accepted, Word},
};

/// Rounds where nobody says how many.
const KILLS: u64 = 15;
const CUTS: u64 = 4;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["child", directory, seed] => child::run(Path::new(directory), seed.parse().unwrap()),
        ["kill", "--rounds", rounds] => kill(rounds.parse().unwrap()),
        ["cut", "--rounds", rounds] => cut(rounds.parse().unwrap()),
        // What a test runner may be given.
        _ => {
            kill(KILLS);
            cut(CUTS);
        }
    }
}

fn kill(rounds: u64) {
    let folder = Folder::new();
    let mut crash = Crash::new(folder.0.join("store"), Durability::Os);
    for _ in 0..rounds {
        // At times it is killed again before anybody looks, without a checkpoint in between.
        for _ in 0..=crash.random.below(2) {
            crash.round(|_| {});
        }
        crash.check();
    }
    println!("kill -9: {crash}");
}

/// Goes with the run.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("hintstore-kill-{}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn cut(rounds: u64) {
    let mounted = match Mounted::new("ext4", "cut", 128) {
        Ok(mounted) => mounted,
        Err(why) => return mount::skipped("ext4 in a file", &why),
    };
    let mut crash = Crash::new(mounted.at.join("store"), Durability::Durable);
    for _ in 0..rounds {
        crash.round(|stops| power::cut(&mounted, stops));
        mounted.unmount().unwrap();
        mounted.mount().unwrap();
        crash.check();
    }
    drop(mounted);
    println!("power cut: {crash}");
}

/// Hints that may be on their way without anybody having said so: one a thread that appends, and what
/// others of its block had not come to say.
const IN_FLIGHT: u64 = 4;

/// A store, and what is known of it.
struct Crash {
    store: PathBuf,
    /// What was acknowledged at this level outlives the crash.
    level: Durability,
    random: Random,
    rounds: u64,
    accepted: u64,
    /// Those that must be delivered, unless they ended.
    must: HashMap<u64, Accepted>,
    /// What was said since the last check.
    words: Vec<Word>,
    /// What is gone for good, by what was said in any round.
    gone: Vec<Word>,
    /// Those that were delivered before the store was closed in peace.
    delivered: HashSet<u64>,
    /// The books as they were then, at the least.
    books: Ledger,
    /// Hints that were only in memory when they were acknowledged, since the last check.
    in_memory: u64,
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} rounds, {} hints acknowledged, none lost, none that was gone delivered",
            self.rounds, self.accepted
        )
    }
}

impl Crash {
    fn new(store: PathBuf, level: Durability) -> Self {
        let seed = SystemClock.entropy();
        println!("seed {seed}");
        Self {
            store,
            level,
            random: Random::new(seed),
            rounds: 0,
            accepted: 0,
            must: HashMap::new(),
            words: Vec::new(),
            gone: Vec::new(),
            delivered: HashSet::new(),
            books: Ledger::default(),
            in_memory: 0,
        }
    }

    /// Lets a child work for a moment, then does what stops it, and kills it. What that calls says that
    /// from then on the child may get an answer that is not so: a call that is under way while a file system
    /// stops may succeed without effect. A machine without power says nothing any more.
    fn round(&mut self, stop: impl FnOnce(&dyn Fn())) {
        self.rounds += 1;
        let mut child = Command::new(env::current_exe().unwrap())
            .arg("child")
            .arg(&self.store)
            .arg(self.random.bits().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // At times while it still opens the store.
        let early = self.random.one_in(6);
        if !early {
            let mut first = String::new();
            lines.read_line(&mut first).unwrap();
            assert_eq!(first, "ready\n", "the store was not opened");
        }
        let said: Arc<Mutex<Vec<Word>>> = Arc::default();
        let heard = said.clone();
        let reader = thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 0 {
                // The last one may have been cut off: it was not said then.
                if line.ends_with('\n') && line != "ready\n" {
                    heard.lock().unwrap().push(line.parse().unwrap());
                }
                line.clear();
            }
        });
        let work = self.random.below(if early { 30 } else { 200 });
        thread::park_timeout(Duration::from_millis(work));
        let certain = Cell::new(usize::MAX);
        stop(&|| certain.set(said.lock().unwrap().len()));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "the child ended by itself: {status}");
        reader.join().unwrap();
        let words = std::mem::take(&mut *said.lock().unwrap());
        let (certain, words) = (certain.get(), words.into_iter().enumerate());
        let heard = words.filter_map(|(at, word)| {
            if at < certain {
                Some(word)
            } else {
                word.into_begun()
            }
        });
        let heard: Vec<Word> = heard.collect();
        // By itself: a sync of the next child covers nothing that this one had in memory.
        self.accept(&heard);
        self.words.extend(heard);
    }

    /// Takes in what the child said it was given.
    fn accept(&mut self, words: &[Word]) {
        // What a sync that is under way covers, of each target.
        let mut syncing = HashMap::new();
        let mut accepted: Vec<Accepted> = Vec::new();
        for word in words {
            match word {
                Word::Accepted(hint) => {
                    self.accepted += 1;
                    self.in_memory += u64::from(hint.level == Durability::Buffered);
                    accepted.push(hint.clone());
                }
                Word::Sync {
                    target,
                    done: false,
                } => drop(syncing.insert(*target, accepted.len())),
                Word::Sync { target, done: true } => {
                    let covered = syncing.remove(target).unwrap_or(0);
                    for hint in accepted.iter_mut().take(covered) {
                        if hint.target == *target {
                            hint.level = Durability::Durable;
                        }
                    }
                }
                _ => {}
            }
        }
        for hint in accepted {
            if hint.level >= self.level {
                self.must.insert(hint.number, hint);
            }
        }
    }

    /// Opens the store, and holds all that it gives against what the child said.
    fn check(&mut self) {
        let mut config = config(&self.store);
        // All is read before any of it is acknowledged.
        config.checkpoint_holes_max = 1 << 20;
        let store = HintStore::open(config).unwrap();
        // What is dead by this clock is dead: nothing is held.
        store.confirm_clock();
        let mut found = HashMap::new();
        let mut delivered = HashSet::new();
        let mut pages = Vec::new();
        for to in 0..TARGETS {
            loop {
                let now = SystemClock.wall();
                let page = store.target(target(to)).page().unwrap();
                let Some(page) = page else { break };
                for hint in page.hints() {
                    let number = number_of(hint.body.payload);
                    assert_eq!(hint.body.payload, payload(number), "{hint:?}");
                    let of = (0..NAMESPACES).find(|of| namespace(*of) == hint.namespace);
                    let hint = Accepted {
                        number,
                        target: to,
                        namespace: of.unwrap(),
                        created: hint.body.created.get(),
                        deadline: hint.body.created.get()
                            + i64::try_from(hint.lifetime.gc_grace.as_millis()).unwrap(),
                        sequence: hint.key.sequence.get(),
                        level: self.level,
                    };
                    assert!(hint.deadline > now.get(), "dead, and delivered: {hint:?}");
                    let mut gone = self.words.iter().chain(&self.gone);
                    let gone = gone.find(|word| word.ended(&hint));
                    assert_eq!(gone, None, "delivered after that: {hint:?}");
                    assert!(!self.delivered.contains(&number), "again: {hint:?}");
                    let twice = found.insert(number, hint);
                    assert_eq!(twice, None, "twice in one delivery");
                }
                pages.push(page);
            }
        }
        let now = SystemClock.wall().get();
        let open = self.open_words();
        // Up to where each of them must have come.
        let mut cuts = vec![0; open.len()];
        for hint in self.must.values() {
            if found.contains_key(&hint.number)
                || hint.deadline <= now
                || self.words.iter().any(|word| word.may_end(hint))
            {
                continue;
            }
            let by = open.iter().position(|word| word.may_have_ended(hint));
            if let Some(cut) = by.and_then(|by| cuts.get_mut(by)) {
                *cut = hint.sequence.max(*cut);
            }
            assert!(
                by.is_some(),
                "round {}: lost: {hint:?}, of {} found; {}; said: {:#?}",
                self.rounds,
                found.len(),
                store.open_report(),
                self.words_about(hint)
            );
        }
        // It discards all up to a sequence, or nothing.
        for (word, cut) in open.iter().zip(cuts) {
            let left = |hint: &&Accepted| word.may_have_ended(hint) && hint.sequence <= cut;
            let left = found.values().find(left);
            // Of two for one target nobody knows which it was.
            assert!(left.is_none() || open.len() > 1, "{word:?} left {left:?}");
        }
        let books = store.ledger();
        // One that died since it was handed out may have been swept.
        let now = SystemClock.wall().get();
        let dead = found.values().filter(|hint| hint.deadline <= now).count();
        let alive = (found.len() - dead) as u64..=found.len() as u64;
        assert!(alive.contains(&books.pending()), "{alive:?}: {books:?}");
        assert_eq!(books.excess(), 0, "{books:?}");
        assert!(books.accepted >= self.books.accepted, "{books:?}");
        for end in End::ALL.iter().copied() {
            let (before, now) = (self.books.ends.get(end), books.ends.get(end));
            assert!(now >= before, "{end:?}: {now} after {before}");
        }
        if self.level == Durability::Os {
            let in_memory = std::mem::take(&mut self.in_memory);
            // A kill tears at most what was on its way to the kernel.
            let torn = books.ends.get(End::Lost) - self.books.ends.get(End::Lost);
            assert!(torn <= in_memory + IN_FLIGHT, "{torn}: {books:?}");
        }
        // A crash tears what nobody had a receipt for: that is lost, and is no damage.
        let report = store.open_report();
        assert_eq!(books.ends.get(End::Damaged), 0, "{report} {books:?}");
        if self.random.one_in(2) {
            for page in pages {
                page.delivered().unwrap();
            }
            delivered = std::mem::take(&mut found).into_keys().collect();
            for to in (0..TARGETS).map(target) {
                let more = store.target(to).page().ok().flatten();
                assert!(more.is_none(), "more than there was before: {more:?}");
            }
            let books = store.ledger();
            assert_eq!((books.pending(), books.excess()), (0, 0), "{books:?}");
        } else {
            drop(pages);
        }
        assert_eq!(store.snapshot().health.step_panics, []);
        self.books = store.ledger();
        self.delivered.extend(delivered);
        // A store that is dropped is closed as well.
        if self.random.one_in(2) {
            store.close().unwrap();
        } else {
            drop(store);
        }
        self.must = found;
        let done = |word: &&Word| {
            matches!(
                word,
                Word::Fence { done: true, .. } | Word::Truncated { .. }
            )
        };
        self.gone.extend(self.words.iter().filter(done).cloned());
        self.words.clear();
    }

    /// What was said of a hint, or of its target at once.
    fn words_about(&self, hint: &Accepted) -> Vec<&Word> {
        let is_about = |word: &&Word| match word {
            Word::Accepted(other) => other.number == hint.number,
            Word::Ends(number) => *number == hint.number,
            Word::Fence { namespace, .. } => *namespace == hint.namespace,
            Word::Truncate { target, .. }
            | Word::Truncated { target, .. }
            | Word::Sync { target, .. } => *target == hint.target,
        };
        self.words.iter().filter(is_about).collect()
    }

    /// Truncations that were begun and that nobody said the end of.
    fn open_words(&self) -> Vec<&Word> {
        let mut words = self
            .words
            .iter()
            .filter(|word| word.is_of_operator())
            .peekable();
        let mut open = Vec::new();
        while let Some(word) = words.next() {
            let is_done = words
                .peek()
                .is_some_and(|next| matches!(next, Word::Truncated { .. }));
            if matches!(word, Word::Truncate { .. }) && !is_done {
                open.push(word);
            }
        }
        open
    }
}
