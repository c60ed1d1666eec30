"""The workers of the loader: what is made comes over, and what happens to a process is an error or an end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vldepot.torch", reason="PyTorch is not installed")

import torch
import torch.utils.data
from shared import N, check, dataset, drain, flat, loader

import vldepot
from vldepot.torch import DataLoader, FrameBatch


def objects(batch: FrameBatch) -> Any:
    first = int(batch.indices[0])
    grown = torch.full((1 + 5000 * (first % 40), 3), float(first))
    return {
        "batch": batch,
        "views": [grown[::2], grown.T, grown[:0], torch.tensor(first)],
        "types": [torch.tensor([True, False]), torch.ones(2, dtype=torch.bfloat16), torch.tensor([1 + 2j])],
        "odd": [torch.eye(3).to_sparse(), torch.ones(2, requires_grad=True), torch.tensor([1 + 2j]).conj()],
        "numpy": [np.arange(first), np.asfortranarray(np.ones((3, 2))), np.array("text"), np.float32(1)],
        "python": (None, "text" * 5000, b"\0" * 70_000, {1, 2}, [first]),
        "twice": [batch.energy, batch.energy],
    }


@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_objects_of_any_kind_come_over(molecules: Path, context: str) -> None:
    kept = []
    for made in loader(molecules, 2, context, batch_transform=objects):
        batch = made["batch"]
        first = check(batch)[0]
        grown = torch.full((1 + 5000 * (first % 40), 3), float(first))
        for given, expected in zip(
            made["views"], [grown[::2], grown.T, grown[:0], torch.tensor(first)], strict=True
        ):
            assert given.dtype == expected.dtype and torch.equal(given, expected)
        assert [tensor.dtype for tensor in made["types"]] == [torch.bool, torch.bfloat16, torch.complex64]
        sparse, learnt, conjugate = made["odd"]
        assert torch.equal(sparse.to_dense(), torch.eye(3)) and learnt.requires_grad
        assert conjugate.resolve_conj().tolist() == [1 - 2j]
        assert made["numpy"][0].tolist() == list(range(first)) and made["numpy"][2] == np.array("text")
        assert made["python"] == (None, "text" * 5000, b"\0" * 70_000, {1, 2}, [first])
        assert made["twice"][0] is made["twice"][1]
        made["numpy"][1][:] = 7  # what came may be written to, and nothing else changes with it
        batch.energy.fill_(first)
        kept.append((first, batch.energy, made["views"][0]))
    assert all((energy == first).all() and (view == first).all() for first, energy, view in kept)


def unpicklable(batch: FrameBatch) -> Any:
    return lambda: batch


class OwnError(Exception):
    """One that its own pickle cannot make anew."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"own {one} {other}")


def fails(batch: FrameBatch) -> Any:
    raise OwnError(1, 2)


def not_found(batch: FrameBatch) -> Any:
    return vldepot.memory("bytes")["nobody"]


def exits(batch: FrameBatch) -> Any:
    sys.exit(3)


def sleeps(batch: FrameBatch) -> Any:
    time.sleep(60)


def begins(number: int) -> None:
    raise ValueError(f"worker {number} cannot begin")


def test_errors_of_workers(molecules: Path) -> None:
    with pytest.raises(Exception, match="pickle"):
        drain(loader(molecules, 2, batch_transform=unpicklable))
    with pytest.raises(RuntimeError, match="own 1 2"):
        drain(loader(molecules, 2, batch_transform=fails))
    with pytest.raises(vldepot.NotFound) as caught:
        drain(loader(molecules, 2, batch_transform=not_found))
    assert caught.value.record == '"nobody"' and "in not_found" in "".join(caught.value.__notes__)
    with pytest.raises(RuntimeError, match=r"killed or died: \d+ \(3\)"):
        drain(loader(molecules, 1, batch_transform=exits))
    with pytest.raises(ValueError, match="worker 0 cannot begin"):
        list(DataLoader(dataset(molecules), num_workers=2, worker_init_fn=begins))
    slow = DataLoader(dataset(molecules, batch_transform=sleeps), num_workers=1, timeout=0.2)
    with pytest.raises(RuntimeError, match="timed out after 0.2"):
        next(iter(slow))


