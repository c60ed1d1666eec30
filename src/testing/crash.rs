//! A storage that remembers every write and sync, and can show what a power loss would leave.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::random::SplitMix64;
use crate::storage::{Bytes, MemoryStorage, ReadRange, Storage};
use crate::sync;

/// What was done to a [`CrashStorage`].
#[derive(Debug, Clone)]
enum Event {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLen(u64),
    Sync,
}

/// Memory that keeps a journal of writes, cuts and syncs.
///
/// After a run, [`power_loss`](Self::power_loss) shows what a disk may hold if the power fails at any
/// moment of the run. Everything that a sync covered is there. For the rest the seed decides: it is
/// kept, dropped or torn into sectors, with or without the file's new length.
///
/// ```
/// use std::sync::Arc;
/// use vldepot::testing::CrashStorage;
/// use vldepot::{Depot, Layout, OpenOptions, Raw};
///
/// let storage = Arc::new(CrashStorage::new());
/// let depot = Depot::builder(Raw).create_in(storage.clone())?;
/// depot.put("a", b"kept")?;
/// depot.commit()?;
/// let committed = storage.n_events();
/// depot.put("b", b"lost, perhaps")?;
/// depot.commit()?;
/// for seed in 0..20 {
///     let after = Arc::new(storage.power_loss(committed, seed));
///     let depot = Depot::builder(Raw).open_in(after)?;
///     assert_eq!(depot.get("a")?.view(), b"kept");
/// }
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct CrashStorage {
    now: MemoryStorage,
    /// The bytes from before the journal began.
    base: Vec<u8>,
    journal: Mutex<Vec<Event>>,
}

fn below(random: &mut SplitMix64, n: u64) -> u64 {
    random.next() % n.max(1)
}

/// How much of the unsynced writes reaches the disk.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// All of them, up to a point inside the last write, which is cut at a multiple of the sector size.
    InOrder { sector: u64 },
    /// Each write as a whole, or not at all.
    WholeWrites,
    /// Each sector of each write, or not.
    Sectors { sector: u64 },
}

impl CrashStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// A storage that holds these bytes, durably.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { now: MemoryStorage::from_bytes(bytes), base: bytes.to_vec(), journal: Mutex::default() }
    }

    fn journal(&self) -> MutexGuard<'_, Vec<Event>> {
        sync::lock(&self.journal)
    }

    /// The number of writes, cuts and syncs so far.
    pub fn n_events(&self) -> usize {
        self.journal().len()
    }

    /// What a disk may hold if the power fails after the first `n_events` events, or during the last of
    /// them.
    #[must_use]
    pub fn power_loss(&self, n_events: usize, seed: u64) -> Self {
        let journal = self.journal();
        let journal = &journal[..n_events.min(journal.len())];
        let synced = journal.iter().rposition(|event| matches!(event, Event::Sync)).map_or(0, |at| at + 1);
        let mut disk = self.base.clone();
        for event in &journal[..synced] {
            apply(&mut disk, event);
        }
        let unsynced = &journal[synced..];
        let mut random = SplitMix64(seed);
        let sector = if below(&mut random, 2) == 0 { 512 } else { 4096 };
        let fate = match below(&mut random, 3) {
            0 => Fate::InOrder { sector },
            1 => Fate::WholeWrites,
            _ => Fate::Sectors { sector },
        };
        let durable_len = disk.len();
        for (number, event) in unsynced.iter().enumerate() {
            match (fate, event) {
                (Fate::InOrder { sector }, Event::Write { offset, bytes })
                    if number + 1 == unsynced.len() =>
                {
                    let sectors = (bytes.len() as u64).div_ceil(sector);
                    let keep = below(&mut random, sectors + 1) * sector;
                    let keep = usize::try_from(keep).unwrap_or(usize::MAX).min(bytes.len());
                    apply(&mut disk, &Event::Write { offset: *offset, bytes: bytes[..keep].into() });
                }
                (Fate::WholeWrites, event) => {
                    if below(&mut random, 2) == 0 {
                        apply(&mut disk, event);
                    }
                }
                (Fate::Sectors { sector }, Event::Write { offset, bytes }) => {
                    let step = usize::try_from(sector).unwrap_or(usize::MAX);
                    for (nth, part) in bytes.chunks(step).enumerate() {
                        if below(&mut random, 2) == 0 {
                            let offset = offset + nth as u64 * sector;
                            apply(&mut disk, &Event::Write { offset, bytes: part.into() });
                        }
                    }
                }
                (Fate::InOrder { .. } | Fate::Sectors { .. }, event) => apply(&mut disk, event),
            }
        }
        // The length is metadata of its own: the data may have arrived when the length has not.
        if disk.len() > durable_len && below(&mut random, 8) == 0 {
            let grown = (disk.len() - durable_len) as u64;
            disk.truncate(durable_len + usize::try_from(below(&mut random, grown + 1)).unwrap_or(0));
        }
        Self::from_bytes(&disk)
    }
}

