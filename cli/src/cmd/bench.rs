//! `vldepot bench`: how fast a depot is read, and how it would be with each preset.

use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use vldepot::{Depot, Key, Layout, Raw, ReadOptions};

use super::Run;
use crate::failure::Failure;
use crate::progress::Count;
use crate::records::describing;
use crate::text;

/// Raw bytes of the sample.
const SAMPLE: u64 = 64 << 20;

/// Pieces of the sample, from all over the depot. Records are compressed with their neighbours, so they are
/// not taken one by one.
const PIECES: u64 = 16;

/// Random gets, at most.
const GETS: usize = 10_000;

/// Measure how fast records of a depot are read, and how large and how fast it would be with each preset.
///
/// Nothing is written. The file is read as it is, and a sample of its records is compressed in memory. The
/// first reading of a file that the system does not have in memory is slower than the next ones.
#[derive(Args)]
pub(crate) struct Bench {
    /// The depot.
    file: PathBuf,
    /// The most seconds for each measurement of the file.
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    seconds: f64,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

/// Times of reading single records.
#[derive(Serialize)]
struct Gets {
    reads: usize,
    median_us: f64,
    p99_us: f64,
    per_second: f64,
}

/// Speeds are raw bytes in a second.
#[derive(Serialize)]
struct OfFile {
    records: u64,
    raw_bytes: u64,
    file_bytes: u64,
    get: Gets,
    scan_bytes_per_second: f64,
    scan_all_cores_bytes_per_second: f64,
    cores: usize,
}

#[derive(Serialize)]
struct OfPreset {
    preset: &'static str,
    bytes: u64,
    ratio: f64,
    write_bytes_per_second: f64,
    get_us: f64,
    scan_bytes_per_second: f64,
}

#[derive(Serialize)]
struct Report {
    file: OfFile,
    sample_records: usize,
    sample_raw_bytes: u64,
    presets: Vec<OfPreset>,
    /// `None` if no record is small enough for the sample.
    recommended: Option<&'static str>,
    reason: Option<String>,
}

/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(n: u64, time: Duration) -> f64 {
    n as f64 / time.as_secs_f64().max(1e-9)
}

/// Reads random records by name, for at most so long.
fn gets(depot: &Depot<Raw>, most: usize, limit: Duration) -> Result<Gets, Failure> {
    let mut random = Random(1);
    // Names first: looking them up by position is no part of reading.
    let keys = (0..most.min(GETS)).map(|_| depot.key_at(random.below(depot.len())));
    let keys = keys.collect::<vldepot::Result<Vec<Key>>>()?;
    let start = Instant::now();
    let mut times = Vec::with_capacity(keys.len());
    for key in &keys {
        let before = Instant::now();
        black_box(depot.get(key)?);
        times.push(before.elapsed());
        if start.elapsed() > limit {
            break;
        }
    }
    let all: Duration = times.iter().sum();
    times.sort_unstable();
    let us = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6);
    Ok(Gets {
        reads: times.len(),
        median_us: us(times.len() / 2),
        p99_us: us(times.len() * 99 / 100),
        per_second: per_second(times.len() as u64, all),
    })
}

/// Reads all records in their order, for at most so long. Returns raw bytes in a second.
fn scan(depot: &Depot<Raw>, threads: usize, limit: Duration) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut bytes = 0;
    let mut records = depot.scan(&ReadOptions::default().with_threads(threads));
    let mut n = 0_u64;
    while let Some(entry) = records.next() {
        let (_, record) = entry?;
        bytes += record.len() as u64;
        black_box(record);
        n += 1;
        if n.is_multiple_of(64) && start.elapsed() > limit {
            break;
        }
    }
    Ok(per_second(bytes, start.elapsed()))
}

/// Records from all over the depot.
fn sample(depot: &Depot<Raw>, raw_bytes: u64) -> Result<Vec<(Key, Vec<u8>)>, Failure> {
    let (pieces, of_piece) = if raw_bytes <= SAMPLE { (1, SAMPLE) } else { (PIECES, SAMPLE / PIECES) };
    let len = depot.len();
    let mut records = Vec::new();
    let mut all_left = SAMPLE;
    for piece in 0..pieces {
        let (start, end) = (piece * len / pieces, (piece + 1) * len / pieces);
        let mut left = of_piece;
        for position in start..end {
            let key = depot.key_at(position)?;
            let length = depot.location(&key)?.length;
            // A record that is larger than all of the sample is left out.
            if length > SAMPLE {
                continue;
            }
            if length > left && left < of_piece || length > all_left {
                break;
            }
            records.push((key.clone(), depot.get(&key)?.as_bytes().to_vec()));
            left = left.saturating_sub(length);
            all_left -= length;
        }
    }
    Ok(records)
}