def no_room(number: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def grows(batch: FrameBatch) -> Any:
    return torch.zeros(1 << (10 + int(batch.indices[0]) // 10))


def test_batches_for_which_there_is_no_memory(molecules: Path) -> None:
    how: dict[str, Any] = {
        "num_workers": 1,
        "prefetch_factor": 1,
        "multiprocessing_context": "fork",
        "timeout": 60,
    }
    growing = dataset(molecules, shuffle=False, batch_transform=grows)
    sizes = [len(zeros) for _, zeros in zip(range(12), DataLoader(growing, **how), strict=False)]
    assert sizes == [1 << (10 + 7 * number // 10) for number in range(12)]
    growing.set_epoch(1)
    with pytest.raises(OSError, match="File too large"):
        list(DataLoader(growing, worker_init_fn=no_room, **how))


def test_persistent_workers_go_on_after_an_error(molecules: Path) -> None:
    whole = drain(loader(molecules))
    loading = loader(molecules, 2, persistent=True)
    assert drain(loading, 3) == whole[:3]
    for worker in list(loading._workers._hands):  # type: ignore[union-attr]
        os.kill(worker.process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="killed"):
        drain(loading)
    done = loading.state_dict()["next_batch"]
    assert drain(loading) == whole[done:]  # by new workers
    assert drain(loading, 1) and drain(loading)


def test_loaders_take_turns(molecules: Path, few: Path) -> None:
    whole = drain(loader(molecules))
    for persistent in (False, True):
        loaders = [loader(molecules, 2, persistent=persistent) for _ in range(2)]
        for epoch in range(2):
            pairs = list(zip(*loaders, strict=True))
            assert [[check(batch) for batch in pair] for pair in pairs] == [
                [one, one] for one in whole
            ] or epoch
    many = DataLoader(dataset(molecules, batch_size=1), num_workers=3, prefetch_factor=100)
    assert sorted(flat([check(batch) for batch in many])) == list(range(N))


def worker_info(batch: FrameBatch) -> Any:
    info = torch.utils.data.get_worker_info()
    return info.id, info.num_workers, info.seed, torch.initial_seed(), torch.get_num_threads(), os.getpid()


def test_what_a_worker_knows(molecules: Path) -> None:
    made = list(loader(molecules, 2, batch_transform=worker_info))
    assert [one[:2] for one in made[:4]] == [(0, 2), (1, 2), (0, 2), (1, 2)]
    assert all(seed == own and threads == 1 for _, _, seed, own, threads, _ in made)
    assert len({seed for _, _, seed, *_ in made}) == len({pid for *_, pid in made}) == 2


PARENT = """
import os, sys
from shared import loader
from test_workers import worker_info

if __name__ == "__main__":
    loading = loader(sys.argv[1], 2, sys.argv[2], persistent=True, batch_transform=worker_info)
    batches = iter(loading)
    pids = {next(batches)[-1] for _ in range(4)}
    print(*pids, flush=True)
    if sys.argv[3] == "killed":
        sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="there is no /proc to look for processes")
@pytest.mark.parametrize(
    ("context", "how"), [("fork", "killed"), ("forkserver", "killed"), ("fork", "ended")]
)
def test_workers_end_with_the_main_process(molecules: Path, tmp_path: Path, context: str, how: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    run = subprocess.Popen(
        [sys.executable, "-W", "ignore", script, molecules, context, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert run.stdout is not None and run.stderr is not None
    pids = [int(pid) for pid in run.stdout.readline().split()]
    assert len(pids) == 2, run.stderr.read()
    if how == "killed":
        run.kill()
    assert run.wait(timeout=60) == (-signal.SIGKILL if how == "killed" else 0)
    until = time.monotonic() + 60
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.02)
