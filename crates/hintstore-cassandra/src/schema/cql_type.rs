//! The types of CQL, and how they are written in a schema.

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CqlType {
    /// One of the language's own.
    Native(Native),
    /// `list<…>`
    List(Box<CqlType>),
    /// `set<…>`
    Set(Box<CqlType>),
    /// `map<…, …>`
    Map(Box<CqlType>, Box<CqlType>),
    /// `tuple<…>`
    Tuple(Vec<CqlType>),
    /// `vector<…, n>`
    Vector(Box<CqlType>, usize),
    /// A type of the user's, with its fields in order.
    Udt {
        /// Its name, without the keyspace.
        name: String,
        /// Names and types of its fields.
        fields: Vec<(String, CqlType)>,
    },
    /// A class of somebody's own: a value of it is bytes.
    Custom(String),
}

/// The types of the language itself.
#[expect(missing_docs, reason = "each is the CQL type of that name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    Ascii,
    Bigint,
    Blob,
    Boolean,
    Counter,
    Date,
    Decimal,
    Double,
    Duration,
    Empty,
    Float,
    Inet,
    Int,
    Smallint,
    Text,
    Time,
    Timestamp,
    Timeuuid,
    Tinyint,
    Uuid,
    Varint,
}

const NATIVES: [(&str, Native); 22] = [
    ("ascii", Native::Ascii),
    ("bigint", Native::Bigint),
    ("blob", Native::Blob),
    ("boolean", Native::Boolean),
    ("counter", Native::Counter),
    ("date", Native::Date),
    ("decimal", Native::Decimal),
    ("double", Native::Double),
    ("duration", Native::Duration),
    ("empty", Native::Empty),
    ("float", Native::Float),
    ("inet", Native::Inet),
    ("int", Native::Int),
    ("smallint", Native::Smallint),
    ("text", Native::Text),
    ("varchar", Native::Text),
    ("time", Native::Time),
    ("timestamp", Native::Timestamp),
    ("timeuuid", Native::Timeuuid),
    ("tinyint", Native::Tinyint),
    ("uuid", Native::Uuid),
    ("varint", Native::Varint),
];

impl Native {
    /// Its name in CQL.
    pub fn name(self) -> &'static str {
        let named = NATIVES.iter().find(|(_, native)| *native == self);
        named.map_or("empty", |(word, _)| word)
    }

    /// The type of a name, in lower case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let named = NATIVES.iter().find(|(word, _)| *word == name);
        named.map(|(_, native)| *native)
    }
}

impl CqlType {
    /// Whether its values have no bytes, ever: they say that the cell is there.
    pub fn is_empty(&self) -> bool {
        self.fixed_length() == Some(0)
    }

    /// Length of every value, in bytes, where all have the same and it is therefore not written.
    pub(crate) fn fixed_length(&self) -> Option<usize> {
        match self {
            Self::Native(native) => match native {
                Native::Empty => Some(0),
                Native::Boolean => Some(1),
                Native::Int | Native::Float => Some(4),
                Native::Bigint | Native::Double | Native::Timestamp => Some(8),
                Native::Uuid | Native::Timeuuid => Some(16),
                _ => None,
            },
            Self::Vector(element, count) => element.fixed_length()?.checked_mul(*count),
            Self::Custom(class) => match class.rsplit('.').next() {
                Some("DateType") => Some(8),
                Some("LexicalUUIDType") => Some(16),
                Some("EmptyType") => Some(0),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A type as it is written: names of the user's types are not looked up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Native(Native),
    List(Box<Written>),
    Set(Box<Written>),
    Map(Box<Written>, Box<Written>),
    Tuple(Vec<Written>),
    Vector(Box<Written>, usize),
    Frozen(Box<Written>),
    User(Option<String>, String),
    Custom(String),
}

impl Written {
    /// Whether a column of it has a cell for each element.
    pub(crate) fn is_multicell(&self) -> bool {
        matches!(
            self,
            Self::List(_) | Self::Set(_) | Self::Map(..) | Self::User(..)
        )
    }
}
