"""B17 and B18: threads, processes, pickling and forks; errors."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import vldepot
from vldepot import archive

N = 300


@pytest.fixture
def files(path: Path) -> Path:
    with archive.create(path, chunk_size=1 << 16) as a:
        for n in range(N):
            a[f"{n % 10}/{n}"] = str(n).encode() * (n + 1)
    return path


def content(n: int) -> bytes:
    return str(n).encode() * (n + 1)


def check(a: archive.Archive, start: int) -> int:
    """Reads all files in an order of its own, in every way."""
    for step in range(N):
        n = (start * 37 + step) % N
        name = f"{n % 10}/{n}"
        assert a[name] == content(n)
        assert a.read(name, n // 2, 10) == content(n)[n // 2 : n // 2 + 10]
        if step % 25 == 0:
            with a.open(name, "rb") as file:
                assert file.read() == content(n)
            assert len(a.listdir(name[0])) == N // 10 and len(a) == N
    assert len(dict(a.items())) == N
    return os.getpid()


def test_b17_threads_read_one_archive(files: Path) -> None:
    """B17: several threads read one archive at once."""
    a = archive.open(files)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda start: check(a, start), range(16)))) == 16


def test_b17_threads_share_one_file() -> None:
    """B17: several threads write and read in one open file, without tearing it."""
    a = archive.memory()
    with a.open("log", "wb", 0) as file:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: file.write(bytes([n]) * 10), range(200)))
    assert len(a["log"]) <= 2000 and len(a["log"]) % 10 == 0


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_b17_processes_read_one_archive(method: str, files: Path) -> None:
    """B17: several processes read at once, with the archive that they were given: it pickles."""
    a = archive.open(files)
    check(a, 0)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        pids = list(pool.map(check, [a] * 4, range(4)))
    assert os.getpid() not in pids and a["0/0"] == b"0"


def test_b17_an_archive_pickles_by_its_path(files: Path, tmp_path: Path) -> None:
    """B17: a pickled archive opens its file again; what cannot be opened again is refused."""
    a = archive.open(files, cache_bytes=1 << 20)
    again = pickle.loads(pickle.dumps(a))
    assert isinstance(again, archive.Archive) and again.path == str(files) and again["3/13"] == content(13)
    a.close()
    assert len(again) == N
    view = pickle.loads(pickle.dumps(again.decoded().archive))
    assert len(view) == N
    with archive.append(files) as writer, pytest.raises(pickle.PicklingError):
        pickle.dumps(writer)
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(archive.memory())
    pickled = pickle.dumps(again)
    os.rename(files, tmp_path / "elsewhere.vld")
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickled)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_b17_a_fork_reads_and_does_not_write(path: Path) -> None:
    """B17: a fork of a writer reads, refuses to write, and leaves the writer's files alone."""
    program = f"""
import os, sys, gc
from vldepot import archive, errors
a = archive.create({str(path)!r})
a["a"] = b"1"
a.commit()
file = a.open("open", "wb")
file.write(b"of the parent")
child = os.fork()
if child == 0:
    assert a["a"] == b"1" and len(a) == 1
    for write in (lambda: a.write("b", b""), lambda: a.mkdir("c"), lambda: a.remove("a")):
        try:
            write()
        except errors.Forked:
            pass
        else:
            os._exit(3)
    file.close()
    del file
    gc.collect()
    with a:
        pass
    sys.exit(0)
status = os.waitpid(child, 0)[1]
file.close()
a.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert dict(archive.open(path).items()) == {"a": b"1", "open": b"of the parent"}


def test_a_decoded_view_goes_to_other_processes(tmp_path: Path) -> None:
    """B17: with the codecs that were registered, and without those that were not."""
    with archive.create(tmp_path / "a.vld") as a:
        a.decoded()["a.json"] = [1, 2]
        a["b.txt"] = b"text"
    view = archive.open(tmp_path / "a.vld").decoded()
    view.register_codec(".txt", str.encode, bytes.decode)
    again = pickle.loads(pickle.dumps(view))
    assert (again["a.json"], again["b.txt"]) == ([1, 2], "text")
    view.clear_codecs()
    with pytest.raises(vldepot.CodecError):
        pickle.loads(pickle.dumps(view))["a.json"]


def test_a_reader_follows_a_writer(path: Path) -> None:
    with archive.create(path) as writer:
        writer["a/b"] = b"1"
        writer.commit()
        reader = archive.open(path)
        assert len(reader) == 1 and reader.num_dirs == 1
        writer["c/d"] = b"22"
        with writer.open("open", "w") as file:
            file.write("not yet")
            writer.commit()
            assert len(reader) == 1 and reader.refresh()
            assert (reader.num_files, reader.num_dirs, reader.total_size) == (2, 2, 3)
        writer.commit()
        assert reader.refresh() and reader["open"] == b"not yet" and not reader.refresh()
        with pytest.raises(BlockingIOError):
            archive.append(path)


def test_a_killed_writer_loses_only_what_was_not_committed(path: Path) -> None:
    program = f"""
