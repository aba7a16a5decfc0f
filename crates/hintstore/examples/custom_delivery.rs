//! A delivery of one's own: one thread and one connection a target, a window that the receiver sets, and verdicts that
//! come when they come.
//!
//! The store hands a page to `deliver`, which only puts it into the queue of its target. The thread of the target sends
//! it, books what was taken in parts, and says to the store how much room the receiver has.
//!
//! `cargo run -p hintstore --example custom_delivery`
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use hintstore::{
    Bytes, Config, Delivery, Durability, End, Event, Hint, HintStore, Limits, Page, TargetId,
    UnixMillis, Verdict, WeakHintStore,
};

/// What a receiver says to a piece of a page.
struct Said {
    verdicts: Vec<Verdict>,
    /// Hints that it has room for from here on.
    room: usize,
}

/// Stands for a connection. This receiver takes ten hints at a time, and never one that is empty.
fn send(payloads: &[Vec<u8>]) -> Said {
    let verdict = |payload: &Vec<u8>| {
        if payload.is_empty() {
            Verdict::Reject
        } else {
            Verdict::Delivered
        }
    };
    Said {
        verdicts: payloads.iter().map(verdict).collect(),
        room: 10,
    }
}

/// The thread of one target: sends pages until the store lets go of the delivery.
fn serve(pages: &mpsc::Receiver<Page>, store: &WeakHintStore) {
    for page in pages {
        // The receiver went away, or an operator discarded it: dropped, it comes again where it still matters.
        if page.is_void() {
            continue;
        }
        // Bytes of a page may lie in a map of a file: they are used inside `with`, which says where the disk failed.
        let copied = page.with(|page| {
            let payloads = page.hints().map(|hint| hint.body.payload.to_vec());
            payloads.collect::<Vec<_>>()
        });
        let Ok(payloads) = copied else { continue };
        let said = send(&payloads);
        if let Some(store) = store.upgrade() {
            let room = Limits {
                bytes: Bytes::mib(1),
                hints: said.room,
            };
            store.target(page.target()).set_credit(Some(room));
        }
        if let Err(error) = page.answer(&said.verdicts) {
            println!("not booked, it comes again: {error}");
        }
    }
}

/// A queue for each target.
struct Connections {
    store: WeakHintStore,
    queues: Mutex<HashMap<TargetId, mpsc::Sender<Page>>>,
}

impl Delivery for Connections {
    fn deliver(&self, page: Page) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(page.target()).or_insert_with(|| {
            let (queue, pages) = mpsc::channel();
            let store = self.store.clone();
            thread::spawn(move || serve(&pages, &store));
            queue
        });
        // Where the thread is gone the page comes back here, is dropped, and comes again.
        drop(queue.send(page));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("custom-delivery-{}", std::process::id()));
    let config = Config::new(&folder).with(|config| config.start_jitter = Duration::ZERO);
    let store = HintStore::open(config)?;
    let targets = [1, 2].map(TargetId::from_u128);
    // Few may hold hints for one target: delivery begins at a rate to match.
    store.set_members(targets);
    for number in 0..100 {
        let payload = vec![b'x'; number % 20];
        let hint = Hint::new(
            targets[0],
            UnixMillis::now(),
            Duration::from_hours(1),
            &payload,
        );
        for taken in store.append_for(&hint, &targets, Durability::Os) {
            taken?;
        }
    }

    // A weak handle: a delivery that held the store would keep it open in a circle.
    let events = store.events();
    store.deliver_by(Arc::new(Connections {
        store: store.downgrade(),
        queues: Mutex::default(),
    }))?;
    for target in targets {
        let room = Limits {
            bytes: Bytes::mib(1),
            hints: 1,
        };
        store.target(target).set_credit(Some(room));
        store.target(target).up();
    }
    let mut drained = 0;
    while drained < targets.len() {
        match events.wait_next(Duration::from_mins(1)) {
            Some(Event::Drained(_)) => drained += 1,
            Some(_) => {}
            None => return Err("nothing happened for a minute".into()),
        }
    }
    let books = store.ledger();
    let (delivered, rejected) = (books.ended(End::Delivered), books.ended(End::Rejected));
    println!("{delivered} delivered, {rejected} kept as dead letters in aside/");
    assert_eq!((delivered, rejected), (190, 10));
    assert_eq!(store.stop_delivery(Duration::from_secs(10)).pages_out, 0);
    store.close()?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
