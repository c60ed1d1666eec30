"""How a depot is closed: on a full disk, without a call, at the end of the interpreter, in a fork."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot

#: From `limit(n)` on, a file cannot have more than `n` bytes, as on a full disk.
FULL_DISK = """
import os, resource, signal, sys, vldepot
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def limit(n=resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, resource.RLIM_INFINITY))

depot = vldepot.create(sys.argv[1], "bytes", preset="uncompressed", commit_every="never")
for n in range(100):
    depot[n] = bytes([n]) * 30_000
"""


def run(code: str, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own."""
    command = [sys.executable, *options, "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def is_whole(path: Path, records: int) -> bool:
    with vldepot.open(path) as depot:
        return len(depot) == records and vldepot.verify(path).is_whole


def test_a_close_that_fails_can_be_tried_again(path: Path) -> None:
    code = """
limit(300_000)
for fail in (depot.close, depot.commit, depot.close):
    try:
        fail()
    except vldepot.NotCommitted as error:
        assert error.again and error.waiting == 100 and not depot.closed
        print("refused")
assert depot[99] == bytes([99]) * 30_000
limit()
depot.close()
assert depot.closed
"""
    done = run(FULL_DISK + code, path)
    assert done.returncode == 0 and done.stdout.split() == ["refused"] * 3 and not done.stderr, done.stderr
    assert is_whole(path, 100)


def test_a_block_that_cannot_close_raises_and_leaves_the_depot_open(path: Path) -> None:
    code = """
limit(300_000)
try:
    with depot:
        raise RuntimeError("mine")
except vldepot.NotCommitted as error:
    import traceback
    assert "RuntimeError: mine" in "".join(traceback.format_exception(error)) and not depot.closed
limit()
with depot:
    pass
assert depot.closed
"""
    done = run(FULL_DISK + code, path)
    assert done.returncode == 0, done.stderr
    assert is_whole(path, 100)


def test_a_loss_at_the_end_of_a_depot_that_nobody_closed_is_told(path: Path) -> None:
    code = """
limit(300_000)
told = []
sys.unraisablehook = lambda unraisable: told.append(unraisable.exc_value)
del depot
limit()
assert [type(error) for error in told] == [vldepot.NotCommitted], told
assert told[0].waiting == 100
"""
    done = run(FULL_DISK + code, path)
    assert done.returncode == 0, done.stderr
    # At the end of the interpreter too.
    other = path.with_name("other.vld")
    done = run(FULL_DISK + "limit(300_000)", other)
    assert "NotCommitted" in done.stderr and "records wait" in done.stderr.replace("100 records", "records")


def test_a_writer_that_nobody_closes_is_a_resource_warning(path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        depot = vldepot.create(path, "bytes")
        depot["a"] = b"1"
        del depot
        gc.collect()
        # These have nothing to lose.
        vldepot.open(path)
        vldepot.memory("bytes")["a"] = b"1"
        with vldepot.append(path) as writer:
            writer["b"] = b"2"
        gc.collect()
    assert [(warning.category, str(warning.message)) for warning in told] == [
        (ResourceWarning, f"unclosed <vldepot.Depot {path}, open for writing>")
    ]
    assert is_whole(path, 2)
    code = "import sys, vldepot\ndepot = vldepot.append(sys.argv[1])\ndepot['c'] = b'3'\ndel depot"
    done = run(code, path, "-W", "error")
    assert done.returncode == 0 and "ResourceWarning: unclosed" in done.stderr
    assert is_whole(path, 3)


def test_a_loop_goes_on_over_a_depot_that_nobody_else_has(path: Path) -> None:
    with vldepot.create(path, "bytes") as depot:
        depot.update(dict.fromkeys(range(1000), b""))
    with pytest.warns(ResourceWarning):
        assert [name for name, _ in vldepot.append(path).items()] == list(range(1000))
        values = iter(vldepot.append(path).values())
    assert len(list(values)) == 1000
    # The loop was the last to have the file.
    vldepot.append(path).close()


def test_an_exception_on_its_way_is_not_lost(path: Path) -> None:
    # The depot goes while the exception of the call is on its way.
    with (
        pytest.warns(ResourceWarning, match="unclosed"),
        pytest.raises(TypeError, match="takes bytes, or what exports a buffer, not int"),
    ):
        vldepot.create(path, "bytes")["a"] = 5  # type: ignore[call-overload]
    assert is_whole(path, 0)


def test_a_daemon_thread_loses_nothing(path: Path) -> None:
    code = """
import sys, threading, vldepot
started = threading.Event()

def work():
    depot = vldepot.create(sys.argv[1], "bytes", commit_every="never")
    for n in range(100):
        depot[n] = bytes([n])
    started.set()
    threading.Event().wait()

threading.Thread(target=work, daemon=True).start()
started.wait()
"""
    done = run(code, path)
    assert done.returncode == 0, done.stderr
    assert is_whole(path, 100)


def test_a_depot_without_a_close_is_complete_at_the_end(path: Path) -> None:
    code = "import sys, vldepot\nkept = [vldepot.create(sys.argv[1], 'bytes')]\nkept.append(kept)\nkept[0]['a'] = b'1'"
    done = run(code, path)
    assert done.returncode == 0 and not done.stderr
    assert is_whole(path, 1)


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise SystemExit(3)"])
def test_a_fork_that_ends_inside_of_a_block_ends_as_it_asks(path: Path, end: str) -> None:
    code = f"""
import os, sys, vldepot
with vldepot.create(sys.argv[1], "bytes") as depot:
    depot["a"] = b"1"
    child = os.fork()
    if child == 0:
        {end}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    depot["b"] = b"2"
"""
    done = run(code, path, "-X", "dev")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert is_whole(path, 2)


def test_a_fork_does_not_close(path: Path) -> None:
    code = """
import os, sys, vldepot
depot = vldepot.create(sys.argv[1], "bytes")
depot["a"] = b"1"
child = os.fork()
if child == 0:
    try:
        depot.close()
    except vldepot.Forked:
        assert depot["a"] == b"1"
        sys.exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
depot["b"] = b"2"
depot.close()
"""
    done = run(code, path, "-X", "dev")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert is_whole(path, 2)


def test_flat_batches_are_interrupted(path: Path) -> None:
    code = """
import itertools, os, signal, sys, threading, numpy as np, vldepot
depot = vldepot.memory(preset="uncompressed")
for n in range(50):
    depot[n] = {"positions": np.zeros((20_000, 3), np.float32)}
depot.commit()
begun = threading.Event()

def names():
    yield from itertools.islice(itertools.cycle(range(50)), 20_000)
    begun.set()

def interrupt():
    begun.wait()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
out = {"positions": np.empty((1, 3), np.float32)}
try:
    depot.get_flat(names(), "positions", out=out)
except KeyboardInterrupt:
    print("interrupted", len(depot.get_flat([3, 1])))
"""
    done = run(code, path)
    assert done.stdout.split() == ["interrupted", "2"], done.stderr


def test_a_signal_handler_may_close_the_depot_of_a_flat_batch(path: Path) -> None:
    code = """
import itertools, os, signal, sys, threading, numpy as np, vldepot
depot = vldepot.memory(preset="uncompressed")
for n in range(50):
    depot[n] = {"positions": np.zeros((20_000, 3), np.float32)}
depot.commit()
begun = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: depot.close())

def names():
    yield from itertools.islice(itertools.cycle(range(50)), 20_000)
    begun.set()

def interrupt():
    begun.wait()
    os.kill(os.getpid(), signal.SIGUSR1)

threading.Thread(target=interrupt).start()
try:
    depot.get_flat(names(), "positions", out={"positions": np.empty((1, 3), np.float32)})
except vldepot.Closed:
    print("closed")
"""
    done = run(code, path)
    assert done.stdout.split() == ["closed"], done.stderr


def test_closing_waits_for_a_flat_batch_of_another_thread(path: Path) -> None:
    depot = vldepot.create(path, preset="uncompressed")
    for n in range(50):
        depot[n] = {"positions": np.full((20_000, 3), n, np.float32)}
    depot.commit()
    begun = threading.Event()
    batches: list[vldepot.FlatBatch] = []

    def names() -> Iterator[int]:
        yield from itertools.islice(itertools.cycle(range(50)), 2_000)
        begun.set()

    def read() -> None:
        try:
            batches.append(depot.get_flat(names()))
        except vldepot.Closed:  # `close` came before the call
            pass

    reading = threading.Thread(target=read)
    reading.start()
    begun.wait()
    depot.close()
    # Whatever the thread reads, it is done, and the file is free.
    vldepot.append(path).close()
    reading.join()
    for batch in batches:
        assert (
            len(batch) == 2_000 and batch.positions is not None and batch.positions[-1].tolist() == [49.0] * 3
        )


def test_numpy_is_found_when_the_package_is_imported(tmp_path: Path) -> None:
    # The first use of numpy's C functions is not in the midst of a call, which a signal could interrupt.
    code = """
import signal, sys, vldepot
assert "numpy" in sys.modules
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGUSR1, interrupt)
depot = vldepot.memory()
depot.put("a", positions=[[0, 0, 0]])
try:
    signal.raise_signal(signal.SIGUSR1)
    depot.get_flat(["a"])
except KeyboardInterrupt:
    print(len(depot.get_flat(["a"])))
"""
    assert run(code, tmp_path).stdout.split() == ["1"]
    (tmp_path / "numpy.py").write_text("raise ImportError('not today')\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
try:
    import vldepot
except ImportError as error:
    print(error)
"""
    assert (
        run(code, tmp_path).stdout.strip()
        == "vldepot needs numpy 2.0 or later, which cannot be imported: not today"
    )


def test_a_path_may_be_bytes(path: Path, tmp_path: Path) -> None:
    name: Any = os.fsencode(path)
    with vldepot.create(name, "bytes") as depot:
        depot["a"] = b"1"
        assert depot.path == str(path)
        depot.save(os.fsencode(tmp_path / "saved.vld"))
    assert (
        len(vldepot.open(name)) == 1
        and vldepot.verify(name).is_whole
        and vldepot.plan_compact(name).removed == 0
    )
    assert vldepot.repair(name, os.fsencode(tmp_path / "repaired.vld")).records == 1
    assert vldepot.compact(name).records == 1
    for wrong in (5, None, 1.5):
        with pytest.raises(TypeError):
            vldepot.open(wrong)  # type: ignore[call-overload]
