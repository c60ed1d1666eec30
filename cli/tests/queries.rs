//! Queries and statistics of the command: `find --where`, `list --where`, `subset --where`, `info`.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::{Depot, Layout, Raw};

fn vldepot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

fn done(args: &[&str]) -> String {
    let output = vldepot(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn failed(code: i32, args: &[&str]) -> String {
    let output = vldepot(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    stderr
}

/// A depot of ten frames, of which every second has metadata.
fn frames(folder: &Path) -> String {
    let path = folder.join("run.vld");
    let layout = Layout::default().with_columns(["energy", "n_atoms"]).with_statistics(true);
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(&path).unwrap();
    for n in 0..10_u32 {
        let positions = vec![[0.5_f32, 0.0, 0.0]; n as usize + 1];
        let types = vec![8; n as usize + 1];
        let frame = AtomicFrame::new().positions(&positions).types(&types).energy(-f64::from(n));
        if n.is_multiple_of(2) {
            depot.put_with_metadata(format!("frame_{n}"), &frame, &json!({ "source": "md" })).unwrap();
        } else {
            depot.put(format!("frame_{n}"), &frame).unwrap();
        }
    }
    depot.close().unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn queries_choose_records_for_several_verbs() {
    let folder = tempfile::tempdir().unwrap();
    let run = frames(folder.path());
    assert_eq!(
        done(&["find", &run, "--where", "energy < -3 and n_atoms <= 7"]),
        "frame_4\nframe_5\nframe_6\n"
    );
    assert_eq!(done(&["find", &run, "-0", "--where", "energy == -1"]), "frame_1\0");
    assert_eq!(done(&["find", &run, "--where", "energy > 1"]), "");
    let line = done(&["find", &run, "--json", "--where", "meta.source == 'md' and energy < -7"]);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["name"], &line["scalars"]["energy"]), (&json!("frame_8"), &json!(-8.0)));
    assert_eq!(done(&["list", &run, "--where", "name glob '*_9'"]), "frame_9\n");
    let target = folder.path().join("low.vld");
    let target = target.to_str().unwrap();
    done(&["--quiet", "subset", &run, target, "--where", "energy < -3", "-x", "frame_5"]);
    assert_eq!(done(&["list", target]), "frame_4\nframe_6\nframe_7\nframe_8\nframe_9\n");
    let info: Value = serde_json::from_str(&done(&["info", target, "--json"])).unwrap();
    let fields = &info["statistics"]["fields"];
    assert_eq!((&fields["exact"], &fields["counted"]), (&json!(true), &json!(5)));
    assert_eq!(
        fields["kinds"]["types"]["counts"]["8"],
        json!({ "values": 5 + 7 + 8 + 9 + 10, "records": 5 })
    );
    assert!(failed(3, &["subset", &run, &format!("{target}2"), "--where", "energy > 3"]).contains("none of"));
}

#[test]
fn what_is_no_query_is_a_wrong_use_and_points_at_its_column() {
    let folder = tempfile::tempdir().unwrap();
    let run = frames(folder.path());
    for verb in ["find", "list"] {
        let message = failed(2, &[verb, &run, "--where", "energy <"]);
        assert!(message.contains("column 9: expected a value, found the end"), "{message}");
    }
    assert!(failed(2, &["find", &run, "--where", "spin == 1"]).contains("the depot has energy, n_atoms"));
    failed(2, &["find", &run, "--where", "energy < 0", "--name", "x"]);
    failed(2, &["list", &run, "frame_*", "--where", "energy < 0"]);
}

#[test]
fn info_shows_statistics_and_says_when_they_are_not_exact() {
    let folder = tempfile::tempdir().unwrap();
    let run = frames(folder.path());
    let shown = done(&["info", &run]);
    for line in [
        "in columns      energy: -9 to 0, mean -4.5, std 2.87228, 10 values\n",
        "statistics      exact\n",
        "                n_atoms: 1 to 10, mean 5.5, std 2.87228, 10 values\n",
        "                positions: 0 to 0.5, mean 0.166667, std 0.235702, 165 values\n",
        "                types: 8 (55)\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    done(&["rm", &run, "frame_9"]);
    let shown = done(&["info", &run]);
    assert!(shown.contains("energy: -8 to 0, mean -4,"), "{shown}");
    assert!(shown.contains("NOT exact: they count 1 record that went; `vldepot compact` makes"), "{shown}");
    assert!(done(&["verify", &run]).starts_with("whole"));
    done(&["--quiet", "compact", &run]);
    assert!(done(&["info", &run]).contains("statistics      exact\n"));
    let raw = folder.path().join("raw.vld");
    Depot::create(&raw, Raw).unwrap().close().unwrap();
    let shown = done(&["info", raw.to_str().unwrap()]);
    assert!(shown.contains("statistics      of fields: none are kept\n"), "{shown}");
}
