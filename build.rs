//! Regenerates the committed Rust code from `schemas/*.fbs` when asked; otherwise does nothing.
//!
//! Asked means: the environment variable `VLDEPOT_REGENERATE_SCHEMAS` is set. `FLATC` is then the path of
//! flatc (`flatc` on the `PATH` when unset), of exactly the version of the `flatbuffers` crate: generated
//! code and runtime are one program. `tools/regenerate-schemas` builds that flatc and does all this.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of the `flatbuffers` crate in `Cargo.lock`.
const FLATC_VERSION: &str = "25.12.19";

/// Each schema and the Rust file made from it. A schema that is not there is passed over.
const SCHEMAS: [(&str, &str); 2] = [
    ("schemas/atomic_frame.fbs", "codecs/atomic/generated.rs"),
    ("schemas/depot.fbs", "src/format/generated.rs"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VLDEPOT_REGENERATE_SCHEMAS");
    if env::var_os("VLDEPOT_REGENERATE_SCHEMAS").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-env-changed=FLATC");
    println!("cargo::rerun-if-changed=schemas");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let flatc = env::var_os("FLATC").unwrap_or_else(|| "flatc".into());

    let version = run(Command::new(&flatc).arg("--version"))?;
    if version.split_whitespace().last() != Some(FLATC_VERSION) {
        return Err(format!(
            "{}: expected flatc {FLATC_VERSION}, found `{}`; run tools/regenerate-schemas",
            Path::new(&flatc).display(),
            version.trim()
        )
        .into());
    }
    for (schema, output) in SCHEMAS {
        let schema = root.join(schema);
        if schema.exists() {
            regenerate(flatc.as_ref(), &root, &schema, &root.join(output), &out_dir)?;
        }
    }
    Ok(())
}

/// Writes `output` when what flatc and rustfmt make of `schema` differs from what it holds.
fn regenerate(
    flatc: &Path,
    root: &Path,
    schema: &Path,
    output: &Path,
    out_dir: &Path,
) -> Result<(), Box<dyn Error>> {
    let stem = schema.file_stem().and_then(|s| s.to_str()).ok_or("a schema without a name")?;
    let made = out_dir.join(format!("{stem}_generated.rs"));
    run(Command::new(flatc).arg("--rust").arg("-o").arg(out_dir).arg(schema))?;
    // As `cargo fmt` would leave it, since that formats the committed file too.
    let rustfmt = env::var_os("RUSTFMT").unwrap_or_else(|| "rustfmt".into());
    run(Command::new(rustfmt).args(["--edition", "2024", "--config-path"]).arg(root).arg(&made))?;
    let code = fs::read(&made)?;
    if fs::read(output).ok().as_ref() != Some(&code) {
        fs::write(output, code)?;
    }
    Ok(())
}

/// What the command wrote to its standard output.
fn run(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
