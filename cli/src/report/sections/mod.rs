//! The parts of the page. Each is a piece of HTML, empty if there is nothing to say.
//!
//! ```text
//! storage   fields, sizes of records, chunks and blocks
//! facts     health, metadata, a record, and all else
//! ```

mod facts;
mod storage;

use std::collections::BTreeSet;
use std::fmt::Write;

use super::data::Data;
use super::drawing;
use super::elements;
use super::escape::html;
use super::plot::{Series, distribution, short};
use crate::text;

pub(super) use facts::{facts, failures, health, metadata, preview};
pub(super) use storage::{chunks, fields, lengths};

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
    let mean = info.raw_bytes.checked_div(info.records).map_or("none".into(), text::bytes);
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
    let mut elements_seen = BTreeSet::new();
    for scene in &data.scenes {
        elements_seen.extend(scene.elements.iter().copied());
    }
    let legend: String = elements_seen
        .into_iter()
        .map(|z| {
            let [r, g, b] = elements::colour(z);
            let name = elements::name(z);
            format!("<li><svg viewBox=\"0 0 10 10\"><circle cx=\"5\" cy=\"5\" r=\"4.6\" fill=\"rgb({r},{g},{b})\" stroke=\"#8884\" stroke-width=\".6\"/></svg>{name}</li>")
        })
        .collect();
    let mut notes = Vec::new();
    if has_viewer {
        notes.push(format!("{} shown.", capital(&data.scenes_seen.of_things(data.thing()))));
    } else {
        notes.push("A drawing of the first frame: this vldepot was built without the player.".into());
    }
    notes.push(format!("Elements: {}.", first.elements_by));
    if first.every > 1 {
        notes.push(format!("One of every {} atoms is drawn.", first.every));
    }
    if first.origin.iter().any(|x| x.abs() > 0.0) {
        notes.push("The cell is drawn around the origin, as the atoms lie.".into());
    }
    let is_known = first.elements.iter().any(|&z| elements::is_known(z));
    notes.push(match (data.has_lengths, is_known, &first.bonds) {
        (false, ..) => {
            "The unit of length is not known, so sizes of atoms mean nothing and no bonds are drawn.".into()
        }
        (_, _, Some(_)) => "Bonds are those of the topology.".into(),
        (_, false, None) => "No bonds are drawn: they follow from elements.".into(),
        (_, true, None) => "Bonds are guessed from distances and covalent radii.".into(),
    });
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
