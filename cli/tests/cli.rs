//! The built command on depots that the library made: what it prints, and how it exits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use vldepot::codecs::{
    AnyArray, AnyNdArray, AtomicFrame, AtomicFrameCodec, Json, Precision, Serde, Topology,
};
use vldepot::{Depot, Layout, Raw};

fn vldepot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

/// Runs the command, and panics unless it exits with `code`.
fn exits(code: i32, args: &[&str]) -> Output {
    let output = vldepot(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "vldepot {args:?}: {stderr}");
    assert_eq!(code == 0, stderr.is_empty(), "vldepot {args:?}: {stderr}");
    output
}

fn stdout(args: &[&str]) -> String {
    String::from_utf8(exits(0, args).stdout).unwrap()
}

fn stderr(code: i32, args: &[&str]) -> String {
    String::from_utf8(exits(code, args).stderr).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Makes a depot with names of every kind and bytes of every value.
fn mixed(path: &Path) -> Vec<u8> {
    let depot = Depot::create(path, Raw).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
    depot.put("frames/a", b"alpha").unwrap();
    depot.put_with_metadata("frames/b", &bytes, &serde_json::json!({"temperature": 300})).unwrap();
    depot.put(7, b"seven").unwrap();
    depot.put(-7, b"minus seven").unwrap();
    depot.put("two\nlines", b"newline").unwrap();
    depot.put(b"\x00\xff", b"byte string").unwrap();
    depot.put("8", b"a string").unwrap();
    depot.put("", b"no name").unwrap();
    depot.set_depot_metadata("title", "a test").unwrap();
    depot.close().unwrap();
    bytes
}

/// Bytes that do not compress, so that a chunk is about as long as its records.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    // SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..len).map(|_| next().to_le_bytes()[0]).collect()
}

#[test]
fn info_is_a_table_or_the_whole_truth_in_json() {
    let place = Place::new();
    let file = place.file("mixed.vld");
    mixed(&file);
    let table = stdout(&["info", text(&file)]);
    for expected in [
        "mixed.vld",
        "raw, version 1",
        "zstd level 1",
        "4 MiB",
        "records         8",
        "UTC",
        "title = \"a test\"",
    ] {
        assert!(table.contains(expected), "{expected} in\n{table}");
    }
    let info = json(&stdout(&["info", "--json", text(&file)]));
    assert_eq!(info["records"], 8);
    assert_eq!(info["codec"]["id"], "raw");
    assert_eq!(info["metadata"]["title"], "a test");
    assert_eq!(info["file_bytes"], fs::metadata(&file).unwrap().len());
}

#[test]
fn list_shows_names_of_every_kind_in_order_without_ambiguity() {
    let place = Place::new();
    let file = place.file("mixed.vld");
    mixed(&file);
    assert_eq!(
        stdout(&["list", text(&file)]),
        "frames/a\nframes/b\n7\n-7\n\"two\\nlines\"\nb\"\\x00\\xff\"\n\"8\"\n\"\"\n"
    );
    assert_eq!(
        exits(0, &["list", "-0", text(&file)]).stdout,
        b"frames/a\0frames/b\x007\0-7\0two\nlines\0\x00\xff\x008\0\0"
    );
    assert_eq!(stdout(&["list", text(&file), "f*a"]), "frames/a\n");
    assert_eq!(stdout(&["list", text(&file), "*b", "--prefix", "frames/"]), "frames/b\n");
    assert_eq!(stdout(&["list", text(&file), "--prefix", "frames/"]), "frames/a\nframes/b\n");
    assert_eq!(stdout(&["list", text(&file), "--prefix", "none"]), "");
}

