"""Opening, closing, crashing, forking, threads, interrupts."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot


def run(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_what_was_committed_survives_kill_9(path: Path) -> None:
    code = """
import sys, vldepot
depot = vldepot.create(sys.argv[1], "msgpack", commit_every="never")
for n in range(1000):
    depot[n] = {"n": n}
    if n in (400, 700):
        depot.commit()
        print(n, flush=True)
import time; time.sleep(100)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() and process.stdout.readline()
    process.kill()
    process.wait()
    depot = vldepot.open(path)
    assert len(depot) >= 701 and [depot[n]["n"] for n in range(701)] == list(range(701))
    with vldepot.append(path) as writer:
        writer["after"] = "the crash"
    assert vldepot.open(path)["after"] == "the crash" and vldepot.verify(path).is_whole


def test_a_reader_follows_a_writer(path: Path) -> None:
    writer = vldepot.create(path)
    for step in (0, 500, 1000):
        writer[step] = {"positions": np.zeros((1, 3)), "step": step}
    writer.commit()
    reader = vldepot.open(path)
    writer.truncate_after(500)
    writer[900] = {"step": 900}
    writer[1300] = {"step": 1300}
    writer.commit()
    moved = reader.refresh()
    assert (moved.before, moved.kept, moved.now, moved.changed) == (3, 2, 4, True)
    assert moved.went_back == 2 and moved.new_records == range(2, 4)
    assert list(reader) == [0, 500, 900, 1300] and not reader.refresh().changed


def test_a_run_starts_again_at_a_checkpoint(path: Path) -> None:
    depot = vldepot.create(path)
    depot["topology"] = {"topology": {"names": ["A"]}}
    for step in range(0, 1600, 100):
        depot[step] = vldepot.Frame(positions=np.zeros((1, 3)), step=step)
    plan = depot.restart_at_step(1250, newest=1200, dry_run=True)
    assert (plan.removed, plan.kept, plan.first, plan.last, plan.everything) == (3, 14, 1300, 1500, False)
    assert depot.restart_at_step(1250, newest=1200).removed == 3
    with pytest.raises(vldepot.Gap) as caught:
        depot.restart_at_step(1400, newest=1400)
    assert (caught.value.step, caught.value.expected, caught.value.found) == (1400, 1400, 1200)
    assert depot.undo_truncate() == 3 and len(depot) == 17
    with pytest.raises(vldepot.NotUndone):
        depot.undo_truncate()
    with pytest.raises(vldepot.RemovesAll):
        depot.truncate_after_step(-5)
    assert depot.truncate_after_step(-5, all=True).removed == 16 and list(depot) == ["topology"]
    with pytest.raises(TypeError):
        vldepot.memory("bytes").restart_at_step(0, newest=0)


def test_context_managers_close_and_commit(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), vldepot.create(path, "bytes") as depot:
        depot["a"] = b"1"
        raise ZeroDivisionError
    assert depot.closed and vldepot.open(path)["a"] == b"1"
    with vldepot.open_or_create(path) as depot:
        assert depot.codec == "bytes" and depot.writable
        depot["b"] = b"2"
        depot.flush()
        depot.publish()
    assert len(vldepot.open(path)) == 2
    with vldepot.open_or_create(path.with_name("new.vld")) as depot:
        assert depot.codec == "atomic_frame"
    depot = vldepot.memory("bytes")
    depot["a"] = b"1"
    depot.save(path.with_name("saved.vld"))
    with pytest.raises(FileExistsError):
        depot.save(path)
    assert vldepot.open(path.with_name("saved.vld"))["a"] == b"1"


def test_an_iterator_does_not_keep_a_file_locked(path: Path) -> None:
    writer = vldepot.create(path, "bytes")
    writer.update(dict.fromkeys(range(1000), b""))
    names, values = iter(writer), iter(writer.values())
    next(names), next(values)
    writer.close()
    vldepot.append(path).close()
    with pytest.raises(vldepot.Closed):
        list(values)


def test_an_iterator_has_the_records_of_its_start() -> None:
    depot = vldepot.memory("bytes")
    depot.update(dict.fromkeys(range(600), b""))
    names = iter(depot)
    seen = []
    for name in names:
        seen.append(name)
        depot[1000 + name] = b""
    assert seen == list(range(600)) and len(depot) == 1200
    with pytest.raises(StopIteration):
        next(names)


