//! The folders of an archive as a tree map: the largest are looked into, for as long as there is time.

use std::collections::BinaryHeap;
use std::fmt::Write;
use std::time::Instant;

use serde_json::{Value, json};
use vldepot::archive::{Archive, ArchivePath};

use super::escape::html;
use super::treemap::{Rect, squarify};
use crate::text;

/// Entries of a folder that are shown one by one, the largest. All others are shown as one.
const OF_A_FOLDER: usize = 120;

/// Rectangles of a tree map.
const NODES: usize = 2500;

/// Size of the map.
pub(crate) const WHOLE: Rect = Rect { x: 0.0, y: 0.0, w: 1000.0, h: 560.0 };

/// Room for the name of a folder, and around what is in it.
const HEAD: f64 = 17.0;
const BORDER: f64 = 2.0;

/// Whether a folder of this size has its name above what is in it.
fn has_head(rect: Rect) -> bool {
    rect.w > 44.0 && rect.h > 36.0
}

/// A file, a folder, or what is left of a folder.
#[derive(Debug)]
struct Node {
    parent: usize,
    name: String,
    bytes: u64,
    files: u64,
    kind: Kind,
    children: Vec<usize>,
    /// What of the top it belongs to: the number of a colour.
    colour: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Folder,
    File,
    /// So many smaller ones.
    Rest,
}

/// A tree map.
#[derive(Debug)]
pub(crate) struct Folders {
    nodes: Vec<Node>,
    rects: Vec<Rect>,
    /// Whether the time was over before all that would be shown was looked at.
    pub(crate) is_short: bool,
    /// What could not be listed.
    pub(crate) failed: Option<String>,
}

/// Whether a depot of bytes looks like an archive: its names are paths, and one of them has a folder or what
/// files have.
pub(crate) fn is_archive(archive: &Archive, names: &[vldepot::Key]) -> bool {
    let path = |key: &vldepot::Key| match key {
        vldepot::Key::Str(name) => ArchivePath::new(name.strip_suffix('/').unwrap_or(name)).ok(),
        vldepot::Key::Bytes(name) => ArchivePath::new(name.strip_suffix(b"/").unwrap_or(name)).ok(),
        _ => None,
    };
    let Some(paths) = names.iter().map(path).collect::<Option<Vec<_>>>() else { return false };
    let is_file = |path: &ArchivePath| {
        path.parent().is_some_and(|parent| !parent.is_root())
            || archive.stat(path).is_ok_and(|stat| {
                matches!(serde_json::to_value(&stat.attributes), Ok(Value::Object(known)) if known.contains_key("mode") || known.contains_key("mtime"))
            })
    };
    !paths.is_empty() && paths.iter().any(is_file)
}

impl Folders {
    /// Looks at an archive until `deadline`.
    pub(crate) fn of(archive: &Archive, deadline: Instant) -> vldepot::Result<Self> {
        let totals = archive.totals(ArchivePath::ROOT)?;
        let root = Node {
            parent: 0,
            name: String::new(),
            bytes: totals.raw_bytes,
            files: totals.records,
            kind: Kind::Folder,
            children: Vec::new(),
            colour: 0,
        };
        let mut this = Self { nodes: vec![root], rects: Vec::new(), is_short: false, failed: None };
        let mut todo = BinaryHeap::from([(totals.raw_bytes, 0_usize, Vec::new())]);
        while let Some((_, folder, path)) = todo.pop() {
            if this.nodes.len() >= NODES {
                break;
            }
            if Instant::now() > deadline {
                this.is_short = true;
                break;
            }
            let below = this.list(archive, folder, &path, deadline);
            todo.extend(below.into_iter().map(|(node, path)| (this.nodes[node].bytes, node, path)));
        }
        this.lay_out();
        Ok(this)
    }