import os, signal
from vldepot import archive
a = archive.create({str(path)!r})
a["committed/file"] = b"safe"
a.commit()
a["later"] = b"x"
file = a.open("open", "w")
file.write("never closed")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program])
    assert done.returncode == -signal.SIGKILL
    a = archive.open(path)
    assert a["committed/file"] == b"safe" and "open" not in a
    with archive.append(path) as a:
        a["new"] = b"1"
    assert sorted(archive.open(path))[:2] == ["committed/file", "new"] or "later" in archive.open(path)


def test_b18_errors_have_types_and_facts(files: Path) -> None:
    """B18: not found, exists, is a folder, is none, not empty, read-only, too large: each a type, with builtin ones."""
    a = archive.memory()
    a["d/f"] = b"x"
    read_only = archive.open(files)
    cases: list[tuple[Any, type[Exception], tuple[type[Exception], ...], int | None]] = [
        (lambda: a["z"], vldepot.NoSuchPath, (KeyError, FileNotFoundError, vldepot.NotFound), errno.ENOENT),
        (lambda: a.open("z"), vldepot.NoSuchPath, (KeyError, FileNotFoundError), errno.ENOENT),
        (lambda: a.write("d/f", b""), vldepot.PathTaken, (FileExistsError, vldepot.Exists), errno.EEXIST),
        (lambda: a.open("d/f", "x"), vldepot.PathTaken, (FileExistsError, ValueError), errno.EEXIST),
        (lambda: a["d"], vldepot.IsAFolder, (IsADirectoryError,), errno.EISDIR),
        (lambda: a.listdir("d/f"), vldepot.NotAFolder, (NotADirectoryError,), errno.ENOTDIR),
        (lambda: a.rmdir("d"), vldepot.NotEmpty, (OSError,), errno.ENOTEMPTY),
        (lambda: a["/x"], vldepot.InvalidPath, (ValueError,), None),
        (
            lambda: read_only.write("x", b""),
            vldepot.ReadOnly,
            (io.UnsupportedOperation, OSError, ValueError),
            None,
        ),
        (lambda: a.open("d/f", "r+b", 0).truncate(1 << 40), vldepot.InvalidRecord, (ValueError,), None),
        (lambda: archive.open(str(files) + "x"), vldepot.FileNotFound, (FileNotFoundError,), errno.ENOENT),
        (lambda: archive.create(files), vldepot.PathExists, (FileExistsError,), errno.EEXIST),
    ]
    for call, expected, builtin, number in cases:
        with pytest.raises(vldepot.Error) as raised:
            call()
        error = raised.value
        assert type(error) is expected, error
        assert all(isinstance(error, cls) for cls in builtin)
        assert error.path or expected is vldepot.InvalidPath
        if number is not None:
            assert isinstance(error, OSError) and error.errno == number
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is expected and str(again) == str(error)
    missing = pytest.raises(vldepot.NoSuchPath, a.__getitem__, "z").value
    assert missing.record == '"z"' and missing.is_not_found and "z" in str(missing)
    # Errors that a loss explains are no `KeyError`: see the tests of the depot.
    assert not issubclass(vldepot.LostEarlier, KeyError)


def test_b18_a_full_disk_is_told_and_nothing_is_lost(path: Path) -> None:
    """B18: no space."""
    resource = pytest.importorskip("resource")
    if sys.platform != "linux":
        pytest.skip("limits of files are as on Linux")
    program = f"""
import os, resource, signal
import vldepot
from vldepot import archive
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
a = archive.create({str(path)!r}, preset="uncompressed", chunk_size=1 << 16)
a["first"] = b"safe"
a.commit()
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
file = a.open("large", "wb")
file.write(os.urandom(1 << 22))
try:
    file.close()
    a.commit()
except vldepot.Error as error:
    assert isinstance(error, OSError), type(error)
    print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.close()
a.close()
b = archive.open({str(path)!r})
assert b["first"] == b"safe" and len(b["large"]) == 1 << 22
"""
    del resource
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() in ("NotStored", "NotCommitted"), done.stderr


def test_b18_a_damaged_archive_is_told(files: Path) -> None:
    """B18: integrity."""
    content = bytearray(files.read_bytes())
    for at in range(len(content) // 4, len(content) // 2, 997):
        content[at] ^= 0xFF
    files.write_bytes(content)
    damaged = 0
    try:
        a = archive.open(files)
        for name in list(a):
            try:
                n = int(name[2:])
                assert a[name] == str(n).encode() * (n + 1)
            except vldepot.Error as error:
                assert error.is_damage
                damaged += 1
    except vldepot.Error as error:
        assert error.is_damage
        damaged += 1
    assert damaged


def test_closing_while_others_read(files: Path) -> None:
    a = archive.open(files)
    failures: list[BaseException] = []
    started = threading.Barrier(5)

    def read() -> None:
        started.wait()
        try:
            while True:
                for n in range(N):
                    assert a[f"{n % 10}/{n}"] == content(n)
        except vldepot.Closed:
            pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    a.close()
    for thread in threads:
        thread.join()
    assert not failures
