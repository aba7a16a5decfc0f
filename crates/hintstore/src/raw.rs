//! The bytes of hint files, for tools that look into them or make them: [`mod@format`] has encoders and
//! decoders, [`reader`] walks a file.
//!
//! This follows the format of the files and not the API of the engine: it may change with any version.

pub use hintstore_format as format;
pub use hintstore_reader as reader;
