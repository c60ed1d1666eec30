//! `vldepot info`: what a depot is, and how much is in it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use vldepot::{Compression, CompressionCodec, Depot, DepotInfo, Filter, OpenOptions, Raw};

use super::Run;
use crate::failure::Failure;
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
    for (i, (name, value)) in metadata.iter().enumerate() {
        let label = if i == 0 { "metadata" } else { "" };
        rows.push((label, format!("{} = {value}", text::without_controls(name))));
    }
    rows
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
