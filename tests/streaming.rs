//! A record is passed on in bounded memory, and no byte of it before its checksum was compared.
//!
//! What c-blosc2 allocates is not counted: at most a few blocks.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use vldepot::{Depot, Mapping, OpenOptions, Raw};

/// The system's allocator, with counters.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    PEAK.fetch_max(NOW.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to `System` as it came, which keeps the contract; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that `job` held at one time beyond what was there before.
fn peak<T>(job: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let value = job();
    (value, PEAK.load(Ordering::Relaxed) - before)
}

/// Compares what is written with the expected bytes.
struct Expect<'b> {
    left: &'b [u8],
    most: usize,
}

impl Write for Expect<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let expected = self.left.split_off(..bytes.len()).expect("no more than there is");
        assert!(expected == bytes);
        self.most = self.most.max(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn payload(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut byte = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if i.is_multiple_of(4) { (state >> 24) as u8 } else { (i >> 12) as u8 }
    };
    (0..len).map(&mut byte).collect()
}

fn check(depot: &Depot<Raw>, name: &str, bytes: &[u8], what: &str) {
    let mut out = Expect { left: bytes, most: 0 };
    let (read, peak) = peak(|| depot.read_to(name, &mut out).unwrap());
    assert_eq!((read, out.left.len()), (bytes.len() as u64, 0), "{what}");
    assert!(peak < 8 << 20, "{what}: {peak} bytes of memory for {} of record", bytes.len());
    assert!(bytes.is_empty() || out.most <= 4 << 20, "{what}: {} bytes at once", out.most);
}

fn options(preset: &str, chunk_size: usize) -> vldepot::Layout {
    preset.parse::<vldepot::Layout>().unwrap().with_chunk_size(chunk_size)
}

fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at as usize] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// A single test, because the counters belong to the whole process.
#[test]
fn records_of_any_length_take_bounded_memory_and_damaged_ones_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let long = payload(50_000_000);
    let lengths = [0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, long.len()];
    for (preset, chunk_size) in
        [("balanced", 4 << 20), ("balanced", 64 << 20), ("compact", 1 << 20), ("uncompressed", 1 << 20)]
    {
        let what = format!("{preset}, chunks of {chunk_size}");
        let path = folder.path().join("a.vld");
        let depot = Depot::builder(Raw).layout(options(preset, chunk_size)).create(&path).unwrap();
        depot.put("before", b"so that no record starts with a chunk").unwrap();
        for len in lengths {
            depot.put(len.to_string(), &long[..len]).unwrap();
        }
        depot.put("zeros", &vec![0; 20_000_000]).unwrap();
        // The records that the writer still holds are read too.
        for len in lengths {
            check(&depot, &len.to_string(), &long[..len], &what);
        }
        depot.close().unwrap();
        for mapping in [Mapping::Auto, Mapping::Never] {
            let options = OpenOptions::default().with_mapping(mapping);
            let depot = Depot::builder(Raw).open_options(options.clone()).open(&path).unwrap();
            for len in lengths {
                check(&depot, &len.to_string(), &long[..len], &what);
            }
            check(&depot, "zeros", &vec![0; 20_000_000], &what);
            assert!(depot.read_to("none", &mut io::sink()).unwrap_err().is_not_found());
        }

        // Near the end of the long record.
        let depot = Depot::open(&path, Raw).unwrap();
        let at = |name: &str| depot.location(name).unwrap().file_offset.unwrap();
        let (start, end) = (at(&long.len().to_string()), at("zeros"));
        drop(depot);
        flip(&path, start + (end - start) * 9 / 10);
        let depot = Depot::open(&path, Raw).unwrap();
        let mut out = Vec::new();
        let error = depot.read_to(long.len().to_string(), &mut out).unwrap_err();
        assert!(error.is_damage() && out.is_empty(), "{what}: {error:?}, {} bytes", out.len());
        std::fs::remove_file(&path).unwrap();
    }
}
