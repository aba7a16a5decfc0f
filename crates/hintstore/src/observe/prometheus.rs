//! The snapshot as metrics, for `prometheus-client`.
//!
//! Nothing is counted twice: a scrape takes a [`crate::Snapshot`] and writes it out. Names begin
//! with `hints_`; ends, refusals and caps are labels. Metrics by target have the label `target`.
//!
//! ```
//! # #[cfg(feature = "prometheus")] {
//! use hintstore::{Config, HintStore, prometheus::Metrics};
//! use prometheus_client::{encoding::text::encode, registry::Registry};
//!
//! # let folder = std::env::temp_dir().join(format!("hintstore-prometheus-{}", std::process::id()));
//! let store = HintStore::open(Config::new(&folder))?;
//! let mut registry = Registry::default();
//! registry.register_collector(Box::new(Metrics::of(&store)));
//!
//! let mut text = String::new();
//! encode(&mut text, &registry).unwrap();
//! assert!(text.contains("hints_accepted_total 0"));
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # }
//! # Ok::<(), hintstore::Error>(())
//! ```

use std::{fmt, time::Duration};

use hintstore_format::journal::End;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use crate::{Delays, Health, HintStore, Snapshot, TargetSnapshot, UnixMillis, WeakHintStore};

/// Writes a store's snapshot out at each scrape. It does not keep the store open, and writes nothing when
/// that is gone.
#[derive(Clone, Debug)]
pub struct Metrics(WeakHintStore);

impl Metrics {
    /// Metrics of this store.
    pub fn of(store: &HintStore) -> Self {
        Self(store.downgrade())
    }
}

