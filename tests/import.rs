//! The importer of `examples/`: what it is to replace stays until the whole trajectory is in the new
//! depot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use molly::XTCWriter;
use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Depot, Raw};

/// The example, built from the current code. `cargo test --test import` alone does not build it.
fn importer() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = std::env::current_exe().unwrap();
        let target = target.parent().and_then(Path::parent).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "import_trajectory", "--manifest-path"]);
        build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        if target.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        target.join("examples").join(format!("import_trajectory{}", std::env::consts::EXE_SUFFIX))
    });
    &BINARY
}

fn import(args: &[&Path]) -> Output {
    Command::new(importer()).arg("--quiet").args(args).output().unwrap()
}

fn trajectory(path: &Path, frames: u32) {
    let mut writer = XTCWriter::create(path).unwrap();
    let mut frame = molly::Frame { precision: 1000.0, ..molly::Frame::default() };
    for step in 0..frames {
        frame.step = step;
        frame.positions = (0..300_u16).map(|i| f32::from(i) * 0.01).collect();
        writer.write_frame(&frame).unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn what_an_import_replaces_stays_until_all_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (input, torn, output) = (path("run.xtc"), path("torn.xtc"), path("run.vld"));
    trajectory(&input, 20);
    let bytes = fs::read(&input).unwrap();
    fs::write(&torn, &bytes[..bytes.len() - 10]).unwrap();

    let out = import(&[&input]);
    assert!(out.status.success(), "{out:?}");
    let n_frames = || Depot::open(&output, AtomicFrameCodec::any()).unwrap().len();
    assert_eq!(n_frames(), 20);

    let old = fs::read(&output).unwrap();
    let force = Path::new("--force");
    let to = Path::new("--output");
    let refused = |args: &[&Path], why: &str| {
        let out = import(args);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && error.contains(why), "{args:?}: {error}");
        assert!(fs::read(&output).unwrap() == old, "{args:?}");
    };
    refused(&[&input], "--force replaces it");
    // The last frame is the missing one.
    refused(&[&torn, to, &output, force], "frame 19");
    refused(&[&path("none.xtc"), to, &output, force], "none.xtc");
    let writer = Depot::append(&output, Raw).unwrap();
    refused(&[&input, force], "locked");
    drop(writer);
    refused(&[&input, to, &input, force], "the trajectory itself");
    refused(&[&input, to, folder.path(), force], "a folder");
    #[cfg(unix)]
    {
        let link = path("link.vld");
        std::os::unix::fs::symlink(&output, &link).unwrap();
        refused(&[&torn, to, &link, force], "frame 19");
        refused(&[&input, to, Path::new("/dev/null"), force], "a device");
        trajectory(&input, 30);
        let out = import(&[&input, to, &link, force]);
        assert!(out.status.success(), "{out:?}");
        assert!(link.is_symlink());
        assert_eq!(n_frames(), 30);
        fs::remove_file(&link).unwrap();
    }
    assert_eq!(names(folder.path()), ["run.vld", "run.xtc", "torn.xtc"]);
}
