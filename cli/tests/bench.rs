//! `vldepot bench`.

use std::process::{Command, Output};

use serde_json::Value;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::{Depot, Layout, Raw};

fn vldepot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

#[test]
fn a_file_is_measured_and_a_preset_recommended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let file = path.to_str().unwrap();
    let layout = Layout::fast().with_columns(["step"]);
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(&path).unwrap();
    for step in 0..300_i32 {
        depot.put(step, &AtomicFrame::new().n_atoms(3).step(step.into()).energy(0.25)).unwrap();
    }
    depot.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let output = vldepot(&["bench", file, "--seconds", "0.05", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["file"]["records"], 300);
    assert_eq!(report["sample_records"], 300);
    assert_eq!(report["sample_raw_bytes"], report["file"]["raw_bytes"]);
    let presets = report["presets"].as_array().unwrap();
    assert_eq!(presets.len(), Layout::PRESETS.len());
    for (preset, name) in presets.iter().zip(Layout::PRESETS) {
        assert_eq!(preset["preset"], name);
        for figure in ["bytes", "ratio", "write_bytes_per_second", "get_us", "scan_bytes_per_second"] {
            assert!(preset[figure].as_f64().unwrap() > 0.0, "{name}: {figure}");
        }
    }
    assert!(Layout::PRESETS.contains(&report["recommended"].as_str().unwrap()));
    let output = vldepot(&["bench", file, "--seconds", "0"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("recommended: ") && told.contains("balanced"), "{told}");
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn what_cannot_be_measured_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.vld");
    let file = path.to_str().unwrap();
    Depot::create(&path, Raw).unwrap().close().unwrap();
    let output = vldepot(&["bench", file]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no record to measure"));
    assert_eq!(vldepot(&["bench", "none.vld"]).status.code(), Some(3));
    for seconds in ["-1", "nan", "inf", "x"] {
        assert_eq!(
            vldepot(&["bench", file, &format!("--seconds={seconds}")]).status.code(),
            Some(2),
            "{seconds}"
        );
    }
}
