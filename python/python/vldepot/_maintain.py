"""Checking, repairing and compacting files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from . import _vldepot

if TYPE_CHECKING:
    from ._reports import CompactReport, Removal, RepairReport, VerifyReport

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Bar(Protocol):
    """A progress bar, such as one of `tqdm`."""

    total: Any

    def update(self, n: int, /) -> Any:
        """Moves the bar on by `n` bytes."""


Progress = Callable[[int, int], Any] | Bar


def _teller(progress: Progress | None) -> Callable[[int, int], Any] | None:
    """A function of the bytes done, and in total."""
    if progress is None:
        return None
    bar: Any = progress
    if not hasattr(bar, "update"):
        tell: Callable[[int, int], Any] = bar
        return tell
    before = 0

    def move(done: int, total: int) -> None:
        nonlocal before
        bar.total = total
        bar.update(done - before)
        before = done

    return move


def verify(path: Path, *, quick: bool = False, progress: Progress | None = None) -> VerifyReport:
    """Checks a file: every checksum, the index against the chunks, the Blosc2 frame.

    The file may be open elsewhere, even for writing.

    Args:
        path: The file.
        quick: Leave out the data: no chunk is read.
        progress: Called now and then with the bytes done and the bytes in total, or a bar such as
            `tqdm(unit="B", unit_scale=True)`. What it raises ends the check, and so does `KeyboardInterrupt`.

    Raises:
        NotADepot, NewerFeature, ..: When the file does not open. Damage in a file that opens is no error: the report
            lists it.

    Example:
        >>> import tempfile, vldepot
        >>> folder = tempfile.TemporaryDirectory()
        >>> with vldepot.create(folder.name + "/a.vld", "bytes") as depot:
        ...     depot["a"] = b"kept"
        >>> report = verify(folder.name + "/a.vld")
        >>> report.is_whole, report.records_read
        (True, 1)
    """
    return _vldepot._verify(path, quick, _teller(progress))


def repair(source: Path, target: Path, *, progress: Progress | None = None) -> RepairReport:
    """Writes all that can be read of a damaged file to a new one, and names what cannot.

    The damaged file is never changed. `progress` is as for `verify`; when the work ends early, there is no new file.

    Raises:
        PathExists: When there is a file at `target`.
        NotADepot: When no depot is found in `source`.
    """
    return _vldepot._repair(source, target, _teller(progress))


def compact(path: Path, *, progress: Progress | None = None) -> CompactReport:
    """Rewrites a file without what was removed and replaced.

    Frames and arrays whose fields are to be stored apart are so afterwards, also those that were not before.
    The new file takes the place of the old one in a single step. `progress` is as for `verify`; when the work ends
    early, nothing was changed.

    Raises:
        Locked: While a writer has the file open.
        NotCompacted: When a record cannot be read, or the new file cannot be written. Nothing was changed.
    """
    return _vldepot._compact(path, _teller(progress))


def plan_compact(path: Path) -> Removal:
    """What `compact` would remove for good: records that were removed, truncated or replaced. Changes nothing."""
    return _vldepot._plan_compact(path)
