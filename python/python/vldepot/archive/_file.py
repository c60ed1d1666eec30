"""Files inside an archive."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from .. import errors

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .. import _vldepot
    from ._archive import Archive

#: Bytes that are read at once. A few blocks, so that few of them are decoded twice.
BUFFER = 256 << 10


class RawFile(io.RawIOBase):
    """A file of an archive without a buffer, as `io.FileIO` is one of the disk."""

    def __init__(self, archive: Archive, handle: _vldepot.OpenFile, path: str, mode: str) -> None:
        self._archive = archive
        self._handle = handle
        self._mode = mode
        self._owner = os.getpid()
        self._at = handle.len() if "a" in mode else 0
        self.name = path
        self.mode = mode
        #: A fork closes the file, and what is in its buffer goes nowhere.
        self.let_go = False

    def readable(self) -> bool:
        self._check()
        return "r" in self._mode or "+" in self._mode

    def writable(self) -> bool:
        self._check()
        return self._mode != "rb"

    def seekable(self) -> bool:
        self._check()
        return True

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _check_readable(self) -> None:
        if not self.readable():
            raise io.UnsupportedOperation("File not open for reading")

    def _check_writable(self) -> None:
        if not self.writable():
            raise io.UnsupportedOperation("File not open for writing")
        if os.getpid() != self._owner:
            raise errors.Forked(
                f"{self._archive.path}: only the process {self._owner} may write {self.name!r}, which it opened",
                path=self._archive.path,
                owner=self._owner,
            )

    def tell(self) -> int:
        self._check()
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        start = {io.SEEK_CUR: self._at, io.SEEK_END: self._handle.len()}.get(whence, 0)
        to = start + offset
        if not 0 <= to < 1 << 63:
            raise ValueError(f"a position in a file is from 0 to 2^63 - 1, not {to}")
        self._at = to
        return to

    def readinto(self, buffer: Buffer, /) -> int:
        self._check_readable()
        with memoryview(buffer).cast("B") as view:
            data = self._handle.read_at(self._at, len(view))
            view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        self._check_readable()
        if size is None or size < 0:
            return self.readall()
        data = self._handle.read_at(self._at, size)
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        self._check_readable()
        data = self._handle.read_at(self._at, 1 << 62)
        self._at += len(data)
        return data

    def write(self, data: Buffer, /) -> int:
        size = memoryview(data).nbytes
        if self.let_go:
            return size
        self._check_writable()
        self._at = self._handle.write_at(self._at, data)
        return size

    def truncate(self, size: int | None = None, /) -> int:
        self._check_writable()
        size = self._at if size is None else size
        if size < 0:
            raise ValueError(f"a file has no negative size ({size})")
        self._handle.set_len(size)
        return size

    def store(self) -> None:
        """Puts what was written in its place in the archive."""
        # What a fork has is a copy, and the process that opened the file stores it.
        if os.getpid() == self._owner and self._mode != "rb":
            self._handle.store()

    def close(self) -> None:
        """Stores what was written. If that fails, the file stays open, and can be closed again."""
        if not self.closed:
            self.store()
            super().close()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<vldepot.archive file {self.name!r} in {self._archive.path}, mode {self._mode!r}{state}>"


# Files with a buffer close it first, and could not be closed again if storing failed.


class _Writer(io.BufferedWriter):
    def close(self) -> None:
        if not self.closed:
            _store(self)
        super().close()


class _Random(io.BufferedRandom):
    def close(self) -> None:
        if not self.closed:
            _store(self)
        super().close()


def _store(file: io.BufferedWriter | io.BufferedRandom) -> None:
    raw: Any = file.raw
    if os.getpid() == raw._owner:
        file.flush()
        raw.store()
    else:
        raw.let_go = True


def mode_of(mode: str) -> tuple[str, bool]:
    """The mode without `b` and `t`, and whether it is text."""
    if not isinstance(mode, str):
        raise TypeError(f"a mode is a str, not {type(mode).__name__}")
    plain = mode.replace("b", "").replace("t", "")
    known = plain in ("r", "r+", "w", "w+", "x", "x+", "a", "a+")
    if not known or len(mode) - len(plain) > 1:
        raise ValueError(f"invalid mode: {mode!r}; there are r, w, x and a, with b or t, and with +")
    return plain, "b" not in mode


def buffered(
    raw: RawFile,
    plain: str,
    text: bool,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> Any:
    """What `open` gives for a file without a buffer."""
    if buffering == 0:
        if text:
            raise ValueError("can't have unbuffered text I/O")
        return raw
    size = buffering if buffering > 1 else BUFFER
    file: Any
    if "+" in plain:
        file = _Random(raw, size)
    elif plain == "r":
        file = io.BufferedReader(raw, size)
    else:
        file = _Writer(raw, size)
    if not text:
        return file
    wrapped = io.TextIOWrapper(
        file, encoding=encoding or "utf-8", errors=errors, newline=newline, line_buffering=buffering == 1
    )
    wrapped.mode = plain  # type: ignore[misc]
    return wrapped
