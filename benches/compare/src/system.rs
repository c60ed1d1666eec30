//! Questions to the operating system: memory of this process, room on disk, the page cache.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Result;

/// Resident bytes of this process that no file backs, such as the heap, whoever allocated them.
///
/// Pages of mapped files do not count. They belong to the page cache, which takes them back when it
/// needs them.
pub(crate) fn anonymous() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let mut pages = text.split(' ').skip(1).map_while(|number| number.parse::<u64>().ok());
    match (pages.next(), pages.next()) {
        (Some(all), Some(of_files)) => Ok(all.saturating_sub(of_files) * rustix::param::page_size() as u64),
        _ => Err("/proc/self/statm: unknown content".into()),
    }
}

/// The most by which `job` makes [`anonymous`] grow, sampled every half millisecond.
pub(crate) fn peak(job: impl FnOnce() -> Result<()>) -> Result<u64> {
    let before = anonymous()?;
    let done = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&done);
    let watcher = std::thread::spawn(move || {
        let mut most = 0;
        while !watched.load(Ordering::Relaxed) {
            most = anonymous().unwrap_or(0).max(most);
            std::thread::sleep(Duration::from_micros(500));
        }
        most
    });
    let result = job();
    done.store(true, Ordering::Relaxed);
    let most = watcher.join().map_err(|_| "the watcher panicked")?;
    result.map(|()| most.saturating_sub(before))
}

/// A clock in seconds: elapsed time, or the CPU time of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    id: rustix::time::ClockId,
}

impl Clock {
    pub(crate) fn new(cpu_time: bool) -> Self {
        use rustix::time::ClockId;
        Self { id: if cpu_time { ClockId::ProcessCPUTime } else { ClockId::Monotonic } }
    }

    /// Seconds since some fixed moment.
    pub(crate) fn now(self) -> f64 {
        let time = rustix::time::clock_gettime(self.id);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }

    /// The seconds that `job` takes.
    pub(crate) fn time(self, job: impl FnOnce() -> Result<()>) -> Result<f64> {
        let start = self.now();
        job()?;
        Ok(self.now() - start)
    }
}

/// Bytes that this process has read from the disk so far. Reads from the page cache do not count.
pub(crate) fn read_from_disk() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(line.ok_or("/proc/self/io: no read_bytes")?.parse()?)
}

/// All files of a store, which may be a file or a folder.
fn files(store: &Path) -> Result<Vec<PathBuf>> {
    if !store.is_dir() {
        return Ok(vec![store.to_owned()]);
    }
    std::fs::read_dir(store)?.map(|entry| Ok(entry?.path())).collect()
}

/// Bytes that a store takes: the length of its files without holes.
#[cfg(unix)]
pub(crate) fn size(store: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let size = |path: PathBuf| -> Result<u64> {
        let metadata = path.metadata()?;
        Ok(metadata.len().min(metadata.blocks() * 512))
    };
    files(store)?.into_iter().map(size).sum()
}

/// Bytes that a store's files reach over, holes included.
pub(crate) fn reach(store: &Path) -> Result<u64> {
    files(store)?.into_iter().map(|path| Ok(path.metadata()?.len())).sum()
}

/// Syncs a store's files and asks the system to forget their pages.
pub(crate) fn drop_cache(store: &Path) -> Result<()> {
    for path in files(store)? {
        let file = File::open(path)?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Bytes of the processor's last cache: what Linux says of the first core, else 32 MiB. At most 128 MiB, so
/// that a quick run stays quick; on a processor with more, run everything.
pub(crate) fn last_cache() -> u64 {
    const ELSE: u64 = 32 << 20;
    const MOST: u64 = 128 << 20;
    let size = |nth| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{nth}/size");
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().strip_suffix('K')?.parse::<u64>().ok()? << 10)
    };
    (0..8).filter_map(size).max().unwrap_or(ELSE).clamp(ELSE, MOST)
}

/// Removes a store, if there is one.
pub(crate) fn remove(store: &Path) -> Result<()> {
    if store.is_dir() {
        std::fs::remove_dir_all(store)?;
    } else if store.exists() {
        std::fs::remove_file(store)?;
    }
    Ok(())
}
