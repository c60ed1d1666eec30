//! The parts of the page. Each is a piece of HTML, empty if there is nothing to say.

use std::collections::BTreeMap;
use std::fmt::Write;

use vldepot::{ChunkInfo, Compression, CompressionCodec, Filter};

use super::data::{Data, Sampled};
use super::drawing;
use super::elements;
use super::escape::{html, html_lines};
use super::plot::{Series, distribution, histogram, short};
use crate::failure::chain;
use crate::text;

/// Damaged records that are named.
const NAMED: usize = 40;

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

/// A share of a whole as a bar.
fn bar(share: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" height=\"10\" aria-hidden=\"true\"><rect class=\"bar-track\" width=\"100\" height=\"10\" rx=\"1\"/>\
         <rect class=\"bar-fill\" width=\"{:.2}\" height=\"10\" rx=\"1\"/></svg>",
        100.0 * share.clamp(0.0, 1.0)
    )
}

fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.001 { "&lt; 0.1 %".into() } else { format!("{:.1} %", 100.0 * share) }
}

/// What is known of the health, in a line.
pub(super) fn health_line(data: &Data) -> String {
    let (class, verdict, why) = match (&data.health, &data.not_verified, &data.incomplete) {
        (_, _, Some(incomplete)) => ("bad", "Something is lost", incomplete.clone()),
        (None, Some(why), _) => ("bad", "Not checked", why.clone()),
        (None, None, _) => ("warn", "Not checked", "The checksums were not compared.".to_owned()),
        (Some(report), ..) if !report.is_whole() => {
            let records = text::count(report.damaged_records.len() as u64, "record");
            let problems = text::count(report.problems.len() as u64, "other problem");
            (
                "bad",
                "Damaged",
                format!("{records} of {} cannot be read, {problems}.", text::grouped(report.records)),
            )
        }
        (Some(report), ..) if report.format == "vlstore" && !report.quick => (
            "warn",
            "Readable",
            "All records were read. The file has no checksums, so wrong bytes can go unnoticed.".into(),
        ),
        (Some(report), ..) if report.quick => {
            let chunks = text::count(report.chunks, "chunk");
            let why = format!(
                "Quick check: names, places, the index and {} of {chunks} are right. The data of the records were not read.",
                text::count(report.commits, "commit")
            );
            ("warn", "Whole as far as checked", why)
        }
        (Some(report), ..) => {
            let why = format!(
                "Full check: all {} ({}) were read, and every checksum matches.",
                text::count(report.records_read, "record"),
                text::bytes(report.bytes_read)
            );
            ("good", "Whole", why)
        }
    };
    format!("<p class=\"health {class}\" id=\"health\"><b>{verdict}</b> <span>{}</span></p>\n", html(&why))
}

/// The largest numbers.
pub(super) fn figures(data: &Data) -> String {
    let info = &data.info;
    let thing = data.thing();
    let mean = if info.records > 0 { text::bytes(info.raw_bytes / info.records) } else { "none".into() };
    let mut figures = vec![
        (format!("{thing}s"), text::grouped(info.records), format!("{mean} each on average")),
        ("raw".into(), text::bytes(info.raw_bytes), "as records are read".into()),
        (
            "file".into(),
            text::bytes(info.file_bytes),
            format!("{} for the index", text::bytes(info.index_bytes)),
        ),
        (
            "ratio".into(),
            format!("{:.2}", info.ratio),
            format!("the file is {:.0} % of raw", 100.0 * ratio(info.file_bytes, info.raw_bytes)),
        ),
        (
            "chunks".into(),
            text::grouped(info.chunks),
            format!("{} raw each", text::bytes(info.layout.chunk_size as u64)),
        ),
    ];
    if info.raw_bytes == 0 {
        figures[3] = ("ratio".into(), "none".into(), "there are no bytes".into());
    }
    if info.created != 0 {
        let date = text::date(info.created);
        let (day, time) = date.split_once(' ').unwrap_or((&date, ""));
        figures.push(("created".into(), day.to_owned(), time.to_owned()));
    }
    let figure = |(label, value, small): &(String, String, String)| {
        format!("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>", html(label), html(value), html(small))
    };
    format!("<dl class=\"figures\">{}</dl>\n", figures.iter().map(figure).collect::<String>())
}