def test_readers_are_pickled_by_path(molecules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(molecules.parent)
    depot = vldepot.open(molecules.name, "atomic_frame", mapping="never", verify="once")
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(depot))
    assert again["m007"].energy == 7.0 and again.path == str(molecules)
    for refused in (vldepot.memory(), vldepot.append(molecules)):
        with pytest.raises(pickle.PicklingError):
            pickle.dumps(refused)


def energy_of(arguments: tuple[Any, str]) -> float:
    depot, name = arguments
    return float(depot[name].energy)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_read_however_they_start(molecules: Path, method: str) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    names = [f"m{n:03}" for n in range(20)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(energy_of, [(depot, name) for name in names]) == list(range(20))


def test_a_fork_reads_and_does_not_write(path: Path) -> None:
    writer = vldepot.create(path, "bytes")
    writer["a"] = b"before"
    writer.commit()
    reader, pipe = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            assert writer["a"] == b"before"
            try:
                writer["b"] = b"in the fork"
            except vldepot.Forked as error:
                said = f"refused, owner {error.owner}"
            del writer
        except BaseException as error:
            said = repr(error)
        os.write(pipe, said.encode())
        os._exit(0)
    os.close(pipe)
    with os.fdopen(reader) as answer:
        assert answer.read() == f"refused, owner {os.getpid()}"
    os.waitpid(child, 0)
    writer["c"] = b"after"
    writer.close()
    assert list(vldepot.open(path)) == ["a", "c"] and vldepot.verify(path).is_whole


def test_threads_share_a_depot(path: Path) -> None:
    depot = vldepot.create(path, "array", chunk_size=1 << 16)
    failed: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for n in range(150):
                depot[f"{thread}/{n}"] = np.full(n + 1, thread)
                assert (depot[f"{thread}/{n}"] == thread).all()
                if n % 50 == 0:
                    depot.commit()
                    assert len(list(depot.items())) >= n
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(depot) == 900
    depot.close()
    assert vldepot.verify(path).is_whole


def test_closing_waits_for_other_threads(path: Path) -> None:
    for _ in range(20):
        path.unlink(missing_ok=True)
        depot = vldepot.create(path, "bytes")
        depot.update({n: bytes(100) for n in range(100)})
        outcomes: list[str] = []

        def read(depot: Any = depot, outcomes: list[str] = outcomes) -> None:
            try:
                while True:
                    assert depot.get_many(range(100))[5] == bytes(100)
                    assert len(list(depot.values())) == 100
            except vldepot.Closed:
                outcomes.append("closed")

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.005)
        depot.close()
        for thread in threads:
            thread.join()
        assert outcomes == ["closed"] * 3
        assert len(vldepot.open(path)) == 100


def test_the_gil_is_released(tmp_path: Path) -> None:
    # A pipe that nobody reads holds the call up. Were the GIL held, this thread could not go on to read it.
    depot = vldepot.memory("bytes")
    depot["a"] = np.random.default_rng(0).bytes(30 << 20)
    progressed = threading.Event()
    seen: list[int] = []

    def count() -> None:
        n = 0
        while not progressed.is_set():
            n += 1
            seen.append(n)
            time.sleep(0)

    counter = threading.Thread(target=count)
    # Without a switch the counter only runs where the GIL is given up.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        counter.start()
        before = len(seen)
        depot.to_bytes()
        depot.commit()
        after = len(seen)
    finally:
        sys.setswitchinterval(interval)
        progressed.set()
    counter.join()
    assert after > before, "another thread ran during the call"


def large(path: Path) -> Path:
    """A file whose check takes several steps of progress."""
    random = np.random.default_rng(0)
    with vldepot.create(path, "bytes", preset="uncompressed") as depot:
        for n in range(40):
            depot[n] = random.bytes(1 << 20)
    return path


