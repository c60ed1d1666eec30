//! The rooms of the source tree, and what each may use. Every import points down, and no files form a
//! circle.

mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use parse::{Tree, module_of};

/// What a room may use.
enum Uses {
    /// These rooms.
    Only(&'static [&'static str]),
    /// These rooms, the rooms that those may use, and so on down.
    Below(&'static [&'static str]),
    /// Only what users of the crate can use too.
    PublicFace,
    /// Everything.
    All,
}

use Uses::{All, Below, Only, PublicFace};

/// The rooms, from the ground up. Each uses only rooms that come before it.
const ROOMS: &[(&str, Uses)] = &[
    ("identity", Only(&[])),
    ("events", Only(&[])),
    ("random", Only(&[])),
    ("le", Only(&[])),
    ("checksum", Only(&[])),
    ("zstd", Only(&[])),
    ("planes", Only(&["zstd"])),
    ("sync", Only(&[])),
    ("workers", Only(&["sync"])),
    ("buffer", Only(&[])),
    ("key", Only(&[])),
    ("exact", Only(&[])),
    ("error", Only(&[])),
    ("named", Only(&["error"])),
    ("scalar", Only(&["le", "named"])),
    ("statistics", Only(&[])),
    ("query", Only(&[])),
    ("codec", Only(&["planes", "scalar", "statistics"])),
    ("blosc", Only(&["buffer", "error", "le", "named"])),
    ("maps", Only(&["buffer", "checksum", "error", "le", "zstd"])),
    ("options", Only(&["blosc", "error", "named"])),
    ("storage", Only(&["buffer", "checksum", "error", "sync"])),
    (
        "format",
        Only(&["blosc", "checksum", "error", "identity", "le", "options", "planes", "scalar", "statistics"]),
    ),
    (
        "chunk",
        Only(&[
            "blosc", "buffer", "checksum", "error", "format", "le", "options", "planes", "storage", "sync",
            "workers",
        ]),
    ),
    (
        "index",
        Only(&[
            "buffer",
            "checksum",
            "error",
            "format",
            "key",
            "le",
            "random",
            "scalar",
            "statistics",
            "storage",
            "sync",
        ]),
    ),
    ("catalog", Below(&["index", "chunk"])),
    ("log", Below(&["catalog", "format", "storage"])),
    ("vlstore", Below(&["catalog", "index", "format", "key"])),
    ("manifest", Only(&["checksum", "error", "identity", "storage"])),
    ("engine", Below(&["log", "manifest", "vlstore", "catalog", "chunk", "codec", "workers", "events"])),
    ("depot", Below(&["engine", "exact", "codec", "query"])),
    ("maintain", Below(&["depot"])),
    ("shards", Below(&["depot", "maintain"])),
    ("loader", Below(&["depot", "workers", "random"])),
    ("objects", Below(&["depot"])),
    ("collections", Below(&["depot", "loader"])),
    ("codecs", PublicFace),
    ("archive", PublicFace),
    ("trajectories", PublicFace),
    ("testing", All),
    ("lib", All),
];

/// Uses that break the rule: file, room, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("codecs/serde.rs", "exact", "what does not come back is refused, as the depot does for metadata"),
    ("src/archive/convert/options.rs", "zstd", "there is one zstd, and no public face for it"),
    ("src/archive/convert/packing.rs", "zstd", "there is one zstd, and no public face for it"),
];

/// Files that need each other, and why.
const CIRCLES: &[(&[&str], &str)] = &[];

fn tree() -> Tree {
    Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

fn room_of(file: &str) -> String {
    module_of(file).into_iter().next().unwrap_or_else(|| "lib".into())
}

/// The rooms that `room` may use, including itself. `None` for all.
fn allowed(room: &str) -> Option<BTreeSet<&'static str>> {
    let (name, uses) = ROOMS.iter().find(|(name, _)| *name == room)?;
    match uses {
        Only(rooms) => Some(rooms.iter().chain([name]).copied().collect()),
        Below(_) => Some(down_from(name)),
        PublicFace => Some(BTreeSet::from([*name])),
        All => None,
    }
}