/// The player, or a drawing of the first frame.
pub(super) fn frames(data: &Data, has_viewer: bool) -> String {
    let Some(first) = data.scenes.first() else { return String::new() };
    let drawing = drawing::svg(first, data.has_lengths);
    if drawing.is_empty() {
        return String::new();
    }
    let mut elements_seen: BTreeMap<u8, ()> = BTreeMap::new();
    for scene in &data.scenes {
        elements_seen.extend(scene.elements.iter().map(|&z| (z, ())));
    }
    let legend: String = elements_seen
        .keys()
        .map(|&z| {
            let [r, g, b] = elements::colour(z);
            let name = if z == 0 { "unknown" } else { elements::symbol(z) };
            format!("<li><svg viewBox=\"0 0 10 10\"><circle cx=\"5\" cy=\"5\" r=\"4.6\" fill=\"rgb({r},{g},{b})\" stroke=\"#8884\" stroke-width=\".6\"/></svg>{name}</li>")
        })
        .collect();
    let mut notes = Vec::new();
    if has_viewer {
        notes.push(format!("{} shown.", capital(&data.scenes_seen.of_things("frame"))));
    } else {
        notes.push("A drawing of the first frame: this vldepot was built without the player.".into());
    }
    notes.push(format!("Elements: {}.", first.elements_by));
    if first.every > 1 {
        notes.push(format!("One of every {} atoms is drawn.", first.every));
    }
    if data.has_lengths {
        notes.push("Bonds are those of the topology, or else those that covalent radii give.".into());
    } else {
        notes.push(
            "The unit of length is not known, so sizes of atoms mean nothing and no bonds are drawn.".into(),
        );
    }
    let values: String = std::iter::once(("atoms".to_owned(), text::grouped(first.n_atoms as u64)))
        .chain(first.singles_text())
        .map(|(name, value)| {
            format!("<tr><th>{}</th><td class=\"n\">{}</td></tr>", html(&name), html(&value))
        })
        .collect();
    format!(
        "<section id=\"frames\"><h2>Frames</h2><div class=\"card stage\"><div><div id=\"canvas\" hidden></div>\
         <div id=\"still\">{drawing}</div>\
         <div class=\"controls\" id=\"controls\" hidden><button id=\"play\">Play</button>\
         <input type=\"range\" id=\"slider\" min=\"0\" value=\"0\" aria-label=\"Frame\">\
         <select id=\"speed\" aria-label=\"Speed\"><option value=\"500\">slow</option><option value=\"150\" selected>medium</option><option value=\"30\">fast</option></select>\
         <select id=\"style\" aria-label=\"Style\"><option value=\"balls\">balls</option><option value=\"large\">large</option><option value=\"lines\">lines</option></select></div></div>\
         <div class=\"side\"><h3 id=\"frame-name\">{}</h3><p class=\"note\" id=\"frame-number\"></p><table><tbody id=\"frame-values\">{values}</tbody></table>\
         <ul class=\"legend\">{legend}</ul><p class=\"note\">{}</p></div></div></section>\n",
        html(&first.name),
        html(&notes.join(" "))
    )
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Scalars over the run.
pub(super) fn plots(data: &Data) -> String {
    let mut plots = String::new();
    for series in &data.plots {
        let svg = if series.is_unordered() { distribution(series) } else { series.svg() };
        let unit = if series.unit.is_empty() { String::new() } else { format!(" / {}", series.unit) };
        let note = if series.note.is_empty() { String::new() } else { format!(" ({})", series.note) };
        if !svg.is_empty() {
            let _ = write!(
                plots,
                "<figure class=\"card\"><figcaption>{} <span>{}</span></figcaption>{svg}</figure>",
                html(&text::without_controls(&series.name)),
                html(&format!("{unit}{note}"))
            );
        } else if let Some((least, most)) = series.range() {
            let _ = write!(
                plots,
                "<figure class=\"card\"><figcaption>{} <span>{}</span></figcaption><p>{} to {}</p></figure>",
                html(&series.name),
                html(&format!("{unit}{note}")),
                html(&short(least)),
                html(&short(most))
            );
        }
    }
    if plots.is_empty() && data.even.is_empty() {
        return String::new();
    }
    let even: Vec<String> =
        data.even.iter().map(|(name, said)| format!("<b>{}</b> {}", html(name), html(said))).collect();
    let even =
        if even.is_empty() { String::new() } else { format!("<p class=\"note\">{}.</p>", even.join("; ")) };
    let is_set = data.plots.iter().any(Series::is_unordered);
    let title = if is_set { "Values" } else { "Over the run" };
    let band = if data.plots.iter().any(|series| series.points.iter().any(|p| p.most > p.least)) {
        " A line is the mean of the records at that place, and the band around it goes from the least to the largest."
    } else {
        ""
    };
    format!(
        "<section id=\"scalars\"><h2>{title}</h2>{even}<div class=\"plots\">{plots}</div><p class=\"note\">From {}.{band}</p></section>\n",
        html(&data.plots_from)
    )
}

/// The tree map of an archive.
pub(super) fn folders(data: &Data) -> String {
    let Some(folders) = &data.folders else { return String::new() };
    let top = folders.top();
    let rows: String = top
        .iter()
        .take(12)
        .map(|(name, bytes, records)| {
            let share = ratio(*bytes, data.info.raw_bytes);
            format!(
                "<tr><th>{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"share\">{}</td></tr>",
                html(name),
                text::grouped(*records),
                text::bytes(*bytes),
                percent(share),
                bar(share)
            )
        })
        .collect();
    let more = match top.len().saturating_sub(12) {
        0 => String::new(),
        n => format!(
            "<p class=\"note\">{} at the top.</p>",
            html(&text::more(n as u64, "entry").replace("entrys", "entries"))
        ),
    };
    let short = if folders.is_short {
        " There was not time for all folders: what is missing is drawn as one."
    } else {
        ""
    };
    format!(
        "<section id=\"folders\"><h2>Folders by size</h2><div class=\"card\"><div class=\"crumbs\" id=\"crumbs\" hidden><button disabled>all</button><span id=\"said\"></span></div>{}</div>\
         <p class=\"note\">Areas are raw bytes, before compression. A click opens a folder.{short}</p>\
         <div class=\"card scroll\"><table><thead><tr><th>at the top</th><th class=\"n\">records</th><th class=\"n\">raw bytes</th><th class=\"n\">share</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>{more}</section>\n",
        folders.svg()
    )
}

/// Bytes by field.
pub(super) fn fields(data: &Data) -> String {
    let found = &data.fields;
    if found.fields.is_empty() {
        return String::new();
    }
    let all: u64 = found.fields.iter().map(|field| field.bytes).sum();
    let mut rows = String::new();
    for field in &found.fields {
        let share = ratio(field.bytes, all);
        let more = match field.kinds.len().saturating_sub(3) {
            0 => String::new(),
            n => format!(", and {n} more"),
        };
        let kinds: Vec<String> = field
            .kinds
            .iter()
            .take(3)
            .map(|(kind, n)| {
                if field.kinds.len() == 1 { kind.clone() } else { format!("{kind} ({})", text::grouped(*n)) }
            })
            .collect();
        let range = match (field.range, field.non_finite) {
            (None, 0) => String::new(),
            (None, n) => text::count(n, "value") + " not finite",
            (Some((least, most)), 0) => format!("{} to {}", short(least), short(most)),
            (Some((least, most)), n) => {
                format!("{} to {}, {} not finite", short(least), short(most), text::grouped(n))
            }
        };
        let alone =
            field.alone.map_or_else(String::new, |(raw, stored)| format!("{:.2}", ratio(raw, stored)));
        let _ = write!(
            rows,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"share\">{}</td><td class=\"n\">{alone}</td></tr>",
            html(&field.name),
            html(&format!("{}{more}", kinds.join(", "))),
            html(&range),
            text::grouped(field.records),
            text::bytes(field.bytes),
            percent(share),
            bar(share)
        );
    }
    let of_text = if found.is_text { " Bytes are those of each field as JSON." } else { "" };
    let thing = data.thing();
    format!(
        "<section id=\"fields\"><h2>Fields</h2><div class=\"card scroll\"><table><thead><tr><th>field</th><th>holds</th><th>values</th><th class=\"n\">{thing}s</th><th class=\"n\">raw bytes</th><th class=\"n\">share</th><th></th><th class=\"n\">ratio alone</th></tr></thead><tbody>{rows}</tbody></table></div>\
         <p class=\"note\">From {}, {} of raw bytes.{of_text} The last column is how many times smaller a field becomes when it is compressed on its own, in the way of this depot.</p></section>\n",
        html(&data.fields_seen.of_things(thing)),
        text::bytes(found.bytes),
    )
}

/// A histogram of lengths.
pub(super) fn lengths(data: &Data) -> String {
    let (Some(&least), Some(&most)) = (data.lengths.iter().min(), data.lengths.iter().max()) else {
        return String::new();
    };
    let from = html(&data.located.of_things(data.thing()));
    let thing = data.thing();
    if least == most {
        return format!(
            "<section id=\"lengths\"><h2>Sizes of {thing}s</h2><p>Each {thing} has {}. <span class=\"note\">From {from}.</span></p></section>\n",
            text::bytes(most)
        );
    }
    // Powers of two if they differ by much, else equal steps.
    let mut bars: Vec<(String, u64)> = Vec::new();
    if most / least.max(1) >= 16 {
        let bin = |length: u64| length.max(1).ilog2();
        for power in bin(least)..=bin(most) {
            let n = data.lengths.iter().filter(|&&length| bin(length) == power).count();
            bars.push((text::bytes(1 << power), n as u64));
        }
    } else {
        let step = (most - least).div_ceil(24).max(1);
        let bins = (most - least) / step + 1;
        for nth in 0..bins {
            let low = least + nth * step;
            let n = data.lengths.iter().filter(|&&length| (length - least) / step == nth).count();
            bars.push((text::bytes(low), n as u64));
        }
    }
    let mut sorted = data.lengths.clone();
    sorted.sort_unstable();
    format!(
        "<section id=\"lengths\"><h2>Sizes of {thing}s</h2><figure class=\"card\">{}</figure><p class=\"note\">From {from}: {} to {}, half of them at most {}.</p></section>\n",
        histogram(&bars, &format!("raw bytes, and how many {thing}s have that many or more")),
        text::bytes(least),
        text::bytes(most),
        text::bytes(sorted[sorted.len() / 2]),
    )
}

/// Chunks in their order, and blocks by how well they compress.
pub(super) fn chunks(data: &Data) -> String {
    if data.chunks.is_empty() {
        return String::new();
    }
    let stored: u64 = data.chunks.iter().map(|chunk| chunk.stored_bytes).sum();
    let raw: u64 = data.chunks.iter().map(filled).sum();
    let blocks: Vec<f64> = data
        .chunks
        .iter()
        .flat_map(|chunk| chunk.blocks.iter().map(|&stored| ratio(u64::from(stored), chunk.block_bytes)))
        .collect();
    let mut out = String::from("<section id=\"chunks\"><h2>Chunks and blocks</h2>");
    let _ = write!(out, "<figure class=\"card\">{}</figure>", strip(data));
    let sums: Vec<(&str, u64)> = if data.chunks_seen.seen == data.chunks_seen.of {
        let other = data.info.file_bytes.saturating_sub(stored).saturating_sub(data.info.index_bytes);
        vec![
            ("data of records, compressed", stored),
            ("index", data.info.index_bytes),
            ("names in chunks, commits, checksums, header", other),
        ]
    } else {
        vec![]
    };
    if !blocks.is_empty() {
        let mut bars: Vec<(String, u64)> =
            (0..10).map(|nth| (format!("{}\u{2013}{} %", 10 * nth, 10 * nth + 10), 0)).collect();
        for share in &blocks {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 9")]
            let nth = (share * 10.0).clamp(0.0, 9.0) as usize;
            bars[nth].1 += 1;
        }
        let label = "stored bytes of a block, of its raw bytes; and how many blocks";
        let _ = write!(
            out,
            "<figure class=\"card\"><figcaption>Compression by block</figcaption>{}</figure>",
            histogram(&bars, label)
        );
    }
    if !sums.is_empty() {
        let row = |(name, bytes): &(&str, u64)| {
            let share = ratio(*bytes, data.info.file_bytes);
            format!(
                "<tr><th>{name}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"share\">{}</td></tr>",
                text::bytes(*bytes),
                percent(share),
                bar(share)
            )
        };
        let rows: String = sums.iter().map(row).collect();
        let _ = write!(
            out,
            "<div class=\"card scroll\"><table><thead><tr><th>in the file</th><th class=\"n\">bytes</th><th class=\"n\">share</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>"
        );
    }
    let block = data.chunks.iter().map(|chunk| chunk.block_bytes).max().unwrap_or(0);
    let blocks_said = if blocks.is_empty() {
        "They have no table of blocks".to_owned()
    } else {
        format!(
            "{} of at most {} raw",
            capital(&text::count(blocks.len() as u64, "block")),
            text::bytes(block)
        )
    };
    let _ = write!(
        out,
        "<p class=\"note\">{}: {} stored for {} of raw bytes. {blocks_said}.</p></section>\n",
        html(&capital(&data.chunks_seen.of_things("chunk"))),
        text::bytes(stored),
        text::bytes(raw),
    );
    out
}

/// Raw bytes of a chunk without the blocks that fill it up.
fn filled(chunk: &ChunkInfo) -> u64 {
    match chunk.blocks.len() as u64 {
        0 => chunk.raw_bytes,
        n => chunk.raw_bytes.min(n * chunk.block_bytes),
    }
}

/// One upright line for each chunk, coloured by how much of it is left.
fn strip(data: &Data) -> String {
    let n = data.chunks.len();
    #[allow(clippy::cast_precision_loss, reason = "a drawing")]
    let width = 1020.0 / n as f64;
    let mut out = "<figcaption>Stored bytes of each chunk <span>in the order of the file, first on the left</span></figcaption>\
                   <svg class=\"blocks\" viewBox=\"0 0 1020 96\" role=\"img\" aria-label=\"Compression of chunks\"><g class=\"strip\">"
        .to_owned();
    let share = |chunk: &ChunkInfo| ratio(chunk.stored_bytes, filled(chunk));
    // Many chunks share a line.
    let at_once = n.div_ceil(1020);
    for (nth, chunks) in data.chunks.chunks(at_once).enumerate() {
        #[allow(clippy::cast_precision_loss, reason = "a drawing")]
        let (x, w) = (nth as f64 * at_once as f64 * width, chunks.len() as f64 * width);
        let most = chunks.iter().map(share).fold(0.0, f64::max);
        let chunk = &chunks[0];
        let shard = chunk.shard.map_or_else(String::new, |shard| format!("shard {shard}, "));
        let title = format!(
            "{shard}chunk {}: {} stored of {} raw, {}",
            chunk.chunk,
            text::bytes(chunk.stored_bytes),
            text::bytes(filled(chunk)),
            text::count(chunk.blocks.len() as u64, "block")
        );
        let gap = if w > 4.0 { 1.0 } else { 0.0 };
        let _ = write!(
            out,
            "<rect class=\"q{}\" x=\"{x:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"{:.1}\"><title>{}</title></rect>",
            class(most),
            70.0 - (68.0 * most.clamp(0.02, 1.0)),
            (w - gap).max(0.5),
            68.0 * most.clamp(0.02, 1.0),
            html(&title)
        );
    }
    out.push_str("</g><line x1=\"0\" x2=\"1020\" y1=\"70.5\" y2=\"70.5\" stroke=\"currentColor\" stroke-opacity=\".3\"/>");
    for (nth, percent) in
        ["10 %", "20 %", "30 %", "40 %", "50 %", "60 %", "70 %", "80 %", "more"].into_iter().enumerate()
    {
        let x = 62 * nth;
        let _ = write!(
            out,
            "<rect class=\"q{nth}\" x=\"{x}\" y=\"81\" width=\"10\" height=\"10\"/><text x=\"{}\" y=\"90.5\">{percent}</text>",
            x + 14
        );
    }
    out.push_str("</svg>");
    out
}

fn class(share: f64) -> usize {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 8")]
    let class = (share * 10.0).clamp(0.0, 8.0) as usize;
    class
}

/// What was checked, and what is damaged.
pub(super) fn health(data: &Data) -> String {
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
pub(super) fn metadata(data: &Data) -> String {
    if data.metadata.is_empty() {
        return String::new();
    }
    const LONGEST: usize = 2000;
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
pub(super) fn preview(data: &Data) -> String {
    let Some((name, shown)) = &data.preview else { return String::new() };
    format!(
        "<section id=\"preview\"><h2>A {}</h2><div class=\"card\"><p class=\"note\">{}</p><pre>{}</pre></div></section>\n",
        data.thing(),
        html(name),
        html_lines(shown)
    )
}

/// All else that the depot says of itself.
pub(super) fn facts(data: &Data) -> String {
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
pub(super) fn failures(data: &Data) -> String {
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
