//! Bytes and structs, without I/O: every byte of the file is described here and in `docs/FORMAT.md`.
