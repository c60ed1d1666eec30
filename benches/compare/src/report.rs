//! Figures as JSON lines and as tables.

use serde::Serialize;

use crate::data::{Load, Workload};
use crate::engines::Operation;

/// The figures of one operation of one engine. A figure that does not apply is null.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) engine: String,
    pub(crate) threads: usize,
    /// For `open` and `first_get`, how many per second.
    pub(crate) records_per_s: Option<f64>,
    /// The slowest round.
    pub(crate) records_per_s_min: Option<f64>,
    /// The fastest round.
    pub(crate) records_per_s_max: Option<f64>,
    /// MB of payload (10^6 bytes) per second.
    pub(crate) mb_per_s: Option<f64>,
    /// Bytes on disk over bytes of payload.
    pub(crate) stored_ratio: Option<f64>,
    /// The most by which the process's anonymous memory grew, in 10^6 bytes.
    pub(crate) peak_mb: Option<f64>,
    /// The speed divided by that of the limit.
    pub(crate) ratio_to_limit: Option<f64>,
    /// Seconds for each record, one number for each round.
    #[serde(skip)]
    pub(crate) rounds: Vec<f64>,
    /// The speed over that of the limit, one number for each round.
    #[serde(skip)]
    pub(crate) limit_rounds: Vec<f64>,
}

impl Row {
    pub(crate) fn new(workload: Workload, operation: &'static str, engine: &str, threads: usize) -> Self {
        Self {
            workload: workload.letter(),
            operation,
            engine: engine.to_owned(),
            threads,
            records_per_s: None,
            records_per_s_min: None,
            records_per_s_max: None,
            mb_per_s: None,
            stored_ratio: None,
            peak_mb: None,
            ratio_to_limit: None,
            rounds: Vec::new(),
            limit_rounds: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let figures =
            [self.records_per_s, self.mb_per_s, self.stored_ratio, self.peak_mb, self.ratio_to_limit];
        figures.iter().all(Option::is_none)
    }
}

/// A number with three digits and a unit.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    match value {
        v if v >= 100.0 => format!("{v:.0}{unit}"),
        v if v >= 10.0 => format!("{v:.1}{unit}"),
        v => format!("{v:.2}{unit}"),
    }
}

/// A duration in a suitable unit.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.2} us", s * 1e6),
    }
}

/// A table's column: its name, and a row's figure in it.
type Column<'t> = (&'static str, Box<dyn Fn(&Row) -> Option<String> + 't>);

/// Prints what a workload stores.
pub(crate) fn print_load(load: &Load) {
    let (letter, what, n) = (load.workload.letter(), load.workload.describe(), load.len());
    let (payload, record) = (load.mean_payload, load.record_bytes() as f64 / n as f64);
    println!("\n{letter}: {n} {what}: {payload:.0} bytes of payload each, encoded {record:.0}");
}

/// Prints the tables of a workload.
pub(crate) fn print(rows: &[Row]) {
    let times = [Operation::Open, Operation::FirstGet, Operation::Lookup, Operation::Commit];
    let rates = Operation::ALL
        .into_iter()
        .map(|operation| -> Column<'_> {
            match operation {
                Operation::Size => {
                    ("size", Box::new(|row| row.stored_ratio.map(|ratio| format!("{ratio:.3}"))))
                }
                _ if times.contains(&operation) => {
                    (operation.name(), Box::new(|row| row.records_per_s.map(|rate| duration(1.0 / rate))))
                }
                _ => (operation.name(), Box::new(|row| row.records_per_s.map(short))),
            }
        })
        .collect();
    table("records/s (size: over the payload; commit, open, first_get, lookup: time)", rows, rates);
    wide_ranges(rows);
    let column = |operation: Operation, figure: fn(&Row) -> Option<String>| -> Column<'_> {
        (operation.name(), Box::new(figure))
    };
    let of_all = |figure: fn(&Row) -> Option<String>| {
        Operation::ALL.into_iter().map(|operation| column(operation, figure)).collect()
    };
    let grown = |row: &Row| row.stored_ratio.map(|ratio| format!("{ratio:.3}"));
    table("bytes that a commit takes, over the record's", rows, vec![column(Operation::Commit, grown)]);
    table("MB/s of payload", rows, of_all(|row| row.mb_per_s.map(short)));
    table(
        "speed over that of a limit with as many threads",
        rows,
        of_all(|row| row.ratio_to_limit.map(|x| format!("{x:.3}"))),
    );
    table("peak memory, MB", rows, of_all(|row| row.peak_mb.map(|x| format!("{x:.1}"))));
}

/// Rounds that differ by more than this make a range worth printing.
const WIDE: f64 = 1.2;

