"""Collections of objects, under the names that users of MIO know.

A collection is a sample of several objects, such as the pictures of a film, with metadata, such as its label.
Any object is read alone, and metadata and sizes are read without objects:

    >>> import tempfile
    >>> from vldepot.mio import MIO, MioWriter
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/films.vld"
    >>> with MioWriter(path) as m:
    ...     for label in range(3):
    ...         with m.create_collection() as c:
    ...             c.set_meta(bytes([label]))
    ...             for picture in (b"first", b"second"):
    ...                 c.add_object(picture)
    >>> m = MIO(path)
    >>> m.size, m.get_collection_size(1), m.get_collection_metadata(1)
    (3, 2, b'\\x01')
    >>> m.fetchone(1), m.fetchmany(1, [1, 0]), len(m.fetchall(1))
    (b'first', [b'second', b'first'], 2)

Splits are kept in the file, by name:

    >>> from vldepot.mio import Split, set_split, split
    >>> set_split(path, "train", Split([2, 0]))
    >>> split(path, "train").items
    [0, 2]

What differs from MIO: the path is one file, and not a folder. A finished collection is in the file, and survives a
killed writer. Everything has a checksum. A writer may go on with a file (`append=True`). `import_dataset` and
`export_dataset` move MIO's own folders in and out, with `Split.fromfile` and `Split.tofile` for its splits.

The file is a depot of the codec `"collection"`: `vldepot.open(path)[1]` is the list of objects of a collection,
its loader trains with it, and `MioReader.depot` is that depot.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Unpack

from . import _vldepot
from ._open import CreateOptions, OpenOptions, Path, _make
from .errors import OutOfRange

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ._vldepot import Depot

__all__ = [
    "MIO",
    "Exported",
    "Imported",
    "MioDataset",
    "MioReader",
    "MioWriter",
    "NewCollection",
    "Split",
    "Subset",
    "export_dataset",
    "import_dataset",
    "remove_split",
    "set_split",
    "split",
    "split_names",
]

#: Bytes of a block, as for archives: objects are files of all kinds.
_BLOCK = 64 << 10


class Split:
    """Numbers of collections that belong together, sorted, each once.

    Args:
        items: The numbers, in any order.

    Raises:
        ValueError: When a number comes twice.

    Example:
        >>> Split([3, 1]).items
        [1, 3]
    """

    items: list[int]
    """The numbers, sorted."""

    def __init__(self, items: Iterable[int]) -> None:
        self.items = sorted(items)
        for one, other in zip(self.items, self.items[1:], strict=False):
            if one == other:
                raise ValueError(f"a split has each collection once: {one} comes twice")

    def __len__(self) -> int:
        return len(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Split) and self.items == other.items

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Split({self.items!r})"

    def tofile(self, path: Path) -> None:
        """Writes the split as MIO has it: numbers of four bytes, in a file of their own.

        Raises:
            PathExists: When there is something at the path.
            InvalidOptions: When a number does not fit.
        """
        _vldepot._write_mio_split(self.items, path)

    @staticmethod
    def fromfile(path: Path) -> Split:
        """Reads a split that MIO or `tofile` wrote.

        Raises:
            NotADepot: When it is no such file.
        """
        return Split(_vldepot._read_mio_split(path))


class NewCollection:
    """A collection that is being written: what `MioWriter.create_collection` gives.

    It is a context manager, whose end calls `close`. If the scope ends with an exception, nothing is written: that
    collection is not finished.
    """

    def __init__(self, writer: MioWriter) -> None:
        self._writer = writer
        self._metadata = b""
        self._objects: list[bytes] | None = []

    def set_meta(self, data: Buffer) -> None:
        """Sets the metadata: any bytes. They are empty otherwise."""
        self._metadata = bytes(data)

    def add_object(self, data: Buffer) -> None:
        """Adds an object after the others.

        Raises:
            ValueError: When the collection is closed.
        """
        if self._objects is None:
            raise ValueError("the collection is closed")
        self._objects.append(bytes(data))

    def close(self) -> None:
        """Writes the collection. From then on it survives the end of the process. Closing twice does nothing."""
        if self._objects is not None:
            objects, self._objects = self._objects, None
            self._writer._finish(self._metadata, objects)

    def __enter__(self) -> NewCollection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._objects = None


class MioWriter:
    """Writes collections into a new file.

    Args:
        root: The file. Nothing must be there.
        append: Go on with a file that is there, or make a new one if there is none.
        buffered: Keep small collections together, in memory until a chunk of them is full. Then they take less room,
            and a killed process loses those that it kept.
        **options: Those of `vldepot.create`, for a new file.

    Raises:
        PathExists: When there is something at the path, and `append` is not given.

    It is a context manager, whose end calls `close`, also after an exception: finished collections are kept.
    """

    depot: Depot[list[bytes]]
    """The depot that is written, of the codec `"collection"`."""

    def __init__(
        self, root: Path, *, append: bool = False, buffered: bool = False, **options: Unpack[CreateOptions]
    ) -> None:
        how = "open_or_create" if append else "create"
        self.depot = _make(how, root, "collection", _layout(options), CreateOptions)
        self._buffered = buffered
        self._next = _next_id(self.depot)

    def create_collection(self) -> NewCollection:
        """A new collection, to be used as a scope: see `NewCollection`."""
        return NewCollection(self)

    def _finish(self, metadata: bytes, objects: list[bytes]) -> None:
        self.depot.put(self._next, objects, new=True, metadata=metadata or None)
        self._next += 1
        if not self._buffered:
            self.depot.flush()

    def close(self) -> None:
        """Makes everything durable, and closes the file."""
        self.depot.close()

    def __enter__(self) -> MioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MioReader:
    """Reads collections. `MIO` is the same class.

    Args:
        root: The file. A folder of MIO's is imported first: see `import_dataset`.
        **options: Those of `vldepot.open`.

    Collections are counted from 0 in the order in which they were written, and from the end if negative; so are the
    objects of a collection. Threads may share a reader. It is a context manager, and can be pickled.
    """

    depot: Depot[list[bytes]]
    """The depot, of the codec `"collection"`."""

    def __init__(self, root: Path, **options: Unpack[OpenOptions]) -> None:
        self._root, self._options = os.path.abspath(os.fspath(root)), options
        folder = os.path.join(os.fsdecode(self._root), "collections")
        if os.path.isfile(folder):
            raise ValueError(
                f"{os.fsdecode(self._root)} is a dataset of MIO: "
                "vldepot.mio.import_dataset(folder, path) makes a file of it"
            )
        self.depot = _make("open", root, "collection", options, OpenOptions)

    def __reduce__(self) -> Any:
        return (_reopened, (type(self), self._root, dict(self._options)))

    @property
    def size(self) -> int:
        """How many collections there are."""
        return len(self.depot)

    def _name(self, collection_id: int) -> Any:
        return self.depot.names_at(collection_id)

    def get_collection_size(self, collection_id: int) -> int:
        """How many objects a collection has. None of them is read."""
        return _vldepot._collection_size(self.depot, self._name(collection_id))

    def get_collection_sizes(self) -> list[int]:
        """How many objects each collection has, from the index."""
        return _vldepot._collection_sizes(self.depot)

    def get_collection_metadata(self, collection_id: int) -> bytes:
        """The metadata of a collection, which may be empty. No object is read."""
        found: bytes | None = self.depot.metadata_of(self._name(collection_id))
        return b"" if found is None else found

    def fetchone(self, collection_id: int, object_id: int = 0) -> bytes:
        """One object of a collection."""
        return self.fetchmany(collection_id, [object_id])[0]

    def fetchmany(self, collection_id: int, object_ids: Sequence[int]) -> list[bytes]:
        """Some objects of a collection, in the order in which they are asked for.

        Raises:
            OutOfRange: When there is no such collection or object. It is an `IndexError`.
        """
        name = self._name(collection_id)
        if any(n < 0 for n in object_ids):
            size = _vldepot._collection_size(self.depot, name)
            for n in object_ids:
                if n < -size:
                    raise OutOfRange(f"object {n} of a collection of {size}", position=-n, len=size)
            object_ids = [n + size if n < 0 else n for n in object_ids]
        return _vldepot._collection_objects(self.depot, name, list(object_ids))

    def fetchall(self, collection_id: int) -> list[bytes]:
        """All objects of a collection, in their order."""
        return self.depot[self._name(collection_id)]

    def __len__(self) -> int:
        return self.size

    def close(self) -> None:
        """Closes the file."""
        self.depot.close()

    def __enter__(self) -> MioReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


MIO = MioReader
"""`MioReader`, by the name that is short."""


def _reopened(cls: type[MioReader], root: Path, options: Any) -> MioReader:
    return cls(root, **options)


Sampler: TypeAlias = Callable[[int, int], "int | Sequence[int]"]


class Subset:
    """Some of a dataset's samples: what `MioDataset.to_split` gives. It has `len` and samples by number."""

    def __init__(
        self,
        dataset: MioDataset,
        indices: Sequence[int],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.dataset, self.indices = dataset, indices
        self._transforms = (transform or dataset.transform, target_transform or dataset.target_transform)

    def __getitem__(self, idx: int) -> tuple[Any, Any]:
        return self.dataset._sample(self.indices[idx], *self._transforms)

    def __len__(self) -> int:
        return len(self.indices)


class MioDataset:
    """Samples for training, with the methods that PyTorch's `DataLoader` asks for.

    Args:
        root: The file.
        sampler: Called with the number and the size of a collection. Returns the number of an object, or several.
        transform: Called with the bytes of the object, or the list of them.
        target_transform: Called with the metadata.

    A sample is the pair of both. `vldepot.Depot.loader` and `vldepot.torch` read ahead and in runs, which is faster.
    """

    mio: MioReader
    """The reader."""

    def __init__(
        self,
        root: Path,
        sampler: Sampler,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.root, self.sampler = root, sampler
        self.transform, self.target_transform = transform, target_transform
        self.mio = MioReader(root)

    def to_split(
        self,
        split: Split | str,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> Subset:
        """The samples of a split, or of the one with that name in the file.

        Transforms are those of the dataset, unless others are given. The dataset keeps its own.

        Raises:
            KeyError: When the file has no split of that name.
        """
        if isinstance(split, str):
            name, found = split, _vldepot._split(self.mio.depot, split)
            if found is None:
                raise KeyError(f"no split is called {name!r}")
            split = Split(found)
        return Subset(self, split.items, transform, target_transform)

    def __getitem__(self, id_: int) -> tuple[Any, Any]:
        return self._sample(id_, self.transform, self.target_transform)

    def _sample(self, id_: int, transform: Any, target_transform: Any) -> tuple[Any, Any]:
        selected = self.sampler(id_, self.mio.get_collection_size(id_))
        data: Any
        if isinstance(selected, int):
            data = self.mio.fetchone(id_, selected)
        else:
            data = self.mio.fetchmany(id_, selected)
        target: Any = self.mio.get_collection_metadata(id_)
        if transform is not None:
            data = transform(data)
        if target_transform is not None:
            target = target_transform(target)
        return data, target

    def __len__(self) -> int:
        return self.mio.size


def set_split(path: Path, name: str, split: Split) -> None:
    """Stores a split in the file, under a name. It replaces the one of that name."""
    with _make("append", path, "collection", {}, CreateOptions) as depot:
        _vldepot._set_split(depot, name, split.items)


def split(path: Path, name: str) -> Split | None:
    """The split of that name in the file, or `None`."""
    with _make("open", path, "collection", {}, OpenOptions) as depot:
        found = _vldepot._split(depot, name)
    return None if found is None else Split(found)


def split_names(path: Path) -> list[str]:
    """The names of the splits in the file, sorted."""
    with _make("open", path, "collection", {}, OpenOptions) as depot:
        return _vldepot._split_names(depot)


def remove_split(path: Path, name: str) -> bool:
    """Removes a split from the file, and returns False if there was none. Collections stay."""
    with _make("append", path, "collection", {}, CreateOptions) as depot:
        return _vldepot._remove_split(depot, name)


class Imported(NamedTuple):
    """What `import_dataset` did."""

    collections: int
    """Collections that were read."""
    objects: int
    """Their objects."""
    bytes: int
    """Bytes of these objects."""


class Exported(NamedTuple):
    """What `export_dataset` did."""

    collections: int
    """Collections that were written."""
    objects: int
    """Their objects."""
    bytes: int
    """Bytes of these objects."""
    renumbered: int
    """How many collections have another number in MIO's files than their name here."""


def import_dataset(folder: Path, path: Path) -> Imported:
    """Makes a file of collections from a dataset of MIO.

    The file appears when it is complete. A newer minor version of MIO's files is a warning: they may have more than
    is read.

    Args:
        folder: The folder with the files `collections` and `objects`.
        path: The new file.

    Raises:
        NotADepot: When the folder is no dataset of MIO, or its writer was not closed.
        NewerFormat: For a newer major version.
        Damaged: When a table leads out of its file.
        PathExists: When there is something at the path.
    """
    collections, objects, n_bytes, newer = _vldepot._import_mio(folder, path)
    if newer is not None:
        warnings.warn(
            f"{os.fsdecode(folder)}: version {newer[0]}.{newer[1]} of MIO, of which 0.1 is known: "
            "it may have more than was read",
            stacklevel=2,
        )
    return Imported(collections, objects, n_bytes)


def export_dataset(path: Path, folder: Path) -> Exported:
    """Writes a file of collections as a dataset of MIO: a new folder with the files `collections` and `objects`.

    The folder appears when it is complete. Names and splits are not kept: `Split.tofile` writes a split.

    Raises:
        PathExists: When there is something at the folder's path.
    """
    with _make("open", path, "collection", {}, OpenOptions) as depot:
        return Exported(*_vldepot._export_mio(depot, folder))


def _layout(options: CreateOptions) -> CreateOptions:
    """Objects are not shuffled, as arrays are, and the index counts them."""
    plain = options.get("preset") == "uncompressed" or options.get("compression") in ("none", ("none", 0))
    chosen: CreateOptions = {"filter": "none", "typesize": 1, "columns": ["objects"]}
    if not plain:
        chosen["block_size"] = min(_BLOCK, options.get("chunk_size") or _BLOCK)
    chosen.update({name: value for name, value in options.items() if value is not None})  # type: ignore[typeddict-item]
    return chosen


def _next_id(depot: Depot[Any]) -> int:
    last = next(iter(depot.sorted_keys(start=0, reverse=True)), None)
    return 0 if last is None else int(last) + 1
