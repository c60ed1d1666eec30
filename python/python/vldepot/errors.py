"""Every way in which a call can fail: one class for each kind of error of the library.

All are subclasses of `Error`, and of the exception that Python itself raises in such a case: a name that is not
there is a `KeyError`, a position an `IndexError`, a path a `FileNotFoundError`.

    >>> import vldepot
    >>> depot = vldepot.memory("bytes")
    >>> try:
    ...     depot["a"]
    ... except KeyError as error:
    ...     print(type(error).__name__, error.record, error, sep=" | ")
    NotFound | "a" | <memory>: no record is called "a"

The facts of an error are its attributes. `error.__cause__` is what the system, the codec or Blosc2 said.
"""

from __future__ import annotations

import errno as _errno
import io as _io
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ._reports import Transfer

__all__ = [
    "AppendOnly",
    "ChecksumError",
    "Closed",
    "CodecError",
    "CodecParameters",
    "CompressError",
    "Damaged",
    "DecompressError",
    "Error",
    "Exists",
    "FileNotFound",
    "Forked",
    "Gap",
    "Incomplete",
    "InvalidOptions",
    "InvalidPath",
    "InvalidQuery",
    "InvalidRecord",
    "IoError",
    "IsAFolder",
    "Locked",
    "LostCommit",
    "LostEarlier",
    "MetadataError",
    "MissingShard",
    "NewerFeature",
    "NewerFormat",
    "NoRoom",
    "NoSuchPath",
    "NotADepot",
    "NotAFile",
    "NotAFolder",
    "NotCommitted",
    "NotCompacted",
    "NotEmpty",
    "NotFound",
    "NotPermitted",
    "NotStored",
    "NotTransferred",
    "NotUndone",
    "OtherLoader",
    "OutOfRange",
    "OutsideRecord",
    "Panicked",
    "PathExists",
    "PathTaken",
    "Poisoned",
    "ReadOnly",
    "RemovesAll",
    "Replaced",
    "SameFile",
    "StillOpen",
    "TargetChanged",
    "TooLong",
    "Unsupported",
    "WrongCodec",
]

_CLASSES: dict[str, type[Error]] = {}


class Error(Exception):
    """Why a depot refuses something.

    Attributes:
        path: The file, or `<memory>`. `None` if no file is involved.
        record: The name of the record concerned, as messages show it. Long names are cut.
        is_damage: Whether the file's bytes are not what was written.
        is_not_found: Whether the name, the position or the file does not exist.
        is_unsupported: Whether a later version wrote the file, or it uses something that is not read. That is no
            damage.
        is_io: Whether the system refused to read or write.
    """

    kind: ClassVar[str] = ""
    """The name of the library's kind of error. Empty for classes that only gather others."""

    path: str | None
    record: str | None
    is_damage: bool
    is_not_found: bool
    is_unsupported: bool
    is_io: bool

    def __init__(self, message: str = "", /, **facts: Any) -> None:
        super().__init__(message)
        self._message = message
        self._facts = facts
        for name in ("path", "record"):
            setattr(self, name, facts.get(name))
        for name in ("is_damage", "is_not_found", "is_unsupported", "is_io"):
            setattr(self, name, facts.get(name, False))
        for name, fact in facts.items():
            setattr(self, name, fact)
        if isinstance(self, OSError):
            numbered = {"errno": facts.get("errno", self._errno), "strerror": message, "filename": self.path}
            for name, fact in numbered.items():
                setattr(self, name, fact)

    #: The number of an `OSError` if the system gave none.
    _errno: ClassVar[int | None] = None

    def __init_subclass__(cls, **_: Any) -> None:
        kind = cls.__dict__.get("kind", "")
        if kind:
            _CLASSES[kind] = cls

    def __str__(self) -> str:
        return self._message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_make, (type(self), self._message, self._facts))


def _make(cls: type[Error], message: str, facts: dict[str, Any]) -> Error:
    return cls(message, **facts)


class NotFound(Error, KeyError):
    """No live record has this name."""

    kind = "NotFound"


