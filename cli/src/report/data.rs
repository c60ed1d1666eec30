//! What is read of a depot for its page. Each part looks at some records from all over the depot, for a
//! limited time, and says how many these were.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use vldepot::archive::Archive;
use vldepot::codecs::{AnyNdArray, AtomicFrameCodec, Json, Serde};
use vldepot::maintain::VerifyReport;
use vldepot::{ChunkInfo, Codec, Depot, DepotInfo, Key, OpenOptions, Raw};

use super::folders::{Folders, is_archive};
use super::plot::Series;
use super::scene::{Scene, Scenes};
use super::{escape, fields};
use crate::failure::{Failure, chain};
use crate::print::{self, Shown};
use crate::progress::Count;
use crate::text;

/// The longest that each part takes.
pub(super) const LIMIT: Duration = Duration::from_secs(4);

/// Records of which lengths and chunks are looked up.
const LOCATED: u64 = 4000;

/// Records that are read for their fields.
const READ: u64 = 400;

/// Raw bytes that are read for fields.
const READ_BYTES: u64 = 48 << 20;

/// Bytes of positions in a page.
const SCENE_BYTES: usize = 3 << 20;

/// The longest preview of a record.
const PREVIEW: usize = 6000;

/// How many of how many were looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sampled {
    pub(crate) seen: u64,
    pub(crate) of: u64,
}

impl Sampled {
    /// In words: `all 40 frames`, or `40 of 10,000 frames`.
    pub(crate) fn of_things(self, thing: &str) -> String {
        if self.seen >= self.of {
            return match self.of {
                0 => format!("no {thing}"),
                1 => format!("the one {thing}"),
                n => format!("all {}", text::count(n, thing)),
            };
        }
        format!("{} of {}", text::grouped(self.seen), text::count(self.of, thing))
    }
}

/// All that a page shows.
pub(crate) struct Data {
    pub(crate) info: DepotInfo,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) incomplete: Option<String>,
    pub(crate) health: Option<VerifyReport>,
    /// Why the health is not known.
    pub(crate) not_verified: Option<String>,
    pub(crate) lengths: Vec<u64>,
    pub(crate) located: Sampled,
    pub(crate) chunks: Vec<ChunkInfo>,
    pub(crate) chunks_seen: Sampled,
    pub(crate) fields: fields::Found,
    pub(crate) fields_seen: Sampled,
    pub(crate) plots: Vec<Series>,
    pub(crate) plots_from: String,
    /// What is the same in all records, or goes up evenly: name and what is said of it.
    pub(crate) even: Vec<(String, String)>,
    pub(crate) scenes: Vec<Scene>,
    pub(crate) scenes_seen: Sampled,
    pub(crate) has_lengths: bool,
    pub(crate) folders: Option<Folders>,
    /// A record, as `vldepot cat --decoded` shows it.
    pub(crate) preview: Option<(String, String)>,
    /// What could not be read.
    pub(crate) failures: Vec<String>,
    pub(crate) n_failures: u64,
}

/// How much is looked at.
pub(crate) struct Wanted {
    pub(crate) frames: usize,
    /// `view` has all frames at hand, and embeds the first one alone.
    pub(crate) is_live: bool,
}

/// Opens a depot for its page, also one that lost something.
pub(crate) fn open(file: &std::path::Path) -> Result<Depot<Raw>, Failure> {
    let options = OpenOptions::default().with_accept_loss(true);
    Ok(Depot::builder(Raw).open_options(options).open(file)?)
}

/// `n` positions from all over `len`, the first and the last one among them.
pub(crate) fn spread(len: u64, n: u64) -> Vec<u64> {
    if n == 0 || len == 0 {
        return Vec::new();
    }
    if len <= n {
        return (0..len).collect();
    }
    let at = |nth: u64| u128::from(nth) * u128::from(len - 1) / u128::from((n - 1).max(1));
    (0..n).filter_map(|nth| u64::try_from(at(nth)).ok()).collect()
}

/// Like [`spread`], but anywhere between one of these and the next. Records that take turns, as the kinds of
/// a set may, are then all met.
pub(crate) fn scattered(len: u64, n: u64) -> Vec<u64> {
    let even = spread(len, n);
    if even.len() as u64 == len {
        return even;
    }
    // Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014: the same in each run.
    let mix = |seed: u64| {
        let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 11
    };
    let next = even.iter().skip(1).copied().chain([len]);
    even.iter().zip(next).map(|(&at, next)| at + mix(at + 1) % (next - at).max(1)).collect()
}

