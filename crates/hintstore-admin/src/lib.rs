//! A local socket by which an operator watches and steers an open hint store.
//!
//! A node serves it beside its store ([`Admin`]); `hintctl ctl` and `hintctl top` are clients ([`Client`]), and so is
//! whatever writes a line of JSON and reads one ([`message`]). It stands on the public calls of the store alone, and the
//! store is complete without it.
//!
//! ```
//! use hintstore::{Config, HintStore, TargetId};
//! use hintstore_admin::{Admin, Client, message::Request};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("hintstore-admin-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let store = HintStore::open(Config::new(folder.join("hints")))?;
//! let admin = Admin::of(&store).serve(&folder.join("hints.sock"))?;
//!
//! let mut client = Client::connect(&folder.join("hints.sock"))?;
//! let replica = TargetId::from_u128(7);
//! store.target(replica).down(); // what the failure detector says
//! client.ask(&Request::Pause { target: replica.to_string() })?;
//! let status = client.status()?;
//! assert_eq!(status.targets[0].state, "paused");
//! drop(admin); // the socket is gone, the store goes on
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! The socket has mode 0600, and only the user that the node runs as, or root, is answered: the kernel says who
//! the other side is. What it changes is not remembered across restarts.

#![forbid(unsafe_code)]

mod client;
mod perform;
mod server;

pub mod message;

pub use client::{Client, ClientError};
pub use server::{Admin, AdminBuilder};
