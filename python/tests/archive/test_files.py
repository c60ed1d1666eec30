"""B4 and B5: files inside an archive."""

from __future__ import annotations

import csv
import gc
import io
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot
from vldepot import archive

MODES = ["r", "r+", "w", "w+", "x", "x+", "a", "a+"]


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("there", [True, False])
def test_b4_modes_are_those_of_open(mode: str, there: bool, tmp_path: Path) -> None:
    """B4: modes r, r+, w, w+, x, x+, a, a+, compared with a file of the disk."""
    a = archive.memory()
    disk = tmp_path / "file"
    if there:
        a["file"] = b"0123456789"
        disk.write_bytes(b"0123456789")
    try:
        expected: Any = open(disk, mode + "b")
    except OSError as error:
        with pytest.raises(type(error)) as refused:
            a.open("file", mode + "b")
        assert refused.value.errno == error.errno
        return
    with expected, a.open("file", mode + "b") as file:
        assert isinstance(file, type(expected))
        assert file.tell() == expected.tell() and file.seekable()
        assert (file.readable(), file.writable()) == (expected.readable(), expected.writable())
        for each in (expected, file):
            if each.writable():
                assert each.write(b"abc") == 3
            else:
                with pytest.raises(io.UnsupportedOperation):
                    each.write(b"abc")
                with pytest.raises(io.UnsupportedOperation):
                    each.truncate(3)
        assert file.tell() == expected.tell()
        assert file.seek(2) == expected.seek(2) and file.seek(-1, 2) == expected.seek(-1, 2)
        assert file.seek(-1, 1) == expected.seek(-1, 1)
        if file.readable():
            assert file.read() == expected.read()
        else:
            for each in (expected, file):
                with pytest.raises(io.UnsupportedOperation):
                    each.read()
    assert a["file"] == disk.read_bytes() and file.closed
    with pytest.raises(ValueError):
        file.tell()


@pytest.mark.parametrize("buffering", [-1, 0, 7])
@pytest.mark.parametrize("mode", ["r+b", "w+b", "a+b"])
@pytest.mark.parametrize("seed", range(3))
def test_b4_any_use_is_that_of_a_file_on_the_disk(
    mode: str, buffering: int, seed: int, tmp_path: Path
) -> None:
    """B4: seek, tell, read, readinto, readline, write, truncate and growth past the old end, compared with the disk."""
    choose = random.Random(f"{seed}{mode}{buffering}")
    start = bytes(choose.choice(b"ab\n\0") for _ in range(choose.choice([0, 5, 300_000])))
    disk = tmp_path / "file"
    disk.write_bytes(start)
    a = archive.memory()
    a["file"] = start

    def step(file: Any, n: int) -> Any:
        own = random.Random(n)
        what = own.choice(
            ["read", "readinto", "line", "lines", "write", "write", "seek", "end", "cut", "tell", "flush"]
        )
        if what == "read":
            return file.read(own.choice([0, 1, 3, 1000, 100_000, -1]))
        if what == "readinto":
            buffer = bytearray(own.choice([0, 1, 50, 70_000]))
            return file.readinto(buffer), bytes(buffer)
        if what == "line":
            return file.readline(own.choice([-1, 2]))
        if what == "lines":
            return file.readlines(20)
        if what == "write":
            return file.write(bytes(own.choice(b"xyz\n") for _ in range(own.choice([0, 1, 5, 9000]))))
        if what == "seek":
            return file.seek(own.choice([0, 1, 7, 100, 5000, 310_000]))
        if what == "end":
            return file.seek(0, 2)
        if what == "cut":
            return file.truncate(own.choice([None, 0, 3, 100, 6000, 305_000]))
        return file.tell() if what == "tell" else file.flush()

    with open(disk, mode, buffering=buffering) as expected, a.open("file", mode, buffering) as file:
        for _ in range(60):
            n = choose.getrandbits(64)
            assert step(file, n) == step(expected, n)
    assert a["file"] == disk.read_bytes() == a.read("file")


