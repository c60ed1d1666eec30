//! Where the bytes are: fields, sizes of records, chunks and blocks.

use std::fmt::Write;

use vldepot::ChunkInfo;

use super::{bar, capital, percent, ratio};
use crate::report::data::Data;
use crate::report::escape::html;
use crate::report::plot::{histogram, short};
use crate::text;

/// Bytes by field.
pub(in crate::report) fn fields(data: &Data) -> String {
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
         <p class=\"note\">From {}, {} of raw bytes.{of_text} The last column is how many times smaller a field becomes when Blosc2 compresses it on its own, as this depot is set.</p></section>\n",
        html(&data.fields_seen.of_things(thing)),
        text::bytes(found.bytes),
    )
}

/// A histogram of lengths.
pub(in crate::report) fn lengths(data: &Data) -> String {
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
pub(in crate::report) fn chunks(data: &Data) -> String {
    if data.chunks.is_empty() {
        return String::new();
    }
    let stored: u64 = data.chunks.iter().map(|chunk| chunk.stored_bytes).sum();
    let raw: u64 = data.chunks.iter().map(filled).sum();
    let blocks: Vec<f64> = data
        .chunks
        .iter()
        .flat_map(|chunk| {
            let stored = chunk.blocks.iter().map(|&stored| u64::from(stored));
            stored.zip(raw_blocks(chunk)).map(|(stored, raw)| ratio(stored, raw))
        })
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
    let block = data.chunks.iter().flat_map(raw_blocks).max().unwrap_or(0);
    let blocks_said = if blocks.is_empty() {
        "They have no table of blocks".to_owned()
    } else {
        format!(
            "{} of at most {} raw",
            capital(&text::count(blocks.len() as u64, "block")),
            text::bytes(block)
        )
    };
    let _ = writeln!(
        out,
        "<p class=\"note\">{}: {} stored for {} of raw bytes. {blocks_said}.</p></section>",
        html(&capital(&data.chunks_seen.of_things("chunk"))),
        text::bytes(stored),
        text::bytes(raw),
    );
    out
}

/// Raw bytes of each block that is not there to fill the chunk up.
fn raw_blocks(chunk: &ChunkInfo) -> impl Iterator<Item = u64> {
    let own = chunk.raw_blocks.iter().map(|&raw| u64::from(raw));
    let alike = if chunk.fields_apart { 0 } else { chunk.blocks.len() };
    own.chain(std::iter::repeat_n(chunk.block_bytes, alike))
}

/// Raw bytes of a chunk without the blocks that fill it up.
fn filled(chunk: &ChunkInfo) -> u64 {
    if chunk.blocks.is_empty() { chunk.raw_bytes } else { chunk.raw_bytes.min(raw_blocks(chunk).sum()) }
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
