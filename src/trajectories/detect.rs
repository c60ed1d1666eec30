//! What a file is, by its first bytes.

use super::format::Format;
use super::{dcd, extxyz, gsd, npy, pdb, trr, xdr, xtc};

/// So many bytes of a file tell what it is.
pub(super) const START: usize = 4096;

/// What does not come in frames of atoms, or in a way that is not read.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file: `python/examples/move/from_h5md.py` imports H5MD"),
    (0, b"SQLite format 3\0", "an SQLite file: `python/examples/move/from_aselmdb.py` imports ASE's"),
    (16, b"\xde\xc0\xef\xbe", "an LMDB file: `from_lmdb.py` of `python/examples/move` imports it"),
    (0, b"CDF", "a NetCDF file, as AMBER writes them, which is not read"),
    (0, b"ITEM: TIMESTEP", "a LAMMPS dump, which is not read"),
    (0, b"ITEM: UNITS", "a LAMMPS dump, which is not read"),
    (0, b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (0, b"BZh", "compressed by bzip2: unpack it first"),
    (0, b"\xfd7zXZ\0", "compressed by xz: unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
    (0, b"PK\x03\x04", "a zip archive, but not one of NumPy's arrays: `vldepot convert` takes its files"),
    (0, b"data_", "an mmCIF file, which is not read"),
    (0, b"\0\x02\xb6\x8b", "a checkpoint of GROMACS, which is not read"),
    (0, b"\xff\xf2\x67\x59", "an energy file of GROMACS, which is not read"),
];

/// What a file is that begins with these bytes.
///
/// # Errors
/// A sentence on what it is instead, if that is known.
pub(super) fn found(start: &[u8]) -> Result<Format, String> {
    let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let first = start.first_chunk().map(|bytes| xdr::int(*bytes));
    let begins = |magic: i32| first == Some(magic);
    if start.is_empty() {
        return Err("it is empty".to_owned());
    }
    if begins(xtc::MAGIC) || begins(xtc::MAGIC_LARGE) {
        return Ok(Format::Xtc);
    }
    if begins(trr::MAGIC) {
        return Ok(Format::Trr);
    }
    if dcd::is_start(start) {
        return Ok(Format::Dcd);
    }
    if has(0, &gsd::MAGIC) {
        return Ok(Format::Gsd);
    }
    if has(0, npy::MAGIC) {
        return Ok(Format::Npy);
    }
    if npy::is_npz(start) {
        return Ok(Format::Npz);
    }
    if has(2, b"b2frame\0") {
        let what = "a depot, a file of vlstore or another Blosc2 frame: depots and files of vlstore are read as they are";
        return Err(format!("it is {what}"));
    }
    if start[..start.len().min(64)].windows(12).any(|window| window == b"GENERAL INFO") {
        return Err(
            "it is a TNG file, which is not read: `gmx trjconv` makes an XTC or a TRR file of it".into()
        );
    }
    if let Some((.., what)) = OTHERS.iter().find(|(at, magic, _)| has(*at, magic)) {
        return Err(format!("it is {what}"));
    }
    if pdb::is_start(start) && pdb::is_pqr(start) {
        return Err("it is a PQR file, which is not read".to_owned());
    }
    if pdb::is_start(start) {
        return Ok(Format::Pdb);
    }
    if extxyz::is_start(start) {
        return Ok(Format::ExtXyz);
    }
    if extxyz::is_gro(start) {
        return Err("it is a GRO file, which is not read: `gmx editconf` makes a PDB file of it".into());
    }
    Err("it is of no format that is read: XTC, TRR, DCD, extended XYZ, GSD, PDB, npy and npz are".into())
}