def test_progress_is_told_to_functions_and_bars(path: Path) -> None:
    large(path)
    told: list[tuple[int, int]] = []
    report = vldepot.verify(path, progress=lambda done, total: told.append((done, total)))
    assert report.is_whole and report.records_read == 40
    assert told[0][0] == 0 and told[-1][0] == told[-1][1] > 40 << 20 and len(told) > 4
    assert told == sorted(told)
    tqdm = pytest.importorskip("tqdm")
    with tqdm.tqdm(unit="B", disable=False, file=open(os.devnull, "w")) as bar:
        vldepot.verify(path, progress=bar)
        assert bar.n == bar.total > 40 << 20


@pytest.mark.parametrize("work", ["verify", "compact", "repair"])
def test_an_interrupt_ends_long_work(path: Path, tmp_path: Path, work: str) -> None:
    large(path)
    before, files = path.read_bytes(), set(tmp_path.iterdir())

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            signal.raise_signal(signal.SIGINT)

    calls = {
        "verify": lambda progress: vldepot.verify(path, progress=progress),
        "compact": lambda progress: vldepot.compact(path, progress=progress),
        "repair": lambda progress: vldepot.repair(path, tmp_path / "repaired.vld", progress=progress),
    }
    # A process in the background of a script is started without this handler.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            calls[work](interrupt)
    finally:
        signal.signal(signal.SIGINT, handler)

    def fails(done: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        calls[work](fails)
    assert path.read_bytes() == before and set(tmp_path.iterdir()) == files
    vldepot.append(path).close()  # no lock is left
    assert vldepot.verify(path).is_whole


def test_an_interrupt_ends_a_listing() -> None:
    depot = vldepot.memory("bytes")
    depot.update(dict.fromkeys(range(5000), b""))
    names = iter(depot)
    next(names)
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            while True:
                # The loop is in C.
                list(depot)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert len(list(depot)) == 5000


def test_a_signal_handler_may_close_the_depot(molecules: Path) -> None:
    depot = vldepot.open(molecules, "atomic_frame")

    def close(*_: object) -> None:
        depot.close()

    handler = signal.signal(signal.SIGALRM, close)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(vldepot.Closed):
            while True:
                depot.atom_counts()
                list(depot.values())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def test_compacting_says_what_goes_and_gains(path: Path) -> None:
    with vldepot.create(path, "bytes") as depot:
        depot.update({n: os.urandom(10_000) for n in range(100)})
        depot.commit()
        for n in range(90):
            del depot[n]
    plan = vldepot.plan_compact(path)
    assert (plan.removed, plan.kept) == (90, 10)
    report = vldepot.compact(path)
    assert report.records == 10 and report.bytes_after < report.bytes_before and len(vldepot.open(path)) == 10


def test_free_threaded_python_is_refused_clearly() -> None:
    code = """
import sys
sys.version = sys.version.replace("(", "free-threading build (", 1)
try:
    import vldepot
except ImportError as error:
    print(error)
"""
    done = run(code)
    assert "free-threaded" in done.stdout and "ordinary build" in done.stdout, done.stderr


def test_importing_brings_nothing_heavy() -> None:
    code = """
import sys, numpy
before = set(sys.modules)
import vldepot
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(new))
"""
    allowed = {
        "vldepot",
        "_vldepot",
        "__future__",
        "atexit",
        "errno",
        "dataclasses",
        "_opcode",
        "reprlib",
        "copy",
        "keyword",
        "inspect",
        "dis",
        "opcode",
        "ast",
        "tokenize",
        "linecache",
    }
    assert set(run(code).stdout.split()) <= allowed


def test_a_codec_that_knows_its_depot_is_no_leak(path: Path) -> None:
    class Circle:
        id = "example.circle"
        depot: Any = None

        def pack(self, value: bytes) -> bytes:
            return value

        def unpack(self, record: memoryview) -> bytes:
            return bytes(record)

    codec = Circle()
    codec.depot = vldepot.create(path, codec)
    codec.depot["a"] = b"1"
    del codec
    gc.collect()
    assert vldepot.append(path, "bytes")["a"] == b"1"


def test_the_depot_is_not_held_by_the_interpreter(path: Path) -> None:
    depot = vldepot.create(path, "bytes")
    depot["a"] = b"1"
    del depot  # closes it
    vldepot.append(path).close()
    assert vldepot.open(path)["a"] == b"1"
