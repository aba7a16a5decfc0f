//! Does what a request says, by the public calls of the store.

use hintstore::{
    Bytes, End, HintStore, Snapshot, TargetHandle, TargetId, TargetSnapshot, UnixMillis, Urgency,
};

use crate::message::{Concern, Reply, Request, Status, Target};

/// Reads settings again; gives what it did in words, or why not.
pub(crate) type Reload = dyn Fn(&HintStore) -> Result<String, String> + Send + Sync;

pub(crate) fn perform(
    store: &HintStore,
    request: &Request,
    reload: Option<&Reload>,
) -> Result<Reply, String> {
    let done = |done: String| Ok(Reply::Done(done));
    match request {
        Request::Status => Ok(Reply::Status(status(store))),
        Request::Pause { target } => {
            let handle = named(store, target)?;
            handle.pause();
            done(format!("{} is paused until it is resumed", handle.id()))
        }
        Request::Resume { target } => {
            let handle = named(store, target)?;
            handle.resume();
            let state = handle.state().word();
            done(format!("{} is not paused any more: {state}", handle.id()))
        }
        Request::Limit {
            target,
            bytes_per_second,
        } => limit(store, target.as_deref(), *bytes_per_second).and_then(done),
        Request::Reload => {
            let reload = reload.ok_or("this node has no settings that it could read again")?;
            reload(store).and_then(done)
        }
    }
}

fn limit(store: &HintStore, target: Option<&str>, rate: Option<u64>) -> Result<String, String> {
    if rate == Some(0) {
        return Err("a rate of nothing: pause the target instead".to_owned());
    }
    let rate = rate.map(Bytes::new);
    let words = rate.map_or("without a limit".to_owned(), |rate| {
        format!("limited to {} bytes a second", rate.get())
    });
    if let Some(target) = target {
        let handle = named(store, target)?;
        handle.set_rate(rate);
        return Ok(format!("{} is {words}", handle.id()));
    }
    let set = store.reconfigure(|config| config.deliver_bytes_per_second = rate);
    set.map_err(|error| error.to_string())?;
    Ok(format!("delivery to all together is {words}"))
}

/// A target by its id.
fn named(store: &HintStore, target: &str) -> Result<TargetHandle, String> {
    let id: TargetId = target
        .parse()
        .map_err(|error| format!("`{target}` is no target: {error}"))?;
    let handle = store.target(id);
    if !handle.is_known() {
        return Err(format!(
            "{id} is no target of this store: hintctl ctl status SOCKET lists those that are"
        ));
    }
    Ok(handle)
}

fn status(store: &HintStore) -> Status {
    let snapshot = store.snapshot();
    let ended = End::ALL
        .iter()
        .map(|end| (end.word().to_owned(), snapshot.ledger.ended(*end)));
    let refused = snapshot.refused.iter();
    let rate = store.config().deliver_bytes_per_second;
    Status {
        store: store.id().to_string(),
        at_ms: snapshot.at.get(),
        pending: snapshot.ledger.pending(),
        accepted: snapshot.ledger.accepted,
        ended: ended.collect(),
        refused: refused
            .map(|(why, count)| (why.to_owned(), count))
            .collect(),
        disk_used_bytes: snapshot.disk_used.get(),
        disk_cap_bytes: snapshot.caps.map(|caps| caps.total.get()),
        loss_receipts: snapshot.loss_receipts as u64,
        limit_bytes_per_second: rate.map(Bytes::get),
        concerns: concerns(&snapshot),
        targets: snapshot.targets.iter().map(target).collect(),
    }
}

fn concerns(snapshot: &Snapshot) -> Vec<Concern> {
    let urgency = |urgency| match urgency {
        Urgency::Critical => "critical",
        _ => "warning",
    };
    let concerns = snapshot.concerns().into_iter();
    let all = concerns.map(|concern| Concern {
        urgency: urgency(concern.urgency()).to_owned(),
        text: concern.to_string(),
    });
    all.collect()
}

fn target(of: &TargetSnapshot) -> Target {
    let millis = |time: UnixMillis| (time < UnixMillis::MAX).then_some(time.get());
    Target {
        target: of.target.to_string(),
        state: of.state.word().to_owned(),
        pending: of.books.pending(),
        delivered: of.books.ends.get(End::Delivered),
        bytes: of.bytes.get(),
        oldest_ms: of.oldest.and_then(millis),
        next_expiry_ms: of.next_expiry.and_then(millis),
        converges_in_ms: of
            .converges_in
            .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        rate_bytes_per_second: of.rate.map(Bytes::get),
        limit_bytes_per_second: of.limit.map(Bytes::get),
        window_bytes: of.window.get(),
        pages_out: of.pages_out as u64,
        failures: of.failures,
        past_window: of.past_window,
    }
}
