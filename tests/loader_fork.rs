//! A loader survives `fork`: the child continues from the same batch, with its own threads.

#![cfg(unix)]
#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::time::{Duration, Instant};

use vldepot::{Depot, Layout, Loader, Mapping, OpenOptions, Raw};

/// Position and first byte of each record.
fn served(loader: &mut Loader<Raw>, batches: usize) -> Vec<(u64, u8)> {
    let mut out = Vec::new();
    for batch in loader.take(batches) {
        let batch = batch.unwrap();
        out.extend(batch.positions().iter().copied().zip(batch.views().map(|bytes| bytes[0])));
    }
    out
}

/// Runs `job` in a child. Panics if it returns false, or does not end.
fn in_child(job: impl FnOnce() -> bool) {
    // SAFETY: the child only runs `job`, which the loader promises to work there, and leaves without
    // unwinding or running exit handlers.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).unwrap_or(false);
        // SAFETY: ends this process, always.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let start = Instant::now();
    let mut status = 0;
    // SAFETY: a child of ours, and a pointer to an int that lives.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if start.elapsed() > Duration::from_secs(60) {
            // SAFETY: a child of ours that was not waited for yet.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(status, 0, "the child's batches are not those of the parent");
}

#[test]
fn a_forked_child_goes_on_from_the_same_batch_as_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.vld");
    let options = Layout::default().with_chunk_size(1 << 16).with_block_size(1 << 12);
    let depot = Depot::builder(Raw).layout(options).create(&path).unwrap();
    (0..3000_u64).for_each(|n| depot.put(n, &vec![n as u8; 400]).unwrap());
    depot.close().unwrap();
    for mapping in [Mapping::Auto, Mapping::Never] {
        let depot = Depot::builder(Raw)
            .open_options(OpenOptions::default().with_mapping(mapping))
            .open(&path)
            .unwrap();
        let make = || {
            let loader = depot.loader().shuffle(1).window(100_000).batch_size(16).threads(2).prefetch(64);
            loader.build().unwrap()
        };
        let whole = served(&mut make(), usize::MAX);
        assert!(whole.iter().all(|&(position, byte)| byte == position as u8));
        // Before the first batch, in the middle of reading ahead, and at the end.
        for taken in (0..20).chain([187, 188]) {
            let mut loader = make();
            let first = served(&mut loader, taken);
            in_child(|| {
                let mut all = first.clone();
                all.extend(served(&mut loader, usize::MAX));
                all == whole
            });
            // A child drops the loader without using it.
            in_child(|| {
                let unused = std::mem::replace(&mut loader, make());
                drop(unused);
                true
            });
            let mut all = first;
            all.extend(served(&mut loader, usize::MAX));
            assert_eq!(all, whole, "the parent does not notice");
        }
    }
}
