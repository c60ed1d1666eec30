//! The page: its head, which forbids every request to elsewhere, its parts in order, and its data.

use std::fmt::Write;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde_json::{Value, json};
use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Codec, Raw};

use super::data::{Data, script};
use super::escape::html;
use super::{elements, sections, viewer};
use crate::text;

/// How every page begins. `vldepot report` replaces no other file.
pub(crate) const BEGINNING: &str = "<!doctype html>\n<!-- made by vldepot report -->\n";

const STYLE: &str = include_str!("page.css");
const PROGRAM: &str = include_str!("page.js");

/// Where a live page gets its frames.
pub(crate) struct Live {
    /// The address that the number of a record is added to.
    pub(crate) frames: String,
}

/// 32 digits that nobody can guess.
pub(crate) fn secret() -> String {
    // The keys of hash maps are from the system's source of randomness.
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}

/// What the page may do: run its own scripts, and nothing else.
pub(crate) fn policy(nonce: &str, is_live: bool) -> String {
    let connect = if is_live { "; connect-src 'self'" } else { "" };
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data: blob:; \
         base-uri 'none'; form-action 'none'{connect}"
    )
}

/// The page.
pub(crate) fn page(data: &Data, nonce: &str, live: Option<&Live>) -> String {
    let info = &data.info;
    let name = info
        .path
        .file_name()
        .map_or_else(|| text::path(&info.path), |name| text::without_controls(&name.to_string_lossy()));
    let mut out = String::from(BEGINNING);
    let _ = write!(
        out,
        "<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{}</title>\n<style nonce=\"{nonce}\">\n{STYLE}</style>\n</head>\n<body>\n",
        policy(nonce, live.is_some()),
        html(&name)
    );
    let _ =
        write!(out, "<header><h1>{}</h1>\n<p class=\"summary\">{}</p>\n", html(&name), html(&summary(data)));
    out.push_str(&sections::health_line(data));
    out.push_str(&sections::figures(data));
    out.push_str("</header>\n<main>\n");
    for section in [
        sections::frames(data, viewer::PROGRAM.is_some()),
        sections::plots(data),
        sections::folders(data),
        sections::fields(data),
        sections::lengths(data),
        sections::chunks(data),
        sections::health(data),
        sections::metadata(data),
        sections::preview(data),
        sections::facts(data),
        sections::failures(data),
    ] {
        out.push_str(&section);
    }
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let now = text::date(i64::try_from(seconds).unwrap_or(0));
    let _ = write!(
        out,
        "</main>\n<footer>Made by vldepot {} on {now}, and of that moment. The page needs nothing from elsewhere.</footer>\n",
        env!("CARGO_PKG_VERSION")
    );
    let _ = writeln!(
        out,
        "<script nonce=\"{nonce}\" type=\"application/json\" id=\"data\">{}</script>",
        script(&page_data(data, live))
    );
    if let Some(program) = viewer::PROGRAM.filter(|_| !data.scenes.is_empty()) {
        let _ = writeln!(out, "<script nonce=\"{nonce}\">\n{program}\n</script>");
    }
    let _ = writeln!(out, "<script nonce=\"{nonce}\">\n{PROGRAM}</script>\n</body></html>");
    out
}

fn page_data(data: &Data, live: Option<&Live>) -> Value {
    let table = || -> Value {
        let element = |z: u8| {
            let [r, g, b] = elements::colour(z);
            json!({ "symbol": elements::symbol(z), "radius": elements::radius(z), "colour": format!("#{r:02x}{g:02x}{b:02x}") })
        };
        (0..elements::TYPES + elements::TYPE_COUNT).map(element).collect()
    };
    let has_scenes = !data.scenes.is_empty();
    json!({
        "frames": if has_scenes { data.scenes_json() } else { Value::Null },
        "elements": if has_scenes { table() } else { Value::Null },
        "lengths": data.has_lengths,
        "folders": data.folders.as_ref().map(super::folders::Folders::to_json),
        "live": live.filter(|_| has_scenes).map(|live| json!({ "frames": live.frames, "records": data.info.records })),
    })
}

/// What is in the depot, in a line.
fn summary(data: &Data) -> String {
    let info = &data.info;
    let shards = info.shards.map_or_else(String::new, |n| format!(" in {}", text::count(n, "shard")));
    let what = match info.codec.id.as_str() {
        _ if data.folders.is_some() => {
            format!("An archive of {} files, folders and links", text::grouped(info.records))
        }
        AtomicFrameCodec::ID if data.thing() == "frame" => {
            format!("{} of atoms", text::count(info.records, "frame"))
        }
        AtomicFrameCodec::ID => {
            format!("{}, frames of atoms and what they have in common", text::count(info.records, "record"))
        }
        id if super::data::is_array(id) => text::count(info.records, "array"),
        "serde.json" => format!("{} of JSON", text::count(info.records, "record")),
        "serde.msgpack" => format!("{} of MessagePack", text::count(info.records, "record")),
        Raw::ID => format!("{} of bytes", text::count(info.records, "record")),
        id => format!("{} of the codec {id}", text::count(info.records, "record")),
    };
    format!("{what}{shards}, {} in a file of {}", text::bytes(info.raw_bytes), text::bytes(info.file_bytes))
}
