//! Health, metadata, a record, and all else that a depot says of itself.

use vldepot::{Compression, CompressionCodec, Filter};

use super::capital;
use crate::failure::chain;
use crate::records::fields_apart;
use crate::report::data::{Data, Sampled};
use crate::report::escape::{html, html_lines};
use crate::text;

/// Damaged records that are named.
const NAMED: usize = 40;

/// Characters of a value that are shown.
const LONGEST: usize = 2000;

/// What was checked, and what is damaged.
pub(in crate::report) fn health(data: &Data) -> String {
    let Some(report) = &data.health else { return String::new() };
    let read = if report.quick {
        "the data were not read".to_owned()
    } else {
        format!("{} ({})", text::grouped(report.records_read), text::bytes(report.bytes_read))
    };
    let mut rows = vec![
        (
            "check",
            if report.quick {
                "quick: names, places, index, commits"
            } else {
                "full: all of that, and every byte of data"
            }
            .to_owned(),
        ),
        ("records looked up", text::grouped(report.records)),
        ("records read", read),
        ("chunks", text::grouped(report.chunks)),
        ("index segments", text::grouped(report.index_segments)),
        ("commits", text::grouped(report.commits)),
        (
            "after the last commit",
            format!(
                "{}, {} that readers ignore",
                text::count(report.uncommitted_records, "record"),
                text::bytes(report.torn_bytes)
            ),
        ),
        (
            "standard Blosc2 frame",
            if report.standard_frame { "yes" } else { "no: not closed, or in shards" }.to_owned(),
        ),
    ];
    if report.unknown_entries > 0 {
        rows.push(("of a newer version, skipped", text::grouped(report.unknown_entries)));
    }
    rows.extend(report.losses.iter().map(|loss| ("lost before", loss.clone())));
    let named: Vec<String> = report
        .damaged_records
        .iter()
        .take(NAMED)
        .map(|lost| format!("{}: {}", text::name(&lost.name), chain(&lost.error)))
        .chain(report.problems.iter().take(NAMED).map(|error| chain(error)))
        .collect();
    let left = (report.damaged_records.len() + report.problems.len()).saturating_sub(named.len());
    let mut list = String::new();
    if !named.is_empty() {
        let items: String = named.iter().map(|line| format!("<li>{}</li>", html(line))).collect();
        let more = if left > 0 {
            format!(
                "<p class=\"note\">{}: `vldepot verify --all` names them.</p>",
                html(&text::more(left as u64, "problem"))
            )
        } else {
            String::new()
        };
        list = format!("<ul class=\"errors\">{items}</ul>{more}");
    }
    format!(
        "<section id=\"verify\"><h2>Health</h2><div class=\"card scroll\">{}{list}</div></section>\n",
        table(&rows)
    )
}

fn table<N: AsRef<str>>(rows: &[(N, String)]) -> String {
    let row = |(name, value): &(N, String)| {
        format!("<tr><th>{}</th><td>{}</td></tr>", html(name.as_ref()), html(value))
    };
    format!("<table class=\"facts\"><tbody>{}</tbody></table>", rows.iter().map(row).collect::<String>())
}

/// Metadata of the depot.
pub(in crate::report) fn metadata(data: &Data) -> String {
    if data.metadata.is_empty() {
        return String::new();
    }
    let shown = |value: &serde_json::Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if text.chars().count() <= LONGEST {
            return text;
        }
        text.chars().take(LONGEST).chain(['\u{2026}']).collect()
    };
    let rows: Vec<_> =
        data.metadata.iter().take(200).map(|(name, value)| (name.clone(), shown(value))).collect();
    let more = match data.metadata.len().saturating_sub(200) {
        0 => String::new(),
        n => format!("<p class=\"note\">{}</p>", html(&text::more(n as u64, "member"))),
    };
    format!(
        "<section id=\"metadata\"><h2>Metadata</h2><div class=\"card scroll\">{}</div>{more}</section>\n",
        table(&rows)
    )
}

/// The first record.
pub(in crate::report) fn preview(data: &Data) -> String {
    let Some((name, shown)) = &data.preview else { return String::new() };
    format!(
        "<section id=\"preview\"><h2>A {}</h2><div class=\"card\"><p class=\"note\">{}</p><pre>{}</pre></div></section>\n",
        data.thing(),
        html(name),
        html_lines(shown)
    )
}

/// All else that the depot says of itself.
pub(in crate::report) fn facts(data: &Data) -> String {
    let info = &data.info;
    let layout = &info.layout;
    let mut rows = vec![
        ("format", format!("{}, version {}", info.format, info.format_version)),
        ("codec", format!("{}, version {}", info.codec.id, info.codec.version)),
    ];
    let parameters = std::str::from_utf8(&info.codec.parameters);
    if let Some(parameters) = parameters.ok().filter(|parameters| !parameters.is_empty()) {
        rows.push(("parameters", parameters.lines().collect::<Vec<_>>().join(", ")));
    }
    rows.extend([
        ("compression", compression(layout.compression)),
        ("chunk size", text::bytes(layout.chunk_size as u64)),
        ("block size", layout.block_size.map_or("chosen by chunk".into(), |size| text::bytes(size as u64))),
        ("placement", layout.placement.to_string()),
        ("fields apart", fields_apart(info).into()),
        ("columns", if layout.columns.is_empty() { "none".into() } else { layout.columns.join(", ") }),
        ("raw bytes", text::grouped(info.raw_bytes)),
        ("file bytes", text::grouped(info.file_bytes)),
        (
            "index",
            format!(
                "{}, {}",
                text::count(info.index_segments as u64, "segment"),
                text::bytes(info.index_bytes)
            ),
        ),
        ("replaced or removed", text::count(info.dead_records, "record")),
        ("commits", text::grouped(info.commits)),
    ]);
    if let Some(shards) = info.shards {
        rows.push(("shards", text::grouped(shards)));
    }
    if info.uncommitted_records > 0 {
        rows.push(("uncommitted", text::count(info.uncommitted_records, "record")));
    }
    if !info.data_set_id.is_empty() {
        rows.push(("data set", info.data_set_id.clone()));
    }
    rows.push(("created", if info.created == 0 { "unknown".into() } else { text::date(info.created) }));
    format!(
        "<section id=\"facts\"><h2>The depot</h2><div class=\"card scroll\">{}</div></section>\n",
        table(&rows)
    )
}

fn compression(compression: Compression) -> String {
    if compression.codec == CompressionCodec::None {
        return "none".into();
    }
    let by = format!("{} level {}", compression.codec, compression.level);
    match compression.filter {
        Filter::None => by,
        filter => format!("{by}, {filter} of {}-byte elements", compression.typesize.unwrap_or_default()),
    }
}

/// What could not be read for the page.
pub(in crate::report) fn failures(data: &Data) -> String {
    if data.failures.is_empty() {
        return String::new();
    }
    let items: String = data.failures.iter().map(|line| format!("<li>{}</li>", html(line))).collect();
    let n = Sampled { seen: data.failures.len() as u64, of: data.n_failures };
    format!(
        "<section id=\"failures\"><h2>What could not be shown</h2><div class=\"card\"><ul class=\"errors\">{items}</ul><p class=\"note\">{}.</p></div></section>\n",
        html(&capital(&n.of_things("failure")))
    )
}
