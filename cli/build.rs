//! With the feature `viewer`: takes 3Dmol.js, which `npm ci` has put into `web/node_modules`, for the pages
//! of `vldepot report`. Nothing is fetched here.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// What is in the program, each with a licence of its own.
const PARTS: [&str; 5] = ["3dmol", "iobuffer", "netcdfjs", "pako", "upng-js"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VLDEPOT_VIEWER");
    if env::var_os("CARGO_FEATURE_VIEWER").is_none() {
        return;
    }
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let web = root.join("web");
    let program = match env::var_os("VLDEPOT_VIEWER") {
        Some(path) => read(&web, Path::new(&path)),
        None => licences(&web) + &read(&web, &web.join("node_modules/3dmol/build/3Dmol-min.js")),
    };
    // In a page it stands in a script element, which nothing in it may end.
    let program = program.replace("</script", "<\\/script").replace("<!--", "<\\!--");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("viewer.js"), program).expect("cargo's folder can be written");
}

fn licences(web: &Path) -> String {
    let licence = |part: &&str| {
        let text = read(web, &web.join("node_modules").join(part).join("LICENSE"));
        format!("{part}\n\n{}\n", text.replace("*/", "* /"))
    };
    format!("/*! This is 3Dmol.js, with:\n\n{}*/\n", PARTS.iter().map(licence).collect::<String>())
}

fn read(web: &Path, path: &Path) -> String {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read_to_string(path).unwrap_or_else(|error| {
        println!(
            "cargo::error=the feature `viewer` needs {}: {error}: run `npm ci` in {}, or let VLDEPOT_VIEWER name the file \
             3Dmol-min.js",
            path.display(),
            web.display()
        );
        process::exit(1);
    })
}
