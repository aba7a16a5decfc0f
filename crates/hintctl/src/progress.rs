//! A bar that moves while files are walked, also inside a long one.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::input::{Finding, Flow, Found, HintView, Input, Visitor};

/// What ends sooner needs no bar.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// The bar moves at least this often, in bytes.
const STEP: u64 = 1 << 20;

/// A bar over the bytes of many files.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// Bytes of files that are done.
    done: AtomicU64,
}

impl Bar {
    /// A bar for this number of bytes; none where nobody looks.
    pub(crate) fn new(bytes: u64, is_seen: bool) -> Self {
        // Drawn once it has run for a while.
        let hidden = ProgressDrawTarget::hidden();
        let style = ProgressStyle::with_template(
            "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        );
        let bar = ProgressBar::with_draw_target(is_seen.then_some(bytes), hidden);
        bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
        Self {
            bar,
            done: AtomicU64::new(0),
        }
    }

    fn move_to(&self, position: u64) {
        show(&self.bar);
        self.bar.set_position(position);
    }

    /// Walks the hints of a file.
    pub(crate) fn walk(
        &self,
        input: &Input,
        found: &Found,
        visitor: &mut dyn Visitor,
    ) -> anyhow::Result<()> {
        let mut moving = self.over(found, visitor);
        let walked = input.walk(found, &mut moving);
        self.pass(found);
        walked
    }

    /// The visitor of a file, which moves the bar as well.
    pub(crate) fn over<'a>(
        &'a self,
        found: &Found,
        visitor: &'a mut dyn Visitor,
    ) -> impl Visitor + use<'a> {
        Moving {
            bar: self,
            visitor,
            length: found.info.length,
            next: STEP,
        }
    }

    /// More of the present file was looked at, by whatever thread.
    pub(crate) fn counter(&self) -> impl Fn(u64) + Sync + use<> {
        let bar = self.bar.clone();
        move |bytes| {
            show(&bar);
            bar.inc(bytes);
        }
    }

    /// A file is done.
    pub(crate) fn pass(&self, found: &Found) {
        let before = self.done.fetch_add(found.info.length, Relaxed);
        self.move_to(before + found.info.length);
    }

    /// All is done.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Shows a bar that has run for a while. One without a length is never shown.
fn show(bar: &ProgressBar) {
    if bar.is_hidden() && bar.length().is_some() && bar.elapsed() > SHOW_AFTER {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
}

struct Moving<'a> {
    bar: &'a Bar,
    visitor: &'a mut dyn Visitor,
    length: u64,
    next: u64,
}

impl Visitor for Moving<'_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if hint.position >= self.next {
            self.next = hint.position + STEP;
            // Positions in a compressed file are those of what is packed in it.
            let here = hint.position.min(self.length);
            self.bar.move_to(self.bar.done.load(Relaxed) + here);
        }
        self.visitor.hint(hint)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.visitor.bad(bad)
    }
}
