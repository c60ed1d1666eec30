//! `vldepot report` and `vldepot view`: the pages, as text, and the server. `.ci/run report` opens the same
//! pages in a browser.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use vldepot::archive::Archive;
use vldepot::codecs::{AnyArray, AnyNdArray, AtomicFrame, AtomicFrameCodec, Json, Serde, Topology, Units};
use vldepot::{Depot, Layout, Raw};

/// Text that leaves its place in a page that does not escape it.
const HOSTILE: &str = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">'\"&\u{202e}\n<!--";

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Numbers from 0 to 1 that look like chance.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 33).unwrap()) / f64::from(1_u32 << 31)
    }
}

/// A run of argon on a shaking lattice, with columns, a temperature and a topology.
fn simulation(path: &Path, frames: u32) {
    let layout = Layout::default().with_columns(["step", "time", "energy"]);
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(path).unwrap();
    depot.set_depot_metadata("title", &"Liquid argon").unwrap();
    depot.set_depot_metadata(HOSTILE, &HOSTILE).unwrap();
    let (side, n, edge) = (6_u16, 216, 2.2_f64);
    let topology = Topology::new().masses(vec![39.948_f32; n]);
    depot.put("topology", &AtomicFrame::new().n_atoms(n).topology(topology)).unwrap();
    let mut noise = Noise(7);
    for frame in 0..frames {
        let at = |k: u16| (f64::from(k) + 0.5) * edge / f64::from(side);
        let lattice = (0..side).flat_map(|i| (0..side).flat_map(move |j| (0..side).map(move |k| [i, j, k])));
        #[allow(clippy::cast_possible_truncation)]
        let positions: Vec<[f32; 3]> =
            lattice.map(|p| p.map(|k| (at(k) + 0.06 * (noise.next() - 0.5)) as f32)).collect();
        let time = 0.04 * f64::from(frame);
        let temperature = 88.0 + 12.0 * (-time / 2.0).exp() * (time * 3.0).cos() + noise.next();
        let item = AtomicFrame::new()
            .positions(&positions)
            .step(20 * i64::from(frame))
            .time(time)
            .energy(-1180.0 + 40.0 * (-time).exp() + 6.0 * noise.next())
            .cell([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]])
            .topology_name("topology")
            .per_frame("temperature", AnyArray::from(vec![temperature]));
        depot.put(format!("frame_{frame:06}"), &item).unwrap();
    }
    depot.close().unwrap();
}

type Atoms = &'static [(i32, [f64; 3])];

const MOLECULES: [(&str, Atoms); 4] = [
    ("water", &[(8, [0.0, 0.0, 0.12]), (1, [0.0, 0.76, -0.47]), (1, [0.0, -0.76, -0.47])]),
    (
        "methane",
        &[
            (6, [0.0, 0.0, 0.0]),
            (1, [0.63, 0.63, 0.63]),
            (1, [-0.63, -0.63, 0.63]),
            (1, [-0.63, 0.63, -0.63]),
            (1, [0.63, -0.63, -0.63]),
        ],
    ),
    (
        "ethanol",
        &[
            (6, [1.16, -0.40, 0.0]),
            (6, [0.0, 0.55, 0.0]),
            (8, [-1.19, -0.22, 0.0]),
            (1, [-1.93, 0.38, 0.0]),
            (1, [2.10, 0.14, 0.0]),
            (1, [1.12, -1.04, 0.89]),
            (1, [1.12, -1.04, -0.89]),
            (1, [0.05, 1.19, 0.89]),
            (1, [0.05, 1.19, -0.89]),
        ],
    ),
    (
        "benzene",
        &[
            (6, [1.39, 0.0, 0.0]),
            (6, [0.695, 1.204, 0.0]),
            (6, [-0.695, 1.204, 0.0]),
            (6, [-1.39, 0.0, 0.0]),
            (6, [-0.695, -1.204, 0.0]),
            (6, [0.695, -1.204, 0.0]),
            (1, [2.48, 0.0, 0.0]),
            (1, [1.24, 2.148, 0.0]),
            (1, [-1.24, 2.148, 0.0]),
            (1, [-2.48, 0.0, 0.0]),
            (1, [-1.24, -2.148, 0.0]),
            (1, [1.24, -2.148, 0.0]),
        ],
    ),
];