/// The room, and all rooms that it leads down to.
fn down_from(room: &'static str) -> BTreeSet<&'static str> {
    let found = ROOMS.iter().find(|(name, _)| *name == room);
    let Some((_, Only(rooms) | Below(rooms))) = found else { return BTreeSet::from([room]) };
    rooms.iter().flat_map(|room| down_from(room)).chain([room]).collect()
}

#[test]
fn a_room_only_uses_rooms_below_it() {
    let place = |room: &str| ROOMS.iter().position(|(name, _)| *name == room);
    for (name, uses) in ROOMS {
        let (Only(rooms) | Below(rooms)) = uses else { continue };
        for room in *rooms {
            let below = place(room).is_some_and(|at| Some(at) < place(name));
            assert!(below, "{name} may use {room}, which does not stand before it in ROOMS");
        }
    }
}

#[test]
fn every_room_has_its_place() {
    let there = tree().rooms();
    let named: BTreeSet<_> =
        ROOMS.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "lib").collect();
    assert_eq!(there, named, "the rooms that are there, and those that ROOMS names");
}

#[test]
fn no_import_looks_up() {
    let mut wrong = BTreeMap::new();
    for found in tree().uses() {
        let own = room_of(&found.file);
        let Some(rooms) = allowed(&own) else { continue };
        let is_face = matches!(ROOMS.iter().find(|(name, _)| *name == own), Some((_, PublicFace)));
        let may = rooms.contains(found.room.as_str()) || is_face && found.public;
        if !may {
            wrong.entry((found.file, found.room)).or_insert_with(BTreeSet::new).insert(found.line);
        }
    }
    let excused = |(file, room): &(String, String)| EXCEPTIONS.iter().any(|(f, r, _)| f == file && r == room);
    let unexcused: Vec<_> = wrong
        .iter()
        .filter(|(at, _)| !excused(at))
        .map(|((file, room), lines)| format!("{file} uses {room}, lines {lines:?}"))
        .collect();
    assert!(unexcused.is_empty(), "not allowed:\n{}", unexcused.join("\n"));
    for (file, room, _) in EXCEPTIONS {
        let needed = wrong.contains_key(&((*file).to_owned(), (*room).to_owned()));
        assert!(needed, "{file} uses {room} no more: take it off EXCEPTIONS");
    }
}

#[test]
fn no_files_need_each_other() {
    let circles = circles(&tree().needs());
    let known: BTreeSet<Vec<_>> =
        CIRCLES.iter().map(|(files, _)| files.iter().map(|file| (*file).to_owned()).collect()).collect();
    let found: BTreeSet<_> = circles.into_iter().collect();
    let new: Vec<_> = found.difference(&known).map(|files| files.join(" <-> ")).collect();
    assert!(new.is_empty(), "files in a circle:\n{}", new.join("\n"));
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "no circle any more: take them off CIRCLES: {gone:?}");
}

/// The sets of files in which each file leads to each other one, sorted. Single files are left out.
fn circles(needs: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach: BTreeMap<_, _> = needs.keys().map(|file| (file, reachable(needs, file))).collect();
    let mut found = BTreeSet::new();
    for (file, leads_to) in &reach {
        if leads_to.contains(*file) {
            let back =
                leads_to.iter().filter(|other| reach.get(other).is_some_and(|back| back.contains(*file)));
            found.insert(back.cloned().collect());
        }
    }
    found.into_iter().collect()
}

fn reachable(needs: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![from.to_owned()];
    while let Some(file) = waiting.pop() {
        for next in needs.get(&file).into_iter().flatten() {
            if found.insert(next.clone()) {
                waiting.push(next.clone());
            }
        }
    }
    found
}

// Checks of the parser, on invented trees.

fn made_up(files: &[(&str, &str)]) -> Tree {
    Tree::from_sources(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())))
}

