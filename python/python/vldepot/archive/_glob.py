"""Paths that match a pattern, by the rules of the module `glob`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .. import errors

if TYPE_CHECKING:
    from ._archive import Archive

_MAGIC = re.compile(r"[*?[]")


def _matcher(part: str, hidden: bool) -> Callable[[str], bool]:
    """Whether a name matches one part of a pattern."""
    match = re.compile(fnmatch.translate(part), re.DOTALL).match
    if hidden or part.startswith("."):
        return lambda name: match(name) is not None
    return lambda name: not name.startswith(".") and match(name) is not None


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


class Glob:
    """One search."""

    def __init__(self, archive: Archive, pattern: str, recursive: bool, hidden: bool) -> None:
        if pattern.startswith("/") or ".." in pattern.split("/") or "\0" in pattern:
            why = "it starts with `/`, or has a part `..` or a NUL byte"
            raise errors.InvalidPath(
                f"no path in an archive matches {pattern!r}: {why}", path=archive.path, why=why
            )
        self.archive = archive
        self.recursive = recursive
        self.hidden = hidden
        self.only_folders = pattern.endswith("/")
        self.parts = [part for part in pattern.split("/") if part not in ("", ".")]

    def run(self) -> Iterator[tuple[str, bool]]:
        """Paths, and whether they are folders. Folders of a pattern that ends with `/` do too."""
        if not self.parts:
            return
        seen: set[str] | None = set() if self.recursive and self.parts.count("**") > 1 else None
        for path, is_folder in self._match("", 0):
            if self.only_folders and not is_folder:
                continue
            found = f"{path}/" if self.only_folders and not path.endswith("/") else path
            if seen is not None:
                if found in seen:
                    continue
                seen.add(found)
            yield found, is_folder

    def _match(self, folder: str, nth: int) -> Iterator[tuple[str, bool]]:
        part, last = self.parts[nth], nth + 1 == len(self.parts)
        if self.recursive and part == "**":
            if nth + 2 == len(self.parts) and self.parts[-1] != "**":
                yield from self._named_below(folder, self.parts[-1])
                return
            if last:
                # The folder itself, as `glob` gives it; not the root, which has no name.
                if folder:
                    yield f"{folder}/", True
                yield from self._below(folder)
                return
            yield from self._match(folder, nth + 1)
            for path, is_folder in self._below(folder):
                if is_folder:
                    yield from self._match(path, nth + 1)
            return
        if not _MAGIC.search(part):
            path = _join(folder, part)
            if self.archive.isdir(path):
                yield from [(path, True)] if last else self._match(path, nth + 1)
            elif last and self.archive.isfile(path):
                yield path, False
            return
        matches = _matcher(part, self.hidden)
        for name, is_folder in self.archive._names(folder):
            if matches(name):
                path = _join(folder, name)
                if last:
                    yield path, is_folder
                elif is_folder:
                    yield from self._match(path, nth + 1)

    def _below(self, folder: str) -> Iterator[tuple[str, bool]]:
        # Not by recursion: folders may lie deeper in each other than Python calls.
        open_folders = [(folder, self.archive._names(folder))]
        while open_folders:
            folder, names = open_folders[-1]
            for name, is_folder in names:
                if self.hidden or not name.startswith("."):
                    path = _join(folder, name)
                    yield path, is_folder
                    if is_folder:
                        open_folders.append((path, self.archive._names(path)))
                        break
            else:
                open_folders.pop()

    def _named_below(self, folder: str, part: str) -> Iterator[tuple[str, bool]]:
        """What has a name that matches the part, at any depth. All names are listed together, which is faster."""
        if folder and not self.archive.isdir(folder):
            return
        matches = _matcher(part, self.hidden)
        start = len(folder) + 1 if folder else 0
        looked_at = {folder}
        for path, is_folder in self.archive._tree(folder):
            above, _, name = path.rpartition("/")
            if above not in looked_at:
                # Folders that have no records of their own.
                names = path[start:].split("/")[:-1]
                for n in range(1, len(names) + 1):
                    parent = path[:start] + "/".join(names[:n])
                    if parent not in looked_at:
                        looked_at.add(parent)
                        if matches(names[n - 1]) and not self._is_hidden(parent, start):
                            yield parent, True
            if is_folder:
                looked_at.add(path)
            if matches(name) and not self._is_hidden(path, start):
                yield path, is_folder

    def _is_hidden(self, path: str, start: int) -> bool:
        """Whether it lies in a hidden folder, which `**` does not go into."""
        return not self.hidden and any(name.startswith(".") for name in path[start:].split("/")[:-1])