type Label = (&'static str, String);

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(store) = self.0.upgrade() else {
            return Ok(());
        };
        let snapshot = store.snapshot();
        let mut out = Out(encoder);
        let now = store.now();
        out.store(&snapshot)?;
        out.windows(&snapshot, now)?;
        out.targets(&snapshot.targets, now)
    }
}

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn store(&mut self, snapshot: &Snapshot) -> fmt::Result {
        self.counter("hints_accepted", "Hints accepted", snapshot.ledger.accepted)?;
        let ends = End::ALL.iter().map(|end| {
            (
                vec![("end", end.word().to_owned())],
                snapshot.ledger.ends.get(*end),
            )
        });
        self.counters("hints_ended", "Hints that ended, by how", ends)?;
        let refused = snapshot.refused.iter();
        let refused = refused.map(|(reason, count)| (vec![("reason", reason.to_owned())], count));
        self.counters("hints_refused", "Hints refused, by why", refused)?;
        let gauges = [
            (
                "hints_pending",
                "Hints stored",
                snapshot.ledger.pending(),
                None,
            ),
            (
                "hints_in_flight",
                "Appends that wait for their level",
                snapshot.in_flight,
                None,
            ),
            (
                "hints_unflushed",
                "Accepted, not with the kernel",
                snapshot.windows.unflushed.get(),
                Some(&Unit::Bytes),
            ),
            (
                "hints_unsynced",
                "With the kernel, not on the disk",
                snapshot.windows.unsynced.get(),
                Some(&Unit::Bytes),
            ),
            (
                "hints_disk_used",
                "Disk space taken and reserved",
                snapshot.disk_used.get(),
                Some(&Unit::Bytes),
            ),
        ];
        for (name, help, value, unit) in gauges {
            self.gauges(name, help, unit, [(Vec::new(), value)])?;
        }
        if let Some(caps) = snapshot.caps {
            let unit = Some(&Unit::Bytes);
            let value = [(Vec::new(), caps.total.get())];
            self.gauges("hints_disk_cap", "The cap on disk space", unit, value)?;
        }
        self.counter(
            "hints_caps_entered",
            "Times a cap was reached",
            snapshot.caps_entered,
        )?;
        self.counter(
            "hints_caps_left",
            "Times a cap was left",
            snapshot.caps_left,
        )?;
        let receipts = [(Vec::new(), snapshot.loss_receipts as u64)];
        self.gauges(
            "hints_loss_receipts",
            "Loss receipts: what has to be repaired",
            None,
            receipts,
        )?;
        let compaction = &snapshot.compaction;
        self.counter(
            "hints_compaction_runs",
            "Compactions that came to their end",
            compaction.runs,
        )?;
        self.counter(
            "hints_compaction_files",
            "Files that compaction rewrote",
            compaction.files,
        )?;
        self.counter(
            "hints_compaction_freed_bytes",
            "Bytes that compaction gave back",
            compaction.freed.get(),
        )?;
        let skipped = [(Vec::new(), compaction.skipped.len() as u64)];
        self.gauges(
            "hints_compaction_skipped_files",
            "Files that the last compaction left as they are",
            None,
            skipped,
        )?;
        self.health(&snapshot.health)
    }

    fn health(&mut self, health: &Health) -> fmt::Result {
        let healthy = [(Vec::new(), u64::from(health.is_healthy()))];
        self.gauges("hints_healthy", "Whether nothing is amiss", None, healthy)?;
        self.counter(
            "hints_files_gone",
            "Files that somebody took away",
            health.files_gone,
        )?;
        let panics = health.step_panics.iter();
        let panics = panics.map(|of| (vec![("step", of.step.to_owned())], of.count));
        self.counters(
            "hints_step_panics",
            "Background steps that panicked",
            panics,
        )
    }

    /// How long hints have been at the mercy of a kill, and of a power cut.
    fn windows(&mut self, snapshot: &Snapshot, now: UnixMillis) -> fmt::Result {
        let windows = [
            (
                "hints_unflushed_age",
                "Age of the oldest in memory",
                snapshot.unflushed_since,
            ),
            (
                "hints_unsynced_age",
                "Age of the oldest that no sync covers",
                snapshot.unsynced_since,
            ),
        ];
        for (name, help, since) in windows {
            let age = since.map_or(0, |since| now.saturating_since(since).as_secs());
            self.gauges(name, help, Some(&Unit::Seconds), [(Vec::new(), age)])?;
        }
        Ok(())
    }

    fn targets(&mut self, targets: &[TargetSnapshot], now: UnixMillis) -> fmt::Result {
        let label = |target: &TargetSnapshot| vec![("target", target.target.to_string())];
        let each = |value: fn(&TargetSnapshot) -> u64| {
            targets
                .iter()
                .map(move |target| (label(target), value(target)))
        };
        let pending = each(|target| target.books.pending());
        self.gauges(
            "hints_target_pending",
            "Hints stored for a target",
            None,
            pending,
        )?;
        let bytes = each(|target| target.bytes.get());
        self.gauges(
            "hints_target_disk",
            "Disk space of a target",
            Some(&Unit::Bytes),
            bytes,
        )?;
        let past = each(|target| target.past_window.into());
        self.gauges(
            "hints_target_past_window",
            "It takes no more: its oldest hint is too old",
            None,
            past,
        )?;
        let refused = each(|target| target.refused.total());
        self.counters(
            "hints_target_refused",
            "Hints refused for a target",
            refused,
        )?;
        let state = targets.iter().map(|target| {
            let state = ("state", target.state.word().to_owned());
            ([label(target), vec![state]].concat(), 1)
        });
        self.gauges(
            "hints_target_state",
            "What is known of a target",
            None,
            state,
        )?;
        let window = each(|target| target.window.get());
        self.gauges(
            "hints_target_window",
            "What its next page may hold",
            Some(&Unit::Bytes),
            window,
        )?;
        let failures = each(|target| target.failures.into());
        self.gauges(
            "hints_target_failures",
            "Pages in a row that it took nothing of",
            None,
            failures,
        )?;
        let came_up = each(|target| target.came_up);
        self.counters(
            "hints_target_came_up",
            "Times that a target was said to be up",
            came_up,
        )?;
        let delays = targets.iter().filter(|target| target.delays.total() > 0);
        let delays = delays.map(|target| (label(target), &target.delays));
        self.histograms(
            "hints_target_delay",
            "Age of the writes that a target got by hints",
            &Unit::Seconds,
            delays,
        )?;
        let unknown = each(|target| target.unknown_namespace);
        self.counters(
            "hints_target_unknown_namespace",
            "Hints that it did not take because it does not know their namespace",
            unknown,
        )?;
        let old = targets.iter().filter_map(|target| {
            let age = now.saturating_since(target.oldest?).as_secs();
            Some((label(target), age))
        });
        self.gauges(
            "hints_target_oldest",
            "Age of the oldest stored hint",
            Some(&Unit::Seconds),
            old,
        )
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(Vec::new(), value)])
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            } else {
                let labels = labels.as_slice();
                family(&mut metric, &labels, |of| {
                    of.encode_counter::<NoLabelSet, _, u64>(&value, None)
                })?;
            }
        }
        Ok(())
    }

    fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        unit: &Unit,
        values: impl IntoIterator<Item = (Vec<Label>, &'a Delays)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, Some(unit), MetricType::Histogram)?;
        let bounds = Delays::BOUNDS.iter().map(Duration::as_secs_f64);
        // What is older comes last, without a bound.
        let bounds: Vec<f64> = bounds.chain([f64::INFINITY]).collect();
        for (labels, delays) in values {
            let labels = labels.as_slice();
            let counts = delays.counts().iter().copied();
            let buckets: Vec<(f64, u64)> = bounds.iter().copied().zip(counts).collect();
            let (sum, total) = (delays.sum().as_secs_f64(), delays.total());
            family(&mut metric, &labels, |of| {
                of.encode_histogram::<NoLabelSet>(sum, total, &buckets, None)
            })?;
        }
        Ok(())
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_gauge(&value)?;
            } else {
                let labels = labels.as_slice();
                family(&mut metric, &labels, |of| of.encode_gauge(&value))?;
            }
        }
        Ok(())
    }
}

fn family(
    metric: &mut prometheus_client::encoding::MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    encode: impl FnOnce(&mut prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    encode(&mut metric.encode_family(labels)?)
}
