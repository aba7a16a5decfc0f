//! A value that is read often and exchanged as a whole once in a while: settings.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

/// A value that can be exchanged while others read it.
#[derive(Debug)]
pub struct Live<T>(ArcSwap<T>);

impl<T> Live<T> {
    /// Begins with this value.
    pub fn new(value: T) -> Self {
        Self(ArcSwap::from_pointee(value))
    }

    /// The present value. Takes no lock.
    pub fn get(&self) -> Guard<Arc<T>> {
        self.0.load()
    }

    /// Puts another in its place. Who has the one before keeps it.
    pub fn set(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}
