//! `vldepot info`: what a depot is, and how much is in it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use vldepot::statistics::Summary;
use vldepot::{
    Compression, CompressionCodec, Depot, DepotInfo, FieldStatistics, Filter, OpenOptions, Raw, Statistics,
};

use super::Run;
use crate::failure::Failure;
use crate::records::fields_apart;
use crate::text;

/// Show what a depot is, and how much it holds.
#[derive(Args)]
pub(crate) struct Info {
    /// The depot.
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Run for Info {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let options = OpenOptions::default().with_accept_loss(true);
        let depot = Depot::builder(Raw).open_options(options).open(&self.file)?;
        let (info, metadata) = (depot.info()?, depot.all_depot_metadata()?);
        if self.json {
            serde_json::to_writer(&mut *out, &Shown { info: &info, metadata })?;
            writeln!(out)?;
            return depot.incomplete().map_or(Ok(()), |error| Err(error.into()));
        }
        for (label, value) in table(&info, &metadata) {
            let mut label = label;
            for line in value.lines() {
                writeln!(out, "{label:<14}  {}", text::without_controls(line))?;
                label = "";
            }
        }
        depot.incomplete().map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The JSON form.
#[derive(Serialize)]
struct Shown<'i> {
    #[serde(flatten)]
    info: &'i DepotInfo,
    metadata: Map<String, Value>,
}

fn table(info: &DepotInfo, metadata: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let layout = &info.layout;
    let mut rows = vec![
        ("file", text::path(&info.path)),
        ("format", format!("{}, version {}", info.format, info.format_version)),
        ("codec", format!("{}, version {}", info.codec.id, info.codec.version)),
    ];
    if let Some(shards) = info.shards {
        rows.insert(2, ("shards", text::grouped(shards)));
    }
    if !info.codec.parameters.is_empty() {
        rows.push(("parameters", parameters(&info.codec.parameters)));
    }
    rows.extend([
        ("compression", compression(layout.compression)),
        ("chunk size", text::bytes(layout.chunk_size as u64)),
        ("block size", layout.block_size.map_or("chosen by chunk".into(), |size| text::bytes(size as u64))),
        ("placement", layout.placement.to_string()),
        ("alignment", text::count(info.align as u64, "byte")),
        ("fields apart", fields_apart(info).into()),
        ("for vlstore", if layout.vlstore_compatible { "yes" } else { "no" }.into()),
        ("columns", columns(&layout.columns)),
        ("records", text::grouped(info.records)),
        ("raw bytes", exact(info.raw_bytes)),
        ("file bytes", exact(info.file_bytes)),
        ("ratio", format!("{:.2}", info.ratio)),
        ("chunks", text::grouped(info.chunks)),
        ("index", index(info)),
        ("commits", text::grouped(info.commits)),
    ]);
    if info.uncommitted_records > 0 {
        rows.push(("uncommitted", text::count(info.uncommitted_records, "record")));
    }
    if info.lost_commits > 0 {
        let lost = text::count(info.lost_commits, "commit");
        let rest = if info.complete { "but nothing is missing" } else { "and records are missing" };
        rows.push(("damaged", format!("{lost} cannot be read, {rest}: see `vldepot verify`")));
    }
    rows.extend(info.losses.iter().map(|loss| ("lost before", loss.clone())));
    if info.torn_bytes > 0 {
        let torn = format!("{} after the last whole entry are ignored", exact(info.torn_bytes));
        rows.push(("torn end", torn));
    }
    if !info.data_set_id.is_empty() {
        rows.push(("data set", info.data_set_id.clone()));
    }
    rows.push(("created", if info.created == 0 { "unknown".into() } else { text::date(info.created) }));
    rows.extend(info.statistics.iter().flat_map(statistics));
    for (i, (name, value)) in metadata.iter().enumerate() {
        let label = if i == 0 { "metadata" } else { "" };
        rows.push((label, format!("{} = {value}", text::without_controls(name))));
    }
    rows
}

/// A line for each column and each field, and one that says what these are of.
fn statistics(statistics: &Statistics) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    for column in &statistics.columns {
        let absent = match column.absent {
            0 => String::new(),
            n => format!(", {} without a value", text::grouped(n)),
        };
        let label = if rows.is_empty() { "in columns" } else { "" };
        rows.push((
            label,
            format!("{}: {}{absent}", text::without_controls(&column.name), summary(&column.summary)),
        ));
    }
    let Some(fields) = &statistics.fields else {
        rows.push(("statistics", "of fields: none are kept".into()));
        return rows;
    };
    rows.push(("statistics", covered(fields)));
    for (name, field) in fields.tally.fields() {
        rows.push(("", format!("{}: {}", text::without_controls(name), summary(field))));
    }
    for (name, kinds) in fields.tally.all_kinds() {
        let mut all: Vec<_> = kinds.iter().collect();
        all.sort_by_key(|(kind, of)| (std::cmp::Reverse(of.values), *kind));
        let shown: Vec<_> = all
            .iter()
            .take(KINDS)
            .map(|(kind, of)| format!("{kind} ({})", text::grouped(of.values)))
            .collect();
        let more = if all.len() > KINDS { ", .." } else { "" };
        rows.push(("", format!("{}: {}{more}", text::without_controls(name), shown.join(", "))));
    }
    rows
}