/// Shaken molecules with forces, in the units of ASE.
fn molecules(path: &Path, n: u32) {
    let codec = AtomicFrameCodec::new().with_units(Units::ase());
    let depot = Depot::create(path, codec).unwrap();
    let mut noise = Noise(3);
    for nth in 0..n {
        let (name, atoms) = MOLECULES[(nth % 4) as usize];
        let mut shaken = |scale: f64| -> Vec<[f32; 3]> {
            #[allow(clippy::cast_possible_truncation)]
            atoms
                .iter()
                .map(|(_, p)| {
                    p.map(|x| (x * 1.0_f64.min(scale * 10.0) + scale * (noise.next() - 0.5)) as f32)
                })
                .collect()
        };
        let (positions, forces) = (shaken(0.12), shaken(0.01));
        let types: Vec<i32> = atoms.iter().map(|(z, _)| *z).collect();
        let energy = -40.0 * f64::from(u32::try_from(atoms.len()).unwrap()) + noise.next();
        let item =
            AtomicFrame::new().name(name).positions(&positions).forces(&forces).types(&types).energy(energy);
        depot.put(format!("{name}_{nth:05}"), &item).unwrap();
    }
    depot.close().unwrap();
}

/// An archive, some of whose names are hostile.
fn archive(path: &Path) {
    let archive = Archive::create(path).unwrap();
    let mut noise = Noise(11);
    for (folder, n, size) in [
        ("images/train/cat", 60, 40_000.0),
        ("images/train/dog", 50, 52_000.0),
        ("images/test", 30, 30_000.0),
        ("labels", 40, 2_000.0),
        ("docs/reference", 12, 9_000.0),
        ("scripts", 9, 6_000.0),
    ] {
        for nth in 0..n {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let bytes: Vec<u8> = (0..(size * (0.2 + noise.next())) as usize)
                .map(|_| (noise.next() * 24.0) as u8 + b'a')
                .collect();
            archive.write(format!("{folder}/{nth:03}.dat"), &bytes).unwrap();
        }
    }
    archive.write("README.md", &[b'#'; 9000]).unwrap();
    archive.write(format!("odd/{}", HOSTILE.replace('/', "|")), &vec![1; 60_000]).unwrap();
    archive.write([&b"odd/\xff\xfe<b>"[..]].concat(), &vec![2; 50_000]).unwrap();
    archive.close().unwrap();
}

fn arrays(path: &Path) {
    let depot = Depot::create(path, AnyNdArray).unwrap();
    let mut noise = Noise(5);
    for nth in 0..400_u32 {
        let values: Vec<f64> = (0..100 + nth % 7 * 150).map(|k| f64::from(k).sin() + noise.next()).collect();
        depot.put(nth, &AnyArray::from(values)).unwrap();
    }
    depot.put(HOSTILE, &AnyArray::from(vec![f64::NAN, f64::INFINITY])).unwrap();
    depot.close().unwrap();
}

fn trees(path: &Path) {
    let depot = Depot::create(path, Json::<Value>::new()).unwrap();
    for nth in 0..300_u32 {
        let value = json!({ "smiles": "CCO".repeat(nth as usize % 5 + 1), "logp": 0.1 * f64::from(nth), "tags": ["a", "b"], HOSTILE: HOSTILE });
        depot.put(format!("mol/{nth}"), &value).unwrap();
    }
    depot.close().unwrap();
}

/// Names of every kind, and bytes that say nothing.
fn bytes(path: &Path) {
    let depot = Depot::create(path, Raw).unwrap();
    depot.put(HOSTILE, HOSTILE.as_bytes()).unwrap();
    depot.put(-7, &vec![0; 100_000]).unwrap();
    depot.put(b"\xff\xfe</script>", &[9; 5]).unwrap();
    depot.put("", b"").unwrap();
    depot.close().unwrap();
}

/// Frames whose names and fields are hostile, and whose numbers are none.
fn hostile_frames(path: &Path) {
    let units = Units {
        energy: HOSTILE.replace('\n', " ").into(),
        length: "<b>sigma</b>".into(),
        ..Units::default()
    };
    let depot = Depot::create(path, AtomicFrameCodec::new().with_units(units)).unwrap();
    for nth in 0..9_u8 {
        let shift = f32::from(nth);
        let positions =
            vec![[0.0, 0.0, shift], [1.0, f32::NAN, 0.0], [f32::INFINITY, 1.0, 0.0], [2.0, 1.0, -shift]];
        let item = AtomicFrame::new()
            .positions(&positions)
            .types(&[-4, 0, 119, i32::MAX])
            .energy(if nth == 4 { f64::NAN } else { f64::from(nth) })
            .per_frame(HOSTILE, AnyArray::from(vec![f64::from(nth)]));
        depot.put(format!("{HOSTILE}{nth}"), &item).unwrap();
    }
    depot.close().unwrap();
}

fn broken(path: &Path) {
    molecules(path, 3000);
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 3;
    bytes[at..at + 40].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(path, bytes).unwrap();
}

