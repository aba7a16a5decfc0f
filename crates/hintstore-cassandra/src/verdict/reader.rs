//! Cassandra's two readers of hint files, step by step, on bytes of any kind.
//!
//! The verbatim one takes a record by its length; the decoding one decodes its mutation first and
//! looks at the checksum afterwards, so that one flipped bit can end a file. A hint's age is not
//! looked at.

use std::io;

use byteorder::{BE, ByteOrder as _};

use crate::{
    mutation::{Input, Stop as Decoding, mutation},
    read_at::ReadAt,
    schema::Schema,
};

use super::{
    given::Finder,
    order::Paths,
    stream::{ALLOCATION_MAX, Stop, Stream},
};

/// What a reader did.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// How many of the records that it gave count.
    pub(super) count: u64,
    /// It said something in the log.
    pub(super) warned: bool,
    /// It ended in an exception, or never.
    pub(super) failed: bool,
    /// It never ended.
    pub(super) endless: bool,
}

/// How a record ends that is not given.
enum Miss {
    /// A line in the log, and on with what follows.
    Warning,
    /// Nothing: a table that is not known.
    Unknown,
    Failure,
}

impl From<Stop> for Miss {
    fn from(stop: Stop) -> Self {
        match stop {
            // An end inside a record is taken for that of a file that was not closed.
            Stop::End | Stop::Break => Self::Warning,
            Stop::Failure => Self::Failure,
        }
    }
}

/// An error of the disk ends everything.
enum Halt {
    Miss(Miss),
    Io(io::Error),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Miss> for Halt {
    fn from(miss: Miss) -> Self {
        Self::Miss(miss)
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self::Miss(stop.into())
    }
}

/// A reader that gives the same again is stopped after this number of hints.
const ENDLESS: u64 = 60;
/// One that gives nothing and does not end, after this number of steps past the end.
const STEPS_MAX: u32 = 100;

pub(super) struct Reader<'s, R> {
    pub(super) stream: Stream<R>,
    /// The schema, and whether times are unsigned, for the decoding one.
    pub(super) decoding: Option<(&'s Schema, bool)>,
    pub(super) crc: crc32fast::Hasher,
}

impl<R: ReadAt> Reader<'_, R> {
    /// Runs to the end; a finder gets position and checksum of each record that is given.
    pub(super) fn run<S: ReadAt>(mut self, finder: &mut Finder<S>) -> io::Result<Run> {
        let mut run = Run::default();
        while !self.stream.is_end() {
            let position = self.stream.position;
            match self.record() {
                Ok(crc) => finder.give(position, crc)?,
                Err(Halt::Io(error)) => return Err(error),
                Err(Halt::Miss(Miss::Unknown)) => {}
                Err(Halt::Miss(Miss::Warning)) => run.warned = true,
                Err(Halt::Miss(Miss::Failure)) => {
                    run.failed = true;
                    run.count = finder.count();
                    return Ok(run);
                }
            }
            let past = self.stream.past_end;
            let again = past > 1 && finder.count() >= ENDLESS;
            if again || past > STEPS_MAX {
                (run.failed, run.endless) = (true, true);
                run.count = finder.count().min(ENDLESS);
                return Ok(run);
            }
        }
        run.failed = self.stream.fails_to_close();
        run.count = finder.count();
        Ok(run)
    }

    /// Takes bytes, which are hashed.
    fn take(&mut self, count: usize) {
        let taken = self.stream.bytes().get(..count).unwrap_or_default();
        self.crc.update(taken);
        self.stream.consume(count);
    }

    /// Makes bytes available; an end before them is run into.
    fn need(&mut self, count: usize) -> Result<(), Halt> {
        if self.stream.fill(count)? < count {
            return Err(self.stream.run_out().into());
        }
        Ok(())
    }

    fn word(&mut self) -> Result<u32, Halt> {
        self.need(4)?;
        let bytes = self.stream.bytes().first_chunk::<4>();
        Ok(bytes.map_or(0, |bytes| BE::read_u32(bytes)))
    }

