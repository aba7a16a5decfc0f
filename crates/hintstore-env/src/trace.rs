//! Spans and events of `tracing`, where the feature is on; nothing where it is off.

/// A span until the end of the block.
#[cfg(feature = "tracing")]
#[macro_export]
macro_rules! span {
    ($name:literal) => {
        let _span = $crate::tracing::debug_span!($name).entered();
    };
}

/// A span until the end of the block.
#[cfg(not(feature = "tracing"))]
#[macro_export]
macro_rules! span {
    ($name:literal) => {};
}

/// An event: a level, its fields, a sentence.
#[cfg(feature = "tracing")]
#[macro_export]
macro_rules! event {
    ($level:ident, $($rest:tt)+) => {
        $crate::tracing::$level!($($rest)+);
    };
}

/// An event: a level, its fields, a sentence.
#[cfg(not(feature = "tracing"))]
#[macro_export]
macro_rules! event {
    ($level:ident, $($rest:tt)+) => {};
}
