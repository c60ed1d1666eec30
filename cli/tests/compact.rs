//! `vldepot compact --preset`. B12 of the list of what users of Barecat need.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use vldepot::codecs::{AnyArray, AnyNdArray, AtomicFrame, AtomicFrameCodec};
use vldepot::maintain::{VerifyOptions, verify};
use vldepot::{Codec, Depot, Layout, Raw};

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

fn is_apart(path: &Path) -> bool {
    let depot = Depot::open(path, Raw).unwrap();
    let key = depot.keys().next().unwrap().unwrap();
    depot.chunk_of(&key).unwrap().unwrap().fields_apart
}

/// A depot with the records apart or not, as `layout` says.
fn depot<'i, C: Codec>(path: &Path, codec: C, layout: &Layout, items: impl IntoIterator<Item = &'i C::Item>)
where
    C::Item: 'i,
{
    let depot = Depot::builder(codec).layout(layout.clone()).create(path).unwrap();
    for (n, item) in (0_u64..).zip(items) {
        depot.put(n, item).unwrap();
    }
    depot.close().unwrap();
}

/// A number from -1 to 1 that follows from nothing near it.
fn noise(n: u32) -> f32 {
    let hash = n.wrapping_mul(2_654_435_761).rotate_left(15).wrapping_mul(2_246_822_519);
    f32::from(u16::try_from(hash >> 16).unwrap()) / 32_768.0 - 1.0
}

fn molecules() -> Vec<AtomicFrame<'static>> {
    let places =
        |n: u32| (0..100).map(|at| [0, 1, 2].map(|axis| noise(300 * n + 3 * at + axis))).collect::<Vec<_>>();
    (0..300).map(|n| AtomicFrame::new().positions(places(n)).energy(-1.5)).collect()
}

/// What `compact`, `subset`, `merge`, `sync` and `bench` make of records whose codec says where their fields
/// lie.
#[test]
fn copies_of_frames_and_arrays_have_their_fields_apart_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let plain = Layout::default().with_fields_apart(false);
    depot(&path("frames.vld"), AtomicFrameCodec::new(), &plain, molecules().iter().map(|frame| &**frame));
    let arrays: Vec<_> = (0..300).map(array).collect();
    depot(&path("arrays.vld"), AnyNdArray, &plain, arrays.iter().map(|array| array as _));
    for name in ["frames.vld", "arrays.vld"] {
        let (one, file) = (path(name), text(name));
        let before = content(&one);
        assert!(!is_apart(&one), "{name}");
        assert_eq!(json(&["info", &file, "--json"])["layout"]["fields_apart"], false);
        for (args, apart) in [
            (&["--preset", "balanced"][..], true),
            (&[], true),
            (&["--no-fields-apart"], false),
            (&[], false),
            (&["--preset", "fast"], true),
            (&["--preset", "fast", "--no-fields-apart"], false),
            (&["--preset", "compact"], false),
            (&["--preset", "balanced"], true),
        ] {
            json(&[&["compact", &file, "--json"], args].concat());
            assert_eq!(is_apart(&one), apart, "{name}: {args:?}");
            let info = vldepot(&["info", &file]);
            let told = format!("fields apart    {}\n", if apart { "yes" } else { "no" });
            assert!(String::from_utf8_lossy(&info.stdout).contains(&told), "{info:?}");
            assert_eq!(json(&["info", &file, "--json"])["layout"]["fields_apart"], apart);
            assert!(content(&one) == before, "{name}: {args:?}");
            assert!(verify(&one, &VerifyOptions::default(), |_| {}).unwrap().is_whole());
        }

        // From plain chunks to chunks with the fields apart, and back.
        json(&["compact", &file, "--no-fields-apart", "--json"]);
        let (few, all) = (text("few.vld"), text("all.vld"));
        json(&["subset", &file, &few, "--preset", "balanced", "--json"]);
        assert!(is_apart(&path("few.vld")) && content(&path("few.vld")) == before);
        json(&["merge", "-o", &all, &file, "--preset", "fast", "--json"]);
        assert!(is_apart(&path("all.vld")));
        json(&["merge", "-o", &all, "--append", "--prefix", "b/", &file, "--json"]);
        let merged = Depot::open(path("all.vld"), Raw).unwrap();
        assert_eq!(merged.len(), 600);
        assert!(merged.chunk_of("b/7").unwrap().unwrap().fields_apart);
        drop(merged);
        json(&["merge", "-o", &all, &few, "--no-fields-apart", "--force", "--json"]);
        assert!(!is_apart(&path("all.vld")) && content(&path("all.vld")) == before);
        let bench = json(&["bench", &file, "--seconds", "0", "--json"]);
        assert!(bench["presets"][0]["bytes"].as_u64().unwrap() > 0);
        for made in [few, all] {
            std::fs::remove_file(made).unwrap();
        }
    }
    let refused = vldepot(&["compact", &text("frames.vld"), "--no-fields-apart", "-n"]);
    assert_eq!(refused.status.code(), Some(2));
}

fn array(n: u32) -> AnyArray<'static> {
    let row = |row: u32| std::array::from_fn::<_, 9, _>(|_| f64::from(noise(40 * n + row)));
    (0..40).map(row).collect::<Vec<_>>().into()
}

#[test]
fn a_depot_of_bytes_names_no_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vld");
    depot(&path, Raw, &Layout::default(), [vec![7; 100_000].as_slice()]);
    let file = path.to_str().unwrap();
    let told = vldepot(&["info", file]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("fields apart    no\n"));
    assert!(!is_apart(&path));
    json(&["compact", file, "--no-fields-apart", "--json"]);
    assert_eq!(json(&["info", file, "--json"])["layout"]["fields_apart"], false);
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
