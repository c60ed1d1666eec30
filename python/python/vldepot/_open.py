"""Making and opening depots."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, TypeVar, Unpack, overload

from . import _vldepot
from ._vldepot import Depot, Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Buffer

MutableMapping.register(Depot)

_V = TypeVar("_V")

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Compression = str | tuple[str, int]
CommitEvery = int | dict[str, Any] | Literal["never"]


class Codec(Protocol[_V]):
    """A codec of your own: an object with these three."""

    @property
    def id(self) -> str:
        """What the file keeps. Opening a depot with another codec is an error."""

    def pack(self, value: _V, /) -> bytes:
        """The bytes of a value."""

    def unpack(self, record: memoryview, /) -> _V:
        """The value of the bytes that `pack` gave. The memory is read-only, and stays as long as views of it."""


class _Frames(TypedDict, total=False):
    """What frames are stored as."""

    precision: str | np.dtype[Any] | type | None
    units: str | dict[str, str] | None
    n_atoms: int | None


class OpenOptions(_Frames, total=False):
    """What `open` takes."""

    mapping: Literal["auto", "never"] | None
    verify: Literal["each_read", "once"] | None
    cache_bytes: int | None
    accept_loss: bool | None


class AppendOptions(OpenOptions, total=False):
    """What `append` takes."""

    commit_every: CommitEvery | None
    threads: int | None


class CreateOptions(AppendOptions, total=False):
    """What `create` takes."""

    preset: Literal["balanced", "fast", "compact", "uncompressed"] | str | None
    compression: Compression | None
    level: int | None
    filter: Literal["shuffle", "bitshuffle", "none"] | None
    typesize: int | None
    chunk_size: int | None
    block_size: int | None
    placement: Literal["no_cross", "contiguous", "start_aligned"] | None
    vlstore_compatible: bool | None
    name_filters: bool | None
    name_order: bool | None
    columns: str | Sequence[str] | None
    statistics: bool | None
    fields_apart: bool | None


#: The depots that are open for writing a file.
_writers: weakref.WeakSet[Depot[Any]] = weakref.WeakSet()


@atexit.register
def _close_writers() -> None:
    """Closes what is still open when the interpreter ends: a daemon thread may keep a depot until it is too late."""
    for depot in list(_writers):
        depot._close_at_exit()


def _make(how: str, source: Any, codec: Any, options: Any, known: type[Any]) -> Depot[Any]:
    for option in options:
        if option not in known.__annotations__:
            raise TypeError(f"{how} has no option {option!r}; there are {', '.join(known.__annotations__)}")
    depot = _vldepot._open(how, source, codec, options)
    if depot.writable and how not in ("memory", "from_bytes"):
        _writers.add(depot)
    return depot


@overload
def create(
    path: Path, codec: Literal["atomic_frame"] = ..., **options: Unpack[CreateOptions]
) -> Depot[Frame]: ...
@overload
def create(path: Path, codec: Literal["array"], **options: Unpack[CreateOptions]) -> Depot[NDArray[Any]]: ...
@overload
def create(path: Path, codec: Literal["bytes"], **options: Unpack[CreateOptions]) -> Depot[bytes]: ...
@overload
def create(path: Path, codec: Literal["msgpack", "json"], **options: Unpack[CreateOptions]) -> Depot[Any]: ...
@overload
def create(
    path: Path, codec: Literal["collection"], **options: Unpack[CreateOptions]
) -> Depot[list[bytes]]: ...
@overload
def create(path: Path, codec: Codec[_V], **options: Unpack[CreateOptions]) -> Depot[_V]: ...
def create(path: Path, codec: Any = "atomic_frame", **options: Any) -> Depot[Any]:
    """Makes a new depot in a new file.

    Args:
        path: Where. Nothing must be there, but for an empty file that nobody writes.
        codec: What the records are: `"atomic_frame"` (`Frame`), `"array"` (numpy arrays of bools, integers and floats
            of at most 64 bits, of any shape; bfloat16 too), `"bytes"`, `"msgpack"` or `"json"` (None, bools, numbers,
            text, lists, dicts), `"collection"` (lists of bytes: see `vldepot.mio`), or an object of yours with `pack(value) -> bytes`, `unpack(memoryview) -> value` and an
            `id`, a `str` that the file keeps.
        preset: `"balanced"` (zstd), `"fast"` (LZ4), `"compact"` (zstd 9) or `"uncompressed"`. The other options of
            the layout change it.
        compression: `"zstd"`, `"lz4"`, `"lz4hc"`, `"blosclz"` or `"none"`, or with a level: `("zstd", 9)`.
        level: 0 to 9.
        filter: `"shuffle"`, `"bitshuffle"` or `"none"`: how bytes are rearranged before compression.
        typesize: Bytes of the elements that the filter works on. The default is the codec's.
        chunk_size: Raw bytes that are compressed together. The default is 4 MiB.
        block_size: Raw bytes of a block, the unit of random reads. The default depends on the records.
        placement: `"no_cross"`, `"contiguous"` or `"start_aligned"`.
        vlstore_compatible: Also write what the package vlstore needs to read the file.
        name_filters: Keep filters of the names, which tell fast that a name is not there. The default is `True`.
        name_order: Keep the order of the names for `sorted_keys`. The default is `True`.
        columns: Scalars of records to keep in columns, for `Depot.column`: of frames, some of `step`, `time`, `energy`
            and `n_atoms`. The default is none.
        statistics: Keep statistics of the fields of frames too, for `Depot.statistics`. The default is `False`.
        fields_apart: Store the fields of frames and arrays apart, so that records of some kilobytes take less room and
            are read several times as fast. Only this package reads such chunks: with `False`, every Blosc2 program can
            read the chunks. The default is `True`, and `False` with the presets `"compact"` and `"uncompressed"`. Other
            codecs have no such fields.
        commit_every: Commit after so many records, or a dict with some of `records`, `bytes` and `seconds`, or
            `"never"`. The default is every 2^20 records or 256 MiB.
        threads: Threads that compress. The default is one per core, at most 4.
        mapping: `"auto"` or `"never"`: whether the file may be mapped into memory.
        verify: `"each_read"` or `"once"`: how often a record's checksum is compared.
        cache_bytes: Bytes of decoded chunks to keep. The default is 0.
        precision: Of positions, velocities, forces and charges of frames: `float32` (the default), `float64`,
            `float16`, `bfloat16` or `as_given`. Numbers are rounded to it, and tiny ones become 0. A number that would
            become infinite is refused.
        units: Names of the units of frames: `"gromacs"` (the default), `"ase"`, or a dict with some of `length`,
            `time`, `energy`, `mass`, `charge` and `pressure`. Numbers are never converted.
        n_atoms: The number of atoms that all frames must have.

    Raises:
        PathExists: When there is something at the path.
        Locked: When another process was faster.
        InvalidOptions: When options do not fit together.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with create(folder.name + "/values.vld", "json", preset="compact") as depot:
        ...     depot["elements"] = ["H", "O"]
        ...     depot["elements"]
        ['H', 'O']
    """
    return _make("create", path, codec, options, CreateOptions)


@overload
def memory(codec: Literal["atomic_frame"] = ..., **options: Unpack[CreateOptions]) -> Depot[Frame]: ...
@overload
def memory(codec: Literal["array"], **options: Unpack[CreateOptions]) -> Depot[NDArray[Any]]: ...
@overload
def memory(codec: Literal["bytes"], **options: Unpack[CreateOptions]) -> Depot[bytes]: ...
@overload
def memory(codec: Literal["msgpack", "json"], **options: Unpack[CreateOptions]) -> Depot[Any]: ...
@overload
def memory(codec: Literal["collection"], **options: Unpack[CreateOptions]) -> Depot[list[bytes]]: ...
@overload
def memory(codec: Codec[_V], **options: Unpack[CreateOptions]) -> Depot[_V]: ...
def memory(codec: Any = "atomic_frame", **options: Any) -> Depot[Any]:
    """Makes a new depot in memory. The arguments are those of `create`, but for the path.

    Example:
        >>> depot = memory("bytes")
        >>> depot["a"] = b"first"
        >>> depot["a"]
        b'first'
    """
    return _make("memory", None, codec, options, CreateOptions)


@overload
def open(path: Path, codec: None = ..., **options: Unpack[OpenOptions]) -> Depot[Any]: ...
@overload
def open(path: Path, codec: Literal["atomic_frame"], **options: Unpack[OpenOptions]) -> Depot[Frame]: ...
@overload
def open(path: Path, codec: Literal["array"], **options: Unpack[OpenOptions]) -> Depot[NDArray[Any]]: ...
@overload
def open(path: Path, codec: Literal["bytes"], **options: Unpack[OpenOptions]) -> Depot[bytes]: ...
@overload
def open(path: Path, codec: Literal["msgpack", "json"], **options: Unpack[OpenOptions]) -> Depot[Any]: ...
@overload
def open(path: Path, codec: Literal["collection"], **options: Unpack[OpenOptions]) -> Depot[list[bytes]]: ...
@overload
def open(path: Path, codec: Codec[_V], **options: Unpack[OpenOptions]) -> Depot[_V]: ...
def open(path: Path, codec: Any = None, **options: Any) -> Depot[Any]:
    """Opens a depot for reading. The cost does not depend on its size.

    It has everything up to the last commit, and the whole chunks after that. Many processes may read a file while one
    writes it; `Depot.refresh` moves a reader forward.

    Args:
        path: The file. A file of the package vlstore is read too: name its codec, which it does not keep.
        codec: The codec; by default the one that the file names. `"bytes"` opens every depot.
        mapping: `"auto"` or `"never"`: whether the file may be mapped into memory.
        verify: `"each_read"` or `"once"`: how often a record's checksum is compared.
        cache_bytes: Bytes of decoded chunks to keep. The default is 0.
        accept_loss: Open a file that lost a commit, and go on with what is left.
        precision: Refuse a depot of frames of another precision.
        units: Refuse a depot of frames in other units.
        n_atoms: Refuse a depot of frames with another number of atoms.

    Raises:
        FileNotFound: When there is no file.
        NotADepot, WrongCodec, CodecParameters, NewerFormat: When the file is not what was asked for.
        Incomplete, Damaged, ChecksumError: When the file is damaged.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> create(folder.name + "/a.vld", "bytes").close()
        >>> depot = open(folder.name + "/a.vld")
        >>> len(depot), depot.codec
        (0, 'bytes')
    """
    return _make("open", path, codec, options, OpenOptions)


@overload
def append(path: Path, codec: None = ..., **options: Unpack[AppendOptions]) -> Depot[Any]: ...
@overload
def append(path: Path, codec: Literal["atomic_frame"], **options: Unpack[AppendOptions]) -> Depot[Frame]: ...
@overload
def append(path: Path, codec: Literal["array"], **options: Unpack[AppendOptions]) -> Depot[NDArray[Any]]: ...
@overload
def append(path: Path, codec: Literal["bytes"], **options: Unpack[AppendOptions]) -> Depot[bytes]: ...
@overload
def append(path: Path, codec: Literal["msgpack", "json"], **options: Unpack[AppendOptions]) -> Depot[Any]: ...
@overload
def append(
    path: Path, codec: Literal["collection"], **options: Unpack[AppendOptions]
) -> Depot[list[bytes]]: ...
@overload
def append(path: Path, codec: Codec[_V], **options: Unpack[AppendOptions]) -> Depot[_V]: ...
def append(path: Path, codec: Any = None, **options: Any) -> Depot[Any]:
    """Opens an existing depot for writing. Its layout stays as it was created.

    After a crash it goes on from the last whole chunk; a torn end is cut off. The arguments are those of `create` and
    `open`.

    Raises:
        Locked: When another writer has the file.
        FileNotFound, WrongCodec, ..: As `open`.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> create(folder.name + "/a.vld", "bytes").close()
        >>> with append(folder.name + "/a.vld") as depot:
        ...     depot["a"] = b"more"
    """
    return _make("append", path, codec, options, AppendOptions)


@overload
def open_or_create(path: Path, codec: None = ..., **options: Unpack[CreateOptions]) -> Depot[Any]: ...
@overload
def open_or_create(
    path: Path, codec: Literal["atomic_frame"], **options: Unpack[CreateOptions]
) -> Depot[Frame]: ...
@overload
def open_or_create(
    path: Path, codec: Literal["array"], **options: Unpack[CreateOptions]
) -> Depot[NDArray[Any]]: ...
@overload
def open_or_create(path: Path, codec: Literal["bytes"], **options: Unpack[CreateOptions]) -> Depot[bytes]: ...
@overload
def open_or_create(
    path: Path, codec: Literal["msgpack", "json"], **options: Unpack[CreateOptions]
) -> Depot[Any]: ...
@overload
def open_or_create(
    path: Path, codec: Literal["collection"], **options: Unpack[CreateOptions]
) -> Depot[list[bytes]]: ...
@overload
def open_or_create(path: Path, codec: Codec[_V], **options: Unpack[CreateOptions]) -> Depot[_V]: ...
def open_or_create(path: Path, codec: Any = None, **options: Any) -> Depot[Any]:
    """Opens a depot for writing, and makes it first if there is none.

    The arguments are those of `create` and `append`. An existing depot keeps its own layout; without a codec it keeps
    its own, and a new one is of frames.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> for run in range(3):
        ...     with open_or_create(folder.name + "/runs.vld", "msgpack") as depot:
        ...         depot[run] = {"seed": run}
        >>> len(open(folder.name + "/runs.vld"))
        3
    """
    return _make("open_or_create", path, codec, options, CreateOptions)


@overload
def from_bytes(content: Buffer, codec: None = ..., **options: Unpack[AppendOptions]) -> Depot[Any]: ...
@overload
def from_bytes(
    content: Buffer, codec: Literal["atomic_frame"], **options: Unpack[AppendOptions]
) -> Depot[Frame]: ...
@overload
def from_bytes(
    content: Buffer, codec: Literal["array"], **options: Unpack[AppendOptions]
) -> Depot[NDArray[Any]]: ...
@overload
def from_bytes(
    content: Buffer, codec: Literal["bytes"], **options: Unpack[AppendOptions]
) -> Depot[bytes]: ...
@overload
def from_bytes(
    content: Buffer, codec: Literal["msgpack", "json"], **options: Unpack[AppendOptions]
) -> Depot[Any]: ...
@overload
def from_bytes(
    content: Buffer, codec: Literal["collection"], **options: Unpack[AppendOptions]
) -> Depot[list[bytes]]: ...
@overload
def from_bytes(content: Buffer, codec: Codec[_V], **options: Unpack[AppendOptions]) -> Depot[_V]: ...
def from_bytes(content: Buffer, codec: Any = None, **options: Any) -> Depot[Any]:
    """Makes a writable depot in memory, with the content of a file or of `Depot.to_bytes`.

    Args:
        content: `bytes`, or anything that exports a buffer. It is copied.
        codec: As for `open`.

    Example:
        >>> depot = memory("bytes")
        >>> depot["a"] = b"first"
        >>> from_bytes(depot.to_bytes())["a"]
        b'first'
    """
    return _make("from_bytes", content, codec, options, AppendOptions)


def _reopen(path: str, codec: Any, options: dict[str, Any]) -> Depot[Any]:
    """Opens a depot that was pickled."""
    return _vldepot._open("open", path, codec, options)
