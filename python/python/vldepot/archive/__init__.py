"""Archives: folders of files in one depot.

An archive is a depot of bytes whose names are paths. Each file is a record, so everything that reads a depot
reads an archive too, and the command `vldepot` makes and extracts archives. It is a mapping of paths to
bytes, and has the functions of `os` and `glob`, and an `open` for files inside it:

    >>> from vldepot import archive
    >>> a = archive.memory()
    >>> a["images/cat.jpg"] = b"..."
    >>> a["notes.txt"] = b"two lines\\nof text\\n"
    >>> a.listdir(), a["images/cat.jpg"], len(a)
    (['images', 'notes.txt'], b'...', 2)
    >>> with a.open("notes.txt") as file:
    ...     file.readline()
    'two lines\\n'

| for | there are |
| --- | --- |
| archives | `create`, `open`, `append`, `open_or_create`, `memory`, `Archive` |
| what is at a path | `Stat`, `Entry`, `Count` |
| values by the ends of names | `DecodedView` |
| files of the disk | `Archive.add`, `Archive.extract`, `Transfer` |

**Paths** are `str` with `/` between names, from the root of the archive. `.`, `//` and a `/` at the end say
nothing. A path that starts with `/`, has a part `..` or a NUL byte is refused with `vldepot.InvalidPath`.
Paths that are not UTF-8 have lone surrogates in their place, as those of `os.listdir` do; `bytes` and
`os.PathLike` are taken too. The root is `"."` or `""`.

**Links** are kept as links. `open`, reading and `stat` follow a link that is the last part of the path,
inside the archive; a link that leads out is refused.

**Errors** are those of `vldepot.errors`. A path that is not there is a `NoSuchPath`, which is a
`FileNotFoundError` and a `KeyError`; one that is taken is a `PathTaken`, which is a `FileExistsError`; there
are `IsAFolder`, `NotAFolder` and `NotEmpty` too, all of them an `OSError`. A write to an archive opened for
reading is a `ReadOnly`.
"""

from __future__ import annotations

from typing import Unpack

from .._open import AppendOptions, CreateOptions, OpenOptions, Path
from .._open import _make as _make_depot
from .._vldepot import Depot
from ..errors import Error
from ._archive import Archive
from ._decoded import DecodedView
from ._reports import Count, Entry, Stat, Transfer

__all__ = [
    "Archive",
    "Count",
    "DecodedView",
    "Entry",
    "Stat",
    "Transfer",
    "append",
    "create",
    "memory",
    "open",
    "open_or_create",
]

#: Bytes of a block. Small files are alike, and smaller blocks would see less of that.
_BLOCK = 64 << 10


def _layout(options: CreateOptions) -> CreateOptions:
    """Files of all kinds are not shuffled, as arrays are, and have larger blocks."""
    plain = options.get("preset") == "uncompressed" or options.get("compression") in ("none", ("none", 0))
    chosen: CreateOptions = {"filter": "none", "typesize": 1}
    if not plain:
        chosen["block_size"] = min(_BLOCK, options.get("chunk_size") or _BLOCK)
    chosen.update({name: value for name, value in options.items() if value is not None})  # type: ignore[typeddict-item]
    return chosen


def _archive_in(depot: Depot[bytes], overwrite: bool, append_only: bool) -> Archive:
    try:
        return Archive(depot, overwrite=overwrite, append_only=append_only)
    except Error:
        depot.close()
        raise


def create(
    path: Path, *, overwrite: bool = False, append_only: bool = False, **options: Unpack[CreateOptions]
) -> Archive:
    """Makes a new archive in a new file.

    Args:
        path: Where. Nothing must be there, but for an empty file that nobody writes.
        overwrite: Whether `a[path] = data` replaces a file. By default it refuses to, and only
            `a.write(path, data, replace=True)` does.
        append_only: Refuse whatever replaces, changes, renames or removes what is there. A file that was
            added can then be relied on.
        **options: Those of `vldepot.create`. By default files are not shuffled (`filter="none"`), and blocks
            have 64 KiB.

    Raises:
        PathExists: When there is something at the path.
        InvalidOptions: When options do not fit together.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with create(folder.name + "/images.vld", preset="fast") as a:
        ...     a["cats/1.jpg"] = b"..."
        >>> open(folder.name + "/images.vld").listdir("cats")
        ['1.jpg']
    """
    depot = _make_depot("create", path, "bytes", _layout(options), CreateOptions)
    return Archive(depot, overwrite=overwrite, append_only=append_only)


def memory(
    *, overwrite: bool = False, append_only: bool = False, **options: Unpack[CreateOptions]
) -> Archive:
    """Makes a new archive in memory. The arguments are those of `create`, but for the path.

    Example:
        >>> a = memory()
        >>> a["a/b"] = b"first"
        >>> list(a)
        ['a/b']
    """
    depot = _make_depot("memory", None, "bytes", _layout(options), CreateOptions)
    return Archive(depot, overwrite=overwrite, append_only=append_only)


def open(path: Path, **options: Unpack[OpenOptions]) -> Archive:
    """Opens an archive for reading. The cost does not depend on its size.

    Any depot opens, whatever its codec: its names are taken for paths, and its values for bytes. Names that
    are no paths are errors where they would be listed. Threads and processes may read one archive at once; it
    can be pickled, and a process that was forked goes on reading.

    Args:
        path: The file.
        **options: Those of `vldepot.open`, such as `mapping`, `verify` and `cache_bytes`.

    Raises:
        FileNotFound: When there is no file.
        NotADepot, Incomplete, Damaged, ..: As `vldepot.open`.
    """
    return Archive(_make_depot("open", path, "bytes", options, OpenOptions))


def append(
    path: Path, *, overwrite: bool = False, append_only: bool = False, **options: Unpack[AppendOptions]
) -> Archive:
    """Opens an archive for writing. `overwrite` and `append_only` are those of `create`, the other options
    those of `vldepot.append`.

    Raises:
        Locked: When another writer has the file.
        FileNotFound, WrongCodec, ..: As `vldepot.append`.
    """
    depot = _make_depot("append", path, "bytes", options, AppendOptions)
    return _archive_in(depot, overwrite, append_only)


def open_or_create(
    path: Path, *, overwrite: bool = False, append_only: bool = False, **options: Unpack[CreateOptions]
) -> Archive:
    """Opens an archive for writing, and makes it first if there is none. The arguments are those of `create`;
    an existing archive keeps its layout.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> for name in ("a", "b"):
        ...     with open_or_create(folder.name + "/files.vld") as a:
        ...         a[name] = b"."
        >>> open(folder.name + "/files.vld").listdir()
        ['a', 'b']
    """
    depot = _make_depot("open_or_create", path, "bytes", _layout(options), CreateOptions)
    return _archive_in(depot, overwrite, append_only)
