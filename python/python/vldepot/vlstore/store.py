"""Stores of bytes, and of objects, by name."""

from __future__ import annotations

import os
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, overload

from .. import _open, errors
from .._vldepot import Depot as _CoreDepot
from ._bytes import ReadBuffer, byte_view, fill
from .serialize import Codec

__all__ = [
    "CONTIGUOUS_ALIGNMENT",
    "DEFAULT_CHUNK_SIZE",
    "NOCROSS_ALIGNMENT",
    "START_ALIGNMENT",
    "TYPE_ALIGNMENT",
    "TYPE_KEY",
    "Depot",
    "Location",
    "LocationIndex",
    "SChunkStore",
]

_T = TypeVar("_T")
_K = TypeVar("_K", bound="TYPE_KEY")
_Out = TypeVar("_Out")
_Path: TypeAlias = str | os.PathLike[str]

TYPE_KEY: TypeAlias = str | int | bytes
"""What names a record."""
TYPE_ALIGNMENT: TypeAlias = Literal["no_cross"] | Literal["contiguous"] | Literal["start"]
"""Where records may start and end: one of the three alignments."""

DEFAULT_CHUNK_SIZE: Final = 2**22
"""Raw bytes of a chunk."""
NOCROSS_ALIGNMENT: Final = "no_cross"
"""A record that does not fit into what is left of a chunk starts the next one."""
CONTIGUOUS_ALIGNMENT: Final = "contiguous"
"""Records follow each other, across chunks."""
START_ALIGNMENT: Final = "start"
"""Every record starts a chunk."""

_PLACEMENTS: dict[str, str] = {"no_cross": "no_cross", "contiguous": "contiguous", "start": "start_aligned"}
_ALIGNMENTS: dict[str, TYPE_ALIGNMENT] = {
    "no_cross": "no_cross",
    "contiguous": "contiguous",
    "start_aligned": "start",
}
_META = "vlstore.meta"
#: The smallest chunk that a depot may have.
_MIN_CHUNK = 64
#: Records in a common buffer start at multiples of this, so that arrays of any dtype may be views of it.
_ALIGN = 16
#: Blosc2's compressors and filters by number.
_COMPRESSORS = {0: "blosclz", 1: "lz4", 2: "lz4hc", 4: "zlib", 5: "zstd"}
_FILTERS = {0: "none", 1: "shuffle", 2: "bitshuffle"}


