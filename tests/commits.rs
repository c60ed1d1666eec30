//! A commit of one record costs about what the record holds.

use std::sync::Arc;

use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{Depot, Layout, Raw};

/// Positions of `n_atoms` atoms in a box of 20: 12 bytes each, which hardly compress.
fn frame(n_atoms: u32, number: u32) -> Vec<u8> {
    let mut state = u64::from(number) + 1;
    let mut position = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let fraction = u16::try_from(state >> 48).map_or(0.0, f32::from) / 65_536.0;
        20.0 * (fraction + f32::from(u8::try_from(state >> 20 & 0xff).unwrap_or(0)) / 16_777_216.0)
    };
    (0..3 * n_atoms).flat_map(|_| position().to_le_bytes()).collect()
}

/// Bytes by which a file grows with each of `n` commits of one record, holes included.
fn growth(layout: Layout, n_atoms: u32, n: u32) -> u64 {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let depot = Depot::builder(Raw).layout(layout).create_in(Arc::clone(&storage)).unwrap();
    let before = storage.len().unwrap();
    for number in 0..n {
        depot.put(format!("frame-{number:06}"), &frame(n_atoms, number)).unwrap();
        depot.commit().unwrap();
    }
    let grown = (storage.len().unwrap() - before).div_ceil(n.into());
    for number in (0..n).step_by(3) {
        assert_eq!(depot.get(format!("frame-{number:06}")).unwrap().view(), frame(n_atoms, number));
    }
    depot.close().unwrap();
    let reader = Depot::builder(Raw).open_in(storage).unwrap();
    for (number, item) in (0..n).zip(reader.iter()) {
        assert_eq!(item.unwrap().1.view(), frame(n_atoms, number));
    }
    grown
}

#[test]
fn a_commit_of_a_small_frame_grows_the_file_by_little_more_than_the_frame() {
    for preset in Layout::PRESETS {
        let grown = growth(preset.parse().unwrap(), 100, 1000);
        assert!(grown < 2500, "{preset}: {grown} bytes for a frame of 1200");
    }
}

#[test]
fn a_commit_of_some_bytes_grows_the_file_by_little() {
    for preset in Layout::PRESETS {
        let grown = growth(preset.parse().unwrap(), 5, 200);
        assert!(grown < 1400, "{preset}: {grown} bytes for a record of 60");
    }
}

/// A record of so many bytes that hardly shrinks.
fn noise(len: usize) -> Vec<u8> {
    let mut state = len as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56).to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn commits_of_few_and_of_many_bytes_take_turns() {
    for preset in Layout::PRESETS {
        for chunk_size in [1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 4 << 20] {
            let preset: Layout = preset.parse().unwrap();
            let layout = preset.with_chunk_size(chunk_size).with_block_size(None);
            let depot = Depot::builder(Raw).layout(layout).memory().unwrap();
            let lengths = [10, 1000, 10_000, 100, 20_000, 31_000, 5, 40_000, 3000, 100_000, 1, 9000];
            for (n, len) in (0_u32..).zip(lengths) {
                depot.put(n, &noise(len)).unwrap();
                depot.commit().unwrap();
            }
            for (n, len) in (0_u32..).zip(lengths) {
                assert!(depot.get(n).unwrap().view() == noise(len));
            }
        }
    }
}
