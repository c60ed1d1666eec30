//! The events of the feature `log`.
#![cfg(feature = "log")]

use std::fs;
use std::sync::Mutex;

use vldepot::{Depot, Raw};

static SEEN: Mutex<Vec<(log::Level, String)>> = Mutex::new(Vec::new());

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "vldepot"
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            SEEN.lock().unwrap().push((record.level(), record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

#[test]
fn commits_and_a_torn_end_are_told() {
    log::set_logger(&Collector).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::create(&path, Raw).unwrap();
    depot.put("a", b"1").unwrap();
    depot.commit().unwrap();
    depot.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(&[7; 100]);
    fs::write(&path, bytes).unwrap();
    Depot::append(&path, Raw).unwrap().close().unwrap();
    let seen = SEEN.lock().unwrap();
    let told = |level, text: &str| seen.iter().any(|(l, said)| *l == level && said.contains(text));
    assert!(told(log::Level::Debug, "run.vld: commit 1 of 1 records"), "{seen:?}");
    assert!(told(log::Level::Warn, "cut off 100 bytes of a torn end"), "{seen:?}");
}