class LostCommit(Error, LookupError):
    """The name was not found, but the file lost a commit that may have held it.

    This is no `KeyError`: code that makes a record where none is must not take this for one.
    """

    kind = "LostCommit"
    commit: int
    """The number of the lost commit."""
    offset: int
    """Where it is in the file, in bytes."""


class Incomplete(Error):
    """The file lost something it had committed, and was opened without `accept_loss`. `records` are left."""

    kind = "Incomplete"
    commit: int
    """The number of the lost commit."""
    offset: int
    """Where it is in the file, in bytes."""
    records: int


class MissingShard(Error, LookupError):
    """A shard of a folder of shards is not there, cannot be read, or has lost something. `why` says which.

    With `accept_loss`, the other shards can be read, and names that none of them has give this error.
    """

    kind = "MissingShard"
    shard: str
    """Its path in the folder."""
    records: int
    """How many records it had when the manifest was last written."""
    why: str


class LostEarlier(Error, LookupError):
    """No live record has this name, but one may have been lost earlier. `how` says what the file notes of it."""

    kind = "LostEarlier"
    how: str


class Exists(Error, ValueError):
    """A new record, or a new name for one, where the name is taken."""

    kind = "Exists"


class OutOfRange(Error, IndexError):
    """A position that has no record. The depot has `len` records."""

    kind = "OutOfRange"
    position: int
    """The position that was asked for, without its sign."""
    len: int


class OutsideRecord(Error, IndexError):
    """The bytes asked for end at `end`, but the record has only `len`."""

    kind = "OutsideRecord"
    end: int
    len: int


class TooLong(Error, ValueError):
    """A record of `len` bytes was to be read as a whole, and at most `most` bytes are.

    The files of an archive, and parts of records, are read piece by piece.
    """

    kind = "TooLong"
    len: int
    most: int


class PathExists(Error, FileExistsError):
    """A new file at a path that is taken. `vldepot.append` opens an existing depot for writing."""

    kind = "PathExists"
    _errno = _errno.EEXIST


class SameFile(Error, ValueError):
    """A new file would take the place of the file it is made from."""

    kind = "SameFile"
    source_path: str
    """The file that the new one is made from."""


class NotAFile(Error, OSError):
    """The path to be replaced is not a regular file, but `found`."""

    kind = "NotAFile"
    found: str


class TargetChanged(Error, OSError):
    """The file to be replaced changed after work on the new one began. All files are as they were."""

    kind = "TargetChanged"
    found: str
    """What is there now."""


class Replaced(Error, OSError):
    """A refresh of a depot whose path now leads to another file: open it again."""

    kind = "Replaced"
    _errno = _errno.ESTALE


class StillOpen(Error, RuntimeError):
    """A depot is still writing the new file that is to be put in place."""

    kind = "StillOpen"


class NoRoom(Error, OSError):
    """Not started, because there is too little room. `needed` and `free` are estimates, in bytes."""

    kind = "NoRoom"
    _errno = _errno.ENOSPC
    needed: int
    free: int


class WrongCodec(Error, ValueError):
    """Another codec wrote the depot. The codec `"bytes"` opens every depot."""

    kind = "WrongCodec"
    stored: str
    """The id of the codec that wrote the depot."""
    given: str
    """The id of the codec that was given."""


class CodecParameters(Error, ValueError):
    """The codec is the right one, but too old or set up differently.

    Attributes:
        field: The parameter, such as `precision`.
        expected: What the depot was written with.
        found: What was given.
    """

    kind = "CodecParameters"
    codec: str
    """The id of the codec."""
    field: str
    expected: str
    found: str


class NotADepot(Error, ValueError):
    """Not a file that this package reads."""

    kind = "NotADepot"
    found: str
    """What it is instead."""


class NewerFormat(Error, NotImplementedError):
    """A later version wrote the file."""

    kind = "NewerFormat"
    found: int
    """The version of the file."""
    supported: int
    """The newest version that this program reads."""


