"""Objects with metadata that many processes change, under the names that users of dirdb know.

A database is one file. It acts like a dictionary of entries. An entry has an object and metadata, which are read
without the object:

    >>> import tempfile
    >>> import numpy as np
    >>> from vldepot.dirdb import dirdb
    >>> folder = tempfile.TemporaryDirectory()
    >>> db = dirdb(folder.name + "/testdb")
    >>> entry = db["foo"]
    >>> "foo" in db, bool(entry)
    (False, False)
    >>> entry.put_data(np.eye(2), meta={"shape": [2, 2]})
    >>> "foo" in db, bool(entry)
    (True, True)
    >>> with entry:  # no other process is in here for this entry
    ...     entry.meta = {"test": [1, 2]}  # durable at once
    ...     entry.meta.test.append(3)  # durable when the scope ends
    >>> db["foo"].meta
    {'test': [1, 2, 3]}
    >>> db["foo"].get_data()
    array([[1., 0.],
           [0., 1.]])
    >>> [entry.name for entry in db], db["foo"].stat().serializer
    (['foo'], 'npy')

Every change is a commit of its own. A process that is killed in one leaves the old object or the new one, and a lock
whose holder is killed is free.

**Pickles.** Reading a pickle can run any program that whoever wrote it chose. So nothing is pickled, or unpickled,
unless you ask: `dirdb(path, pickler=pickle)`. Without it there are the serializers below. They give back exactly what
they took, or refuse it.

| serializer | objects |
| --- | --- |
| `bytes` | `bytes` |
| `npy` | numpy arrays, but for those of Python objects |
| `msgpack` | None, bools, ints of 64 bits, floats, text, bytes, and lists and dictionaries of them |
| yours | see `Serializer` |
| the pickler's | everything else, if there is a pickler |

What else differs from dirdb: `db[name] = obj` stores, `del db[name]` removes, and there are `len`, `keys` and `stat`.
`update_meta(name, meta)` stores what it is given. Keys of metadata keep their types. Names with `/` are refused:
`subdb` gives what is below. `import_folder` and `export_folder` move dirdb's own folders in and out.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from . import _vldepot
from .errors import Error, InvalidOptions, PathExists

if TYPE_CHECKING:
    from ._open import Path

__all__ = [
    "Exported",
    "Imported",
    "Pickler",
    "Serializer",
    "Stat",
    "dbentry",
    "dirdb",
    "export_folder",
    "import_folder",
    "jsdict",
]

_V = TypeVar("_V")


class Pickler(Protocol):
    """What `dirdb` takes as `pickler`: a module or an object like `pickle`."""

    def dump(self, obj: Any, file: Any, /, *, protocol: int, fix_imports: bool) -> None:
        """Writes an object to a binary file."""

    def load(self, file: Any, /) -> Any:
        """Reads an object from a binary file."""


@dataclass(frozen=True)
class Serializer:
    """How objects of some types become bytes and back.

    Example:
        >>> complex_text = Serializer("complex", complex, lambda z: str(z).encode(), lambda b: complex(b.decode()))
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> db = dirdb(folder.name + "/numbers", serializers=[complex_text])
        >>> db["i"] = 1j
        >>> db["i"].get_data()
        1j
    """

    name: str
    """What the file keeps. Objects of this name are read by `load`."""
    types: type[Any] | tuple[type[Any], ...]
    """The types of the objects that are stored by it."""
    dump: Callable[[Any], bytes]
    """The bytes of an object."""
    load: Callable[[bytes], Any]
    """The object of the bytes."""


class Stat(NamedTuple):
    """What is known of an entry without reading its object. Times are in seconds since 1970."""

    size: int | None
    """Bytes of the object. `None` if there is metadata alone."""
    checksum: int | None
    """CRC32C of these bytes."""
    serializer: str | None
    """What made the bytes."""
    created: float | None
    """When the first of its object and metadata was stored."""
    modified: float | None
    """When the object was stored."""
    meta_modified: float | None
    """When the metadata were stored."""
    has_meta: bool
    """Whether there are metadata."""


class jsdict(dict[str, Any]):
    """A dictionary whose entries are attributes too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.__dict__ = self


