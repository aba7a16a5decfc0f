//! The node that came back: what it has to do, and how long that takes.

use std::{cmp::Reverse, collections::BinaryHeap};

use hintstore_sim::Random;

/// Virtual time, in nanoseconds from the start.
pub(crate) type Time = u64;

pub(crate) const SECOND: Time = 1_000_000_000;
const MILLISECOND: Time = 1_000_000;

/// What a node can do, and what it has to do besides taking hints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    /// Requests that it serves side by side; the others wait in one line.
    pub(crate) workers: usize,
    /// The mean of what a request takes, hint or live write; the times are distributed exponentially.
    pub(crate) service: Time,
    /// Live writes come by chance, and take this part of all that it can do.
    pub(crate) load: f64,
    /// From then on each request takes so much longer.
    pub(crate) slower: Option<(Time, f64)>,
}

/// Half of the way to the node and back.
pub(crate) const WAY: Time = MILLISECOND / 4;

impl Model {
    pub(crate) const NODE: Self = Self {
        workers: 8,
        service: 2 * MILLISECOND,
        load: 0.5,
        slower: None,
    };

    /// Requests a second, at most.
    pub(crate) fn capacity(&self) -> f64 {
        self.workers as f64 * SECOND as f64 / self.service as f64
    }

    /// As it is from the moment on when it is slower.
    pub(crate) fn slowed(self) -> Self {
        let Some((_, by)) = self.slower else {
            return self;
        };
        Self {
            service: (self.service as f64 * by) as Time,
            load: self.load * by,
            slower: None,
            ..self
        }
    }
}

/// The node at work.
pub(crate) struct Node {
    model: Model,
    random: Random,
    /// When each worker is free.
    free: BinaryHeap<Reverse<Time>>,
    next_live: Time,
    /// What live writes took, in microseconds: before it got slower, and after that.
    took: [Vec<u32>; 2],
}

impl Node {
    pub(crate) fn new(model: Model, seed: u64) -> Self {
        let mut node = Self {
            model,
            random: Random::new(seed),
            free: (0..model.workers).map(|_| Reverse(0)).collect(),
            next_live: 0,
            took: [Vec::new(), Vec::new()],
        };
        node.next_live = node.until_next_live();
        node
    }

    fn exponential(&mut self, mean: f64) -> Time {
        let unit = ((self.random.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        (-unit.ln() * mean) as Time
    }

    fn until_next_live(&mut self) -> Time {
        let mean = SECOND as f64 / (self.model.capacity() * self.model.load);
        self.exponential(mean)
    }

    fn serve(&mut self, at: Time) -> Time {
        let slower = self.model.slower.filter(|(from, _)| at >= *from);
        let by = slower.map_or(1.0, |(_, by)| by);
        let service = self.exponential(self.model.service as f64 * by);
        let Reverse(free) = self.free.pop().unwrap_or_default();
        let done = free.max(at) + service;
        self.free.push(Reverse(done));
        done
    }

    /// Serves the live writes that come before this.
    pub(crate) fn live_until(&mut self, until: Time) {
        while self.next_live < until {
            let at = self.next_live;
            let took = self.serve(at) + 2 * WAY - at;
            let is_slow = self.model.slower.is_some_and(|(from, _)| at >= from);
            let [before, after] = &mut self.took;
            let of = if is_slow { after } else { before };
            of.push((took / 1000) as u32);
            self.next_live += self.until_next_live();
        }
    }

    /// Takes a hint; gives when it is applied.
    pub(crate) fn take(&mut self, at: Time) -> Time {
        self.live_until(at);
        self.serve(at)
    }

    /// The time within which 99 of 100 live writes were answered, in microseconds: before it got slower, and
    /// after that.
    pub(crate) fn p99(&mut self) -> [u32; 2] {
        self.took.each_mut().map(|took| {
            let at = took.len() * 99 / 100;
            if at == 0 {
                return 0;
            }
            *took.select_nth_unstable(at).1
        })
    }
}
