"""What an archive tells of its files."""

from __future__ import annotations

import stat as _stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .._reports import Transfer as Transfer

if TYPE_CHECKING:
    from ._archive import Archive

_TYPES = {"file": _stat.S_IFREG, "folder": _stat.S_IFDIR, "link": _stat.S_IFLNK}
_BITS = {"file": 0o644, "folder": 0o755, "link": 0o777}


@dataclass(frozen=True, slots=True)
class Stat:
    """What is at a path. The names of `os.stat_result` work too: `st_mode`, `st_size`, `st_mtime` and so on."""

    path: str
    """Where it is in the archive, in its clean form. Links were followed."""
    kind: Literal["file", "folder", "link"]
    """What it is."""
    size: int
    """Its bytes. A folder has none, and a link those of the path that it leads to."""
    mode: int | None = None
    """Permission bits, such as `0o644`. `None` if they are not known."""
    mtime_ns: int | None = None
    """Time of the last change, in nanoseconds since 1970. `None` if it is not known."""
    uid: int | None = None
    """Number of the user who owns it. `None` if it is not known."""
    gid: int | None = None
    """Number of the group that owns it. `None` if it is not known."""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    """Extended attributes by name."""

    def isfile(self) -> bool:
        """Whether it is a file."""
        return self.kind == "file"

    def isdir(self) -> bool:
        """Whether it is a folder."""
        return self.kind == "folder"

    def islink(self) -> bool:
        """Whether it is a link."""
        return self.kind == "link"

    @property
    def st_mode(self) -> int:
        """Type and permission bits. Bits that are not known are those of a new file or folder."""
        return _TYPES[self.kind] | (_BITS[self.kind] if self.mode is None else self.mode)

    @property
    def st_size(self) -> int:
        """Its bytes."""
        return self.size

    @property
    def st_mtime_ns(self) -> int:
        """Time of the last change, in nanoseconds since 1970. 0 if it is not known."""
        return self.mtime_ns or 0

    @property
    def st_mtime(self) -> float:
        """Time of the last change, in seconds since 1970. 0 if it is not known."""
        return self.st_mtime_ns / 1e9

    @property
    def st_uid(self) -> int:
        """Number of the user who owns it. 0 if it is not known."""
        return self.uid or 0

    @property
    def st_gid(self) -> int:
        """Number of the group that owns it. 0 if it is not known."""
        return self.gid or 0

    @property
    def st_nlink(self) -> int:
        """How many names it has: 1."""
        return 1


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder, as `os.DirEntry`."""

    name: str
    """Its name in the folder."""
    path: str
    """Its path in the archive."""
    _is_folder: bool
    _archive: Archive = field(repr=False, compare=False)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder, or a link to one."""
        return self._is_folder or (follow_symlinks and self.is_symlink() and self._kind() == "folder")

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a file, or a link to one."""
        return not self._is_folder and (
            self._kind() == "file" if follow_symlinks else self._archive.lstat(self.path).kind == "file"
        )

    def is_symlink(self) -> bool:
        """Whether it is a link."""
        return not self._is_folder and self._archive.lstat(self.path).kind == "link"

    def stat(self, *, follow_symlinks: bool = True) -> Stat:
        """What is there: see `Archive.stat`."""
        return self._archive.stat(self.path, follow_symlinks=follow_symlinks)

    def _kind(self) -> str | None:
        try:
            return self.stat().kind
        except (OSError, ValueError):
            return None

    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Count:
    """How much is below a folder."""

    files: int
    """Files and links."""
    folders: int
    """Folders that have records of their own, without the folder itself."""
    bytes: int
    """Bytes of the files and links."""