    /// Adds what is in a folder, and returns the folders among that.
    fn list(
        &mut self,
        archive: &Archive,
        folder: usize,
        path: &[u8],
        deadline: Instant,
    ) -> Vec<(usize, Vec<u8>)> {
        let mut found = Vec::new();
        let (mut seen, mut rest) = ((0, 0), self.nodes[folder].children.len() as u64);
        let entries = match archive.read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.failed = Some(crate::failure::chain(&error));
                return Vec::new();
            }
        };
        for (n, entry) in entries.enumerate() {
            if n % 256 == 0 && Instant::now() > deadline {
                self.is_short = true;
                break;
            }
            let totals = entry.and_then(|entry| archive.totals(&entry.path).map(|totals| (entry, totals)));
            match totals {
                Ok((entry, totals)) => {
                    seen = (seen.0 + totals.raw_bytes, seen.1 + totals.records);
                    rest += 1;
                    found.push((totals.raw_bytes, totals.records, entry));
                }
                Err(error) => self.failed = Some(crate::failure::chain(&error)),
            }
            // The smallest go now and then, so that a folder of a million files takes no room.
            if found.len() > 64 * OF_A_FOLDER {
                found.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
                found.truncate(OF_A_FOLDER);
            }
        }
        found.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
        found.truncate(OF_A_FOLDER.min(NODES.saturating_sub(self.nodes.len()).max(8)));
        let (whole, all_files) = (self.nodes[folder].bytes, self.nodes[folder].files);
        let (mut bytes_left, mut files_left) = (whole, all_files);
        let mut folders = Vec::new();
        for (bytes, files, entry) in found {
            rest = rest.saturating_sub(1);
            bytes_left = bytes_left.saturating_sub(bytes);
            files_left = files_left.saturating_sub(files);
            let name = String::from_utf8_lossy(entry.path.file_name().unwrap_or_default()).into_owned();
            let kind = if entry.is_dir { Kind::Folder } else { Kind::File };
            let node = self.add(folder, text::without_controls(&name), bytes, files, kind);
            if entry.is_dir && bytes > 0 {
                folders.push((node, entry.path.as_bytes().to_vec()));
            }
        }
        if bytes_left > 0 && rest > 0 {
            self.add(
                folder,
                text::more(rest, "entry").replace("entrys", "entries"),
                bytes_left,
                files_left,
                Kind::Rest,
            );
        } else if bytes_left > 0 && self.is_short {
            self.add(folder, "not looked at".into(), bytes_left, files_left, Kind::Rest);
        }
        folders
    }

    fn add(&mut self, parent: usize, name: String, bytes: u64, files: u64, kind: Kind) -> usize {
        let number = self.nodes.len();
        let colour = if parent == 0 { self.nodes[0].children.len() % 8 } else { self.nodes[parent].colour };
        self.nodes.push(Node { parent, name, bytes, files, kind, children: Vec::new(), colour });
        self.nodes[parent].children.push(number);
        number
    }

    fn lay_out(&mut self) {
        self.rects = vec![Rect { x: 0.0, y: 0.0, w: 0.0, h: 0.0 }; self.nodes.len()];
        self.rects[0] = WHOLE;
        // Children come after their parents.
        for n in 0..self.nodes.len() {
            let mut children = self.nodes[n].children.clone();
            children.retain(|&child| self.nodes[child].bytes > 0);
            children.sort_by_key(|&child| std::cmp::Reverse(self.nodes[child].bytes));
            let rect = self.rects[n];
            let inside = match n {
                0 => rect,
                _ if has_head(rect) => rect.inside(HEAD, BORDER),
                _ => rect.inside(BORDER, BORDER),
            };
            #[allow(clippy::cast_precision_loss, reason = "a drawing")]
            let sizes: Vec<f64> = children.iter().map(|&child| self.nodes[child].bytes as f64).collect();
            for (child, rect) in children.into_iter().zip(squarify(&sizes, inside)) {
                self.rects[child] = rect;
            }
        }
    }

    /// The map, with the largest folders' names.
    pub(crate) fn svg(&self) -> String {
        let mut out = format!(
            "<svg id=\"treemap\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Sizes of folders\">",
            WHOLE.w, WHOLE.h
        );
        for (n, (node, rect)) in self.nodes.iter().zip(&self.rects).enumerate().skip(1) {
            if rect.w < 1.0 || rect.h < 1.0 {
                continue;
            }
            let kind = match node.kind {
                Kind::Folder => "folder",
                Kind::File => "file",
                Kind::Rest => "rest",
            };
            let _ = write!(
                out,
                "<rect data-n=\"{n}\" class=\"c{} {kind}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                node.colour,
                rect.x,
                rect.y,
                rect.w,
                rect.h,
                html(&self.title(n))
            );
            // Elsewhere the names of what is in it would lie under its own.
            let is_free = node.children.is_empty() || has_head(*rect);
            if let Some(name) = fitting(&node.name, *rect).filter(|_| is_free) {
                let _ = write!(
                    out,
                    "<text data-n=\"{n}\" class=\"{kind}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    rect.x + 5.0,
                    rect.y + 12.5,
                    html(&name)
                );
            }
        }
        out.push_str("</svg>");
        out
    }

    fn path(&self, mut node: usize) -> String {
        let mut names = Vec::new();
        while node > 0 {
            names.push(self.nodes[node].name.as_str());
            node = self.nodes[node].parent;
        }
        names.reverse();
        names.join("/")
    }

    fn title(&self, n: usize) -> String {
        let node = &self.nodes[n];
        let files = if node.kind == Kind::File {
            String::new()
        } else {
            format!(", {}", text::count(node.files, "record"))
        };
        format!("{}: {}{files}", self.path(n), text::bytes(node.bytes))
    }

    /// Names and rectangles for zooming: parent, name, title, kind, and the rectangle.
    pub(crate) fn to_json(&self) -> Value {
        let tenth = |x: f64| (x * 100.0).round() / 100.0;
        let node = |(n, (node, rect)): (usize, (&Node, &Rect))| {
            json!([
                node.parent,
                node.name,
                self.title(n),
                node.kind == Kind::Folder && !node.children.is_empty(),
                tenth(rect.x),
                tenth(rect.y),
                tenth(rect.w),
                tenth(rect.h)
            ])
        };
        self.nodes.iter().zip(&self.rects).enumerate().map(node).collect()
    }

    /// The largest files and folders just below the root: name, bytes, records.
    pub(crate) fn top(&self) -> Vec<(String, u64, u64)> {
        let mut top: Vec<_> = self.nodes[0].children.iter().map(|&n| &self.nodes[n]).collect();
        top.sort_by_key(|node| std::cmp::Reverse(node.bytes));
        let slash = |node: &Node| if node.kind == Kind::Folder { "/" } else { "" };
        top.into_iter()
            .map(|node| (format!("{}{}", node.name, slash(node)), node.bytes, node.files))
            .collect()
    }
}

