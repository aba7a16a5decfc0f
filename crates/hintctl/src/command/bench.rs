//! `bench`: what the engine does on a disk, beside a naive log and the machine's limits.

use anyhow::Context as _;
use hintctl::measure::report::{Report, Series, measure, spread};
use hintstore::{OsStorage, Storage as _};
use serde_json::json;

use crate::{
    args::Bench,
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
    print(args, &report, output)
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