@functools.total_ordering
class dbentry:
    """The entry of a name, whether there is something or not. It is false if there is no object.

    Entries compare and sort by file, folder and name. `with entry:` locks the entry for other threads and processes,
    reads its metadata anew, and stores them at the end of the scope if they changed there.
    """

    def __init__(self, db: dirdb, name: str) -> None:
        self._db, self._name = db, name
        self._meta: jsdict | None = None
        self._stored: bytes | None = None
        self._locks: list[Any] = []

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    def __enter__(self) -> dbentry:
        self._locks.append(self._db._core.lock(self._name))
        if len(self._locks) == 1:
            # Another process may have changed them since.
            self._meta = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._store_changes()
        finally:
            self._locks.pop().release()

    def __str__(self) -> str:
        return f"dbentry({self._name})"

    def __repr__(self) -> str:
        return f"DB:{'/'.join(self._place())}"

    def _place(self) -> tuple[str, str]:
        core = self._db._core
        return (os.path.join(os.fspath(core.path), core.folder_path).rstrip("/"), self._name)

    def __eq__(self, other: object) -> bool:
        return self._place() == other._place() if isinstance(other, dbentry) else NotImplemented

    def __lt__(self, other: dbentry) -> bool:
        return self._place() < other._place() if isinstance(other, dbentry) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._place())

    def __bool__(self) -> bool:
        return self._db._core.contains(self._name)

    def has_data(self) -> bool:
        """Whether there is an object."""
        return bool(self)

    @property
    def meta(self) -> jsdict:
        """The metadata: a dictionary, whose entries are attributes too. The object is not read.

        They are read once, and again in each `with entry:`. Without any, they are empty. Setting them stores them at
        once, with or without an object; a change inside is stored by `update_meta`, `put_data`, or the end of
        `with entry:`. Setting `None` removes them.
        """
        if self._meta is None:
            found = self._db._core.metadata(self._name)
            self._meta = jsdict({} if found is None else found)
            self._stored = None if found is None else _vldepot._pack(found)
        return self._meta

    @meta.setter
    def meta(self, meta: dict[str, Any] | None) -> None:
        if meta is None:
            self._db._core.remove_metadata(self._name)
            self._meta = None
        else:
            new = jsdict(meta)
            self._stored = self._store(new)
            self._meta = new

    def _store(self, meta: jsdict) -> bytes:
        packed = _vldepot._pack(dict(meta))
        self._db._core.set_metadata(self._name, dict(meta))
        return packed

    def update_meta(self) -> None:
        """Stores the metadata, if they were read or set."""
        if self._meta is not None and (self._meta or self._stored is not None):
            self._stored = self._store(self._meta)

    def _store_changes(self) -> None:
        if self._meta is not None and (self._meta or self._stored is not None):
            if _vldepot._pack(dict(self._meta)) != self._stored:
                self._stored = self._store(self._meta)

    def put_data(self, obj: Any, meta: dict[str, Any] | None = None) -> None:
        """Stores an object, and the metadata if there are new ones or changes of the old ones, in one step.

        Raises:
            TypeError: When no serializer takes the object.
        """
        data, serializer = self._db._dump(obj)
        new = self._meta if meta is None else jsdict(meta)
        if new is None or (not new and meta is None and self._stored is None):
            self._db._core.put(self._name, data, serializer)
            return
        packed = _vldepot._pack(dict(new))
        self._db._core.put_with_metadata(self._name, data, serializer, dict(new))
        self._meta, self._stored = new, packed

    def get_data(self, custom_pickle: Pickler | None = None) -> Any:
        """The object.

        Args:
            custom_pickle: The pickler to read it with, instead of the database's.

        Raises:
            NotFound: When there is none. It is a `KeyError`.
            InvalidOptions: When it is a pickle, and there is no pickler.
        """
        data, serializer = self._db._core.get(self._name)
        return self._db._load(self._name, data, serializer, custom_pickle)

    def stat(self) -> Stat | None:
        """Size, checksum, serializer and times. `None` if there is neither object nor metadata."""
        found = self._db._core.stat(self._name)
        return None if found is None else Stat(*found)

    def delete(self) -> bool:
        """Removes the object and the metadata, and returns False if there was neither."""
        self._meta = self._stored = None
        return self._db._core.remove(self._name)


