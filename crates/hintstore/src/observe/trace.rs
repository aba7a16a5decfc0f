//! Spans and events of `tracing`, where the feature is on; nothing where it is off.

/// A span until the end of the block.
macro_rules! span {
    ($name:literal) => {
        #[cfg(feature = "tracing")]
        let _span = tracing::debug_span!($name).entered();
    };
}

/// An event: a level, its fields, a sentence.
macro_rules! event {
    ($level:ident, $($rest:tt)+) => {
        #[cfg(feature = "tracing")]
        tracing::$level!($($rest)+);
    };
}

pub(crate) use {event, span};
