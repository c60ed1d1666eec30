//! The goals of vldepot, and what it reached.

use crate::Config;
use crate::report::Row;
use crate::run::speed_over;

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

    fn rate(&self, workload: &str, operation: &str, engine: &str) -> Option<f64> {
        self.row(workload, operation, engine)?.records_per_s
    }

    fn ratio(&self, workload: &str, operation: &str, engine: &str) -> Option<f64> {
        self.row(workload, operation, engine)?.ratio_to_limit
    }

    /// How many times as fast the left operation is as the right one.
    fn over(&self, workload: &str, left: (&str, &str), right: (&str, &str)) -> Option<f64> {
        let times = |(operation, engine)| Some(self.row(workload, operation, engine)?.rounds.as_slice());
        speed_over(times(left)?, times(right)?)
    }

    /// Like [`over`](Self::over), but for one operation of two engines, of which `many` has two threads.
    fn two_threads(&self, many: &str, workload: &str, operation: &str, one: &str) -> Option<f64> {
        let two = self.row(workload, operation, many)?.threads == 2;
        self.threaded(self.over(workload, (operation, many), (operation, one))).filter(|_| two)
    }

    /// A figure of several threads, if it means something.
    fn threaded(&self, figure: Option<f64>) -> Option<f64> {
        figure.filter(|_| !self.cpu_time)
    }

    fn peak(&self, workload: &str, operation: &str, engine: &str) -> Option<f64> {
        self.row(workload, operation, engine)?.peak_mb
    }
}

fn at_least(what: &str, figure: Option<f64>, goal: f64) {
    line(what, figure, ">=", goal, figure.is_some_and(|figure| figure >= goal));
}

fn at_most(what: &str, figure: Option<f64>, goal: f64) {
    line(what, figure, "<=", goal, figure.is_some_and(|figure| figure <= goal));
}

fn line(what: &str, figure: Option<f64>, sign: &str, goal: f64, reached: bool) {
    let digits = if goal >= 1000.0 { 0 } else { 3 };
    let (figure, verdict) = match figure {
        Some(figure) => (format!("{figure:.digits$}"), if reached { "reached" } else { "NOT REACHED" }),
        None => ("-".into(), "not measured"),
    };
    println!("  {what:<76} {figure:>9}  {sign} {goal:<7} {verdict}");
}

/// Prints all goals.
pub(crate) fn print(config: &Config, rows: &[Row]) {
    let figures = Figures { rows, cpu_time: config.cpu_time };
    println!("\ngoals");
    if config.quick {
        println!("  (they are about a full run: this one had fewer records)");
    }
    if config.cpu_time {
        println!("  (of CPU time: rates and times are flattered where threads or disks wait)");
    }
    molecules(&figures);
    commits(&figures);
    epochs(&figures);
    frames(&figures);
    small(&figures);
    let peak = figures.peak("b", "write_10gb", "vldepot-balanced");
    let when = if config.quick { " (not with --quick)" } else { "" };
    at_most(&format!("peak memory of writing 10 GB, MB{when}"), peak, 200.0);
}

fn molecules(figures: &Figures<'_>) {
    let rate = |operation: &str, engine: &str| figures.rate("a", operation, engine);
    let over = |left: (&str, &str), right: (&str, &str)| figures.over("a", left, right);
    at_least(
        "a get, uncompressed, checked each time, over lmdb",
        over(("get", "vldepot-uncompressed-1"), ("get", "lmdb")),
        1.0,
    );
    at_least(
        "a get, uncompressed, checked once a record, over lmdb",
        over(("get", "vldepot-uncompressed-once"), ("get", "lmdb")),
        1.5,
    );
    at_least("a get, balanced, records/s", rate("get", "vldepot-balanced-1"), 100_000.0);
    at_least("a get, fast, records/s", rate("get", "vldepot-fast"), 200_000.0);
    let size = figures.row("a", "size", "vldepot-balanced").and_then(|row| row.stored_ratio);
    at_most("a size, balanced, over the payload", size, 0.85);
    for preset in ["balanced", "uncompressed"] {
        let (one, many) = (format!("vldepot-{preset}-1"), format!("vldepot-{preset}"));
        at_least(
            &format!("a get_many, {preset}, one thread, over get"),
            over(("get_many", &one), ("get", &one)),
            1.0,
        );
        at_least(
            &format!("a get_many, {preset}, two threads over one"),
            figures.two_threads(&many, "a", "get_many", &one),
            1.7,
        );
    }
    at_least(
        "a get_many, flat form, one thread, over get of frames",
        over(("get_many", "vldepot-balanced-flat"), ("get", "vldepot-balanced-codec")),
        1.2,
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

fn epochs(figures: &Figures<'_>) {
    for workload in ["a", "b"] {
        at_least(
            &format!("{workload} shuffled epoch, balanced, one thread, over the limit"),
            figures.ratio(workload, "epoch", "vldepot-balanced-1"),
            0.8,
        );
        at_least(
            &format!("{workload} shuffled epoch, balanced, two threads over one"),
            figures.two_threads("vldepot-balanced", workload, "epoch", "vldepot-balanced-1"),
            1.7,
        );
    }
}

fn frames(figures: &Figures<'_>) {
    let ratio = |operation, engine| figures.ratio("b", operation, engine);
    at_least("b put, balanced, over the limit", figures.threaded(ratio("put", "vldepot-balanced")), 0.9);
    at_least("b put, balanced, one thread, over the limit", ratio("put", "vldepot-balanced-1"), 0.9);
    at_least(
        "b put of arrays, balanced, over the limit",
        figures.threaded(ratio("put", "vldepot-balanced-codec")),
        0.9,
    );
    at_least("b write, balanced, one thread, over the limit", ratio("write", "vldepot-balanced-1"), 0.9);
    let time = ratio("get", "vldepot-balanced-1").map(|speed| 1.0 / speed);
    at_most("b get, balanced, time over that of the limit", time, 1.2);
    at_least("b scan, balanced, one thread, over the limit", ratio("scan", "vldepot-balanced-1"), 0.9);
}

fn small(figures: &Figures<'_>) {
    let time = |operation| figures.rate("c", operation, "vldepot-balanced").map(|rate| 1.0 / rate);
    at_most("c open, ms", time("open").map(|seconds| seconds * 1e3), 10.0);
    at_most("c lookup, us", time("lookup").map(|seconds| seconds * 1e6), 1.0);
    at_most("c memory after random gets, MB", figures.peak("c", "get", "vldepot-balanced"), 50.0);
}