def test_b4_the_gap_before_what_is_written_is_zeros_and_the_checksum_is_right() -> None:
    """B4: growth past the old end; the checksum right afterwards."""
    a = archive.memory()
    a["file"] = b"123"
    assert a.crc32c("file") == crc32c(b"123") == a.depot.location("file").checksum
    with a.open("file", "r+b") as file:
        file.seek(6)
        file.write(b"7")
        # Until it is closed, the archive has what was there.
        file.flush()
        assert a["file"] == b"123" and file.seek(0) == 0 and file.read() == b"123\0\0\x007"
    assert a["file"] == b"123\0\0\x007" and a.crc32c("file") == crc32c(b"123\0\0\x007")
    with a.open("file", "r+b") as file:
        file.truncate(10)
        file.truncate(2)
        file.truncate(4)
    assert a["file"] == b"12\0\0" and a.crc32c("file") == crc32c(b"12\0\0") and a.totals().bytes == 4
    with pytest.raises(FileNotFoundError):
        a.crc32c("missing")


def test_b4_text_and_lines() -> None:
    """B4: text by an encoding, and lines."""
    a = archive.memory()
    with a.open("text", "w") as file:
        assert isinstance(file, io.TextIOWrapper) and file.mode == "w" and file.name == "text"
        print("eins", "zwei ä", "", sep="\n", end="", file=file)
    assert a["text"] == "eins\nzwei ä\n".encode()
    with a.open("text") as file:
        assert list(file) == ["eins\n", "zwei ä\n"]
    with a.open("text", "a", encoding="utf-16-le", newline="\r\n") as file:
        file.write("x\n")
    assert a["text"].endswith(b"x\0\r\0\n\0")
    with a.open("text", encoding="ascii", errors="replace") as file:
        assert "\ufffd" in file.read()
    with a.open("table.csv", "wt", newline="") as file:
        csv.writer(file).writerows([["a", 1], ["b", 2]])
    with a.open("table.csv", "rt", newline="") as file:
        assert list(csv.reader(file)) == [["a", "1"], ["b", "2"]]
    for wrong in ("", "b", "rw", "rbt", "rr", "U", "z", "+", "rbb"):
        with pytest.raises(ValueError):
            a.open("text", wrong)
    with pytest.raises(TypeError):
        a.open("text", None)  # type: ignore[call-overload]
    with pytest.raises(ValueError):
        a.open("text", "rb", encoding="utf-8")
    with pytest.raises(ValueError):
        a.open("text", "r", 0)


def test_b4_a_file_that_is_written_keeps_its_mode_and_owner() -> None:
    a = archive.memory()
    a.write("file", b"1", mode=0o750, mtime_ns=0, uid=3, gid=4)
    for mode in ("a", "r+", "w"):
        with a.open("file", mode) as file:
            file.write("x")
        stat = a.stat("file")
        assert (stat.mode, stat.uid, stat.gid) == (0o750, 3, 4) and (
            stat.mtime_ns or 0
        ) > 1_700_000_000 * 10**9
    a.utime("file", 0)
    with a.open("file", "r+b") as file:
        file.read()
    with a.open("file", "ab"):
        pass
    # Nothing was written, so nothing was stored.
    assert a.stat("file").mtime_ns == 0 and a["file"] == b"x"
    with a.open("new/folder/file", "x"):
        pass
    assert a["new/folder/file"] == b"" and a.stat("new/folder/file").mode == 0o644


def test_b4_what_stands_in_the_way_is_found_when_a_file_is_opened() -> None:
    a = archive.memory()
    a["a"] = b""
    a["d/e"] = b""
    for mode in ("w", "x", "a", "r", "r+"):
        with pytest.raises(IsADirectoryError):
            a.open("d", mode)
    for mode in ("w", "x", "a"):
        with pytest.raises(NotADirectoryError):
            a.open("a/b", mode)
    with a.open("new", "xb") as first:
        first.write(b"first")
        second = a.open("new", "xb")
        second.write(b"second")
    # It is the second that finds the path taken, and it can still be put elsewhere.
    with pytest.raises(FileExistsError):
        second.close()
    assert a["new"] == b"first" and not second.closed
    a.remove("new")
    second.close()
    assert a["new"] == b"second" and second.closed


