//! The frames of a block: those that are good, and the hints in them.

use serde_json::{Value, json};

use crate::bytes::{Fields, crc, hex, i64_at, length_at, u16_at, u32_at, u64_at, uuid};
use crate::segment::Profile;

/// A lifetime without an end.
const NO_END: u64 = u64::MAX;
/// How often a search for good frames may read the block.
const PASSES: usize = 4;

#[derive(Clone)]
pub(crate) struct Hint {
    pub(crate) sequence: u64,
    pub(crate) created: i64,
    pub(crate) token: Option<i64>,
    pub(crate) payload: usize,
    pub(crate) profile: Profile,
    /// Place of the profile in the table.
    pub(crate) place: usize,
    /// The hint as `expected.jsonl` has it, except the fields of the segment.
    pub(crate) line: Value,
}

impl Hint {
    pub(crate) fn deadline(&self) -> i64 {
        match self.profile.gc_grace.min(self.profile.ttl) {
            NO_END => i64::MAX,
            life => self.created.saturating_add_unsigned(life),
        }
    }
}

pub(crate) fn hints(header: &[u8], frames: &[u8], profiles: &[Profile]) -> Vec<Hint> {
    let mut budget = PASSES * frames.len();
    let frames = Frames {
        header,
        bytes: frames,
        profiles,
    };
    let mut hints = Vec::new();
    let mut least = 0;
    let mut at = Some(0);
    while let Some(here) = at {
        at = if let Some(frame) = frames.good(here, least) {
            least = frame.index() + 1;
            hints.push(hint(header, &frame, profiles));
            Some(frame.end(here))
        } else {
            frames.behind_broken(here, least, &mut budget)
        };
    }
    hints
}

struct Frames<'a> {
    header: &'a [u8],
    bytes: &'a [u8],
    profiles: &'a [Profile],
}

struct Frame<'a> {
    head: &'a [u8],
    /// Optional fields and payload.
    body: &'a [u8],
}

impl Frame<'_> {
    fn index(&self) -> usize {
        u16_at(self.head, 8)
    }

    fn flags(&self) -> u8 {
        self.head[10]
    }

    fn profile(&self) -> usize {
        usize::from(self.head[11])
    }

    fn end(&self, at: usize) -> usize {
        at + 16 + self.body.len()
    }
}

impl<'a> Frames<'a> {
    /// What is here, if its length fits, and its index between those before and the last.
    fn plausible(&self, at: usize, least: usize) -> Option<Frame<'a>> {
        let head = self.bytes.get(at..at + 16)?;
        let body = self.bytes.get(at + 16..at + 16 + length_at(head, 0))?;
        let frame = Frame { head, body };
        let last = u16_at(self.header, 52);
        (least..=last).contains(&frame.index()).then_some(frame)
    }

    fn good(&self, at: usize, least: usize) -> Option<Frame<'a>> {
        let frame = self.plausible(at, least)?;
        let Frame { head, body } = frame;
        let (optional, payload) = body.split_at_checked(optional_length(frame.flags(), body)?)?;
        let salt = &self.header[32..36];
        let valid = u32_at(head, 4) == crc(&[payload, optional, &head[..4], &head[8..], salt]);
        (valid && frame.profile() < self.profiles.len()).then_some(frame)
    }

    /// Where to go on behind a broken frame.
    fn behind_broken(&self, at: usize, least: usize, budget: &mut usize) -> Option<usize> {
        let head = self.bytes.get(at..at + 16)?;
        let next = at + 16 + length_at(head, 0);
        if self.good(next, least).is_some() {
            return Some(next);
        }
        for place in at + 1..self.bytes.len() {
            if let Some(frame) = self.plausible(place, least) {
                *budget = budget.checked_sub(16 + frame.body.len())?;
                if self.good(place, least).is_some() {
                    return Some(place);
                }
            }
        }
        None
    }
}

/// `None` where the fields do not fit into the frame.
fn optional_length(flags: u8, body: &[u8]) -> Option<usize> {
    let fixed = [(0x02, 8), (0x04, 16), (0x08, 8), (0x10, 48)];
    let set = fixed.iter().filter(|(flag, _)| flags & flag != 0);
    let mut length = set.map(|(_, size)| size).sum();
    let more = |at: usize| body.get(at..at + 2).map(|size| 2 + u16_at(size, 0));
    if flags & 0x20 != 0 {
        length += 8;
        length += more(length)?;
    }
    if flags & 0x40 != 0 {
        length += more(length)?;
    }
    (flags & 0x80 == 0).then_some(length)
}

fn hint(header: &[u8], frame: &Frame, profiles: &[Profile]) -> Hint {
    let has = |flag: u8| frame.flags() & flag != 0;
    let mut fields = Fields::new(frame.body);
    let created_delta = u32_at(frame.head, 12) as i32;
    let created = if has(0x02) {
        fields.i64()
    } else {
        i64_at(header, 56) + i64::from(created_delta)
    };
    let mutation_id = has(0x04).then(|| fields.id());
    let token = has(0x08).then(|| fields.i64());
    let origin = has(0x10).then(|| origin(&mut fields));
    let collapse = has(0x20).then(|| collapse(&mut fields));
    if has(0x40) {
        let length = fields.number(2);
        fields.take(length as usize);
    }
    let payload = fields.rest();
    let sequence = u64_at(header, 24) + frame.index() as u64;
    let profile = profiles[frame.profile()].clone();
    let line = json!({
        "namespace": profile.namespace,
        "payload_version": profile.payload_version,
        "gc_grace_ms": profile.gc_grace.to_string(),
        "discard_after_ms": (profile.ttl != NO_END).then(|| profile.ttl.to_string()),
        "created_ms": created,
        "idempotent": !has(0x01),
        "mutation_id": mutation_id,
        "token": token.map(|token| token.to_string()),
        "origin": origin,
        "collapse": collapse,
        "payload_bytes": payload.len(),
        "payload_crc": format!("{:08x}", crc(&[payload])),
        "sequence": sequence.to_string(),
    });
    Hint {
        sequence,
        created,
        token,
        payload: payload.len(),
        profile,
        place: frame.profile(),
        line,
    }
}

fn origin(fields: &mut Fields) -> Value {
    json!({
        "store": uuid(&fields.id()),
        "target": uuid(&fields.id()),
        "sequence": fields.number(8).to_string(),
        "incarnation": fields.number(8).to_string(),
    })
}

fn collapse(fields: &mut Fields) -> Value {
    let version = fields.number(8).to_string();
    let length = fields.number(2);
    json!({ "version": version, "key": hex(fields.take(length as usize)) })
}
