//! Declared lengths take no memory: whatever a small file says about itself, opening, reading and
//! appending use little.
//!
//! What c-blosc2 allocates is not counted, because it only gets lengths that were checked.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::alloc::{self, GlobalAlloc, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vldepot::storage::{MemoryStorage, Storage};
use vldepot::testing::fuzz::{forge, open, vlstore_import};
use vldepot::{Depot, Layout, Raw, WriteOptions};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0)
}

/// The system's allocator, with counters.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    PEAK.fetch_max(NOW.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to `System` as it came, which keeps the contract; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: alloc::Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: alloc::Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: alloc::Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: alloc::Layout, size: usize) -> *mut u8 {
        // Both blocks may exist for a moment.
        taken(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that reading a file of `len` bytes may take.
fn allowed(len: usize) -> usize {
    (64 << 20) + 256 * len
}

/// The most memory that `job` held at one time beyond what was there before.
fn peak(job: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    job();
    PEAK.load(Ordering::Relaxed) - before
}

/// A depot of zeros and of bytes that do not compress, in small chunks.
fn depot(closed: bool, options: &Layout) -> Vec<u8> {
    let options = options.clone().with_chunk_size(4096).with_block_size(1024);
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let depot =
        Depot::builder(Raw).layout(options).write_options(writing()).create_in(Arc::clone(&storage)).unwrap();
    depot.set_depot_metadata("kind", "test").unwrap();
    depot.put("zeros", &[0; 9000]).unwrap();
    for n in 0..8_u32 {
        let noise: Vec<u8> =
            (0..900_u32).map(|i| (i.wrapping_mul((n + 3) * 2_654_435) >> 13) as u8).collect();
        depot.put_with_metadata(format!("frame_{n}"), &noise, &n).unwrap();
        if n % 3 == 2 {
            depot.commit().unwrap();
        }
    }
    depot.remove("frame_1").unwrap();
    if closed {
        depot.close().unwrap();
    } else {
        depot.flush().unwrap();
    }
    let mut bytes = vec![0; storage.len().unwrap() as usize];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The positions of metadata: the parameters, the slots, and all entries without the chunks' payload. Of a
/// chunk with the fields apart, the table and the start of the model are among them.
fn metadata(file: &[u8]) -> Vec<usize> {
    let mut places: Vec<usize> = (100..700).chain(3072..3136).chain(3584..3648).collect();
    let mut at = 4160;
    while let Some(head) = file.get(at..at + 64).filter(|head| head.starts_with(b"\x8bVLD")) {
        let length = u64::from_le_bytes(head[40..48].try_into().unwrap()) as usize;
        let is_chunk = head[8] == 1;
        places.extend(at + 8..at + if is_chunk { 240.min(length) } else { length.min(2048) });
        if is_chunk && file[at + 64 + 12] == 1 {
            let chunk_at = u32::from_le_bytes(file[at + 80..at + 84].try_into().unwrap()) as usize;
            places.extend(at + chunk_at..at + (chunk_at + 2048).min(length));
        }
        at += length;
    }
    places
}

const ABSURD: [u64; 5] = [u64::MAX, 0x7fff_fc00, 1 << 30, 1 << 40, 0xffff_ffc0];

/// A single test, because the counters belong to the whole process.
#[test]
fn declared_lengths_take_no_memory() {
    let long = std::env::var_os("VLDEPOT_LONG_TESTS").is_some();
    let mut most = 0;
    let mut cases = 0;
    let mut check = |what: &str, len: usize, job: &dyn Fn()| {
        let peak = peak(job);
        assert!(peak <= allowed(len), "{what}: {peak} bytes for a file of {len}");
        most = most.max(peak);
        cases += 1;
    };
    let mut files = vec![depot(true, &Layout::default()), depot(false, &Layout::default())];
    files.push(depot(true, &Layout::uncompressed().with_vlstore_compatible(true)));
    files.push(
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/apart.vld")).unwrap(),
    );
    for (number, file) in files.iter().enumerate() {
        for (nth, &at) in metadata(file).iter().enumerate() {
            // Words are aligned. One of the two widths is changed at a time.
            if at % 4 != 0 || (!long && (nth / 4 + number) % 11 != 0) {
                continue;
            }
            for (kind, absurd) in ABSURD.iter().enumerate() {
                let mut input = vec![[5, 7][kind % 2]];
                input.extend_from_slice(file);
                let width = if kind % 3 == 0 { 4 } else { 8 };
                let end = (1 + at + width).min(input.len());
                input[1 + at..end].copy_from_slice(&absurd.to_le_bytes()[..end - 1 - at]);
                check(&format!("file {number}, {absurd:#x} at byte {at}"), file.len(), &|| open(&input));
            }
        }
    }
    let large = large_chunks(&files[0]);
    check("chunks of 2 GiB", large.len(), &|| {
        // Does everything that can be done without reading a record that is as large.
        let depot = Depot::builder(Raw).open_in(memory(&large)).unwrap();
        assert_eq!(depot.info().unwrap().layout.chunk_size, LARGE as usize);
        for record in (0..depot.len()).filter_map(|position| depot.get_at(position).ok()) {
            assert!(record.view() == [0; 9000], "only the chunks of zeros may be as large as they say");
        }
        let depot = Depot::builder(Raw).append_in(memory(&large)).unwrap();
        assert!(depot.remove("frame_2").unwrap());
        depot.close().unwrap();
    });
    let bomb = directory_bomb(&files[1]);
    check("a directory of 256 MiB", bomb.len(), &|| {
        let depot = Depot::builder(Raw).open_in(memory(&bomb)).unwrap();
        assert!(depot.contains("frame_2").unwrap() && !depot.contains("frame_7").unwrap());
    });
    for name in ["no_cross", "contiguous", "start", "zlib", "zlib_split"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/vlstore/{name}.b2frame"));
        let file = std::fs::read(file).unwrap();
        let end = file.len();
        for at in (0..160).chain(end - 600..end).chain((160..end - 600).step_by(if long { 1 } else { 41 })) {
            for absurd in [u64::MAX, 0x7fff_ff00, 1 << 32] {
                let mut input = [&[0], &file[..]].concat();
                let stop = (1 + at + 4).min(input.len());
                let bytes = absurd.swap_bytes().to_le_bytes();
                input[1 + at..stop].copy_from_slice(&bytes[4..4 + stop - 1 - at]);
                check(&format!("{name}, {absurd:#x} at byte {at}"), end, &|| vlstore_import(&input));
            }
        }
    }
    println!("{cases} forged files: at most {most} bytes");
}

fn memory(bytes: &[u8]) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from_bytes(bytes))
}