class NewerFeature(Error, NotImplementedError):
    """A later version wrote something into the file that this one does not know. If `readable`, only writing is
    refused."""

    kind = "NewerFeature"
    what: str
    """What kind of thing it is."""
    name: str
    """Its name or number."""
    offset: int
    """Where it is in the file, in bytes."""
    readable: bool


class Unsupported(Error, NotImplementedError):
    """The file uses something that this program cannot read. It is not damaged."""

    kind = "Unsupported"
    what: str
    """What kind of thing it is."""
    name: str
    """Its name or number."""
    offset: int
    """Where it is in the file, in bytes."""


class Locked(Error, BlockingIOError):
    """Another writer has the file open."""

    kind = "Locked"
    _errno = _errno.EAGAIN


class Forked(Error, RuntimeError):
    """A write in a forked process. Only the process `owner` may write."""

    kind = "Forked"
    owner: int


class ReadOnly(Error, _io.UnsupportedOperation):
    """A write to a depot opened for reading. `vldepot.append` opens it for writing."""

    kind = "ReadOnly"


class Poisoned(Error, OSError):
    """A sync failed earlier, so it is unknown what the disk holds since then. `why` is what the system said."""

    kind = "Poisoned"
    _errno = _errno.EIO
    why: str


class NotStored(Error, OSError):
    """A record was not stored. The cause says why. The call can be repeated."""

    kind = "NotStored"


class NotCommitted(Error, OSError):
    """A commit failed. The cause says why.

    All records are stored and can be read, but `waiting` of them, up to `newest`, are not durable. If `again`,
    the next commit tries again. If not, a sync failed.
    """

    kind = "NotCommitted"
    waiting: int
    newest: str | None
    again: bool


class InvalidOptions(Error, ValueError):
    """Options that do not fit together, or are out of range."""

    kind = "InvalidOptions"
    why: str
    """What does not fit, in words."""


class InvalidQuery(Error, ValueError):
    """A text that is no query, or asks for a column that the depot does not have: see `Depot.select`."""

    kind = "InvalidQuery"
    query: str
    """The text."""
    column: int
    """The place in the text, counted in characters from 1."""
    why: str
    """What is wrong there, in words."""


class InvalidPath(Error, ValueError):
    """A path that no archive can have: absolute, with a part `..` or a NUL byte, or a link that leads out."""

    kind = "InvalidPath"
    why: str
    """What is wrong with it, in words."""


class IsAFolder(Error, IsADirectoryError):
    """A file of an archive was asked for, and a folder is there."""

    kind = "IsAFolder"
    _errno = _errno.EISDIR


class NotAFolder(Error, NotADirectoryError):
    """A folder of an archive was asked for, and a file is there."""

    kind = "NotAFolder"
    _errno = _errno.ENOTDIR


class NotEmpty(Error, OSError):
    """A folder of an archive that was to be removed has `records` records in it."""

    kind = "NotEmpty"
    _errno = _errno.ENOTEMPTY
    records: int
    """How many records are in it."""


class NoSuchPath(NotFound, FileNotFoundError):
    """A path that an archive does not have: of a mapping a `KeyError`, and of files a `FileNotFoundError`."""

    _errno = _errno.ENOENT
    kind = ""


class PathTaken(Exists, FileExistsError):
    """A new file or folder of an archive, where there is something."""

    _errno = _errno.EEXIST
    kind = ""


class AppendOnly(Error, _io.UnsupportedOperation):
    """An archive that is only added to was to replace, change, rename or remove what is there."""


class NotTransferred(Error, OSError):
    """Some files could not be added to an archive, or extracted. All others were.

    The reasons are in `transfer.failures`.
    """

    transfer: Transfer
    """What was done, and what was not."""


class InvalidRecord(Error, ValueError):
    """A name or a record that no depot can hold."""

    kind = "InvalidRecord"
    why: str
    """Why no depot can hold it, in words."""