def test_b4_a_text_that_could_not_be_stored_can_be_closed_again() -> None:
    a = archive.memory()
    file = a.open("new", "x")
    file.write("mine")
    a["new"] = b"theirs"
    with pytest.raises(FileExistsError):
        file.close()
    a.rename("new", "theirs")
    file.close()
    assert a["new"] == b"mine" and a["theirs"] == b"theirs"


def test_b4_a_file_that_is_replaced_while_it_is_read_is_told() -> None:
    a = archive.memory()
    a["a"] = b"first"
    with a.open("a", "rb", 0) as file:
        assert file.read(2) == b"fi"
        a.write("a", b"other", replace=True)
        with pytest.raises(vldepot.InvalidRecord, match="open it again"):
            file.read(2)
        a.remove("a")
        with pytest.raises(FileNotFoundError):
            file.read(2)


def test_b4_of_two_writers_of_a_file_the_last_to_close_is_kept() -> None:
    a = archive.memory()
    a["a"] = b"old"
    first, second, reader = a.open("a", "wb"), a.open("a", "wb"), a.open("a", "rb")
    second.write(b"second")
    first.write(b"first")
    second.close()
    assert a["a"] == b"second"
    first.close()
    assert a["a"] == b"first"
    reader.close()


def test_b4_a_file_that_is_too_long_is_refused_before_it_is_made() -> None:
    a = archive.memory()
    a["a"] = b"1"
    with a.open("a", "r+b", 0) as file:
        for length in (1 << 40, 1 << 50, (1 << 63) - 1):
            with pytest.raises(vldepot.InvalidRecord):
                file.truncate(length)
            file.seek(length)
            with pytest.raises(vldepot.InvalidRecord):
                file.write(b"x")
            assert file.read() == b""
        for wrong in (-1, 1 << 63):
            with pytest.raises(ValueError):
                file.seek(wrong)
        with pytest.raises(ValueError):
            file.truncate(-1)
        with pytest.raises(ValueError):
            file.seek(0, 3)
    assert a["a"] == b"1"


def test_b4_files_that_are_open_are_stored_when_the_archive_is_closed(path: Path) -> None:
    with archive.create(path) as a:
        left = a.open("left", "w")
        left.write("open")
        text = a.open("read", "w")
        text.write("me")
        text.close()
        reader = a.open("read", "rb", 0)
    assert left.closed and archive.open(path)["left"] == b"open"
    with pytest.raises(vldepot.Closed):
        reader.read()
    reader.close()
    with pytest.raises(vldepot.Closed):
        a.open("read")
    # A file keeps its archive.
    with archive.append(path) as a:
        pass
    a = archive.append(path)
    file = a.open("kept", "w")
    a.close()
    assert file.closed and "kept" in archive.open(path)


