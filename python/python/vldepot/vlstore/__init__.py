"""The interface of the Python package vlstore, on depots: code written for it runs with the import changed.

    from vldepot.vlstore.store import Depot, SChunkStore
    from vldepot.vlstore.serialize import BackedAtomicData, BackedAtomicDataCodec
    from vldepot.vlstore.loader import BlockShuffleBatch

Files that vlstore wrote are read. New files are depots, which vlstore reads too once they are closed.

    >>> import numpy as np
    >>> from vldepot.vlstore import Depot, flatfloatndarray_codec
    >>> depot = Depot(codec=flatfloatndarray_codec)
    >>> depot.put("a", np.arange(3, dtype=np.float32))
    >>> depot.get("a")
    array([0., 1., 2.], dtype=float32)

What vlstore refuses and this module does: records without bytes, batches of no keys, appending to a file that is
there (`SChunkStore(path, read_only=False)`), a file whose writer was killed, deleting, loaders over one chunk and over
records that cross chunks, and pickling. What it does not do is said where it is refused: there is no zlib, and no
filter that changes data.

| | |
| --- | --- |
| `store` | `SChunkStore Depot Location LocationIndex`, the alignments |
| `serialize` | `Codec flatfloatndarray_codec BackedAtomicData BackedAtomicDataCodec` |
| `loader` | `BlockShuffleBatch` |
| `hash` | `byte_hash` |
"""

from .loader import BlockShuffleBatch
from .serialize import BackedAtomicData, BackedAtomicDataCodec, Codec, flatfloatndarray_codec
from .store import (
    CONTIGUOUS_ALIGNMENT,
    DEFAULT_CHUNK_SIZE,
    NOCROSS_ALIGNMENT,
    START_ALIGNMENT,
    TYPE_ALIGNMENT,
    TYPE_KEY,
    Depot,
    Location,
    LocationIndex,
    SChunkStore,
)

__all__ = [
    "CONTIGUOUS_ALIGNMENT",
    "DEFAULT_CHUNK_SIZE",
    "NOCROSS_ALIGNMENT",
    "START_ALIGNMENT",
    "TYPE_ALIGNMENT",
    "TYPE_KEY",
    "BackedAtomicData",
    "BackedAtomicDataCodec",
    "BlockShuffleBatch",
    "Codec",
    "Depot",
    "Location",
    "LocationIndex",
    "SChunkStore",
    "flatfloatndarray_codec",
]
