"""A compressed depot of named, variable-length records: trajectory frames, arrays, values or bytes.

A depot maps names to records, in one file or in memory. It survives crashes, checks every byte it gives back, and
opens at once however large it is.

    >>> import tempfile, vldepot
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/run.vld"

A simulation stores its trajectory, frame by frame:

    >>> with vldepot.create(path) as depot:
    ...     depot["frame_000000"] = vldepot.Frame(positions=[[0.0, 0.1, 0.2], [1.0, 1.1, 1.2]], step=500, energy=-3.5)
    ...     depot.commit()  # from here on, the frame survives a killed process and a power loss

Any program reads a frame by name. Its arrays are views of the record:

    >>> depot = vldepot.open(path)
    >>> frame = depot["frame_000000"]
    >>> frame.energy, frame.positions.dtype, frame.positions.shape
    (-3.5, dtype('float32'), (2, 3))

| for | there are |
| --- | --- |
| depots | `create`, `open`, `append`, `open_or_create`, `memory`, `from_bytes`, `Depot` |
| atoms | `Frame`, `Topology`, and `FlatBatch` for many frames as long arrays |
| files and folders | `vldepot.archive` |
| maps of integers, and files of mapbuffer | `vldepot.mapbuffer` |
| training | `Loader`, `Batch`, `merge_states`; `vldepot.torch` for PyTorch |
| simulations | `vldepot.openmm`, `vldepot.ase` |
| analysis | `vldepot.mdanalysis`, `vldepot.mdtraj`, `vldepot.chemfiles` |
| scalars of all records | `Table`, `Statistics` |
| files | `verify`, `repair`, `compact`, `plan_compact` |
| failures | `vldepot.errors` |
| code written for vlstore, MIO and dirdb | `vldepot.vlstore`, `vldepot.mio`, `vldepot.dirdb` |

In signatures, `Name` is a `str`, `bytes` or `int`; `Position` is an int, counted from the end if negative; `Positions`
is a slice, or several of them; `Fields` is the name of a field of frames, or several; `Out` is a `FlatBatch` or a dict
of arrays to be filled; `V` is what the depot's codec gives and takes.
"""

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

if "free-threading" in _sys.version:
    raise ImportError(
        "vldepot does not support free-threaded Python yet: its wheels use the stable ABI, which those builds lack; "
        "use the ordinary build of this version of Python"
    )

from . import errors
from ._maintain import compact, plan_compact, repair, verify
from ._open import append, create, from_bytes, memory, open_or_create
from ._open import open as open
from ._views import Metadata
from ._vldepot import Batch, Depot, FlatBatch, Frame, Loader, Table, Topology, __version__, merge_states
from .errors import (
    AppendOnly,
    ChecksumError,
    Closed,
    CodecError,
    CodecParameters,
    CompressError,
    Damaged,
    DecompressError,
    Error,
    Exists,
    FileNotFound,
    Forked,
    Gap,
    Incomplete,
    InvalidOptions,
    InvalidPath,
    InvalidQuery,
    InvalidRecord,
    IoError,
    IsAFolder,
    Locked,
    LostCommit,
    LostEarlier,
    MetadataError,
    MissingShard,
    NewerFeature,
    NewerFormat,
    NoRoom,
    NoSuchPath,
    NotADepot,
    NotAFile,
    NotAFolder,
    NotCommitted,
    NotCompacted,
    NotEmpty,
    NotFound,
    NotPermitted,
    NotStored,
    NotTransferred,
    NotUndone,
    OtherLoader,
    OutOfRange,
    OutsideRecord,
    Panicked,
    PathExists,
    PathTaken,
    Poisoned,
    ReadOnly,
    RemovesAll,
    Replaced,
    SameFile,
    StillOpen,
    TargetChanged,
    TooLong,
    Unsupported,
    WrongCodec,
)

if _TYPE_CHECKING:
    from ._reports import (
        CodecInfo,
        CompactReport,
        DepotInfo,
        FieldStatistics,
        Kind,
        Layout,
        Merged,
        RecordLocation,
        Refreshed,
        Removal,
        RepairReport,
        Statistics,
        Summary,
        Totals,
        VerifyReport,
    )


def __getattr__(name: str) -> object:
    # The classes of reports are made when the first of them is needed, which keeps the import short.
    if name in __all__:
        from . import _reports

        return getattr(_reports, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Without `open`, so that `import *` leaves the one of Python in place.
__all__ = [
    "AppendOnly",
    "Batch",
    "ChecksumError",
    "Closed",
    "CodecError",
    "CodecInfo",
    "CodecParameters",
    "CompactReport",
    "CompressError",
    "Damaged",
    "DecompressError",
    "Depot",
    "DepotInfo",
    "Error",
    "Exists",
    "FieldStatistics",
    "FileNotFound",
    "FlatBatch",
    "Forked",
    "Frame",
    "Gap",
    "Incomplete",
    "InvalidOptions",
    "InvalidPath",
    "InvalidQuery",
    "InvalidRecord",
    "IoError",
    "IsAFolder",
    "Kind",
    "Layout",
    "Loader",
    "Locked",
    "LostCommit",
    "LostEarlier",
    "Merged",
    "Metadata",
    "MetadataError",
    "MissingShard",
    "NewerFeature",
    "NewerFormat",
    "NoRoom",
    "NoSuchPath",
    "NotADepot",
    "NotAFile",
    "NotAFolder",
    "NotCommitted",
    "NotCompacted",
    "NotEmpty",
    "NotFound",
    "NotPermitted",
    "NotStored",
    "NotTransferred",
    "NotUndone",
    "OtherLoader",
    "OutOfRange",
    "OutsideRecord",
    "Panicked",
    "PathExists",
    "PathTaken",
    "Poisoned",
    "ReadOnly",
    "RecordLocation",
    "Refreshed",
    "Removal",
    "RemovesAll",
    "RepairReport",
    "Replaced",
    "SameFile",
    "Statistics",
    "StillOpen",
    "Summary",
    "Table",
    "TargetChanged",
    "TooLong",
    "Topology",
    "Totals",
    "Unsupported",
    "VerifyReport",
    "WrongCodec",
    "__version__",
    "append",
    "compact",
    "create",
    "errors",
    "from_bytes",
    "memory",
    "merge_states",
    "open_or_create",
    "plan_compact",
    "repair",
    "verify",
]
