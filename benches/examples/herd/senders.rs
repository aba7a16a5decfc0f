//! Those who hold hints for the node: by the rules of others, and by ours.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hintstore::{
    Boot, Bytes, Clock as _, Config, Delivery, Durability, Environment, Hint, HintStore, Page,
    TargetId, UnixMillis,
};
use hintstore_benches::Result;
use hintstore_sim::{Manual, Random, SimClock, SimStorage};

use crate::node::{Node, SECOND, Time, WAY};

/// An answer that takes longer does not count: what was sent is sent again.
const TIMEOUT: Time = 2 * SECOND;
const TARGET: TargetId = TargetId::from_u128(1);

/// How it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// The last hint was answered then; `None` where some were not by the end of the run.
    pub(crate) converged: Option<Time>,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
}

/// Each sends a hint in this time, whatever is answered: what Cassandra's throttle comes to.
pub(crate) fn fixed_rate(
    node: &mut Node,
    senders: u64,
    each: u64,
    rate: f64,
    until: Time,
) -> Outcome {
    let hints = senders.saturating_mul(each);
    let gap = SECOND as f64 / rate;
    let mut last = 0;
    for hint in 0..hints {
        let at = (hint as f64 * gap) as Time;
        if at > until {
            return Outcome {
                converged: None,
                sent: hint,
                delivered: hint,
            };
        }
        last = last.max(node.take(at + WAY) + WAY);
    }
    Outcome {
        converged: Some(last),
        sent: hints,
        delivered: hints,
    }
}

/// Each has this number of hints on their way, always: Scylla's rule.
pub(crate) fn fixed_concurrency(
    node: &mut Node,
    senders: u64,
    each: u64,
    concurrency: u64,
    until: Time,
) -> Outcome {
    let mut left = vec![each; senders as usize];
    // When a place is free again, whose it is, and whether what it had is to be sent again.
    let mut places: BinaryHeap<Reverse<(Time, usize, bool)>> = BinaryHeap::new();
    for sender in 0..senders as usize {
        places.extend((0..concurrency).map(|_| Reverse((0, sender, false))));
    }
    let (mut sent, mut delivered, mut last) = (0, 0, 0);
    while let Some(Reverse((at, sender, again))) = places.pop() {
        if at > until {
            break;
        }
        let Some(left) = left.get_mut(sender) else {
            continue;
        };
        if !again {
            if *left == 0 {
                continue;
            }
            *left -= 1;
        }
        sent += 1;
        let done = node.take(at + WAY) + WAY;
        let is_late = done - at > TIMEOUT;
        if !is_late {
            delivered += 1;
            last = last.max(done);
        }
        places.push(Reverse((done.min(at + TIMEOUT), sender, is_late)));
    }
    Outcome {
        converged: (delivered == senders * each).then_some(last),
        sent,
        delivered,
    }
}

/// Keeps the page until the node has answered.
#[derive(Default)]
struct Outbox(Mutex<Option<Page>>);

impl Delivery for Outbox {
    fn deliver(&self, page: Page) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(page);
    }
}

/// A node that holds hints: a store as it is, on a simulated disk.
struct Holder {
    store: HintStore,
    runner: Arc<Manual>,
    outbox: Arc<Outbox>,
    /// The page that the node has, and whether it will answer in time.
    out: Option<(Page, bool)>,
    /// When it is to be looked at.
    due: Time,
}

impl Holder {
    fn new(clock: &Arc<SimClock>, hints: u64, holders: usize) -> Result<Self> {
        let runner = Arc::new(Manual::new(clock.clone()));
        let storage = Arc::new(SimStorage::new());
        let config = Config::new("herd").with(|config| {
            config.memory = Bytes::mib(1);
            config.hint_bytes_max = Bytes::kib(64);
            // What happens by itself besides delivery is not what is measured.
            config.flush_interval = Duration::from_secs(10);
            config.sync_interval = Duration::from_secs(60);
            config.checkpoint_interval = Duration::from_secs(60);
            config.sweep_interval = Duration::from_hours(1);
            config.compact_interval = None;
            config.start_jitter = Duration::from_secs(10);
        });
        let environment = Environment::new(storage, clock.clone(), runner.clone());
        let store = HintStore::open_in(environment, config)?;
        store.set_members((0..=holders as u128).map(TargetId::from_u128));
        let payload = [7; 16];
        let life = Duration::from_hours(240);
        let hint = Hint::new(TARGET, clock.wall(), life, &payload);
        for _ in 0..hints {
            store
                .append(hint, Durability::Buffered)
                .map_err(|error| error.to_string())?;
        }
        store.target(TARGET).sync()?;
        let outbox = Arc::new(Outbox::default());
        store.deliver_by(outbox.clone())?;
        Ok(Self {
            store,
            runner,
            outbox,
            out: None,
            due: 0,
        })
    }
}

/// By ours: `holders` stores with `each` hints, which all hear at once that the node is up.
pub(crate) fn ours(
    node: &mut Node,
    holders: usize,
    each: u64,
    until: Time,
    seed: u64,
) -> Result<Outcome> {
    let clock = Arc::new(SimClock::new(UnixMillis::new(1_800_000_000_000)));
    // Each store draws its numbers from here.
    let mut random = Random::new(seed);
    for _ in 0..random.bits() % 1000 {
        let _entropy = clock.entropy();
    }
    let mut all = Vec::new();
    for _ in 0..holders {
        all.push(Holder::new(&clock, each, holders)?);
    }
    let start = clock.boot();
    let mut events: BinaryHeap<Reverse<(Time, usize, bool)>> = BinaryHeap::new();
    for (at, holder) in all.iter_mut().enumerate() {
        holder.store.target(TARGET).up();
        events.push(Reverse((0, at, false)));
    }
    let (mut sent, mut delivered, mut last) = (0, 0, 0);
    let mut now = 0;
    while let Some(Reverse((at, which, is_answer))) = events.pop() {
        if at > until || delivered == holders as u64 * each {
            break;
        }
        let Some(holder) = all.get_mut(which) else {
            continue;
        };
        if !is_answer && holder.due != at {
            continue;
        }
        clock.advance(Duration::from_nanos(at - now));
        now = at;
        if is_answer
            && let Some((page, in_time)) = holder.out.take()
            && in_time
        {
            delivered += page.len() as u64;
            last = at;
            page.delivered()?;
        }
        holder.runner.run();
        let slot = holder.outbox.0.lock();
        let page = slot.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(page) = page {
            sent += page.len() as u64;
            let done = (0..page.len()).map(|_| node.take(now + WAY));
            let done = done.max().unwrap_or(now) + WAY;
            let in_time = done - now <= TIMEOUT;
            holder.out = Some((page, in_time));
            events.push(Reverse((done.min(now + TIMEOUT), which, true)));
        }
        if let Some(due) = holder.runner.next_due() {
            let since = due.max(Boot::new(start.get())).since(start);
            holder.due = u64::try_from(since.as_nanos())?.max(now + 1);
            events.push(Reverse((holder.due, which, false)));
        }
    }
    let hints = holders as u64 * each;
    Ok(Outcome {
        converged: (delivered == hints).then_some(last),
        sent,
        delivered,
    })
}
