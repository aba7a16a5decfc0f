//! Short files, read before their turn and several at once: of a directory of many, a walk would mostly wait for
//! the disk.

use std::{
    collections::HashMap,
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use hintstore::OsStorage;

use super::{CassandraFile, FileKind, Found, cassandra::HEAD};
use crate::side_by_side::side_by_side;

/// No more files than this are held, each of [`HEAD`] bytes at most.
const WINDOW_MAX: usize = 512;

/// What was read of the files of a directory before its turn.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Files before this one were asked for.
    next: usize,
    /// How many are read at once: more, the longer they are asked for in order.
    window: usize,
    /// By name.
    files: HashMap<String, CassandraFile>,
}

impl Ahead {
    /// Opens a file of a directory, or gives what was read of it.
    pub(crate) fn open(
        &self,
        files: &[Found],
        found: &Found,
        storage: &Arc<OsStorage>,
    ) -> anyhow::Result<CassandraFile> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let later = files.iter().enumerate().skip(state.next);
        let mut later = later.filter(|(_, file)| file.what == FileKind::Cassandra);
        let Some((at, _)) = later.next().filter(|(_, next)| ptr::eq(*next, found)) else {
            // Not in order.
            state.window = 0;
            let at = files.iter().position(|file| ptr::eq(file, found));
            state.next = at.map_or(files.len(), |at| at + 1);
            return CassandraFile::open(storage, &found.name);
        };
        state.next = at + 1;
        if let Some(file) = state.files.remove(&found.name) {
            return Ok(file);
        }
        state.window = (state.window * 2).clamp(1, WINDOW_MAX);
        let is_short = |file: &&Found| file.info.length <= HEAD as u64;
        let short: Vec<&Found> = later
            .map(|(_, file)| file)
            .take_while(is_short)
            .take(state.window)
            .collect();
        let opened = side_by_side(&short, |file| CassandraFile::open(storage, &file.name));
        // One that cannot be read is said so of in its turn.
        let opened = short
            .iter()
            .zip(opened)
            .filter_map(|(found, file)| Some((found.name.clone(), file.ok()?)));
        state.files = opened.collect();
        CassandraFile::open(storage, &found.name)
    }
}