fn of_preset(
    depot: &Depot<Raw>,
    preset: &'static str,
    sample: &[(Key, Vec<u8>)],
    limit: Duration,
) -> Result<OfPreset, Failure> {
    let layout = depot.info()?.layout.recompressed(&preset.parse::<Layout>()?);
    // The codec that gives the scalars in columns is not at hand.
    let layout = layout.with_columns(Vec::<String>::new());
    let raw_bytes = sample.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
    let memory = describing(Depot::builder(Raw).like(depot).layout(layout).memory()?)?;
    let start = Instant::now();
    for (key, bytes) in sample {
        memory.put(key, bytes)?;
    }
    memory.finish()?;
    let write_bytes_per_second = per_second(raw_bytes, start.elapsed());
    let bytes = memory.info()?.file_bytes;
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
    let ratio = raw_bytes as f64 / bytes.max(1) as f64;
    let get_us = gets(&memory, GETS, limit / 4)?.median_us;
    Ok(OfPreset {
        preset,
        bytes,
        ratio,
        write_bytes_per_second,
        get_us,
        scan_bytes_per_second: scan(&memory, 1, limit / 4)?,
    })
}

/// The preset that suits most uses, and why.
#[allow(clippy::cast_precision_loss, reason = "ratios for people")]
fn recommend(presets: &[OfPreset]) -> Option<(&'static str, String)> {
    let of = |name: &str| presets.iter().find(|preset| preset.preset == name);
    let (balanced, fast) = (of("balanced")?, of("fast")?);
    let (compact, uncompressed) = (of("compact")?, of("uncompressed")?);
    let size = |one: &OfPreset, other: &OfPreset| one.bytes as f64 / other.bytes.max(1) as f64;
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let smallest = size(compact, uncompressed).min(size(balanced, uncompressed));
    if smallest > 0.95 {
        let why = format!("compression saves {} at most", percent((1.0 - smallest).max(0.0)));
        return Some(("uncompressed", why));
    }
    let (more, faster) = (size(fast, balanced) - 1.0, balanced.get_us / fast.get_us.max(1e-3));
    if more <= 0.1 && faster >= 1.3 {
        let room = if more > 0.0 {
            format!("{} more room than `balanced`", percent(more))
        } else {
            "no more room".into()
        };
        return Some(("fast", format!("it takes {room}, and reads one record {faster:.1} times as fast")));
    }
    let (less, slower) = (1.0 - size(compact, balanced), compact.get_us / balanced.get_us.max(1e-3));
    if less >= 0.1 && slower <= 2.0 {
        let why = format!(
            "it takes {} less room than `balanced`, and reads one record in {slower:.1} times the time",
            percent(less)
        );
        return Some(("compact", why));
    }
    let why = format!(
        "`fast` would take {} more room, and `compact` {} less, where one record takes {slower:.1} times the time",
        percent(more.max(0.0)),
        percent(less.max(0.0)),
    );
    Some(("balanced", why))
}

