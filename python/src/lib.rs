//! The extension module `vldepot._vldepot`: conversion and naming, and nothing else.
//!
//! ```text
//! depot     Depot                        key      names: str, bytes, int
//! loader    Loader, Batch                value    None, numbers, text, lists, dicts, through serde
//! frame     Frame, Topology              array    numpy arrays that are written
//! flat      FlatBatch                    memory   memory that numpy reads without a copy; unsafe
//! table     Table                        arrow    columns that other libraries read without a copy; unsafe
//! iter      listings of a depot          options  keyword arguments
//! maintain  verify, repair, compact      error    one exception for each kind of error
//! shards    folders of shards            archive  files, folders and links
//! codec     depots of any codec          report   what the library reports, as Python's dataclasses
//! collections   collections and splits   objects  objects that many processes change
//! ```
//!
//! The format, the codecs and the loader are the library's. The package around this module is in
//! `python/vldepot`.

mod archive;
mod array;
#[allow(unsafe_code, reason = "it says why each block is sound")]
mod arrow;
mod codec;
mod collections;
mod depot;
mod error;
mod flat;
mod frame;
mod iter;
mod key;
mod loader;
mod maintain;
mod maps;
#[allow(unsafe_code, reason = "it says why each block is sound")]
mod memory;
mod objects;
mod options;
mod report;
mod shards;
mod table;
mod value;

use pyo3::prelude::*;

/// Conversion between Python and the library.
#[pymodule]
mod _vldepot {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::array::find_numpy(module.py())
    }

    #[pymodule_export]
    use super::archive::{ArchiveCore, DiskFiles, OpenFile};
    #[pymodule_export]
    use super::collections::{
        collection_objects, collection_size, collection_sizes, export_mio, import_mio, read_mio_split,
        remove_split, set_split, split, split_names, write_mio_split,
    };
    #[pymodule_export]
    use super::depot::{PyDepot, open_depot};
    #[pymodule_export]
    use super::error::examples;
    #[pymodule_export]
    use super::flat::{FlatBatch, flat_from_dict};
    #[pymodule_export]
    use super::frame::{Frame, Topology, frame_from_dict, topology_from_dict};
    #[pymodule_export]
    use super::iter::DepotIterator;
    #[pymodule_export]
    use super::loader::{Batch, Loader, merge_states};
    #[pymodule_export]
    use super::maintain::{compact, plan_compact, repair, verify};
    #[pymodule_export]
    use super::maps::{ByteMapCore, IntMapCore, build_byte_map, build_int_map};
    #[pymodule_export]
    use super::memory::RecordBytes;
    #[pymodule_export]
    use super::objects::{NameLock, ObjectsCore, pack, unpack};
    #[pymodule_export]
    use super::shards::{found, is_set, merge, remove, reshard};
    #[pymodule_export]
    use super::table::Table;

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
