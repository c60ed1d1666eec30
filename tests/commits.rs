//! A commit of one record costs about what the record holds.

use std::fs;
use std::path::Path;

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

/// Bytes by which the file grows with each of `n` commits of one record.
fn growth(path: &Path, layout: Layout, n_atoms: u32, n: u32) -> f64 {
    let depot = Depot::builder(Raw).layout(layout).create(path).unwrap();
    let before = fs::metadata(path).unwrap().len();
    for number in 0..n {
        depot.put(format!("frame-{number:06}"), &frame(n_atoms, number)).unwrap();
        depot.commit().unwrap();
    }
    let grown = (fs::metadata(path).unwrap().len() - before) as f64 / f64::from(n);
    for number in 0..n {
        assert_eq!(depot.get(format!("frame-{number:06}")).unwrap().view(), frame(n_atoms, number));
    }
    depot.close().unwrap();
    let reader = Depot::open(path, Raw).unwrap();
    for number in (0..n).step_by(7) {
        assert_eq!(reader.get(format!("frame-{number:06}")).unwrap().view(), frame(n_atoms, number));
    }
    grown
}

#[test]
fn a_commit_of_a_small_frame_grows_the_file_by_little_more_than_the_frame() {
    let folder = tempfile::tempdir().unwrap();
    for preset in Layout::PRESETS {
        let path = folder.path().join(preset);
        let grown = growth(&path, preset.parse().unwrap(), 100, 1000);
        assert!(grown < 2500.0, "{preset}: {grown} bytes for a frame of 1200");
    }
}
