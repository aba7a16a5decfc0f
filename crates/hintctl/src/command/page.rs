//! `stat --html`: one page about hints, with nothing from elsewhere: how old, how large, of what, when they expire,
//! and what is damaged where.

use std::collections::BTreeMap;

use hintstore::{Namespace, TargetId};
use hintstore_cassandra::Schema;

use super::{convert::NewFile, tally::table_name, verify::tell};
use crate::{
    args::Stat,
    chart::{Bar, NARROW, STYLE, bars, escape, strip},
    decode,
    filter::Filter,
    input::{Finding, Flow, HintView, Pending, Visitor, each},
    output::{Output, bytes, count, span, time},
};

/// At most this many bars of one kind, and damaged regions of one file, are shown.
const SHOWN: usize = 40;

/// How much of something.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    hints: u64,
    bytes: u64,
}

/// What the page is about.
struct Facts<'a> {
    schema: Option<&'a Schema>,
    now: i64,
    all: Sum,
    targets: BTreeMap<TargetId, Sum>,
    tables: BTreeMap<Namespace, Sum>,
    /// By full hours since creation.
    ages: BTreeMap<i64, Sum>,
    /// By days until expiry; what is dead is below zero.
    expiries: BTreeMap<i64, Sum>,
    /// By powers of two of the payload's length.
    sizes: BTreeMap<u32, Sum>,
    files: Vec<Damage>,
}

/// What is damaged of a file.
struct Damage {
    name: String,
    length: u64,
    regions: Vec<(u64, u64)>,
    texts: Vec<String>,
}

pub(crate) fn run(args: &Stat, html: &std::path::Path, output: &mut Output) -> anyhow::Result<()> {
    let schema = decode::schema(args.which.schema.as_ref(), output)?;
    let filter = Filter::new(&args.which, schema.as_ref())?;
    let (new, file) = NewFile::create(html)?;
    let now = args.as_of.now().get();
    let mut facts = Facts {
        schema: schema.as_ref(),
        now,
        all: Sum::default(),
        targets: BTreeMap::new(),
        tables: BTreeMap::new(),
        ages: BTreeMap::new(),
        expiries: BTreeMap::new(),
        sizes: BTreeMap::new(),
        files: Vec::new(),
    };
    let mut names = Vec::new();
    each(&args.sources, &filter, output, |input, output| {
        names.push(input.shown());
        input.tell_misnamed(output)?;
        let mut pending = Pending::of(input, output)?;
        let bar = output.bar(input.hint_bytes());
        for found in input.hints() {
            let mut reader = Reader {
                facts: &mut facts,
                pending: &mut pending,
                filter: &filter,
                damage: Damage {
                    name: found.name.clone(),
                    length: found.info.length,
                    regions: Vec::new(),
                    texts: Vec::new(),
                },
                output,
            };
            let walked = bar.walk(input, found, &mut reader);
            let damage = reader.damage;
            if !damage.texts.is_empty() {
                facts.files.push(damage);
            }
            tell(walked, &found.name, output)?;
        }
        bar.finish();
        Ok(())
    })?;
    filter.tell_unsure(output);
    let page = facts.page(&names.join(", "));
    std::io::Write::write_all(&mut &file, page.as_bytes())?;
    new.finish(&file)?;
    output.sum("hints", facts.all.hints);
    output.text(&format!(
        "{} in {}",
        count(facts.all.hints, "hint"),
        html.display()
    ))
}

struct Reader<'a, 'f> {
    facts: &'a mut Facts<'f>,
    pending: &'a mut Pending,
    filter: &'a Filter<'a>,
    damage: Damage,
    output: &'a mut Output,
}

impl Visitor for Reader<'_, '_> {
    fn hint(&mut self, hint: &HintView<'_>) -> anyhow::Result<Flow> {
        if self.pending.has(hint) && self.filter.has(hint) {
            self.facts.add(hint);
        }
        Ok(Flow::Go)
    }

    fn bad(&mut self, bad: &Finding) -> anyhow::Result<()> {
        self.output.found_bad(bad);
        if self.damage.texts.len() < SHOWN {
            let text = format!("at byte {}: {}", bad.position, bad.text);
            self.damage.texts.push(text);
            if !bad.harmless {
                self.damage.regions.push((bad.position, bad.bytes));
            }
        }
        Ok(())
    }
}