/// A name, what makes the depot, and the exit code of its report.
type Made = (&'static str, fn(&Path), i32);

/// The depots whose pages are looked at, and the exit codes of their reports.
const DEPOTS: [Made; 11] = [
    ("simulation", |path| simulation(path, 500), 0),
    ("molecules", |path| molecules(path, 2000), 0),
    ("archive", archive, 0),
    ("arrays", arrays, 0),
    ("json", trees, 0),
    (
        "msgpack",
        |path| {
            let depot = Depot::create(path, Serde::<(u32, String)>::new()).unwrap();
            (0..50_u32).for_each(|n| depot.put(n, &(n, HOSTILE.to_owned())).unwrap());
            depot.close().unwrap();
        },
        0,
    ),
    ("bytes", bytes, 0),
    ("hostile", hostile_frames, 0),
    ("broken", broken, 1),
    ("one", |path| molecules(path, 1), 0),
    ("empty", |path| Depot::create(path, Raw).unwrap().close().unwrap(), 0),
];

/// Writes the page of each depot into a folder, and returns them.
fn pages(folder: &Path) -> Vec<(String, String)> {
    let page = |(name, make, code): Made| {
        let (depot, page) = (folder.join(format!("{name}.vld")), folder.join(format!("{name}.html")));
        make(&depot);
        let output = run(&["report", text(&depot), "-o", text(&page)]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{name}: {stderr}");
        (name.to_owned(), fs::read_to_string(page).unwrap())
    };
    DEPOTS.into_iter().map(page).collect()
}

/// Whether every element that is opened is closed, in the right order. Returns the text of script elements.
fn scripts(page: &str) -> Vec<String> {
    const VOID: [&str; 3] = ["meta", "!doctype", "input"];
    let (mut open, mut scripts, mut rest) = (Vec::<String>::new(), Vec::new(), page);
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = &comment[comment.find("-->").expect("a comment ends") + 3..];
            continue;
        }
        let end = rest.find('>').expect("a tag ends");
        let (tag, after) = (&rest[1..end], &rest[end + 1..]);
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '!'), "<{tag}>");
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "</{name}>");
        } else if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name.to_owned());
            // Nothing is read as a tag there but its own end.
            if name == "script" || name == "style" {
                let end = rest.find(&format!("</{name}")).expect("it ends");
                if name == "script" {
                    scripts.push(rest[..end].to_owned());
                }
                rest = &rest[end..];
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
    scripts
}

#[test]
fn the_page_of_each_codec_is_sound_and_asks_for_nothing() {
    let place = TempDir::new().unwrap();
    // For a browser, which looks at the same pages.
    let folder = std::env::var_os("VLDEPOT_WRITE_PAGES").map_or(place.path().to_owned(), PathBuf::from);
    for (name, page) in pages(&folder) {
        let scripts = scripts(&page);
        assert!(scripts.len() == 2 || scripts.len() == 3, "{name}: {} scripts", scripts.len());
        let data: Value = serde_json::from_str(&scripts[0]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(data.is_object());
        let policy =
            page.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
        let nonce = policy.split("nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(page.matches(&format!("<script nonce=\"{nonce}\"")).count(), scripts.len(), "{name}");
        let own = page.replace(&scripts[scripts.len() - 2], "");
        assert!(!own.contains("<img") && !own.contains("onerror=\""), "{name}");
        assert!(!own.contains("src=\"") && !own.contains("href=\"") && !own.contains("url(http"), "{name}");
        assert!(!page.contains('\u{202e}'), "{name}");
        assert!(!page.contains(">NaN<") && !page.contains("\"NaN\"") && !page.contains("=\"inf"), "{name}");
    }
}