impl Data {
    /// Reads what the page shows, without its health.
    pub(crate) fn read(depot: Depot<Raw>, wanted: &Wanted) -> Result<(Self, Depot<Raw>), Failure> {
        let count = Count::new("reading", 6);
        let mut data = Self {
            info: depot.info()?,
            metadata: Map::new(),
            incomplete: depot.incomplete().map(|error| chain(&error)),
            health: None,
            not_verified: None,
            lengths: Vec::new(),
            located: Sampled::default(),
            chunks: Vec::new(),
            chunks_seen: Sampled::default(),
            fields: fields::Found::default(),
            fields_seen: Sampled::default(),
            plots: Vec::new(),
            plots_from: String::new(),
            even: Vec::new(),
            scenes: Vec::new(),
            scenes_seen: Sampled::default(),
            has_lengths: false,
            folders: None,
            preview: None,
            failures: Vec::new(),
            n_failures: 0,
        };
        match depot.all_depot_metadata() {
            Ok(metadata) => data.metadata = metadata,
            Err(error) => data.fail(chain(&error)),
        }
        count.add(1);
        data.locate(&depot);
        count.add(1);
        data.read_fields(&depot);
        count.add(1);
        data.read_columns(&depot);
        count.add(1);
        if data.is(AtomicFrameCodec::ID) {
            data.read_scenes(&depot, wanted);
        }
        count.add(1);
        let depot = data.look_into(depot);
        count.add(1);
        Ok((data, depot))
    }

    pub(crate) fn is(&self, codec: &str) -> bool {
        self.info.codec.id == codec
    }

    /// What one of the records is called.
    pub(crate) fn thing(&self) -> &'static str {
        let has_others = self.fields.fields.iter().any(|field| field.name == "topology");
        if self.is(AtomicFrameCodec::ID) && !has_others { "frame" } else { "record" }
    }

    pub(super) fn fail(&mut self, error: String) {
        self.n_failures += 1;
        if self.failures.len() < 8 && !self.failures.contains(&error) {
            self.failures.push(error);
        }
    }

    /// Lengths of records, and the chunks that they start in.
    fn locate(&mut self, depot: &Depot<Raw>) {
        let deadline = Instant::now() + LIMIT;
        let len = depot.len();
        self.located.of = len;
        let mut known = HashSet::new();
        for position in scattered(len, LOCATED) {
            if Instant::now() > deadline {
                break;
            }
            let found = depot.key_at(position).and_then(|key| {
                let location = depot.location(&key)?;
                let chunk = (location.shard, location.chunk);
                let info = if known.contains(&chunk) { None } else { depot.chunk_of(&key)? };
                Ok((location.length, chunk, info))
            });
            match found {
                Ok((length, chunk, info)) => {
                    self.lengths.push(length);
                    known.insert(chunk);
                    self.chunks.extend(info);
                }
                Err(error) => self.fail(chain(&error)),
            }
        }
        self.located.seen = self.lengths.len() as u64;
        self.chunks.sort_by_key(|chunk| (chunk.shard, chunk.chunk));
        self.chunks_seen = Sampled { seen: self.chunks.len() as u64, of: self.info.chunks };
    }

    /// Reads some records, and divides them into their fields.
    fn read_fields(&mut self, depot: &Depot<Raw>) {
        let deadline = Instant::now() + LIMIT;
        let info = self.info.clone();
        let mut finder = fields::Finder::new(&info);
        let (mut bytes, mut seen, mut is_shown) = (0, 0, false);
        for position in scattered(depot.len(), READ) {
            if Instant::now() > deadline || bytes > READ_BYTES {
                break;
            }
            let read = depot.key_at(position).and_then(|key| {
                // A record that is larger than all of the sample is left out.
                if depot.location(&key)?.length > READ_BYTES {
                    return Ok(None);
                }
                Ok(Some((depot.get(&key)?, key)))
            });
            match read {
                Ok(Some((record, key))) => {
                    bytes += record.len() as u64;
                    seen += 1;
                    if let Err(error) = finder.add(record.as_bytes()) {
                        self.fail(format!("{}: {error}", text::name(&key)));
                    } else if self.preview.is_none()
                        || !is_shown && !fields::is_topology(&info, record.as_bytes())
                    {
                        // A frame says more than the topology before it.
                        is_shown = !fields::is_topology(&info, record.as_bytes());
                        self.preview = preview(&self.info, &key, record.as_bytes());
                    }
                }
                Ok(None) => {}
                Err(error) => self.fail(chain(&error)),
            }
        }
        self.fields_seen = Sampled { seen, of: depot.len() };
        self.fields = finder.finish();
    }

    fn read_scenes(&mut self, depot: &Depot<Raw>, wanted: &Wanted) {
        let deadline = Instant::now() + LIMIT;
        let mut scenes = Scenes::new(depot);
        self.has_lengths = scenes.has_lengths();
        let len = depot.len();
        // The first frame tells how large they are. Before it there may be a topology.
        let first = (0..len.min(64)).find_map(|at| scenes.at(at).ok().flatten().map(|scene| (at, scene)));
        let Some((first_at, first)) = first else { return };
        let bytes = first.positions.len() * 13 + 200;
        let n = if wanted.is_live || super::viewer::PROGRAM.is_none() {
            1
        } else {
            wanted.frames.min((SCENE_BYTES / bytes).max(1))
        };
        self.scenes_seen.of = len - first_at;
        for (nth, position) in spread(len - first_at, n as u64).into_iter().enumerate() {
            if nth == 0 {
                self.scenes.push(first.clone());
                continue;
            }
            let sum: usize = self.scenes.iter().map(|scene| scene.positions.len() * 13).sum();
            if Instant::now() > deadline || sum > SCENE_BYTES {
                break;
            }
            match scenes.at(first_at + position) {
                Ok(Some(scene)) => self.scenes.push(scene),
                Ok(None) => {}
                Err(error) => self.fail(error),
            }
        }
        self.scenes_seen.seen = self.scenes.len() as u64;
    }

    /// Lists folders, if the depot is an archive.
    fn look_into(&mut self, depot: Depot<Raw>) -> Depot<Raw> {
        if !self.is(Raw::ID) || depot.is_empty() {
            return depot;
        }
        let names: Vec<Key> =
            spread(depot.len(), 64).into_iter().filter_map(|at| depot.key_at(at).ok()).collect();
        let archive = Archive::new(depot);
        if is_archive(&archive, &names) {
            match Folders::of(&archive, Instant::now() + LIMIT) {
                Ok(folders) => {
                    if let Some(error) = &folders.failed {
                        self.fail(error.clone());
                    }
                    self.folders = Some(folders);
                }
                Err(error) => self.fail(chain(&error)),
            }
        }
        archive.into_depot()
    }

    /// What the player needs, apart from frames.
    pub(crate) fn scenes_json(&self) -> Value {
        let mut before = None;
        let scene = |scene| {
            let json = Scene::to_json(scene, before);
            before = Some(scene);
            json
        };
        self.scenes.iter().map(scene).collect()
    }
}