#[test]
fn list_tells_where_records_lie() {
    let place = Place::new();
    let file = place.file("mixed.vld");
    mixed(&file);
    let lines: Vec<Value> = stdout(&["list", "--json", text(&file)]).lines().map(json).collect();
    let depot = Depot::open(&file, Raw).unwrap();
    let at = depot.location("frames/b").unwrap();
    assert_eq!(lines.len(), 8);
    assert_eq!(lines[1]["name"], "frames/b");
    assert_eq!(lines[1]["type"], "str");
    assert_eq!(lines[1]["length"], 1000);
    assert_eq!(lines[1]["offset"], at.offset);
    assert_eq!(lines[1]["checksum"], at.checksum.unwrap());
    assert_eq!(lines[1]["metadata"]["temperature"], 300);
    assert_eq!(lines[0].get("metadata"), None);
    assert_eq!((&lines[3]["name"], &lines[3]["type"]), (&json("-7"), &json("\"int\"")));
    assert_eq!((&lines[5]["name"], &lines[5]["type"]), (&json("\"00ff\""), &json("\"bytes\"")));

    let long = stdout(&["list", "--long", text(&file)]);
    let row: Vec<_> = long.lines().nth(2).unwrap().split_whitespace().collect();
    let crc = format!("{:08x}", at.checksum.unwrap());
    assert_eq!(row, ["1000", "0", &at.offset.to_string(), &crc, "frames/b"]);
}

#[test]
fn cat_gives_back_every_byte() {
    let place = Place::new();
    let file = place.file("mixed.vld");
    let bytes = mixed(&file);
    let file = text(&file);
    assert_eq!(exits(0, &["cat", file, "frames/b"]).stdout, bytes);
    assert_eq!(stdout(&["cat", file, "two\nlines"]), "newline");
    assert_eq!(stdout(&["cat", file, ""]), "no name");
    assert_eq!(stdout(&["cat", file, "7", "--type", "int"]), "seven");
    assert_eq!(stdout(&["cat", file, "-7", "--type", "int"]), "minus seven");
    assert_eq!(stdout(&["cat", file, "8"]), "a string");
    assert_eq!(stdout(&["cat", file, "00fF", "--type", "bytes"]), "byte string");
}

#[test]
fn what_is_not_there_exits_3_and_hints_at_what_is() {
    let place = Place::new();
    let file = place.file("mixed.vld");
    mixed(&file);
    let file = text(&file);
    assert!(stderr(3, &["cat", file, "nothing"]).contains("no record is called \"nothing\"\n"));
    assert!(stderr(3, &["cat", file, "7"]).contains("there is an integer record 7: use --type int"));
    assert!(
        stderr(3, &["cat", file, "8", "--type", "int"]).contains("a string record \"8\": use --type str")
    );
    let missing = place.file("missing.vld");
    for verb in [&["info", text(&missing)][..], &["list", text(&missing)], &["cat", text(&missing), "a"]] {
        assert!(stderr(3, verb).starts_with("vldepot: "));
    }
    let error = json(&stderr(3, &["cat", "--json", file, "7"]));
    assert_eq!(error["exit"], 3);
    assert!(error["error"].as_str().unwrap().contains("--type int"));
}

#[test]
fn usage_exits_2() {
    let place = Place::new();
    let file = place.file("mixed.vld");
    mixed(&file);
    let file = text(&file);
    for args in [
        &[][..],
        &["nonsense"],
        &["info"],
        &["cat", file],
        &["list", file, "--what"],
        &["list", file, "--long", "--json"],
        &["list", file, "[a"],
        &["cat", file, "x", "--type", "int"],
        &["cat", file, "99999999999999999999999", "--type", "int"],
        &["cat", file, "0", "--type", "bytes"],
        &["cat", file, "8", "--all"],
        &["cat", file, "8", "--decoded", "--codec", "nonsense"],
    ] {
        exits(2, args);
    }
    assert!(stderr(2, &["info"]).starts_with("vldepot: the following required"));
    let error = json(&stderr(2, &["list", "--json"]));
    assert_eq!(error["error"], "the following required arguments were not provided: <FILE>");
    assert_eq!(error["exit"], 2);
    assert!(stdout(&["--version"]).starts_with("vldepot 0."));
    assert!(stdout(&["--help"]).contains("Exit codes"));
}