/// The room and line of each use of another room in `text`, which is the file `src/a/deep.rs`.
fn uses(text: &str) -> Vec<(String, usize)> {
    let tree = made_up(&[
        ("src/lib.rs", "mod a; mod b; pub mod c; pub use b::{Thing, inner::Other as Renamed};"),
        ("src/a/mod.rs", "mod deep; pub struct Here;"),
        ("src/a/deep.rs", text),
        ("src/b/mod.rs", "pub(crate) mod inner; pub struct Thing; pub(crate) fn hidden() {}"),
        ("src/b/inner.rs", "pub struct Other;"),
        ("src/c.rs", "pub struct Open; pub(crate) struct Closed; pub use crate::b::Thing;"),
    ]);
    let found = tree.uses().into_iter().filter(|found| found.file == "src/a/deep.rs" && found.room != "a");
    found.map(|found| (found.room, found.line)).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn imports_are_found_however_they_are_written() {
    let one = |room: &str, line| vec![(room.to_owned(), line)];
    let none = Vec::new();
    assert_eq!(uses("use crate::b::Thing;"), one("b", 1));
    assert_eq!(uses("\nuse crate::{\n b::{self, inner::*},\n};"), one("b", 2));
    assert_eq!(uses("use super::super::c::Open as Shut;"), one("c", 1));
    assert_eq!(uses("use super::Here;"), none);
    assert_eq!(uses("use crate::{Thing, a::Here};"), one("b", 1));
    assert_eq!(uses("use crate::Renamed;"), one("b", 1));
    assert_eq!(uses("fn f() {\n crate::b::hidden()\n}"), one("b", 2));
    assert_eq!(uses("mod imp { use super::super::super::c::Open; }"), one("c", 1));
    assert_eq!(uses("pub(in crate::c) fn f() -> impl Sized + use<> { c::d() }"), none);
    assert_eq!(uses("use ::c::Open; use d::b::Thing;"), none);
}

#[test]
fn comments_strings_and_tests_use_nothing() {
    let none = Vec::new();
    assert_eq!(uses("/// [`x`](crate::b::x)\n// crate::b::x\n/* /* */ crate::b::x */ fn f() {}"), none);
    assert_eq!(uses(r##"fn f<'a>() { ("crate::b::x \" ", r#"crate::c::x "# , '"', b'\'') }"##), none);
    assert_eq!(uses("#[cfg(test)]\n#[allow(x)] mod tests { use crate::b::x; fn f() {} }"), none);
    assert_eq!(
        uses("#[cfg(test)] use crate::{b::x, c::y};\n#[cfg(test)] const fn f() { crate::b::x() }"),
        none
    );
    let kept = "#[cfg(any(test, feature = \"x\"))] mod y { use crate::b::x; }\nuse crate::c::y;";
    assert_eq!(uses(kept), [("b".to_owned(), 1), ("c".to_owned(), 2)]);
    let tree = made_up(&[
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "#[cfg(test)] mod checks;"),
        ("src/a/checks.rs", "use crate::b::x;"),
        ("src/b.rs", ""),
    ]);
    assert_eq!(tree.uses(), []);
}

#[test]
fn only_what_all_the_world_may_name_is_public() {
    let tree = made_up(&[
        ("src/lib.rs", "mod b; pub mod c; pub use b::Thing; mod a;"),
        ("src/a.rs", "use crate::{Thing, b::Thing as Same, c::Open, c::Closed, c::Forwarded};"),
        ("src/b.rs", "pub struct Thing;"),
        (
            "src/c.rs",
            "pub struct Open; pub(crate) struct Closed; pub(crate) use crate::b::Thing as Forwarded;",
        ),
    ]);
    let found: Vec<_> = tree.uses().into_iter().filter(|found| found.file == "src/a.rs").collect();
    let named =
        |public| found.iter().filter(move |found| found.public == public).map(|found| found.room.as_str());
    assert_eq!(named(true).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(named(false).collect::<Vec<_>>(), ["b", "c", "c"]);
}

#[test]
fn a_head_that_only_forwards_is_in_no_circle() {
    let head = "mod left; mod right; pub(crate) use left::Left; pub use right::*;";
    let tree = |head: &str, left: &str| {
        let right = "use super::Left; use crate::a::right; fn f(l: Left) { right::g() }";
        circles(
            &made_up(&[
                ("src/lib.rs", "mod a;"),
                ("src/a/mod.rs", head),
                ("src/a/left.rs", left),
                ("src/a/right.rs", right),
            ])
            .needs(),
        )
    };
    assert_eq!(tree(head, "pub struct Left;"), Vec::<Vec<String>>::new());
    assert_eq!(
        tree(head, "pub struct Left; use super::right::Right;"),
        [["src/a/left.rs", "src/a/right.rs"]]
    );
    let user = format!("{head} fn f(left: Left) {{}}");
    assert_eq!(tree(&user, "use super::f; pub struct Left;"), [["src/a/left.rs", "src/a/mod.rs"]]);
}
