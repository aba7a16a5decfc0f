//! Loss receipts as people and programs read them.

use hintstore::{Loss, UnixMillis};
use serde_json::{Value, json};

use crate::output::{bytes, time};

/// The head of a table of them.
pub(super) const HEAD: [&str; 7] = [
    "CAUSE",
    "TARGET",
    "NAMESPACE",
    "HINTS AT MOST",
    "BYTES AT MOST",
    "WRITTEN",
    "NOTICED",
];

/// The fields of one: what is null is any, or unknown.
pub(super) fn fields(loss: &Loss) -> Value {
    let known = |time: UnixMillis| (time != UnixMillis::MIN).then_some(time.get());
    json!({
        "cause": loss.cause.word(),
        "target": loss.target.map(|id| id.to_string()),
        "namespace": loss.namespace.map(|id| id.to_string()),
        "min_token": loss.tokens.map(|tokens| tokens.min.to_string()),
        "max_token": loss.tokens.map(|tokens| tokens.max.to_string()),
        "first_created_ms": known(loss.created.min),
        "last_created_ms": loss.created.max.get(),
        "hints_at_most": (loss.hints != u64::MAX).then_some(loss.hints),
        "bytes_at_most": (loss.bytes != u64::MAX).then_some(loss.bytes),
        "first_noticed_ms": loss.noticed.min.get(),
        "last_noticed_ms": loss.noticed.max.get(),
    })
}

/// The row of one.
pub(super) fn row(loss: &Loss) -> Vec<String> {
    let any = |id: Option<String>| id.unwrap_or_else(|| "any".to_owned());
    let (first, last) = (loss.created.min, loss.created.max);
    let written = match first {
        UnixMillis::MIN => format!("until {}", time(last.get())),
        _ if first == last => time(last.get()),
        _ => format!("{} to {}", time(first.get()), time(last.get())),
    };
    let hints = match loss.hints {
        u64::MAX => "unknown".to_owned(),
        hints => hints.to_string(),
    };
    let size = match loss.bytes {
        u64::MAX => String::new(),
        size => bytes(size),
    };
    vec![
        loss.cause.word().to_owned(),
        any(loss.target.map(|id| id.to_string())),
        any(loss.namespace.map(|id| id.to_string())),
        hints,
        size,
        written,
        time(loss.noticed.max.get()),
    ]
}
