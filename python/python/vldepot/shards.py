"""Folders of shards: several depots that are read as one.

`vldepot.open(folder)` opens the folder like a file, and so do the loader and `vldepot.torch`. Positions go through the
shards in their order. Of records with one name, that in the newest shard counts.

Each process or rank writes a depot of its own, and one of them calls `merge`, which copies nothing:

    >>> import tempfile, vldepot
    >>> from vldepot import shards
    >>> folder = tempfile.TemporaryDirectory()
    >>> for rank in range(3):
    ...     with vldepot.create(f"{folder.name}/rank_{rank}.vld", "bytes") as depot:
    ...         depot[rank] = b".."
    >>> shards.merge(folder.name, shards.found(folder.name)).records
    3
    >>> with vldepot.open(folder.name) as depot:
    ...     list(depot)
    [0, 1, 2]
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import _vldepot
from ._maintain import Path, Progress, _teller

if TYPE_CHECKING:
    from ._reports import Merged, Name

__all__ = ["found", "is_set", "merge", "remove", "reshard"]


def is_set(path: Path) -> bool:
    """Whether there is a folder of shards at `path`: one with a manifest, `shards.json`."""
    return _vldepot._is_set(path)


def found(folder: Path) -> list[str]:
    """The depots in a folder that are no shards of it yet: files `*.vld`, in the order of their names."""
    return [os.fspath(path) for path in _vldepot._found_shards(folder)]


def merge(folder: Path, depots: Iterable[Path] = (), *, unique: bool = False) -> Merged:
    """Adds depots to the folder's shards, newest last, without copying them.

    Also takes note of what the shards have by now: call it with no depots after shards were changed or compacted.
    Several processes may call it at the same time.

    Args:
        folder: The folder. It becomes a folder of shards if it is none.
        depots: Files of depots, in the folder or elsewhere. Those that are shards already stay where they are in the
            order.
        unique: Refuse two shards with a record of the same name.

    Raises:
        InvalidOptions: When the depots have different codecs, chunk sizes or columns.
        MissingShard: When a shard is missing or damaged.
        Exists: When a name must be `unique` and is not.
    """
    return _vldepot._merge_shards(folder, [os.fsdecode(depot) for depot in depots], unique)


def remove(folder: Path, names: Iterable[Name]) -> int:
    """Removes records from all shards that have them. Returns how many the folder has lost.

    Raises:
        NotFound: When no shard has a name. Nothing was removed then.
        Locked: While a shard is being written.
    """
    return _vldepot._remove_from_shards(folder, list(names))


def reshard(
    source: Path, target: Path, shard_bytes: int | None = None, *, progress: Progress | None = None
) -> Merged:
    """Copies a depot or a folder of shards into shards of another size, or into one file.

    The target appears when it is complete.

    Args:
        source: A depot, or a folder of shards.
        target: A folder that is not there yet; without `shard_bytes`, a file.
        shard_bytes: Bytes of a file after which the next shard begins.
        progress: As for `vldepot.verify`.

    Raises:
        PathExists: When the target is there.

    Example:
        >>> import tempfile, vldepot
        >>> folder = tempfile.TemporaryDirectory()
        >>> with vldepot.create(folder.name + "/a.vld", "bytes") as depot:
        ...     depot["a"] = b"kept"
        >>> reshard(folder.name + "/a.vld", folder.name + "/shards", 1 << 30).shards
        1
    """
    return _vldepot._reshard(source, target, shard_bytes, _teller(progress))