impl Bench {
    fn measure(&self) -> Result<Report, Failure> {
        let limit = Duration::try_from_secs_f64(self.seconds)
            .map_err(|_| Failure::usage(format!("--seconds {}: it must be 0 or more", self.seconds)))?;
        let depot = Depot::open(&self.file, Raw)?;
        let info = depot.info()?;
        if info.records == 0 {
            return Err(Failure::other(format!("{}: there is no record to measure", text::path(&self.file))));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = Count::new("measuring", 4 + Layout::PRESETS.len() as u64);
        let step = |count: &Count| count.add(1);
        let get = gets(&depot, GETS, limit)?;
        step(&count);
        let scan_bytes_per_second = scan(&depot, 1, limit)?;
        step(&count);
        let scan_all_cores_bytes_per_second = scan(&depot, cores, limit)?;
        step(&count);
        let sample = sample(&depot, info.raw_bytes)?;
        step(&count);
        let mut presets = Vec::new();
        for preset in Layout::PRESETS.into_iter().filter(|_| !sample.is_empty()) {
            presets.push(of_preset(&depot, preset, &sample, limit)?);
            step(&count);
        }
        let (recommended, reason) = recommend(&presets).unzip();
        Ok(Report {
            file: OfFile {
                records: info.records,
                raw_bytes: info.raw_bytes,
                file_bytes: info.file_bytes,
                get,
                scan_bytes_per_second,
                scan_all_cores_bytes_per_second,
                cores,
            },
            sample_records: sample.len(),
            sample_raw_bytes: sample.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
            presets,
            recommended,
            reason,
        })
    }
}

/// A speed for people.
fn speed(bytes_per_second: f64) -> String {
    format!("{:.0} MB/s", bytes_per_second / 1e6)
}

fn tell(report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    let Report { file, sample_records, sample_raw_bytes, presets, recommended, reason } = report;
    let (raw, stored) = (text::bytes(file.raw_bytes), text::bytes(file.file_bytes));
    writeln!(out, "records         {}, {raw} in {stored}", text::grouped(file.records))?;
    let Gets { median_us, p99_us, per_second, .. } = &file.get;
    writeln!(
        out,
        "one record      {median_us:.1} us (99 % within {p99_us:.1} us), {per_second:.0} a second"
    )?;
    writeln!(out, "all, 1 thread   {}", speed(file.scan_bytes_per_second))?;
    let threads = text::count(file.cores as u64, "thread");
    writeln!(out, "all, {threads:<10} {}", speed(file.scan_all_cores_bytes_per_second))?;
    writeln!(out)?;
    if presets.is_empty() {
        writeln!(out, "No record is as small as a sample may be, {}.", text::bytes(SAMPLE))?;
        return Ok(());
    }
    let sample = text::count(*sample_records as u64, "record");
    writeln!(out, "A sample of {sample}, {}, in memory:", text::bytes(*sample_raw_bytes))?;
    writeln!(
        out,
        "{:<14}{:>12}{:>8}{:>14}{:>14}{:>16}",
        "preset", "bytes", "ratio", "write", "one record", "all, 1 thread"
    )?;
    for OfPreset { preset, bytes, ratio, write_bytes_per_second, get_us, scan_bytes_per_second } in presets {
        let (write, scan) = (speed(*write_bytes_per_second), speed(*scan_bytes_per_second));
        let (bytes, get) = (text::bytes(*bytes), format!("{get_us:.1} us"));
        writeln!(out, "{preset:<14}{bytes:>12}{ratio:>8.2}{write:>14}{get:>14}{scan:>16}")?;
    }
    writeln!(out)?;
    if let (Some(recommended), Some(reason)) = (recommended, reason) {
        writeln!(out, "recommended: {recommended}, since {reason}")?;
    }
    Ok(())
}

impl Run for Bench {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let report = self.measure()?;
        if !self.json {
            return tell(&report, out);
        }
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{OfPreset, recommend};

    #[test]
    fn the_preset_suits_what_was_measured() {
        // Bytes and microseconds for balanced, fast, compact, uncompressed.
        for (figures, expected) in [
            ([(50, 10.0), (80, 3.0), (48, 30.0), (100, 1.0)], "balanced"),
            ([(50, 10.0), (54, 3.0), (48, 30.0), (100, 1.0)], "fast"),
            ([(50, 10.0), (54, 9.0), (40, 12.0), (100, 1.0)], "compact"),
            ([(99, 10.0), (100, 3.0), (97, 30.0), (100, 1.0)], "uncompressed"),
            // Compressing made it larger.
            ([(101, 10.0), (101, 3.0), (101, 30.0), (100, 1.0)], "uncompressed"),
        ] {
            let presets: Vec<_> = ["balanced", "fast", "compact", "uncompressed"]
                .into_iter()
                .zip(figures)
                .map(|(preset, (bytes, get_us))| OfPreset {
                    preset,
                    bytes,
                    ratio: 1.0,
                    write_bytes_per_second: 1.0,
                    get_us,
                    scan_bytes_per_second: 1.0,
                })
                .collect();
            let (recommended, reason) = recommend(&presets).unwrap();
            assert_eq!(recommended, expected, "{figures:?}: {reason}");
            assert!(!reason.contains('-') && !reason.contains("NaN"), "{reason}");
        }
        assert!(recommend(&[]).is_none());
    }
}
