//! `vldepot import` and `vldepot export`: files of other programs in and out.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const WATER: &str = "3\nProperties=species:S:1:pos:R:3 energy=-1.5\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n";

fn exits(code: i32, folder: &Path, args: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vldepot")).current_dir(folder).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "vldepot {args:?}: {error}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), error)
}

fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn place() -> TempDir {
    let place = TempDir::new().unwrap();
    fs::write(place.path().join("water.xyz"), WATER.repeat(3)).unwrap();
    place
}

#[test]
fn frames_go_in_and_out() {
    let place = place();
    let folder = place.path();
    let (out, error) = exits(0, folder, &["import", "water.xyz", "water.vld"]);
    assert_eq!(error, "");
    assert!(
        out.starts_with("water.vld: 3 frames of 3 atoms from extended XYZ, in Å, Å√(u/eV), eV; "),
        "{out}"
    );
    exits(0, folder, &["verify", "water.vld"]);
    exits(0, folder, &["import", "water.xyz", "plain.vld", "--no-fields-apart"]);
    for (file, apart) in [("water.vld", "yes"), ("plain.vld", "no")] {
        let (out, _) = exits(0, folder, &["info", file]);
        assert!(out.contains(&format!("fields apart    {apart}\n")), "{out}");
    }
    let (out, error) = exits(0, folder, &["export", "water.vld", "water.trr"]);
    assert!(out.starts_with("water.trr: 3 frames as TRR, "), "{out}");
    assert!(error.contains("no place for energy, types") && error.contains("without a time"), "{error}");
    let (out, _) = exits(0, folder, &["import", "--json", "--units", "ase", "water.trr", "again.vld"]);
    let done: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&done["records"], &done["converted"], &done["length"]),
        (&3.into(), &true.into(), &"Å".into())
    );
    let (out, _) = exits(0, folder, &["export", "--json", "again.vld", "--to", "extxyz", "out"]);
    let done: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&done["frames"], &done["format"]), (&3.into(), &"extended XYZ".into()));
    assert!(fs::read_to_string(folder.join("out")).unwrap().contains("\nX 0.96 0.0 0.0\n"));
}

#[test]
fn what_cannot_be_done_leaves_everything_as_it_was() {
    let place = place();
    let folder = place.path();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    write("torn.xyz", &WATER.as_bytes()[..WATER.find("H -0.24").unwrap()]);
    write("old.vld", b"old");
    write("run.tng", &[&[0; 32][..], b"GENERAL INFO\0", &[0; 100]].concat());
    let before = names(folder);
    let refused = |code, args: &[&str], why: &str| {
        let (_, error) = exits(code, folder, args);
        assert!(error.contains(why), "{args:?}: {error}");
        assert_eq!(names(folder), before);
        assert_eq!(fs::read(folder.join("old.vld")).unwrap(), b"old");
    };
    refused(1, &["import", "torn.xyz", "new.vld"], "extended XYZ: frame 0, at byte");
    refused(1, &["import", "--force", "torn.xyz", "old.vld"], "cut short");
    refused(1, &["import", "--json", "water.xyz", "torn.xyz", "new.vld"], "\"exit\":1");
    refused(4, &["import", "water.xyz", "old.vld"], "--force replaces it");
    refused(4, &["import", "run.tng", "new.vld"], "it is a TNG file");
    refused(4, &["import", ".", "new.vld"], "it is a folder");
    refused(3, &["import", "none.xtc", "new.vld"], "none.xtc");
    refused(2, &["import", "--force", "water.xyz", "water.xyz"], "into itself");
    refused(2, &["import", "water.xyz"], "DEPOT");
    exits(0, folder, &["import", "water.xyz", "water.vld"]);
    let before = names(folder);
    for args in [
        &["export", "water.vld", "old.vld", "--to", "trr"][..],
        &["export", "water.vld", "out.what"],
        &["export", "water.xyz", "out.trr"],
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_vldepot")).current_dir(folder).args(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert_eq!(names(folder), before);
    }
}
