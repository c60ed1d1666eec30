//! The goals of vldepot, and what it reached.

use crate::Config;
use crate::report::Row;
use crate::run::{median, speeds_over};

/// A figure: its median, and what the rounds had.
#[derive(Debug, Clone, Copy)]
struct Figure {
    median: f64,
    low: f64,
    high: f64,
}

impl Figure {
    fn of(rounds: Vec<f64>) -> Option<Self> {
        let low = rounds.iter().copied().reduce(f64::min)?;
        let high = rounds.iter().copied().reduce(f64::max)?;
        Some(Self { median: median(rounds), low, high })
    }

    fn inverse(self) -> Self {
        Self { median: 1.0 / self.median, low: 1.0 / self.high, high: 1.0 / self.low }
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self { median: value, low: value, high: value }
    }
}

/// The figures of a run, by name.
struct Figures<'r> {
    rows: &'r [Row],
    /// Whether CPU time was measured, which does not show what threads gain.
    cpu_time: bool,
}

impl Figures<'_> {
    fn row(&self, workload: &str, operation: &str, engine: &str) -> Option<&Row> {
        let is = |row: &&Row| row.workload == workload && row.operation == operation && row.engine == engine;
        self.rows.iter().find(is)
    }

    /// Seconds for each record, in each round.
    fn times(&self, workload: &str, operation: &str, engine: &str) -> Option<&[f64]> {
        Some(self.row(workload, operation, engine)?.rounds.as_slice())
    }

    fn time(&self, workload: &str, operation: &str, engine: &str) -> Option<Figure> {
        Figure::of(self.times(workload, operation, engine)?.to_vec())
    }

    fn rate(&self, workload: &str, operation: &str, engine: &str) -> Option<Figure> {
        self.time(workload, operation, engine).map(Figure::inverse)
    }

    fn size(&self, workload: &str, engine: &str) -> Option<Figure> {
        self.row(workload, "size", engine)?.stored_ratio.map(Figure::from)
    }

    /// The speed over that of the limit. It has as many threads.
    fn to_limit(&self, workload: &str, operation: &str, engine: &str) -> Option<Figure> {
        let row = self.row(workload, operation, engine)?;
        Figure::of(row.limit_rounds.clone())
    }

    /// How many times as fast the left operation is as the right one.
    fn over(&self, workload: &str, left: (&str, &str), right: (&str, &str)) -> Option<Figure> {
        let times = |(operation, engine)| self.times(workload, operation, engine);
        Figure::of(speeds_over(times(left)?, times(right)?))
    }

    /// Like [`over`](Self::over), but for one operation of `engine` with two threads and with one.
    fn two_threads(&self, workload: &str, operation: &str, engine: &str) -> Option<Figure> {
        if self.cpu_time || self.row(workload, operation, engine)?.threads != 2 {
            return None;
        }
        self.over(workload, (operation, engine), (operation, &format!("{engine}-1")))
    }

    fn peak(&self, workload: &str, operation: &str, engine: &str) -> Option<Figure> {
        self.row(workload, operation, engine)?.peak_mb.map(Figure::from)
    }
}

fn at_least(what: &str, figure: Option<Figure>, goal: f64) {
    let reached = figure.is_some_and(|figure| figure.median >= goal);
    line(what, figure, ">=", goal, reached);
}

fn at_most(what: &str, figure: Option<Figure>, goal: f64) {
    let reached = figure.is_some_and(|figure| figure.median <= goal);
    line(what, figure, "<=", goal, reached);
}

/// Prints a goal. The range stands there if the rounds differ by more than a twentieth.
fn line(what: &str, figure: Option<Figure>, sign: &str, goal: f64, reached: bool) {
    let digits = if goal >= 1000.0 { 0 } else { 3 };
    let (figure, verdict, range) = match figure {
        Some(Figure { median, low, high }) => {
            let wide = high > 1.05 * low;
            let range = if wide { format!("  ({low:.digits$} .. {high:.digits$})") } else { String::new() };
            (format!("{median:.digits$}"), if reached { "reached" } else { "NOT REACHED" }, range)
        }
        None => ("-".into(), "not measured", String::new()),
    };
    println!("  {what:<78} {figure:>9}  {sign} {goal:<7} {verdict}{range}");
}

/// Prints all goals.
pub(crate) fn print(config: &Config, rows: &[Row]) {
    let figures = Figures { rows, cpu_time: config.cpu_time };
    println!("\ngoals (medians of rounds, and their range where it is wide)");
    if config.quick {
        println!("  (they are about a full run: this one had fewer records)");
    }
    if config.cpu_time {
        println!("  (of CPU time: rates and times are flattered where threads or disks wait)");
    }
    small_and_fast(&figures);
    reading(&figures);
    epochs(&figures);
    writing(&figures);
    commits(&figures);
    frames(&figures);
    small(&figures);
    let peak = figures.peak("b", "write_10gb", "vldepot-balanced");
    let when = if config.quick { " (not with --quick)" } else { "" };
    at_most(&format!("peak memory of writing 10 GB, MB{when}"), peak, 200.0);
}