/// The largest chunk that is a multiple of 1024.
const LARGE: u32 = 0x7fff_fc00;

/// The same file, but every chunk is declared to have 2 GiB.
fn large_chunks(file: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let (small, large) = (4096_u32.to_le_bytes(), LARGE.to_le_bytes());
    let mut searched: Vec<usize> = (100..3072).collect();
    let mut at = 4160;
    while let Some(head) = bytes.get(at..at + 64).filter(|head| head.starts_with(b"\x8bVLD")) {
        let end = at + u64::from_le_bytes(head[40..48].try_into().unwrap()) as usize;
        // The sizes in an index segment are other ones.
        if head[8] != 2 {
            searched.extend(at + 64..end - 4);
        }
        at = end;
    }
    let places: Vec<usize> = searched.into_iter().filter(|&at| bytes[at..at + 4] == small).collect();
    for at in places {
        bytes[at..at + 4].copy_from_slice(&large);
    }
    forge(&mut bytes);
    bytes
}

/// The same file, but the directory of its last chunk is replaced by 32 bytes that stand for 256 MiB of
/// zeros.
fn directory_bomb(file: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let (mut at, mut last) = (4160, 0);
    while let Some(head) = bytes.get(at..at + 64).filter(|head| head.starts_with(b"\x8bVLD")) {
        if head[8] == 1 {
            last = at;
        }
        at += u64::from_le_bytes(head[40..48].try_into().unwrap()) as usize;
    }
    let raw: u32 = 256 << 20;
    let mut zeros = [0; 32];
    zeros[..4].copy_from_slice(&[5, 1, 0x05, 1]);
    zeros[4..8].copy_from_slice(&raw.to_le_bytes());
    zeros[8..12].copy_from_slice(&raw.to_le_bytes());
    zeros[12..16].copy_from_slice(&32_u32.to_le_bytes());
    zeros[31] = 0x10;
    bytes[last + 64..last + 68].copy_from_slice(&32_u32.to_le_bytes());
    bytes[last + 68..last + 72].copy_from_slice(&raw.to_le_bytes());
    bytes[last + 128..last + 160].copy_from_slice(&zeros);
    forge(&mut bytes);
    bytes
}
