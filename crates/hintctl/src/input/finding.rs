//! What is found in a file besides hints.

use serde_json::{Value, json};

/// What kind of finding it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Block,
    Body,
    Checksum,
    Compressor,
    Crc32,
    Descriptor,
    Downgrade,
    Empty,
    Encrypted,
    Footer,
    Frame,
    Hole,
    Journal,
    Length,
    Name,
    Open,
    Order,
    Payload,
    Profiles,
    Slot,
    Store,
    Tail,
    Torn,
    Unfinished,
    Version,
    Zeros,
}

impl What {
    /// The word for it, for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Body => "body",
            Self::Checksum => "checksum",
            Self::Compressor => "compressor",
            Self::Crc32 => "crc32",
            Self::Descriptor => "descriptor",
            Self::Downgrade => "downgrade",
            Self::Empty => "empty",
            Self::Encrypted => "encrypted",
            Self::Footer => "footer",
            Self::Frame => "frame",
            Self::Hole => "hole",
            Self::Journal => "journal",
            Self::Length => "length",
            Self::Name => "name",
            Self::Open => "open",
            Self::Order => "order",
            Self::Payload => "payload",
            Self::Profiles => "profiles",
            Self::Slot => "slot",
            Self::Store => "store",
            Self::Tail => "tail",
            Self::Torn => "torn",
            Self::Unfinished => "unfinished",
            Self::Version => "version",
            Self::Zeros => "zeros",
        }
    }
}

/// Why a region of a file is no hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Where it begins.
    pub(crate) position: u64,
    /// How long it is.
    pub(crate) bytes: u64,
    /// What is wrong, in one word for programs.
    pub(crate) what: What,
    /// What is wrong, for people.
    pub(crate) text: String,
    /// It is no damage: a torn tail, or a write in progress.
    pub(crate) harmless: bool,
}

impl Finding {
    /// Something is wrong with a file as a whole.
    pub(crate) fn whole(what: What, text: String) -> Self {
        Self {
            position: 0,
            bytes: 0,
            what,
            text,
            harmless: false,
        }
    }

    /// A remark on a file: nothing is wrong.
    pub(crate) fn note(what: What, text: String) -> Self {
        Self {
            harmless: true,
            ..Self::whole(what, text)
        }
    }

    pub(crate) fn json(&self, file: &str) -> Value {
        json!({
            "file": file,
            "position": self.position,
            "bytes": self.bytes,
            "what": self.what.word(),
            "text": self.text,
            "harmless": self.harmless,
        })
    }
}