/// Size and single reads at once, by molecules.
fn small_and_fast(figures: &Figures<'_>) {
    let goals = [
        ("a", "as frames", "vldepot-balanced-frames", Some(0.85), Some(100_000.0)),
        ("a", "as frames", "vldepot-fast-frames", Some(0.90), Some(300_000.0)),
        ("dp", "packed", "vldepot-balanced-fields", None, Some(110_000.0)),
    ];
    for (workload, form, engine, size, rate) in goals {
        let preset = if engine.contains("fast") { "fast" } else { "balanced" };
        if let Some(goal) = size {
            let what = format!("{workload} size, {preset}, {form}, over the payload");
            at_most(&what, figures.size(workload, engine), goal);
        }
        if let Some(goal) = rate {
            let what = format!("{workload} get, {preset}, {form}, records/s");
            at_least(&what, figures.rate(workload, "get", &format!("{engine}-1")), goal);
        }
    }
    for workload in ["a", "b", "d"] {
        at_least(
            &format!("{workload} scan, balanced, as frames, one thread, over that without fields apart"),
            figures.over(
                workload,
                ("scan", "vldepot-balanced-frames-1"),
                ("scan", "vldepot-balanced-plain-1"),
            ),
            0.9,
        );
    }
    // The second set is made here, so its size has a goal beside the same bytes without fields.
    for (workload, form) in [("d", "frames"), ("dp", "fields")] {
        let ours = figures.size(workload, &format!("vldepot-balanced-{form}"));
        let ratio = ours.zip(figures.size(workload, "vldepot-balanced"));
        at_most(
            &format!("{workload} size, balanced, as {form}, over that of the same bytes, raw"),
            ratio.map(|(ours, raw)| Figure::from(ours.median / raw.median)),
            1.0,
        );
    }
    for workload in ["a", "d"] {
        at_least(
            &format!("{workload} get, fast, as frames, over lmdb-zstd"),
            figures.over(workload, ("get", "vldepot-fast-frames-1"), ("get", "lmdb-zstd")),
            1.0,
        );
        let ours = figures.size(workload, "vldepot-fast-frames");
        let ratio = ours.zip(figures.size(workload, "lmdb-zstd"));
        at_most(
            &format!("{workload} size, fast, as frames, over lmdb-zstd"),
            ratio.map(|(ours, theirs)| Figure::from(ours.median / theirs.median)),
            1.0,
        );
    }
}

fn reading(figures: &Figures<'_>) {
    let over = |left: (&str, &str), right: (&str, &str)| figures.over("a", left, right);
    at_least(
        "a get, uncompressed, checked each time, over lmdb",
        over(("get", "vldepot-uncompressed-1"), ("get", "lmdb")),
        1.2,
    );
    at_least(
        "a get, uncompressed, checked once a record, over lmdb",
        over(("get", "vldepot-uncompressed-once"), ("get", "lmdb")),
        1.5,
    );
    for kind in ["balanced-frames", "balanced", "fast-frames", "uncompressed"] {
        let one = format!("vldepot-{kind}-1");
        at_least(
            &format!("a get_many, {kind}, one thread, over get"),
            over(("get_many", &one), ("get", &one)),
            1.0,
        );
    }
    at_least(
        "a get_many, uncompressed, checked once a record, over get",
        over(("get_many", "vldepot-uncompressed-once"), ("get", "vldepot-uncompressed-once")),
        1.0,
    );
    for kind in ["balanced-frames", "balanced", "fast-frames"] {
        at_least(
            &format!("a get_many, {kind}, two threads over one"),
            figures.two_threads("a", "get_many", &format!("vldepot-{kind}")),
            1.7,
        );
    }
    for workload in ["a", "b", "d"] {
        at_least(
            &format!("{workload} get_many, flat form, one thread, over get of frames"),
            figures.over(workload, ("get_many", "vldepot-balanced-flat"), ("get", "vldepot-balanced-codec")),
            1.2,
        );
    }
    at_least(
        "a scan, uncompressed, two threads over one",
        figures.two_threads("a", "scan", "vldepot-uncompressed"),
        1.0,
    );
}

