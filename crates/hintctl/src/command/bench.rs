//! `bench`: what the engine does on a disk, beside a naive log and the machine's limits.

use anyhow::Context as _;
use hintctl::measure::report::{Report, Series, measure, spread};
use hintstore::{OsStorage, Storage as _};
use serde_json::json;

use super::convert::NewFile;
use crate::{
    args::Bench,
    chart::{Bar, STYLE, WIDE, bars},
    exit::usage,
    interrupt::Guard,
    output::{Output, bytes},
};

pub(crate) fn run(args: &Bench, output: &mut Output) -> anyhow::Result<()> {
    let directory = &args.directory;
    if !directory.is_dir() {
        return Err(usage(format!("{} is no directory", directory.display())));
    }
    let size = args.size << 20;
    let free = OsStorage::new(directory).space()?.free;
    if free < 4 * size {
        return Err(usage(format!(
            "{} has {} free, {} are needed: name another, or measure less with --size",
            directory.display(),
            bytes(free),
            bytes(4 * size)
        )));
    }
    let own = format!("hintstore-bench-{}", std::process::id());
    let _guard = Guard::remove_beginning(directory, own);
    let bar = output.steps(u64::from(args.rounds));
    let report = measure(directory, args.rounds.into(), size, |round, what| {
        bar.set_position(round as u64);
        bar.set_message(what.to_owned());
    });
    bar.finish_and_clear();
    let report = report
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("cannot measure in {}", directory.display()))?;
    if let Some(path) = &args.plot {
        let (new, file) = NewFile::create(path)?;
        std::io::Write::write_all(&mut &file, plot(&report).as_bytes())?;
        new.finish(&file)?;
    }
    print(args, &report, output)
}

/// The medians as bars, each before what it is compared with; rates of times and of bytes apart.
fn plot(report: &Report) -> String {
    let median = |series: &Series| spread(&series.rates).0;
    let of = |counts: bool| {
        let series = report.series.iter();
        let series = series.filter(move |series| series.name.contains("times") == counts);
        let bars: Vec<Bar> = series
            .map(|series| Bar {
                label: series.name.clone(),
                value: median(series),
                text: match report.ratios(series)[..] {
                    [] => String::new(),
                    ref ratios => format!("{:.2} ×", spread(ratios).0),
                },
                limit: series
                    .beside
                    .and_then(|at| report.series.get(at))
                    .map(median),
            })
            .collect();
        bars
    };
    // One picture of two: the second below the first.
    let (rates, counts) = (of(false), of(true));
    let height = 24 * (rates.len() + counts.len() + 1);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 {height}\" width=\"640\" height=\"{height}\">\
         <style>{STYLE}</style><rect width=\"640\" height=\"{height}\" style=\"fill:var(--paper)\"/>\
         <svg y=\"0\" height=\"{}\">{}</svg><svg y=\"{}\" height=\"{}\">{}</svg></svg>\n",
        24 * rates.len(),
        bars(&rates, WIDE),
        24 * (rates.len() + 1),
        24 * counts.len(),
        bars(&counts, WIDE)
    )
}

fn print(args: &Bench, report: &Report, output: &mut Output) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for series in &report.series {
        let (rate, ..) = spread(&series.rates);
        let (cpu, ..) = spread(&series.cpu);
        let ratios = report.ratios(series);
        let (ratio, least, most) = spread(&ratios);
        let beside = beside(report, series);
        output.line(
            "bench",
            json!({
                "name": series.name,
                "per_second": rate,
                "cpu": cpu,
                "beside": beside,
                "ratio": ratio,
                "ratio_min": least,
                "ratio_max": most,
            }),
        )?;
        let counts = series.name.contains("times");
        #[expect(clippy::cast_sign_loss, reason = "a rate is not below zero")]
        let whole = rate as u64;
        rows.push(vec![
            series.name.clone(),
            if counts {
                format!("{rate:.0}/s")
            } else {
                format!("{}/s", bytes(whole))
            },
            format!("{cpu:.2}"),
            if ratios.is_empty() {
                String::new()
            } else {
                format!("{ratio:.2} ({least:.2} to {most:.2})")
            },
            beside.unwrap_or_default().to_owned(),
        ]);
    }
    let head = ["WHAT", "MEDIAN", "CPU", "RATIO (SPREAD)", "TO"];
    output.table(&head, rows)?;
    output.text("")?;
    for space in &report.space {
        output.line("space", json!({ "name": space.name, "ratio": space.ratio }))?;
        output.text(&format!(
            "space: {:.3} of payload, {}",
            space.ratio, space.name
        ))?;
    }
    output.text(&format!(
        "memory: {} private at most; {} rounds of {}",
        bytes(report.memory_kib << 10),
        args.rounds,
        bytes(args.size << 20)
    ))?;
    output.sum("memory_kib", report.memory_kib);
    output.sum("rounds", args.rounds);
    Ok(())
}

fn beside<'a>(report: &'a Report, series: &Series) -> Option<&'a str> {
    let place = series.beside?;
    report.series.get(place).map(|series| series.name.as_str())
}