/// Kinds that are printed: those that occur most.
const KINDS: usize = 10;

/// What records the statistics are of.
fn covered(fields: &FieldStatistics) -> String {
    if fields.exact {
        return "exact".into();
    }
    let mut why = Vec::new();
    if fields.removed > 0 {
        why.push(format!("they count {} that went", text::count(fields.removed, "record")));
    }
    if fields.missing > 0 {
        why.push(format!("they lack {}", text::count(fields.missing, "record")));
    }
    if why.is_empty() {
        why.push("records were lost".into());
    }
    format!("NOT exact: {}; `vldepot compact` makes them exact", why.join(" and "))
}

fn summary(of: &Summary) -> String {
    let (Some(min), Some(max), Some(mean)) = (of.min(), of.max(), of.mean()) else {
        return format!("no finite values{}", odd(of));
    };
    let number = |number: f64| {
        // Six digits, as people read them; `--json` has all.
        // The sum has no zero with a sign.
        let rounded = 0.0 + format!("{number:.5e}").parse().unwrap_or(number);
        if rounded == 0.0 || (1e-4..1e9).contains(&f64::abs(rounded)) {
            format!("{rounded}")
        } else {
            format!("{rounded:e}")
        }
    };
    format!(
        "{} to {}, mean {}, std {}, {}{}",
        number(min),
        number(max),
        number(mean),
        of.std().map_or("too large".to_owned(), number),
        text::count(of.count(), "value"),
        odd(of)
    )
}

fn odd(of: &Summary) -> String {
    match of.non_finite() {
        0 => String::new(),
        n => format!(", {} not finite", text::grouped(n)),
    }
}

fn columns(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn exact(n: u64) -> String {
    let bytes = text::bytes(n);
    if n < 1 << 10 { bytes } else { format!("{bytes} ({})", text::grouped(n)) }
}

fn index(info: &DepotInfo) -> String {
    let segments = text::count(info.index_segments as u64, "segment");
    let dead = match info.dead_records {
        0 => String::new(),
        n => format!(", {} replaced or removed", text::grouped(n)),
    };
    format!("{segments}, {}{dead}", text::bytes(info.index_bytes))
}

/// Parameters that are text as they are, others in hexadecimal digits.
fn parameters(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| text::hex(bytes), str::to_owned)
}

fn compression(compression: Compression) -> String {
    if compression.codec == CompressionCodec::None {
        return "none".into();
    }
    let by = format!("{} level {}", compression.codec, compression.level);
    match compression.filter {
        Filter::None => by,
        filter => format!("{by}, {} of {}-byte elements", filter, compression.typesize.unwrap_or_default()),
    }
}