fn epochs(figures: &Figures<'_>) {
    for workload in ["a", "b"] {
        for kind in ["balanced-frames", "balanced"] {
            let engine = format!("vldepot-{kind}");
            at_least(
                &format!("{workload} epoch, shuffled in windows, {kind}, one thread, over the limit"),
                figures.to_limit(workload, "epoch_windowed", &format!("{engine}-1")),
                0.85,
            );
            at_least(
                &format!("{workload} epoch, shuffled in windows, {kind}, two threads over one"),
                figures.two_threads(workload, "epoch_windowed", &engine),
                1.7,
            );
        }
    }
    at_least(
        "a epoch, shuffled in windows on both sides, uncompressed, over lmdb",
        figures.over("a", ("epoch_windowed", "vldepot-uncompressed-1"), ("epoch_windowed", "lmdb")),
        1.0,
    );
    at_least(
        "a epoch, full shuffle on both sides, uncompressed, over lmdb",
        figures.over("a", ("epoch_full", "vldepot-uncompressed-1"), ("epoch_full", "lmdb")),
        1.0,
    );
}

fn writing(figures: &Figures<'_>) {
    for workload in ["a", "b"] {
        for kind in ["balanced", "balanced-frames"] {
            let engine = format!("vldepot-{kind}");
            at_least(
                &format!("{workload} put, {kind}, one thread, over the limit with one"),
                figures.to_limit(workload, "put", &format!("{engine}-1")),
                0.9,
            );
            if !figures.cpu_time {
                at_least(
                    &format!("{workload} put, {kind}, all threads, over the limit with as many"),
                    figures.to_limit(workload, "put", &engine),
                    0.9,
                );
            }
        }
    }
    at_least(
        "b write, balanced, one thread, over the limit with one",
        figures.to_limit("b", "write", "vldepot-balanced-1"),
        0.9,
    );
}

fn commits(figures: &Figures<'_>) {
    for (workload, bytes) in [("a", 1200), ("c", 64)] {
        for preset in ["balanced", "fast", "uncompressed"] {
            let name = format!("vldepot-{preset}");
            at_most(
                &format!("{workload} commit of {bytes} bytes, {preset}, time over lmdb"),
                figures.over(workload, ("commit", "lmdb"), ("commit", &name)),
                1.5,
            );
        }
    }
}

fn frames(figures: &Figures<'_>) {
    for kind in ["balanced", "balanced-frames"] {
        let engine = format!("vldepot-{kind}-1");
        let time = figures.to_limit("b", "get", &engine).map(Figure::inverse);
        at_most(&format!("b get, {kind}, time over that of the limit"), time, 1.15);
        let scan = figures.to_limit("b", "scan", &engine);
        at_least(&format!("b scan, {kind}, one thread, over the limit"), scan, 0.92);
    }
}

fn small(figures: &Figures<'_>) {
    let time = |operation| figures.time("c", operation, "vldepot-balanced");
    let times = |figure: Figure, factor: f64| Figure {
        median: factor * figure.median,
        low: factor * figure.low,
        high: factor * figure.high,
    };
    at_least(
        "c write, balanced, over lmdb",
        figures.over("c", ("write", "vldepot-balanced"), ("write", "lmdb")),
        0.67,
    );
    at_least(
        "c write, balanced, two threads over one",
        figures.two_threads("c", "write", "vldepot-balanced"),
        1.1,
    );
    at_least(
        "c scan, uncompressed, one thread, over lmdb",
        figures.over("c", ("scan", "vldepot-uncompressed-1"), ("scan", "lmdb")),
        0.5,
    );
    at_most("c open, ms", time("open").map(|figure| times(figure, 1e3)), 10.0);
    at_most("c lookup, us", time("lookup").map(|figure| times(figure, 1e6)), 1.0);
    at_most("c memory after random gets, MB", figures.peak("c", "get", "vldepot-balanced"), 50.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Workload;

    #[test]
    fn ratios_are_medians_of_those_within_a_round() {
        let row = |engine: &str, threads, rounds: &[f64]| Row {
            rounds: rounds.to_vec(),
            ..Row::new(Workload::Molecules, "scan", engine, threads)
        };
        let rows = [row("x", 2, &[1.0, 4.0, 2.0]), row("x-1", 1, &[2.0, 4.0, 6.0])];
        let figures = Figures { rows: &rows, cpu_time: false };
        let figure = figures.two_threads("a", "scan", "x").unwrap();
        let of =
            |figure: &Figure| [figure.median, figure.low, figure.high].map(|x| (60.0 * x).round() as i32);
        assert_eq!(of(&figure), [120, 60, 180]);
        assert!(figures.two_threads("a", "scan", "x-1").is_none());
        assert!(Figures { rows: &rows, cpu_time: true }.two_threads("a", "scan", "x").is_none());
        assert_eq!(of(&figure.inverse()), [30, 20, 60]);
    }
}