/// The name, cut to what a rectangle has room for. `None` if that is nothing.
fn fitting(name: &str, rect: Rect) -> Option<String> {
    if rect.h < 15.0 || rect.w < 30.0 {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 200")]
    let room = ((rect.w - 8.0) / 6.4) as usize;
    if name.chars().count() <= room {
        return Some(name.to_owned());
    }
    (room > 3).then(|| name.chars().take(room - 1).chain(['\u{2026}']).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_map_holds_all_bytes_and_its_names_are_text() {
        let archive = Archive::memory().unwrap();
        for n in 0..300_u32 {
            archive.write(format!("many/{n:03}"), &vec![1; 10 + n as usize]).unwrap();
        }
        archive.write("</title><script>alert(1)</script>/\"x'", &[0; 5000]).unwrap();
        archive.write([b"deep/er/", &b"\xff\xfe"[..]].concat(), &[0; 9000]).unwrap();
        let folders = Folders::of(&archive, Instant::now() + Duration::from_secs(60)).unwrap();
        assert!(!folders.is_short && folders.failed.is_none());
        for (n, node) in folders.nodes.iter().enumerate().filter(|(_, node)| !node.children.is_empty()) {
            let sum: u64 = node.children.iter().map(|&child| folders.nodes[child].bytes).sum();
            assert_eq!(sum, node.bytes, "node {n}");
        }
        let svg = folders.svg();
        assert!(svg.contains("180 more entries") && !svg.contains("<script"));
        assert!(!escape_of(&folders).contains('<'));
        let late = Folders::of(&archive, Instant::now()).unwrap();
        assert!(late.is_short || late.nodes.len() > 1);
    }

    fn escape_of(folders: &Folders) -> String {
        super::super::escape::json(&folders.to_json())
    }

    #[test]
    fn archives_are_told_by_their_names() {
        let archive = Archive::memory().unwrap();
        archive.depot().put("a", b"1").unwrap();
        let names = |archive: &Archive| archive.depot().keys().collect::<vldepot::Result<Vec<_>>>().unwrap();
        assert!(!is_archive(&archive, &names(&archive)));
        archive.write("b/c", b"1").unwrap();
        assert!(is_archive(&archive, &names(&archive)));
        archive.depot().put(7, b"no path").unwrap();
        assert!(!is_archive(&archive, &names(&archive)));
    }
}
