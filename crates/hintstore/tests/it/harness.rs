//! A store on a simulated disk, and the model that it is held against.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use hintstore::{
    AppendError, Bytes, Cause, Compact, Compaction, Config, Durability, End, Environment, Hint,
    HintStore, Limits, Loss, Namespace, Next, Receipt, Sequence, Storage, TargetId, Truncate,
    UnixMillis, Verdict, inspect::plan_recovery,
};
use hintstore_env::Clock as _;
use hintstore_sim::{
    Broken, BrokenStorage, Crash, Heard, Manual, Random, SimClock, SimStorage, SimTarget,
};

pub(crate) const START: UnixMillis = UnixMillis::new(1_800_000_000_000);
pub(crate) const LONG: Duration = Duration::from_hours(240);

pub(crate) fn target(number: u128) -> TargetId {
    TargetId::from_u128(number + 1)
}

pub(crate) fn namespace(number: u128) -> Namespace {
    Namespace::from_u128(number + 1)
}

/// A folder on the real disk that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("hintstore-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test may have removed it itself.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Small everywhere, so that a short run rolls, seals and retires.
pub(crate) fn small_config() -> Config {
    let mut config = Config::new("sim");
    config.memory = Bytes::mib(1);
    config.segment_bytes = Bytes::kib(8);
    config.hint_bytes_max = Bytes::kib(600);
    config.unsynced_bytes_max = Bytes::kib(64);
    config.page_bytes = Bytes::kib(2);
    config.checkpoint_holes_max = 3;
    // Tests that fill the disk fill it to the brim.
    config.disk.total = Some(Bytes::new(u64::MAX));
    config.disk.target = Some(Bytes::new(u64::MAX));
    config.disk.free_floor = Some(Bytes::new(0));
    config.hint_window = None;
    // What rests comes again within a second.
    config.retry_delay_max = config.retry_delay;
    config.start_jitter = Duration::ZERO;
    // Tests of the pace itself turn it on.
    config.give_way = false;
    config
}

/// What became of a hint, as far as the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is to be delivered.
    Pending,
    /// It was acknowledged; a crash may forget that.
    Acknowledged,
    /// It was acknowledged, and a checkpoint since then returned.
    Ended,
    /// The operator discarded it.
    Discarded,
}

#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) target: TargetId,
    pub(crate) sequence: Option<Sequence>,
    /// What the caller got; nothing where the append failed or was refused.
    pub(crate) level: Option<Durability>,
    pub(crate) deadline: UnixMillis,
    pub(crate) fate: Fate,
    /// It was acknowledged once; whether that survived a crash is the checkpoint's business.
    pub(crate) acknowledged: bool,
}