fn apply(disk: &mut Vec<u8>, event: &Event) {
    let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    match event {
        Event::Write { offset, bytes } => {
            let (start, end) = (index(*offset), index(*offset) + bytes.len());
            if bytes.is_empty() {
                return;
            }
            if disk.len() < end {
                disk.resize(end, 0);
            }
            disk[start..end].copy_from_slice(bytes);
        }
        Event::SetLen(len) => disk.resize(index(*len), 0),
        Event::Sync => {}
    }
}

impl Storage for CrashStorage {
    fn len(&self) -> io::Result<u64> {
        self.now.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.now.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.journal().push(Event::Write { offset, bytes: bytes.into() });
        self.now.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.journal().push(Event::SetLen(len));
        self.now.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.journal().push(Event::Sync);
        Ok(())
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        self.now.map(offset, len)
    }

    fn is_durable(&self) -> bool {
        // Dropping a depot then ends it like a killed process: nothing is tidied up.
        false
    }

    fn path(&self) -> &Path {
        Path::new("<crash storage>")
    }
}

/// A storage whose n-th write, cut or sync fails, once or from then on.
#[derive(Debug)]
pub struct FailingStorage<S> {
    inner: S,
    state: Mutex<Failing>,
}

#[derive(Debug)]
struct Failing {
    calls: u64,
    fail_at: u64,
    for_good: bool,
}

impl<S: Storage> FailingStorage<S> {
    /// Makes call number `fail_at` (from 0) fail. With `for_good`, all later ones fail as well.
    pub fn new(inner: S, fail_at: u64, for_good: bool) -> Self {
        Self { inner, state: Mutex::new(Failing { calls: 0, fail_at, for_good }) }
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        sync::lock(&self.state).fail_at = u64::MAX;
    }

    /// The number of writes, cuts and syncs so far.
    pub fn calls(&self) -> u64 {
        sync::lock(&self.state).calls
    }

    /// The wrapped storage.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn count(&self) -> io::Result<()> {
        let mut state = sync::lock(&self.state);
        let call = state.calls;
        state.calls += 1;
        if call == state.fail_at || (state.for_good && call > state.fail_at) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left (injected)"));
        }
        Ok(())
    }
}

impl<S: Storage> Storage for FailingStorage<S> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buf)
    }

    fn read_ranges(&self, ranges: &mut [ReadRange<'_>]) -> io::Result<()> {
        self.inner.read_ranges(ranges)
    }

    fn read_start(&self, buf: &mut [u8]) -> io::Result<(usize, u64)> {
        self.inner.read_start(buf)
    }

    /// A failing write leaves half of its bytes behind, as on a full disk.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.count().inspect_err(|_| {
            let _ = self.inner.write_at(offset, &bytes[..bytes.len() / 2]);
        })?;
        self.inner.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.count()?;
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.count()?;
        self.inner.sync()
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        self.inner.map(offset, len)
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn path(&self) -> &Path {
        Path::new("<failing storage>")
    }
}
