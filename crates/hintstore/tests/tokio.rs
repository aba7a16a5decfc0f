//! Delivery, waiting and closing as tasks on tokio.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "tests say what went wrong by panicking")]

use std::{
    future::poll_fn,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use hintstore::{
    Bytes, Config, Durability, End, Event, Hint, HintStore, Limits, Next, Page, TargetId,
    UnixMillis, Verdict, tokio as hints,
};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};
use tokio_stream::StreamExt as _;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A store on the real disk that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("hintstore-tokio-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }

    fn open(&self) -> HintStore {
        self.open_resting(Duration::from_millis(50))
    }

    fn open_resting(&self, retry_delay: Duration) -> HintStore {
        let config = Config::new(&self.0).with(|config| {
            config.retry_delay = retry_delay;
            config.retry_delay_max = config.retry_delay;
            config.start_jitter = Duration::ZERO;
            config.give_way = false;
        });
        HintStore::open(config).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn target(number: u128) -> TargetId {
    TargetId::from_u128(number + 1)
}

async fn keep(store: &HintStore, to: u128, payload: &[u8]) {
    let hint = Hint::new(target(to), UnixMillis::now(), 600 * SECOND, payload);
    let pending = store.submit(hint, Durability::Os).unwrap();
    pending.await.unwrap();
}

/// Waits for the end of a backlog, for a minute.
async fn drained(events: &mut hintstore::Events, to: u128) {
    let drained = async { while events.next().await != Some(Event::Drained(target(to))) {} };
    timeout(MINUTE, drained).await.unwrap();
}

#[derive(Clone, Default)]
struct Peer(Arc<Heard>);

#[derive(Default)]
struct Heard {
    payloads: Mutex<Vec<Vec<u8>>>,
    hangs: AtomicBool,
    says_too_little: AtomicBool,
    panics: AtomicBool,
    hanging: AtomicUsize,
}

impl Peer {
    fn heard(&self) -> Vec<Vec<u8>> {
        self.0.payloads.lock().unwrap().clone()
    }
}

/// Counts a delivery that goes on.
struct Hanging<'a>(&'a AtomicUsize);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl hints::Delivery for Peer {
    async fn deliver(&self, page: &mut Page) -> Vec<Verdict> {
        self.0.hanging.fetch_add(1, SeqCst);
        let _hanging = Hanging(&self.0.hanging);
        while self.0.hangs.load(SeqCst) {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(!self.0.panics.swap(false, SeqCst), "on purpose");
        if self.0.says_too_little.swap(false, SeqCst) {
            return Vec::new();
        }
        let say = |payload: &[u8]| match payload {
            b"reject" => Verdict::Reject,
            _ => Verdict::Delivered,
        };
        let mut heard = self.0.payloads.lock().unwrap();
        let payloads = page.hints().map(|hint| hint.body.payload.to_vec());
        heard.extend(payloads);
        page.hints().map(|hint| say(hint.body.payload)).collect()
    }
}

// P9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_delivered_as_tasks_and_each_hint_has_its_verdict() {
    let place = Place::new("push");
    let store = place.open();
    let peer = Peer::default();
    peer.0.panics.store(true, SeqCst);
    peer.0.says_too_little.store(true, SeqCst);
    let mut events = store.events();
    let delivering = hints::deliver_by(&store, &Handle::current(), peer.clone()).unwrap();
    assert!(hints::deliver_by(&store, &Handle::current(), peer.clone()).is_err());
    for payload in [b"first".as_slice(), b"reject", b"third"] {
        keep(&store, 0, payload).await;
    }
    store.target(target(0)).up();
    drained(&mut events, 0).await;
    hints::converged(&store.target(target(0))).await.unwrap();
    let mut heard = peer.heard();
    heard.sort();
    assert_eq!(heard, [b"first".as_slice(), b"reject", b"third"]);
    let books = store.ledger();
    let ends = (books.ended(End::Delivered), books.ended(End::Rejected));
    assert_eq!(ends, (2, 1));
    let stopped = delivering.shutdown(10 * SECOND).await.unwrap();
    assert_eq!(stopped.pages_out, 0);
    assert_eq!(timeout(MINUTE, events.next()).await.unwrap(), None);
}

// P2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_hangs_is_given_up_at_the_deadline_and_gets_its_hints_from_the_next() {
    let place = Place::new("hang");
    let store = place.open();
    let peer = Peer::default();
    peer.0.hangs.store(true, SeqCst);
    let mut events = store.events();
    let delivering = hints::deliver_by(&store, &Handle::current(), peer.clone()).unwrap();
    keep(&store, 0, b"one").await;
    store.target(target(0)).up();
    let hangs = async {
        while peer.0.hanging.load(SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(MINUTE, hangs).await.unwrap();
    let stopped = delivering.stop(Duration::from_millis(20)).await.unwrap();
    assert_eq!(stopped.pages_out, 1);
    let ended = async {
        while peer.0.hanging.load(SeqCst) > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(MINUTE, ended).await.unwrap();
    assert_eq!(store.ledger().pending(), 1);
    let healthy = Peer::default();
    let delivering = hints::deliver_by(&store, &Handle::current(), healthy.clone()).unwrap();
    drained(&mut events, 0).await;
    assert_eq!(healthy.heard(), [b"one"]);
    assert_eq!(delivering.shutdown(SECOND).await.unwrap().pages_out, 0);
}

// P2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_a_page_that_is_dropped_leaves_the_page_to_the_next() {
    let place = Place::new("pull");
    // A page that counts as not delivered would come again in an hour.
    let store = place.open_resting(60 * MINUTE);
    let handle = store.target(target(0));
    // Just enough: what did not go takes none of it.
    handle.set_credit(Some(Limits {
        bytes: Bytes::mib(1),
        hints: 200,
    }));
    let mut delivered = 0;
    for number in 0..200_u8 {
        keep(&store, 0, &[number]).await;
        // The look begins, and is given up in its middle, wherever that is.
        let mut next = pin!(hints::next(&handle, Limits::NONE));
        let begun = poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await;
        if let Poll::Ready(Ok(Next::Page(page))) = begun {
            delivered += page.len();
            page.delivered().unwrap();
        }
        for _ in 0..number {
            tokio::task::yield_now().await;
        }
    }
    while let Next::Page(page) = timeout(MINUTE, hints::next(&handle, Limits::NONE))
        .await
        .unwrap()
        .unwrap()
    {
        delivered += page.len();
        let verdicts = vec![Verdict::Delivered; page.len()];
        hints::answer(page, verdicts).await.unwrap();
    }
    assert_eq!(delivered, 200);
    timeout(MINUTE, hints::converged(&handle))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.ledger().ended(End::Delivered), 200);
    assert_eq!(hints::shutdown(&store, SECOND).await.unwrap().pages_out, 0);
    hints::next(&handle, Limits::NONE).await.unwrap_err();
    hints::converged(&handle).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_page_gets_one_when_there_are_hints_again() {
    let place = Place::new("wait");
    let store = place.open();
    let handle = store.target(target(0));
    keep(&store, 0, b"one").await;
    let Next::Page(page) = hints::next(&handle, Limits::NONE).await.unwrap() else {
        unreachable!("there is one");
    };
    // It is out: who asks waits, and has it when it comes back.
    let waits = tokio::spawn({
        let handle = handle.clone();
        async move { hints::next(&handle, Limits::NONE).await.unwrap() }
    });
    sleep(Duration::from_millis(30)).await;
    assert!(!waits.is_finished());
    page.retry();
    let next = timeout(MINUTE, waits).await.unwrap().unwrap();
    assert!(
        matches!(&next, Next::Page(page) if page.len() == 1),
        "{next:?}"
    );
    drop(next);
    store.close().unwrap();
}