/// Prints the slowest and the fastest round where they are far apart.
fn wide_ranges(rows: &[Row]) {
    let mut first = true;
    for row in rows {
        let (Some(low), Some(high)) = (row.records_per_s_min, row.records_per_s_max) else { continue };
        if high > WIDE * low {
            if first {
                println!("\n  records/s, slowest to fastest round, where they differ by more than a fifth");
                first = false;
            }
            println!("  {:<26} {:<20} {} .. {}", row.engine, row.operation, short(low), short(high));
        }
    }
}

/// Prints the tables of `docs/explanation/performance.md` that come from here.
pub(crate) fn markdown(rows: &[Row]) {
    let row = |workload: &str, operation: &str, engine: &str| {
        let is = |row: &&Row| row.workload == workload && row.operation == operation && row.engine == engine;
        rows.iter().find(is)
    };
    for (title, workload, engines) in [
        ("molecules, as frames", "a", ENGINES_OF_FRAMES.as_slice()),
        ("organic molecules, as frames", "d", ENGINES_OF_FRAMES.as_slice()),
        ("organic molecules, packed", "dp", ENGINES_OF_BYTES.as_slice()),
        ("frames", "b", ENGINES_OF_FRAMES.as_slice()),
        ("small records", "c", ENGINES_OF_BYTES.as_slice()),
    ] {
        if !rows.iter().any(|row| row.workload == workload) {
            continue;
        }
        println!();
        print!("| {title} |");
        for engine in engines {
            print!(" {} |", engine.strip_prefix("vldepot-").unwrap_or(engine));
        }
        println!("\n| --- |{}", " ---: |".repeat(engines.len()));
        for operation in Operation::ALL {
            let cells: Vec<_> = engines
                .iter()
                .map(|engine| {
                    let row = row(workload, operation.name(), engine);
                    row.and_then(|row| cell_of_page(operation, row)).unwrap_or_default()
                })
                .collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                println!("| {} | {} |", operation.name(), cells.join(" | "));
            }
        }
    }
}

const ENGINES_OF_FRAMES: [&str; 8] = [
    "vldepot-balanced-frames-1",
    "vldepot-balanced-frames",
    "vldepot-fast-frames-1",
    "vldepot-uncompressed-1",
    "lmdb",
    "lmdb-zstd",
    "redb",
    "blosc2-balanced",
];
const ENGINES_OF_BYTES: [&str; 8] = [
    "vldepot-balanced-1",
    "vldepot-balanced",
    "vldepot-fast-1",
    "vldepot-uncompressed-1",
    "lmdb",
    "lmdb-zstd",
    "redb",
    "blosc2-balanced",
];

fn cell_of_page(operation: Operation, row: &Row) -> Option<String> {
    use Operation::{Commit, FirstGet, Lookup, Open, Size};
    match operation {
        Size => row.stored_ratio.map(|ratio| format!("{ratio:.3}")),
        Commit | Open | FirstGet | Lookup => row.records_per_s.map(|rate| duration(1.0 / rate)),
        _ => row.records_per_s.map(grouped),
    }
}

/// Three digits, with commas: 1,720,000.
fn grouped(value: f64) -> String {
    let unit = 10_f64.powi(((value.max(1.0).log10().floor() as i32) - 2).max(0));
    let digits = format!("{:.0}", (value / unit).round() * unit);
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints a table with a line for each engine. Lines and columns without figures are left out.
fn table(title: &str, rows: &[Row], columns: Vec<Column<'_>>) {
    let mut engines: Vec<&str> = Vec::new();
    for row in rows {
        if !engines.contains(&row.engine.as_str()) {
            engines.push(&row.engine);
        }
    }
    let cell = |engine: &str, (operation, figure): &Column<'_>| {
        rows.iter().find(|row| row.engine == engine && row.operation == *operation).and_then(figure)
    };
    let columns: Vec<_> = columns
        .into_iter()
        .filter(|column| engines.iter().any(|engine| cell(engine, column).is_some()))
        .collect();
    if columns.is_empty() {
        return;
    }
    println!("\n  {title}");
    print!("  {:<26}", "");
    for (name, _) in &columns {
        print!(" {name:>width$}", width = name.len().max(10));
    }
    println!();
    for engine in engines {
        let cells: Vec<_> = columns.iter().map(|column| cell(engine, column)).collect();
        if cells.iter().any(Option::is_some) {
            print!("  {engine:<26}");
            for (cell, (name, _)) in cells.iter().zip(&columns) {
                print!(" {:>width$}", cell.as_deref().unwrap_or("-"), width = name.len().max(10));
            }
            println!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_page_have_three_digits_and_commas() {
        for (value, text) in [(7.4, "7"), (1_234.0, "1,230"), (999.6, "1,000"), (1_723_456.0, "1,720,000")] {
            assert_eq!(grouped(value), text);
        }
    }
}