class dirdb:
    """Objects in a file, or in a folder of it, like a dictionary of entries.

    Args:
        name: The file. It is made if there is none.
        create_ok: Whether it may be made.
        pickler: `pickle`, or something like it, for objects that no other serializer takes. **Reading a pickle can
            run any program that whoever wrote the file chose.**
        serializers: Serializers of your own. They come before the others, and the first that takes an object
            stores it.

    Raises:
        FileNotFoundError: When there is no file, and it may not be made.
        NotADepot: When it is another file.
    """

    def __init__(
        self,
        name: Path,
        create_ok: bool = True,
        pickler: Pickler | None = None,
        serializers: list[Serializer] | tuple[Serializer, ...] = (),
    ) -> None:
        if os.path.isdir(name):
            raise ValueError(
                f"{os.fsdecode(name)} is a folder, and a database is a file: "
                "vldepot.dirdb.import_folder(folder, path) makes one of a folder of dirdb"
            )
        if create_ok:
            os.makedirs(os.path.dirname(os.path.abspath(os.fsdecode(name))), exist_ok=True)
        self._core = _vldepot.ObjectsCore(name, create_ok)
        self._use(pickler, tuple(serializers))

    def _use(self, pickler: Pickler | None, serializers: tuple[Serializer, ...]) -> None:
        if pickler is not None and not (hasattr(pickler, "dump") and hasattr(pickler, "load")):
            raise TypeError("a pickler has `dump` and `load`, as the module pickle has")
        self.pickler, self.serializers = pickler, serializers

    def _dump(self, obj: Any) -> tuple[bytes, str]:
        for serializer in self.serializers:
            if isinstance(obj, serializer.types):
                return serializer.dump(obj), serializer.name
        if type(obj) is bytes:
            return obj, "bytes"
        if _is_array(obj):
            return _to_npy(obj), "npy"
        if _is_plain(obj):
            return _vldepot._pack(obj), "msgpack"
        if self.pickler is None:
            raise TypeError(
                f"no serializer takes {type(obj).__name__}: dirdb(path, pickler=pickle) pickles it, "
                "and vldepot.dirdb.Serializer makes one of your own"
            )
        out = io.BytesIO()
        self.pickler.dump(obj, out, protocol=pickle.DEFAULT_PROTOCOL, fix_imports=False)
        return out.getvalue(), _pickler_name(self.pickler)

    def _load(self, name: str, data: bytes, serializer: str | None, custom: Pickler | None) -> Any:
        for own in self.serializers:
            if own.name == serializer:
                return own.load(data)
        if serializer is None or serializer == "bytes":
            return data
        if serializer == "npy":
            return _from_npy(data)
        if serializer == "msgpack":
            return _vldepot._unpack(data)
        pickler = custom or self.pickler
        if pickler is None:
            what = "a pickle" if serializer == "pickle" else f"of the serializer {serializer!r}"
            raise InvalidOptions(
                f"{os.fspath(self._core.path)}: the object {name!r} is {what}. Reading a pickle can run any program "
                "that whoever wrote the file chose. If you trust the file, say so: dirdb(path, pickler=pickle)"
            )
        return pickler.load(io.BytesIO(data))

    def __repr__(self) -> str:
        return f"<dirdb {os.path.join(os.fspath(self._core.path), self._core.folder_path)}>"

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._core.contains(name)

    def __getitem__(self, name: str) -> dbentry:
        self._core.contains(name)  # Refuses what is no name.
        return dbentry(self, name)

    def __setitem__(self, name: str, obj: Any) -> None:
        self.save_data(name, obj)

    def __delitem__(self, name: str) -> None:
        with self._locked(name):
            if not self._core.remove(name):
                raise KeyError(name)

    def __iter__(self) -> Iterator[dbentry]:
        return self.entries()

    def __len__(self) -> int:
        return len(self._core.names())

    def keys(self) -> list[str]:
        """The names of all objects, sorted."""
        return self._core.names()

    def _locked(self, name: str) -> _Locked:
        return _Locked(self._core.lock(name))

    def save_data(self, name: str, obj: Any, meta: dict[str, Any] | None = None) -> None:
        """Stores an object, and metadata if there are some, while the entry is locked."""
        data, serializer = self._dump(obj)
        with self._locked(name):
            if meta is None:
                self._core.put(name, data, serializer)
            else:
                self._core.put_with_metadata(name, data, serializer, dict(meta))

    def get_data(self, name: str) -> Any:
        """The object of that name, when nobody has the entry locked."""
        with self._locked(name):
            return self[name].get_data()

    def update_meta(self, name: str, meta: dict[str, Any]) -> None:
        """Stores metadata, in place of those that there are, while the entry is locked."""
        with self._locked(name):
            self._core.set_metadata(name, dict(meta))

    def entries(self) -> Iterator[dbentry]:
        """All entries that have an object, sorted by name."""
        return (dbentry(self, name) for name in self._core.names())

    def meta_only(self) -> Iterator[dbentry]:
        """All entries that have metadata and no object, sorted by name."""
        return (dbentry(self, name) for name in self._core.names_without_object())

    def subdirs(self) -> Iterator[dirdb]:
        """The databases below this one, sorted by name."""
        return (self.subdb(name, create_ok=False) for name in self._core.folders())

    def subdb(self, name: object, create_ok: bool = True) -> dirdb:
        """The database of that name below this one. It is noted in the file, so that it is listed when empty."""
        below = object.__new__(dirdb)
        below._core = self._core.folder(str(name), create_ok)
        below._use(self.pickler, self.serializers)
        return below

    @property
    def name(self) -> str:
        """The name of a database below another one; empty for the file."""
        return self._core.folder_path.rstrip("/").rpartition("/")[2]

    def delete_subdb(self, name: object) -> int:
        """Removes a database below this one with all that is in it, and returns how many objects there were."""
        return self._core.remove_folder(str(name))


