//! `ctl`: watches and steers a node that runs, by its admin socket.

use std::path::Path;

use hintstore_admin::{
    Client,
    message::{Reply, Request, Status, Target},
};
use serde_json::{Value, json};

use crate::{
    args::{CtlCommand, CtlTargets},
    output::{Output, bytes, count, span},
};

pub(crate) fn run(command: &CtlCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        CtlCommand::Status { socket } => status(socket, output),
        CtlCommand::Pause(of) => each(of, output, |target| Request::Pause { target }),
        CtlCommand::Resume(of) => each(of, output, |target| Request::Resume { target }),
        CtlCommand::Limit {
            socket,
            rate,
            target,
        } => {
            let limit = Request::Limit {
                target: target.map(|id| id.to_string()),
                bytes_per_second: rate.0,
            };
            done(&mut Client::connect(socket)?, &limit, output)
        }
        CtlCommand::Reload { socket } => {
            done(&mut Client::connect(socket)?, &Request::Reload, output)
        }
    }
}

fn each(
    of: &CtlTargets,
    output: &mut Output,
    request: impl Fn(String) -> Request,
) -> anyhow::Result<()> {
    let mut client = Client::connect(&of.socket)?;
    for target in &of.targets {
        done(&mut client, &request(target.to_string()), output)?;
    }
    Ok(())
}

fn done(client: &mut Client, request: &Request, output: &mut Output) -> anyhow::Result<()> {
    let words = match client.ask(request)? {
        Reply::Done(done) => done,
        _ => "done".to_owned(),
    };
    output.line("done", json!({ "text": words }))?;
    output.text(&words)?;
    output.did(words);
    Ok(())
}

fn status(socket: &Path, output: &mut Output) -> anyhow::Result<()> {
    let status = Client::connect(socket)?.status()?;
    for target in &status.targets {
        output.line("target", words_of_files(serde_json::to_value(target)?))?;
    }
    for concern in &status.concerns {
        output.line("concern", serde_json::to_value(concern)?)?;
        output.problem();
    }
    output.sum("store", status.store.clone());
    output.sum("pending", status.pending);
    output.sum("accepted", status.accepted);
    output.sum("ended", json!(status.ended));
    output.sum("refused", json!(status.refused));
    output.sum("disk_used_bytes", status.disk_used_bytes);
    output.sum("disk_cap_bytes", status.disk_cap_bytes);
    output.sum("loss_receipts", status.loss_receipts);
    output.sum("limit_bytes_per_second", status.limit_bytes_per_second);
    output.text(&head(&status))?;
    let rows = status.targets.iter().map(|target| row(target, &status));
    output.table(&COLUMNS, rows.collect())?;
    for concern in &status.concerns {
        output.text(&format!("{}: {}", concern.urgency, concern.text))?;
    }
    Ok(())
}

/// Names as they are where files are looked at.
fn words_of_files(mut target: Value) -> Value {
    if let Value::Object(fields) = &mut target {
        for (word, of_files) in [
            ("pending", "hints"),
            ("oldest_ms", "oldest_creation_time_ms"),
            ("next_expiry_ms", "first_expires_at_ms"),
        ] {
            if let Some(value) = fields.remove(word) {
                fields.insert(of_files.to_owned(), value);
            }
        }
    }
    target
}

/// What holds of all together, in a line.
pub(super) fn head(status: &Status) -> String {
    let cap = status
        .disk_cap_bytes
        .map(|cap| format!(" of {}", bytes(cap)));
    let limit = status
        .limit_bytes_per_second
        .map(|limit| format!(", {}/s at most", bytes(limit)));
    format!(
        "{} waiting for {}, {}{} on disk{}",
        count(status.pending, "hint"),
        count(waiting(status), "target"),
        bytes(status.disk_used_bytes),
        cap.unwrap_or_default(),
        limit.unwrap_or_default(),
    )
}

fn waiting(status: &Status) -> u64 {
    let waiting = status.targets.iter().filter(|target| target.pending > 0);
    waiting.count() as u64
}

/// The head of a table of targets.
pub(super) const COLUMNS: [&str; 10] = [
    "TARGET", "STATE", "HINTS", "BYTES", "OLDEST", "EXPIRES", "RATE", "LIMIT", "DONE IN", "FAILED",
];

/// A row of it.
pub(super) fn row(of: &Target, status: &Status) -> Vec<String> {
    let since = |at: i64| age(status.at_ms.saturating_sub(at));
    let until = |at: i64| match at.saturating_sub(status.at_ms) {
        left @ 1.. => age(left),
        _ => "now".to_owned(),
    };
    let rate = |rate: Option<u64>| rate.map_or(String::new(), |rate| format!("{}/s", bytes(rate)));
    let past = if of.past_window { " (past window)" } else { "" };
    let failed = match of.failures {
        0 => String::new(),
        failures => failures.to_string(),
    };
    let left = of.converges_in_ms;
    let left = left.map(|left| i64::try_from(left).unwrap_or(i64::MAX));
    vec![
        of.target.clone(),
        format!("{}{past}", of.state),
        of.pending.to_string(),
        bytes(of.bytes),
        of.oldest_ms.map(since).unwrap_or_default(),
        of.next_expiry_ms.map(until).unwrap_or_default(),
        rate(of.rate_bytes_per_second),
        rate(of.limit_bytes_per_second),
        left.map(age).unwrap_or_default(),
        failed,
    ]
}

/// Milliseconds for people.
pub(super) fn age(millis: i64) -> String {
    match u64::try_from(millis).unwrap_or(0) / 1000 {
        86_400_000.. => "years".to_owned(),
        seconds => span(seconds),
    }
}