#[test]
fn a_file_that_is_no_depot_exits_4() {
    let place = Place::new();
    let file = place.file("poem.txt");
    fs::write(&file, "A depot is a house for things.\n".repeat(100)).unwrap();
    assert!(stderr(4, &["info", text(&file)]).contains("not a depot"));
    assert_eq!(json(&stderr(4, &["list", "--json", text(&file)]))["exit"], 4);
    fs::write(&file, "").unwrap();
    stderr(4, &["info", text(&file)]);
    stderr(4, &["info", text(place.0.path())]);
}

#[test]
fn a_file_that_uses_what_is_not_read_exits_4_and_names_it() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/vlstore/delta.b2frame");
    for verb in [&["info"][..], &["list"], &["verify"], &["verify", "--quick"], &["cat", "--json"]] {
        let mut args = verb.to_vec();
        args.push(text(&file));
        args.extend((verb[0] == "cat").then_some("frame/1"));
        let error = stderr(4, &args);
        assert!(error.contains("Blosc2 filter DELTA") && !error.contains("repair"), "{error}");
    }
}

#[test]
fn a_damaged_chunk_exits_1_and_takes_no_other_record_along() {
    let place = Place::new();
    let file = place.file("noise.vld");
    let options = Layout::default().with_chunk_size(64 << 10).with_block_size(16 << 10);
    let depot = Depot::builder(Raw).layout(options).create(&file).unwrap();
    // Each record fills most of a chunk, so that no two share one.
    let records: Vec<_> = (0..4).map(|i| noise(i, 50_000)).collect();
    for (i, record) in records.iter().enumerate() {
        depot.put(format!("r{i}"), record).unwrap();
    }
    depot.close().unwrap();
    let start = Depot::open(&file, Raw).unwrap().location("r2").unwrap().file_offset.unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[usize::try_from(start).unwrap() + 25_000] ^= 1;
    fs::write(&file, bytes).unwrap();

    let file = text(&file);
    let error = stderr(1, &["cat", file, "r2"]);
    assert!(error.contains("r2") && error.contains("chunk 2"), "{error}");
    let error = json(&stderr(1, &["cat", "--json", file, "r2"]));
    assert_eq!(error["exit"], 1);
    for i in [0, 1, 3] {
        assert_eq!(exits(0, &["cat", file, &format!("r{i}")]).stdout, records[i]);
    }
    // Names and places are not in the damaged chunks.
    assert_eq!(stdout(&["list", file]), "r0\nr1\nr2\nr3\n");
    assert_eq!(json(&stdout(&["info", "--json", file]))["records"], 4);
}

