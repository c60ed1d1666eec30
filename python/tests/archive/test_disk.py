"""B5: files of the disk, added and extracted."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

import vldepot
from vldepot import archive

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files of the disk are added on Unix only")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of all kinds."""
    top = tmp_path / "data"
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "a.txt").write_bytes(b"text")
    (top / "sub" / "large.bin").write_bytes(os.urandom(3_000_000))
    (top / "sub" / "script").write_bytes(b"#!")
    (top / "sub" / "script").chmod(0o751)
    (top / "empty.png").write_bytes(b"")
    (top / "link").symlink_to("sub/script")
    os.utime(top / "a.txt", ns=(1, 1_234_567_890_123_456_789))
    return top


def test_b5_a_folder_goes_in_and_comes_out(folder: Path, path: Path, tmp_path: Path) -> None:
    """B5: add_by_path: content, modes, times and links."""
    told: list[tuple[int, int]] = []
    with archive.create(path) as a:
        added = a.add(folder, progress=lambda *now: told.append(now))
    assert (added.files, added.folders, added.links, added.failed, added.failures) == (4, 3, 1, 0, [])
    assert added.bytes == 3_000_006 == told[-1][1] and told[-1][0] == 8
    a = archive.open(path)
    assert sorted(a) == ["data/a.txt", "data/empty.png", "data/link", "data/sub/large.bin", "data/sub/script"]
    assert (
        a.stat("data/a.txt").mtime_ns == 1_234_567_890_123_456_789 and a.stat("data/sub/script").mode == 0o751
    )
    assert a.stat("data/a.txt").uid == os.getuid() and a["data/link"] == b"#!" and a.isdir("data/sub/empty")
    out = tmp_path / "out"
    assert a.extract(out).files == 4
    for file in folder.rglob("*"):
        other = out / "data" / file.relative_to(folder)
        assert other.lstat().st_mode == file.lstat().st_mode and other.is_symlink() == file.is_symlink()
        if stat.S_ISREG(file.lstat().st_mode):
            assert (
                other.read_bytes() == file.read_bytes()
                and other.stat().st_mtime_ns == file.stat().st_mtime_ns
            )


def test_b5_parts_are_chosen(folder: Path, tmp_path: Path) -> None:
    a = archive.memory()
    a.add(folder, "")
    assert "a.txt" in a and a.isdir("sub/empty")
    a.add(folder / "a.txt", "copy/b.txt")
    a.add(os.fsencode(folder / "a.txt"), b"copy/c.txt", owner=False)
    assert a["copy/b.txt"] == b"text" and a.stat("copy/c.txt").uid is None
    some = archive.memory()
    assert some.add(folder, "d", exclude=["sub"], threads=1).files == 2 and not some.exists("d/sub")
    assert some.add(folder, "e", include=["*.txt"]).files == 1 and list(some.files("e")) == ["e/a.txt"]
    assert a.extract(tmp_path / "one", "copy").files == 2
    assert sorted(p.name for p in (tmp_path / "one" / "copy").iterdir()) == ["b.txt", "c.txt"]
    assert a.extract(tmp_path / "two", include=["*.png"], exclude=["copy"]).files == 1
    with pytest.raises(FileNotFoundError):
        a.extract(tmp_path / "three", "missing")
    with pytest.raises(vldepot.InvalidOptions):
        a.add(folder, "f", include=["["])


def test_b19_adding_a_folder_leaves_what_single_writes_leave(tmp_path: Path) -> None:
    """B19: the same files, folders and totals, whether they are added together or one by one."""
    top = tmp_path / "data"
    for n in range(500):
        file = top / str(n % 7) / f"{n}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(str(n).encode() * n)
    together, single = archive.memory(), archive.memory()
    together.add(top, "data")
    for name in together:
        single[name] = (tmp_path / name).read_bytes()
    assert dict(together.items()) == dict(single.items()) and len(together) == 500
    assert sorted(together.dirs()) == sorted(single.dirs())
    for folder in ["", *single.dirs()]:
        assert together.totals(folder) == single.totals(folder)
    assert [together.crc32c(name) for name in single] == [single.crc32c(name) for name in single]


def test_what_cannot_be_added_or_extracted_is_told(folder: Path, tmp_path: Path) -> None:
    a = archive.memory()
    a.add(folder, "data")
    os.mkfifo(folder / "pipe")
    with pytest.raises(vldepot.NotTransferred) as error:
        a.add(folder, "data")
    # Nothing is replaced unless asked, and all of it is named.
    assert (
        isinstance(error.value, OSError) and error.value.transfer.failed == 6 and "5 more" in str(error.value)
    )
    added = a.add(folder, "data", replace=True, errors="return")
    assert added.failed == 1 and added.failures[0][0].endswith("pipe") and added.files == 4
    assert a.add(folder, "new", errors="return").files == 4 and "new/a.txt" in a
    with pytest.raises(vldepot.NotTransferred) as error:
        a.add(folder / "missing")
    assert error.value.transfer.files == 0
    out = tmp_path / "out"
    a.extract(out, "data")
    (out / "data" / "a.txt").write_bytes(b"mine")
    with pytest.raises(vldepot.NotTransferred) as error:
        a.extract(out, "data")
    assert (out / "data" / "a.txt").read_bytes() == b"mine" and error.value.transfer.failed >= 1
    a.extract(out, "data", overwrite=True)
    assert (out / "data" / "a.txt").read_bytes() == b"text"
    with pytest.raises(ValueError):
        a.add(folder, "x", errors="ignore")  # type: ignore[arg-type]


def test_nothing_is_written_outside_of_the_target(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    a = archive.memory()
    a.symlink(str(outside), "link")
    a["safe"] = b"1"
    depot = a.depot
    depot["link/inside"] = b"through a link"
    depot["../escape"] = b"up"
    depot["/tmp/vldepot-escape"] = b"absolute"
    out = tmp_path / "out"
    result = a.extract(out, errors="return")
    assert result.failed and not list(outside.iterdir()) and not (tmp_path / "escape").exists()
    assert (out / "safe").read_bytes() == b"1" and not Path("/tmp/vldepot-escape").exists()


def test_what_progress_raises_ends_the_work(folder: Path) -> None:
    a = archive.memory()

    def stop(entries: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        a.add(folder, progress=stop)
    # What was added by then is there, and the archive works on.
    a["x"] = b"1"
    assert a["x"] == b"1" and len(a) == len(list(a))
