//! What is said over the socket: a request is a line of JSON, and so is its answer.
//!
//! `{"do":"status"}` is answered by `{"ok":{"status":{..}}}`, anything else by `{"ok":{"done":".."}}`, and what cannot be done by
//! `{"error":".."}`. A client passes over fields that it does
//! not know; a server refuses a request that it does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A line that is longer is refused.
pub const LINE_MAX: usize = 64 << 10;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// Say what goes on.
    Status,
    /// Hand out no page of a target until it is resumed.
    Pause {
        /// The target's id.
        target: String,
    },
    /// End a pause.
    Resume {
        /// The target's id.
        target: String,
    },
    /// Deliver no more than this, from the next page on.
    Limit {
        /// The target's id; nothing for all targets together.
        target: Option<String>,
        /// Bytes a second; `null`, which must be said, for no limit, or, of one target, for what the settings say.
        #[serde(deserialize_with = "Option::deserialize")]
        bytes_per_second: Option<u64>,
    },
    /// Read the settings again, and follow those that can be changed while at work.
    Reload,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Ok(Box<Reply>),
    /// It was not, and why.
    Error(String),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// What goes on.
    Status(Status),
    /// What was done, in words.
    Done(String),
}

/// What goes on in a store. Times are milliseconds since 1970, and sizes bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The id of the store.
    pub store: String,
    /// The time of the look.
    pub at_ms: i64,
    /// Hints stored.
    pub pending: u64,
    /// Hints accepted since the store was made.
    pub accepted: u64,
    /// How those ended that did, by the word for it.
    pub ended: BTreeMap<String, u64>,
    /// Hints refused since the store was opened, by the word for why.
    pub refused: BTreeMap<String, u64>,
    /// Disk space taken and reserved.
    pub disk_used_bytes: u64,
    /// The cap on it, where there is one.
    pub disk_cap_bytes: Option<u64>,
    /// What has to be repaired.
    pub loss_receipts: u64,
    /// Bytes a second to all targets together, where that is bounded.
    pub limit_bytes_per_second: Option<u64>,
    /// What has to be acted on, the most urgent first.
    pub concerns: Vec<Concern>,
    /// By target, in the order of their ids.
    pub targets: Vec<Target>,
}

/// Something to act on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Concern {
    /// `critical`: hints are lost, or will be; or `warning`.
    pub urgency: String,
    /// What it is, and what to do.
    pub text: String,
}

/// What goes on with one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Its id.
    pub target: String,
    /// `unknown`, `up`, `down`, `paused` or `leaving`.
    pub state: String,
    /// Hints stored.
    pub pending: u64,
    /// Hints that it took since the store was made.
    pub delivered: u64,
    /// Disk space.
    pub bytes: u64,
    /// When the oldest stored hint was accepted.
    pub oldest_ms: Option<i64>,
    /// No stored hint expires before.
    pub next_expiry_ms: Option<i64>,
    /// How long what it has takes at its present rate, in milliseconds.
    pub converges_in_ms: Option<u64>,
    /// Bytes a second that it took of late, while a page was out.
    pub rate_bytes_per_second: Option<u64>,
    /// Bytes a second that it may have, where that is bounded for it alone.
    pub limit_bytes_per_second: Option<u64>,
    /// What its next page may hold.
    pub window_bytes: u64,
    /// Pages that are out.
    pub pages_out: u64,
    /// Pages in a row that it took nothing of.
    pub failures: u32,
    /// It takes no more: its oldest hint is older than the hint window.
    pub past_window: bool,
}