#[test]
fn a_page_says_what_was_looked_at() {
    let place = TempDir::new().unwrap();
    let file = |name: &str| place.path().join(name);
    let page = |depot: &Path, more: &[&str]| {
        let output = run(&[&["report", text(depot), "-o", "-"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    simulation(&file("run.vld"), 300);
    let shown = page(&file("run.vld"), &["--frames", "7"]);
    let data: Value = serde_json::from_str(&scripts(&shown)[0]).unwrap();
    let frames = data["frames"].as_array().unwrap();
    // Without the player, one is drawn.
    let n = if cfg!(feature = "viewer") { 7 } else { 1 };
    assert_eq!((frames.len(), &frames[0]["name"]), (n, &json!("frame_000000")));
    if n > 1 {
        assert_eq!(frames[n - 1]["name"], "frame_000299");
    }
    // Blocks of chunks with the fields apart have raw bytes of their own.
    assert!(shown.contains("<th>fields apart</th><td>yes</td>"));
    assert!(shown.contains(" blocks of at most ") && !shown.contains(" blocks of at most 0 bytes"));
    assert!(!shown.contains(" stored of 4.0 MiB raw") && !shown.contains(" stored of 4 MiB raw"));
    // 216 atoms of three numbers of four bytes each.
    assert_eq!(frames[n / 2]["positions"].as_str().unwrap().len(), 216 * 12 / 3 * 4);
    assert_eq!(frames[0]["elementsBy"], "told by the masses");
    for said in ["Full check", "all 301 records", "energy", "temperature", "kJ/mol", "Liquid argon", "Ar"] {
        assert!(shown.contains(said), "{said}");
    }
    let quick = page(&file("run.vld"), &["--quick"]);
    assert!(quick.contains("The data of the records were not read") && !quick.contains("Full check"));
    molecules(&file("set.vld"), 1200);
    let shown = page(&file("set.vld"), &[]);
    for said in [
        if cfg!(feature = "viewer") { "40 of 1,200 frames" } else { "without the player" },
        "1,000 of 1,200 frames",
        "400 of 1,200 frames",
        "taken as atomic numbers",
        "eV",
    ] {
        assert!(shown.contains(said), "{said}");
    }
    archive(&file("archive.vld"));
    let shown = page(&file("archive.vld"), &[]);
    for said in ["An archive of", "images/", "id=\"treemap\""] {
        assert!(shown.contains(said), "{said}");
    }
}

#[test]
fn only_pages_are_replaced() {
    let place = TempDir::new().unwrap();
    let (depot, page, other) =
        (place.path().join("a.vld"), place.path().join("a.html"), place.path().join("notes.html"));
    molecules(&depot, 5);
    let report =
        |page: &Path, more: &[&str]| run(&[&["report", text(&depot), "-o", text(page)], more].concat());
    assert!(report(&page, &[]).status.success() && report(&page, &[]).status.success());
    fs::write(&other, "<!doctype html>my notes").unwrap();
    let refused = report(&other, &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force replaces it"));
    assert_eq!(fs::read_to_string(&other).unwrap(), "<!doctype html>my notes");
    assert!(report(&other, &["--force"]).status.success());
    let before = fs::read(&depot).unwrap();
    assert_eq!(report(&depot, &["--force"]).status.code(), Some(2));
    assert_eq!(fs::read(&depot).unwrap(), before);
    let nowhere = report(&place.path().join("no/such/folder.html"), &[]);
    assert!(!nowhere.status.success());
    let missing = run(&["report", text(&place.path().join("missing.vld")), "-o", text(&page)]);
    assert_eq!(missing.status.code(), Some(3));
    // What could not be made left nothing.
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
}

#[test]
fn a_damaged_depot_has_a_page_that_says_so() {
    let place = TempDir::new().unwrap();
    let (depot, page) = (place.path().join("a.vld"), place.path().join("a.html"));
    broken(&depot);
    let output = run(&["report", text(&depot), "-o", text(&page)]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<b>Damaged</b>") && page.contains("cannot be read"));
}

/// A `vldepot view` that ends with the test.
struct Viewing {
    child: Child,
    address: String,
}

impl Drop for Viewing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Viewing {
    fn of(depot: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
            .args(["view", text(depot)])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }

    /// Host and path of the page.
    fn parts(&self) -> (&str, &str) {
        let rest = self.address.strip_prefix("http://").unwrap();
        rest.split_at(rest.find('/').unwrap())
    }

    fn get(&self, path: &str, host: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.parts().0).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

#[test]
fn a_browser_on_this_machine_sees_the_page_and_every_frame() {
    let place = TempDir::new().unwrap();
    let depot = place.path().join("run.vld");
    simulation(&depot, 50);
    let viewing = Viewing::of(&depot);
    let (host, root) = viewing.parts();
    assert!(host.starts_with("127.0.0.1:"), "{host}");
    let (head, page) = viewing.get(root, host);
    assert!(
        head.starts_with("HTTP/1.1 200 OK") && head.contains("connect-src 'self'; frame-ancestors 'none'"),
        "{head}"
    );
    let data: Value = serde_json::from_str(&scripts(&page)[0]).unwrap();
    assert_eq!((&data["live"]["records"], data["frames"].as_array().unwrap().len()), (&json!(51), 1));
    let frames = data["live"]["frames"].as_str().unwrap();
    let frame =
        |n: u32| -> Value { serde_json::from_str(&viewing.get(&format!("{frames}{n}"), host).1).unwrap() };
    assert_eq!(frame(0)["nothing"], "no positions");
    let last = frame(50);
    assert_eq!(
        (&last["name"], &last["atoms"], &last["step"]),
        (&json!("frame_000049"), &json!(216), &json!(980.0))
    );
    assert!(viewing.get(&format!("{frames}51"), host).0.starts_with("HTTP/1.1 404"));
    assert!(viewing.get("/", host).0.starts_with("HTTP/1.1 404"));
    assert!(viewing.get(root, "rebound.example").0.starts_with("HTTP/1.1 403"));
}
