//! The layer of GSD below its schemas: frames with chunks by name.
//!
//! ```text
//! head 256 | chunks ... | index: 32 bytes a chunk | names
//! ```
//!
//! # Source
//! GSD documentation, "File layer": the head, the index and the names, of versions 1 and 2.

use std::collections::HashMap;

use super::error::Fault;
use super::source::Source;

pub(super) const MAGIC: [u8; 8] = 0x65DF_65DF_65DF_65DF_u64.to_le_bytes();

/// Bytes of an entry of the index.
const ENTRY: u64 = 32;
/// Bytes that names are counted in.
const NAME: u64 = 64;
/// Frames are numbered from 0 on without gaps, and each has an entry.
const UNUSED: u64 = 0;

/// What numbers a chunk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        use Kind::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        let kinds = [U8, U16, U32, U64, I8, I16, I32, I64, F32, F64];
        // Text is bytes.
        if code == 11 { Some(U8) } else { kinds.get(usize::from(code).checked_sub(1)?).copied() }
    }

    const fn size(self) -> u64 {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// Where a chunk is, and what is in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) at: u64,
    pub(super) rows: u64,
    pub(super) width: u32,
    pub(super) kind: Kind,
}

pub(super) struct File {
    source: Source,
    names: HashMap<String, u16>,
    /// By frame and name.
    chunks: HashMap<(u64, u16), Chunk>,
    n_frames: u64,
    pub(super) application: String,
    /// The end of what was read last.
    at: u64,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

impl File {
    pub(super) fn new(mut source: Source) -> Result<Self, Fault> {
        source.array::<8>("the magic number")?;
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = u64::from_le_bytes(source.array("the head")?);
        }
        let [index_at, index_entries, names_at, names_entries] = numbers;
        let _schema_version: [u8; 4] = source.array("the head")?;
        let at = source.at();
        let version = u32::from_le_bytes(source.array("the version")?) >> 16;
        if !matches!(version, 1 | 2) {
            return Err(Fault::unsupported(at, format!("version {version} of the format")));
        }
        let application = text(&source.array::<64>("the head")?);
        let at = source.at();
        let schema = text(&source.array::<64>("the head")?);
        if schema != "hoomd" {
            return Err(Fault::unsupported(at, format!("the schema {schema:?}, where hoomd is read")));
        }
        let names = names(&mut source, version, names_at, names_entries)?;
        let mut file = Self { source, names, chunks: HashMap::new(), n_frames: 0, application, at: 0 };
        file.index(index_at, index_entries)?;
        Ok(file)
    }

    fn index(&mut self, index_at: u64, entries: u64) -> Result<(), Fault> {
        self.go(index_at, "the index")?;
        let bytes = entries.saturating_mul(ENTRY);
        self.source.need(bytes, "the index")?;
        let n_names = self.names.len();
        let mut last = 0;
        for _ in 0..entries {
            let at = self.source.at();
            let entry: [u8; 32] = self.source.array("the index")?;
            let (longs, _) = entry.as_chunks::<8>();
            let [frame, rows, location] = [0, 1, 2].map(|nth| u64::from_le_bytes(longs[nth]));
            if location == UNUSED {
                break;
            }
            let width = u32::from_le_bytes([entry[24], entry[25], entry[26], entry[27]]);
            let id = u16::from_le_bytes([entry[28], entry[29]]);
            let damaged = |why: String| Fault::damaged(at, why);
            let kind =
                Kind::of(entry[30]).ok_or_else(|| damaged(format!("a chunk of type {}", entry[30])))?;
            let length = rows.checked_mul(u64::from(width)).and_then(|n| n.checked_mul(kind.size()));
            let end = length.and_then(|length| length.checked_add(location));
            if end.is_none_or(|end| end > self.source.len()) {
                let why = format!(
                    "a chunk of {rows} times {width} numbers at byte {location}, which is after the end"
                );
                return Err(damaged(why));
            }
            if usize::from(id) >= n_names {
                return Err(damaged(format!("name {id} of a chunk, and there are {n_names}")));
            }
            if frame < last || frame > last + 1 {
                return Err(damaged(format!("frame {frame} after frame {last}")));
            }
            last = frame;
            self.n_frames = frame + 1;
            self.chunks.insert((frame, id), Chunk { at: location, rows, width, kind });
        }
        Ok(())
    }

    fn go(&mut self, to: u64, what: &str) -> Result<(), Fault> {
        go(&mut self.source, to, what)
    }

    pub(super) fn n_frames(&self) -> u64 {
        self.n_frames
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn len(&self) -> u64 {
        self.source.len()
    }

    /// The chunk of that name that a frame has itself.
    pub(super) fn find(&self, frame: u64, name: &str) -> Option<Chunk> {
        let id = self.names.get(name)?;
        self.chunks.get(&(frame, *id)).copied()
    }

    /// Whether a frame has itself a chunk whose name begins so, before a `/`.
    pub(super) fn has_own(&self, frame: u64, group: &str) -> bool {
        let is_in = |name: &str| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('/'));
        self.names.iter().any(|(name, id)| is_in(name) && self.chunks.contains_key(&(frame, *id)))
    }

    /// What a frame has beyond its configuration, its particles and their bonds.
    pub(super) fn logged(&self, frame: u64) -> Vec<(String, Chunk)> {
        let known = [
            "configuration",
            "particles",
            "bonds",
            "angles",
            "dihedrals",
            "impropers",
            "pairs",
            "constraints",
        ];
        let is_known = |name: &str| name.split_once('/').is_some_and(|(group, _)| known.contains(&group));
        let names = self.names.iter().filter(|(name, _)| !is_known(name));
        let mut found: Vec<_> = names
            .filter_map(|(name, id)| self.chunks.get(&(frame, *id)).map(|chunk| (name.clone(), *chunk)))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    pub(super) fn read(&mut self, chunk: Chunk, name: &str) -> Result<Vec<u8>, Fault> {
        self.go(chunk.at, name)?;
        let mut bytes = Vec::new();
        self.source.bytes(chunk.rows * u64::from(chunk.width) * chunk.kind.size(), name, &mut bytes)?;
        self.at = self.at.max(self.source.at());
        Ok(bytes)
    }
}

fn go(source: &mut Source, to: u64, what: &str) -> Result<(), Fault> {
    if to > source.len() {
        let why =
            format!("{what}: expected at byte {to}, and the file has {}: it was cut short", source.len());
        return Err(Fault::damaged(source.at(), why));
    }
    source.seek(to)
}

fn names(source: &mut Source, version: u32, at: u64, entries: u64) -> Result<HashMap<String, u16>, Fault> {
    go(source, at, "the names")?;
    let mut bytes = Vec::new();
    source.bytes(entries.saturating_mul(NAME), "the names", &mut bytes)?;
    let all: Vec<&[u8]> = if version == 1 {
        bytes.chunks(64).map(|name| name.split(|byte| *byte == 0).next().unwrap_or_default()).collect()
    } else {
        bytes.split(|byte| *byte == 0).collect()
    };
    let mut names = HashMap::new();
    for (id, name) in all.into_iter().take_while(|name| !name.is_empty()).enumerate() {
        let id = u16::try_from(id).map_err(|_| Fault::damaged(at, "more than 65,535 names"))?;
        let name = std::str::from_utf8(name).map_err(|_| Fault::damaged(at, "a name that is not text"))?;
        if names.insert(name.to_owned(), id).is_some() {
            return Err(Fault::damaged(at, format!("two names {name:?}")));
        }
    }
    Ok(names)
}