def test_b4_files_that_are_open_at_the_end_of_the_program_are_stored(path: Path) -> None:
    program = f"""
from vldepot import archive
a = archive.create({str(path)!r})
file = a.open("left", "w")
file.write("open at the end")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", program], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert archive.open(path)["left"] == b"open at the end"


def test_b4_a_file_that_nobody_closes_is_stored_when_it_goes() -> None:
    a = archive.memory()
    a.open("left", "w").write("text")
    gc.collect()
    assert a["left"] == b"text"


def test_b4_other_programs_take_these_files(path: Path) -> None:
    """B4: zipfile, numpy and PIL read and write them."""
    image = pytest.importorskip("PIL.Image")
    with archive.create(path) as a:
        with a.open("files.zip", "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
                packed.writestr("x", b"inside" * 1000)
            with zipfile.ZipFile(file, "a") as packed:
                packed.writestr("y", b"more")
        with a.open("array.npy", "wb") as file:
            np.save(file, np.arange(200_000))
        with a.open("image.png", "wb") as file:
            image.fromarray(np.zeros((4, 5), np.uint8)).save(file, "PNG")
    a = archive.open(path)
    with a.open("files.zip", "rb") as file, zipfile.ZipFile(file) as packed:
        assert (
            packed.read("x") == b"inside" * 1000
            and packed.testzip() is None
            and packed.namelist() == ["x", "y"]
        )
    with a.open("array.npy", "rb") as file:
        assert np.load(file)[-1] == 199_999
    with a.open("image.png", "rb") as file:
        assert image.open(file).size == (5, 4)


@pytest.mark.parametrize("size", [0, 1, 1000, 65_536, 5_000_000])
def test_b5_ranges(size: int, path: Path) -> None:
    """B5: read(offset, size) and readinto(buffer, offset), of empty, small and large files."""
    data = np.random.default_rng(size).integers(0, 4, size, np.uint8).tobytes()
    with archive.create(path) as a:
        a["before"] = b"x" * 10
        a["file"] = data
        a["after"] = b"y" * 10
    a = archive.open(path)
    assert a.read("file") == a["file"] == data and a.stat("file").size == size
    for offset in {0, 1, size // 2, max(size - 1, 0), size, size + 1, 1 << 70}:
        for length in (0, 1, 100, size, size + 100, -1, 1 << 70):
            expected = data[offset:] if length == -1 else data[offset : offset + length]
            assert a.read("file", offset, length) == expected
        buffer = bytearray(b"." * 300)
        n = a.readinto("file", buffer, offset)
        assert n == len(data[offset : offset + 300]) and buffer == data[offset : offset + 300] + b"." * (
            300 - n
        )
    numbers = np.zeros(25, np.float32)
    assert a.readinto("file", numbers) == min(size, 100) and numbers.tobytes()[:100] == data[:100].ljust(
        100, b"\0"
    )
    for wrong in (lambda: a.read("file", -1), lambda: a.read("file", 0, -2)):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(TypeError):
        a.readinto("file", bytes(10))
    for call in (lambda: a.read("z", 1), lambda: a.readinto("z", bytearray(1))):
        with pytest.raises(FileNotFoundError):
            call()
    with pytest.raises(IsADirectoryError):
        a.read("", 1, 1)


def test_b5_files_are_written_from_bytes_and_from_open_files(tmp_path: Path) -> None:
    """B5: written from data and from open files; empty records."""
    (tmp_path / "disk").write_bytes(b"of the disk")
    a = archive.memory()
    with open(tmp_path / "disk", "rb") as file:
        a["disk"] = file
    a.write("memory", io.BytesIO(b"of memory"))
    a.write("array", np.arange(3, dtype=np.int8))
    a["empty"] = b""
    with a.open("disk", "rb") as inside:
        a.write("copy", inside)
    assert (
        a["disk"] == a["copy"] == b"of the disk" and a["memory"] == b"of memory" and a["array"] == b"\0\1\2"
    )
    assert a["empty"] == b"" and a.read("empty", 0, 5) == b"" and a.totals("empty").files == 1
    with pytest.raises(TypeError):
        a.write("text", io.StringIO("text"))  # type: ignore[arg-type]


def test_b5_a_damaged_byte_is_found_by_ranges_too(path: Path) -> None:
    """B5: what is read by ranges is checked."""
    with archive.create(path, preset="uncompressed") as a:
        a["file"] = bytes(range(256)) * 4000
    content = bytearray(path.read_bytes())
    at = content.find(bytes(range(256)), 500_000)
    content[at + 9] ^= 1
    path.write_bytes(content)
    a = archive.open(path)
    with pytest.raises(vldepot.Error) as whole:
        a["file"]
    assert whole.value.is_damage
    found = 0
    for offset in range(0, 1_024_000, 64_000):
        try:
            assert a.read("file", offset, 10) == (bytes(range(256)) * 2)[offset % 256 :][:10]
        except vldepot.Error as error:
            assert error.is_damage
            found += 1
    with a.open("file", "rb") as file, pytest.raises(vldepot.Error):
        while file.read(100_000):
            pass
    assert found <= 16
