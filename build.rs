//! Regenerates the committed Rust code from `schemas/*.fbs` when asked; otherwise does nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