impl Facts<'_> {
    fn add(&mut self, hint: &HintView<'_>) {
        const HOUR: i64 = 60 * 60 * 1000;
        let one = hint.payload.len() as u64;
        let age = self.now.saturating_sub(hint.created_ms).div_euclid(HOUR);
        let left = hint.expires_at_ms().saturating_sub(self.now);
        let days = if left <= 0 {
            -1
        } else {
            (left / (24 * HOUR)).min(3650)
        };
        let size = one.checked_ilog2().unwrap_or(0);
        for sum in [
            &mut self.all,
            self.targets.entry(hint.target).or_default(),
            self.tables.entry(hint.namespace).or_default(),
            self.ages.entry(age.clamp(-1, 24 * 3650)).or_default(),
            self.expiries.entry(days).or_default(),
            self.sizes.entry(size).or_default(),
        ] {
            sum.hints += 1;
            sum.bytes += one;
        }
    }

    fn page(&self, name: &str) -> String {
        let (now, all) = (time(self.now), self.all);
        let total = format!(
            "{}, {} of payload, judged at {now} UTC",
            count(all.hints, "hint"),
            bytes(all.bytes)
        );
        let largest = |sums: Vec<(String, Sum)>| {
            let mut sums = sums;
            sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.bytes));
            sums
        };
        let targets = self.targets.iter().map(|(id, sum)| (id.to_string(), *sum));
        let tables = self.tables.iter();
        let tables = tables.map(|(id, sum)| (table_name(self.schema, *id), *sum));
        let ages = self.ages.iter().map(|(hours, sum)| {
            let label = match u64::try_from(*hours) {
                Ok(hours) => format!("{} old", span(hours.saturating_mul(3600))),
                Err(_) => "made later than now".to_owned(),
            };
            (label, *sum)
        });
        let expiries = self.expiries.iter().map(|(days, sum)| {
            let label = match days {
                ..0 => "expired".to_owned(),
                0 => "within a day".to_owned(),
                3650.. => "in ten years or never".to_owned(),
                days => format!("within {} days", days + 1),
            };
            (label, *sum)
        });
        let sizes = self.sizes.iter().map(|(log, sum)| {
            let (from, to) = (1_u64 << log, 1_u64.checked_shl(log + 1).unwrap_or(u64::MAX));
            (format!("{} to {}", bytes(from), bytes(to)), *sum)
        });
        let charts = [
            ("For whom", largest(targets.collect())),
            ("Of what table", largest(tables.collect())),
            ("How old", ages.collect()),
            ("When they expire", expiries.collect()),
            ("How large", sizes.collect()),
        ];
        let charts: Vec<String> = charts
            .iter()
            .map(|(head, sums)| chart(head, sums))
            .collect();
        let damage: Vec<String> = self.files.iter().map(damage).collect();
        let damage = if damage.is_empty() {
            "<p>Nothing is damaged.</p>".to_owned()
        } else {
            damage.concat()
        };
        let name = escape(name);
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\
             <title>hints: {name}</title><style>{STYLE}\
             body{{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:36rem;margin:auto;padding:1rem}}\
             h1{{font-size:1.3rem;overflow-wrap:anywhere}}h2{{font-size:1.05rem;margin-top:2rem}}svg{{width:100%;height:auto}}\
             li,p{{overflow-wrap:anywhere}}</style>\
             <h1>Hints in {name}</h1><p>{}</p>{}<h2>What is damaged</h2>{damage}</html>\n",
            escape(&total),
            charts.concat()
        )
    }
}

fn chart(head: &str, sums: &[(String, Sum)]) -> String {
    let bar = |(label, sum): &(String, Sum)| Bar {
        label: label.clone(),
        value: sum.bytes as f64,
        text: format!("{} · {}", sum.hints, bytes(sum.bytes)),
        limit: None,
    };
    let shown: Vec<Bar> = sums.iter().take(SHOWN).map(bar).collect();
    let more = match sums.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("<p>and {more} more</p>"),
    };
    format!("<h2>{head}</h2>{}{more}", bars(&shown, NARROW))
}

fn damage(of: &Damage) -> String {
    let texts = of.texts.iter();
    let texts: Vec<String> = texts
        .map(|text| format!("<li>{}</li>", escape(text)))
        .collect();
    format!(
        "<p>{}, {}</p>{}<ul>{}</ul>",
        escape(&of.name),
        bytes(of.length),
        strip(of.length, &of.regions),
        texts.concat()
    )
}