#[test]
fn frames_are_shown_with_their_units() {
    let place = Place::new();
    let file = place.file("frames.vld");
    let depot = Depot::create(&file, AtomicFrameCodec::default()).unwrap();
    let positions: Vec<[f32; 3]> = (0_u8..20).map(|i| [f32::from(i), 0.5, -1.25]).collect();
    let frame = AtomicFrame::new()
        .positions(&positions)
        .velocities(vec![[f32::NAN, 1e30, 0.0]; 20])
        .cell([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
        .pbc([true, true, false])
        .step(1000)
        .time(2.0)
        .energy(-12.5)
        .per_atom("tag", vec![1_u8; 20]);
    depot.put("frame", &frame).unwrap();
    let topology = Topology::new().names(["O", "H", "H"]).bonds(vec![[0_u32, 1], [0, 2]]);
    depot.put("topology", &AtomicFrame::new().n_atoms(3).topology(topology)).unwrap();
    depot.close().unwrap();
    let file = text(&file);

    let shown = stdout(&["cat", "--decoded", file, "frame"]);
    for expected in [
        "n_atoms     20\n",
        "step        1000\n",
        "time        2.0 ps\n",
        "energy      -12.5 kJ/mol\n",
        "cell        float64 [3, 3] nm\n",
        "positions   float32 [20, 3] nm\n",
        "velocities  float32 [20, 3] nm/ps\n",
        "... 14 more rows: --all prints them\n",
        "tag         uint8 [20] per atom\n",
    ] {
        assert!(shown.contains(expected), "{expected} in\n{shown}");
    }
    let all = stdout(&["cat", "--decoded", "--all", file, "frame"]);
    assert!(all.contains("[19]") && !all.contains("..."), "{all}");
    let object = json(&stdout(&["cat", "--decoded", "--json", file, "frame"]));
    assert_eq!(object["n_atoms"], 20);
    assert_eq!(object["energy"], -12.5);
    assert_eq!(object["positions"]["values"][19], json("[19.0, 0.5, -1.25]"));
    assert_eq!(object["velocities"]["values"][0], json("[null, 1e30, 0.0]"));
    assert_eq!(object["arrays"]["tag"]["dtype"], "uint8");

    let shown = stdout(&["cat", "--decoded", file, "topology"]);
    assert!(shown.contains("topology.names  [3]  O H H\n"), "{shown}");
    let object = json(&stdout(&["cat", "--decoded", "--json", file, "topology"]));
    assert_eq!(object["topology"]["bonds"]["values"], json("[[0, 1], [0, 2]]"));
}

#[test]
fn damaged_depot_metadata_cost_no_record() {
    let place = Place::new();
    let file = place.file("mixed.vld");
    mixed(&file);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(6).position(|window| window == b"a test").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let file = text(&file);
    exits(1, &["info", file]);
    assert_eq!(stdout(&["cat", file, "8"]), "a string");
    assert!(stdout(&["cat", "--decoded", file, "8"]).ends_with("a string\n"));
    assert!(stdout(&["cat", "--decoded", "--codec", "raw", file, "8"]).ends_with("a string\n"));
}

#[test]
fn frames_of_any_precision_are_shown() {
    let place = Place::new();
    for (name, precision) in
        [("float64", Precision::F64), ("float16", Precision::F16), ("bfloat16", Precision::BF16)]
    {
        let file = place.file(name);
        let depot = Depot::create(&file, AtomicFrameCodec::default().with_precision(precision)).unwrap();
        depot.put("f", &AtomicFrame::new().positions(vec![[0.5_f64, 1.5, -2.0]; 2])).unwrap();
        depot.close().unwrap();
        let object = json(&stdout(&["cat", "--decoded", "--json", text(&file), "f"]));
        assert_eq!(object["positions"]["dtype"], name);
        assert_eq!(object["positions"]["values"][1], json("[0.5, 1.5, -2.0]"));
        assert!(stdout(&["cat", "--decoded", text(&file), "f"]).contains(name));
    }
}

#[test]
fn arrays_are_shown_row_by_row() {
    let place = Place::new();
    let file = place.file("arrays.vld");
    let depot = Depot::create(&file, AnyNdArray).unwrap();
    depot.put("matrix", &AnyArray::from(vec![[1_i64, -2], [3, 4]])).unwrap();
    depot.put("vector", &AnyArray::from((0_u16..100).collect::<Vec<_>>())).unwrap();
    depot.put("empty", &AnyArray::from(Vec::<f64>::new())).unwrap();
    depot.close().unwrap();
    let file = text(&file);
    assert_eq!(stdout(&["cat", "--decoded", file, "matrix"]), "int64 [2, 2]\n[0]   1  -2\n[1]   3   4\n");
    assert_eq!(stdout(&["cat", "--decoded", file, "empty"]), "float64 [0]\n");
    let vector = stdout(&["cat", "--decoded", file, "vector"]);
    assert!(
        vector.contains("[40]  40  41") && vector.ends_with("... 52 more numbers: --all prints them\n"),
        "{vector}"
    );
    assert!(stdout(&["cat", "--decoded", "--all", file, "vector"]).ends_with("[96]  96  97  98  99\n"));
    let object = json(&stdout(&["cat", "--decoded", "--json", file, "matrix"]));
    assert_eq!(object, json(r#"{"dtype": "int64", "shape": [2, 2], "values": [[1, -2], [3, 4]]}"#));
    let object = json(&stdout(&["cat", "--decoded", "--json", file, "empty"]));
    assert_eq!(object["values"], json("[]"));
}

#[test]
fn serde_values_are_shown_as_json_in_their_own_order() {
    type Values = (String, Vec<(u8, bool)>, std::collections::BTreeMap<i32, Option<f64>>);
    let place = Place::new();
    let value: Values = ("z\u{9b}".into(), vec![(1, true)], [(-1, Some(0.5)), (2, None)].into());
    let file = place.file("msgpack.vld");
    let depot = Depot::create(&file, Serde::<Values>::new()).unwrap();
    depot.put("v", &value).unwrap();
    depot.close().unwrap();
    let expected = json(r#"["z\u009b", [[1, true]], {"-1": 0.5, "2": null}]"#);
    let pretty = stdout(&["cat", "--decoded", text(&file), "v"]);
    assert!(pretty.contains("\n  \"z\\u009b\",\n"), "{pretty}");
    assert_eq!(json(&pretty), expected);
    assert_eq!(json(&stdout(&["cat", "--decoded", "--json", text(&file), "v"])), expected);

    let file = place.file("json.vld");
    let depot = Depot::create(&file, Json::<Value>::new()).unwrap();
    depot.put("v", &expected).unwrap();
    depot.put_encoded("order", br#"{"z": 1, "a": 2}"#).unwrap();
    depot.close().unwrap();
    assert_eq!(json(&stdout(&["cat", "--decoded", text(&file), "v"])), expected);
    assert_eq!(stdout(&["cat", "--decoded", "--json", text(&file), "order"]), "{\"z\":1,\"a\":2}\n");
}

#[test]
fn bytes_are_dumped_like_xxd() {
    let place = Place::new();
    let file = place.file("mixed.vld");
    mixed(&file);
    let file = text(&file);
    assert_eq!(
        stdout(&["cat", "--decoded", file, "frames/a"]),
        "00000000: 616c 7068 61                             alpha\n"
    );
    let dump = stdout(&["cat", "--decoded", file, "frames/b"]);
    assert!(
        dump.starts_with("00000000: 0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ................\n"),
        "{dump}"
    );
    assert!(dump.ends_with("... 744 more bytes: --all prints them\n"), "{dump}");
    assert_eq!(stdout(&["cat", "--decoded", "--all", file, "frames/b"]).lines().count(), 63);
    // The bytes are no frame, but they are not damaged.
    assert!(
        stderr(4, &["cat", "-d", "--codec", "atomic_frame", file, "frames/a"])
            .contains("frames/a is not what")
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let place = Place::new();
    let file = place.file("many.vld");
    let depot = Depot::create(&file, Raw).unwrap();
    for i in 0..50_000 {
        depot.put(format!("a rather long name of record {i}"), b"").unwrap();
    }
    depot.close().unwrap();
    for args in [&["list", text(&file)][..], &["list", "--json", text(&file)]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
    }
}

/// A depot of noise. Its chunks are longer than everything around them.
fn noisy(path: &Path) {
    let options = Layout::default().with_chunk_size(1 << 16);
    let depot = Depot::builder(Raw).layout(options).create(path).unwrap();
    let mut state = 1u32;
    for n in 0..100 {
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let bytes: Vec<u8> = (0..3000).map(|_| byte()).collect();
        depot.put(format!("frame_{n:03}"), &bytes).unwrap();
    }
    depot.close().unwrap();
}

#[test]
fn verify_names_what_is_damaged_and_repair_saves_the_rest() {
    let place = Place::new();
    let (file, new) = (place.file("run.vld"), place.file("new.vld"));
    noisy(&file);
    let whole = stdout(&["verify", text(&file)]);
    assert!(whole.starts_with("whole: 100 of 100 records read (293 KiB); 5 chunks, "), "{whole}");
    let quick = stdout(&["verify", "--quick", text(&file)]);
    assert!(quick.contains("data of 100 records were NOT read"), "{quick}");
    let report = json(&stdout(&["verify", "--json", text(&file)]));
    assert_eq!((&report["whole"], &report["records_read"]), (&true.into(), &100.into()));

    let mut bytes = fs::read(&file).unwrap();
    bytes[150_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let output = exits(1, &["verify", text(&file)]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("record frame_0") && told.contains("expected CRC32C") && told.contains("DAMAGED: "),
        "{told}"
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("vldepot repair"));
    exits(0, &["verify", "--quick", text(&file)]);
    let output = exits(1, &["verify", "--json", text(&file)]);
    let report = json(&String::from_utf8(output.stdout).unwrap());
    let damaged = report["damaged_records"].as_array().unwrap();
    assert!(!damaged.is_empty() && damaged[0]["type"] == "str" && damaged[0]["error"].is_string());
    assert_eq!(report["records_read"], 100 - damaged.len());

    let output = exits(1, &["repair", text(&file), text(&new), "--json"]);
    let repaired = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(repaired["lost"].as_array().unwrap().len(), damaged.len());
    assert_eq!(repaired["records"], 100 - damaged.len());
    stdout(&["verify", text(&new)]);
    assert!(fs::read(&file).unwrap() == bytes, "the damaged file is as it was");
    assert!(stderr(4, &["repair", text(&file), text(&new)]).contains("exists"));
}

#[test]
fn truncate_goes_back_and_compact_gives_the_room_back() {
    let place = Place::new();
    let file = place.file("run.vld");
    noisy(&file);
    assert!(stderr(3, &["truncate", text(&file), "--after", "frame_9"]).contains("no record"));
    assert!(stderr(2, &["truncate", text(&file)]).contains("--after"));
    let told = stdout(&["truncate", text(&file), "--after", "frame_019"]);
    assert!(told.contains("80 records removed, 20 kept"), "{told}");
    let before = fs::metadata(&file).unwrap().len();
    let told = json(&stdout(&["compact", text(&file), "--json"]));
    assert_eq!((&told["records"], &told["bytes_before"]), (&20.into(), &before.into()));
    assert!(fs::metadata(&file).unwrap().len() < before / 4);
    stdout(&["verify", text(&file)]);

    let frames = place.file("frames.vld");
    let depot = Depot::create(&frames, AtomicFrameCodec::default()).unwrap();
    for step in 0..10_i64 {
        depot.put(step, &AtomicFrame::new().positions(vec![[0.0_f32; 3]; 2]).step(step * 100)).unwrap();
    }
    depot.close().unwrap();
    let told = stdout(&["truncate", text(&frames), "--after-step", "450"]);
    assert!(told.contains("5 records removed, 5 kept"), "{told}");
    let told = stdout(&["truncate", text(&frames), "--after", "3", "--type", "int"]);
    assert!(told.contains("1 record removed, 4 kept"), "{told}");
}

/// Ten frames, of steps 0 to 900, and then a record without a step.
fn frames_and_a_topology(path: &Path) {
    let depot = Depot::create(path, AtomicFrameCodec::default()).unwrap();
    for step in 0..10_i64 {
        let frame = AtomicFrame::new().positions(vec![[0.0_f32; 3]; 2]).step(step * 100);
        depot.put(format!("frame_{step}"), &frame).unwrap();
    }
    depot.put("cell", &AtomicFrame::new().cell([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])).unwrap();
    depot.close().unwrap();
}

#[test]
fn truncate_removes_everything_only_when_told_to_and_nothing_in_a_dry_run() {
    let place = Place::new();
    let file = place.file("run.vld");
    frames_and_a_topology(&file);
    let bytes = fs::read(&file).unwrap();
    let error = stderr(2, &["truncate", text(&file), "--after-step", "-5"]);
    assert!(error.contains("all 10 frames would be removed") && error.contains("--all"), "{error}");
    let told = stdout(&["truncate", text(&file), "--after-step", "-5", "--dry-run"]);
    assert!(told.contains("10 records would be removed, 1 kept: frame_0 to frame_9"), "{told}");
    assert!(told.contains("that is everything, and takes --all"), "{told}");
    let told = stdout(&["truncate", text(&file), "--after-step", "500", "--dry-run", "--json"]);
    let name = |name: &str| serde_json::json!({ "name": name, "type": "str" });
    let expected = serde_json::json!({
        "removed": 4, "kept": 7, "first": name("frame_6"), "last": name("frame_9"), "everything": false, "dry_run": true
    });
    assert_eq!(json(&told), expected);
    let told = stdout(&["truncate", text(&file), "--after", "frame_8", "--dry-run"]);
    assert!(told.contains("2 records would be removed, 9 kept: frame_9 to cell"), "{told}");
    let told = stdout(&["truncate", text(&file), "--after-step", "5000"]);
    assert!(told.contains("nothing to remove: no frame is after step 5000; 11 kept"), "{told}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let told = stdout(&["truncate", text(&file), "--after-step", "-5", "--all"]);
    assert!(told.contains("10 records removed, 1 kept"), "{told}");
}

#[test]
fn truncate_goes_past_a_record_without_a_step_and_is_taken_back() {
    let place = Place::new();
    let file = place.file("run.vld");
    frames_and_a_topology(&file);
    let before = stdout(&["list", text(&file), "--long"]);
    let told = stdout(&["truncate", text(&file), "--after-step", "500"]);
    assert!(told.contains("4 records removed, 7 kept: frame_6 to frame_9"), "{told}");
    assert!(stdout(&["list", text(&file)]).ends_with("frame_5\ncell\n"));
    let told = stdout(&["compact", text(&file), "--dry-run"]);
    assert!(told.contains("4 records would be removed for good, 7 kept: frame_6 to frame_9"), "{told}");
    let told = stdout(&["truncate", text(&file), "--undo"]);
    assert!(told.contains("4 records brought back, 11 in all"), "{told}");
    assert_eq!(stdout(&["list", text(&file), "--long"]), before);
    stdout(&["verify", text(&file)]);
    assert!(stderr(4, &["truncate", text(&file), "--undo"]).contains("taken back since"));
    let told = stdout(&["compact", text(&file), "--dry-run"]);
    assert!(told.contains("no record was removed or replaced; 11 kept"), "{told}");
    stdout(&["truncate", text(&file), "--after", "frame_3"]);
    stdout(&["compact", text(&file)]);
    let removal = json(&stdout(&["compact", text(&file), "--dry-run", "--json"]));
    assert_eq!((&removal["removed"], &removal["kept"]), (&0.into(), &4.into()));
    assert!(stderr(4, &["truncate", text(&file), "--undo"]).contains("compacted"));
    stderr(2, &["truncate", text(&file), "--undo", "--after", "frame_1"]);
    stderr(2, &["truncate", text(&file), "--undo", "--dry-run"]);
}

#[test]
fn truncate_refuses_a_restart_after_a_gap_with_both_steps() {
    let place = Place::new();
    let file = place.file("run.vld");
    frames_and_a_topology(&file);
    let bytes = fs::read(&file).unwrap();
    for more in [&[][..], &["--dry-run"]] {
        let args = ["truncate", text(&file), "--after-step", "1250", "--newest", "1200"];
        let error = stderr(4, &[&args, more].concat());
        assert!(
            error.contains("step 1200") && error.contains("step 900") && error.contains("missing"),
            "{error}"
        );
    }
    stderr(2, &["truncate", text(&file), "--after-step", "500", "--newest", "600"]);
    stderr(2, &["truncate", text(&file), "--after", "frame_1", "--newest", "100"]);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let told = stdout(&["truncate", text(&file), "--after-step", "550", "--newest", "500"]);
    assert!(told.contains("4 records removed, 7 kept"), "{told}");
}

/// Runs the command in a shell. `before` comes first, for example to set a limit. `after` is added to
/// the command's line.
#[cfg(unix)]
fn by_shell(before: &str, args: &[&str], after: &str) -> Output {
    let script = format!("{before} exec \"$0\" \"$@\" {after}");
    let program = env!("CARGO_BIN_EXE_vldepot");
    Command::new("sh").args(["-c", &script, program]).args(args).output().unwrap()
}

#[cfg(unix)]
fn fails(output: &Output, code: i32, why: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{:?}: {stderr}", output.status);
    assert!(stderr.contains(why), "{stderr}");
}

#[test]
#[cfg(unix)]
fn an_output_that_takes_nothing_exits_4() {
    let place = Place::new();
    let file = place.file("mixed.vld");
    mixed(&file);
    let file = text(&file);
    let calls: [&[&str]; 7] = [
        &["info", file],
        &["info", "--json", file],
        &["list", file],
        &["cat", file, "frames/b"],
        &["verify", file],
        &["--help"],
        &["--version"],
    ];
    for args in calls {
        for closed in [">&-", "1</dev/null"] {
            fails(&by_shell("", args, closed), 4, "cannot write the output: Bad file descriptor");
        }
        if Path::new("/dev/full").exists() {
            fails(&by_shell("", args, ">/dev/full"), 4, "cannot write the output: No space left");
        }
        // There was nothing to print, or the output was thrown away.
        assert!(by_shell("", args, ">/dev/null").status.success());
    }
    let empty = place.file("empty.vld");
    let depot = Depot::create(&empty, Raw).unwrap();
    depot.close().unwrap();
    assert!(by_shell("", &["list", text(&empty)], ">&-").status.success(), "there is nothing to write");
}

#[test]
#[cfg(unix)]
fn a_limit_on_the_size_of_files_exits_4_and_leaves_the_depot() {
    let place = Place::new();
    let file = place.file("noisy.vld");
    noisy(&file);
    let before = fs::read(&file).unwrap();
    let new = place.file("new.vld");
    for args in [&["repair", text(&file), text(&new)][..], &["compact", text(&file)]] {
        fails(&by_shell("ulimit -f 16;", args, ""), 4, "File too large");
        assert!(fs::read(&file).unwrap() == before, "{args:?}");
        assert!(!new.exists());
    }
}

#[test]
#[cfg(unix)]
fn what_is_no_regular_file_exits_4_at_once() {
    let place = Place::new();
    let pipe = place.file("pipe.vld");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let socket = place.file("socket.vld");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let new = place.file("new.vld");
    for (path, kind) in [
        (text(&pipe), "it is a pipe, not a regular file"),
        (text(&socket), "it is a socket, not a regular file"),
        ("/dev/null", "it is a device, not a regular file"),
        ("/dev/zero", "it is a device, not a regular file"),
        (text(place.0.path()), "it is a folder"),
    ] {
        let calls: [&[&str]; 7] = [
            &["info", path],
            &["list", path],
            &["cat", path, "a"],
            &["verify", path],
            &["repair", path, text(&new)],
            &["compact", path],
            &["truncate", path, "--after", "a"],
        ];
        for args in calls {
            fails(&vldepot(args), 4, kind);
        }
    }
}

#[test]
#[cfg(unix)]
fn names_of_files_do_not_drive_the_terminal() {
    let place = Place::new();
    let odd = "a\u{1b}[31m\r\u{7f}\u{9b}2J\u{202e}\nvldepot: all is well";
    let missing = place.file(&format!("{odd}.none"));
    let junk = place.file(&format!("{odd}.junk"));
    fs::write(&junk, "nothing of use").unwrap();
    let damaged = place.file(&format!("{odd}.damaged"));
    noisy(&damaged);
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let whole = place.file(&format!("{odd}.vld"));
    mixed(&whole);
    let new = place.file(&format!("{odd}.new"));
    for file in [&missing, &junk, &damaged, &whole] {
        let file = text(file);
        let calls: [&[&str]; 8] = [
            &["info", file],
            &["list", file],
            &["cat", file, odd],
            &["verify", file],
            &["repair", file, text(&new)],
            &["compact", file],
            &["truncate", file, "--after", "frames/a"],
            &["list", file, odd, odd],
        ];
        for args in calls {
            for json in [&[][..], &["--json"]] {
                let output = vldepot(&[args, json].concat());
                let _ = fs::remove_file(&new);
                for bytes in [output.stdout, output.stderr] {
                    let said = String::from_utf8(bytes).unwrap();
                    let control = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
                    assert!(!said.contains(control), "{args:?} {json:?}: {said:?}");
                    // A usage error names arguments on lines of its own.
                    assert!(
                        args.len() == 4 || !said.contains("\nvldepot: all"),
                        "{args:?} {json:?}: {said:?}"
                    );
                }
            }
        }
    }
    let info = json(&stdout(&["info", "--json", text(&whole)]));
    assert_eq!(info["path"].as_str(), whole.to_str(), "JSON gives the name back as it is");
}