class _Locked:
    """A lock as a scope."""

    def __init__(self, lock: _vldepot.NameLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _pickler_name(pickler: Pickler) -> str:
    return str(getattr(pickler, "__name__", type(pickler).__name__))


def _is_array(obj: Any) -> bool:
    import numpy as np

    return type(obj) is np.ndarray and not obj.dtype.hasobject and obj.dtype.kind != "V"


def _to_npy(array: Any) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def _from_npy(data: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(data), allow_pickle=False)


def _is_plain(obj: Any) -> bool:
    """Whether MessagePack gives the object back as it is."""
    left, depth = [(obj, 0)], 0
    while left:
        item, depth = left.pop()
        kind = type(item)
        if kind is list:
            left.extend((inner, depth + 1) for inner in item)
        elif kind is dict:
            left.extend((inner, depth + 1) for inner in item.values())
            if not all(type(key) in (str, int) and _is_plain(key) for key in item):
                return False
        elif kind is int:
            if not -(2**63) <= item < 2**64:
                return False
        elif kind is str:
            if not _is_text(item):
                return False
        elif item is not None and kind not in (bool, float, bytes):
            return False
        if depth > 500:
            return False
    return True


def _is_text(text: str) -> bool:
    """Whether it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Imported(NamedTuple):
    """What `import_folder` did."""

    objects: int
    """Objects that were read."""
    metadata: int
    """Files of metadata that were read."""
    folders: int
    """Folders below the first one."""
    ignored: list[str]
    """Files that are none of dirdb's, by their paths in the folder, and are not in the new file. Lock files are not
    listed."""


class Exported(NamedTuple):
    """What `export_folder` did."""

    objects: int
    """Objects that were written."""
    metadata: int
    """Metadata that were written."""
    folders: int
    """Folders below the first one."""


def import_folder(folder: Path, path: Path, *, pickles: bool = False) -> Imported:
    """Makes a database of a folder of dirdb: its pickles, its metadata and the folders in it.

    The file appears when it is complete. Pickles are taken as they are, and not read. Whoever reads them later opens
    the database with a pickler.

    Args:
        folder: The folder.
        path: The new file.
        pickles: Whether to take pickles.

    Raises:
        InvalidOptions: When there is a pickle, and they are not asked for.
        ValueError: When a file of metadata is not what dirdb writes.
        PathExists: When there is something at the path.
    """
    source, target = os.fsdecode(folder), os.fsdecode(path)
    if not os.path.isdir(source):
        raise NotADirectoryError(f"{source} is no folder")
    _refuse_existing(target)
    staging = tempfile.mkdtemp(prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target) or ".")
    try:
        made = os.path.join(staging, "new")
        ignored: list[str] = []
        counts = _import_into(dirdb(made), source, "", pickles, ignored)
        try:
            os.link(made, target)
        except FileExistsError:
            _refuse_existing(target)
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if counts[0]:
        warnings.warn(
            f"{target}: {counts[0]} objects are pickles. Reading one can run any program that whoever wrote it chose",
            stacklevel=2,
        )
    objects, metadata, folders = counts
    return Imported(objects, metadata, folders, ignored)


def _refuse_existing(path: str) -> None:
    if os.path.lexists(path):
        raise PathExists(f"{path}: the path exists, and stays as it is: choose another one", path=path)


def _import_into(db: dirdb, folder: str, place: str, pickles: bool, ignored: list[str]) -> list[int]:
    counts = [0, 0, 0]
    meta: dict[str, dict[str, Any]] = {}
    data: dict[str, str] = {}
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        stem, suffix = os.path.splitext(item.name)
        where = f"{place}{item.name}"
        if item.is_dir():
            below = _import_into(db.subdb(item.name), item.path, f"{where}/", pickles, ignored)
            counts = [one + other for one, other in zip(counts, below, strict=True)]
            counts[2] += 1
        elif suffix == ".pickle" and item.is_file():
            if not pickles:
                raise InvalidOptions(
                    f"{item.path} is a pickle, and reading it later can run any program that whoever wrote it chose. "
                    "If you trust the folder, say so: pickles=True"
                )
            data[stem] = item.path
        elif suffix == ".json" and item.is_file():
            meta[stem] = _read_meta(item.path)
        elif suffix != ".lock":
            ignored.append(where)
    for name in sorted(data.keys() | meta.keys()):
        try:
            if name in data:
                with open(data[name], "rb") as file:
                    content = file.read()
                if name in meta:
                    db._core.put_with_metadata(name, content, "pickle", meta[name])
                else:
                    db._core.put(name, content, "pickle")
            else:
                db._core.set_metadata(name, meta[name])
        except (Error, TypeError, ValueError) as error:
            error.add_note(f"while reading {place}{name} of the folder {folder}")
            raise
    return [counts[0] + len(data), counts[1] + len(meta), counts[2]]


def _read_meta(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path}: no metadata of dirdb, which are JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: metadata of dirdb are a JSON object, and this is a {type(found).__name__}")
    return found


def export_folder(db: dirdb, folder: Path) -> Exported:
    """Writes a database as a folder of dirdb: pickles, JSON of metadata, and the folders below.

    The folder appears when it is complete. Objects that are no pickles are pickled, because dirdb reads nothing else.

    Args:
        db: The database. It has the serializers that read its objects.
        folder: The new folder.

    Raises:
        PathExists: When there is something at the folder's path.
        TypeError: When metadata have something that JSON does not have, such as bytes. The message names it.
    """
    target = os.fsdecode(folder)
    _refuse_existing(target)
    staging = tempfile.mkdtemp(prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target) or ".")
    try:
        made = os.path.join(staging, "new")
        counts = _export_from(db, made)
        _refuse_existing(target)
        os.rename(made, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Exported(*counts)


def _check_json(value: Any, what: str) -> None:
    """Refuses what JSON does not have, or would give back as something else."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{what}: the key {key!r} is no text, and those of JSON are")
            _check_json(inner, what)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, what)
    elif isinstance(value, bytes):
        raise TypeError(f"{what}: there are bytes, which JSON does not have")


def _export_from(db: dirdb, folder: str) -> list[int]:
    os.mkdir(folder)
    counts = [0, 0, 0]
    names = [(name, True) for name in db._core.names()]
    names += [(name, False) for name in db._core.names_without_object()]
    for name, has_data in names:
        if has_data:
            data, serializer = db._core.get(name)
            if serializer != "pickle":
                obj = db._load(name, data, serializer, None)
                data = pickle.dumps(obj, protocol=pickle.DEFAULT_PROTOCOL, fix_imports=False)
            with open(os.path.join(folder, f"{name}.pickle"), "xb") as file:
                file.write(data)
            counts[0] += 1
        meta = db._core.metadata(name)
        if meta is not None:
            _check_json(meta, f"the metadata of {name!r}")
            text = json.dumps(meta)
            with open(os.path.join(folder, f"{name}.json"), "x", encoding="utf-8") as out:
                out.write(text)
            counts[1] += 1
    for below in db.subdirs():
        inner = _export_from(below, os.path.join(folder, below.name))
        counts = [one + other for one, other in zip(counts, inner, strict=True)]
        counts[2] += 1
    return counts