fn preview(info: &DepotInfo, key: &Key, bytes: &[u8]) -> Option<(String, String)> {
    let printer = print::by_codec(&info.codec.id)?;
    let mut out = Limited(Vec::new());
    let shown = Shown { bytes, parameters: &info.codec.parameters, all: false };
    // What was printed until the room was full is the preview.
    let _ = printer.text(&shown, &mut out);
    let is_cut = out.0.len() >= PREVIEW;
    let mut shown = String::from_utf8_lossy(&out.0).into_owned();
    if is_cut {
        shown.push_str("\u{2026}\n");
    }
    (!shown.trim().is_empty()).then(|| (text::name(key), shown))
}

/// Takes so many bytes, and then refuses.
struct Limited(Vec<u8>);

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = PREVIEW.saturating_sub(self.0.len());
        if room == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        let n = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Codecs whose records are read as trees.
pub(super) fn is_tree(id: &str) -> bool {
    id == Json::<Value>::ID || id == Serde::<Value>::ID
}

/// Whether records are arrays.
pub(super) fn is_array(id: &str) -> bool {
    id == AnyNdArray::ID
}

/// A value in a script element.
pub(super) fn script(value: &Value) -> String {
    escape::json(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_from_all_over() {
        assert_eq!(spread(10, 20), (0..10).collect::<Vec<_>>());
        assert_eq!(spread(101, 3), [0, 50, 100]);
        assert_eq!(spread(7, 1), [0]);
        assert_eq!(spread(u64::MAX, 2), [0, u64::MAX - 1]);
        assert_eq!(scattered(10, 20), (0..10).collect::<Vec<_>>());
        let scattered = scattered(2000, 1000);
        assert!(scattered.len() == 1000 && scattered.windows(2).all(|pair| pair[0] < pair[1]));
        let of_four = |kind: u64| scattered.iter().filter(|at| *at % 4 == kind).count();
        assert!((0..4).all(|kind| of_four(kind) > 150), "none is missed");
        assert!(spread(0, 5).is_empty() && spread(5, 0).is_empty());
    }

    #[test]
    fn samples_are_told_in_words() {
        assert_eq!(Sampled { seen: 40, of: 10_000 }.of_things("frame"), "40 of 10,000 frames");
        assert_eq!(Sampled { seen: 4, of: 4 }.of_things("frame"), "all 4 frames");
        assert_eq!(Sampled { seen: 1, of: 1 }.of_things("frame"), "the one frame");
    }
}
