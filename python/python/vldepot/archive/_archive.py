"""The archive."""

from __future__ import annotations

import atexit
import os
import random
import time
import weakref
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, MutableMapping, ValuesView
from operator import itemgetter
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar, overload

from .. import _vldepot, errors
from . import _file
from ._glob import Glob
from ._reports import Count, Entry, Stat, Transfer

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, TextIO

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from ._decoded import DecodedView


_T = TypeVar("_T")

ArchivePath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
DiskPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

#: Archives with files that are open for writing.
_open_archives: weakref.WeakSet[Archive] = weakref.WeakSet()


@atexit.register
def _close_files() -> None:
    """Stores files that are still open when the interpreter ends, before their depots are closed."""
    for archive in list(_open_archives):
        if not archive.closed and os.getpid() == archive._owner:
            archive._close_files()


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")


def _with_text(file: tuple[str | bytes, bytes]) -> tuple[str, bytes]:
    return _text(file[0]), file[1]


def _record(path: str) -> str | bytes:
    """The name of the record of a path in its clean form."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogateescape")
    return path


class _Paths(KeysView[str]):
    """The files of an archive."""

    _mapping: Archive

    def __init__(self, archive: Archive) -> None:
        super().__init__(archive)

    def __repr__(self) -> str:
        return f"<paths of {self._mapping!r}>"


class _Contents(ValuesView[bytes]):
    """The bytes of the files of an archive."""

    _mapping: Archive

    def __init__(self, archive: Archive, threads: int) -> None:
        super().__init__(archive)
        self._threads = threads

    def __iter__(self) -> Iterator[bytes]:
        # `map` goes on after an error, which a generator does not.
        return map(itemgetter(1), self._mapping._core.read_all(self._threads))

    def __contains__(self, value: object) -> bool:
        return any(value == data for data in self)

    def __repr__(self) -> str:
        return f"<contents of {self._mapping!r}>"


class _Files(ItemsView[str, bytes]):
    """The files of an archive and their bytes."""

    _mapping: Archive

    def __init__(self, archive: Archive, threads: int) -> None:
        super().__init__(archive)
        self._threads = threads

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return map(_with_text, self._mapping._core.read_all(self._threads))

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, tuple) or len(item) != 2:
            return False
        return item[0] in self._mapping and self._mapping[item[0]] == item[1]

    def __repr__(self) -> str:
        return f"<files of {self._mapping!r}>"


class Archive(MutableMapping[str, bytes]):
    """Folders of files in one depot. See `vldepot.archive`, which also says how paths and errors are.

    It is a mapping of the paths of its files to their bytes: `a[path]`, `a[path] = data`, `del a[path]`,
    `in`, `len` and iteration, in the order in which the files are stored. Folders are not in the mapping. It
    is a context manager too, and `close` ends it.

    `a[path] = data` makes a new file and the folders that it lies in. **Where there is a file already, it
    raises `PathTaken`**, so that nothing is replaced by mistake; `write(path, data, replace=True)` replaces
    it, and with `overwrite=True` for the archive every assignment does.

    What a method raises stands with it. Besides that, every method raises `InvalidPath` for a path that no
    archive has, `Closed` after `close`, what `vldepot.Depot` raises for damage and failing disks, and
    `ReadOnly`, `Forked` or `AppendOnly` when it would write and may not.

    Example:
        >>> from vldepot import archive
        >>> with archive.memory() as a:
        ...     a["images/1.png"] = b"..."
        ...     a["images/2.png"] = b"...."
        ...     a.listdir("images"), a.totals("images")
        (['1.png', '2.png'], Count(files=2, folders=0, bytes=7))
    """

    def __init__(
        self, depot: _vldepot.Depot[bytes], *, overwrite: bool = False, append_only: bool = False
    ) -> None:
        """An archive in a depot of bytes.

        Args:
            depot: The depot, such as one from `vldepot.create(path, "bytes")`.
            overwrite: Whether `a[path] = data` replaces a file.
            append_only: Refuse whatever replaces, changes, renames or removes what is there.

        Raises:
            TypeError: When the depot was opened with another codec.
            WrongCodec: When it can be written, and was made for other values than files.
        """
        self._core = _vldepot.ArchiveCore(depot)
        if depot.writable and (stored := depot.info().codec.id) != "raw":
            raise errors.WrongCodec(
                f"{depot.path}: its records are of codec `{stored}`, and a file of an archive would be none of them",
                path=depot.path,
                stored=stored,
                given="bytes",
            )
        self._depot = depot
        self._overwrite = overwrite
        self._append_only = append_only
        self._owner = os.getpid()
        self._files: weakref.WeakSet[Any] = weakref.WeakSet()

    # The mapping.

    def __getitem__(self, path: ArchivePath, /) -> bytes:
        return self._core.read(path)

    def __setitem__(self, path: ArchivePath, data: Buffer | NDArray[Any] | BinaryIO, /) -> None:
        self.write(path, data, replace=self._overwrite)

    def __delitem__(self, path: ArchivePath, /) -> None:
        self.remove(path)

    def __contains__(self, path: object, /) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and self._core.is_file(path)

    def __len__(self) -> int:
        return self._core.count("")[0]

    def __iter__(self) -> Iterator[str]:
        return (_text(name) for name in self._core.list_stored() if name[-1:] not in ("/", b"/"))

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    @overload
    def get(self, path: ArchivePath, /) -> bytes | None: ...
    @overload
    def get(self, path: ArchivePath, default: _T, /) -> bytes | _T: ...
    def get(self, path: ArchivePath, default: Any = None, /) -> Any:
        """The bytes of a file, or `default` where there is none.

        Raises:
            IsAFolder: When there is a folder.
        """
        try:
            return self._core.read(path)
        except errors.NoSuchPath:
            return default

    def setdefault(self, path: ArchivePath, default: Buffer | NDArray[Any], /) -> bytes:
        """The bytes of a file. Where there is none, it is written with `default` first."""
        try:
            return self._core.read(path)
        except errors.NoSuchPath:
            self.write(path, default)
            return self._core.read(path)

    def keys(self) -> KeysView[str]:
        """The paths of all files, in the order in which they are stored."""
        return _Paths(self)

    def values(self, *, threads: int = 1) -> ValuesView[bytes]:
        """The bytes of all files, in the order in which they are stored, so that every chunk is decoded once.

        A link has the bytes of the file that it leads to. A link that leads to no file, and a damaged file, raise
        when it is their turn; `next` goes on after them.

        Args:
            threads: Threads that decode. With more than one, they read ahead of the loop.
        """
        return _Contents(self, threads)

    def items(self, *, threads: int = 1) -> ItemsView[str, bytes]:
        """The paths of all files and their bytes. Otherwise like `values`."""
        return _Files(self, threads)

    def clear(self) -> None:
        """Removes everything."""
        self.rmtree("")

    def get_many(self, paths: Iterable[ArchivePath], /, *, threads: int = 1) -> list[bytes]:
        """The bytes of many files, in the order of the paths. Chunks are decoded once, however the paths are
        ordered.

        Args:
            paths: Any number of paths; one may be there several times.
            threads: Threads that decode.

        Raises:
            NoSuchPath, IsAFolder: For the first path that is no file.

        Example:
            >>> from vldepot import archive
            >>> a = archive.memory()
            >>> a.update({"a": b"1", "b": b"2"})
            >>> a.get_many(["b", "a", "b"])
            [b'2', b'1', b'2']
        """
        if isinstance(paths, str | bytes):
            raise TypeError("paths are given as a list, or another iterable of them")
        return self._core.read_many(list(paths), threads)

    # Reading and writing.

    def read(self, path: ArchivePath, offset: int = 0, size: int = -1) -> bytes:
        """Bytes of a file. Of a large file, only the blocks that hold them are decoded and checked.

        Args:
            path: The file.
            offset: The first byte.
            size: How many bytes; -1 for all that follow. There are fewer where the file ends.

        Raises:
            NoSuchPath, IsAFolder: When there is no file.
            ValueError: For a negative offset.

        Example:
            >>> from vldepot import archive
            >>> a = archive.memory()
            >>> a["a"] = b"0123456789"
            >>> a.read("a"), a.read("a", 3, 4), a.read("a", 20)
            (b'0123456789', b'3456', b'')
        """
        if offset < 0 or size < -1:
            raise ValueError(f"offset={offset}, size={size}: neither is negative, but for a size of -1")
        if offset == 0 and size == -1:
            return self._core.read(path)
        return self._core.read_range(path, min(offset, 1 << 62), None if size == -1 else min(size, 1 << 62))

    def readinto(self, path: ArchivePath, buffer: Buffer | NDArray[Any], offset: int = 0) -> int:
        """Reads bytes of a file into a buffer, until it is full or the file ends.

        Args:
            path: The file.
            buffer: What is filled, such as a `bytearray` or a numpy array. It must be contiguous and
                writable.
            offset: The first byte.

        Returns:
            How many bytes were read.

        Raises:
            NoSuchPath, IsAFolder: When there is no file.
        """
        exported: Any = buffer
        with memoryview(exported).cast("B") as view:
            if view.readonly:
                raise TypeError("the buffer is read-only")
            data = self.read(path, offset, len(view))
            view[: len(data)] = data
            return len(data)

    def write(
        self,
        path: ArchivePath,
        data: Buffer | NDArray[Any] | BinaryIO,
        *,
        replace: bool = False,
        mode: int = 0o644,
        mtime_ns: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """Writes a file, and makes the folders that it lies in.

        It can be read right away, and is durable after the next `commit`. A file has at most 2**40 - 1 bytes.
        For one that does not fit into memory, copy to `open(path, "wb")`.

        Args:
            path: Where.
            data: `bytes`, what exports a buffer, or a binary file, which is read to its end into memory.
            replace: Whether it may take the place of a file or a link that is there.
            mode: Permission bits.
            mtime_ns: Time of the last change in nanoseconds since 1970; now by default.
            uid: Number of the user who owns it; by default that is not known.
            gid: Number of the group that owns it; by default that is not known.

        Raises:
            PathTaken: When there is a file, and `replace` is not set.
            IsAFolder: When there is a folder.
            NotAFolder: When it would lie in a file.
            InvalidRecord: When it is too long.
            NotStored, NotCommitted: On a full disk.
        """
        if replace and self._append_only:
            self._refuse_change(path)
        content: Any = data.read() if hasattr(data, "read") else data
        if isinstance(content, str):
            raise TypeError("a file takes bytes, not str: encode the text, or use open(path, 'w')")
        self._core.write(
            path, content, replace, mode, time.time_ns() if mtime_ns is None else mtime_ns, uid, gid
        )

    @overload
    def open(
        self,
        path: ArchivePath,
        mode: Literal["r", "r+", "w", "w+", "x", "x+", "a", "a+", "rt", "wt", "xt", "at"] = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> TextIO: ...
    @overload
    def open(
        self,
        path: ArchivePath,
        mode: Literal["rb", "rb+", "r+b", "wb", "wb+", "w+b", "xb", "xb+", "x+b", "ab", "ab+", "a+b"],
        buffering: int = -1,
    ) -> BinaryIO: ...
    @overload
    def open(
        self,
        path: ArchivePath,
        mode: str,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]: ...
    def open(
        self,
        path: ArchivePath,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Opens a file inside the archive, as the function `open` opens one of the disk.

        The modes are `r`, `r+`, `w`, `w+`, `x`, `x+`, `a` and `a+`, with `b` for bytes; without it, the file
        is one of text. What comes back are the classes of `io`: `BufferedReader`, `BufferedWriter`,
        `BufferedRandom` and `TextIOWrapper`, so `zipfile`, `numpy.load` and others take them.

        Reading decodes only the blocks that hold the bytes. A file that is written is held in memory from the
        first change on, and takes its place in the archive when it is closed, with its checksum. Until then
        the archive has what was there before. Closing the archive closes its files first. Of two that write
        one file, the one that is closed last is kept. If storing fails, the file stays open, and `close` can
        be called again.

        Args:
            path: The file. Links are followed.
            mode: How.
            buffering: Bytes that are read or written at once: 256 KiB by default. 0 for none, for bytes only.
            encoding: Of text: UTF-8 by default.
            errors: What to do with text that cannot be encoded or decoded, as for `open`.
            newline: How lines end, as for `open`.

        Raises:
            NoSuchPath: When there is no file, for `r` and `r+`.
            PathTaken: When there is one, for `x`.
            IsAFolder, NotAFolder: When there is a folder, or it would lie in a file.
            ReadOnly, AppendOnly: When the archive does not let it be written.

        Example:
            >>> from vldepot import archive
            >>> a = archive.memory()
            >>> with a.open("log", "w") as file:
            ...     print("first", file=file)
            >>> with a.open("log", "a") as file:
            ...     print("second", file=file)
            >>> a["log"]
            b'first\\nsecond\\n'
        """
        plain, text = _file.mode_of(mode)
        if not text and (encoding or errors or newline) is not None:
            raise ValueError("binary mode takes no encoding, errors or newline")
        if self._append_only and plain[0] != "x" and plain != "r" and self._core.is_file(path):
            self._refuse_change(path)
        how = {"r": plain, "w": "w", "x": "x", "a": "a"}[plain[0]]
        handle = self._core.open_file(path, how)
        raw = _file.RawFile(self, handle, self._core.clean(path), plain[0] + "b" + plain[1:])
        file: IO[Any] = _file.buffered(raw, plain, text, buffering, encoding, errors, newline)
        if plain != "r":
            self._files.add(file)
            _open_archives.add(self)
        return file

    def _close_files(self) -> None:
        for file in list(self._files):
            file.close()

    def _refuse_change(self, path: ArchivePath) -> None:
        shown = repr(_text(os.fspath(path)))
        raise errors.AppendOnly(
            f"{self.path}: {shown} stays as it is: the archive is only added to, as its option append_only says",
            path=self.path,
            record=shown,
        )

    def _may_change(self, path: ArchivePath) -> None:
        if self._append_only:
            self._refuse_change(path)

    # Folders and what is in them.

    def _names(self, folder: ArchivePath) -> Iterator[tuple[str, bool]]:
        """Names in a folder, and whether they are folders."""
        for listed in self._core.list_folder(folder):
            path = _text(listed)
            is_folder = path.endswith("/")
            yield path.rstrip("/").rpartition("/")[2], is_folder

    def _tree(self, folder: ArchivePath) -> Iterator[tuple[str, bool]]:
        """Paths below a folder, and whether they are folders. Those without records are not among them."""
        for listed in map(_text, self._core.list_tree(folder)):
            yield (listed[:-1], True) if listed.endswith("/") else (listed, False)

    def _ordered(
        self, paths: Iterable[str], order: Literal["name", "place", "random"], reverse: bool, seed: int | None
    ) -> Iterator[str]:
        """Paths that come in the order of names, in another order."""
        if order not in ("name", "place", "random"):
            raise ValueError(f"no order is called {order!r}; there are name, place, random")
        if seed is not None and order != "random":
            raise ValueError(f"a seed is for the order random, not {order}")
        if order == "name" and not reverse:
            return iter(paths)
        listed = list(paths)
        if order == "random":
            random.Random(seed).shuffle(listed)
        elif order == "place":
            listed.sort(key=self._place)
        if reverse:
            listed.reverse()
        return iter(listed)

    def _place(self, path: str) -> tuple[int, int]:
        try:
            location = self._depot.location(_record(path))
        except errors.NotFound:
            # A folder, whose record has a name that ends with a slash, or that has none.
            try:
                location = self._depot.location(_record(f"{path}/"))
            except errors.NotFound:
                return (-1, -1)
        return (location.chunk, location.offset)

    def listdir(
        self,
        path: ArchivePath = "",
        *,
        order: Literal["name", "place", "random"] = "name",
        reverse: bool = False,
        seed: int | None = None,
    ) -> list[str]:
        """The names in a folder. This does not depend on how much is in its subfolders.

        Args:
            path: The folder; the root by default.
            order: `"name"` (by bytes, those that are UTF-8 first), `"place"` (as they are stored), or
                `"random"`.
            reverse: The other way round.
            seed: For the order `"random"`: the same number gives the same order.

        Raises:
            NoSuchPath, NotAFolder: When there is no folder.
        """
        return [entry.name for entry in self.scandir(path, order=order, reverse=reverse, seed=seed)]

    def scandir(
        self,
        path: ArchivePath = "",
        *,
        order: Literal["name", "place", "random"] = "name",
        reverse: bool = False,
        seed: int | None = None,
    ) -> Iterator[Entry]:
        """What is in a folder, as `os.scandir`. The arguments are those of `listdir`.

        Example:
            >>> from vldepot import archive
            >>> a = archive.memory()
            >>> a.update({"a/b/1": b"", "a/2": b"..."})
            >>> [(entry.path, entry.is_dir()) for entry in a.scandir("a")]
            [('a/2', False), ('a/b', True)]

        Raises:
            NoSuchPath, NotAFolder: When there is no folder.
        """
        folder = self._core.clean(path)
        prefix = f"{folder}/" if folder else ""
        listing = self._core.list_folder(folder)

        def entry(listed: str) -> Entry:
            clean = listed.removesuffix("/")
            return Entry(clean[len(prefix) :], clean, listed.endswith("/"), self)

        if order == "name" and not reverse and seed is None:
            return (entry(_text(name)) for name in listing)
        is_folder = {name.removesuffix("/"): name for name in map(_text, listing)}
        return (entry(is_folder[name]) for name in self._ordered(is_folder, order, reverse, seed))

    def walk(
        self, path: ArchivePath = "", topdown: bool = True, onerror: Callable[[OSError], Any] | None = None
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        """A folder and all below it, as `os.walk`: paths of folders, with the names of the folders and files
        in them.

        With `topdown`, folders that you take out of the first list are not gone into. A path that is no
        folder gives nothing, or is told to `onerror`. The path of the root is `"."`.

        Example:
            >>> from vldepot import archive
            >>> a = archive.memory()
            >>> a.update({"a/b/1": b"", "a/2": b""})
            >>> list(a.walk("a"))
            [('a', ['b'], ['2']), ('a/b', [], ['1'])]
        """
        # Not by recursion: folders may lie deeper in each other than Python calls.
        todo: list[str | tuple[str, list[str], list[str]]] = [self._core.clean(path)]
        while todo:
            top = todo.pop()
            if not isinstance(top, str):
                yield top
                continue
            folders: list[str] = []
            files: list[str] = []
            try:
                for name, is_folder in self._names(top):
                    (folders if is_folder else files).append(name)
            except (errors.NoSuchPath, errors.NotAFolder) as error:
                if onerror is not None:
                    onerror(error)
                continue
            if topdown:
                yield top or ".", folders, files
            else:
                todo.append((top or ".", folders, files))
            todo.extend(f"{top}/{name}" if top else name for name in reversed(folders))

    def files(
        self,
        path: ArchivePath = "",
        *,
        order: Literal["name", "place", "random"] = "name",
        reverse: bool = False,
        seed: int | None = None,
    ) -> Iterator[str]:
        """The paths of all files and links below a folder. The arguments are those of `listdir`.

        Example:
            >>> from vldepot import archive
            >>> a = archive.memory()
            >>> a.update({"b/1": b"", "a": b"", "b/2": b""})
            >>> list(a.files()), list(a.files("b", reverse=True)), list(a.files(order="place"))
            (['a', 'b/1', 'b/2'], ['b/2', 'b/1'], ['b/1', 'a', 'b/2'])

        Raises:
            NoSuchPath, NotAFolder: When there is no folder.
        """
        folder = self._core.clean(path)
        if order == "place" and not folder and not reverse and seed is None:
            return iter(self)
        listing = self._core.list_tree(folder)
        files = (name for name in map(_text, listing) if not name.endswith("/"))
        return self._ordered(files, order, reverse, seed)

    def dirs(
        self,
        path: ArchivePath = "",
        *,
        order: Literal["name", "place", "random"] = "name",
        reverse: bool = False,
        seed: int | None = None,
    ) -> Iterator[str]:
        """The paths of all folders below a folder, without it. The arguments are those of `listdir`.

        Raises:
            NoSuchPath, NotAFolder: When there is no folder.
        """
        top = self._core.clean(path)
        self._core.list_folder(top)

        def folders() -> Iterator[str]:
            walk = self.walk(top)
            next(walk, None)
            for folder, _, _ in walk:
                yield folder

        return self._ordered(folders(), order, reverse, seed)

    def glob(self, pattern: str, recursive: bool = False, include_hidden: bool = False) -> list[str]:
        """The paths of files and folders that match a pattern, by the rules of `glob.glob`.

        Only folders that may hold a match are listed.

        Args:
            pattern: `*` any characters of one name, `?` one, `[a-z]` one of these; with `recursive`, `**` any
                folders.
            recursive: Whether `**` is that. Otherwise it is like `*`.
            include_hidden: Whether names that start with `.` match `*`, `?` and `**`.

        Raises:
            InvalidPath: When the pattern starts with `/` or has a part `..`.

        Example:
            >>> from vldepot import archive
            >>> a = archive.memory()
            >>> a.update({"a/1.png": b"", "a/b/2.png": b"", "3.png": b""})
            >>> a.glob("a/*"), a.glob("**/*.png", recursive=True)
            (['a/1.png', 'a/b'], ['3.png', 'a/1.png', 'a/b/2.png'])
        """
        return list(self.iglob(pattern, recursive, include_hidden))

    def iglob(self, pattern: str, recursive: bool = False, include_hidden: bool = False) -> Iterator[str]:
        """The paths that `glob` gives, one by one."""
        found = Glob(self, pattern, recursive, include_hidden)
        return (path for path, _ in found.run())

    def globfiles(self, pattern: str, recursive: bool = False, include_hidden: bool = False) -> list[str]:
        """The paths that `glob` gives, without folders."""
        return list(self.iglobfiles(pattern, recursive, include_hidden))

    def iglobfiles(
        self, pattern: str, recursive: bool = False, include_hidden: bool = False
    ) -> Iterator[str]:
        """The paths that `globfiles` gives, one by one."""
        found = Glob(self, pattern, recursive, include_hidden)
        return (path for path, is_folder in found.run() if not is_folder)

    def exists(self, path: ArchivePath) -> bool:
        """Whether there is a file, a folder or a link, wherever that leads."""
        return self._core.exists(path)

    def isfile(self, path: ArchivePath) -> bool:
        """Whether there is a file or a link. `islink` tells them apart."""
        return self._core.is_file(path)

    def isdir(self, path: ArchivePath) -> bool:
        """Whether there is a folder: one that was made, or that something lies in."""
        return self._core.is_folder(path)

    def islink(self, path: ArchivePath) -> bool:
        """Whether there is a link."""
        return self._core.is_file(path) and self._core.stat(path, False)[1] == "link"

    def stat(self, path: ArchivePath, *, follow_symlinks: bool = True) -> Stat:
        """What is at a path. The file is not read.

        Raises:
            NoSuchPath: When there is nothing.
            InvalidPath: When a link leads out of the archive, or in circles.

        Example:
            >>> from vldepot import archive
            >>> a = archive.memory()
            >>> a.write("a/b", b"...", mode=0o600, mtime_ns=0)
            >>> a.stat("a/b").st_size, oct(a.stat("a/b").st_mode), a.stat("a").kind
            (3, '0o100600', 'folder')
        """
        return Stat(*self._core.stat(path, follow_symlinks))

    def lstat(self, path: ArchivePath) -> Stat:
        """What is at a path. Links are not followed."""
        return self.stat(path, follow_symlinks=False)

    def stat_many(self, paths: Iterable[ArchivePath], /) -> list[Stat]:
        """What is at many paths, in their order.

        Raises:
            NoSuchPath: For the first path where there is nothing.
        """
        return [Stat(*stat) for stat in self._core.stat_many(list(paths))]

    def crc32c(self, path: ArchivePath) -> int | None:
        """The checksum of a file's bytes as it was stored with them, CRC32C. Every read compares it.

        Returns:
            The checksum, or `None` for files that other programs wrote without one.

        Raises:
            NoSuchPath, IsAFolder: When there is no file.
        """
        path = self._core.stat(path, True)[0]
        if self._core.is_folder(path):
            self._core.read(path)
        return self._depot.location(_record(path)).checksum

    def totals(self, path: ArchivePath = "") -> Count:
        """How many files, folders and bytes are below a folder, or in a file.

        The first call lists the names of the archive; after that it takes a search in the index.

        Raises:
            NoSuchPath: When there is nothing.
        """
        return Count(*self._core.count(path))

    @property
    def num_files(self) -> int:
        """How many files and links there are."""
        return self.totals().files

    @property
    def num_dirs(self) -> int:
        """How many folders there are."""
        return self.totals().folders

    @property
    def total_size(self) -> int:
        """Bytes of all files."""
        return self.totals().bytes

    # Changing the tree.

    def mkdir(self, path: ArchivePath, mode: int = 0o755, exist_ok: bool = False) -> None:
        """Makes a folder, and those that it lies in.

        Args:
            path: Where.
            mode: Permission bits.
            exist_ok: Let a folder that is there be. It keeps its mode.

        Raises:
            PathTaken: When there is something.
            NotAFolder: When it would lie in a file.
        """
        if self._core.exists(path):
            if exist_ok and self._core.is_folder(path):
                return
            shown = repr(_text(os.fspath(path)))
            raise errors.PathTaken(
                f"{self.path}: there is something at {shown}", path=self.path, record=shown
            )
        self._core.make_folder(path, mode, time.time_ns())

    def makedirs(self, path: ArchivePath, mode: int = 0o755, exist_ok: bool = False) -> None:
        """The same as `mkdir`, which makes all folders too."""
        self.mkdir(path, mode, exist_ok)

    def symlink(self, target: ArchivePath, path: ArchivePath) -> None:
        """Makes a link at `path` that leads to `target`, from the folder that it lies in. The target need not
        be there.

        Raises:
            PathTaken: When there is something.
        """
        if self._core.exists(path):
            shown = repr(_text(os.fspath(path)))
            raise errors.PathTaken(
                f"{self.path}: there is something at {shown}", path=self.path, record=shown
            )
        self._core.write_link(target, path, time.time_ns())

    def readlink(self, path: ArchivePath) -> str:
        """Where a link leads, as it was written.

        Raises:
            NoSuchPath: When there is nothing.
            InvalidPath: When it is no link.
        """
        return self._core.read_link(path)

    def remove(self, path: ArchivePath) -> None:
        """Removes a file or a link. Its bytes stay in the archive's file until that is compacted.

        Raises:
            NoSuchPath, IsAFolder: When there is no file.
        """
        self._may_change(path)
        self._core.remove_file(path)

    unlink = remove

    def rmdir(self, path: ArchivePath) -> None:
        """Removes an empty folder.

        Raises:
            NoSuchPath, NotAFolder: When there is no folder.
            NotEmpty: When something is in it.
        """
        self._may_change(path)
        self._core.remove_folder(path)

    def rmtree(self, path: ArchivePath) -> int:
        """Removes a folder and all that is in it, and returns how many records that were.

        Raises:
            NoSuchPath, NotAFolder: When there is no folder.
        """
        self._may_change(path)
        return self._core.remove_tree(path)

    def rename(self, old: ArchivePath, new: ArchivePath) -> None:
        """Gives a file, a link, or a folder with all that is in it another path, whose folders are made.

        Unlike `os.rename` it replaces nothing.

        Raises:
            NoSuchPath: When there is nothing at `old`.
            PathTaken: When there is something at `new`.
            InvalidPath: When a folder would be moved into itself.
            NotAFolder: When it would lie in a file.
        """
        self._may_change(old)
        self._core.rename(old, new)

    def chmod(self, path: ArchivePath, mode: int) -> None:
        """Sets the permission bits of what is at a path. Links are followed.

        Raises:
            NoSuchPath: When there is nothing.
        """
        self._may_change(path)
        self._core.set_attributes(path, mode, None, None, None)

    def chown(self, path: ArchivePath, uid: int, gid: int) -> None:
        """Sets who owns what is at a path: numbers of a user and a group, of which -1 leaves one as it is.

        Raises:
            NoSuchPath: When there is nothing.
        """
        self._may_change(path)
        self._core.set_attributes(path, None, None, None if uid == -1 else uid, None if gid == -1 else gid)

    def utime(self, path: ArchivePath, mtime_ns: int | None = None) -> None:
        """Sets the time of the last change of what is at a path, in nanoseconds since 1970; now by default.

        Raises:
            NoSuchPath: When there is nothing.
        """
        self._may_change(path)
        self._core.set_attributes(path, None, time.time_ns() if mtime_ns is None else mtime_ns, None, None)

    # Files of the disk.

    def add(
        self,
        disk_path: DiskPath,
        path: ArchivePath | None = None,
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        replace: bool | None = None,
        owner: bool = True,
        threads: int | None = None,
        errors: Literal["raise", "return"] = "raise",
        progress: Callable[[int, int], Any] | None = None,
    ) -> Transfer:
        """Adds a file, a link, or a folder with all that is in it.

        Modes, times, owners and extended attributes are kept, and links as links. A failure does not stop the
        others.

        Args:
            disk_path: What to add.
            path: Where in the archive; by default the last name of `disk_path`. The root `""` takes what a
                folder holds.
            include: Take only files that match one of these globs. One without `/` is matched with names.
            exclude: Leave out what matches one of these globs, with all below it.
            replace: Whether files may take the place of others; by default as the archive's `overwrite`.
            owner: Whether to note who owns the files.
            threads: Threads that read; by default one per core, at most 4.
            errors: `"raise"`, or `"return"` what could not be added as `failures`.
            progress: Called with the entries and the bytes so far. What it raises ends the work.

        Returns:
            What was added.

        Raises:
            NotTransferred: When something could not be added: it changed while it was read, has 1 TiB or
                more, is a pipe, a socket or a device, or may not be read. Everything else was added.

        Example:
            >>> import pathlib, tempfile
            >>> from vldepot import archive
            >>> folder = tempfile.TemporaryDirectory()
            >>> pathlib.Path(folder.name, "1.txt").write_text("one")
            3
            >>> a = archive.memory()
            >>> a.add(folder.name, "texts").files, a["texts/1.txt"]
            (1, b'one')
        """
        replace = self._overwrite if replace is None else replace
        if replace and self._append_only:
            self._refuse_change("" if path is None else path)
        if path is None:
            path = os.path.basename(os.path.abspath(os.fsdecode(disk_path)))
        moved = self._disk("add")(
            self._core,
            disk_path,
            path,
            None if include is None else list(include),
            None if exclude is None else list(exclude),
            not replace,
            owner,
            threads,
            progress,
        )
        return self._done(moved, errors, "added")

    def extract(
        self,
        disk_path: DiskPath,
        path: ArchivePath = "",
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        overwrite: bool = False,
        owner: bool = False,
        threads: int | None = None,
        errors: Literal["raise", "return"] = "raise",
        progress: Callable[[int, int], Any] | None = None,
    ) -> Transfer:
        """Writes a file, or a folder with all that is in it, to a folder of the disk, with its whole path.

        Nothing is written outside of that folder, whatever the archive holds. Modes, times and extended
        attributes are those of the archive. A failure does not stop the others.

        Args:
            disk_path: The folder. It is made if it is not there.
            path: What to extract; everything by default.
            include: Take only files that match one of these globs. One without `/` is matched with names.
            exclude: Leave out what matches one of these globs, with all below it.
            overwrite: Replace files and links that are there. Folders are never replaced.
            owner: Give files their owners. Only root can.
            threads: Threads that write; by default one per core, at most 4.
            errors: `"raise"`, or `"return"` what could not be extracted as `failures`.
            progress: Called with the entries and the bytes so far. What it raises ends the work.

        Returns:
            What was extracted.

        Raises:
            NoSuchPath: When there is nothing at `path`.
            NotTransferred: When something could not be extracted: there is a file already, or it is damaged.
                Everything else was extracted.
            IoError: When the folder cannot be made, or the disk is full.
        """
        moved = self._disk("extract")(
            self._core,
            path,
            disk_path,
            None if include is None else list(include),
            None if exclude is None else list(exclude),
            overwrite,
            owner,
            threads,
            progress,
        )
        return self._done(moved, errors, "extracted")

    @staticmethod
    def _disk(job: str) -> Any:
        try:
            return getattr(_vldepot.DiskFiles, job)
        except AttributeError:
            raise NotImplementedError("files of the disk are added and extracted on Unix only") from None

    def _done(self, moved: Transfer, how: str, done: str) -> Transfer:
        if how not in ("raise", "return"):
            raise ValueError(f"errors={how!r}: there are raise and return")
        if moved.failed and how == "raise":
            (path, why), more = moved.failures[0], moved.failed - 1
            and_more = f", and {more} more" if more else ""
            raise errors.NotTransferred(
                f"{self.path}: {path} was not {done}: {why}{and_more}", path=self.path, transfer=moved
            )
        return moved

    # Values.

    def decoded(self) -> DecodedView:
        """A view whose values are decoded by the ends of their names: JSON, numpy arrays, images and others.

        Example:
            >>> from vldepot import archive
            >>> a = archive.memory()
            >>> values = a.decoded()
            >>> values["settings.json"] = {"steps": 100}
            >>> a["settings.json"], values["settings.json"]
            (b'{"steps": 100}', {'steps': 100})
        """
        from ._decoded import DecodedView

        return DecodedView(self)

    # The archive.

    @property
    def depot(self) -> _vldepot.Depot[bytes]:
        """The depot that holds the archive, such as for a loader."""
        return self._depot

    @property
    def path(self) -> str:
        """The file, or `<memory>`."""
        return self._depot.path

    @property
    def writable(self) -> bool:
        """Whether the archive was created or opened for writing."""
        return self._depot.writable

    @property
    def closed(self) -> bool:
        """Whether the archive is closed."""
        return self._depot.closed

    def commit(self) -> None:
        """Makes everything written so far durable: it survives a killed process and a power loss. Files that
        are still
        open for writing are not part of it."""
        self._depot.commit()

    def refresh(self) -> bool:
        """Moves a reader forward to what its writer has committed since, and returns whether there was anything."""
        return self._core.refresh()

    def close(self) -> None:
        """Closes the files that are open for writing, and the archive. A writer commits first. A second call
        does nothing.

        Raises:
            NotCommitted, NotStored, IoError: On a full disk. The archive stays open then, and nothing is
                lost: make room, and call `close` again.
        """
        if self._depot.closed:
            return
        if os.getpid() == self._owner:
            self._close_files()
        self._depot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.getpid() == self._owner and not self._depot.closed:
            self._close_files()
        self._depot.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open for writing" if self.writable else "open for reading"
        return f"<vldepot.archive.Archive {self.path}, {state}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # The depot refuses where it cannot be opened again.
        return (_reopen, (self._depot,))


def _reopen(depot: _vldepot.Depot[bytes]) -> Archive:
    """Opens an archive that was pickled."""
    return Archive(depot)