@dataclass(frozen=True)
class Location:
    """Where a record lies: raw bytes in chunks of one size, which are called blocks here.

    Attributes:
        start_block: The first block that holds some of it.
        end_block: The block after the last one.
        block_size: Bytes of a block.
        start_offset: Bytes from the start of the first block to the record.
        end_offset: Bytes from the end of the last block back to the end of the record: 0 or less.

    Example:
        >>> Location.from_start_end(10, 250, block_size=100)
        Location(start_block=0, end_block=3, block_size=100, start_offset=10, end_offset=-50)
    """

    start_block: int
    end_block: int
    block_size: int
    start_offset: int = 0
    end_offset: int = 0

    def __post_init__(self) -> None:
        if not -self.block_size < self.end_offset <= 0:
            raise ValueError(f"end_offset is {self.end_offset}, and must be from {1 - self.block_size} to 0")
        if not 0 <= self.start_offset < self.block_size:
            raise ValueError(
                f"start_offset is {self.start_offset}, and must be from 0 to {self.block_size - 1}"
            )

    @classmethod
    def from_start_end(cls, start: int, end: int, block_size: int) -> Location:
        """The place of the raw bytes `start..end`."""
        end_block = -(-end // block_size)
        return cls(
            start_block=start // block_size,
            end_block=end_block,
            block_size=block_size,
            start_offset=start % block_size,
            end_offset=end - end_block * block_size,
        )

    @property
    def start(self) -> int:
        """The first raw byte."""
        return self.start_block * self.block_size + self.start_offset

    @property
    def end(self) -> int:
        """The raw byte after the last."""
        return self.end_block * self.block_size + self.end_offset

    @property
    def length(self) -> int:
        """Raw bytes."""
        return self.end - self.start

    @property
    def n_blocks(self) -> int:
        """Blocks that hold some of it."""
        return self.end_block - self.start_block

    def __len__(self) -> int:
        return self.length

    def block_split(self) -> list[Location]:
        """The parts in each block."""
        starts = [self.start, *range((self.start_block + 1) * self.block_size, self.end, self.block_size)]
        return [
            Location.from_start_end(start, end, self.block_size)
            for start, end in zip(starts, [*starts[1:], self.end], strict=True)
        ]


class LocationIndex(Generic[_K]):
    """Places by key, in the order of insertion.

    Example:
        >>> index = LocationIndex({"a": Location.from_start_end(0, 70, 100)})
        >>> index.plan(50).start, index.plan(50, "contiguous").start
        (100, 70)
    """

    def __init__(self, locs: dict[_K, Location] | None = None) -> None:
        self.backing: Mapping[_K, Location] = {} if locs is None else locs
        """The places by key."""

    @property
    def first(self) -> Location:
        """The place that starts first. A `ValueError` if there is none."""
        return min(self.values(), key=lambda place: place.start)

    @property
    def last(self) -> Location:
        """The place that ends last. A `ValueError` if there is none."""
        return max(self.values(), key=lambda place: place.end)

    def __getitem__(self, key: _K) -> Location:
        return self.backing[key]

    def __setitem__(self, key: _K, value: Location) -> None:
        assert isinstance(self.backing, dict)
        self.backing[key] = value

    def __delitem__(self, key: _K) -> None:
        assert isinstance(self.backing, dict)
        del self.backing[key]

    def __contains__(self, key: object) -> bool:
        return key in self.backing

    def __len__(self) -> int:
        return len(self.backing)

    def __iter__(self) -> Iterator[_K]:
        return iter(self.backing)

    def keys(self) -> KeysView[_K]:
        """The keys."""
        return self.backing.keys()

    def values(self) -> ValuesView[Location]:
        """The places."""
        return self.backing.values()

    def items(self) -> ItemsView[_K, Location]:
        """Keys and places."""
        return self.backing.items()

    def to_ordered_pairs(self) -> list[tuple[_K, int, int]]:
        """Each key with the raw bytes `start`, `end` of its record."""
        return [(key, place.start, place.end) for key, place in self.items()]

    @classmethod
    def from_ordered_pairs(cls, pairs: Iterable[tuple[_K, int, int]], block_size: int) -> LocationIndex[_K]:
        """The index of what `to_ordered_pairs` gave."""
        return cls({key: Location.from_start_end(start, end, block_size) for key, start, end in pairs})

    def plan(
        self, size: int, alignment: TYPE_ALIGNMENT = NOCROSS_ALIGNMENT, block_size: int | None = None
    ) -> Location:
        """Where the next record of `size` bytes would go, by vlstore's rules.

        Depots place records by the same strategies, and let each start at a multiple of some bytes: this is an
        estimate for them.
        """
        last = self.last if len(self) else None
        block_size = block_size or (last.block_size if last else None)
        if block_size is None:
            raise ValueError("an empty index does not know the size of blocks: give block_size")
        start = 0 if last is None else last.end
        left = -start % block_size
        next_block = start + left
        if alignment == START_ALIGNMENT or (alignment == NOCROSS_ALIGNMENT and left <= size):
            start = next_block
        elif alignment not in _PLACEMENTS:
            raise ValueError(f"no alignment is called {alignment!r}; there are {', '.join(_PLACEMENTS)}")
        return Location.from_start_end(start, start + size, block_size)


class _Places(Mapping[TYPE_KEY, Location]):
    """The places of a store's records, read from it when they are asked for."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing

    def __getitem__(self, key: TYPE_KEY) -> Location:
        depot, size = self._backing.reading(), self._backing.chunksize
        place = depot.location(_name(key))
        start = place.chunk * size + place.offset
        return Location.from_start_end(start, start + place.length, size)

    def __contains__(self, key: object) -> bool:
        try:
            return _name(key) in self._backing.reading()
        except (TypeError, errors.InvalidRecord):  # nothing that could name a record
            return False

    def __iter__(self) -> Iterator[TYPE_KEY]:
        return iter(self._backing.reading().names_at(slice(None)))

    def __len__(self) -> int:
        return len(self._backing.reading())


class _StoreIndex(LocationIndex[TYPE_KEY]):
    """The index of a store: it follows the store."""

    def __init__(self, backing: Backing) -> None:
        super().__init__()
        self.backing = _Places(backing)

    def __setitem__(self, key: TYPE_KEY, value: Location) -> None:
        raise TypeError("a store places its records itself: put one")

    def __delitem__(self, key: TYPE_KEY) -> None:
        raise TypeError("remove a record by disown")


class Backing:
    """What holds the bytes of a store: a depot, in a file or in memory. It stands for vlstore's `SChunk`.

    Attributes:
        chunksize: Raw bytes of a chunk.
        typesize: Bytes of the elements that the filter works on.
        urlpath: The file. `None` in memory.
        nchunks: Number of chunks.
        meta: What the user noted at creation.
        vlmeta: What the user notes later.
    """

    def __init__(
        self, path: _Path | None, options: dict[str, Any], meta: Mapping[Any, Any] | None = None
    ) -> None:
        self.urlpath: str | None = None if path is None else os.path.abspath(path)
        self.chunksize: int = options.get("chunk_size", DEFAULT_CHUNK_SIZE)
        self.typesize: int = options.get("typesize") or 1
        self.read_only = False
        self._options = options
        self._meta = {_text(name): value for name, value in (meta or {}).items()}
        self._depot: _CoreDepot[bytes] | None = None

    def create(self, alignment: str) -> None:
        """Makes the depot, unless it is there already."""
        if self._depot is not None:
            return
        if alignment not in _PLACEMENTS:
            raise ValueError(f"no alignment is called {alignment!r}; there are {', '.join(_PLACEMENTS)}")
        options: dict[str, Any] = {**self._options, "placement": _PLACEMENTS[alignment]}
        if self.urlpath is None:
            self._depot = _open.memory("bytes", **options)
        else:
            self._depot = _open.create(self.urlpath, "bytes", vlstore_compatible=True, **options)
        if self._meta:
            self._depot.metadata[_META] = self._meta

    @classmethod
    def open(cls, path: _Path, read_only: bool) -> Backing:
        """A file that is there."""
        backing = cls(path, {})
        backing._depot = (_open.open if read_only else _open.append)(path, "bytes")
        layout = backing._depot.info().layout
        backing.chunksize, backing.typesize = layout.chunk_size, layout.typesize or 1
        backing.read_only = read_only
        backing._meta = dict(backing._depot.metadata.get(_META) or {})
        return backing

    def reading(self) -> _CoreDepot[bytes]:
        """The depot, opened again after it was closed."""
        if self._depot is None or self._depot.closed:
            if self.urlpath is None:
                raise ValueError("the store was not made yet")
            self._depot = _open.open(self.urlpath, "bytes")
        return self._depot

    def writing(self) -> _CoreDepot[bytes]:
        """The depot, opened again for writing after it was closed."""
        if self.read_only:
            raise ValueError(
                f"{self.urlpath} is open for reading only; SChunkStore(path, read_only=False) appends"
            )
        depot = self.reading()
        if not depot.writable and self.urlpath is not None:
            depot.close()
            self._depot = depot = _open.append(self.urlpath, "bytes")
        return depot

    def close(self) -> None:
        """Closes a file. The next call opens it again. A store in memory stays."""
        if self.urlpath is not None and self._depot is not None:
            self._depot.close()

    @property
    def nchunks(self) -> int:
        return self.reading().info().chunks

    @property
    def meta(self) -> Mapping[str, Any]:
        return {**self._meta, SChunkStore.META_MAGIC: SChunkStore.MAGIC}

    @property
    def vlmeta(self) -> MutableMapping[str, Any]:
        return self.reading().metadata if self.read_only else self.writing().metadata

    def __getstate__(self) -> dict[str, Any]:
        if self.urlpath is None:
            raise TypeError("a store in memory cannot be pickled")
        if self._depot is not None and not self._depot.closed and self._depot.writable:
            self._depot.commit()
        return {**self.__dict__, "_depot": None, "read_only": True}

    def __repr__(self) -> str:
        return f"<vldepot.vlstore: {self._depot!r}>"


def _create_default_schunk(
    *,
    filename: _Path | None = None,
    chunksize: int = DEFAULT_CHUNK_SIZE,
    cparams: Any = None,
    dparams: Any = None,
    contiguous: bool = True,
    meta: Mapping[Any, Any] | None = None,
) -> Backing:
    """What a store keeps its bytes in, to be given to `SChunkStore` as its location.

    Args:
        filename: A new file; by default memory.
        chunksize: Raw bytes of a chunk. It becomes a multiple of the typesize, at least 64.
        cparams: How to compress: a dict such as python-blosc2's, or its `CParams`, of which `codec`, `clevel`,
            `typesize`, `filters`, `blocksize` and `nthreads` count. By default zstd at level 1.
        dparams: Not needed; here because vlstore has it.
        contiguous: Not needed: a file is always one file.
        meta: What to note in the file. See `Backing.meta`.

    Raises:
        ValueError: When Blosc2 could do it and depots cannot: zlib, a filter that changes data or depends on others.
    """
    options = _compression(cparams)
    step = options.get("typesize") or 1
    options["chunk_size"] = max(chunksize // step * step, -(-_MIN_CHUNK // step) * step)
    return Backing(filename, options, meta)


def _compression(cparams: Any) -> dict[str, Any]:
    """Blosc2's parameters as options of a depot."""
    if cparams is None:
        return {}
    given = cparams if isinstance(cparams, Mapping) else vars(cparams)
    options: dict[str, Any] = {}
    codec: Any = given.get("codec")
    if codec is not None:
        name = _COMPRESSORS.get(int(getattr(codec, "value", codec)))
        if name is None or name == "zlib":
            raise ValueError(f"depots do not compress with {codec!r}: use zstd, lz4, lz4hc or blosclz")
        options["compression"] = name
    if (level := given.get("clevel")) is not None:
        options["level"] = int(level)
        options.setdefault("compression", "zstd")
    if typesize := given.get("typesize"):
        options["typesize"] = int(typesize)
    if (filters := given.get("filters")) is not None:
        numbers = {int(getattr(one, "value", one)) for one in filters} - {0}
        if len(numbers) > 1 or not numbers <= set(_FILTERS):
            raise ValueError(f"depots filter by shuffle or bitshuffle alone, and not by {list(filters)!r}")
        options["filter"] = _FILTERS[numbers.pop() if numbers else 0]
    if blocksize := given.get("blocksize"):
        options["block_size"] = int(blocksize)
    if threads := given.get("nthreads"):
        options["threads"] = int(threads)
    return options


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _name(key: Any) -> Any:
    """A key as a depot takes it. To vlstore, as to any dict, `True` is 1."""
    return int(key) if isinstance(key, bool) else key


class SChunkStore:
    """Bytes by key, compressed in chunks, in a file or in memory.

    Keys are `str`, `int` and `bytes`, and are distinct. A file is made where there is none, and opened for reading
    where there is one. `close`, or the end of a `with` block, makes a file complete; it may be used on after that. A
    writer that is killed loses what came after the last commit or whole chunk, and nothing else.

    Args:
        location: The file; `None` for memory; or what `_create_default_schunk` gave.
        alignment: How records are placed in chunks: `NOCROSS_ALIGNMENT`, `CONTIGUOUS_ALIGNMENT` or `START_ALIGNMENT`.
            A file that is there keeps its own.
        read_only: Whether a file that is there is opened for reading only. `False` appends to it.
        **kwargs: For what is made anew: `chunksize`, `cparams`, `dparams`, `contiguous` and `meta`, see
            `_create_default_schunk`; `start_aligned=True` is `START_ALIGNMENT`. Ignored for a file that is there.

    Attributes:
        lookup: The places of the records, by key.
        alignment: How records are placed.
        backing: What holds the bytes.
        read_only: Whether the store takes no records.

    Raises:
        ValueError: When the location is a folder, or in a folder that is not there, or options do not go together.
        vldepot.NotADepot: When a file is neither a depot nor one of vlstore.
        vldepot.Locked: When another process writes the file, and this one would too.

    Example:
        >>> store = SChunkStore()
        >>> store.put("a", b"first")
        >>> store[1] = bytes(3)
        >>> store.get("a"), list(store), len(store)
        (b'first', ['a', 1], 2)
    """

    VLMETA_SAVEDLOOKUP: Final = "saved_lookup"
    """Where vlstore's files keep the places of their records."""
    META_MAGIC: Final = "magic"
    """Where vlstore's files keep `MAGIC`."""
    MAGIC: Final = bytes.fromhex("a49a3367cf7d44d1b097e051058336eb")
    """What a file of vlstore has in its header."""

    def __init__(
        self,
        location: _Path | Backing | None = None,
        alignment: TYPE_ALIGNMENT = NOCROSS_ALIGNMENT,
        *,
        read_only: bool = True,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("start_aligned", False):
            alignment = START_ALIGNMENT
        if isinstance(location, Backing):
            if kwargs:
                raise ValueError(f"{', '.join(kwargs)}: the location is made already, and takes no options")
            self.backing = location
            self.backing.create(alignment)
        elif location is None:
            self.backing = _create_default_schunk(**kwargs)
            self.backing.create(alignment)
        elif hasattr(location, "nchunks"):
            raise TypeError(
                "a store is no part of python-blosc2: give a path, or what _create_default_schunk makes"
            )
        elif os.path.isdir(location):
            raise ValueError(f"{os.fspath(location)} is a folder, and the location is to be a file")
        elif os.path.exists(location) and os.path.getsize(location) > 0:
            self.backing = Backing.open(location, read_only)
        elif os.path.isdir(os.path.dirname(os.path.abspath(location))):
            self.backing = _create_default_schunk(filename=location, **kwargs)
            self.backing.create(alignment)
        else:
            raise ValueError(f"{os.fspath(location)}: there is no such folder")
        self.alignment = _ALIGNMENTS[self.backing.reading().info().layout.placement]
        self.lookup: LocationIndex[TYPE_KEY] = _StoreIndex(self.backing)

    @property
    def read_only(self) -> bool:
        """Whether the store takes no records."""
        return self.backing.read_only

    @property
    def chunksize(self) -> int:
        """Raw bytes of a chunk."""
        return self.backing.chunksize

    @property
    def typesize(self) -> int:
        """Bytes of the elements that the filter works on."""
        return self.backing.typesize

    @property
    def locations(self) -> list[Location]:
        """The places of all records."""
        return list(self.lookup.values())

    def put(self, key: TYPE_KEY, value: ReadBuffer, overwrite: bool = True, check: bool = True) -> None:
        """Stores bytes under a key.

        Args:
            key: The key.
            value: Any C-contiguous buffer. It may be empty.
            overwrite: Whether a record of the same key is replaced. If not, it is an error.
            check: Not needed; here because vlstore has it.

        Raises:
            vldepot.Exists: A `ValueError`: when there is a record, and it is not to be replaced.
            ValueError: When the store is open for reading only.
            TypeError: When the key is none, or the buffer is not C-contiguous.
        """
        data: Any = byte_view(value)
        self.backing.writing().put(_name(key), data, new=not overwrite)

    @overload
    def get(
        self, key: TYPE_KEY, *, out: None = ..., return_location: Literal[False] = ..., method: str = ...
    ) -> bytes: ...
    @overload
    def get(
        self, key: TYPE_KEY, *, out: _Out, return_location: Literal[False] = ..., method: str = ...
    ) -> _Out: ...
    @overload
    def get(
        self, key: TYPE_KEY, *, out: Any = ..., return_location: Literal[True], method: str = ...
    ) -> Location: ...
    def get(
        self, key: TYPE_KEY, *, out: Any = None, return_location: bool = False, method: str = "slice"
    ) -> Any:
        """The bytes of a record.

        Args:
            key: The key.
            out: A writable buffer of any shape to read into, which is then what is returned. One that is larger than
                the record keeps its end.
            return_location: Return the record's place, and read nothing.
            method: `"slice"` or `"chunk"`, which are the same here.

        Raises:
            vldepot.NotFound: A `KeyError`: when there is no record of that key.
            ValueError: When `out` is too small, or the method is another.
        """
        if method not in ("slice", "chunk"):
            raise ValueError(f"method is {method!r}, and must be 'slice' or 'chunk'")
        if return_location:
            return self.lookup[key]
        depot = self.backing.reading()
        if out is None:
            return depot[_name(key)]
        fill(out, 0, depot.raw(_name(key)))
        return out

    def fused_size(self, keys: Iterable[TYPE_KEY], *, presorted: bool = False) -> int:
        """Bytes of the buffer that `fused_get` of these keys needs."""
        return self._arranged(keys)[2]

    @overload
    def fused_get(
        self, keys: Iterable[TYPE_KEY], *, presorted: bool = ..., out: None = ...
    ) -> tuple[bytearray, list[slice]]: ...
    @overload
    def fused_get(
        self, keys: Iterable[TYPE_KEY], *, presorted: bool = ..., out: _Out
    ) -> tuple[_Out, list[slice]]: ...
    def fused_get(
        self, keys: Iterable[TYPE_KEY], *, presorted: bool = False, out: Any = None
    ) -> tuple[Any, list[slice]]:
        """Reads many records into one buffer. What is decoded is decoded once, and nothing in between is read.

        Args:
            keys: The keys, in any order. A key may come twice.
            presorted: Not needed; here because vlstore has it.
            out: A writable buffer of `fused_size` bytes or more to read into.

        Returns:
            The buffer, with the records in their order in storage, and the slice of each key, in the order of `keys`.

        Raises:
            vldepot.NotFound: A `KeyError`: when there is no record of a key.
            ValueError: When `out` is too small.
        """
        keys = list(keys)
        order, slices, size = self._arranged(keys)
        buffer = bytearray(size) if out is None else out
        if out is not None and len(byte_view(out)) < size:
            raise ValueError(f"the buffer has {len(byte_view(out))} bytes, and needs {size}: see fused_size")
        records = self.backing.reading().get_many([_name(key) for key in order])
        for key, record in zip(order, records, strict=True):
            fill(buffer, slices[key].start, record)
        return buffer, [slices[key] for key in keys]

    def _arranged(self, keys: Iterable[TYPE_KEY]) -> tuple[list[TYPE_KEY], dict[TYPE_KEY, slice], int]:
        """Keys in their order in storage, the slice of each in a common buffer, and the buffer's size."""
        places = {key: self.lookup[key] for key in dict.fromkeys(keys)}
        order = sorted(places, key=lambda key: places[key].start)
        slices, end = {}, 0
        for key in order:
            start = -(-end // _ALIGN) * _ALIGN
            end = start + places[key].length
            slices[key] = slice(start, end, None)
        return order, slices, end

    def disown(self, key: TYPE_KEY, zero: bool = False) -> None:
        """Removes a record. `vldepot.compact` gives its bytes back.

        Args:
            key: The key.
            zero: Not needed; here because vlstore has it.

        Raises:
            vldepot.NotFound: A `KeyError`: when there is no record of that key.
        """
        del self.backing.writing()[_name(key)]

    def commit(self) -> None:
        """Makes all records so far durable: they survive a killed process and a power loss."""
        if not self.read_only:
            self.backing.writing().commit()

    def close(self) -> None:
        """Makes a file complete, and lets go of it. The store may be used on, in a file and in memory."""
        self.backing.close()

    def keys(self) -> KeysView[TYPE_KEY]:
        """The keys, in the order of insertion."""
        return self.lookup.keys()

    def __getitem__(self, key: TYPE_KEY) -> bytes:
        return self.get(key)

    def __setitem__(self, key: TYPE_KEY, value: ReadBuffer) -> None:
        self.put(key, value)

    def __delitem__(self, key: TYPE_KEY) -> None:
        self.disown(key)

    def __contains__(self, key: object) -> bool:
        return key in self.lookup

    def __iter__(self) -> Iterator[TYPE_KEY]:
        return iter(self.lookup)

    def __len__(self) -> int:
        return len(self.lookup)

    def __enter__(self) -> SChunkStore:
        return self

    def __exit__(self, *_exception: object) -> Literal[False]:
        self.close()
        return False

    def __repr__(self) -> str:
        return f"<vldepot.vlstore.SChunkStore of {self.backing!r}>"


class Depot(Generic[_T]):
    """Objects by key: a codec over a store.

    Args:
        codec: Turns objects into bytes and back.
        backing: A store, or the path of one, or `None` for memory.
        initial_buffer_size: Not needed; here because vlstore has it.
        recycle_buffer: Not needed: each read has memory of its own.

    Example:
        >>> import json
        >>> codec = Codec(pack=lambda value, *, out=None: json.dumps(value).encode(), unpack=json.loads)
        >>> with Depot(codec) as depot:
        ...     depot.put("a", [1, 2])
        >>> depot.get("a"), "a" in depot, len(depot)
        ([1, 2], True, 1)
    """

    def __init__(
        self,
        codec: Codec[_T],
        backing: SChunkStore | _Path | None = None,
        initial_buffer_size: int = 0,
        recycle_buffer: bool = False,
    ) -> None:
        self.codec = codec
        self.backing = backing if isinstance(backing, SChunkStore) else SChunkStore(location=backing)
        self.recycle_buffer = recycle_buffer

    @property
    def lookup(self) -> LocationIndex[TYPE_KEY]:
        """The places of the records, by key."""
        return self.backing.lookup

    def put(self, key: TYPE_KEY, value: _T, overwrite: bool = True) -> None:
        """Stores an object. See `SChunkStore.put`."""
        self.backing.put(key, self.codec.pack(value), overwrite=overwrite)

    def get(self, key: TYPE_KEY, **kwargs: Any) -> _T:
        """The object of a key. It takes what `SChunkStore.get` takes; with `out`, views are views of that buffer."""
        data: Any = self.backing.get(key, **kwargs)
        return data if kwargs.get("return_location") else self.codec.unpack(data)

    def fused_buffer_size(self, *args: Any, **kwargs: Any) -> int:
        """Bytes of the buffer that `fused_get` of these keys needs. See `SChunkStore.fused_size`."""
        return self.backing.fused_size(*args, **kwargs)

    def fused_get(self, keys: Iterable[TYPE_KEY], *, presorted: bool = False, buffer: Any = None) -> list[_T]:
        """Reads many objects at once.

        They come in their order in storage, as in vlstore, or with `presorted` in the order of `keys`. For the order
        of a request see `SChunkStore.fused_get`, or `vldepot.Depot.get_many`.

        Args:
            keys: The keys. A key may come twice.
            presorted: Whether the keys are in their order in storage.
            buffer: A writable buffer of `fused_buffer_size` bytes or more to read into. By default memory that
                nothing else uses.

        Raises:
            vldepot.NotFound: A `KeyError`: when there is no record of a key.
            ValueError: When the buffer is too small.
        """
        keys = list(keys)
        if not presorted:
            places = {key: self.lookup[key].start for key in dict.fromkeys(keys)}
            keys.sort(key=lambda key: places[key])
        data, slices = self.backing.fused_get(keys, presorted=True, out=buffer)
        view = byte_view(data)
        return [self.codec.unpack(view[one]) for one in slices]

    def keys(self) -> KeysView[TYPE_KEY]:
        """The keys, in the order of insertion."""
        return self.backing.keys()

    def close(self) -> None:
        """Closes the store. See `SChunkStore.close`."""
        self.backing.close()

    def __getitem__(self, key: TYPE_KEY) -> _T:
        return self.get(key)

    def __setitem__(self, key: TYPE_KEY, value: _T) -> None:
        self.put(key, value)

    def __delitem__(self, key: TYPE_KEY) -> None:
        del self.backing[key]

    def __contains__(self, key: object) -> bool:
        return key in self.backing

    def __iter__(self) -> Iterator[TYPE_KEY]:
        return iter(self.backing)

    def __len__(self) -> int:
        return len(self.backing)

    def __enter__(self) -> Depot[_T]:
        return self

    def __exit__(self, *_exception: object) -> Literal[False]:
        self.close()
        return False

    def __repr__(self) -> str:
        return f"<vldepot.vlstore.Depot of {self.backing.backing!r}>"