    /// Compares a stored checksum.
    fn check(&mut self) -> Result<(bool, u32), Halt> {
        let stored = self.word()?;
        self.stream.consume(4);
        Ok((self.crc.clone().finalize() == stored, stored))
    }

    /// One record; gives its checksum.
    fn record(&mut self) -> Result<u32, Halt> {
        self.crc = crc32fast::Hasher::new();
        let size = self.word()?.cast_signed();
        self.take(4);
        if size == 0 {
            return Err(self.zeros()?.into());
        }
        if !self.check()?.0 {
            return Err(Miss::Failure.into());
        }
        let unknown = if let Some((schema, unsigned)) = self.decoding {
            self.decoded(size, schema, unsigned)?
        } else {
            self.verbatim(size)?;
            false
        };
        let (holds, crc) = self.check()?;
        match (holds, unknown) {
            (true, false) => Ok(crc),
            (true, true) => Err(Miss::Unknown.into()),
            (false, _) => Err(Miss::Warning.into()),
        }
    }

    /// A length of zero: the end, if only zeros follow.
    fn zeros(&mut self) -> Result<Miss, Halt> {
        while !self.stream.is_end() {
            self.need(1)?;
            let bytes = self.stream.bytes();
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(Miss::Failure);
            }
            self.stream.consume(bytes.len());
            if self.stream.past_end > STEPS_MAX {
                return Ok(Miss::Failure);
            }
        }
        Ok(Miss::Warning)
    }

    fn verbatim(&mut self, size: i32) -> Result<(), Halt> {
        let Ok(size) = usize::try_from(size) else {
            return Err(Miss::Failure.into());
        };
        let head = size.min(18);
        self.need(head)?;
        let mut input = Input::new(self.stream.bytes().get(..head).unwrap_or_default());
        let read = input.i64().and_then(|_created| input.vint32());
        self.take(head);
        match read {
            Ok(_) if size > ALLOCATION_MAX => return Err(Miss::Failure.into()),
            Ok(_) => {}
            Err(Decoding::End) => return Err(Miss::Warning.into()),
            Err(_) => return Err(Miss::Failure.into()),
        }
        self.pass(size - head, false)
    }

    /// Takes `count` bytes. Where they end too early that is an end, or with `gently` nothing.
    fn pass(&mut self, count: usize, gently: bool) -> Result<(), Halt> {
        let mut left = count;
        while left > 0 {
            let there = self.stream.fill(1)?.min(left);
            if there == 0 {
                let stop = self.stream.run_out();
                if gently && stop != Stop::Failure {
                    return Ok(());
                }
                return Err(stop.into());
            }
            self.take(there);
            left -= there;
        }
        Ok(())
    }

    /// Decodes the body; gives whether its table is not known.
    fn decoded(&mut self, size: i32, schema: &Schema, unsigned: bool) -> Result<bool, Halt> {
        let limit = usize::try_from(size).unwrap_or(0);
        let mut ahead = limit.min(16 << 20) + 4096;
        loop {
            let there = self.stream.fill(ahead)?;
            let mut input = Input::within(self.stream.bytes(), limit);
            let mut paths = Paths::default();
            let done = input
                .i64()
                .and_then(|_created| input.vint32())
                .and_then(|_gcgs| mutation(&mut input, schema, unsigned, &mut paths));
            let (at, failed) = (input.at(), paths.failed);
            match done {
                _ if failed => return Err(Miss::Failure.into()),
                Ok(()) if at > limit => return Err(Miss::Failure.into()),
                Ok(()) => {
                    self.take(at);
                    return Ok(false);
                }
                Err(Decoding::Table(_)) => {
                    self.take(at);
                    self.pass(limit.saturating_sub(at), true)?;
                    return Ok(true);
                }
                Err(Decoding::End) if there >= ahead && ahead < 64 << 20 => ahead *= 4,
                Err(Decoding::End) => return Err(self.stream.run_out().into()),
                Err(Decoding::Past | Decoding::Wrong(_)) => return Err(Miss::Failure.into()),
            }
        }
    }
}