class IoError(Error, OSError):
    """The system refused to `action`. `errno` is its number."""

    kind = "Io"
    action: str

    def __new__(cls, *args: Any, **facts: Any) -> IoError:
        # The class that `open` would raise too.
        by_number = {_errno.ENOENT: FileNotFound, _errno.EACCES: NotPermitted, _errno.EPERM: NotPermitted}
        if cls is IoError:
            cls = by_number.get(facts.get("errno", 0), cls)
        return super().__new__(cls, *args)


class FileNotFound(IoError, FileNotFoundError):
    """There is no file at the path."""


class NotPermitted(IoError, PermissionError):
    """The system does not permit it."""


class MetadataError(Error, TypeError):
    """Metadata exist, but cannot be read."""

    kind = "Metadata"
    why: str
    """Why they cannot be read, in words."""


class CodecError(Error, ValueError):
    """The codec refused a value, or the bytes of a record.

    Attributes:
        codec: The codec's id. `None` for a value that no codec takes.
        field: What it refused, such as `positions`. `None` where it is the value as a whole.
        index: The index in that field, for a number that is out of range.
        expected: The shape, dtype, length or range that was expected.
        found: What was found.
    """

    kind = "Codec"
    codec: str | None = None
    field: str | None = None
    index: tuple[int, ...] | None = None
    expected: Any = None
    found: Any = None


class CompressError(Error, RuntimeError):
    """c-blosc2 refused to compress."""

    kind = "Compress"
    chunk: int
    """The number of the chunk."""


class ChecksumError(Error):
    """Bytes whose checksum differs from the one that was written.

    Attributes:
        part: The part of the file, in words.
        chunk: The number of the chunk, if it is in one.
        block: The number of the block in the chunk, if it is in one.
        offset: Where it is in the file, in bytes.
        expected: The CRC32C that was written.
        found: The CRC32C of the bytes.
    """

    kind = "Checksum"
    part: str
    chunk: int | None = None
    block: int | None = None
    offset: int
    expected: int
    found: int


class DecompressError(Error):
    """A chunk does not decompress although its checksums match."""

    kind = "Decompress"
    chunk: int
    """The number of the chunk."""
    offset: int
    """Where it is in the file, in bytes."""


class Damaged(Error):
    """A part of the file that is not what was written.

    Attributes:
        part: The part of the file, in words.
        chunk: The number of the chunk, if it is in one.
        block: The number of the block in the chunk, if it is in one.
        offset: Where it is in the file, in bytes.
        expected: What should be there.
        found: What is there.
    """

    kind = "Damaged"
    part: str
    chunk: int | None = None
    block: int | None = None
    offset: int
    expected: str
    found: str


class NotCompacted(Error):
    """Compacting met something that it could not read or write. The cause says what. Nothing was changed."""

    kind = "NotCompacted"


class RemovesAll(Error, ValueError):
    """A truncation would remove everything, and was not told to (`all=True`). Nothing was removed."""

    kind = "RemovesAll"
    records: int
    """How many records would go."""
    what: str
    """What would be removed: records, or frames with a step."""


class Gap(Error, ValueError):
    """A run cannot restart at `step` without a gap. Nothing was removed.

    The newest frame that would be kept, of step `found`, is older than `expected`.
    """

    kind = "Gap"
    step: int
    expected: int
    found: int | None


class NotUndone(Error, RuntimeError):
    """There is no truncation to undo. `why` says what came after it."""

    kind = "NotUndone"
    why: str


class OtherLoader(Error, ValueError):
    """A loader's state does not belong to this loader: they differ in `what`."""

    kind = "OtherLoader"
    what: str
    state: str
    """What it is where the state was taken."""
    given: str
    """What it is in this loader."""


class Panicked(Error, RuntimeError):
    """A thread of the library panicked. That is a mistake in the library."""

    kind = "Panicked"
    what: str
    """Which thread it was."""
    message: str
    """What it said."""


class Closed(Error, ValueError):
    """A call on a depot that was closed."""


class _Unknown(Error):
    """A kind of error that this module does not know."""


_CLASSES["Closed"] = Closed
_CLASSES["NoSuchPath"] = NoSuchPath
_CLASSES["PathTaken"] = PathTaken
_CLASSES["Unknown"] = _Unknown