/// A store on a simulated disk, and all that was asked of it.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) runner: Arc<Manual>,
    pub(crate) disk: SimStorage,
    pub(crate) broken: Option<Broken>,
    pub(crate) store: Option<HintStore>,
    pub(crate) attempts: BTreeMap<u64, Attempt>,
    ears: HashMap<TargetId, SimTarget>,
    next: u64,
    /// The test settles loss receipts: they do not tell of all that ended any more.
    pub(crate) losses_settled: bool,
    /// What was found wrong, for runs that are expected to be.
    pub(crate) wrong: Vec<String>,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        Self::on(SimStorage::new(), config)
    }

    pub(crate) fn on(disk: SimStorage, config: Config) -> Self {
        let clock = Arc::new(SimClock::new(START));
        Self {
            config,
            runner: Arc::new(Manual::new(clock.clone())),
            clock,
            disk,
            broken: None,
            store: None,
            attempts: BTreeMap::new(),
            ears: HashMap::new(),
            next: 1,
            losses_settled: false,
            wrong: Vec::new(),
        }
    }

    pub(crate) fn opened(config: Config) -> Self {
        let mut world = Self::new(config);
        world.open().unwrap();
        world
    }

    pub(crate) fn open(&mut self) -> hintstore::Result<()> {
        self.runner = Arc::new(Manual::new(self.clock.clone()));
        let storage: Arc<dyn Storage> = Arc::new(self.disk.clone());
        let storage = match self.broken {
            Some(how) => Arc::new(BrokenStorage::new(storage, how)),
            None => storage,
        };
        let plan = plan_recovery(&*storage, &*self.clock);
        let environment = Environment::new(storage, self.clock.clone(), self.runner.clone());
        let store = HintStore::open_in(environment, self.config.clone())?;
        // The dry run says what opening does, whatever there is.
        let mut planned = plan?.report;
        planned.lacks = store.open_report().lacks;
        assert_eq!(&planned, store.open_report());
        self.store = Some(store);
        // Order is promised within a life of the process; what comes again after it, comes again.
        for ear in self.ears.values_mut() {
            ear.restart();
        }
        self.check_losses();
        Ok(())
    }

    /// Whatever the books count as ended undelivered, loss receipts tell of.
    fn check_losses(&mut self) {
        if self.losses_settled {
            return;
        }
        let losses = self.store().losses();
        let ends = [
            (End::Expired, Cause::Expired),
            (End::Discarded, Cause::Discarded),
            (End::Damaged, Cause::Damaged),
            (End::Lost, Cause::Crash),
        ];
        for of in self.store().ledger().targets {
            for (end, cause) in ends {
                let of_target = |loss: &&Loss| {
                    loss.cause == cause && loss.target.is_none_or(|id| id == of.target)
                };
                let covered = losses.iter().filter(of_target).map(|loss| loss.hints);
                let covered = covered.fold(0, u64::saturating_add);
                let (target, ended) = (of.target, of.ends.get(end));
                if covered < ended {
                    self.complain(format!(
                        "{target}: {ended} {}, receipts for {covered}: {losses:?}",
                        end.word()
                    ));
                }
            }
        }
    }

    pub(crate) fn store(&self) -> &HintStore {
        self.store.as_ref().unwrap()
    }

    fn complain(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// Panics with what was found wrong.
    pub(crate) fn assert_right(&self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }

    pub(crate) fn payload(number: u64, length: usize) -> Vec<u8> {
        let mut random = Random::new(number);
        let mut bytes = number.to_string().into_bytes();
        bytes.push(b' ');
        bytes.extend((0..length).map(|_| random.bits() as u8));
        bytes
    }

    fn number(payload: &[u8]) -> u64 {
        let text = payload.split(|byte| *byte == b' ').next().unwrap();
        std::str::from_utf8(text).unwrap().parse().unwrap()
    }

    /// Appends one hint; true where it was accepted at its level.
    pub(crate) fn append(&mut self, to: u128, length: usize, level: Durability) -> bool {
        self.append_living(to, length, level, LONG)
    }

    pub(crate) fn append_living(
        &mut self,
        to: u128,
        length: usize,
        level: Durability,
        gc_grace: Duration,
    ) -> bool {
        let (number, payload) = self.attempt(to, length, gc_grace);
        let hint = Hint::new(target(to), self.clock.wall(), gc_grace, &payload)
            .namespace(namespace(u128::from(number % 3)));
        let begun = self.clock.boot();
        let result = self.store().append(hint, level);
        // Whatever the disk does, it ends in time.
        let took = self.clock.boot().since(begun);
        assert!(took <= self.config.append_timeout, "{took:?}");
        let attempt = self.attempts.get_mut(&number).unwrap();
        match result {
            Ok(receipt) => {
                assert!(receipt.durability >= level);
                Self::accepted(attempt, receipt);
                true
            }
            Err(AppendError::InDoubt(receipt)) => {
                attempt.sequence = Some(receipt.sequence);
                false
            }
            Err(_) => {
                // Refused: it must never be seen.
                self.attempts.remove(&number);
                false
            }
        }
    }

    /// The call for the last hint did not return: it may be there or not.
    pub(crate) fn forget_last(&mut self) {
        if let Some(attempt) = self.attempts.get_mut(&(self.next - 1)) {
            attempt.level = None;
        }
    }

    fn accepted(attempt: &mut Attempt, receipt: Receipt) {
        attempt.sequence = Some(receipt.sequence);
        attempt.level = Some(receipt.durability);
    }

    fn attempt(&mut self, to: u128, length: usize, gc_grace: Duration) -> (u64, Vec<u8>) {
        let number = self.next;
        self.next += 1;
        let deadline = self.clock.wall().saturating_add(gc_grace);
        self.attempts.insert(
            number,
            Attempt {
                target: target(to),
                sequence: None,
                level: None,
                deadline,
                fate: Fate::Pending,
                acknowledged: false,
            },
        );
        (number, Self::payload(number, length))
    }

    pub(crate) fn append_batch(&mut self, count: u64, targets: u128, level: Durability) {
        let made: Vec<(u128, u64, Vec<u8>)> = (0..count)
            .map(|n| {
                let to = u128::from(n) % targets;
                let (number, payload) = self.attempt(to, (n * 7 % 90) as usize, LONG);
                (to, number, payload)
            })
            .collect();
        let now = self.clock.wall();
        let hints: Vec<Hint<'_>> = made
            .iter()
            .map(|(to, number, payload)| {
                Hint::new(target(*to), now, LONG, payload)
                    .namespace(namespace(u128::from(number % 3)))
            })
            .collect();
        let batch = self.store().append_batch(&hints, level);
        assert_eq!(batch.len(), hints.len());
        for ((_, number, _), outcome) in made.iter().zip(batch) {
            let attempt = self.attempts.get_mut(number).unwrap();
            match outcome {
                Ok(receipt) => {
                    assert!(receipt.durability >= level);
                    Self::accepted(attempt, receipt);
                }
                Err(AppendError::InDoubt(receipt)) => attempt.sequence = Some(receipt.sequence),
                Err(_) => drop(self.attempts.remove(number)),
            }
        }
    }

    /// Takes a page and answers it: `retry` and `reject` say which of its hints.
    pub(crate) fn deliver(
        &mut self,
        to: u128,
        retry: impl Fn(u64) -> bool,
        reject: impl Fn(u64) -> bool,
    ) -> usize {
        let page = match self.store().target(target(to)).page() {
            Ok(Some(page)) => page,
            Ok(None) => return 0,
            Err(_) if self.disk.is_cut() => return 0,
            Err(error) => {
                self.complain(format!("no page: {error:?}"));
                return 0;
            }
        };
        let mut verdicts = Vec::new();
        let mut done = Vec::new();
        let heard: Vec<(Sequence, Vec<u8>, TargetId)> = page
            .hints()
            .map(|hint| {
                (
                    hint.key.sequence,
                    hint.body.payload.to_vec(),
                    hint.key.target,
                )
            })
            .collect();
        assert_eq!(heard.len(), page.len());
        for (sequence, payload, of) in &heard {
            let number = Self::number(payload);
            self.check_delivered(number, *sequence, payload, *of);
            let ear = self.ears.entry(*of).or_default();
            if ear.hear(*sequence, payload) == Heard::OutOfOrder {
                self.complain(format!("hint {number} came out of order"));
            }
            if retry(number) {
                verdicts.push(Verdict::Retry);
                self.ears.entry(*of).or_default().put_off(*sequence);
            } else {
                verdicts.push(if reject(number) {
                    Verdict::Reject
                } else {
                    Verdict::Delivered
                });
                done.push(number);
            }
        }
        // Where dead letters could not be kept, the rejected hints come again, and only these.
        let kept = page.answer(&verdicts).is_ok();
        for (sequence, payload, of) in &heard {
            let number = Self::number(payload);
            if !kept && reject(number) {
                self.ears.entry(*of).or_default().put_off(*sequence);
                done.retain(|other| *other != number);
            }
        }
        for number in done {
            let attempt = self.attempts.get_mut(&number).unwrap();
            attempt.fate = Fate::Acknowledged;
            attempt.acknowledged = true;
        }
        heard.len()
    }

    /// Delivers all that a target has, and waits while some of it rests.
    pub(crate) fn deliver_all(&mut self, to: u128) {
        for _ in 0..1000 {
            while self.deliver(to, |_| false, |_| false) > 0 {}
            let next = self.store().target(target(to)).next(Limits::NONE);
            let Ok(Next::Resting(rest)) = next else {
                return;
            };
            self.runner.advance(rest);
        }
    }

    /// Takes a page and lets go of it: its holder may have sent it.
    pub(crate) fn drop_page(&mut self, to: u128) {
        if let Ok(Some(page)) = self.store().target(target(to)).page() {
            let ear = self.ears.entry(target(to)).or_default();
            for hint in page.hints() {
                ear.put_off(hint.key.sequence);
            }
        }
    }

    fn check_delivered(&mut self, number: u64, sequence: Sequence, payload: &[u8], of: TargetId) {
        let now = self.clock.wall();
        let Some(attempt) = self.attempts.get(&number) else {
            return self.complain(format!("hint {number} was never accepted, or refused"));
        };
        let attempt = attempt.clone();
        if attempt.target != of || attempt.sequence.is_some_and(|known| known != sequence) {
            self.complain(format!(
                "hint {number} came as {sequence} of {of}: {attempt:?}"
            ));
        }
        let length = payload.len() - number.to_string().len() - 1;
        if payload != Self::payload(number, length) {
            self.complain(format!("hint {number} came with other bytes"));
        }
        if matches!(attempt.fate, Fate::Ended | Fate::Discarded) {
            self.complain(format!("hint {number} came after its end: {attempt:?}"));
        }
        if attempt.deadline <= now {
            self.complain(format!("hint {number} came after its deadline"));
        }
    }

    pub(crate) fn checkpoint(&mut self) {
        if self.store().checkpoint().is_ok() {
            for attempt in self.attempts.values_mut() {
                if attempt.fate == Fate::Acknowledged {
                    attempt.fate = Fate::Ended;
                }
            }
            self.check_losses();
        }
    }

    /// Compacts whatever gives anything back. Steps run in its pauses.
    pub(crate) fn compact(&mut self) {
        let done = self.store().compact(&Compact::everything());
        if let Err(error) = done
            && !self.disk.is_cut()
        {
            self.complain(format!("no compaction: {error:?}"));
        }
    }

    /// A page is handed out; its hints are rewritten; then it is answered, or dropped, or not at all.
    pub(crate) fn compact_while_a_page_is_out(&mut self, to: u128, answer: u64) {
        let Ok(Some(page)) = self.store().target(target(to)).page() else {
            return self.compact();
        };
        let heard: Vec<(Sequence, Vec<u8>)> = page
            .hints()
            .map(|hint| (hint.key.sequence, hint.body.payload.to_vec()))
            .collect();
        for (sequence, payload) in &heard {
            self.check_delivered(Self::number(payload), *sequence, payload, target(to));
            // The compaction checkpoints while they are out: behind a crash they come again, and late.
            let ear = self.ears.entry(target(to)).or_default();
            ear.put_off(*sequence);
        }
        self.compact();
        match answer {
            0 => {
                // Those that died in between ended as expired; the target has them all the same.
                if page.delivered().is_ok() {
                    for (_, payload) in &heard {
                        let attempt = self.attempts.get_mut(&Self::number(payload)).unwrap();
                        attempt.fate = Fate::Acknowledged;
                        attempt.acknowledged = true;
                    }
                }
            }
            1 => page.retry(),
            _ => drop(page),
        }
    }

    pub(crate) fn truncate(&mut self, what: Truncate) {
        if self.store().truncate(&what).is_err() {
            // It may have happened or not: neither is wrong from here on.
            for attempt in self.attempts.values_mut() {
                attempt.level = None;
            }
            return;
        }
        for (number, attempt) in &mut self.attempts {
            let of_target = what.target.is_none_or(|only| only == attempt.target);
            let of_namespace = what
                .namespace
                .is_none_or(|only| only == namespace(u128::from(number % 3)));
            if of_target && of_namespace && attempt.fate == Fate::Pending {
                attempt.fate = Fate::Discarded;
            }
        }
    }

    /// Discards single hints.
    pub(crate) fn discard(&mut self, to: u128, picks: impl Fn(u64) -> bool) -> Option<Compaction> {
        let is_one = |(number, attempt): &(&u64, &Attempt)| {
            attempt.target == target(to) && picks(**number) && attempt.fate == Fate::Pending
        };
        let meant = self.attempts.iter().filter(is_one);
        let meant: Vec<(u64, Sequence)> = meant
            .filter_map(|(number, attempt)| Some((*number, attempt.sequence?)))
            .collect();
        let ranges: Vec<_> = meant.iter().map(|(_, of)| *of..=*of).collect();
        let done = self.store().discard(target(to), &ranges);
        let is_certain = done
            .as_ref()
            .is_ok_and(|done| done.skipped.is_empty() && !done.is_cancelled);
        for (number, _) in meant {
            let attempt = self.attempts.get_mut(&number).unwrap();
            if is_certain {
                attempt.fate = Fate::Discarded;
            } else {
                // It may have happened or not.
                attempt.level = None;
            }
        }
        done.ok()
    }

    /// Goes down and comes up again.
    pub(crate) fn crash(&mut self, crash: Crash) {
        let disk = self.disk.after(crash);
        // What the dying process still does, it does to the old disk.
        self.disk.cut_at(0);
        self.store = None;
        self.disk = disk;
        if crash != Crash::Kill {
            self.clock.reboot(Duration::from_secs(30));
        }
        self.forget(crash);
    }

    /// What a crash may take.
    fn forget(&mut self, crash: Crash) {
        let safe = if crash == Crash::Kill {
            Durability::Os
        } else {
            Durability::Durable
        };
        for attempt in self.attempts.values_mut() {
            if attempt.fate == Fate::Acknowledged {
                attempt.fate = Fate::Pending;
            }
            attempt.level = attempt.level.filter(|level| *level >= safe);
        }
    }

    pub(crate) fn close_and_open(&mut self) {
        let store = self.store.take().unwrap();
        store.close().unwrap();
        for attempt in self.attempts.values_mut() {
            if attempt.fate == Fate::Acknowledged {
                attempt.fate = Fate::Ended;
            }
            attempt.level = attempt.level.map(|_| Durability::Durable);
        }
        self.open().unwrap();
    }

    /// Delivers all there is, and checks that nothing is missing.
    pub(crate) fn drain(&mut self, targets: u128) {
        self.runner.advance(Duration::from_secs(3));
        for to in 0..targets {
            self.deliver_all(to);
        }
        self.checkpoint();
        let now = self.clock.wall();
        let missing: Vec<String> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.level.is_some() && attempt.fate == Fate::Pending)
            .filter(|(_, attempt)| attempt.deadline > now && !attempt.acknowledged)
            .map(|(number, attempt)| format!("hint {number} was lost: {attempt:?}"))
            .collect();
        self.wrong.extend(missing);
        let books = self.store().ledger();
        if !self.wrong.is_empty() {
            self.complain(format!(
                "the books: {books:?}; {:?}",
                self.store().open_report()
            ));
        }
        if books.pending() != 0 {
            self.complain(format!(
                "the books say that {} hints are pending",
                books.pending()
            ));
        }
        assert_eq!(books.ended(End::Superseded), 0);
    }
}
