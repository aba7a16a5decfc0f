//! How hints end, and how many did.

/// How a hint's life ends. Every accepted hint ends in exactly one of these ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum End {
    /// Its target acknowledged it.
    Delivered,
    /// Its deadline came.
    Expired,
    /// A fence says that it does not matter any more.
    Fenced,
    /// A newer hint of the same collapse key made it pointless.
    Superseded,
    /// Its target rejected it for good: it became a dead letter.
    Rejected,
    /// An operator discarded it.
    Discarded,
    /// Damage took it.
    Damaged,
    /// A crash took it, before it was synced.
    Lost,
}

impl End {
    /// Every way to end, in the order of the files.
    pub const ALL: &'static [Self] = &[
        Self::Delivered,
        Self::Expired,
        Self::Fenced,
        Self::Superseded,
        Self::Rejected,
        Self::Discarded,
        Self::Damaged,
        Self::Lost,
    ];

    /// The word for it, as tools and metrics print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Expired => "expired",
            Self::Fenced => "fenced",
            Self::Superseded => "superseded",
            Self::Rejected => "rejected",
            Self::Discarded => "discarded",
            Self::Damaged => "damaged",
            Self::Lost => "lost",
        }
    }
}

/// How many hints ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends([u64; End::ALL.len()]);

impl Ends {
    /// The count of one end.
    pub fn get(&self, end: End) -> u64 {
        self.0.get(end as usize).copied().unwrap_or(0)
    }

    /// Adds to the count of one end.
    pub fn add(&mut self, end: End, count: u64) {
        if let Some(place) = self.0.get_mut(end as usize) {
            *place += count;
        }
    }

    /// Adds all counts of another.
    pub fn join(&mut self, other: &Self) {
        for end in End::ALL.iter().copied() {
            self.add(end, other.get(end));
        }
    }

    /// The sum over all ends.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
