//! The `vldepot` command.

fn main() {}
