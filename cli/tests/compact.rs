//! `vldepot compact --preset`. B12 of the list of what users of Barecat need.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use vldepot::maintain::{VerifyOptions, verify};
use vldepot::{Depot, Raw};

fn vldepot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = vldepot(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn content(path: &Path) -> Vec<(String, Vec<u8>, Option<Value>)> {
    let depot = Depot::open(path, Raw).unwrap();
    let of = |entry: vldepot::Result<(vldepot::Key, vldepot::Record<Raw>)>| {
        let (name, record) = entry.unwrap();
        let metadata = depot.metadata(&name).unwrap();
        (name.to_string(), record.as_bytes().to_vec(), metadata)
    };
    depot.iter().map(of).collect()
}

#[test]
fn a_preset_changes_the_compression_and_says_the_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    for n in 0..50_u32 {
        std::fs::write(files.join(n.to_string()), format!("{n} of 50\n").repeat(500)).unwrap();
    }
    let path = folder.path().join("a.vld");
    let file = path.to_str().unwrap();
    let (within, preset) = (folder.path().to_str().unwrap(), "uncompressed");
    json(&["create", file, "-C", within, "files", "--preset", preset, "--json"]);
    let before = content(&path);
    for (preset, codec) in
        [("compact", "zstd"), ("fast", "lz4"), ("balanced", "zstd"), ("uncompressed", "none")]
    {
        let report = json(&["compact", file, "--preset", preset, "--json"]);
        let now = std::fs::metadata(&path).unwrap().len();
        assert_eq!((&report["records"], &report["bytes_after"]), (&51.into(), &now.into()));
        assert!(content(&path) == before, "{preset}");
        let info = json(&["info", file, "--json"]);
        assert_eq!(info["layout"]["compression"]["codec"], codec);
        // Files are not shuffled.
        assert_eq!(info["layout"]["compression"]["filter"], "none");
        assert!(verify(&path, &VerifyOptions::default(), |_| {}).unwrap().is_whole());
    }
    let output = vldepot(&["compact", file, "--preset", "fast"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains(" before, ") && told.contains(" now"), "{told}");

    let refused = vldepot(&["compact", file, "--preset", "best"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("balanced"));
    assert_eq!(vldepot(&["compact", file, "--preset", "fast", "-n"]).status.code(), Some(2));
}
